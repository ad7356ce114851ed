//! The metrics of a memtable, on their way into the blocks of a flush.
//!
//! Points arrive in the order of requests and leave series by series. They are put in place by counting: one pass
//! counts the points of each series, and for so many series as have a million points together another one writes each column
//! of a point to its place. All read the memtable from front to back.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Float64Type, UInt32Type};
use arrow_array::{Array, BinaryArray};
use throughline_model::batch::{
    column_binary, column_fixed, column_number, column_text, column_time, exemplar, point,
};
use throughline_model::{SpanId, TraceId, attribute};

use crate::block::build::{BlockBuilder, TraceRows};
use crate::block::metrics::{ExemplarEntry, MetricsWriter, WrittenMetrics, series_order, write_exemplars};
use crate::block::samples::{NumberColumns, PointRef, RunBuilder};
use crate::block::spans::RowRef;
use crate::error::Error;
use crate::memtable::{Contents, SeriesEntry};

/// An exemplar of a partition: the rank of its series, its time, mini-batch and row.
pub(super) type ExemplarAt = (u32, i64, u32, u32);

/// Points of a partition that follow each other: mini-batch and rows. Mostly those of a whole request.
pub(super) type PointRange = (u32, Range<u32>);

/// Adds a point, which comes after those that are there.
#[inline]
pub(super) fn add_point(points: &mut Vec<PointRange>, at: RowRef) {
    match points.last_mut() {
        Some((batch, rows)) if *batch == at.batch && rows.end == at.row => rows.end += 1,
        _ => points.push((at.batch, at.row..at.row + 1)),
    }
}

/// The columns of one mini-batch of points.
struct Columns<'a> {
    /// For each row of the mini-batch's series, the number of the series in the memtable.
    numbers: &'a [u32],
    series: &'a [u32],
    times: &'a [i64],
    start_times: &'a [i64],
    values: &'a [f64],
    flags: &'a [u32],
    /// `None` where all points are numbers.
    payloads: Option<&'a BinaryArray>,
}

impl Columns<'_> {
    /// The number of the series of a row.
    #[inline]
    fn number(&self, row: usize) -> usize {
        let series = self.series.get(row).copied().unwrap_or_default();
        self.numbers.get(series as usize).copied().unwrap_or_default() as usize
    }

    fn payload(&self, row: usize) -> &[u8] {
        self.payloads
            .filter(|column| !column.is_null(row))
            .map(|column| column.value(row))
            .unwrap_or_default()
    }
}

/// Points that are put in order at once: 16 MiB of times and values.
const SORTED_POINTS_MAX: u32 = 1 << 20;

/// All metrics of a memtable.
pub(super) struct MetricSources<'a> {
    contents: &'a Contents,
    /// In the order of the file.
    series: Vec<Arc<SeriesEntry>>,
    /// The place of each series in that order, by number.
    ranks: Vec<u32>,
    batches: Vec<Columns<'a>>,
}

/// How many points of a partition each series has, and what there is of them.
struct Counts {
    /// How many points come before those of each series, by rank, and how many there are.
    starts: Vec<u32>,
    /// The first and the last time.
    times: Option<(i64, i64)>,
    has_starts: bool,
    has_flags: bool,
    has_payloads: bool,
}

impl Counts {
    /// The points of a series, in the order of the file.
    fn of(&self, rank: usize) -> Range<u32> {
        let start = self.starts.get(rank).copied().unwrap_or_default();
        start..self.starts.get(rank + 1).copied().unwrap_or(start)
    }

    /// Series from this one on that have about [`SORTED_POINTS_MAX`] points together.
    fn ranks_from(&self, rank: usize) -> Range<usize> {
        let points_max = self.of(rank).start.saturating_add(SORTED_POINTS_MAX);
        let fitting = self.starts.partition_point(|start| *start <= points_max);
        rank..fitting.saturating_sub(1).max(rank + 1)
    }
}

/// The points of some series of a partition, series by series, column by column.
#[derive(Default)]
struct Sorted {
    ranks: Range<usize>,
    /// How many points come before these.
    first: u32,
    times: Vec<i64>,
    start_times: Vec<i64>,
    values: Vec<f64>,
    flags: Vec<u32>,
    /// Where each point lies in the memtable; empty where all are numbers.
    places: Vec<RowRef>,
}

