//! The stock Python client shows every kind of metric, as OpenMetrics with exemplars and as Prometheus' text.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use throughline_scrape::job::Protocol;
use throughline_store::snapshot::{SeriesQuery, TimeRange};

use crate::{Bench, environment, job};

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
    // Nothing else runs here yet that would have to wait.
    let Some(python) = environment::with("prometheus-python", &[PACKAGE], "prometheus_client") else {
        return;
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
