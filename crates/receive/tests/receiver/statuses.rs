//! Every cause of a refusal in both protocols, and the exact answers to what is taken.

use std::time::Duration;

use http::Request;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use throughline_model::Signal;

use crate::client::{
    Answer, Http2, Sent, call, grpc, gzip, http1, post, prefixed, prefixed_bytes, raw, zstd,
};
use crate::server::Running;
use crate::status_message::Status;
use crate::telemetry::{logs, metrics, now, one_item, span, traces, traces_json};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const PATHS: [(Signal, &str); 3] =
    [(Signal::Traces, "/v1/traces"), (Signal::Metrics, "/v1/metrics"), (Signal::Logs, "/v1/logs")];

/// Small enough to go over in a test.
const REQUEST_BYTES_MAX: usize = 100_000;

/// Checks a refusal over HTTP: status, a `Status` body in the request's encoding, the hint in both places or none.
fn check_http(name: &str, answer: &Answer, content_type: &str, status: u16, says: &str, retries: bool) {
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    assert_eq!(answer.header("content-type"), content_type, "{name}");
    let message = if content_type == JSON {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let details = body["details"].as_array();
        let types: Vec<_> = details.into_iter().flatten().filter_map(|d| d["@type"].as_str()).collect();
        let expected = detail_types(retries, status == 400);
        assert_eq!(types, expected, "{name}: {body}");
        body["message"].as_str().expect("message").to_owned()
    } else {
        let body = Status::decode(answer.body.clone()).expect("a google.rpc.Status");
        assert_eq!(body.retry_after().is_some(), retries, "{name}: {body:?}");
        assert_eq!(body.bad_field().is_some(), status == 400, "{name}: {body:?}");
        body.message
    };
    assert!(message.contains(says), "{name}: {message:?} should say {says:?}");
    let hint =
        answer.headers.get("retry-after").map(|v| v.to_str().expect("text").parse::<u64>().expect("seconds"));
    assert_eq!(hint.is_some_and(|seconds| (1..=60).contains(&seconds)), retries, "{name}: {hint:?}");
    assert!(answer.headers.get("access-control-allow-origin").is_none(), "{name}: no CORS");
}

