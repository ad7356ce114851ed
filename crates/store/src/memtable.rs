//! The memtable: recent batches in memory, queryable as soon as they are acknowledged.
//!
//! A batch becomes a *mini-batch*: its rows as decoded, immutable, with the fingerprints of its trace ids sorted
//! beside it, so that a look-up is one binary search per mini-batch (a global hash table would cost as much as
//! decoding). Small mini-batches are put together as they come, so that their number stays bounded by the bytes
//! that the memtable holds. A [`MemtableView`] shares the mini-batches and stays true while the memtable grows.

mod by_trace;
pub(crate) mod columns;
mod growing;
mod links;
mod log_scan;
pub(crate) mod patterns;
pub(crate) mod read;
mod seen;
mod services;
mod span_counts;
mod span_scan;

use ahash::AHashMap as HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use arrow_array::types::{Int64Type, UInt8Type};
use arrow_array::{Array, BooleanArray, RecordBatch};
use throughline_model::batch::{
    Batch, MetricBatch, column_binary, column_dictionary, column_fixed, column_number, column_text,
    column_time, exemplar, log, point, point_bytes, series, span,
};
use throughline_model::point::{MetricType, PointKind};
use throughline_model::{Level, Signal, label};

use crate::patterns::Learner;
use crate::patterns::table::PatternTable;
use crate::snapshot::services::half;

use by_trace::ByTrace;
use growing::Growing;
use seen::Seen;
use services::{Counted, PieceCounts};

pub use read::MemtableView;
pub(crate) use span_scan::MemtableSpans;

/// Mini-batches are put together with their neighbour up to so many rows: exporters send 512 by default, and copying
/// those once more would cost more than it saves a look-up.
const SMALL_ROWS: usize = 512;

/// Series may take so many times the memory of rows: half a million of them, of which a flush that comes earlier would write most
/// with one point each.
pub(crate) const SERIES_ROOM: usize = 4;

/// Rows of one signal as they were decoded.
pub(crate) struct MiniBatch {
    pub(crate) rows: RecordBatch,
    by_trace: ByTrace,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
    /// Its rows by service and name, once somebody has asked.
    counted: OnceLock<Vec<Counted>>,
    /// Of log records: their patterns, counted when somebody asks first.
    patterns: OnceLock<Arc<PatternTable>>,
    extremes: Extremes,
}

/// What says that a mini-batch has nothing of what a search looks for.
#[derive(Clone, Copy, Default)]
struct Extremes {
    /// Of spans: whether any of them is an error, and the longest.
    has_error: bool,
    longest_ns: i64,
    /// Of log records: the greatest severity number.
    severest: u8,
}

impl Extremes {
    fn of_spans(rows: &RecordBatch) -> Extremes {
        let status = column_number::<UInt8Type>(rows, span::STATUS_CODE).values();
        let durations = column_number::<Int64Type>(rows, span::DURATION).values();
        Extremes {
            has_error: status.contains(&2),
            longest_ns: durations.iter().copied().max().unwrap_or(i64::MIN),
            severest: 0,
        }
    }

    fn of_logs(rows: &RecordBatch) -> Extremes {
        let severities = column_number::<UInt8Type>(rows, log::SEVERITY_NUMBER).values();
        let levels = column_number::<UInt8Type>(rows, log::LEVEL).values();
        let all = severities.iter().zip(levels);
        let severest = all.map(|(number, level)| Level::from_code(*level).severity(*number)).max();
        Extremes { severest: severest.unwrap_or_default(), ..Extremes::default() }
    }
}

/// Mini-batches, and what a piece of them has of each service once somebody has asked.
pub(crate) type Minis = Growing<MiniBatch, PieceCounts>;

