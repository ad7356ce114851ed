//! Loki's push and Loki's path of OTLP: statuses, words, and what is stored.

use http::Request;
use prost::Message as _;
use throughline_model::record::LogRecord;
use throughline_store::{LogQuery, TimeRange};

use crate::client::{Answer, Sent, gzip, http1, post};
use crate::pushes::{PushRequest, entry, stream};
use crate::server::Running;
use crate::telemetry::{logs, now};

const PATH: &str = "/loki/api/v1/push";
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

fn request(lines: &[(i64, &str)]) -> Vec<u8> {
    let entries = lines.iter().map(|(ago, line)| entry(now() as i64 - ago, line.as_bytes(), &[])).collect();
    PushRequest { streams: vec![stream("{app=\"cart\"}", entries)] }.encode_to_vec()
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).expect("small")
}

async fn send(running: &Running, content_type: &str, encoding: &str, body: Vec<u8>) -> Answer {
    let headers = [("content-encoding", encoding)];
    let headers = if encoding.is_empty() { &[] } else { &headers[..] };
    http1(running.http, post(PATH, content_type, headers, Sent::whole(body))).await
}

fn check(answer: &Answer, status: u16, says: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(says), "{text:?} should say {says:?}");
    assert_eq!(text.is_empty(), status == 204, "{text}");
}

fn stored(running: &Running) -> Vec<LogRecord> {
    let range = TimeRange::ALL;
    let query =
        LogQuery { range, service: None, min_severity: 0, pattern: None, contains: None, limit: 1_000 };
    running.store.snapshot().search_logs(&query).expect("read").items
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_are_taken_in_every_form() {
    let running = Running::start(|_| {}).await;
    let second = 1_000_000_000;
    check(&send(&running, PROTOBUF, "", snappy(&request(&[(0, "a")]))).await, 204, "");
    check(&send(&running, PROTOBUF, "snappy", snappy(&request(&[(second, "b")]))).await, 204, "");
    check(&send(&running, PROTOBUF, "gzip", gzip(&snappy(&request(&[(second, "c")])))).await, 204, "");
    let json = |line: &str| {
        format!(
            r#"{{"streams":[{{"stream":{{"app":"cart"}},"values":[["{}","{line}",{{"k":"v"}}]]}}]}}"#,
            now()
        )
    };
    check(&send(&running, "application/json; charset=utf-8", "", json("d").into_bytes()).await, 204, "");
    check(&send(&running, JSON, "gzip", gzip(json("e").as_bytes())).await, 204, "");
    let under = post("/loki/loki/api/v1/push", JSON, &[], Sent::whole(json("f")));
    check(&http1(running.http, under).await, 204, "");
    let records = stored(&running);
    let mut lines: Vec<&str> = records.iter().filter_map(|record| record.body.as_str()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a", "b", "c", "d", "e", "f"]);
    assert!(records.iter().all(|record| record.service == "cart" && record.resource["app"] == "cart"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_good_of_a_push_is_kept_and_the_rest_is_named() {
    let running = Running::start(|_| {}).await;
    let two_days = 2 * 86_400 * 1_000_000_000;
    let body = request(&[(0, "good"), (two_days, "old"), (two_days + 1, "older"), (1, "good too")]);
    let answer = send(&running, PROTOBUF, "", snappy(&body)).await;
    check(
        &answer,
        400,
        "2 errors like: entry for stream '{app=\"cart\", service_name=\"cart\"}' has timestamp too old",
    );
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(stored(&running).len(), 2);
    let ledger = running.store.ledger();
    assert!(ledger.is_balanced(), "{ledger:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_pushes_are_refused_in_words() {
    let running = Running::start(|config| config.request_bytes_max = 50_000).await;
    let good = snappy(&request(&[(0, "a")]));
    check(&send(&running, "", "", good.clone()).await, 400, "no content type");
    check(&send(&running, PROTOBUF, "br", good.clone()).await, 400, "Content-Encoding \"br\" not supported");
    check(&send(&running, PROTOBUF, "gzip", good.clone()).await, 400, "gzip");
    check(&send(&running, PROTOBUF, "", good[2..].to_vec()).await, 400, "snappy");
    check(&send(&running, PROTOBUF, "", vec![0; 50_001]).await, 413, "50000 bytes");
    check(&send(&running, PROTOBUF, "", snappy(&vec![0; 1 << 20])).await, 413, "50000 bytes");
    check(
        &send(&running, JSON, "", b"{\"streams\":[{\"stream\":{\"a\":\"b\"},".to_vec()).await,
        400,
        "malformed JSON",
    );
    let get = Request::get(format!("http://receiver{PATH}")).header("host", "receiver");
    check(&http1(running.http, get.body(Sent::whole("")).expect("a request")).await, 405, "takes POST");
    assert!(stored(&running).is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_under_lokis_path_is_answered_as_loki_does() {
    let running = Running::start(|_| {}).await;
    for path in ["/otlp/v1/logs", "/loki/otlp/v1/logs"] {
        let body = Sent::whole(gzip(&logs(&[path])));
        check(
            &http1(running.http, post(path, PROTOBUF, &[("content-encoding", "gzip")], body)).await,
            204,
            "",
        );
    }
    assert_eq!(stored(&running).len(), 2);
    let refused = http1(running.http, post("/otlp/v1/logs", "text/plain", &[], Sent::whole("x"))).await;
    check(&refused, 400, "content type: text/plain is not supported");
    assert_eq!(refused.header("content-type"), PROTOBUF);
    let broken =
        http1(running.http, post("/otlp/v1/logs", PROTOBUF, &[], Sent::whole(vec![0x0a, 0xff]))).await;
    check(&broken, 400, "malformed protobuf");
    running.stop().await;
}
