//! Each rule with a case that it must find and one that it must not.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use throughline_model::batch::{ExemplarRow, MetricBatchBuilder, PointRow, SeriesRow};
use throughline_model::point::{MetricType, PointKind};
use throughline_model::record::{LogRecord, Span};
use throughline_model::{Batch, SpanId, TraceId};
use throughline_store::memtable::Memtable;

use super::*;
use crate::sample::{
    MS, SECOND, attribute_list, histogram_point, log, log_batch, object, span, span_batch, span_id, trace_id,
};

/// When the window starts.
const START: i64 = 1_790_000_000 * SECOND;
/// Long after everything that the tests send.
const TAKEN: i64 = START + 1_800 * SECOND;

/// An exemplar of a series: its trace, or the text that is none.
enum Points {
    To(u64),
    Malformed(&'static str),
    Nowhere,
}

struct Metric {
    service: &'static str,
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    exemplars: Vec<Points>,
}

/// Telemetry by record.
#[derive(Default)]
struct World {
    spans: Vec<Span>,
    logs: Vec<LogRecord>,
    metrics: Vec<Metric>,
}

impl World {
    /// A request that gateway and cart serve, with a record of each; times in milliseconds after the start.
    fn request(&mut self, n: u64, start_ms: i64) {
        let at = START / MS + start_ms;
        let mut root = in_trace(n, span(n * 10 + 1, 0, "gateway", "GET /cart", at, 100));
        let mut call = in_trace(n, span(n * 10 + 2, n * 10 + 1, "gateway", "GET", at + 5, 90));
        call.kind = 3;
        call.attributes = object(json!({"server.address": "cart"}));
        let mut cart = in_trace(n, span(n * 10 + 3, n * 10 + 2, "cart", "GET /cart", at + 10, 80));
        for span in [&mut root, &mut call, &mut cart] {
            span.resource.insert("service.instance.id".to_owned(), json!(format!("{}-1", span.service)));
        }
        self.spans.extend([root, call, cart]);
        for (id, service) in [(1, "gateway"), (3, "cart")] {
            let mut record = log(Some(n * 10 + id), service, at + 50, 9, "served");
            record.trace_id = Some(trace_id(n));
            self.logs.push(record);
        }
    }

    /// Thirty requests as they should be, with a latency histogram that has exemplars.
    fn healthy() -> World {
        let mut world = World::default();
        (1..=30).for_each(|n| world.request(n, n as i64 * 20_000));
        for service in ["gateway", "cart"] {
            let exemplars = (1..=5).map(Points::To).collect();
            let attributes = vec![("http.route", "/cart".to_owned())];
            world.metrics.push(Metric {
                service,
                name: "http.server.request.duration",
                attributes,
                exemplars,
            });
        }
        world
    }

    fn error(
        &mut self,
        service: &'static str,
        trace: Option<u64>,
        span: Option<u64>,
        at_ms: i64,
    ) -> &mut LogRecord {
        let mut record = log(span, service, START / MS + at_ms, 17, "it failed");
        record.trace_id = trace.map(trace_id);
        self.logs.push(record);
        self.logs.last_mut().unwrap()
    }

    fn span_of(&mut self, id: u64) -> &mut Span {
        self.spans.iter_mut().find(|span| span.span_id == span_id(id)).unwrap()
    }

    fn snapshot(&self) -> Snapshot {
        let memtable = Arc::new(Memtable::new());
        for batch in [span_batch(&self.spans), log_batch(&self.logs), metric_batch(&self.metrics)] {
            memtable.insert(batch, START);
        }
        Snapshot::new(vec![memtable.view()], Arc::default(), Arc::default(), TAKEN)
    }

    fn examine(&self) -> Report {
        self.examine_for(None)
    }

    fn examine_for(&self, service: Option<&str>) -> Report {
        let range = TimeRange { start: START, end: TAKEN };
        let request = Request { service: service.map(str::to_owned), range };
        examine(&self.snapshot(), &request, None).expect("examined")
    }

