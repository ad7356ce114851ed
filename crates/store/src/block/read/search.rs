//! Searches for traces: row groups of spans are skipped by their statistics, rows by the columns of the query.

use arrow_array::RecordBatch;
use arrow_array::types::{Int64Type, UInt8Type, UInt32Type};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::{Block, Columns};
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
        let mut wanted = vec!["trace_row", "start_time"];
        wanted.extend(query.service.as_ref().map(|_| "service"));
        wanted.extend(query.operation.as_ref().map(|_| "name"));
        wanted.extend(
            (query.min_duration_ns.is_some() || query.max_duration_ns.is_some()).then_some("duration_ns"),
        );
        wanted.extend(query.error.map(|_| "status_code"));
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
                break;
            }
            for rows in table.read_group(group, None, Some(&wanted))? {
                self.add_hits(query, &rows, hits)?;
            }
        }
        Ok(())
    }

    fn add_hits(&self, query: &TraceQuery, rows: &RecordBatch, hits: &mut TraceHits) -> Result<(), Error> {
        let columns = Columns::new(rows);
        let (Some(trace_rows), Some(starts)) =
            (columns.numbers::<UInt32Type>("trace_row"), columns.times("start_time"))
        else {
            return Ok(());
        };
        let mut mask: Vec<bool> = starts.values().iter().map(|start| query.range.contains(*start)).collect();
        if let Some(service) = &query.service {
            and(&mut mask, text_is(&columns, "service", service));
        }
        if let Some(operation) = &query.operation {
            and(&mut mask, text_is(&columns, "name", operation));
        }
        if let Some(durations) = columns.numbers::<Int64Type>("duration_ns") {
            let (min, max) =
                (query.min_duration_ns.unwrap_or(i64::MIN), query.max_duration_ns.unwrap_or(i64::MAX));
            and(&mut mask, durations.values().iter().map(|duration| (min..=max).contains(duration)));
        }
        if let (Some(error), Some(codes)) = (query.error, columns.numbers::<UInt8Type>("status_code")) {
            and(&mut mask, codes.values().iter().map(|code| (*code == 2) == error));
        }
        let mut found: Vec<(u32, i64)> = trace_rows
            .values()
            .iter()
            .zip(starts.values())
            .zip(mask)
            .filter(|(_, keep)| *keep)
            .map(|((trace_row, start), _)| (*trace_row, *start))
            .collect();
        found.dedup_by_key(|(trace_row, _)| *trace_row);
        // Only the newest can be among the newest of all; rows ascend with the start of their traces.
        let from = found.len().saturating_sub(hits.limit());
        let newest = found.get(from..).unwrap_or_default();
        let trace_rows: Vec<u32> = newest.iter().map(|(row, _)| *row).collect();
        for (id, (_, start)) in self.trace_ids(&trace_rows)?.into_iter().zip(newest) {
            if let Some(id) = id {
                hits.add(id, *start);
            }
        }
        Ok(())
    }
}
