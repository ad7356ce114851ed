//! What the store says of itself: readiness with reasons, sizes, counts and times.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::{DISK_FULL_RETRY, Durability, Engine, WriteError, lock};
use crate::manifest::Lost;
use crate::retain::Held;

/// So many notices are kept: enough for what a person reads.
const NOTICES_MAX: usize = 64;
/// Levels above this are counted together; there are three.
const LEVELS_MAX: u32 = 15;
/// Percentiles are over so many of the last syncs.
const SYNCS_KEPT: usize = 1024;

/// Whether something works and, if not, why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// It works.
    pub ready: bool,
    /// Why it does not, or only in part.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Something an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// When, nanoseconds since the epoch.
    pub at: i64,
    /// What.
    pub text: String,
}

/// The state of the store.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Whether requests are taken.
    pub write: Readiness,
    /// Whether snapshots see everything that is stored.
    pub read: Readiness,
    /// What an acknowledgement means.
    pub durability: Durability,
    /// The process before this one did not close the store.
    pub started_unclean: bool,
    /// The LSN of the next frame.
    pub next_lsn: u64,
    /// The first LSN that is not in blocks.
    pub floor_lsn: u64,
    /// Segments of the log.
    pub wal_segments: usize,
    /// Their bytes, about.
    pub wal_bytes: u64,
    /// Bytes that wait for the log.
    pub queued_bytes: usize,
    /// Memtables, with those that are being written.
    pub memtables: usize,
    /// Their bytes.
    pub memtable_bytes: usize,
    /// Blocks of each level, from level 0.
    pub blocks_per_level: Vec<usize>,
    /// The bytes of all blocks.
    pub block_bytes: u64,
    /// Free bytes of the file system; 0 if it does not say.
    pub free_bytes: u64,
    /// Frames that the last start replayed.
    pub replayed_records: u64,
    /// Items in them.
    pub replayed_items: u64,
    /// Acknowledged records that damage has cost, ever.
    pub lost: Lost,
    /// Records without acknowledgement that the last power cut tore.
    pub torn_records: u64,
    /// Content hashes that exact retries are compared with.
    pub dedup_hashes: usize,
    /// Syncs of the log.
    pub fsyncs: u64,
    /// Syncs of the log that failed.
    pub fsync_failures: u64,
    /// The median of the last syncs, microseconds.
    pub fsync_p50_us: u64,
    /// The 99th percentile of the last syncs, microseconds.
    pub fsync_p99_us: u64,
    /// Memtables that were written as blocks.
    pub flushes: u64,
    /// Merges of blocks.
    pub compactions: u64,
    /// Blocks that retention removed.
    pub retired_blocks: u64,
    /// Bytes of blocks that this process has compared with their checksums again.
    pub scrubbed_bytes: u64,
    /// Blocks of which something is not what was written, or that cannot be merged.
    pub damaged_blocks: usize,
    /// What is held beyond its retention because something cites it.
    pub held: Held,
    /// What an operator should know, oldest first.
    pub notices: Vec<Notice>,
}

/// Counts that many threads add to.
#[derive(Default)]
pub(super) struct Counters {
    fsyncs: AtomicU64,
    fsync_failures: AtomicU64,
    fsync_us: Mutex<VecDeque<u64>>,
    flushes: AtomicU64,
    compactions: AtomicU64,
    retired_blocks: AtomicU64,
    held_left_out: AtomicU64,
    is_disk_full: AtomicBool,
    free_bytes: AtomicU64,
    reserve_bytes: AtomicU64,
    pub(super) started_unclean: AtomicBool,
    pub(super) replayed_records: AtomicU64,
    pub(super) replayed_items: AtomicU64,
    pub(super) torn_records: AtomicU64,
    pub(super) scrubbed_bytes: AtomicU64,
    poison: Mutex<Option<String>>,
    notices: Mutex<VecDeque<Notice>>,
}

