//! Values of queries as JSON, written straight into bytes: a matrix may have millions of samples.

use throughline_exec::{FloatHistogram, Labels};
use throughline_promql::value::{QueryValue, RangeSeries, Sample};

use super::reply::{put_float, put_seconds};

/// `resultType` and `result` of a value, as the inside of a JSON object. Returns whether items were left out.
pub(super) fn put_value(out: &mut Vec<u8>, value: &QueryValue, time_ms: i64, limit: Option<usize>) -> bool {
    let limit = limit.unwrap_or(usize::MAX);
    match value {
        QueryValue::Scalar(number) => {
            out.extend_from_slice(br#""resultType":"scalar","result":"#);
            put_number_pair(out, time_ms, *number);
            false
        }
        QueryValue::Text(text) => {
            out.extend_from_slice(br#""resultType":"string","result":"#);
            put_pair(out, time_ms, text);
            false
        }
        QueryValue::Vector(samples) => {
            out.extend_from_slice(br#""resultType":"vector","result":["#);
            for (at, sample) in samples.iter().take(limit).enumerate() {
                separate(out, at);
                out.extend_from_slice(br#"{"metric":"#);
                put_labels(out, &sample.labels);
                match &sample.sample {
                    Sample::Float(value) => {
                        out.extend_from_slice(br#","value":"#);
                        put_number_pair(out, time_ms, *value);
                    }
                    Sample::Histogram(histogram) => {
                        out.extend_from_slice(br#","histogram":"#);
                        put_histogram_pair(out, time_ms, histogram);
                    }
                }
                out.push(b'}');
            }
            out.push(b']');
            samples.len() > limit
        }
        QueryValue::Matrix(series) => {
            out.extend_from_slice(br#""resultType":"matrix","result":["#);
            for (at, series) in series.iter().take(limit).enumerate() {
                separate(out, at);
                put_series(out, series);
            }
            out.push(b']');
            series.len() > limit
        }
    }
}

pub(crate) fn separate(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.push(b',');
    }
}

fn put_series(out: &mut Vec<u8>, series: &RangeSeries) {
    out.extend_from_slice(br#"{"metric":"#);
    put_labels(out, &series.labels);
    if !series.floats.is_empty() {
        out.extend_from_slice(br#","values":["#);
        for (at, (time, value)) in series.floats.iter().enumerate() {
            separate(out, at);
            put_number_pair(out, *time, *value);
        }
        out.push(b']');
    }
    if !series.histograms.is_empty() {
        out.extend_from_slice(br#","histograms":["#);
        for (at, (time, histogram)) in series.histograms.iter().enumerate() {
            separate(out, at);
            put_histogram_pair(out, *time, histogram);
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// Whether a text stands in JSON as it is. Without an early exit, so that many bytes are looked at at once.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

fn put_quoted_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// A JSON text.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        return put_quoted_text(out, text);
    }
    match serde_json::to_vec(text) {
        Ok(json) => out.extend_from_slice(&json),
        Err(_) => out.extend_from_slice(b"\"\""),
    }
}

pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    // Mostly nothing in any of them has to be escaped, which one look at all of them says.
    let put = if is_plain(labels.text()) { put_quoted_text } else { put_text };
    out.reserve(labels_bytes(labels));
    out.push(b'{');
    for (at, (name, value)) in labels.iter().enumerate() {
        separate(out, at);
        put(out, name);
        out.push(b':');
        put(out, value);
    }
    out.push(b'}');
}

/// Quotes, a colon and a comma of each label, and braces.
fn labels_bytes(labels: &Labels) -> usize {
    labels.text().len() + 6 * labels.len() + 2
}

/// How many bytes a value takes as JSON, about: what is written into one buffer should seldom be copied to a larger one.
pub(super) fn room_for(value: &QueryValue, limit: Option<usize>) -> usize {
    let limit = limit.unwrap_or(usize::MAX);
    match value {
        QueryValue::Scalar(_) | QueryValue::Text(_) => 0,
        QueryValue::Vector(samples) => {
            samples.iter().take(limit).map(|sample| labels_bytes(&sample.labels) + SAMPLE_BYTES).sum()
        }
        QueryValue::Matrix(series) => {
            let bytes = |series: &RangeSeries| {
                labels_bytes(&series.labels) + series.floats.len() * PAIR_BYTES + SAMPLE_BYTES
            };
            series.iter().take(limit).map(bytes).sum()
        }
    }
}

/// What a sample takes beside its labels, about.
const SAMPLE_BYTES: usize = 64;

/// What a time and a value take, about.
const PAIR_BYTES: usize = 34;

fn put_pair(out: &mut Vec<u8>, time_ms: i64, text: &str) {
    out.push(b'[');
    put_seconds(out, time_ms);
    out.push(b',');
    put_text(out, text);
    out.push(b']');
}

fn put_number_pair(out: &mut Vec<u8>, time_ms: i64, value: f64) {
    out.push(b'[');
    put_seconds(out, time_ms);
    out.push(b',');
    put_quoted(out, value);
    out.push(b']');
}

fn put_quoted(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    put_float(out, value);
    out.push(b'"');
}

/// The number that says which ends of a bucket belong to it.
fn boundary_rule(lower_inclusive: bool, upper_inclusive: bool) -> u8 {
    match (lower_inclusive, upper_inclusive) {
        (false, true) => 0,
        (true, false) => 1,
        (false, false) => 2,
        (true, true) => 3,
    }
}

fn put_histogram_pair(out: &mut Vec<u8>, time_ms: i64, histogram: &FloatHistogram) {
    out.push(b'[');
    put_seconds(out, time_ms);
    out.extend_from_slice(br#",{"count":"#);
    put_quoted(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    put_quoted(out, histogram.sum);
    let mut buckets = histogram.all_buckets().into_iter().filter(|bucket| bucket.count != 0.0).peekable();
    if buckets.peek().is_some() {
        out.extend_from_slice(br#","buckets":["#);
        for (at, bucket) in buckets.enumerate() {
            separate(out, at);
            out.push(b'[');
            out.push(b'0' + boundary_rule(bucket.lower_inclusive, bucket.upper_inclusive));
            for number in [bucket.lower, bucket.upper, bucket.count] {
                out.push(b',');
                put_quoted(out, number);
            }
            out.push(b']');
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}
