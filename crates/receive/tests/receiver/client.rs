//! Senders: HTTP/1.1 and HTTP/2 over hyper, gRPC on top of it, and plain sockets for what no library would send.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use throughline_model::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::status_message::Status;

/// Longer than anything here takes; a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// gRPC's status code, from the trailers or, in a Trailers-Only response, from the headers.
    pub fn grpc_status(&self) -> i32 {
        let value = self.trailers.get("grpc-status").or_else(|| self.headers.get("grpc-status"));
        value.expect("grpc-status").to_str().expect("text").parse().expect("number")
    }

    /// gRPC's status details of a Trailers-Only response.
    pub fn grpc_details(&self) -> Status {
        let bytes = unbase64(self.header("grpc-status-details-bin"));
        Status::decode(bytes.as_slice()).expect("a google.rpc.Status")
    }

    /// gRPC's message of a Trailers-Only response.
    pub fn grpc_message(&self) -> String {
        unpercent(self.header("grpc-message"))
    }

    /// The one message of a gRPC success.
    pub fn grpc_body<M: Message + Default>(&self) -> M {
        assert_eq!((self.status, self.grpc_status()), (200, 0), "{self:?}");
        let (prefix, message) = self.body.split_at(5);
        assert_eq!(prefix[0], 0, "not compressed");
        assert_eq!(u32::from_be_bytes(prefix[1..].try_into().expect("4")) as usize, message.len());
        M::decode(message).expect("the response message")
    }
}

/// A request body: the data, and then an end or, for a sender that stalls, nothing more.
pub struct Sent {
    data: Option<Bytes>,
    declared: bool,
    stalls: bool,
}

impl Sent {
    pub fn whole(data: impl Into<Bytes>) -> Sent {
        Sent { data: Some(data.into()), declared: true, stalls: false }
    }

    pub fn undeclared(data: impl Into<Bytes>) -> Sent {
        Sent { data: Some(data.into()), declared: false, stalls: false }
    }

    pub fn stalling(data: impl Into<Bytes>) -> Sent {
        Sent { data: Some(data.into()), declared: false, stalls: true }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.data.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.stalls => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && !self.stalls
    }

    fn size_hint(&self) -> SizeHint {
        match &self.data {
            Some(data) if self.declared => SizeHint::with_exact(data.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// An HTTP/2 connection; clones share it.
#[derive(Clone)]
pub struct Http2(hyper::client::conn::http2::SendRequest<Sent>);

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Http2 {
        let stream = TcpStream::connect(address).await.expect("connect");
        // As every gRPC library does: without it the body waits for the acknowledgement of the headers.
        stream.set_nodelay(true).expect("an open socket");
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("h2");
        tokio::spawn(connection);
        Http2(sender)
    }

    pub async fn send(&self, request: Request<Sent>) -> Answer {
        self.try_send(request).await.expect("a response")
    }

    /// As [`Http2::send`], where the connection may be cut.
    pub async fn try_send(&self, request: Request<Sent>) -> Result<Answer, hyper::Error> {
        let mut sender = self.0.clone();
        sender.ready().await?;
        Ok(collect(patiently(sender.send_request(request)).await?).await)
    }

    /// A unary call of one uncompressed message.
    pub async fn export(&self, signal: Signal, message: &[u8]) -> Answer {
        self.send(grpc(signal, &[], prefixed(0, message))).await
    }
}

/// Sends one HTTP/1.1 request on a connection of its own.
pub async fn http1(address: SocketAddr, request: Request<Sent>) -> Answer {
    let stream = TcpStream::connect(address).await.expect("connect");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http/1.1");
    tokio::spawn(connection);
    collect(patiently(sender.send_request(request)).await.expect("a response")).await
}

/// Writes bytes to a socket and returns what comes back until the other side closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    // The other side may refuse and close before it has all of it.
    let _ = patiently(stream.write_all(bytes)).await;
    let mut answer = Vec::new();
    patiently(stream.read_to_end(&mut answer)).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

pub async fn patiently<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("an answer in time")
}

async fn collect(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let collected = patiently(body.collect()).await.expect("a whole response");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Answer { status: parts.status.as_u16(), headers: parts.headers, trailers, body: collected.to_bytes() }
}

/// A request of OTLP/HTTP; `headers` are added to the content type.
pub fn post(path: &str, content_type: &str, headers: &[(&str, &str)], body: Sent) -> Request<Sent> {
    let mut request = Request::post(format!("http://receiver{path}")).header("host", "receiver");
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).expect("a request")
}

/// A unary call of OTLP/gRPC with the given body, prefix included.
pub fn grpc(signal: Signal, headers: &[(&str, &str)], body: Sent) -> Request<Sent> {
    let (package, service) = match signal {
        Signal::Traces => ("trace", "TraceService"),
        Signal::Metrics => ("metrics", "MetricsService"),
        Signal::Logs => ("logs", "LogsService"),
    };
    call(&format!("/opentelemetry.proto.collector.{package}.v1.{service}/Export"), headers, body)
}

/// A unary call of any method.
pub fn call(path: &str, headers: &[(&str, &str)], body: Sent) -> Request<Sent> {
    let mut request = Request::post(format!("http://receiver{path}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).expect("a request")
}

/// A message with gRPC's prefix.
pub fn prefixed(flag: u8, message: &[u8]) -> Sent {
    Sent::whole(prefixed_bytes(flag, message))
}

pub fn prefixed_bytes(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory")
}

fn unbase64(text: &str) -> Vec<u8> {
    let digit = |byte| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("not base64 without padding: {other}"),
    };
    let bits: Vec<bool> =
        text.bytes().map(digit).flat_map(|six| (0..6).rev().map(move |bit| six >> bit & 1 == 1)).collect();
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |n, bit| n << 1 | u8::from(*bit))).collect()
}

fn unpercent(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'%' => {
                let hex = std::str::from_utf8(&after[..2]).expect("hex");
                (u8::from_str_radix(hex, 16).expect("hex"), &after[2..])
            }
            byte => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).expect("UTF-8")
}
