//! The flush: a frozen memtable becomes blocks, and the log below it is deleted.
//!
//! Order is everything: blocks are complete and durable, then the manifest names them and moves the floor, then
//! snapshots see them in place of the memtable, then segments go. A power cut between any two leaves either the frames
//! above the old floor, or the blocks below the new one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::state::Frozen;
use super::{Engine, HASHES_FOLDER, lock};
use crate::block::{BLOCKS_FOLDER, Block, BlockMeta};
use crate::dedup::{self, HashFile};
use crate::error::Error;
use crate::manifest::Floor;
use crate::memtable::SERIES_ROOM;
use crate::sample::{Decisions, Dropped};

/// Ids that one flush or merge may use: one for each partition that it touches. What is left over is given back.
const IDS_RESERVED: u64 = 4096;

/// The name of the file in a block's folder that says how it became part of the store: with it the manifest can be
/// rebuilt.
pub const EDIT_FILE: &str = "edit.json";

/// The manifest's edit that a block belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edit {
    /// The store that the block belongs to.
    pub store_id: u64,
    /// The block.
    pub block: BlockMeta,
    /// The folders of all blocks of the edit: it has happened for all or for none.
    pub together_with: Vec<String>,
    /// The ids of the blocks that they replace.
    pub replaces: Vec<u64>,
    /// The floor after the edit.
    pub floor: Floor,
    /// What was decided and is held after the edit.
    #[serde(default)]
    pub decisions: Decisions,
}

impl Engine {
    /// Whether the memtable is full or old enough, or one waits to be written.
    pub fn is_flush_due(&self) -> bool {
        let applied = self.applied();
        let age = applied.memtable_since.map(|since| self.clock.monotonic().saturating_sub(since));
        !applied.frozen.is_empty()
            || applied.memtable.is_full(self.config.memtable_bytes)
            || age.is_some_and(|age| age >= self.config.flush_after)
    }

    /// Writes the oldest memtable as blocks; false if there is nothing to write. On an error everything is as before
    /// and it can be tried again.
    pub fn flush_once(&self) -> Result<bool, Error> {
        let _flushing = lock(&self.flushing);
        let Some(frozen) = self.oldest_frozen() else { return Ok(false) };
        let (metas, blocks) = self.write_new_blocks(|next_block_id| {
            let disk = self.disk.as_ref();
            let (memtable, options) = (&frozen.memtable, &self.config.blocks);
            crate::flush::write_blocks(disk, &self.config.dir, memtable, next_block_id, options)
        })?;
        self.prepare_series(&[], &blocks);
        let folders: Vec<String> = metas.iter().map(|meta| meta.name.clone()).collect();
        let hash_file = self
            .write_edits(&metas, &[], &frozen.floor, &BTreeMap::new())
            .and_then(|()| self.write_hashes(&frozen))
            .inspect_err(|_| self.remove_folders(&folders))?;
        self.observer.settle(frozen.floor.lsn).inspect_err(|_| self.remove_folders(&folders))?;
        let now = self.clock.now();
        let mut expired = Vec::new();
        self.edit_manifest(
            |manifest| {
                manifest.floor = frozen.floor.clone();
                manifest.blocks.extend(metas);
                let (kept, gone) = manifest.hash_files.drain(..).partition(|file| file.is_current(now));
                (manifest.hash_files, expired) = (kept, gone);
                manifest.hash_files.extend(hash_file);
            },
            folders,
            |_| {
                let mut applied = self.applied();
                self.show(|visible| visible.flushed(&frozen.memtable, blocks));
                applied.frozen.retain(|other| !Arc::ptr_eq(other, &frozen));
            },
        )?;
        self.counters.flushed();
        self.remove_hash_files(&expired);
        // The log is shorter if this succeeds and no less right if it does not.
        if let Err(error) = lock(&self.log).writer.release(frozen.floor.lsn) {
            self.counters.note(now, error.to_string());
        }
        Ok(true)
    }

    /// Ends the memtable at the last acknowledged request and starts a new one; false if it is empty. The first half of
    /// a flush: requests go on being committed while the frozen memtable is written.
    pub fn freeze(&self) -> bool {
        let mut applied = self.applied();
        let Some((new, unneeded)) = applied.freeze() else { return false };
        self.show(|visible| visible.with_memtable(new));
        drop(applied);
        drop(unneeded);
        true
    }

    /// Lets go of the series of a memtable that was written, where its successor has many others.
    pub(super) fn forget_series(&self) {
        let memtables = self.visible().memtables.clone();
        let Some(first) = memtables.first() else { return };
        let series_max = self.config.memtable_bytes.saturating_mul(SERIES_ROOM);
        if first.kept_bytes() > 0 && self.memtable_memory().1 > series_max {
            first.forget_before();
        }
    }

