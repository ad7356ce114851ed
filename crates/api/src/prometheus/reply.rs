//! Prometheus's envelope: successes, refusals, and how it writes numbers and times.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use throughline_correlate::units;
use throughline_exec::ExecError;
use throughline_promql::eval::QueryError;

use crate::failure::Failure;

/// Warnings and infos in one answer at most, each.
const NOTES_MAX: usize = 10;

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn bad_data(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, kind: "bad_data", message: message.into() }
    }

    pub(super) fn parameter(name: &str, reason: impl std::fmt::Display) -> Refusal {
        Refusal::bad_data(format!("invalid parameter \"{name}\": {reason}"))
    }

    pub(super) fn internal(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", message: message.into() }
    }

    /// A refusal of the machinery that the APIs share: too busy, too slow, or a bug.
    pub(super) fn shared(failure: &Failure) -> Refusal {
        let (status, kind) = match failure.status() {
            StatusCode::INTERNAL_SERVER_ERROR => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        };
        Refusal { status, kind, message: failure.message().to_owned() }
    }

    pub(super) fn exec(error: &ExecError) -> Refusal {
        let (status, kind) = match error {
            ExecError::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            ExecError::Canceled => (CLIENT_CLOSED_REQUEST, "canceled"),
            _ => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
        };
        Refusal { status, kind, message: error.to_string() }
    }

    pub(super) fn query(error: &QueryError) -> Refusal {
        match error {
            QueryError::Exec(error) => Refusal::exec(error),
            other => Refusal {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                kind: "execution",
                message: other.to_string(),
            },
        }
    }

    /// The status and the sentence, for routes that answer in text.
    pub(super) fn into_text(self) -> Response {
        (self.status, self.message + "\n").into_response()
    }
}

/// The status that nginx uses for a client that went away; Prometheus answers it for cancelled queries.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "status": "error", "errorType": self.kind, "error": self.message });
        (self.status, axum::Json(body)).into_response()
    }
}

/// What is said beside the data.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) warnings: Vec<String>,
    pub(super) infos: Vec<String>,
}

/// A success with data that is JSON already.
pub(super) fn raw_success(data: &[u8], notes: &Notes) -> Response {
    let mut body = Vec::with_capacity(data.len() + 64);
    body.extend_from_slice(br#"{"status":"success","data":"#);
    body.extend_from_slice(data);
    for (key, texts) in [("warnings", &notes.warnings), ("infos", &notes.infos)] {
        if !texts.is_empty() {
            let shown: Vec<&String> = texts.iter().take(NOTES_MAX).collect();
            let shown = serde_json::to_string(&shown).unwrap_or_else(|_| "[]".to_owned());
            body.extend_from_slice(format!(",\"{key}\":{shown}").as_bytes());
        }
    }
    body.push(b'}');
    let json = HeaderValue::from_static("application/json");
    (StatusCode::OK, [(header::CONTENT_TYPE, json)], body).into_response()
}

/// A success.
pub(super) fn success<T: Serialize + ?Sized>(data: &T) -> Response {
    noted(data, &Notes::default())
}

/// A success with something to say beside it.
pub(super) fn noted<T: Serialize + ?Sized>(data: &T, notes: &Notes) -> Response {
    match serde_json::to_vec(data) {
        Ok(data) => raw_success(&data, notes),
        Err(error) => Refusal::internal(error.to_string()).into_response(),
    }
}

/// A sample's value as text: the shortest decimal, with an exponent where it is very small or large.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// A time as a JSON number of seconds.
pub(super) fn put_seconds(out: &mut Vec<u8>, ms: i64) {
    let magnitude = ms.unsigned_abs();
    let sign = if ms < 0 { "-" } else { "" };
    let (seconds, fraction) = (magnitude / 1_000, magnitude % 1_000);
    let text =
        if fraction == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{fraction:03}") };
    out.extend_from_slice(text.as_bytes());
}

/// A time in RFC 3339; Go's zero time where there is none.
pub(super) fn rfc3339(ms: i64) -> String {
    if ms == 0 { "0001-01-01T00:00:00Z".to_owned() } else { units::rfc3339(ms.saturating_mul(1_000_000)) }
}

/// A duration as Prometheus writes it: `1m30s`.
pub(super) fn duration_seconds(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms;
    let mut out = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= length {
            out += &format!("{}{unit}", rest / length);
            rest %= length;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_prometheus_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.25, "0.25"),
            (1e-7, "1e-07"),
            (1.5e21, "1.5e+21"),
            (123_456_789_012.0, "123456789012"),
            (f64::NEG_INFINITY, "-Inf"),
            (-0.0, "-0"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }

    #[test]
    fn times_have_three_decimals_or_none() {
        let text = |ms| {
            let mut out = Vec::new();
            put_seconds(&mut out, ms);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(1_435_781_430_781), "1435781430.781");
        assert_eq!(text(1_500), "1.500");
        assert_eq!(text(-2_000), "-2");
    }
}
