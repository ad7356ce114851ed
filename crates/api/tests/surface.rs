//! The HTTP surface, pinned: every route with its parameters and the shape of its answer, in `surface/golden.txt`.
//!
//! A change of the surface changes that file, so that it is seen in review. `UPDATE_GOLDEN=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use throughline_api::{PREFIX, ROUTES};
use throughline_model::Signal;
use throughline_store::Store;
use throughline_wire::Encoding;

use crate::served::{NOW, Served, write};
use crate::telemetry;

/// Objects whose keys are data, not surface.
const OPEN_OBJECTS: [&str; 6] =
    ["attributes", "resource", "scope", "series_attributes", "rejected", "process"];

/// Writes everything and waits until it is stored.
fn fill(store: &Store) {
    let put = |signal, request: Value| write(store, signal, Encoding::Json, request.to_string().into_bytes());
    put(Signal::Traces, telemetry::traces(NOW));
    put(Signal::Logs, telemetry::logs(NOW));
    put(Signal::Metrics, telemetry::metrics(NOW));
}

/// One line per member: its path and type. Lists are described by all their members together.
fn shape(value: &Value, path: &str, lines: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let name = path.rsplit(['.', ']']).next().unwrap_or_default();
            if OPEN_OBJECTS.contains(&name) {
                lines.insert(format!("{path}: object"));
                return;
            }
            for (key, member) in members {
                shape(member, &format!("{path}.{key}"), lines);
            }
        }
        Value::Array(items) => {
            if items.is_empty() {
                lines.insert(format!("{path}[]"));
            }
            items.iter().for_each(|item| shape(item, &format!("{path}[]"), lines));
        }
        Value::Null => drop(lines.insert(format!("{path}: null"))),
        Value::Bool(_) => drop(lines.insert(format!("{path}: boolean"))),
        Value::Number(_) => drop(lines.insert(format!("{path}: number"))),
        Value::String(_) => drop(lines.insert(format!("{path}: string"))),
    }
}

fn described(status: u16, body: &Value) -> String {
    let mut lines = std::collections::BTreeSet::new();
    shape(body, "", &mut lines);
    let mut out = format!("  {status}\n");
    for line in lines {
        _ = writeln!(out, "    {line}");
    }
    out
}

/// A question for each route that shows all of its answer.
fn question(route: &str) -> String {
    let id = telemetry::SLOW_TRACE;
    let window = "start=-10m&end=now";
    let own = route.strip_prefix(PREFIX).unwrap_or(route);
    match own {
        "/traces/{id}" => format!("{PREFIX}/traces/{id}"),
        "/traces/{id}/logs" => format!("{PREFIX}/traces/{id}/logs"),
        "/series" => format!("{PREFIX}/series?quantile=0.99&{window}"),
        "/search" => format!(
            "{PREFIX}/search?query=%7B%20status%20%3D%20error%20%7D%20%7C%20count()%20%3E%200&{window}"
        ),
        "/traces" | "/logs" | "/exemplars" | "/walk" => format!("{route}?{window}"),
        "/compare" => format!("{route}?service=task-svc&{window}"),
        _ => route.to_owned(),
    }
}

/// The body of a question that is posted.
fn posted(route: &str) -> Value {
    match route.strip_prefix(PREFIX).unwrap_or(route) {
        "/investigate" => {
            json!({"window": {"start": "-10m", "end": "now"}, "baseline": {"start": "-2h", "end": "-1h"}})
        }
        _ => json!({}),
    }
}

#[test]
fn the_surface_is_as_the_golden_file_has_it() {
    let served = Served::new(fill);
    let mut surface = String::new();
    for (route, parameters, what) in ROUTES {
        if let Some(members) = parameters.strip_prefix("POST: ") {
            _ = writeln!(surface, "POST {route} {{{}}}\n  {what}", members.replace(' ', ", "));
            let (status, body) = served.post(route, &posted(route));
            surface += &described(status, &body);
            continue;
        }
        let separator = if parameters.is_empty() { "" } else { "?" };
        _ = writeln!(surface, "GET {route}{separator}{}\n  {what}", parameters.replace(' ', "&"));
        if *route == "/metrics" {
            let (status, text) = served.get_text(route);
            _ = writeln!(surface, "  {status}");
            for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
                _ = writeln!(surface, "    {line}");
            }
            continue;
        }
        let (status, body) = served.get(&question(route));
        surface += &described(status, &body);
    }
    let (status, body) = served.ask("traces/00000000000000000000000000000bad");
    surface += &format!("an id that is not here\n{}", described(status, &body));
    let (status, body) = served.ask("traces?limit=0");
    surface += &format!("a parameter out of bounds\n{}", described(status, &body));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/surface/golden.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        #[expect(clippy::disallowed_methods, reason = "the golden file is part of the source")]
        std::fs::write(&golden, &surface).expect("written");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(surface, expected, "UPDATE_GOLDEN=1 writes it anew");
}

