//! Which traces lie in several places: of a block's traces those of which a memtable or another block may have spans, too.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashMap as HashMap;
use throughline_model::Signal;

use super::Snapshot;
use crate::block::Block;

/// With more blocks beside it traces are looked for one by one when they are asked for.
const OTHERS_MAX: usize = 64;
/// So they are with more spans in memory, times blocks: their traces are looked for in each block, for each snapshot.
const LOOKED_FOR_MAX: u64 = 1 << 20;

/// Rows of a trace table, as bits.
#[derive(Debug, Default)]
pub(crate) struct RowBits {
    words: Vec<u64>,
}

impl RowBits {
    fn set(&mut self, row: u32) {
        let word = row as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words.get_mut(word).into_iter().for_each(|word| *word |= 1 << (row % 64));
    }

    pub(crate) fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }
}

/// What a snapshot knows of its blocks, by their numbers; none where it would take too long to know.
#[derive(Default)]
pub(crate) struct TornTraces {
    of_blocks: Mutex<HashMap<u64, Option<Arc<RowBits>>>>,
}

impl Snapshot {
    /// The rows of the traces of a block of which there may be spans elsewhere: all of them, and hardly ever another. None where that is
    /// not known of all traces at once.
    pub(super) fn torn_traces(&self, block: &Block) -> Option<Arc<RowBits>> {
        // Whoever comes second waits: he would look for the same.
        let mut of_blocks = self.torn.of_blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let found = of_blocks.entry(block.meta().id).or_insert_with(|| self.find_torn(block).map(Arc::new));
        found.clone()
    }

    fn find_torn(&self, block: &Block) -> Option<RowBits> {
        let has_spans = |other: &&Block| other.meta().id != block.meta().id && other.rows(Signal::Traces) > 0;
        let others: Vec<&Block> = self.blocks.iter().map(AsRef::as_ref).filter(has_spans).collect();
        let in_memory: u64 = self.memtables.iter().map(|memtable| memtable.rows(Signal::Traces)).sum();
        let looked_for = in_memory.saturating_mul(1 + others.len() as u64);
        if others.len() > OTHERS_MAX || looked_for > LOOKED_FOR_MAX {
            return None;
        }
        let mut bits = RowBits::default();
        for rows in block.shared_with(&others)? {
            rows.iter().for_each(|row| bits.set(*row));
        }
        for memtable in &self.memtables {
            block.rows_with_spans(memtable.span_fingerprints())?.into_iter().for_each(|row| bits.set(row));
        }
        Some(bits)
    }
}