impl MiniBatch {
    fn of(signal: Signal, rows: RecordBatch) -> MiniBatch {
        match signal {
            Signal::Logs => {
                let extremes = Extremes::of_logs(&rows);
                MiniBatch { extremes, ..MiniBatch::new(rows, Some(log::TRACE_ID), log::TIME) }
            }
            _ => {
                let extremes = Extremes::of_spans(&rows);
                MiniBatch { extremes, ..MiniBatch::new(rows, Some(span::TRACE_ID), span::START_TIME) }
            }
        }
    }

    fn new(rows: RecordBatch, trace_id: Option<usize>, time: usize) -> MiniBatch {
        let by_trace = trace_id.map_or_else(ByTrace::none, |column| ByTrace::of(&rows, column));
        let times = column_time(&rows, time).values();
        let min_time = times.iter().copied().min().unwrap_or(i64::MAX);
        let max_time = times.iter().copied().max().unwrap_or(i64::MIN);
        let (counted, patterns) = (OnceLock::new(), OnceLock::new());
        let extremes = Extremes::default();
        MiniBatch { rows, by_trace, min_time, max_time, counted, patterns, extremes }
    }

    /// The patterns of log records.
    pub(crate) fn patterns(&self, learner: &Learner) -> &Arc<PatternTable> {
        self.patterns.get_or_init(|| Arc::new(patterns::count(&self.rows, learner)))
    }

    /// The rows of one trace, by fingerprint; the caller compares the ids.
    pub(crate) fn rows_of(&self, fingerprint: u64) -> impl Iterator<Item = usize> {
        self.by_trace.rows_of(fingerprint)
    }

    fn bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.by_trace.bytes()
    }
}

/// A series as the memtable and the block writer know it.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are those of `model::batch::series`")]
pub struct SeriesEntry {
    pub fingerprint: [u8; 16],
    pub metric: Arc<str>,
    pub kind: PointKind,
    pub unit: Arc<str>,
    pub description: Arc<str>,
    pub temporality: u8,
    pub monotonic: bool,
    pub service: Arc<str>,
    pub resource: Arc<str>,
    pub scope: Arc<str>,
    /// An attribute list.
    pub attributes: Vec<u8>,
    pub metric_type: MetricType,
}

/// Points and exemplars of one batch, and which of the memtable's series its rows mean.
pub(crate) struct MetricMiniBatch {
    pub(crate) points: MiniBatch,
    pub(crate) exemplars: MiniBatch,
    /// The memtable's series for each series row of the batch.
    pub(crate) series: Vec<u32>,
}

/// What views share with the memtable.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    pub(crate) spans: Minis,
    pub(crate) logs: Minis,
    pub(crate) metrics: Growing<MetricMiniBatch>,
    /// Copied by the first series that is new after a view was taken.
    pub(crate) series: Arc<Vec<Arc<SeriesEntry>>>,
    /// Copied likewise.
    pub(crate) series_halves: Arc<SeriesHalves>,
    pub(crate) seen: Arc<Seen>,
    pub(crate) learner: Arc<Learner>,
}

/// The services of series and the first halves of their fingerprints, side by side: who counts them reads nothing else.
#[derive(Clone, Default)]
pub(crate) struct SeriesHalves {
    pub(crate) services: Vec<Arc<str>>,
    /// For each series its service, and its half.
    pub(crate) halves: Vec<(u32, u64)>,
}

/// What only inserting needs.
#[derive(Default)]
struct Known {
    /// The fingerprints of the series, side by side.
    fingerprints: Vec<[u8; 16]>,
    series_by_fingerprint: HashMap<[u8; 16], u32>,
    /// The numbers of the series' services.
    services: HashMap<Arc<str>, u32>,
    /// Texts that many series share: services, resources, scopes and metric names.
    texts: HashMap<Arc<str>, ()>,
}

