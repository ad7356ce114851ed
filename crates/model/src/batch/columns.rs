//! Builders of batches: they take rows of borrowed fields and copy each field once, into the column it belongs to.
//! Resources and scopes are registered once and then named by index, so that their text stands once per batch.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, TimestampNanosecondArray,
    UInt8Array, UInt32Array,
};
use arrow_schema::SchemaRef;

use super::reused::{BytesColumn, IdColumn, empty, taken};
use super::schema::{log_schema, span_schema};
use super::{LogBatch, SpanBatch};
use crate::link::{TraceSource, UNSAMPLED};
use crate::{Level, SpanId, TraceId};

/// A resource registered with a builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceIndex(i32);

/// An instrumentation scope registered with a builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeIndex(i32);

/// The dictionary columns `service`, `resource` and `scope`.
#[derive(Default)]
pub(super) struct Origins {
    services: BytesColumn,
    resources: BytesColumn,
    scopes: BytesColumn,
    resource_keys: Vec<i32>,
    scope_keys: Vec<i32>,
}

impl Origins {
    pub(super) fn add_resource(&mut self, service: &str, resource_json: &str) -> ResourceIndex {
        // Services are not deduplicated: their keys are then the resources' keys.
        self.services.push(service.as_bytes());
        self.resources.push(resource_json.as_bytes());
        ResourceIndex(self.resources.len() as i32 - 1)
    }

    pub(super) fn add_scope(&mut self, scope_json: &str) -> ScopeIndex {
        self.scopes.push(scope_json.as_bytes());
        ScopeIndex(self.scopes.len() as i32 - 1)
    }

    #[inline]
    pub(super) fn push(&mut self, resource: ResourceIndex, scope: ScopeIndex) {
        self.resource_keys.push(resource.0);
        self.scope_keys.push(scope.0);
    }

    pub(super) fn clear(&mut self) {
        [&mut self.services, &mut self.resources, &mut self.scopes].into_iter().for_each(BytesColumn::clear);
        [&mut self.resource_keys, &mut self.scope_keys].into_iter().for_each(empty);
    }

    pub(super) fn finish(&mut self) -> [ArrayRef; 3] {
        let keys = Int32Array::from(taken(&mut self.resource_keys));
        let dictionary =
            |keys: Int32Array, values: ArrayRef| -> ArrayRef { Arc::new(DictionaryArray::new(keys, values)) };
        [
            dictionary(keys.clone(), self.services.text()),
            dictionary(keys, self.resources.text()),
            dictionary(Int32Array::from(taken(&mut self.scope_keys)), self.scopes.text()),
        ]
    }
}

pub(super) fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC"))
}

pub(super) fn assemble(schema: SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema, columns).expect("builders follow their schema")
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

/// Builds [`SpanBatch`]es, one after the other.
#[derive(Default)]
pub struct SpanBatchBuilder {
    origins: Origins,
    trace_id: IdColumn<16>,
    span_id: IdColumn<8>,
    parent_span_id: IdColumn<8>,
    trace_state: BytesColumn,
    flags: Vec<u32>,
    name: BytesColumn,
    kind: Vec<u8>,
    start_time: Vec<i64>,
    duration_ns: Vec<i64>,
    status_code: Vec<u8>,
    status_message: BytesColumn,
    attributes: BytesColumn,
    events: BytesColumn,
    links: BytesColumn,
    /// From the first span on that has one.
    adjusted_count: Vec<Option<f64>>,
    dropped: BytesColumn,
}

impl SpanBatchBuilder {
    /// An empty builder.
    pub fn new() -> SpanBatchBuilder {
        SpanBatchBuilder::default()
    }

    /// Forgets the rows so far.
    pub fn clear(&mut self) {
        self.origins.clear();
        self.trace_id.clear();
        [&mut self.span_id, &mut self.parent_span_id].into_iter().for_each(IdColumn::clear);
        [&mut self.trace_state, &mut self.name, &mut self.status_message]
            .into_iter()
            .for_each(BytesColumn::clear);
        [&mut self.attributes, &mut self.events, &mut self.links, &mut self.dropped]
            .into_iter()
            .for_each(BytesColumn::clear);
        empty(&mut self.flags);
        [&mut self.kind, &mut self.status_code].into_iter().for_each(empty);
        [&mut self.start_time, &mut self.duration_ns].into_iter().for_each(empty);
        empty(&mut self.adjusted_count);
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
        self.trace_state.push(row.trace_state.as_bytes());
        self.flags.push(row.flags);
        self.name.push(row.name.as_bytes());
        self.kind.push(row.kind);
        self.start_time.push(row.start_time);
        self.duration_ns.push(row.duration_ns);
        self.status_code.push(row.status_code);
        self.status_message.push(row.status_message.as_bytes());
        self.attributes.push(row.attributes);
        self.events.push(row.events);
        self.links.push(row.links);
        if row.adjusted_count.is_some() || !self.adjusted_count.is_empty() {
            self.adjusted_count.resize(self.flags.len() - 1, None);
            self.adjusted_count.push(row.adjusted_count);
        }
        self.dropped.push(row.dropped.as_bytes());
    }

