//! Bytes of remote write, as benchmarks and comparisons send them.

/// A varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field that is a varint.
pub fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

/// A field that is a double.
pub fn put_fixed64(out: &mut Vec<u8>, field: u32, value: f64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A field that is bytes, a text or a message.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A `Label` of 1.0.
pub fn label(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 4);
    put_bytes(&mut out, 1, name.as_bytes());
    put_bytes(&mut out, 2, value.as_bytes());
    out
}

/// A `Sample`.
pub fn sample(value: f64, time_ms: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    put_fixed64(&mut out, 1, value);
    put_number(&mut out, 2, time_ms as u64);
    out
}

/// A `Histogram` of integers: no zero bucket's width, neighbouring positive buckets from index 0.
pub fn histogram(schema: i64, counts: &[u64], time_ms: i64) -> Vec<u8> {
    let zigzag = |n: i64| ((n << 1) ^ (n >> 63)) as u64;
    let mut out = Vec::with_capacity(64);
    put_number(&mut out, 1, counts.iter().sum());
    put_fixed64(&mut out, 3, counts.iter().sum::<u64>() as f64 * 1.25);
    put_number(&mut out, 4, zigzag(schema));
    put_fixed64(&mut out, 5, 1e-128);
    let mut span = Vec::new();
    put_number(&mut span, 2, counts.len() as u64);
    put_bytes(&mut out, 11, &span);
    let mut deltas = Vec::new();
    let mut before = 0i64;
    for count in counts {
        put_varint(&mut deltas, zigzag(*count as i64 - before));
        before = *count as i64;
    }
    put_bytes(&mut out, 12, &deltas);
    put_number(&mut out, 15, time_ms as u64);
    out
}
