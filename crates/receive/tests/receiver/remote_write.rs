//! Remote write and Prometheus' path of OTLP: statuses, counts of what was written, and what is stored.

use http::Request;
use prost::Message;
use throughline_model::Signal;
use throughline_model::record::Exemplar;
use throughline_store::{Clock as _, SeriesQuery, SystemClock, TimeRange};

use crate::client::{Answer, Sent, gzip, http1, post};
use crate::messages::{histogram, v1, v2};
use crate::server::Running;
use crate::telemetry::{metrics, now};

const V1: &str = "application/x-protobuf";
const V1_NAMED: &str = "application/x-protobuf;proto=prometheus.WriteRequest";
const V2: &str = "application/x-protobuf; proto=io.prometheus.write.v2.Request";
const SNAPPY: &[(&str, &str)] = &[("content-encoding", "snappy")];
const PATH: &str = "/api/v1/write";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn now_ms() -> i64 {
    SystemClock::new().now() / 1_000_000
}

fn snappy(message: &impl Message) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).expect("small")
}

fn v1_series(name: &str, samples: &[(i64, f64)]) -> v1::TimeSeries {
    let sample = |(timestamp, value): &(i64, f64)| v1::Sample { value: *value, timestamp: *timestamp };
    v1::TimeSeries {
        labels: v1::labels(&[("__name__", name), ("job", "j")]),
        samples: samples.iter().map(sample).collect(),
        ..Default::default()
    }
}

fn v1_request(timeseries: Vec<v1::TimeSeries>) -> v1::WriteRequest {
    v1::WriteRequest { timeseries, ..Default::default() }
}

/// A request of 2.0 with two samples, a histogram and an exemplar; times are milliseconds before now.
fn v2_request(now: i64, first_ago: i64, second_ago: i64) -> v2::Request {
    let symbols = ["", "__name__", "m", "job", "j", "trace_id", TRACE];
    let sample = |ago, value| v2::Sample { value, timestamp: now - ago, start_timestamp: 0 };
    let exemplar = v2::Exemplar { labels_refs: vec![5, 6], value: 0.5, timestamp: now - first_ago };
    let timeseries = v2::TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![sample(first_ago, 1.0), sample(second_ago, 2.0)],
        histograms: vec![histogram(now - first_ago)],
        exemplars: vec![exemplar],
        metadata: None,
    };
    v2::Request { symbols: symbols.map(|s| s.as_bytes().to_vec()).to_vec(), timeseries: vec![timeseries] }
}

async fn send(running: &Running, content_type: &str, body: Vec<u8>) -> Answer {
    http1(running.http, post(PATH, content_type, SNAPPY, Sent::whole(body))).await
}

fn check(answer: &Answer, status: u16, says: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(says), "{text:?} should say {says:?}");
    assert_eq!(text.is_empty(), status < 300, "{text}");
}

/// Samples, histograms and exemplars that a response says are written.
fn written(answer: &Answer) -> [&str; 3] {
    ["samples", "histograms", "exemplars"]
        .map(|what| answer.header(&format!("x-prometheus-remote-write-{what}-written")))
}

