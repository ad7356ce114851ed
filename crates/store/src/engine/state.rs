//! What the log's frames have become: memtables, totals, and what snapshots see.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::block::Block;
use crate::expired::Expired;
use crate::manifest::Floor;
use crate::memtable::{Known, Memtable};

/// Everything that follows from the frames applied so far, at one LSN.
pub(super) struct Applied {
    /// The memtable that grows.
    pub(super) memtable: Arc<Memtable>,
    /// When its first batch was inserted, monotonic.
    pub(super) memtable_since: Option<Duration>,
    /// Totals up to the last applied frame; `lsn` is the next one.
    pub(super) floor: Floor,
    /// The hashes of the frames since the last freeze.
    pub(super) hashes: Vec<u128>,
    /// Memtables that are to be written, oldest first.
    pub(super) frozen: VecDeque<Arc<Frozen>>,
}

/// A memtable that takes no more, and the totals at its end.
pub(super) struct Frozen {
    pub(super) memtable: Arc<Memtable>,
    pub(super) floor: Floor,
    pub(super) hashes: Vec<u128>,
}

impl Applied {
    pub(super) fn new(memtable: Arc<Memtable>, floor: Floor) -> Applied {
        Applied { memtable, memtable_since: None, floor, hashes: Vec::new(), frozen: VecDeque::new() }
    }

    /// Ends the memtable here and starts a new one, which is returned with what is no longer needed; `None` if no frame was
    /// applied since the last.
    pub(super) fn freeze(&mut self) -> Option<(Arc<Memtable>, Known)> {
        self.memtable_since?;
        let (new, unneeded) = self.memtable.successor();
        let new = Arc::new(new);
        self.frozen.push_back(Arc::new(Frozen {
            memtable: std::mem::replace(&mut self.memtable, new.clone()),
            floor: self.floor.clone(),
            hashes: std::mem::take(&mut self.hashes),
        }));
        self.memtable_since = None;
        Some((new, unneeded))
    }
}

/// What a snapshot is made of. Replaced as a whole.
#[derive(Clone)]
pub(super) struct Visible {
    /// Oldest first; the last one grows.
    pub(super) memtables: Vec<Arc<Memtable>>,
    pub(super) blocks: Arc<Vec<Arc<Block>>>,
    /// What every answer may lack.
    pub(super) missing: Arc<Vec<String>>,
    /// What retention removed.
    pub(super) expired: Arc<Expired>,
}

impl Visible {
    pub(super) fn with_memtable(&self, memtable: Arc<Memtable>) -> Visible {
        let mut memtables = self.memtables.clone();
        memtables.push(memtable);
        Visible { memtables, ..self.clone() }
    }

    /// With what is known of traces that retention removed.
    pub(super) fn knowing(&self, expired: Expired) -> Visible {
        Visible { expired: Arc::new(expired), ..self.clone() }
    }

    /// With blocks in place of a memtable.
    pub(super) fn flushed(&self, memtable: &Arc<Memtable>, blocks: Vec<Arc<Block>>) -> Visible {
        let mut next = self.replaced(&[], blocks);
        next.memtables.retain(|other| !Arc::ptr_eq(other, memtable));
        next
    }

    /// With blocks in place of others.
    pub(super) fn replaced(&self, removed: &[u64], added: Vec<Arc<Block>>) -> Visible {
        let kept = self.blocks.iter().filter(|block| !removed.contains(&block.meta().id));
        let blocks = Arc::new(kept.cloned().chain(added).collect());
        Visible { blocks, ..self.clone() }
    }

    pub(super) fn with_missing(&self, text: String) -> Visible {
        let mut missing = self.missing.to_vec();
        missing.push(text);
        Visible { missing: Arc::new(missing), ..self.clone() }
    }

    /// Without complaints about these blocks, which are gone.
    pub(super) fn without_blocks(self, names: &[String]) -> Visible {
        let is_of = |text: &String| names.iter().any(|name| text.starts_with(&format!("block {name} is ")));
        if !self.missing.iter().any(is_of) {
            return self;
        }
        let missing = self.missing.iter().filter(|text| !is_of(text)).cloned().collect();
        Visible { missing: Arc::new(missing), ..self }
    }
}
