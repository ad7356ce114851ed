//! Prometheus's envelope: successes, refusals, and how it writes numbers and times.

use std::io::Write as _;

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

    /// What a server can do and this one does not: Prometheus's word for what is switched off.
    pub(super) fn unavailable(message: impl Into<String>) -> Refusal {
        Refusal { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "unavailable", message: message.into() }
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
            ExecError::Source { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            ExecError::Exceeded { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
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

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence.
    pub(super) fn message(&self) -> &str {
        &self.message
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

/// The start of a success, after which its data is written as JSON, with room for so many bytes of it.
pub(super) fn opened(bytes: usize) -> Vec<u8> {
    let start = br#"{"status":"success","data":"#;
    // Behind the data there is little more than a brace.
    let mut body = Vec::with_capacity(start.len() + bytes + 64);
    body.extend_from_slice(start);
    body
}

/// A success whose data was written behind [`opened`].
pub(super) fn closed(mut body: Vec<u8>, notes: &Notes) -> Response {
    for (key, texts) in [("warnings", &notes.warnings), ("infos", &notes.infos)] {
        if !texts.is_empty() {
            let mut shown: Vec<&str> = texts.iter().take(NOTES_MAX).map(String::as_str).collect();
            let kind = if key == "warnings" { "warning" } else { "info" };
            let omitted =
                format!("{} more {kind} annotations omitted", texts.len().saturating_sub(NOTES_MAX));
            if texts.len() > NOTES_MAX {
                shown.push(&omitted);
            }
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
    let mut body = opened(256);
    match serde_json::to_writer(&mut body, data) {
        Ok(()) => closed(body, notes),
        Err(error) => Refusal::internal(error.to_string()).into_response(),
    }
}

/// A sample's value as text: the shortest decimal, with an exponent where it is very small or large.
pub(super) fn float_text(value: f64) -> String {
    let mut out = Vec::with_capacity(24);
    put_float(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

/// Integers up to this are written as integers, which is several times faster.
const PLAIN_INTEGER_MAX: f64 = 1e15;

/// [`float_text`] into bytes.
pub(super) fn put_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    let magnitude = value.abs();
    if magnitude < PLAIN_INTEGER_MAX && value.trunc() == value {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        return put_integer(out, magnitude as u64);
    }
    let wide = !(1e-6..1e21).contains(&magnitude);
    // Writing into a vector does not fail.
    _ = if wide { write!(out, "{}", exponential(value)) } else { write!(out, "{value}") };
}

/// With at least two digits of exponent and its sign.
fn exponential(value: f64) -> String {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn put_integer(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (value % 10) as u8;
        value /= 10;
        at -= 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// A time as a JSON number of seconds.
pub(crate) fn put_seconds(out: &mut Vec<u8>, ms: i64) {
    let magnitude = ms.unsigned_abs();
    if ms < 0 {
        out.push(b'-');
    }
    put_integer(out, magnitude / 1_000);
    let fraction = magnitude % 1_000;
    if fraction != 0 {
        let digit = |scale: u64| b'0' + (fraction / scale % 10) as u8;
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }
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
            (-10.0, "-10"),
            (1_234_567.5, "1234567.5"),
            (999_999_999_999_999.0, "999999999999999"),
            (1e15, "1000000000000000"),
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
