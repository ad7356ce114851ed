//! Sends encoded requests over real OTLP/gRPC and OTLP/HTTP, as an exporter that follows the specification:
//! retries what may be retried, waits as long as it is told, counts what was refused.
//!
//! One thread serves all connections, because on a small machine the sender shares the cores with what it measures.

mod answer;
mod connection;
mod journal;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::Signal;
use crate::corpus::Encoded;
use answer::Answer;
use connection::Connection;
pub use journal::{Entry, Journal, Outcome};

/// The first wait before a request is sent again, where the server gives no hint. It doubles each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest wait that the sender chooses itself.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC over plain HTTP/2.
    Grpc,
    /// OTLP/HTTP with protobuf bodies over HTTP/1.1.
    Http,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Target {
    /// gRPC or HTTP.
    pub protocol: Protocol,
    /// The address that listens.
    pub address: SocketAddr,
    /// What stands before `/v1/traces` and its like in the paths of OTLP/HTTP; empty for most.
    pub path_prefix: String,
}

/// How requests are sent.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Connections of gRPC.
    pub connections: usize,
    /// Requests under way on each gRPC connection; for HTTP, which has one each, connections for every gRPC one.
    pub in_flight: usize,
    /// Items a second over all connections; none for as fast as they are taken.
    pub items_per_second: Option<f64>,
    /// How long a request is tried before the sender gives it up.
    pub patience: Duration,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Items that were acknowledged, by signal: traces, logs, metrics.
    pub acknowledged: [u64; 3],
    /// Items that a partial success refused.
    pub rejected: u64,
    /// Items of requests that were refused for good, or given up.
    pub failed: u64,
    /// Requests that were acknowledged.
    pub requests: u64,
    /// How often a request was sent again.
    pub retries: u64,
    /// Bytes of acknowledged bodies.
    pub bytes: u64,
    /// From the first byte sent to the last answer.
    pub elapsed: Duration,
    /// Time from sending to acknowledgement of every request, in microseconds, sorted.
    pub latencies_us: Vec<u32>,
    /// The first refusal, word for word.
    pub first_refusal: Option<String>,
}

impl Report {
    /// Acknowledged items of all signals.
    pub fn items(&self) -> u64 {
        self.acknowledged.iter().sum()
    }

    /// A percentile (0 to 100) of the latencies, in milliseconds.
    pub fn latency_ms(&self, percentile: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * percentile / 100.0).round() as usize;
        self.latencies_us.get(at).map_or(0.0, |us| f64::from(*us) / 1e3)
    }
}

/// What keeps a sender from doing its work.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The corpus or the journal.
    #[error("sender file: {0}")]
    File(#[from] std::io::Error),
    /// The runtime of the sender ended one of its tasks.
    #[error("sender task: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Sends all requests and returns when every one was answered or given up.
pub fn send<I>(
    requests: I,
    target: &Target,
    pace: &Pace,
    journal: Option<Journal>,
) -> Result<Report, SendError>
where
    I: Iterator<Item = std::io::Result<Encoded>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, run(Box::new(requests), target.clone(), pace.clone(), journal))
}

type Requests = Box<dyn Iterator<Item = std::io::Result<Encoded>>>;

/// What the workers share.
struct Shared {
    requests: Requests,
    journal: Option<Journal>,
    report: Report,
    started: Instant,
    /// Items handed out so far, for the pace.
    handed_out: u64,
}

async fn run(
    requests: Requests,
    target: Target,
    pace: Pace,
    journal: Option<Journal>,
) -> Result<Report, SendError> {
    let started = Instant::now();
    let shared = Rc::new(RefCell::new(Shared {
        requests,
        journal,
        report: Report::default(),
        started,
        handed_out: 0,
    }));
    let mut workers = Vec::new();
    for _ in 0..pace.connections.max(1) {
        let common = Connection::new(target.clone());
        for _ in 0..pace.in_flight.max(1) {
            let connection = match target.protocol {
                Protocol::Grpc => common.clone(),
                Protocol::Http => Connection::new(target.clone()),
            };
            let worker = Worker { shared: shared.clone(), connection, pace: pace.clone() };
            workers.push(tokio::task::spawn_local(worker.run()));
        }
    }
    for worker in workers {
        worker.await??;
    }
    let mut shared = shared.borrow_mut();
    if let Some(journal) = &mut shared.journal {
        journal.sync()?;
    }
    let mut report = std::mem::take(&mut shared.report);
    report.elapsed = started.elapsed();
    report.latencies_us.sort_unstable();
    Ok(report)
}

