//! The evidence that illustrates a suspect: an exemplar, the span that stands for the difference, how its metrics moved, and what its
//! instances use; and what is said where there is none.

use serde_json::{Value, json};
use throughline_correlate::investigate::{Case, Evidence, EvidenceKind, Focus, report};
use throughline_model::Signal;
use throughline_store::TimeRange;

use crate::filled::Filled;
use crate::made_up::{BASELINE, Fault, SECOND, WINDOW, asked, case, filled};

fn resource(service: &str) -> Value {
    json!({"attributes": [
        {"key": "service.name", "value": {"stringValue": service}},
        {"key": "service.instance.id", "value": {"stringValue": format!("{service}-1")}},
    ]})
}

fn write(filled: &Filled, service: &str, metrics: &Value) {
    let body =
        json!({"resourceMetrics": [{"resource": resource(service), "scopeMetrics": [{"metrics": metrics}]}]});
    filled.write(Signal::Metrics, body.to_string().into_bytes());
}

/// An exemplar of a service in the window that leads to a trace.
fn exemplar(filled: &Filled, service: &str, metric: &str, trace: &str) {
    let time = (WINDOW.start + 30 * SECOND).to_string();
    let point = json!({"startTimeUnixNano": WINDOW.start.to_string(), "timeUnixNano": time, "count": "1", "sum": 0.4,
        "bucketCounts": ["1", "0"], "explicitBounds": [1.0],
        "exemplars": [{"timeUnixNano": time, "asDouble": 0.4, "traceId": trace, "spanId": "00000000000000aa"}]});
    let histogram = json!({"aggregationTemporality": 2, "dataPoints": [point]});
    write(filled, service, &json!([{"name": metric, "unit": "s", "histogram": histogram}]));
}

/// The id of a trace of the window.
fn trace(n: u64) -> String {
    format!("{:032x}", 100_000 + n + 1)
}

fn of_first(case: &Case, kind: EvidenceKind) -> Option<&Evidence> {
    case.suspects.first().and_then(|first| first.evidence.iter().find(|evidence| evidence.kind == kind))
}

fn reason<'c>(case: &'c Case, step: &str) -> &'c str {
    case.unchecked
        .iter()
        .find(|unchecked| unchecked.step == step)
        .map_or("", |unchecked| unchecked.reason.as_str())
}

#[test]
fn slow_and_failing_suspects_have_an_exemplar_and_a_culprit_span() {
    // The span of stock is the fifth of its trace, that of price the seventh.
    for (fault, service, number) in
        [(Fault::Error, "stock", 4), (Fault::SlowItself, "price", 6), (Fault::MissingLine, "price", 6)]
    {
        let filled = filled(fault);
        exemplar(&filled, service, "http.server.request.duration", &trace(2));
        let case = asked(&filled, Focus::Window, None);
        let text = report::markdown(&case);
        assert_eq!(case.suspects[0].service, service, "{text}");
        let shown = of_first(&case, EvidenceKind::Exemplar).unwrap_or_else(|| panic!("an exemplar\n{text}"));
        assert!(shown.sentence.contains(&trace(2)), "{shown:?}");
        let culprit = of_first(&case, EvidenceKind::Culprit).unwrap_or_else(|| panic!("a culprit\n{text}"));
        let [span] = culprit.traces.as_slice() else { panic!("{culprit:?}") };
        let id = u64::from_str_radix(&span.span.to_string(), 16).expect("an id");
        assert_eq!(id % 16, number, "{culprit:?}");
        if fault != Fault::SlowItself {
            assert!(shown.sentence.ends_with("which shows the difference"), "{shown:?}");
            assert_eq!(span.trace.to_string(), trace(2), "the exemplar leads to it");
        }
        assert_eq!((shown.score, culprit.score), (0.0, 0.0));
        for step in ["exemplars", "culprit spans"] {
            assert!(!reason(&case, step).contains(&format!("{service}:")), "{step} {:?}", case.unchecked);
        }
    }
}

#[test]
fn the_culprit_of_an_error_is_where_it_begins() {
    let case = case(Fault::Error);
    let culprit = of_first(&case, EvidenceKind::Culprit).expect("a culprit");
    assert!(culprit.sentence.contains("no call below it has one"), "{culprit:?}");
    assert_eq!(case.suspects[0].service, "stock");
}

