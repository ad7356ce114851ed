//! The engine: a write, step by step, and everything that happens to it later.
//!
//! 1. [`Engine::submit`] puts a decoded request into a bounded queue, or refuses it.
//! 2. [`Engine::commit_once`] takes a group from the queue, writes its frames to the log, syncs once, inserts the
//!    batches into the memtable in the order of the log, and answers.
//! 3. [`Engine::flush_once`] freezes the memtable between two LSNs, writes it as blocks, and edits the manifest: blocks
//!    and floor change together. Then snapshots see the blocks in place of the memtable, and segments below the floor go.
//! 4. [`Engine::compact_once`] and [`Engine::retain_once`] edit the manifest; [`Engine::reap`] deletes what is replaced
//!    once no snapshot reads it.
//! 5. [`Engine::scrub_once`] compares what lies on the disk with its checksums, a little at a time.
//! 6. [`Engine::open`] is the way back: manifest, blocks, and the log above the floor through the decoder.
//!
//! Every step is a method that does one piece of work, so that a simulator drives them by hand, on a simulated disk and
//! clock, in one thread. [`Store`] is the engine with its threads.
//!
//! Locks are taken in this order: `flushing` or `compacting`, `manifest`, `log`, `applied`, `showing`, `visible`. No one waits for
//! the disk with `applied` or `visible` held.

mod commit;
mod config;
mod flush;
mod maintain;
mod observe;
mod pins;
mod queue;
mod recover;
mod retain;
mod scrub;
mod state;
mod status;
mod threads;
mod write;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::block::{Block, Footers};
use crate::clock::Clock;
use crate::dedup;
use crate::disk::{Disk, Space};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::manifest::Manifest;
use crate::memtable::{Memtable, SERIES_ROOM};
use crate::sample::Sampling;
use crate::scrub::Scrub;
use crate::snapshot::Snapshot;
use crate::snapshot::services::SeriesMemo;
use crate::wal;

use queue::{Queue, Refused};
use state::{Applied, Visible};
use status::Counters;

pub use config::{Budgets, Durability, StoreConfig};
pub use flush::{EDIT_FILE, Edit};
pub use observe::{Observer, Parts};
pub(crate) use recover::segments;
pub use status::{Notice, Readiness, Status};
pub use threads::Store;
pub use write::{Done, Write, WriteError, Written};

/// The folder of the log's segments within the data folder.
pub const LOG_FOLDER: &str = "wal";
/// The folder of hash files within the data folder.
pub const HASHES_FOLDER: &str = "hashes";

/// A file of the data folder that gives its room to the manifest when there is no other.
const BALLAST_FILE: &str = "ballast";
/// Some thousand blocks fit into a manifest of this size.
const BALLAST_BYTES: u64 = 4 << 20;
/// With [`Durability::Os`] at most so many bytes are written and not synced: they are kept in memory, in case the file
/// fails.
const UNSYNCED_BYTES_MAX: usize = 8 << 20;
/// How long a sender should wait when the disk is full: retention runs every few seconds.
const DISK_FULL_RETRY: Duration = Duration::from_secs(5);
/// How long a sender should wait when the store cannot follow: a flush takes about so long.
const OVERLOADED_RETRY: Duration = Duration::from_secs(1);
/// Memtables together may be so many times the limit of one: one that grows and two that are being written.
const MEMTABLES_MAX: usize = 3;
/// Memtables with their series may take so many times the limit of rows: one that is full of series, and half as much again.
const MEMORY_MAX: usize = SERIES_ROOM + SERIES_ROOM / 2;
/// The smallest reserve of free space: what flush and compaction need at once.
const RESERVE_BYTES: u64 = 1 << 30;

/// The log's writing end and what it needs to know of the past.
struct Log {
    writer: wal::Writer,
    dedup: dedup::Window,
}

/// The manifest as it is on disk.
struct ManifestState {
    manifest: Manifest,
    /// Folders of blocks that an edit named that may or may not have reached the disk: they are kept until another
    /// edit has.
    doubtful: Vec<String>,
}

