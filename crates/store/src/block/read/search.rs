//! Searches for traces: row groups of spans are skipped by their statistics, rows by the keys of the query's columns, and times
//! are read of the rows that are left.

use std::cmp::Reverse;

use arrow_array::types::{UInt8Type, UInt32Type};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::picked::Keys;
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::error::Error;
use crate::snapshot::TraceQuery;
use crate::snapshot::merge::TraceHits;

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
    match bounds(group, column) {
        Some(Statistics::Int64(stats)) => {
            stats.min_opt().is_none_or(|min| *min <= greatest)
                && stats.max_opt().is_none_or(|max| least <= *max)
        }
        Some(Statistics::Int32(stats)) => {
            stats.min_opt().is_none_or(|min| i64::from(*min) <= greatest)
                && stats.max_opt().is_none_or(|max| least <= i64::from(*max))
        }
        _ => true,
    }
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
    pub(crate) fn search_traces(&self, query: &TraceQuery, hits: &mut TraceHits) -> Result<(), Error> {
        let table = self.table(Table::Spans)?;
        // Traces lie by start: the last row groups are the newest.
        for group in (0..table.groups()).rev() {
            let meta = table.group(group);
            let durations =
                (query.min_duration_ns.unwrap_or(i64::MIN), query.max_duration_ns.unwrap_or(i64::MAX));
            let may_match = overlaps_text(meta, "service", query.service.as_deref())
                && overlaps_text(meta, "name", query.operation.as_deref())
                && overlaps_number(meta, "start_time", query.range.start, query.range.end.saturating_sub(1))
                && overlaps_number(meta, "duration_ns", durations.0, durations.1)
                && (query.error != Some(true) || overlaps_number(meta, "status_code", 2, 2));
            if !may_match {
                continue;
            }
            if let Some(Statistics::Int64(stats)) = bounds(meta, "start_time")
                && stats.max_opt().is_some_and(|max| hits.is_full_before(*max))
            {
                continue;
            }
            let rows = match self.rows_by_key(group, query)? {
                Some(rows) => rows,
                None => decoded_rows(&table, group, query)?,
            };
            let first = table.first_row(group) as u32;
            let rows = self.long_enough(query, rows.into_iter().map(|row| first + row).collect())?;
            self.add_hits(query, &rows, hits)?;
        }
        Ok(())
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

    /// Those of the rows of the table whose duration is wanted.
    fn long_enough(&self, query: &TraceQuery, rows: Vec<u32>) -> Result<Vec<u32>, Error> {
        if (query.min_duration_ns.is_none() && query.max_duration_ns.is_none()) || rows.is_empty() {
            return Ok(rows);
        }
        let wanted = query.min_duration_ns.unwrap_or(i64::MIN)..=query.max_duration_ns.unwrap_or(i64::MAX);
        let mut left = Vec::new();
        let mut rows = rows.into_iter();
        for batch in self.pick(Table::Spans, rows.as_slice(), Some(&["duration_ns"]))? {
            let columns = Columns::new(&batch);
            let of_batch = rows.by_ref().take(batch.num_rows()).enumerate();
            left.extend(
                of_batch
                    .filter(|(at, _)| wanted.contains(&columns.i64("duration_ns", *at)))
                    .map(|(_, row)| row),
            );
        }
        Ok(left)
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
