//! What Prometheus takes in: remote write 1.0 and 2.0, and OTLP metrics under Prometheus' path.
//!
//! The paths are Prometheus' own, at the root and under `/prometheus`; they are served on the port of OTLP/HTTP and,
//! through a [`crate::PushWriter`], on the listener where queries are answered. Answers are Prometheus' as well: 204 (200
//! for OTLP) without a body, or a line of text. What was accepted of a request is stored whatever the status; where
//! anything was not, it is 400, which senders do not repeat.

use std::fmt::Display;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use throughline_model::Signal;
use throughline_wire::{Compression, Encoding};

use crate::body::{self, Framing};
use crate::refusal::{Cause, Refusal};
use crate::reply::Reply;
use crate::service::{self, Accepted, ExportRequest, Service};
use crate::stats::{RequestScope, Transport};

/// The largest body, as sent and decompressed: Prometheus' own limit, which its senders stay below.
const BODY_BYTES_MAX: usize = 32 << 20;

const PROTOBUF: &str = "application/x-protobuf";
const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// The paths that are answered here.
pub(crate) const PATHS: [&str; 4] = [
    "/api/v1/write",
    "/prometheus/api/v1/write",
    "/api/v1/otlp/v1/metrics",
    "/prometheus/api/v1/otlp/v1/metrics",
];

/// Whether a path is answered here.
pub(crate) fn is_path(path: &str) -> bool {
    PATHS.contains(&path)
}

/// Answers one request, whatever its path: one that is not of remote write is of OTLP.
pub(crate) async fn handle<B>(service: &Service, request: Request<B>) -> Response<Reply>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let must_say_close = request.version() < Version::HTTP_2;
    let mut scope = RequestScope::begin(&service.counters, Signal::Metrics, Transport::Http);
    let mut body_was_read = false;
    let form = form(&request);
    let outcome = async {
        let (encoding, compression) = form.clone()?;
        let read = body::read(service, request.into_body(), Framing::Whole, BODY_BYTES_MAX).await?;
        body_was_read = true;
        let (signal, body, reservation) = (Signal::Metrics, read.bytes, read.reservation);
        let bytes_max = BODY_BYTES_MAX.min(service.config.request_bytes_max);
        let request = ExportRequest { signal, encoding, compression, body, reservation, bytes_max };
        service.export(&mut scope, request).await.map_err(|refusal| decoded_too_large(refusal, encoding))
    };
    let outcome = outcome.await;
    let encoding = form.map(|(encoding, _)| encoding);
    match outcome {
        Ok(accepted) => {
            scope.accept(&accepted);
            accepted_response(encoding.unwrap_or(Encoding::RemoteWrite1), &accepted)
        }
        Err(refusal) => {
            scope.refuse(refusal.cause);
            let mut response = refused(&refusal, must_say_close && !body_was_read);
            if encoding == Ok(Encoding::RemoteWrite2) {
                put_written(response.headers_mut(), &Accepted::default());
            }
            response
        }
    }
}

/// A body that was taken and is too large once decompressed is a bad body to Prometheus.
fn decoded_too_large(refusal: Refusal, encoding: Encoding) -> Refusal {
    let is_remote_write = matches!(encoding, Encoding::RemoteWrite1 | Encoding::RemoteWrite2);
    match refusal.cause {
        Cause::TooLarge if is_remote_write => Refusal { cause: Cause::Malformed, ..refusal },
        _ => refusal,
    }
}

/// How the body is written and compressed, by path and headers.
fn form<B>(request: &Request<B>) -> Result<(Encoding, Compression), Refusal> {
    if request.method() != Method::POST {
        let message = format!("{} takes POST, not {}", request.uri().path(), request.method());
        return Err(Refusal::new(Cause::MethodNotAllowed, message));
    }
    let headers = request.headers();
    let content_type = service::content_type(headers);
    if !request.uri().path().ends_with("/write") {
        let encoding = match content_type.as_str() {
            PROTOBUF => Encoding::Protobuf,
            "application/json" => Encoding::Json,
            _ => {
                return Err(unknown_content_type(
                    &content_type,
                    "application/x-protobuf or application/json",
                ));
            }
        };
        return Ok((encoding, service::compression(headers, CONTENT_ENCODING)?));
    }
    // Senders of the first hour name neither: they are taken to speak 1.0.
    let encoding = match (content_type.as_str(), proto(headers).as_deref()) {
        ("" | PROTOBUF, None | Some("prometheus.WriteRequest")) => Encoding::RemoteWrite1,
        (PROTOBUF, Some("io.prometheus.write.v2.Request")) => Encoding::RemoteWrite2,
        (_, proto) => {
            let given = format!("{content_type};proto={}", proto.unwrap_or_default());
            return Err(unknown_content_type(
                &given,
                "application/x-protobuf;proto=prometheus.WriteRequest or \
                 application/x-protobuf;proto=io.prometheus.write.v2.Request",
            ));
        }
    };
    let coding = headers.get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match coding.as_deref().map(str::trim) {
        None | Some("" | "snappy") => Ok((encoding, Compression::Snappy)),
        Some(other) => {
            let message = format!("content encoding {other:?} is not supported; use snappy");
            Err(Refusal::new(Cause::UnknownCompression, message))
        }
    }
}

fn unknown_content_type(given: &str, known: &str) -> Refusal {
    let message = format!("content type {given:?} is not supported; use {known}");
    Refusal::new(Cause::UnknownContentType, message)
}

/// The content type's parameter `proto`.
fn proto(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn accepted_response(encoding: Encoding, accepted: &Accepted) -> Response<Reply> {
    let is_whole = accepted.rejected == 0;
    let mut response = if is_whole { Response::new(Reply::empty()) } else { text(&accepted.message) };
    *response.status_mut() = match (is_whole, encoding) {
        (false, _) => StatusCode::BAD_REQUEST,
        (true, Encoding::Protobuf | Encoding::Json) => StatusCode::OK,
        (true, _) => StatusCode::NO_CONTENT,
    };
    if encoding == Encoding::RemoteWrite2 {
        put_written(response.headers_mut(), accepted);
    }
    response
}

/// What was written of a request of 2.0. A success without these headers reads as one of a receiver that knows only 1.0.
fn put_written(headers: &mut HeaderMap, accepted: &Accepted) {
    let samples = accepted.items.saturating_sub(accepted.histograms);
    headers.insert(SAMPLES_WRITTEN, HeaderValue::from(samples));
    headers.insert(HISTOGRAMS_WRITTEN, HeaderValue::from(accepted.histograms));
    headers.insert(EXEMPLARS_WRITTEN, HeaderValue::from(accepted.exemplars));
}

pub(crate) fn refused(refusal: &Refusal, say_close: bool) -> Response<Reply> {
    let mut response = text(&refusal.message);
    *response.status_mut() = refusal.cause.http_status();
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.cause == Cause::MethodNotAllowed {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if say_close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(crate) fn text(message: &str) -> Response<Reply> {
    let mut response = Response::new(Reply::of(format!("{message}\n").into_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
