//! What becomes of the numbers of spans, interval by interval.

use super::Intervals;
use crate::ast::SpanFunction;
use crate::value::Scalar;

/// The number of a value: a duration in seconds.
pub(crate) fn seconds(scalar: Scalar<'_>) -> Option<f64> {
    match scalar {
        Scalar::Duration(ns) => Some(ns as f64 / 1e9),
        other => other.number(),
    }
}

/// The bucket of a value in a histogram: the power of two that it is not greater than, and what it is divided by to be written.
/// Durations have buckets of nanoseconds, and are written in seconds. What is below two, and what is no whole number, is in none.
fn exponent(scalar: Scalar<'_>) -> Option<(u32, f64)> {
    let (value, scale) = match scalar {
        Scalar::Int(value) => (value, 1.0),
        Scalar::Duration(ns) => (ns, 1e9),
        _ => return None,
    };
    let value = u64::try_from(value).ok().filter(|value| *value >= 2)?;
    Some((u64::BITS - (value - 1).leading_zeros(), scale))
}

/// The upper bound of a bucket.
fn bound(exponent: u32, scale: f64) -> f64 {
    2f64.powi(exponent as i32) / scale
}

/// One series under construction.
#[derive(Clone, Debug)]
pub(crate) enum Folded {
    /// Spans.
    Counts(Vec<f64>),
    /// Least, greatest, or sum of numbers.
    Numbers(Vec<f64>),
    /// Sums with what they lost to rounding, and counts.
    Means(Vec<(f64, f64, f64)>),
    /// By bucket: its upper bound, and spans.
    Buckets(Vec<Option<(f64, Vec<f64>)>>),
}

impl Folded {
    pub fn new(function: SpanFunction, intervals: &Intervals) -> Folded {
        match function {
            SpanFunction::Rate | SpanFunction::CountOverTime => Folded::Counts(vec![0.0; intervals.count]),
            SpanFunction::SumOverTime | SpanFunction::MinOverTime | SpanFunction::MaxOverTime => {
                Folded::Numbers(vec![f64::NAN; intervals.count])
            }
            SpanFunction::AvgOverTime => Folded::Means(vec![(0.0, 0.0, 0.0); intervals.count]),
            SpanFunction::QuantileOverTime | SpanFunction::HistogramOverTime => Folded::Buckets(Vec::new()),
        }
    }

    /// The bytes that it takes for each interval.
    pub fn interval_bytes(function: SpanFunction) -> u64 {
        match function {
            SpanFunction::AvgOverTime => 24,
            // A few buckets are in use.
            SpanFunction::QuantileOverTime | SpanFunction::HistogramOverTime => 64,
            _ => 8,
        }
    }

    /// Takes a span.
    pub fn add(
        &mut self,
        function: SpanFunction,
        interval: usize,
        intervals: &Intervals,
        value: Option<Scalar<'_>>,
    ) {
        match self {
            Folded::Counts(counts) => {
                if let Some(count) = counts.get_mut(interval) {
                    *count += 1.0;
                }
            }
            Folded::Numbers(numbers) => {
                let (Some(place), Some(number)) = (numbers.get_mut(interval), value.and_then(seconds)) else {
                    return;
                };
                let is_first = place.is_nan();
                match function {
                    _ if is_first => *place = number,
                    SpanFunction::MinOverTime => *place = place.min(number),
                    SpanFunction::MaxOverTime => *place = place.max(number),
                    _ => *place += number,
                }
            }
            Folded::Means(means) => {
                let (Some((sum, lost, count)), Some(number)) =
                    (means.get_mut(interval), value.and_then(seconds))
                else {
                    return;
                };
                // Neumaier's sum.
                let next = *sum + number;
                *lost +=
                    if sum.abs() >= number.abs() { (*sum - next) + number } else { (number - next) + *sum };
                (*sum, *count) = (next, *count + 1.0);
            }
            Folded::Buckets(buckets) => {
                let Some((exponent, scale)) = value.and_then(exponent) else { return };
                let at = exponent as usize;
                if buckets.len() <= at {
                    buckets.resize(at + 1, None);
                }
                let Some(bucket) = buckets.get_mut(at) else { return };
                let (_, counts) =
                    bucket.get_or_insert_with(|| (bound(exponent, scale), vec![0.0; intervals.count]));
                if let Some(count) = counts.get_mut(interval) {
                    *count += 1.0;
                }
            }
        }
    }

