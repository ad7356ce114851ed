//! The doctor and the books over what SDKs send: that of OpenTelemetry for Python, and our own for Rust.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use throughline_instrument::{Config, LATENCY_BOUNDS_SECONDS, Severity, SpanContext, SpanKind, Telemetry};

use crate::process::{Server, wait_for};
use crate::python;

const SCRIPT: &str = include_str!("telemetry.py");
const SENT: Duration = Duration::from_secs(10);

fn run(server: &Server, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_throughline"))
        .args(arguments)
        .args(["--server", &server.api])
        .output()
        .expect("runs")
}

fn json(server: &Server, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(server, arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {text}{error}"));
    (output.status.code(), json)
}

fn report(server: &Server, service: &str) -> Value {
    json(server, &["doctor", "--format", "json", "--service", service]).1
}

/// The rules that found something, with counts.
fn found(report: &Value) -> Vec<(String, u64)> {
    let findings = report["findings"].as_array().expect("findings");
    let of = |finding: &Value| {
        (finding["rule"].as_str().expect("a rule").to_owned(), finding["count"].as_u64().expect("a count"))
    };
    findings.iter().map(of).collect()
}

/// What the SDK for Python sends in these scenarios, in a server with these settings.
fn python_sends(name: &str, settings: &str, scenarios: &[&str]) -> Option<Server> {
    let packages = ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"];
    let python = python::with(
        "correlation-python",
        &packages,
        "opentelemetry.sdk, opentelemetry.exporter.otlp.proto.http",
    )?;
    let server = Server::start_with(name, settings);
    let output = Command::new(python)
        .args(["-c", SCRIPT, &server.http])
        .args(scenarios)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .output()
        .expect("python runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim() == "sent", "{out}{err}");
    Some(server)
}

/// What the script does, one after the other.
const SCENARIOS: [&str; 22] = [
    "healthy",
    "shapes",
    "status_unset",
    "outside_span",
    "detached",
    "head_sampled",
    "spans_lost",
    "not_ended",
    "clock_skew",
    "nameless",
    "span_names",
    "attributes",
    "propagation",
    "orphans",
    "host_clocks",
    "no_exemplars",
    "without_ids",
    "untraced",
    "placeholder",
    "records_lost",
    "exemplars_of_nothing",
    "several_names",
];

/// What the doctor finds in it: of which service by which rule how often.
const FOUND: [(&str, &str, u64); 27] = [
    ("forgetful", "TL103", 1),
    ("timer", "TL104", 1),
    ("detached", "TL105", 2),
    ("sampled-out", "TL101", 6),
    ("sampled-out", "TL501", 6),
    ("lossy", "TL107", 1),
    ("endless", "TL108", 1),
    ("skewed", "TL109", 1),
    ("unknown_service:python", "TL001", 1),
    ("unknown_service:python", "TL002", 1),
    ("wide", "TL303", 150),
    ("users", "TL304", 120),
    ("shop", "TL401", 5),
    ("shop", "TL402", 1),
    ("callee", "TL403", 3),
    ("far", "TL404", 8),
    ("unmeasured", "TL204", 1),
    ("lossy", "TL201", 1),
    ("unlinked", "TL004", 25),
    ("untraced", "TL007", 1),
    ("placeholder", "TL008", 4),
    ("placeholder", "TL106", 1),
    ("quiet", "TL201", 4),
    ("measured", "TL202", 3),
    ("measured", "TL203", 2),
    ("Basket", "TL301", 2),
    ("payment", "TL302", 20),
];

#[test]
fn the_doctor_tells_apart_what_the_python_sdk_sends() {
    let Some(server) = python_sends("doctor-python", "", &SCENARIOS) else { return };
    for service in ["front", "back", "orders", "worker", "nightly", "controller"] {
        assert_eq!(found(&report(&server, service)), [], "{service} is as it should be");
    }
    let storefront = found(&report(&server, "storefront"));
    assert_eq!(storefront, [("TL110".to_owned(), 1)], "its one error has no log line, for it sends none");
    for (service, rule, count) in FOUND {
        let report = report(&server, service);
        assert!(found(&report).contains(&(rule.to_owned(), count)), "{service} {rule}: {report:#}");
    }
    let forgetful = report(&server, "forgetful");
    let finding = forgetful["findings"].as_array().and_then(|f| f.iter().find(|f| f["rule"] == "TL103"));
    let fix = finding.and_then(|finding| finding["fix"].as_str()).unwrap_or_default();
    assert!(fix.contains("span.set_status(Status(StatusCode.ERROR"), "in the words of the SDK: {fix}");
    let cause = finding.and_then(|finding| finding["cause"].as_str()).unwrap_or_default();
    assert!(cause.contains("1 of these spans have an exception event"), "{cause}");
    for (service, state) in [("sampled-out", "[not sampled by its sender]"), ("lossy", "[never received]")] {
        let output = run(&server, &["logs", "--service", service, "--severity", "error"]);
        let lines = String::from_utf8_lossy(&output.stdout);
        assert!(lines.contains(state), "{service}: {lines}");
    }
    check_formats(&server);
    check_queries(&server);
}

#[test]
fn errors_of_the_python_sdk_that_a_policy_dropped() {
    let settings = "  memtable: {age: 1s}\n  sampling:\n    decision_delay: 1s\n    policies:\n    \
                    - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}\n";
    let Some(server) = python_sends("doctor-dropped", settings, &["dropped"]) else { return };
    // Until the policy has decided, the spans' status was never set.
    wait_for("the policy's decision", || {
        found(&report(&server, "unkept")).contains(&("TL102".to_owned(), 4))
    });
    let lines = run(&server, &["logs", "--service", "unkept", "--severity", "error"]);
    let lines = String::from_utf8_lossy(&lines.stdout).into_owned();
    assert!(lines.contains("dropped by the sampling policy"), "{lines}");
}

fn check_formats(server: &Server) {
    let code = |arguments: &[&str]| run(server, arguments).status.code();
    assert_eq!(code(&["doctor"]), Some(1));
    assert_eq!(code(&["doctor", "--fail-on", "never"]), Some(0));
    assert_eq!(code(&["doctor", "--service", "back", "--last", "30m"]), Some(0));
    assert_eq!(code(&["doctor", "--service", "endless", "--fail-on", "error"]), Some(0), "a note");
    let nowhere = Command::new(env!("CARGO_BIN_EXE_throughline"))
        .args(["doctor", "--server", "http://127.0.0.1:1"])
        .output()
        .expect("runs");
    assert_eq!(nowhere.status.code(), Some(2));
    let text = String::from_utf8(run(server, &["doctor"]).stdout).expect("text");
    assert!(text.contains("error TL107 error-log-spans-lost") && text.contains("$ throughline "), "{text}");
    let markdown = String::from_utf8(run(server, &["doctor", "--format", "markdown"]).stdout).expect("text");
    assert!(
        markdown.starts_with("## Telemetry: all services") && markdown.contains("| error | TL107"),
        "{markdown}"
    );
    let (_, sarif) = json(server, &["doctor", "--format", "sarif"]);
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().expect("rules");
    assert!(results.iter().all(|result| {
        let index = result["ruleIndex"].as_u64().unwrap_or(u64::MAX) as usize;
        rules.get(index).is_some_and(|rule| rule["id"] == result["ruleId"])
    }));
}

/// A command's words as a shell cuts them: at spaces outside of quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (at, part) in command.split('\'').enumerate() {
        for (nth, piece) in part.split(if at % 2 == 0 { ' ' } else { '\'' }).enumerate() {
            if nth > 0 {
                words.push(String::new());
            }
            words.last_mut().expect("a word").push_str(piece);
        }
    }
    words
}

