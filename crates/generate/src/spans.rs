//! Turns planned spans into OTLP spans with attributes as instrumentation libraries write them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};
use prost::Message as _;

use crate::batches::{Batches, Groups};
use crate::catalog::{self, CATALOG, bool, int, text};
use crate::plan::{Plan, PlannedSpan, Work};
use crate::random::Random;
use crate::{Generator, Request, Signal};

/// Flags of a sampled span.
const SAMPLED: u32 = 0x01;
/// Share of spans with an event besides the exceptions of failed spans.
const EVENT_SHARE: f64 = 0.012;

/// The requests of all spans, oldest first.
pub struct TraceRequests<'a> {
    generator: &'a Generator,
    /// Traces that are still to come.
    left: u64,
    batches: Batches<Span>,
}

impl<'a> TraceRequests<'a> {
    pub(crate) fn new(generator: &'a Generator, traces: u64) -> TraceRequests<'a> {
        TraceRequests { generator, left: traces, batches: Batches::new() }
    }
}

impl Iterator for TraceRequests<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(groups) = self.batches.pop() {
                return Some(encode(self.generator, groups));
            }
            if self.left == 0 {
                return self.batches.drain().map(|groups| encode(self.generator, groups));
            }
            self.left -= 1;
            let plan = self.generator.plan(self.left);
            for at in 0..plan.spans.len() {
                self.batches.push(plan.spans[at].instance, span_of(&plan, at));
            }
        }
    }
}

