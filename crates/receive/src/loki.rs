//! What Loki takes in: its push in protobuf and in JSON, and OTLP log records under Loki's path.
//!
//! The paths are Loki's own, at the root and under `/loki`; they are served on the port of OTLP/HTTP and, through a
//! [`crate::PushWriter`], on the listener where queries are answered. Answers are Loki's as well: 204 without a body, a line
//! of text for a push, a `google.rpc.Status` for OTLP. What was accepted of a request is stored whatever the status; where
//! anything was not, it is 400, which senders do not repeat.

use std::fmt::Display;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use throughline_model::Signal;
use throughline_wire::{Compression, Encoding};

use crate::body::{self, Framing};
use crate::prometheus;
use crate::refusal::{Cause, Refusal};
use crate::reply::Reply;
use crate::service::{self, Accepted, ExportRequest, Service};
use crate::stats::{RequestScope, Transport};

/// The paths that are answered here.
pub(crate) const PATHS: [&str; 4] =
    ["/loki/api/v1/push", "/loki/loki/api/v1/push", "/otlp/v1/logs", "/loki/otlp/v1/logs"];

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Whether a path is answered here.
pub(crate) fn is_path(path: &str) -> bool {
    PATHS.contains(&path)
}

/// Answers one request, whatever its path: one that is no push is of OTLP.
pub(crate) async fn handle<B>(service: &Service, request: Request<B>) -> Response<Reply>
where
    B: Body<Data = Bytes>,
    B::Error: Display,
{
    let must_say_close = request.version() < Version::HTTP_2;
    let mut scope = RequestScope::begin(&service.counters, Signal::Logs, Transport::Http);
    let mut body_was_read = false;
    let is_push = request.uri().path().ends_with("/push");
    let form = form(&request, is_push);
    let outcome = async {
        let (encoding, compression) = form.clone()?;
        let read = body::read(service, request.into_body(), Framing::Whole, usize::MAX).await?;
        body_was_read = true;
        let (signal, body, reservation) = (Signal::Logs, read.bytes, read.reservation);
        let bytes_max = service.config.request_bytes_max;
        let request = ExportRequest { signal, encoding, compression, body, reservation, bytes_max };
        service.export(&mut scope, request).await
    };
    let refusal = match outcome.await {
        Ok(accepted) => {
            scope.accept(&accepted);
            if accepted.rejected == 0 {
                let mut response = Response::new(Reply::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                return response;
            }
            in_part(&accepted)
        }
        Err(refusal) => {
            scope.refuse(refusal.cause);
            refusal
        }
    };
    let say_close = must_say_close && !body_was_read;
    match is_push {
        true => prometheus::refused(&refusal, say_close),
        false => status(&refusal, form.map_or(Encoding::Protobuf, |(encoding, _)| encoding), say_close),
    }
}

/// Entries were refused, the others are stored.
fn in_part(accepted: &Accepted) -> Refusal {
    Refusal {
        cause: Cause::Malformed,
        message: accepted.message.clone(),
        retry_after: None,
        field: String::new(),
    }
}

/// How the body is written and compressed, by path and headers.
fn form<B>(request: &Request<B>, is_push: bool) -> Result<(Encoding, Compression), Refusal> {
    if request.method() != Method::POST {
        let message = format!("{} takes POST, not {}", request.uri().path(), request.method());
        return Err(Refusal::new(Cause::MethodNotAllowed, message));
    }
    let headers = request.headers();
    let content_type = service::content_type(headers);
    if is_push {
        if content_type.is_empty() {
            let message = format!("the request has no content type; use {PROTOBUF} or {JSON}");
            return Err(Refusal::new(Cause::Malformed, message));
        }
        let encoding = if content_type == JSON { Encoding::LokiJson } else { Encoding::LokiProtobuf };
        return Ok((encoding, compression(headers, encoding)?));
    }
    let encoding = match content_type.as_str() {
        PROTOBUF => Encoding::Protobuf,
        JSON => Encoding::Json,
        _ => {
            let message = format!("content type: {content_type} is not supported; use {PROTOBUF} or {JSON}");
            return Err(Refusal::new(Cause::Malformed, message));
        }
    };
    Ok((encoding, service::compression(headers, CONTENT_ENCODING)?))
}

/// Protobuf is snappy inside of whatever the header names; JSON is not, though the header may say so.
fn compression(headers: &HeaderMap, encoding: Encoding) -> Result<Compression, Refusal> {
    let coding = headers.get(CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let is_json = encoding == Encoding::LokiJson;
    match coding.as_deref().map(str::trim) {
        None | Some("" | "snappy" | "identity") => {
            Ok(if is_json { Compression::Identity } else { Compression::Snappy })
        }
        Some("gzip") => Ok(if is_json { Compression::Gzip } else { Compression::GzipSnappy }),
        Some("deflate") => Ok(if is_json { Compression::Deflate } else { Compression::DeflateSnappy }),
        Some(other) => {
            let message = format!("Content-Encoding {other:?} not supported; use gzip, deflate or snappy");
            Err(Refusal::new(Cause::Malformed, message))
        }
    }
}

/// A refusal of OTLP: what would be an error of the server's own is 503, so that exporters try again.
fn status(refusal: &Refusal, encoding: Encoding, say_close: bool) -> Response<Reply> {
    let mut response = Response::new(Reply::of(refusal.status(encoding)));
    *response.status_mut() = match refusal.cause.http_status() {
        StatusCode::INTERNAL_SERVER_ERROR => StatusCode::SERVICE_UNAVAILABLE,
        status => status,
    };
    let headers = response.headers_mut();
    let content_type = if encoding == Encoding::Json { JSON } else { PROTOBUF };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if say_close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
