//! Rows of memtables as records: the read side of a batch's own schema.

use arrow_array::types::{Float64Type, Int64Type, UInt8Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use serde_json::{Map, Value as Json};
use throughline_model::attribute;
use throughline_model::batch::{
    Batch, column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, exemplar,
    log, span,
};
use throughline_model::link::{TraceSource, UNSAMPLED};
use throughline_model::protobuf::{Field, Reader};
use throughline_model::record::{Exemplar, LogRecord, Series, Span};
use throughline_model::trace::SpanTiming;
use throughline_model::{Level, SpanId, TraceId};

use super::summary::{STATUS_ERROR, SpanPart};
use crate::memtable::SeriesEntry;
use crate::memtable::patterns::pattern_of;
use crate::patterns::Learner;

/// Reads a JSON object; anything else is empty.
pub(crate) fn json_map(text: &str) -> Map<String, Json> {
    serde_json::from_str(text).unwrap_or_default()
}

fn list_map(list: &[u8]) -> Map<String, Json> {
    attribute::iter(list).map(|(key, value)| (key.to_owned(), value.to_json())).collect()
}

fn text(rows: &RecordBatch, position: usize, row: usize) -> String {
    let column = column_text(rows, position);
    if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
}

fn bytes(rows: &RecordBatch, position: usize, row: usize) -> &[u8] {
    let column = column_binary(rows, position);
    if column.is_null(row) { &[] } else { column.value(row) }
}

pub(crate) fn dictionary(rows: &RecordBatch, position: usize, row: usize) -> &str {
    let column = column_dictionary(rows, position);
    let values: Option<&arrow_array::StringArray> = column.values().as_any().downcast_ref();
    match (column.key(row), values) {
        (Some(key), Some(values)) if key < values.len() => values.value(key),
        _ => "",
    }
}

fn trace_id(rows: &RecordBatch, position: usize, row: usize) -> Option<TraceId> {
    let column = column_fixed(rows, position);
    (!column.is_null(row)).then(|| TraceId::from_slice(column.value(row)))?
}

fn span_id(rows: &RecordBatch, position: usize, row: usize) -> Option<SpanId> {
    let column = column_fixed(rows, position);
    (!column.is_null(row)).then(|| SpanId::from_slice(column.value(row)))?
}

/// A span of a span batch.
pub(crate) fn span_row(rows: &RecordBatch, row: usize) -> Option<Span> {
    let adjusted = column_number::<Float64Type>(rows, span::ADJUSTED_COUNT);
    Some(Span {
        trace_id: trace_id(rows, span::TRACE_ID, row)?,
        span_id: span_id(rows, span::SPAN_ID, row)?,
        parent_span_id: span_id(rows, span::PARENT_SPAN_ID, row),
        trace_state: text(rows, span::TRACE_STATE, row),
        flags: column_number::<UInt32Type>(rows, span::FLAGS).value(row),
        name: text(rows, span::NAME, row),
        kind: column_number::<UInt8Type>(rows, span::KIND).value(row),
        start_time: column_time(rows, span::START_TIME).value(row),
        duration_ns: column_number::<Int64Type>(rows, span::DURATION).value(row),
        status_code: column_number::<UInt8Type>(rows, span::STATUS_CODE).value(row),
        status_message: text(rows, span::STATUS_MESSAGE, row),
        service: dictionary(rows, span::SERVICE, row).to_owned(),
        resource: json_map(dictionary(rows, span::RESOURCE, row)),
        scope: json_map(dictionary(rows, span::SCOPE, row)),
        attributes: list_map(bytes(rows, span::ATTRIBUTES, row)),
        events: nested(bytes(rows, span::EVENTS, row), event_json),
        links: nested(bytes(rows, span::LINKS, row), link_json),
        adjusted_count: (!adjusted.is_null(row)).then(|| adjusted.value(row)),
    })
}

/// The spans of a decoded batch, in order, without storing them; none of a batch of another signal.
pub fn spans_of(batch: &Batch) -> Vec<Span> {
    match batch {
        Batch::Spans(spans) => {
            (0..spans.rows.num_rows()).filter_map(|row| span_row(&spans.rows, row)).collect()
        }
        Batch::Logs(_) | Batch::Metrics(_) => Vec::new(),
    }
}

/// A span of a span batch as a summary needs it.
pub(crate) fn span_part(rows: &RecordBatch, row: usize) -> Option<SpanPart> {
    let timing = SpanTiming {
        span_id: span_id(rows, span::SPAN_ID, row)?,
        parent_span_id: span_id(rows, span::PARENT_SPAN_ID, row),
        start: column_time(rows, span::START_TIME).value(row),
        duration: column_number::<Int64Type>(rows, span::DURATION).value(row),
        error: column_number::<UInt8Type>(rows, span::STATUS_CODE).value(row) == STATUS_ERROR,
    };
    Some(SpanPart {
        timing,
        kind: column_number::<UInt8Type>(rows, span::KIND).value(row),
        service: dictionary(rows, span::SERVICE, row).to_owned(),
        name: text(rows, span::NAME, row),
    })
}

/// A log record of a log batch.
pub(crate) fn log_row(rows: &RecordBatch, row: usize, learner: &Learner) -> LogRecord {
    let body = text(rows, log::BODY, row);
    let original = text(rows, log::TRACE_ID_ORIGINAL, row);
    let source = column_number::<UInt8Type>(rows, log::TRACE_SOURCE).value(row);
    LogRecord {
        time: column_time(rows, log::TIME).value(row),
        observed_time: column_time(rows, log::OBSERVED_TIME).value(row),
        severity_number: column_number::<UInt8Type>(rows, log::SEVERITY_NUMBER).value(row),
        severity_text: text(rows, log::SEVERITY_TEXT, row),
        level: Level::from_code(column_number::<UInt8Type>(rows, log::LEVEL).value(row)),
        body: body_json(body, column_number::<UInt8Type>(rows, log::BODY_KIND).value(row)),
        trace_id: trace_id(rows, log::TRACE_ID, row),
        span_id: span_id(rows, log::SPAN_ID, row),
        flags: column_number::<UInt32Type>(rows, log::FLAGS).value(row),
        trace_source: TraceSource::from_code(source),
        unsampled: source & UNSAMPLED != 0,
        trace_id_original: (!original.is_empty()).then_some(original),
        service: dictionary(rows, log::SERVICE, row).to_owned(),
        resource: json_map(dictionary(rows, log::RESOURCE, row)),
        scope: json_map(dictionary(rows, log::SCOPE, row)),
        event_name: text(rows, log::EVENT_NAME, row),
        attributes: list_map(bytes(rows, log::ATTRIBUTES, row)),
        pattern_id: pattern_of(rows, row, learner),
    }
}

/// A body from its stored text and kind.
pub(crate) fn body_json(text: String, kind: u8) -> Json {
    match kind {
        0 => Json::String(text),
        1 => serde_json::from_str(&text).unwrap_or(Json::String(text)),
        _ => Json::Null,
    }
}

/// An exemplar of a metric batch and the series it belongs to.
pub(crate) fn exemplar_row(rows: &RecordBatch, row: usize, series: &SeriesEntry) -> Exemplar {
    let original = text(rows, exemplar::TRACE_ID_ORIGINAL, row);
    Exemplar {
        metric: series.metric.to_string(),
        series: hex(&series.fingerprint),
        service: series.service.to_string(),
        time: column_time(rows, exemplar::TIME).value(row),
        value: column_number::<Float64Type>(rows, exemplar::VALUE).value(row),
        trace_id: trace_id(rows, exemplar::TRACE_ID, row),
        span_id: span_id(rows, exemplar::SPAN_ID, row),
        trace_id_original: (!original.is_empty()).then_some(original),
        series_attributes: list_map(&series.attributes.list()),
        attributes: list_map(bytes(rows, exemplar::ATTRIBUTES, row)),
        link: None,
    }
}

/// A series as a record.
pub(crate) fn series_record(series: &SeriesEntry) -> Series {
    Series {
        fingerprint: hex(&series.fingerprint),
        metric: series.metric.to_string(),
        kind: series.kind,
        unit: series.unit.to_string(),
        description: series.description.to_string(),
        temporality: series.temporality,
        monotonic: series.monotonic,
        service: series.service.to_string(),
        resource: json_map(&series.resource),
        scope: json_map(&series.scope),
        attributes: list_map(&series.attributes.list()),
        metric_type: series.metric_type,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn nested(list: &[u8], convert: fn(&[u8]) -> Json) -> Vec<Json> {
    let mut reader = Reader::new(list);
    let mut out = Vec::new();
    while !reader.rest().is_empty() {
        match reader.delimited() {
            Ok(message) => out.push(convert(message)),
            Err(_) => break,
        }
    }
    out
}

/// The events of a span as one JSON array, which is how blocks store them.
pub(crate) fn events_json(list: &[u8]) -> Json {
    Json::Array(nested(list, event_json))
}

/// The links of a span as one JSON array, which is how blocks store them.
pub(crate) fn links_json(list: &[u8]) -> Json {
    Json::Array(nested(list, link_json))
}

/// An OTLP `Span.Event`.
fn event_json(message: &[u8]) -> Json {
    let mut event = Map::new();
    let mut attributes = Map::new();
    let mut reader = Reader::new(message);
    while let Ok(Some((number, field))) = reader.next_field() {
        match (number, field) {
            (1, Field::Fixed64(time)) => _ = event.insert("time".into(), Json::from(time as i64)),
            (2, Field::Bytes(name)) => {
                _ = event.insert("name".into(), Json::from(String::from_utf8_lossy(name)))
            }
            (3, Field::Bytes(pair)) => add_pair(&mut attributes, pair),
            _ => {}
        }
    }
    event.insert("attributes".into(), Json::Object(attributes));
    Json::Object(event)
}

/// An OTLP `Span.Link`.
fn link_json(message: &[u8]) -> Json {
    let mut link = Map::new();
    let mut attributes = Map::new();
    let mut reader = Reader::new(message);
    while let Ok(Some((number, field))) = reader.next_field() {
        match (number, field) {
            (1, Field::Bytes(id)) => _ = link.insert("trace_id".into(), Json::from(hex(id))),
            (2, Field::Bytes(id)) => _ = link.insert("span_id".into(), Json::from(hex(id))),
            (3, Field::Bytes(state)) if !state.is_empty() => {
                link.insert("trace_state".into(), Json::from(String::from_utf8_lossy(state)));
            }
            (4, Field::Bytes(pair)) => add_pair(&mut attributes, pair),
            _ => {}
        }
    }
    link.insert("attributes".into(), Json::Object(attributes));
    Json::Object(link)
}

fn add_pair(attributes: &mut Map<String, Json>, message: &[u8]) {
    if let Ok((key, value)) = attribute::decode_key_value(message) {
        attributes.insert(key.to_owned(), value.to_json());
    }
}
