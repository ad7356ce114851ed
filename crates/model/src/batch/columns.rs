//! Builders of batches: they take rows of borrowed fields and copy each field once, into the column it belongs to.
//! Resources and scopes are registered once and then named by index, so that their text stands once per batch.

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, BinaryBuilder, BooleanBuilder, Float64Builder, StringBuilder};
use arrow_array::{
    ArrayRef, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampNanosecondArray, UInt8Array, UInt32Array,
};
use arrow_buffer::{Buffer, NullBufferBuilder};
use arrow_schema::SchemaRef;

use super::schema::{exemplar_schema, log_schema, point_schema, series_schema, span_schema};
use super::{LogBatch, MetricBatch, SpanBatch};
use crate::link::TraceSource;
use crate::point::{MetricType, PointKind};
use crate::{SpanId, TraceId};

/// A resource registered with a builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceIndex(i32);

/// An instrumentation scope registered with a builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeIndex(i32);

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

/// The dictionary columns `service`, `resource` and `scope`.
#[derive(Default)]
struct Origins {
    services: StringBuilder,
    resources: StringBuilder,
    scopes: StringBuilder,
    resource_keys: Vec<i32>,
    scope_keys: Vec<i32>,
}

impl Origins {
    fn add_resource(&mut self, service: &str, resource_json: &str) -> ResourceIndex {
        // Services are not deduplicated: their keys are then the resources' keys.
        self.services.append_value(service);
        self.resources.append_value(resource_json);
        ResourceIndex(self.resources.len() as i32 - 1)
    }

    fn add_scope(&mut self, scope_json: &str) -> ScopeIndex {
        self.scopes.append_value(scope_json);
        ScopeIndex(self.scopes.len() as i32 - 1)
    }

    #[inline]
    fn push(&mut self, resource: ResourceIndex, scope: ScopeIndex) {
        self.resource_keys.push(resource.0);
        self.scope_keys.push(scope.0);
    }

    fn finish(mut self) -> [ArrayRef; 3] {
        let keys = Int32Array::from(self.resource_keys);
        let dictionary = |keys: Int32Array, values: StringArray| -> ArrayRef {
            Arc::new(DictionaryArray::new(keys, Arc::new(values)))
        };
        [
            dictionary(keys.clone(), self.services.finish()),
            dictionary(keys, self.resources.finish()),
            dictionary(Int32Array::from(self.scope_keys), self.scopes.finish()),
        ]
    }
}

pub(super) fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC"))
}

pub(super) fn assemble(schema: SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema, columns).expect("builders follow their schema")
}

fn some_text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn some_bytes(bytes: &[u8]) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(bytes)
}

/// One span, borrowed from the request. Fields are those of [`super::span`]; empty text and bytes stand for null.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the columns' constants say what each field is")]
pub struct SpanRow<'a> {
    pub resource: ResourceIndex,
    pub scope: ScopeIndex,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_span_id: Option<SpanId>,
    pub trace_state: &'a str,
    pub flags: u32,
    pub name: &'a str,
    pub kind: u8,
    pub start_time: i64,
    pub duration_ns: i64,
    pub status_code: u8,
    pub status_message: &'a str,
    pub attributes: &'a [u8],
    pub events: &'a [u8],
    pub links: &'a [u8],
    pub adjusted_count: Option<f64>,
    pub dropped: &'a str,
}

/// Builds a [`SpanBatch`].
#[derive(Default)]
pub struct SpanBatchBuilder {
    origins: Origins,
    trace_id: FixedColumn<16>,
    span_id: FixedColumn<8>,
    parent_span_id: FixedColumn<8>,
    trace_state: StringBuilder,
    flags: Vec<u32>,
    name: StringBuilder,
    kind: Vec<u8>,
    start_time: Vec<i64>,
    duration_ns: Vec<i64>,
    status_code: Vec<u8>,
    status_message: StringBuilder,
    attributes: BinaryBuilder,
    events: BinaryBuilder,
    links: BinaryBuilder,
    adjusted_count: Float64Builder,
    dropped: StringBuilder,
}

impl SpanBatchBuilder {
    /// An empty builder.
    pub fn new() -> SpanBatchBuilder {
        SpanBatchBuilder { parent_span_id: FixedColumn::nullable(), ..Default::default() }
    }

    /// Registers a resource: its service name and its attributes as a JSON object.
    pub fn add_resource(&mut self, service: &str, resource_json: &str) -> ResourceIndex {
        self.origins.add_resource(service, resource_json)
    }

