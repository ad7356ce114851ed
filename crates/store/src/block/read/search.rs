//! Searches for traces: row groups of spans are skipped by their statistics, rows by the keys of the query's columns, and times
//! are read of the rows that are left.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow_array::types::{UInt8Type, UInt32Type};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::layout::Layout;
use super::picked::Keys;
use super::whole::WholeColumn;
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::error::Error;
use crate::snapshot::merge::TraceHits;
use crate::snapshot::{TraceQuery, Until};

/// The least and the greatest value of a column in a row group, where they were kept.
pub(super) fn bounds<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    group.columns().iter().find(|chunk| chunk.column_descr().name() == column)?.statistics()
}

pub(super) fn overlaps_text(group: &RowGroupMetaData, column: &str, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    match bounds(group, column) {
        Some(Statistics::ByteArray(stats)) => {
            // Bounds may be cut off: then the upper one is the next greater text, and the comparison still holds.
            stats.min_opt().is_none_or(|min| min.data() <= wanted.as_bytes())
                && stats.max_opt().is_none_or(|max| wanted.as_bytes() <= max.data())
        }
        _ => true,
    }
}

pub(super) fn overlaps_number(group: &RowGroupMetaData, column: &str, least: i64, greatest: i64) -> bool {
    let (min, max) = bounds(group, column).map_or((i64::MIN, i64::MAX), numbers);
    min <= greatest && least <= max
}

/// The least and the greatest number that statistics know; all there is where they know none.
pub(super) fn numbers(statistics: &Statistics) -> (i64, i64) {
    let (min, max) = match statistics {
        Statistics::Int64(of) => (of.min_opt().copied(), of.max_opt().copied()),
        Statistics::Int32(of) => (of.min_opt().copied().map(i64::from), of.max_opt().copied().map(i64::from)),
        _ => (None, None),
    };
    (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX))
}

/// Whether a column may have a value in some row.
pub(super) fn has_values(group: &RowGroupMetaData, column: &str) -> bool {
    let all = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
    let of = group.columns().iter().find(|of| of.column_descr().name() == column);
    of.is_some_and(|of| of.statistics().and_then(Statistics::null_count_opt) != Some(all))
}

/// For each row of a text column, whether it is the wanted one.
pub(super) fn text_is(columns: &Columns<'_>, name: &str, wanted: &str) -> Vec<bool> {
    if let Some((keys, values)) = columns.dictionary(name) {
        let wanted: Vec<bool> = values.iter().map(|value| value == Some(wanted)).collect();
        return (0..keys.len())
            .map(|row| keys.key(row).and_then(|key| wanted.get(key).copied()).unwrap_or(false))
            .collect();
    }
    columns
        .texts(name)
        .map(|texts| texts.iter().map(|text| text == Some(wanted)).collect())
        .unwrap_or_default()
}

pub(super) fn and(mask: &mut [bool], other: impl IntoIterator<Item = bool>) {
    mask.iter_mut().zip(other).for_each(|(keep, other)| *keep &= other);
}

impl Block {
    pub(crate) fn search_traces(
        &self,
        query: &TraceQuery,
        hits: &mut TraceHits,
        until: &Until,
    ) -> Result<(), Error> {
        let groups = self.groups_of(Table::Spans)?;
        let counted = self.counted();
        // Traces lie by start: the last row groups are the newest.
        for group in (0..groups.len()).rev() {
            let durations =
                (query.min_duration_ns.unwrap_or(i64::MIN), query.max_duration_ns.unwrap_or(i64::MAX));
            let may_match =
                groups.overlaps(group, "start_time", query.range.start, query.range.end.saturating_sub(1))
                    && groups.overlaps(group, "duration_ns", durations.0, durations.1)
                    && (query.error != Some(true) || groups.overlaps(group, "status_code", 2, 2))
                    && counted.is_none_or(|counted| counted.may_have(group, query))
                    && !hits.is_full_before(groups.bounds(group, "start_time").1);
            if !may_match {
                continue;
            }
            until.check()?;
            let rows = match self.rows_by_key(group, query)? {
                Some(rows) => rows,
                None => decoded_rows(&*self.table(Table::Spans)?, group, query)?,
            };
            let rows = self.long_enough(query, group, rows)?;
            let first = groups.first_row(group);
            let rows: Vec<u32> = rows.into_iter().map(|row| first + row).collect();
            self.add_hits(query, &rows, hits)?;
        }
        Ok(())
    }

