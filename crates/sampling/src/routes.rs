//! How long traces of a route last: what "slow for its route" compares with.
//!
//! A route is the service and operation of a trace's root. Durations are counted in buckets that grow with them, sixteen to
//! a doubling, which tells durations apart that differ by a sixteenth; the arithmetic is of whole numbers, so that the same
//! traces give the same answer everywhere.

use ahash::AHashMap as HashMap;

/// Bits of a duration below its highest that tell buckets apart.
const FINE_BITS: u32 = 4;

/// Routes that are told apart; traces of others count as one more, of no route.
const ROUTES_MAX: usize = 20_000;

/// The bucket of a duration in nanoseconds.
fn bucket_of(duration_ns: i64) -> u16 {
    let duration = duration_ns.max(0) as u64;
    let highest = 63 - (duration | 1).leading_zeros();
    if highest <= FINE_BITS {
        return duration as u16;
    }
    let fine = (duration >> (highest - FINE_BITS)) & ((1 << FINE_BITS) - 1);
    (((highest - FINE_BITS + 1) << FINE_BITS) as u64 + fine) as u16
}

/// The durations of the traces of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// Bucket and count, ascending.
    buckets: Vec<(u16, u64)>,
    total: u64,
}

impl Durations {
    /// Counts a duration in nanoseconds.
    pub fn add(&mut self, duration_ns: i64) {
        self.add_bucket(bucket_of(duration_ns), 1);
    }

    fn add_bucket(&mut self, bucket: u16, count: u64) {
        self.total += count;
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Durations) {
        other.buckets.iter().for_each(|(bucket, count)| self.add_bucket(*bucket, *count));
    }

    /// How many traces there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether a duration is longer than the quantile, 0 to 1: in a higher bucket than the one that the quantile lies in.
    pub fn is_above(&self, duration_ns: i64, quantile: f64) -> bool {
        let rank = (quantile * self.total as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (bucket, count) in &self.buckets {
            below += count;
            if below >= rank {
                return bucket_of(duration_ns) > *bucket;
            }
        }
        false
    }
}

/// The durations of all routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    by_route: HashMap<(Box<str>, Box<str>), Durations>,
}

impl Routes {
    /// Counts a trace; one without a root has no route.
    pub fn add(&mut self, service: &str, operation: &str, duration_ns: i64) {
        if let Some(durations) = self.of_mut(service, operation) {
            durations.add(duration_ns);
        }
    }

    /// Adds durations of a route.
    pub fn add_all(&mut self, service: &str, operation: &str, durations: &Durations) {
        if let Some(own) = self.of_mut(service, operation) {
            own.merge(durations);
        }
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Routes) {
        for ((service, operation), durations) in &other.by_route {
            self.add_all(service, operation, durations);
        }
    }

    fn of_mut(&mut self, service: &str, operation: &str) -> Option<&mut Durations> {
        if service.is_empty() && operation.is_empty() {
            return None;
        }
        let key = (service.into(), operation.into());
        if self.by_route.len() >= ROUTES_MAX && !self.by_route.contains_key(&key) {
            return None;
        }
        Some(self.by_route.entry(key).or_default())
    }

    /// The durations of a route.
    pub fn of(&self, service: &str, operation: &str) -> Option<&Durations> {
        self.by_route.get(&(service.into(), operation.into()))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.by_route.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_route.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_ascend_with_durations() {
        let mut last = 0;
        for duration in (0..100_000).chain((17..63).map(|bits| 1i64 << bits)) {
            let bucket = bucket_of(duration);
            assert!(bucket >= last, "{duration}");
            last = bucket;
        }
        assert!(bucket_of(i64::MAX) > last);
        assert_eq!(bucket_of(-5), 0);
        assert!(bucket_of(1_000_000) < bucket_of(1_070_000), "a sixteenth is told apart");
    }

    #[test]
    fn about_a_hundredth_is_above_the_99th_percentile() {
        let mut routes = Routes::default();
        let durations: Vec<i64> = (1..=10_000).map(|n| n * 1_000).collect();
        durations.iter().for_each(|duration| routes.add("web", "GET /", *duration));
        let of = routes.of("web", "GET /").expect("a route");
        let above = durations.iter().filter(|duration| of.is_above(**duration, 0.99)).count();
        assert!(above <= 100, "{above}");
        assert!(of.is_above(100_000_000, 0.99));
        let mut equal = Durations::default();
        (0..100).for_each(|_| equal.add(5_000_000));
        assert!(!equal.is_above(5_000_000, 0.99), "where all are the same none is slow");
        assert_eq!(equal.total(), 100);
    }

    #[test]
    fn merging_is_counting_together() {
        let (mut a, mut b, mut both) = (Routes::default(), Routes::default(), Routes::default());
        for n in 0..1_000 {
            let (service, duration) = (if n % 3 == 0 { "a" } else { "b" }, n * 977);
            (if n % 2 == 0 { &mut a } else { &mut b }).add(service, "op", duration);
            both.add(service, "op", duration);
        }
        a.merge(&b);
        assert_eq!(a.of("a", "op"), both.of("a", "op"));
        assert_eq!(a.of("b", "op"), both.of("b", "op"));
        assert_eq!(a.len(), 2);
    }
}
