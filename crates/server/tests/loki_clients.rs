//! A real logcli against the server: every sub-command that asks for lines, labels or figures, and following new lines.
//!
//! `THROUGHLINE_LOGCLI` is the path of the binary (Loki 3); without it the tests are skipped and say so.

#![expect(clippy::disallowed_methods, reason = "a test of real processes has real files and the time of day")]

#[path = "clients/process.rs"]
mod process;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use process::{PATIENCE, Running, Server, binary};
use serde_json::{Value, json};

fn now_ns(ago_s: u64) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    (since - Duration::from_secs(ago_s)).as_nanos().to_string()
}

fn push(server: &Server, body: &Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let url = format!("{}/loki/api/v1/push", server.api);
    let request = agent.post(url).header("content-type", "application/json");
    let status = request.send(body.to_string()).expect("pushed").status();
    assert_eq!(status.as_u16(), 204);
}

struct Logcli {
    binary: PathBuf,
    server: Server,
}

impl Logcli {
    fn start(name: &str) -> Option<Logcli> {
        let binary = binary("THROUGHLINE_LOGCLI")?;
        let server = Server::start(name);
        let lines = json!({"streams": [
            {"stream": {"app": "cart", "zone": "a"}, "values": [
                [now_ns(30), "level=info msg=added took=12ms"],
                [now_ns(20), "level=error msg=lost took=5ms", {"user": "u1"}],
            ]},
            {"stream": {"app": "shop"}, "values": [[now_ns(10), "{\"status\":200}"]]},
        ]});
        push(&server, &lines);
        Some(Logcli { binary, server })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(format!("--addr={}", self.server.api)).arg("--quiet").args(arguments);
        command
    }

    /// What a command prints.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("logcli runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
        out.into_owned()
    }
}

