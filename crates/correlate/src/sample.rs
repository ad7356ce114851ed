//! Hand-made records for the tests: short to write, complete enough to be real.

use serde_json::{Map, Value as Json, json};
use throughline_model::attribute::{self, Value};
use throughline_model::batch::{LogBatchBuilder, LogRow, SpanBatchBuilder, SpanRow};
use throughline_model::link::TraceSource;
use throughline_model::point::{MetricType, PointKind};
use throughline_model::protobuf;
use throughline_model::record::{LogRecord, Point, Series, Span};
use throughline_model::{Batch, Level, SpanId, TraceId};

pub const MS: i64 = 1_000_000;
pub const SECOND: i64 = 1_000_000_000;

pub fn trace_id(n: u64) -> TraceId {
    TraceId::from_low(n).expect("not zero")
}

pub fn span_id(n: u64) -> SpanId {
    SpanId::from_slice(&n.to_be_bytes()).expect("not zero")
}

pub fn object(value: Json) -> Map<String, Json> {
    value.as_object().cloned().unwrap_or_default()
}

/// A span; parent 0 is none; times in milliseconds.
pub fn span(id: u64, parent: u64, service: &str, name: &str, start_ms: i64, duration_ms: i64) -> Span {
    Span {
        trace_id: trace_id(1),
        span_id: span_id(id),
        parent_span_id: (parent != 0).then(|| span_id(parent)),
        trace_state: String::new(),
        flags: 1,
        name: name.to_owned(),
        kind: 2,
        start_time: start_ms * MS,
        duration_ns: duration_ms * MS,
        status_code: 0,
        status_message: String::new(),
        service: service.to_owned(),
        resource: object(json!({"service.name": service})),
        scope: Map::new(),
        attributes: Map::new(),
        events: Vec::new(),
        links: Vec::new(),
        adjusted_count: None,
    }
}

pub fn log(span: Option<u64>, service: &str, time_ms: i64, severity: u8, body: &str) -> LogRecord {
    LogRecord {
        time: time_ms * MS,
        observed_time: time_ms * MS,
        severity_number: severity,
        severity_text: String::new(),
        level: Level::from_severity(severity),
        body: Json::from(body),
        trace_id: Some(trace_id(1)),
        span_id: span.map(span_id),
        flags: 1,
        trace_source: TraceSource::Field,
        unsampled: false,
        trace_id_original: None,
        service: service.to_owned(),
        resource: Map::new(),
        scope: Map::new(),
        event_name: String::new(),
        attributes: Map::new(),
        pattern_id: None,
    }
}

pub fn latency_series(service: &str, metric: &str, unit: &str, temporality: u8) -> Series {
    Series {
        fingerprint: format!("{service}{metric}"),
        metric: metric.to_owned(),
        kind: PointKind::Histogram,
        unit: unit.to_owned(),
        description: String::new(),
        temporality,
        monotonic: false,
        service: service.to_owned(),
        resource: Map::new(),
        scope: Map::new(),
        attributes: Map::new(),
        metric_type: MetricType::Histogram,
    }
}

pub const BOUNDS_MS: [f64; 6] = [10.0, 25.0, 50.0, 100.0, 500.0, 1000.0];

/// A histogram point with the bounds [`BOUNDS_MS`].
pub fn histogram_point(time: i64, start_time: i64, counts: &[u64]) -> Point {
    let packed = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut payload = Vec::new();
    protobuf::put_fixed64(&mut payload, 4, counts.iter().sum());
    protobuf::put_bytes(&mut payload, 6, &packed(counts));
    protobuf::put_bytes(&mut payload, 7, &packed(&BOUNDS_MS.map(f64::to_bits)));
    Point { time, start_time, value: 0.0, flags: 0, payload }
}

/// The texts of a map as an attribute list.
pub fn attribute_list(map: &Map<String, Json>) -> Vec<u8> {
    let mut list = Vec::new();
    for (key, value) in map {
        attribute::push(&mut list, key, Value::Str(value.as_str().unwrap_or_default()));
    }
    list
}

/// Spans as a batch; of their attributes the texts.
pub fn span_batch(spans: &[Span]) -> Batch {
    let mut builder = SpanBatchBuilder::new();
    let scope = builder.add_scope("{}");
    for span in spans {
        let resource = builder.add_resource(&span.service, &Json::Object(span.resource.clone()).to_string());
        builder.push(&SpanRow {
            resource,
            scope,
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            trace_state: "",
            flags: span.flags,
            name: &span.name,
            kind: span.kind,
            start_time: span.start_time,
            duration_ns: span.duration_ns,
            status_code: span.status_code,
            status_message: "",
            attributes: &attribute_list(&span.attributes),
            events: &[],
            links: &[],
            adjusted_count: span.adjusted_count,
            dropped: "",
        });
    }
    Batch::Spans(builder.finish())
}

/// Log records as a batch, without attributes.
pub fn log_batch(logs: &[LogRecord]) -> Batch {
    let mut builder = LogBatchBuilder::new();
    let scope = builder.add_scope("{}");
    for log in logs {
        let resource = builder.add_resource(&log.service, &Json::Object(log.resource.clone()).to_string());
        builder.push(&LogRow {
            resource,
            scope,
            time: log.time,
            observed_time: log.time,
            severity_number: log.severity_number,
            severity_text: "",
            body: log.body.as_str().unwrap_or_default(),
            body_kind: 0,
            trace_id: log.trace_id,
            span_id: log.span_id,
            flags: log.flags,
            trace_source: log.trace_source,
            is_unsampled: log.unsampled,
            trace_id_original: log.trace_id_original.as_deref().unwrap_or_default(),
            event_name: "",
            attributes: &[],
            dropped: "",
            level: Level::from_severity(log.severity_number),
        });
    }
    Batch::Logs(builder.finish())
}
