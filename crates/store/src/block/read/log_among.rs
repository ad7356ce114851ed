//! Which log records of a block belong to chosen traces, or stand apart and are severe.

use arrow_array::Array as _;
use arrow_array::types::UInt32Type;
use throughline_model::Level;

use super::log_alike::level_codes;
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::error::Error;
use crate::snapshot::log_scan::{Among, LogFields};

/// The rows of a scan's traces among those of a block.
pub(super) struct Wanted<'b> {
    block: &'b Block,
    /// Rows of the chosen traces, ascending.
    of_traces: Vec<u32>,
    loose: Level,
}

impl Wanted<'_> {
    pub(super) fn new<'b>(block: &'b Block, among: &Among<'_>) -> Result<Wanted<'b>, Error> {
        let index = block.index();
        let found = index.candidates_of(among.traces.iter().map(|id| id.fingerprint()))?;
        let mut traces: Vec<u32> = found.into_iter().map(|(trace, _)| trace).collect();
        traces.dedup();
        let postings = index.postings_of(&traces)?;
        let mut of_traces: Vec<u32> = postings.into_iter().flat_map(|postings| postings.logs).collect();
        of_traces.sort_unstable();
        Ok(Wanted { block, of_traces, loose: among.loose })
    }

    /// The rows of a row group that are wanted, by their number within it.
    pub(super) fn rows(&self, table: &TableReader, group: usize) -> Result<Vec<u32>, Error> {
        let (first, end) = (table.first_row(group), table.first_row(group + 1));
        let before = |row: u64| self.of_traces.partition_point(|of| u64::from(*of) < row);
        let of_traces = self.of_traces.get(before(first)..before(end)).unwrap_or_default();
        let mut rows: Vec<u32> = of_traces.iter().map(|row| (u64::from(*row) - first) as u32).collect();
        rows.extend(self.loose(table, group)?);
        rows.sort_unstable();
        Ok(rows)
    }

    /// Severe rows of no trace.
    fn loose(&self, table: &TableReader, group: usize) -> Result<Vec<u32>, Error> {
        let names = ["trace_row", "level", "severity_number"];
        let Some(severe) = self.severe(table, group)? else {
            let (mut rows, mut first) = (Vec::new(), 0u32);
            for batch in table.read_group(group, None, Some(&names))? {
                let n_rows = batch.num_rows();
                let levels = LogFields::Block(&batch, &[]).levels(n_rows);
                let traces = Columns::new(&batch).numbers::<UInt32Type>("trace_row");
                let is_loose = |row: &usize| {
                    traces.is_none_or(|of| of.is_null(*row))
                        && levels.get(*row).is_some_and(|level| *level >= self.loose)
                };
                rows.extend((0..n_rows).filter(is_loose).map(|row| first + row as u32));
                first += n_rows as u32;
            }
            return Ok(rows);
        };
        let mut rows = Vec::new();
        let mut of_severe = severe.iter();
        for batch in self.block.pick_of_group(table, group, &severe, &["trace_row"])? {
            let traces = Columns::new(&batch).numbers::<UInt32Type>("trace_row");
            for (at, row) in (0..batch.num_rows()).zip(of_severe.by_ref()) {
                rows.extend(traces.is_none_or(|of| of.is_null(at)).then_some(*row));
            }
        }
        Ok(rows)
    }

    /// Severe rows, by the distinct levels of a row group; `None` where it is of a kind that only the library reads.
    fn severe(&self, table: &TableReader, group: usize) -> Result<Option<Vec<u32>>, Error> {
        let Some(layout) = self.block.layout(Table::Logs) else { return Ok(None) };
        let (file, n_rows) = (self.block.file(Table::Logs)?, table.group(group).num_rows());
        let distinct =
            |name: &str| layout.distinct(file, group, name, 0..u32::try_from(n_rows).unwrap_or_default());
        let (Some(levels), Some(severities)) = (distinct("level")?, distinct("severity_number")?) else {
            return Ok(None);
        };
        let codes = level_codes(&levels, &severities).of_row;
        let is_severe: Vec<bool> = (0..=u8::MAX).map(|code| Level::from_code(code) >= self.loose).collect();
        let severe = codes.iter().zip(0..).filter(|(code, _)| is_severe.get(**code as usize) == Some(&true));
        Ok(Some(severe.map(|(_, row)| row).collect()))
    }
}
