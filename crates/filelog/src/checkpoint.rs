//! The checkpoint of a receiver: how far each file is stored, and which request is on its way.
//!
//! It is saved before a request goes to the store, never after: it then says what is stored for certain and what may be.
//! After a crash the request on its way is made again from the same bytes, with the same hash, so that the store knows it if it
//! has it. The file is one line with the checksum of the rest, which is JSON, and is replaced as a whole.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use throughline_store::Disk;

use crate::identity::{Position, Print};

/// The first word of the file and the version of its format.
const MAGIC: &str = "throughline-filelog 1";

/// Everything in the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The number of the last request.
    pub sequence: u64,
    /// The number that the next new file gets.
    pub next_file: u64,
    /// The files that are known.
    pub files: Vec<SavedFile>,
    /// The request on its way, if there is one.
    pub pending: Option<Pending>,
}

/// A file that is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedFile {
    /// Its number.
    pub number: u64,
    /// Its path when it was last seen.
    pub path: PathBuf,
    /// The device that it is on.
    pub device: u64,
    /// Its inode; zero when its bytes are no longer there.
    pub inode: u64,
    /// Its first bytes.
    pub head: Print,
    /// Everything before is stored.
    pub stored: Position,
}

/// A request on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// Its number.
    pub sequence: u64,
    /// When its lines were read, nanoseconds since the epoch.
    pub observed_at: i64,
    /// What was read for it, in this order.
    pub parts: Vec<Part>,
    /// Whether entries that waited for others were let go after that.
    pub is_released: bool,
}

/// A piece of a file, from where the reading stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The number of the file.
    pub file: u64,
    /// The offset of its end.
    pub end: u64,
}

/// Why a checkpoint could not be saved or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk failed.
    #[error("{action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// The file is not what was written.
    #[error(
        "{} is damaged: {reason}; without it all files are read as start_at says: move it away if that is right",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Puts a checkpoint in place of the file at once.
pub fn save(disk: &dyn Disk, path: &Path, saved: &Saved) -> Result<(), CheckpointError> {
    let io = |action| move |error| CheckpointError::Io { action, path: path.to_owned(), error };
    let json = serde_json::to_vec(saved).map_err(|error| io("encode")(std::io::Error::other(error)))?;
    let mut bytes = format!("{MAGIC} {:08x} {}\n", crc32c::crc32c(&json), json.len()).into_bytes();
    bytes.extend_from_slice(&json);
    if let Some(folder) = path.parent() {
        disk.create_dir_all(folder).map_err(io("create the folder of"))?;
    }
    disk.replace(path, &bytes).map_err(io("replace"))
}

/// Reads a checkpoint; nothing if there is none.
pub fn load(disk: &dyn Disk, path: &Path) -> Result<Option<Saved>, CheckpointError> {
    let io = |action| move |error| CheckpointError::Io { action, path: path.to_owned(), error };
    if !disk.exists(path).map_err(io("look for"))? {
        return Ok(None);
    }
    let bytes = disk.read_all(path).map_err(io("read"))?;
    let damaged =
        |reason: &str| CheckpointError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
    let (line, json) = split_line(&bytes).ok_or_else(|| damaged("it has no first line"))?;
    let rest = line.strip_prefix(MAGIC).ok_or_else(|| damaged("it is of another kind or version"))?;
    let mut words = rest.split_ascii_whitespace();
    let checksum = words.next().and_then(|word| u32::from_str_radix(word, 16).ok());
    let length = words.next().and_then(|word| word.parse::<usize>().ok());
    if length != Some(json.len()) || checksum != Some(crc32c::crc32c(json)) {
        return Err(damaged("length or checksum is wrong"));
    }
    serde_json::from_slice(json).map(Some).map_err(|error| damaged(&error.to_string()))
}

fn split_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = memchr::memchr(b'\n', bytes)?;
    Some((std::str::from_utf8(bytes.get(..end)?).ok()?, bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use throughline_store::SimDisk;

    use super::*;

    fn saved() -> Saved {
        let head = Print::of(b"abc");
        let stored = Position { offset: 3, records: 1, is_skipping: false, tail: head };
        Saved {
            sequence: 7,
            next_file: 3,
            files: vec![SavedFile {
                number: 2,
                path: "/var/log/a".into(),
                device: 1,
                inode: 5,
                head,
                stored,
            }],
            pending: Some(Pending {
                sequence: 7,
                observed_at: 9,
                parts: vec![Part { file: 2, end: 8 }],
                is_released: true,
            }),
        }
    }

    #[test]
    fn a_checkpoint_reads_back() {
        let (disk, path) = (SimDisk::new(1), Path::new("/data/filelog/a"));
        assert_eq!(load(&disk, path).expect("read"), None);
        save(&disk, path, &saved()).expect("saved");
        save(&disk, path, &saved()).expect("replaced");
        assert_eq!(load(&disk, path).expect("read"), Some(saved()));
    }

    #[test]
    fn damage_is_seen() {
        let (disk, path) = (SimDisk::new(1), Path::new("/data/a"));
        save(&disk, path, &saved()).expect("saved");
        let good = disk.read_all(path).expect("read");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            disk.replace(path, &bad).expect("written");
            assert!(load(&disk, path).is_err(), "byte {at}");
        }
        disk.replace(path, &good[..good.len() - 1]).expect("written");
        assert!(matches!(load(&disk, path), Err(CheckpointError::Damaged { .. })));
    }
}
