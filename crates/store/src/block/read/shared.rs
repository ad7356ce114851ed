//! Traces of which several blocks have spans.
//!
//! Whoever looks at the spans that a block has of a trace wants to know whether they are all. Asking every other block for every trace
//! costs more than looking at the spans; but blocks do not change, so what two of them have in common is found out once, by fingerprint,
//! and kept. Few traces are in flight when a block ends, so the lists are short.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::AHashMap as HashMap;
use throughline_model::TraceId;

use super::Block;
use super::whole::WholeColumn;

/// Lists that a block keeps: as many as there are blocks beside it, for most stores. Beyond, all are found out again.
const LISTS_MAX: usize = 256;

/// Rows of a trace table, ascending, by the number of the other block.
#[derive(Default)]
pub(super) struct SharedTraces {
    lists: Mutex<HashMap<u64, Arc<[u32]>>>,
}

impl SharedTraces {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<[u32]>>> {
        // A list is whole when it is put in.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, other: u64) -> Option<Arc<[u32]>> {
        self.lock().get(&other).cloned()
    }

    fn keep(&self, other: u64, rows: Arc<[u32]>) {
        let mut lists = self.lock();
        if lists.len() >= LISTS_MAX {
            lists.clear();
        }
        lists.insert(other, rows);
    }

    /// The bytes of the lists.
    pub(super) fn memory_bytes(&self) -> usize {
        self.lock().values().map(|rows| size_of_val(&**rows)).sum()
    }
}

impl Block {
    /// For each of these blocks the rows of traces with spans of which that one may have spans too, ascending: all of them, and hardly
    /// ever another. None where something of it cannot be read.
    pub(crate) fn shared_with(&self, others: &[&Block]) -> Option<Vec<Arc<[u32]>>> {
        let mut lists: Vec<Option<Arc<[u32]>>> =
            others.iter().map(|other| self.shared.with(other.meta.id)).collect();
        if lists.iter().any(Option::is_none) {
            let own = self.span_fingerprints()?;
            for (list, other) in lists.iter_mut().zip(others).filter(|(list, _)| list.is_none()) {
                *list = Some(self.find_shared(&own, other)?);
            }
        }
        lists.into_iter().collect()
    }

    /// What both have, for both.
    fn find_shared(&self, own: &[(u64, u32)], other: &Block) -> Option<Arc<[u32]>> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let fingerprints = own.iter().map(|(fingerprint, _)| *fingerprint);
        for (of_other, at) in other.index().candidates_of(fingerprints).ok()? {
            if !other.spans_of(of_other)?.is_empty() {
                theirs.push(of_other);
                ours.extend(own.get(at).map(|(_, row)| *row));
            }
        }
        for rows in [&mut ours, &mut theirs] {
            rows.sort_unstable();
            rows.dedup();
        }
        let ours: Arc<[u32]> = ours.into();
        other.shared.keep(self.meta.id, theirs.into());
        self.shared.keep(other.meta.id, Arc::clone(&ours));
        Some(ours)
    }

    /// The rows of traces that may have one of these fingerprints, and have spans here.
    pub(crate) fn rows_with_spans(&self, fingerprints: impl Iterator<Item = u64>) -> Option<Vec<u32>> {
        let mut rows = Vec::new();
        for (row, _) in self.index().candidates_of(fingerprints).ok()? {
            if !self.spans_of(row)?.is_empty() {
                rows.push(row);
            }
        }
        Some(rows)
    }

    /// The fingerprint and the row of each trace with spans, by row.
    fn span_fingerprints(&self) -> Option<Vec<(u64, u32)>> {
        let n_traces = self.span_starts()?.len().saturating_sub(1) as u32;
        let rows: Vec<u32> =
            (0..n_traces).filter(|row| self.spans_of(*row).is_some_and(|spans| !spans.is_empty())).collect();
        if rows.is_empty() {
            return Some(Vec::new());
        }
        let (_, WholeColumn::Fixed(16, ids, None)) = self.trace_column("trace_id", &rows).ok()?? else {
            return None;
        };
        let (ids, _) = ids.as_chunks::<16>();
        Some(ids.iter().zip(rows).map(|(id, row)| (TraceId(*id).fingerprint(), row)).collect())
    }
}
