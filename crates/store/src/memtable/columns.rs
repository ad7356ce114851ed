//! A memtable's points as columns, series by series.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::types::{Float64Type, UInt32Type};
use throughline_model::batch::{column_binary, column_number, column_time, exemplar, point};

use super::{MemtableView, MetricMiniBatch, SeriesEntry};
use crate::snapshot::parts::{PartExemplar, Payloads, PointColumns, PointWant, RunBounds};
use crate::snapshot::{TimeRange, exemplar_row};

impl MemtableView {
    /// Every series, by row; rows stay as the memtable grows.
    pub(crate) fn all_series(&self) -> &[Arc<SeriesEntry>] {
        &self.contents().series
    }

    pub(crate) fn first_series(&self) -> Option<&Arc<SeriesEntry>> {
        self.all_series().first()
    }

    fn metric_batches(&self, range: TimeRange) -> impl Iterator<Item = &Arc<MetricMiniBatch>> {
        let batches = self.contents().metrics.iter();
        batches.filter(move |m| range.overlaps(m.points.min_time, m.points.max_time))
    }

    pub(crate) fn metrics_overlap(&self, range: TimeRange) -> bool {
        self.metric_batches(range).next().is_some()
    }

    pub(crate) fn run_bounds(&self) -> RunBounds {
        let minis = || self.contents().metrics.iter().map(|metrics| &metrics.points);
        RunBounds {
            run: 0,
            series: 0..self.all_series().len() as u32,
            min_time: minis().map(|mini| mini.min_time).min().unwrap_or(i64::MAX),
            max_time: minis().map(|mini| mini.max_time).max().unwrap_or(i64::MIN),
        }
    }

    /// The points of the wanted series, in time order within each; of equal times the one received last stays.
    pub(crate) fn point_columns(&self, wanted: &[u32], range: TimeRange, want: PointWant) -> PointColumns {
        let slots = slots(wanted, self.all_series().len());
        // (slot in `wanted`, time, batch, row): sorted, this is the order of the columns.
        let mut rows: Vec<(u32, i64, u32, u32)> = Vec::new();
        let batches: Vec<&Arc<MetricMiniBatch>> = self.metric_batches(range).collect();
        for (batch, metrics) in batches.iter().enumerate() {
            let of_row = column_number::<UInt32Type>(&metrics.points.rows, point::SERIES).values();
            let times = column_time(&metrics.points.rows, point::TIME).values();
            for (row, (of_batch, time)) in of_row.iter().zip(times).enumerate() {
                let series = metrics.series.get(*of_batch as usize);
                let slot = series.and_then(|series| slots.get(*series as usize));
                if let Some(slot) = slot.filter(|slot| **slot != NOT_WANTED) {
                    rows.push((*slot, *time, batch as u32, row as u32));
                }
            }
        }
        rows.sort_unstable();
        gather(wanted, &batches, &rows, want)
    }

    pub(crate) fn part_exemplars(&self, wanted: &[u32], range: TimeRange) -> Vec<PartExemplar> {
        let mut found = Vec::new();
        for metrics in self.contents().metrics.iter() {
            let mini = &metrics.exemplars;
            if !range.overlaps(mini.min_time, mini.max_time) {
                continue;
            }
            let of_row = column_number::<UInt32Type>(&mini.rows, exemplar::SERIES).values();
            let times = column_time(&mini.rows, exemplar::TIME).values();
            for (row, (of_batch, time)) in of_row.iter().zip(times).enumerate() {
                let Some(series) = metrics.series.get(*of_batch as usize) else { continue };
                if !range.contains(*time) || wanted.binary_search(series).is_err() {
                    continue;
                }
                let Some(entry) = self.all_series().get(*series as usize) else { continue };
                found.push(PartExemplar { series: *series, record: exemplar_row(&mini.rows, row, entry) });
            }
        }
        found
    }
}

const NOT_WANTED: u32 = u32::MAX;

/// For each series its place among the wanted ones.
fn slots(wanted: &[u32], series_count: usize) -> Vec<u32> {
    let mut slots = vec![NOT_WANTED; series_count];
    for (slot, row) in wanted.iter().enumerate() {
        if let Some(place) = slots.get_mut(*row as usize) {
            *place = slot as u32;
        }
    }
    slots
}

fn gather(
    wanted: &[u32],
    batches: &[&Arc<MetricMiniBatch>],
    rows: &[(u32, i64, u32, u32)],
    want: PointWant,
) -> PointColumns {
    let mut out = PointColumns::default();
    let (mut payloads, mut has_payload, mut has_flags) = (Vec::new(), false, false);
    for (at, (slot, time, batch, row)) in rows.iter().enumerate() {
        if rows.get(at + 1).is_some_and(|(next, then, ..)| next == slot && then == time) {
            continue;
        }
        let Some(metrics) = batches.get(*batch as usize) else { continue };
        let (points, row) = (&metrics.points.rows, *row as usize);
        let here = out.times.len();
        let series = wanted.get(*slot as usize).copied().unwrap_or_default();
        match out.series.last_mut() {
            Some((last, range)) if *last == series => range.end = here + 1,
            _ => out.series.push((series, here..here + 1)),
        }
        out.times.push(*time);
        out.values.push(column_number::<Float64Type>(points, point::VALUE).value(row));
        let flags = column_number::<UInt32Type>(points, point::FLAGS).value(row);
        has_flags |= flags != 0;
        out.flags.push(flags);
        if want.start_times {
            out.start_times.push(column_time(points, point::START_TIME).value(row));
        }
        if want.payloads {
            let payload = column_binary(points, point::PAYLOAD);
            let bytes = if payload.is_null(row) { Vec::new() } else { payload.value(row).to_vec() };
            has_payload |= !bytes.is_empty();
            payloads.push(bytes);
        }
    }
    if !has_flags {
        out.flags = Vec::new();
    }
    if has_payload {
        out.payloads = Payloads::Raw(payloads);
    }
    out
}
