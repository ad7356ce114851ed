//! Native histograms of Prometheus: exponential buckets that are named by spans, or custom bounds.
//!
//! The form in the store is the `Histogram` message of Prometheus' remote write (the field numbers are those of 1.0 and
//! 2.0 alike), without its two times, which are the point's own.

use crate::protobuf::{Field, Malformed, Reader, put_bytes, put_fixed64, put_number, put_varint};

/// The schema of histograms whose bounds are listed.
pub const CUSTOM_BOUNDS_SCHEMA: i32 = -53;

/// Field numbers of the message's times, which are not part of a payload.
pub const TIME_FIELD: u32 = 15;
/// See [`TIME_FIELD`].
pub const START_TIME_FIELD: u32 = 17;

/// A run of neighbouring buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Empty buckets before it, since the span before; of the first span the index of its first bucket.
    pub offset: i32,
    /// How many buckets it has.
    pub length: u32,
}

/// What is known of a counter reset before a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetHint {
    /// Nothing.
    #[default]
    Unknown = 0,
    /// There was one.
    Yes = 1,
    /// There was none.
    No = 2,
    /// The histogram is a gauge: there is no such thing.
    Gauge = 3,
}

impl ResetHint {
    /// The hint that a code stands for.
    pub fn from_code(code: u64) -> ResetHint {
        match code {
            1 => ResetHint::Yes,
            2 => ResetHint::No,
            3 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        }
    }
}

/// The buckets of one sign. Of a histogram of integers `deltas` count, of one of floats `counts`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Which buckets there are.
    pub spans: Vec<Span>,
    /// Each bucket's count less that of the bucket before.
    pub deltas: Vec<i64>,
    /// Each bucket's count.
    pub counts: Vec<f64>,
}

impl Buckets {
    /// How many buckets the spans name.
    pub fn len(&self) -> u64 {
        self.spans.iter().map(|span| u64::from(span.length)).sum()
    }

    /// Whether no span names a bucket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each bucket's count, of either form.
    pub fn absolute(&self) -> Vec<f64> {
        if !self.counts.is_empty() {
            return self.counts.clone();
        }
        let mut count = 0i64;
        let counts = self.deltas.iter().map(|delta| {
            count = count.wrapping_add(*delta);
            count as f64
        });
        counts.collect()
    }
}

/// A native histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeHistogram {
    /// Whether counts are floats.
    pub is_float: bool,
    /// The number of values, of a histogram of integers.
    pub count_int: u64,
    /// The number of values, of a histogram of floats.
    pub count_float: f64,
    /// Their sum.
    pub sum: f64,
    /// -4 to 8: a bucket's bound is 2^(2^-schema) times that of the one before; or [`CUSTOM_BOUNDS_SCHEMA`].
    pub schema: i32,
    /// The zero bucket goes from its negative to itself.
    pub zero_threshold: f64,
    /// The zero bucket's count, of a histogram of integers.
    pub zero_count_int: u64,
    /// The zero bucket's count, of a histogram of floats.
    pub zero_count_float: f64,
    /// Buckets of negative values.
    pub negative: Buckets,
    /// Buckets of positive values, or of all with custom bounds.
    pub positive: Buckets,
    /// What is known of a counter reset before it.
    pub reset_hint: ResetHint,
    /// Upper bounds, ascending, of [`CUSTOM_BOUNDS_SCHEMA`]; the last bucket has none.
    pub custom_bounds: Vec<f64>,
}

impl NativeHistogram {
    /// Reads a payload, or a `Histogram` message.
    pub fn decode(message: &[u8]) -> Result<NativeHistogram, Malformed> {
        NativeHistogram::read(message, |buckets, field| push_deltas(&mut buckets.deltas, field))
    }

    /// As [`NativeHistogram::decode`], but `counts` are each bucket's count, of integers too, and there are no `deltas`.
    pub fn decode_absolute(message: &[u8]) -> Result<NativeHistogram, Malformed> {
        NativeHistogram::read(message, |buckets, field| push_absolute(&mut buckets.counts, field))
    }

