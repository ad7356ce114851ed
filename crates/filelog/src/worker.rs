//! The thread of a receiver: looks for files, reads them, stores what it read, and keeps the checkpoint.
//!
//! One request at a time, in this order, so that a crash anywhere loses nothing:
//!
//! 1. lines are read and go through the chain, until there are enough or there are no more;
//! 2. the checkpoint is saved: what is stored up to here, and from which bytes the next request is made;
//! 3. the store has the request, and is asked again for as long as it takes nothing;
//! 4. the positions move. The next checkpoint says so; a crash before that makes the request again, with the same hash.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use throughline_store::{Clock, Disk};
use xxhash_rust::xxh3::Xxh3;

use crate::batch::Batch;
use crate::chain::Running;
use crate::checkpoint::{self, Part, Pending, Saved};
use crate::counts::{Counts, Warnings, add};
use crate::identity::{Position, Print};
use crate::request;
use crate::settings::Receiver;
use crate::source;
use crate::stop::Stop;
use crate::tracked::{Ended, Extent};
use crate::tracker::{Tracker, is_due};
use crate::value::Value;
use crate::writer::{NotStored, Writer};
use crate::{entry, labels};

/// Bytes of one file that are read before the others have their turn.
const TURN_BYTES: u64 = 8 << 20;
/// Files are looked for again after so long although there is more to read.
const RESCAN: Duration = Duration::from_secs(1);
/// How long to wait before a checkpoint is tried again.
const SAVE_RETRY: Duration = Duration::from_secs(1);

/// The receiver stops. What is not stored is read again at the next start.
pub struct Stopped;

/// What a worker works with.
pub struct Worker {
    pub receiver: Receiver,
    pub tracker: Tracker,
    pub chain: Running,
    pub writer: Writer,
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
    pub checkpoint: PathBuf,
    /// The number of the last request.
    pub sequence: u64,
    pub entries_max: usize,
    pub batch: Batch,
    pub counts: Arc<Counts>,
    pub warnings: Warnings,
    pub stop: Arc<Stop>,
    /// Whether positions moved since the last checkpoint.
    pub has_moved: bool,
}

impl Worker {
    /// Works until it is stopped. `pending` is what was on its way when the last process ended.
    pub fn run(mut self, pending: Option<Pending>) {
        let worked = self.work(pending);
        if worked.is_ok() && self.has_moved {
            let saved = self.saved(None);
            if let Err(error) = checkpoint::save(&*self.disk, &self.checkpoint, &saved) {
                self.warn("checkpoint", &format!("the checkpoint is not saved: {error}"));
            }
        }
    }

    fn work(&mut self, pending: Option<Pending>) -> Result<(), Stopped> {
        if let Some(pending) = pending {
            self.replay(&pending)?;
        }
        loop {
            let has_more = self.poll()?;
            let wait = if has_more { Duration::ZERO } else { self.receiver.find.poll_interval };
            if self.stop.wait(wait) {
                return Ok(());
            }
        }
    }

    /// Looks for files and reads what there is; true if there is more.
    fn poll(&mut self) -> Result<bool, Stopped> {
        let started = self.clock.monotonic();
        self.scan(started);
        let has_more = loop {
            let now = self.clock.monotonic();
            let readable = self.tracker.readable(now, self.flush_after());
            if readable.is_empty() || self.stop.is_set() || now.saturating_sub(started) > RESCAN {
                break !readable.is_empty();
            }
            for number in readable {
                self.read(number, now)?;
                if self.stop.is_set() {
                    break;
                }
            }
        };
        self.release_due()?;
        self.commit()?;
        if self.has_moved {
            self.save(None)?;
        }
        self.remove_stored();
        self.count_files();
        Ok(has_more)
    }

    fn scan(&mut self, now: Duration) {
        let wall = self.clock.now();
        let found = self.tracker.scan(now, wall);
        add(&self.counts.truncated_files, found.truncated);
        self.has_moved |= found.new + found.truncated > 0;
        for warning in found.warnings {
            self.warn("scan", &warning);
        }
    }

    fn flush_after(&self) -> Option<Duration> {
        // What is read to be removed has no later.
        if self.receiver.find.delete_after_read { Some(Duration::ZERO) } else { self.receiver.flush_after }
    }

    /// Reads a file for as long as it is its turn.
    fn read(&mut self, number: u64, now: Duration) -> Result<(), Stopped> {
        let flush_after = self.flush_after();
        let Some(file) = self.tracker.files.get(&number) else { return Ok(()) };
        let is_flush = is_due(file, now, flush_after);
        let mut left = TURN_BYTES;
        loop {
            let extent = Extent { until: None, is_flush, bytes_max: left };
            let before = self.tracker.files.get(&number).map_or(0, |file| file.read.offset);
            let ended = self.read_part(number, extent);
            if self.batch.is_full(self.entries_max) {
                self.commit()?;
            }
            let after = self.tracker.files.get(&number).map_or(0, |file| file.read.offset);
            left = left.saturating_sub(after.saturating_sub(before));
            if ended != Some(Ended::Stopped) || left == 0 || self.stop.is_set() {
                return Ok(());
            }
        }
    }

