//! Builder of batches of Prometheus series. Most requests have one number of each of thousands of series: what is the
//! same for all of them becomes a column at the end and costs nothing a row.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::BinaryBuilder;
use arrow_array::{
    Array as _, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int32Array, RecordBatch,
    StringArray, UInt8Array, UInt32Array,
};
use arrow_buffer::{BooleanBuffer, Buffer, OffsetBuffer, ScalarBuffer};

use super::columns::{assemble, times};
use super::metrics::ExemplarColumns;
use super::schema::{point_schema, series_schema};
use super::{ExemplarRow, MetricBatch};
use crate::point::{MetricType, PointKind};

/// A series; fields are those of [`super::series`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the columns' constants say what each field is")]
pub struct LabelledRow<'a> {
    pub fingerprint: [u8; 16],
    /// A label list ([`crate::label`]).
    pub labels: &'a [u8],
    pub kind: PointKind,
    pub unit: &'a str,
    pub description: &'a str,
    pub metric_type: MetricType,
}

/// Builds a [`MetricBatch`] of Prometheus series.
pub struct SampleBatchBuilder {
    fingerprints: Vec<u8>,
    labels: Vec<u8>,
    label_ends: Vec<i32>,
    kinds: Vec<u8>,
    units: Texts,
    descriptions: Texts,
    metric_types: Vec<u8>,
    of_series: Vec<u32>,
    times: Vec<i64>,
    start_times: Vec<i64>,
    values: Vec<f64>,
    /// From the first histogram on.
    payloads: Option<BinaryBuilder>,
    exemplars: ExemplarColumns,
}

/// A text column, of which most rows are empty.
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Texts {
    fn new() -> Texts {
        Texts { bytes: Vec::new(), ends: vec![0] }
    }

    fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len() as i32);
    }

    fn truncate(&mut self, rows: usize) {
        self.ends.truncate(rows + 1);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
    }

    fn finish(self) -> ArrayRef {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        Arc::new(StringArray::new(offsets, Buffer::from_vec(self.bytes), None))
    }
}

/// Columns in which there is nothing that a batch has of its own, and of which every batch has a part: points lie in memory by the
/// million.
struct Nothing {
    /// Where each series has one point: 0, 1, 2 and so on.
    series: ArrayRef,
    start_times: ArrayRef,
    flags: ArrayRef,
    payloads: ArrayRef,
}

/// Points of a batch that shares columns: a request has some thousands at most.
const SHARED_POINTS_MAX: usize = 16_384;

impl Nothing {
    fn get() -> &'static Nothing {
        static NOTHING: LazyLock<Nothing> = LazyLock::new(|| Nothing {
            series: Arc::new(UInt32Array::from_iter_values(0..SHARED_POINTS_MAX as u32)),
            start_times: times(vec![0; SHARED_POINTS_MAX]),
            flags: Arc::new(UInt32Array::from(vec![0; SHARED_POINTS_MAX])),
            payloads: Arc::new(BinaryArray::new_null(SHARED_POINTS_MAX)),
        });
        &NOTHING
    }

    /// The column of points' series, if it is the one of all batches.
    fn series(&self, of_series: &[u32]) -> Option<ArrayRef> {
        // Without an early exit, so that several numbers are looked at at once.
        let is_one_each = of_series.iter().zip(0..).fold(true, |all, (series, row)| all & (*series == row));
        (is_one_each && of_series.len() <= SHARED_POINTS_MAX).then(|| self.series.slice(0, of_series.len()))
    }

    fn start_times(&self, n_points: usize) -> Option<ArrayRef> {
        (n_points <= SHARED_POINTS_MAX).then(|| self.start_times.slice(0, n_points))
    }

    fn flags(&self, n_points: usize) -> Option<ArrayRef> {
        (n_points <= SHARED_POINTS_MAX).then(|| self.flags.slice(0, n_points))
    }

    fn payloads(&self, n_points: usize) -> Option<ArrayRef> {
        (n_points <= SHARED_POINTS_MAX).then(|| self.payloads.slice(0, n_points))
    }
}

/// The memory of a batch's points, without what all batches share.
pub fn point_bytes(points: &RecordBatch) -> usize {
    let nothing = Nothing::get();
    let shared = [&nothing.series, &nothing.start_times, &nothing.flags, &nothing.payloads].map(start_of);
    let own = points.columns().iter().filter(|column| !shared.contains(&start_of(column)));
    own.map(|column| column.get_array_memory_size()).sum()
}

/// Where a column's first buffer starts, which tells columns apart that have one.
fn start_of(column: &ArrayRef) -> Option<usize> {
    Some(column.to_data().buffers().first()?.as_ptr().addr())
}

impl SampleBatchBuilder {
    /// An empty builder with room for so many series and bytes of labels.
    pub fn with_capacity(n_series: usize, label_bytes: usize) -> SampleBatchBuilder {
        let mut label_ends = Vec::with_capacity(n_series + 1);
        label_ends.push(0);
        SampleBatchBuilder {
            fingerprints: Vec::with_capacity(16 * n_series),
            labels: Vec::with_capacity(label_bytes),
            label_ends,
            kinds: Vec::with_capacity(n_series),
            units: Texts::new(),
            descriptions: Texts::new(),
            metric_types: Vec::with_capacity(n_series),
            of_series: Vec::with_capacity(n_series),
            times: Vec::with_capacity(n_series),
            start_times: Vec::with_capacity(n_series),
            values: Vec::with_capacity(n_series),
            payloads: None,
            exemplars: ExemplarColumns::new(),
        }
    }

