//! OTLP, Prometheus' remote write, Loki's push, Jaeger's and Zipkin's spans in: the gRPC and the HTTP receivers, from the
//! socket to the store's acknowledgement.
//!
//! The path of a request:
//!
//! 1. [`listener`] accepts the connection ([`connections`] has the places) and watches it ([`socket`]): slow headers,
//!    idleness, shutdown.
//! 2. [`otlp_grpc`], [`otlp_http`], [`prometheus`], [`loki`] or [`spans`] reads the headers and finds the signal, the encoding
//!    and the compression.
//! 3. [`body`] reads the body, for which [`admission`] reserves bytes before they are read.
//! 4. [`decode`] takes it from the reactors to a thread of its own: decompress, hash, decode, hand to the store.
//! 5. The store calls back when the frame is on disk, and the sender is told exactly what was accepted. What is not
//!    is a [`refusal`], one type with its status in both protocols.
//!
//! This is a boundary: it does network I/O and reads the monotonic clock for its time limits. The time of receipt,
//! which is stored, comes from the store's clock. It knows nothing of queries.

mod admission;
mod body;
mod connections;
mod decode;
mod listener;
mod loki;
mod otlp_grpc;
mod otlp_http;
mod prometheus;
mod push;
mod refusal;
mod reply;
mod service;
mod socket;
mod spans;
mod stats;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use throughline_store::{Clock, Store};
use throughline_wire::DecodeLimits;

pub use crate::decode::behind_questions;
pub use crate::push::PushWriter;
pub use crate::reply::Reply;
use crate::service::Service;
pub use crate::stats::{ReceiveStats, SignalStats, Stats, Transport};

/// What the receiver listens on and what it lets in. `server` builds it from the configuration file.
#[derive(Clone, Debug)]
pub struct ReceiveConfig {
    /// Where what is served.
    pub listen: Listen,
    /// The bytes of one request, as sent and after decompression.
    pub request_bytes_max: usize,
    /// The bytes of all requests that are being read, decoded or written, at any moment.
    pub in_flight_bytes_max: usize,
    /// Connections at any moment, both protocols together.
    pub connections_max: usize,
    /// HTTP/2 requests at once on one connection.
    pub streams_per_connection_max: u32,
    /// How long the headers of a request may take.
    pub header_timeout: Duration,
    /// How often a body's progress is checked; also the grace that a slow start has.
    pub body_check_interval: Duration,
    /// What a body must bring between two checks, per second.
    pub body_bytes_per_second_min: usize,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How long requests may go on after shutdown began.
    pub shutdown_timeout: Duration,
    /// What single items may be.
    pub decode_limits: DecodeLimits,
}

/// Where each protocol is served: port 0 takes any free one, `None` serves none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// OTLP/gRPC.
    pub grpc: Option<SocketAddr>,
    /// OTLP/HTTP.
    pub http: Option<SocketAddr>,
    /// Jaeger's spans over gRPC.
    pub jaeger_grpc: Option<SocketAddr>,
    /// Jaeger's spans in Thrift over HTTP.
    pub jaeger_http: Option<SocketAddr>,
    /// Zipkin's spans.
    pub zipkin: Option<SocketAddr>,
}

impl Listen {
    /// OTLP/gRPC's port.
    pub const GRPC_PORT: u16 = 4317;
    /// OTLP/HTTP's port.
    pub const HTTP_PORT: u16 = 4318;
    /// Jaeger's port for gRPC.
    pub const JAEGER_GRPC_PORT: u16 = 14250;
    /// Jaeger's port for Thrift over HTTP.
    pub const JAEGER_HTTP_PORT: u16 = 14268;
    /// Zipkin's port.
    pub const ZIPKIN_PORT: u16 = 9411;

    /// The address of one protocol.
    pub fn of(&self, transport: Transport) -> Option<SocketAddr> {
        match transport {
            Transport::Grpc => self.grpc,
            Transport::Http => self.http,
            Transport::JaegerGrpc => self.jaeger_grpc,
            Transport::JaegerHttp => self.jaeger_http,
            Transport::Zipkin => self.zipkin,
        }
    }
}

