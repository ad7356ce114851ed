//! Jaeger's query API under `/jaeger`: the JSON API of its UI and of Grafana, version 3 over HTTP, and version 3 over gRPC.
//!
//! Answers are Jaeger's own. Its tag search becomes TraceQL; the graphs of its Monitor tab and the calls between services come
//! from the metrics that are derived from spans. gRPC knows no prefix: its paths are at the root.
//!
//! One thing is added to Jaeger's form: processes carry `service.name` among their tags, by which Grafana finds the logs of a span.

mod grpc;
mod listing;
mod metrics;
mod model;
mod reply;
mod search;
mod transform;
mod v3;

use axum::Router;
use axum::routing::{any, get, post};

use crate::prometheus::{Prometheus, compression};
use crate::traces::Traces;

/// Where the API lies.
pub const PREFIX: &str = "/jaeger";

#[derive(Clone)]
pub(crate) struct Jaeger {
    traces: Traces,
    prometheus: Prometheus,
}

/// The routes.
pub(crate) fn routes(traces: Traces, prometheus: Prometheus) -> Router {
    let jaeger = Jaeger { traces, prometheus };
    let api = Router::new()
        .route("/api/services", get(listing::services))
        .route("/api/services/{service}/operations", get(listing::operations_of))
        .route("/api/operations", get(listing::operations))
        .route("/api/traces", get(search::search))
        .route("/api/traces/{id}", get(search::trace))
        .route("/api/dependencies", get(listing::dependencies))
        .route("/api/metrics/minstep", get(metrics::min_step))
        .route("/api/metrics/{kind}", get(metrics::metrics))
        .route("/api/v3/services", get(v3::services))
        .route("/api/v3/operations", get(v3::operations))
        .route("/api/v3/traces", get(v3::traces))
        .route("/api/v3/traces/{id}", get(v3::trace))
        .route("/api/v3/trace-summaries", get(v3::summaries))
        .route("/api/v3/dependencies", get(v3::dependencies))
        .route("/api/archive/{id}", any(reply::not_implemented))
        .route("/api/transform", post(transform::transform))
        .route("/api/deep-dependencies", any(reply::not_implemented))
        .route("/api/quality-metrics", any(reply::not_implemented))
        .layer(axum::middleware::from_fn(compression::compress))
        .with_state(jaeger.clone());
    let querier =
        Router::new().route("/jaeger.api_v3.QueryService/{method}", post(grpc::call)).with_state(jaeger);
    Router::new().nest(PREFIX, api).merge(querier)
}
