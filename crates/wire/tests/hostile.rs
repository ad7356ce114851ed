//! Hostile and faulty input, case by case: the right refusal, the field named, the good items kept.

#[path = "requests/generate.rs"]
#[expect(dead_code, reason = "only the values are used here")]
mod generate;

use std::io::Write as _;

use generate::{HOUR_NS, NOW};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use throughline_model::batch::{column_fixed, column_text, log};
use throughline_model::protobuf::put_bytes;
use throughline_model::{Batch, Signal};
use throughline_wire::{
    Compression, DecodeContext, DecodeError, DecodeLimits, Decoded, Encoding, RejectReason, Rejection,
    decode, decompress,
};

fn context() -> DecodeContext {
    DecodeContext { received_at: NOW as i64, limits: DecodeLimits::with_retention(24 * HOUR_NS as i64) }
}

fn good_span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "GET /".to_owned(),
        start_time_unix_nano: NOW,
        end_time_unix_nano: NOW + 5,
        ..Default::default()
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}

fn pair(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

fn span_request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
}

fn spans(spans: Vec<Span>) -> Decoded {
    decode(Signal::Traces, Encoding::Protobuf, &span_request(spans).encode_to_vec(), &context())
        .expect("decodes")
}

fn logs(log_records: Vec<LogRecord>) -> Decoded {
    let scope_logs = vec![ScopeLogs { log_records, ..Default::default() }];
    let request =
        ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..Default::default() }] };
    decode(Signal::Logs, Encoding::Protobuf, &request.encode_to_vec(), &context()).expect("decodes")
}

/// A good span between two of the bad kind: it is kept, they are counted, and the message names the field.
fn check_bad_span(bad: Span, reason: RejectReason, message: &str) {
    let decoded = spans(vec![bad.clone(), good_span(), bad]);
    assert_eq!(decoded.batch.items(), 1, "{message}");
    let [Rejection { reason: found, count: 2, message: text }] = decoded.rejected.as_slice() else {
        panic!("{:?}", decoded.rejected);
    };
    assert_eq!(*found, reason);
    assert!(text.starts_with("resource_spans[0].scope_spans[0].spans[0]: "), "{text}");
    assert!(text.contains(message), "{text}");
}

#[test]
fn bad_spans_are_refused_one_by_one() {
    let good = good_span;
    let bad_id = RejectReason::InvalidId;
    check_bad_span(
        Span { trace_id: vec![1; 15], ..good() },
        bad_id,
        "trace_id has 15 bytes, it must have 16",
    );
    check_bad_span(Span { trace_id: vec![], ..good() }, bad_id, "trace_id has 0 bytes, it must have 16");
    check_bad_span(Span { trace_id: vec![0; 16], ..good() }, bad_id, "trace_id is all zeros");
    check_bad_span(Span { span_id: vec![1; 16], ..good() }, bad_id, "span_id has 16 bytes, it must have 8");
    check_bad_span(
        Span { parent_span_id: vec![1], ..good() },
        bad_id,
        "parent_span_id has 1 bytes, it must have 8",
    );
    let at = |start| Span { start_time_unix_nano: start, end_time_unix_nano: start, ..good() };
    check_bad_span(at(0), RejectReason::TooOld, "start_time_unix_nano is not set");
    check_bad_span(
        at(1),
        RejectReason::TooOld,
        "start_time_unix_nano 1 is 20254 days before the time of receipt, limit 24 h",
    );
    check_bad_span(
        at(NOW + HOUR_NS),
        RejectReason::TooNew,
        "is 60 min ahead of the time of receipt, limit 10 min",
    );
    check_bad_span(at(u64::MAX), RejectReason::TooNew, "start_time_unix_nano");
    let deep = vec![pair("k", generate::nested(33))];
    check_bad_span(
        Span { attributes: deep, ..good() },
        RejectReason::TooDeep,
        "attributes nests values deeper than 32",
    );
    let long = vec![pair("k", text(&"x".repeat(2 << 20)))];
    check_bad_span(Span { attributes: long, ..good() }, RejectReason::TooLarge, "attributes has 2097");
    let many = vec![pair("k", text("v")); 1_025];
    check_bad_span(Span { attributes: many, ..good() }, RejectReason::TooLarge, "more than 1024 attributes");
}