    /// The one finding of a rule, with its level, service, count and total.
    fn finds(&self, rule: &str, level: Level, service: &str, count: u64, total: u64) -> Finding {
        let report = self.examine();
        let of_rule: Vec<&Finding> = report.findings.iter().filter(|finding| finding.rule == rule).collect();
        let [finding] = of_rule.as_slice() else { panic!("{rule}: {:#?}", report.findings) };
        let found = (finding.level, finding.service.as_str(), finding.count, finding.total);
        assert_eq!(found, (level, service, count, total), "{finding:#?}");
        assert!(
            !finding.cause.is_empty() && !finding.fix.is_empty() && finding.query.starts_with("throughline ")
        );
        assert!(finding.examples.len() <= EXAMPLES_MAX && !finding.examples.is_empty(), "{finding:#?}");
        (*finding).clone()
    }
}

fn in_trace(n: u64, mut span: Span) -> Span {
    span.trace_id = trace_id(n);
    span
}

fn metric_batch(metrics: &[Metric]) -> Batch {
    let mut builder = MetricBatchBuilder::new();
    let scope = builder.add_scope("{}");
    for (number, metric) in metrics.iter().enumerate() {
        let resource = builder.add_resource(metric.service, "{}");
        let attributes: Map<String, Json> =
            metric.attributes.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let series = builder.push_series(&SeriesRow {
            resource,
            scope,
            fingerprint: (number as u128 + 1).to_be_bytes(),
            metric: metric.name,
            kind: PointKind::Histogram,
            unit: "s",
            description: "",
            temporality: 2,
            monotonic: false,
            attributes: &attribute_list(&attributes),
            metric_type: MetricType::Histogram,
        });
        for (n, exemplar) in metric.exemplars.iter().enumerate() {
            let (trace_id, original) = match exemplar {
                Points::To(n) => (Some(trace_id(*n)), ""),
                Points::Malformed(text) => (None, *text),
                Points::Nowhere => (None, ""),
            };
            builder.push_exemplar(&ExemplarRow {
                series,
                time: START + n as i64 * SECOND,
                value: 0.1,
                trace_id,
                span_id: None,
                trace_id_original: original,
                attributes: &[],
            });
        }
        let point = histogram_point(START + 60 * SECOND, START, &[0, 5, 0, 0, 0, 0, 0]);
        builder.push_point(&PointRow {
            series,
            time: point.time,
            start_time: point.start_time,
            value: 0.0,
            flags: 0,
            payload: Some(&point.payload),
        });
    }
    Batch::Metrics(builder.finish())
}

#[test]
fn healthy_telemetry_has_no_finding() {
    let report = World::healthy().examine();
    assert_eq!(report.findings, []);
    assert_eq!((report.worst, report.checked.len(), report.partial.len()), (None, RULES.len(), 0));
    let spans = report.checked.iter().find(|checked| checked.rule == "TL403").unwrap();
    assert_eq!((spans.looked_at, spans.of), (90, 90));
    let skipped: Vec<&str> = report
        .checked
        .iter()
        .filter(|checked| checked.skipped.is_some())
        .map(|checked| &*checked.rule)
        .collect();
    assert_eq!(skipped, ["TL006"], "there is no ledger");
}

#[test]
fn nothing_stored_is_no_finding_either() {
    assert_eq!(World::default().examine().findings, []);
}

#[test]
fn ids_of_rules_are_unique_and_ascend() {
    assert!(RULES.is_sorted_by(|a, b| a.id < b.id));
    let names: std::collections::BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), RULES.len());
}

#[test]
fn items_without_a_service() {
    let mut world = World::healthy();
    world.spans.push(in_trace(90, span(901, 0, "unknown_service", "job", START / MS + 1_000, 5)));
    world.finds("TL001", Level::Error, "unknown_service", 1, 91);
    let mut record = log(None, "unknown_service:java", START / MS + 2_000, 9, "hello");
    record.trace_id = None;
    world.logs.push(record);
    world.finds("TL002", Level::Error, "unknown_service:java", 1, 61);
    world.metrics.push(Metric { service: "", name: "jobs", attributes: Vec::new(), exemplars: Vec::new() });
    world.finds("TL003", Level::Warning, "", 1, 3);
}

