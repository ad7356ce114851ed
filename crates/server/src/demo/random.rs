//! A little randomness for jitter and for the choice of keys; nothing here is a secret.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Draws numbers; may be shared between threads.
#[derive(Default)]
pub struct Random {
    key: RandomState,
    drawn: AtomicU64,
}

impl Random {
    /// A fraction in `0.0..1.0`.
    pub fn fraction(&self) -> f64 {
        let number = self.key.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed));
        (number >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An index below `count`, which must not be zero.
    pub fn below(&self, count: usize) -> usize {
        ((self.fraction() * count as f64) as usize).min(count - 1)
    }
}
