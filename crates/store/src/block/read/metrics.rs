//! Series, points and exemplars of a block.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{DictionaryArray, RecordBatch};
use throughline_model::TraceId;
use throughline_model::point::{MetricType, PointKind};
use throughline_model::record::Exemplar;

use super::table::ranges_of;
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::block::samples::Run;
use crate::error::Error;
use crate::memtable::{Instrument, SeriesAttributes, SeriesEntry};
use crate::snapshot::merge::{SeriesList, SeriesPoints};
use crate::snapshot::parts::{PartExemplar, PointWant, RunBounds, SeriesHead};
use crate::snapshot::{SeriesQuery, TimeRange, json_map, series_record};

/// What a series is made of: all columns but its row and the attributes as others read them.
const SERIES_COLUMNS: [&str; 12] = [
    "fingerprint",
    "metric",
    "kind",
    "unit",
    "description",
    "temporality",
    "monotonic",
    "service",
    "resource",
    "scope",
    "attribute_list",
    "metric_type",
];

/// Series as they are read; those that follow each other mostly share their instrument.
#[derive(Default)]
struct ReadSeries {
    last: Option<Arc<Instrument>>,
}

impl ReadSeries {
    /// The series of a row; texts of these columns come from whoever reads: metric, unit, description, service, resource, scope.
    fn read(&mut self, columns: &Columns<'_>, row: usize, texts: [Arc<str>; 6]) -> SeriesEntry {
        let [metric, unit, description, service, resource, scope] = texts;
        let instrument = Instrument {
            metric,
            kind: PointKind::from_code(columns.u8("kind", row)),
            unit,
            description,
            temporality: columns.u8("temporality", row),
            monotonic: columns.bool("monotonic", row),
            service,
            resource,
            scope,
            metric_type: MetricType::from_code(columns.u8("metric_type", row)),
        };
        let instrument = match self.last.take() {
            Some(last) if *last == instrument => last,
            _ => Arc::new(instrument),
        };
        self.last = Some(instrument.clone());
        let fingerprint = columns.bytes("fingerprint", row).and_then(|bytes| bytes.try_into().ok());
        SeriesEntry {
            fingerprint: fingerprint.unwrap_or_default(),
            instrument,
            attributes: SeriesAttributes::whole(columns.bytes("attribute_list", row).unwrap_or_default()),
        }
    }
}

/// The columns of texts that many series share.
const TEXT_COLUMNS: [&str; 6] = ["metric", "unit", "description", "service", "resource", "scope"];

/// A series of `series.parquet`.
fn series_of(columns: &Columns<'_>, row: usize) -> SeriesEntry {
    let texts = TEXT_COLUMNS.map(|name| columns.text(name, row).unwrap_or_default().into());
    ReadSeries::default().read(columns, row, texts)
}

/// A column of texts that many series share.
struct SharedTexts<'a> {
    column: Option<&'a DictionaryArray<Int32Type>>,
    texts: Vec<Arc<str>>,
}

