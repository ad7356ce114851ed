//! Counters derived from spans, through the binary as users run it: killed in the middle of load, over and over, they
//! never fall back and come to exactly the spans that were acknowledged.

#![expect(clippy::disallowed_methods, reason = "a test of real processes has real files and the time of day")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use throughline_generate::Generator;
use throughline_store::{OsDisk, SeriesQuery, Store, StoreConfig, SystemClock, TimeRange};

const SPANS: u64 = 12_000;
const KILLS: u64 = 3;
/// Rounds up what is sent between two kills, so that counters are written in between.
const PAUSE: Duration = Duration::from_millis(60);

const SETTINGS: &str =
    "throughline:\n  retention: {disk_reserve: 1MiB}\n  memtable: {age: 2s}\n  derive: {interval: 1s}\n";

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Server {
    child: Child,
    http: String,
    api: String,
}

impl Server {
    fn start(folder: &Path) -> Server {
        let config = folder.join("throughline.yaml");
        std::fs::write(&config, SETTINGS).expect("written");
        let any = "127.0.0.1:0";
        let mut child = Command::new(env!("CARGO_BIN_EXE_throughline"))
            .args(["serve", "--otlp-grpc", any, "--otlp-http", any, "--api", any, "--data-dir"])
            .arg(folder.join("data"))
            .arg("--config")
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let ready = lines.find_map(|line| line.ok().filter(|line| line.contains(" ready: "))).expect("ready");
        std::thread::spawn(move || lines.for_each(drop));
        let address = |name: &str| {
            let mut words = ready.split(' ').skip_while(move |word| *word != name);
            format!("http://{}", words.nth(1).expect("an address"))
        };
        Server { child, http: address("otlp/http"), api: address("api") }
    }

    /// Whether a request was acknowledged.
    fn send(&self, body: &[u8]) -> bool {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let request = agent.post(format!("{}/v1/traces", self.http));
        let answer = request.header("content-type", "application/x-protobuf").send(body);
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    fn metrics(&self) -> String {
        let mut answer = ureq::get(format!("{}/metrics", self.api)).call().expect("answered");
        answer.body_mut().read_to_string().expect("text")
    }

    fn end(mut self, signal: &str) {
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

#[test]
fn counters_over_kills_are_those_of_the_acknowledged_spans() {
    let folder = std::env::temp_dir().join(format!("throughline-derive-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("created");
    let folder = Folder(folder);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let requests: Vec<_> = Generator::new(11, now).traces(SPANS).collect();
    let spans: usize = requests.iter().map(|request| request.items).sum();
    let bodies: Vec<Vec<u8>> = requests.into_iter().map(|request| request.body).collect();
    println!("{} requests, {spans} spans", bodies.len());
    let mut server = Server::start(&folder.0);
    let kill_after = bodies.len() as u64 / (KILLS + 1);
    for (number, body) in (1..).zip(&bodies) {
        let is_end = number % kill_after == 0 && number / kill_after <= KILLS;
        if is_end {
            // While the request is under way: it may be stored and not answered, and is sent again then.
            let id = server.child.id().to_string();
            let killer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(number % 7));
                Command::new("kill").args(["-KILL", &id]).status().expect("kill")
            });
            server.send(body);
            assert!(killer.join().expect("no panic").success());
            server.child.wait().expect("waited");
            server = Server::start(&folder.0);
        }
        assert!(server.send(body), "request {number}");
        std::thread::sleep(PAUSE);
    }
    let metrics = server.metrics();
    assert!(metrics.contains("throughline_derive_series{metric=\"traces_spanmetrics\"} "), "{metrics}");
    server.end("-TERM");
    check(&folder.0.join("data"), spans as u64);
}

/// Every series only rises, and the last values come to what was sent.
fn check(data: &Path, spans: u64) {
    let config = StoreConfig::new(data.to_path_buf(), Duration::from_secs(15 * 86_400));
    let store = Store::open(config, Arc::new(OsDisk), Arc::new(SystemClock::new())).expect("opens");
    assert_eq!(store.ledger().traces.stored, spans);
    let last_sum = |metric: &str| -> f64 {
        let query = SeriesQuery {
            range: TimeRange::ALL,
            metric: Some(metric.to_owned()),
            service: None,
            attributes: Vec::new(),
            limit: usize::MAX,
        };
        let mut sum = 0.0;
        for (series, points) in store.snapshot().points(&query).expect("points").items {
            let values: BTreeMap<i64, f64> = points.iter().map(|point| (point.time, point.value)).collect();
            assert!(values.values().is_sorted(), "{metric} {series:?} falls: {values:?}");
            assert_eq!(values.values().next(), Some(&0.0), "{metric} {series:?} begins at zero");
            sum += values.values().last().expect("a value");
        }
        sum
    };
    assert_eq!(last_sum("traces_spanmetrics_calls_total"), spans as f64);
    assert_eq!(last_sum("traces_spanmetrics_latency_count"), spans as f64);
    let requests = last_sum("traces_service_graph_request_total");
    assert!(requests > spans as f64 / 10.0, "{requests}");
    assert_eq!(last_sum("traces_service_graph_request_server_seconds_count"), requests);
    assert!(last_sum("traces_spanmetrics_size_total") > 0.0);
}
