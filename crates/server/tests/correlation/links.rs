//! The link ledger of a running server: as a command, and as an alert over what the server scrapes of itself.

use std::process::Command;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::process::{Server, get, wait_for};

const SECOND: u64 = 1_000_000_000;

/// Metrics that are derived from spans have exemplars of their own, which the counts here leave out.
const UNDERIVED: &str = "  derive: {enabled: false}\n";

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    now.as_nanos() as u64
}

fn send(server: &Server, signal: &str, request: &Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let answer = agent
        .post(format!("{}/v1/{signal}", server.http))
        .header("content-type", "application/json")
        .send(request.to_string())
        .expect("answered");
    assert_eq!(answer.status(), 200);
}

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]})
}

fn trace_id(n: u64) -> String {
    format!("{:032x}", n + 1)
}

/// A span of a service for each of these traces, two minutes ago.
fn send_spans(server: &Server, service: &str, traces: std::ops::Range<u64>) {
    let start = now_ns() - 120 * SECOND;
    let spans: Vec<Value> = traces
        .map(|n| {
            json!({"traceId": trace_id(n), "spanId": format!("{:016x}", n + 1), "name": "GET /", "kind": 2,
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + SECOND / 10).to_string()})
        })
        .collect();
    let scopes = json!([{"spans": spans}]);
    send(
        server,
        "traces",
        &json!({"resourceSpans": [{"resource": resource(service), "scopeSpans": scopes}]}),
    );
}

/// An exemplar of a service's gauge for each of these traces, two minutes ago.
fn send_exemplars(server: &Server, service: &str, traces: std::ops::Range<u64>) {
    let at = (now_ns() - 120 * SECOND).to_string();
    let exemplars: Vec<Value> =
        traces.map(|n| json!({"timeUnixNano": at, "asDouble": 1.0, "traceId": trace_id(n)})).collect();
    let points = json!([{"timeUnixNano": at, "asInt": "1", "exemplars": exemplars}]);
    let scopes = json!([{"metrics": [{"name": "queue.length", "gauge": {"dataPoints": points}}]}]);
    send(
        server,
        "metrics",
        &json!({"resourceMetrics": [{"resource": resource(service), "scopeMetrics": scopes}]}),
    );
}

/// A record of a service for each of these traces, two minutes ago.
fn send_records(server: &Server, service: &str, traces: std::ops::Range<u64>) {
    let at = (now_ns() - 120 * SECOND).to_string();
    let records: Vec<Value> = traces
        .map(|n| {
            json!({"timeUnixNano": at, "severityNumber": 9, "body": {"stringValue": "served"}, "traceId": trace_id(n),
                "spanId": format!("{:016x}", n + 1)})
        })
        .collect();
    let scopes = json!([{"logRecords": records}]);
    send(server, "logs", &json!({"resourceLogs": [{"resource": resource(service), "scopeLogs": scopes}]}));
}

fn run(server: &Server, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_throughline"))
        .args(arguments)
        .args(["--server", &server.api])
        .output()
        .expect("runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    out.into_owned()
}

#[test]
fn links_of_a_service_are_counted_by_kind_and_state() {
    let server = Server::start_with("links", UNDERIVED);
    send_spans(&server, "shop", 0..6);
    send_records(&server, "shop", 0..8);
    send_exemplars(&server, "shop", 3..7);
    send_records(&server, "other", 90..99);
    let arguments = ["links", "--service", "shop", "--last", "1h"];
    let answer = run(&server, &[&arguments[..], &["--json"]].concat());
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let mut found = Vec::new();
    for kind in answer["kinds"].as_array().expect("kinds") {
        for state in kind["states"].as_array().expect("states") {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            found.push((
                text(&kind["kind"]),
                text(&state["state"]),
                state["count"].as_u64().expect("a count"),
            ));
        }
    }
    let expected = [
        ("log_trace", "resolved", 6),
        ("log_trace", "never_received", 2),
        ("log_span", "resolved", 6),
        ("log_span", "never_received", 2),
        ("exemplar_trace", "resolved", 3),
        ("exemplar_trace", "never_received", 1),
    ];
    let expected = expected.map(|(kind, state, count)| (kind.to_owned(), state.to_owned(), count));
    assert_eq!(found, expected, "{answer:#}");
    // In words: each count with an id to look at.
    let text = run(&server, &arguments);
    assert!(text.contains("never_received") && text.contains(&trace_id(7)), "{text}");
    assert!(!text.contains(&trace_id(90)), "of another service: {text}");
}

/// The expression of the guide's alert on exemplars that lead nowhere.
fn expression_of_the_guide() -> String {
    let guide = include_str!("../../../../docs/operators-guide.md");
    let alert = guide.split("- alert: ExemplarsDangle").nth(1).expect("the alert");
    let lines = alert.lines().skip_while(|line| line.trim() != "expr: >").skip(1);
    let lines = lines.take_while(|line| !line.trim_start().starts_with("for:"));
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The samples of an expression now, as Prometheus's API gives them.
fn samples(server: &Server, expression: &str) -> Vec<Value> {
    let query: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
    let answer = get(&format!("{}/api/v1/query?query={query}", server.api)).expect("answered");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    answer["data"]["result"].as_array().cloned().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn a_server_that_scrapes_itself_alerts_on_exemplars_that_lead_nowhere() {
    let name = "links-scraped";
    let targets =
        std::env::temp_dir().join(format!("throughline-{name}-{}-targets.json", std::process::id()));
    std::fs::write(&targets, "[]").expect("written");
    let scraping = format!(
        "{UNDERIVED}receivers:\n  prometheus:\n    config:\n      scrape_configs:\n      - job_name: throughline\n        \
         scrape_interval: 1s\n        scrape_timeout: 1s\n        file_sd_configs: [{{files: ['{}']}}]\n\
         service: {{pipelines: {{metrics: {{receivers: [prometheus]}}}}}}\n",
        targets.display()
    );
    let server = Server::start_with(name, &scraping);
    send_spans(&server, "shop", 0..99);
    send_exemplars(&server, "shop", 97..101);
    let address = server.api.trim_start_matches("http://");
    std::fs::write(&targets, json!([{"targets": [address]}]).to_string()).expect("written");
    let expression = expression_of_the_guide();
    assert!(expression.contains("throughline_links") && expression.ends_with("< 0.95"), "{expression}");
    // Two of four: the alert would be pending.
    wait_for("the share of exemplars that resolve", || {
        samples(&server, &expression).first().is_some_and(|sample| sample["value"][1] == "0.5")
    });
    let of = |state: &str| format!("throughline_links{{kind=\"exemplar_trace\",state=\"{state}\"}}");
    for (state, count) in [("resolved", "2"), ("never_received", "2"), ("dropped", "0")] {
        let found = samples(&server, &of(state));
        assert_eq!(found.len(), 1, "{state}: {found:?}");
        assert_eq!(found[0]["value"][1], count, "{state}");
        assert_eq!(found[0]["metric"]["job"], "throughline");
    }
    assert_eq!(samples(&server, "count(throughline_links)")[0]["value"][1], "35");
    // With 97 more that resolve it is 99 of 101, and the condition is gone; the gauges are renewed every 15 s.
    send_exemplars(&server, "shop", 0..97);
    wait_for("the end of the condition", || samples(&server, &expression).is_empty());
    assert_eq!(samples(&server, &of("resolved"))[0]["value"][1], "99");
    let _ = std::fs::remove_file(&targets);
}
