//! Writes series, samples and exemplars: `series.parquet`, `samples.parquet`, `exemplars.parquet`.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, TimestampNanosecondArray, UInt8Array, UInt32Array,
};
use throughline_model::SpanId;

use super::build::BlockBuilder;
use super::checksums::FileSums;
use super::samples::{Run, RunBuilder};
use super::tables::{Table, TableWriter, exemplars_schema, samples_schema, series_schema, with_dictionaries};
use super::texts::column_of;
use super::traces::arrow_error;
use crate::disk::Disk;
use crate::error::Error;
use crate::links::alerts::ALERTS;
use crate::memtable::SeriesEntry;

/// Rows that are put together before they go to the Parquet writer.
const CHUNK_ROWS: usize = 8_192;

/// Writes series with their points, in the order of `series.parquet`: metric, kind, service, fingerprint.
pub(crate) struct MetricsWriter {
    series: TableWriter,
    samples: TableWriter,
    pending_series: Vec<Arc<SeriesEntry>>,
    pending_runs: Vec<Run>,
    run: RunBuilder,
    run_first: u32,
    run_of: Option<Arc<SeriesEntry>>,
    n_series: u32,
    n_points: u64,
    /// Where the series of another service begin, by row.
    services: Vec<(u32, Arc<str>)>,
    /// The series of alerts.
    alerts: Range<u32>,
}

/// What was written.
pub(crate) struct WrittenMetrics {
    pub(crate) sums: [FileSums; 2],
    /// The first series of each run of series of one service.
    pub(crate) services: Vec<(u32, Arc<str>)>,
    /// The series of alerts, which follow each other.
    pub(crate) alerts: Range<u32>,
    pub(crate) n_series: u32,
    pub(crate) n_points: u64,
}

/// The order of series within a block.
pub(crate) fn series_order(a: &SeriesEntry, b: &SeriesEntry) -> std::cmp::Ordering {
    // Series of one memtable or block share their texts: most need not be compared.
    fn texts(a: &Arc<str>, b: &Arc<str>) -> std::cmp::Ordering {
        if Arc::ptr_eq(a, b) { std::cmp::Ordering::Equal } else { a.cmp(b) }
    }
    texts(&a.metric, &b.metric)
        .then_with(|| a.kind.cmp(&b.kind))
        .then_with(|| texts(&a.service, &b.service))
        .then_with(|| a.fingerprint.cmp(&b.fingerprint))
}

impl MetricsWriter {
    pub(crate) fn create(disk: &dyn Disk, folder: &Path, level: u32) -> Result<MetricsWriter, Error> {
        Ok(MetricsWriter {
            series: TableWriter::create(disk, folder, Table::Series, level, series_schema())?,
            samples: TableWriter::create(disk, folder, Table::Samples, level, samples_schema())?,
            pending_series: Vec::new(),
            pending_runs: Vec::new(),
            run: RunBuilder::of_level(level),
            run_first: 0,
            run_of: None,
            n_series: 0,
            n_points: 0,
            services: Vec::new(),
            alerts: 0..0,
        })
    }

    /// Adds a series, whose points `fill` pushes in time order, and returns its row.
    pub(crate) fn add(
        &mut self,
        series: &Arc<SeriesEntry>,
        fill: impl FnOnce(&mut RunBuilder),
    ) -> Result<u32, Error> {
        let same_metric =
            self.run_of.as_ref().is_some_and(|of| of.metric == series.metric && of.kind == series.kind);
        if !same_metric || self.run.is_full() {
            self.end_run()?;
            self.run_first = self.n_series;
            self.run_of = Some(series.clone());
            self.run.begin(series.kind);
        }
        if self.services.last().is_none_or(|(_, last)| *last != series.service) {
            self.services.push((self.n_series, series.service.clone()));
        }
        if *series.metric == *ALERTS {
            let first = if self.alerts.is_empty() { self.n_series } else { self.alerts.start };
            self.alerts = first..self.n_series + 1;
        }
        fill(&mut self.run);
        self.n_points += self.run.end_series() as u64;
        self.pending_series.push(series.clone());
        self.n_series += 1;
        if self.pending_series.len() >= CHUNK_ROWS {
            self.write_series()?;
        }
        Ok(self.n_series - 1)
    }

    fn end_run(&mut self) -> Result<(), Error> {
        if let Some(of) = self.run_of.take()
            && !self.run.is_empty()
        {
            self.pending_runs.push(self.run.finish(&of.metric, of.kind, self.run_first)?);
            if self.pending_runs.len() >= 16 {
                self.write_runs()?;
            }
        }
        Ok(())
    }

    fn write_series(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending_series);
        let first = self.n_series - pending.len() as u32;
        self.series.write(&series_rows(&pending, first)?)
    }

    fn write_runs(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending_runs);
        self.samples.write(&run_rows(&pending)?)
    }

    /// Ends both files.
    pub(crate) fn finish(mut self) -> Result<WrittenMetrics, Error> {
        self.end_run()?;
        if !self.pending_runs.is_empty() {
            self.write_runs()?;
        }
        if !self.pending_series.is_empty() {
            self.write_series()?;
        }
        let sums = [self.series.finish()?, self.samples.finish()?];
        let MetricsWriter { services, alerts, n_series, n_points, .. } = self;
        Ok(WrittenMetrics { sums, services, alerts, n_series, n_points })
    }
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_value(value));
    Arc::new(builder.finish())
}