    /// Registers a scope: a JSON object.
    pub fn add_scope(&mut self, scope_json: &str) -> ScopeIndex {
        self.origins.add_scope(scope_json)
    }

    /// Appends a span.
    #[inline]
    pub fn push(&mut self, row: &SpanRow<'_>) {
        self.origins.push(row.resource, row.scope);
        self.trace_id.push(Some(&row.trace_id.0));
        self.span_id.push(Some(&row.span_id.0));
        self.parent_span_id.push(row.parent_span_id.as_ref().map(|id| &id.0));
        self.trace_state.append_option(some_text(row.trace_state));
        self.flags.push(row.flags);
        self.name.append_value(row.name);
        self.kind.push(row.kind);
        self.start_time.push(row.start_time);
        self.duration_ns.push(row.duration_ns);
        self.status_code.push(row.status_code);
        self.status_message.append_option(some_text(row.status_message));
        self.attributes.append_value(row.attributes);
        self.events.append_option(some_bytes(row.events));
        self.links.append_option(some_bytes(row.links));
        self.adjusted_count.append_option(row.adjusted_count);
        self.dropped.append_option(some_text(row.dropped));
    }

    /// The number of spans so far.
    pub fn len(&self) -> usize {
        self.flags.len()
    }

    /// Whether there is no span yet.
    pub fn is_empty(&self) -> bool {
        self.flags.is_empty()
    }

    /// The batch.
    pub fn finish(mut self) -> SpanBatch {
        let [service, resource, scope] = self.origins.finish();
        let columns: Vec<ArrayRef> = vec![
            self.trace_id.finish(),
            self.span_id.finish(),
            self.parent_span_id.finish(),
            Arc::new(self.trace_state.finish()),
            Arc::new(UInt32Array::from(self.flags)),
            Arc::new(self.name.finish()),
            Arc::new(UInt8Array::from(self.kind)),
            times(self.start_time),
            Arc::new(Int64Array::from(self.duration_ns)),
            Arc::new(UInt8Array::from(self.status_code)),
            Arc::new(self.status_message.finish()),
            service,
            resource,
            scope,
            Arc::new(self.attributes.finish()),
            Arc::new(self.events.finish()),
            Arc::new(self.links.finish()),
            Arc::new(self.adjusted_count.finish()),
            Arc::new(self.dropped.finish()),
        ];
        SpanBatch { rows: assemble(span_schema(), columns) }
    }
}

/// One log record, borrowed from the request. Fields are those of [`super::log`]; empty text stands for null.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the columns' constants say what each field is")]
pub struct LogRow<'a> {
    pub resource: ResourceIndex,
    pub scope: ScopeIndex,
    pub time: i64,
    pub observed_time: i64,
    pub severity_number: u8,
    pub severity_text: &'a str,
    pub body: &'a str,
    pub body_kind: u8,
    pub trace_id: Option<TraceId>,
    pub span_id: Option<SpanId>,
    pub flags: u32,
    pub trace_source: TraceSource,
    pub trace_id_original: &'a str,
    pub event_name: &'a str,
    pub attributes: &'a [u8],
    pub dropped: &'a str,
}

/// Builds a [`LogBatch`].
#[derive(Default)]
pub struct LogBatchBuilder {
    origins: Origins,
    time: Vec<i64>,
    observed_time: Vec<i64>,
    severity_number: Vec<u8>,
    severity_text: StringBuilder,
    body: StringBuilder,
    body_kind: Vec<u8>,
    trace_id: FixedColumn<16>,
    span_id: FixedColumn<8>,
    flags: Vec<u32>,
    trace_source: Vec<u8>,
    trace_id_original: StringBuilder,
    event_name: StringBuilder,
    attributes: BinaryBuilder,
    dropped: StringBuilder,
}

impl LogBatchBuilder {
    /// An empty builder.
    pub fn new() -> LogBatchBuilder {
        LogBatchBuilder {
            trace_id: FixedColumn::nullable(),
            span_id: FixedColumn::nullable(),
            ..Default::default()
        }
    }

    /// Registers a resource: its service name and its attributes as a JSON object.
    pub fn add_resource(&mut self, service: &str, resource_json: &str) -> ResourceIndex {
        self.origins.add_resource(service, resource_json)
    }

    /// Registers a scope: a JSON object.
    pub fn add_scope(&mut self, scope_json: &str) -> ScopeIndex {
        self.origins.add_scope(scope_json)
    }

