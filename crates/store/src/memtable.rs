//! The memtable: recent batches in memory, queryable as soon as they are acknowledged.
//!
//! A batch becomes a *mini-batch*: its rows as decoded, immutable, with the fingerprints of its trace ids sorted
//! beside it, so that a look-up is one binary search per mini-batch (a global hash table would cost as much as
//! decoding). Small mini-batches are put together as they come, so that their number stays bounded by the bytes
//! that the memtable holds. A [`MemtableView`] shares the mini-batches and stays true while the memtable grows.

mod attributes;
mod by_trace;
pub(crate) mod columns;
mod growing;
mod known;
mod links;
mod log_scan;
pub(crate) mod patterns;
pub(crate) mod read;
mod seen;
mod services;
mod span_counts;
mod span_scan;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use arrow_array::RecordBatch;
use arrow_array::types::{Int64Type, UInt8Type, UInt32Type};
use throughline_model::batch::{
    Batch, MetricBatch, column_fixed, column_number, column_time, exemplar, log, point, point_bytes, series,
    span,
};
use throughline_model::point::{MetricType, PointKind};
use throughline_model::{Level, Signal};

use crate::patterns::Learner;
use crate::patterns::table::PatternTable;

pub use attributes::SeriesAttributes;
use by_trace::ByTrace;
use growing::Growing;
use known::{Before, SERIES_BYTES, SHARED_SERIES_BYTES};
use seen::Seen;
use services::{Counted, PieceCounts};

pub(crate) use known::Known;
pub use read::MemtableView;
pub(crate) use span_scan::MemtableSpans;

/// Mini-batches are put together with their neighbour up to so many rows: exporters send 512 by default, and copying
/// those once more would cost more than it saves a look-up.
const SMALL_ROWS: usize = 512;

/// Series may take so many times the memory of rows: half a million of them, of which a flush that comes earlier would write most
/// with one point each.
pub(crate) const SERIES_ROOM: usize = 4;

/// Points are searched for series by series where these are at most such a part of those of a mini-batch.
const FEW_PART: usize = 16;

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

/// What the series of one metric of one resource have in common: all but their attributes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "fields are those of `model::batch::series`")]
pub struct Instrument {
    pub metric: Arc<str>,
    pub kind: PointKind,
    pub unit: Arc<str>,
    pub description: Arc<str>,
    pub temporality: u8,
    pub monotonic: bool,
    pub service: Arc<str>,
    pub resource: Arc<str>,
    pub scope: Arc<str>,
    pub metric_type: MetricType,
}

/// A series as the memtable and the block writer know it. Memtables hold hundreds of thousands.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesEntry {
    /// See `model::batch::series`.
    pub fingerprint: [u8; 16],
    /// Shared with other series.
    pub instrument: Arc<Instrument>,
    /// Mostly those of other series, too.
    pub attributes: SeriesAttributes,
}

impl std::ops::Deref for SeriesEntry {
    type Target = Instrument;

    fn deref(&self) -> &Instrument {
        &self.instrument
    }
}

/// Points and exemplars of one batch, and which of the memtable's series its rows mean.
pub(crate) struct MetricMiniBatch {
    pub(crate) points: MiniBatch,
    pub(crate) exemplars: MiniBatch,
    /// The memtable's series for each series row of the batch.
    pub(crate) series: Vec<u32>,
    /// The least and the greatest of `series`.
    bounds: (u32, u32),
    /// Whether `series` ascends and the points lie in its order, as of senders that send their series in one order.
    is_ordered: bool,
}

impl MetricMiniBatch {
    fn new(points: MiniBatch, exemplars: MiniBatch, series: Vec<u32>) -> MetricMiniBatch {
        let bounds = series.iter().fold((u32::MAX, 0), |(min, max), of| (min.min(*of), max.max(*of)));
        let is_ordered = series.is_sorted_by(|a, b| a < b)
            && column_number::<UInt32Type>(&points.rows, point::SERIES).values().is_sorted();
        MetricMiniBatch { points, exemplars, series, bounds, is_ordered }
    }

