//! What is read for one request.

use std::collections::BTreeSet;

use crate::chain::Outcome;
use crate::checkpoint::Part;

/// A request is made when its entries hold so many bytes: a fraction of what the store takes at once, and large enough that
/// syncing costs little.
pub const BYTES_MAX: usize = 2 << 20;
/// A request is made when it has so many entries.
pub const ENTRIES_MAX: usize = 10_000;

/// What is read for one request.
#[derive(Debug, Default)]
pub struct Batch {
    /// When its first line was read, nanoseconds since the epoch.
    pub observed_at: i64,
    /// What came of the lines.
    pub outcome: Outcome,
    /// Pieces of files that were read, in their order.
    pub parts: Vec<Part>,
    /// Files whose position changes with it.
    pub files: BTreeSet<u64>,
    /// Bytes of lines.
    pub bytes: usize,
    /// Lines.
    pub lines: u64,
    /// Whether entries that waited were let go at the end.
    pub is_released: bool,
}

impl Batch {
    /// Whether a request should be made.
    #[must_use]
    pub fn is_full(&self, entries_max: usize) -> bool {
        self.bytes >= BYTES_MAX || self.outcome.entries.len() >= entries_max.min(ENTRIES_MAX)
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.files.is_empty()
    }
}
