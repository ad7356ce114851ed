//! Rows of a row group of log records: which, and whether they are picked one by one or decoded with all others.

use std::ops::Range;

use super::TableReader;

/// At least one row in so many is read together with all others: decoding them in a row is faster than picking.
const FEW_OF: usize = 8;

/// Of rows whose keys or numbers are wanted alone, at least one in so many: those are decoded faster than they are picked.
const RARE_OF: usize = 64;

/// Rows of a row group.
pub(super) enum Rows {
    These(Vec<u32>),
    Between(Range<u32>),
}

impl Rows {
    /// The rows between the first and the last of them; `None` where few of those are wanted.
    pub(super) fn range(&self) -> Option<Range<u32>> {
        match self {
            Rows::Between(rows) => Some(rows.clone()),
            Rows::These(rows) => {
                let range = *rows.first()?..rows.last()? + 1;
                (!is_rare(rows.len(), &range)).then_some(range)
            }
        }
    }

    /// The row at a position among them.
    pub(super) fn row(&self, at: u32) -> u32 {
        match self {
            Rows::These(rows) => rows.get(at as usize).copied().unwrap_or_default(),
            Rows::Between(rows) => rows.start + at,
        }
    }
}

/// A range as positions in memory.
pub(super) fn as_range(rows: &Range<u32>) -> Range<usize> {
    rows.start as usize..rows.end as usize
}

/// Whether so many rows of a row group are picked one by one, and not read with all others.
pub(super) fn is_few(table: &TableReader, group: usize, n_rows: usize) -> bool {
    n_rows * FEW_OF <= table.group(group).num_rows().max(0) as usize
}

/// Whether so many of the rows of a range are picked one by one even where a column of keys or numbers can be decoded as it is.
pub(super) fn is_rare(n_rows: usize, range: &Range<u32>) -> bool {
    n_rows * RARE_OF <= range.len()
}