    /// Of some series, which ascend, the places among them of those that have points here, and the points' rows; `None` where
    /// it is as well to look at all rows.
    pub(crate) fn rows_of(&self, wanted: &[u32]) -> Option<Vec<(u32, Range<usize>)>> {
        let (min, max) = self.bounds;
        let from = wanted.partition_point(|series| *series < min);
        let to = wanted.partition_point(|series| *series <= max);
        let within = wanted.get(from..to).unwrap_or_default();
        if !within.is_empty() && (!self.is_ordered || within.len() > self.series.len() / FEW_PART) {
            return None;
        }
        let of_points = column_number::<UInt32Type>(&self.points.rows, point::SERIES).values();
        let rows = |series: &u32| {
            let row = self.series.binary_search(series).ok()? as u32;
            Some(of_points.partition_point(|of| *of < row)..of_points.partition_point(|of| *of <= row))
        };
        let found = (from as u32..).zip(within).filter_map(|(place, series)| Some((place, rows(series)?)));
        Some(found.collect())
    }
}

/// What views share with the memtable.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    /// No other memtable of the process has it.
    pub(crate) number: u64,
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
    /// Those of `series_bytes` that lie in memory once with those of the memtable before.
    shared_bytes: AtomicUsize,
    /// What the series of the memtable before take, as long as they are known.
    before_bytes: AtomicUsize,
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
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let shared = Shared { number, learner: learner.clone(), ..Shared::default() };
        Memtable {
            known: Mutex::default(),
            seen: shared.seen.clone(),
            shared: RwLock::new(shared),
            learner,
            bytes: AtomicUsize::new(0),
            series_bytes: AtomicUsize::new(0),
            shared_bytes: AtomicUsize::new(0),
            before_bytes: AtomicUsize::new(0),
            oldest_at: AtomicI64::new(i64::MAX),
            newest_at: AtomicI64::new(i64::MIN),
        }
    }

    /// An empty memtable that takes over what is known of this one's series, which takes no more: a sender goes on with the
    /// same series, and they are neither decoded nor held twice. What comes with it is no longer needed, and is given back
    /// where no lock is held: there may be many of them.
    pub(crate) fn successor(&self) -> (Memtable, Known) {
        let next = Memtable::with_learner(self.learner.clone());
        let mut known = std::mem::take(&mut *self.known());
        let table = std::mem::take(&mut known.table);
        if !table.is_empty() {
            next.before_bytes.store(self.series_bytes(), Ordering::Relaxed);
            next.known().before = Some(Before::new(table, self.read().series.clone()));
        }
        (next, known)
    }

    /// Forgets the series of the memtable before.
    pub(crate) fn forget_before(&self) {
        let before = self.known().before.take();
        self.before_bytes.store(0, Ordering::Relaxed);
        drop(before);
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
        let mut known = self.known();
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

    /// Those of [`Memtable::series_bytes`] that it has together with the memtable before, if that is still there.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.shared_bytes.load(Ordering::Relaxed)
    }

    /// What it holds of the memtable before, if that is gone, and has not itself.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.before_bytes.load(Ordering::Relaxed).saturating_sub(self.shared_bytes())
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

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (mut series_bytes, mut shared_bytes) = (0, 0);
        let mut numbers = Vec::with_capacity(rows.num_rows());
        let mut new = Vec::new();
        for row in 0..rows.num_rows() {
            let fingerprint = fingerprints.value(row);
            let number = match known.table.find(fingerprint) {
                Some(number) => number,
                None => {
                    let before = known.before.as_mut().and_then(|before| before.find(fingerprint));
                    let is_shared = before.is_some();
                    let pair_bytes = known.pairs.bytes();
                    let entry = before.unwrap_or_else(|| Arc::new(known.series_entry(rows, row)));
                    let bytes = SERIES_BYTES + entry.attributes.bytes();
                    series_bytes += bytes + known.pairs.bytes() - pair_bytes;
                    shared_bytes += if is_shared { bytes - SHARED_SERIES_BYTES } else { 0 };
                    let number = known.table.push(entry.fingerprint);
                    new.push(entry);
                    number
                }
            };
            numbers.push(number);
        }
        let points = MiniBatch::new(batch.points, None, point::TIME);
        let exemplars = MiniBatch::new(batch.exemplars, Some(exemplar::TRACE_ID), exemplar::TIME);
        let mini = MetricMiniBatch::new(points, exemplars, numbers);
        let row_bytes = point_bytes(&mini.points.rows) + mini.exemplars.bytes() + 4 * mini.series.len();
        self.series_bytes.fetch_add(series_bytes, Ordering::Relaxed);
        self.shared_bytes.fetch_add(shared_bytes, Ordering::Relaxed);
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