    /// The number of spans so far.
    pub fn len(&self) -> usize {
        self.flags.len()
    }

    /// Whether there is no span yet.
    pub fn is_empty(&self) -> bool {
        self.flags.is_empty()
    }

    /// The batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> SpanBatch {
        let [service, resource, scope] = self.origins.finish();
        let adjusted_count = if self.adjusted_count.is_empty() {
            Float64Array::new_null(self.flags.len())
        } else {
            Float64Array::from(taken(&mut self.adjusted_count))
        };
        let columns: Vec<ArrayRef> = vec![
            self.trace_id.finish(),
            self.span_id.finish(),
            self.parent_span_id.finish(),
            self.trace_state.some_text(),
            Arc::new(UInt32Array::from(taken(&mut self.flags))),
            self.name.text(),
            Arc::new(UInt8Array::from(taken(&mut self.kind))),
            times(taken(&mut self.start_time)),
            Arc::new(Int64Array::from(taken(&mut self.duration_ns))),
            Arc::new(UInt8Array::from(taken(&mut self.status_code))),
            self.status_message.some_text(),
            service,
            resource,
            scope,
            self.attributes.binary(),
            self.events.some_binary(),
            self.links.some_binary(),
            Arc::new(adjusted_count),
            self.dropped.some_text(),
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
    /// Whether the record says that its trace was not sampled.
    pub is_unsampled: bool,
    pub trace_id_original: &'a str,
    pub event_name: &'a str,
    pub attributes: &'a [u8],
    pub dropped: &'a str,
    pub level: Level,
}

/// Builds [`LogBatch`]es, one after the other.
#[derive(Default)]
pub struct LogBatchBuilder {
    origins: Origins,
    time: Vec<i64>,
    observed_time: Vec<i64>,
    severity_number: Vec<u8>,
    severity_text: BytesColumn,
    body: BytesColumn,
    body_kind: Vec<u8>,
    trace_id: IdColumn<16>,
    span_id: IdColumn<8>,
    flags: Vec<u32>,
    trace_source: Vec<u8>,
    trace_id_original: BytesColumn,
    event_name: BytesColumn,
    attributes: BytesColumn,
    dropped: BytesColumn,
    level: Vec<u8>,
}

impl LogBatchBuilder {
    /// An empty builder.
    pub fn new() -> LogBatchBuilder {
        LogBatchBuilder::default()
    }

    /// Forgets the rows so far.
    pub fn clear(&mut self) {
        self.origins.clear();
        self.trace_id.clear();
        self.span_id.clear();
        [&mut self.severity_text, &mut self.body, &mut self.trace_id_original]
            .into_iter()
            .for_each(BytesColumn::clear);
        [&mut self.event_name, &mut self.attributes, &mut self.dropped]
            .into_iter()
            .for_each(BytesColumn::clear);
        [&mut self.time, &mut self.observed_time].into_iter().for_each(empty);
        [&mut self.severity_number, &mut self.body_kind, &mut self.trace_source, &mut self.level]
            .into_iter()
            .for_each(empty);
        empty(&mut self.flags);
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
        self.severity_text.push(row.severity_text.as_bytes());
        self.body.push(row.body.as_bytes());
        self.body_kind.push(row.body_kind);
        self.trace_id.push(row.trace_id.as_ref().map(|id| &id.0));
        self.span_id.push(row.span_id.as_ref().map(|id| &id.0));
        self.flags.push(row.flags);
        self.trace_source.push(row.trace_source as u8 | if row.is_unsampled { UNSAMPLED } else { 0 });
        self.trace_id_original.push(row.trace_id_original.as_bytes());
        self.event_name.push(row.event_name.as_bytes());
        self.attributes.push(row.attributes);
        self.dropped.push(row.dropped.as_bytes());
        self.level.push(row.level as u8);
    }

    /// The number of log records so far.
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Whether there is no log record yet.
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// The batch; the builder is empty afterwards.
    pub fn finish(&mut self) -> LogBatch {
        let [service, resource, scope] = self.origins.finish();
        let columns: Vec<ArrayRef> = vec![
            times(taken(&mut self.time)),
            times(taken(&mut self.observed_time)),
            Arc::new(UInt8Array::from(taken(&mut self.severity_number))),
            self.severity_text.some_text(),
            self.body.text(),
            Arc::new(UInt8Array::from(taken(&mut self.body_kind))),
            self.trace_id.finish(),
            self.span_id.finish(),
            Arc::new(UInt32Array::from(taken(&mut self.flags))),
            Arc::new(UInt8Array::from(taken(&mut self.trace_source))),
            self.trace_id_original.some_text(),
            service,
            resource,
            scope,
            self.event_name.some_text(),
            self.attributes.binary(),
            self.dropped.some_text(),
            Arc::new(UInt8Array::from(taken(&mut self.level))),
        ];
        LogBatch { rows: assemble(log_schema(), columns) }
    }
}
