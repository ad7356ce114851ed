//! OTLP/JSON in the spellings that senders use, and what is refused.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;

use super::*;

fn spans(json: &str) -> ExportTraceServiceRequest {
    let bytes = to_protobuf(Signal::Traces, json.as_bytes()).expect("transcode");
    ExportTraceServiceRequest::decode(bytes.as_slice()).expect("protobuf")
}

fn refused(json: &str) -> String {
    to_protobuf(Signal::Traces, json.as_bytes()).expect_err("refused").to_string()
}

#[test]
fn camel_and_snake_case_are_one() {
    let camel = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"4BF92f3577b34da6a3ce929d0e0e4736",
        "spanId":"00f067aa0ba902b7","kind":2,"startTimeUnixNano":"17","endTimeUnixNano":18,
        "droppedEventsCount":1.0,"unknown":{"a":[1,{"b":null}]},"status":{"code":"STATUS_CODE_ERROR"}}]}]}]}"#;
    let snake = r#"{"resource_spans":[{"scope_spans":[{"spans":[{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id":"00f067aa0ba902b7","kind":"SPAN_KIND_SERVER","start_time_unix_nano":17,"name":null,
        "end_time_unix_nano":"18","dropped_events_count":"1","status":{"code":2}}]}]}]}"#;
    assert_eq!(spans(camel), spans(snake));
    let request = spans(camel);
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.kind, span.start_time_unix_nano, span.end_time_unix_nano), (2, 17, 18));
    assert_eq!(span.trace_id.len(), 16);
}

#[test]
fn every_kind_of_value_is_read() {
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"SEVERITY_NUMBER_WARN2",
        "attributes":[{"value":{"intValue":"-5"},"key":"late"},{"key":"b","value":{"bytesValue":"AQID_-8="}},
        {"key":"d","value":{"doubleValue":"-Infinity"}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true},{}]}}},
        {"key":"m","value":{"kvlistValue":{"values":[{"key":"x","value":{"stringValue":"\u00e9"}}]}}}]}]}]}]}"#;
    let bytes = to_protobuf(Signal::Logs, json.as_bytes()).expect("transcode");
    let request = ExportLogsServiceRequest::decode(bytes.as_slice()).expect("protobuf");
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.severity_number, 14);
    let values: Vec<&Value> = record
        .attributes
        .iter()
        .map(|kv| kv.value.as_ref().and_then(|v| v.value.as_ref()).expect("set"))
        .collect();
    assert_eq!(values[0], &Value::IntValue(-5));
    assert_eq!(values[1], &Value::BytesValue(vec![1, 2, 3, 0xff, 0xef]));
    assert_eq!(values[2], &Value::DoubleValue(f64::NEG_INFINITY));
    assert!(matches!(values[3], Value::ArrayValue(array) if array.values.len() == 2));
    assert!(matches!(values[4], Value::KvlistValue(map) if map.values[0].key == "x"));
    // A key that comes after its value is written before it: the bytes are those of the usual order.
    let usual = json
        .replace(r#"{"value":{"intValue":"-5"},"key":"late"}"#, r#"{"key":"late","value":{"intValue":-5}}"#);
    assert_eq!(bytes, to_protobuf(Signal::Logs, usual.as_bytes()).expect("transcode"));
    assert_eq!(bytes, request.encode_to_vec());
}

#[test]
fn metrics_have_packed_lists() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","histogram":{"aggregationTemporality":2,
        "dataPoints":[{"count":"3","sum":4.5,"bucketCounts":["1","2"],"explicitBounds":[0.5],"exemplars":[{"asInt":"-2"}]}]}},
        {"name":"e","exponentialHistogram":{"dataPoints":[{"scale":-3,"positive":{"offset":-1,"bucketCounts":[300,"0"]}}]}}]}]}]}"#;
    let bytes = to_protobuf(Signal::Metrics, json.as_bytes()).expect("transcode");
    let request = ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("protobuf");
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!("not a histogram") };
    assert_eq!(histogram.data_points[0].bucket_counts, [1, 2]);
    assert_eq!(histogram.data_points[0].explicit_bounds, [0.5]);
    let Some(Data::ExponentialHistogram(exponential)) = &metrics[1].data else { panic!("not exponential") };
    let point = &exponential.data_points[0];
    assert_eq!(
        (point.scale, point.positive.as_ref().map(|b| (b.offset, b.bucket_counts.clone()))),
        (-3, Some((-1, vec![300, 0])))
    );
}

#[test]
fn ids_that_are_not_hex_stay_malformed() {
    for id in ["zzzzzzzzzzzzzzzz", "S/kvNXezTaajzpKdDg5HNg==", "abc", "zzzzzzzz"] {
        let json = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{id}","spanId":"{id}"}}]}}]}}]}}"#
        );
        let request = spans(&json);
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert!(!matches!(span.trace_id.len(), 8 | 16), "{id}");
        assert!(span.span_id.len() != 8, "{id}");
    }
}

#[test]
fn errors_name_the_member() {
    let error =
        refused(r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{},{"startTimeUnixNano":"soon"}]}]}]}"#);
    assert!(
        error.contains(
            "$.resource_spans[0].scope_spans[0].spans[1].start_time_unix_nano: expected an unsigned"
        ),
        "{error}"
    );
    assert!(error.contains("found \"soon\""), "{error}");
    assert!(refused(r#"{"resourceSpans":{}}"#).contains("$.resource_spans: expected an array"));
    assert!(
        refused(r#"{"resourceSpans":[{"resource":7}]}"#)
            .contains("$.resource_spans[0].resource: expected an object (Resource), found 7")
    );
    for json in ["", "[]", "7", "{", "{}x", "{\"resourceSpans\":[}", "\u{feff}{}"] {
        refused(json);
    }
}

#[test]
fn bare_numbers_that_are_none_are_read() {
    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"NaN \"NaN, \\\\","gauge":{"dataPoints":[
        {"asDouble":NaN},{"asDouble":-Infinity},{"asDouble":Infinity},{"asDouble":-1.5}]}}]}]}]}"#;
    let bytes = to_protobuf(Signal::Metrics, json.as_bytes()).expect("transcode");
    let request = ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("protobuf");
    let metric = &request.resource_metrics[0].scope_metrics[0].metrics[0];
    assert_eq!(metric.name, "NaN \"NaN, \\\\");
    let Some(Data::Gauge(gauge)) = &metric.data else { panic!("not a gauge") };
    let values: Vec<String> = gauge.data_points.iter().map(|point| format!("{:?}", point.value)).collect();
    assert_eq!(values, ["NaN", "-inf", "inf", "-1.5"].map(|value| format!("Some(AsDouble({value}))")));
    for json in ["NaN", "{NaN", "{\"resourceSpans\":NaN}", "{\"a\":\"\\"] {
        refused(json);
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(levels);
        let close = "]}}".repeat(levels);
        format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"k","value":{open}{close}}}]}}}}]}}"#
        )
    };
    assert!(to_protobuf(Signal::Traces, nested(18).as_bytes()).is_ok());
    for levels in [33, 101, 10_000, 200_000] {
        let json = nested(levels);
        let error = std::thread::Builder::new()
            .stack_size(512 << 10)
            .spawn(move || refused(&json))
            .expect("thread")
            .join()
            .expect("no overflow");
        assert!(error.contains("nested deeper than 64 levels"), "{error}");
    }
    // Members that are not known are skipped without a stack.
    let unknown = format!(r#"{{"x":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert!(to_protobuf(Signal::Traces, unknown.as_bytes()).is_ok());
}