    /// Finds out which series there will be, so that no question waits for it.
    pub(super) fn prepare_series(&self, removed: &[u64], added: &[Arc<Block>]) {
        self.series.prepare(&self.visible().replaced(removed, added.to_vec()).blocks);
    }

    fn oldest_frozen(&self) -> Option<Arc<Frozen>> {
        let front = self.applied().frozen.front().cloned();
        if front.is_some() || !self.freeze() {
            return front;
        }
        self.applied().frozen.front().cloned()
    }

    /// Runs something that writes blocks, with ids of its own, and opens what it wrote. What a failure leaves behind is
    /// removed.
    pub(super) fn write_new_blocks(
        &self,
        write: impl FnOnce(&mut u64) -> Result<Vec<BlockMeta>, Error>,
    ) -> Result<(Vec<BlockMeta>, Vec<Arc<Block>>), Error> {
        let first = self.next_block_id.fetch_add(IDS_RESERVED, Ordering::Relaxed);
        let mut next = first;
        let open = |meta: &BlockMeta| {
            let block = Block::open(self.disk.as_ref(), &self.config.dir, meta.clone())?;
            let block = block.sharing(self.footers.clone());
            // Now, so that no question waits for it. What cannot be read is said to those who ask.
            _ = block.list_services();
            Ok(Arc::new(block))
        };
        let result = write(&mut next).and_then(|metas| {
            let blocks = metas.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
            Ok((metas, blocks))
        });
        match &result {
            Ok(_) => {
                let (reserved, used) = (first + IDS_RESERVED, next);
                let give_back = Ordering::Relaxed;
                _ = self.next_block_id.compare_exchange(reserved, used, give_back, Ordering::Relaxed);
            }
            Err(_) => self.remove_unfinished(first..first + IDS_RESERVED),
        }
        result
    }

    /// Writes the edit file into each block's folder.
    pub(super) fn write_edits(
        &self,
        metas: &[BlockMeta],
        replaces: &[u64],
        floor: &Floor,
        dropped: &BTreeMap<String, Dropped>,
    ) -> Result<(), Error> {
        let (store_id, mut decisions) = {
            let state = lock(&self.manifest);
            (state.manifest.store_id, state.manifest.decisions.clone())
        };
        decisions.add(dropped);
        let together_with: Vec<String> = metas.iter().map(|meta| meta.name.clone()).collect();
        for meta in metas {
            let edit = Edit {
                store_id,
                block: meta.clone(),
                together_with: together_with.clone(),
                replaces: replaces.to_vec(),
                floor: floor.clone(),
                decisions: decisions.clone(),
            };
            let folder = meta.folder(&self.config.dir);
            let path = folder.join(EDIT_FILE);
            let bytes = serde_json::to_vec(&edit).map_err(|error| Error::Columns {
                action: format!("write {EDIT_FILE}"),
                detail: error.to_string(),
            })?;
            self.disk.write_new(&path, &bytes).map_err(Error::io("write", &path))?;
            self.disk.sync_dir(&folder).map_err(Error::io("sync", &folder))?;
        }
        Ok(())
    }

    fn write_hashes(&self, frozen: &Frozen) -> Result<Option<HashFile>, Error> {
        if frozen.hashes.is_empty() {
            return Ok(None);
        }
        let dir = self.folder(HASHES_FOLDER);
        // A name of its own for every attempt: a manifest of which nobody knows whether it is there may name the file of the last one.
        let attempt = self.next_block_id.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:020}-{attempt:08}", frozen.floor.lsn);
        let file = dedup::write(self.disk.as_ref(), &dir, name, &frozen.hashes, self.clock.now())?;
        self.disk.sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        Ok(Some(file))
    }

    fn remove_hash_files(&self, files: &[HashFile]) {
        for file in files {
            // A file that stays is an orphan, which the next start removes.
            _ = self.disk.remove(&self.folder(HASHES_FOLDER).join(&file.name));
        }
    }

    /// Removes the folders of blocks with these ids.
    fn remove_unfinished(&self, ids: std::ops::Range<u64>) {
        let names = self.disk.list(&self.folder(BLOCKS_FOLDER)).unwrap_or_default();
        let unfinished: Vec<String> =
            names.into_iter().filter(|name| block_id(name).is_some_and(|id| ids.contains(&id))).collect();
        self.remove_folders(&unfinished);
    }

    /// Removes folders of blocks that are not in the manifest. What cannot be removed is an orphan, which the next start
    /// removes.
    pub(super) fn remove_folders(&self, names: &[String]) {
        let blocks = self.folder(BLOCKS_FOLDER);
        for name in names {
            _ = self.disk.remove_dir(&blocks.join(name));
        }
        if !names.is_empty() {
            _ = self.disk.sync_dir(&blocks);
        }
    }
}

/// The id at the end of a block's folder name.
fn block_id(name: &str) -> Option<u64> {
    name.rsplit_once('-')?.1.parse().ok()
}
