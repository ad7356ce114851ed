//! The stock Python client shows every kind of metric, as OpenMetrics with exemplars and as Prometheus' text.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use throughline_scrape::job::Protocol;
use throughline_store::snapshot::{SeriesQuery, TimeRange};

use crate::{Bench, job};

const PACKAGE: &str = "prometheus_client>=0.21";

/// A client that ends with the test.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_client_is_read_in_both_formats() {
    let python = match tokio::task::spawn_blocking(python_with_client).await.expect("no panic") {
        Ok(python) => python,
        Err(reason) => return eprintln!("SKIPPED: the_stock_client_is_read_in_both_formats: {reason}"),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/expose.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut port = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut port).expect("a port");
    let client = Client(child);
    let address = format!("127.0.0.1:{}", port.trim());
    for protocol in [Protocol::OpenMetrics1, Protocol::Text0] {
        let mut job = job(std::slice::from_ref(&address));
        job.fetch.protocols = vec![protocol];
        (job.interval, job.timeout) = (std::time::Duration::from_secs(1), std::time::Duration::from_secs(1));
        let bench = Bench::start(vec![job]);
        bench.wait_for("up", |up| up == 1.0).await;
        check(&bench, protocol == Protocol::OpenMetrics1);
        bench.stop().await;
    }
    drop(client);
}

fn check(bench: &Bench, is_open_metrics: bool) {
    let first = |metric: &str| {
        let values = bench.values(metric).into_iter();
        values.map(|(labels, values)| format!("{labels} {}", values[0])).collect::<Vec<_>>()
    };
    assert_eq!(first("shop_orders_total"), ["kind=a \"quoted\"\nkind 3"]);
    assert_eq!(first("shop_queue_length"), [" 2.5"]);
    assert_eq!(first("shop_order_seconds_bucket"), ["le=+Inf 2", "le=0.1 1", "le=1.0 1", "le=10.0 2"]);
    assert_eq!(first("shop_order_seconds_sum"), [" 5.05"]);
    assert_eq!(first("shop_order_bytes_count"), [" 1"]);
    assert_eq!(first("shop_build_info"), ["version=1.2 1"]);
    assert_eq!(first("shop_state"), ["shop_state=closed 1", "shop_state=open 0"]);
    let (range, metric) = (TimeRange::ALL, Some("shop_orders_total".to_owned()));
    let query = SeriesQuery { range, metric, service: None, attributes: vec![], limit: 10 };
    let (series, points) = bench.store.snapshot().points(&query).expect("readable").items.remove(0);
    assert_eq!((series.metric_type.name(), series.description.as_str()), ("counter", "Orders, by kind."));
    assert_eq!(points[0].start_time > 0, is_open_metrics, "the start is in OpenMetrics alone");
    let exemplars = bench.store.snapshot().exemplars(&query).expect("readable").items;
    assert_eq!(!exemplars.is_empty(), is_open_metrics);
    if let Some(exemplar) = exemplars.first() {
        assert_eq!(exemplar.value, 3.0);
        let id = exemplar.trace_id.map(|id| id.to_string());
        assert_eq!(id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    }
}

/// A virtual environment with the client, made once under the target folder.
fn python_with_client() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus-python");
    let python = folder.join("bin").join("python");
    let has_client = |python: &Path| {
        let import = Command::new(python).args(["-c", "import prometheus_client"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    if has_client(&python) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        PACKAGE,
    ]))?;
    has_client(&python).then_some(python).ok_or_else(|| "the client cannot be imported".to_owned())
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("run {:?}: {error}", command.get_program()))?;
    checked(&output)
}

/// What a program printed, or why it failed.
fn checked(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