/// The gauges `throughline_links` that are not zero, once there is one for every kind and state.
fn links(served: &Served) -> Vec<(String, u64)> {
    let (status, page) = served.get_text("/metrics");
    assert_eq!(status, 200);
    let samples = page.lines().filter_map(|line| line.strip_prefix("throughline_links{"));
    let mut samples: Vec<(String, u64)> = samples
        .map(|sample| {
            let (labels, value) = sample.split_once("} ").expect("labels and a value");
            (labels.to_owned(), value.parse().expect("a count"))
        })
        .collect();
    let mut expected = Vec::new();
    for kind in ["log_trace", "log_span", "exemplar_trace", "alert_trace", "span_link_trace"] {
        for state in ["resolved", "pending", "unsampled", "dropped", "expired", "never_received", "malformed"]
        {
            expected.push(format!("kind=\"{kind}\",state=\"{state}\""));
        }
    }
    let found: Vec<&String> = samples.iter().map(|(labels, _)| labels).collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>(), "every kind in every state, zeros included");
    samples.retain(|(_, value)| *value > 0);
    samples
}

fn counts(of: &[(&str, &str, u64)]) -> Vec<(String, u64)> {
    of.iter().map(|(kind, state, n)| (format!("kind=\"{kind}\",state=\"{state}\""), *n)).collect()
}

/// References to traces that are not here: records that say so or not, exemplars, an alert.
fn fill_with_dangling(store: &Store) {
    fill(store);
    let at = |ago_s: i64| (NOW - ago_s * 1_000_000_000).to_string();
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let resource = json!({"attributes": [attribute("service.name", "task-svc")]});
    let record = |ago_s: i64, attributes: Vec<Value>| json!({"timeUnixNano": at(ago_s), "body": {"stringValue": "a line"}, "attributes": attributes});
    let (lost, late, unsampled) = ("a".repeat(32), "b".repeat(32), "c".repeat(32));
    let records = json!([
        record(90, vec![attribute("trace_id", &lost)]),
        record(91, vec![attribute("trace_id", &lost)]),
        record(1, vec![attribute("trace_id", &late)]),
        record(90, vec![attribute("trace_id", &unsampled), attribute("trace_flags", "00")]),
        record(90, vec![attribute("trace_id", "<no value>")]),
    ]);
    let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]});
    write(store, Signal::Logs, Encoding::Json, logs.to_string().into_bytes());
    let exemplar = |id: &str| json!({"timeUnixNano": at(90), "asDouble": 1.0, "filteredAttributes": [attribute("trace_id", id)]});
    let exemplars = json!([exemplar(&lost), exemplar(&lost), exemplar(&lost), exemplar("<no value>")]);
    let firing = [("alertname", "Slow"), ("alertstate", "firing"), ("trace_id", telemetry::SLOW_TRACE)];
    let firing = firing.map(|(name, value)| attribute(name, value));
    let metrics = json!([
        {"name": "queue.length", "gauge": {"dataPoints":
            [{"timeUnixNano": at(90), "asInt": "4", "exemplars": exemplars}]}},
        {"name": "ALERTS", "gauge": {"dataPoints": [{"timeUnixNano": at(90), "asInt": "1", "attributes": firing}]}},
    ]);
    let metrics =
        json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]});
    write(store, Signal::Metrics, Encoding::Json, metrics.to_string().into_bytes());
}

