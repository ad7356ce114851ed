//! Keeping only the observations on one side of a value.
//!
//! The bucket that holds the value is split by interpolation. What the kept observations sum up to is not known any
//! more, so the sum is estimated from the centers of what is left.

use super::quantile::share_below;
use super::{Bucket, Buckets, FloatHistogram};

/// Which side goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// What is greater.
    Above,
    /// What is smaller.
    Below,
}

/// The kept part of a bucket.
struct Kept {
    count: f64,
    center: f64,
}

impl FloatHistogram {
    /// Without the observations above `bound`.
    #[must_use]
    pub fn trim_above(&self, bound: f64) -> FloatHistogram {
        self.trim(bound, Cut::Above)
    }

    /// Without the observations below `bound`.
    #[must_use]
    pub fn trim_below(&self, bound: f64) -> FloatHistogram {
        self.trim(bound, Cut::Below)
    }

    fn trim(&self, bound: f64, cut: Cut) -> FloatHistogram {
        let mut trimmed = self.clone();
        let mut total = Total::default();
        let custom = self.is_custom();
        let mut keep = |bucket: Bucket, is_zero: bool| {
            // No bucket lies on either side of what is no number; of the zero bucket a part is kept that is none either.
            let kept = if bound.is_nan() && !is_zero {
                Kept { count: 0.0, center: 0.0 }
            } else if is_zero {
                keep_zero(&bucket, bound, cut)
            } else if custom {
                keep_custom(&bucket, bound, cut)
            } else {
                keep_exponential(&bucket, bound, cut)
            };
            total.add(bucket.count, &kept);
            kept.count
        };
        let positive: Vec<(i32, f64)> =
            self.positive_buckets().map(|bucket| (bucket.index, keep(bucket, false))).collect();
        let negative: Vec<(i32, f64)> =
            self.negative_buckets().map(|bucket| (bucket.index, keep(bucket, false))).collect();
        if !custom && self.zero_count != 0.0 {
            let mut zero = self.zero_bucket();
            match (has_counts(&self.negative), has_counts(&self.positive)) {
                (false, true) => zero.lower = 0.0,
                (true, false) => zero.upper = 0.0,
                _ => {}
            }
            trimmed.zero_count = keep(zero, true);
        }
        if !total.changed {
            return trimmed;
        }
        trimmed.positive = Buckets::from_sorted(positive);
        trimmed.negative = Buckets::from_sorted(negative);
        trimmed.compact();
        trimmed.count = total.count;
        trimmed.sum = total.sum;
        trimmed
    }
}

fn has_counts(buckets: &Buckets) -> bool {
    buckets.counts.iter().any(|count| *count != 0.0)
}

#[derive(Default)]
struct Total {
    count: f64,
    sum: f64,
    changed: bool,
}

impl Total {
    fn add(&mut self, before: f64, kept: &Kept) {
        self.changed |= kept.count != before;
        self.count += kept.count;
        if kept.count != 0.0 {
            self.sum += kept.count * kept.center;
        }
    }
}

/// The zero bucket, which may be of no width: what lies at the bound itself then goes with what is greater.
fn keep_zero(bucket: &Bucket, bound: f64, cut: Cut) -> Kept {
    let whole = || Kept { count: bucket.count, center: f64::midpoint(bucket.lower, bucket.upper) };
    let nothing = Kept { count: 0.0, center: 0.0 };
    let width = bucket.upper - bucket.lower;
    match cut {
        Cut::Above if bound <= bucket.lower => nothing,
        Cut::Above if bound >= bucket.upper => whole(),
        Cut::Below if bound <= bucket.lower => whole(),
        Cut::Below if bound >= bucket.upper => nothing,
        Cut::Above => Kept {
            count: bucket.count * ((bound - bucket.lower) / width),
            center: f64::midpoint(bucket.lower, bound),
        },
        Cut::Below => Kept {
            count: bucket.count * ((bucket.upper - bound) / width),
            center: f64::midpoint(bound, bucket.upper),
        },
    }
}

fn keep_exponential(bucket: &Bucket, bound: f64, cut: Cut) -> Kept {
    let center = |lower: f64, upper: f64| {
        if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            f64::midpoint(lower, upper)
        } else {
            (lower * upper).sqrt().copysign(lower + upper)
        }
    };
    let whole = || Kept { count: bucket.count, center: center(bucket.lower, bucket.upper) };
    let nothing = Kept { count: 0.0, center: 0.0 };
    match cut {
        Cut::Above if bucket.upper <= bound => whole(),
        Cut::Above if bucket.lower >= bound => nothing,
        Cut::Below if bucket.lower >= bound => whole(),
        Cut::Below if bucket.upper <= bound => nothing,
        Cut::Above => {
            let count = bucket.count * share_below(bucket, bound, false);
            Kept { count, center: center(bucket.lower, bound) }
        }
        Cut::Below => {
            let count = bucket.count * (1.0 - share_below(bucket, bound, false));
            Kept { count, center: center(bound, bucket.upper) }
        }
    }
}

/// The first custom bucket has no lower bound and the last no upper one.
///
/// A first bucket that ends above zero is taken to begin at zero. Otherwise nothing can be interpolated: such a
/// bucket is dropped if it may hold what has to go, except that the first is kept by a cut above and the last by a
/// cut below, whose bound then stands for their observations.
fn keep_custom(bucket: &Bucket, bound: f64, cut: Cut) -> Kept {
    let (open_below, open_above) = (bucket.lower == f64::NEG_INFINITY, bucket.upper == f64::INFINITY);
    let nothing = Kept { count: 0.0, center: 0.0 };
    let whole = |center: f64| Kept { count: bucket.count, center };
    let from_zero = open_below && bucket.upper > 0.0;
    let lower = if from_zero { 0.0 } else { bucket.lower };
    let center = |lower: f64, upper: f64| {
        if lower == f64::NEG_INFINITY {
            upper
        } else if upper == f64::INFINITY {
            lower
        } else {
            f64::midpoint(lower, upper)
        }
    };
    if open_below && open_above {
        let all = match cut {
            Cut::Above => bound == f64::INFINITY,
            Cut::Below => bound == f64::NEG_INFINITY,
        };
        return if all { whole(0.0) } else { nothing };
    }
    let split = Bucket { lower, ..*bucket };
    match cut {
        Cut::Above if bucket.upper <= bound => whole(center(lower, bucket.upper)),
        Cut::Above if bound == f64::NEG_INFINITY => nothing,
        Cut::Above if open_above || lower >= bound => nothing,
        Cut::Above if open_below && !from_zero => whole(bound),
        Cut::Above => {
            Kept { count: bucket.count * share_below(&split, bound, true), center: center(lower, bound) }
        }
        Cut::Below if bucket.lower >= bound => whole(center(lower, bucket.upper)),
        Cut::Below if bound == f64::INFINITY || bucket.upper <= bound => nothing,
        Cut::Below if open_above => whole(bound),
        Cut::Below if open_below && (!from_zero || bound < 0.0) => nothing,
        Cut::Below => Kept {
            count: bucket.count * (1.0 - share_below(&split, bound, true)),
            center: center(bound, bucket.upper),
        },
    }
}
