//! The manifest: the one file that changes. It says which blocks exist and where the log takes over from them.
//!
//! Every edit writes the whole file anew and renames it into place, so that there is always one whole manifest. The
//! first line has the version and a checksum of the rest, which is JSON; `docs/format/manifest.md` draws it. A block
//! whose folder exists and that is not listed has never been; frames below the floor are in blocks, those above are not.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::block::BlockMeta;
use crate::dedup::HashFile;
use crate::disk::Disk;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::sample::Decisions;

/// The version of the format.
pub const VERSION: u32 = 2;
/// The file's name in the data folder.
pub const FILE_NAME: &str = "manifest";

const TITLE: &str = "throughline-manifest";

/// Records that the log lost to damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many records.
    pub records: u64,
    /// How many items were in them.
    pub items: u64,
}

/// Everything that is known of the frames below an LSN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The first LSN that is not in blocks.
    pub lsn: u64,
    /// The items of all frames below it.
    pub total_items: u64,
    /// The ledger of all frames below it.
    pub ledger: Ledger,
    /// What was lost below it.
    pub lost: Lost,
}

/// The manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Tells this store from others; seeds the checksums of its log.
    pub store_id: u64,
    /// Counts edits.
    pub edition: u64,
    /// Whether the store was closed in order and has not been opened since.
    pub is_clean: bool,
    /// The id of the next block.
    pub next_block_id: u64,
    /// Where the log takes over.
    pub floor: Floor,
    /// The hashes of the requests of the last 15 minutes below the floor.
    pub hash_files: Vec<HashFile>,
    /// The blocks.
    pub blocks: Vec<BlockMeta>,
    /// What sampling dropped and what is held.
    #[serde(default)]
    pub decisions: Decisions,
}

impl Manifest {
    /// The manifest of a new store. LSNs start at 1.
    pub fn new(store_id: u64) -> Manifest {
        let floor = Floor { lsn: 1, ..Floor::default() };
        Manifest {
            store_id,
            edition: 0,
            is_clean: true,
            next_block_id: 1,
            floor,
            hash_files: Vec::new(),
            blocks: Vec::new(),
            decisions: Decisions::default(),
        }
    }

    /// Where it lies in a data folder.
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    /// The file's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let body = serde_json::to_string_pretty(self).map_err(|error| Error::Columns {
            action: "write the manifest".to_owned(),
            detail: error.to_string(),
        })?;
        let crc = crc32c::crc32c(body.as_bytes());
        let header = format!("{TITLE} version={VERSION} crc32c={crc:08x} bytes={}\n", body.len());
        Ok((header + &body).into_bytes())
    }

    /// Reads the file's bytes; `path` is for errors.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Manifest, Error> {
        let damaged = |detail: &str| Error::damaged(path, detail);
        let line_end =
            bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no first line"))?;
        let (line, body) = bytes.split_at(line_end);
        let body = body.get(1..).unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| damaged("the first line is no text"))?;
        let mut words = line.split(' ');
        if words.next() != Some(TITLE) {
            return Err(damaged("the first line is no manifest's"));
        }
        let mut field = |name: &str| words.next().and_then(|word| word.strip_prefix(name));
        let version = field("version=").and_then(|text| text.parse().ok());
        match version {
            Some(VERSION) => {}
            Some(found) => {
                return Err(Error::Version { path: path.to_path_buf(), found, supported: VERSION });
            }
            None => return Err(damaged("the first line has no version")),
        }
        let crc = field("crc32c=").and_then(|text| u32::from_str_radix(text, 16).ok());
        let length = field("bytes=").and_then(|text| text.parse::<usize>().ok());
        if length != Some(body.len()) {
            return Err(damaged("it is not as long as its first line says"));
        }
        if crc != Some(crc32c::crc32c(body)) {
            return Err(damaged("its checksum does not match"));
        }
        serde_json::from_slice(body).map_err(|error| Error::damaged(path, error.to_string()))
    }

    /// Reads the manifest of a data folder; `None` if there is none.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Manifest>, Error> {
        let path = Manifest::path(dir);
        match disk.read_all(&path) {
            Ok(bytes) => Manifest::decode(&path, &bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Puts the manifest in place. On an error the file may be the old one or this one.
    pub fn save(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        let path = Manifest::path(dir);
        disk.replace(&path, &self.encode()?).map_err(Error::io("replace", &path))
    }
}
