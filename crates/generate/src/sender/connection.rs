//! A connection to an OTLP server that is opened when it is needed and opened anew when it broke.

use std::rc::Rc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, TE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::answer::{self, Answer};
use super::{Protocol, Target, grpc_path, http_path};
use crate::corpus::Encoded;

type Body = Full<bytes::Bytes>;

/// A connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    target: Rc<Target>,
    /// Streams of HTTP/2 are cheap copies; HTTP/1.1 has one request at a time, and so one owner.
    grpc: Rc<Mutex<Option<http2::SendRequest<Body>>>>,
    http: Rc<Mutex<Option<http1::SendRequest<Body>>>>,
}

impl Connection {
    /// A connection that is not open yet.
    pub fn new(target: Target) -> Connection {
        Connection { target: Rc::new(target), grpc: Rc::default(), http: Rc::default() }
    }

    /// Sends one request and waits for its answer.
    pub async fn exchange(&self, request: &Encoded) -> Answer {
        let answer = match self.target.protocol {
            Protocol::Grpc => self.exchange_grpc(request).await,
            Protocol::Http => self.exchange_http(request).await,
        };
        answer.unwrap_or_else(|error| Answer::Lost { reason: describe(&*error) })
    }

    async fn exchange_grpc(&self, encoded: &Encoded) -> Result<Answer, Failure> {
        let mut sender = self.open_grpc().await?;
        let uri = format!("http://{}{}", self.target.address, grpc_path(encoded.signal));
        let mut builder = Request::builder().method(Method::POST).uri(uri);
        builder = builder.header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
        if encoded.gzip {
            builder = builder.header("grpc-encoding", "gzip");
        }
        sender.ready().await?;
        let response = sender.send_request(builder.body(Full::new(encoded.grpc_body()))?).await?;
        let (headers, trailers, body) = collect(response).await?;
        let trailers = if trailers.contains_key("grpc-status") { trailers } else { headers };
        Ok(answer::of_grpc(encoded.signal, &trailers, &body))
    }

    async fn exchange_http(&self, encoded: &Encoded) -> Result<Answer, Failure> {
        let mut slot = self.http.lock().await;
        let mut sender = match slot.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => {
                let stream = connect(&self.target).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                tokio::task::spawn_local(connection);
                sender
            }
        };
        let uri = format!("{}{}", self.target.path_prefix, http_path(encoded.signal));
        let mut builder =
            Request::builder().method(Method::POST).uri(uri).header(HOST, self.target.address.to_string());
        builder = builder.header(CONTENT_TYPE, "application/x-protobuf");
        if encoded.gzip {
            builder = builder.header(CONTENT_ENCODING, "gzip");
        }
        sender.ready().await?;
        let response = sender.send_request(builder.body(Full::new(encoded.http_body()))?).await?;
        let status = response.status().as_u16();
        let (headers, _, body) = collect(response).await?;
        *slot = Some(sender);
        Ok(answer::of_http(encoded.signal, status, &headers, &body))
    }

    async fn open_grpc(&self) -> Result<http2::SendRequest<Body>, Failure> {
        let mut slot = self.grpc.lock().await;
        if let Some(sender) = slot.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = connect(&self.target).await?;
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        *slot = Some(sender.clone());
        Ok(sender)
    }
}

type Failure = Box<dyn std::error::Error>;

async fn connect(target: &Target) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn collect(response: Response<Incoming>) -> Result<(HeaderMap, HeaderMap, bytes::Bytes), Failure> {
    let headers = response.headers().clone();
    let collected = response.into_body().collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok((headers, trailers, collected.to_bytes()))
}

/// An error with what caused it, as one line.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
