//! Real senders of remote write: `promtool push metrics`, and a Prometheus that scrapes itself and sends on in both
//! versions.
//!
//! `THROUGHLINE_PROMTOOL` and `THROUGHLINE_PROMETHEUS` are the paths of the binaries (Prometheus 3); without one its
//! test is skipped and says so.

#![expect(clippy::disallowed_methods, reason = "a test of real processes has real files and the time of day")]

#[path = "clients/process.rs"]
mod process;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use process::{Running, Server, binary, get, wait_for};
use serde_json::Value;

/// The series of a metric, as the native API has them.
fn series(server: &Server, metric: &str) -> Vec<Value> {
    let url = format!("{}/api/throughline/v1/series?metric={metric}", server.api);
    let body: Value = serde_json::from_str(&get(&url).expect("answered")).expect("JSON");
    body["series"].as_array().cloned().unwrap_or_default()
}

#[test]
fn promtool_pushes_to_both_listeners() {
    let Some(promtool) = binary("THROUGHLINE_PROMTOOL") else { return };
    let server = Server::start("promtool");
    let file = server.folder.join("pushed.prom");
    let text = "# HELP pushed_total Things.\n# TYPE pushed_total counter\npushed_total{who=\"a\"} 3\n\
                pushed_total{who=\"b\"} 4\n";
    std::fs::write(&file, text).expect("written");
    let bases =
        [&server.http, &server.api].map(|base| ["", "/prometheus"].map(|prefix| format!("{base}{prefix}")));
    for (number, base) in bases.as_flattened().iter().enumerate() {
        let output = Command::new(&promtool)
            .args(["push", "metrics", "--label", &format!("run={number}"), "--label", "job=shop/push", base])
            .arg(&file)
            .output()
            .expect("promtool runs");
        assert!(output.status.success(), "{base}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(series(&server, "pushed_total").len(), 2 * (number + 1));
    }
    let series = &self::series(&server, "pushed_total")[0];
    assert_eq!(series["kind"], "sample", "{series}");
    assert_eq!(series["service"], "push");
    assert_eq!(series["attributes"]["job"], "shop/push");
}

/// A value of Prometheus' own metrics, all series together.
fn own_metric(address: &str, name: &str) -> f64 {
    let text = get(&format!("http://{address}/metrics")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn prometheus(binary: &Path, folder: &Path, url: &str, message: &str) -> (Running, String) {
    let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").to_string();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_native_histograms: true}}\n\
         scrape_configs:\n  - job_name: self\n    static_configs: [{{targets: ['{address}']}}]\n\
         remote_write:\n  - url: {url}\n    protobuf_message: {message}\n    send_exemplars: true\n    \
         send_native_histograms: true\n"
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).expect("written");
    let log = std::fs::File::create(folder.join("prometheus.log")).expect("created");
    let child = Command::new(binary)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--enable-feature=exemplar-storage")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("prometheus starts");
    (Running(child), address)
}

fn check_sender(name: &str, message: &str, at_api: bool) {
    let Some(binary) = binary("THROUGHLINE_PROMETHEUS") else { return };
    let server = Server::start(name);
    let base = if at_api { &server.api } else { &server.http };
    let (_running, address) = prometheus(&binary, &server.folder, &format!("{base}/api/v1/write"), message);
    wait_for("samples that Prometheus scraped of itself", || !series(&server, "up").is_empty());
    wait_for("native histograms", || {
        let series = self::series(&server, "prometheus_http_request_duration_seconds");
        series.iter().any(|series| series["kind"] == "native_histogram")
    });
    wait_for("samples that Prometheus counts as sent", || {
        own_metric(&address, "prometheus_remote_storage_samples_total") > 1_000.0
    });
    for counter in ["samples_failed", "samples_retried", "histograms_failed", "exemplars_failed"] {
        let counted = own_metric(&address, &format!("prometheus_remote_storage_{counter}_total"));
        let log = std::fs::read_to_string(server.folder.join("prometheus.log")).unwrap_or_default();
        assert!(counted.abs() < f64::EPSILON, "{counter}: {counted}\n{log}");
    }
    let up = &series(&server, "up")[0];
    assert_eq!((&up["attributes"]["job"], &up["metric"]), (&Value::from("self"), &Value::from("up")));
}

#[test]
fn prometheus_sends_1_0() {
    check_sender("remote-write-1", "prometheus.WriteRequest", false);
}

#[test]
fn prometheus_sends_2_0() {
    check_sender("remote-write-2", "io.prometheus.write.v2.Request", true);
}
