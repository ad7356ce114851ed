//! An engine that knows nothing of us reads the blocks of a real server: the queries of the operator's guide, word for
//! word, in DuckDB.
//!
//! DuckDB's Python package is installed into a virtual environment under `target` at the first run. Where Python or the
//! package cannot be had, the test is skipped and says so; with `THROUGHLINE_TESTS_MUST_RUN=1` it fails.

#[path = "../../receive/tests/python/environment.rs"]
mod python;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use throughline_generate::Generator;
use throughline_generate::corpus::Encoded;
use throughline_generate::plan::Work;
use throughline_generate::sender::{self, Pace, Protocol, Target};
use throughline_store::engine::Engine;
use throughline_store::{ManualClock, OsDisk, Parts, StoreConfig};

const SPANS: u64 = 6_000;
const RECORDS: u64 = 9_000;
const POINTS: u64 = 4_800;

/// Runs the statements of its input (JSON: a list of texts) and prints the rows of each that has some.
const DRIVER: &str = r"
import datetime, json, sys
import duckdb
connection = duckdb.connect()
def plain(value):
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
for statement in json.load(sys.stdin):
    rows = connection.execute(statement).fetchall()
    print(json.dumps([[plain(value) for value in row] for row in rows]))
";

#[test]
fn queries_of_the_guide_give_what_was_sent() {
    let Some(python) = python::with("duckdb", &["duckdb", "pytz"], "duckdb, pytz") else { return };
    let folder = std::env::temp_dir().join(format!("throughline-duckdb-{}", std::process::id()));
    let generator = Generator::new(11, within_one_partition(now_ns())).referring_to(SPANS);
    let sent_spans = fill(&folder.join("data"), &generator);
    merge(&folder.join("data"));
    let guide = include_str!("../../../docs/operators-guide.md");
    let mut statements = statements(guide, &folder.join("data"));
    let queries = statements.iter().filter(|statement| !statement.starts_with("CREATE")).count();
    assert_eq!(queries, 3, "queries in the guide");
    for table in ["spans", "logs", "traces"] {
        statements.push(format!("SELECT count(*) FROM {table}"));
    }
    statements.push("SELECT count(DISTINCT trace_id) FROM traces".to_owned());
    statements.extend(about_patterns(guide));
    let answers = run(&python, &statements);
    let [slowest, lines, statuses, spans, logs, traces, ids, settled, uneven, unlike] =
        &answers[answers.len() - 10..]
    else {
        panic!()
    };
    assert!(number(settled) > RECORDS / 10, "{settled:?} records have words with digits in their pattern");
    assert_eq!((number(uneven), number(unlike)), (0, 0));

    assert_eq!(number(spans), sent_spans);
    assert_eq!(number(logs), RECORDS);
    assert_eq!((number(traces), number(ids)), (generator.trace_count(SPANS), generator.trace_count(SPANS)));
    assert_eq!(slowest.len(), 10);
    assert!(
        slowest.iter().all(|row| row[2].as_u64() > Some(0) && row[4].as_f64() > Some(0.0)),
        "{slowest:?}"
    );
    check_error_lines(&generator, lines);
    check_statuses(&generator, statuses);
    remove(&folder);
}

/// How many records have words with digits in their pattern, not as many slots as placeholders, and another kind by their pattern
/// than by their body, as the guide says it.
fn about_patterns(guide: &str) -> [String; 3] {
    let kind = guide.split('`').find(|code| code.starts_with("regexp_replace(pattern,"));
    let kind = kind.expect("an expression for kinds of lines in the guide");
    let of_body = kind.replace("(pattern,", "(body,");
    let n_parts = |of: &str, by: &str| format!("len(string_split({of}, '{by}'))");
    [
        "SELECT count(*) FROM logs WHERE regexp_matches(pattern, '[0-9]')".to_owned(),
        format!(
            "SELECT count(*) FROM logs WHERE {} <> {} + 1",
            n_parts("pattern", "{}"),
            n_parts("slots", " ")
        ),
        format!("SELECT count(*) FROM logs WHERE {kind} <> {of_body}"),
    ]
}

/// Merges the blocks of a folder without a server, as a server does when an hour has gone by.
fn merge(data_dir: &Path) {
    let mut config = StoreConfig::new(data_dir.to_path_buf(), Duration::from_secs(86_400));
    // A test must not depend on how full the machine's disk is.
    config.reserve_bytes = Some(0);
    let later = ManualClock::at(now_ns() as i64 + 3_600_000_000_000);
    let engine =
        Engine::open_with(config, Arc::new(OsDisk), Arc::new(later), Parts::default()).expect("opens");
    let mut n_merges = 0;
    while engine.compact_once().expect("a merge") {
        n_merges += 1;
    }
    assert!(n_merges > 0, "nothing was merged");
    engine.close().expect("closes");
}

#[expect(clippy::disallowed_methods, reason = "the folder is the test's own")]
fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

