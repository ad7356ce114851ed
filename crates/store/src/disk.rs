//! The disk as the store sees it: few operations, each with its meaning for durability.
//!
//! Nothing outside this module touches files, so that a simulated disk ([`SimDisk`]) can lose, tear and refuse
//! whatever a real one may. The rules that a caller lives by:
//!
//! - bytes survive a power cut after [`DiskFile::sync_data`] of their file, not before;
//! - a new, renamed or removed name survives after [`Disk::sync_dir`] of its folder, not before;
//! - a rename is atomic: afterwards the name means the old file or the new one, whole;
//! - after a failed `sync_data` nothing is known about what was written since the last one that succeeded, and
//!   syncing again proves nothing (Rebello et al., USENIX ATC 2020).

mod os;
mod simulated;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use os::OsDisk;
pub use simulated::{CrashStyle, SimDisk};

/// A folder tree on a disk.
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading and positional writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates an empty file; fails if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file or folder; replaces a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder and everything in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder and its parents; succeeds if it is there. Parents up to the first existing one are synced.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted. A folder that is not there is an error.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Whether there is a file or folder of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Free and total bytes of the file system that holds the folder.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Takes the exclusive lock of a folder until the value is dropped; `WouldBlock` if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// The whole of a file.
    fn read_all(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Creates a file of these bytes and syncs them. The name is durable after [`Disk::sync_dir`].
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.create(path)?;
        file.write_at(0, bytes)?;
        file.sync_data()
    }

    /// Puts these bytes in place of a file at once: wholly there or, after a crash before the end, not at all.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = temporary_name(path);
        if self.exists(&temporary)? {
            self.remove(&temporary)?;
        }
        self.write_new(&temporary, bytes).inspect_err(|_| {
            // What could not be written whole is of no use; a left-over is removed at the next start.
            _ = self.remove(&temporary);
        })?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// An open file. Handles may be shared by threads.
pub trait DiskFile: Send + Sync {
    /// Reads up to `into.len()` bytes from an offset; fewer only at the end of the file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all bytes at an offset. On an error any part of them may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reserves room up to a length and makes the file that long, filled with zeros. Never shrinks it.
    fn preallocate(&self, len: u64) -> io::Result<()>;
    /// Cuts the file off, or extends it with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes the file's bytes and its length durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;

    /// Reads exactly so many bytes.
    fn read_bytes_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_exact_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads exactly `into.len()` bytes.
    fn read_exact_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match self.read_at(offset, into)? {
            read if read == into.len() => Ok(()),
            read => Err(ends_early(read, into.len(), offset)),
        }
    }
}

fn ends_early(read: usize, len: usize, offset: u64) -> io::Error {
    let text = format!("the file ends after {read} of {len} bytes at offset {offset}");
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free for an ordinary user.
    pub free_bytes: u64,
    /// In all.
    pub total_bytes: u64,
}

/// The end of names that mean nothing after a restart.
pub const TEMPORARY: &str = ".tmp";

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Whether an error says that there is no room: no space, a quota, or a limit on the size of files.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
