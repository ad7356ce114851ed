//! Samples as Prometheus packs them into chunks, in the two forms that its chunked remote read carries: numbers as differences
//! bit by bit (Gorilla's), and histograms of floats, of which each chunk here has one.
//!
//! All bits are written from the highest down. Facts from Prometheus's `tsdb/chunkenc` (3.14).

use throughline_model::native_histogram::{Buckets, CUSTOM_BOUNDS_SCHEMA, NativeHistogram, ResetHint};

/// Samples of one chunk of numbers at most, as Prometheus's own.
pub(super) const CHUNK_SAMPLES_MAX: u16 = 120;

/// The code of a chunk of numbers.
pub(super) const XOR: u64 = 1;
/// The code of a chunk of float histograms.
pub(super) const FLOAT_HISTOGRAM: u64 = 3;

/// Bits, the first of them the highest of the first byte.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written.
    free: u32,
}

impl Bits {
    fn put(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = value >> (left - taken) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (self.free - taken)) as u8;
            }
            self.free -= taken;
            left -= taken;
        }
    }

    fn put_float(&mut self, value: f64) {
        self.put(value.to_bits(), 64);
    }

    fn put_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    /// A whole number in as few of nine sizes as it fits; each size has a prefix of so many ones.
    fn put_sized(&mut self, value: u64, fits: impl Fn(u32) -> bool) {
        if value == 0 {
            return self.put(0, 1);
        }
        for (ones, bits) in (1..).zip([3, 6, 9, 12, 18, 25, 56]) {
            if fits(bits) {
                self.put((1 << (ones + 1)) - 2, ones + 1);
                return self.put(value, bits);
            }
        }
        self.put(0xff, 8);
        self.put(value, 64);
    }

    fn put_signed(&mut self, value: i64) {
        self.put_sized(value.cast_unsigned(), |bits| fits(value, bits));
    }

    fn put_unsigned(&mut self, value: u64) {
        self.put_sized(value, |bits| value >> bits == 0);
    }
}

/// Whether a number with a sign fits in so many bits, of which one more positive number makes use than negative ones.
fn fits(value: i64, bits: u32) -> bool {
    let half = 1i64 << (bits - 1);
    (1 - half..=half).contains(&value)
}

/// A chunk of numbers that is being written.
pub(super) struct XorChunk {
    bits: Bits,
    pub count: u16,
    pub first_ms: i64,
    pub last_ms: i64,
    delta: i64,
    value: u64,
    /// Zeros before and after the bits that differed last; none before two numbers differed.
    window: Option<(u32, u32)>,
}

impl XorChunk {
    /// A chunk with its first sample.
    pub(super) fn new(time_ms: i64, value: f64) -> XorChunk {
        let mut bits = Bits::default();
        bits.put(0, 16);
        bits.put_uvarint(((time_ms << 1) ^ (time_ms >> 63)).cast_unsigned());
        bits.put_float(value);
        let value = value.to_bits();
        XorChunk { bits, count: 1, first_ms: time_ms, last_ms: time_ms, delta: 0, value, window: None }
    }

    /// Adds a sample; times ascend.
    pub(super) fn push(&mut self, time_ms: i64, value: f64) {
        let delta = time_ms.wrapping_sub(self.last_ms);
        if self.count == 1 {
            self.bits.put_uvarint(delta.cast_unsigned());
        } else {
            let change = delta.wrapping_sub(self.delta);
            match change {
                0 => self.bits.put(0, 1),
                _ => {
                    let size = [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)];
                    let size = size.into_iter().find(|(.., bits)| fits(change, *bits));
                    let (prefix, prefix_bits, bits) = size.unwrap_or((0b1111, 4, 64));
                    self.bits.put(prefix, prefix_bits);
                    self.bits.put(change.cast_unsigned(), bits);
                }
            }
        }
        self.put_value(value.to_bits());
        (self.delta, self.last_ms) = (delta, time_ms);
        self.count += 1;
    }

    fn put_value(&mut self, value: u64) {
        let change = value ^ self.value;
        self.value = value;
        if change == 0 {
            return self.bits.put(0, 1);
        }
        let (before, after) = (change.leading_zeros().min(31), change.trailing_zeros());
        if let Some((leading, trailing)) =
            self.window.filter(|window| before >= window.0 && after >= window.1)
        {
            self.bits.put(0b10, 2);
            return self.bits.put(change >> trailing, 64 - leading - trailing);
        }
        self.window = Some((before, after));
        let significant = 64 - before - after;
        self.bits.put(0b11, 2);
        self.bits.put(u64::from(before), 5);
        // 64 does not fit and is written as zero.
        self.bits.put(u64::from(significant), 6);
        self.bits.put(change >> after, significant);
    }

    /// The chunk's bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = self.bits.bytes;
        if let Some(count) = bytes.first_chunk_mut::<2>() {
            *count = self.count.to_be_bytes();
        }
        bytes
    }
}

