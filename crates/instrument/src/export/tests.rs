//! Tests of the export against a receiver of a few lines: what arrives, what is sent again, what is given up.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::metric;
use prost::Message;

use crate::{Config, SpanKind, Telemetry};

const WAIT: Duration = Duration::from_secs(10);

/// A receiver that answers each request with the next of `answers`, and then always with 200.
fn receiver(answers: Vec<Vec<u8>>) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (requests, received) = channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) < 3 {
                    break;
                }
                lines.push(line.to_ascii_lowercase());
            }
            let length = lines.iter().find_map(|line| line.strip_prefix("content-length:"));
            let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            let path = lines[0].split(' ').nth(1).unwrap().to_owned();
            let answer = answers.next().unwrap_or_else(|| answer("200 OK", "", b""));
            reader.get_mut().write_all(&answer).unwrap();
            if requests.send((path, body)).is_err() {
                return;
            }
        }
    });
    (endpoint, received)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn telemetry(endpoint: &str) -> Telemetry {
    // Nothing is sent on its own: the tests flush.
    Telemetry::start(Config {
        export_interval: Duration::from_secs(600),
        ..Config::new(endpoint, "task-svc")
    })
    .unwrap()
}

#[test]
fn all_three_signals_arrive_and_refer_to_the_same_span() {
    let (endpoint, received) = receiver(vec![]);
    let telemetry = telemetry(&endpoint);
    let latency = telemetry.histogram("http.server.request.duration", "s", crate::LATENCY_BOUNDS_SECONDS);
    let span = telemetry.tracer("http").root("GET /", SpanKind::Server);
    let context = span.context();
    telemetry.logger("http").warn(&context, "throttled", &[]);
    latency.record(0.7, &[("http.route", "/".into())], Some(&context));
    span.end();
    assert!(telemetry.flush(WAIT));

    let (path, body) = received.recv_timeout(WAIT).unwrap();
    let traces = ExportTraceServiceRequest::decode(&*body).unwrap();
    let resource_spans = &traces.resource_spans[0];
    assert_eq!(path, "/v1/traces");
    assert_eq!(resource_spans.resource.as_ref().unwrap().attributes[0].key, "service.name");
    let span = &resource_spans.scope_spans[0].spans[0];
    assert_eq!((&*span.trace_id, &*span.span_id), (&context.trace_id.0[..], &context.span_id.0[..]));

    let (path, body) = received.recv_timeout(WAIT).unwrap();
    let logs = ExportLogsServiceRequest::decode(&*body).unwrap();
    let record = &logs.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(path, "/v1/logs");
    assert_eq!((&record.trace_id, &record.span_id), (&span.trace_id, &span.span_id));

    let (path, body) = received.recv_timeout(WAIT).unwrap();
    let metrics = ExportMetricsServiceRequest::decode(&*body).unwrap();
    let metric = &metrics.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(metric::Data::Histogram(histogram)) = &metric.data else { panic!("no histogram") };
    let exemplar = &histogram.data_points[0].exemplars[0];
    assert_eq!(path, "/v1/metrics");
    assert_eq!((&exemplar.trace_id, &exemplar.span_id), (&span.trace_id, &span.span_id));
    let stats = telemetry.stats();
    assert_eq!((stats.spans.exported, stats.logs.exported, stats.points.exported), (1, 1, 1));
}

#[test]
fn retryable_answers_are_retried_after_the_named_delay() {
    let busy = answer("429 Too Many Requests", "retry-after: 1\r\n", b"");
    let (endpoint, received) = receiver(vec![busy, answer("503 Service Unavailable", "", b"")]);
    let telemetry = telemetry(&endpoint);
    let span = telemetry.tracer("t").root("work", SpanKind::Internal);
    let timer = telemetry.tracer("t").root("timer", SpanKind::Internal);
    span.end();
    assert!(telemetry.flush(WAIT));
    assert!(timer.elapsed() >= Duration::from_secs(1));
    let bodies: Vec<_> = received.try_iter().map(|(_, body)| body).collect();
    assert!(bodies.len() == 3 && bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(telemetry.stats().spans.exported, 1);
}

#[test]
fn a_refused_request_is_not_repeated() {
    let (endpoint, received) = receiver(vec![answer("400 Bad Request", "", b"")]);
    let telemetry = telemetry(&endpoint);
    telemetry.tracer("t").root("work", SpanKind::Internal).end();
    let stats = telemetry.shutdown(WAIT);
    assert_eq!(received.try_iter().count(), 1);
    assert_eq!(stats.spans.failed, 1);
    assert_eq!(stats.last_error.as_deref(), Some("/v1/traces answered 400 Bad Request"));
}

#[test]
fn partial_success_is_counted() {
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (endpoint, _received) = receiver(vec![answer("200 OK", "", &body)]);
    let telemetry = telemetry(&endpoint);
    for _ in 0..3 {
        telemetry.tracer("t").root("work", SpanKind::Internal).end();
    }
    let stats = telemetry.shutdown(WAIT);
    assert_eq!((stats.spans.exported, stats.spans.rejected), (2, 1));
    assert_eq!(stats.last_error.as_deref(), Some("1 items rejected: too old"));
}

#[test]
fn shutdown_gives_up_in_time_when_nobody_listens() {
    let endpoint = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let telemetry = telemetry(&endpoint);
    let timer = telemetry.tracer("t").root("timer", SpanKind::Internal);
    telemetry.tracer("t").root("work", SpanKind::Internal).end();
    let stats = telemetry.shutdown(Duration::from_millis(300));
    assert!(timer.elapsed() < Duration::from_secs(3));
    assert_eq!(stats.spans.failed, 1);
}

#[test]
fn an_endpoint_without_http_is_refused() {
    assert!(Telemetry::start(Config::new("127.0.0.1:4318", "task-svc")).is_err());
}