fn stored(running: &Running) -> (Vec<f64>, Vec<Exemplar>) {
    let range = TimeRange { start: i64::MIN, end: i64::MAX };
    let query = SeriesQuery { range, metric: None, service: None, attributes: Vec::new(), limit: 1_000 };
    let snapshot = running.store.snapshot();
    let points = snapshot.points(&query).expect("read").items;
    let values = points.into_iter().flat_map(|(_, points)| points.into_iter().map(|point| point.value));
    (values.collect(), snapshot.exemplars(&query).expect("read").items)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_1_0_are_answered_as_prometheus_does() {
    let running = Running::start(|_| {}).await;
    let now = now_ms();
    let good = v1_request(vec![v1_series("a", &[(now, 1.0), (now - 60_000, 2.0)])]);
    for content_type in [V1, V1_NAMED, ""] {
        let answer = send(&running, content_type, snappy(&good)).await;
        check(&answer, 204, "");
        assert_eq!(written(&answer), [""; 3], "1.0 has no such headers");
    }
    let bare = http1(running.http, post("/prometheus/api/v1/write", V1, &[], Sent::whole(snappy(&good))));
    check(&bare.await, 204, "");
    assert_eq!(stored(&running).0.len(), 2, "a retry is stored once, an older sample is taken");
    let bad = v1_request(vec![v1_series("", &[(now, 5.0)]), v1_series("b", &[(now, 7.0), (1, 1.0)])]);
    let answer = send(&running, V1, snappy(&bad)).await;
    check(
        &answer,
        400,
        "1 data points rejected (invalid_labels): timeseries[0]: the series has no label __name__",
    );
    check(&answer, 400, "1 data points rejected (too_old)");
    assert_eq!(stored(&running).0.len(), 3, "what is good is kept");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_2_0_are_told_what_was_written() {
    let running = Running::start(|_| {}).await;
    // One time for both: no sample of one is a sample of the other.
    let now = now_ms();
    let answer = send(&running, V2, snappy(&v2_request(now, 0, 5))).await;
    check(&answer, 204, "");
    assert_eq!(written(&answer), ["2", "1", "1"]);
    let answer = send(&running, V2, snappy(&v2_request(now, 10, 10 * 365 * 86_400_000))).await;
    check(&answer, 400, "too_old");
    assert_eq!(written(&answer), ["1", "1", "1"]);
    let answer = send(&running, V2, b"\x03abc".to_vec()).await;
    check(&answer, 400, "snappy");
    assert_eq!(written(&answer), ["0", "0", "0"]);
    let (values, exemplars) = stored(&running);
    assert_eq!((values.len(), exemplars.len()), (5, 2));
    assert_eq!(exemplars[0].trace_id.map(|id| id.to_string()).as_deref(), Some(TRACE));
    running.stop().await;
}

/// Prometheus sends an exemplar as a series of its own, without a sample.
#[tokio::test(flavor = "multi_thread")]
async fn exemplars_without_samples_are_stored() {
    let running = Running::start(|_| {}).await;
    let mut request = v2_request(now_ms(), 0, 5);
    request.timeseries[0].samples.clear();
    request.timeseries[0].histograms.clear();
    let answer = send(&running, V2, snappy(&request)).await;
    check(&answer, 204, "");
    assert_eq!(written(&answer), ["0", "0", "1"]);
    assert_eq!(stored(&running).1.len(), 1);
    running.store.flush().expect("written");
    assert_eq!(stored(&running).1.len(), 1, "in a block as well");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_forms_are_refused_by_their_status() {
    let running = Running::start(|config| config.request_bytes_max = 50_000).await;
    let good = snappy(&v1_request(vec![v1_series("a", &[(now_ms(), 1.0)])]));
    let sent = |content_type: &'static str, encoding: &'static str, body: Vec<u8>| {
        post(PATH, content_type, &[("content-encoding", encoding)], Sent::whole(body))
    };
    let proto = "application/x-protobuf;proto=io.prometheus.write.v3.Request";
    check(&http1(running.http, sent(proto, "snappy", good.clone())).await, 415, "v3");
    check(&http1(running.http, sent("application/json", "snappy", good.clone())).await, 415, "json");
    check(&http1(running.http, sent(V1, "zstd", good.clone())).await, 415, "use snappy");
    check(&http1(running.http, sent(V1, "identity", good.clone())).await, 415, "use snappy");
    check(&http1(running.http, sent(V1, "snappy", vec![0; 50_001])).await, 413, "50000 bytes");
    check(&http1(running.http, sent(V1, "snappy", good[1..].to_vec())).await, 400, "snappy");
    let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).expect("snappy");
    check(&http1(running.http, sent(V1, "snappy", bomb)).await, 400, "larger than 50000 bytes");
    // A declared length without the bytes that could become so much.
    check(
        &http1(running.http, sent(V1, "snappy", vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0])).await,
        400,
        "declared",
    );
    let garbage = snap::raw::Encoder::new().compress_vec(&[0x0a, 0xff, 1]).expect("snappy");
    check(
        &http1(running.http, sent(V1, "snappy", garbage)).await,
        400,
        "malformed protobuf at timeseries[0]",
    );
    let get = Request::get(format!("http://receiver{PATH}")).header("host", "receiver");
    let answer = http1(running.http, get.body(Sent::whole("")).expect("a request")).await;
    check(&answer, 405, "takes POST");
    assert_eq!(answer.header("allow"), "POST");
    assert_eq!(running.received(), [0, 0, 0]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_under_prometheus_path_is_answered_without_a_body() {
    let running = Running::start(|_| {}).await;
    let path = "/api/v1/otlp/v1/metrics";
    let body = metrics(&[now()]);
    let answer =
        http1(running.http, post(path, V1, &[("content-encoding", "gzip")], Sent::whole(gzip(&body))));
    check(&answer.await, 200, "");
    let old = metrics(&[1]);
    let path = "/prometheus/api/v1/otlp/v1/metrics";
    let answer = http1(running.http, post(path, V1, &[], Sent::whole(old))).await;
    assert_eq!(answer.status, 400);
    let answer = http1(running.http, post(path, "text/plain", &[], Sent::whole(body))).await;
    assert_eq!(answer.status, 415);
    assert_eq!(running.received()[Signal::Metrics as usize], 2);
    running.stop().await;
}
