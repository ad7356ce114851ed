//! OTLP/gRPC and Jaeger's spans over gRPC, by hand: unary calls over HTTP/2.
//!
//! Why not a gRPC library: the write-ahead log stores a request as it was received, still compressed, and libraries
//! hand over decompressed messages, or decoded ones; and limits must count decompressed bytes, on threads that are
//! not the reactors. What remains of gRPC for a unary call is small:
//!
//! * a message is prefixed by one byte (compressed or not) and its length in four;
//! * a success is the message and then trailers with `grpc-status: 0`;
//! * a failure is a response of headers only (Trailers-Only) with `grpc-status`, `grpc-message` (percent-encoded)
//!   and `grpc-status-details-bin` (base64 of `google.rpc.Status`, which carries the retry hint);
//! * what is not gRPC at all gets an HTTP status, so that no other client takes a failure for a success.
//!
//! `grpc.health.v1.Health/Check` is served too: serving while the store takes writes.
//!
//! Jaeger's `PostSpans` answers with an empty message, which cannot say that some of the spans were rejected. Where any was it
//! is `INVALID_ARGUMENT`, which senders do not repeat; the others are stored all the same.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use throughline_model::Signal;
use throughline_model::protobuf::{Field, Reader};
use throughline_wire::grpc::{self, PREFIX_BYTES};
use throughline_wire::{Compression, Encoding, response};

use crate::body::{self, Framing};
use crate::refusal::{Cause, Refusal, code};
use crate::reply::Reply;
use crate::service::{self, Accepted, ExportRequest, Service};
use crate::stats::{RequestScope, Transport};

const CONTENT_TYPE_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const COMPRESSIONS: HeaderValue = HeaderValue::from_static("identity,gzip,zstd");

const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

const JAEGER_POST_SPANS: &str = "/jaeger.api_v2.CollectorService/PostSpans";

/// The services that a health check may ask for; the empty name asks for the whole server.
const SERVICES: [&str; 5] = [
    "",
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
    "jaeger.api_v2.CollectorService",
];

/// Answers one request on the port of OTLP/gRPC or of Jaeger.
pub(crate) async fn handle(
    service: &Service,
    transport: Transport,
    request: Request<Incoming>,
) -> Response<Reply> {
    if let Some(refusal) = not_grpc(transport, &request) {
        service.counters.refuse_unrouted(transport, refusal.cause);
        return refused_http(&refusal);
    }
    let path = request.uri().path();
    if path == HEALTH_CHECK {
        return match check_health(service, request).await {
            Ok(status) => succeeded(&status),
            Err(Health::Refused(refusal)) => refused(&refusal),
            Err(Health::UnknownService) => {
                let message = "no such service";
                let status = response::status(Encoding::Protobuf, code::NOT_FOUND, message, None);
                failed(code::NOT_FOUND, message, &status)
            }
        };
    }
    let Some((signal, encoding)) = method(transport, path) else {
        let refusal = Refusal::new(Cause::UnknownPath, format!("no such method: {path:?}"));
        service.counters.refuse_unrouted(transport, refusal.cause);
        return refused(&refusal);
    };
    let mut scope = RequestScope::begin(&service.counters, signal, transport);
    match export(service, &mut scope, (signal, encoding), request).await {
        Ok(accepted) => {
            scope.accept(&accepted);
            let (rejected, message) = (accepted.rejected, &accepted.message);
            match encoding {
                Encoding::JaegerProtobuf if rejected > 0 => {
                    refused(&Refusal::new(Cause::Malformed, message.as_str()))
                }
                Encoding::JaegerProtobuf => succeeded(&[]),
                _ => succeeded(&response::export_response(signal, Encoding::Protobuf, rejected, message)),
            }
        }
        Err(refusal) => {
            scope.refuse(refusal.cause);
            refused(&refusal)
        }
    }
}