    /// What is known of the row groups of a table before they are read.
    pub(super) fn groups_of(&self, table: Table) -> Result<Groups<'_>, Error> {
        Ok(match self.layout(table) {
            Some(layout) => Groups::Layout(layout),
            None => Groups::Footer(self.table(table)?),
        })
    }

    /// The rows of a row group that meet the query but for times and durations, by the keys of dictionaries; `None` where
    /// they cannot be read so.
    fn rows_by_key(&self, group: usize, query: &TraceQuery) -> Result<Option<Vec<u32>>, Error> {
        let Some(layout) = self.layout(Table::Spans) else { return Ok(None) };
        let Some(n_rows) = layout.group_rows(group).map(|rows| rows.end - rows.start) else {
            return Ok(None);
        };
        let keys = |name: &str| layout.keys(self.file(Table::Spans)?, group, name);
        let mut rows: Vec<u32> = (0..n_rows).collect();
        if let Some(error) = query.error {
            let Some(codes) = keys("status_code")? else { return Ok(None) };
            let wanted: Vec<bool> = codes.numbers().iter().map(|code| (*code == 2) == error).collect();
            keep(&mut rows, &codes, &wanted);
        }
        for (column, wanted) in [("service", &query.service), ("name", &query.operation)] {
            let Some(wanted) = wanted.as_deref().filter(|_| !rows.is_empty()) else { continue };
            let Some(keys) = keys(column)? else { return Ok(None) };
            let Some(texts) = keys.texts() else { return Ok(None) };
            let wanted: Vec<bool> = texts.iter().map(|text| *text == wanted).collect();
            keep(&mut rows, &keys, &wanted);
        }
        Ok(Some(rows))
    }

    /// Those of the rows of a row group whose duration is wanted.
    fn long_enough(&self, query: &TraceQuery, group: usize, rows: Vec<u32>) -> Result<Vec<u32>, Error> {
        if (query.min_duration_ns.is_none() && query.max_duration_ns.is_none()) || rows.is_empty() {
            return Ok(rows);
        }
        let wanted = query.min_duration_ns.unwrap_or(i64::MIN)..=query.max_duration_ns.unwrap_or(i64::MAX);
        let whole = match self.layout(Table::Spans) {
            Some(layout) => layout.whole(self.file(Table::Spans)?, group, "duration_ns")?,
            None => None,
        };
        if let Some((_, Some(WholeColumn::Fixed(8, bytes, None)))) = &whole {
            let (durations, _) = bytes.as_chunks::<8>();
            let is_wanted = |row: &u32| durations.get(*row as usize).map(|bytes| i64::from_le_bytes(*bytes));
            let rows = rows.into_iter();
            return Ok(rows.filter(|row| is_wanted(row).is_some_and(|ns| wanted.contains(&ns))).collect());
        }
        let table = self.table(Table::Spans)?;
        let mut durations: Vec<i64> = Vec::new();
        for batch in table.read_group(group, None, Some(&["duration_ns"]))? {
            let columns = Columns::new(&batch);
            durations.extend((0..batch.num_rows()).map(|row| columns.i64("duration_ns", row)));
        }
        let is_wanted = |row: &u32| durations.get(*row as usize).is_some_and(|ns| wanted.contains(ns));
        Ok(rows.into_iter().filter(is_wanted).collect())
    }

    /// Adds the traces of these rows of the table, as far as they start within the range.
    fn add_hits(&self, query: &TraceQuery, rows: &[u32], hits: &mut TraceHits) -> Result<(), Error> {
        let mut found: Vec<(i64, u32)> = Vec::new();
        for batch in self.pick(Table::Spans, rows, Some(&["trace_row", "start_time"]))? {
            let columns = Columns::new(&batch);
            let (Some(traces), Some(starts)) =
                (columns.numbers::<UInt32Type>("trace_row"), columns.times("start_time"))
            else {
                continue;
            };
            for (trace, start) in traces.values().iter().zip(starts.values()) {
                if !query.range.contains(*start) || hits.is_too_old(*start) {
                    continue;
                }
                match found.last_mut() {
                    // Rows of a trace follow each other by their start.
                    Some((last, of)) if of == trace => *last = (*last).max(*start),
                    _ => found.push((*start, *trace)),
                }
            }
        }
        // Only the newest can be among the newest of all.
        found.sort_unstable_by_key(|(start, _)| Reverse(*start));
        found.truncate(hits.limit());
        found.sort_unstable_by_key(|(_, trace)| *trace);
        let traces: Vec<u32> = found.iter().map(|(_, trace)| *trace).collect();
        for (id, (start, _)) in self.trace_ids(&traces)?.into_iter().zip(found) {
            if let Some(id) = id {
                hits.add(id, start);
            }
        }
        Ok(())
    }
}

