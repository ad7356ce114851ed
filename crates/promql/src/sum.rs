//! Sums of floats that do not lose what rounding takes away (Neumaier), and what is built on them.

/// A compensated sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub value: f64,
    pub lost: f64,
}

impl Sum {
    pub(crate) fn of(value: f64) -> Sum {
        Sum { value, lost: 0.0 }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        // Chosen rather than branched: which of the two is larger cannot be foretold.
        let total = self.value + value;
        let is_larger = self.value.abs() >= value.abs();
        let (large, small) = if is_larger { (self.value, value) } else { (value, self.value) };
        let lost = self.lost + ((large - total) + small);
        self.lost = if total.is_infinite() { 0.0 } else { lost };
        self.value = total;
    }

    #[inline]
    pub(crate) fn total(self) -> f64 {
        if self.value.is_infinite() { self.value } else { self.value + self.lost }
    }
}

/// A running mean: of the sum while it does not overflow, and of the mean so far from then on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    /// Of nothing.
    pub(crate) const NONE: Mean = Mean { sum: Sum { value: 0.0, lost: 0.0 }, count: 0.0, incremental: false };

    pub(crate) fn of(first: f64) -> Mean {
        Mean { sum: Sum::of(first), count: 1.0, incremental: false }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum = Sum::of(value);
            return;
        }
        if !self.incremental {
            let mut sum = self.sum;
            sum.add(value);
            if !sum.value.is_infinite() {
                self.sum = sum;
                return;
            }
            self.incremental = true;
            self.sum.value /= self.count - 1.0;
            self.sum.lost /= self.count - 1.0;
        }
        let weight = (self.count - 1.0) / self.count;
        self.sum.value *= weight;
        self.sum.lost *= weight;
        self.sum.add(value / self.count);
    }

    pub(crate) fn total(self) -> f64 {
        if self.incremental {
            self.sum.value + self.sum.lost
        } else {
            self.sum.value / self.count + self.sum.lost / self.count
        }
    }
}

/// A running variance over time (Welford's, compensated).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Variance {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - (self.mean.value + self.mean.lost);
        self.mean.add(delta / self.count);
        self.squares.add(delta * (value - (self.mean.value + self.mean.lost)));
    }

    pub(crate) fn total(self) -> f64 {
        (self.squares.value + self.squares.lost) / self.count
    }
}

/// Values in order; NaN is below everything.
pub(crate) fn value_order(a: &f64, b: &f64) -> std::cmp::Ordering {
    b.is_nan().cmp(&a.is_nan()).then_with(|| a.total_cmp(b))
}

/// The `q`-quantile of values that are in order.
pub(crate) fn quantile_of_sorted(q: f64, sorted: &[f64]) -> f64 {
    if sorted.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (sorted.len() - 1) as f64;
    let at = (rank as usize).min(sorted.len() - 1);
    let weight = rank - at as f64;
    let next = (at + 1).min(sorted.len() - 1);
    sorted[at] * (1.0 - weight) + sorted[next] * weight
}

/// The `q`-quantile of values, which are reordered; between two values it is weighed.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let order = value_order;
    let rank = q * (values.len() - 1) as f64;
    let at = (rank as usize).min(values.len() - 1);
    let weight = rank - at as f64;
    let (_, low, above) = values.select_nth_unstable_by(at, order);
    let low = *low;
    let high = above.iter().copied().min_by(order).unwrap_or(low);
    low * (1.0 - weight) + high * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_given_back() {
        let mut sum = Sum::default();
        [1.0, 1e100, 1.0, -1e100].iter().for_each(|value| sum.add(*value));
        assert_eq!(sum.total(), 2.0);
        let mut mean = Mean::of(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.total(), f64::MAX);
    }

    #[test]
    fn quantiles_lie_between_values() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(0.5, &mut values), 2.5);
        assert_eq!(quantile(1.0, &mut values), 4.0);
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
        assert_eq!(quantile(2.0, &mut values), f64::INFINITY);
    }
}