#[test]
fn log_records_without_trace_ids_or_levels() {
    let mut world = World::healthy();
    for log in world.logs.iter_mut().filter(|log| log.service == "cart") {
        (log.trace_id, log.span_id) = (None, None);
    }
    world.finds("TL004", Level::Warning, "cart", 30, 30);
    world.logs.iter_mut().for_each(|log| log.severity_number = u8::from(log.service == "gateway") * 9);
    world.finds("TL005", Level::Note, "cart", 30, 30);
}

#[test]
fn a_service_that_mostly_works_outside_of_requests() {
    let mut world = World::healthy();
    world.spans.push(in_trace(90, span(901, 0, "controller", "GET /healthz", START / MS + 1_000, 5)));
    for n in 0..200 {
        let mut record = log(None, "controller", START / MS + n * 1_000, 9, "reconciled");
        record.trace_id = None;
        world.logs.push(record);
    }
    assert_eq!(world.examine().findings, []);
}

#[test]
fn what_was_rejected_is_told() {
    let mut ledger = Ledger::default();
    ledger.traces.received = 10;
    ledger.traces.stored = 8;
    ledger.traces.rejected.insert("invalid_id".to_owned(), 2);
    let world = World::healthy();
    let request = Request { service: None, range: TimeRange { start: START, end: TAKEN } };
    let report = examine(&world.snapshot(), &request, Some(&ledger)).unwrap();
    let [finding] = report.findings.as_slice() else { panic!("{report:#?}") };
    assert_eq!((finding.rule.as_str(), finding.level, finding.count), ("TL006", Level::Error, 2));
    assert_eq!(report.worst, Some(Level::Error));
    assert!(finding.message.contains("since the folder began, of all services"), "{finding:#?}");
    // Whose they were nobody knows.
    let request = Request { service: Some("cart".to_owned()), ..request };
    let report = examine(&world.snapshot(), &request, Some(&ledger)).unwrap();
    let rejected = report.checked.iter().find(|checked| checked.rule == "TL006").unwrap();
    assert!(report.findings.is_empty() && rejected.skipped.is_some(), "{report:#?}");
    // Where nothing was rejected there is nothing to tell, however much came.
    ledger.traces.rejected.clear();
    ledger.traces.stored = 10;
    let request = Request { service: None, ..request };
    let report = examine(&world.snapshot(), &request, Some(&ledger)).unwrap();
    let rejected = report.checked.iter().find(|checked| checked.rule == "TL006").unwrap();
    assert_eq!((report.findings.as_slice(), rejected.looked_at, &rejected.skipped), (&[][..], 10, &None));
}

#[test]
fn log_records_with_an_id_that_is_none() {
    let mut world = World::healthy();
    let of_cart = world.logs.iter_mut().filter(|log| log.service == "cart");
    for (n, log) in of_cart.enumerate().take(7) {
        (log.trace_id, log.span_id) = (None, None);
        log.trace_id_original = Some(format!("<no value> {n}"));
    }
    let finding = world.finds("TL008", Level::Warning, "cart", 7, 30);
    let texts: Vec<&str> = finding.examples.iter().map(|example| &*example.text).collect();
    assert_eq!(texts[0], "trace id \"<no value> 6\"", "the newest: {finding:#?}");
    assert_eq!(texts.len(), EXAMPLES_MAX);
    assert!(finding.cause.contains("12 characters, not all hex digits"), "{finding:#?}");
    assert!(finding.query.starts_with("throughline links --service cart --start "), "{finding:#?}");
    // Nobody else hears of it, and it is no record without an id.
    assert_eq!(world.examine_for(Some("gateway")).findings, []);
    for log in world.logs.iter_mut().filter(|log| log.service == "cart") {
        (log.trace_id, log.span_id) = (None, None);
        log.trace_id_original = Some("-".to_owned());
    }
    let report = world.examine();
    let rules: Vec<&str> = report.findings.iter().map(|finding| &*finding.rule).collect();
    assert_eq!(rules, ["TL008"], "{report:#?}");
}