    /// Appends a log record.
    #[inline]
    pub fn push(&mut self, row: &LogRow<'_>) {
        self.origins.push(row.resource, row.scope);
        self.time.push(row.time);
        self.observed_time.push(row.observed_time);
        self.severity_number.push(row.severity_number);
        self.severity_text.append_option(some_text(row.severity_text));
        self.body.append_value(row.body);
        self.body_kind.push(row.body_kind);
        self.trace_id.push(row.trace_id.as_ref().map(|id| &id.0));
        self.span_id.push(row.span_id.as_ref().map(|id| &id.0));
        self.flags.push(row.flags);
        self.trace_source.push(row.trace_source as u8);
        self.trace_id_original.append_option(some_text(row.trace_id_original));
        self.event_name.append_option(some_text(row.event_name));
        self.attributes.append_value(row.attributes);
        self.dropped.append_option(some_text(row.dropped));
    }

    /// The number of log records so far.
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Whether there is no log record yet.
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// The batch.
    pub fn finish(mut self) -> LogBatch {
        let [service, resource, scope] = self.origins.finish();
        let columns: Vec<ArrayRef> = vec![
            times(self.time),
            times(self.observed_time),
            Arc::new(UInt8Array::from(self.severity_number)),
            Arc::new(self.severity_text.finish()),
            Arc::new(self.body.finish()),
            Arc::new(UInt8Array::from(self.body_kind)),
            self.trace_id.finish(),
            self.span_id.finish(),
            Arc::new(UInt32Array::from(self.flags)),
            Arc::new(UInt8Array::from(self.trace_source)),
            Arc::new(self.trace_id_original.finish()),
            service,
            resource,
            scope,
            Arc::new(self.event_name.finish()),
            Arc::new(self.attributes.finish()),
            Arc::new(self.dropped.finish()),
        ];
        LogBatch { rows: assemble(log_schema(), columns) }
    }
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

/// Builds a [`MetricBatch`].
#[derive(Default)]
pub struct MetricBatchBuilder {
    series: SeriesColumns,
    points: PointColumns,
    exemplars: ExemplarColumns,
}

#[derive(Default)]
struct SeriesColumns {
    origins: Origins,
    fingerprint: FixedColumn<16>,
    metric: StringBuilder,
    kind: Vec<u8>,
    unit: StringBuilder,
    description: StringBuilder,
    temporality: Vec<u8>,
    monotonic: BooleanBuilder,
    attributes: BinaryBuilder,
    metric_type: Vec<u8>,
}

#[derive(Default)]
struct PointColumns {
    series: Vec<u32>,
    time: Vec<i64>,
    start_time: Vec<i64>,
    value: Vec<f64>,
    flags: Vec<u32>,
    payload: BinaryBuilder,
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
        MetricBatchBuilder { exemplars: ExemplarColumns::new(), ..Default::default() }
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
        columns.metric.append_value(row.metric);
        columns.kind.push(row.kind as u8);
        columns.unit.append_value(row.unit);
        columns.description.append_value(row.description);
        columns.temporality.push(row.temporality);
        columns.monotonic.append_value(row.monotonic);
        columns.attributes.append_value(row.attributes);
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
        columns.payload.append_option(row.payload);
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

    /// The batch.
    pub fn finish(self) -> MetricBatch {
        MetricBatch {
            series: self.series.finish(),
            points: self.points.finish(),
            exemplars: self.exemplars.finish(),
        }
    }
}

impl SeriesColumns {
    fn finish(mut self) -> RecordBatch {
        let [service, resource, scope] = self.origins.finish();
        let columns: Vec<ArrayRef> = vec![
            self.fingerprint.finish(),
            Arc::new(self.metric.finish()),
            Arc::new(UInt8Array::from(self.kind)),
            Arc::new(self.unit.finish()),
            Arc::new(self.description.finish()),
            Arc::new(UInt8Array::from(self.temporality)),
            Arc::new(self.monotonic.finish()),
            service,
            resource,
            scope,
            Arc::new(self.attributes.finish()),
            Arc::new(UInt8Array::from(self.metric_type)),
        ];
        assemble(series_schema(), columns)
    }
}

impl PointColumns {
    fn finish(mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(self.series)),
            times(self.time),
            times(self.start_time),
            Arc::new(Float64Array::from(self.value)),
            Arc::new(UInt32Array::from(self.flags)),
            Arc::new(self.payload.finish()),
        ];
        assemble(point_schema(), columns)
    }
}

impl ExemplarColumns {
    pub(super) fn new() -> ExemplarColumns {
        ExemplarColumns {
            trace_id: FixedColumn::nullable(),
            span_id: FixedColumn::nullable(),
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
