//! The HTTP APIs, native, Prometheus's, Loki's, Tempo's and Jaeger's: the only place that knows query JSON.
//!
//! [`native`] builds the router from a store and what `server` tells of the process. A request becomes typed
//! parameters ([`params`]), a question to a snapshot on a blocking thread ([`blocking`]), and JSON. What cannot be
//! answered is a [`failure`] that names the parameter, the limit and the way out; what can be answered in part only
//! says so in `partial`.
//!
//! [`listener`] accepts connections, before the store is open too.
//!
//! [`ROUTES`] is the whole surface; a golden file in the tests pins it.

mod asked;
pub mod blocking;
mod compare;
mod doctor;
pub mod failure;
mod grpc;
mod health;
mod investigate;
pub mod jaeger;
mod links;
pub mod listener;
pub mod loki;
pub mod metrics;
mod native;
mod otlp_json;
pub mod params;
mod patterns;
mod pins;
pub mod prometheus;
mod search;
pub mod states;
pub mod tempo;
mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{get, post};
use serde_json::Value as Json;
use throughline_store::{Clock, Store};

use crate::blocking::Blocking;
pub use crate::loki::LokiContext;
use crate::metrics::Family;
pub use crate::prometheus::PrometheusContext;
pub use crate::traces::TracesContext;

/// Where the native API lies.
pub const PREFIX: &str = "/api/throughline/v1";

/// Every route: path, parameters, what it answers.
pub const ROUTES: &[(&str, &str, &str)] = &[
    (
        "/api/throughline/v1/traces/{id}",
        "include",
        "a trace by id in any form: spans, logs, exemplars, critical path; include=spans,logs,exemplars selects",
    ),
    ("/api/throughline/v1/traces/{id}/logs", "span", "the log records of a trace or of one of its spans"),
    (
        "/api/throughline/v1/traces",
        "service operation min_duration max_duration status start end limit",
        "traces with a span that meets every condition, newest first",
    ),
    (
        "/api/throughline/v1/search",
        "query limit spans step exemplars start end",
        "TraceQL: traces with the spans that a query finds, newest first, or the series that it makes",
    ),
    (
        "/api/throughline/v1/logs",
        "trace span service severity pattern contains start end limit",
        "log records, newest first; those of a trace by time",
    ),
    (
        "/api/throughline/v1/exemplars",
        "metric service attribute query near first per_series start end limit",
        "exemplars with their link states; of a PromQL query those near a quantile, or the first of a spike",
    ),
    (
        "/api/throughline/v1/series",
        "metric service attribute quantile start end limit",
        "series; with a quantile also its curve for every latency histogram",
    ),
    (
        "/api/throughline/v1/patterns",
        "service new_since step start end limit",
        "patterns of log lines with their counts over time, the most frequent first; new_since=1h: those never seen before",
    ),
    ("/api/throughline/v1/services", "start end", "the services that sent anything"),
    (
        "/api/throughline/v1/links",
        "service start end",
        "references by kind, state and cause, with examples: what holds, and why the rest does not",
    ),
    (
        "/api/throughline/v1/pins",
        "",
        "traces that sampling and retention keep until they are unpinned; POST with trace and note pins one, DELETE with trace unpins it",
    ),
    ("/api/throughline/v1/ledger", "", "received = stored + deduplicated + rejected, per signal"),
    ("/api/throughline/v1/walk", "service metric quantile start end", "from the clearest spike to its cause"),
    (
        "/api/throughline/v1/doctor",
        "service start end",
        "what is wrong with the telemetry itself: findings with counts, examples, cause, fix and the command that shows them",
    ),
    (
        "/api/throughline/v1/reconcile",
        "service start end",
        "requests and errors of a service by metric, by span and by log record, minute by minute, and where differences come from",
    ),
    (
        "/api/throughline/v1/compare",
        "query service operation min_duration max_duration status baseline baseline_start baseline_end start end limit",
        "what the traces of a TraceQL query or of these conditions have in common that a baseline lacks",
    ),
    (
        "/api/throughline/v1/investigate",
        "POST: focus window baseline service suspects format",
        "from an alert, an expression, a trace, a log line or a window to who is likely to be the cause, with the evidence",
    ),
    ("/api/throughline/v1/status", "", "the store, the receivers, the process"),
    ("/livez", "", "whether the process runs"),
    ("/readyz", "", "whether it can write and read; 503 with reasons where not"),
    ("/metrics", "", "its own metrics, as Prometheus text"),
];

/// What the API stands on.
#[derive(Clone)]
pub struct Context {
    /// Where the data is.
    pub store: Store,
    /// What time it is, for relative times.
    pub clock: Arc<dyn Clock>,
    /// Metrics of what the API does not know: receivers and process.
    pub families: Arc<dyn Fn() -> Vec<Family> + Send + Sync>,
    /// Set when shutdown begins: the process is not ready any more.
    pub draining: Arc<AtomicBool>,
    /// What the Prometheus API stands on.
    pub prometheus: PrometheusContext,
    /// What Loki's API stands on.
    pub loki: LokiContext,
    /// What Tempo's and Jaeger's APIs stand on.
    pub traces: TracesContext,
    /// Facts of the process for `status`: version, addresses, data folder.
    pub process: Arc<Json>,
}

impl Context {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Api {
    context: Context,
    blocking: Blocking,
    link_gauges: links::Gauges,
    traces: traces::Traces,
}

/// What answers while the store is opened: the process is alive and not ready.
pub fn starting() -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::starting))
        .fallback(|| async { failure::Failure::starting() })
}

/// The router of the native API, health and metrics.
pub fn native(context: Context) -> Router {
    let blocking = Blocking::new();
    let prometheus = prometheus::Prometheus::new(&context, blocking.clone());
    let loki = loki::Loki::new(&context, blocking.clone());
    let traces = traces::Traces::new(&context, blocking.clone());
    let api = Api { context, blocking, link_gauges: links::Gauges::default(), traces: traces.clone() };
    let queries = Router::new()
        .route("/traces/{id}", get(native::trace))
        .route("/traces/{id}/logs", get(native::trace_logs))
        .route("/traces", get(native::traces))
        .route("/search", get(search::search))
        .route("/logs", get(native::logs))
        .route("/exemplars", get(native::exemplars))
        .route("/series", get(native::series))
        .route("/patterns", get(patterns::patterns))
        .route("/services", get(native::services))
        .route("/links", get(links::links))
        .route("/pins", get(pins::list).post(pins::pin).delete(pins::unpin))
        .route("/ledger", get(native::ledger))
        .route("/walk", get(native::walk))
        .route("/doctor", get(doctor::doctor))
        .route("/reconcile", get(doctor::reconcile))
        .route("/compare", get(compare::compare))
        .route("/investigate", post(investigate::investigate))
        .route("/status", get(health::status));
    Router::new()
        .nest(PREFIX, queries)
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(failure::no_such_route)
        .with_state(api)
        .merge(tempo::routes(traces.clone()))
        .merge(jaeger::routes(traces, prometheus.clone()))
        .merge(prometheus::routes(prometheus))
        .merge(loki::routes(loki))
}