/// What a method of a port takes.
fn method(transport: Transport, path: &str) -> Option<(Signal, Encoding)> {
    if transport == Transport::JaegerGrpc {
        return (path == JAEGER_POST_SPANS).then_some((Signal::Traces, Encoding::JaegerProtobuf));
    }
    let signal = match path {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Signal::Traces,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Signal::Metrics,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Signal::Logs,
        _ => return None,
    };
    Some((signal, Encoding::Protobuf))
}

/// What is wrong with a request that is not gRPC.
fn not_grpc(transport: Transport, request: &Request<Incoming>) -> Option<Refusal> {
    if request.method() != Method::POST {
        let message = format!("gRPC uses POST, not {}", request.method());
        return Some(Refusal::new(Cause::MethodNotAllowed, message));
    }
    let content_type = service::content_type(request.headers());
    if !matches!(content_type.as_str(), "application/grpc" | "application/grpc+proto") {
        let other = match transport {
            Transport::JaegerGrpc => "Thrift over HTTP has a port of its own, usually 14268",
            _ => "OTLP/HTTP has a port of its own, usually 4318",
        };
        let message = format!(
            "this is the port of {}, and content type {content_type:?} is not gRPC's; {other}",
            transport.title()
        );
        return Some(Refusal::new(Cause::UnknownContentType, message));
    }
    if request.version() < Version::HTTP_2 {
        return Some(Refusal::new(Cause::WrongProtocol, "gRPC needs HTTP/2"));
    }
    None
}

async fn export(
    service: &Service,
    scope: &mut RequestScope,
    (signal, encoding): (Signal, Encoding),
    request: Request<Incoming>,
) -> Result<Accepted, Refusal> {
    let named = service::compression(request.headers(), GRPC_ENCODING)?;
    let read = body::read(service, request.into_body(), Framing::GrpcMessage, usize::MAX).await?;
    let (body, compression) = message(read.bytes, named)?;
    let reservation = read.reservation;
    let bytes_max = service.config.request_bytes_max;
    let request = ExportRequest { signal, encoding, compression, body, reservation, bytes_max };
    service.export(scope, request).await
}

/// Takes the one message out of a unary call's body.
fn message(mut body: Bytes, named: Compression) -> Result<(Bytes, Compression), Refusal> {
    if body.is_empty() {
        return Err(Refusal::new(Cause::MessageCount, "the call has no message, one is needed"));
    }
    let (Some(&flag), Some(declared)) = (body.first(), grpc::message_bytes(&body)) else {
        let message = format!("the message's prefix has {} of {PREFIX_BYTES} bytes", body.len());
        return Err(Refusal::new(Cause::Malformed, message));
    };
    let message = body.split_off(PREFIX_BYTES);
    if message.len() < declared {
        let text = format!("the message's prefix declares {declared} bytes, {} came", message.len());
        return Err(Refusal::new(Cause::Malformed, text));
    }
    if message.len() > declared {
        let text = format!("{} bytes follow the message; one message is needed", message.len() - declared);
        return Err(Refusal::new(Cause::MessageCount, text));
    }
    match (flag, named) {
        (0, _) => Ok((message, Compression::Identity)),
        (1, Compression::Identity) => {
            let text = "the message is marked as compressed and grpc-encoding names no compression";
            Err(Refusal::new(Cause::UnnamedCompression, text))
        }
        (1, compression) => Ok((message, compression)),
        (flag, _) => {
            Err(Refusal::new(Cause::Malformed, format!("the message's first byte is {flag}, not 0 or 1")))
        }
    }
}

// === health ===

enum Health {
    Refused(Refusal),
    UnknownService,
}

