//! Maintenance: merging blocks, removing old ones, and deleting folders that nobody reads any more.
//!
//! What to do is decided elsewhere as data ([`crate::compact::choose`], [`crate::retain::choose`]); here it is done. A
//! replaced block leaves the manifest first, then the view of new snapshots, and its folder when the last snapshot that
//! holds it is gone; if that never happens, the next start removes it as an orphan.

use std::sync::Arc;

use super::{Engine, lock};
use crate::block::{self, Block, BlockMeta};
use crate::compact::{self, Choice};
use crate::error::Error;
use crate::retain::{self, RetainPolicy};

impl Engine {
    /// Merges blocks where there is something to merge; false where there is not.
    pub fn compact_once(&self) -> Result<bool, Error> {
        let _compacting = lock(&self.compacting);
        let Some(choice) = self.choose_merge() else { return Ok(false) };
        let visible = self.visible();
        let mut inputs: Vec<Arc<Block>> =
            visible.blocks.iter().filter(|block| choice.inputs.contains(&block.meta().id)).cloned().collect();
        drop(visible);
        inputs.sort_by_key(|block| block.meta().id);
        let merged = self.write_new_blocks(|next_block_id| {
            compact::merge(self.disk.as_ref(), &self.config.dir, &inputs, &choice, next_block_id)
        });
        if let Err(Error::Damaged { .. } | Error::Columns { .. }) = &merged {
            self.set_damaged_aside(&inputs);
        }
        drop(inputs);
        let (metas, blocks) = merged?;
        let folders: Vec<String> = metas.iter().map(|meta| meta.name.clone()).collect();
        // The floors of the inputs go with their folders: the result repeats one that is no lower.
        let floor = lock(&self.manifest).manifest.floor.clone();
        self.write_edits(&metas, &choice.inputs, &floor).inspect_err(|_| self.remove_folders(&folders))?;
        self.replace_blocks(&choice.inputs, metas, blocks)?;
        self.counters.compacted();
        self.reap();
        Ok(true)
    }

    /// What to merge next, of the blocks that can be read, if there is room for the result.
    fn choose_merge(&self) -> Option<Choice> {
        let damaged = lock(&self.damaged).clone();
        let visible = self.visible();
        let metas: Vec<BlockMeta> = visible
            .blocks
            .iter()
            .map(|block| block.meta())
            .filter(|m| !damaged.contains(&m.id))
            .cloned()
            .collect();
        let choice = compact::choose(&metas, self.clock.now(), &self.config.compaction)?;
        let bytes: u64 =
            metas.iter().filter(|m| choice.inputs.contains(&m.id)).map(BlockMeta::disk_bytes).sum();
        let has_room = self
            .disk
            .space(&self.config.dir)
            .is_ok_and(|space| space.free_bytes >= bytes.saturating_add(self.reserve_bytes(&space)));
        has_room.then_some(choice)
    }

    /// Finds the damaged ones among the inputs of a failed merge, so that the others can be merged.
    fn set_damaged_aside(&self, inputs: &[Arc<Block>]) {
        let mut found = false;
        for block in inputs {
            let damage = block::verify(self.disk.as_ref(), &self.config.dir, block.meta());
            if let Some(first) = damage.first() {
                found = true;
                self.leave_alone(block, first);
            }
        }
        if !found {
            // Every byte is what was written, and still it cannot be merged: leave all of them as they are.
            lock(&self.damaged).extend(inputs.iter().map(|block| block.meta().id));
        }
    }

    /// Removes blocks that are too old or over the disk budget, and says how many.
    pub fn retain_once(&self) -> Result<usize, Error> {
        let _compacting = lock(&self.compacting);
        let policy = RetainPolicy {
            retention_ns: self.config.retention_ns(),
            budget_bytes: self.config.disk_budget_bytes,
        };
        let log_bytes = lock(&self.log).writer.size().1;
        let removed = {
            let state = lock(&self.manifest);
            retain::choose(&state.manifest.blocks, log_bytes, self.clock.now(), &policy)
        };
        if removed.is_empty() {
            return Ok(0);
        }
        self.replace_blocks(&removed, Vec::new(), Vec::new())?;
        self.counters.retired(removed.len());
        self.reap();
        Ok(removed.len())
    }

    /// Deletes the folders of replaced blocks that no snapshot reads, and says how many remain.
    pub fn reap(&self) -> usize {
        let mut unused = Vec::new();
        let remaining = {
            let mut retired = lock(&self.retired);
            let (kept, gone) = retired.drain(..).partition(|block| Arc::strong_count(block) > 1);
            *retired = kept;
            let gone: std::collections::VecDeque<Arc<Block>> = gone;
            unused.extend(gone.into_iter().map(|block| block.meta().name.clone()));
            retired.len()
        };
        self.remove_folders(&unused);
        remaining
    }

    /// Looks whether there is room on the disk again.
    pub fn check_disk(&self) {
        if self.check_space().is_ok() {
            self.restore_ballast();
        }
    }

    /// Edits blocks out of and into the manifest and the view of snapshots.
    fn replace_blocks(
        &self,
        removed: &[u64],
        metas: Vec<BlockMeta>,
        blocks: Vec<Arc<Block>>,
    ) -> Result<(), Error> {
        let folders = metas.iter().map(|meta| meta.name.clone()).collect();
        let names: Vec<String> = {
            let state = lock(&self.manifest);
            let gone = state.manifest.blocks.iter().filter(|block| removed.contains(&block.id));
            gone.map(|block| block.name.clone()).collect()
        };
        let visible = self.visible();
        let old: Vec<Arc<Block>> =
            visible.blocks.iter().filter(|block| removed.contains(&block.meta().id)).cloned().collect();
        drop(visible);
        self.edit_manifest(
            |manifest| {
                manifest.blocks.retain(|block| !removed.contains(&block.id));
                manifest.blocks.extend(metas);
            },
            folders,
            |_| self.show(|visible| visible.replaced(removed, blocks).without_blocks(&names)),
        )?;
        lock(&self.damaged).retain(|id| !removed.contains(id));
        lock(&self.retired).extend(old);
        Ok(())
    }
}
