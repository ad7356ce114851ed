//! A stock OpenTelemetry SDK (Python) sends all three signals over both protocols with gzip; the store has them.

use std::path::Path;
use std::process::{Command, Output};

use throughline_model::TraceId;
use throughline_store::Store;
use throughline_store::snapshot::{LogQuery, SeriesQuery, TimeRange, Want};

use crate::python;
use crate::server::Running;

const PACKAGES: [&str; 3] = [
    "opentelemetry-sdk>=1.30",
    "opentelemetry-exporter-otlp-proto-grpc>=1.30",
    "opentelemetry-exporter-otlp-proto-http>=1.30",
];

const MODULES: &str =
    "opentelemetry.sdk, opentelemetry.exporter.otlp.proto.grpc, opentelemetry.exporter.otlp.proto.http";

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_sdk_delivers_all_signals_over_grpc_and_http() {
    // Nothing else runs here yet that would have to wait.
    let Some(python) = python::with("opentelemetry-python", &PACKAGES, MODULES) else { return };
    let server = Running::start(|_| {}).await;
    for (protocol, address) in [("grpc", server.grpc), ("http", server.http)] {
        let service = format!("shop-{protocol}");
        let mut command = Command::new(&python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/send.py"));
        command.args([protocol, &format!("http://{address}"), &service]);
        let sent = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
        let trace_id = checked(sent.expect("python runs")).expect("the SDK reports no failure");
        let (trace_id, _) = TraceId::parse(trace_id.trim()).expect("a trace id");
        check_stored(&server.store, trace_id, &service);
    }
    server.stop().await;
}

fn check_stored(store: &Store, trace_id: TraceId, service: &str) {
    let snapshot = store.snapshot();
    let trace = snapshot.trace(trace_id, Want::ALL).expect("readable");
    let mut names: Vec<&str> = trace.spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["charge card", "place order"]);
    assert!(trace.spans.iter().all(|span| span.service == service));
    let child = trace.spans.iter().find(|span| span.parent_span_id.is_some()).expect("a child");
    assert_eq!(child.name, "charge card");
    let bodies: Vec<_> = trace.logs.iter().map(|log| log.body.clone()).collect();
    assert_eq!(bodies, ["card refused"], "the log record leads from the trace");

    let range = TimeRange::ALL;
    let query = LogQuery {
        range,
        service: Some(service.into()),
        min_severity: 17,
        pattern: None,
        contains: None,
        limit: 10,
    };
    let logs = snapshot.search_logs(&query).expect("readable").items;
    assert_eq!(logs.len(), 1);
    assert_eq!((logs[0].trace_id, logs[0].span_id), (Some(trace_id), Some(child.span_id)));

    let (metric, service) = (Some("order.duration".into()), Some(service.to_owned()));
    let query = SeriesQuery { range, metric, service, attributes: vec![], limit: 10 };
    let found = snapshot.points(&query).expect("readable").items;
    assert_eq!(found.len(), 1);
    let (series, points) = &found[0];
    assert_eq!((series.unit.as_str(), &series.attributes["shop"]), ("s", &"east".into()));
    assert_eq!(points.last().expect("a point").value, 0.25, "a histogram's sum");
}

/// What a program printed, or why it failed.
fn checked(output: Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
