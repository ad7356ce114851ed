//! The commit: a group of requests becomes durable, then visible, then acknowledged.
//!
//! 1. An exact retry of a stored request, or of one earlier in the group, becomes a small frame without a body: it is
//!    answered after the same sync as its original.
//! 2. All frames are one write and one sync. If either fails, none of the requests has happened.
//! 3. Batches are inserted in the order of the log, then the senders are answered.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use throughline_wire::Rejection;

use super::queue::Queued;
use super::state::Applied;
use super::write::{Write, WriteError, Written};
use super::{DISK_FULL_RETRY, Durability, Engine, Log, UNSYNCED_BYTES_MAX, lock};
use crate::error::Error;
use crate::wal::{Frame, Kind};

impl Engine {
    /// Commits one group of waiting requests and says how many there were.
    pub fn commit_once(&self) -> usize {
        let group = self.queue.take();
        if group.is_empty() {
            return 0;
        }
        let count = group.len();
        let admitted =
            self.check_space().and_then(|()| self.check_memory()).and_then(|()| self.settle_replayed());
        let outcome = admitted.and_then(|()| self.log_group(&group));
        let (answers, group): (Vec<_>, Vec<_>) = match outcome {
            Ok(written) => {
                let answers = written.iter().map(|written| Ok(*written)).collect();
                (answers, self.apply_group(group, &written))
            }
            Err(error) => {
                let answers = group.iter().map(|_| Err(error.clone())).collect();
                (answers, group.into_iter().map(|queued| queued.done).collect())
            }
        };
        for (done, answer) in group.into_iter().zip(answers) {
            done(answer);
        }
        if lock(&self.log).writer.unsynced_bytes() > UNSYNCED_BYTES_MAX {
            // A failure is counted and shown; what is not durable yet is tried again.
            _ = self.sync_once();
        }
        count
    }

    /// Sees to it that what was replayed is in blocks before anything is acknowledged.
    fn settle_replayed(&self) -> Result<(), WriteError> {
        if self.is_replay_unsettled.load(Ordering::Relaxed) {
            self.flush_all().map_err(|error| self.refusal(&error))?;
            self.is_replay_unsettled.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Refuses everything that waits, because nobody will commit it.
    pub(super) fn refuse_waiting(&self, reason: &str) {
        loop {
            let group = self.queue.take();
            if group.is_empty() {
                return;
            }
            for queued in group {
                (queued.done)(Err(WriteError::Failed(reason.to_owned())));
            }
        }
    }

    /// With [`Durability::Os`]: makes durable what was written since the last time.
    pub fn sync_once(&self) -> Result<(), Error> {
        let mut log = lock(&self.log);
        let started = self.clock.monotonic();
        if log.writer.unsynced_bytes() == 0 {
            return Ok(());
        }
        let result = log.writer.sync(None, self.clock.now());
        self.counters.synced(self.clock.monotonic().saturating_sub(started), result.is_ok());
        self.note_poison(&result);
        result
    }

    /// Writes and syncs the frames of a group.
    fn log_group(&self, group: &[Queued]) -> Result<Vec<Written>, WriteError> {
        let mut log = lock(&self.log);
        let log = &mut *log;
        let before = log.writer.cursor();
        let mut frames = log.writer.group();
        let mut written = Vec::with_capacity(group.len());
        let mut hashes = HashSet::new();
        for Queued { write, .. } in group {
            let is_new = !log.dedup.contains(write.content_hash) && hashes.insert(write.content_hash);
            let payload: &[u8] = if is_new { &write.body } else { &[] };
            frames.push(&frame_of(write, is_new), payload);
            written.push(if is_new { Written::Stored } else { Written::Deduplicated });
        }
        let now = self.clock.now();
        let mut result = log.writer.write(frames, now);
        if result.is_ok() && self.config.durability == Durability::Fsync {
            let started = self.clock.monotonic();
            result = log.writer.sync(Some(before), now);
            self.counters.synced(self.clock.monotonic().saturating_sub(started), result.is_ok());
        }
        self.note_poison(&result);
        match result {
            Ok(()) => {
                self.remember_hashes(log, group);
                Ok(written)
            }
            Err(error) => Err(self.refusal(&error)),
        }
    }

    fn remember_hashes(&self, log: &mut Log, group: &[Queued]) {
        let now = self.clock.monotonic();
        for Queued { write, .. } in group {
            if !log.dedup.contains(write.content_hash) {
                log.dedup.add(write.content_hash, now);
            }
        }
        log.dedup.expire(now);
    }

    fn apply_group(&self, group: Vec<Queued>, written: &[Written]) -> Vec<super::Done> {
        let now = self.clock.monotonic();
        let mut applied = self.applied();
        let mut dones = Vec::with_capacity(group.len());
        for (Queued { write, done, .. }, written) in group.into_iter().zip(written) {
            match written {
                Written::Stored => {
                    if !write.batch.is_empty() {
                        self.observer.stored(applied.floor.lsn, write.received_at, &write.batch);
                    }
                    apply_write(&mut applied, write);
                }
                Written::Deduplicated => {
                    let items = frame_of(&write, false).items();
                    applied.floor.ledger.add_duplicate(write.signal, items);
                    applied.floor.total_items += items;
                }
            }
            applied.floor.lsn += 1;
            applied.memtable_since.get_or_insert(now);
            dones.push(done);
        }
        dones
    }

    fn refusal(&self, error: &Error) -> WriteError {
        if !error.is_disk_full() {
            return WriteError::Failed(error.to_string());
        }
        let space = self.disk.space(&self.config.dir).ok();
        WriteError::DiskFull {
            free_bytes: space.map_or(0, |space| space.free_bytes),
            reserve_bytes: space.map_or(0, |space| self.reserve_bytes(&space)),
            retry_after: DISK_FULL_RETRY,
        }
    }

    fn note_poison(&self, result: &Result<(), Error>) {
        if let Err(error @ Error::Poisoned { .. }) = result {
            self.counters.poison(error.to_string(), self.clock.now());
        }
    }
}

fn apply_write(applied: &mut Applied, write: Write) {
    let stored = write.batch.items() as u64;
    applied.floor.ledger.add_stored(write.signal, stored, &write.rejected);
    applied.floor.total_items += stored + Rejection::total(&write.rejected);
    applied.hashes.push(write.content_hash);
    if !write.batch.is_empty() {
        applied.memtable.insert(write.batch, write.received_at);
    }
}

fn frame_of(write: &Write, is_new: bool) -> Frame {
    let rejected = Rejection::total(&write.rejected);
    Frame {
        kind: if is_new { Kind::Write } else { Kind::Duplicate },
        signal: write.signal,
        encoding: write.encoding.code(),
        compression: write.compression.code(),
        tenant: 0,
        received_at: write.received_at,
        content_hash: write.content_hash,
        accepted: u32::try_from(write.batch.items()).unwrap_or(u32::MAX),
        rejected: u32::try_from(rejected).unwrap_or(u32::MAX),
    }
}