#[test]
fn times_at_the_limits_are_kept() {
    let context = context();
    for start in [NOW + DecodeLimits::FUTURE_NS as u64, NOW - 24 * HOUR_NS] {
        let span = Span { start_time_unix_nano: start, end_time_unix_nano: start - 7, ..good_span() };
        assert_eq!(spans(vec![span]).batch.items(), 1, "{start}");
    }
    let forever = DecodeContext { limits: DecodeLimits::with_retention(i64::MAX), ..context };
    let old = Span { start_time_unix_nano: 1, ..good_span() };
    let bytes = span_request(vec![old]).encode_to_vec();
    let decoded = decode(Signal::Traces, Encoding::Protobuf, &bytes, &forever).expect("decodes");
    assert_eq!(decoded.batch.items(), 1);
}

/// Replaces the placeholder text of a request by bytes that are not UTF-8.
fn with_invalid_utf8(mut bytes: Vec<u8>, times: usize) -> Vec<u8> {
    let mut replaced = 0;
    while let Some(at) = bytes.windows(6).position(|window| window == b"BROKEN") {
        bytes[at] = 0xff;
        replaced += 1;
    }
    assert_eq!(replaced, times);
    bytes
}

#[test]
fn invalid_utf8_costs_its_item_only() {
    let bad = [
        Span { name: "BROKEN".to_owned(), ..good_span() },
        Span { attributes: vec![pair("k", text("BROKEN"))], ..good_span() },
        Span { attributes: vec![pair("BROKEN", text("v"))], ..good_span() },
        Span { attributes: vec![pair(&format!("{}BROKEN", "k".repeat(200)), text("v"))], ..good_span() },
        Span { trace_state: "BROKEN".to_owned(), ..good_span() },
    ];
    for span in bad {
        let bytes = with_invalid_utf8(span_request(vec![good_span(), span, good_span()]).encode_to_vec(), 1);
        let decoded = decode(Signal::Traces, Encoding::Protobuf, &bytes, &context()).expect("decodes");
        assert_eq!(decoded.batch.items(), 2);
        assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), (RejectReason::InvalidUtf8, 1));
        assert!(decoded.rejected[0].message.contains("spans[1]"), "{}", decoded.rejected[0].message);
    }
}

#[test]
fn a_bad_resource_costs_its_own_items_only() {
    let of_service = |service: &str| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![pair("service.name", text(service))],
            ..Default::default()
        }),
        scope_spans: vec![ScopeSpans { spans: vec![good_span(), good_span()], ..Default::default() }],
        ..Default::default()
    };
    let request =
        ExportTraceServiceRequest { resource_spans: vec![of_service("BROKEN"), of_service("cart")] };
    let bytes = with_invalid_utf8(request.encode_to_vec(), 1);
    let decoded = decode(Signal::Traces, Encoding::Protobuf, &bytes, &context()).expect("decodes");
    assert_eq!((decoded.batch.items(), decoded.rejected[0].count), (2, 2));
    assert!(decoded.rejected[0].message.contains("resource.attributes is not valid UTF-8"));
}

#[test]
fn log_records_with_malformed_ids_are_kept() {
    let record = |trace_id: &[u8]| LogRecord {
        time_unix_nano: NOW,
        trace_id: trace_id.to_vec(),
        body: Some(text("hello")),
        ..Default::default()
    };
    let decoded = logs(vec![record(&[7; 16]), record(&[9; 8]), record(&[0xab, 0xcd]), record(&[])]);
    assert!(decoded.rejected.is_empty());
    let Batch::Logs(batch) = &decoded.batch else { panic!("not logs") };
    let ids = column_fixed(&batch.rows, log::TRACE_ID);
    let originals = column_text(&batch.rows, log::TRACE_ID_ORIGINAL);
    let ids: Vec<bool> = ids.iter().map(|id| id.is_some()).collect();
    assert_eq!(ids, [true, true, false, false]);
    let originals: Vec<Option<&str>> = originals.iter().collect();
    assert_eq!(originals, [None, Some("0909090909090909"), Some("abcd"), None]);
}

#[test]
fn log_records_find_their_time() {
    let record = |time_unix_nano, observed_time_unix_nano| LogRecord {
        time_unix_nano,
        observed_time_unix_nano,
        ..Default::default()
    };
    let go_zero = (-6_795_364_578_871_345_152_i64) as u64;
    let times =
        [(0, 0), (0, NOW - 1), (NOW - 2, 5), (1, NOW), (0, 1), (go_zero, go_zero), (go_zero, NOW - 3)];
    let decoded = logs(times.map(|(time, observed)| record(time, observed)).to_vec());
    let Batch::Logs(batch) = &decoded.batch else { panic!("not logs") };
    let times = throughline_model::batch::column_time(&batch.rows, log::TIME);
    assert_eq!(times.values().to_vec(), [0, 1, 2, 0, 3].map(|ago| NOW as i64 - ago));
    assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), (RejectReason::TooOld, 2));
}

