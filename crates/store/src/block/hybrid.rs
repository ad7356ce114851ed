//! Parquet's hybrid of run lengths and packed bits, for levels and for keys of a dictionary.
//!
//! Of a run of at least eight equal numbers the length is stored, everything else is packed in groups of eight. The reader
//! steps over numbers that nobody asked for without unpacking them.

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

/// Reads numbers one after the other, and steps over those that are not wanted.
pub(super) struct Numbers<'a> {
    rest: &'a [u8],
    width: usize,
    run: Run<'a>,
    /// How many numbers of the run are left.
    left: usize,
}

enum Run<'a> {
    Equal(u32),
    /// Packed bits, and which number of them comes next.
    Packed(&'a [u8], usize),
}

impl<'a> Numbers<'a> {
    /// Of numbers of at most so many bits; none where that is more than 32.
    pub(super) fn new(bytes: &'a [u8], width: u8) -> Option<Numbers<'a>> {
        (width <= 32).then_some(Numbers { rest: bytes, width: width.into(), run: Run::Equal(0), left: 0 })
    }

    /// Steps over numbers; none where there are not so many.
    pub(super) fn skip(&mut self, n: usize) -> Option<()> {
        self.step(n, |_, _, _| 0).map(|_| ())
    }

    /// Steps over numbers of one bit and says how many of them are 1.
    pub(super) fn skip_counting(&mut self, n: usize) -> Option<usize> {
        self.step(n, |run, from, n| match run {
            Run::Equal(number) => *number as usize * n,
            Run::Packed(bytes, _) => ones(bytes, from, n),
        })
    }

    /// The next number.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.load()?;
        self.left -= 1;
        match &mut self.run {
            Run::Equal(number) => Some(*number),
            Run::Packed(bytes, next) => {
                *next += 1;
                Some(packed(bytes, (*next - 1) * self.width, self.width) as u32)
            }
        }
    }

    /// Appends the next numbers.
    pub(super) fn append_to(&mut self, out: &mut Vec<u32>, mut n: usize) -> Option<()> {
        while n > 0 {
            self.load()?;
            let of_run = n.min(self.left);
            match &mut self.run {
                Run::Equal(number) => out.resize(out.len() + of_run, *number),
                Run::Packed(bytes, next) => {
                    unpack(bytes, *next, of_run, self.width, out);
                    *next += of_run;
                }
            }
            self.left -= of_run;
            n -= of_run;
        }
        Some(())
    }

    /// Appends of the next numbers, which are of one bit, whether each is 1.
    pub(super) fn append_flags(&mut self, out: &mut Vec<bool>, mut n: usize) -> Option<()> {
        while n > 0 {
            self.load()?;
            let of_run = n.min(self.left);
            match &mut self.run {
                Run::Equal(number) => out.resize(out.len() + of_run, *number == 1),
                Run::Packed(bytes, next) => {
                    let (mut at, end) = (*next, *next + of_run);
                    while at < end {
                        let byte = bytes.get(at / GROUP).copied().unwrap_or_default();
                        let of_byte = (GROUP - at % GROUP).min(end - at);
                        out.extend((at % GROUP..at % GROUP + of_byte).map(|bit| byte >> bit & 1 == 1));
                        at += of_byte;
                    }
                    *next = end;
                }
            }
            self.left -= of_run;
            n -= of_run;
        }
        Some(())
    }

