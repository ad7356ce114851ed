//! Native histograms: what makes one valid, and what of its message is stored.

use throughline_model::native_histogram::{
    Buckets, CUSTOM_BOUNDS_SCHEMA, NativeHistogram, START_TIME_FIELD, TIME_FIELD,
};
use throughline_model::point::STALE_BITS;
use throughline_model::protobuf::{Field, Malformed, Reader};

use crate::prometheus::refusal::BadHistogram;

/// What stands beside a histogram's payload.
pub(super) struct Read {
    pub time_ms: i64,
    pub start_ms: i64,
    pub sum: f64,
}

/// Reads a `Histogram` message; what is stored of it is left in `payload`.
pub(super) fn read(message: &[u8], payload: &mut Vec<u8>) -> Result<Result<Read, BadHistogram>, Malformed> {
    payload.clear();
    let (mut time_ms, mut start_ms) = (0, 0);
    let mut reader = Reader::new(message);
    loop {
        let before = reader.rest();
        match reader.next_field()? {
            None => break,
            Some((TIME_FIELD, Field::Varint(ms))) => time_ms = ms as i64,
            Some((START_TIME_FIELD, Field::Varint(ms))) => start_ms = ms as i64,
            Some(_) => {
                let taken = before.len() - reader.rest().len();
                payload.extend_from_slice(before.get(..taken).unwrap_or_default());
            }
        }
    }
    let histogram = NativeHistogram::decode(payload)?;
    Ok(check(&histogram).map(|()| Read { time_ms, start_ms, sum: histogram.sum }))
}

/// The rules of Prometheus: a histogram that breaks one would be answered wrongly.
fn check(histogram: &NativeHistogram) -> Result<(), BadHistogram> {
    if histogram.sum.to_bits() == STALE_BITS {
        return Ok(());
    }
    let NativeHistogram { schema, custom_bounds, negative, positive, .. } = histogram;
    if *schema == CUSTOM_BOUNDS_SCHEMA {
        if !negative.is_empty() || histogram.zero_count() != 0.0 || histogram.zero_threshold != 0.0 {
            return Err(BadHistogram::CustomNegative);
        }
        let named: u64 = bucket_end(positive);
        if !custom_bounds.is_sorted_by(|a, b| a < b)
            || custom_bounds.iter().any(|bound| bound.is_nan())
            || named > custom_bounds.len() as u64 + 1
        {
            return Err(BadHistogram::CustomBounds);
        }
    } else if !(-4..=8).contains(schema) {
        return Err(BadHistogram::Schema { schema: *schema });
    } else if !custom_bounds.is_empty() {
        return Err(BadHistogram::CustomBounds);
    }
    if histogram.zero_threshold.is_nan() || histogram.zero_threshold < 0.0 {
        return Err(BadHistogram::ZeroThreshold);
    }
    let mut sum = histogram.zero_count();
    for buckets in [negative, positive] {
        sum += check_buckets(buckets, histogram.is_float)?;
    }
    let count = histogram.count();
    if [count, histogram.zero_count()].into_iter().any(|count| count.is_nan() || count < 0.0) {
        return Err(BadHistogram::NegativeCount);
    }
    // Values that are not a number are in the count and in no bucket; then the sum is not a number either. Counts of
    // floats need not add up: they were computed.
    let adds_up = if histogram.sum.is_nan() { sum <= count } else { sum == count };
    if !histogram.is_float && !adds_up {
        return Err(BadHistogram::Count { count, buckets: sum });
    }
    Ok(())
}

/// One past the last bucket that the spans name.
fn bucket_end(buckets: &Buckets) -> u64 {
    let spans = buckets.spans.iter();
    spans.map(|span| u64::from(span.offset.max(0) as u32) + u64::from(span.length)).sum()
}

/// Checks the buckets of one sign; the sum of their counts.
fn check_buckets(buckets: &Buckets, is_float: bool) -> Result<f64, BadHistogram> {
    let counted = if is_float { buckets.counts.len() } else { buckets.deltas.len() } as u64;
    let other_form = if is_float { buckets.deltas.len() } else { buckets.counts.len() };
    if other_form > 0 {
        return Err(BadHistogram::BothForms);
    }
    if let Some(span) = buckets.spans.iter().skip(1).position(|span| span.offset < 0) {
        return Err(BadHistogram::SpanOffset { span: span + 1 });
    }
    if buckets.len() != counted {
        return Err(BadHistogram::Buckets { spans: buckets.len(), buckets: counted });
    }
    let counts = buckets.absolute();
    if !counts.iter().all(|count| *count >= 0.0) {
        return Err(BadHistogram::NegativeCount);
    }
    Ok(counts.iter().sum())
}