#[test]
fn ids_in_other_forms_are_ids() {
    let mut world = World::healthy();
    for log in &mut world.logs {
        log.trace_id_original = log.trace_id.map(|id| format!("0x{id}"));
    }
    assert_eq!(world.examine().findings, []);
}

#[test]
fn errors_of_a_service_that_is_not_traced() {
    let mut world = World::healthy();
    world.error("batch", None, None, 5_000);
    let finding = world.finds("TL007", Level::Note, "batch", 1, 1);
    assert_eq!(finding.examples[0].text, "it failed");
}

#[test]
fn an_error_with_an_error_span_is_as_it_should_be() {
    let mut world = World::healthy();
    world.error("cart", Some(1), Some(13), 20_050);
    world.span_of(13).status_code = 2;
    assert_eq!(world.examine().findings, []);
}

#[test]
fn errors_without_an_error_span_are_told_apart() {
    let mut world = World::healthy();
    // Sampled out at the head.
    world.error("cart", Some(101), Some(1_013), 30_000).unsampled = true;
    // The status was never set.
    world.error("cart", Some(2), Some(23), 40_050);
    // Outside of any span: cart's spans run for 80 ms every 20 s.
    world.error("cart", None, None, 50_000);
    // Detached: cart's span of trace 3 was running.
    world.error("cart", None, None, 60_050);
    // Late: after its span had ended.
    world.error("cart", Some(4), Some(43), 81_000);
    // Malformed, and half an id.
    let malformed = world.error("cart", None, None, 90_000);
    malformed.trace_id_original = Some("not an id".to_owned());
    world.error("cart", Some(0xabc), Some(1), 91_000).trace_id_original = Some("2748".to_owned());
    // Lost: sampled, and nothing came; and another, of which the caller's came.
    world.error("cart", None, Some(9), 92_000).trace_id = Some(TraceId([9; 16]));
    world.error("cart", Some(5), Some(599), 100_050);
    // Not ended: its child is here.
    world.error("cart", Some(6), Some(698), 120_050);
    world.spans.push(in_trace(6, span(699, 698, "cart", "inner", START / MS + 120_010, 5)));
    // Before its span began.
    world.error("cart", Some(7), Some(73), 139_000);
    for (rule, level, count) in [
        ("TL101", Level::Warning, 1),
        ("TL103", Level::Warning, 1),
        ("TL104", Level::Warning, 1),
        ("TL105", Level::Warning, 2),
        ("TL106", Level::Warning, 2),
        ("TL107", Level::Error, 2),
        ("TL108", Level::Note, 1),
        ("TL109", Level::Warning, 1),
    ] {
        let finding = world.finds(rule, level, "cart", count, 11);
        assert!(finding.examples.iter().all(|example| example.time.is_some()), "{finding:#?}");
    }
    let detached = world.finds("TL105", Level::Warning, "cart", 2, 11);
    let running = detached.examples.iter().find(|example| example.span_id == Some(span_id(33)));
    assert!(running.is_some(), "the span that was running is named: {detached:#?}");
    // Whoever asks for another service does not hear of it.
    let others = world.examine_for(Some("gateway"));
    assert!(others.findings.iter().all(|finding| !finding.rule.starts_with("TL10")), "{others:#?}");
}

#[test]
fn a_long_job_runs_still() {
    let mut world = World::healthy();
    let mut job = in_trace(300, span(3_001, 0, "nightly", "job", START / MS + 10_000, 900_000));
    job.kind = 1;
    world.spans.push(job);
    // Many short ones came after it.
    for n in 0..60 {
        world.spans.push(in_trace(
            301 + n,
            span(3_100 + n, 0, "nightly", "tick", START / MS + 640_000 + n as i64 * 100, 1),
        ));
    }
    world.error("nightly", None, None, 650_050);
    let finding = world.finds("TL105", Level::Warning, "nightly", 1, 1);
    assert_eq!(finding.examples[0].span_id, Some(span_id(3_001)));
}

