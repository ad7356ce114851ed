//! A memtable's points as columns, series by series.

use std::cell::LazyCell;
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::types::{Float64Type, UInt32Type};
use throughline_model::batch::{column_binary, column_number, column_time, exemplar, point};

use super::{MemtableView, MetricMiniBatch, SeriesEntry};
use crate::snapshot::parts::{PartExemplar, Payloads, PointColumns, PointWant, RawPayloads, RunBounds};
use crate::snapshot::{TimeRange, exemplar_row};

impl MemtableView {
    /// Every series, by row; rows stay as the memtable grows.
    pub(crate) fn all_series(&self) -> &[Arc<SeriesEntry>] {
        &self.contents().series
    }

    /// The number of the memtable, which no other has.
    pub(crate) fn number(&self) -> u64 {
        self.contents().number
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
        let slots = LazyCell::new(|| slots(wanted, self.all_series().len()));
        let batches: Vec<BatchColumns<'_>> =
            self.metric_batches(range).map(|m| BatchColumns::new(m)).collect();
        let mut found: Vec<(u32, Place)> = Vec::new();
        let mut counts = vec![0usize; wanted.len()];
        let mut add = |slot: u32, place: Place| {
            if let Some(count) = counts.get_mut(slot as usize) {
                *count += 1;
                found.push((slot, place));
            }
        };
        let ascends = wanted.is_sorted();
        for (number, batch) in (0..).zip(&batches) {
            if ascends && let Some(few) = batch.metrics.rows_of(wanted) {
                for (slot, rows) in few {
                    let times = batch.times.get(rows.clone()).unwrap_or_default();
                    rows.zip(times).for_each(|(row, time)| {
                        add(slot, Place { time: *time, batch: number, row: row as u32 });
                    });
                }
                continue;
            }
            for (row, (of_batch, time)) in (0..).zip(batch.series.iter().zip(batch.times)) {
                let series = batch.metrics.series.get(*of_batch as usize);
                let slot = series.and_then(|series| slots.get(*series as usize)).copied();
                let Some(slot) = slot.filter(|slot| *slot != NOT_WANTED) else { continue };
                add(slot, Place { time: *time, batch: number, row });
            }
        }
        gather(wanted, &batches, &by_slot(&found, &counts), want)
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

/// Where a point lies.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    time: i64,
    batch: u32,
    row: u32,
}

/// The columns of one mini-batch.
struct BatchColumns<'a> {
    metrics: &'a MetricMiniBatch,
    series: &'a [u32],
    times: &'a [i64],
    values: &'a [f64],
    flags: &'a [u32],
}

impl<'a> BatchColumns<'a> {
    fn new(metrics: &'a MetricMiniBatch) -> BatchColumns<'a> {
        let rows = &metrics.points.rows;
        BatchColumns {
            metrics,
            series: column_number::<UInt32Type>(rows, point::SERIES).values(),
            times: column_time(rows, point::TIME).values(),
            values: column_number::<Float64Type>(rows, point::VALUE).values(),
            flags: column_number::<UInt32Type>(rows, point::FLAGS).values(),
        }
    }
}

/// The places of each slot, in time order. What came in time order, as nearly all does, is not sorted.
fn by_slot(found: &[(u32, Place)], counts: &[usize]) -> Vec<Vec<Place>> {
    let mut places: Vec<Vec<Place>> = counts.iter().map(|count| Vec::with_capacity(*count)).collect();
    for (slot, place) in found {
        if let Some(of_slot) = places.get_mut(*slot as usize) {
            of_slot.push(*place);
        }
    }
    places.iter_mut().filter(|places| !places.is_sorted()).for_each(|places| places.sort_unstable());
    places
}

fn gather(
    wanted: &[u32],
    batches: &[BatchColumns<'_>],
    places: &[Vec<Place>],
    want: PointWant,
) -> PointColumns {
    let mut out = PointColumns::default();
    let (mut payloads, mut has_payload, mut has_flags) = (RawPayloads::default(), false, false);
    for (series, places) in wanted.iter().zip(places) {
        let start = out.times.len();
        for (at, place) in places.iter().enumerate() {
            if places.get(at + 1).is_some_and(|next| next.time == place.time) {
                continue;
            }
            let Some(batch) = batches.get(place.batch as usize) else { continue };
            let row = place.row as usize;
            out.times.push(place.time);
            out.values.push(batch.values.get(row).copied().unwrap_or(f64::NAN));
            let flags = batch.flags.get(row).copied().unwrap_or_default();
            has_flags |= flags != 0;
            out.flags.push(flags);
            let points = &batch.metrics.points.rows;
            if want.start_times {
                out.start_times.push(column_time(points, point::START_TIME).value(row));
            }
            if want.payloads {
                let payload = column_binary(points, point::PAYLOAD);
                let bytes = if payload.is_null(row) { &[] } else { payload.value(row) };
                has_payload |= !bytes.is_empty();
                payloads.push(bytes);
            }
        }
        if out.times.len() > start {
            out.series.push((*series, start..out.times.len()));
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
