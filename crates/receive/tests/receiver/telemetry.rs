//! Small requests of every signal, good and bad.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use throughline_model::Signal;
use throughline_store::{Clock, SystemClock};

/// Now, as OTLP has it.
pub fn now() -> u64 {
    SystemClock::new().now() as u64
}

fn text(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) })
}

fn resource(service: &str) -> Option<Resource> {
    let attributes =
        vec![KeyValue { key: "service.name".to_owned(), value: text(service), ..Default::default() }];
    Some(Resource { attributes, ..Default::default() })
}

/// An attribute with a text.
pub fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: text(value), ..Default::default() }
}

/// A span with ids made of one byte.
pub fn span(trace: u8, id: u8) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        name: "checkout".to_owned(),
        start_time_unix_nano: now() - 5_000_000,
        end_time_unix_nano: now(),
        ..Default::default()
    }
}

/// A request of these spans.
pub fn traces(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: resource("shop"), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A request of log records with these bodies.
pub fn logs(bodies: &[&str]) -> Vec<u8> {
    let record = |body: &&str| LogRecord { time_unix_nano: now(), body: text(body), ..Default::default() };
    let scope_logs =
        vec![ScopeLogs { log_records: bodies.iter().map(record).collect(), ..Default::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource("shop"), scope_logs, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// A request of one gauge with points at these times.
pub fn metrics(times: &[u64]) -> Vec<u8> {
    let point = |time: &u64| NumberDataPoint {
        time_unix_nano: *time,
        value: Some(number_data_point::Value::AsDouble(1.5)),
        ..Default::default()
    };
    let gauge = Gauge { data_points: times.iter().map(point).collect() };
    let metric = Metric {
        name: "queue.length".to_owned(),
        data: Some(metric::Data::Gauge(gauge)),
        ..Default::default()
    };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: resource("shop"), scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// A good request of one item.
pub fn one_item(signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Traces => traces(vec![span(1, 1)]),
        Signal::Metrics => metrics(&[now()]),
        Signal::Logs => logs(&["order placed"]),
    }
}

/// A span's JSON request whose one attribute holds `value`.
pub fn traces_json(value: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{:032x}","spanId":"{:016x}","name":"n",
        "startTimeUnixNano":"{}","endTimeUnixNano":"{}","attributes":[{{"key":"k","value":{value}}}]}}]}}]}}]}}"#,
        7,
        8,
        now() - 1_000_000,
        now()
    )
}

/// A span's protobuf request whose one attribute is an encoded `AnyValue`.
pub fn traces_with_value(value: &[u8]) -> Vec<u8> {
    let mut attribute = field(1, b"k");
    attribute.extend(field(2, value));
    let mut encoded = span(7, 8).encode_to_vec();
    encoded.extend(field(9, &attribute));
    field(1, &field(2, &field(2, &encoded)))
}

/// An `AnyValue` of arrays within arrays, built from the inside without recursion.
pub fn nested_arrays(depth: usize) -> Vec<u8> {
    // Prepending at every level would copy a quadratic amount; so the headers are made first, then reversed.
    let mut headers: Vec<Vec<u8>> = Vec::with_capacity(2 * depth);
    let mut length = 0;
    for level in 0..2 * depth {
        // ArrayValue.values is field 1, AnyValue.array_value is field 5.
        let header = header(if level % 2 == 0 { 1 } else { 5 }, length);
        length += header.len();
        headers.push(header);
    }
    headers.into_iter().rev().flatten().collect()
}

/// A length-delimited field.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = header(number, content.len());
    out.extend_from_slice(content);
    out
}

fn header(number: u8, mut length: usize) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out
}