#[test]
fn error_spans_without_a_record() {
    let mut world = World::healthy();
    world.span_of(13).status_code = 2;
    world.span_of(23).status_code = 2;
    world.logs.retain(|log| log.trace_id != Some(trace_id(1)));
    let finding = world.finds("TL110", Level::Note, "cart", 1, 2);
    assert_eq!(finding.examples[0].span_id, Some(span_id(13)));
}

#[test]
fn references_that_lead_nowhere() {
    let mut world = World::healthy();
    for n in 0..3 {
        let mut record = log(Some(5), "cart", START / MS + 700_000 + n, 9, "served");
        record.trace_id = Some(TraceId([7 + n as u8; 16]));
        world.logs.push(record);
    }
    let finding = world.finds("TL201", Level::Warning, "cart", 3, 33);
    assert!(finding.query.starts_with("throughline links --service cart --start "), "{finding:#?}");
}

#[test]
fn exemplars_that_lead_nowhere() {
    let mut world = World::healthy();
    let exemplars =
        vec![Points::To(1), Points::To(990), Points::Malformed("xyz"), Points::Nowhere, Points::To(2)];
    world.metrics.push(Metric { service: "cart", name: "size", attributes: Vec::new(), exemplars });
    let report = world.examine();
    let of = |rule: &str| -> Vec<(Level, u64, u64)> {
        let findings = report.findings.iter().filter(|finding| finding.rule == rule);
        findings.map(|finding| (finding.level, finding.count, finding.total)).collect()
    };
    assert_eq!(of("TL202"), [(Level::Warning, 1, 15), (Level::Note, 1, 15)]);
    assert_eq!(of("TL203"), [(Level::Warning, 1, 8)]);
    assert_eq!(of("TL204"), []);
}

#[test]
fn histograms_without_exemplars() {
    let mut world = World::healthy();
    world.metrics.push(Metric {
        service: "cart",
        name: "size",
        attributes: Vec::new(),
        exemplars: Vec::new(),
    });
    let finding = world.finds("TL204", Level::Note, "cart", 1, 2);
    assert_eq!(finding.examples[0].text, "size");
    // Pauses of a runtime belong to no span.
    for name in ["jvm.gc.duration", "nodejs_eventloop_delay", "otel.sdk.span.export.duration"] {
        let mut world = World::healthy();
        world.metrics.push(Metric { service: "cart", name, attributes: Vec::new(), exemplars: Vec::new() });
        assert_eq!(world.examine().findings, [], "{name}");
    }
}

#[test]
fn one_service_under_several_names() {
    let mut world = World::healthy();
    let mut record = log(None, "Cart", START / MS + 1_000, 9, "started");
    record.trace_id = None;
    world.logs.push(record);
    world.finds("TL301", Level::Warning, "Cart", 2, 3);
    // The records of cart's spans say another name.
    let mut world = World::healthy();
    world
        .logs
        .iter_mut()
        .filter(|log| log.service == "cart")
        .for_each(|log| log.service = "basket".to_owned());
    let finding = world.finds("TL302", Level::Warning, "basket", 30, 60);
    assert!(finding.message.contains("within spans of cart"), "{finding:#?}");
    // A name that has no signal of the other's may be the same service's; of one that sends spans as well that is no news.
    let mut world = World::healthy();
    let mut record = log(None, "cart-service", START / MS + 1_000, 9, "started");
    record.trace_id = None;
    world.logs.retain(|log| log.service != "cart");
    world.logs.push(record);
    world.finds("TL301", Level::Note, "cart", 2, 3);
    world.spans.push(in_trace(500, span(5_001, 0, "cart-service", "job", START / MS + 1_000, 5)));
    assert!(world.examine().findings.iter().all(|finding| finding.rule != "TL301"));
}

