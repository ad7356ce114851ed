//! A latency histogram with explicit bounds and, per bucket, the slowest span since the last emission as its exemplar.
//!
//! Slowest, not latest: whoever follows an exemplar looks for what was slow, and the choice does not depend on the order
//! of arrival.

/// The ids that an exemplar points at.
pub type Ids = ([u8; 16], [u8; 8]);

/// An emission has at most so many exemplars of one histogram, spread over the buckets that were hit.
pub const EXEMPLARS_MAX: usize = 5;

/// The bounds of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// In seconds, ascending.
    pub seconds: Vec<f64>,
    /// In nanoseconds: spans are compared as whole numbers.
    ns: Vec<u64>,
    /// As values of the label `le`, the last one for what is above all bounds.
    pub labels: Vec<String>,
}

impl Bounds {
    /// From bounds in seconds, ascending.
    pub fn new(seconds: &[f64]) -> Bounds {
        let labels = seconds.iter().map(f64::to_string).chain(["+Inf".to_owned()]).collect();
        let ns = seconds.iter().map(|bound| (bound * 1e9).round() as u64).collect();
        Bounds { seconds: seconds.to_vec(), ns, labels }
    }

    /// The number of buckets: one more than there are bounds.
    pub fn buckets(&self) -> usize {
        self.labels.len()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bucket {
    count: f64,
    /// One more than the duration of its exemplar; 0 where it has none.
    slowest: u64,
}

/// A span that stands for a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Which bucket.
    pub bucket: usize,
    /// Its trace and span.
    pub ids: Ids,
    /// When it was received, nanoseconds since the epoch.
    pub at: i64,
    /// How long it took.
    pub duration_ns: u64,
}

/// A histogram of durations.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The sum of all durations, in seconds.
    pub sum: f64,
    buckets: Box<[Bucket]>,
    exemplars: Vec<Exemplar>,
}

impl Histogram {
    /// An empty one.
    pub fn new(bounds: &Bounds) -> Histogram {
        let buckets = vec![Bucket::default(); bounds.buckets()].into();
        Histogram { sum: 0.0, buckets, exemplars: Vec::new() }
    }

    /// As it was, without exemplars.
    pub fn restore(sum: f64, counts: &[f64]) -> Histogram {
        let buckets = counts.iter().map(|count| Bucket { count: *count, slowest: 0 }).collect();
        Histogram { sum, buckets, exemplars: Vec::new() }
    }

    /// Counts a span that stands for `weight` of them.
    #[inline]
    pub fn observe(
        &mut self,
        bounds: &Bounds,
        duration_ns: u64,
        weight: f64,
        at: i64,
        ids: impl FnOnce() -> Ids,
    ) {
        let index = bounds.ns.partition_point(|bound| *bound < duration_ns);
        self.sum += duration_ns as f64 / 1e9 * weight;
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        bucket.count += weight;
        if duration_ns >= bucket.slowest {
            bucket.slowest = duration_ns.saturating_add(1);
            self.keep(Exemplar { bucket: index, ids: ids(), at, duration_ns });
        }
    }

    fn keep(&mut self, exemplar: Exemplar) {
        if exemplar.ids.0 == [0; 16] {
            return;
        }
        match self.exemplars.iter_mut().find(|kept| kept.bucket == exemplar.bucket) {
            Some(kept) => *kept = exemplar,
            None => self.exemplars.push(exemplar),
        }
    }

    /// How many fell into each bucket, not cumulated.
    pub fn counts(&self) -> impl Iterator<Item = f64> {
        self.buckets.iter().map(|bucket| bucket.count)
    }

    /// How many there were.
    pub fn count(&self) -> f64 {
        self.counts().sum()
    }

    /// The exemplars since they were last taken, one for a bucket, by bucket.
    pub fn take_exemplars(&mut self) -> Vec<Exemplar> {
        let mut all = std::mem::take(&mut self.exemplars);
        self.buckets.iter_mut().for_each(|bucket| bucket.slowest = 0);
        all.sort_unstable_by_key(|exemplar| exemplar.bucket);
        if all.len() <= EXEMPLARS_MAX {
            return all;
        }
        // The fastest, the slowest, and what lies evenly between.
        let last = all.len() - 1;
        (0..EXEMPLARS_MAX).filter_map(|n| all.get(n * last / (EXEMPLARS_MAX - 1)).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: u8) -> Ids {
        ([n; 16], [n; 8])
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let bounds = Bounds::new(&[0.002, 0.004]);
        let mut histogram = Histogram::new(&bounds);
        for ns in [0, 2_000_000, 2_000_001, 4_000_000, 4_000_001, u64::MAX] {
            histogram.observe(&bounds, ns, 1.0, 0, || ids(1));
        }
        assert_eq!(histogram.counts().collect::<Vec<_>>(), [2.0, 2.0, 2.0]);
        assert_eq!(bounds.labels, ["0.002", "0.004", "+Inf"]);
    }

    #[test]
    fn the_slowest_of_a_bucket_is_its_exemplar_until_it_is_taken() {
        let bounds = Bounds::new(&[0.1]);
        let mut histogram = Histogram::new(&bounds);
        for (n, ns) in [(1, 5), (2, 9), (3, 7), (4, 200_000_000)] {
            histogram.observe(&bounds, ns, 1.0, i64::from(n), || ids(n));
        }
        let taken = histogram.take_exemplars();
        assert_eq!(taken.iter().map(|e| (e.bucket, e.at)).collect::<Vec<_>>(), [(0, 2), (1, 4)]);
        histogram.observe(&bounds, 3, 1.0, 5, || ids(5));
        histogram.observe(&bounds, 4, 1.0, 6, || ([0; 16], [0; 8]));
        let taken = histogram.take_exemplars();
        assert_eq!(taken.iter().map(|e| e.at).collect::<Vec<_>>(), [5], "a span without a trace is none");
    }

    #[test]
    fn exemplars_are_few_and_spread() {
        let bounds = Bounds::new(&(1..=14).map(f64::from).collect::<Vec<_>>());
        let mut histogram = Histogram::new(&bounds);
        for n in 0..15u8 {
            histogram.observe(&bounds, u64::from(n) * 1_000_000_000 + 1, 0.5, 0, || ids(n + 1));
        }
        let buckets: Vec<usize> = histogram.take_exemplars().iter().map(|e| e.bucket).collect();
        assert_eq!(buckets, [0, 3, 7, 10, 14]);
        assert_eq!(histogram.count(), 7.5);
    }
}