/// Lines of traces with errors: all ids are those of traces in which something failed.
fn check_error_lines(generator: &Generator, lines: &[Value]) {
    let failed: HashSet<String> = (0..generator.trace_count(SPANS))
        .filter(|number| generator.plan(*number).spans.iter().any(|span| span.failed))
        .map(|number| generator.trace(number).hex_id())
        .collect();
    assert_eq!(lines.len(), 20);
    for line in lines {
        assert!(line[0].as_str().is_some_and(|id| failed.contains(id)), "{line}");
        assert!(line[4].as_str().is_some_and(|body| !body.is_empty()), "{line}");
    }
}

/// Every served request has a status in a column of its own.
fn check_statuses(generator: &Generator, statuses: &[Value]) {
    let plans = (0..generator.trace_count(SPANS)).flat_map(|number| generator.plan(number).spans);
    let served = plans.filter(|span| matches!(span.work, Work::Serve { .. })).count() as u64;
    assert!(statuses.iter().any(|row| row[0].as_i64() == Some(200)), "{statuses:?}");
    assert!(statuses.iter().all(|row| row[0].is_i64()), "{statuses:?}");
    assert_eq!(statuses.iter().filter_map(|row| row[1].as_u64()).sum::<u64>(), served);
}

fn number(rows: &[Value]) -> u64 {
    rows[0][0].as_u64().expect("one number")
}

/// The statements of the guide's SQL, with the folder in place.
fn statements(guide: &str, data_dir: &Path) -> Vec<String> {
    let blocks = guide.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let text: String = blocks.collect::<Vec<_>>().join("\n");
    let text = text.replace("throughline-data", &data_dir.display().to_string());
    text.split(';')
        .map(|statement| statement.trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

fn run(python: &Path, statements: &[String]) -> Vec<Vec<Value>> {
    let mut child = Command::new(python)
        .args(["-c", DRIVER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start Python");
    let input = serde_json::to_vec(statements).expect("statements as JSON");
    child.stdin.take().expect("stdin").write_all(&input).expect("write the statements");
    let output = child.wait_with_output().expect("wait for Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON rows")).collect()
}

/// Starts a server, sends everything, stops it in order. Returns how many spans were sent.
fn fill(data_dir: &Path, generator: &Generator) -> u64 {
    let mut server = Server::start(data_dir, &without_derived_metrics(data_dir));
    let requests = generator.traces(SPANS).chain(generator.logs(RECORDS)).chain(generator.metrics(POINTS));
    let encoded: Vec<_> =
        requests.enumerate().map(|(number, request)| Encoded::new(&request, number as u64, true)).collect();
    let target = Target { protocol: Protocol::Grpc, address: server.grpc, path_prefix: String::new() };
    let pace =
        Pace { connections: 1, in_flight: 4, items_per_second: None, patience: Duration::from_secs(30) };
    let report = sender::send(encoded.into_iter(), &target, &pace, None).expect("send");
    assert_eq!((report.failed, report.rejected), (0, 0), "{:?}", report.first_refusal);
    server.stop();
    report.acknowledged[0]
}

/// A configuration beside the folder. Metrics derived from spans are of now, and their exemplars would give each trace that
/// they name a second row, in the block of now.
#[expect(clippy::disallowed_methods, reason = "the file is the test's own")]
fn without_derived_metrics(data_dir: &Path) -> PathBuf {
    let file = data_dir.with_file_name("throughline.yaml");
    std::fs::create_dir_all(data_dir).expect("make the folder");
    std::fs::write(&file, "throughline:\n  retention: {disk_reserve: 1MiB}\n  derive: {enabled: false}\n")
        .expect("write the configuration");
    file
}

struct Server {
    child: Child,
    grpc: SocketAddr,
}

impl Server {
    fn start(data_dir: &Path, config: &Path) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_throughline"))
            .args([
                "serve",
                "--otlp-grpc",
                "127.0.0.1:0",
                "--otlp-http",
                "127.0.0.1:0",
                "--api",
                "127.0.0.1:0",
            ])
            .args(["--until-stdin-closes", "--data-dir"])
            .arg(data_dir)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start the server");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
        let ready = lines.find(|line| line.contains("ready: otlp/grpc ")).expect("the server gets ready");
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.count());
        let grpc =
            ready.split("otlp/grpc ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        Server { child, grpc: grpc.parse().expect("an address") }
    }

    fn stop(&mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("wait for the server");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An hour before the current two hours began. Blocks hold two hours each, and a trace whose telemetry crosses their
/// bounds has a row in both: telemetry that ends now would do so in the first minute of every other hour.
fn within_one_partition(now_ns: u64) -> u64 {
    const HOUR_NS: u64 = 3_600_000_000_000;
    now_ns / (2 * HOUR_NS) * (2 * HOUR_NS) - HOUR_NS
}

#[expect(clippy::disallowed_methods, reason = "the telemetry is recent, as the server's clock has it")]
fn now_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}