    #[inline(always)]
    fn read(
        message: &[u8],
        push_deltas: impl Fn(&mut Buckets, Field<'_>) -> Result<(), Malformed>,
    ) -> Result<NativeHistogram, Malformed> {
        let mut reader = Reader::new(message);
        let mut out = NativeHistogram::default();
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Varint(n)) => (out.is_float, out.count_int) = (false, n),
                (2, Field::Fixed64(bits)) => (out.is_float, out.count_float) = (true, f64::from_bits(bits)),
                (3, Field::Fixed64(bits)) => out.sum = f64::from_bits(bits),
                (4, Field::Varint(n)) => out.schema = zigzag(n) as i32,
                (5, Field::Fixed64(bits)) => out.zero_threshold = f64::from_bits(bits),
                (6, Field::Varint(n)) => out.zero_count_int = n,
                (7, Field::Fixed64(bits)) => out.zero_count_float = f64::from_bits(bits),
                (8, Field::Bytes(span)) => push_span(&mut out.negative.spans, span)?,
                (9, field) => push_deltas(&mut out.negative, field)?,
                (10, field) => push_doubles(&mut out.negative.counts, field)?,
                (11, Field::Bytes(span)) => push_span(&mut out.positive.spans, span)?,
                (12, field) => push_deltas(&mut out.positive, field)?,
                (13, field) => push_doubles(&mut out.positive.counts, field)?,
                (14, Field::Varint(n)) => out.reset_hint = ResetHint::from_code(n),
                (16, field) => push_doubles(&mut out.custom_bounds, field)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// Writes the payload; [`NativeHistogram::decode`] reads it back.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        if self.is_float {
            put_fixed64(&mut out, 2, self.count_float.to_bits());
        } else {
            put_number(&mut out, 1, self.count_int);
        }
        put_fixed64(&mut out, 3, self.sum.to_bits());
        put_number(&mut out, 4, unzigzag(i64::from(self.schema)));
        put_fixed64(&mut out, 5, self.zero_threshold.to_bits());
        if self.is_float {
            put_fixed64(&mut out, 7, self.zero_count_float.to_bits());
        } else {
            put_number(&mut out, 6, self.zero_count_int);
        }
        put_buckets(&mut out, &self.negative, [8, 9, 10]);
        put_buckets(&mut out, &self.positive, [11, 12, 13]);
        if self.reset_hint != ResetHint::Unknown {
            put_number(&mut out, 14, self.reset_hint as u64);
        }
        put_doubles(&mut out, 16, &self.custom_bounds);
        out
    }

    /// The number of values.
    pub fn count(&self) -> f64 {
        if self.is_float { self.count_float } else { self.count_int as f64 }
    }

    /// The zero bucket's count.
    pub fn zero_count(&self) -> f64 {
        if self.is_float { self.zero_count_float } else { self.zero_count_int as f64 }
    }
}

fn zigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

fn unzigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

fn decode_span(message: &[u8]) -> Result<Span, Malformed> {
    let (mut reader, mut span) = (Reader::new(message), Span::default());
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Varint(n)) => span.offset = zigzag(n) as i32,
            (2, Field::Varint(n)) => span.length = n as u32,
            _ => {}
        }
    }
    Ok(span)
}

fn push_span(spans: &mut Vec<Span>, message: &[u8]) -> Result<(), Malformed> {
    // Most histograms have one span: a vector that grows by itself would take room for four.
    if spans.is_empty() {
        spans.reserve_exact(1);
    }
    spans.push(decode_span(message)?);
    Ok(())
}