#[test]
fn span_names_that_carry_values() {
    let mut world = World::healthy();
    for n in 0..150u64 {
        let name = format!("GET /user/{}", 1_000 + n);
        world.spans.push(in_trace(200 + n, span(9_000 + n, 0, "users", &name, START / MS + n as i64, 5)));
    }
    let finding = world.finds("TL303", Level::Warning, "users", 150, 150);
    assert!(finding.fix.contains("GET /user/{id}") && finding.examples[0].trace_id.is_some(), "{finding:#?}");
    // As many names without values are as many operations.
    for (n, span) in world.spans.iter_mut().filter(|span| span.service == "users").enumerate() {
        let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
        span.name = format!("GET /user/{}{}", letter(n), letter(n / 26));
    }
    assert!(world.examine().findings.iter().all(|finding| finding.rule != "TL303"));
}

#[test]
fn attributes_with_too_many_values() {
    let mut world = World::healthy();
    for n in 0..120 {
        let attributes = vec![("user.id", format!("u{n}")), ("route", "/cart".to_owned())];
        world.metrics.push(Metric {
            service: "cart",
            name: "http.server.request.duration",
            attributes,
            exemplars: Vec::new(),
        });
    }
    let finding = world.finds("TL304", Level::Warning, "cart", 120, 121);
    assert!(finding.message.starts_with("user.id of http.server.request.duration"), "{finding:#?}");
    // As many routes are as many routes.
    for (n, metric) in world.metrics.iter_mut().filter(|metric| metric.attributes.len() == 2).enumerate() {
        let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
        metric.attributes[0].1 = format!("/{}{}/items", letter(n), letter(n / 26));
    }
    assert!(world.examine().findings.iter().all(|finding| finding.rule != "TL304"));
}

#[test]
fn calls_that_are_not_served() {
    // cart starts traces of its own.
    let mut world = World::healthy();
    for span in world.spans.iter_mut().filter(|span| span.service == "cart") {
        span.parent_span_id = None;
        span.trace_id = trace_id(span.trace_id.low() + 1_000);
    }
    world.logs.clear();
    world.finds("TL401", Level::Warning, "gateway", 30, 30);
    // A peer that sends nothing, and a database, of which nothing is expected.
    let mut world = World::healthy();
    let call = |id: u64, key: &str, peer: &str| {
        let mut call = in_trace(1, span(id, 11, "gateway", "call", START / MS + 20_010, 5));
        call.kind = 3;
        call.attributes = object(json!({key: peer}));
        call
    };
    world.spans.extend([call(18, "server.address", "api.stripe.com"), call(19, "db.system", "redis")]);
    let finding = world.finds("TL402", Level::Note, "gateway", 1, 31);
    assert!(finding.message.contains("api.stripe.com"), "{finding:#?}");
}

/// A client span of gateway within its first request.
fn call_of_gateway(id: u64, attributes: Json) -> Span {
    let mut call = in_trace(1, span(id, 11, "gateway", "call", START / MS + 20_010, 5));
    call.kind = 3;
    call.attributes = object(attributes);
    call
}

#[test]
fn calls_that_nobody_can_have_served() {
    let mut world = World::healthy();
    // It failed before anybody answered, and at the deadline; a gateway answered.
    for (id, attributes) in [
        (101, json!({"server.address": "cart", "error.type": "ConnectException"})),
        (102, json!({"server.address": "cart", "rpc.grpc.status_code": "14"})),
        (103, json!({"server.address": "cart", "http.response.status_code": "503"})),
    ] {
        let mut call = call_of_gateway(id, attributes);
        call.status_code = 2;
        world.spans.push(call);
    }
    // A library's client span around that of the protocol, which cart's server span answers.
    let mut outer = call_of_gateway(104, json!({"rpc.service": "shop.CartService"}));
    outer.span_id = span_id(104);
    world.spans.push(outer);
    world.span_of(12).parent_span_id = Some(span_id(104));
    // A message, which is taken in a trace of its own that links to it.
    let mut message = call_of_gateway(105, json!({"messaging.destination.name": "orders"}));
    message.kind = 4;
    world.spans.push(message);
    let mut taken = in_trace(77, span(771, 0, "cart", "orders process", START / MS + 90_000, 5));
    taken.kind = 5;
    taken.links = vec![json!({"trace_id": trace_id(1).to_string(), "span_id": span_id(105).to_string()})];
    world.spans.push(taken);
    assert_eq!(world.examine().findings, []);
    // With an answer that is an error somebody was there.
    let mut call =
        call_of_gateway(106, json!({"server.address": "cart", "http.response.status_code": "500"}));
    call.status_code = 2;
    world.spans.push(call);
    let finding = world.finds("TL401", Level::Note, "gateway", 1, 31);
    assert!(finding.cause.contains("reaches cart in 30 other calls"), "{finding:#?}");
    assert!(finding.query.contains("{ kind = server } !< { resource.service.name = "), "{finding:#?}");
}

