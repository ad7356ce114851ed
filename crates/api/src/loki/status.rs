//! What the server says of itself in Loki's terms.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Loki;
use super::reply::{Refusal, bare};

/// The version of Loki whose API and language this is; clients choose features by it.
const LOKI_VERSION: &str = "3.8.0";

pub(super) async fn ready(State(loki): State<Loki>) -> Response {
    match loki.is_draining() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response(),
        false => (StatusCode::OK, "ready\n").into_response(),
    }
}

pub(super) async fn buildinfo() -> Response {
    bare(&json!({
        "version": LOKI_VERSION,
        "revision": concat!("throughline-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// Deletion of single lines, which there is none of: blocks are immutable.
pub(super) async fn delete() -> Response {
    Refusal::forbidden(
        "deletion is not available: log lines go when their retention is over (throughline.retention.age), not one by one",
    )
    .into_response()
}

pub(super) async fn drilldown_limits(State(loki): State<Loki>) -> Response {
    let timeout_s = loki.timeout.as_secs();
    bare(&json!({
        "limits": {
            "discover_log_levels": true,
            "discover_service_name": throughline_wire::loki::SERVICE_LABELS,
            "max_query_series": loki.limits.series,
            "query_timeout": format!("{timeout_s}s"),
            "volume_enabled": true,
        },
        "pattern_ingester_enabled": true,
        "version": LOKI_VERSION,
        "maxDetectedFields": super::fields::FIELDS,
        "maxLinesPerQuery": 5_000,
    }))
}
