//! The receiver's counters: per signal and transport, and what every connection shares.
//!
//! They are relaxed atomics: each is exact, and two of them read together may be a request apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use throughline_model::Signal;

use crate::refusal::Cause;
use crate::service::{Accepted, Service};

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP, and what else comes under its port's paths.
    Http,
    /// Jaeger's spans over gRPC.
    JaegerGrpc,
    /// Jaeger's spans in Thrift over HTTP.
    JaegerHttp,
    /// Zipkin's spans over HTTP.
    Zipkin,
}

impl Transport {
    /// All, in the order in which they are listed.
    pub const ALL: [Transport; 5] =
        [Transport::Grpc, Transport::Http, Transport::JaegerGrpc, Transport::JaegerHttp, Transport::Zipkin];

    /// The transport as a label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Grpc => "grpc",
            Transport::Http => "http",
            Transport::JaegerGrpc => "jaeger_grpc",
            Transport::JaegerHttp => "jaeger_http",
            Transport::Zipkin => "zipkin",
        }
    }

    /// The transport as people call it.
    pub fn title(self) -> &'static str {
        match self {
            Transport::Grpc => "OTLP/gRPC",
            Transport::Http => "OTLP/HTTP",
            Transport::JaegerGrpc => "Jaeger over gRPC",
            Transport::JaegerHttp => "Jaeger's Thrift over HTTP",
            Transport::Zipkin => "Zipkin",
        }
    }

    /// Whether a signal can come by it.
    fn carries(self, signal: Signal) -> bool {
        signal == Signal::Traces || matches!(self, Transport::Grpc | Transport::Http)
    }
}

/// A handle to a receiver's counters.
#[derive(Clone)]
pub struct Stats {
    service: Arc<Service>,
}

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct ReceiveStats {
    /// One entry per signal and transport.
    pub signals: Vec<SignalStats>,
    /// Requests that were refused before their signal was known, by transport and cause.
    pub unrouted: Vec<(Transport, &'static str, u64)>,
    /// Bytes reserved for requests that are being read, decoded or written.
    pub in_flight_bytes: u64,
    /// The most that may be.
    pub in_flight_bytes_max: u64,
    /// Open connections.
    pub connections: u64,
    /// The most that may be.
    pub connections_max: u64,
    /// Connections that were closed at once because there were too many and all were in good use.
    pub connections_refused: u64,
    /// Connections that were closed to make room for another.
    pub connections_evicted: u64,
    /// Connections that were closed because headers came too slowly or no request came.
    pub connections_timed_out: u64,
}

/// The counters of one signal over one transport.
#[derive(Clone, Debug)]
pub struct SignalStats {
    /// The signal.
    pub signal: Signal,
    /// The transport.
    pub transport: Transport,
    /// Requests that began.
    pub requests: u64,
    /// Items that senders were told are stored.
    pub accepted_items: u64,
    /// Items that were rejected one by one, from requests that were otherwise taken.
    pub refused_items: u64,
    /// Bytes of request bodies as they came.
    pub bytes: u64,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// Requests that were refused whole, by cause; only causes that occurred.
    pub refusals: Vec<(&'static str, u64)>,
}

impl Stats {
    pub(crate) fn new(service: &Arc<Service>) -> Stats {
        Stats { service: Arc::clone(service) }
    }

    /// Reads the counters.
    pub fn read(&self) -> ReceiveStats {
        let (counters, connections) = (&self.service.counters, &self.service.connections);
        let both = Signal::ALL.into_iter().flat_map(|s| Transport::ALL.map(|t| (s, t)));
        let both = both.filter(|(signal, transport)| transport.carries(*signal));
        let unrouted = Transport::ALL.into_iter().flat_map(|transport| {
            let refusals = counters.unrouted[transport as usize].read();
            refusals.into_iter().map(move |(cause, n)| (transport, cause, n))
        });
        ReceiveStats {
            signals: both.map(|(s, t)| counters.of(s, t).read(s, t)).collect(),
            unrouted: unrouted.collect(),
            in_flight_bytes: self.service.in_flight.bytes() as u64,
            in_flight_bytes_max: self.service.in_flight.bytes_max() as u64,
            connections: connections.count() as u64,
            connections_max: self.service.config.connections_max as u64,
            connections_refused: connections.refused.load(Relaxed),
            connections_evicted: connections.evicted.load(Relaxed),
            connections_timed_out: connections.timed_out.load(Relaxed),
        }
    }
}

/// The counters themselves.
#[derive(Default)]
pub(crate) struct Counters {
    signals: [[SignalCounters; Transport::ALL.len()]; 3],
    unrouted: [CauseCounters; Transport::ALL.len()],
}

#[derive(Default)]
struct SignalCounters {
    requests: AtomicU64,
    accepted_items: AtomicU64,
    refused_items: AtomicU64,
    bytes: AtomicU64,
    in_flight: AtomicU64,
    refusals: CauseCounters,
}

#[derive(Default)]
struct CauseCounters([AtomicU64; Cause::ALL.len()]);

impl Counters {
    /// Counts a request that was refused before its signal was known.
    pub(crate) fn refuse_unrouted(&self, transport: Transport, cause: Cause) {
        self.unrouted[transport as usize].count(cause);
    }

    fn of(&self, signal: Signal, transport: Transport) -> &SignalCounters {
        &self.signals[signal as usize][transport as usize]
    }
}

impl CauseCounters {
    fn count(&self, cause: Cause) {
        self.0[cause as usize].fetch_add(1, Relaxed);
    }

    fn read(&self) -> Vec<(&'static str, u64)> {
        let counts = Cause::ALL.map(|cause| (cause.name(), self.0[cause as usize].load(Relaxed)));
        counts.into_iter().filter(|(_, n)| *n > 0).collect()
    }
}

impl SignalCounters {
    fn read(&self, signal: Signal, transport: Transport) -> SignalStats {
        SignalStats {
            signal,
            transport,
            requests: self.requests.load(Relaxed),
            accepted_items: self.accepted_items.load(Relaxed),
            refused_items: self.refused_items.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            refusals: self.refusals.read(),
        }
    }
}

/// One request while it is counted. Dropped without an outcome, the sender went away and it counts as cancelled.
pub(crate) struct RequestScope {
    counters: Arc<Counters>,
    signal: Signal,
    transport: Transport,
    ended: bool,
}

impl RequestScope {
    pub(crate) fn begin(counters: &Arc<Counters>, signal: Signal, transport: Transport) -> RequestScope {
        let of = counters.of(signal, transport);
        of.requests.fetch_add(1, Relaxed);
        of.in_flight.fetch_add(1, Relaxed);
        RequestScope { counters: Arc::clone(counters), signal, transport, ended: false }
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.of().bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn accept(mut self, accepted: &Accepted) {
        self.of().accepted_items.fetch_add(accepted.items, Relaxed);
        self.of().refused_items.fetch_add(accepted.rejected, Relaxed);
        self.ended = true;
    }

    pub(crate) fn refuse(mut self, cause: Cause) {
        self.of().refusals.count(cause);
        self.ended = true;
    }

    fn of(&self) -> &SignalCounters {
        self.counters.of(self.signal, self.transport)
    }
}

impl Drop for RequestScope {
    fn drop(&mut self) {
        self.of().in_flight.fetch_sub(1, Relaxed);
        if !self.ended {
            self.of().refusals.count(Cause::Cancelled);
        }
    }
}
