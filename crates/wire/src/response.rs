//! What an OTLP sender is told: `Export*ServiceResponse` and `google.rpc.Status`, as protobuf and as JSON.
//!
//! The three signals' responses have one shape: field 1 is `partial_success`, with the rejected count in field 1 and
//! the message in field 2. It is absent where nothing was rejected, as the OTLP specification asks.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use throughline_model::Signal;
use throughline_model::protobuf::{put_bytes, put_number};

use crate::Encoding;

/// The type of the retry hint in `google.rpc.Status.details`.
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// The type of the detail that names a bad field.
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// The answer to a request that was stored: empty, or with `partial_success` if items were rejected or if there is
/// something to say.
pub fn export_response(signal: Signal, encoding: Encoding, rejected: u64, message: &str) -> Vec<u8> {
    if rejected == 0 && message.is_empty() {
        return if encoding == Encoding::Json { b"{}".to_vec() } else { Vec::new() };
    }
    match encoding == Encoding::Json {
        false => {
            let mut partial = Vec::new();
            if rejected > 0 {
                put_number(&mut partial, 1, rejected);
            }
            if !message.is_empty() {
                put_bytes(&mut partial, 2, message.as_bytes());
            }
            let mut response = Vec::new();
            put_bytes(&mut response, 1, &partial);
            response
        }
        true => {
            let field = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
            };
            // int64 is a string in protobuf's JSON mapping.
            let mut partial = Map::new();
            partial.insert(field.to_owned(), Json::String(rejected.to_string()));
            if !message.is_empty() {
                partial.insert("errorMessage".to_owned(), Json::String(message.to_owned()));
            }
            json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    }
}

/// A `google.rpc.Status`: the body of a refusal over HTTP, and `grpc-status-details-bin` over gRPC. `code` is a gRPC
/// status code. `retry_after` adds a `RetryInfo` detail, which tells the sender to try again and when.
pub fn status(encoding: Encoding, code: i32, message: &str, retry_after: Option<Duration>) -> Vec<u8> {
    let detail = retry_after.map(|delay| match encoding == Encoding::Json {
        false => Detail::Protobuf(RETRY_INFO, retry_info(delay)),
        true => Detail::Json(json!({ "@type": RETRY_INFO, "retryDelay": duration_text(delay) })),
    });
    status_with(encoding, code, message, detail)
}

/// A `google.rpc.Status` of bad data: a `BadRequest` detail names the field, as the OTLP specification asks.
pub fn bad_request(encoding: Encoding, code: i32, message: &str, field: &str) -> Vec<u8> {
    let detail = match encoding == Encoding::Json {
        false => {
            let (mut violation, mut bad_request) = (Vec::new(), Vec::new());
            put_bytes(&mut violation, 1, field.as_bytes());
            put_bytes(&mut violation, 2, message.as_bytes());
            put_bytes(&mut bad_request, 1, &violation);
            Detail::Protobuf(BAD_REQUEST, bad_request)
        }
        true => {
            let violation = json!({ "field": field, "description": message });
            Detail::Json(json!({ "@type": BAD_REQUEST, "fieldViolations": [violation] }))
        }
    };
    status_with(encoding, code, message, Some(detail))
}

/// One entry of `google.rpc.Status.details`.
enum Detail {
    Protobuf(&'static str, Vec<u8>),
    Json(Json),
}

fn status_with(encoding: Encoding, code: i32, message: &str, detail: Option<Detail>) -> Vec<u8> {
    match encoding == Encoding::Json {
        false => {
            let mut status = Vec::new();
            if code != 0 {
                put_number(&mut status, 1, i64::from(code) as u64);
            }
            put_bytes(&mut status, 2, message.as_bytes());
            if let Some(Detail::Protobuf(type_url, value)) = detail {
                let mut any = Vec::new();
                put_bytes(&mut any, 1, type_url.as_bytes());
                put_bytes(&mut any, 2, &value);
                put_bytes(&mut status, 3, &any);
            }
            status
        }
        true => {
            let mut status = json!({ "code": code, "message": message });
            if let (Some(Detail::Json(detail)), Some(object)) = (detail, status.as_object_mut()) {
                object.insert("details".to_owned(), Json::Array(vec![detail]));
            }
            status.to_string().into_bytes()
        }
    }
}

/// `google.rpc.RetryInfo`: field 1 is a `google.protobuf.Duration` of seconds and nanoseconds.
fn retry_info(delay: Duration) -> Vec<u8> {
    let mut duration = Vec::new();
    if delay.as_secs() > 0 {
        put_number(&mut duration, 1, delay.as_secs());
    }
    if delay.subsec_nanos() > 0 {
        put_number(&mut duration, 2, u64::from(delay.subsec_nanos()));
    }
    let mut info = Vec::new();
    put_bytes(&mut info, 1, &duration);
    info
}

/// A duration in protobuf's JSON mapping: seconds with 0, 3, 6 or 9 digits and an `s`.
fn duration_text(delay: Duration) -> String {
    let (seconds, nanos) = (delay.as_secs(), delay.subsec_nanos());
    match nanos {
        0 => format!("{seconds}s"),
        n if n % 1_000_000 == 0 => format!("{seconds}.{:03}s", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{seconds}.{:06}s", n / 1_000),
        n => format!("{seconds}.{n:09}s"),
    }
}