fn binaries<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let mut builder = BinaryBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn series_rows(series: &[Arc<SeriesEntry>], first: u32) -> Result<RecordBatch, Error> {
    let mut fingerprints = FixedSizeBinaryBuilder::with_capacity(series.len(), 16);
    for entry in series {
        fingerprints.append_value(entry.fingerprint).map_err(arrow_error)?;
    }
    let lists: Vec<Cow<'_, [u8]>> = series.iter().map(|entry| entry.attributes.list()).collect();
    let json = |entry: &Arc<SeriesEntry>| {
        let mut json = String::new();
        entry.attributes.write_json(&mut json);
        Some(json)
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new((first..first + series.len() as u32).collect::<UInt32Array>()),
        Arc::new(fingerprints.finish()),
        column_of(series.iter().map(|s| Some(&*s.metric))),
        Arc::new(series.iter().map(|s| Some(s.kind as u8)).collect::<UInt8Array>()),
        column_of(series.iter().map(|s| Some(&*s.unit))),
        column_of(series.iter().map(|s| Some(&*s.description))),
        Arc::new(series.iter().map(|s| Some(s.temporality)).collect::<UInt8Array>()),
        Arc::new(series.iter().map(|s| Some(s.monotonic)).collect::<BooleanArray>()),
        column_of(series.iter().map(|s| Some(&*s.service))),
        column_of(series.iter().map(|s| Some(&*s.resource))),
        column_of(series.iter().map(|s| Some(&*s.scope))),
        column_of(series.iter().map(json)),
        binaries(lists.iter().map(|list| Some(&**list))),
        Arc::new(series.iter().map(|s| Some(s.metric_type.code())).collect::<UInt8Array>()),
    ];
    RecordBatch::try_new(with_dictionaries(&series_schema()), columns).map_err(arrow_error)
}

fn run_rows(runs: &[Run]) -> Result<RecordBatch, Error> {
    let number =
        |pick: fn(&Run) -> u32| -> ArrayRef { Arc::new(runs.iter().map(pick).collect::<UInt32Array>()) };
    let columns: Vec<ArrayRef> = vec![
        texts(runs.iter().map(|run| run.metric.as_str())),
        Arc::new(runs.iter().map(|run| Some(run.kind)).collect::<UInt8Array>()),
        number(|run| run.first_series),
        number(|run| run.series_count),
        number(|run| run.point_count),
        times(runs.iter().map(|run| run.min_time)),
        times(runs.iter().map(|run| run.max_time)),
        binaries(runs.iter().map(|run| Some(run.counts.as_slice()))),
        binaries(runs.iter().map(|run| Some(run.times.as_slice()))),
        binaries(runs.iter().map(|run| Some(run.start_times.as_slice()))),
        binaries(runs.iter().map(|run| Some(run.values.as_slice()))),
        binaries(runs.iter().map(|run| run.flags.as_deref())),
        Arc::new(runs.iter().map(|run| Some(run.payload_form)).collect::<UInt8Array>()),
        binaries(runs.iter().map(|run| run.payload.as_deref())),
    ];
    RecordBatch::try_new(samples_schema(), columns).map_err(arrow_error)
}

/// One row of `exemplars.parquet`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExemplarEntry {
    pub(crate) series_row: u32,
    pub(crate) time: i64,
    pub(crate) value: f64,
    pub(crate) trace_row: Option<u32>,
    pub(crate) span_id: Option<SpanId>,
    pub(crate) trace_id_original: Option<String>,
    /// The filtered attributes as a JSON object.
    pub(crate) attributes: Option<String>,
}

/// Writes exemplars, which are in the order of their series and times.
pub(crate) fn write_exemplars(
    builder: &BlockBuilder<'_>,
    exemplars: &[ExemplarEntry],
) -> Result<FileSums, Error> {
    let (disk, folder, level) = (builder.disk, &builder.folder, builder.meta.level);
    let mut table = TableWriter::create(disk, folder, Table::Exemplars, level, exemplars_schema())?;
    for part in exemplars.chunks(CHUNK_ROWS) {
        let mut span_ids = FixedSizeBinaryBuilder::with_capacity(part.len(), 8);
        let (mut originals, mut attributes) = (StringBuilder::new(), StringBuilder::new());
        for exemplar in part {
            match exemplar.span_id {
                Some(id) => span_ids.append_value(id.0).map_err(arrow_error)?,
                None => span_ids.append_null(),
            }
            originals.append_option(exemplar.trace_id_original.as_deref());
            attributes.append_option(exemplar.attributes.as_deref());
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(part.iter().map(|e| e.series_row).collect::<UInt32Array>()),
            times(part.iter().map(|e| e.time)),
            Arc::new(part.iter().map(|e| e.value).collect::<Float64Array>()),
            Arc::new(part.iter().map(|e| e.trace_row).collect::<UInt32Array>()),
            Arc::new(span_ids.finish()),
            Arc::new(originals.finish()),
            Arc::new(attributes.finish()),
        ];
        table.write(&RecordBatch::try_new(exemplars_schema(), columns).map_err(arrow_error)?)?;
    }
    table.finish()
}
