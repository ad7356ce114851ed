//! Log records from templates with variables; 40 % of them belong to a span of a trace of the same generator.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;

use crate::batches::{Batches, Groups};
use crate::catalog::{INSTANCES, int, text};
use crate::plan::Plan;
use crate::random::Random;
use crate::spans::{failure_of, scope};
use crate::{Generator, RECORDS_PER_TRACE, Request, Signal};

/// Of the records of a trace's time, this many carry its context: 40 %. With 15 records for every trace, every
/// trace has exactly so many.
pub const WITH_CONTEXT: u64 = RECORDS_PER_TRACE * 2 / 5;

/// The requests of all log records, oldest first.
pub struct LogRequests<'a> {
    generator: &'a Generator,
    /// Records that are still to come.
    left: u64,
    /// Traces that the records spread over.
    traces: u64,
    total: u64,
    current: Option<(u64, Plan)>,
    batches: Batches<LogRecord>,
}

impl<'a> LogRequests<'a> {
    pub(crate) fn new(generator: &'a Generator, records: u64, traces: u64) -> LogRequests<'a> {
        let batches = Batches::new();
        LogRequests { generator, left: records, traces, total: records, current: None, batches }
    }

    fn advance(&mut self) {
        self.left -= 1;
        let number = (u128::from(self.left) * u128::from(self.traces) / u128::from(self.total.max(1))) as u64;
        let plan = match self.current.take() {
            Some((at, plan)) if at == number => plan,
            _ => self.generator.plan(number),
        };
        let mut random = Random::of(self.generator.seed, 0x106, self.left);
        let (instance, record) = if self.left % RECORDS_PER_TRACE < WITH_CONTEXT {
            within_span(&plan, &mut random)
        } else {
            alone(&plan, self.generator.interval_ns, &mut random)
        };
        self.batches.push(instance, record);
        self.current = Some((number, plan));
    }
}

impl Iterator for LogRequests<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(groups) = self.batches.pop() {
                return Some(encode(self.generator, groups));
            }
            if self.left == 0 {
                return self.batches.drain().map(|groups| encode(self.generator, groups));
            }
            self.advance();
        }
    }
}

