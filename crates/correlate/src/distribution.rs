//! Distributions of measured values: histograms merged, differenced and asked for quantiles.
//!
//! Cumulative points become increases (a reset shows as a smaller count or another start and counts in full), delta
//! points are taken as they are. Distributions with different bounds are merged by upper bound; the result is as
//! fine as the finer one and as exact as the coarser.

use throughline_model::point::Histogram;
use throughline_model::record::{Point, Series};

/// OTLP's code of cumulative temporality.
const CUMULATIVE: u8 = 2;
/// OTLP's data point flag that says that no value was recorded.
const NO_RECORDED_VALUE: u32 = 1;

/// How many values fell at or below each upper bound and above the one before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Upper bound and count, ascending; the last bound may be infinite.
    buckets: Vec<(f64, u64)>,
    /// The largest value, where every merged point said so.
    max: Option<f64>,
    /// What no value is above, where every merged point said so: the largest since the start of a cumulative series.
    ceiling: Option<f64>,
}

impl Distribution {
    /// The buckets of one histogram point.
    pub fn of(histogram: &Histogram) -> Distribution {
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(histogram.bucket_counts.iter().copied()).collect();
        let max = histogram.max.filter(|max| max.is_finite());
        Distribution { buckets, max, ceiling: max }
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Distribution) {
        let is_first = self.buckets.is_empty();
        let larger = |own: Option<f64>, other: Option<f64>| match (own, other) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (None, b) if is_first => b,
            _ => None,
        };
        self.max = larger(self.max, other.max);
        self.ceiling = larger(self.ceiling, other.ceiling);
        for (bound, count) in &other.buckets {
            match self.buckets.binary_search_by(|(b, _)| b.total_cmp(bound)) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(*count),
                Err(at) => self.buckets.insert(at, (*bound, *count)),
            }
        }
    }

    /// The value below which this fraction lies, interpolated within its bucket; none without values. In the last,
    /// open bucket it is the largest value where that is known, else the highest bound.
    pub fn quantile(&self, fraction: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = fraction.clamp(0.0, 1.0) * total as f64;
        let (mut below, mut lower) = (0.0, None::<f64>);
        for (upper, count) in &self.buckets {
            let here = *count as f64;
            if *count > 0 && below + here >= rank {
                if upper.is_infinite() {
                    return self.max.or(lower);
                }
                let from = lower.unwrap_or(if *upper > 0.0 { 0.0 } else { *upper });
                let value = from + (upper - from) * ((rank - below) / here).clamp(0.0, 1.0);
                return Some(self.ceiling.map_or(value, |ceiling| value.min(ceiling)));
            }
            below += here;
            lower = Some(*upper);
        }
        lower
    }

    /// What was counted between two cumulative points; none where the later one has been reset.
    fn increase(earlier: &Histogram, later: &Histogram) -> Option<Distribution> {
        if earlier.bounds != later.bounds || earlier.bucket_counts.len() != later.bucket_counts.len() {
            return None;
        }
        let mut difference = Distribution::of(later);
        // The largest value is since the start: the interval's own may be smaller, and cannot be larger.
        difference.max = None;
        for ((_, count), before) in difference.buckets.iter_mut().zip(&earlier.bucket_counts) {
            *count = count.checked_sub(*before)?;
        }
        Some(difference)
    }
}

/// The increases of one histogram series: the time of each point and what it adds. The first cumulative point counts
/// only where its own start lies at or after `from`; otherwise it holds values from before.
pub fn increases(series: &Series, points: &[Point], from: i64) -> Vec<(i64, Distribution)> {
    let mut out = Vec::with_capacity(points.len());
    let mut before: Option<(i64, Histogram)> = None;
    for point in points.iter().filter(|point| point.flags & NO_RECORDED_VALUE == 0) {
        let Ok(histogram) = Histogram::decode(&point.payload) else { continue };
        if series.temporality != CUMULATIVE {
            out.push((point.time, Distribution::of(&histogram)));
            continue;
        }
        let added = match &before {
            Some((start, earlier)) if *start == point.start_time => Some(
                Distribution::increase(earlier, &histogram).unwrap_or_else(|| Distribution::of(&histogram)),
            ),
            Some(_) => Some(Distribution::of(&histogram)),
            None => (point.start_time >= from && point.start_time > 0).then(|| Distribution::of(&histogram)),
        };
        out.extend(added.filter(|added| added.count() > 0).map(|added| (point.time, added)));
        before = Some((point.start_time, histogram));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: &[u64]) -> Histogram {
        Histogram {
            bucket_counts: counts.to_vec(),
            bounds: vec![10.0, 100.0, 1000.0],
            ..Histogram::default()
        }
    }

    #[test]
    fn quantiles_interpolate() {
        let distribution = Distribution::of(&histogram(&[90, 10, 0, 0]));
        assert_eq!(distribution.quantile(0.45), Some(5.0));
        assert_eq!(distribution.quantile(0.95), Some(55.0));
        assert_eq!(distribution.quantile(1.0), Some(100.0));
        assert_eq!(Distribution::default().quantile(0.5), None);
    }

    #[test]
    fn the_open_bucket_answers_with_what_is_known() {
        let open = histogram(&[0, 0, 0, 4]);
        assert_eq!(Distribution::of(&open).quantile(0.5), Some(1000.0));
        let known = Histogram { max: Some(1234.0), ..open };
        assert_eq!(Distribution::of(&known).quantile(0.5), Some(1234.0));
    }

    #[test]
    fn an_increase_stays_below_the_largest_value_since_the_start() {
        let earlier = Histogram { max: Some(120.0), ..histogram(&[5, 0, 0, 0]) };
        let later = Histogram { max: Some(120.0), ..histogram(&[5, 0, 4, 0]) };
        let increase = Distribution::increase(&earlier, &later).unwrap();
        assert_eq!((increase.count(), increase.quantile(0.99)), (4, Some(120.0)));
    }

    #[test]
    fn different_bounds_merge_by_upper_bound() {
        let mut merged = Distribution::of(&histogram(&[5, 0, 0, 0]));
        let other =
            Histogram { bucket_counts: vec![0, 5, 0], bounds: vec![50.0, 200.0], ..Histogram::default() };
        merged.merge(&Distribution::of(&other));
        assert_eq!(merged.count(), 10);
        assert_eq!(merged.quantile(1.0), Some(200.0));
    }

    #[test]
    fn a_reset_counts_in_full() {
        let later = histogram(&[2, 0, 0, 0]);
        assert_eq!(Distribution::increase(&histogram(&[5, 0, 0, 0]), &later), None);
        let grown = Distribution::increase(&histogram(&[1, 0, 0, 0]), &later).expect("grown");
        assert_eq!(grown.count(), 1);
    }
}