    fn step(&mut self, mut n: usize, count: impl Fn(&Run<'a>, usize, usize) -> usize) -> Option<usize> {
        let mut sum = 0;
        while n > 0 {
            self.load()?;
            let of_run = n.min(self.left);
            let from = if let Run::Packed(_, next) = &self.run { *next } else { 0 };
            sum += count(&self.run, from, of_run);
            if let Run::Packed(_, next) = &mut self.run {
                *next += of_run;
            }
            self.left -= of_run;
            n -= of_run;
        }
        Some(sum)
    }

    /// Sees to a run that has a number left.
    fn load(&mut self) -> Option<()> {
        while self.left == 0 {
            let head = take_varint(&mut self.rest)?;
            let n = usize::try_from(head >> 1).ok()?;
            if head & 1 == 0 {
                let (number, rest) = self.rest.split_at_checked(self.width.div_ceil(8))?;
                self.rest = rest;
                let number = number.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
                (self.run, self.left) = (Run::Equal(number), n);
            } else {
                // Writers may cut the last group short.
                let n_bytes = n.checked_mul(self.width)?.min(self.rest.len());
                let (bytes, rest) = self.rest.split_at_checked(n_bytes)?;
                self.rest = rest;
                (self.run, self.left) = (Run::Packed(bytes, 0), n.checked_mul(GROUP)?);
            }
        }
        Some(())
    }
}

/// Appends packed numbers from one on. Whole groups of narrow ones are taken from a word or two.
fn unpack(bytes: &[u8], from: usize, n: usize, width: usize, out: &mut Vec<u32>) {
    let (mut at, end) = (from, from + n);
    let one = |at: usize| packed(bytes, at * width, width) as u32;
    if (1..=16).contains(&width) {
        let until = at.next_multiple_of(GROUP).min(end);
        out.extend((at..until).map(one));
        at = until;
        let mask = (1u64 << width) - 1;
        let word = |from: usize| bytes.get(from..)?.first_chunk::<8>().map(|word| u64::from_le_bytes(*word));
        // The second half of a group starts in the middle of a byte where the width is odd.
        let (half, rest) = (width / 2, width % 2 * 4);
        while end - at >= GROUP {
            let first = at / GROUP * width;
            let (Some(low), Some(high)) = (word(first), word(first + half)) else { break };
            let high = high >> rest;
            let group: [u32; GROUP] = std::array::from_fn(|of_group| {
                let (word, place) = if of_group < 4 { (low, of_group) } else { (high, of_group - 4) };
                (word >> (place * width) & mask) as u32
            });
            out.extend_from_slice(&group);
            at += GROUP;
        }
    }
    out.extend((at..end).map(one));
}

/// Takes a number of seven bits a byte from the front.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The number of up to 64 bits that starts at a bit; bits beyond the end are 0.
pub(super) fn packed(bytes: &[u8], first_bit: usize, width: usize) -> u64 {
    let rest = bytes.get(first_bit / 8..).unwrap_or_default();
    // Nearly all: with the bits before it in a word.
    if width <= 57
        && let Some(chunk) = rest.first_chunk::<8>()
    {
        let mask = (1u64 << width) - 1;
        return u64::from_le_bytes(*chunk) >> (first_bit % 8) & mask;
    }
    let word = match rest.first_chunk::<16>() {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u128::from(*byte)),
    };
    (word >> (first_bit % 8)) as u64
        & u64::MAX.checked_shr(u64::BITS.saturating_sub(width as u32)).unwrap_or(0)
}

/// How many of `n` bits are set, from a bit on.
fn ones(bytes: &[u8], from: usize, n: usize) -> usize {
    let mut sum = 0;
    let (mut at, end) = (from, from + n);
    while at < end {
        let width = (end - at).min(u64::BITS as usize);
        sum += packed(bytes, at, width).count_ones() as usize;
        at += width;
    }
    sum
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

    /// Steps of every length find the same numbers, and no more than there are.
    fn pick(bytes: &[u8], width: u8, numbers: &[u32]) {
        for step in [0, 1, 5, 8, 30] {
            let mut reader = Numbers::new(bytes, width).unwrap();
            for number in numbers.iter().skip(step).step_by(step + 1) {
                reader.skip(step).unwrap();
                assert_eq!(reader.take(), Some(*number), "width {width}, step {step}");
            }
            if width == 1 {
                let mut flags = Vec::new();
                let mut reader = Numbers::new(bytes, width).unwrap();
                numbers.chunks(13).for_each(|some| reader.append_flags(&mut flags, some.len()).unwrap());
                assert_eq!(flags, numbers.iter().map(|number| *number == 1).collect::<Vec<bool>>());
                let mut reader = Numbers::new(bytes, width).unwrap();
                let ones = numbers.chunks(step + 1).map(|some| reader.skip_counting(some.len()).unwrap());
                assert_eq!(ones.sum::<usize>(), numbers.iter().filter(|number| **number == 1).count());
            }
        }
        let mut all = Vec::new();
        Numbers::new(bytes, width).unwrap().append_to(&mut all, numbers.len()).unwrap();
        assert_eq!(all, numbers, "width {width}");
        let (mut parts, mut reader) = (Vec::new(), Numbers::new(bytes, width).unwrap());
        numbers.chunks(27).for_each(|some| reader.append_to(&mut parts, some.len()).unwrap());
        assert_eq!(parts, numbers, "width {width}, in parts");
        assert!(Numbers::new(bytes, width).unwrap().skip(numbers.len() + GROUP).is_none());
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
                    pick(&out[1..], width, &numbers[..n]);
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