#[test]
fn what_does_not_illustrate_a_suspect_is_said_with_the_reason() {
    let case = case(Fault::Error);
    assert!(
        reason(&case, "exemplars").contains("stock: none of its metrics has an exemplar"),
        "{:?}",
        case.unchecked
    );
    assert!(
        reason(&case, "metric shifts").contains("stock: ")
            && reason(&case, "metric shifts").contains("counted no request")
    );
    assert_eq!(reason(&case, "culprit spans"), "");
    let filled = filled(Fault::Error);
    exemplar(&filled, "stock", "http.server.request.duration", &"dead".repeat(8));
    let case = asked(&filled, Focus::Window, None);
    assert!(
        reason(&case, "exemplars").contains("stock: none of 1 exemplars in the window leads"),
        "{:?}",
        case.unchecked
    );
    let case = crate::made_up::case(Fault::LooseErrors);
    assert!(
        reason(&case, "culprit spans").contains("stock: what speaks against it is in no span"),
        "{:?}",
        case.unchecked
    );
}

/// Processor seconds and memory of an instance, with so many seconds a second and so many megabytes.
fn used(filled: &Filled, service: &str, range: TimeRange, cpu: f64, megabytes: i64) {
    let steps = (range.end - range.start) / (15 * SECOND);
    let at = |n: i64| (range.start + n * 15 * SECOND).to_string();
    let start = (BASELINE.start - SECOND).to_string();
    let cpu: Vec<Value> = (0..steps)
        .map(|n| {
            // A little more in every other step.
            let seconds = cpu * 15.0 * n as f64 + (n % 2) as f64 * 0.1;
            json!({"startTimeUnixNano": start, "timeUnixNano": at(n), "asDouble": seconds})
        })
        .collect();
    let memory: Vec<Value> = (0..steps)
        .map(|n| json!({"timeUnixNano": at(n), "asInt": ((megabytes + n % 3) << 20).to_string()}))
        .collect();
    let sum = |monotonic: bool, points: &[Value]| json!({"aggregationTemporality": 2, "isMonotonic": monotonic, "dataPoints": points});
    write(
        filled,
        service,
        &json!([
            {"name": "process.cpu.time", "unit": "s", "sum": sum(true, &cpu)},
            {"name": "process.memory.usage", "unit": "By", "sum": sum(false, &memory)},
        ]),
    );
}

#[test]
fn what_an_instance_uses_without_a_limit_is_shown_and_counts_nothing() {
    let filled = filled(Fault::Error);
    let without = asked(&filled, Focus::Window, None);
    for service in ["stock", "cart"] {
        used(&filled, service, BASELINE, 0.1, 100);
    }
    used(&filled, "stock", WINDOW, 0.9, 300);
    used(&filled, "cart", WINDOW, 0.1, 100);
    let check = || {
        let case = asked(&filled, Focus::Window, None);
        let scores =
            |case: &Case| case.suspects.iter().map(|s| (s.service.clone(), s.score)).collect::<Vec<_>>();
        assert_eq!(scores(&case), scores(&without));
        let of = |service: &str| {
            let suspect = case.suspects.iter().find(|suspect| suspect.service == service);
            let evidence = suspect.into_iter().flat_map(|suspect| &suspect.evidence);
            evidence.filter(|one| one.kind == EvidenceKind::ResourceUse).cloned().collect::<Vec<Evidence>>()
        };
        assert_eq!(of("cart"), [], "as before");
        let [cpu, memory] = <[Evidence; 2]>::try_from(of("stock")).expect("two");
        assert_eq!((cpu.metric.as_deref(), cpu.score), (Some("process.cpu.time"), 0.0));
        assert!(
            (cpu.now.expect("a rate") - 0.9).abs() < 0.02 && (cpu.before.expect("a rate") - 0.1).abs() < 0.02,
            "{cpu:?}"
        );
        assert!(cpu.sentence.starts_with("cpu of stock-1: 0.9"), "{}", cpu.sentence);
        assert_eq!(memory.now.map(|bytes| bytes as u64 >> 20), Some(301), "{memory:?}");
    };
    check();
    filled.store.flush().expect("written");
    check();
}
