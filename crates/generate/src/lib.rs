//! Realistic telemetry from a seed, for tests and benchmarks: traces, log records and metrics that belong
//! together, as encoded OTLP requests.
//!
//! 24 services with 8 instances each answer requests; about 10 spans make a trace, 15 log records fall into the
//! time of one, and 40 % of those carry the ids of its spans. Every instance has 90 series, a sixth of them
//! histograms with an exemplar that leads to a trace. The same seed and base time give the same bytes.
//!
//! The crate stands apart: it shares no code with the store and the decoders that it tests.

pub mod batches;
pub mod catalog;
pub mod corpus;
pub mod logs;
pub mod metrics;
pub mod plan;
pub mod random;
pub mod sender;
pub mod spans;

use opentelemetry_proto::tonic::resource::v1::Resource;

pub use batches::ITEMS_PER_REQUEST;
use logs::LogRequests;
use metrics::MetricRequests;
use plan::{Plan, TRACE_INTERVAL_NS};
use spans::TraceRequests;

/// Spans of a trace on average.
pub const SPANS_PER_TRACE: u64 = 10;
/// Log records that fall into the time of one trace.
pub const RECORDS_PER_TRACE: u64 = 15;

/// One of the three signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
    /// Metric data points.
    Metrics,
}

/// One encoded `ExportTraceServiceRequest`, `ExportLogsServiceRequest` or `ExportMetricsServiceRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it holds.
    pub signal: Signal,
    /// The protobuf bytes.
    pub body: Vec<u8>,
    /// How many spans, records or data points.
    pub items: usize,
}

/// A trace that the generator made: what a look-up has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceTruth {
    /// Its id.
    pub trace_id: [u8; 16],
    /// How many spans it has.
    pub spans: usize,
    /// When its first span starts, nanoseconds since 1970.
    pub start_ns: u64,
}

impl TraceTruth {
    /// The id as 32 hexadecimal digits.
    pub fn hex_id(&self) -> String {
        self.trace_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Makes telemetry from a seed. All data ends shortly before the base time.
pub struct Generator {
    seed: u64,
    base_time_ns: u64,
    /// Time between the starts of neighbouring traces.
    interval_ns: u64,
    pool: Option<u64>,
    resources: Vec<Resource>,
}

impl Generator {
    /// A generator whose data ends at a time, in nanoseconds since 1970; "now" in most cases.
    pub fn new(seed: u64, base_time_ns: u64) -> Generator {
        let resources = (0..catalog::INSTANCES).map(|instance| catalog::resource(seed, instance)).collect();
        Generator { seed, base_time_ns, interval_ns: TRACE_INTERVAL_NS, pool: None, resources }
    }

    /// Traces begin so long after each other, in nanoseconds, and not 18 ms: 7.2 ms make five million spans an hour.
    pub fn every(mut self, interval_ns: u64) -> Generator {
        self.interval_ns = interval_ns.max(1);
        self
    }

    /// Log records and exemplars refer only to the traces that [`Generator::traces`] makes for this many spans.
    ///
    /// Without it records refer to as many traces as fall into their time, so that `traces(n)` beside
    /// `logs(n * 3 / 2)` match; and exemplars to the traces of the last six minutes.
    pub fn referring_to(mut self, spans: u64) -> Generator {
        self.pool = Some(traces_of(spans));
        self
    }

    /// About `spans` spans: as many whole traces as have that many on average, at least one.
    pub fn traces(&self, spans: u64) -> TraceRequests<'_> {
        TraceRequests::new(self, traces_of(spans))
    }

    /// Exactly `records` log records.
    pub fn logs(&self, records: u64) -> LogRequests<'_> {
        let traces = self.pool.unwrap_or_else(|| records.div_ceil(RECORDS_PER_TRACE).max(1));
        LogRequests::new(self, records, traces)
    }

    /// Exactly `points` metric data points.
    pub fn metrics(&self, points: u64) -> MetricRequests<'_> {
        MetricRequests::new(self, points)
    }

    /// The traces that [`Generator::traces`] makes for the same number, oldest first.
    pub fn trace_ids(&self, spans: u64) -> impl Iterator<Item = TraceTruth> + '_ {
        (0..self.trace_count(spans)).rev().map(|number| self.trace(number))
    }

    /// How many traces [`Generator::traces`] makes for a number of spans.
    pub fn trace_count(&self, spans: u64) -> u64 {
        traces_of(spans)
    }

    /// The truth about the trace with a number, counted from the newest.
    pub fn trace(&self, number: u64) -> TraceTruth {
        let plan = self.plan(number);
        let start_ns = plan.spans.iter().map(|span| span.start_ns).min().unwrap_or(0);
        TraceTruth { trace_id: plan.trace_id, spans: plan.spans.len(), start_ns }
    }

    /// The plan of the trace with a number, counted from the newest.
    pub fn plan(&self, number: u64) -> Plan {
        plan::plan(self.seed, self.base_time_ns, self.interval_ns, number)
    }

    pub(crate) fn resource(&self, instance: usize) -> Resource {
        self.resources[instance].clone()
    }

    /// A trace number that a reference may use.
    pub(crate) fn in_pool(&self, number: u64) -> u64 {
        self.pool.map_or(number, |pool| number % pool.max(1))
    }
}

fn traces_of(spans: u64) -> u64 {
    (spans / SPANS_PER_TRACE).max(1)
}

#[cfg(test)]
mod tests;