#[test]
fn links_are_gauges_of_every_kind_in_every_state() {
    let expected = counts(&[
        ("log_trace", "resolved", 2),
        ("log_trace", "pending", 1),
        ("log_trace", "unsampled", 1),
        ("log_trace", "never_received", 2),
        ("log_trace", "malformed", 1),
        ("log_span", "resolved", 2),
        ("exemplar_trace", "resolved", 1),
        ("exemplar_trace", "never_received", 3),
        ("exemplar_trace", "malformed", 1),
        ("alert_trace", "resolved", 1),
        ("span_link_trace", "resolved", 22),
    ]);
    assert_eq!(links(&Served::new(fill_with_dangling)), expected);
    let served = Served::new(|store| {
        fill_with_dangling(store);
        store.flush().expect("written");
    });
    assert_eq!(links(&served), expected, "from a block");
    // The same counts, by service, are what the question answers.
    let (_, answer) = served.ask("links?service=task-svc&start=-1h");
    let kinds = answer["kinds"].as_array().expect("kinds").iter();
    let of_exemplars = kinds.clone().find(|kind| kind["kind"] == "exemplar_trace").expect("exemplars");
    assert_eq!((&of_exemplars["total"], &of_exemplars["resolved"]), (&json!(5), &json!(1)), "{answer}");
    assert_eq!(links(&Served::new(|_| {})), [], "nothing is stored");
}

#[test]
fn links_to_what_a_policy_dropped_are_gauges_too() {
    let delay = std::time::Duration::from_secs(300);
    let served = Served::sampled(delay, |store, clock| {
        let put =
            |signal, request: Value| write(store, signal, Encoding::Json, request.to_string().into_bytes());
        put(Signal::Traces, telemetry::traces(NOW));
        put(Signal::Logs, telemetry::logs(NOW));
        store.flush().expect("written");
        clock.advance(delay + std::time::Duration::from_secs(120));
        store.compact().expect("compacted");
    });
    assert_eq!(links(&served), counts(&[("log_trace", "dropped", 2), ("log_span", "dropped", 2)]));
}

#[test]
fn a_trace_is_found_by_its_id_in_any_form() {
    let served = Served::new(fill);
    for form in [
        telemetry::SLOW_TRACE,
        "0x0000000000000000000000000000C0DE",
        "000000000000c0de",
        "49374",
        "1-00000000-00000000000000000000c0de",
    ] {
        let (status, body) = served.ask(&format!("traces/{form}"));
        assert_eq!((status, &body["trace_id"]), (200, &json!(telemetry::SLOW_TRACE)), "{form}");
        assert_eq!(body["link"]["state"], "resolved");
    }
    let (status, body) = served.ask("traces/nonsense");
    assert_eq!((status, &body["parameter"]), (400, &json!("id")));
}

#[test]
fn a_trace_is_answered_with_the_signals_that_are_asked_for() {
    let served = Served::new(fill);
    let counts = |include: &str| {
        let (status, body) = served.ask(&format!("traces/{}?include={include}", telemetry::SLOW_TRACE));
        assert_eq!((status, &body["link"]["state"]), (200, &json!("resolved")), "{include}");
        let count = |list: &Value| list.as_array().map_or(0, Vec::len);
        let on_spans = body["spans"].as_array().into_iter().flatten().map(|span| count(&span["logs"]));
        let logs = count(&body["logs"]) + on_spans.sum::<usize>();
        assert_eq!(body["log_count"], json!(logs));
        assert_eq!(body["exemplars"][0].get("link").is_some(), count(&body["exemplars"]) > 0);
        (body["included"].clone(), [count(&body["spans"]), logs, count(&body["exemplars"])])
    };
    let all = json!(["spans", "logs", "exemplars"]);
    let (included, [spans, logs, exemplars]) = counts("");
    assert_eq!((&included, spans, logs), (&all, 2, 2));
    assert!(exemplars > 0);
    assert_eq!(counts("spans"), (json!(["spans"]), [2, 0, 0]));
    assert_eq!(counts("logs"), (json!(["logs"]), [0, 2, 0]));
    assert_eq!(counts("exemplars,spans"), (json!(["spans", "exemplars"]), [2, 0, exemplars]));
    assert_eq!(counts("exemplars,logs,spans"), (all, [2, 2, exemplars]));
    // A quick trace has no log records: it is here all the same.
    let (status, body) = served.ask("traces/00000000000000000000000000000002?include=logs");
    assert_eq!((status, &body["link"]["state"], &body["logs"]), (200, &json!("resolved"), &json!([])));
    let (status, body) = served.ask("traces/bad?include=logs");
    assert_eq!((status, &body["error"]), (404, &json!("not_found")));
}

