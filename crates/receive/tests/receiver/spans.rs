//! Jaeger's and Zipkin's spans over real sockets: statuses, words, and what is stored.

use http::Request;
use prost::Message as _;
use throughline_model::TraceId;
use throughline_model::record::Span;
use throughline_store::Want;

use crate::client::{Answer, Http2, Sent, call, gzip, http1, post, prefixed};
use crate::jaeger::{self, thrift_batch, thrift_span, thrift_tags};
use crate::server::Running;
use crate::telemetry::now;
use crate::zipkin;

const POST_SPANS: &str = "/jaeger.api_v2.CollectorService/PostSpans";
const THRIFT: &str = "application/x-thrift";

fn stored(running: &Running, trace: [u8; 16]) -> Vec<Span> {
    running.store.snapshot().trace(TraceId(trace), Want::SPANS).expect("read").spans
}

fn check(answer: &Answer, status: u16, says: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(says), "{text:?} should say {says:?}");
    assert_eq!(text.is_empty(), status == 202, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jaegers_spans_come_over_grpc() {
    let running = Running::start(|_| {}).await;
    let [grpc, ..] = running.spans;
    let connection = Http2::connect(grpc).await;
    let at = now() as i64;
    let body = jaeger::request(vec![jaeger::span(1, 2, at)]).encode_to_vec();
    let answer = connection.send(call(POST_SPANS, &[], prefixed(0, &body))).await;
    answer.grpc_body::<()>();
    let zipped = prefixed(1, &gzip(&jaeger::request(vec![jaeger::span(1, 3, at)]).encode_to_vec()));
    connection.send(call(POST_SPANS, &[("grpc-encoding", "gzip")], zipped)).await.grpc_body::<()>();
    let spans = stored(&running, [1; 16]);
    assert_eq!(spans.len(), 2);
    assert_eq!((spans[0].service.as_str(), spans[0].name.as_str()), ("cart", "GET /cart"));
    // One of two is bad: the other is stored, and the call says which and fails, so that it is not taken for whole.
    let two = vec![jaeger::span(2, 2, at), jaeger::Span { span_id: vec![7], ..jaeger::span(2, 3, at) }];
    let answer =
        connection.send(call(POST_SPANS, &[], prefixed(0, &jaeger::request(two).encode_to_vec()))).await;
    assert_eq!(answer.grpc_status(), 3);
    assert!(answer.grpc_message().contains("spans[1]: span_id has 1 bytes"), "{}", answer.grpc_message());
    assert_eq!(stored(&running, [2; 16]).len(), 1);
    let answer = connection.send(call(POST_SPANS, &[], prefixed(0, &[0x0a, 0xff]))).await;
    assert_eq!(answer.grpc_status(), 3);
    let answer = connection
        .send(call("/jaeger.api_v2.SamplingManager/GetSamplingStrategy", &[], prefixed(0, &[])))
        .await;
    assert_eq!(answer.grpc_status(), 12);
    // Its port takes nothing of OTLP, and OTLP's nothing of it.
    let other = Http2::connect(running.grpc).await;
    assert_eq!(other.send(call(POST_SPANS, &[], prefixed(0, &body))).await.grpc_status(), 12);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jaegers_spans_come_in_thrift_over_http() {
    let running = Running::start(|config| config.request_bytes_max = 50_000).await;
    let [_, http, _] = running.spans;
    let at = now() as i64;
    let send = async |content_type: &str, headers: &[(&str, &str)], body: Vec<u8>| {
        http1(http, post("/api/traces?format=jaeger.thrift", content_type, headers, Sent::whole(body))).await
    };
    let body = thrift_batch(vec![thrift_span(0xc0de, 1, 0, at), thrift_span(0xc0de, 2, 1, at)]);
    check(&send(THRIFT, &[], body.clone()).await, 202, "");
    let other = thrift_batch(vec![thrift_span(0xc0de, 3, 1, at).list(10, thrift_tags())]);
    let zipped = gzip(&other);
    check(
        &send("application/vnd.apache.thrift.binary", &[("content-encoding", "gzip")], zipped).await,
        202,
        "",
    );
    let mut id = [0; 16];
    id[14..].copy_from_slice(&[0xc0, 0xde]);
    let spans = stored(&running, id);
    assert_eq!(spans.len(), 3);
    assert_eq!(spans.iter().filter(|span| span.parent_span_id.is_some()).count(), 2);
    check(&send(THRIFT, &[], body[..body.len() - 9].to_vec()).await, 400, "malformed Thrift at spans[1]");
    check(&send("application/json", &[], body.clone()).await, 415, "application/x-thrift");
    check(&send(THRIFT, &[], vec![0; 50_001]).await, 413, "50000 bytes");
    check(&send(THRIFT, &[("content-encoding", "br")], body.clone()).await, 415, "br");
    let nowhere = post("/api/v2/spans", THRIFT, &[], Sent::whole(body.clone()));
    check(&http1(http, nowhere).await, 404, "/api/traces");
    let get = Request::get("http://receiver/api/traces").header("host", "receiver");
    check(&http1(http, get.body(Sent::whole("")).expect("a request")).await, 405, "takes POST");
    let bad = thrift_batch(vec![thrift_span(7, 0, 0, at), thrift_span(7, 1, 0, at)]);
    check(
        &send(THRIFT, &[], bad).await,
        400,
        "1 spans rejected (invalid_id): spans[0]: span_id is all zeros",
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zipkins_spans_come_in_both_forms() {
    let running = Running::start(|_| {}).await;
    let [.., http] = running.spans;
    let at = now() as i64;
    let send = async |path: &str, content_type: &str, body: Vec<u8>| {
        http1(http, post(path, content_type, &[], Sent::whole(body))).await
    };
    let list = |id: u8| zipkin::ListOfSpans { spans: vec![zipkin::span(1, id, at)] }.encode_to_vec();
    let json = |id: u8| {
        let (trace, id, us) = ("01".repeat(16), format!("{id:02x}").repeat(8), at / 1_000);
        format!(r#"[{{"traceId":"{trace}","id":"{id}","timestamp":{us},"localEndpoint":{{"serviceName":"cart"}}}}]"#)
            .into_bytes()
    };
    let path = "/api/v2/spans";
    check(&send(path, "application/x-protobuf", list(2)).await, 202, "");
    check(&send(path, "application/json", json(3)).await, 202, "");
    check(&send(path, "", json(4)).await, 202, "");
    check(&send("/", "", list(5)).await, 202, "");
    let spans = stored(&running, [1; 16]);
    assert_eq!(spans.len(), 4);
    assert!(spans.iter().all(|span| span.service == "cart"));
    check(
        &send(path, "application/json", b"[{\"traceId\":7.5,".to_vec()).await,
        400,
        "malformed JSON at spans[0]",
    );
    check(&send("/api/v1/spans", "application/json", json(6)).await, 404, "version 1");
    check(&send(path, "text/html", json(6)).await, 415, "application/json");
    let two =
        zipkin::ListOfSpans { spans: vec![zipkin::span(2, 1, at), zipkin::span(2, 2, 0)] }.encode_to_vec();
    check(&send(path, "application/x-protobuf", two).await, 400, "spans[1]: timestamp is not set");
    assert_eq!(stored(&running, [2; 16]).len(), 1);
    running.wait_for(|stats| stats.signals.iter().all(|of| of.in_flight == 0)).await;
    running.stop().await;
}
