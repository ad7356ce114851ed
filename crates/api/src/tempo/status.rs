//! What the server says of itself in Tempo's terms.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::reply::json_answer;
use crate::traces::Traces;

/// The version of Tempo whose API and language this is; clients choose features by it.
const TEMPO_VERSION: &str = "3.0.3";

pub(super) async fn echo() -> &'static str {
    "echo"
}

pub(super) async fn ready(State(traces): State<Traces>) -> Response {
    match traces.is_draining() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response(),
        false => (StatusCode::OK, "ready\n").into_response(),
    }
}

pub(super) async fn buildinfo(State(traces): State<Traces>) -> Response {
    json_answer(&json!({
        "version": TEMPO_VERSION,
        "revision": format!("throughline-{}", traces.version()),
        "branch": "",
        "buildDate": "",
        "buildUser": "",
        "goVersion": "",
    }))
}
