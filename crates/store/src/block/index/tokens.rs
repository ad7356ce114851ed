//! Token filters of log bodies: which words a row group may hold.
//!
//! A token is a run of ASCII letters, digits and underscores, or of bytes outside ASCII, lower-cased. A filter is a
//! Bloom filter (Bloom 1970) of [`BITS_PER_TOKEN`] bits for each distinct token and [`HASHES`] hashes: about two in a
//! hundred look-ups of an absent token are let through.

use ahash::AHashSet as HashSet;

use xxhash_rust::xxh3::xxh3_64;

const BITS_PER_TOKEN: usize = 8;
const HASHES: u64 = 4;

/// Longer tokens are cut: what follows does not tell lines apart often enough to be worth hashing.
const TOKEN_BYTES_MAX: usize = 64;

/// Calls `visit` with the hash of each token of a text.
pub(crate) fn each_token(text: &str, mut visit: impl FnMut(u64)) {
    let mut buffer = [0u8; TOKEN_BYTES_MAX];
    for token in text.as_bytes().split(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric() && *byte != b'_') {
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

/// Builds a filter of the tokens that were seen.
pub(crate) fn build(hashes: &HashSet<u64>) -> Vec<u8> {
    let n_bits = (hashes.len() * BITS_PER_TOKEN).next_multiple_of(8).max(8);
    let mut filter = vec![0u8; n_bits / 8];
    for hash in hashes {
        for bit in bits_of(*hash, n_bits as u64) {
            if let Some(byte) = filter.get_mut((bit / 8) as usize) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    filter
}

/// Whether a token may be in a filter; `false` is certain.
pub(crate) fn may_contain(filter: &[u8], hash: u64) -> bool {
    let n_bits = filter.len() as u64 * 8;
    n_bits == 0
        || bits_of(hash, n_bits).all(|bit| filter.get((bit / 8) as usize).is_some_and(|b| b >> (bit % 8) & 1 == 1))
}

fn bits_of(hash: u64, n_bits: u64) -> impl Iterator<Item = u64> {
    // Double hashing (Kirsch and Mitzenmacher 2006): one 64-bit hash stands for all.
    let step = hash.rotate_left(32) | 1;
    (0..HASHES).map(move |i| {
        let mixed = hash.wrapping_add(step.wrapping_mul(i));
        ((u128::from(mixed) * u128::from(n_bits)) >> 64) as u64
    })
}
