//! Writing the log: groups of frames, one write and one sync each.
//!
//! 1. [`Writer::group`] hands out a group, [`Group::push`] gives each frame its LSN.
//! 2. [`Writer::write`] puts the group into the current segment, or into a new one where it does not fit. If that fails,
//!    the group has never been: its LSNs are given out again, and what part of it reached the segment is wiped.
//! 3. [`Writer::sync`] makes everything written durable. If that fails, the segment's file is final: what was not
//!    acknowledged goes to a new segment that starts at the first of its LSNs, which ends the old one there. After
//!    [`FAILURES_MAX`] files in a row the writer is poisoned.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use throughline_wire::DecodeLimits;

use super::frame::{self, Frame, Place};
use super::segment::{PAGE_BYTES, SegmentHeader, SegmentName};
use crate::disk::{Disk, DiskFile, is_full};
use crate::error::Error;

/// So many segments in a row may fail to sync before the writer gives up: one may be a bad spot, three are a bad disk.
const FAILURES_MAX: u32 = 3;

/// Where the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The LSN of the next frame.
    pub(crate) next_lsn: u64,
    /// The checksum of the last frame's header.
    pub(crate) previous_crc: u32,
    /// The items of all frames so far.
    pub(crate) total_items: u64,
}

/// Frames that are written and synced together.
pub struct Group {
    bytes: Vec<u8>,
    cursor: Cursor,
    synced_lsn: u64,
    salt: u64,
}

impl Group {
    /// Adds a frame and returns its LSN.
    pub fn push(&mut self, frame: &Frame, payload: &[u8]) -> u64 {
        let lsn = self.cursor.next_lsn;
        let total_items = self.cursor.total_items + frame.items();
        let place =
            Place { lsn, synced_lsn: self.synced_lsn, total_items, previous_crc: self.cursor.previous_crc };
        let previous_crc = frame::encode(&mut self.bytes, self.salt, frame, &place, payload);
        self.cursor = Cursor { next_lsn: lsn + 1, previous_crc, total_items };
        lsn
    }

    /// The bytes of its frames.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

struct Current {
    file: Arc<dyn DiskFile>,
    name: SegmentName,
    /// Where the next group starts.
    end: u64,
    file_bytes: u64,
}

/// The one writer of the log.
pub struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    salt: u64,
    segment_bytes: u64,
    limits: DecodeLimits,
    torn: Vec<(u64, u64)>,
    /// Segments before the current one, oldest first.
    sealed: Vec<SegmentName>,
    current: Option<Current>,
    cursor: Cursor,
    synced_lsn: u64,
    /// Groups that are written and not synced, with their padding, and the LSN of their first frame.
    unsynced: Vec<u8>,
    unsynced_first_lsn: u64,
    failures: u32,
    spare: Vec<u8>,
}

/// What [`Writer::new`] starts from.
pub(crate) struct Start {
    pub(crate) dir: PathBuf,
    pub(crate) salt: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) limits: DecodeLimits,
    /// What the replay found torn.
    pub(crate) torn: Vec<(u64, u64)>,
    pub(crate) sealed: Vec<SegmentName>,
    pub(crate) cursor: Cursor,
}

/// Segments that were deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// How many.
    pub segments: usize,
}

impl Writer {
    /// A writer that goes on where the log ends. It starts a segment with its first group.
    pub(crate) fn new(disk: Arc<dyn Disk>, start: Start) -> Writer {
        Writer {
            disk,
            dir: start.dir,
            salt: start.salt,
            segment_bytes: start.segment_bytes.max(4 * PAGE_BYTES),
            limits: start.limits,
            torn: start.torn,
            sealed: start.sealed,
            current: None,
            cursor: start.cursor,
            synced_lsn: start.cursor.next_lsn.saturating_sub(1),
            unsynced: Vec::new(),
            unsynced_first_lsn: start.cursor.next_lsn,
            failures: 0,
            spare: Vec::new(),
        }
    }

    /// The LSN of the next frame.
    pub fn next_lsn(&self) -> u64 {
        self.cursor.next_lsn
    }

    /// The items of all frames so far.
    pub fn total_items(&self) -> u64 {
        self.cursor.total_items
    }

    /// The last LSN that is durable.
    pub fn synced_lsn(&self) -> u64 {
        self.synced_lsn
    }