fn detail_types(retries: bool, is_bad_data: bool) -> Vec<&'static str> {
    match (retries, is_bad_data) {
        (true, _) => vec!["type.googleapis.com/google.rpc.RetryInfo"],
        (_, true) => vec!["type.googleapis.com/google.rpc.BadRequest"],
        _ => vec![],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_data_names_its_field() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    // Of the second resource's first scope the length is longer than what is there.
    let body = [&traces(vec![span(1, 1)])[..], &[0x0a, 0x02, 0x12, 0x7f]].concat();
    let (field, description) =
        client.export(Signal::Traces, &body).await.grpc_details().bad_field().expect("one");
    assert!(field.contains("resource_spans[1]"), "{field:?}");
    assert!(description.contains(&field), "{description:?}");
    let json = traces_json(r#"{"stringValue":"x"}"#).replace(r#""name":"n""#, r#""name":["n"]"#);
    let answer = http1(server.http, post("/v1/traces", JSON, &[], Sent::whole(json))).await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let field = body["details"][0]["fieldViolations"][0]["field"].as_str().expect("a field");
    assert!(answer.status == 400 && field.ends_with(".spans[0].name"), "{body}");
    server.stop().await;
}

/// Checks a refusal over gRPC: Trailers-Only, code, message, and details that repeat them.
fn check_grpc(name: &str, answer: &Answer, code: i32, says: &str, retries: bool) {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/grpc"), "{name}");
    assert!(answer.body.is_empty() && answer.trailers.is_empty(), "{name}: Trailers-Only");
    assert_eq!(answer.grpc_status(), code, "{name}: {answer:?}");
    let details = answer.grpc_details();
    assert_eq!((details.code, details.message.as_str()), (code, answer.grpc_message().as_str()), "{name}");
    assert!(details.message.contains(says), "{name}: {:?} should say {says:?}", details.message);
    let hint = details.retry_after();
    assert_eq!(hint.is_some(), retries, "{name}: {hint:?}");
    assert_eq!(details.bad_field().is_some(), code == 3, "{name}: {details:?}");
    assert!(hint.is_none_or(|hint| (1..=60).contains(&hint.as_secs())), "{name}: {hint:?}");
    assert_eq!(answer.header("grpc-accept-encoding"), "identity,gzip,zstd", "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_over_http_has_its_status_in_the_requests_encoding() {
    let server = Running::start(|config| config.request_bytes_max = REQUEST_BYTES_MAX).await;
    let large = vec![b' '; REQUEST_BYTES_MAX + 1];
    for content_type in [PROTOBUF, JSON] {
        let cut_short =
            if content_type == JSON { b"{\"resourceSpans\":[".to_vec() } else { vec![0x0a, 0x7f, 1] };
        let send = |path, headers: &'static [(&'static str, &'static str)], body| {
            http1(server.http, post(path, content_type, headers, body))
        };
        for (_, path) in PATHS {
            let check = |name: &str, answer, status, says: &str| {
                check_http(
                    &format!("{name} {path} {content_type}"),
                    &answer,
                    content_type,
                    status,
                    says,
                    false,
                );
            };
            check("malformed", send(path, &[], Sent::whole(cut_short.clone())).await, 400, "malformed");
            let broken = send(path, &[("content-encoding", "gzip")], Sent::whole("not gzip")).await;
            check("broken gzip", broken, 400, "gzip");
            let broken = send(path, &[("content-encoding", "zstd")], Sent::whole("not zstd")).await;
            check("broken zstd", broken, 400, "zstd");
            check(
                "declared too large",
                send(path, &[], Sent::whole(large.clone())).await,
                413,
                "100000 bytes",
            );
            check(
                "too large as sent",
                send(path, &[], Sent::undeclared(large.clone())).await,
                413,
                "100000 bytes",
            );
            let bomb = send(path, &[("content-encoding", "gzip")], Sent::whole(gzip(&large))).await;
            check("too large decompressed", bomb, 413, "100000 bytes");
            let bomb = send(path, &[("content-encoding", "zstd")], Sent::whole(zstd(&large))).await;
            check("too large decompressed", bomb, 413, "100000 bytes");
            let foreign = send(path, &[("content-encoding", "br")], Sent::whole("x")).await;
            assert_eq!(foreign.header("accept-encoding"), "gzip, zstd");
            check("unknown compression", foreign, 415, "\"br\"");
            let layered = send(path, &[("content-encoding", "gzip, gzip")], Sent::whole("x")).await;
            check("layered compression", layered, 415, "gzip, gzip");
        }
        let unknown = send("/v1/profiles", &[], Sent::whole("")).await;
        check_http("unknown path", &unknown, content_type, 404, "/v1/profiles", false);
        let slash = send("/v1/traces/", &[], Sent::whole("")).await;
        check_http("unknown path", &slash, content_type, 404, "/v1/traces/", false);
    }
    for (_, path) in PATHS {
        for content_type in ["text/plain", "application/grpc", ""] {
            let answer = http1(server.http, post(path, content_type, &[], Sent::whole("x"))).await;
            check_http("content type", &answer, PROTOBUF, 415, "application/x-protobuf", false);
        }
        for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
            let request = Request::builder().method(method).uri(format!("http://receiver{path}"));
            let request = request.header("host", "receiver").header("origin", "http://elsewhere");
            let answer = http1(server.http, request.body(Sent::whole("")).expect("a request")).await;
            check_http(method, &answer, PROTOBUF, 405, method, false);
            assert_eq!(answer.header("allow"), "POST");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_over_grpc_is_trailers_only_with_its_code() {
    let server = Running::start(|config| config.request_bytes_max = REQUEST_BYTES_MAX).await;
    let client = Http2::connect(server.grpc).await;
    let large = vec![0; REQUEST_BYTES_MAX + 1];
    let lie = [&[0, 0xff, 0xff, 0xff, 0xff][..], b"short"].concat();
    let two = [prefixed_bytes(0, b""), prefixed_bytes(0, b"")].concat();
    type Headers = &'static [(&'static str, &'static str)];
    let cases: Vec<(&str, Headers, Vec<u8>, i32, &str)> = vec![
        ("malformed", &[], prefixed_bytes(0, &[0x0a, 0x7f, 1]), 3, "malformed protobuf"),
        ("broken gzip", &[("grpc-encoding", "gzip")], prefixed_bytes(1, b"not gzip"), 3, "gzip"),
        ("broken zstd", &[("grpc-encoding", "zstd")], prefixed_bytes(1, b"not zstd"), 3, "zstd"),
        ("too large", &[], prefixed_bytes(0, &large), 8, "100000 bytes"),
        ("gzip bomb", &[("grpc-encoding", "gzip")], prefixed_bytes(1, &gzip(&large)), 8, "100000 bytes"),
        ("zstd bomb", &[("grpc-encoding", "zstd")], prefixed_bytes(1, &zstd(&large)), 8, "100000 bytes"),
        ("declared 4 GiB", &[], lie, 8, "100000 bytes"),
        ("unknown compression", &[("grpc-encoding", "snappy")], prefixed_bytes(1, b"x"), 12, "snappy"),
        ("unnamed compression", &[], prefixed_bytes(1, b"x"), 13, "grpc-encoding"),
        ("no message", &[], vec![], 12, "no message"),
        ("two messages", &[], two, 12, "one message"),
        ("half a prefix", &[], vec![0, 0], 3, "prefix"),
        ("half a message", &[], vec![0, 0, 0, 0, 9, 1, 2], 3, "declares 9 bytes, 2 came"),
        ("a strange flag", &[], vec![7, 0, 0, 0, 0], 3, "first byte is 7"),
    ];
    for signal in Signal::ALL {
        for (name, headers, body, code, says) in &cases {
            let answer = client.send(grpc(signal, headers, Sent::whole(body.clone()))).await;
            check_grpc(&format!("{name} {signal:?}"), &answer, *code, says, false);
        }
    }
    for path in ["/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/x", "/v1/traces"] {
        let answer = client.send(call(path, &[], prefixed(0, b""))).await;
        check_grpc(path, &answer, 12, path, false);
    }
    // What is not gRPC gets an HTTP status, so that no other client takes it for a success.
    let plain = http1(server.grpc, post("/v1/traces", PROTOBUF, &[], Sent::whole(""))).await;
    assert_eq!(plain.status, 415);
    assert!(String::from_utf8_lossy(&plain.body).contains("4318"), "{plain:?}");
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let old = http1(server.grpc, post(path, "application/grpc", &[], prefixed(0, b""))).await;
    assert_eq!(old.status, 505);
    let got = raw(server.grpc, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 405") && got.to_ascii_lowercase().contains("allow: post"), "{got}");
    let lost = Http2::connect(server.http).await.export(Signal::Traces, b"").await;
    assert_eq!(lost.status, 404, "OTLP/gRPC on the port of OTLP/HTTP");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_request_is_a_success_and_is_not_written() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    for (signal, path) in PATHS {
        let answer = client.export(signal, b"").await;
        assert_eq!(answer.grpc_body::<ExportTraceServiceResponse>(), ExportTraceServiceResponse::default());
        let answer = http1(server.http, post(path, PROTOBUF, &[], Sent::whole(""))).await;
        assert_eq!((answer.status, answer.header("content-type"), answer.body.len()), (200, PROTOBUF, 0));
        let answer =
            http1(server.http, post(path, "application/json; charset=utf-8", &[], Sent::whole("{}"))).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, JSON));
        assert_eq!(answer.body.as_ref(), b"{}");
    }
    assert_eq!(server.received(), [0, 0, 0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signal_is_taken_in_every_encoding_and_compression() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let over_http2 = Http2::connect(server.http).await;
    for (signal, path) in PATHS {
        for (name, flag, squeeze) in compressions() {
            let body = squeeze(&one_item(signal));
            let answer = client.send(grpc(signal, &[("grpc-encoding", name)], prefixed(flag, &body))).await;
            assert_eq!(answer.grpc_body::<ExportLogsServiceResponse>(), ExportLogsServiceResponse::default());
            let body = squeeze(&one_item(signal));
            let request = post(path, PROTOBUF, &[("content-encoding", name)], Sent::whole(body));
            let answer = http1(server.http, request).await;
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{path} {name}: {answer:?}");
            let body = squeeze(&one_item(signal));
            let request = post(path, PROTOBUF, &[("content-encoding", name)], Sent::whole(body));
            let answer = over_http2.send(request).await;
            assert_eq!((answer.status, answer.body.len()), (200, 0), "h2 {path} {name}: {answer:?}");
        }
    }
    let body = traces_json(r#"{"stringValue":"x"}"#);
    for (name, _, squeeze) in compressions() {
        let body = Sent::whole(squeeze(body.as_bytes()));
        let answer = http1(server.http, post("/v1/traces", JSON, &[("content-encoding", name)], body)).await;
        assert_eq!((answer.status, answer.body.as_ref()), (200, &b"{}"[..]), "{name}: {answer:?}");
    }
    // The three JSON requests are the same: the first is stored, its retries are not.
    assert_eq!(server.received(), [9 + 3, 9, 9]);
    assert_eq!(server.accepted(), [9 + 3, 9, 9]);
    server.stop().await;
}

type Squeeze = fn(&[u8]) -> Vec<u8>;

fn compressions() -> [(&'static str, u8, Squeeze); 3] {
    [("identity", 0, |bytes| bytes.to_vec()), ("gzip", 1, gzip), ("zstd", 1, zstd)]
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_success_is_exact() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let mut bad_id = span(3, 3);
    bad_id.trace_id = vec![3; 15];
    let mut zero_id = span(3, 4);
    zero_id.span_id = vec![0; 8];
    let mut year_2100 = span(3, 5);
    year_2100.start_time_unix_nano = 4_102_444_800_000_000_000;
    year_2100.end_time_unix_nano = 4_102_444_800_000_000_001;
    let mut year_1970 = span(3, 6);
    (year_1970.start_time_unix_nano, year_1970.end_time_unix_nano) = (1, 2);
    let mixed = traces(vec![span(3, 1), bad_id.clone(), zero_id, span(3, 2), year_2100, year_1970]);

    let partial = client.export(Signal::Traces, &mixed).await.grpc_body::<ExportTraceServiceResponse>();
    let partial = partial.partial_success.expect("partial_success");
    assert_eq!(partial.rejected_spans, 4, "{partial:?}");
    assert!(partial.error_message.contains("trace_id"), "{partial:?}");
    let answer =
        http1(server.http, post("/v1/traces", PROTOBUF, &[], Sent::whole(traces(vec![bad_id])))).await;
    assert_eq!(answer.status, 200, "a request of which nothing is taken is still a partial success");
    let all = ExportTraceServiceResponse::decode(answer.body).expect("a response").partial_success;
    assert_eq!(all.expect("partial_success").rejected_spans, 1);

    let points = metrics(&[now(), 4_102_444_800_000_000_000, now()]);
    let partial = client.export(Signal::Metrics, &points).await.grpc_body::<ExportMetricsServiceResponse>();
    assert_eq!(partial.partial_success.expect("partial_success").rejected_data_points, 1);

    let json = traces_json(r#"{"stringValue":"x"}"#).replace(r#""traceId":"0"#, r#""traceId":""#);
    let answer = http1(server.http, post("/v1/traces", JSON, &[], Sent::whole(json))).await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((answer.status, &body["partialSuccess"]["rejectedSpans"]), (200, &"1".into()), "{body}");

    let snapshot = server.store.snapshot();
    let (id, _) = throughline_model::TraceId::parse(&"03".repeat(16)).expect("an id");
    let found = snapshot.trace(id, throughline_store::snapshot::Want::ALL).expect("readable");
    assert_eq!(found.spans.len(), 2, "the good spans of the mixed request");
    assert_eq!(server.rejected(), [4 + 1 + 1, 1, 0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_receiver_says_when_to_return() {
    // Half of this is for reading: less than one body.
    let server = Running::start(|config| config.in_flight_bytes_max = 100_000).await;
    let client = Http2::connect(server.grpc).await;
    let big = vec![0; 60_000];
    for signal in Signal::ALL {
        check_grpc("busy", &client.export(signal, &big).await, 14, "in flight", true);
    }
    for (_, path) in PATHS {
        for content_type in [PROTOBUF, JSON] {
            let declared = http1(server.http, post(path, content_type, &[], Sent::whole(big.clone()))).await;
            check_http("busy", &declared, content_type, 503, "in flight", true);
            let undeclared =
                http1(server.http, post(path, content_type, &[], Sent::undeclared(big.clone()))).await;
            check_http("busy", &undeclared, content_type, 503, "in flight", true);
        }
    }
    assert_eq!(server.stats.read().in_flight_bytes, 0, "what was refused holds nothing");
    let small = client.export(Signal::Logs, &logs(&["x"])).await;
    assert_eq!(small.grpc_status(), 0, "a small request has room");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_given_up_and_may_be_sent_again() {
    let server = Running::start(|config| config.body_check_interval = Duration::from_millis(300)).await;
    let client = Http2::connect(server.grpc).await;
    for signal in Signal::ALL {
        let answer = client.send(grpc(signal, &[], Sent::stalling(vec![0, 0]))).await;
        check_grpc("slow", &answer, 14, "too slowly", true);
    }
    for content_type in [PROTOBUF, JSON] {
        let answer = http1(server.http, post("/v1/logs", content_type, &[], Sent::stalling("x"))).await;
        check_http("slow", &answer, content_type, 503, "too slowly", true);
        assert_eq!(answer.header("connection"), "close", "the rest of the body is not a request");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_retryable_and_heals() {
    let (server, disk) = Running::start_simulated(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    assert_eq!(client.export(Signal::Logs, &logs(&["before"])).await.grpc_status(), 0);
    disk.set_capacity(disk.used_bytes());
    server.wait_for_full_disk().await;
    for (signal, path) in PATHS {
        let answer = client.export(signal, &one_item(signal)).await;
        check_grpc("disk full", &answer, 14, "disk", true);
        let answer = http1(server.http, post(path, PROTOBUF, &[], Sent::whole(one_item(signal)))).await;
        check_http("disk full", &answer, PROTOBUF, 503, "disk", true);
    }
    let health = client.send(call("/grpc.health.v1.Health/Check", &[], prefixed(0, b""))).await;
    assert_eq!(health.body.as_ref(), [0, 0, 0, 0, 2, 8, 2], "NOT_SERVING");
    assert_eq!(server.received(), [0, 0, 1], "what was refused is in no column");
    disk.set_capacity(1 << 40);
    let start = tokio::time::Instant::now();
    while client.export(Signal::Logs, &logs(&["after"])).await.grpc_status() != 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "back to writable within ten seconds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_is_retryable_and_acknowledges_nothing() {
    let (server, disk) = Running::start_simulated(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    disk.fail_sync_at(disk.syncs() + 1..=u64::MAX);
    for (signal, path) in PATHS {
        let answer = client.export(signal, &one_item(signal)).await;
        check_grpc("failed sync", &answer, 14, "", true);
        let answer = http1(server.http, post(path, PROTOBUF, &[], Sent::whole(one_item(signal)))).await;
        check_http("failed sync", &answer, PROTOBUF, 503, "", true);
    }
    assert_eq!(server.received(), [0, 0, 0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_served_over_grpc() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let check = |service: &str| {
        let mut message = vec![];
        if !service.is_empty() {
            message = crate::telemetry::field(1, service.as_bytes());
        }
        client.send(call("/grpc.health.v1.Health/Check", &[], prefixed(0, &message)))
    };
    for service in ["", "opentelemetry.proto.collector.logs.v1.LogsService"] {
        let answer = check(service).await;
        assert_eq!((answer.grpc_status(), answer.body.as_ref()), (0, &[0, 0, 0, 0, 2, 8, 1][..]), "SERVING");
    }
    assert_eq!(check("mail.v1.Mail").await.grpc_status(), 5);
    let watch = client.send(call("/grpc.health.v1.Health/Watch", &[], prefixed(0, b""))).await;
    check_grpc("watch", &watch, 12, "Watch", false);
    server.stop().await;
}
