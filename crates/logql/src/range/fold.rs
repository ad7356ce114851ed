//! What samples add up to: values that two parts of a window can be merged from.

/// The sum of samples, of some kind. Samples of one part come in any order of time; parts are merged in the order of time.
pub(crate) trait Fold: Copy {
    fn new(time_ns: i64, value: f64) -> Self;
    fn add(&mut self, time_ns: i64, value: f64);
    fn merge(&mut self, later: &Self);
    fn value(&self) -> f64;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sum(f64);

impl Fold for Sum {
    fn new(_: i64, value: f64) -> Self {
        Sum(value)
    }

    fn add(&mut self, _: i64, value: f64) {
        self.0 += value;
    }

    fn merge(&mut self, later: &Self) {
        self.0 += later.0;
    }

    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Min(f64);

impl Fold for Min {
    fn new(_: i64, value: f64) -> Self {
        Min(value)
    }

    /// What is no number gives way to any.
    fn add(&mut self, _: i64, value: f64) {
        if value < self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn merge(&mut self, later: &Self) {
        self.add(0, later.0);
    }

    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Max(f64);

impl Fold for Max {
    fn new(_: i64, value: f64) -> Self {
        Max(value)
    }

    fn add(&mut self, _: i64, value: f64) {
        if value > self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn merge(&mut self, later: &Self) {
        self.add(0, later.0);
    }

    fn value(&self) -> f64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Avg {
    sum: f64,
    count: u64,
}

impl Fold for Avg {
    fn new(_: i64, value: f64) -> Self {
        Avg { sum: value, count: 1 }
    }

    fn add(&mut self, _: i64, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn merge(&mut self, later: &Self) {
        self.sum += later.sum;
        self.count += later.count;
    }

    fn value(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// The mean square distance from the mean, by the method of Welford and Chan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Fold for Variance {
    fn new(_: i64, value: f64) -> Self {
        // What is infinite has no distance from itself.
        Variance { count: 1.0, mean: value, squares: if value.is_finite() { 0.0 } else { f64::NAN } }
    }

    fn add(&mut self, time_ns: i64, value: f64) {
        self.merge(&Variance::new(time_ns, value));
    }

    fn merge(&mut self, later: &Self) {
        let count = self.count + later.count;
        let delta = later.mean - self.mean;
        self.squares += later.squares + delta * delta * self.count * later.count / count;
        self.mean += delta * later.count / count;
        self.count = count;
    }

    fn value(&self) -> f64 {
        self.squares / self.count
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deviation(Variance);

impl Fold for Deviation {
    fn new(time_ns: i64, value: f64) -> Self {
        Deviation(Variance::new(time_ns, value))
    }

    fn add(&mut self, time_ns: i64, value: f64) {
        self.0.add(time_ns, value);
    }

    fn merge(&mut self, later: &Self) {
        self.0.merge(&later.0);
    }

    fn value(&self) -> f64 {
        self.0.value().sqrt()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    time_ns: i64,
    value: f64,
}

impl Fold for First {
    fn new(time_ns: i64, value: f64) -> Self {
        First { time_ns, value }
    }

    fn add(&mut self, time_ns: i64, value: f64) {
        if time_ns < self.time_ns {
            *self = First { time_ns, value };
        }
    }

    fn merge(&mut self, later: &Self) {
        self.add(later.time_ns, later.value);
    }

    fn value(&self) -> f64 {
        self.value
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    time_ns: i64,
    value: f64,
}

impl Fold for Last {
    fn new(time_ns: i64, value: f64) -> Self {
        Last { time_ns, value }
    }

    /// Of samples of one time the last to come counts.
    fn add(&mut self, time_ns: i64, value: f64) {
        if time_ns >= self.time_ns {
            *self = Last { time_ns, value };
        }
    }

    fn merge(&mut self, later: &Self) {
        self.add(later.time_ns, later.value);
    }

    fn value(&self) -> f64 {
        self.value
    }
}