    /// The bytes that are written and not synced.
    pub fn unsynced_bytes(&self) -> usize {
        self.unsynced.len()
    }

    /// The segments and, together, their bytes as far as they are written.
    pub fn size(&self) -> (usize, u64) {
        let current = self.current.as_ref().map_or(0, |current| current.end);
        let count = self.sealed.len() + usize::from(self.current.is_some());
        (count, current + self.sealed.len() as u64 * self.segment_bytes)
    }

    /// An empty group.
    pub fn group(&mut self) -> Group {
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        Group { bytes, cursor: self.cursor, synced_lsn: self.synced_lsn, salt: self.salt }
    }

    /// Writes a group. Afterwards its frames are in the log, though not durable; on an error none of them is.
    pub fn write(&mut self, mut group: Group, now: i64) -> Result<(), Error> {
        self.check_poison()?;
        if group.bytes.is_empty() {
            return Ok(());
        }
        group.bytes.resize(group.bytes.len().next_multiple_of(PAGE_BYTES as usize), 0);
        self.make_room(group.bytes.len() as u64, now)?;
        let Some(current) = self.current.as_mut() else { return Err(Error::Closed) };
        if let Err(error) = current.file.write_at(current.end, &group.bytes) {
            let path = current.name.path(&self.dir);
            // What was written of it must not be taken for frames later. The room is reserved, so that zeros fit even
            // where the disk is full; if not, the segment ends here and the next one takes its LSNs over.
            let zeros = vec![0; group.bytes.len()];
            if current.file.write_at(current.end, &zeros).is_err() {
                self.seal_current();
            }
            return Err(Error::io("write", &path)(error));
        }
        current.end += group.bytes.len() as u64;
        if self.unsynced.is_empty() {
            self.unsynced_first_lsn = self.cursor.next_lsn;
            std::mem::swap(&mut self.unsynced, &mut group.bytes);
        } else {
            self.unsynced.extend_from_slice(&group.bytes);
        }
        self.cursor = group.cursor;
        self.spare = group.bytes;
        Ok(())
    }

    /// Makes everything written durable. `before` says that nothing after that place is acknowledged yet: if it cannot
    /// be made durable, it has never been.
    pub(crate) fn sync(&mut self, before: Option<Cursor>, now: i64) -> Result<(), Error> {
        self.check_poison()?;
        let result = self.sync_or_move(now);
        match (&result, before) {
            (Ok(()), _) => {
                self.failures = 0;
                self.synced_lsn = self.cursor.next_lsn - 1;
                self.unsynced.clear();
            }
            (Err(_), Some(before)) => {
                self.cursor = before;
                self.unsynced.clear();
                self.seal_current();
            }
            (Err(_), None) => {}
        }
        result
    }

    /// The place to roll back to with [`Writer::sync`].
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Deletes segments all of whose frames are below `floor_lsn`.
    pub fn release(&mut self, floor_lsn: u64) -> Result<Released, Error> {
        let mut released = Released::default();
        loop {
            let next_first = self
                .sealed
                .get(1)
                .or(self.current.as_ref().map(|current| &current.name))
                .map_or(self.cursor.next_lsn, |name| name.first_lsn);
            // What is written and in no segment yet belongs to the one that is opened next.
            if self.sealed.is_empty() || next_first > floor_lsn {
                break;
            }
            self.remove_first()?;
            released.segments += 1;
        }
        if released.segments > 0 {
            self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        }
        Ok(released)
    }

    /// Ends the current segment, so that it can be released. Everything in it must be synced.
    pub fn finish_segment(&mut self) {
        if self.unsynced.is_empty() {
            self.seal_current();
        }
    }

    fn remove_first(&mut self) -> Result<(), Error> {
        if let Some(path) = self.sealed.first().map(|name| name.path(&self.dir)) {
            match self.disk.remove(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(Error::io("remove", &path))?,
            }
            self.sealed.remove(0);
        }
        Ok(())
    }

    fn check_poison(&self) -> Result<(), Error> {
        if self.failures < FAILURES_MAX {
            return Ok(());
        }
        let detail = format!("last durable LSN {}", self.synced_lsn);
        Err(Error::Poisoned { failures: self.failures, detail })
    }

