//! A manifest from the edit files of blocks.
//!
//! 1. Every folder of a block with a whole edit file is a candidate.
//! 2. An edit has happened for all its blocks or for none: where a folder of the set is there without its edit file, the
//!    edit was interrupted.
//! 3. Blocks that another one replaces are gone.
//! 4. The floor is the highest of all edits; the log has the rest. What sampling had dropped and what was pinned is as of the
//!    newest block.
//!
//! What cannot be had back: which blocks retention had removed while their folders were still there, and the hashes of
//! the last 15 minutes below the floor.

use std::collections::HashSet;
use std::path::Path;

use crate::block::BLOCKS_FOLDER;
use crate::disk::Disk;
use crate::engine::{EDIT_FILE, Edit, LOG_FOLDER, segments};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::wal::segment::{PAGE_BYTES, SegmentHeader};
use crate::wal::{Found, Reader};

pub(super) fn manifest(disk: &dyn Disk, dir: &Path) -> Result<Manifest, Error> {
    let blocks = dir.join(BLOCKS_FOLDER);
    let names = disk.list(&blocks).unwrap_or_default();
    let edits: Vec<Edit> = names.iter().filter_map(|name| read_edit(disk, &blocks.join(name))).collect();
    let with_edit: HashSet<&str> = edits.iter().map(|edit| edit.block.name.as_str()).collect();
    let without: HashSet<&str> =
        names.iter().map(String::as_str).filter(|name| !with_edit.contains(name)).collect();
    let happened: Vec<&Edit> = edits
        .iter()
        .filter(|edit| !edit.together_with.iter().any(|name| without.contains(name.as_str())))
        .collect();
    let replaced: HashSet<u64> = happened.iter().flat_map(|edit| edit.replaces.iter().copied()).collect();
    let store_id = match edits.first() {
        Some(edit) => edit.store_id,
        None => store_id_of_log(disk, dir)?,
    };
    let mut manifest = Manifest::new(store_id);
    manifest.is_clean = false;
    manifest.blocks = happened
        .iter()
        .map(|edit| edit.block.clone())
        .filter(|block| !replaced.contains(&block.id))
        .collect();
    manifest.blocks.sort_by_key(|block| block.id);
    let highest = happened.iter().map(|edit| &edit.floor).max_by_key(|floor| floor.lsn);
    match highest {
        Some(floor) => manifest.floor = floor.clone(),
        None => start_of_log(disk, dir, &mut manifest)?,
    }
    // Both only grow, but for pins: those of the newest block are the last that are known.
    let newest = happened.iter().max_by_key(|edit| edit.block.id);
    manifest.decisions = newest.map(|edit| edit.decisions.clone()).unwrap_or_default();
    let last_id = edits.iter().map(|edit| edit.block.id).chain(replaced).max().unwrap_or(0);
    manifest.next_block_id = last_id + 1;
    Ok(manifest)
}

fn read_edit(disk: &dyn Disk, folder: &Path) -> Option<Edit> {
    let bytes = disk.read_all(&folder.join(EDIT_FILE)).ok()?;
    let edit: Edit = serde_json::from_slice(&bytes).ok()?;
    // The name is that of the folder it lies in, so that a copied folder is not counted twice, and no path is built
    // from what the file says.
    (folder.file_name()?.to_str()? == edit.block.name).then_some(edit)
}

/// The store's id from the first page of any segment. A folder without any is a new one: any id will do.
fn store_id_of_log(disk: &dyn Disk, dir: &Path) -> Result<u64, Error> {
    let dir = dir.join(LOG_FOLDER);
    for name in segments(disk, &dir).unwrap_or_default() {
        let path = name.path(&dir);
        let mut page = vec![0; PAGE_BYTES as usize];
        let read = disk.open(&path).and_then(|file| file.read_exact_at(0, &mut page));
        if read.is_ok()
            && let Some(header) = SegmentHeader::decode(&path, &page)?
        {
            return Ok(header.salt);
        }
    }
    Ok(1)
}

/// Without blocks the floor is where the log starts.
fn start_of_log(disk: &dyn Disk, dir: &Path, manifest: &mut Manifest) -> Result<(), Error> {
    let dir = dir.join(LOG_FOLDER);
    let Some(first) = segments(disk, &dir).unwrap_or_default().into_iter().next() else { return Ok(()) };
    manifest.floor.lsn = first.first_lsn;
    let mut reader = Reader::open(disk, &first.path(&dir), manifest.store_id)?;
    while let Some(found) = reader.next_found()? {
        if let Found::Frame { header, .. } = found {
            if header.place.lsn == first.first_lsn {
                manifest.floor.total_items = header.place.total_items.saturating_sub(header.frame.items());
            }
            break;
        }
    }
    Ok(())
}