/// Recent batches of all signals.
pub struct Memtable {
    /// Held by one insert at a time.
    known: Mutex<Known>,
    /// Changed by whoever holds `known`, and for as long as it takes to move pointers: a query waits for this lock, and
    /// who holds it may be made to wait for the query.
    shared: RwLock<Shared>,
    seen: Arc<Seen>,
    learner: Arc<Learner>,
    bytes: AtomicUsize,
    /// Those of `bytes` that series take, whatever the number of their points.
    series_bytes: AtomicUsize,
    /// When the oldest batch was received, nanoseconds since the epoch; `i64::MAX` while there is none.
    oldest_at: AtomicI64,
    /// When the youngest batch was received; `i64::MIN` while there is none.
    newest_at: AtomicI64,
}

impl Default for Memtable {
    fn default() -> Self {
        Memtable::with_learner(Learner::new())
    }
}

impl Memtable {
    /// An empty memtable.
    pub fn new() -> Memtable {
        Memtable::default()
    }

    /// An empty memtable whose lines have the patterns that a learner knows.
    pub fn with_learner(learner: Arc<Learner>) -> Memtable {
        let shared = Shared { learner: learner.clone(), ..Shared::default() };
        Memtable {
            known: Mutex::default(),
            seen: shared.seen.clone(),
            shared: RwLock::new(shared),
            learner,
            bytes: AtomicUsize::new(0),
            series_bytes: AtomicUsize::new(0),
            oldest_at: AtomicI64::new(i64::MAX),
            newest_at: AtomicI64::new(i64::MIN),
        }
    }

    /// What knows the patterns of its lines.
    pub(crate) fn learner(&self) -> &Arc<Learner> {
        &self.learner
    }

    /// Takes a batch in; it is visible to views from now on. `received_at` is in nanoseconds since the epoch.
    pub fn insert(&self, batch: Batch, received_at: i64) {
        if batch.is_empty() {
            return;
        }
        self.oldest_at.fetch_min(received_at, Ordering::Relaxed);
        self.newest_at.fetch_max(received_at, Ordering::Relaxed);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let added = match batch {
            Batch::Spans(spans) => self.push(Signal::Traces, spans.rows),
            Batch::Logs(logs) => self.push(Signal::Logs, logs.rows),
            Batch::Metrics(metrics) => self.insert_metrics(&mut known, metrics),
        };
        drop(known);
        self.bytes.fetch_add(added, Ordering::Relaxed);
    }

    /// The bytes held, as Arrow counts them.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Those of [`Memtable::bytes`] that series take. A flush writes each series anew, so that it is worth waiting until there
    /// are several points of each.
    pub fn series_bytes(&self) -> usize {
        self.series_bytes.load(Ordering::Relaxed)
    }

    /// Whether it holds as much as it should before it is flushed: rows, or series.
    pub fn is_full(&self, rows_max: usize) -> bool {
        let series_bytes = self.series_bytes();
        self.bytes().saturating_sub(series_bytes) > rows_max
            || series_bytes > rows_max.saturating_mul(SERIES_ROOM)
    }

    /// Whether nothing was inserted.
    pub fn is_empty(&self) -> bool {
        self.oldest_at().is_none()
    }

    /// When the oldest batch was received, nanoseconds since the epoch.
    pub fn oldest_at(&self) -> Option<i64> {
        Some(self.oldest_at.load(Ordering::Relaxed)).filter(|at| *at != i64::MAX)
    }

