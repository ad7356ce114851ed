//! The binary as users run it: OTLP/JSON sent by hand, every command and endpoint asked, stopped, killed, started again.

#![expect(clippy::disallowed_methods, reason = "a test of real processes has real files and the time of day")]

#[path = "../../api/tests/telemetry.rs"]
mod telemetry;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::SystemTime;

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_throughline");

/// A folder that is removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("throughline-serve-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("created");
        Folder(path)
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Server {
    child: Child,
    /// Lines of its log, up to the ready line.
    log: Vec<String>,
    http: String,
    api: String,
}

impl Server {
    /// Starts it with its data in a folder, however full the machine's disk is.
    fn start(folder: &Folder) -> Server {
        let config = folder.0.join("throughline.yaml");
        std::fs::write(&config, "throughline: {retention: {disk_reserve: 1MiB}}\n").expect("written");
        let any = "127.0.0.1:0";
        let mut child = Command::new(BINARY)
            .args(["serve", "--otlp-grpc", any, "--otlp-http", any, "--api", any, "--data-dir"])
            .arg(folder.data())
            .arg("--config")
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let mut log = Vec::new();
        let ready = loop {
            let line = lines.next().unwrap_or_else(|| panic!("no ready line: {log:#?}")).expect("a line");
            log.push(line.clone());
            if line.contains(" ready: ") {
                break line;
            }
        };
        // The rest of the log must be read, or the server would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address = |name: &str| {
            let mut words = ready.split(' ').skip_while(move |word| *word != name);
            format!("http://{}", words.nth(1).expect("an address"))
        };
        Server { child, log, http: address("otlp/http"), api: address("api") }
    }

    fn send(&self, signal: &str, request: &Value) {
        let answer = agent()
            .post(format!("{}/v1/{signal}", self.http))
            .header("content-type", "application/json")
            .send(request.to_string())
            .expect("answered");
        assert_eq!(answer.status(), 200);
    }

    fn send_all(&self) {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as i64;
        self.send("traces", &telemetry::traces(now));
        self.send("logs", &telemetry::logs(now));
        self.send("metrics", &telemetry::metrics(now));
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut answer = agent().get(format!("{}{path}", self.api)).call().expect("answered");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY).args(arguments).env("THROUGHLINE_SERVER", &self.api).output().expect("run")
    }

    /// Runs a command and holds its output and exit code against what is expected.
    fn check(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.run(arguments);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in the output of {arguments:?}:\n{text}");
        }
    }

    fn signal(&mut self, signal: &str) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
        self.child.wait().expect("waited").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into()
}

fn check_everything(server: &Server) {
    let id = telemetry::SLOW_TRACE;
    server.check(&["trace", id], 0, &["db:query", "◄ culprit", "900 ms", "RetryAttempts=3", "2 log lines"]);
    server.check(&["trace", "0xC0DE"], 0, &[id]);
    server.check(&["trace", id, "--span", "000000000000c0d2"], 0, &["db.partition = p7", "too slow"]);
    server.check(&["trace", "deadbeefdeadbeef"], 1, &["was ever received", "[never_received]"]);
    server.check(
        &["traces", "--service", "task-svc", "--min-duration", "500ms"],
        0,
        &[id, "task-svc GET /tasks"],
    );
    server.check(&["traces", "--status", "error"], 0, &[id]);
    server.check(&["traces", "--service", "nobody"], 1, &["no trace meets that"]);
    server.check(&["logs", "--trace", id, "--span", "000000000000c0d2"], 0, &["WARN", "RetryAttempts=3"]);
    server.check(&["logs", "--service", "task-svc", "--severity", "warn"], 0, &["RetryAttempts=3"]);
    server.check(
        &["patterns", "--service", "task-svc", "--new-since", "1h"],
        0,
        &["throttled, RetryAttempts=<_>", "got a request", "warn"],
    );
    server.check(&["patterns", "--new-since", "1s"], 1, &["has such a pattern"]);
    server.check(
        &["exemplars", "--metric", "request.duration"],
        0,
        &[id, "resolved", "1 of 1 exemplars resolve"],
    );
    server.check(&["series"], 0, &["request.duration", "queue.length", "gauge"]);
    server.check(&["series", "--quantile", "0.99"], 0, &["p99 of request.duration of task-svc"]);
    server.check(&["services"], 0, &["task-svc", "GET /tasks, db:query"]);
    server.check(&["ledger"], 0, &["traces", "22", "received = stored"]);
    server.check(&["status"], 0, &["write        ready", "durability"]);
    server.check(
        &["walk"],
        0,
        &["1. Spike", id, "db:query in task-svc", "6. Likely cause", "RetryAttempts=3", "it retried 3 times"],
    );
    let focus = format!("trace:{id}");
    server.check(&["investigate", &focus, "--short"], 0, &["focus: trace ", id, "window:", "not checked:"]);
    server.check(&["investigate", "--format", "markdown"], 0, &["# Investigation", "## Not checked"]);
    server.check(&["investigate", "rate("], 2, &["is not PromQL"]);
    for command in [
        vec!["trace", id],
        vec!["traces"],
        vec!["logs"],
        vec!["patterns"],
        vec!["exemplars"],
        vec!["series"],
        vec!["services"],
        vec!["ledger"],
        vec!["walk"],
        vec!["status"],
    ] {
        let output = server.run(&[command.as_slice(), &["--json"]].concat());
        let json: Result<Value, _> = serde_json::from_slice(&output.stdout);
        assert!(json.is_ok_and(|json| json.is_object()), "{command:?}");
        assert_eq!(output.status.code(), Some(0), "{command:?}");
    }
}

