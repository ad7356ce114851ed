//! Builder of batches of OTLP's metrics.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, RecordBatch, UInt8Array, UInt32Array,
};
use arrow_buffer::{Buffer, NullBufferBuilder};

use super::MetricBatch;
use super::columns::{Origins, ResourceIndex, ScopeIndex, assemble, times};
use super::reused::{BytesColumn, IdColumn, empty, taken};
use super::schema::{exemplar_schema, point_schema, series_schema};
use crate::point::{MetricType, PointKind};
use crate::{SpanId, TraceId};

#[derive(Default)]
struct FixedColumn<const N: usize> {
    bytes: Vec<u8>,
    nulls: Option<NullBufferBuilder>,
}

impl<const N: usize> FixedColumn<N> {
    fn nullable() -> Self {
        FixedColumn { bytes: Vec::new(), nulls: Some(NullBufferBuilder::new(0)) }
    }

    #[inline]
    fn push(&mut self, value: Option<&[u8; N]>) {
        self.bytes.extend_from_slice(value.unwrap_or(&[0; N]));
        if let Some(nulls) = &mut self.nulls {
            nulls.append(value.is_some());
        }
    }

    fn finish(self) -> ArrayRef {
        let nulls = self.nulls.and_then(|mut nulls| nulls.finish());
        Arc::new(FixedSizeBinaryArray::new(N as i32, Buffer::from_vec(self.bytes), nulls))
    }
}

fn some_text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// One series. Fields are those of [`super::series`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the columns' constants say what each field is")]
pub struct SeriesRow<'a> {
    pub resource: ResourceIndex,
    pub scope: ScopeIndex,
    pub fingerprint: [u8; 16],
    pub metric: &'a str,
    pub kind: PointKind,
    pub unit: &'a str,
    pub description: &'a str,
    pub temporality: u8,
    pub monotonic: bool,
    pub attributes: &'a [u8],
    pub metric_type: MetricType,
}

/// One data point. Fields are those of [`super::point`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the columns' constants say what each field is")]
pub struct PointRow<'a> {
    pub series: u32,
    pub time: i64,
    pub start_time: i64,
    pub value: f64,
    pub flags: u32,
    pub payload: Option<&'a [u8]>,
}

/// One exemplar. Fields are those of [`super::exemplar`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the columns' constants say what each field is")]
pub struct ExemplarRow<'a> {
    pub series: u32,
    pub time: i64,
    pub value: f64,
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
    pub trace_id_original: &'a str,
    pub attributes: &'a [u8],
}

/// Builds [`MetricBatch`]es, one after the other.
pub struct MetricBatchBuilder {
    series: SeriesColumns,
    points: PointColumns,
    exemplars: ExemplarColumns,
}

impl Default for MetricBatchBuilder {
    fn default() -> MetricBatchBuilder {
        MetricBatchBuilder {
            series: SeriesColumns::default(),
            points: PointColumns::default(),
            exemplars: ExemplarColumns::new(),
        }
    }
}

#[derive(Default)]
struct SeriesColumns {
    origins: Origins,
    fingerprint: IdColumn<16>,
    metric: BytesColumn,
    kind: Vec<u8>,
    unit: BytesColumn,
    description: BytesColumn,
    temporality: Vec<u8>,
    monotonic: Vec<bool>,
    attributes: BytesColumn,
    metric_type: Vec<u8>,
}

#[derive(Default)]
struct PointColumns {
    series: Vec<u32>,
    time: Vec<i64>,
    start_time: Vec<i64>,
    value: Vec<f64>,
    flags: Vec<u32>,
    payload: BytesColumn,
    has_payload: Vec<bool>,
}

#[derive(Default)]
pub(super) struct ExemplarColumns {
    series: Vec<u32>,
    time: Vec<i64>,
    value: Vec<f64>,
    trace_id: FixedColumn<16>,
    span_id: FixedColumn<8>,
    trace_id_original: StringBuilder,
    attributes: BinaryBuilder,
}

impl MetricBatchBuilder {
    /// An empty builder.
    pub fn new() -> MetricBatchBuilder {
        MetricBatchBuilder::default()
    }

    /// Forgets the rows so far.
    pub fn clear(&mut self) {
        self.series.clear();
        self.points.clear();
        self.exemplars = ExemplarColumns::new();
    }

    /// Registers a resource: its service name and its attributes as a JSON object.
    pub fn add_resource(&mut self, service: &str, resource_json: &str) -> ResourceIndex {
        self.series.origins.add_resource(service, resource_json)
    }

    /// Registers a scope: a JSON object.
    pub fn add_scope(&mut self, scope_json: &str) -> ScopeIndex {
        self.series.origins.add_scope(scope_json)
    }