    /// Sees to a current segment with room for so many bytes.
    fn make_room(&mut self, bytes: u64, now: i64) -> Result<(), Error> {
        let fits = self.current.as_ref().is_some_and(|current| current.end + bytes <= current.file_bytes);
        if fits {
            return Ok(());
        }
        if self.current.is_some() && !self.unsynced.is_empty() {
            // A segment is durable before the next one starts, so that a torn write is only ever in the last one.
            self.sync(None, now)?;
        }
        self.seal_current();
        let pending = self.unsynced.len() as u64;
        let first_lsn = if pending > 0 { self.unsynced_first_lsn } else { self.cursor.next_lsn };
        self.open_segment(first_lsn, pending + bytes, now)?;
        if pending > 0 {
            self.rewrite_unsynced()?;
        }
        Ok(())
    }

    fn sync_or_move(&mut self, now: i64) -> Result<(), Error> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        loop {
            if self.current.is_none() {
                self.open_segment(self.unsynced_first_lsn, self.unsynced.len() as u64, now)?;
                self.rewrite_unsynced()?;
            }
            let Some(current) = self.current.as_ref() else { return Err(Error::Closed) };
            let Err(error) = current.file.sync_data() else { return Ok(()) };
            let path = current.name.path(&self.dir);
            // Not even its length is touched any more.
            self.sealed.extend(self.current.take().map(|failed| failed.name));
            self.failures += 1;
            if self.failures >= FAILURES_MAX {
                let detail = format!("{}: {error}", path.display());
                return Err(Error::Poisoned { failures: self.failures, detail });
            }
        }
    }

    fn rewrite_unsynced(&mut self) -> Result<(), Error> {
        let Some(current) = self.current.as_mut() else { return Err(Error::Closed) };
        if let Err(error) = current.file.write_at(current.end, &self.unsynced) {
            let path = current.name.path(&self.dir);
            self.seal_current();
            return Err(Error::io("write", &path)(error));
        }
        current.end += self.unsynced.len() as u64;
        Ok(())
    }

    fn seal_current(&mut self) {
        if let Some(current) = self.current.take() {
            // Gives the rest of the room back. If it fails, the zeros at the end do no harm.
            _ = current.file.truncate(current.end);
            self.sealed.push(current.name);
        }
    }

    /// Opens a segment. One that cannot be synced counts as a failed file, and the next one is tried.
    fn open_segment(&mut self, first_lsn: u64, bytes: u64, now: i64) -> Result<(), Error> {
        let mut name = SegmentName { first_lsn, attempt: self.next_attempt(first_lsn)? };
        loop {
            let path = name.path(&self.dir);
            let file_bytes = self.segment_bytes.max(PAGE_BYTES + bytes);
            match self.create_segment(&path, file_bytes, first_lsn, now) {
                Ok(file) => {
                    self.current = Some(Current { file, name, end: PAGE_BYTES, file_bytes });
                    return Ok(());
                }
                Err(error) if is_full(&error) => return Err(Error::io("create", &path)(error)),
                Err(error) => {
                    self.failures += 1;
                    if self.failures >= FAILURES_MAX {
                        let detail = format!("{}: {error}", path.display());
                        return Err(Error::Poisoned { failures: self.failures, detail });
                    }
                    name.attempt += 1;
                }
            }
        }
    }

    /// One more than the last attempt at a segment of this LSN: the last one counts, so a gap that a removed attempt
    /// left is not filled.
    fn next_attempt(&self, first_lsn: u64) -> Result<u32, Error> {
        let names = self.disk.list(&self.dir).map_err(Error::io("list", &self.dir))?;
        let same =
            names.iter().filter_map(|name| SegmentName::parse(name)).filter(|n| n.first_lsn == first_lsn);
        Ok(same.map(|name| name.attempt + 1).max().unwrap_or(0))
    }

    fn create_segment(
        &self,
        path: &Path,
        file_bytes: u64,
        first_lsn: u64,
        now: i64,
    ) -> std::io::Result<Arc<dyn DiskFile>> {
        let (salt, limits, torn) = (self.salt, self.limits, self.torn.clone());
        let header = SegmentHeader { salt, first_lsn, created_at: now, limits, torn };
        let file = self.disk.create(path)?;
        let made = file
            .preallocate(file_bytes)
            .and_then(|()| file.write_at(0, &header.encode()))
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.sync_dir(&self.dir));
        match made {
            Ok(()) => Ok(file),
            Err(error) => {
                // Without its frames it would end the segment before it.
                _ = self.disk.remove(path);
                Err(error)
            }
        }
    }
}