fn encode(generator: &Generator, groups: Groups<Span>) -> Request {
    let items = groups.iter().map(|(_, spans)| spans.len()).sum();
    let resource_spans = groups
        .into_iter()
        .map(|(instance, spans)| ResourceSpans {
            resource: Some(generator.resource(instance)),
            scope_spans: vec![ScopeSpans { scope: Some(scope(instance)), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        })
        .collect();
    Request {
        signal: Signal::Traces,
        body: ExportTraceServiceRequest { resource_spans }.encode_to_vec(),
        items,
    }
}

/// The instrumentation scope of an instance's telemetry.
pub fn scope(instance: usize) -> InstrumentationScope {
    let service = &CATALOG[instance / catalog::INSTANCES_PER_SERVICE];
    InstrumentationScope {
        name: format!("io.opentelemetry.{}.http", service.language),
        version: "2.14.0".to_owned(),
        ..InstrumentationScope::default()
    }
}

fn span_of(plan: &Plan, at: usize) -> Span {
    let planned = &plan.spans[at];
    let mut random = Random::new(planned.id);
    let (name, kind, attributes) = describe(plan, planned, &mut random);
    let parent_span_id =
        planned.parent.map_or(Vec::new(), |parent| plan.spans[parent].id.to_be_bytes().to_vec());
    Span {
        trace_id: plan.trace_id.to_vec(),
        span_id: planned.id.to_be_bytes().to_vec(),
        parent_span_id,
        flags: SAMPLED,
        name,
        kind: kind as i32,
        start_time_unix_nano: planned.start_ns,
        end_time_unix_nano: planned.start_ns + planned.duration_ns,
        attributes,
        events: events(planned, &mut random),
        status: planned.failed.then(|| Status {
            message: failure_of(planned).1.to_owned(),
            code: status::StatusCode::Error as i32,
        }),
        ..Span::default()
    }
}

/// `error.type` and message of a failed span.
pub fn failure_of(planned: &PlannedSpan) -> (&'static str, &'static str) {
    match planned.work {
        Work::Serve { .. } => ("500", "internal server error"),
        Work::Call { .. } => ("503", "upstream connect error or disconnect before headers"),
        Work::Query { .. } => ("timeout", "canceling statement due to statement timeout"),
        Work::Cache => ("connection_reset", "connection reset by peer"),
        Work::Internal { .. } => ("ValueError", "quantity must be positive"),
        Work::Publish { .. } | Work::Consume { .. } => {
            ("not_leader", "broker is not the leader for that partition")
        }
    }
}

fn describe(
    plan: &Plan,
    planned: &PlannedSpan,
    random: &mut Random,
) -> (String, span::SpanKind, Vec<KeyValue>) {
    let (name, kind, mut attributes) = match planned.work {
        Work::Serve { route } => serve(plan, planned, route, random),
        Work::Call { service, route } => call(planned, service, route, random),
        Work::Query { operation, table } => query(planned, operation, table, random),
        Work::Cache => cache(random),
        Work::Internal { step } => internal(step, random),
        Work::Publish { topic } => message(topic, "send", span::SpanKind::Producer, random),
        Work::Consume { topic } => message(topic, "process", span::SpanKind::Consumer, random),
    };
    if planned.failed {
        attributes.push(text("error.type", failure_of(planned).0));
    }
    (name, kind, attributes)
}

type Described = (String, span::SpanKind, Vec<KeyValue>);

fn serve(plan: &Plan, planned: &PlannedSpan, route: usize, random: &mut Random) -> Described {
    let (method, route) = catalog::route(planned.service, route);
    let path = route.replace("{id}", &random.below(5_000_000).to_string());
    let mut attributes = vec![
        text("http.request.method", method),
        text("http.route", route.clone()),
        text("url.path", path),
        text("url.scheme", "https"),
        text("server.address", "shop.example.com"),
        int("http.response.status_code", status_code(method, planned.failed, random)),
        text("user_agent.original", *random.pick(&USER_AGENTS)),
        text("client.address", format!("10.{}.{}.{}", random.below(32), random.below(8), random.below(250))),
    ];
    if planned.parent.is_none() {
        attributes.push(text("user.id", format!("u-{:06}", plan.user)));
        attributes
            .push(text("session.id", format!("{:016x}", plan.user.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    }
    (format!("{method} {route}"), span::SpanKind::Server, attributes)
}

fn call(planned: &PlannedSpan, service: usize, route: usize, random: &mut Random) -> Described {
    let (method, route) = catalog::route(service, route);
    let path = route.replace("{id}", &random.below(5_000_000).to_string());
    let address = format!("{}.shop-production.svc", CATALOG[service].name);
    let attributes = vec![
        text("http.request.method", method),
        text("url.full", format!("http://{address}:8080{path}?expand=lines,totals")),
        text("server.address", address),
        int("server.port", 8080),
        int("http.response.status_code", status_code(method, planned.failed, random)),
        text("network.protocol.version", "1.1"),
    ];
    (method.to_owned(), span::SpanKind::Client, attributes)
}

fn query(planned: &PlannedSpan, operation: usize, table: usize, random: &mut Random) -> Described {
    let database = &CATALOG[planned.service].database;
    let (operation, table) =
        (["SELECT", "UPDATE", "INSERT", "DELETE"][operation % 4], database.tables[table % 3]);
    let statement = match operation {
        "SELECT" => format!(
            "SELECT id, tenant, state, body, created_at, updated_at FROM {table} WHERE id = $1 AND tenant = $2 ORDER BY id LIMIT 50"
        ),
        "UPDATE" => format!(
            "UPDATE {table} SET state = $1, body = $2, updated_at = now(), version = version + 1 WHERE id = $3 AND version = $4"
        ),
        "INSERT" => format!(
            "INSERT INTO {table} (id, tenant, state, body, created_at, updated_at) VALUES ($1, $2, $3, $4, now(), now())"
        ),
        _ => format!("DELETE FROM {table} WHERE id = $1"),
    };
    let attributes = vec![
        text("db.system.name", database.system),
        text("db.namespace", database.namespace),
        text("db.operation.name", operation),
        text("db.collection.name", table),
        text("db.query.text", statement),
        text("server.address", format!("{}-{}.db.internal", database.system, random.below(3))),
        int("server.port", 5432),
        int("db.response.returned_rows", random.skewed(200) as i64),
    ];
    (format!("{operation} {table}"), span::SpanKind::Client, attributes)
}

fn cache(random: &mut Random) -> Described {
    let operation = *random.pick(&["GET", "MGET", "SETEX"]);
    let attributes = vec![
        text("db.system.name", "redis"),
        text("db.operation.name", operation),
        text("db.query.text", format!("{operation} cache:{:08x}", random.below(1 << 22))),
        text("server.address", "redis-cache.db.internal"),
        bool("cache.hit", random.chance(0.83)),
    ];
    (operation.to_owned(), span::SpanKind::Client, attributes)
}

fn internal(step: usize, random: &mut Random) -> Described {
    let step = ["validate", "render", "authorize", "serialize", "merge", "score"][step % 6];
    let attributes = vec![
        text("code.function.name", format!("shop::{step}::run")),
        text("code.file.path", format!("/srv/app/src/shop/{step}/run.rs")),
        int("thread.id", random.below(64) as i64),
        text("feature_flag.key", *random.pick(&["new-checkout", "fast-path", "dark-mode", "bulk-read"])),
    ];
    (step.to_owned(), span::SpanKind::Internal, attributes)
}

fn message(topic: usize, operation: &str, kind: span::SpanKind, random: &mut Random) -> Described {
    let topic = TOPICS[topic % TOPICS.len()];
    let attributes = vec![
        text("messaging.system", "kafka"),
        text("messaging.destination.name", topic),
        text("messaging.operation.type", operation),
        text("messaging.message.id", format!("{:016x}", random.bits())),
        int("messaging.kafka.offset", random.below(40_000_000) as i64),
    ];
    (format!("{operation} {topic}"), kind, attributes)
}

fn status_code(method: &str, failed: bool, random: &mut Random) -> i64 {
    match (failed, method) {
        (true, _) => *random.pick(&[500, 500, 503, 504]),
        (false, "POST") if random.chance(0.6) => 201,
        (false, _) if random.chance(0.02) => 404,
        (false, _) => 200,
    }
}

fn events(planned: &PlannedSpan, random: &mut Random) -> Vec<span::Event> {
    let time_unix_nano = planned.start_ns + planned.duration_ns / 2;
    if planned.failed {
        let (kind, message) = failure_of(planned);
        let stack = format!("{kind}: {message}\n    at shop.handle(handle.java:{})", random.below(400));
        let attributes = vec![
            text("exception.type", kind),
            text("exception.message", message),
            text("exception.stacktrace", stack),
        ];
        return vec![span::Event {
            time_unix_nano,
            name: "exception".to_owned(),
            attributes,
            ..span::Event::default()
        }];
    }
    if !random.chance(EVENT_SHARE) {
        return Vec::new();
    }
    let attributes = vec![int("retry.count", 1 + random.below(3) as i64)];
    vec![span::Event { time_unix_nano, name: "retry".to_owned(), attributes, ..span::Event::default() }]
}

const TOPICS: [&str; 8] = [
    "orders.created",
    "orders.paid",
    "stock.changed",
    "mail.requested",
    "parcel.scanned",
    "review.posted",
    "user.updated",
    "audit.entry",
];

const USER_AGENTS: [&str; 8] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 16; Pixel 10) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile",
    "shop-app/7.3.1 (Android 16; Pixel 10; build 73104) okhttp/5.1.0",
    "OpenTelemetry-instrumented Go-http-client/2.0",
    "python-requests/2.33.1",
];