#[test]
fn logcli_asks_for_lines_and_numbers() {
    let Some(logcli) = Logcli::start("logcli-queries") else { return };
    let lines = logcli.run(&["query", "--output=raw", "--since=1h", "--limit=10", r#"{app="cart"}"#]);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.starts_with("level=error"), "newest first: {lines}");
    let forward =
        logcli.run(&["query", "--output=raw", "--since=1h", "--forward", r#"{app="cart"} |= "took""#]);
    assert!(forward.starts_with("level=info"), "{forward}");
    let json = logcli.run(&[
        "query",
        "--output=jsonl",
        "--include-common-labels",
        "--since=1h",
        r#"{app="cart"} | user="u1""#,
    ]);
    let line: Value = serde_json::from_str(json.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!(line["line"], "level=error msg=lost took=5ms");
    assert_eq!(line["labels"]["detected_level"], "error", "{json}");
    let range =
        logcli.run(&["query", "--since=1h", "--step=60s", r#"sum(count_over_time({app=~".+"}[5m]))"#]);
    let matrix: Value = serde_json::from_str(&range).expect("JSON");
    assert_eq!(
        matrix[0]["values"].as_array().and_then(|points| points.last()).map(|point| point[1].clone()),
        Some(json!("3"))
    );
    let instant = logcli.run(&["instant-query", r#"sum by (app) (count_over_time({app=~".+"}[5m]))"#]);
    let vector: Value = serde_json::from_str(&instant).expect("JSON");
    assert_eq!(vector.as_array().map(Vec::len), Some(2), "{instant}");
}

#[test]
fn logcli_lists_what_there_is() {
    let Some(logcli) = Logcli::start("logcli-lists") else { return };
    assert_eq!(
        logcli.run(&["labels", "--since=1h"]).split_whitespace().collect::<Vec<_>>(),
        ["app", "service_name", "zone"]
    );
    assert_eq!(
        logcli.run(&["labels", "--since=1h", "app"]).split_whitespace().collect::<Vec<_>>(),
        ["cart", "shop"]
    );
    let series = logcli.run(&["series", "--since=1h", r#"{app="cart"}"#]);
    assert!(series.contains(r#"zone="a""#) && series.lines().count() == 1, "{series}");
    let stats = logcli.run(&["stats", "--since=1h", r#"{app="shop"}"#]);
    assert!(
        stats.contains("bytes: 14") && stats.contains("entries: 1") && stats.contains("streams: 1"),
        "{stats}"
    );
    let volume = logcli.run(&["volume", "--since=1h", r#"{app=~".+"}"#]);
    let entries: Value = serde_json::from_str(&volume).expect("JSON");
    assert_eq!(entries[0]["metric"]["app"], "cart", "{volume}");
    let range = logcli.run(&["volume_range", "--since=1h", "--step=60s", r#"{app="cart"}"#]);
    assert!(range.contains("\"values\""), "{range}");
    let fields = logcli.run(&["detected-fields", "--since=1h", r#"{app="cart"}"#]);
    assert!(fields.contains("took") && fields.contains("duration"), "{fields}");
    let values = logcli.run(&["detected-fields", "--since=1h", r#"{app="cart"}"#, "took"]);
    assert!(values.contains("12ms") && values.contains("5ms"), "{values}");
    let analyzed = logcli.run(&["series", "--since=1h", "--analyze-labels", "{}"]);
    assert!(analyzed.contains("Total Streams:  2"), "{analyzed}");
}

#[test]
fn logcli_reads_all_lines_in_pages() {
    let Some(logcli) = Logcli::start("logcli-pages") else { return };
    // Three lines have the same time: a page may begin between them.
    let values: Vec<Value> = (0..25).map(|n| json!([now_ns(600 - n / 3), format!("line {n}")])).collect();
    let time = |at: usize| values[at][0].clone();
    let same: Vec<Value> =
        values.iter().enumerate().map(|(n, value)| json!([time(n / 3 * 3), value[1]])).collect();
    push(&logcli.server, &json!({"streams": [{"stream": {"app": "many"}, "values": same}]}));
    for direction in [&["--forward"][..], &[]] {
        let query = ["query", "--output=raw", "--since=1h", "--limit=0", "--batch=4", r#"{app="many"}"#];
        let text = logcli.run(&[&query[..], direction].concat());
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 25, "{text}");
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 25, "{text}");
    }
    let statistics = logcli.command(&["query", "--stats", "--compress", r#"{app="many"}"#]).output();
    let said = String::from_utf8_lossy(&statistics.expect("logcli runs").stderr).into_owned();
    assert!(said.contains("Summary.TotalLinesProcessed"), "{said}");
}

#[test]
fn logcli_is_told_that_nothing_is_deleted() {
    let Some(logcli) = Logcli::start("logcli-delete") else { return };
    let from = ["--from=2026-01-01T00:00:00Z", "--to=2026-01-02T00:00:00Z", r#"{app="cart"}"#];
    for arguments in [[&["delete", "create"][..], &from[..]].concat(), vec!["delete", "list"]] {
        let output = logcli.command(&arguments).output().expect("logcli runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains("deletion is not available"), "{arguments:?}: {said}");
    }
}

#[test]
fn logcli_formats_queries() {
    let Some(logcli) = binary("THROUGHLINE_LOGCLI") else { return };
    let formatted = format(&logcli, r#"{app="a"}|="b""#);
    assert_eq!(formatted.trim(), r#"{app="a"} |= "b""#);
}

fn format(logcli: &Path, query: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new(logcli)
        .arg("fmt")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    child.stdin.take().expect("stdin").write_all(query.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn logcli_follows_new_lines() {
    let Some(logcli) = Logcli::start("logcli-tail") else { return };
    let mut command = logcli.command(&["query", "--tail", "--output=raw", r#"{app="cart"}"#]);
    let mut child = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started"));
    let out = BufReader::new(child.0.stdout.take().expect("stdout"));
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.push(lines.recv_timeout(PATIENCE).expect("a line of the past"));
    }
    push(
        &logcli.server,
        &json!({"streams": [{"stream": {"app": "cart"}, "values": [[now_ns(0), "brand new"]]}]}),
    );
    assert_eq!(lines.recv_timeout(PATIENCE).expect("a new line"), "brand new", "after {seen:?}");
}
