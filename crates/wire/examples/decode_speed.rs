//! Measures decoding: nanoseconds per span, log record and data point, one thread.
//!
//! `cargo run --release -p throughline-wire --example decode_speed [SECONDS_PER_CASE] [PART_OF_ITS_NAME]`
//!
//! The input has the shape of the design's benchmark: 512 items a request, 14 resource attributes, 7 attributes a
//! span (376 bytes), log records of 245 bytes, data points of 195 bytes, a series each.

#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use std::time::Instant;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use throughline_model::Signal;
use throughline_wire::{DecodeContext, DecodeLimits, Decoder, Encoding};

const ITEMS: u64 = 512;
const REQUESTS: u64 = 64;
const NOW: u64 = 1_750_000_000_000_000_000;
const DAY_NS: i64 = 86_400 * 1_000_000_000;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let make = |request: fn(&mut Seed, u64) -> Vec<u8>| -> Vec<Vec<u8>> {
        let mut seed = Seed(7);
        (0..REQUESTS).map(|number| request(&mut seed, number)).collect()
    };
    measure(Signal::Traces, "spans", &make(spans), seconds);
    measure(
        Signal::Logs,
        "log records, context in fields",
        &make(|seed, n| logs(seed, n, Context::Fields)),
        seconds,
    );
    measure(Signal::Logs, "log records, no context", &make(|seed, n| logs(seed, n, Context::None)), seconds);
    measure(
        Signal::Logs,
        "log records, context in text",
        &make(|seed, n| logs(seed, n, Context::Text)),
        seconds,
    );
    measure(Signal::Logs, "log records, JSON bodies", &make(|seed, n| logs(seed, n, Context::Json)), seconds);
    measure(Signal::Metrics, "data points, gauges and sums", &make(numbers), seconds);
    measure(Signal::Metrics, "data points, histograms", &make(histograms), seconds);
}

fn measure(signal: Signal, name: &str, requests: &[Vec<u8>], seconds: f64) {
    if std::env::args().nth(2).is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let context = DecodeContext { received_at: NOW as i64, limits: DecodeLimits::with_retention(DAY_NS) };
    let mut decoder = Decoder::new();
    let bytes: usize = requests.iter().map(Vec::len).sum();
    let mut best = f64::INFINITY;
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed().as_secs_f64() < seconds || rounds < 3 {
        let round = Instant::now();
        let mut items = 0;
        for request in requests {
            let decoded = decoder.decode(signal, Encoding::Protobuf, request, &context).expect("decodes");
            assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
            items += std::hint::black_box(&decoded).batch.items();
        }
        best = best.min(round.elapsed().as_secs_f64() / items as f64);
        rounds += 1;
    }
    let per_item = bytes as f64 / (requests.len() as u64 * ITEMS) as f64;
    let rate = per_item / best / 1e6;
    println!("{name:32} {per_item:6.0} B/item {:7.1} ns/item {:6.0} MB/s", best * 1e9, rate);
}

struct Seed(u64);

impl Seed {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn id16(&mut self) -> Vec<u8> {
        [self.next().to_be_bytes(), self.next().to_be_bytes()].concat()
    }

    fn id8(&mut self) -> Vec<u8> {
        self.next().to_be_bytes().to_vec()
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn int(key: &str, value: i64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::IntValue(value)) }),
        ..Default::default()
    }
}

fn resource(number: u64) -> Option<Resource> {
    let service = number % 20;
    let attributes = vec![
        text("service.name", format!("service-{service}")),
        text("service.namespace", "shop"),
        text("service.version", "1.42.0"),
        text("service.instance.id", format!("instance-{number:032x}")),
        text("deployment.environment.name", "production"),
        text("k8s.cluster.name", "eu-west-1a"),
        text("k8s.namespace.name", "shop"),
        text("k8s.pod.name", format!("service-{service}-7d9f8b6c5d-{number:05}")),
        text("k8s.node.name", format!("node-{:03}", number % 50)),
        text("host.name", format!("node-{:03}.internal", number % 50)),
        text("os.type", "linux"),
        text("process.runtime.name", "OpenJDK Runtime Environment"),
        text("telemetry.sdk.language", "java"),
        text("telemetry.sdk.version", "1.44.1"),
    ];
    Some(Resource { attributes, ..Default::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "io.opentelemetry.http".into(),
        version: "2.1.0".into(),
        ..Default::default()
    })
}

