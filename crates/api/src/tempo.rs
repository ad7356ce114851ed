//! Tempo's HTTP API under `/tempo`, and its streaming querier over gRPC: what stock Grafana and tempo-cli ask.
//!
//! Answers are Tempo's own: protobuf where the client takes it, else protobuf's JSON; refusals are plain text. A trace that is not
//! here is 404, as clients expect, and its state is in the header `x-throughline-link`. gRPC knows no prefix: its paths are at the
//! root.

mod grpc;
mod metrics;
mod reply;
mod search;
mod status;
mod tags;
mod trace;

use axum::Router;
use axum::routing::{get, post};

use crate::prometheus::compression;
use crate::traces::Traces;

/// Where the API lies.
pub const PREFIX: &str = "/tempo";

/// The routes.
pub(crate) fn routes(traces: Traces) -> Router {
    let api = Router::new()
        .route("/api/echo", get(status::echo))
        .route("/api/status/buildinfo", get(status::buildinfo))
        .route("/ready", get(status::ready))
        .route("/api/traces/{id}", get(trace::v1))
        .route("/api/v2/traces/{id}", get(trace::v2))
        .route("/api/search", get(search::search))
        .route("/api/search/tags", get(tags::names_v1))
        .route("/api/v2/search/tags", get(tags::names_v2))
        // A tag may have slashes: the rest of the path up to the last `/values` is one.
        .route("/api/search/tag/{*tag}", get(tags::values_v1))
        .route("/api/v2/search/tag/{*tag}", get(tags::values_v2))
        .route("/api/metrics/query_range", get(metrics::query_range).post(metrics::query_range))
        .route("/api/metrics/query", get(metrics::query).post(metrics::query))
        .layer(axum::middleware::from_fn(compression::compress))
        .with_state(traces.clone());
    let querier =
        Router::new().route("/tempopb.StreamingQuerier/{method}", post(grpc::call)).with_state(traces);
    Router::new().nest(PREFIX, api).merge(querier)
}
