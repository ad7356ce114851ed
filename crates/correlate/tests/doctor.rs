//! The doctor's rules about sampling: what a policy dropped, and span metrics that were computed after it.

use std::time::Duration;

use serde_json::{Value, json};
use throughline_correlate::doctor::{Level, Report, Request, examine};
use throughline_model::Signal;
use throughline_sampling::policy::{Kind, Policy};
use throughline_store::{Sampling, TimeRange};

use crate::filled::Filled;

const SECOND: i64 = 1_000_000_000;
const NOW: i64 = 1_790_000_000 * SECOND;
const DELAY: Duration = Duration::from_secs(300);

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}},
        {"key": "telemetry.sdk.language", "value": {"stringValue": "python"}}]})
}

/// A server span of cart without an error status, and an ERROR record within it, for each of these traces.
fn failing(filled: &Filled, traces: std::ops::Range<u64>, status: u8) {
    let ids = |n: u64| (format!("{:032x}", n + 1), format!("{:016x}", n + 1));
    let spans: Vec<Value> = traces
        .clone()
        .map(|n| {
            let ((trace, span), start) = (ids(n), NOW - 600 * SECOND + n as i64 * SECOND);
            json!({"traceId": trace, "spanId": span, "name": "GET /cart", "kind": 2, "status": {"code": status},
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + SECOND / 10).to_string()})
        })
        .collect();
    let logs: Vec<Value> = traces
        .map(|n| {
            let ((trace, span), time) = (ids(n), NOW - 600 * SECOND + n as i64 * SECOND + 1_000_000);
            json!({"traceId": trace, "spanId": span, "severityNumber": 17, "timeUnixNano": time.to_string(),
                "body": {"stringValue": "the card was refused"}})
        })
        .collect();
    let resource = resource("cart");
    for (signal, body) in [
        (
            Signal::Traces,
            json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}),
        ),
        (
            Signal::Logs,
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": logs}]}]}),
        ),
    ] {
        filled.write(signal, body.to_string().into_bytes());
    }
}

fn report(filled: &Filled) -> Report {
    let range = TimeRange { start: NOW - 3_600 * SECOND, end: NOW + 3_600 * SECOND };
    examine(&filled.store.snapshot(), &Request { service: None, range }, None).expect("examined")
}

fn of_rule(report: &Report, rule: &str) -> Vec<(Level, String, u64, u64)> {
    let findings = report.findings.iter().filter(|finding| finding.rule == rule);
    findings.map(|found| (found.level, found.service.clone(), found.count, found.total)).collect()
}

fn policy(name: &str, kind: Kind) -> Policy {
    Policy { name: name.to_owned(), kind }
}

/// A store whose policies have decided about ten traces with an ERROR record.
fn decided(policies: Vec<Policy>, status: u8) -> Filled {
    let sampling = Sampling::new(policies, DELAY).expect("policies");
    let filled = Filled::sampled(NOW, Some(sampling));
    failing(&filled, 0..10, status);
    filled.store.flush().expect("written");
    filled.clock.advance(DELAY + Duration::from_secs(61));
    filled.store.compact().expect("compacted");
    filled
}

#[test]
fn errors_whose_trace_a_policy_dropped() {
    let errors = || policy("errors", Kind::StatusCode { status_codes: vec![2] });
    // The policy looks at the spans' status, which nobody set.
    let report_of_dropped = report(&decided(vec![errors()], 0));
    let found = of_rule(&report_of_dropped, "TL102");
    assert_eq!(found, [(Level::Warning, "cart".to_owned(), 10, 10)], "{report_of_dropped:#?}");
    let finding = report_of_dropped.findings.iter().find(|finding| finding.rule == "TL102").expect("found");
    assert!(finding.message.contains("dropped by"), "{finding:#?}");
    assert!(finding.examples.iter().all(|example| example.trace_id.is_some()), "{finding:#?}");
    // With the status set they stay, and so they do where a policy looks at records.
    assert_eq!(of_rule(&report(&decided(vec![errors()], 2)), "TL102"), []);
    let kept = report(&decided(vec![errors(), policy("error-logs", Kind::ErrorLog)], 0));
    assert_eq!(of_rule(&kept, "TL102"), []);
    assert_eq!(of_rule(&kept, "TL103"), [(Level::Warning, "cart".to_owned(), 10, 10)]);
}

