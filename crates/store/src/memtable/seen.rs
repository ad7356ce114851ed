//! Which traces a memtable may hold, so that a look-up of any other trace need not search its mini-batches: a Bloom filter
//! (Bloom 1970) of two bits for each trace.

use std::sync::atomic::{AtomicU64, Ordering};

/// Half a megabyte: of a full memtable, which has some hundred thousand traces, one bit in eight is set at most.
const BITS: usize = 1 << 22;

/// The filter. It only grows, so that it says too much to a view that is older, and never too little.
pub(crate) struct Seen {
    words: Vec<AtomicU64>,
}

impl Default for Seen {
    fn default() -> Self {
        Seen { words: std::iter::repeat_with(AtomicU64::default).take(BITS / 64).collect() }
    }
}

/// Two places of a fingerprint, which is as good as random.
fn places(fingerprint: u64) -> [(usize, u64); 2] {
    [fingerprint, fingerprint >> 32].map(|hash| (hash as usize % BITS / 64, 1 << (hash % 64)))
}

impl Seen {
    /// Adds a trace. Whoever sees rows of it afterwards, behind a lock, sees it here.
    pub(crate) fn add(&self, fingerprint: u64) {
        for (word, bit) in places(fingerprint) {
            if let Some(word) = self.words.get(word) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// Whether a trace may have been added; `false` is certain.
    pub(crate) fn may_contain(&self, fingerprint: u64) -> bool {
        let is_set = |(word, bit): (usize, u64)| {
            self.words.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
        };
        places(fingerprint).into_iter().all(is_set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_denied_that_was_added() {
        let seen = Seen::default();
        let fingerprint = |n: u64| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes());
        (0..100_000).for_each(|n| seen.add(fingerprint(n)));
        assert!((0..100_000).all(|n| seen.may_contain(fingerprint(n))));
        let wrong = (100_000..200_000).filter(|n| seen.may_contain(fingerprint(*n))).count();
        assert!(wrong < 1_000, "{wrong}");
    }
}
