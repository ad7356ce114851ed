//! The handle a service holds: configuration, the queues, the export thread, and what became of the items.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;

use crate::attribute::key_value;
use crate::export::{Exporter, Outcome, Wake};
use crate::id::IdSource;
use crate::queue::Queue;
use crate::{Histogram, Logger, Tracer, Value, clock};

/// Items waiting per signal. At 1 KiB an item this is 8 MiB, and ten seconds of a busy service while the receiver
/// restarts.
const QUEUE_ITEMS_MAX: usize = 8_192;

/// Waiting items at which the export thread does not wait for the interval to end.
const EARLY_EXPORT_ITEMS: usize = QUEUE_ITEMS_MAX / 4;

/// Why telemetry could not be started.
#[derive(Debug)]
pub enum Error {
    /// The endpoint is not an `http://` address.
    Endpoint(String),
    /// The operating system gave no thread.
    Thread(std::io::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Endpoint(endpoint) => {
                write!(out, "endpoint {endpoint:?} is not of the form http://host:port")
            }
            Error::Thread(error) => write!(out, "start the export thread: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Endpoint(_) => None,
            Error::Thread(error) => Some(error),
        }
    }
}

/// What to send, where, and as whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// Base address of the OTLP/HTTP receiver; `/v1/traces` and so on are appended.
    pub endpoint: String,
    /// The service's name, `service.name` of its resource.
    pub service_name: String,
    /// More attributes of the resource.
    pub resource: Vec<(String, Value)>,
    /// How often what has gathered is sent.
    pub export_interval: Duration,
}

impl Config {
    /// A configuration that exports every second.
    pub fn new(endpoint: impl Into<String>, service_name: impl Into<String>) -> Config {
        Config {
            endpoint: endpoint.into(),
            service_name: service_name.into(),
            resource: Vec::new(),
            export_interval: Duration::from_secs(1),
        }
    }
}

/// What became of the items of one signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalStats {
    /// The receiver took them.
    pub exported: u64,
    /// The queue was full.
    pub dropped: u64,
    /// The receiver took the request and rejected them.
    pub rejected: u64,
    /// The receiver refused the request, or could not be reached in time.
    pub failed: u64,
}

/// What became of everything so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Spans.
    pub spans: SignalStats,
    /// Log records.
    pub logs: SignalStats,
    /// Data points of histograms.
    pub points: SignalStats,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
}

/// Telemetry of one service: gives out tracers, loggers and histograms, and exports what they gather. Dropping it
/// is [`Telemetry::shutdown`] with two seconds.
pub struct Telemetry {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

/// How long dropping a [`Telemetry`] waits for the last export.
const DROP_TIMEOUT: Duration = Duration::from_secs(2);

impl Telemetry {
    /// Starts the export thread.
    pub fn start(config: Config) -> Result<Telemetry, Error> {
        if !config.endpoint.starts_with("http://") {
            return Err(Error::Endpoint(config.endpoint));
        }
        let core = Arc::new(Core::default());
        let mut resource = vec![key_value("service.name", config.service_name.into())];
        resource.push(key_value("telemetry.sdk.name", "throughline-instrument".into()));
        resource.push(key_value("telemetry.sdk.language", "rust".into()));
        resource.extend(config.resource.into_iter().map(|(key, value)| key_value(&key, value)));
        let exporter = Exporter::new(core.clone(), &config.endpoint, resource, config.export_interval);
        let thread = std::thread::Builder::new()
            .name("otlp-export".to_owned())
            .spawn(move || exporter.run())
            .map_err(Error::Thread)?;
        Ok(Telemetry { core, thread: Some(thread) })
    }

    /// A tracer whose spans name this instrumentation scope.
    pub fn tracer(&self, scope: &str) -> Tracer {
        Tracer::new(self.core.clone(), scope)
    }

    /// A logger whose records name this instrumentation scope.
    pub fn logger(&self, scope: &str) -> Logger {
        Logger::new(self.core.clone(), scope)
    }

    /// A new histogram. Two with the same name make two streams that a receiver cannot tell apart: keep one, and
    /// clone it.
    pub fn histogram(&self, name: &str, unit: &str, bounds: &[f64]) -> Histogram {
        let histogram = Histogram::new(name, unit, bounds);
        self.core.histograms.lock().unwrap_or_else(PoisonError::into_inner).push(histogram.clone());
        histogram
    }

    /// What became of everything so far.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Sends what has gathered and waits until it is sent or given up; false if the time ran out first.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.core.wake.flush(timeout)
    }

    /// Sends what has gathered, for as long as the timeout allows, ends the export thread and says what became of
    /// everything. An attempt that is under way is not cut short: a receiver that hangs costs up to ten seconds more.
    pub fn shutdown(mut self, timeout: Duration) -> Stats {
        self.stop(timeout);
        self.core.stats()
    }

    fn stop(&mut self, timeout: Duration) {
        let Some(thread) = self.thread.take() else { return };
        self.core.wake.shut_down(clock::monotonic() + timeout);
        if thread.join().is_err() {
            self.core.note_error("the export thread panicked".to_owned());
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.stop(DROP_TIMEOUT);
    }
}

/// What tracers, loggers, histograms and the export thread share.
pub(crate) struct Core {
    pub(crate) ids: IdSource,
    pub(crate) spans: Queue<(Arc<str>, ProtoSpan)>,
    pub(crate) logs: Queue<(Arc<str>, LogRecord)>,
    pub(crate) histograms: Mutex<Vec<Histogram>>,
    pub(crate) wake: Wake,
    stats: Mutex<Stats>,
}

impl Default for Core {
    fn default() -> Core {
        Core {
            ids: IdSource::default(),
            spans: Queue::new(QUEUE_ITEMS_MAX),
            logs: Queue::new(QUEUE_ITEMS_MAX),
            histograms: Mutex::default(),
            wake: Wake::default(),
            stats: Mutex::default(),
        }
    }
}

impl Core {
    /// A core without an export thread.
    #[cfg(test)]
    pub(crate) fn for_test() -> Core {
        Core::default()
    }

    pub(crate) fn send_span(&self, scope: Arc<str>, span: ProtoSpan) {
        if self.spans.push((scope, span)) == EARLY_EXPORT_ITEMS {
            self.wake.hurry();
        }
    }

    pub(crate) fn send_log(&self, scope: Arc<str>, record: LogRecord) {
        if self.logs.push((scope, record)) == EARLY_EXPORT_ITEMS {
            self.wake.hurry();
        }
    }

    /// Books what became of a request of `count` items; `of` picks the signal.
    pub(crate) fn book(&self, of: fn(&mut Stats) -> &mut SignalStats, count: u64, outcome: Outcome) {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = of(&mut stats);
        let error = match outcome {
            Outcome::Taken { rejected, message } => {
                let rejected = rejected.min(count);
                signal.rejected += rejected;
                signal.exported += count - rejected;
                (rejected > 0).then(|| format!("{rejected} items rejected: {message}"))
            }
            Outcome::Failed(error) => {
                signal.failed += count;
                Some(error)
            }
        };
        stats.last_error = error.or(stats.last_error.take());
    }

    fn note_error(&self, error: String) {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).last_error = Some(error);
    }

    fn stats(&self) -> Stats {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stats.spans.dropped = self.spans.dropped();
        stats.logs.dropped = self.logs.dropped();
        stats
    }
}
