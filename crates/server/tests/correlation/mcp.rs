//! The Model Context Protocol, spoken by the official client for Python: over standard input and output, and over HTTP.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_instrument::{Config, LATENCY_BOUNDS_SECONDS, SpanKind, Telemetry};

use crate::process::Server;
use crate::python;

const SCRIPT: &str = include_str!("mcp.py");
/// Bytes of an answer by default: 2,000 tokens of four bytes.
const ANSWER_BYTES: usize = 8_000;

/// Requests, one of which fails in silence; the id of its trace.
fn send(server: &Server) -> String {
    let telemetry = Telemetry::start(Config::new(&server.http, "task-svc")).expect("started");
    let (tracer, logger) = (telemetry.tracer("t"), telemetry.logger("t"));
    let latency = telemetry.histogram("http.server.request.duration", "s", LATENCY_BOUNDS_SECONDS);
    let mut failing = String::new();
    for n in 0..400 {
        let span = tracer.root("GET /tasks", SpanKind::Server);
        tracer.child_of(&span.context(), "db:query", SpanKind::Internal).end();
        if n == 7 {
            logger.error(&span.context(), "no such task", &[]);
            failing = span.context().trace_id.to_string();
        } else {
            logger.info(&span.context(), "a request was served, and this line says so at some length", &[]);
        }
        latency.record(0.01, &[], Some(&span.context()));
        span.end();
    }
    assert!(telemetry.flush(Duration::from_secs(10)));
    failing
}

#[test]
fn tools_answer_the_official_client() {
    let Some(python) = python::with(&["mcp"], "mcp") else { return };
    let server = Server::start("mcp");
    let trace = send(&server);
    let calls = json!([
        ["services", {}],
        ["doctor", {"service": "task-svc"}],
        ["trace", {"id": trace}],
        ["trace", {"id": "deadbeefdeadbeefdeadbeefdeadbeef"}],
        ["logs", {"service": "task-svc", "limit": 300}],
        ["logs", {"service": "task-svc", "limit": 300, "max_tokens": 300}],
        ["metrics", {}],
        ["reconcile", {"service": "task-svc"}],
        ["traces", {"service": "nobody"}],
        ["walk", {}],
        ["investigate", {"service": "task-svc"}],
        ["investigate", {"focus": format!("trace:{trace}"), "max_tokens": 300}],
        ["links", {"service": "task-svc"}],
        ["compare", {"service": "task-svc", "operation": "GET /tasks", "min_duration": "1ns"}],
        ["logs", {"sevice": "task-svc"}],
        ["metrics", {"query": "sum("}],
    ]);
    let output = Command::new(python)
        .args(["-c", SCRIPT, env!("CARGO_BIN_EXE_throughline"), &server.api, &calls.to_string()])
        .output()
        .expect("python runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let ways: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let ways = ways.as_object().expect("ways");
    assert_eq!(ways.len(), 4);
    for (way, got) in ways {
        let tools: Vec<&str> =
            got["tools"].as_array().expect("tools").iter().filter_map(Value::as_str).collect();
        for tool in ["services", "investigate", "doctor", "links", "trace", "logs", "metrics", "compare"] {
            assert!(tools.contains(&tool), "{way}: {tools:?}");
        }
        check(way, &trace, got["answers"].as_array().expect("answers"));
    }
}

fn check(way: &str, trace: &str, answers: &[Value]) {
    let text = |at: usize| answers[at]["text"].as_str().expect("text");
    let says = |at: usize, words: &[&str]| {
        for word in words {
            assert!(text(at).contains(word), "{way}: {word:?} is not in\n{}", text(at));
        }
    };
    says(0, &["task-svc: 800 spans, 0 errors, 400 log records", "GET /tasks"]);
    says(1, &["TL103", "1 of 1 ERROR records of task-svc", "span.set_error(message)", "not checked: "]);
    says(2, &[trace, "GET /tasks [task-svc]", "db:query", "error task-svc no such task"]);
    says(3, &["[never_received]", "was ever received"]);
    says(
        4,
        &[
            "300 log records",
            "more log records (raise max_tokens",
            "not checked: what comes after the first 300",
        ],
    );
    assert!(text(5).len() <= 1_200, "{way}: {}", text(5).len());
    says(5, &["left out: "]);
    says(6, &["http_server_request_duration_seconds_bucket"]);
    says(7, &["task-svc: the books", "requests/errors by metric 400/0"]);
    says(8, &["0 traces"]);
    says(9, &["not checked: spike: "]);
    says(10, &["window ", "baseline ", "not checked: ", "no trace began in the baseline"]);
    says(11, &["window "]);
    assert!(text(11).len() <= 1_200, "{way}: {}", text(11).len());
    says(12, &["log_trace: 400 of 400 hold", "exemplar_trace: "]);
    says(13, &["traces of", "compared with"]);
    for (at, answer) in answers.iter().enumerate().take(14) {
        assert!(text(at).len() <= ANSWER_BYTES && answer["is_error"] == false, "{way} {at}: {}", text(at));
    }
    says(14, &["logs takes no \"sevice\"; it takes trace, span, service"]);
    says(15, &["parse error"]);
    assert!(answers[14]["is_error"] == true && answers[15]["is_error"] == true);
}
