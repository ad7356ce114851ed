//! The Model Context Protocol, spoken by the official client for Python, and by one that means harm: over standard input and output,
//! and over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use throughline_instrument::{Config, LATENCY_BOUNDS_SECONDS, SpanKind, Telemetry};

use crate::process::{PATIENCE, Running, Server};
use crate::python;

const SCRIPT: &str = include_str!("mcp.py");
/// Bytes of an answer by default: 2,000 tokens are no more of whatever text.
const ANSWER_BYTES: usize = 8_000;
/// Bytes of as many tokens of log lines with times and ids: of such a text tokenizers make one of two bytes.
const LINES_BYTES: usize = 4_600;
/// The largest message.
const MESSAGE_BYTES: usize = 256 << 10;
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

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
    let Some(python) = python::with("correlation-python", &["mcp"], "mcp") else { return };
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
    assert!(text(4).len() <= LINES_BYTES, "{way}: {}", text(4).len());
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

/// What is wrong with a message, and the code of the error that says so.
fn hostile() -> Vec<(String, i64)> {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let call = |params: Value| {
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}).to_string()
    };
    vec![
        (PING.to_owned() + &" ".repeat(MESSAGE_BYTES + 1 - PING.len()), -32600),
        ("this is not JSON".to_owned(), -32700),
        (deep(100_000), -32700),
        (format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}}"#, deep(1_000)), -32700),
        (format!("[{PING}]"), -32600),
        (r#"{"jsonrpc":"2.0","id":3}"#.to_owned(), -32600),
        (
            r#"{"jsonrpc":"2.0","id":4,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}"#
                .to_owned(),
            -32601,
        ),
        (r#"{"jsonrpc":"2.0","id":5,"method":"no/such"}"#.to_owned(), -32601),
        (call(json!({"name": "rm", "arguments": {}})), -32602),
        (call(json!({"name": 7})), -32602),
        (call(json!({"name": "trace", "arguments": "id"})), -32602),
    ]
}

/// The status and the body of what is answered to a posted message.
fn post(server: &Server, host: &str, body: &str) -> (u16, String) {
    let address = server.api.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let length = body.len();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {host}\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn hostile_messages_are_refused_and_the_server_lives() {
    let server = Server::start("mcp-hostile");
    for (message, code) in hostile() {
        let (status, body) = post(&server, "localhost", &message);
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}"));
        assert_eq!(answer["error"]["code"], code, "{message:.80}: {status} {body}");
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.len() > 10), "{body}");
    }
    assert_eq!(post(&server, "evil.example", PING).0, 403);
    assert_eq!(post(&server, "localhost.evil.example:4319", PING).0, 403);
    assert_eq!(post(&server, "localhost", PING), (200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned()));
}

#[test]
fn hostile_lines_are_refused_and_the_command_ends_with_its_input() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"))
        .args(["mcp", "--server", "http://127.0.0.1:1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .expect("started");
    let mut input = command.0.stdin.take().expect("input");
    let mut lines = BufReader::new(command.0.stdout.take().expect("output")).lines();
    let mut ask = |message: &str| -> Value {
        writeln!(input, "{message}").expect("written");
        serde_json::from_str(&lines.next().expect("a line").expect("read")).expect("JSON")
    };
    for (message, code) in hostile() {
        let answer = ask(&message);
        assert_eq!(answer["error"]["code"], code, "{message:.80}: {answer}");
    }
    assert_eq!(ask(PING), json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    let called = ask(r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"doctor"}}"#);
    assert_eq!(called["result"]["isError"], true);
    let text = called["result"]["content"][0]["text"].as_str().expect("text");
    assert!(text.contains("is throughline serve running?"), "{text}");
    drop(input);
    assert!(command.0.wait().expect("ended").success());
}