#[test]
fn ids_that_cannot_be_read_are_found_in_memory_and_in_blocks() {
    let filled = Filled::new(NOW);
    let record = |n: i64, attributes: Value| {
        json!({"severityNumber": 9, "timeUnixNano": (NOW - 60 * SECOND + n).to_string(),
            "body": {"stringValue": "tidied up"}, "attributes": attributes})
    };
    let named = |id: &str| json!([{"key": "trace_id", "value": {"stringValue": id}}]);
    let short = "4bf92f3577b34da6";
    let records = json!([
        record(1, named("no-trace")),
        record(2, named("no-trace")),
        record(3, named(short)),
        record(4, json!([]))
    ]);
    let body =
        json!({"resourceLogs": [{"resource": resource("cart"), "scopeLogs": [{"logRecords": records}]}]});
    filled.write(Signal::Logs, body.to_string().into_bytes());
    let expected = [(Level::Warning, "cart".to_owned(), 2, 4)];
    let in_memory = report(&filled);
    assert_eq!(of_rule(&in_memory, "TL008"), expected, "{in_memory:#?}");
    filled.store.flush().expect("written");
    let in_block = report(&filled);
    assert_eq!(of_rule(&in_block, "TL008"), expected, "{in_block:#?}");
    let finding = in_block.findings.iter().find(|finding| finding.rule == "TL008").expect("found");
    assert!(finding.fix.contains("get_span_context().trace_id"), "in the words of the SDK: {finding:#?}");
    assert_eq!(finding.examples.len(), 2, "{finding:#?}");
}

/// Requests of cart by its own histogram, and calls as a spanmetrics connector counts them, both up to a minute ago.
fn counted(filled: &Filled, requests: u64, calls: u64) {
    let (start, time) = ((NOW - 300 * SECOND).to_string(), (NOW - 60 * SECOND).to_string());
    let histogram = json!({"name": "http.server.request.duration", "unit": "s", "histogram": {"aggregationTemporality": 2,
        "dataPoints": [{"startTimeUnixNano": start, "timeUnixNano": time, "count": requests.to_string(),
            "sum": 1.0, "bucketCounts": [requests.to_string(), "0"], "explicitBounds": [1.0],
            "attributes": [{"key": "http.request.method", "value": {"stringValue": "GET"}}]}]}});
    let calls = json!({"name": "traces.span.metrics.calls", "sum": {"aggregationTemporality": 2, "isMonotonic": true,
        "dataPoints": [{"startTimeUnixNano": start, "timeUnixNano": time, "asInt": calls.to_string(),
            "attributes": [{"key": "span.kind", "value": {"stringValue": "SPAN_KIND_SERVER"}},
                {"key": "span.name", "value": {"stringValue": "GET /cart"}}]}]}});
    let body = json!({"resourceMetrics": [{"resource": resource("cart"), "scopeMetrics": [{"metrics": [histogram, calls]}]}]});
    filled.write(Signal::Metrics, body.to_string().into_bytes());
}

#[test]
fn span_metrics_that_were_computed_after_sampling() {
    let filled = Filled::new(NOW);
    counted(&filled, 1_000, 120);
    let report_of_sampled = report(&filled);
    let found = of_rule(&report_of_sampled, "TL502");
    assert_eq!(found, [(Level::Warning, "cart".to_owned(), 880, 1_000)], "{report_of_sampled:#?}");
    let finding = report_of_sampled.findings.iter().find(|finding| finding.rule == "TL502").expect("found");
    assert!(finding.fix.contains("before tail_sampling"), "{finding:#?}");
    assert!(finding.query.starts_with("throughline reconcile --service cart"), "{finding:#?}");
    // A connector that sees every span counts as many.
    let filled = Filled::new(NOW);
    counted(&filled, 1_000, 990);
    assert_eq!(of_rule(&report(&filled), "TL502"), []);
}
