//! What can go wrong in the store. Every variant carries the facts that a sentence to an operator needs.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused or failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `sync`.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Stored bytes are not what was written.
    #[error("{} is damaged: {detail}; run `throughline fsck --repair` on the data folder", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// A newer Throughline wrote this.
    #[error(
        "{} has format version {found}, this Throughline reads {supported}; start the version that wrote it",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is known here.
        supported: u32,
    },
    /// Another process has the data folder.
    #[error("{} is in use by another process; one data folder serves one process", path.display())]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// Syncing failed too often: nothing more is acknowledged by this process.
    #[error(
        "the write-ahead log could not be synced {failures} times in a row: {detail}; restart after checking the disk"
    )]
    Poisoned {
        /// How many files in a row.
        failures: u32,
        /// The last failure.
        detail: String,
    },
    /// No trace more can be pinned.
    #[error("{limit} traces are pinned, which is the limit; unpin one of them")]
    TooManyPins {
        /// How many there may be.
        limit: usize,
    },
    /// A search took as long as it may.
    #[error(
        "the search ended after {seconds} s, before everything was looked at: ask for less time, a service or fewer results"
    )]
    TooLong {
        /// How long it may take.
        seconds: u64,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// Columns could not be encoded or decoded.
    #[error("{action}: {detail}")]
    Columns {
        /// What was tried, as a verb: `write spans.parquet`.
        action: String,
        /// What the library said.
        detail: String,
    },
}

impl Error {
    /// For `map_err` after a call to the disk.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// Stored bytes that are not what was written.
    pub fn damaged(path: &Path, detail: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_path_buf(), detail: detail.into() }
    }

    /// Whether there is no room on the disk: heals by itself when there is.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if crate::disk::is_full(source))
    }
}