    /// Appends a series and returns its row, by which points and exemplars name it.
    #[inline]
    pub fn push_series(&mut self, row: &LabelledRow<'_>) -> u32 {
        self.fingerprints.extend_from_slice(&row.fingerprint);
        self.labels.extend_from_slice(row.labels);
        self.label_ends.push(self.labels.len() as i32);
        self.kinds.push(row.kind as u8);
        self.units.push(row.unit);
        self.descriptions.push(row.description);
        self.metric_types.push(row.metric_type.code());
        self.kinds.len() as u32 - 1
    }

    /// Appends a point: a number, or a histogram's sum and its payload.
    #[inline]
    pub fn push_point(
        &mut self,
        series: u32,
        time: i64,
        start_time: i64,
        value: f64,
        payload: Option<&[u8]>,
    ) {
        if payload.is_some() && self.payloads.is_none() {
            let mut payloads = BinaryBuilder::new();
            self.values.iter().for_each(|_| payloads.append_null());
            self.payloads = Some(payloads);
        }
        if let Some(payloads) = &mut self.payloads {
            payloads.append_option(payload);
        }
        self.of_series.push(series);
        self.times.push(time);
        self.start_times.push(start_time);
        self.values.push(value);
    }

    /// Appends an exemplar.
    pub fn push_exemplar(&mut self, row: &ExemplarRow<'_>) {
        self.exemplars.push(row);
    }

    /// The number of points and exemplars so far.
    #[inline]
    pub fn items(&self) -> usize {
        self.values.len() + self.exemplars.len()
    }

    /// Removes all series from a row on, and returns their fingerprints. No point or exemplar may be of them.
    #[cold]
    pub fn truncate_series(&mut self, row: usize) -> Vec<[u8; 16]> {
        let removed = self.fingerprints.as_chunks().0.get(row..).unwrap_or_default().to_vec();
        self.fingerprints.truncate(16 * row);
        self.label_ends.truncate(row + 1);
        self.labels.truncate(self.label_ends.last().map_or(0, |end| *end as usize));
        self.kinds.truncate(row);
        self.metric_types.truncate(row);
        self.units.truncate(row);
        self.descriptions.truncate(row);
        removed
    }

    /// The number of exemplars so far.
    pub fn exemplars(&self) -> usize {
        self.exemplars.len()
    }

    /// Series, time and value of every point so far.
    pub fn points(&self) -> impl Iterator<Item = (u32, i64, f64)> + '_ {
        let points = self.of_series.iter().zip(&self.times).zip(&self.values);
        points.map(|((series, time), value)| (*series, *time, *value))
    }

    /// The batch.
    pub fn finish(mut self) -> MetricBatch {
        // Points stay in memory as they are until they are in a block; series do not.
        self.times.shrink_to_fit();
        self.values.shrink_to_fit();
        let (n_series, n_points) = (self.kinds.len(), self.values.len());
        let nothing = || -> ArrayRef {
            let keys = Int32Array::from(vec![0; n_series]);
            Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(vec![""]))))
        };
        let empty =
            StringArray::new(OffsetBuffer::new_zeroed(n_series), Buffer::from_vec(Vec::<u8>::new()), None);
        let label_offsets = OffsetBuffer::new(ScalarBuffer::from(self.label_ends));
        let fingerprints = Buffer::from_vec(self.fingerprints);
        let series: Vec<ArrayRef> = vec![
            Arc::new(arrow_array::FixedSizeBinaryArray::new(16, fingerprints, None)),
            Arc::new(empty),
            Arc::new(UInt8Array::from(self.kinds)),
            self.units.finish(),
            self.descriptions.finish(),
            Arc::new(UInt8Array::from(vec![0; n_series])),
            Arc::new(BooleanArray::new(BooleanBuffer::new_unset(n_series), None)),
            nothing(),
            nothing(),
            nothing(),
            Arc::new(BinaryArray::new(label_offsets, Buffer::from_vec(self.labels), None)),
            Arc::new(UInt8Array::from(self.metric_types)),
        ];
        let payloads: ArrayRef = match self.payloads {
            Some(mut payloads) => Arc::new(payloads.finish()),
            None => {
                Nothing::get().payloads(n_points).unwrap_or_else(|| Arc::new(BinaryArray::new_null(n_points)))
            }
        };
        debug_assert_eq!(payloads.len(), n_points);
        let start_times = match Nothing::get().start_times(n_points) {
            Some(nothing) if self.start_times.iter().all(|time| *time == 0) => nothing,
            _ => times(self.start_times),
        };
        let flags = Nothing::get().flags(n_points);
        let series_of_points = Nothing::get().series(&self.of_series).unwrap_or_else(|| {
            self.of_series.shrink_to_fit();
            Arc::new(UInt32Array::from(self.of_series))
        });
        let points: Vec<ArrayRef> = vec![
            series_of_points,
            times(self.times),
            start_times,
            Arc::new(Float64Array::from(self.values)),
            flags.unwrap_or_else(|| Arc::new(UInt32Array::from(vec![0; n_points]))),
            payloads,
        ];
        MetricBatch {
            series: assemble(series_schema(), series),
            points: assemble(point_schema(), points),
            exemplars: self.exemplars.finish(),
        }
    }
}