struct Worker {
    shared: Rc<RefCell<Shared>>,
    connection: Connection,
    pace: Pace,
}

impl Worker {
    async fn run(self) -> Result<(), SendError> {
        while let Some((request, due)) = self.take()? {
            if self.pace.items_per_second.is_some() {
                tokio::time::sleep_until(due).await;
            }
            let outcome = self.deliver(&request).await;
            if let Some(journal) = &mut self.shared.borrow_mut().journal {
                journal.write(&request, outcome)?;
            }
        }
        Ok(())
    }

    /// The next request and when it is due.
    fn take(&self) -> Result<Option<(Encoded, Instant)>, SendError> {
        let mut shared = self.shared.borrow_mut();
        let Some(request) = shared.requests.next().transpose()? else { return Ok(None) };
        let wait = self.pace.items_per_second.map_or(0.0, |rate| shared.handed_out as f64 / rate);
        shared.handed_out += u64::from(request.items);
        Ok(Some((request, shared.started + Duration::from_secs_f64(wait))))
    }

    /// Sends a request until it is answered for good or patience ends.
    async fn deliver(&self, request: &Encoded) -> Outcome {
        let first = Instant::now();
        let mut backoff = BACKOFF_FIRST;
        loop {
            let sent = Instant::now();
            let answer = self.connection.exchange(request).await;
            let patient = first.elapsed() < self.pace.patience;
            let verdict =
                judge(&mut self.shared.borrow_mut().report, request, answer, sent.elapsed(), patient);
            match verdict {
                Verdict::Final(outcome) => return outcome,
                Verdict::Again(hint) => tokio::time::sleep(hint.unwrap_or(backoff)).await,
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

/// What to do after an answer.
enum Verdict {
    Final(Outcome),
    /// Send the same bytes again, after so long if the server said how long.
    Again(Option<Duration>),
}

/// Counts an answer and decides what follows.
fn judge(
    report: &mut Report,
    request: &Encoded,
    answer: Answer,
    latency: Duration,
    patient: bool,
) -> Verdict {
    let (hint, reason, outcome) = match answer {
        Answer::Accepted { rejected, message } => {
            acknowledge(report, request, latency);
            report.rejected += rejected;
            if rejected > 0 {
                report.first_refusal.get_or_insert(message);
            }
            return Verdict::Final(Outcome::Acknowledged);
        }
        Answer::Refused { reason } => {
            report.failed += u64::from(request.items);
            report.first_refusal.get_or_insert(reason);
            return Verdict::Final(Outcome::Refused);
        }
        Answer::Later { hint, reason } => (hint, reason, Outcome::Refused),
        // Nobody knows whether it arrived: only the same bytes again can tell.
        Answer::Lost { reason } => (None, reason, Outcome::Unknown),
    };
    if patient {
        report.retries += 1;
        return Verdict::Again(hint);
    }
    report.failed += u64::from(request.items);
    report.first_refusal.get_or_insert(reason);
    Verdict::Final(outcome)
}

fn acknowledge(report: &mut Report, request: &Encoded, latency: Duration) {
    report.acknowledged[request.signal as usize] += u64::from(request.items);
    report.requests += 1;
    report.bytes += request.http_body().len() as u64;
    report.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
}

/// The path of a signal in OTLP/HTTP.
fn http_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Logs => "/v1/logs",
        Signal::Metrics => "/v1/metrics",
    }
}

/// The path of a signal's method in OTLP/gRPC.
fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

#[cfg(test)]
mod tests;
