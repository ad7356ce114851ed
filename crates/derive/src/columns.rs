//! The columns of a span batch that metrics are derived from, and what is the same for all rows of a resource.

use arrow_array::types::{Float64Type, Int32Type, UInt8Type};
use arrow_array::{
    Array, BinaryArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int64Array, StringArray,
    UInt8Array,
};
use throughline_model::SpanBatch;
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, span,
};

use crate::config::label_value;

/// OTLP's `SPAN_KIND_SERVER`.
pub const SERVER: u8 = 2;
/// OTLP's `SPAN_KIND_CLIENT`.
pub const CLIENT: u8 = 3;
/// OTLP's `SPAN_KIND_PRODUCER`.
pub const PRODUCER: u8 = 4;
/// OTLP's `SPAN_KIND_CONSUMER`.
pub const CONSUMER: u8 = 5;
/// OTLP's `STATUS_CODE_ERROR`.
pub const ERROR: u8 = 2;

/// The trace id, the span id and the parent's of one span take so much, and its two times.
const FIXED_BYTES: usize = 16 + 8 + 8 + 16;

/// Columns of a batch.
pub struct Spans<'a> {
    rows: usize,
    trace_id: &'a FixedSizeBinaryArray,
    span_id: &'a FixedSizeBinaryArray,
    parent_span_id: &'a FixedSizeBinaryArray,
    trace_state: &'a StringArray,
    name: &'a StringArray,
    kind: &'a UInt8Array,
    duration: &'a Int64Array,
    status_code: &'a UInt8Array,
    status_message: &'a StringArray,
    service: &'a DictionaryArray<Int32Type>,
    services: Vec<&'a str>,
    resource: &'a DictionaryArray<Int32Type>,
    attributes: &'a BinaryArray,
    events: &'a BinaryArray,
    links: &'a BinaryArray,
    adjusted_count: Option<&'a Float64Array>,
}

impl<'a> Spans<'a> {
    /// The columns of a batch.
    pub fn new(batch: &'a SpanBatch) -> Spans<'a> {
        let rows = &batch.rows;
        let service = column_dictionary(rows, span::SERVICE);
        let adjusted_count = column_number::<Float64Type>(rows, span::ADJUSTED_COUNT);
        Spans {
            rows: rows.num_rows(),
            trace_id: column_fixed(rows, span::TRACE_ID),
            span_id: column_fixed(rows, span::SPAN_ID),
            parent_span_id: column_fixed(rows, span::PARENT_SPAN_ID),
            trace_state: column_text(rows, span::TRACE_STATE),
            name: column_text(rows, span::NAME),
            kind: column_number::<UInt8Type>(rows, span::KIND),
            duration: column_number(rows, span::DURATION),
            status_code: column_number::<UInt8Type>(rows, span::STATUS_CODE),
            status_message: column_text(rows, span::STATUS_MESSAGE),
            services: texts(service).into_iter().map(label_value).collect(),
            service,
            resource: column_dictionary(rows, span::RESOURCE),
            attributes: column_binary(rows, span::ATTRIBUTES),
            events: column_binary(rows, span::EVENTS),
            links: column_binary(rows, span::LINKS),
            adjusted_count: (adjusted_count.null_count() < rows.num_rows()).then_some(adjusted_count),
        }
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The texts of the resources, by code.
    pub fn resources(&self) -> Vec<&'a str> {
        texts(self.resource)
    }

    /// The services, by code.
    pub fn services(&self) -> &[&'a str] {
        &self.services
    }

    /// The code of a span's resource.
    pub fn resource_code(&self, row: usize) -> usize {
        usize::try_from(self.resource.keys().value(row)).unwrap_or(usize::MAX)
    }

    /// The code of a span's service.
    pub fn service_code(&self, row: usize) -> usize {
        usize::try_from(self.service.keys().value(row)).unwrap_or(usize::MAX)
    }

    /// The span's service.
    #[inline]
    pub fn service(&self, row: usize) -> &'a str {
        self.services.get(self.service_code(row)).copied().unwrap_or_default()
    }

    /// The span's name, cut where it is too long.
    #[inline]
    pub fn name(&self, row: usize) -> &'a str {
        label_value(self.name.value(row))
    }

    /// The span's kind, 0 where there is no such kind.
    #[inline]
    pub fn kind(&self, row: usize) -> u8 {
        let kind = self.kind.value(row);
        if kind <= CONSUMER { kind } else { 0 }
    }

    /// The span's status code, 0 where there is no such code.
    #[inline]
    pub fn status(&self, row: usize) -> u8 {
        let status = self.status_code.value(row);
        if status <= ERROR { status } else { 0 }
    }

    /// How long it took; nothing where the sender's clock ran backwards.
    #[inline]
    pub fn duration_ns(&self, row: usize) -> u64 {
        u64::try_from(self.duration.value(row)).unwrap_or(0)
    }

    /// How many spans it stands for.
    #[inline]
    pub fn weight(&self, row: usize) -> f64 {
        let Some(column) = self.adjusted_count else { return 1.0 };
        let weight = column.value(row);
        if column.is_null(row) || !weight.is_finite() || weight < 0.0 { 1.0 } else { weight }
    }

    /// Its trace.
    #[inline]
    pub fn trace_id(&self, row: usize) -> [u8; 16] {
        self.trace_id.value(row).try_into().unwrap_or_default()
    }

    /// Its id.
    #[inline]
    pub fn span_id(&self, row: usize) -> [u8; 8] {
        self.span_id.value(row).try_into().unwrap_or_default()
    }

    /// The id of its parent, if it has one.
    #[inline]
    pub fn parent_span_id(&self, row: usize) -> Option<[u8; 8]> {
        if self.parent_span_id.is_null(row) {
            return None;
        }
        self.parent_span_id.value(row).try_into().ok().filter(|id| *id != [0; 8])
    }

    /// Its attributes, an attribute list.
    #[inline]
    pub fn attributes(&self, row: usize) -> &'a [u8] {
        self.attributes.value(row)
    }

    /// What it takes encoded, but for field tags: ids, times, texts, attributes, events and links.
    #[inline]
    pub fn bytes(&self, row: usize) -> usize {
        let texts = self.trace_state.value_length(row)
            + self.name.value_length(row)
            + self.status_message.value_length(row);
        let lists =
            self.attributes.value_length(row) + self.events.value_length(row) + self.links.value_length(row);
        FIXED_BYTES + texts as usize + lists as usize
    }
}

fn texts(column: &DictionaryArray<Int32Type>) -> Vec<&str> {
    let Some(values) = column.values().as_any().downcast_ref::<StringArray>() else { return Vec::new() };
    (0..values.len()).map(|code| values.value(code)).collect()
}
