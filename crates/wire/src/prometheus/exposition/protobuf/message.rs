//! The messages below a family.

use std::borrow::Cow;

use throughline_model::native_histogram::{NativeHistogram, Span};
use throughline_model::protobuf::{Field, Reader};

use super::super::{Exemplar, Pair};
use super::broken;

/// `Metric`: labels, time, and one value, as its bytes.
#[derive(Default)]
pub struct Metric<'a> {
    pub labels: Vec<Pair<'a>>,
    pub timestamp_ms: Option<i64>,
    pub gauge: &'a [u8],
    pub counter: &'a [u8],
    pub summary: &'a [u8],
    pub untyped: &'a [u8],
    pub histogram: &'a [u8],
}

/// `Counter`, `Gauge`, `Untyped`.
#[derive(Default)]
pub struct Number<'a> {
    pub value: f64,
    pub exemplar: Option<Exemplar<'a>>,
    pub start_timestamp_ms: i64,
}

/// `Summary`.
#[derive(Default)]
pub struct Summary {
    pub count: f64,
    pub sum: f64,
    pub quantiles: Vec<(f64, f64)>,
    pub start_timestamp_ms: i64,
}

/// `Histogram`, of both kinds.
#[derive(Default)]
pub struct Histogram<'a> {
    pub native: NativeHistogram,
    pub is_native: bool,
    pub buckets: Vec<Bucket<'a>>,
    pub exemplars: Vec<Exemplar<'a>>,
    pub start_timestamp_ms: i64,
}

/// `Bucket` of a classic histogram.
#[derive(Default)]
pub struct Bucket<'a> {
    pub cumulative: f64,
    pub bound: f64,
    pub exemplar: Option<Exemplar<'a>>,
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> Result<&str, String> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| "text is not UTF-8".to_owned())
}