#[test]
fn requests_have_an_item_limit() {
    let mut context = context();
    context.limits.items_per_request = 10;
    let bytes = span_request(vec![good_span(); 25]).encode_to_vec();
    let decoded = decode(Signal::Traces, Encoding::Protobuf, &bytes, &context).expect("decodes");
    assert_eq!((decoded.batch.items(), decoded.rejected[0].count), (10, 15));
    assert_eq!(decoded.rejected[0].reason, RejectReason::TooManyItems);
}

#[test]
fn metrics_without_temporality_are_refused_by_the_point() {
    let point = NumberDataPoint {
        time_unix_nano: NOW,
        value: Some(number_data_point::Value::AsInt(1)),
        ..Default::default()
    };
    let sum = |temporality| Metric {
        name: "requests".to_owned(),
        data: Some(Data::Sum(Sum {
            data_points: vec![point.clone(); 3],
            aggregation_temporality: temporality,
            is_monotonic: true,
        })),
        ..Default::default()
    };
    let nothing = NumberDataPoint { value: None, ..point.clone() };
    let stale = NumberDataPoint { flags: 1, ..nothing.clone() };
    let gauge = Data::Gauge(Gauge { data_points: vec![nothing, stale, point.clone()] });
    let gauge = Metric { name: "depth".to_owned(), data: Some(gauge), ..Default::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![sum(0), sum(2), gauge], ..Default::default() }];
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..Default::default() }],
    };
    let decoded =
        decode(Signal::Metrics, Encoding::Protobuf, &request.encode_to_vec(), &context()).expect("decodes");
    assert_eq!((decoded.batch.items(), decoded.rejected[0].count), (5, 4));
    assert!(decoded.rejected[0].message.contains("aggregation_temporality is unspecified"));
    let Batch::Metrics(batch) = &decoded.batch else { panic!("not metrics") };
    assert_eq!(batch.series.num_rows(), 2);
}

/// A request of one span whose attribute nests `depth` values, encoded from the inside out without a recursion.
fn deep_request(depth: usize) -> Vec<u8> {
    // A list of the pieces that stand before the value, innermost first, keeps this linear in the depth.
    let (mut prefixes, mut length) = (Vec::with_capacity(depth), 2);
    for _ in 1..depth {
        let mut array = Vec::new();
        put_bytes(&mut array, 1, &[]);
        let mut head = vec![0x0a];
        throughline_model::protobuf::put_varint(&mut head, length as u64);
        let array_length = head.len() + length;
        let mut any = vec![0x2a];
        throughline_model::protobuf::put_varint(&mut any, array_length as u64);
        any.extend_from_slice(&head);
        length += any.len();
        prefixes.push(any);
    }
    let mut value: Vec<u8> = prefixes.into_iter().rev().flatten().collect();
    value.extend_from_slice(&[0x18, 1]);
    let mut message = span_request(vec![]).encode_to_vec();
    message.clear();
    let mut key_value = Vec::new();
    put_bytes(&mut key_value, 1, b"k");
    put_bytes(&mut key_value, 2, &value);
    let mut span = good_span().encode_to_vec();
    put_bytes(&mut span, 9, &key_value);
    for field in [2, 2, 1] {
        let mut outer = Vec::new();
        put_bytes(&mut outer, field, &span);
        span = outer;
    }
    span
}

#[test]
fn depth_bombs_are_refused_on_a_small_stack() {
    for (depth, kept) in [(32, 1), (33, 0), (101, 0), (10_000, 0), (200_000, 0)] {
        let bytes = deep_request(depth);
        let mut context = context();
        context.limits.attribute_bytes = usize::MAX;
        let decoded = std::thread::Builder::new()
            .stack_size(512 << 10)
            .spawn(move || decode(Signal::Traces, Encoding::Protobuf, &bytes, &context))
            .expect("thread")
            .join()
            .expect("no overflow")
            .expect("decodes");
        assert_eq!(decoded.batch.items(), kept, "{depth}");
        assert_eq!(Rejection::total(&decoded.rejected), 1 - kept as u64);
    }
}