/// What is known of the row groups of a table before they are read: of its layout, or else of its footer.
pub(super) enum Groups<'a> {
    Layout(&'a Layout),
    Footer(Arc<TableReader>),
}

impl Groups<'_> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Groups::Layout(layout) => layout.groups(),
            Groups::Footer(table) => table.groups(),
        }
    }

    /// How many rows the table has.
    pub(super) fn num_rows(&self) -> u32 {
        match self {
            Groups::Layout(layout) => layout.num_rows(),
            Groups::Footer(table) => u32::try_from(table.num_rows()).unwrap_or(u32::MAX),
        }
    }

    /// The first row of a row group.
    pub(super) fn first_row(&self, group: usize) -> u32 {
        match self {
            Groups::Layout(layout) => layout.group_rows(group).map_or(0, |rows| rows.start),
            Groups::Footer(table) => table.first_row(group) as u32,
        }
    }

    /// The row group of a row.
    pub(super) fn of_row(&self, row: u32) -> usize {
        match self {
            Groups::Layout(layout) => layout.group_of(row),
            Groups::Footer(table) => table.group_of(u64::from(row)),
        }
    }

    /// Bounds of a column's values in a row group; all there is where none are known.
    pub(super) fn bounds(&self, group: usize, column: &str) -> (i64, i64) {
        match self {
            Groups::Layout(layout) => layout.bounds(group, column),
            Groups::Footer(table) => bounds(table.group(group), column).map_or((i64::MIN, i64::MAX), numbers),
        }
    }

    /// Whether a column may have a value between these, both inclusive, in a row group.
    pub(super) fn overlaps(&self, group: usize, column: &str, least: i64, greatest: i64) -> bool {
        let (min, max) = self.bounds(group, column);
        min <= greatest && least <= max
    }

    /// Whether a column may have a value in some row of a row group.
    pub(super) fn has_values(&self, group: usize, column: &str) -> bool {
        match self {
            Groups::Layout(layout) => layout.has_values(group, column),
            Groups::Footer(table) => has_values(table.group(group), column),
        }
    }
}

/// Keeps the rows that have one of the keys.
fn keep(rows: &mut Vec<u32>, keys: &Keys, wanted: &[bool]) {
    let is_wanted = |key: &u32| wanted.get(*key as usize).copied().unwrap_or(false);
    rows.retain(|row| keys.of_row.get(*row as usize).is_some_and(is_wanted));
}

/// As [`Block::rows_by_key`], through the library.
fn decoded_rows(table: &TableReader, group: usize, query: &TraceQuery) -> Result<Vec<u32>, Error> {
    let mut wanted = vec!["start_time"];
    wanted.extend(query.service.as_ref().map(|_| "service"));
    wanted.extend(query.operation.as_ref().map(|_| "name"));
    wanted.extend(query.error.map(|_| "status_code"));
    let mut mask = Vec::new();
    for rows in table.read_group(group, None, Some(&wanted))? {
        let columns = Columns::new(&rows);
        let mut of_batch = vec![true; rows.num_rows()];
        if let Some(service) = &query.service {
            and(&mut of_batch, text_is(&columns, "service", service));
        }
        if let Some(operation) = &query.operation {
            and(&mut of_batch, text_is(&columns, "name", operation));
        }
        if let (Some(error), Some(codes)) = (query.error, columns.numbers::<UInt8Type>("status_code")) {
            and(&mut of_batch, codes.values().iter().map(|code| (*code == 2) == error));
        }
        mask.append(&mut of_batch);
    }
    Ok((0..).zip(mask).filter(|(_, is_wanted)| *is_wanted).map(|(row, _)| row).collect())
}
