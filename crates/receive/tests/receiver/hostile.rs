//! Hostile input: bombs, lies about lengths, deep nesting, noise. The process stays as it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::Span;
use throughline_model::{Signal, TraceId};
use throughline_store::Want;
use tokio::time::Instant;

use crate::client::{Http2, Sent, grpc, gzip, http1, post, prefixed, prefixed_bytes, raw, zstd};
use crate::server::Running;
use crate::telemetry::{attribute, nested_arrays, one_item, span, traces, traces_json, traces_with_value};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// 64 MiB of zeros many times over: gzip members and zstd frames may follow each other.
fn bomb(squeeze: fn(&[u8]) -> Vec<u8>, times: usize) -> Bytes {
    Bytes::from(squeeze(&vec![0; 64 << 20]).repeat(times))
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_bombs_at_once_are_refused_within_bounds() {
    let gzip_1_gib = bomb(gzip, 16);
    let zstd_10_gib = bomb(zstd, 160);
    let gzip_in_gzip = Bytes::from(gzip(&gzip_1_gib));
    let server = Running::start_alone(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let before = resident_bytes();
    let watch = PeakWatch::start();
    let mut attacks = Vec::new();
    for n in 0..64 {
        let (name, body, refused) = match n % 4 {
            0 | 1 => ("gzip", gzip_1_gib.clone(), (413, 8)),
            2 => ("zstd", zstd_10_gib.clone(), (413, 8)),
            // What comes out is a gzip body, which is no message.
            _ => ("gzip", gzip_in_gzip.clone(), (400, 3)),
        };
        let (client, http) = (client.clone(), server.http);
        attacks.push(tokio::spawn(async move {
            if n % 8 < 4 {
                let answer = http1(
                    http,
                    post("/v1/traces", PROTOBUF, &[("content-encoding", name)], Sent::whole(body)),
                )
                .await;
                (answer.status, refused.0)
            } else {
                let body = prefixed_bytes(1, &body);
                let answer =
                    client.send(grpc(Signal::Logs, &[("grpc-encoding", name)], Sent::whole(body))).await;
                (answer.grpc_status() as u16, refused.1)
            }
        }));
    }
    for attack in attacks {
        let (found, expected) = attack.await.expect("an answer");
        assert_eq!(found, expected);
    }
    let grown = watch.peak().saturating_sub(before);
    assert!(grown <= 256 << 20, "resident memory grew by {} MiB", grown >> 20);
    let start = Instant::now();
    assert_eq!(client.export(Signal::Traces, &one_item(Signal::Traces)).await.grpc_status(), 0);
    assert!(start.elapsed() <= Duration::from_secs(1), "the next good request took {:?}", start.elapsed());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zstd_window_of_2_gib_is_refused() {
    let server = Running::start(|_| {}).await;
    // Magic, no single segment, window exponent 21 above 10: 2 GiB; then one raw last block of one byte.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x09, 0x00, 0x00, 0x00];
    let request = post("/v1/traces", PROTOBUF, &[("content-encoding", "zstd")], Sent::whole(frame.to_vec()));
    assert_eq!(http1(server.http, request).await.status, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_lengths_are_not_believed() {
    let server = Running::start_alone(|_| {}).await;
    let before = resident_bytes();
    let head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n";
    // More than the limit: refused at once, without waiting for it.
    let answer = raw(server.http, format!("{head}Content-Length: 99999999999\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Not numbers.
    for lie in ["-1", "18446744073709551617", "1x", "1, 2"] {
        let answer = raw(server.http, format!("{head}Content-Length: {lie}\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lie}: {answer}");
    }
    // Within the limit and never sent: 200 of them at once hold next to nothing.
    let mut liars = Vec::new();
    for _ in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(server.http).await.expect("connect");
        let lie = format!("{head}Content-Length: 60000000\r\n\r\nx");
        tokio::io::AsyncWriteExt::write_all(&mut stream, lie.as_bytes()).await.expect("write");
        liars.push(stream);
    }
    server.wait_for(|stats| stats.signals.iter().map(|s| s.in_flight).sum::<u64>() == 200).await;
    let held = server.stats.read().in_flight_bytes;
    assert!(held <= 32 << 20, "{held} bytes are reserved for lies");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown <= 64 << 20, "{} MiB are allocated for lies", grown >> 20);
    let client = Http2::connect(server.grpc).await;
    assert_eq!(client.export(Signal::Traces, &one_item(Signal::Traces)).await.grpc_status(), 0);
    drop(liars);
    server.wait_for(|stats| stats.in_flight_bytes == 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_stops_at_the_limit() {
    let server = Running::start(|config| config.request_bytes_max = 1 << 20).await;
    let mut endless = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..64 {
        endless.extend_from_slice(b"10000\r\n");
        endless.resize(endless.len() + 0x10000, b' ');
        endless.extend_from_slice(b"\r\n");
    }
    let answer = raw(server.http, &endless).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_values_reject_their_item_or_their_request() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    for depth in [33, 101, 1_000, 10_000, 200_000] {
        let body = traces_with_value(&nested_arrays(depth));
        let answer = client.export(Signal::Traces, &body).await;
        if answer.grpc_status() == 0 {
            let partial = answer.grpc_body::<ExportTraceServiceResponse>().partial_success;
            assert_eq!(partial.expect("partial_success").rejected_spans, 1, "depth {depth}");
        } else {
            assert_eq!(answer.grpc_status(), 3, "depth {depth}: {answer:?}");
        }
        let opened = r#"{"arrayValue":{"values":["#.repeat(depth);
        let json = traces_json(&format!("{opened}{}", "]}}".repeat(depth)));
        let answer = http1(server.http, post("/v1/traces", JSON, &[], Sent::whole(json))).await;
        let rejected = String::from_utf8_lossy(&answer.body).contains(r#""rejectedSpans":"1""#);
        assert!(answer.status == 400 || answer.status == 200 && rejected, "depth {depth}: {answer:?}");
        let brackets =
            http1(server.http, post("/v1/traces", JSON, &[], Sent::whole("[".repeat(depth)))).await;
        assert_eq!(brackets.status, 400, "depth {depth}");
    }
    let fits = client.export(Signal::Traces, &traces_with_value(&nested_arrays(8))).await;
    let response = fits.grpc_body::<ExportTraceServiceResponse>();
    assert_eq!(response, ExportTraceServiceResponse::default(), "eight levels are ordinary");
    server.stop().await;
}

/// A span of a trace by number, with its parent's number or 0.
fn numbered(trace: u8, id: u64, parent: u64) -> Span {
    let parent_span_id = if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() };
    Span { span_id: id.to_be_bytes().to_vec(), parent_span_id, ..span(trace, 1) }
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_that_make_no_sense_are_stored_or_refused_with_a_reason() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let send = async |spans: Vec<Span>| {
        let answer = client.export(Signal::Traces, &traces(spans)).await;
        let partial = answer.grpc_body::<ExportTraceServiceResponse>().partial_success.unwrap_or_default();
        (partial.rejected_spans, partial.error_message)
    };
    let stored = |trace: u8| {
        let trace = server.store.snapshot().trace(TraceId([trace; 16]), Want::SPANS).expect("read");
        trace.spans.len()
    };
    let own_parent = vec![numbered(1, 7, 7)];
    let circle = vec![numbered(2, 1, 3), numbered(2, 2, 1), numbered(2, 3, 2)];
    let again = numbered(3, 2, 1);
    let twice = vec![numbered(3, 1, 0), again.clone(), again];
    // Two spans that share an id are two.
    let sharing = vec![numbered(8, 2, 1), Span { name: "another".to_owned(), ..numbered(8, 2, 1) }];
    let begun = span(4, 1).start_time_unix_nano;
    let backwards = vec![numbered(4, 1, 0), Span { end_time_unix_nano: begun - 9_000, ..numbered(4, 2, 1) }];
    let long = (1..=100_000).map(|id| numbered(5, id, id - 1)).collect();
    for (trace, spans, kept) in [
        (1, own_parent, 1),
        (2, circle, 3),
        (3, twice, 2),
        (4, backwards, 2),
        (5, long, 100_000),
        (8, sharing, 2),
    ] {
        assert_eq!(send(spans).await, (0, String::new()), "trace {trace}");
        assert_eq!(stored(trace), kept, "trace {trace}");
    }
    let with = |id: u64, attributes| Span { attributes, ..numbered(6, id, 0) };
    let large = |n: usize| vec![attribute("large", &"x".repeat(n))];
    let many = |n: usize| (0..n).map(|n| attribute(&format!("key {n}"), "v")).collect::<Vec<_>>();
    let fits = vec![with(1, large(1_000_000)), with(2, many(1_024))];
    assert_eq!(send(fits).await, (0, String::new()));
    let (rejected, reason) =
        send(vec![with(3, large(2_000_000)), with(4, many(10_000)), with(5, many(1))]).await;
    assert_eq!((rejected, stored(6)), (2, 3), "{reason}");
    assert!(
        reason.contains("2 spans rejected (too_large)") && reason.contains("attributes has 2000"),
        "{reason}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_bad_data_and_nothing_worse() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let http = Http2::connect(server.http).await;
    let paths = ["/v1/traces", "/v1/metrics", "/v1/logs"];
    let mut noise = Noise(0x5eed);
    for round in 0..600 {
        let signal = Signal::ALL[round % 3];
        let mut body = match round % 4 {
            // Noise, and good requests with noise in them: cut short, or with some bytes changed.
            0 => noise.bytes(300),
            1 => one_item(signal)[..noise.below(one_item(signal).len())].to_vec(),
            _ => one_item(signal),
        };
        if round % 4 > 1 {
            for _ in 0..1 + noise.below(4) {
                let at = noise.below(body.len());
                body[at] = noise.below(256) as u8;
            }
        }
        let (name, flag) = [("identity", 0), ("gzip", 1), ("zstd", 1)][noise.below(3)];
        let sent = if noise.below(2) == 0 { body.clone() } else { squeezed(name, &body) };
        let answer = client.send(grpc(signal, &[("grpc-encoding", name)], prefixed(flag, &sent))).await;
        assert!(matches!(answer.grpc_status(), 0 | 3), "round {round}: {answer:?} to {sent:?}");
        let content_type = [PROTOBUF, JSON][noise.below(2)];
        let request =
            post(paths[round % 3], content_type, &[("content-encoding", name)], Sent::whole(sent.clone()));
        let answer = http.send(request).await;
        assert!(matches!(answer.status, 200 | 400), "round {round}: {answer:?} to {sent:?}");
        // Noise instead of gRPC's framing.
        let answer = client.send(grpc(signal, &[], Sent::whole(noise.bytes(20)))).await;
        assert!(matches!(answer.grpc_status(), 0 | 3 | 8 | 12 | 13), "round {round}: {answer:?}");
    }
    assert_eq!(client.export(Signal::Logs, &one_item(Signal::Logs)).await.grpc_status(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_instead_of_http_ends_the_connection_only() {
    let server = Running::start(|config| {
        config.header_timeout = Duration::from_millis(300);
        config.idle_timeout = Duration::from_millis(500);
    })
    .await;
    let mut noise = Noise(77);
    for _ in 0..20 {
        for address in [server.grpc, server.http] {
            raw(address, &noise.bytes(500)).await;
            raw(address, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", noise.bytes(200).as_slice()].concat()).await;
        }
    }
    let long = format!("POST /v1/traces HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    let answer = raw(server.http, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let client = Http2::connect(server.grpc).await;
    assert_eq!(client.export(Signal::Logs, &one_item(Signal::Logs)).await.grpc_status(), 0);
    server.stop().await;
}

fn squeezed(name: &str, body: &[u8]) -> Vec<u8> {
    match name {
        "gzip" => gzip(body),
        "zstd" => zstd(body),
        _ => body.to_vec(),
    }
}

/// Bytes from a seed (xorshift), so that a failure can be run again.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    fn bytes(&mut self, length_max: usize) -> Vec<u8> {
        (0..self.below(length_max)).map(|_| (self.next() >> 24) as u8).collect()
    }
}

/// The process' resident memory; 0 where the system does not tell.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// The largest resident memory while it runs.
struct PeakWatch {
    peak: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl PeakWatch {
    fn start() -> PeakWatch {
        let watch = PeakWatch { peak: Arc::default(), stop: Arc::default() };
        let (peak, stop) = (Arc::clone(&watch.peak), Arc::clone(&watch.stop));
        std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                peak.fetch_max(resident_bytes(), Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        watch
    }

    fn peak(self) -> usize {
        self.stop.store(true, Relaxed);
        self.peak.load(Relaxed)
    }
}
