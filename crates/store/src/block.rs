//! A block: one time window of all signals, immutable, a folder of files.
//!
//! | file | row | order |
//! |---|---|---|
//! | `traces.parquet` | a trace summary | trace start, trace id |
//! | `spans.parquet` | a span | as `traces`, start within a trace |
//! | `logs.parquet` | a log record | service, time |
//! | `series.parquet`, `samples.parquet` | a series; a run of samples of one metric | metric, kind, service, series |
//! | `exemplars.parquet` | an exemplar | series, time |
//! | `index` | trace id to rows in every table; token filters of log bodies | |
//! | `patterns` | what kinds of log lines there are, counted | |
//! | `links` | what its references are, counted, and those that it cannot answer | |
//! | `checksums` | the sums of all others | |
//!
//! `docs/format/block.md` describes the bytes. A block is written by [`crate::flush`] or [`crate::compact`] and becomes
//! part of the store when the manifest names its [`BlockMeta`].

pub(crate) mod bodies;
pub(crate) mod build;
pub(crate) mod checksums;
mod chunk;
mod codec;
mod delta;
mod groups;
mod hybrid;
pub(crate) mod index;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod packed;
pub mod probe;
pub(crate) mod read;
pub(crate) mod samples;
pub(crate) mod settled;
pub(crate) mod shred;
pub(crate) mod spans;
pub(crate) mod tables;
pub(crate) mod texts;
pub(crate) mod traces;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use throughline_model::Signal;

use crate::disk::Disk;
use crate::error::Error;

pub use bodies::PLACEHOLDER;
pub use read::{Block, Footers, text_in_pattern};
pub(crate) use read::{BlockSpans, Columns};
pub(crate) use shred::COLUMN_PREFIX;
pub use tables::Table;

/// The folder of blocks within the data folder.
pub const BLOCKS_FOLDER: &str = "blocks";

/// The partition of blocks whose traces are held beyond their retention: they are of no window.
pub const HELD_PARTITION: i64 = i64::MIN;

/// One file of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Its name within the block's folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// How many rows each table of a block has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "one count per table")]
pub struct RowCounts {
    pub traces: u64,
    pub spans: u64,
    pub logs: u64,
    pub series: u64,
    pub points: u64,
    pub exemplars: u64,
}

/// What the manifest knows of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// Unique in the data folder, ascending in the order of writing.
    pub id: u64,
    /// The folder's name within [`BLOCKS_FOLDER`]; says the window.
    pub name: String,
    /// 0 for a flushed block; one more than its inputs' for a merged one.
    pub level: u32,
    /// Which partition of time it belongs to: start over the partition's length. [`HELD_PARTITION`] where its traces are held.
    pub partition: i64,
    /// The earliest time of any row, nanoseconds since the epoch.
    pub min_time: i64,
    /// The latest time of any row, nanoseconds since the epoch.
    pub max_time: i64,
    /// When the youngest of its rows was received, nanoseconds since the epoch.
    pub received_at: i64,
    /// When sampling decided about its traces last, nanoseconds since the epoch; 0 where it never did.
    #[serde(default)]
    pub sampled_at: i64,
    /// Rows per table.
    pub rows: RowCounts,
    /// Its files; the sums are in the file `checksums`.
    pub files: Vec<FileMeta>,
    /// CRC-32C of the file `checksums`.
    pub checksums_crc: u32,
}

impl BlockMeta {
    /// The bytes of all files.
    pub fn disk_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Whether its traces are held beyond their retention.
    pub fn is_held(&self) -> bool {
        self.partition == HELD_PARTITION
    }

    /// The items of a signal.
    pub fn rows(&self, signal: Signal) -> u64 {
        match signal {
            Signal::Traces => self.rows.spans,
            Signal::Logs => self.rows.logs,
            Signal::Metrics => self.rows.points,
        }
    }

    /// Its folder in a data folder.
    pub fn folder(&self, data_dir: &Path) -> PathBuf {
        data_dir.join(BLOCKS_FOLDER).join(&self.name)
    }
}

/// A damaged place of a block's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file's path.
    pub path: PathBuf,
    /// What is wrong.
    pub detail: String,
}

/// Reads every byte of a block's files and compares it with its checksum.
pub fn verify(disk: &dyn Disk, data_dir: &Path, meta: &BlockMeta) -> Vec<Damage> {
    let folder = meta.folder(data_dir);
    let sums_path = folder.join(checksums::FILE_NAME);
    let damage = |path: &Path, detail: String| Damage { path: path.to_path_buf(), detail };
    let sums = disk
        .read_all(&sums_path)
        .map_err(Error::io("read", &sums_path))
        .and_then(|bytes| checksums::decode(&sums_path, &bytes, meta.checksums_crc));
    let sums = match sums {
        Ok(sums) => sums,
        Err(error) => return vec![damage(&sums_path, error.to_string())],
    };
    let mut found = Vec::new();
    for file in sums {
        let path = folder.join(&file.name);
        match checksums::CheckedFile::open(disk, &folder, file) {
            Err(error) => found.push(damage(&path, error.to_string())),
            Ok(file) => found.extend(file.verify().into_iter().map(|from| {
                damage(&path, format!("the checksum of bytes {from}+{} is wrong", checksums::CHUNK_BYTES))
            })),
        }
    }
    found
}

/// What was compared of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedPart {
    /// How many bytes.
    pub bytes: u64,
    /// Where the rest starts, if there is any.
    pub goes_on_at: Option<u64>,
}

/// Reads a part of a block, counted over all its files in their order, and compares it with its checksums, a chunk more
/// where the part ends within one. The first damage ends it.
pub fn verify_part(
    disk: &dyn Disk,
    data_dir: &Path,
    meta: &BlockMeta,
    part: std::ops::Range<u64>,
) -> Result<VerifiedPart, Damage> {
    let folder = meta.folder(data_dir);
    let damage = |path: &Path, error: Error| Damage { path: path.to_path_buf(), detail: error.to_string() };
    let path = folder.join(checksums::FILE_NAME);
    let sums = disk.read_all(&path).map_err(Error::io("read", &path));
    let sums = sums.and_then(|bytes| checksums::decode(&path, &bytes, meta.checksums_crc));
    let (mut start, mut bytes) = (0u64, 0);
    for file in sums.map_err(|error| damage(&path, error))? {
        let (file_start, path) = (start, folder.join(&file.name));
        start = start.saturating_add(file.len);
        if start <= part.start {
            continue;
        }
        if file_start >= part.end {
            return Ok(VerifiedPart { bytes, goes_on_at: Some(file_start) });
        }
        let within = part.start.saturating_sub(file_start)..part.end - file_start;
        let file = checksums::CheckedFile::open(disk, &folder, file).map_err(|error| damage(&path, error))?;
        let (from, to) = file.verify_part(within).map_err(|error| damage(&path, error))?;
        bytes += to - from;
        if to < file.bytes() {
            return Ok(VerifiedPart { bytes, goes_on_at: Some(file_start + to) });
        }
    }
    Ok(VerifiedPart { bytes, goes_on_at: None })
}