impl<'a> MetricSources<'a> {
    pub(super) fn new(contents: &'a Contents) -> MetricSources<'a> {
        let (series, ranks) = sorted_series(contents);
        let columns = |metrics: &'a Arc<crate::memtable::MetricMiniBatch>| {
            let rows = &metrics.points.rows;
            let payloads = column_binary(rows, point::PAYLOAD);
            Columns {
                numbers: &metrics.series,
                series: column_number::<UInt32Type>(rows, point::SERIES).values(),
                times: column_time(rows, point::TIME).values(),
                start_times: column_time(rows, point::START_TIME).values(),
                values: column_number::<Float64Type>(rows, point::VALUE).values(),
                flags: column_number::<UInt32Type>(rows, point::FLAGS).values(),
                payloads: (payloads.null_count() < payloads.len()).then_some(payloads),
            }
        };
        let batches = contents.metrics.iter().map(columns).collect();
        MetricSources { contents, series, ranks, batches }
    }

    #[inline]
    fn rank(&self, number: usize) -> usize {
        self.ranks.get(number).copied().unwrap_or_default() as usize
    }

    /// Calls `visit` with the time and place of each point.
    pub(super) fn each_point(&self, mut visit: impl FnMut(i64, RowRef)) {
        for (batch, columns) in self.batches.iter().enumerate() {
            for (row, time) in columns.times.iter().enumerate() {
                visit(*time, RowRef { batch: batch as u32, row: row as u32 });
            }
        }
    }

    /// Calls `visit` with each exemplar.
    pub(super) fn each_exemplar(&self, mut visit: impl FnMut(ExemplarAt)) {
        for (batch, (metrics, columns)) in self.contents.metrics.iter().zip(&self.batches).enumerate() {
            let rows = &metrics.exemplars.rows;
            let of = column_number::<UInt32Type>(rows, exemplar::SERIES).values();
            let times = column_time(rows, exemplar::TIME).values();
            for (row, (of, time)) in of.iter().zip(times).enumerate() {
                let number = columns.numbers.get(*of as usize).copied().unwrap_or_default();
                visit((self.rank(number as usize) as u32, *time, batch as u32, row as u32));
            }
        }
    }

    fn columns(&self, at: RowRef) -> Option<(&Columns<'a>, usize)> {
        Some((self.batches.get(at.batch as usize)?, at.row as usize))
    }