fn spans(seed: &mut Seed, number: u64) -> Vec<u8> {
    let spans = (0..ITEMS).map(|_| {
        let start = NOW - seed.below(30_000_000_000);
        Span {
            trace_id: seed.id16(),
            span_id: seed.id8(),
            parent_span_id: seed.id8(),
            flags: 0x101,
            name: format!("GET /api/v1/orders/{{id}}/{}", seed.below(30)),
            kind: 2,
            start_time_unix_nano: start,
            end_time_unix_nano: start + seed.below(900_000_000),
            attributes: vec![
                text("http.request.method", "GET"),
                text("http.route", "/api/v1/orders/{id}"),
                int("http.response.status_code", 200),
                text("server.address", format!("10.0.{}.{}", seed.below(256), seed.below(256))),
                text("user_agent.original", "okhttp/4.12.0"),
                text("user.id", format!("user-{:08}", seed.below(100_000))),
                text("url.path", format!("/api/v1/orders/{}", seed.below(1_000_000))),
            ],
            status: Some(Status { code: (seed.below(50) == 0).into(), ..Default::default() }),
            ..Default::default()
        }
    });
    let scope_spans = vec![ScopeSpans { scope: scope(), spans: spans.collect(), ..Default::default() }];
    let resource_spans =
        vec![ResourceSpans { resource: resource(number), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

#[derive(Clone, Copy, PartialEq)]
enum Context {
    Fields,
    None,
    Text,
    Json,
}

fn logs(seed: &mut Seed, number: u64, context: Context) -> Vec<u8> {
    let records = (0..ITEMS).map(|_| {
        let order = seed.below(1_000_000);
        let line =
            format!("order {order} accepted for user-{:08} in 23 ms, queue depth is 17", seed.below(100_000));
        let id = format!("{:016x}{:016x}", seed.next(), seed.next());
        let body = match context {
            Context::Text => format!("{line} trace_id={id} span_id={:016x}", seed.next()),
            Context::Json => format!(r#"{{"level":"info","msg":"{line}","trace_id":"{id}"}}"#),
            _ => line,
        };
        let in_fields = context == Context::Fields;
        LogRecord {
            time_unix_nano: NOW - seed.below(30_000_000_000),
            observed_time_unix_nano: NOW,
            severity_number: 9,
            severity_text: "INFO".into(),
            body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
            attributes: vec![
                text("logger.name", "com.example.shop.OrderService"),
                text("thread.name", format!("worker-{}", seed.below(64))),
                int("order.id", order as i64),
            ],
            trace_id: if in_fields { seed.id16() } else { Vec::new() },
            span_id: if in_fields { seed.id8() } else { Vec::new() },
            ..Default::default()
        }
    });
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records: records.collect(), ..Default::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(number), scope_logs, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn point_attributes(seed: &mut Seed, index: u64) -> Vec<KeyValue> {
    vec![
        text("http.request.method", "GET"),
        text("http.route", format!("/api/v1/orders/{}", index % 32)),
        int("http.response.status_code", 200 + seed.below(4) as i64 * 100),
        text("server.address", format!("10.0.{}.{index}", seed.below(256))),
        text("network.protocol.version", "1.1"),
    ]
}

fn metrics(number: u64, metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..Default::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: resource(number), scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn numbers(seed: &mut Seed, number: u64) -> Vec<u8> {
    let all = (0..16u64).map(|metric| {
        let data_points = (0..ITEMS / 16).map(|index| NumberDataPoint {
            attributes: point_attributes(seed, index),
            start_time_unix_nano: NOW - 3_600_000_000_000,
            time_unix_nano: NOW,
            value: Some(number_data_point::Value::AsDouble(index as f64)),
            ..Default::default()
        });
        let data_points = data_points.collect();
        let data = if metric % 2 == 0 {
            Data::Gauge(Gauge { data_points })
        } else {
            Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true })
        };
        named(metric, data)
    });
    let all = all.collect();
    metrics(number, all)
}

fn histograms(seed: &mut Seed, number: u64) -> Vec<u8> {
    let all = (0..16u64).map(|metric| {
        let data_points = (0..ITEMS / 16).map(|index| HistogramDataPoint {
            attributes: point_attributes(seed, index),
            start_time_unix_nano: NOW - 3_600_000_000_000,
            time_unix_nano: NOW,
            count: 100,
            sum: Some(7.5),
            bucket_counts: vec![6; 16],
            explicit_bounds: (0..15).map(f64::from).collect(),
            ..Default::default()
        });
        let data_points = data_points.collect();
        named(metric, Data::Histogram(Histogram { data_points, aggregation_temporality: 2 }))
    });
    let all = all.collect();
    metrics(number, all)
}

fn named(metric: u64, data: Data) -> Metric {
    Metric {
        name: format!("http.server.request.metric_{metric}"),
        description: "Duration of HTTP server requests.".into(),
        unit: "s".into(),
        data: Some(data),
        ..Default::default()
    }
}
