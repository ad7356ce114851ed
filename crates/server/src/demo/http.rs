//! HTTP between the services: a small server whose handlers may block, and a client that sends `traceparent`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use throughline_instrument::SpanContext;
use tokio::runtime::Runtime;

/// The longest request body: the services send a few hundred bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a caller waits. Longer than all retries of the database client together.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Kept-alive connections to one service: more than requests ever run at once.
const IDLE_CONNECTIONS_MAX: usize = 128;

/// A request as a handler sees it.
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The caller's span, where it sent one.
    pub caller: Option<SpanContext>,
    /// The body.
    pub body: Bytes,
}

/// An answer.
#[derive(Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Reply {
    /// An answer with a JSON body.
    pub fn new(status: u16, body: Value) -> Reply {
        Reply { status, body }
    }

    /// An answer that names an error.
    pub fn error(status: u16, error: &str) -> Reply {
        Reply::new(status, json!({ "error": error }))
    }
}

/// What answers requests; runs on a thread that may block.
pub type Handler = Arc<dyn Fn(Call) -> Reply + Send + Sync>;

/// A running server; it ends with its runtime.
pub struct Server {
    runtime: Runtime,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Listens on a port of the operating system's choice, on loopback.
    pub fn start(handler: Handler) -> anyhow::Result<Server> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("start the runtime")?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("listen on a loopback port")?;
        let address = listener.local_addr().context("read the port")?;
        let router = Router::new().fallback(move |request: Request| answer(handler.clone(), request));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Server { runtime, address })
    }

    /// Stops without waiting for requests that still run.
    pub fn stop(self) {
        self.runtime.shutdown_background();
    }
}

async fn answer(handler: Handler, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        caller: traceparent.and_then(SpanContext::parse_traceparent),
        body,
    };
    match tokio::task::spawn_blocking(move || handler(call)).await {
        Ok(reply) => {
            let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, [(header::CONTENT_TYPE, "application/json")], reply.body.to_string()).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Calls other services over kept-alive connections.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// A client that goes straight to loopback, whatever proxy the environment names.
    pub fn new() -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(CALL_TIMEOUT))
            .max_idle_connections(IDLE_CONNECTIONS_MAX)
            .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
            .build();
        Client { agent: config.new_agent() }
    }

    /// Reads.
    pub fn get(&self, url: &str, span: Option<&SpanContext>) -> Result<Reply, ureq::Error> {
        let request = self.agent.get(url);
        let request = match span {
            Some(span) => request.header("traceparent", span.traceparent()),
            None => request,
        };
        read(request.call()?)
    }

    /// Sends a JSON body, within a span.
    pub fn send(
        &self,
        method: &Method,
        url: &str,
        body: &Value,
        span: &SpanContext,
    ) -> Result<Reply, ureq::Error> {
        let request = if method == Method::PUT { self.agent.put(url) } else { self.agent.post(url) };
        let request = request.header("traceparent", span.traceparent());
        read(request.header("content-type", "application/json").send(body.to_string())?)
    }
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Reply, ureq::Error> {
    let text = response.body_mut().read_to_string()?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Reply { status: response.status().as_u16(), body })
}