impl Counters {
    pub(super) fn synced(&self, took: Duration, succeeded: bool) {
        let counter = if succeeded { &self.fsyncs } else { &self.fsync_failures };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.fsync_us.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= SYNCS_KEPT {
            kept.pop_front();
        }
        kept.push_back(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn compacted(&self) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retired(&self, blocks: usize) {
        self.retired_blocks.fetch_add(blocks as u64, Ordering::Relaxed);
    }

    /// Counts cited traces that went because of the budget, and says how many went so far.
    pub(super) fn held_left_out(&self, traces: u64) -> u64 {
        self.held_left_out.fetch_add(traces, Ordering::Relaxed).saturating_add(traces)
    }

    pub(super) fn set_disk_full(&self, free_and_reserve: Option<(u64, u64)>) {
        if let Some((free_bytes, reserve_bytes)) = free_and_reserve {
            self.free_bytes.store(free_bytes, Ordering::Relaxed);
            self.reserve_bytes.store(reserve_bytes, Ordering::Relaxed);
        }
        self.is_disk_full.store(free_and_reserve.is_some(), Ordering::Relaxed);
    }

    pub(super) fn disk_full(&self) -> Result<(), WriteError> {
        if !self.is_disk_full.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(WriteError::DiskFull {
            free_bytes: self.free_bytes.load(Ordering::Relaxed),
            reserve_bytes: self.reserve_bytes.load(Ordering::Relaxed),
            retry_after: DISK_FULL_RETRY,
        })
    }

    pub(super) fn poison(&self, text: String, now: i64) {
        let mut poison = lock(&self.poison);
        if poison.is_none() {
            self.note(now, text.clone());
            *poison = Some(text);
        }
    }

    /// Keeps a sentence for the operator; the same one twice in a row once.
    pub(super) fn note(&self, at: i64, text: String) {
        let mut notices = lock(&self.notices);
        if notices.back().is_some_and(|last| last.text == text) {
            return;
        }
        if notices.len() >= NOTICES_MAX {
            notices.pop_front();
        }
        notices.push_back(Notice { at, text });
    }

    fn fsync_percentiles_us(&self) -> (u64, u64) {
        let mut kept: Vec<u64> = lock(&self.fsync_us).iter().copied().collect();
        kept.sort_unstable();
        let at = |percent: usize| kept.get((kept.len() * percent / 100).min(kept.len().saturating_sub(1)));
        (at(50).copied().unwrap_or(0), at(99).copied().unwrap_or(0))
    }
}

impl Engine {
    /// The state of the store.
    pub fn status(&self) -> Status {
        let visible = self.visible();
        let space = self.disk.space(&self.config.dir).ok();
        let (next_lsn, (wal_segments, wal_bytes), dedup_hashes) = {
            let log = lock(&self.log);
            (log.writer.next_lsn(), log.writer.size(), log.dedup.len())
        };
        let floor_lsn = lock(&self.manifest).manifest.floor.lsn;
        let lost = self.applied().floor.lost;
        let mut blocks_per_level = Vec::new();
        for block in visible.blocks.iter() {
            let level = block.meta().level.min(LEVELS_MAX) as usize;
            blocks_per_level.resize(blocks_per_level.len().max(level + 1), 0);
            if let Some(count) = blocks_per_level.get_mut(level) {
                *count += 1;
            }
        }
        let counters = &self.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (fsync_p50_us, fsync_p99_us) = counters.fsync_percentiles_us();
        Status {
            write: self.write_readiness(),
            read: Readiness { ready: visible.missing.is_empty(), reasons: visible.missing.to_vec() },
            durability: self.config.durability,
            started_unclean: counters.started_unclean.load(Ordering::Relaxed),
            next_lsn,
            floor_lsn,
            wal_segments,
            wal_bytes,
            queued_bytes: self.queue.waiting_bytes(),
            memtables: visible.memtables.len(),
            memtable_bytes: self.memtable_bytes(),
            blocks_per_level,
            block_bytes: visible.blocks.iter().map(|block| block.meta().disk_bytes()).sum(),
            free_bytes: space.map_or(0, |space| space.free_bytes),
            replayed_records: load(&counters.replayed_records),
            replayed_items: load(&counters.replayed_items),
            lost,
            torn_records: load(&counters.torn_records),
            dedup_hashes,
            fsyncs: load(&counters.fsyncs),
            fsync_failures: load(&counters.fsync_failures),
            fsync_p50_us,
            fsync_p99_us,
            flushes: load(&counters.flushes),
            compactions: load(&counters.compactions),
            retired_blocks: load(&counters.retired_blocks),
            scrubbed_bytes: load(&counters.scrubbed_bytes),
            damaged_blocks: lock(&self.damaged).len(),
            held: self.held(),
            notices: lock(&counters.notices).iter().cloned().collect(),
        }
    }

    fn write_readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        reasons.extend(lock(&self.counters.poison).clone());
        let refusals = [self.counters.disk_full(), self.check_memory()];
        reasons.extend(refusals.into_iter().filter_map(Result::err).map(|error| error.to_string()));
        if self.queue.is_closed() {
            reasons.push(WriteError::Closed.to_string());
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }
}