/// Deltas, summed up as they come.
fn push_absolute(out: &mut Vec<f64>, field: Field<'_>) -> Result<(), Malformed> {
    match field {
        // One delta for itself follows what the counts so far come to.
        Field::Varint(n) => {
            let before = out.last().copied().unwrap_or_default() as i64;
            out.push(before.wrapping_add(zigzag(n)) as f64);
        }
        Field::Bytes(packed) => {
            let mut reader = Reader::new(packed);
            let mut count = out.last().copied().unwrap_or_default() as i64;
            // Each delta ends with the one byte of it that is below 128.
            out.reserve_exact(packed.iter().map(|byte| usize::from(*byte < 0x80)).sum());
            while !reader.rest().is_empty() {
                count = count.wrapping_add(zigzag(reader.varint()?));
                out.push(count as f64);
            }
        }
        _ => {}
    }
    Ok(())
}

fn push_deltas(out: &mut Vec<i64>, field: Field<'_>) -> Result<(), Malformed> {
    match field {
        Field::Varint(n) => out.push(zigzag(n)),
        Field::Bytes(packed) => {
            let mut reader = Reader::new(packed);
            // A delta has at least one byte.
            out.reserve(packed.len());
            while !reader.rest().is_empty() {
                out.push(zigzag(reader.varint()?));
            }
        }
        _ => {}
    }
    Ok(())
}

fn push_doubles(out: &mut Vec<f64>, field: Field<'_>) -> Result<(), Malformed> {
    match field {
        Field::Fixed64(bits) => out.push(f64::from_bits(bits)),
        Field::Bytes(packed) => {
            let (chunks, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(Malformed::Truncated);
            }
            out.extend(chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)));
        }
        _ => {}
    }
    Ok(())
}

fn put_buckets(out: &mut Vec<u8>, buckets: &Buckets, [spans, deltas, counts]: [u32; 3]) {
    for span in &buckets.spans {
        let mut message = Vec::with_capacity(12);
        put_number(&mut message, 1, unzigzag(i64::from(span.offset)));
        put_number(&mut message, 2, u64::from(span.length));
        put_bytes(out, spans, &message);
    }
    if !buckets.deltas.is_empty() {
        let mut packed = Vec::with_capacity(2 * buckets.deltas.len());
        buckets.deltas.iter().for_each(|delta| put_varint(&mut packed, unzigzag(*delta)));
        put_bytes(out, deltas, &packed);
    }
    put_doubles(out, counts, &buckets.counts);
}

fn put_doubles(out: &mut Vec<u8>, field: u32, values: &[f64]) {
    if !values.is_empty() {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        put_bytes(out, field, &packed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_back() {
        let integers = NativeHistogram {
            count_int: 12,
            sum: -3.5,
            schema: -4,
            zero_threshold: 1e-128,
            zero_count_int: 2,
            negative: Buckets {
                spans: vec![Span { offset: -2, length: 1 }],
                deltas: vec![3],
                counts: vec![],
            },
            positive: Buckets {
                spans: vec![Span { offset: 0, length: 2 }, Span { offset: 3, length: 1 }],
                deltas: vec![4, -3, i64::MIN],
                counts: vec![],
            },
            reset_hint: ResetHint::Gauge,
            ..Default::default()
        };
        assert_eq!(NativeHistogram::decode(&integers.encode()), Ok(integers.clone()));
        assert_eq!(integers.positive.len(), 3);
        let absolute = NativeHistogram::decode_absolute(&integers.encode()).unwrap();
        assert_eq!(absolute.negative.counts, integers.negative.absolute());
        assert_eq!(absolute.positive.counts, integers.positive.absolute());
        assert!(absolute.positive.deltas.is_empty());
        let floats = NativeHistogram {
            is_float: true,
            count_float: 1.5,
            schema: CUSTOM_BOUNDS_SCHEMA,
            positive: Buckets {
                spans: vec![Span { offset: 0, length: 2 }],
                deltas: vec![],
                counts: vec![1.0, 0.5],
            },
            custom_bounds: vec![0.1, 5.0],
            ..Default::default()
        };
        assert_eq!(NativeHistogram::decode(&floats.encode()), Ok(floats.clone()));
        assert_eq!((floats.count(), floats.positive.absolute()), (1.5, vec![1.0, 0.5]));
    }
}
