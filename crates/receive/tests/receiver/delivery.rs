//! What was acknowledged is there: realistic telemetry, retries, and all encodings of one request.

use throughline_generate::Generator;
use throughline_model::{Signal, TraceId};
use throughline_store::{LogQuery, TimeRange, Want};

use crate::client::{Http2, Sent, grpc, gzip, http1, post, prefixed, zstd};
use crate::server::Running;
use crate::telemetry::{logs, now, one_item, span, traces};

const PROTOBUF: &str = "application/x-protobuf";
const SPANS: u64 = 3_000;
const RECORDS: u64 = 4_500;
const POINTS: u64 = 2_000;

fn signal_of(signal: throughline_generate::Signal) -> Signal {
    match signal {
        throughline_generate::Signal::Traces => Signal::Traces,
        throughline_generate::Signal::Logs => Signal::Logs,
        throughline_generate::Signal::Metrics => Signal::Metrics,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn realistic_telemetry_is_found_whole() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let generator = Generator::new(7, now()).referring_to(SPANS);
    let requests = generator.traces(SPANS).chain(generator.logs(RECORDS)).chain(generator.metrics(POINTS));
    let mut sent = [0; 3];
    for (n, request) in requests.enumerate() {
        let signal = signal_of(request.signal);
        sent[signal as usize] += request.items as u64;
        // By turns over gRPC and HTTP, with every compression.
        let (name, flag, body) = match n % 3 {
            0 => ("identity", 0, request.body),
            1 => ("gzip", 1, gzip(&request.body)),
            _ => ("zstd", 1, zstd(&request.body)),
        };
        if n % 2 == 0 {
            let answer = client.send(grpc(signal, &[("grpc-encoding", name)], prefixed(flag, &body))).await;
            assert_eq!((answer.grpc_status(), answer.body.len()), (0, 5), "{answer:?}");
        } else {
            let path = format!("/v1/{}", signal.name());
            let headers = [("content-encoding", name)];
            let answer = http1(server.http, post(&path, PROTOBUF, &headers, Sent::whole(body))).await;
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{answer:?}");
        }
    }
    assert_eq!((server.received(), server.accepted()), (sent, sent));
    let snapshot = server.store.snapshot();
    let mut log_count = 0;
    for truth in generator.trace_ids(SPANS) {
        let found = snapshot.trace(TraceId(truth.trace_id), Want::ALL).expect("readable");
        assert_eq!(found.spans.len(), truth.spans, "{}", truth.hex_id());
        log_count += found.logs.len();
    }
    assert!(log_count > 0, "log records lead from traces");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_retry_is_stored_once_whatever_its_compression() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let mut bad = span(9, 9);
    bad.span_id = vec![1];
    let request = traces(vec![span(9, 1), span(9, 2), bad]);
    let first = client.export(Signal::Traces, &request).await;
    let again =
        client.send(grpc(Signal::Traces, &[("grpc-encoding", "gzip")], prefixed(1, &gzip(&request)))).await;
    assert_eq!(first.body, again.body, "a retry is told the same");
    let headers = [("content-encoding", "zstd")];
    let over_http = post("/v1/traces", PROTOBUF, &headers, Sent::whole(zstd(&request)));
    assert_eq!(http1(server.http, over_http).await.body, first.body[5..]);
    // The same bytes as another signal are not a retry.
    let same_bytes = client.export(Signal::Logs, &[]).await;
    assert_eq!(same_bytes.grpc_status(), 0);

    let account = server.store.ledger().traces;
    assert_eq!((account.received, account.stored, account.deduplicated), (9, 2, 6), "{account:?}");
    let (id, _) = TraceId::parse(&"09".repeat(16)).expect("an id");
    let found = server.store.snapshot().trace(id, Want::SPANS).expect("readable");
    assert_eq!(found.spans.len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_records_are_visible_at_once() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    for n in 0..20 {
        let line = format!("order {n} placed");
        assert_eq!(client.export(Signal::Logs, &logs(&[&line])).await.grpc_status(), 0);
        let contains = Some(line.clone());
        let query = LogQuery {
            range: TimeRange::ALL,
            service: None,
            min_severity: 0,
            pattern: None,
            contains,
            limit: 10,
        };
        let found = server.store.snapshot().search_logs(&query).expect("readable").items;
        assert_eq!(found.len(), 1, "{line}");
    }
    assert_eq!(client.export(Signal::Metrics, &one_item(Signal::Metrics)).await.grpc_status(), 0);
    assert_eq!(server.received(), [0, 1, 20]);
    server.stop().await;
}