impl<'a> Metric<'a> {
    pub fn read(message: &'a [u8]) -> Result<Metric<'a>, String> {
        let mut metric = Metric::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field().map_err(broken)? {
            match (number, field) {
                (1, Field::Bytes(pair)) => metric.labels.push(read_pair(pair)?),
                (2, Field::Bytes(bytes)) => metric.gauge = bytes,
                (3, Field::Bytes(bytes)) => metric.counter = bytes,
                (4, Field::Bytes(bytes)) => metric.summary = bytes,
                (5, Field::Bytes(bytes)) => metric.untyped = bytes,
                (6, Field::Varint(ms)) => metric.timestamp_ms = (ms != 0).then_some(ms.cast_signed()),
                (7, Field::Bytes(bytes)) => metric.histogram = bytes,
                _ => {}
            }
        }
        Ok(metric)
    }
}

impl<'a> Number<'a> {
    pub fn read(message: &'a [u8]) -> Result<Number<'a>, String> {
        let mut out = Number::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field().map_err(broken)? {
            match (number, field) {
                (1, Field::Fixed64(bits)) => out.value = f64::from_bits(bits),
                (2, Field::Bytes(bytes)) => out.exemplar = Some(read_exemplar(bytes)?),
                (3, Field::Bytes(bytes)) => out.start_timestamp_ms = read_time(bytes)?,
                _ => {}
            }
        }
        Ok(out)
    }
}

impl Summary {
    pub fn read(message: &[u8]) -> Result<Summary, String> {
        let mut out = Summary::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field().map_err(broken)? {
            match (number, field) {
                (1, Field::Varint(count)) => out.count = count as f64,
                (2, Field::Fixed64(bits)) => out.sum = f64::from_bits(bits),
                (3, Field::Bytes(bytes)) => {
                    let pair = Bucket::read(bytes, true)?;
                    out.quantiles.push((pair.cumulative, pair.bound));
                }
                (4, Field::Bytes(bytes)) => out.start_timestamp_ms = read_time(bytes)?,
                _ => {}
            }
        }
        Ok(out)
    }
}

impl<'a> Histogram<'a> {
    pub fn read(message: &'a [u8]) -> Result<Histogram<'a>, String> {
        let mut out = Histogram::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field().map_err(broken)? {
            match (number, field) {
                (3, Field::Bytes(bytes)) => out.buckets.push(Bucket::read(bytes, false)?),
                (15, Field::Bytes(bytes)) => out.start_timestamp_ms = read_time(bytes)?,
                (16, Field::Bytes(bytes)) => out.exemplars.push(read_exemplar(bytes)?),
                _ => out.read_native(number, field)?,
            }
        }
        let native = &mut out.native;
        native.is_float = native.count_float > 0.0 || native.zero_count_float > 0.0;
        out.is_native = !native.negative.spans.is_empty()
            || !native.positive.spans.is_empty()
            || native.zero_threshold > 0.0
            || native.zero_count() > 0.0;
        Ok(out)
    }

    fn read_native(&mut self, number: u32, field: Field<'_>) -> Result<(), String> {
        let native = &mut self.native;
        match (number, field) {
            (1, Field::Varint(count)) => native.count_int = count,
            (2, Field::Fixed64(bits)) => native.sum = f64::from_bits(bits),
            (4, Field::Fixed64(bits)) => native.count_float = f64::from_bits(bits),
            (5, Field::Varint(n)) => native.schema = zigzag(n) as i32,
            (6, Field::Fixed64(bits)) => native.zero_threshold = f64::from_bits(bits),
            (7, Field::Varint(count)) => native.zero_count_int = count,
            (8, Field::Fixed64(bits)) => native.zero_count_float = f64::from_bits(bits),
            (9, Field::Bytes(span)) => native.negative.spans.push(read_span(span)?),
            (10, field) => push_deltas(&mut native.negative.deltas, field)?,
            (11, field) => push_counts(&mut native.negative.counts, field)?,
            (12, Field::Bytes(span)) => native.positive.spans.push(read_span(span)?),
            (13, field) => push_deltas(&mut native.positive.deltas, field)?,
            (14, field) => push_counts(&mut native.positive.counts, field)?,
            _ => {}
        }
        Ok(())
    }

    /// The number of values.
    pub fn count(&self) -> f64 {
        self.native.count()
    }
}

impl<'a> Bucket<'a> {
    /// Reads a `Bucket`, or a `Quantile`, whose first field is a double.
    fn read(message: &'a [u8], is_quantile: bool) -> Result<Bucket<'a>, String> {
        let mut out = Bucket::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field().map_err(broken)? {
            match (number, field) {
                (1, Field::Fixed64(bits)) if is_quantile => out.cumulative = f64::from_bits(bits),
                (1, Field::Varint(count)) => out.cumulative = count as f64,
                (2, Field::Fixed64(bits)) => out.bound = f64::from_bits(bits),
                (3, Field::Bytes(bytes)) => out.exemplar = Some(read_exemplar(bytes)?),
                (4, Field::Fixed64(bits)) if f64::from_bits(bits) > 0.0 => {
                    out.cumulative = f64::from_bits(bits)
                }
                _ => {}
            }
        }
        Ok(out)
    }
}

fn read_pair(message: &[u8]) -> Result<Pair<'_>, String> {
    let (mut name, mut value) = ("", "");
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field().map_err(broken)? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => name = text(bytes)?,
            (2, Field::Bytes(bytes)) => value = text(bytes)?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err("a label has no name".to_owned());
    }
    Ok((Cow::Borrowed(name), Cow::Borrowed(value)))
}

fn read_exemplar(message: &[u8]) -> Result<Exemplar<'_>, String> {
    let mut out = Exemplar { labels: Vec::new(), value: 0.0, timestamp_ms: None };
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field().map_err(broken)? {
        match (number, field) {
            (1, Field::Bytes(pair)) => out.labels.push(read_pair(pair)?),
            (2, Field::Fixed64(bits)) => out.value = f64::from_bits(bits),
            (3, Field::Bytes(bytes)) => out.timestamp_ms = Some(read_time(bytes)?),
            _ => {}
        }
    }
    Ok(out)
}

/// `google.protobuf.Timestamp`, in milliseconds.
fn read_time(message: &[u8]) -> Result<i64, String> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field().map_err(broken)? {
        match (number, field) {
            (1, Field::Varint(n)) => seconds = n.cast_signed(),
            (2, Field::Varint(n)) => nanos = n.cast_signed(),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

fn read_span(message: &[u8]) -> Result<Span, String> {
    let mut span = Span::default();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field().map_err(broken)? {
        match (number, field) {
            (1, Field::Varint(n)) => span.offset = zigzag(n) as i32,
            (2, Field::Varint(n)) => {
                span.length = u32::try_from(n).map_err(|_| "a span is too long".to_owned())?
            }
            _ => {}
        }
    }
    Ok(span)
}

fn push_deltas(out: &mut Vec<i64>, field: Field<'_>) -> Result<(), String> {
    match field {
        Field::Varint(n) => out.push(zigzag(n)),
        Field::Bytes(packed) => {
            let mut reader = Reader::new(packed);
            while !reader.rest().is_empty() {
                out.push(zigzag(reader.varint().map_err(broken)?));
            }
        }
        _ => {}
    }
    Ok(())
}

fn push_counts(out: &mut Vec<f64>, field: Field<'_>) -> Result<(), String> {
    match field {
        Field::Fixed64(bits) => out.push(f64::from_bits(bits)),
        Field::Bytes(packed) => {
            let (chunks, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err("a packed list of doubles ends inside one".to_owned());
            }
            out.extend(chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)));
        }
        _ => {}
    }
    Ok(())
}

fn zigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}
