//! The memtable: recent batches in memory, queryable as soon as they are acknowledged.
//!
//! A batch becomes a *mini-batch*: its rows as decoded, immutable, with the fingerprints of its trace ids sorted
//! beside it, so that a look-up is one binary search per mini-batch (a global hash table would cost as much as
//! decoding). Small mini-batches are put together as they come, so that their number stays bounded by the bytes
//! that the memtable holds. A [`MemtableView`] shares the mini-batches and stays true while the memtable grows.

pub(crate) mod columns;
pub(crate) mod read;

use ahash::AHashMap as HashMap;
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use arrow_array::types::UInt8Type;
use arrow_array::{Array, BooleanArray, RecordBatch};
use throughline_model::batch::{
    Batch, MetricBatch, column_binary, column_dictionary, column_fixed, column_number, column_text,
    column_time, exemplar, log, point, series, span,
};
use throughline_model::point::{MetricType, PointKind};
use throughline_model::{Signal, TraceId, label};

pub use read::MemtableView;

/// Mini-batches are put together with their neighbour up to so many rows: exporters send 512 by default, and copying
/// those once more would cost more than it saves a look-up.
const SMALL_ROWS: usize = 512;

/// Rows of one signal as they were decoded.
pub(crate) struct MiniBatch {
    pub(crate) rows: RecordBatch,
    /// `(fingerprint of the trace id, row)`, sorted.
    pub(crate) by_trace: Vec<(u64, u32)>,
    pub(crate) min_time: i64,
    pub(crate) max_time: i64,
}

impl MiniBatch {
    fn new(rows: RecordBatch, trace_id: Option<usize>, time: usize) -> MiniBatch {
        let mut by_trace = Vec::new();
        if let Some(position) = trace_id {
            let ids = column_fixed(&rows, position);
            by_trace.reserve_exact(ids.len() - ids.null_count());
            for row in 0..ids.len() {
                if let Some(id) = (!ids.is_null(row)).then(|| TraceId::from_slice(ids.value(row))).flatten() {
                    by_trace.push((id.fingerprint(), row as u32));
                }
            }
            by_trace.sort_unstable();
        }
        let times = column_time(&rows, time).values();
        let min_time = times.iter().copied().min().unwrap_or(i64::MAX);
        let max_time = times.iter().copied().max().unwrap_or(i64::MIN);
        MiniBatch { rows, by_trace, min_time, max_time }
    }

    /// The rows of one trace, by fingerprint; the caller compares the ids.
    pub(crate) fn rows_of(&self, fingerprint: u64) -> impl Iterator<Item = usize> {
        let from = self.by_trace.partition_point(|(other, _)| *other < fingerprint);
        let rest = self.by_trace.get(from..).unwrap_or_default();
        rest.iter().take_while(move |(other, _)| *other == fingerprint).map(|(_, row)| *row as usize)
    }

    fn bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.by_trace.len() * size_of::<(u64, u32)>()
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

#[derive(Default)]
struct Tables {
    spans: Vec<Arc<MiniBatch>>,
    logs: Vec<Arc<MiniBatch>>,
    metrics: Vec<Arc<MetricMiniBatch>>,
    /// Shared with views, and copied by the first series that is new after one was taken.
    series: Arc<Vec<Arc<SeriesEntry>>>,
    series_by_fingerprint: HashMap<[u8; 16], u32>,
    /// Texts that many series share: services, resources, scopes and metric names.
    texts: HashMap<Arc<str>, ()>,
}

/// Recent batches of all signals.
pub struct Memtable {
    tables: RwLock<Tables>,
    bytes: AtomicUsize,
    /// When the oldest batch was received, nanoseconds since the epoch; `i64::MAX` while there is none.
    oldest_at: AtomicI64,
    /// When the youngest batch was received; `i64::MIN` while there is none.
    newest_at: AtomicI64,
}

impl Default for Memtable {
    fn default() -> Self {
        Memtable {
            tables: RwLock::default(),
            bytes: AtomicUsize::new(0),
            oldest_at: AtomicI64::new(i64::MAX),
            newest_at: AtomicI64::new(i64::MIN),
        }
    }
}

impl Memtable {
    /// An empty memtable.
    pub fn new() -> Memtable {
        Memtable::default()
    }

