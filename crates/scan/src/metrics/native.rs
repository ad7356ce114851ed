//! Stored histograms as native ones.

use throughline_exec::histogram::{
    Buckets, CUSTOM_SCHEMA, CounterResetHint, EXPONENTIAL_SCHEMA_MAX, FloatHistogram, Span,
};
use throughline_exec::stale_nan;
use throughline_model::native_histogram::{
    Buckets as StoredBuckets, NativeHistogram, ResetHint, Span as StoredSpan,
};
use throughline_model::point::{ExponentialBuckets, ExponentialHistogram};

use super::translate::SCALE_MIN;

/// The zero bucket's half width where the sender did not say one; Prometheus's.
const ZERO_THRESHOLD: f64 = 1e-128;

/// Buckets of a payload that are turned into a histogram at most: as many as remote write takes of one histogram many
/// times over, and a bound on what a short payload can ask for.
const BUCKETS_MAX: u64 = 100_000;

/// The marker that a series of histograms ended.
pub(super) fn stale() -> FloatHistogram {
    FloatHistogram { sum: stale_nan(), ..FloatHistogram::default() }
}

/// An exponential histogram of OTLP. `None` where its scale is too coarse for a native histogram, or it is malformed.
pub(super) fn of_exponential(payload: &[u8]) -> Option<FloatHistogram> {
    let point = ExponentialHistogram::decode(payload).ok().filter(|point| point.scale >= SCALE_MIN)?;
    // Buckets finer than the finest schema are merged: an index of scale s is index >> (s - 8) of scale 8.
    let shift = (point.scale - EXPONENTIAL_SCHEMA_MAX).clamp(0, 31);
    Some(FloatHistogram {
        schema: point.scale.min(EXPONENTIAL_SCHEMA_MAX),
        zero_threshold: if point.zero_threshold > 0.0 { point.zero_threshold } else { ZERO_THRESHOLD },
        zero_count: point.zero_count as f64,
        count: point.count as f64,
        sum: point.sum.unwrap_or_default(),
        positive: exponential_buckets(&point.positive, shift),
        negative: exponential_buckets(&point.negative, shift),
        ..FloatHistogram::default()
    })
}

/// OTLP's bucket `i` ends at base^(i+1), Prometheus's at base^i.
fn exponential_buckets(buckets: &ExponentialBuckets, shift: i32) -> Buckets {
    let mut merged: Vec<(i32, f64)> = Vec::with_capacity(buckets.counts.len());
    for (at, count) in buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let index = (buckets.offset.saturating_add(at as i32) >> shift).saturating_add(1);
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += *count as f64,
            _ => merged.push((index, *count as f64)),
        }
    }
    Buckets::from_sorted(merged)
}

/// A histogram as Prometheus sent it. `sum` is the point's value. `None` where it is malformed.
pub(super) fn of_prometheus(payload: &[u8], sum: f64) -> Option<FloatHistogram> {
    let stored = NativeHistogram::decode_absolute(payload).ok()?;
    if stored.positive.len() > BUCKETS_MAX || stored.negative.len() > BUCKETS_MAX {
        return None;
    }
    let known_schema =
        stored.schema == CUSTOM_SCHEMA || (SCALE_MIN..=EXPONENTIAL_SCHEMA_MAX).contains(&stored.schema);
    known_schema.then(|| FloatHistogram {
        schema: stored.schema,
        zero_threshold: stored.zero_threshold,
        zero_count: stored.zero_count(),
        count: stored.count(),
        sum,
        positive: prometheus_buckets(stored.positive),
        negative: prometheus_buckets(stored.negative),
        custom_values: stored.custom_bounds,
        counter_reset_hint: match stored.reset_hint {
            ResetHint::Unknown => CounterResetHint::Unknown,
            ResetHint::Yes => CounterResetHint::Reset,
            ResetHint::No => CounterResetHint::NotReset,
            ResetHint::Gauge => CounterResetHint::Gauge,
        },
    })
}

fn prometheus_buckets(buckets: StoredBuckets) -> Buckets {
    let n = usize::try_from(buckets.len()).unwrap_or(usize::MAX);
    // Both kinds of span are laid out alike: they are made anew where they lie.
    let spans = buckets.spans.into_iter().map(|span| Span { offset: span.offset, length: span.length });
    let mut counts = buckets.counts;
    counts.truncate(n);
    Buckets { spans: spans.collect(), counts }
}

/// A histogram as Prometheus takes it.
pub fn to_prometheus(histogram: &FloatHistogram) -> NativeHistogram {
    NativeHistogram {
        is_float: true,
        count_float: histogram.count,
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count_float: histogram.zero_count,
        negative: spans(&histogram.negative),
        positive: spans(&histogram.positive),
        reset_hint: match histogram.counter_reset_hint {
            CounterResetHint::Unknown => ResetHint::Unknown,
            CounterResetHint::Reset => ResetHint::Yes,
            CounterResetHint::NotReset => ResetHint::No,
            CounterResetHint::Gauge => ResetHint::Gauge,
        },
        custom_bounds: histogram.custom_values.clone(),
        ..NativeHistogram::default()
    }
}

fn spans(buckets: &Buckets) -> StoredBuckets {
    let span = |span: &Span| StoredSpan { offset: span.offset, length: span.length };
    StoredBuckets {
        spans: buckets.spans.iter().map(span).collect(),
        deltas: Vec::new(),
        counts: buckets.counts.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fine_scales_are_merged_down() {
        let buckets = ExponentialBuckets { offset: -3, counts: vec![1, 2, 0, 4] };
        let merged: Vec<(i32, f64)> = exponential_buckets(&buckets, 1).iter().collect();
        // Indexes -3, -2, -1, 0 become -2, -1, -1, 0, and one more in Prometheus's count.
        assert_eq!(merged, [(-1, 1.0), (0, 2.0), (1, 4.0)]);
        let same: Vec<(i32, f64)> =
            exponential_buckets(&buckets, 0).iter().filter(|(_, count)| *count > 0.0).collect();
        assert_eq!(same, [(-2, 1.0), (-1, 2.0), (1, 4.0)]);
    }

    #[test]
    fn histograms_go_out_as_they_came_in() {
        let payload = NativeHistogram {
            is_float: true,
            count_float: 6.0,
            sum: 2.5,
            schema: 2,
            zero_threshold: 0.001,
            zero_count_float: 1.0,
            positive: StoredBuckets {
                spans: vec![StoredSpan { offset: -2, length: 2 }, StoredSpan { offset: 3, length: 1 }],
                counts: vec![1.0, 2.0, 2.0],
                ..StoredBuckets::default()
            },
            ..NativeHistogram::default()
        };
        let histogram = of_prometheus(&payload.encode(), payload.sum).unwrap();
        assert_eq!(to_prometheus(&histogram), payload);
    }
}
