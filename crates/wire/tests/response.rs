//! Responses, read back by prost and as JSON.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::{Value as Json, json};
use throughline_model::Signal;
use throughline_wire::response::{export_response, status};
use throughline_wire::{Encoding, RejectReason, Rejection};

fn as_json(bytes: &[u8]) -> Json {
    serde_json::from_slice(bytes).expect("JSON")
}

#[test]
fn full_success_is_an_empty_message() {
    for signal in Signal::ALL {
        assert_eq!(export_response(signal, Encoding::Protobuf, 0, ""), b"");
        assert_eq!(export_response(signal, Encoding::Json, 0, ""), b"{}");
    }
}

#[test]
fn partial_success_has_its_count_and_message() {
    let bytes = |signal| export_response(signal, Encoding::Protobuf, 300, "two reasons");
    let traces = ExportTraceServiceResponse::decode(bytes(Signal::Traces).as_slice()).expect("protobuf");
    let partial = traces.partial_success.expect("partial");
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (300, "two reasons"));
    let logs = ExportLogsServiceResponse::decode(bytes(Signal::Logs).as_slice()).expect("protobuf");
    assert_eq!(logs.partial_success.expect("partial").rejected_log_records, 300);
    let metrics = ExportMetricsServiceResponse::decode(bytes(Signal::Metrics).as_slice()).expect("protobuf");
    assert_eq!(metrics.partial_success.expect("partial").rejected_data_points, 300);
    for (signal, field) in [
        (Signal::Traces, "rejectedSpans"),
        (Signal::Logs, "rejectedLogRecords"),
        (Signal::Metrics, "rejectedDataPoints"),
    ] {
        let answer = as_json(&export_response(signal, Encoding::Json, 300, "two \"reasons\""));
        assert_eq!(answer, json!({"partialSuccess": {field: "300", "errorMessage": "two \"reasons\""}}));
    }
    // A remark without a rejection is a warning, as the specification allows.
    let warning = export_response(Signal::Logs, Encoding::Protobuf, 0, "careful");
    let warning = ExportLogsServiceResponse::decode(warning.as_slice()).expect("protobuf");
    assert_eq!(warning.partial_success.map(|partial| partial.rejected_log_records), Some(0));
}

/// `google.rpc.Status`, `google.protobuf.Any`, `google.rpc.RetryInfo` and `google.protobuf.Duration`, as published.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[test]
fn a_status_says_when_to_try_again() {
    let delay = Duration::from_millis(2_500);
    let read =
        Status::decode(status(Encoding::Protobuf, 14, "busy", Some(delay)).as_slice()).expect("protobuf");
    assert_eq!((read.code, read.message.as_str()), (14, "busy"));
    assert_eq!(read.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let info = RetryInfo::decode(read.details[0].value.as_slice()).expect("protobuf");
    assert_eq!(info.retry_delay, Some(Delay { seconds: 2, nanos: 500_000_000 }));
    let read = Status::decode(status(Encoding::Protobuf, 3, "bad", None).as_slice()).expect("protobuf");
    assert_eq!((read.code, read.details.len()), (3, 0));
    let answer = as_json(&status(Encoding::Json, 14, "busy", Some(delay)));
    let detail = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.500s"});
    assert_eq!(answer, json!({"code": 14, "message": "busy", "details": [detail]}));
    assert_eq!(as_json(&status(Encoding::Json, 3, "bad", None)), json!({"code": 3, "message": "bad"}));
}

#[test]
fn rejections_make_one_sentence_each() {
    let rejection = |reason, count, message: &str| Rejection { reason, count, message: message.to_owned() };
    let rejected =
        [rejection(RejectReason::InvalidId, 2, "x is bad"), rejection(RejectReason::TooOld, 0, "y is old")];
    assert_eq!(Rejection::total(&rejected), 2);
    let summary = "2 spans rejected (invalid_id): x is bad; spans stored in part (too_old): y is old";
    assert_eq!(Rejection::summary(&rejected, Signal::Traces), summary);
    for reason in RejectReason::ALL {
        assert_eq!(RejectReason::from_code(reason.code()), Some(reason));
    }
}
