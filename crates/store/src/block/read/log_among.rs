//! Which log records of a block belong to chosen traces, or stand apart and are severe.

use ahash::AHashSet;
use arrow_array::Array as _;
use arrow_array::types::UInt32Type;
use throughline_model::Level;

use super::{Block, Columns, TableReader};
use crate::error::Error;
use crate::snapshot::log_scan::{Among, LogFields};

/// The traces of a scan among those of a block.
pub(super) struct Wanted {
    /// Rows of the trace table.
    traces: AHashSet<u32>,
    loose: Level,
}

impl Wanted {
    pub(super) fn new(block: &Block, among: &Among<'_>) -> Result<Wanted, Error> {
        let mut traces = AHashSet::new();
        for id in among.traces {
            traces.extend(block.index().candidates(id.fingerprint())?);
        }
        Ok(Wanted { traces, loose: among.loose })
    }

    /// The rows of a row group that are wanted, by their number within it.
    pub(super) fn rows(&self, table: &TableReader, group: usize) -> Result<Vec<u32>, Error> {
        let (mut rows, mut first) = (Vec::new(), 0u32);
        for batch in table.read_group(group, None, Some(&["trace_row", "level", "severity_number"]))? {
            let n_rows = batch.num_rows();
            let levels = LogFields::Block(&batch, &[]).levels(n_rows);
            let traces = Columns::new(&batch).numbers::<UInt32Type>("trace_row");
            let trace = |row: usize| traces.filter(|of| !of.is_null(row)).map(|of| of.value(row));
            let is_wanted = |row: &u32| match trace(*row as usize) {
                Some(trace) => self.traces.contains(&trace),
                None => levels.get(*row as usize).is_some_and(|level| *level >= self.loose),
            };
            rows.extend((0..n_rows as u32).filter(is_wanted).map(|row| first + row));
            first += n_rows as u32;
        }
        Ok(rows)
    }
}