fn encode(generator: &Generator, groups: Groups<LogRecord>) -> Request {
    let items = groups.iter().map(|(_, records)| records.len()).sum();
    let resource_logs = groups
        .into_iter()
        .map(|(instance, log_records)| ResourceLogs {
            resource: Some(generator.resource(instance)),
            scope_logs: vec![ScopeLogs { scope: Some(scope(instance)), log_records, ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        })
        .collect();
    Request { signal: Signal::Logs, body: ExportLogsServiceRequest { resource_logs }.encode_to_vec(), items }
}

fn within_span(plan: &Plan, random: &mut Random) -> (usize, LogRecord) {
    let planned = random.pick(&plan.spans);
    let time_ns = planned.start_ns + random.below(planned.duration_ns.max(1));
    let mut record = if planned.failed {
        let (kind, message) = failure_of(planned);
        record(
            time_ns,
            Severity::Error,
            format!("request failed: {kind}: {message}, giving up after 3 attempts"),
        )
    } else {
        from_template(time_ns, plan, random)
    };
    record.trace_id = plan.trace_id.to_vec();
    record.span_id = planned.id.to_be_bytes().to_vec();
    record.flags = 1;
    (planned.instance, finish(record, random))
}

fn alone(plan: &Plan, interval_ns: u64, random: &mut Random) -> (usize, LogRecord) {
    let start_ns = plan.spans.first().map_or(0, |root| root.start_ns);
    let record = from_template(start_ns + random.below(interval_ns), plan, random);
    (random.index(INSTANCES), finish(record, random))
}

#[derive(Clone, Copy)]
enum Severity {
    Debug,
    Info,
    Warn,
    Error,
}

impl Severity {
    fn number_and_text(self) -> (i32, &'static str) {
        match self {
            Severity::Debug => (5, "DEBUG"),
            Severity::Info => (9, "INFO"),
            Severity::Warn => (13, "WARN"),
            Severity::Error => (17, "ERROR"),
        }
    }
}

fn record(time_unix_nano: u64, severity: Severity, body: String) -> LogRecord {
    let (severity_number, severity_text) = severity.number_and_text();
    LogRecord {
        time_unix_nano,
        observed_time_unix_nano: time_unix_nano + 1_500_000,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        ..LogRecord::default()
    }
}

/// Adds the attributes that logging bridges write.
fn finish(mut record: LogRecord, random: &mut Random) -> LogRecord {
    let module = *random.pick(&["handler", "repository", "client", "scheduler", "cache", "consumer"]);
    record.attributes = vec![
        text("logger.name", format!("shop.service.{module}")),
        text("thread.name", format!("worker-{}", random.below(64))),
        int("code.line.number", 20 + random.below(400) as i64),
    ];
    record
}

fn from_template(time_ns: u64, plan: &Plan, random: &mut Random) -> LogRecord {
    let (severity, template) = TEMPLATES[random.skewed(TEMPLATES.len())];
    let mut body = String::with_capacity(96);
    for (at, part) in template.split('@').enumerate() {
        if at == 0 {
            body.push_str(part);
            continue;
        }
        let mut rest = part.chars();
        let variable = match rest.next() {
            Some('n') => random.skewed(5_000).to_string(),
            Some('m') => format!("{:.2}ms", random.tail() * 12.0),
            Some('u') => format!("u-{:06}", plan.user),
            Some('h') => format!("{:012x}", random.bits() & 0xffff_ffff_ffff),
            Some('a') => {
                format!("10.{}.{}.{}:{}", random.below(32), random.below(8), random.below(250), 8080)
            }
            Some('p') => format!("/api/v1/orders/{}", random.below(5_000_000)),
            Some('w') => (*random.pick(&WORDS)).to_owned(),
            other => format!("@{}", other.map(String::from).unwrap_or_default()),
        };
        body.push_str(&variable);
        body.push_str(rest.as_str());
    }
    record(time_ns, severity, body)
}

const WORDS: [&str; 12] = [
    "orders",
    "payments",
    "stock",
    "carts",
    "profiles",
    "shipments",
    "mails",
    "reviews",
    "prices",
    "tokens",
    "labels",
    "points",
];

/// What services log, most frequent first. `@n` number, `@m` duration, `@u` user, `@h` hexadecimal id, `@a`
/// address, `@p` path, `@w` word.
const TEMPLATES: [(Severity, &str); 32] = [
    (Severity::Info, "handled GET @p for user @u with status 200 in @m, @n bytes written"),
    (Severity::Info, "handled POST @p for user @u with status 201 in @m, request id @h"),
    (Severity::Info, "fetched @n rows of table @w from primary @a in @m for user @u"),
    (Severity::Debug, "cache lookup for key @w:@h took @m, @n entries in the segment, hit"),
    (Severity::Info, "published message @h to topic @w partition @n, acknowledged in @m"),
    (Severity::Info, "consumed message @h from topic @w partition @n, handled in @m"),
    (Severity::Debug, "connection to @a taken from the pool @w after @m, @n connections idle"),
    (Severity::Info, "user @u authorized for scope @w:write by policy @h in @m"),
    (Severity::Info, "reserved @n items of @w for order @h until checkout, took @m"),
    (Severity::Warn, "slow query on table @w took @m at @a, @n rows scanned, statement @h"),
    (Severity::Info, "scheduled job @w-sync finished: @n records updated, @n skipped, total @m"),
    (Severity::Info, "session @h of user @u refreshed, @n sessions active on this instance"),
    (Severity::Debug, "decoded request body of @n bytes as @w, schema version @n, correlation @h"),
    (Severity::Info, "price rule @h applied to @n items of cart @h for user @u"),
    (Severity::Info, "shipment @h assigned to carrier @w, label printed in @m at station @n"),
    (Severity::Warn, "retrying call to @a after @m: attempt @n of 5 failed with connection reset"),
    (Severity::Info, "feature flag @w evaluated for user @u: variant @n, rule @h"),
    (Severity::Info, "sent mail template @w to user @u, message id <@h@@n.mail.shop>"),
    (Severity::Warn, "queue @w has @n messages waiting, oldest waits since @m, consumer @a is behind"),
    (Severity::Info, "garbage collection of @n objects took @m, heap now at @n MiB of 2048 MiB"),
    (Severity::Info, "health check of @a ok in @m, version @n, leader @h"),
    (Severity::Error, "could not write to table @w at @a: deadlock detected, transaction @h rolled back"),
    (Severity::Warn, "rate limit of user @u reached for @p: @n requests in the last minute"),
    (Severity::Info, "config reloaded from revision @h: @n keys changed in section @w"),
    (Severity::Debug, "evicted @n entries of cache @w in @m, oldest was @h"),
    (Severity::Warn, "certificate of @a expires in @n hours, fingerprint @h"),
    (Severity::Error, "payment of user @u declined by provider: code @n, reference @h, after @m"),
    (Severity::Info, "leader election for shard @n of @w won by @a in term @n"),
    (Severity::Info, "image @h resized to @n pixels for @w in @m"),
    (Severity::Error, "unexpected response from @a for @p: status 502, body of @n bytes, request @h"),
    (Severity::Warn, "clock of @a is off by @m, using the time of the request @h"),
    (Severity::Error, "panic in handler of @p recovered: index out of bounds: the length is @n, trace @h"),
];
