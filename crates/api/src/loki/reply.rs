//! Loki's answers: successes with and without its envelope, and refusals, which are plain text.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use throughline_exec::ExecError;
use throughline_logql::{ParseError, QueryError};

use crate::failure::Failure;

/// Warnings in one answer at most.
const WARNINGS_MAX: usize = 10;

/// The status that nginx uses for a client that went away; Loki answers it for cancelled queries.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(super) fn bad(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::FORBIDDEN, message: message.into() }
    }

    pub(super) fn exec(error: &ExecError) -> Refusal {
        let status = match error {
            ExecError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            ExecError::Canceled => CLIENT_CLOSED_REQUEST,
            ExecError::Exceeded { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal { status, message: error.to_string() }
    }

    pub(super) fn query(error: &QueryError) -> Refusal {
        match error {
            QueryError::Exec(error) => Refusal::exec(error),
            other => Refusal::bad(other.to_string()),
        }
    }

    /// The sentence.
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl From<ParseError> for Refusal {
    fn from(error: ParseError) -> Refusal {
        Refusal::bad(error.to_string())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        // What Loki calls too many outstanding requests.
        let status = match failure.is_busy() {
            true => StatusCode::TOO_MANY_REQUESTS,
            false => failure.status(),
        };
        Refusal { status, message: failure.message().to_owned() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        (self.status, headers, self.message + "\n").into_response()
    }
}

/// An answer without an envelope.
pub(super) fn bare<T: Serialize + ?Sized>(body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => raw(body),
        Err(error) => {
            let refusal = Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, message: error.to_string() };
            refusal.into_response()
        }
    }
}

/// An answer that is JSON already.
pub(super) fn raw(body: Vec<u8>) -> Response {
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    (StatusCode::OK, [(header::CONTENT_TYPE, json)], body).into_response()
}

/// A success with data.
pub(super) fn success<T: Serialize + ?Sized>(data: &T, partial: &[String]) -> Response {
    match partial {
        [] => bare(&json!({ "status": "success", "data": data })),
        warnings => {
            let warnings = warnings.get(..WARNINGS_MAX).unwrap_or(warnings);
            bare(&json!({ "status": "success", "warnings": warnings, "data": data }))
        }
    }
}

/// The start of a success whose data is written by hand: up to and with `"data":`.
pub(super) fn open_success(partial: &[String]) -> Vec<u8> {
    let mut out = br#"{"status":"success","#.to_vec();
    if !partial.is_empty() {
        let warnings = partial.get(..WARNINGS_MAX).unwrap_or(partial);
        let warnings = serde_json::to_string(warnings).unwrap_or_else(|_| "[]".to_owned());
        out.extend_from_slice(format!("\"warnings\":{warnings},").as_bytes());
    }
    out.extend_from_slice(br#""data":"#);
    out
}

/// A sample's value as text: decimal, never with an exponent.
pub(super) fn decimal_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decimal() {
        for (value, text) in
            [(0.1, "0.1"), (1e21, "1000000000000000000000"), (1e-7, "0.0000001"), (f64::NEG_INFINITY, "-Inf")]
        {
            assert_eq!(decimal_text(value), text);
        }
    }
}
