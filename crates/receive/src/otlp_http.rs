//! OTLP/HTTP: `POST /v1/traces`, `/v1/metrics` and `/v1/logs`, as protobuf and as JSON.
//!
//! Answers have the request's encoding; refusals are a `google.rpc.Status` in it. Where the encoding is not known
//! (no content type, or a foreign one) they are protobuf, the encoding that every sender speaks. There are no CORS
//! headers: a page from elsewhere cannot write here.

use http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use throughline_model::Signal;
use throughline_wire::{Encoding, response};

use crate::body::{self, Framing};
use crate::refusal::{Cause, Refusal};
use crate::reply::Reply;
use crate::service::{self, Accepted, ExportRequest, Service};
use crate::stats::{RequestScope, Transport};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Answers one request.
pub(crate) async fn handle(service: &Service, request: Request<Incoming>) -> Response<Reply> {
    let content_type = service::content_type(request.headers());
    let encoding = match content_type.as_str() {
        PROTOBUF => Some(Encoding::Protobuf),
        JSON => Some(Encoding::Json),
        _ => None,
    };
    let answer_encoding = encoding.unwrap_or(Encoding::Protobuf);
    // A connection whose body was left unread cannot be used again; HTTP/1.1 senders are told.
    let must_say_close = request.version() < Version::HTTP_2;
    let signal = match route(&request) {
        Ok(signal) => signal,
        Err(refusal) => {
            service.counters.refuse_unrouted(Transport::Http, refusal.cause);
            return refused(answer_encoding, &refusal, must_say_close);
        }
    };
    let mut scope = RequestScope::begin(&service.counters, signal, Transport::Http);
    let mut body_was_read = false;
    let outcome = async {
        let encoding = encoding.ok_or_else(|| unknown_content_type(&content_type))?;
        let compression = service::compression(request.headers(), CONTENT_ENCODING)?;
        let read = body::read(service, request.into_body(), Framing::Whole, usize::MAX).await?;
        body_was_read = true;
        let (body, reservation) = (read.bytes, read.reservation);
        let bytes_max = service.config.request_bytes_max;
        let request = ExportRequest { signal, encoding, compression, body, reservation, bytes_max };
        service.export(&mut scope, request).await
    };
    match outcome.await {
        Ok(accepted) => {
            scope.accept(&accepted);
            succeeded(signal, answer_encoding, &accepted)
        }
        Err(refusal) => {
            scope.refuse(refusal.cause);
            refused(answer_encoding, &refusal, must_say_close && !body_was_read)
        }
    }
}

fn route(request: &Request<Incoming>) -> Result<Signal, Refusal> {
    let path = request.uri().path();
    let signal = Signal::ALL.into_iter().find(|signal| path.strip_prefix("/v1/") == Some(signal.name()));
    let Some(signal) = signal else {
        let mut message =
            format!("no such path: {path:?}; OTLP/HTTP takes POST /v1/traces, /v1/metrics and /v1/logs");
        if path.starts_with("/opentelemetry.proto.collector.") {
            message.push_str("; this is the port of OTLP/HTTP, not of OTLP/gRPC");
        }
        return Err(Refusal::new(Cause::UnknownPath, message));
    };
    if request.method() != Method::POST {
        let message = format!("{path} takes POST, not {}", request.method());
        return Err(Refusal::new(Cause::MethodNotAllowed, message));
    }
    Ok(signal)
}

fn unknown_content_type(content_type: &str) -> Refusal {
    let message = format!("content type {content_type:?} is not supported; use {PROTOBUF} or {JSON}");
    Refusal::new(Cause::UnknownContentType, message)
}

fn succeeded(signal: Signal, encoding: Encoding, accepted: &Accepted) -> Response<Reply> {
    let body = response::export_response(signal, encoding, accepted.rejected, &accepted.message);
    respond(StatusCode::OK, encoding, body)
}

fn refused(encoding: Encoding, refusal: &Refusal, say_close: bool) -> Response<Reply> {
    let cause = refusal.cause;
    let mut response = respond(cause.http_status(), encoding, refusal.status(encoding));
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match cause {
        Cause::MethodNotAllowed => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
        Cause::UnknownCompression => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        }
        _ => {}
    }
    if say_close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn respond(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response<Reply> {
    let mut response = Response::new(Reply::of(body));
    *response.status_mut() = status;
    let content_type = match encoding {
        Encoding::Json => JSON,
        _ => PROTOBUF,
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
