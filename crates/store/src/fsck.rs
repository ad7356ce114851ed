//! The check of a data folder that no process uses, and its repair.
//!
//! Everything is read and compared with its checksum: the manifest, every file of every block, the hash files, every
//! frame of the log. A repair changes as little as it can:
//!
//! - a block that cannot be opened goes to the folder `quarantine`; one that is damaged in some rows stays, because
//!   answers say when they lack something;
//! - the torn end of the log is cut off and kept in a `.broken` file; damage in the middle needs nothing, a replay
//!   steps over it;
//! - a manifest that is gone or damaged is rebuilt from the edit files in the blocks' folders ([`rebuild`]).
//!
//! What the first four steps of a start would do anyway (removing orphans) is only reported.

mod log;
mod rebuild;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::block::{self, BLOCKS_FOLDER, Block, BlockMeta};
use crate::dedup;
use crate::disk::Disk;
use crate::engine::HASHES_FOLDER;
use crate::error::Error;
use crate::manifest::Manifest;

pub use log::LogReport;

/// Where blocks go that cannot be opened.
pub const QUARANTINE_FOLDER: &str = "quarantine";

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong.
    pub detail: String,
    /// What was done about it; none without `--repair`, or where nothing needs to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<String>,
}

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Blocks that the manifest names.
    pub blocks: usize,
    /// Those of them that are whole.
    pub blocks_whole: usize,
    /// Folders of blocks that the manifest does not name: left over from an interrupted edit, removed at the next
    /// start.
    pub blocks_orphaned: usize,
    /// The bytes of blocks that were compared.
    pub block_bytes: u64,
    /// The log.
    pub log: LogReport,
    /// Everything that is not as it was written.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether everything is as it was written.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, path: &Path, detail: impl Into<String>, repaired: Option<String>) {
        self.problems.push(Problem { path: path.to_path_buf(), detail: detail.into(), repaired });
    }
}

/// Checks a data folder and, if told to, repairs it. Fails where another process uses the folder, where it is no data
/// folder, or where a newer version wrote it.
pub fn check(disk: &dyn Disk, dir: &Path, repair: bool) -> Result<Report, Error> {
    let _lock = disk.lock(dir).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked { path: dir.to_path_buf() },
        _ => Error::Io { action: "lock", path: dir.to_path_buf(), source },
    })?;
    let mut report = Report::default();
    let loaded = match Manifest::load(disk, dir) {
        Ok(Some(manifest)) => Ok(manifest),
        Ok(None) => Err("it is missing".to_owned()),
        Err(Error::Damaged { detail, .. }) => Err(detail),
        Err(error) => return Err(error),
    };
    let (mut manifest, mut is_changed) = match loaded {
        Ok(manifest) => (manifest, false),
        Err(detail) => {
            let path = Manifest::path(dir);
            let rebuilt = rebuild::manifest(disk, dir)?;
            let repaired = repair.then(|| {
                format!(
                    "rebuilt with {} blocks, the log from LSN {}",
                    rebuilt.blocks.len(),
                    rebuilt.floor.lsn
                )
            });
            report.add(&path, detail, repaired);
            (rebuilt, true)
        }
    };
    is_changed |= check_blocks(disk, dir, repair, &mut manifest, &mut report)?;
    is_changed |= check_hashes(disk, dir, repair, &mut manifest, &mut report);
    log::check(disk, dir, repair, &manifest, &mut report)?;
    if repair && is_changed {
        manifest.edition += 1;
        manifest.save(disk, dir)?;
    }
    Ok(report)
}

fn check_blocks(
    disk: &dyn Disk,
    dir: &Path,
    repair: bool,
    manifest: &mut Manifest,
    report: &mut Report,
) -> Result<bool, Error> {
    let names = disk.list(&dir.join(BLOCKS_FOLDER)).unwrap_or_default();
    let known: HashSet<&str> = manifest.blocks.iter().map(|block| block.name.as_str()).collect();
    report.blocks_orphaned = names.iter().filter(|name| !known.contains(name.as_str())).count();
    report.blocks = manifest.blocks.len();
    let mut unreadable = HashSet::new();
    for meta in &manifest.blocks {
        let folder = meta.folder(dir);
        report.block_bytes += meta.disk_bytes();
        if let Err(error) = Block::open(disk, dir, meta.clone()) {
            unreadable.insert(meta.id);
            let repaired = if repair { Some(quarantine(disk, dir, meta)?) } else { None };
            report.add(&folder, detail_of(error), repaired);
            continue;
        }
        let damage = block::verify(disk, dir, meta);
        report.blocks_whole += usize::from(damage.is_empty());
        for damage in damage {
            report.add(&damage.path, damage.detail, None);
        }
    }
    if !repair || unreadable.is_empty() {
        return Ok(false);
    }
    manifest.blocks.retain(|meta| !unreadable.contains(&meta.id));
    Ok(true)
}

/// Moves a block's folder out of the way and says so.
fn quarantine(disk: &dyn Disk, dir: &Path, meta: &BlockMeta) -> Result<String, Error> {
    let (from, to_dir) = (meta.folder(dir), dir.join(QUARANTINE_FOLDER));
    if !disk.exists(&from).map_err(Error::io("find", &from))? {
        return Ok("taken out of the manifest".to_owned());
    }
    disk.create_dir_all(&to_dir).map_err(Error::io("create", &to_dir))?;
    let mut to = to_dir.join(&meta.name);
    let mut number = 1;
    while disk.exists(&to).map_err(Error::io("find", &to))? {
        number += 1;
        to = to_dir.join(format!("{}-{number}", meta.name));
    }
    disk.rename(&from, &to).map_err(Error::io("rename", &from))?;
    disk.sync_dir(&to_dir).map_err(Error::io("sync", &to_dir))?;
    let blocks = dir.join(BLOCKS_FOLDER);
    disk.sync_dir(&blocks).map_err(Error::io("sync", &blocks))?;
    Ok(format!("moved to {}", to.display()))
}

fn check_hashes(
    disk: &dyn Disk,
    dir: &Path,
    repair: bool,
    manifest: &mut Manifest,
    report: &mut Report,
) -> bool {
    let folder = dir.join(HASHES_FOLDER);
    let before = manifest.hash_files.len();
    manifest.hash_files.retain(|file| match dedup::read(disk, &folder, file) {
        Ok(_) => true,
        Err(error) => {
            let repaired = repair.then(|| "retries of its requests are stored again".to_owned());
            report.add(&folder.join(&file.name), detail_of(error), repaired);
            false
        }
    });
    manifest.hash_files.len() < before
}

/// What is wrong, without the path, which the problem has.
fn detail_of(error: Error) -> String {
    match error {
        Error::Damaged { detail, .. } => detail,
        Error::Io { action, source, .. } => format!("{action}: {source}"),
        other => other.to_string(),
    }
}
