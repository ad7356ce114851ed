//! What rules read and write: samples, and where they come from and go to.

use std::sync::Arc;

use throughline_exec::{FloatHistogram, Labels, stale_nan};

/// The value of a sample.
#[derive(Clone, Debug)]
pub enum Number {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl Number {
    /// The float; Prometheus shows a histogram as zero where only a float has room.
    #[must_use]
    pub fn float(&self) -> f64 {
        match self {
            Number::Float(value) => *value,
            Number::Histogram(_) => 0.0,
        }
    }
}

/// A trace that a sample cites: an exemplar of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cited {
    /// Labels of the exemplar, `trace_id` among them.
    pub labels: Vec<(String, String)>,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// What was measured.
    pub value: f64,
}

/// An exemplar of one of the series that an expression selects.
#[derive(Clone, Debug)]
pub struct FoundExemplar {
    /// The labels of the series.
    pub series: Labels,
    /// The exemplar.
    pub cited: Cited,
}

/// One sample of one series.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// Its value.
    pub value: Number,
    /// The traces that it cites.
    pub cites: Vec<Cited>,
}

impl Sample {
    /// A float.
    #[must_use]
    pub fn float(labels: Labels, time_ms: i64, value: f64) -> Sample {
        Sample { labels, time_ms, value: Number::Float(value), cites: Vec::new() }
    }

    /// The marker that a series ended.
    #[must_use]
    pub fn stale(labels: Labels, time_ms: i64) -> Sample {
        Sample::float(labels, time_ms, stale_nan())
    }
}

/// The last sample of a series.
#[derive(Clone, Debug)]
pub struct LastSample {
    /// The series.
    pub labels: Labels,
    /// Milliseconds since the epoch.
    pub time_ms: i64,
    /// Its value, stale markers among them.
    pub value: f64,
}

/// Answers queries: the engine over the store, or a table in tests.
pub trait Querier: Sync {
    /// An expression at a moment. A scalar comes as one sample without labels.
    fn instant(&self, expr: &str, time_ms: i64) -> Result<Vec<Sample>, String>;

    /// The exemplars with a trace id of all series that an expression selects, in a window, its ends included.
    fn exemplars(&self, expr: &str, start_ms: i64, end_ms: i64) -> Result<Vec<FoundExemplar>, String>;

    /// The last sample of each series with these labels (and others) in a window, its ends included.
    fn last_samples(
        &self,
        labels: &[(String, String)],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<LastSample>, String>;
}

/// Takes what rules produce.
pub trait Sink: Sync {
    /// Stores the samples durably; afterwards queries see them.
    fn write(&self, samples: &[Sample]) -> Result<(), String>;
}
