//! Investigations by the binary, from everything that they may start from: a window, an alert that fired, an expression, an exemplar, a
//! trace, a log line. Cart begins to fail fifty seconds ago; web only says so.

use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::process::{PATIENCE, Server};

const SECOND: i64 = 1_000_000_000;
/// The short form is shorter.
const SHORT_BYTES: usize = 2_000;
const SETTINGS: &str = "  rules:\n    files: ['rules.yml']\n";
const RULES: &str = "groups:
- name: shop
  interval: 1s
  rules:
  - alert: CartFails
    expr: sum by (job) (shop_failures) > 5
";

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as i64
}

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}},
        {"key": "service.instance.id", "value": {"stringValue": format!("{service}-1")}}]})
}

fn post(server: &Server, signal: &str, body: &Value) {
    let url = format!("{}/v1/{signal}", server.http);
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let response = agent.post(&url).header("content-type", "application/json").send(body.to_string());
    assert_eq!(response.expect("answered").status(), 200);
}

fn trace_id(n: i64) -> String {
    format!("{:032x}", 0x00c0_ffee_0000_0000_i64 + n)
}

/// A request a second, from so long before a time until so long after it; those that begin later than fifty seconds before it fail.
fn send(server: &Server, at: i64) {
    let mut spans = [Vec::new(), Vec::new()];
    let mut logs = Vec::new();
    for n in -600..=120 {
        let (start, fails) = (at + n * SECOND, n > -50);
        let (trace, number) = (trace_id(n + 600), n + 1_000);
        let span = |service: i64, parent: Value, name: &str, from: i64, to: i64| {
            json!({"traceId": trace, "spanId": format!("{:016x}", number * 2 + service), "parentSpanId": parent, "name": name,
                "kind": 2, "startTimeUnixNano": (start + from).to_string(), "endTimeUnixNano": (start + to).to_string(),
                "status": {"code": if fails { 2 } else { 0 }}})
        };
        spans[0].push(span(0, json!(""), "GET /cart", 0, SECOND / 10));
        let parent = json!(format!("{:016x}", number * 2));
        spans[1].push(span(1, parent, "load cart", SECOND / 100, SECOND / 20));
        let text = if fails { "warehouse refused the connection" } else { "cart is loaded" };
        logs.push(json!({"traceId": trace, "spanId": format!("{:016x}", number * 2 + 1), "body": {"stringValue": text},
            "severityNumber": if fails { 17 } else { 9 }, "timeUnixNano": (start + SECOND / 50).to_string()}));
    }
    for (service, spans) in ["web", "cart"].into_iter().zip(spans) {
        let body =
            json!({"resourceSpans": [{"resource": resource(service), "scopeSpans": [{"spans": spans}]}]});
        post(server, "traces", &body);
    }
    post(
        server,
        "logs",
        &json!({"resourceLogs": [{"resource": resource("cart"), "scopeLogs": [{"logRecords": logs}]}]}),
    );
    let points: Vec<Value> = (-40..=0)
        .map(|n| {
            let failures = if n * 15 > -50 { 9.0 } else { 0.0 };
            json!({"timeUnixNano": (at + n * 15 * SECOND).to_string(), "asDouble": failures})
        })
        .collect();
    let metric = json!({"name": "shop.failures", "gauge": {"dataPoints": points}});
    let body =
        json!({"resourceMetrics": [{"resource": resource("cart"), "scopeMetrics": [{"metrics": [metric]}]}]});
    post(server, "metrics", &body);
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_throughline"))
        .arg("investigate")
        .args(arguments)
        .args(["--server", &server.api])
        .output()
        .expect("runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn an_investigation_starts_from_anything() {
    let folder = std::env::temp_dir().join(format!("throughline-investigate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("created");
    std::fs::write(folder.join("rules.yml"), RULES).expect("written");
    let server = Server::start_with("investigate", SETTINGS);
    let at = now();
    send(&server, at);
    let failing = trace_id(590);
    let window = [(at - 45 * SECOND).to_string(), at.to_string()];
    let line = format!("log:cart@{}", at - 20 * SECOND);
    let (exemplar, trace, of_trace) =
        (format!("exemplar:{failing}"), format!("trace:{failing}"), format!("log:{failing}"));
    let in_window = ["--start", &window[0], "--end", &window[1]];
    let deadline = Instant::now() + PATIENCE;
    while !run(&server, &["alert:CartFails"]).status.success() {
        assert!(Instant::now() < deadline, "{}", text(&run(&server, &["alert:CartFails"])));
        std::thread::sleep(Duration::from_millis(200));
    }
    for (focus, kind, more) in [
        ("alert:CartFails", "alert", &[][..]),
        ("sum by (job) (shop_failures)", "query", &in_window[..]),
        ("sum by (job) (shop_failures)", "query", &[][..]),
        (exemplar.as_str(), "trace", &[][..]),
        (trace.as_str(), "trace", &[][..]),
        (of_trace.as_str(), "line", &[][..]),
        (line.as_str(), "line", &[][..]),
        ("window", "window", &in_window[..]),
    ] {
        let output = run(&server, &[&[focus, "--json"][..], more].concat());
        assert!(output.status.success(), "{focus}: {}", text(&output));
        let case: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(case["focus"]["kind"], kind, "{focus}: {case:#}");
        let first = &case["suspects"][0];
        let found = (&first["service"], &first["cause"], &first["operation"], &first["instance"]);
        assert_eq!(
            found,
            (&json!("cart"), &json!("errors"), &json!("load cart"), &json!("cart-1")),
            "{focus}: {case:#}"
        );
        let line = first["evidence"].as_array().and_then(|all| all.iter().find_map(|one| one.get("line")));
        assert_eq!(line.expect("a line")["text"], "warehouse refused the connection", "{focus}: {first:#}");
        assert!(case["unchecked"].as_array().is_some_and(|steps| !steps.is_empty()), "{focus}");
        let short = run(&server, &[&[focus, "--short"][..], more].concat()).stdout;
        let said = String::from_utf8(short).expect("text");
        assert!(said.len() < SHORT_BYTES && said.contains("cart"), "{focus}: {} bytes\n{said}", said.len());
        let report = text(&run(&server, &[&[focus, "--format", "markdown"][..], more].concat()));
        assert!(report.starts_with("# Investigation\n") && report.contains("warehouse refused"), "{report}");
        let terminal = text(&run(&server, &[&[focus][..], more].concat()));
        assert!(terminal.contains("cart") && terminal.contains("Not checked"), "{terminal}");
    }
    let output = run(&server, &["alert:CartFails", "--pin"]);
    assert!(text(&output).contains("traces that the case cites are pinned"), "{}", text(&output));
    let pins = Command::new(env!("CARGO_BIN_EXE_throughline"))
        .args(["pins", "--server", &server.api])
        .output()
        .expect("runs");
    assert!(text(&pins).contains("cited by the investigation of the alert CartFails"), "{}", text(&pins));
    refusals(&server);
    let _ = std::fs::remove_dir_all(&server.folder);
}

/// What cannot be a focus or a window is refused, and says why.
fn refusals(server: &Server) {
    let nowhere = run(server, &["trace:deadbeefdeadbeefdeadbeefdeadbeef"]);
    assert!(!nowhere.status.success() && text(&nowhere).contains("has no spans here"), "{}", text(&nowhere));
    assert!(text(&nowhere).contains("was ever received"), "{}", text(&nowhere));
    for (arguments, said) in [
        (&["trace:what"][..], "is not a trace id"),
        (&["exemplar:"][..], "is not a trace id"),
        (&["log:deadbeefdeadbeefdeadbeefdeadbeef"][..], "has no log lines here"),
        (&["log:cart@yesterday"][..], "needs a time"),
        (&["sum("][..], "is not PromQL"),
        (&["no_such_metric"][..], "did not rise within the last hour; name a window"),
        (&["--start", "-1m", "--suspects", "0"][..], "suspects=0 is not between"),
        (&["--start", "-1m", "--end", "-2m"][..], "window.start is not before window.end"),
        (&["--end", "-2m"][..], "--end needs --start"),
        (&["--start", "-10m", "--baseline-start", "-20m"][..], "--baseline-end"),
        (
            &["--start", "-10m", "--baseline-start", "-20m", "--baseline-end", "-5m"][..],
            "have time in common",
        ),
    ] {
        let output = run(server, arguments);
        assert!(!output.status.success() && text(&output).contains(said), "{arguments:?}: {}", text(&output));
    }
    let unknown = run(server, &["alert:Nobody"]);
    assert!(!unknown.status.success() && text(&unknown).contains("did not fire"), "{}", text(&unknown));
}