/// `HealthCheckResponse`: 1 is serving, 2 is not.
async fn check_health(service: &Service, request: Request<Incoming>) -> Result<Vec<u8>, Health> {
    let named = service::compression(request.headers(), GRPC_ENCODING).map_err(Health::Refused)?;
    let read = body::read(service, request.into_body(), Framing::GrpcMessage, usize::MAX)
        .await
        .map_err(Health::Refused)?;
    let (body, compression) = message(read.bytes, named).map_err(Health::Refused)?;
    if compression != Compression::Identity {
        return Err(Health::Refused(Refusal::unknown_compression(compression.name())));
    }
    let mut reader = Reader::new(&body);
    let mut wanted: &[u8] = b"";
    loop {
        match reader.next_field() {
            Ok(Some((1, Field::Bytes(name)))) => wanted = name,
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => return Err(Health::Refused(Refusal::new(Cause::Malformed, error.to_string()))),
        }
    }
    if !SERVICES.iter().any(|name| name.as_bytes() == wanted) {
        return Err(Health::UnknownService);
    }
    let serving = if service.store.status().write.ready { 1 } else { 2 };
    Ok(vec![0x08, serving])
}

// === responses ===

fn succeeded(message: &[u8]) -> Response<Reply> {
    let mut body = Vec::new();
    grpc::put_message(&mut body, message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Reply::with_trailers(body, trailers));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, CONTENT_TYPE_GRPC);
    headers.insert(GRPC_ACCEPT_ENCODING, COMPRESSIONS);
    response
}

fn refused(refusal: &Refusal) -> Response<Reply> {
    failed(refusal.cause.grpc_code(), &refusal.message, &refusal.status(Encoding::Protobuf))
}

/// A response of headers only.
fn failed(code: i32, message: &str, status: &[u8]) -> Response<Reply> {
    let mut response = Response::new(Reply::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, CONTENT_TYPE_GRPC);
    headers.insert(GRPC_ACCEPT_ENCODING, COMPRESSIONS);
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    // Both encodings give visible ASCII, which a header value can always be.
    for (name, text) in
        [(GRPC_MESSAGE, grpc::percent_encoded(message)), (GRPC_STATUS_DETAILS, base64(status))]
    {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    response
}

/// The answer to what is not gRPC: an HTTP status and a sentence.
fn refused_http(refusal: &Refusal) -> Response<Reply> {
    let status = match refusal.cause {
        Cause::UnknownContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        cause => cause.http_status(),
    };
    let mut response = Response::new(Reply::of(format!("{}\n", refusal.message).into_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if refusal.cause == Cause::MethodNotAllowed {
        headers.insert(http::header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// Base64 without padding, as gRPC asks of binary headers that are sent.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let six = bits >> (18 - 6 * digit) & 63;
            out.push(char::from(ALPHABET[six as usize]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_no_padding() {
        let check = |bytes: &[u8], text| assert_eq!(base64(bytes), text);
        check(b"", "");
        check(b"f", "Zg");
        check(b"fo", "Zm8");
        check(b"foo", "Zm9v");
        check(b"foobar", "Zm9vYmFy");
        check(&[0xff, 0xfe, 0xfd], "//79");
    }

    #[test]
    fn a_unary_body_is_one_message() {
        let check = |body: &[u8], named, expected: Result<(&[u8], Compression), Cause>| {
            let found = message(Bytes::copy_from_slice(body), named);
            let found = found.as_ref().map(|(b, c)| (b.as_ref(), *c)).map_err(|refusal| refusal.cause);
            assert_eq!(found, expected, "{body:?}");
        };
        check(&[0, 0, 0, 0, 0], Compression::Gzip, Ok((b"", Compression::Identity)));
        check(&[1, 0, 0, 0, 2, 7, 8], Compression::Zstd, Ok((&[7, 8], Compression::Zstd)));
        check(&[], Compression::Identity, Err(Cause::MessageCount));
        check(&[0, 0, 0], Compression::Identity, Err(Cause::Malformed));
        check(&[0, 0, 0, 0, 3, 1], Compression::Identity, Err(Cause::Malformed));
        check(&[0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], Compression::Identity, Err(Cause::MessageCount));
        check(&[1, 0, 0, 0, 1, 1], Compression::Identity, Err(Cause::UnnamedCompression));
        check(&[2, 0, 0, 0, 1, 1], Compression::Identity, Err(Cause::Malformed));
    }
}