    /// Takes a batch in; it is visible to views from now on. `received_at` is in nanoseconds since the epoch.
    pub fn insert(&self, batch: Batch, received_at: i64) {
        if batch.is_empty() {
            return;
        }
        self.oldest_at.fetch_min(received_at, Ordering::Relaxed);
        self.newest_at.fetch_max(received_at, Ordering::Relaxed);
        let added = match batch {
            Batch::Spans(spans) => {
                let mini = MiniBatch::new(spans.rows, Some(span::TRACE_ID), span::START_TIME);
                push(&mut self.write().spans, mini, Some(span::TRACE_ID), span::START_TIME)
            }
            Batch::Logs(logs) => {
                let mini = MiniBatch::new(logs.rows, Some(log::TRACE_ID), log::TIME);
                push(&mut self.write().logs, mini, Some(log::TRACE_ID), log::TIME)
            }
            Batch::Metrics(metrics) => self.write().insert_metrics(metrics),
        };
        self.bytes.fetch_add(added, Ordering::Relaxed);
    }

    /// The bytes held, as Arrow counts them.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
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

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Tables> {
        // A panic while the lock is held leaves the lists as they were before the push: going on is sound.
        self.tables.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Appends a mini-batch, together with its neighbours where they are small and no larger than it, as a binary
/// counter carries: each row is copied a logarithmic number of times. Returns the bytes added.
fn push(list: &mut Vec<Arc<MiniBatch>>, mut mini: MiniBatch, trace_id: Option<usize>, time: usize) -> usize {
    let mut replaced = 0;
    while let Some(last) = list.last()
        && last.rows.num_rows() <= mini.rows.num_rows()
        && last.rows.num_rows() + mini.rows.num_rows() <= SMALL_ROWS
        && let Ok(rows) = arrow_select::concat::concat_batches(&mini.rows.schema(), [&last.rows, &mini.rows])
    {
        replaced += last.bytes();
        list.pop();
        mini = MiniBatch::new(rows, trace_id, time);
    }
    let added = mini.bytes().saturating_sub(replaced);
    list.push(Arc::new(mini));
    added
}

impl Tables {
    fn insert_metrics(&mut self, batch: MetricBatch) -> usize {
        let rows = &batch.series;
        let mut added = 0;
        let mut known = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            let fingerprint = column_fixed(rows, series::FINGERPRINT).value(row);
            let index = match self.series_by_fingerprint.get(fingerprint) {
                Some(index) => *index,
                None => {
                    let entry = self.series_entry(rows, row);
                    added += 256 + entry.attributes.len();
                    self.series_by_fingerprint.insert(entry.fingerprint, self.series.len() as u32);
                    Arc::make_mut(&mut self.series).push(Arc::new(entry));
                    self.series.len() as u32 - 1
                }
            };
            known.push(index);
        }
        let mini = MetricMiniBatch {
            points: MiniBatch::new(batch.points, None, point::TIME),
            exemplars: MiniBatch::new(batch.exemplars, Some(exemplar::TRACE_ID), exemplar::TIME),
            series: known,
        };
        added += mini.points.bytes() + mini.exemplars.bytes() + 4 * mini.series.len();
        self.metrics.push(Arc::new(mini));
        added
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
        let tables = self.read();
        Contents {
            spans: tables.spans.clone(),
            logs: tables.logs.clone(),
            metrics: tables.metrics.clone(),
            series: tables.series.clone(),
        }
    }

    /// A view of the memtable as of now.
    pub fn view(self: &Arc<Self>) -> MemtableView {
        let contents = self.contents();
        MemtableView::new(contents)
    }

    /// The number of items of a signal.
    pub fn rows(&self, signal: Signal) -> u64 {
        let tables = self.read();
        match signal {
            Signal::Traces => count(tables.spans.iter().map(|mini| &mini.rows)),
            Signal::Logs => count(tables.logs.iter().map(|mini| &mini.rows)),
            Signal::Metrics => count(tables.metrics.iter().map(|mini| &mini.points.rows)),
        }
    }
}

fn count<'a>(batches: impl Iterator<Item = &'a RecordBatch>) -> u64 {
    batches.map(|rows| rows.num_rows() as u64).sum()
}