#[test]
fn malformed_requests_say_where() {
    let mut bytes = span_request(vec![good_span(), good_span()]).encode_to_vec();
    let error =
        decode(Signal::Traces, Encoding::Protobuf, &bytes[..bytes.len() - 1], &context()).expect_err("cut");
    assert_eq!(
        error.to_string(),
        "malformed protobuf at resource_spans[0].scope_spans[0].spans[0]: message ends inside a field"
    );
    // The tag of the second span's last field becomes one of a wire type that does not exist.
    let at = bytes.len() - 9;
    bytes[at] |= 7;
    let error = decode(Signal::Traces, Encoding::Protobuf, &bytes, &context()).expect_err("bad tag");
    assert!(
        error.to_string().starts_with("malformed protobuf at resource_spans[0].scope_spans[0].spans[1]"),
        "{error}"
    );
    assert!(!error.is_too_large());
    for declared in [u32::MAX, u32::MAX / 2] {
        let mut bytes = vec![0x0a];
        throughline_model::protobuf::put_varint(&mut bytes, u64::from(declared));
        assert!(decode(Signal::Logs, Encoding::Protobuf, &bytes, &context()).is_err());
    }
}

#[test]
fn negative_times_in_json_cost_their_item_only() {
    let json = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"-6795364578871345152"}},
            {{"timeUnixNano":-5}},{{"timeUnixNano":"{NOW}"}}]}}]}}]}}"#
    );
    let decoded = decode(Signal::Logs, Encoding::Json, json.as_bytes(), &context()).expect("decodes");
    assert_eq!((decoded.batch.items(), decoded.rejected[0].count), (2, 1));
    let message = &decoded.rejected[0].message;
    assert!(message.contains("log_records[1]: time_unix_nano"), "{message}");
}

#[test]
fn ids_of_wrong_form_in_json_cost_their_span_only() {
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[
            {{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7","startTimeUnixNano":"{NOW}"}},
            {{"traceId":"zzzzzzzzzzzzzzzz","spanId":"00f067aa0ba902b7","startTimeUnixNano":"{NOW}"}},
            {{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f0","startTimeUnixNano":{NOW}}}]}}]}}]}}"#
    );
    let decoded = decode(Signal::Traces, Encoding::Json, json.as_bytes(), &context()).expect("decodes");
    assert_eq!((decoded.batch.items(), decoded.rejected[0].count), (1, 2));
    assert!(
        decoded.rejected[0].message.contains("spans[1]: trace_id has"),
        "{}",
        decoded.rejected[0].message
    );
}

// === compression ===

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("gzip");
    encoder.finish().expect("gzip")
}

#[test]
fn bodies_decompress_up_to_the_limit() {
    let body = vec![b'x'; 100_000];
    let twice = [gzip(&body[..40_000]), gzip(&body[40_000..])].concat();
    let frames =
        [zstd::encode_all(&body[..1], 3), zstd::encode_all(&body[1..], 3)].map(|f| f.expect("zstd")).concat();
    for (compression, compressed) in [
        (Compression::Identity, body.clone()),
        (Compression::Gzip, gzip(&body)),
        (Compression::Gzip, twice),
        (Compression::Zstd, frames),
    ] {
        assert_eq!(decompress(&compressed, compression, body.len()).expect("fits"), body);
        let error = decompress(&compressed, compression, body.len() - 1).expect_err("one byte too many");
        assert_eq!(error, DecodeError::TooLarge { limit_bytes: body.len() - 1 });
        if compression != Compression::Identity {
            let cut = decompress(&compressed[..compressed.len() - 3], compression, 1 << 20).expect_err("cut");
            assert!(!cut.is_too_large(), "{cut}");
            assert!(decompress(b"not compressed at all", compression, 1 << 20).is_err());
        }
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    // A mebibyte of zeros in each of a thousand members or frames.
    let zeros = vec![0; 1 << 20];
    for (compression, part) in [
        (Compression::Gzip, gzip(&zeros)),
        (Compression::Zstd, zstd::encode_all(zeros.as_slice(), 1).expect("zstd")),
    ] {
        let bomb = part.repeat(1_000);
        let error = decompress(&bomb, compression, 4 << 20).expect_err("a bomb");
        assert!(error.is_too_large(), "{error}");
    }
}

#[test]
fn zstd_windows_over_the_limit_are_refused() {
    // Magic, a frame header that declares a window of 2^31 bytes and no content size, and an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3, 0x01, 0x00, 0x00];
    let error = decompress(&frame, Compression::Zstd, 1 << 20).expect_err("a window of 2 GiB");
    assert!(matches!(error, DecodeError::Compression { encoding: "zstd", .. }), "{error}");
    let small = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (20 - 10) << 3, 0x01, 0x00, 0x00];
    assert_eq!(decompress(&small, Compression::Zstd, 1 << 20).expect("a window of 1 MiB").len(), 0);
}
