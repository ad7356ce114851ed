//! gRPC for queries, by hand over the listener's HTTP/2: one message in, messages out, then trailers.
//!
//! What remains of the protocol for calls of one request is small (see `receive` for the same on the way in): a prefix before
//! each message, `grpc-status` in the trailers, or in the headers of an answer that has nothing else. Requests are small; what is
//! larger than [`MESSAGE_BYTES_MAX`] is refused. Answers are cut into messages below what clients take by default.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, Full};
use throughline_wire::grpc::{PREFIX_BYTES, message_bytes, percent_encoded, put_message};
use throughline_wire::{Compression, decompress};

use crate::traces::links::LINK;
use crate::traces::{PARTIAL, Refusal, partial_header};

/// A query is a text and a few numbers.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Clients take messages of 4 MiB unless told otherwise.
pub(crate) const ANSWER_BYTES_MAX: usize = 3 << 20;

const CONTENT_TYPE_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// The longest message of an error: it is a header.
const TEXT_BYTES_MAX: usize = 2 << 10;

/// gRPC's status codes that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Code {
    /// The code that says what an HTTP status says.
    pub(crate) fn of(status: StatusCode) -> Code {
        match status.as_u16() {
            400 | 405 | 422 => Code::InvalidArgument,
            404 => Code::NotFound,
            413 | 429 => Code::ResourceExhausted,
            499 => Code::Cancelled,
            501 => Code::Unimplemented,
            503 => Code::Unavailable,
            504 => Code::DeadlineExceeded,
            _ => Code::Internal,
        }
    }
}

/// Why a call is not answered.
#[derive(Debug)]
pub(crate) struct Status {
    code: Code,
    message: String,
    /// The state of the trace that was asked for, if that is why.
    link: Option<&'static str>,
}

impl Status {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Status {
        Status { code, message: message.into(), link: None }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let link = refusal.link.map(|link| link.name());
        Status { link, ..Status::new(Code::of(refusal.status), refusal.message) }
    }
}

impl From<throughline_model::protobuf::Malformed> for Status {
    fn from(error: throughline_model::protobuf::Malformed) -> Status {
        Status::new(Code::InvalidArgument, format!("malformed protobuf: {error}"))
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE_GRPC);
        headers.insert(GRPC_STATUS, HeaderValue::from(self.code as i32));
        headers.extend(self.link.map(|link| (LINK, HeaderValue::from_static(link))));
        let cut = self.message.floor_char_boundary(TEXT_BYTES_MAX);
        let text = percent_encoded(self.message.get(..cut).unwrap_or_default());
        // Percent-encoded text is visible ASCII, which a header value can always be.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(GRPC_MESSAGE, value);
        }
        response
    }
}

/// The messages of an answer, and why there may be more of them; nothing where that is all.
pub(crate) type Messages = (Vec<Vec<u8>>, Vec<String>);

/// Answers a call: `answer` makes the messages of the one that came, and says why there may be more, which goes into a trailer.
pub(crate) async fn respond(
    request: Request,
    answer: impl AsyncFnOnce(Bytes) -> Result<Messages, Status>,
) -> Response {
    let message = match message(request).await {
        Ok(message) => message,
        Err(refused) => return refused,
    };
    match answer(message).await {
        Ok((messages, partial)) => success(messages, &partial),
        Err(status) => status.into_response(),
    }
}

/// Reads the one message of a call. What is no gRPC is answered as HTTP.
async fn message(request: Request) -> Result<Bytes, Response> {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|kind| kind == "application/grpc" || kind == "application/grpc+proto") {
        let text = "this path speaks gRPC: content type application/grpc over HTTP/2\n";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response());
    }
    let too_large = || {
        let text = format!("the request has more than {MESSAGE_BYTES_MAX} bytes");
        Status::new(Code::ResourceExhausted, text).into_response()
    };
    let body = to_bytes(body, MESSAGE_BYTES_MAX + PREFIX_BYTES).await.map_err(|_| too_large())?;
    unwrapped(&body, &parts.headers).map_err(IntoResponse::into_response)
}

fn unwrapped(body: &Bytes, headers: &HeaderMap) -> Result<Bytes, Status> {
    let declared = message_bytes(body).filter(|declared| body.len() == PREFIX_BYTES + declared);
    let (Some(flag), Some(_)) = (body.first(), declared) else {
        return Err(Status::new(Code::Unimplemented, "the call must have exactly one message"));
    };
    let message = body.slice(PREFIX_BYTES..);
    if *flag == 0 {
        return Ok(message);
    }
    let named = headers.get(GRPC_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let compression = Compression::from_name(named)
        .ok_or_else(|| Status::new(Code::Unimplemented, format!("compression {named:?} is not supported")))?;
    let plain = decompress(&message, compression, MESSAGE_BYTES_MAX)
        .map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))?;
    Ok(Bytes::from(plain.into_owned()))
}

/// A success: these messages, in their order.
fn success(messages: Vec<Vec<u8>>, partial: &[String]) -> Response {
    let mut data = Vec::new();
    messages.iter().for_each(|message| put_message(&mut data, message));
    let mut trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    trailers.extend(partial_header(partial).map(|why| (PARTIAL, why)));
    let body = Full::new(Bytes::from(data)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE_GRPC);
    headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,zstd"));
    response
}

/// Cuts a list into parts whose messages stay below what clients take, by the size of each item's message.
pub(crate) fn parts<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = vec![Vec::new()];
    let mut filled = 0;
    for item in items {
        let size = bytes(&item);
        if filled + size > ANSWER_BYTES_MAX && filled > 0 {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += size;
        if let Some(part) = parts.last_mut() {
            part.push(item);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_message() {
        let headers = HeaderMap::new();
        let read = |bytes: &'static [u8]| unwrapped(&Bytes::from_static(bytes), &headers);
        assert_eq!(read(&[0, 0, 0, 0, 1, 7]).ok().as_deref(), Some(&[7u8][..]));
        assert_eq!(read(&[0, 0, 0, 0, 0]).ok().as_deref(), Some(&[][..]));
        for bad in [&[][..], &[0, 0, 0, 0, 2, 7], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 0, 1, 7]] {
            assert_eq!(read(bad).err().map(|status| status.code), Some(Code::Unimplemented), "{bad:?}");
        }
    }

    #[test]
    fn large_answers_are_cut() {
        let cut = parts(vec![1usize << 20; 7], |size| *size);
        assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(
            parts(vec![9 << 20, 1], |size| *size).len(),
            2,
            "what is too large alone is a message alone"
        );
        assert_eq!(parts(Vec::<usize>::new(), |size| *size), [Vec::<usize>::new()]);
    }
}
