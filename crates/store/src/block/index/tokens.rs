//! Token filters of log bodies: which words a row group may hold.
//!
//! A token is a run of ASCII letters, digits and underscores, or of bytes outside ASCII, lower-cased. A filter is a
//! Bloom filter (Bloom 1970) whose number of bits is a power of two: tokens are set in a large one, which is then
//! folded in halves as long as no more than half of its bits are set, so that nobody has to count distinct tokens. With
//! [`HASHES`] hashes at most one in sixteen look-ups of an absent token is let through, one in eighty on average.

use xxhash_rust::xxh3::xxh3_64;

const HASHES: u64 = 4;

/// The bits of a filter before it is folded: room for half a million distinct tokens in a row group.
const BITS: usize = 1 << 22;

/// A filter is folded while at most this share of the bits of the result is set, in percent.
const FILL_MAX_PERCENT: usize = 50;

/// Longer tokens are cut: what follows does not tell lines apart often enough to be worth hashing.
const TOKEN_BYTES_MAX: usize = 64;

/// Calls `visit` with the hash of each token of a text.
pub(crate) fn each_token(text: &str, mut visit: impl FnMut(u64)) {
    let mut buffer = [0u8; TOKEN_BYTES_MAX];
    for token in
        text.as_bytes().split(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric() && *byte != b'_')
    {
        if token.is_empty() {
            continue;
        }
        let len = token.len().min(TOKEN_BYTES_MAX);
        if let (Some(out), Some(token)) = (buffer.get_mut(..len), token.get(..len)) {
            out.copy_from_slice(token);
            out.make_ascii_lowercase();
            visit(xxh3_64(out));
        }
    }
}

/// Tokens that were seen lately, by the low bits of their hash: log lines repeat the words of their templates.
const RECENT: usize = 1 << 12;

/// Collects the tokens of one row group.
pub(crate) struct TokenFilter {
    words: Vec<u64>,
    recent: Vec<u64>,
}

impl TokenFilter {
    pub(crate) fn new() -> TokenFilter {
        TokenFilter { words: vec![0; BITS / 64], recent: nothing_recent() }
    }

    /// Adds the tokens of a text.
    pub(crate) fn add(&mut self, text: &str) {
        let (words, recent) = (&mut self.words, &mut self.recent);
        each_token(text, |hash| {
            if let Some(slot) = recent.get_mut(hash as usize % RECENT) {
                if *slot == hash {
                    return;
                }
                *slot = hash;
            }
            for bit in bits_of(hash, BITS as u64) {
                if let Some(word) = words.get_mut((bit / 64) as usize) {
                    *word |= 1 << (bit % 64);
                }
            }
        });
    }

    /// The filter's bytes; afterwards it is empty again.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut folded = self.words.clone();
        self.words.fill(0);
        self.recent = nothing_recent();
        while folded.len() > 1 {
            let (low, high) = folded.split_at(folded.len() / 2);
            let half: Vec<u64> = low.iter().zip(high).map(|(a, b)| a | b).collect();
            let set: usize = half.iter().map(|word| word.count_ones() as usize).sum();
            if set * 100 > half.len() * 64 * FILL_MAX_PERCENT {
                break;
            }
            folded = half;
        }
        folded.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// Slots that no hash equals: a hash lies in the slot of its own low bits.
fn nothing_recent() -> Vec<u64> {
    (0..RECENT as u64).map(|slot| slot ^ 1).collect()
}

/// One bit of a filter.
pub(crate) struct Place {
    pub(crate) byte: usize,
    pub(crate) bit: u8,
}

/// The bits of a filter of so many bytes that are set if it holds a token; none where that is no length of a filter.
pub(crate) fn places(hash: u64, n_bytes: usize) -> impl Iterator<Item = Place> {
    let n_bits = n_bytes as u64 * 8;
    let bits = n_bits.is_power_of_two().then(|| bits_of(hash, n_bits));
    bits.into_iter().flatten().map(|bit| Place { byte: (bit / 8) as usize, bit: 1 << (bit % 8) })
}

/// The bits of a token among a power of two: folding a filter in half drops the highest bit of each.
fn bits_of(hash: u64, n_bits: u64) -> impl Iterator<Item = u64> {
    // Double hashing (Kirsch and Mitzenmacher 2006): one 64-bit hash stands for all.
    let step = hash.rotate_left(32) | 1;
    (0..HASHES).map(move |i| hash.wrapping_add(step.wrapping_mul(i)) & (n_bits - 1))
}
