//! Estimates from classic, cumulative buckets.

/// Relative differences of counts up to this are rounding errors of the sums before, as in Prometheus.
const TOLERANCE: f64 = 1e-12;

/// A cumulative bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub upper: f64,
    pub count: f64,
}

/// Counts that fell from one bucket to the next, which cumulative counts never do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fall {
    pub lowest: f64,
    pub highest: f64,
    pub difference_max: f64,
}

/// The value of `le`, in the forms that Go reads.
pub(super) fn parse_bound(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Merges buckets with equal bounds. Whether there are at least two, up to infinity.
fn normalize(buckets: &mut Vec<Bucket>) -> bool {
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|last| last.upper == f64::INFINITY)
}

/// Makes counts rise from bucket to bucket, and says where they did not.
fn make_monotonic(buckets: &mut [Bucket]) -> Option<Fall> {
    let mut fall: Option<Fall> = None;
    let mut previous = buckets.first()?.count;
    for bucket in &mut buckets[1..] {
        let count = bucket.count;
        if count == previous {
            continue;
        }
        if almost_equal(previous, count) {
            bucket.count = previous;
        } else if count < previous {
            bucket.count = previous;
            let difference = previous - count;
            let fall = fall.get_or_insert(Fall {
                lowest: bucket.upper,
                highest: bucket.upper,
                difference_max: difference,
            });
            fall.lowest = fall.lowest.min(bucket.upper);
            fall.highest = fall.highest.max(bucket.upper);
            fall.difference_max = fall.difference_max.max(difference);
        } else {
            previous = count;
        }
    }
    fall
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// The `q`-quantile, and what had to be repaired for it. Buckets are sorted by bound.
pub(super) fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Fall>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !normalize(buckets) {
        return (f64::NAN, None);
    }
    let fall = make_monotonic(buckets);
    let count = buckets.len();
    let observations = buckets[count - 1].count;
    if count < 2 || observations == 0.0 {
        return (f64::NAN, fall);
    }
    let rank = q * observations;
    // Not less: a NaN count is beyond every rank.
    let at = buckets[..count - 1].iter().position(|bucket| bucket.count >= rank).unwrap_or(count - 1);
    let value = if at == count - 1 {
        buckets[count - 2].upper
    } else if at == 0 && buckets[0].upper <= 0.0 {
        buckets[0].upper
    } else {
        let (start, below) =
            if at == 0 { (0.0, 0.0) } else { (buckets[at - 1].upper, buckets[at - 1].count) };
        let bucket = buckets[at];
        start + (bucket.upper - start) * ((rank - below) / (bucket.count - below))
    };
    (value, fall)
}

/// The share of observations between two values. Buckets are sorted by bound.
pub(super) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !normalize(buckets) {
        return f64::NAN;
    }
    let total = buckets[buckets.len() - 1].count;
    if total == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank = |value: f64| rank_of(value, buckets).unwrap_or(total).min(total);
    (rank(upper) - rank(lower)) / total
}

/// How many observations lie below `value`. Of a bucket without a bound on one side nothing can be interpolated.
fn rank_of(value: f64, buckets: &[Bucket]) -> Option<f64> {
    let mut below = 0.0;
    let mut start = match buckets.first() {
        Some(first) if first.upper > 0.0 => 0.0,
        _ => f64::NEG_INFINITY,
    };
    for bucket in buckets {
        if start >= value {
            return Some(below);
        }
        if bucket.upper > value {
            if start == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            return Some(below + (bucket.count - below) * (value - start) / (bucket.upper - start));
        }
        (below, start) = (bucket.count, bucket.upper);
    }
    None
}