/// The store without threads.
pub struct Engine {
    config: StoreConfig,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
    queue: Queue,
    flushing: Mutex<()>,
    compacting: Mutex<()>,
    manifest: Mutex<ManifestState>,
    log: Mutex<Log>,
    applied: Mutex<Applied>,
    /// Held while the next value of `visible` is made.
    showing: Mutex<()>,
    visible: RwLock<Arc<Visible>>,
    /// Blocks that the manifest no longer names and that a snapshot may still read.
    retired: Mutex<VecDeque<Arc<Block>>>,
    /// Blocks that could not be read: compaction leaves them alone.
    damaged: Mutex<HashSet<u64>>,
    scrub: Mutex<Scrub>,
    /// What decides which traces stay, if anything does. Held while a merge decides.
    sampling: Option<Mutex<Sampling>>,
    /// Blocks about which there was nothing to decide, and when that was found.
    decided: Mutex<HashMap<u64, i64>>,
    /// The decoded footers of all blocks, under one limit.
    footers: Arc<Footers>,
    /// The series that lists of blocks have, for all snapshots.
    series: Arc<SeriesMemo>,
    observer: Arc<dyn Observer>,
    next_block_id: AtomicU64,
    /// What was replayed is not in blocks yet: it may be in the caches of the system alone, and a retry of it would be
    /// answered as stored.
    is_replay_unsettled: AtomicBool,
    counters: Counters,
}

impl Engine {
    /// Hands a decoded request over. `done` is called once: by [`Engine::commit_once`], or at once on this thread if
    /// the request is refused.
    pub fn submit(&self, write: Write, done: Done) {
        if let Err(error) = self.counters.disk_full() {
            return done(Err(error));
        }
        if let Err((refused, done)) = self.queue.push(write, done) {
            done(Err(match refused {
                Refused::Closed => WriteError::Closed,
                Refused::Full(waiting_bytes) => WriteError::Overloaded {
                    waiting_bytes,
                    limit_bytes: self.queue.limit_bytes(),
                    retry_after: OVERLOADED_RETRY,
                },
            }));
        }
    }

    /// An immutable view of everything that is acknowledged.
    pub fn snapshot(&self) -> Snapshot {
        let visible = self.visible();
        let memtables = visible.memtables.iter().map(|memtable| memtable.view()).collect();
        Snapshot::new(memtables, visible.blocks.clone(), visible.missing.clone(), self.clock.now())
            .sharing(Arc::clone(&self.series))
            .knowing(visible.expired.clone())
    }