#[test]
fn refusals_name_the_parameter_and_the_way_out() {
    let served = Served::new(fill);
    for (question, parameter) in [
        ("traces?limit=1001", "limit"),
        ("traces?servce=a", "servce"),
        ("traces/c0de?include=spans,events", "include"),
        ("traces/c0de?includes=spans", "includes"),
        ("traces?min_duration=5", "min_duration"),
        ("logs?span=0000000000000001", "span"),
        ("logs?severity=loud", "severity"),
        ("walk?quantile=99", "quantile"),
        ("exemplars?start=now&end=-1h", "start"),
    ] {
        let (status, body) = served.ask(question);
        assert_eq!(
            (status, &body["error"], &body["parameter"]),
            (400, &json!("bad_parameter"), &json!(parameter))
        );
    }
    let (status, body) = served.get("/api/throughline/v2/traces");
    assert_eq!((status, &body["error"]), (404, &json!("no_such_route")));
}

#[test]
fn logs_are_filtered_by_trace_span_severity_and_text() {
    let served = Served::new(fill);
    let count = |question: &str| served.ask(question).1["logs"].as_array().map(Vec::len);
    let trace = telemetry::SLOW_TRACE;
    assert_eq!(count(&format!("logs?trace={trace}")), Some(2));
    assert_eq!(count(&format!("logs?trace={trace}&span=000000000000c0d2")), Some(1));
    assert_eq!(count(&format!("traces/{trace}/logs?span=000000000000c0d2")), Some(1));
    assert_eq!(count("logs?severity=warn&start=-10m"), Some(1));
    assert_eq!(count("logs?contains=RetryAttempts&start=-10m"), Some(1));
    assert_eq!(count("logs?service=nobody&start=-10m"), Some(0));
}

#[test]
fn a_draining_process_is_alive_and_not_ready() {
    let served = Served::new(fill);
    assert_eq!(served.get("/readyz").0, 200);
    served.draining.store(true, Ordering::Relaxed);
    let (status, body) = served.get("/readyz");
    assert_eq!((status, &body["write"]["ready"], &body["read"]["ready"]), (503, &json!(false), &json!(true)));
    assert_eq!(served.get("/livez").0, 200);
}

#[test]
fn an_investigation_is_asked_with_any_focus() {
    let served = Served::new(fill);
    let ask = |body: Value| served.post(&format!("{PREFIX}/investigate"), &body);
    let (status, case) = ask(json!({}));
    assert_eq!((status, &case["baseline_chosen"]), (200, &json!(true)), "{case}");
    let (status, case) = ask(json!({"focus": format!("trace:{}", telemetry::SLOW_TRACE)}));
    assert_eq!((status, &case["focus"]["kind"]), (200, &json!("trace")), "{case}");
    let (status, case) = ask(json!({"focus": format!("log:{}", telemetry::SLOW_TRACE)}));
    assert_eq!((status, &case["focus"]["kind"]), (200, &json!("line")), "{case}");
    let (status, case) = ask(json!({"focus": "vector(1)", "window": {"start": "-10m", "end": "now"}}));
    assert_eq!((status, &case["focus"]["kind"]), (200, &json!("query")), "{case}");
    for (body, parameter) in [
        (json!({"focus": "rate("}), "focus"),
        (json!({"focus": "alert:NeverFired"}), "window"),
        (json!({"window": {"start": "now", "end": "-1h"}}), "window"),
        (json!({"suspects": 0}), "suspects"),
        (json!({"windows": 1}), "body"),
    ] {
        let (status, failure) = ask(body);
        assert_eq!((status, &failure["parameter"]), (400, &json!(parameter)), "{failure}");
    }
    assert_eq!(ask(json!({"focus": "trace:00000000000000000000000000000bad"})).0, 404);
    let path = format!("{PREFIX}/investigate");
    let (status, short) = served.post_text(&path, r#"{"format": "short"}"#);
    assert!(status == 200 && short.starts_with("focus:") && short.len() < 2_048, "{short}");
    let (status, report) = served.post_text(&path, r#"{"format": "markdown"}"#);
    assert!(status == 200 && report.starts_with("# Investigation"), "{report}");
}
