//! Log files with the real binary: killed in the middle again and again while files grow and rotate, and no line is lost or
//! there twice.

#![expect(clippy::disallowed_methods, reason = "a test of real processes has real files and the time of day")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_throughline");
const PATIENCE: Duration = Duration::from_secs(120);
/// The API answers with so many records at most.
const LINES: usize = 9000;
const KILLS: usize = 8;

/// A folder that is removed with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Server {
    child: Child,
    api: String,
}

impl Server {
    fn start(config: &Path) -> Server {
        let any = "127.0.0.1:0";
        let mut child = Command::new(BINARY)
            .args(["serve", "--otlp-grpc", any, "--otlp-http", any, "--api", any, "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let ready = lines.find_map(|line| line.ok().filter(|line| line.contains(" ready: "))).expect("ready");
        std::thread::spawn(move || lines.for_each(drop));
        let api = ready.rsplit(' ').next().expect("an address");
        Server { child, api: format!("http://{api}") }
    }

    fn get(&self, path: &str) -> String {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let mut answer = agent.get(format!("{}{path}", self.api)).call().expect("answered");
        answer.body_mut().with_config().limit(64 << 20).read_to_string().expect("text")
    }

    /// All records, by their body.
    fn records(&self) -> BTreeMap<String, Vec<Value>> {
        let answer: Value =
            serde_json::from_str(&self.get("/api/throughline/v1/logs?limit=10000")).expect("JSON");
        let mut by_body: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for record in answer["logs"].as_array().expect("a list") {
            by_body
                .entry(record["body"].as_str().expect("text").to_owned())
                .or_default()
                .push(record.clone());
        }
        by_body
    }

    fn kill(&mut self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
        self.child.wait().expect("waited");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes lines into a file that is rotated, by renaming and by copying and truncating in turn, until all are written.
fn write(folder: &Path, is_done: &AtomicBool) {
    let path = folder.join("app.log");
    for number in 0..LINES {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).expect("opened");
        // In two steps: a reader may see half a line.
        let line = format!("{{\"n\":{number},\"level\":\"warn\",\"msg\":\"message {number:05}\"}}\n");
        let (first, rest) = line.split_at(line.len() / 2);
        file.write_all(first.as_bytes()).expect("written");
        file.write_all(rest.as_bytes()).expect("written");
        drop(file);
        let rotated = folder.join(format!("app.log.{number}"));
        match number % 1000 {
            333 => std::fs::rename(&path, rotated).expect("renamed"),
            777 => {
                std::fs::copy(&path, rotated).expect("copied");
                std::fs::OpenOptions::new().write(true).truncate(true).open(&path).expect("truncated");
            }
            _ => {}
        }
        if number % 20 == 0 {
            std::thread::sleep(Duration::from_millis(8));
        }
    }
    is_done.store(true, Ordering::Relaxed);
}

#[test]
fn no_line_is_lost_or_there_twice_however_often_the_process_is_killed() {
    let folder = Folder(std::env::temp_dir().join(format!("throughline-filelog-{}", std::process::id())));
    let logs = folder.0.join("logs");
    std::fs::create_dir_all(&logs).expect("created");
    let config = folder.0.join("config.yaml");
    let text = format!(
        "receivers:\n  otlp:\n  filelog:\n    include: ['{logs}/app.log*']\n    start_at: beginning\n    poll_interval: 10ms\n    \
         include_file_path: true\n    resource: {{service.name: shop}}\n    operators:\n    - type: json_parser\n      body: \
         attributes.msg\n      severity: {{parse_from: attributes.level}}\nthroughline: {{data_dir: '{data}', retention: {{disk_reserve: 1MiB}}}}\n",
        logs = logs.display(),
        data = folder.0.join("data").display()
    );
    std::fs::write(&config, text).expect("written");
    let checked = Command::new(BINARY).arg("check").arg(&config).output().expect("run");
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains("log files     filelog: "), "{checked}");
    let is_done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (logs, is_done) = (logs.clone(), Arc::clone(&is_done));
        std::thread::spawn(move || write(&logs, &is_done))
    };
    for kill in 0..KILLS {
        let mut server = Server::start(&config);
        std::thread::sleep(Duration::from_millis(100 + 73 * kill as u64));
        server.kill("-KILL");
    }
    let mut server = Server::start(&config);
    writer.join().expect("written");
    assert!(is_done.load(Ordering::Relaxed));
    let started = Instant::now();
    let mut records = server.records();
    while records.len() < LINES && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
        records = server.records();
    }
    let lost: Vec<String> =
        (0..LINES).map(|n| format!("message {n:05}")).filter(|body| !records.contains_key(body)).collect();
    assert!(lost.is_empty(), "{} lines are lost: {:?}", lost.len(), &lost[..lost.len().min(20)]);
    let twice: Vec<&String> =
        records.iter().filter(|(_, found)| found.len() > 1).map(|(body, _)| body).collect();
    assert!(twice.is_empty(), "{} lines are there twice: {:?}", twice.len(), &twice[..twice.len().min(20)]);
    let record = &records["message 00007"][0];
    assert_eq!((&record["service"], &record["severity_number"]), (&Value::from("shop"), &Value::from(13)));
    let metrics = server.get("/metrics");
    assert!(metrics.contains("throughline_filelog_records_total{receiver=\"filelog\"} "), "{metrics}");
    // Equal records are shown once; the ledger knows how often each is stored.
    assert!(
        metrics.contains(&format!("throughline_ledger_stored_total{{signal=\"logs\"}} {LINES}\n")),
        "{metrics}"
    );
    server.kill("-TERM");
}
