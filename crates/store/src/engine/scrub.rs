//! Looking after what lies on the disk: blocks are compared with their checksums, and what was set aside goes in time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Engine, LOG_FOLDER, lock};
use crate::block::{self, Block, Damage};
use crate::disk::Disk;
use crate::fsck::QUARANTINE_FOLDER;
use crate::scrub::SLICE_BYTES;
use crate::set_aside;

impl Engine {
    /// Compares the next slice of a block with its checksums, if one is due; false if none is. A damaged block stays,
    /// because the rest of it is good: answers say that they may lack something, and it is never merged into another.
    pub fn scrub_once(&self) -> bool {
        let began = self.clock.monotonic();
        // Held until the end, so that the block's folder stays as well.
        let visible = self.visible();
        let damaged = lock(&self.damaged).clone();
        let blocks = visible.blocks.iter().filter(|block| !damaged.contains(&block.meta().id));
        let next = lock(&self.scrub).next(blocks.clone().map(|block| block.meta()), began);
        let Some(slice) = next else { return false };
        let Some(block) = blocks.clone().find(|block| block.meta().id == slice.block) else { return false };
        let part = block::verify_part(
            self.disk.as_ref(),
            &self.config.dir,
            block.meta(),
            slice.from..slice.from.saturating_add(SLICE_BYTES),
        );
        let goes_on_at = match part {
            Ok(part) => {
                self.counters.scrubbed_bytes.fetch_add(part.bytes, Ordering::Relaxed);
                part.goes_on_at
            }
            Err(damage) => {
                self.leave_alone(block, &damage);
                None
            }
        };
        lock(&self.scrub).done(slice, goes_on_at, began, self.clock.monotonic());
        true
    }

    /// Says that a block is damaged, and leaves it out of merges.
    pub(super) fn leave_alone(&self, block: &Arc<Block>, damage: &Damage) {
        if !lock(&self.damaged).insert(block.meta().id) {
            return;
        }
        let name = &block.meta().name;
        let text = format!("block {name} is damaged: {}: {}", damage.path.display(), damage.detail);
        self.counters.note(self.clock.now(), text.clone());
        self.show(|visible| visible.with_missing(text));
    }

    /// Removes what was set aside long ago, or is too much; says how many there were.
    pub fn prune_set_aside(&self) -> usize {
        let now = self.clock.now();
        let disk = self.disk.as_ref();
        let mut removed = 0;
        for (folder, ending) in [(LOG_FOLDER, set_aside::BROKEN), (QUARANTINE_FOLDER, "")] {
            let dir = self.folder(folder);
            // Without anything set aside there is no quarantine.
            let names = disk.list(&dir).unwrap_or_default();
            let names: Vec<String> = names.into_iter().filter(|name| name.ends_with(ending)).collect();
            for name in names.iter().filter(|name| set_aside::stamp(name, ending).is_none()) {
                // The offline check knows no time: what it set aside is as old as the first look at it.
                _ = disk.rename(&dir.join(name), &dir.join(set_aside::stamped(name, ending, now)));
            }
            for name in set_aside::choose(&names, ending, now) {
                if remove_any(disk, &dir.join(&name)) {
                    removed += 1;
                    self.counters
                        .note(now, format!("{} was set aside long ago: removed", dir.join(&name).display()));
                }
            }
        }
        removed
    }
}

/// Removes a file or a folder.
fn remove_any(disk: &dyn Disk, path: &Path) -> bool {
    disk.remove(path).is_ok() || disk.remove_dir(path).is_ok()
}
