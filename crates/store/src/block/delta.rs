//! Parquet's packed deltas, for numbers near their neighbour and for the lengths of texts.
//!
//! Of each number the difference to the one before it, of each block of differences the least, and of 32 differences at a
//! time what they have beyond the least, in as few bits as the largest of them needs.

use throughline_model::protobuf::put_varint;

/// Differences of a block, which share a least one.
const BLOCK: usize = 128;
/// Differences that share a width.
const MINI: usize = 32;

/// How wide the column's numbers are; differences wrap around at that width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Word,
    Long,
}

impl Width {
    fn minus(self, a: i64, b: i64) -> i64 {
        match self {
            Width::Word => i64::from((a as i32).wrapping_sub(b as i32)),
            Width::Long => a.wrapping_sub(b),
        }
    }

    /// What a difference has beyond the least one.
    fn beyond(self, delta: i64, least: i64) -> u64 {
        match self {
            Width::Word => u64::from(delta.wrapping_sub(least) as u32),
            Width::Long => delta.wrapping_sub(least) as u64,
        }
    }
}

fn put_zigzag(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Appends numbers; those of a column of words are sign-extended.
pub(super) fn encode(out: &mut Vec<u8>, numbers: impl ExactSizeIterator<Item = i64>, width: Width) {
    put_varint(out, BLOCK as u64);
    put_varint(out, (BLOCK / MINI) as u64);
    put_varint(out, numbers.len() as u64);
    let mut numbers = numbers;
    let mut before = numbers.next().unwrap_or_default();
    put_zigzag(out, before);
    let mut deltas = [0i64; BLOCK];
    loop {
        let mut len = 0;
        for (slot, number) in deltas.iter_mut().zip(numbers.by_ref()) {
            *slot = width.minus(number, before);
            before = number;
            len += 1;
        }
        let block = deltas.get(..len).unwrap_or_default();
        let Some(least) = block.iter().copied().min() else { return };
        put_zigzag(out, least);
        let widths_at = out.len();
        out.extend_from_slice(&[0; BLOCK / MINI]);
        for (at, mini) in block.chunks(MINI).enumerate() {
            let all = mini.iter().fold(0, |all, delta| all | width.beyond(*delta, least));
            let n_bits = u64::BITS - all.leading_zeros();
            if let Some(slot) = out.get_mut(widths_at + at) {
                *slot = n_bits as u8;
            }
            pack(out, mini.iter().map(|delta| width.beyond(*delta, least)), n_bits);
        }
        if len < BLOCK {
            return;
        }
    }
}

/// Packs up to 32 numbers of so many bits, filled up to 32 with zeros.
fn pack(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, n_bits: u32) {
    let end = out.len() + MINI / 8 * n_bits as usize;
    let (mut word, mut filled) = (0u128, 0);
    for number in numbers {
        word |= u128::from(number) << filled;
        filled += n_bits;
        if filled >= u64::BITS {
            out.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= u64::BITS;
            filled -= u64::BITS;
        }
    }
    out.extend_from_slice(&(word as u64).to_le_bytes());
    out.resize(end, 0);
}
