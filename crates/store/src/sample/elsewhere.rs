//! What lies of a trace outside the blocks that are merged: in other blocks and in memory.
//!
//! Filters say no for nearly all traces without a read.

use std::sync::Arc;

use throughline_model::TraceId;

use crate::block::Block;
use crate::error::Error;
use crate::memtable::MemtableView;
use crate::snapshot::Snapshot;

/// What refers to a trace, and whether spans of it are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    pub(crate) has_spans: bool,
    /// Log records of level ERROR or above.
    pub(crate) error_logs: u64,
    pub(crate) exemplars: u64,
}

impl Mentions {
    /// Adds what another part has.
    pub(crate) fn add(&mut self, other: Mentions) {
        self.has_spans |= other.has_spans;
        self.error_logs += other.error_logs;
        self.exemplars += other.exemplars;
    }
}

/// The parts that are not merged.
pub(super) struct Elsewhere {
    blocks: Vec<Arc<Block>>,
    memtables: Vec<MemtableView>,
}

impl Elsewhere {
    pub(super) fn new(snapshot: &Snapshot, inputs: &[Arc<Block>]) -> Elsewhere {
        let is_other = |block: &&Arc<Block>| !inputs.iter().any(|input| input.meta().id == block.meta().id);
        Elsewhere {
            blocks: snapshot.blocks.iter().filter(is_other).cloned().collect(),
            memtables: snapshot.memtables.clone(),
        }
    }

    /// What lies there of a trace.
    pub(super) fn of(&self, id: TraceId) -> Result<Mentions, Error> {
        let mut all = Mentions::default();
        for memtable in &self.memtables {
            all.add(memtable.mentions(id));
        }
        for block in self.blocks.iter().filter(|block| block.may_have(id)) {
            all.add(block.mentions(id)?);
        }
        Ok(all)
    }
}
