//! A disk in memory that behaves as badly as a real one may, from a seed.
//!
//! Every file is a durable image and the writes since its last sync; every folder a durable list of names and the
//! changes since its last sync. [`SimDisk::crash`] cuts the power: any part of what was not synced survives, in
//! pieces of a sector, and the rest is old, zero or garbage. Handles and locks from before a crash are dead.
//!
//! Faults are set beforehand: [`SimDisk::cut_power_after`] so many operations, [`SimDisk::fail_sync_at`],
//! [`SimDisk::set_capacity`], [`SimDisk::fail_write_at`], [`SimDisk::fail_reads_of`], [`SimDisk::flip_bit`].

mod crash;
mod state;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Space};
use state::{Node, State};

pub use crash::CrashStyle;

/// What a torn write is cut into: the sector of most disks.
pub const SECTOR_BYTES: usize = 512;

/// What was read from a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// How many times.
    pub count: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

/// A simulated disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk. The seed decides what faults leave behind.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// Cuts the power and switches it on again: what was not synced survives in part, as the seed decides.
    pub fn crash(&self, seed: u64) -> CrashStyle {
        crash::crash(&mut self.lock_state(), seed)
    }

    /// Ends the process and leaves the power on, as `kill -9` does: what was written can be read, and what was not synced
    /// can still be lost to a later [`SimDisk::crash`].
    pub fn end_process(&self) {
        crash::end_process(&mut self.lock_state());
    }

    /// Every operation after the next `operations` fails, until [`SimDisk::crash`] or [`SimDisk::end_process`]. The one
    /// in the middle of which power goes may be done in part.
    pub fn cut_power_after(&self, operations: u64) {
        let mut state = self.lock_state();
        state.cut_at = Some(state.operations + operations);
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.lock_state().is_off
    }

    /// How many changing operations there were: writes, syncs, names.
    pub fn operations(&self) -> u64 {
        self.lock_state().operations
    }

    /// How many files were synced.
    pub fn syncs(&self) -> u64 {
        self.lock_state().syncs
    }

    /// Syncs of these numbers (the first is 1) fail with EIO, and what they should have made durable is marked
    /// clean: it reads well until power goes, and no later sync writes it.
    pub fn fail_sync_at(&self, numbers: RangeInclusive<u64>) {
        self.lock_state().fail_syncs = Some(numbers);
    }

    /// Syncs of folders of these numbers (the first is 1) fail with EIO: the names may or may not survive.
    pub fn fail_name_sync_at(&self, numbers: RangeInclusive<u64>) {
        self.lock_state().fail_name_syncs = Some(numbers);
    }

    /// How many syncs of folders there were.
    pub fn name_syncs(&self) -> u64 {
        self.lock_state().name_syncs
    }

    /// Writes of these numbers (the first is 1) fail with ENOSPC after a part of their bytes.
    pub fn fail_write_at(&self, numbers: RangeInclusive<u64>) {
        self.lock_state().fail_writes = Some(numbers);
    }

    /// From now on syncs succeed and do nothing, for files or for names: tests of the tests.
    pub fn lie_about_syncs(&self, of_files: bool, of_names: bool) {
        let mut state = self.lock_state();
        (state.ignores_file_syncs, state.ignores_name_syncs) = (of_files, of_names);
    }

    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.lock_state().writes
    }

    /// What was read from files so far.
    pub fn reads(&self) -> Reads {
        self.lock_state().reads
    }

    /// Sets the size of the disk. Growth beyond it fails with ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock_state().capacity_bytes = bytes;
    }

    /// The bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.lock_state().used_bytes
    }

    /// Reads of files whose path ends so fail with EIO; `None` heals them.
    pub fn fail_reads_of(&self, path_end: Option<&str>) {
        self.lock_state().fail_reads_of = path_end.map(str::to_owned);
    }

    /// Flips one bit of a stored file.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let mut state = self.lock_state();
        let id = state.file(path)?;
        let file = state.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(byte).map_err(io::Error::other)?;
        for image in [&mut file.current, &mut file.durable] {
            if let Some(stored) = image.get_mut(at) {
                *stored ^= 1 << (bit & 7);
            }
        }
        Ok(())
    }

    /// A copy of the disk as it is, with nothing pending and no faults: for trying many damages on one image.
    pub fn copy(&self) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(self.lock_state().settled_copy())) }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock_state();
        state.check_power()?;
        let id = state.file(path)?;
        Ok(Arc::new(SimFile {
            state: self.state.clone(),
            id,
            epoch: state.epoch,
            path: path.display().to_string(),
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock_state();
        state.begin()?;
        let (dir, name) = state.parent(path)?;
        if state.child(dir, &name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.new_file();
        state.link(dir, &name, Node::File(id));
        state.end()?;
        let epoch = state.epoch;
        drop(state);
        Ok(Arc::new(SimFile { state: self.state.clone(), id, epoch, path: path.display().to_string() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin()?;
        let (from_dir, from_name) = state.parent(from)?;
        let (to_dir, to_name) = state.parent(to)?;
        let node = state.child(from_dir, &from_name).ok_or(io::ErrorKind::NotFound)?;
        state.move_name((from_dir, &from_name), (to_dir, &to_name), node);
        state.end()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin()?;
        state.file(path)?;
        let (dir, name) = state.parent(path)?;
        state.unlink(dir, &name);
        state.end()
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin()?;
        let (dir, name) = state.parent(path)?;
        state.unlink_tree(dir, &name)?;
        state.end()
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.as_os_str().is_empty() && !self.exists(at)? {
            missing.push(at);
            at = at.parent().unwrap_or(Path::new(""));
        }
        for path in missing.into_iter().rev() {
            {
                let mut state = self.lock_state();
                state.begin()?;
                let (dir, name) = state.parent(path)?;
                let id = state.new_dir();
                state.link(dir, &name, Node::Dir(id));
                state.end()?;
            }
            self.sync_dir(path.parent().unwrap_or(Path::new("")))?;
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.lock_state();
        state.check_power()?;
        state.names(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.lock_state();
        state.check_power()?;
        Ok(state.resolve(path).is_some())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock_state();
        state.begin()?;
        state.end()?;
        let dir = state.dir(path)?;
        if state.ignores_name_syncs {
            return Ok(());
        }
        state.sync_names(dir)
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.lock_state();
        state.check_power()?;
        Ok(Space {
            free_bytes: state.capacity_bytes.saturating_sub(state.used_bytes),
            total_bytes: state.capacity_bytes,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.lock_state();
        state.check_power()?;
        if !state.locks.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { state: self.state.clone(), path: path.to_path_buf(), epoch: state.epoch }))
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    epoch: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A lock from before a crash is gone already, and the folder may have a new owner.
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    id: u64,
    epoch: u64,
    path: String,
}

impl SimFile {
    fn lock_state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check_power()?;
        if state.epoch != self.epoch {
            return Err(io::Error::other("the handle is from before the power cut"));
        }
        Ok(state)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lock_state()?;
        if state.fail_reads_of.as_ref().is_some_and(|end| self.path.ends_with(end.as_str())) {
            return Err(state::io_error("simulated EIO on read"));
        }
        let file = state.files.get(&self.id).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let stored = file.current.get(from..).unwrap_or_default();
        let read = stored.len().min(into.len());
        if let (Some(into), Some(stored)) = (into.get_mut(..read), stored.get(..read)) {
            into.copy_from_slice(stored);
        }
        state.reads.count += 1;
        state.reads.bytes += read as u64;
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock_state()?;
        state.begin()?;
        state.write(self.id, offset, bytes)?;
        state.end()
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.lock_state()?;
        Ok(state.files.get(&self.id).map_or(0, |file| file.current.len() as u64))
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock_state()?;
        state.begin()?;
        if state.files.get(&self.id).is_some_and(|file| (file.current.len() as u64) < len) {
            state.set_len(self.id, len)?;
        }
        state.end()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock_state()?;
        state.begin()?;
        state.set_len(self.id, len)?;
        state.end()
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock_state()?;
        state.begin()?;
        state.end()?;
        state.sync_file(self.id)
    }
}