impl ReceiveConfig {
    /// 64 MiB, which the OTLP specification recommends.
    pub const REQUEST_BYTES_MAX: usize = 64 << 20;
    /// 256 MiB: four of the largest requests, and half of the memory that the process is meant to run in.
    pub const IN_FLIGHT_BYTES_MAX: usize = 256 << 20;
    /// Below the 1,024 descriptors that a process has by default, with room for the store's files.
    pub const CONNECTIONS_MAX: usize = 768;
    /// What gRPC servers commonly allow; more waits in the sender instead of here.
    pub const STREAMS_PER_CONNECTION_MAX: u32 = 128;
    /// Headers are one packet; ten seconds outlast two lost ones.
    pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
    /// A body that stalls is given up after five to ten seconds.
    pub const BODY_CHECK_INTERVAL: Duration = Duration::from_secs(5);
    /// 1 KiB/s: slower than any link that telemetry comes over.
    pub const BODY_BYTES_PER_SECOND_MIN: usize = 1 << 10;
    /// An SDK that exports every minute reconnects then; connections are cheap, held ones are not.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    /// What orchestrators grant before they kill.
    pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

    /// The usual limits on OTLP's two loopback ports, with items as old as `retention_ns` accepted.
    pub fn loopback(retention_ns: i64) -> ReceiveConfig {
        ReceiveConfig {
            listen: Listen {
                grpc: Some(SocketAddr::from(([127, 0, 0, 1], Listen::GRPC_PORT))),
                http: Some(SocketAddr::from(([127, 0, 0, 1], Listen::HTTP_PORT))),
                ..Listen::default()
            },
            request_bytes_max: Self::REQUEST_BYTES_MAX,
            in_flight_bytes_max: Self::IN_FLIGHT_BYTES_MAX,
            connections_max: Self::CONNECTIONS_MAX,
            streams_per_connection_max: Self::STREAMS_PER_CONNECTION_MAX,
            header_timeout: Self::HEADER_TIMEOUT,
            body_check_interval: Self::BODY_CHECK_INTERVAL,
            body_bytes_per_second_min: Self::BODY_BYTES_PER_SECOND_MIN,
            idle_timeout: Self::IDLE_TIMEOUT,
            shutdown_timeout: Self::SHUTDOWN_TIMEOUT,
            decode_limits: DecodeLimits::with_retention(retention_ns),
        }
    }
}

/// Why the receiver cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listening socket.
    #[error("listen for {transport} on {address}: {source}")]
    Listen {
        /// The protocol, as people call it.
        transport: &'static str,
        /// The address of the configuration.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A thread.
    #[error("start a decoding thread: {0}")]
    Thread(std::io::Error),
}

/// The receiver, bound to its ports and not yet serving.
pub struct Receiver {
    listeners: Vec<(Transport, TcpListener)>,
    service: Arc<Service>,
}

impl Receiver {
    /// Binds the listeners and starts the decoding threads. Connections wait until [`Receiver::run`].
    pub fn bind(config: ReceiveConfig, store: Store, clock: Arc<dyn Clock>) -> Result<Receiver, Error> {
        let mut listeners = Vec::new();
        for transport in Transport::ALL {
            let Some(address) = config.listen.of(transport) else { continue };
            let listener = TcpListener::bind(address)
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .map_err(|source| Error::Listen { transport: transport.title(), address, source })?;
            listeners.push((transport, listener));
        }
        let service = Arc::new(Service::new(config, store, clock)?);
        Ok(Receiver { listeners, service })
    }

    /// The receiver's counters; they stay readable after [`Receiver::run`] took the receiver.
    pub fn stats(&self) -> Stats {
        Stats::new(&self.service)
    }

    /// Takes pushes in on another listener, while the receiver runs.
    pub fn push_writer(&self) -> PushWriter {
        PushWriter::new(&self.service)
    }

    /// Serves until `shutdown` completes, then finishes what is in flight, within the configured time.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        listener::serve(self.listeners, self.service, shutdown).await
    }

    /// Where a protocol is served, if it is.
    pub fn addr(&self, wanted: Transport) -> Option<SocketAddr> {
        let (_, listener) = self.listeners.iter().find(|(transport, _)| *transport == wanted)?;
        listener.local_addr().ok()
    }
}