    /// When the youngest batch was received, nanoseconds since the epoch.
    pub fn newest_at(&self) -> Option<i64> {
        Some(self.newest_at.load(Ordering::Relaxed)).filter(|at| *at != i64::MIN)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Shared> {
        // A panic while the lock is held leaves whole lists: going on is sound.
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Shared> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a mini-batch of spans or logs, together with its neighbours where they are small and no larger than it, as a
    /// binary counter carries: each row is copied a logarithmic number of times. Returns the bytes added.
    fn push(&self, signal: Signal, rows: RecordBatch) -> usize {
        let mut mini = MiniBatch::of(signal, rows);
        self.note(&mini);
        let (mut n_replaced, mut replaced_bytes) = (0, 0);
        let from_end = |n: usize| self.read().list(signal).nth_from_end(n).cloned();
        while let Some(before) = from_end(n_replaced)
            && before.rows.num_rows() <= mini.rows.num_rows()
            && before.rows.num_rows() + mini.rows.num_rows() <= SMALL_ROWS
            && let Ok(rows) =
                arrow_select::concat::concat_batches(&mini.rows.schema(), [&before.rows, &mini.rows])
        {
            n_replaced += 1;
            replaced_bytes += before.bytes();
            mini = MiniBatch::of(signal, rows);
        }
        let added = mini.bytes().saturating_sub(replaced_bytes);
        let mini = Arc::new(mini);
        let piece = self.read().list(signal).last_piece().cloned();
        services::count(signal, &mini, piece.as_deref());
        let mut shared = self.write();
        let list = shared.list_mut(signal);
        let replaced: Vec<_> = (0..n_replaced).filter_map(|_| list.pop()).collect();
        list.push(mini);
        drop(shared);
        drop(replaced);
        added
    }

    /// Notes the traces of a mini-batch that is about to be added.
    fn note(&self, mini: &MiniBatch) {
        mini.by_trace.fingerprints().for_each(|fingerprint| self.seen.add(fingerprint));
    }

    fn insert_metrics(&self, known: &mut Known, batch: MetricBatch) -> usize {
        let rows = &batch.series;
        let fingerprints = column_fixed(rows, series::FINGERPRINT);
        let mut series_bytes = 0;
        let mut numbers = Vec::with_capacity(rows.num_rows());
        let mut new = Vec::new();
        let n_known = self.read().series.len();
        // Senders send their series in the same order again and again: the next one is tried before it is looked for.
        let mut next = 0;
        for row in 0..rows.num_rows() {
            let fingerprint = fingerprints.value(row);
            let is_next = known.fingerprints.get(next).is_some_and(|other| other == fingerprint);
            let found = if is_next { Some(next as u32) } else { known.number_of(fingerprint) };
            let number = match found {
                Some(number) => number,
                None => {
                    let entry = known.series_entry(rows, row);
                    let number = (n_known + new.len()) as u32;
                    series_bytes += 256 + entry.attributes.len();
                    known.fingerprints.push(entry.fingerprint);
                    known.series_by_fingerprint.insert(entry.fingerprint, number);
                    new.push(Arc::new(entry));
                    number
                }
            };
            next = number as usize + 1;
            numbers.push(number);
        }
        let mini = MetricMiniBatch {
            points: MiniBatch::new(batch.points, None, point::TIME),
            exemplars: MiniBatch::new(batch.exemplars, Some(exemplar::TRACE_ID), exemplar::TIME),
            series: numbers,
        };
        let row_bytes = point_bytes(&mini.points.rows) + mini.exemplars.bytes() + 4 * mini.series.len();
        self.series_bytes.fetch_add(series_bytes, Ordering::Relaxed);
        self.note(&mini.exemplars);
        let mini = Arc::new(mini);
        let mut shared = self.write();
        if !new.is_empty() {
            let halves = Arc::make_mut(&mut shared.series_halves);
            new.iter().for_each(|entry| known.add_half(entry, halves));
            Arc::make_mut(&mut shared.series).append(&mut new);
        }
        shared.metrics.push(mini);
        row_bytes + series_bytes
    }
}

impl Shared {
    fn list(&self, signal: Signal) -> &Minis {
        if signal == Signal::Logs { &self.logs } else { &self.spans }
    }

    fn list_mut(&mut self, signal: Signal) -> &mut Minis {
        if signal == Signal::Logs { &mut self.logs } else { &mut self.spans }
    }
}

impl Known {
    fn number_of(&self, fingerprint: &[u8]) -> Option<u32> {
        self.series_by_fingerprint.get(fingerprint).copied()
    }

    fn add_half(&mut self, entry: &SeriesEntry, halves: &mut SeriesHalves) {
        let number = match self.services.get(&entry.service) {
            Some(number) => *number,
            None => {
                let number = halves.services.len() as u32;
                self.services.insert(entry.service.clone(), number);
                halves.services.push(entry.service.clone());
                number
            }
        };
        halves.halves.push((number, half(&entry.fingerprint)));
    }

    fn series_entry(&mut self, rows: &RecordBatch, row: usize) -> SeriesEntry {
        let mut entry = self.series_as_stored(rows, row);
        if entry.kind.is_prometheus() {
            // The batch has the labels as they came: they are taken apart once, here.
            let named = label::named(&entry.attributes);
            (entry.metric, entry.service) = (self.text(named.metric), self.text(named.service));
            entry.attributes = named.attributes;
        }
        entry
    }

    fn series_as_stored(&mut self, rows: &RecordBatch, row: usize) -> SeriesEntry {
        let monotonic: Option<&BooleanArray> = rows.column(series::MONOTONIC).as_any().downcast_ref();
        let fingerprint = column_fixed(rows, series::FINGERPRINT).value(row);
        SeriesEntry {
            fingerprint: fingerprint.try_into().unwrap_or_default(),
            metric: self.text(column_text(rows, series::METRIC).value(row)),
            kind: PointKind::from_code(column_number::<UInt8Type>(rows, series::KIND).value(row)),
            unit: self.text(column_text(rows, series::UNIT).value(row)),
            description: self.text(column_text(rows, series::DESCRIPTION).value(row)),
            temporality: column_number::<UInt8Type>(rows, series::TEMPORALITY).value(row),
            monotonic: monotonic.is_some_and(|column| column.value(row)),
            service: self.dictionary_text(rows, series::SERVICE, row),
            resource: self.dictionary_text(rows, series::RESOURCE, row),
            scope: self.dictionary_text(rows, series::SCOPE, row),
            attributes: column_binary(rows, series::ATTRIBUTES).value(row).to_vec(),
            metric_type: MetricType::from_code(
                column_number::<UInt8Type>(rows, series::METRIC_TYPE).value(row),
            ),
        }
    }

    fn dictionary_text(&mut self, rows: &RecordBatch, position: usize, row: usize) -> Arc<str> {
        let column = column_dictionary(rows, position);
        let values: Option<&arrow_array::StringArray> = column.values().as_any().downcast_ref();
        let key = column.key(row).unwrap_or_default();
        self.text(values.filter(|values| key < values.len()).map_or("", |values| values.value(key)))
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some((known, ())) = self.texts.get_key_value(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone(), ());
        new
    }
}

/// Everything in a memtable, for the flush.
pub(crate) struct Contents {
    pub(crate) spans: Vec<Arc<MiniBatch>>,
    pub(crate) logs: Vec<Arc<MiniBatch>>,
    pub(crate) metrics: Vec<Arc<MetricMiniBatch>>,
    pub(crate) series: Arc<Vec<Arc<SeriesEntry>>>,
}

impl Memtable {
    /// The contents as of now, shared and not copied.
    pub(crate) fn contents(&self) -> Contents {
        let shared = self.read().clone();
        Contents {
            spans: shared.spans.to_vec(),
            logs: shared.logs.to_vec(),
            metrics: shared.metrics.to_vec(),
            series: shared.series,
        }
    }

    /// A view of the memtable as of now.
    pub fn view(self: &Arc<Self>) -> MemtableView {
        MemtableView::new(self.read().clone())
    }

    /// The number of items of a signal.
    pub fn rows(&self, signal: Signal) -> u64 {
        let shared = self.read();
        match signal {
            Signal::Traces => count(shared.spans.iter().map(|mini| &mini.rows)),
            Signal::Logs => count(shared.logs.iter().map(|mini| &mini.rows)),
            Signal::Metrics => count(shared.metrics.iter().map(|mini| &mini.points.rows)),
        }
    }
}

fn count<'a>(batches: impl Iterator<Item = &'a RecordBatch>) -> u64 {
    batches.map(|rows| rows.num_rows() as u64).sum()
}
