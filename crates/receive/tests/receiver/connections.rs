//! Connections: slow headers, idleness, too many, many requests at once, senders that go away, shutdown.

use std::time::Duration;

use throughline_model::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::client::{Http2, Sent, grpc, patiently, post, prefixed, prefixed_bytes, raw};
use crate::server::Running;
use crate::telemetry::{logs, one_item, span, traces};

const HEAD: &str = "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// Reads one response of a kept connection, which has the body `{}`.
async fn read_success(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n{}") {
        let read = patiently(stream.read_buf(&mut answer)).await.expect("read");
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_and_silence_are_cut_off() {
    let server = Running::start(|config| {
        config.header_timeout = Duration::from_millis(300);
        config.idle_timeout = Duration::from_millis(1500);
    })
    .await;
    for address in [server.http, server.grpc] {
        let start = Instant::now();
        raw(address, b"POST /v1/tra").await;
        assert!(start.elapsed() < Duration::from_millis(1400), "half a request line: {:?}", start.elapsed());
        let start = Instant::now();
        raw(address, b"").await;
        assert!(start.elapsed() >= Duration::from_millis(1400), "silence is idleness: {:?}", start.elapsed());
        raw(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    }
    assert_eq!(server.stats.read().connections_timed_out, 6);
    server.wait_for(|stats| stats.connections == 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_may_rest_longer_than_headers_may_take() {
    let server = Running::start(|config| {
        config.header_timeout = Duration::from_millis(200);
        config.idle_timeout = Duration::from_millis(5000);
    })
    .await;
    let mut stream = TcpStream::connect(server.http).await.expect("connect");
    for _ in 0..3 {
        stream.write_all(format!("{HEAD}Content-Length: 2\r\n\r\n{{}}").as_bytes()).await.expect("write");
        read_success(&mut stream).await;
        sleep(Duration::from_millis(500)).await;
    }
    // Trickled headers do not: what counts is when they began.
    let start = Instant::now();
    for byte in HEAD.bytes() {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(3), "cut off after {:?}", start.elapsed());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_and_silent_ones_make_room() {
    let server = Running::start(|config| config.connections_max = 3).await;
    let client = Http2::connect(server.grpc).await;
    let success =
        async |client: &Http2| client.export(Signal::Logs, &one_item(Signal::Logs)).await.grpc_status() == 0;
    assert!(success(&client).await);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.http).await.expect("connect"));
    }
    server.wait_for(|stats| stats.connections_evicted == 18 && stats.connections == 3).await;
    assert!(success(&client).await, "who has proved itself stays");
    assert!(success(&Http2::connect(server.grpc).await).await, "and a newcomer gets in");
    drop((silent, client));
    server.wait_for(|stats| stats.connections == 0).await;
    server.stop().await;
}

/// The longest time in which a sender that tries again gets its request through, each on a new connection.
async fn worst_answer(server: &Running, rounds: usize) -> Duration {
    let mut worst = Duration::ZERO;
    for _ in 0..rounds {
        let start = Instant::now();
        let request = || grpc(Signal::Logs, &[], prefixed(0, &one_item(Signal::Logs)));
        while !Http2::connect(server.grpc).await.try_send(request()).await.is_ok_and(|a| a.grpc_status() == 0)
        {
            assert!(start.elapsed() < Duration::from_secs(20), "kept out");
        }
        worst = worst.max(start.elapsed());
    }
    worst
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_do_not_keep_others_out() {
    let server = Running::start_alone(|config| config.connections_max = 100).await;
    let attackers = (0..300).map(|n: usize| {
        let address = if n.is_multiple_of(2) { server.http } else { server.grpc };
        tokio::spawn(async move {
            // Slow headers, a slow body, silence, and never reading; again whenever they are cut off.
            let starts =
                ["POST /v1/logs HTTP/1.1\r\nX: ", &format!("{HEAD}Content-Length: 9999\r\n\r\n"), ""];
            loop {
                let Ok(mut stream) = TcpStream::connect(address).await else { continue };
                let mut alive = stream.write_all(starts[n % 3].as_bytes()).await.is_ok();
                while alive {
                    sleep(Duration::from_millis(200)).await;
                    alive = stream.write_all(b"x").await.is_ok();
                }
            }
        })
    });
    let attackers: Vec<_> = attackers.collect();
    server.wait_for(|stats| stats.connections >= 100).await;
    // Once the first are older than the grace.
    sleep(Duration::from_millis(1500)).await;
    let worst = worst_answer(&server, 20).await;
    eprintln!("worst answer under attack: {worst:?}");
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    assert!(server.stats.read().connections <= 100);
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_connection() {
    let server = Running::start(|config| config.idle_timeout = Duration::from_secs(2)).await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    };
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")].concat();
    // POST http / with the authority "x", in HPACK.
    let headers = [0x83, 0x86, 0x84, 0x41, 0x01, b'x'];
    let resets =
        (0..20_000).flat_map(|n| [frame(1, 4, 2 * n + 1, &headers), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])]);
    let continued = (0..20_000).map(|_| frame(9, 0, 1, b""));
    let floods = [
        [preface.clone(), resets.flatten().collect()].concat(),
        [preface.clone(), frame(1, 0, 1, &headers), continued.flatten().collect()].concat(),
        [preface, (0..20_000).flat_map(|_| frame(6, 0, 0, b"12345678")).collect()].concat(),
    ];
    for flood in floods {
        for address in [server.grpc, server.http] {
            raw(address, &flood).await;
        }
    }
    assert!(worst_answer(&server, 3).await < Duration::from_secs(2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_on_one_connection_are_all_answered() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let requests = (0..200u32).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            client.export(Signal::Logs, &logs(&[&format!("line {n}")])).await.grpc_status()
        })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.expect("an answer"), 0);
    }
    assert_eq!(server.received(), [0, 0, 200]);
    let stats = server.stats.read();
    let logs = stats.signals.iter().find(|s| s.requests > 0).expect("counted");
    assert_eq!((logs.requests, logs.accepted_items, logs.refused_items, logs.in_flight), (200, 200, 0, 0));
    assert!(logs.refusals.is_empty() && logs.bytes > 0, "{logs:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_comes_through_whole() {
    let server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let line = "x".repeat(1000);
    let lines: Vec<&str> = (0..20_000).map(|_| line.as_str()).collect();
    let request = logs(&lines);
    assert!(request.len() > 19 << 20);
    assert_eq!(client.export(Signal::Logs, &request).await.grpc_status(), 0);
    let over_http = post("/v1/logs", "application/x-protobuf", &[], Sent::whole(request));
    assert_eq!(crate::client::http1(server.http, over_http).await.status, 200);
    assert_eq!(server.received(), [0, 0, 40_000]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_goes_away_is_counted_and_holds_nothing() {
    let server = Running::start(|_| {}).await;
    let mut stream = TcpStream::connect(server.http).await.expect("connect");
    stream.write_all(format!("{HEAD}Content-Length: 500\r\n\r\n{{").as_bytes()).await.expect("write");
    server.wait_for(|stats| stats.signals.iter().any(|s| s.in_flight == 1)).await;
    drop(stream);
    server
        .wait_for(|stats| stats.in_flight_bytes == 0 && stats.signals.iter().all(|s| s.in_flight == 0))
        .await;
    let stats = server.stats.read();
    let refusals: Vec<_> = stats.signals.iter().flat_map(|s| s.refusals.clone()).collect();
    assert_eq!(refusals, [("cancelled", 1)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut server = Running::start(|_| {}).await;
    let client = Http2::connect(server.grpc).await;
    let _idle = TcpStream::connect(server.http).await.expect("connect");
    let mut slow = TcpStream::connect(server.http).await.expect("connect");
    slow.write_all(format!("{HEAD}Content-Length: 2\r\n\r\n{{").as_bytes()).await.expect("write");
    assert_eq!(client.export(Signal::Traces, &traces(vec![span(1, 1)])).await.grpc_status(), 0);
    server.wait_for(|stats| stats.signals.iter().any(|s| s.in_flight == 1)).await;
    let stopping = server.begin_stop();
    // The listeners close; what was read half is waited for.
    while TcpStream::connect(server.http).await.is_ok() {
        sleep(Duration::from_millis(10)).await;
    }
    slow.write_all(b"}").await.expect("write");
    let mut answer = String::new();
    patiently(slow.read_to_string(&mut answer)).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let start = Instant::now();
    stopping.await.expect("no panic");
    assert!(start.elapsed() < Duration::from_secs(5), "idle connections do not hold shutdown up");
    server.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_ever() {
    let mut server = Running::start(|config| config.shutdown_timeout = Duration::from_millis(500)).await;
    let client = Http2::connect(server.grpc).await;
    let stuck = Sent::stalling(prefixed_bytes(0, &[0; 10])[..8].to_vec());
    let stuck = tokio::spawn(async move { client.send(grpc(Signal::Logs, &[], stuck)).await.status });
    server.wait_for(|stats| stats.signals.iter().any(|s| s.in_flight == 1)).await;
    let start = Instant::now();
    server.begin_stop().await.expect("no panic");
    assert!((500..4_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    assert!(stuck.await.is_err(), "its connection was cut");
    server.close();
}
