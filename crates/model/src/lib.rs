//! The words of Throughline as types: ids, attributes, batches, traces and links.
//!
//! Everything else builds on this crate. It does no I/O, reads no clock and knows no query language; the one
//! encoding that it knows is that of attributes ([`attribute`]), because batches carry them as bytes from the
//! wire to the block without taking them apart on the way.

pub mod attribute;
pub mod batch;
pub mod id;
pub mod label;
pub mod level;
pub mod link;
pub mod native_histogram;
pub mod point;
pub mod protobuf;
pub mod record;
pub mod trace;

pub use batch::{Batch, LogBatch, MetricBatch, SpanBatch};
pub use id::{PatternId, SpanId, TraceId};
pub use level::Level;

use serde::{Deserialize, Serialize};

/// One of OpenTelemetry's three signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metric data points and their exemplars.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All signals, in the order in which they are listed everywhere.
    pub const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    /// The name as it stands in OTLP paths and in Collector pipelines.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }

    /// What one item of the signal is called in a sentence, plural.
    pub fn items(self) -> &'static str {
        match self {
            Signal::Traces => "spans",
            Signal::Metrics => "data points",
            Signal::Logs => "log records",
        }
    }
}
