//! Maintenance: merging blocks, and deleting folders that nobody reads any more.
//!
//! What to do is decided elsewhere as data ([`crate::compact::choose`]); here it is done. A
//! replaced block leaves the manifest first, then the view of new snapshots, and its folder when the last snapshot that
//! holds it is gone; if that never happens, the next start removes it as an orphan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Engine, lock};
use crate::block::{self, Block, BlockMeta};
use crate::compact::{self, Choice};
use crate::error::Error;
use crate::retain::Cited;
use crate::sample::{Decider, Dropped, Pin};
use crate::snapshot::Snapshot;

/// New blocks, and what was decided on the way.
struct Merged {
    metas: Vec<BlockMeta>,
    blocks: Vec<Arc<Block>>,
    decided: Decided,
}

/// What was decided about traces.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) dropped: BTreeMap<String, Dropped>,
    /// What was pinned when it was decided, where something was: the decision holds only while that is so.
    pub(super) pins: Option<Vec<Pin>>,
    /// What alerts cite and is held, where that was looked at.
    pub(super) cited: Option<Vec<Cited>>,
}

impl Engine {
    /// Merges blocks where there is something to merge; false where there is not.
    pub fn compact_once(&self) -> Result<bool, Error> {
        let _compacting = lock(&self.compacting);
        let Some(choice) = self.choose_merge() else { return Ok(false) };
        let snapshot = self.snapshot();
        let mut inputs: Vec<Arc<Block>> = snapshot
            .blocks
            .iter()
            .filter(|block| choice.inputs.contains(&block.meta().id))
            .cloned()
            .collect();
        inputs.sort_by_key(|block| block.meta().id);
        let merged = self.merge(&snapshot, &inputs, &choice);
        drop(snapshot);
        if let Err(Error::Damaged { .. } | Error::Columns { .. }) = &merged {
            self.set_damaged_aside(&inputs);
        }
        let first = inputs.first().map(|block| block.meta().id);
        drop(inputs);
        let Merged { metas, blocks, decided } = merged?;
        if let (Some(id), true) = (first, metas.is_empty()) {
            lock(&self.decided).insert(id, self.clock.now());
            return Ok(true);
        }
        self.prepare_series(&choice.inputs, &blocks);
        let folders: Vec<String> = metas.iter().map(|meta| meta.name.clone()).collect();
        // The floors of the inputs go with their folders: the result repeats one that is no lower.
        let floor = lock(&self.manifest).manifest.floor.clone();
        self.write_edits(&metas, &choice.inputs, &floor, &decided.dropped)
            .inspect_err(|_| self.remove_folders(&folders))?;
        if !self.replace_blocks(&choice.inputs, metas, blocks, &decided)? {
            // Somebody pinned a trace meanwhile that may be one of those that were dropped: once more, with the pin.
            self.remove_folders(&folders);
            return Ok(true);
        }
        self.counters.compacted();
        self.reap();
        Ok(true)
    }

    /// Merges, and decides where there is something that decides. The snapshot has all that is evidence.
    fn merge(&self, snapshot: &Snapshot, inputs: &[Arc<Block>], choice: &Choice) -> Result<Merged, Error> {
        let mut sampling = self.sampling.as_ref().map(lock);
        let decisions = lock(&self.manifest).manifest.decisions.clone();
        let is_held = inputs.iter().any(|block| block.meta().is_held());
        let mut decider = match sampling.as_deref_mut().filter(|_| !is_held) {
            Some(sampling) => Some(Decider::new(sampling, snapshot, inputs, &decisions)?),
            None => None,
        };
        let (metas, blocks) = self.write_new_blocks(|next_block_id| {
            let (disk, dir) = (self.disk.as_ref(), &self.config.dir);
            compact::merge_deciding(disk, dir, inputs, choice, next_block_id, decider.as_mut())
        })?;
        let mut decided = Decided::default();
        let Some(decider) = decider else { return Ok(Merged { metas, blocks, decided }) };
        if let Some(error) = decider.damage() {
            let text = format!("traces stay because what refers to them cannot be read: {error}");
            self.counters.note(self.clock.now(), text);
        }
        decided.dropped = decider.dropped().clone();
        decided.pins = Some(decisions.pins);
        Ok(Merged { metas, blocks, decided })
    }

    /// What to merge next, of the blocks that can be read, if there is room for the result.
    fn choose_merge(&self) -> Option<Choice> {
        let damaged = lock(&self.damaged).clone();
        let visible = self.visible();
        let mut metas: Vec<BlockMeta> = visible
            .blocks
            .iter()
            .map(|block| block.meta())
            .filter(|m| !damaged.contains(&m.id))
            .cloned()
            .collect();
        let mut policy = self.config.compaction;
        policy.sample_after_ns = self.sampling.as_ref().map(|sampling| lock(sampling).delay_ns());
        {
            let decided = lock(&self.decided);
            for meta in &mut metas {
                meta.sampled_at = decided.get(&meta.id).copied().unwrap_or(meta.sampled_at);
            }
        }
        let choice = compact::choose(&metas, self.clock.now(), &policy)?;
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

    /// Edits blocks out of and into the manifest and the view of snapshots; false, and nothing has happened, where a pin
    /// came between the decision and this.
    pub(super) fn replace_blocks(
        &self,
        removed: &[u64],
        metas: Vec<BlockMeta>,
        blocks: Vec<Arc<Block>>,
        decided: &Decided,
    ) -> Result<bool, Error> {
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
        let is_edited = self.edit_manifest_if(
            |manifest| {
                if decided.pins.as_ref().is_some_and(|pins| *pins != manifest.decisions.pins) {
                    return false;
                }
                manifest.blocks.retain(|block| !removed.contains(&block.id));
                manifest.blocks.extend(metas);
                manifest.decisions.add(&decided.dropped);
                if let Some(cited) = &decided.cited {
                    manifest.decisions.cited.clone_from(cited);
                }
                true
            },
            folders,
            |_| self.show(|visible| visible.replaced(removed, blocks).without_blocks(&names)),
        )?;
        if !is_edited {
            return Ok(false);
        }
        lock(&self.damaged).retain(|id| !removed.contains(id));
        lock(&self.decided).retain(|id, _| !removed.contains(id));
        lock(&self.retired).extend(old);
        Ok(true)
    }
}
