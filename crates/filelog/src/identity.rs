//! What a file is known by, whatever its name: the hash of its first bytes, and of those before the position in it.
//!
//! A renamed file keeps its inode and its bytes, a copied one its bytes; a truncated one keeps its inode alone.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before a position that are looked at again before it is used.
pub const TAIL_BYTES_MAX: usize = 256;

/// A hash of so many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    /// How many.
    pub bytes: usize,
    /// Their xxh3-64.
    pub hash: u64,
}

impl Print {
    /// The print of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Print {
        Print { bytes: bytes.len(), hash: xxh3_64(bytes) }
    }

    /// Whether bytes begin with those of the print.
    #[must_use]
    pub fn begins(self, bytes: &[u8]) -> bool {
        bytes.get(..self.bytes).is_some_and(|start| xxh3_64(start) == self.hash)
    }

    /// Whether bytes are those of the print.
    #[must_use]
    pub fn is_of(self, bytes: &[u8]) -> bool {
        bytes.len() == self.bytes && self.begins(bytes)
    }
}

/// A place in a file, between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes before it.
    pub offset: u64,
    /// Records before it.
    pub records: u64,
    /// Whether it is within a record of which the rest is left out.
    #[serde(default)]
    pub is_skipping: bool,
    /// The bytes just before it; of none nothing is known.
    pub tail: Print,
}