impl<'a> SharedTexts<'a> {
    fn new(columns: &Columns<'a>, name: &str) -> SharedTexts<'a> {
        match columns.dictionary(name) {
            Some((column, values)) => {
                let texts = values.iter().map(|text| text.unwrap_or_default().into()).collect();
                SharedTexts { column: Some(column), texts }
            }
            None => SharedTexts { column: None, texts: Vec::new() },
        }
    }

    fn get(&self, row: usize) -> Arc<str> {
        let key = self.column.and_then(|column| column.key(row));
        key.and_then(|key| self.texts.get(key).cloned()).unwrap_or_default()
    }
}

/// All series of some rows, which share their texts.
fn series_of_all(rows: &RecordBatch, out: &mut Vec<SeriesEntry>) {
    let columns = Columns::new(rows);
    let texts = TEXT_COLUMNS.map(|name| SharedTexts::new(&columns, name));
    let mut read = ReadSeries::default();
    for row in 0..rows.num_rows() {
        out.push(read.read(&columns, row, texts.each_ref().map(|texts| texts.get(row))));
    }
}

/// The series of a row group of a table that was opened with dictionaries, in order.
pub(crate) fn series_of_group(table: &TableReader, group: usize) -> Result<Vec<SeriesEntry>, Error> {
    let mut out = Vec::new();
    for rows in table.read_group(group, None, Some(&SERIES_COLUMNS))? {
        out.reserve(rows.num_rows());
        series_of_all(&rows, &mut out);
    }
    Ok(out)
}

/// The rows of a row group whose series are wanted by a few of their columns.
fn wanted_rows(
    table: &TableReader,
    group: usize,
    names: &[&str],
    is_wanted: impl Fn(&Columns<'_>, usize) -> bool,
) -> Result<Vec<u32>, Error> {
    let (mut wanted, mut first) = (Vec::new(), 0);
    for rows in table.read_group(group, None, Some(names))? {
        let columns = Columns::new(&rows);
        let of_batch = (0..rows.num_rows()).filter(|row| is_wanted(&columns, *row));
        wanted.extend(of_batch.map(|row| (first + row) as u32));
        first += rows.num_rows();
    }
    Ok(wanted)
}

fn run_of(columns: &Columns<'_>, row: usize) -> Run {
    let bytes = |name: &str| columns.bytes(name, row).map(<[u8]>::to_vec);
    Run {
        metric: columns.owned("metric", row),
        kind: columns.u8("kind", row),
        first_series: columns.u32("first_series", row).unwrap_or_default(),
        series_count: columns.u32("series_count", row).unwrap_or_default(),
        point_count: columns.u32("point_count", row).unwrap_or_default(),
        min_time: columns.time("min_time", row),
        max_time: columns.time("max_time", row),
        counts: bytes("counts").unwrap_or_default(),
        times: bytes("times").unwrap_or_default(),
        start_times: bytes("start_times").unwrap_or_default(),
        values: bytes("values").unwrap_or_default(),
        flags: bytes("flags"),
        payload_form: columns.u8("payload_form", row),
        payload: bytes("payload"),
    }
}

impl Block {
    /// The series that a query asks for, by row.
    fn matching_series(&self, query: &SeriesQuery) -> Result<BTreeMap<u32, SeriesEntry>, Error> {
        let is = |columns: &Columns<'_>, name: &str, wanted: &Option<String>, row: usize| {
            wanted.is_none() || columns.text(name, row) == wanted.as_deref()
        };
        let mut series = self.series_where(&["metric", "service"], |columns, row| {
            is(columns, "metric", &query.metric, row) && is(columns, "service", &query.service, row)
        })?;
        series.retain(|_, series| series.matches(query));
        Ok(series)
    }

    /// The gauges whose metric and unit are wanted, by row.
    pub(crate) fn gauges(
        &self,
        is_wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<BTreeMap<u32, SeriesEntry>, Error> {
        self.series_where(&["metric", "unit", "kind"], |columns, row| {
            PointKind::from_code(columns.u8("kind", row)) == PointKind::Gauge
                && is_wanted(
                    columns.text("metric", row).unwrap_or_default(),
                    columns.text("unit", row).unwrap_or_default(),
                )
        })
    }

    /// The series that are wanted by their heads, by row.
    pub(crate) fn numbers(
        &self,
        is_wanted: impl Fn(&SeriesHead<'_>) -> bool,
    ) -> Result<BTreeMap<u32, SeriesEntry>, Error> {
        self.series_where(&["metric", "unit", "kind", "service"], |columns, row| {
            is_wanted(&SeriesHead {
                kind: PointKind::from_code(columns.u8("kind", row)),
                metric: columns.text("metric", row).unwrap_or_default(),
                unit: columns.text("unit", row).unwrap_or_default(),
                service: columns.text("service", row).unwrap_or_default(),
            })
        })
    }

    /// The series that a few of their columns choose, by row. Only those are put together.
    fn series_where(
        &self,
        names: &[&str],
        is_wanted: impl Fn(&Columns<'_>, usize) -> bool,
    ) -> Result<BTreeMap<u32, SeriesEntry>, Error> {
        let mut out = BTreeMap::new();
        let table = self.table(Table::Series)?;
        for group in 0..table.groups() {
            let wanted = wanted_rows(&table, group, names, &is_wanted)?;
            if wanted.is_empty() {
                continue;
            }
            let first = table.first_row(group) as u32;
            let mut numbers = wanted.iter().map(|row| first + row);
            for rows in table.read_group(group, Some(ranges_of(&wanted)), Some(&SERIES_COLUMNS))? {
                let columns = Columns::new(&rows);
                out.extend(
                    (0..rows.num_rows())
                        .zip(&mut numbers)
                        .map(|(row, number)| (number, series_of(&columns, row))),
                );
            }
        }
        Ok(out)
    }

    pub(crate) fn points(&self, query: &SeriesQuery, merged: &mut SeriesPoints) -> Result<(), Error> {
        let series = self.matching_series(query)?;
        if series.is_empty() {
            return Ok(());
        }
        self.each_run(
            |columns, row| {
                let first = columns.u32("first_series", row).unwrap_or_default();
                let count = columns.u32("series_count", row).unwrap_or_default();
                series.range(first..first.saturating_add(count)).next().is_some()
                    && query.range.overlaps(columns.time("min_time", row), columns.time("max_time", row))
            },
            |run| {
                let points = run.points(true)?;
                for (row, range) in run.series() {
                    let (Some(entry), Some(points)) = (series.get(&row), points.get(range)) else { continue };
                    let wanted = points.iter().filter(|point| query.range.contains(point.time)).cloned();
                    merged.add(entry.fingerprint, || series_record(entry), wanted);
                }
                Ok(())
            },
        )
    }

    /// Adds the series that have a point in the range; points are read only of runs that lie partly within.
    pub(crate) fn series_with_points(&self, query: &SeriesQuery, list: &mut SeriesList) -> Result<(), Error> {
        let series = self.matching_series(query)?;
        for bounds in self.run_bounds()? {
            let mut wanted = series.range(bounds.series.clone()).peekable();
            if wanted.peek().is_none() || !query.range.overlaps(bounds.min_time, bounds.max_time) {
                continue;
            }
            if query.range.contains(bounds.min_time) && query.range.contains(bounds.max_time) {
                list.extend(wanted.map(|(_, entry)| entry.clone()));
                continue;
            }
            let run = self.run(bounds.run)?;
            let points = run.points(true)?;
            for (row, range) in run.series() {
                let (Some(entry), Some(points)) = (series.get(&row), points.get(range)) else { continue };
                let is_within = points.iter().any(|point| query.range.contains(point.time));
                list.extend(is_within.then(|| entry.clone()));
            }
        }
        Ok(())
    }

    /// Calls `visit` with each run whose bounds `wanted` accepts; the others are not read.
    fn each_run(
        &self,
        wanted: impl Fn(&Columns<'_>, usize) -> bool,
        mut visit: impl FnMut(Run) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let table = self.table(Table::Samples)?;
        for group in 0..table.groups() {
            let bounds = ["first_series", "series_count", "min_time", "max_time"];
            let mut hits: Vec<u32> = Vec::new();
            let mut first = table.first_row(group) as u32;
            for batch in table.read_group(group, None, Some(&bounds))? {
                let columns = Columns::new(&batch);
                hits.extend(
                    (0..batch.num_rows()).filter(|row| wanted(&columns, *row)).map(|row| first + row as u32),
                );
                first += batch.num_rows() as u32;
            }
            for row in hits {
                visit(self.run(row)?)?;
            }
        }
        Ok(())
    }

    /// Where the runs of the block lie.
    pub(crate) fn run_bounds(&self) -> Result<Vec<RunBounds>, Error> {
        let table = self.table(Table::Samples)?;
        let names = ["first_series", "series_count", "min_time", "max_time"];
        let mut out = Vec::with_capacity(table.num_rows() as usize);
        for group in 0..table.groups() {
            for batch in table.read_group(group, None, Some(&names))? {
                let columns = Columns::new(&batch);
                for row in 0..batch.num_rows() {
                    let first = columns.u32("first_series", row).unwrap_or_default();
                    let count = columns.u32("series_count", row).unwrap_or_default();
                    out.push(RunBounds {
                        run: out.len() as u32,
                        series: first..first.saturating_add(count),
                        min_time: columns.time("min_time", row),
                        max_time: columns.time("max_time", row),
                    });
                }
            }
        }
        Ok(out)
    }

    /// A run by its row.
    pub(crate) fn run(&self, row: u32) -> Result<Run, Error> {
        let batches = self.table(Table::Samples)?.read(&[row], None)?;
        Ok(batches.first().map(|batch| run_of(&Columns::new(batch), 0)).unwrap_or_default())
    }

    /// A run without what nobody asked for and what its bounds say already.
    pub(crate) fn run_wanted(&self, bounds: &RunBounds, want: PointWant) -> Result<Run, Error> {
        let mut names = vec!["counts", "times", "values", "flags"];
        names.extend(want.start_times.then_some("start_times"));
        if want.payloads {
            names.extend(["metric", "payload_form", "payload"]);
        }
        let batches = self.table(Table::Samples)?.read(&[bounds.run], Some(&names))?;
        let mut run = batches.first().map(|batch| run_of(&Columns::new(batch), 0)).unwrap_or_default();
        run.first_series = bounds.series.start;
        run.series_count = bounds.series.len() as u32;
        run.point_count = run.series().last().map_or(0, |(_, points)| points.end as u32);
        Ok(run)
    }

    /// Adds the exemplars that are asked for, the oldest if there are more than the limit. Returns how many were left out.
    pub(crate) fn exemplars(&self, query: &SeriesQuery, found: &mut Vec<Exemplar>) -> Result<usize, Error> {
        if self.meta().rows.exemplars == 0 {
            return Ok(0);
        }
        let series = self.matching_series(query)?;
        let (of_series, left_out) = self.exemplars_of(&series, query.range, query.limit)?;
        found.extend(of_series.into_iter().map(|(_, exemplar)| exemplar));
        Ok(left_out)
    }

    /// The exemplars of the wanted series, given by ascending rows, within the range.
    pub(crate) fn part_exemplars(
        &self,
        wanted: &[u32],
        range: TimeRange,
    ) -> Result<Vec<PartExemplar>, Error> {
        if self.meta().rows.exemplars == 0 {
            return Ok(Vec::new());
        }
        let series = self.series_of_rows(wanted)?;
        let (found, _) = self.exemplars_of(&series, range, usize::MAX)?;
        Ok(found.into_iter().map(|(series, record)| PartExemplar { series, record }).collect())
    }

    /// The exemplars of series, and how many were left out: those that came later than so many others. Of the rest no more is read
    /// than when it was and of what.
    fn exemplars_of(
        &self,
        series: &BTreeMap<u32, SeriesEntry>,
        range: TimeRange,
        limit: usize,
    ) -> Result<(Vec<(u32, Exemplar)>, usize), Error> {
        let mut hits: Vec<(u32, i64)> = Vec::new();
        let table = self.table(Table::Exemplars)?;
        for group in 0..table.groups() {
            let mut at = u32::try_from(table.first_row(group)).unwrap_or(u32::MAX);
            for rows in table.read_group(group, None, Some(&["series_row", "time"]))? {
                let columns = Columns::new(&rows);
                for row in 0..rows.num_rows() {
                    let time = columns.time("time", row);
                    let is_of = |of: u32| series.contains_key(&of);
                    if range.contains(time) && columns.u32("series_row", row).is_some_and(is_of) {
                        hits.push((at, time));
                    }
                    at = at.saturating_add(1);
                }
            }
        }
        // Those of the same time stay together: who comes first of them is decided later.
        let mut times: Vec<i64> = hits.iter().map(|(_, time)| *time).collect();
        let last = match limit.checked_sub(1) {
            Some(at) if at < times.len() => *times.select_nth_unstable(at).1,
            _ => i64::MAX,
        };
        let rows: Vec<u32> = hits.iter().filter(|(_, time)| *time <= last).map(|(row, _)| *row).collect();
        let mut found = Vec::with_capacity(rows.len());
        for batch in self.pick(Table::Exemplars, &rows, None)? {
            let columns = Columns::new(&batch);
            let trace_of = |row: usize| columns.u32("trace_row", row);
            let mut traces: Vec<u32> = (0..batch.num_rows()).filter_map(trace_of).collect();
            traces.sort_unstable();
            traces.dedup();
            let ids = self.trace_ids(&traces)?;
            for row in 0..batch.num_rows() {
                let trace = trace_of(row).and_then(|trace| traces.binary_search(&trace).ok());
                let id = trace.and_then(|at| ids.get(at).copied().flatten());
                let of = columns.u32("series_row", row).unwrap_or_default();
                let entry = series.get(&of);
                found.extend(entry.map(|entry| (of, exemplar_of(&columns, row, id, entry))));
            }
        }
        Ok((found, hits.len() - rows.len()))
    }

    fn series_of_rows(&self, wanted: &[u32]) -> Result<BTreeMap<u32, SeriesEntry>, Error> {
        let mut series = BTreeMap::new();
        let mut numbers = wanted.iter();
        for batch in self.pick(Table::Series, wanted, None)? {
            let columns = Columns::new(&batch);
            for (row, number) in (0..batch.num_rows()).zip(numbers.by_ref()) {
                series.insert(*number, series_of(&columns, row));
            }
        }
        Ok(series)
    }

    pub(super) fn exemplars_of_trace(&self, id: TraceId, rows: &[u32]) -> Result<Vec<Exemplar>, Error> {
        let batches = self.pick(Table::Exemplars, rows, None)?;
        let of =
            |batch: &RecordBatch, row: usize| Columns::new(batch).u32("series_row", row).unwrap_or_default();
        let mut wanted: Vec<u32> =
            batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| of(batch, row))).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let series = self.series_of_rows(&wanted)?;
        let mut out = Vec::with_capacity(rows.len());
        for batch in &batches {
            let columns = Columns::new(batch);
            for row in 0..batch.num_rows() {
                out.extend(
                    series.get(&of(batch, row)).map(|series| exemplar_of(&columns, row, Some(id), series)),
                );
            }
        }
        Ok(out)
    }

    /// Every series of the block, in order.
    pub(crate) fn all_series(&self) -> Result<Vec<SeriesEntry>, Error> {
        let table = self.table(Table::Series)?.with_dictionaries()?;
        let mut out = Vec::with_capacity(table.num_rows() as usize);
        for group in 0..table.groups() {
            out.append(&mut series_of_group(&table, group)?);
        }
        Ok(out)
    }
}

fn exemplar_of(columns: &Columns<'_>, row: usize, id: Option<TraceId>, series: &SeriesEntry) -> Exemplar {
    let of_series = series_record(series);
    Exemplar {
        metric: of_series.metric,
        series: of_series.fingerprint,
        service: of_series.service,
        time: columns.time("time", row),
        value: columns.f64("value", row).unwrap_or_default(),
        trace_id: id,
        span_id: columns.span_id("span_id", row),
        trace_id_original: columns.text("trace_id_original", row).map(str::to_owned),
        series_attributes: of_series.attributes,
        attributes: columns.text("attributes", row).map(json_map).unwrap_or_default(),
        link: None,
    }
}
