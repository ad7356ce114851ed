//! Estimates from buckets: quantiles, fractions, variance.
//!
//! Within an exponential bucket observations are taken to lie evenly on a logarithmic scale; within the zero bucket
//! and custom buckets, on a linear one. With buckets on one side only, the zero bucket lies on that side, too.

use super::{Bucket, FloatHistogram};

impl FloatHistogram {
    /// The `q`-quantile.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        if self.count == 0.0 || q.is_nan() {
            return f64::NAN;
        }
        let buckets = self.all_buckets();
        // From the nearer end, so that rounding errors of few buckets add up. Observations of NaN are in no bucket
        // and count as greater than all others: then only counting from below finds the place.
        let forward = self.sum.is_nan() || q < 0.5;
        let rank = if forward { q * self.count } else { (1.0 - q) * self.count };
        let (mut bucket, count) =
            if forward { seek(buckets.iter(), rank) } else { seek(buckets.iter().rev(), rank) };
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return bucket.upper;
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return bucket.lower;
            }
        } else {
            self.narrow_zero_bucket(&mut bucket);
        }
        let count = count.min(self.count);
        if count < rank {
            return if self.sum.is_nan() { f64::NAN } else { bucket.upper };
        }
        let within = if forward { rank - (count - bucket.count) } else { count - rank };
        // Where the sum is no number, Prometheus goes on to the last bucket to see whether observations are in none, and
        // takes that one's bounds and count for those of the bucket of the rank. So do we: answers are to be equal.
        if self.sum.is_nan()
            && let Some(last) = buckets.last()
        {
            bucket = *last;
        }
        let fraction = within / bucket.count;
        if self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
            return bucket.lower + (bucket.upper - bucket.lower) * fraction;
        }
        let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        if bucket.lower > 0.0 {
            (low + (high - low) * fraction).exp2()
        } else {
            -(high + (low - high) * (1.0 - fraction)).exp2()
        }
    }

    /// Whether observations of NaN were counted, as far as can be told: they are in no bucket.
    #[must_use]
    pub fn has_nan_observations(&self) -> bool {
        self.sum.is_nan() && self.bucket_total() < self.count
    }

    /// Whether a quantile lies among observations that are in no bucket.
    #[must_use]
    pub fn ranks_beyond_buckets(&self, q: f64) -> bool {
        self.bucket_total().min(self.count) < q * self.count
    }

    fn bucket_total(&self) -> f64 {
        self.zero_count + self.positive.counts.iter().sum::<f64>() + self.negative.counts.iter().sum::<f64>()
    }

    /// With buckets on one side of zero only, the zero bucket is taken to hold observations of that side.
    fn narrow_zero_bucket(&self, bucket: &mut Bucket) {
        if bucket.lower < 0.0 && bucket.upper > 0.0 {
            if self.negative.is_empty() && !self.positive.is_empty() {
                bucket.lower = 0.0;
            } else if self.positive.is_empty() && !self.negative.is_empty() {
                bucket.upper = 0.0;
            }
        }
    }

    /// The share of observations between two values.
    #[must_use]
    pub fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        let total = if self.sum.is_nan() { self.bucket_total() } else { self.count };
        let buckets = self.all_buckets();
        let rank = |value: f64| self.rank(&buckets, value).unwrap_or(total).min(total);
        (rank(upper) - rank(lower)) / self.count
    }

    /// How many observations lie below `value`; nothing if all buckets do.
    fn rank(&self, buckets: &[Bucket], value: f64) -> Option<f64> {
        let mut below = 0.0;
        for bucket in buckets {
            let mut bucket = *bucket;
            if self.is_custom() {
                if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                    bucket.lower = 0.0;
                }
            } else {
                self.narrow_zero_bucket(&mut bucket);
            }
            if bucket.lower >= value {
                return Some(below);
            }
            if bucket.upper > value && bucket.lower == f64::NEG_INFINITY {
                // Nothing can be interpolated in a bucket without end.
                return Some(below + bucket.count);
            }
            if bucket.upper > value {
                return Some(below + bucket.count * share_below(&bucket, value, self.is_custom()));
            }
            below += bucket.count;
        }
        None
    }

    /// The estimated variance, and NaN without observations.
    #[must_use]
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let (mut variance, mut lost) = (0.0f64, 0.0f64);
        for bucket in self.all_buckets() {
            if bucket.count == 0.0 {
                continue;
            }
            let delta = bucket_center(&bucket, self.is_custom()) - mean;
            let value = bucket.count * delta * delta;
            let total = variance + value;
            if total.is_infinite() {
                lost = 0.0;
            } else if variance.abs() >= value.abs() {
                lost += (variance - total) + value;
            } else {
                lost += (value - total) + variance;
            }
            variance = total;
        }
        (variance + lost) / self.count
    }
}

/// The bucket in which the running count reaches `rank`, and the count with it.
fn seek<'a>(buckets: impl Iterator<Item = &'a Bucket>, rank: f64) -> (Bucket, f64) {
    let mut count = 0.0;
    let mut found =
        Bucket { lower: 0.0, upper: 0.0, lower_inclusive: true, upper_inclusive: true, count: 0.0, index: 0 };
    for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
        found = *bucket;
        count += bucket.count;
        if count >= rank {
            break;
        }
    }
    (found, count)
}

/// The share of a bucket's observations that lie below a value within it.
pub(super) fn share_below(bucket: &Bucket, value: f64, linear: bool) -> f64 {
    if linear || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return (value - bucket.lower) / (bucket.upper - bucket.lower);
    }
    let (low, high) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    let at = value.abs().log2();
    if value > 0.0 { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
}

/// The value that stands for all observations of a bucket.
fn bucket_center(bucket: &Bucket, custom: bool) -> f64 {
    if bucket.lower <= 0.0 && bucket.upper >= 0.0 && !custom {
        return 0.0;
    }
    if custom {
        return f64::midpoint(bucket.lower, bucket.upper);
    }
    let center = (bucket.upper * bucket.lower).sqrt();
    if bucket.upper < 0.0 { -center } else { center }
}