#[test]
fn what_was_sent_is_found_before_and_after_a_restart() {
    let folder = Folder::new("restart");
    let mut server = Server::start(&folder);
    server.send_all();
    check_everything(&server);
    assert_eq!(server.get("/livez").0, 200);
    assert_eq!(server.get("/readyz").0, 200);
    let (_, metrics) = server.get("/metrics");
    for line in [
        "throughline_ledger_stored_total{signal=\"traces\"} 22",
        "throughline_receiver_accepted_items_total{signal=\"logs\",transport=\"http\"} 2",
        "process_resident_memory_bytes ",
        "throughline_build_info{version=",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(server.signal("-TERM"), Some(0));
    let server = Server::start(&folder);
    assert!(server.log[0].contains(" 0 records replayed"), "{:?}", server.log);
    check_everything(&server);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = Folder::new("kill");
    let mut server = Server::start(&folder);
    server.send_all();
    assert_eq!(server.signal("-KILL"), None);
    let server = Server::start(&folder);
    assert!(server.log[0].contains(" 3 records replayed"), "{:?}", server.log);
    check_everything(&server);
}

#[test]
fn a_data_folder_serves_one_process() {
    let folder = Folder::new("lock");
    let _server = Server::start(&folder);
    let output = Command::new(BINARY).args(["serve", "--data-dir"]).arg(folder.data()).output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("in use by another process"), "{text}");
}

fn fsck(folder: &Path, options: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY).arg("fsck").arg(folder).args(options).output().expect("run");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[test]
fn fsck_finds_a_flipped_byte() {
    let folder = Folder::new("fsck");
    let mut server = Server::start(&folder);
    server.send_all();
    let (code, text) = fsck(&folder.data(), &[]);
    assert!(code == Some(2) && text.contains("in use by another process"), "{text}");
    assert_eq!(server.signal("-TERM"), Some(0));
    let (code, text) = fsck(&folder.data(), &[]);
    assert!(code == Some(0) && text.contains("1 of 1 whole"), "{text}");
    let block = std::fs::read_dir(folder.data().join("blocks"))
        .expect("blocks")
        .next()
        .expect("a block")
        .expect("read");
    let file = block.path().join("spans.parquet");
    let mut bytes = std::fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let (code, text) = fsck(&folder.data(), &[]);
    assert!(code == Some(1) && text.contains("spans.parquet"), "{text}");
    let (code, text) = fsck(&folder.data(), &["--repair", "--json"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert!(code == Some(0) && !report["problems"].as_array().expect("a list").is_empty(), "{text}");
    let server = Server::start(&folder);
    assert_eq!(server.get("/livez").0, 200);
}

#[test]
fn the_log_says_what_durability_os_loses_and_who_can_reach_it() {
    let folder = Folder::new("os");
    let config = folder.0.join("config.yaml");
    std::fs::write(&config, "throughline: {durability: os, api: {endpoint: '0.0.0.0:0'}}\n")
        .expect("written");
    let any = "127.0.0.1:0";
    let mut child = Command::new(BINARY)
        .args(["serve", "--otlp-grpc", any, "--otlp-http", any, "--config"])
        .arg(&config)
        .arg("--data-dir")
        .arg(folder.0.join("data"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
    let log: Vec<String> = lines.take(4).collect();
    child.kill().expect("killed");
    child.wait().expect("waited");
    assert!(log[0].contains("api listens on 0.0.0.0:0, which is not loopback"), "{log:?}");
    assert!(log[1].contains("durability os") && log[1].contains("may be lost"), "{log:?}");
}

#[test]
fn configurations_are_checked() {
    let folder = Folder::new("check");
    let run = |name: &str, text: &str| {
        let file = folder.0.join(name);
        std::fs::write(&file, text).expect("written");
        let output = Command::new(BINARY).arg("check").arg(&file).output().expect("run");
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), text)
    };
    let (code, text) = run("good.yaml", "receivers: {otlp: }\nthroughline: {retention: {age: 30d}}\n");
    assert!(code == Some(0) && text.contains("is valid") && text.contains("127.0.0.1:4317"), "{text}");
    let (code, text) = run("bad.yaml", "throughline: {durabilty: os}\n");
    assert!(code == Some(1) && text.contains("line 1: throughline: has invalid keys: durabilty"), "{text}");
}

#[test]
fn without_a_server_commands_say_how_to_name_one() {
    let output =
        Command::new(BINARY).args(["traces", "--server", "http://127.0.0.1:1"]).output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("is throughline serve running?") && text.contains("--server"), "{text}");
}