    /// Reads records of a file into the batch, until it is full.
    fn read_part(&mut self, number: u64, extent: Extent) -> Option<Ended> {
        let now = self.clock.monotonic();
        if self.batch.is_empty() {
            self.batch.observed_at = self.clock.now();
        }
        let opened = self.tracker.open(number);
        let Worker { receiver, tracker, chain, batch, entries_max, warnings, .. } = self;
        let file = tracker.files.get_mut(&number)?;
        let before = file.read.offset;
        let labels = labels::of_file(&receiver.labels, &file.path, &file.stat);
        let mut on_record = |record: &[u8], origin: entry::Origin| {
            batch.bytes += record.len();
            // A nanosecond apart: lines stay in their order, and equal ones are not taken for one.
            let observed_at =
                batch.observed_at.saturating_add(i64::try_from(batch.lines).unwrap_or(i64::MAX));
            batch.lines += 1;
            let value = receiver.format.value(record);
            // Empty lines are no records, as in the Collector.
            let is_empty = matches!(&value, Value::Str(text) if text.is_empty());
            if !is_empty {
                let (entry, failure) = labels::entry(&receiver.labels, &labels, value, origin, observed_at);
                if let Some(failure) = failure {
                    warnings.say("labels", &failure, now);
                }
                chain.push(entry, now, &mut batch.outcome);
            }
            !batch.is_full(*entries_max)
        };
        let ended = opened.and_then(|()| file.read(&receiver.format, extent, &mut on_record));
        let failure = match ended {
            Ok(Ended::AtEnd) => {
                file.is_dirty = false;
                None
            }
            Ok(Ended::Stopped) => None,
            Ok(Ended::Changed) => {
                file.detach();
                add(&self.counts.truncated_files, 1);
                None
            }
            Err(ref error) => {
                // It is looked at again when it changes.
                file.is_dirty = false;
                file.is_partial = false;
                Some(format!("read {}: {error}", file.path.display()))
            }
        };
        let end = file.read.offset;
        if end > before {
            self.batch.parts.push(Part { file: number, end });
            self.batch.files.insert(number);
        }
        if let Some(failure) = failure {
            add(&self.counts.read_failures, 1);
            self.warn("read", &failure);
        }
        ended.ok()
    }

    /// Lets go what has waited long enough in the chain, as a request of its own.
    fn release_due(&mut self) -> Result<(), Stopped> {
        let now = self.clock.monotonic();
        if !self.chain.is_due(now) {
            return Ok(());
        }
        self.commit()?;
        self.batch.observed_at = self.clock.now();
        self.chain.release(false, now, &mut self.batch.outcome);
        let waiting = self.tracker.files.values().filter(|file| file.stored.offset < file.read.offset);
        self.batch.files = waiting.map(|file| file.number).collect();
        self.batch.parts = self
            .batch
            .files
            .iter()
            .map(|number| Part { file: *number, end: self.read_offset(*number) })
            .collect();
        self.batch.is_released = true;
        self.commit()
    }

    fn read_offset(&self, number: u64) -> u64 {
        self.tracker.files.get(&number).map_or(0, |file| file.read.offset)
    }