    /// The ledger of everything that is acknowledged.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = self.applied().floor.ledger.clone();
        ledger.set_dropped(&lock(&self.manifest).manifest.decisions);
        ledger
    }

    /// Takes no more requests; those in the queue can still be committed.
    pub fn refuse_writes(&self) {
        self.queue.close();
    }

    /// Closes the store: commits what waits, flushes, and leaves an empty log and a clean manifest. If the disk fails,
    /// what is acknowledged is still in the log.
    pub fn close(&self) -> Result<(), Error> {
        self.queue.close();
        if lock(&self.lock).is_none() {
            // Closed before: the folder may have another owner by now.
            return Ok(());
        }
        loop {
            if self.check_memory().is_err() {
                // If it fails, what waits is refused.
                _ = self.flush_once();
            }
            if self.commit_once() == 0 {
                break;
            }
        }
        let flushed = self.sync_once().and_then(|()| self.flush_all());
        let closed = flushed.and_then(|()| {
            {
                let mut log = lock(&self.log);
                log.writer.finish_segment();
                let next_lsn = log.writer.next_lsn();
                log.writer.release(next_lsn)?;
            }
            self.edit_manifest(|manifest| manifest.is_clean = true, Vec::new(), |_| {})
        });
        self.reap();
        *lock(&self.lock) = None;
        closed
    }

    fn flush_all(&self) -> Result<(), Error> {
        while self.flush_once()? {}
        Ok(())
    }

    /// Whether memtables hold more than they may: requests wait for a flush then, and are refused if none comes.
    fn check_memory(&self) -> Result<(), WriteError> {
        let (rows, series) = self.memtable_memory();
        for (waiting_bytes, memtables) in [(rows, MEMTABLES_MAX), (rows + series, MEMORY_MAX)] {
            let limit_bytes = self.config.memtable_bytes.saturating_mul(memtables);
            if waiting_bytes > limit_bytes {
                return Err(WriteError::Overloaded {
                    waiting_bytes,
                    limit_bytes,
                    retry_after: OVERLOADED_RETRY,
                });
            }
        }
        Ok(())
    }

    /// The bytes of all memtables: those of rows, and those of series. What memtables share counts once.
    fn memtable_memory(&self) -> (usize, usize) {
        let memtables = self.visible().memtables.clone();
        let sum = |of: fn(&Memtable) -> usize| memtables.iter().map(|memtable| of(memtable)).sum::<usize>();
        let all_series = sum(Memtable::series_bytes);
        let shared: usize = memtables.iter().skip(1).map(|memtable| memtable.shared_bytes()).sum();
        let kept = memtables.first().map_or(0, |memtable| memtable.kept_bytes());
        (sum(Memtable::bytes).saturating_sub(all_series), (all_series + kept).saturating_sub(shared))
    }

    /// Looks at the room on the disk and remembers whether it is enough.
    fn check_space(&self) -> Result<(), WriteError> {
        let refusal = match self.disk.space(&self.config.dir) {
            // Without an answer there is no reason to refuse: a write that finds no room is refused then.
            Err(_) => None,
            Ok(space) => {
                let reserve_bytes = self.reserve_bytes(&space);
                (space.free_bytes < reserve_bytes).then_some((space.free_bytes, reserve_bytes))
            }
        };
        self.counters.set_disk_full(refusal);
        self.counters.disk_full()
    }

    /// Sees to a file that is only there to be removed when the disk is full.
    fn restore_ballast(&self) {
        let path = self.folder(BALLAST_FILE);
        if self.disk.exists(&path).unwrap_or(true) {
            return;
        }
        let made = self.disk.create(&path).and_then(|file| file.preallocate(BALLAST_BYTES));
        if made.is_err() {
            _ = self.disk.remove(&path);
        }
    }

    /// Makes the room of the ballast free; false if there is none.
    fn drop_ballast(&self) -> bool {
        self.disk.remove(&self.folder(BALLAST_FILE)).is_ok()
    }

    fn reserve_bytes(&self, space: &Space) -> u64 {
        self.config.reserve_bytes.unwrap_or(RESERVE_BYTES.max(space.total_bytes / 20))
    }

    fn memtable_bytes(&self) -> usize {
        let (rows, series) = self.memtable_memory();
        rows + series
    }

    fn visible(&self) -> Arc<Visible> {
        self.visible.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn applied(&self) -> MutexGuard<'_, Applied> {
        lock(&self.applied)
    }

    /// Replaces what snapshots see.
    fn show(&self, change: impl FnOnce(&Visible) -> Visible) {
        let _one_at_a_time = lock(&self.showing);
        let next = Arc::new(change(&self.visible()));
        // A query waits for this lock, and who holds it may be made to wait for the query: it is held for one assignment.
        let before =
            std::mem::replace(&mut *self.visible.write().unwrap_or_else(PoisonError::into_inner), next);
        drop(before);
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.config.dir.join(name)
    }

    /// Writes an edited manifest, then shows its effect. `folders` are those of blocks that the edit adds: if it fails,
    /// they stay until it is known that it has not happened.
    fn edit_manifest(
        &self,
        change: impl FnOnce(&mut Manifest),
        folders: Vec<String>,
        then: impl FnOnce(&Manifest),
    ) -> Result<(), Error> {
        let always = |manifest: &mut Manifest| {
            change(manifest);
            true
        };
        self.edit_manifest_if(always, folders, then).map(|_| ())
    }

    /// As [`Engine::edit_manifest`]; where `change` says no, nothing happens and the answer is false.
    fn edit_manifest_if(
        &self,
        change: impl FnOnce(&mut Manifest) -> bool,
        folders: Vec<String>,
        then: impl FnOnce(&Manifest),
    ) -> Result<bool, Error> {
        let mut state = lock(&self.manifest);
        let mut next = state.manifest.clone();
        next.is_clean = false;
        if !change(&mut next) {
            return Ok(false);
        }
        next.edition += 1;
        next.next_block_id = self.next_block_id.load(Ordering::Relaxed);
        let mut saved = next.save(self.disk.as_ref(), &self.config.dir);
        if saved.as_ref().is_err_and(Error::is_disk_full) && self.drop_ballast() {
            // Retention and flushes make room, and both need to write a manifest first.
            saved = next.save(self.disk.as_ref(), &self.config.dir);
        }
        if let Err(error) = saved {
            state.doubtful.extend(folders);
            return Err(error);
        }
        state.manifest = next;
        then(&state.manifest);
        let doubtful = std::mem::take(&mut state.doubtful);
        drop(state);
        self.remove_folders(&doubtful);
        Ok(true)
    }
}

/// A lock whose holder panicked holds whole values: every change to them is one assignment or is repeated.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
