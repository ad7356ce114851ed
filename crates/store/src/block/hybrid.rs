//! Parquet's hybrid of run lengths and packed bits, for levels and for keys of a dictionary.
//!
//! Of a run of at least eight equal numbers the length is stored, everything else is packed in groups of eight.

/// Runs are counted and bits are packed in groups of so many.
const GROUP: usize = 8;

/// The bits that the numbers up to this one need.
pub(super) fn bit_width(max: u32) -> u8 {
    (u32::BITS - max.leading_zeros()) as u8
}

/// Appends numbers of at most so many bits.
pub(super) fn encode(out: &mut Vec<u8>, numbers: &[u32], width: u8) {
    let mut rest = numbers;
    let mut packed = 0;
    let mut at = 0;
    while let Some(first) = rest.get(at) {
        let run = rest.iter().skip(at).take_while(|number| *number == first).count();
        // What waits to be packed is filled up to whole groups from the run.
        let fill = (GROUP - (at - packed) % GROUP) % GROUP;
        if run < fill + GROUP {
            at += run;
            continue;
        }
        pack(out, rest.get(packed..at + fill).unwrap_or_default(), width);
        put_varint(out, (run - fill) << 1);
        out.extend_from_slice(first.to_le_bytes().get(..usize::from(width).div_ceil(8)).unwrap_or_default());
        rest = rest.get(at + run..).unwrap_or_default();
        (packed, at) = (0, 0);
    }
    pack(out, rest.get(packed..).unwrap_or_default(), width);
}

/// Appends a run of one number.
pub(super) fn encode_run(out: &mut Vec<u8>, number: u32, count: usize, width: u8) {
    put_varint(out, count << 1);
    out.extend_from_slice(number.to_le_bytes().get(..usize::from(width).div_ceil(8)).unwrap_or_default());
}

fn pack(out: &mut Vec<u8>, numbers: &[u32], width: u8) {
    if numbers.is_empty() {
        return;
    }
    let n_groups = numbers.len().div_ceil(GROUP);
    put_varint(out, n_groups << 1 | 1);
    let n_bytes = n_groups * usize::from(width);
    out.reserve(n_bytes + size_of::<u32>());
    let end = out.len() + n_bytes;
    let (mut word, mut n_bits) = (0u64, 0);
    for number in numbers {
        word |= u64::from(*number) << n_bits;
        n_bits += u32::from(width);
        if n_bits >= u32::BITS {
            out.extend_from_slice(&(word as u32).to_le_bytes());
            word >>= u32::BITS;
            n_bits -= u32::BITS;
        }
    }
    out.extend_from_slice(&(word as u32).to_le_bytes());
    out.resize(end, 0);
}

fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut bytes: &[u8], width: u8, n: usize) -> Vec<u32> {
        let mut out = Vec::new();
        while out.len() < n {
            let (mut head, mut shift) = (0usize, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                head |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            let width = usize::from(width);
            if head & 1 == 0 {
                let mut number = [0; 4];
                number[..width.div_ceil(8)].copy_from_slice(&bytes[..width.div_ceil(8)]);
                bytes = &bytes[width.div_ceil(8)..];
                out.extend(std::iter::repeat_n(u32::from_le_bytes(number), head >> 1));
            } else {
                let n_packed = (head >> 1) * GROUP;
                for at in 0..n_packed {
                    let bit = |b: usize| u32::from(bytes[(at * width + b) / 8] >> ((at * width + b) % 8) & 1);
                    out.push((0..width).map(|b| bit(b) << b).sum());
                }
                bytes = &bytes[n_packed * width / 8..];
            }
        }
        assert!(bytes.is_empty());
        assert!(out.len() < n + GROUP);
        out.truncate(n);
        out
    }

    #[test]
    fn numbers_come_back() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for width in 0..=20u8 {
            for run_max in [1, 3, 20, 400] {
                let mut numbers = Vec::new();
                while numbers.len() < 1_000 {
                    let number = random(1 << width) as u32;
                    numbers.extend(std::iter::repeat_n(number, 1 + random(run_max) as usize));
                }
                for n in [1, 7, 8, 9, 63, 1_000] {
                    let mut out = vec![9];
                    encode(&mut out, &numbers[..n], width);
                    assert_eq!(decode(&out[1..], width, n), &numbers[..n], "width {width}, {n} numbers");
                }
            }
        }
        let mut out = Vec::new();
        encode_run(&mut out, 1, 300, 1);
        assert_eq!(decode(&out, 1, 300), [1; 300]);
    }

    #[test]
    fn widths_are_the_least() {
        assert_eq!([0, 1, 2, 255, 256].map(bit_width), [0, 1, 2, 8, 9]);
    }
}
