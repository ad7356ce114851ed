//! Spans of other systems over HTTP: Jaeger's batches in Thrift, `POST /api/traces`, and Zipkin's lists, `POST /api/v2/spans`.
//!
//! Each has a port of its own, where those systems' senders look for it. Answers are those systems' own: 202 without a body, or
//! a line of text. Neither can say that some of the spans were rejected: where any was it is 400, which senders do not
//! repeat, and says which; the others are stored all the same.

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use throughline_model::Signal;
use throughline_wire::{Compression, Encoding};

use crate::body::{self, Framing};
use crate::prometheus;
use crate::refusal::{Cause, Refusal};
use crate::reply::Reply;
use crate::service::{self, ExportRequest, Service};
use crate::stats::{RequestScope, Transport};

/// Jaeger's path.
const JAEGER_PATH: &str = "/api/traces";

/// Answers one request.
pub(crate) async fn handle(
    service: &Service,
    transport: Transport,
    request: Request<Incoming>,
) -> Response<Reply> {
    // A connection whose body was left unread cannot be used again; HTTP/1.1 senders are told.
    let must_say_close = request.version() < Version::HTTP_2;
    let (encoding, compression) = match form(transport, &request) {
        Ok(form) => form,
        Err(refusal) => {
            service.counters.refuse_unrouted(transport, refusal.cause);
            return refused(&refusal, must_say_close);
        }
    };
    let signal = Signal::Traces;
    let mut scope = RequestScope::begin(&service.counters, signal, transport);
    let mut body_was_read = false;
    let outcome = async {
        let read = body::read(service, request.into_body(), Framing::Whole, usize::MAX).await?;
        body_was_read = true;
        let encoding = match encoding {
            Some(encoding) => encoding,
            None => zipkin_encoding(&read.bytes, compression),
        };
        let (body, reservation) = (read.bytes, read.reservation);
        let bytes_max = service.config.request_bytes_max;
        let request = ExportRequest { signal, encoding, compression, body, reservation, bytes_max };
        service.export(&mut scope, request).await
    };
    match outcome.await {
        Ok(accepted) => {
            scope.accept(&accepted);
            if accepted.rejected > 0 {
                return refused(&Refusal::new(Cause::Malformed, accepted.message), false);
            }
            let mut response = Response::new(Reply::empty());
            *response.status_mut() = StatusCode::ACCEPTED;
            response
        }
        Err(refusal) => {
            scope.refuse(refusal.cause);
            refused(&refusal, must_say_close && !body_was_read)
        }
    }
}

/// How the body is written, where headers say it, and compressed.
fn form(
    transport: Transport,
    request: &Request<Incoming>,
) -> Result<(Option<Encoding>, Compression), Refusal> {
    let path = request.uri().path();
    let is_jaeger = transport == Transport::JaegerHttp;
    if is_jaeger && path != JAEGER_PATH {
        let message = format!("no such path: {path:?}; Jaeger's spans go to POST {JAEGER_PATH}");
        return Err(Refusal::new(Cause::UnknownPath, message));
    }
    if !is_jaeger && path.contains("api/v1/spans") {
        let message = "Zipkin's spans of version 1 are not supported; send version 2 to POST /api/v2/spans";
        return Err(Refusal::new(Cause::UnknownPath, message));
    }
    if request.method() != Method::POST {
        let message = format!("{path} takes POST, not {}", request.method());
        return Err(Refusal::new(Cause::MethodNotAllowed, message));
    }
    let content_type = service::content_type(request.headers());
    let encoding = match (is_jaeger, content_type.as_str()) {
        (true, "application/x-thrift" | "application/vnd.apache.thrift.binary") => {
            Some(Encoding::JaegerThrift)
        }
        (false, "application/x-protobuf" | "application/protobuf") => Some(Encoding::ZipkinProtobuf),
        (false, "application/json") => Some(Encoding::ZipkinJson),
        // Old senders name another type or none.
        (false, "" | "text/plain" | "application/octet-stream") => None,
        (true, other) => {
            let message = format!("content type {other:?} is not supported; use application/x-thrift");
            return Err(Refusal::new(Cause::UnknownContentType, message));
        }
        (false, other) => {
            let message = format!(
                "content type {other:?} is not supported; use application/json or application/x-protobuf"
            );
            return Err(Refusal::new(Cause::UnknownContentType, message));
        }
    };
    Ok((encoding, service::compression(request.headers(), CONTENT_ENCODING)?))
}

/// The encoding of a body of which no header tells: a list in protobuf begins with the tag of its field 1.
fn zipkin_encoding(body: &[u8], compression: Compression) -> Encoding {
    match (compression, body.first()) {
        (Compression::Identity, Some(0x0a)) => Encoding::ZipkinProtobuf,
        _ => Encoding::ZipkinJson,
    }
}

fn refused(refusal: &Refusal, say_close: bool) -> Response<Reply> {
    let mut response = prometheus::refused(refusal, say_close);
    if refusal.cause == Cause::UnknownCompression {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
    }
    response
}
