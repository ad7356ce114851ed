//! What the store is told: one plain struct, built by the server.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use throughline_wire::DecodeLimits;

use crate::compact::CompactPolicy;
use crate::flush::BlockOptions;

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The request survives a power cut: acknowledged after `fdatasync`.
    #[default]
    Fsync,
    /// The request survives the end of the process; a power cut may lose the last second.
    Os,
}

/// How many bytes may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// What the data folder may take on disk; beyond it the oldest blocks go. No limit if `None`.
    pub disk_bytes: Option<u64>,
    /// Traces that something cites are held beyond their retention in so many bytes.
    pub held_bytes: u64,
}

/// How the store is set up.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data folder. One process has it at a time.
    pub dir: PathBuf,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// A memtable of this size is flushed.
    pub memtable_bytes: usize,
    /// A memtable is flushed when its first batch is so old.
    pub flush_after: Duration,
    /// Blocks whose youngest row is older are removed.
    pub retention: Duration,
    /// What may be kept.
    pub budgets: Budgets,
    /// Writes are refused while less than this is free on the file system. `None`: the larger of 1 GiB and 5 %.
    pub reserve_bytes: Option<u64>,
    /// Requests that wait for the log may hold so many bytes; beyond it they are refused.
    pub queue_bytes: usize,
    /// The size of a segment of the log.
    pub segment_bytes: u64,
    /// What the decoder accepts: stored with the log, so that a replay comes to the same result. The receivers must
    /// decode with the same limits.
    pub limits: DecodeLimits,
    /// How blocks are cut.
    pub blocks: BlockOptions,
    /// When blocks are merged.
    pub compaction: CompactPolicy,
}

impl StoreConfig {
    /// 64 MiB: blocks of some 500,000 spans, and with one memtable being written an eighth of the memory target.
    pub const MEMTABLE_BYTES: usize = 64 << 20;
    /// 30 s: what a replay after a crash has to read stays small where little arrives.
    pub const FLUSH_AFTER: Duration = Duration::from_secs(30);
    /// 64 MiB: a few seconds of full load between two preallocations.
    pub const SEGMENT_BYTES: u64 = 64 << 20;
    /// 64 MiB: more than a second of full load; what waits longer is better refused.
    pub const QUEUE_BYTES: usize = 64 << 20;

    /// 1 GiB: some two million traces of ten spans, far more than people pin and exemplars cite.
    pub const HELD_BYTES: u64 = 1 << 30;

    /// Two hours: the largest window that blocks are merged to.
    pub const PARTITION_NS: i64 = 2 * 3600 * 1_000_000_000;

    /// The usual settings for a data folder.
    pub fn new(dir: PathBuf, retention: Duration) -> StoreConfig {
        let retention_ns = i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX);
        StoreConfig {
            dir,
            durability: Durability::Fsync,
            memtable_bytes: Self::MEMTABLE_BYTES,
            flush_after: Self::FLUSH_AFTER,
            retention,
            budgets: Budgets { disk_bytes: None, held_bytes: Self::HELD_BYTES },
            reserve_bytes: None,
            queue_bytes: Self::QUEUE_BYTES,
            segment_bytes: Self::SEGMENT_BYTES,
            limits: DecodeLimits::with_retention(retention_ns),
            blocks: BlockOptions { partition_ns: Self::PARTITION_NS },
            compaction: CompactPolicy::default(),
        }
    }

    pub(crate) fn retention_ns(&self) -> i64 {
        i64::try_from(self.retention.as_nanos()).unwrap_or(i64::MAX)
    }
}