/// A chunk of one histogram. Counts that are integers become floats.
pub(super) fn histogram_chunk(time_ms: i64, histogram: &NativeHistogram) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(1, 16);
    bits.put(
        match histogram.reset_hint {
            ResetHint::Yes => 0b1000_0000,
            ResetHint::No => 0b0100_0000,
            ResetHint::Gauge => 0b1100_0000,
            ResetHint::Unknown => 0,
        },
        8,
    );
    put_zero_threshold(&mut bits, histogram.zero_threshold);
    bits.put_signed(i64::from(histogram.schema));
    put_spans(&mut bits, &histogram.positive);
    put_spans(&mut bits, &histogram.negative);
    if histogram.schema == CUSTOM_BOUNDS_SCHEMA {
        bits.put_unsigned(histogram.custom_bounds.len() as u64);
        histogram.custom_bounds.iter().for_each(|bound| put_bound(&mut bits, *bound));
    }
    bits.put_signed(time_ms);
    let (count, zero_count) = match histogram.is_float {
        true => (histogram.count_float, histogram.zero_count_float),
        false => (histogram.count_int as f64, histogram.zero_count_int as f64),
    };
    for value in [count, zero_count, histogram.sum] {
        bits.put_float(value);
    }
    for buckets in [&histogram.positive, &histogram.negative] {
        counts(buckets).for_each(|count| bits.put_float(count));
    }
    bits.bytes
}

/// Powers of two take a byte.
fn put_zero_threshold(bits: &mut Bits, threshold: f64) {
    if threshold == 0.0 {
        return bits.put(0, 8);
    }
    let raw = threshold.to_bits();
    // As a half times two to the power of this.
    let exponent = (raw >> 52) as i64 - 1022;
    if raw << 12 == 0 && (-242..=11).contains(&exponent) {
        return bits.put((exponent + 243).cast_unsigned(), 8);
    }
    bits.put(255, 8);
    bits.put_float(threshold);
}

fn put_spans(bits: &mut Bits, buckets: &Buckets) {
    bits.put_unsigned(buckets.spans.len() as u64);
    for span in &buckets.spans {
        bits.put_unsigned(u64::from(span.length));
        bits.put_signed(i64::from(span.offset));
    }
}

/// Thousandths that are few enough are written as whole numbers.
fn put_bound(bits: &mut Bits, bound: f64) {
    let thousandths = bound * 1_000.0;
    if (0.0..=33_554_430.0).contains(&thousandths) && thousandths.round() / 1_000.0 == bound {
        return bits.put_unsigned(thousandths.round() as u64 + 1);
    }
    bits.put(0, 1);
    bits.put_float(bound);
}

fn counts(buckets: &Buckets) -> impl Iterator<Item = f64> {
    let mut count = 0i64;
    let integers = buckets.deltas.iter().map(move |delta| {
        count = count.saturating_add(*delta);
        count as f64
    });
    buckets.counts.iter().copied().chain(integers)
}

#[cfg(test)]
mod tests {
    use throughline_model::native_histogram::Span;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes are those that Prometheus 3.14 packs the same samples into.
    #[test]
    fn numbers_are_packed_as_prometheus_packs_them() {
        let times = [1_000, 16_000, 31_000, 46_001, 146_001, 1_146_001, 9_999_999_999];
        let values = [1.0, 1.0, 2.5, -3.0, f64::NAN, 1e300, 0.1];
        let mut samples = times.into_iter().zip(values);
        let (time, value) = samples.next().expect("a sample");
        let mut chunk = XorChunk::new(time, value);
        samples.for_each(|(time, value)| chunk.push(time, value));
        assert_eq!((chunk.count, chunk.first_ms, chunk.last_ms), (7, 1_000, 9_999_999_999));
        assert_eq!(
            hex(&chunk.finish()),
            "0007d00f3ff00000000000009875309bffd8001c074007c2980f5ff9e00000000001b77419f7e7f21e44003acfe00000004a7d64a5d87e831cfb4a2333d80c"
        );
    }

    #[test]
    fn histograms_are_packed_as_prometheus_packs_them() {
        let histogram = NativeHistogram {
            is_float: true,
            count_float: 12.5,
            sum: 18.4,
            schema: 1,
            zero_threshold: 0.001,
            zero_count_float: 2.0,
            positive: Buckets {
                spans: vec![Span { offset: 0, length: 2 }, Span { offset: 3, length: 1 }],
                deltas: Vec::new(),
                counts: vec![1.0, 2.5, 4.0],
            },
            negative: Buckets {
                spans: vec![Span { offset: -70, length: 1 }],
                deltas: Vec::new(),
                counts: vec![3.0],
            },
            reset_hint: ResetHint::Gauge,
            ..NativeHistogram::default()
        };
        assert_eq!(
            hex(&histogram_chunk(1_700_000_000_000, &histogram)),
            "0001c0ff3f50624dd2f1a9fc8ca48ce31edd7f0000c5e7f2b4002014800000000000200000000000000020193333333333331ff800000000000020020000000000002008000000000000200400000000000000"
        );
        let custom = NativeHistogram {
            is_float: true,
            count_float: 5.0,
            sum: 1e3,
            schema: CUSTOM_BOUNDS_SCHEMA,
            positive: Buckets {
                spans: vec![Span { offset: 0, length: 2 }],
                deltas: Vec::new(),
                counts: vec![1.0, 4.0],
            },
            custom_bounds: vec![0.005, 0.1, 1.0 / 3.0, 10.0],
            ..NativeHistogram::default()
        };
        assert_eq!(
            hex(&histogram_chunk(-5, &custom)),
            "00010000ee5c6452dc651feaaaaaaaaaaaaafc1388eed00500000000000000000000000000001023d000000000000ffc000000000000100400000000000000"
        );
    }
}