    /// Calls `visit` with the columns and the place of each of these points.
    fn each_of(&self, points: &[PointRange], mut visit: impl FnMut(&Columns<'a>, RowRef)) {
        for (batch, rows) in points {
            let Some(columns) = self.batches.get(*batch as usize) else { continue };
            rows.clone().for_each(|row| visit(columns, RowRef { batch: *batch, row }));
        }
    }

    /// Counts the points of each series.
    fn count(&self, points: &[PointRange]) -> Counts {
        let mut starts = vec![0u32; self.series.len() + 1];
        let (mut has_starts, mut has_flags, mut has_payloads) = (false, false, false);
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        self.each_of(points, |columns, at| {
            let row = at.row as usize;
            if let Some(count) = starts.get_mut(self.rank(columns.number(row)) + 1) {
                *count += 1;
            }
            has_starts |= columns.start_times.get(row).is_some_and(|time| *time != 0);
            has_flags |= columns.flags.get(row).is_some_and(|flags| *flags != 0);
            has_payloads |= columns.payloads.is_some();
            let time = columns.times.get(row).copied().unwrap_or_default();
            (first, last) = (first.min(time), last.max(time));
        });
        let mut n_points = 0;
        for start in &mut starts {
            n_points += *start;
            *start = n_points;
        }
        let times = (first <= last).then_some((first, last));
        Counts { starts, times, has_starts, has_flags, has_payloads }
    }

    /// Puts those of these points in the order of the file that belong to some series.
    fn sort(&self, points: &[PointRange], counts: &Counts, ranks: Range<usize>) -> Sorted {
        let first = counts.of(ranks.start).start;
        let mut next: Vec<u32> = ranks.clone().map(|rank| counts.of(rank).start - first).collect();
        let n_points = counts.of(ranks.end.saturating_sub(1)).end.saturating_sub(first) as usize;
        let if_any = |any: bool| if any { n_points } else { 0 };
        let mut sorted = Sorted {
            first,
            times: vec![0; n_points],
            start_times: vec![0; if_any(counts.has_starts)],
            values: vec![0.0; n_points],
            flags: vec![0; if_any(counts.has_flags)],
            places: vec![RowRef { batch: 0, row: 0 }; if_any(counts.has_payloads)],
            ranks: ranks.clone(),
        };
        self.each_of(points, |columns, at| {
            let row = at.row as usize;
            // A rank before the first becomes one far beyond the last.
            let place = self.rank(columns.number(row)).wrapping_sub(ranks.start);
            let Some(next) = next.get_mut(place) else { return };
            let to = *next as usize;
            *next += 1;
            put(&mut sorted.times, to, columns.times.get(row));
            put(&mut sorted.start_times, to, columns.start_times.get(row));
            put(&mut sorted.values, to, columns.values.get(row));
            put(&mut sorted.flags, to, columns.flags.get(row));
            put(&mut sorted.places, to, Some(&at));
        });
        sorted
    }

    /// Pushes the points of a series in time order; of points of equal time the one that was received last stays.
    fn push_points(&self, sorted: &Sorted, range: Range<usize>, run: &mut RunBuilder) {
        let times = sorted.times.get(range.clone()).unwrap_or_default();
        let is_sorted = times.is_sorted_by(|a, b| a < b);
        if is_sorted && sorted.places.is_empty() {
            // A column that is left out has no such range.
            return run.extend_numbers(&NumberColumns {
                times,
                start_times: sorted.start_times.get(range.clone()).unwrap_or_default(),
                values: sorted.values.get(range.clone()).unwrap_or_default(),
                flags: sorted.flags.get(range).unwrap_or_default(),
            });
        }
        if is_sorted {
            return range.for_each(|at| self.push_point(sorted, at, run));
        }
        // Points of a series come in the order of their receipt, which the sort keeps.
        let mut order: Vec<usize> = range.collect();
        let time = |at: &usize| sorted.times.get(*at).copied().unwrap_or_default();
        order.sort_by_key(time);
        for same in order.chunk_by(|a, b| time(a) == time(b)) {
            same.last().into_iter().for_each(|at| self.push_point(sorted, *at, run));
        }
    }

    fn push_point(&self, sorted: &Sorted, at: usize, run: &mut RunBuilder) {
        let place = sorted.places.get(at).and_then(|at| self.columns(*at));
        run.push(&PointRef {
            time: sorted.times.get(at).copied().unwrap_or_default(),
            start_time: sorted.start_times.get(at).copied().unwrap_or_default(),
            value: sorted.values.get(at).copied().unwrap_or(f64::NAN),
            flags: sorted.flags.get(at).copied().unwrap_or_default(),
            payload: place.map(|(columns, row)| columns.payload(row)).unwrap_or_default(),
        });
    }

    /// Writes the points and exemplars of one partition.
    pub(super) fn write(
        &self,
        builder: &mut BlockBuilder<'_>,
        points: &[PointRange],
        exemplars: &[ExemplarAt],
        rows: &TraceRows,
    ) -> Result<(), Error> {
        let counts = self.count(points);
        if let Some((first, last)) = counts.times {
            builder.cover(first, last);
        }
        let mut sorted = Sorted::default();
        let mut exemplars = exemplars.to_vec();
        exemplars.sort_unstable();
        let mut writer = MetricsWriter::create(builder.disk, &builder.folder, 0)?;
        let mut entries = Vec::with_capacity(exemplars.len());
        let mut exemplars = exemplars.as_slice();
        for (rank, series) in self.series.iter().enumerate() {
            let range = counts.of(rank);
            let of_series = split_rank(&mut exemplars, rank as u32);
            if range.is_empty() && of_series.is_empty() {
                continue;
            }
            if !sorted.ranks.contains(&rank) {
                // Those before go first.
                drop(std::mem::take(&mut sorted));
                sorted = self.sort(points, &counts, counts.ranks_from(rank));
            }
            let within = (range.start - sorted.first) as usize..(range.end - sorted.first) as usize;
            let series_row = writer.add(series, |run| self.push_points(&sorted, within, run))?;
            for (_, time, batch, row) in of_series {
                builder.cover(*time, *time);
                let trace_row = self.exemplar_trace(*batch, *row).and_then(|id| rows.trace(id));
                if let Some(entry) = trace_row.and_then(|row| builder.traces.get_mut(row as usize)) {
                    entry.postings.exemplars.push(entries.len() as u32);
                }
                entries.extend(self.exemplar(*batch, *row, series_row, trace_row));
            }
        }
        let WrittenMetrics { sums, services, alerts, n_series, n_points } = writer.finish()?;
        builder.sums.extend(sums);
        builder.links.add_exemplars(&entries, (&services, &alerts), &builder.traces);
        let sums = write_exemplars(builder, &entries)?;
        builder.sums.push(sums);
        builder.meta.rows.series = u64::from(n_series);
        builder.meta.rows.points = n_points;
        builder.meta.rows.exemplars = entries.len() as u64;
        Ok(())
    }

    /// The trace that an exemplar refers to.
    pub(super) fn exemplar_trace(&self, batch: u32, row: u32) -> Option<TraceId> {
        let rows = &self.contents.metrics.get(batch as usize)?.exemplars.rows;
        let ids = column_fixed(rows, exemplar::TRACE_ID);
        if ids.is_null(row as usize) { None } else { TraceId::from_slice(ids.value(row as usize)) }
    }

    fn exemplar(
        &self,
        batch: u32,
        row: u32,
        series_row: u32,
        trace_row: Option<u32>,
    ) -> Option<ExemplarEntry> {
        let rows = &self.contents.metrics.get(batch as usize)?.exemplars.rows;
        let row = row as usize;
        let span_ids = column_fixed(rows, exemplar::SPAN_ID);
        let originals = column_text(rows, exemplar::TRACE_ID_ORIGINAL);
        let list = column_binary(rows, exemplar::ATTRIBUTES).value(row);
        let json = || {
            let mut json = String::new();
            attribute::write_json_object(list, &mut json);
            json
        };
        Some(ExemplarEntry {
            series_row,
            time: column_time(rows, exemplar::TIME).value(row),
            value: column_number::<Float64Type>(rows, exemplar::VALUE).value(row),
            trace_row,
            span_id: if span_ids.is_null(row) { None } else { SpanId::from_slice(span_ids.value(row)) },
            trace_id_original: (!originals.is_null(row)).then(|| originals.value(row).to_owned()),
            attributes: (!list.is_empty()).then(json),
        })
    }
}

/// Writes a value to its place in a column; a column that is left out has no places.
#[inline]
fn put<T: Copy>(column: &mut [T], at: usize, value: Option<&T>) {
    if let (Some(slot), Some(value)) = (column.get_mut(at), value) {
        *slot = *value;
    }
}

/// The memtable's series in the order of the file, and the rank of each by its number.
fn sorted_series(contents: &Contents) -> (Vec<Arc<SeriesEntry>>, Vec<u32>) {
    let mut order: Vec<u32> = (0..contents.series.len() as u32).collect();
    let entry = |index: u32| contents.series.get(index as usize);
    order.sort_unstable_by(|a, b| match (entry(*a), entry(*b)) {
        (Some(a), Some(b)) => series_order(a, b),
        _ => std::cmp::Ordering::Equal,
    });
    let mut ranks = vec![0; order.len()];
    for (rank, index) in order.iter().enumerate() {
        if let Some(slot) = ranks.get_mut(*index as usize) {
            *slot = rank as u32;
        }
    }
    (order.into_iter().filter_map(entry).cloned().collect(), ranks)
}

/// Takes the leading entries of one rank off a sorted list.
fn split_rank<'a>(list: &mut &'a [ExemplarAt], rank: u32) -> &'a [ExemplarAt] {
    let (head, tail) = list.split_at(list.partition_point(|(other, ..)| *other <= rank));
    *list = tail;
    head
}
