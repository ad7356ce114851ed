//! The check of the log: every frame of every segment.

use std::path::Path;

use serde::Serialize;

use super::{QUARANTINE_FOLDER, Report, detail_of};
use crate::disk::Disk;
use crate::engine::{LOG_FOLDER, segments};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::wal::segment::SegmentName;
use crate::wal::{Found, Reader, SegmentEnd};

/// What the log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// Segments.
    pub segments: usize,
    /// Whole records at or above the manifest's floor, which the next start replays.
    pub records: u64,
    /// Items in them.
    pub items: u64,
    /// Records at or above the floor that are missing and were acknowledged.
    pub lost_records: u64,
    /// Items in them.
    pub lost_items: u64,
    /// The bytes of a torn end.
    pub torn_bytes: u64,
}

struct Place {
    next_lsn: u64,
    total_items: u64,
    /// Missing records: the first LSN, how many, their items. A later frame says whether they were synced.
    gaps: Vec<(u64, u64, u64)>,
}

pub(super) fn check(
    disk: &dyn Disk,
    dir: &Path,
    repair: bool,
    manifest: &Manifest,
    report: &mut Report,
) -> Result<(), Error> {
    let dir = dir.join(LOG_FOLDER);
    if !disk.exists(&dir).map_err(Error::io("find", &dir))? {
        return Ok(());
    }
    let names = segments(disk, &dir)?;
    report.log.segments = names.len();
    let floor = &manifest.floor;
    let mut at = Place { next_lsn: floor.lsn, total_items: floor.total_items, gaps: Vec::new() };
    for (index, name) in names.iter().enumerate() {
        let next = names.get(index + 1);
        let path = name.path(&dir);
        match segment(disk, &path, manifest.store_id, next, &mut at, report) {
            Ok(None) => {}
            Ok(Some(end)) => {
                let repaired = if repair { Some(cut(disk, &path, &end)?) } else { None };
                let bytes = end.written_end.saturating_sub(end.frames_end);
                report.log.torn_bytes += bytes;
                report.add(&path, format!("its last {bytes} bytes are no whole record"), repaired);
            }
            Err(error @ Error::Version { .. }) => return Err(error),
            Err(error) => {
                let repaired = if repair { Some(set_aside(disk, &path, &dir)?) } else { None };
                report.add(&path, detail_of(error), repaired);
            }
        }
    }
    Ok(())
}

/// Reads one segment; returns where it ends if the end is torn.
fn segment(
    disk: &dyn Disk,
    path: &Path,
    salt: u64,
    next: Option<&SegmentName>,
    at: &mut Place,
    report: &mut Report,
) -> Result<Option<SegmentEnd>, Error> {
    let end_lsn = next.map_or(u64::MAX, |next| next.first_lsn);
    let mut reader = Reader::open(disk, path, salt)?;
    match reader.header() {
        Some(page) => {
            at.gaps.retain(|(first, records, _)| !page.torn.contains(&(*first, first + records - 1)))
        }
        None => report.add(path, "its first page is damaged; its records do not depend on it", None),
    }
    let mut damage: Option<(u64, u64)> = None;
    while let Some(found) = reader.next_found()? {
        let header = match found {
            Found::Damage { offset, bytes, .. } => {
                let (start, sum) = damage.unwrap_or((offset, 0));
                damage = Some((start, sum + bytes));
                continue;
            }
            Found::Frame { header, .. } => header,
        };
        if let Some((offset, bytes)) = damage.take() {
            report.add(path, format!("{bytes} bytes at offset {offset} are not what was written"), None);
        }
        let place = header.place;
        if place.lsn < at.next_lsn || place.lsn >= end_lsn {
            continue;
        }
        if place.lsn > at.next_lsn {
            let before = place.total_items.saturating_sub(header.frame.items());
            at.gaps.push((at.next_lsn, place.lsn - at.next_lsn, before.saturating_sub(at.total_items)));
        }
        // A gap that no later record calls synced was never acknowledged.
        at.gaps.retain(|(first_lsn, records, items)| {
            let is_open = *first_lsn > place.synced_lsn;
            if !is_open {
                report.log.lost_records += records;
                report.log.lost_items += items;
            }
            is_open
        });
        report.log.records += 1;
        report.log.items += header.frame.items();
        (at.next_lsn, at.total_items) = (place.lsn + 1, place.total_items);
    }
    Ok((damage.is_some() && next.is_none()).then(|| reader.end()))
}

/// Cuts the torn end off and keeps it beside the segment.
fn cut(disk: &dyn Disk, path: &Path, end: &SegmentEnd) -> Result<String, Error> {
    let broken = path.with_extension("broken");
    let file = disk.open(path).map_err(Error::io("open", path))?;
    let bytes = usize::try_from(end.written_end.saturating_sub(end.frames_end)).unwrap_or(0);
    let mut tail = vec![0; bytes];
    file.read_exact_at(end.frames_end, &mut tail).map_err(Error::io("read", path))?;
    disk.replace(&broken, &tail).map_err(Error::io("write", &broken))?;
    file.truncate(end.frames_end).and_then(|()| file.sync_data()).map_err(Error::io("truncate", path))?;
    Ok(format!("cut off, kept in {}", broken.display()))
}

fn set_aside(disk: &dyn Disk, path: &Path, log_dir: &Path) -> Result<String, Error> {
    let to_dir = log_dir.with_file_name(QUARANTINE_FOLDER);
    disk.create_dir_all(&to_dir).map_err(Error::io("create", &to_dir))?;
    let to = to_dir.join(path.file_name().unwrap_or_default());
    disk.rename(path, &to).map_err(Error::io("rename", path))?;
    disk.sync_dir(&to_dir).map_err(Error::io("sync", &to_dir))?;
    disk.sync_dir(log_dir).map_err(Error::io("sync", log_dir))?;
    Ok(format!("moved to {}", to.display()))
}