/// Every finding's command runs and finds something.
fn check_queries(server: &Server) {
    let (_, report) = json(server, &["doctor", "--format", "json"]);
    let findings = report["findings"].as_array().expect("findings");
    assert!(findings.len() > 15, "{report:#}");
    for finding in findings {
        let query = finding["query"].as_str().expect("a query");
        let words = words(query);
        let output = run(server, &words.iter().skip(1).map(String::as_str).collect::<Vec<_>>());
        let text = String::from_utf8_lossy(&output.stdout);
        let is_of_lost = query.starts_with("throughline trace ") && output.status.code() == Some(1);
        assert!(
            output.status.success() || is_of_lost,
            "{query}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_doctor_and_the_books_over_our_own_library() {
    let server = Server::start("doctor-instrument");
    let telemetry = Telemetry::start(Config::new(&server.http, "task-svc")).expect("started");
    let (tracer, logger) = (telemetry.tracer("http"), telemetry.logger("http"));
    let latency = telemetry.histogram("http.server.request.duration", "s", LATENCY_BOUNDS_SECONDS);
    for n in 0..20 {
        let status = if n == 7 || n == 8 { "500" } else { "200" };
        let mut span = tracer.root("GET /tasks", SpanKind::Server);
        match n {
            7 => {
                logger.error(&span.context(), "failed as it should", &[]);
                span.set_error("failed");
            }
            8 => logger.error(&span.context(), "failed in silence", &[]),
            _ => logger.info(&span.context(), "served", &[]),
        }
        let attributes = [("http.response.status_code", status.into())];
        latency.record(span.elapsed().as_secs_f64(), &attributes, Some(&span.context()));
        span.end();
    }
    // Nobody records five requests: their caller's sampler decided so.
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    for n in 0..5 {
        let caller = caller.replace("0af7", &format!("0af{n}"));
        let span = tracer.continue_from(
            SpanContext::parse_traceparent(&caller).as_ref(),
            "GET /tasks",
            SpanKind::Server,
        );
        logger.info(&span.context(), "served", &[]);
        latency.record(span.elapsed().as_secs_f64(), &[("http.response.status_code", "200".into())], None);
        span.end();
    }
    std::thread::sleep(Duration::from_millis(50));
    logger.log(Severity::Error, None, "cleanup failed", &[]);
    assert!(telemetry.flush(SENT));
    let found = found(&report(&server, "task-svc"));
    assert_eq!(found, [("TL103".to_owned(), 1), ("TL104".to_owned(), 1)]);
    let (_, books) = json(&server, &["reconcile", "--service", "task-svc", "--json"]);
    let total = |pointer: &str| books.pointer(&format!("/total/{pointer}")).and_then(Value::as_f64);
    assert_eq!((total("metric/requests"), total("metric/errors")), (Some(25.0), Some(2.0)), "{books:#}");
    assert_eq!((total("spans/requests"), total("spans/errors")), (Some(20.0), Some(1.0)));
    assert_eq!((total("logs/traces"), total("logs/unsampled_traces")), (Some(25.0), Some(5.0)));
    let parts: Vec<(&str, &str)> = books["differences"]
        .as_array()
        .expect("differences")
        .iter()
        .flat_map(|difference| {
            let of = difference["of"].as_str().unwrap_or_default();
            let parts = difference["parts"].as_array().into_iter().flatten();
            parts.map(move |part| (of, part["cause"].as_str().unwrap_or_default()))
        })
        .collect();
    for part in
        [("requests", "sampled_out_by_head"), ("errors", "outside_any_span"), ("errors", "status_unset")]
    {
        assert!(parts.contains(&part), "{part:?}: {books:#}");
    }
    assert_eq!(books["balanced"], true, "{books:#}");
    let text = String::from_utf8(run(&server, &["reconcile", "--service", "task-svc"]).stdout).expect("text");
    assert!(text.contains("the books balance") && text.contains("sampled_out_by_head"), "{text}");
    telemetry.shutdown(SENT);
}