    /// Stores what is in the batch.
    fn commit(&mut self) -> Result<(), Stopped> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        if !batch.outcome.entries.is_empty() {
            self.sequence += 1;
            let pending = Pending {
                sequence: self.sequence,
                observed_at: batch.observed_at,
                parts: batch.parts.clone(),
                is_released: batch.is_released,
            };
            self.save(Some(pending))?;
        }
        self.store(batch)
    }

    /// Hands a batch to the store and moves the positions.
    fn store(&mut self, batch: Batch) -> Result<(), Stopped> {
        self.count(&batch);
        if !batch.outcome.entries.is_empty() {
            let request = request::encode(&batch.outcome.entries);
            let hash = self.content_hash(&batch);
            let Worker { writer, clock, stop, counts, warnings, .. } = self;
            let mut on_wait = |error: &throughline_store::WriteError| {
                add(&counts.store_waits, 1);
                let text = format!("reading pauses, because the store takes nothing: {error}");
                warnings.say("store", &text, clock.monotonic());
            };
            match writer.store(&request, hash, &**clock, stop, &mut on_wait) {
                Ok(answer) => {
                    let records = batch.outcome.entries.len() as u64;
                    add(&self.counts.records, records.saturating_sub(answer.rejected));
                    add(&self.counts.rejected, answer.rejected);
                    add(&self.counts.deduplicated_requests, u64::from(answer.is_known));
                    if let Some(reason) = answer.rejections {
                        self.warn("rejected", &reason);
                    }
                }
                Err(NotStored::Stopped) => return Err(Stopped),
                Err(error) => {
                    add(&self.counts.rejected, batch.outcome.entries.len() as u64);
                    self.warn("rejected", &error.to_string());
                }
            }
        }
        for number in &batch.files {
            let waiting = self.chain.earliest(*number);
            let Some(file) = self.tracker.files.get_mut(number) else { continue };
            file.stored = match waiting {
                // Nothing is known of the bytes before a line that waits.
                Some(origin) => Position {
                    offset: origin.start,
                    records: origin.record,
                    is_skipping: false,
                    tail: Print::default(),
                },
                None => file.read,
            };
        }
        self.has_moved = true;
        Ok(())
    }

    /// The same for the same lines read again after a crash, and for nothing else: the request has a number and a time.
    fn content_hash(&self, batch: &Batch) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(self.receiver.id.as_bytes());
        hash.update(&self.sequence.to_le_bytes());
        hash.update(&batch.observed_at.to_le_bytes());
        let mut body = Vec::new();
        for entry in &batch.outcome.entries {
            body.clear();
            entry.body.encode(&mut body);
            hash.update(&(body.len() as u64).to_le_bytes());
            hash.update(&body);
        }
        hash.digest128()
    }

    fn count(&mut self, batch: &Batch) {
        let counts = &self.counts;
        add(&counts.bytes, batch.bytes as u64);
        add(&counts.lines, batch.lines);
        add(&counts.filtered, batch.outcome.filtered);
        add(&counts.failed, batch.outcome.failed);
        add(&counts.operator_failures, batch.outcome.failures.len() as u64);
        let now = self.clock.monotonic();
        for failure in batch.outcome.failures.iter().filter(|failure| !failure.is_quiet) {
            self.warnings.say(
                &failure.operator,
                &format!("operator {}: {}", failure.operator, failure.reason),
                now,
            );
        }
    }

    fn count_files(&self) {
        let counts = &self.counts;
        counts.files.store(self.tracker.files.len() as u64, Ordering::Relaxed);
        counts.open_files.store(self.tracker.open_files() as u64, Ordering::Relaxed);
    }

    fn saved(&self, pending: Option<Pending>) -> Saved {
        let next_file = self.tracker.next_number;
        Saved { sequence: self.sequence, next_file, files: self.tracker.saved(), pending }
    }

    /// Saves the checkpoint, however long that takes.
    fn save(&mut self, pending: Option<Pending>) -> Result<(), Stopped> {
        let saved = self.saved(pending);
        while let Err(error) = checkpoint::save(&*self.disk, &self.checkpoint, &saved) {
            self.warn(
                "checkpoint",
                &format!("reading pauses, because the checkpoint cannot be saved: {error}"),
            );
            if self.stop.wait(SAVE_RETRY) {
                return Err(Stopped);
            }
        }
        self.has_moved = false;
        Ok(())
    }

    /// Makes the request again that was on its way when the last process ended.
    fn replay(&mut self, pending: &Pending) -> Result<(), Stopped> {
        let now = self.clock.monotonic();
        self.scan(now);
        self.batch = Batch { observed_at: pending.observed_at, ..Batch::default() };
        for part in &pending.parts {
            self.batch.files.insert(part.file);
            let known = self
                .tracker
                .files
                .get(&part.file)
                .map(|file| (file.is_listed, file.path.display().to_string()));
            let Some((true, _)) = known else {
                let path = known.map_or_else(String::new, |(_, path)| path);
                let text = format!(
                    "{path} is gone; lines of it that were on their way when the last process ended may be lost"
                );
                self.warn("replay", &text);
                continue;
            };
            let extent = Extent { until: Some(part.end), is_flush: true, bytes_max: u64::MAX };
            while self.read_offset(part.file) < part.end
                && self.read_part(part.file, extent) == Some(Ended::Stopped)
            {}
            if let Some(file) = self.tracker.files.get_mut(&part.file) {
                // What lies behind the part is still to be read.
                file.is_dirty = true;
            }
        }
        if pending.is_released {
            self.chain.release(true, now, &mut self.batch.outcome);
        }
        self.batch.is_released = pending.is_released;
        let batch = std::mem::take(&mut self.batch);
        self.store(batch)
    }

    /// Removes files that are stored to their end, where that is wanted.
    fn remove_stored(&mut self) {
        if !self.receiver.find.delete_after_read {
            return;
        }
        let (mut failures, before) = (Vec::new(), self.tracker.files.len());
        self.tracker.files.retain(|_, file| {
            let is_read = file.is_listed && !file.is_dirty && !file.is_partial && file.stored == file.read;
            let now = source::stat(&file.path);
            let is_whole = now.is_some_and(|stat| {
                file.is_inode(&stat)
                    && (stat.size, stat.modified_at) == (file.stat.size, file.stat.modified_at)
            });
            if !(is_read && is_whole) {
                return true;
            }
            match source::remove(&file.path) {
                Ok(()) => false,
                Err(error) => {
                    failures.push(format!("remove {}: {error}", file.path.display()));
                    true
                }
            }
        });
        self.has_moved |= self.tracker.files.len() < before;
        failures.iter().for_each(|failure| self.warn("remove", failure));
    }

    fn warn(&mut self, kind: &str, text: &str) {
        self.warnings.say(kind, text, self.clock.monotonic());
    }
}