#[test]
fn peers_by_the_names_that_clients_give_them() {
    let mut world = World::healthy();
    let grpc = call_of_gateway(101, json!({"rpc.service": "shop.CartService"}));
    world.spans.push(grpc);
    let finding = world.finds("TL401", Level::Note, "gateway", 1, 31);
    assert!(finding.message.contains("call CartService, which sends spans as cart"), "{finding:#?}");
    let mut world = World::healthy();
    world.spans.push(call_of_gateway(101, json!({"server.address": "10.0.0.7"})));
    let finding = world.finds("TL402", Level::Note, "gateway", 1, 31);
    assert!(finding.message.contains("an address that names no service"), "{finding:#?}");
    let mut world = World::healthy();
    world.spans.push(call_of_gateway(101, json!({"url.full": "https://me@api.example.com:8443/v1?x=1"})));
    let finding = world.finds("TL402", Level::Note, "gateway", 1, 31);
    assert!(finding.message.contains("call api.example.com:8443, which sends no spans"), "{finding:#?}");
}

#[test]
fn spans_without_their_parent() {
    let mut world = World::healthy();
    world.spans.retain(|span| span.span_id != span_id(12));
    let finding = world.finds("TL403", Level::Warning, "cart", 1, 30);
    assert!(finding.query.starts_with("throughline search '{ } !> { resource.service.name"), "{finding:#?}");
    assert_eq!(finding.examples[0].span_id, Some(span_id(13)));
    // A single loss among many is told, and breaks no build.
    let whole = world.spans.iter().rfind(|span| span.service == "cart").unwrap().clone();
    world.spans.extend((0..100).map(|n| Span { span_id: span_id(5_000 + n), ..whole.clone() }));
    world.finds("TL403", Level::Note, "cart", 1, 130);
}

#[test]
fn clocks_of_two_hosts() {
    let mut world = World::healthy();
    for span in world.spans.iter_mut().filter(|span| span.service == "cart") {
        span.start_time -= 2 * SECOND;
    }
    world.logs.clear();
    let finding = world.finds("TL404", Level::Warning, "cart", 30, 30);
    assert!(finding.message.starts_with("the clock of cart on cart-1 is 2 s behind"), "{finding:#?}");
    // A client that gives up early is no clock.
    let mut world = World::healthy();
    world.spans.iter_mut().filter(|span| span.service == "cart").for_each(|span| span.duration_ns = SECOND);
    assert_eq!(world.examine().findings, []);
}

#[test]
fn a_head_sampler_that_starves_errors() {
    let mut world = World::healthy();
    for n in 0..6u64 {
        let trace = TraceId([20 + n as u8; 16]);
        let record = world.error("cart", None, Some(9), 30_000 + n as i64);
        (record.trace_id, record.unsampled) = (Some(trace), n < 4);
    }
    world.finds("TL501", Level::Error, "cart", 4, 6);
    world.logs.iter_mut().for_each(|log| log.unsampled = false);
    assert!(world.examine().findings.iter().all(|finding| finding.rule != "TL501"));
}

#[test]
fn the_same_request_gives_the_same_report() {
    let mut world = World::healthy();
    (0..40).for_each(|n| {
        drop(world.error("cart", Some(n + 1), Some(n * 10 + 13), n as i64 * 20_000 + 50).clone())
    });
    let once = world.examine();
    assert_eq!(world.examine(), once);
    let again: Report = serde_json::from_str(&serde_json::to_string(&once).unwrap()).unwrap();
    assert_eq!(again, once);
    assert!(SpanId::from_slice(&[1; 8]).is_some());
}