    /// Appends a series and returns its row, by which points and exemplars name it.
    pub fn push_series(&mut self, row: &SeriesRow<'_>) -> u32 {
        let columns = &mut self.series;
        columns.origins.push(row.resource, row.scope);
        columns.fingerprint.push(Some(&row.fingerprint));
        columns.metric.push(row.metric.as_bytes());
        columns.kind.push(row.kind as u8);
        columns.unit.push(row.unit.as_bytes());
        columns.description.push(row.description.as_bytes());
        columns.temporality.push(row.temporality);
        columns.monotonic.push(row.monotonic);
        columns.attributes.push(row.attributes);
        columns.metric_type.push(row.metric_type.code());
        columns.kind.len() as u32 - 1
    }

    /// Appends a data point.
    #[inline]
    pub fn push_point(&mut self, row: &PointRow<'_>) {
        let columns = &mut self.points;
        columns.series.push(row.series);
        columns.time.push(row.time);
        columns.start_time.push(row.start_time);
        columns.value.push(row.value);
        columns.flags.push(row.flags);
        columns.payload.push(row.payload.unwrap_or_default());
        columns.has_payload.push(row.payload.is_some());
    }

    /// Appends an exemplar.
    pub fn push_exemplar(&mut self, row: &ExemplarRow<'_>) {
        self.exemplars.push(row);
    }

    /// The number of data points so far.
    pub fn len(&self) -> usize {
        self.points.series.len()
    }

    /// Whether there is no data point yet.
    pub fn is_empty(&self) -> bool {
        self.points.series.is_empty()
    }

    /// The batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> MetricBatch {
        MetricBatch {
            series: self.series.finish(),
            points: self.points.finish(),
            exemplars: std::mem::replace(&mut self.exemplars, ExemplarColumns::new()).finish(),
        }
    }
}

impl SeriesColumns {
    fn clear(&mut self) {
        self.origins.clear();
        self.fingerprint.clear();
        [&mut self.metric, &mut self.unit, &mut self.description, &mut self.attributes]
            .into_iter()
            .for_each(BytesColumn::clear);
        [&mut self.kind, &mut self.temporality, &mut self.metric_type].into_iter().for_each(empty);
        empty(&mut self.monotonic);
    }

    fn finish(&mut self) -> RecordBatch {
        let [service, resource, scope] = self.origins.finish();
        let columns: Vec<ArrayRef> = vec![
            self.fingerprint.finish(),
            self.metric.text(),
            Arc::new(UInt8Array::from(taken(&mut self.kind))),
            self.unit.text(),
            self.description.text(),
            Arc::new(UInt8Array::from(taken(&mut self.temporality))),
            Arc::new(BooleanArray::from(taken(&mut self.monotonic))),
            service,
            resource,
            scope,
            self.attributes.binary(),
            Arc::new(UInt8Array::from(taken(&mut self.metric_type))),
        ];
        assemble(series_schema(), columns)
    }
}

impl PointColumns {
    fn clear(&mut self) {
        [&mut self.series, &mut self.flags].into_iter().for_each(empty);
        [&mut self.time, &mut self.start_time].into_iter().for_each(empty);
        empty(&mut self.value);
        self.payload.clear();
        empty(&mut self.has_payload);
    }

    fn finish(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(taken(&mut self.series))),
            times(taken(&mut self.time)),
            times(taken(&mut self.start_time)),
            Arc::new(Float64Array::from(taken(&mut self.value))),
            Arc::new(UInt32Array::from(taken(&mut self.flags))),
            self.payload.binary_where(&taken(&mut self.has_payload)),
        ];
        assemble(point_schema(), columns)
    }
}

impl ExemplarColumns {
    pub(super) fn new() -> ExemplarColumns {
        ExemplarColumns {
            trace_id: FixedColumn::nullable(),
            span_id: FixedColumn::nullable(),
            // Most batches have none, and stay in memory: builders have room for a thousand otherwise.
            trace_id_original: StringBuilder::with_capacity(0, 0),
            attributes: BinaryBuilder::with_capacity(0, 0),
            ..Default::default()
        }
    }

    pub(super) fn push(&mut self, row: &ExemplarRow<'_>) {
        self.series.push(row.series);
        self.time.push(row.time);
        self.value.push(row.value);
        self.trace_id.push(row.trace_id.as_ref().map(|id| &id.0));
        self.span_id.push(row.span_id.as_ref().map(|id| &id.0));
        self.trace_id_original.append_option(some_text(row.trace_id_original));
        self.attributes.append_value(row.attributes);
    }

    pub(super) fn len(&self) -> usize {
        self.value.len()
    }

    pub(super) fn finish(mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(self.series)),
            times(self.time),
            Arc::new(Float64Array::from(self.value)),
            self.trace_id.finish(),
            self.span_id.finish(),
            Arc::new(self.trace_id_original.finish()),
            Arc::new(self.attributes.finish()),
        ];
        assemble(exemplar_schema(), columns)
    }
}