    /// Takes what another one of the same function has.
    pub fn join(&mut self, function: SpanFunction, other: Folded) {
        match (self, other) {
            (Folded::Counts(counts), Folded::Counts(others)) => add_up(counts, &others),
            (Folded::Numbers(numbers), Folded::Numbers(others)) => {
                for (place, number) in numbers.iter_mut().zip(others) {
                    *place = match function {
                        _ if number.is_nan() => *place,
                        _ if place.is_nan() => number,
                        SpanFunction::MinOverTime => place.min(number),
                        SpanFunction::MaxOverTime => place.max(number),
                        _ => *place + number,
                    };
                }
            }
            (Folded::Means(means), Folded::Means(others)) => {
                for ((sum, lost, count), (other, also_lost, n)) in means.iter_mut().zip(others) {
                    let next = *sum + other;
                    *lost += also_lost;
                    *lost +=
                        if sum.abs() >= other.abs() { (*sum - next) + other } else { (other - next) + *sum };
                    (*sum, *count) = (next, *count + n);
                }
            }
            (Folded::Buckets(buckets), Folded::Buckets(others)) => {
                if buckets.len() < others.len() {
                    buckets.resize(others.len(), None);
                }
                for (bucket, other) in buckets.iter_mut().zip(others) {
                    match (bucket, other) {
                        (Some((_, counts)), Some((_, others))) => add_up(counts, &others),
                        (bucket, Some(other)) => *bucket = Some(other),
                        (_, None) => {}
                    }
                }
            }
            // Both are of one function.
            _ => {}
        }
    }

    /// Whether nothing was taken that makes a series.
    pub fn is_empty(&self) -> bool {
        matches!(self, Folded::Buckets(buckets) if buckets.iter().all(Option::is_none))
    }

    /// The values of the intervals, NaN where there is none; of buckets nothing.
    pub fn values(self, function: SpanFunction, intervals: &Intervals) -> Vec<f64> {
        match self {
            Folded::Counts(counts) if function == SpanFunction::Rate => {
                let per_second = 1.0 / intervals.step_seconds();
                counts.into_iter().map(|count| count * per_second).collect()
            }
            Folded::Counts(values) | Folded::Numbers(values) => values,
            Folded::Means(means) => {
                means.into_iter().map(|(sum, lost, count)| (sum + lost) / count).collect()
            }
            Folded::Buckets(_) => Vec::new(),
        }
    }
}

fn add_up(counts: &mut [f64], others: &[f64]) {
    counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
}

/// The buckets of one interval, lowest first: upper bounds and counts.
pub(crate) fn buckets_at(buckets: &[Option<(f64, Vec<f64>)>], interval: usize) -> Vec<(f64, f64)> {
    let count =
        |(bound, counts): &(f64, Vec<f64>)| (*bound, counts.get(interval).copied().unwrap_or_default());
    buckets.iter().flatten().map(count).filter(|(_, count)| *count > 0.0).collect()
}

/// A quantile of buckets, lowest first: between the bounds of a bucket it grows as powers do. Zero without any.
pub(crate) fn quantile(quantile: f64, buckets: &[(f64, f64)]) -> f64 {
    let total: f64 = buckets.iter().map(|(_, count)| count).sum();
    // At least one span is looked at.
    let rank = (quantile * total).ceil().max(1.0);
    let mut before = 0.0;
    let mut lower: Option<f64> = None;
    for (bound, count) in buckets {
        if before + count == rank {
            return *bound;
        }
        if before + count > rank {
            let share = (rank - before) / count;
            let (high, low) = (bound.log2(), lower.map_or(bound.log2() - 1.0, f64::log2));
            return (low + (high - low) * share).exp2();
        }
        before += count;
        lower = Some(*bound);
    }
    lower.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        let bucket = |value| exponent(value).map(|(exponent, scale)| bound(exponent, scale));
        for (value, expected) in
            [(1, None), (2, Some(2.0)), (3, Some(4.0)), (4, Some(4.0)), (1025, Some(2048.0))]
        {
            assert_eq!(bucket(Scalar::Int(value)), expected, "{value}");
        }
        assert_eq!(bucket(Scalar::Duration(1_000_000_000)), Some(1.073741824));
        assert!(bucket(Scalar::Float(5.0)).is_none());
    }

    #[test]
    fn quantiles_grow_within_a_bucket() {
        assert_eq!(quantile(0.5, &[]), 0.0);
        assert_eq!(quantile(1.0, &[(2.0, 1.0), (4.0, 1.0)]), 4.0);
        assert_eq!(quantile(0.5, &[(2.0, 1.0), (4.0, 1.0)]), 2.0);
        assert_eq!(quantile(0.0, &[(4.0, 4.0)]), 2f64.powf(1.25));
    }
}
