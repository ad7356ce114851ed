//! What queries answer: traces with spans, or series of numbers.

use throughline_model::{SpanId, TraceId};

use crate::value::Value;

/// What a query for spans answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchAnswer {
    /// Those that started last come first.
    pub traces: Vec<FoundTrace>,
}

/// A trace that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundTrace {
    /// Its id.
    pub id: TraceId,
    /// The service of its root span; empty where the root is missing.
    pub root_service: String,
    /// The name of its root span; empty where the root is missing.
    pub root_name: String,
    /// The first start of all its spans, nanoseconds since the epoch.
    pub start_ns: i64,
    /// From there to the last end, nanoseconds.
    pub duration_ns: i64,
    /// The spans that the query left, at least one set.
    pub spansets: Vec<FoundSpanset>,
    /// The services that took part, by name.
    pub services: Vec<ServiceStats>,
}

/// Spans that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundSpanset {
    /// How many there are.
    pub matched: u64,
    /// The first of them.
    pub spans: Vec<FoundSpan>,
    /// What `by(…)` and aggregates say of them, such as `count()`.
    pub attributes: Vec<(String, Value)>,
}

/// A span that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundSpan {
    /// Its id.
    pub id: SpanId,
    /// Its name.
    pub name: String,
    /// Its start, nanoseconds since the epoch.
    pub start_ns: i64,
    /// Its duration, nanoseconds.
    pub duration_ns: i64,
    /// The fields that the query is about or selects, as far as it has them, by their bare names.
    pub attributes: Vec<(String, Value)>,
}

/// What a service has in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStats {
    /// Its name.
    pub service: String,
    /// Spans.
    pub spans: u32,
    /// Spans whose status is error.
    pub errors: u32,
}

/// What a query for numbers answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsAnswer {
    /// Sorted by labels, but after `topk` and `bottomk`.
    pub series: Vec<MetricSeries>,
    /// Whether there were more series than were asked for.
    pub is_cut: bool,
    /// What the series do not tell, as a limit was met on the way.
    pub notes: Vec<String>,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSeries {
    /// The labels in the order of the query. Values keep their types.
    pub labels: Vec<(String, Value)>,
    /// Times, nanoseconds since the epoch, and values. A time is the end of its interval, which belongs to it.
    pub samples: Vec<(i64, f64)>,
    /// Spans that stand for others.
    pub exemplars: Vec<MetricExemplar>,
}

/// A span that stands for others.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricExemplar {
    /// Its trace.
    pub trace_id: TraceId,
    /// The fields that the query is about, as they are written in it.
    pub labels: Vec<(String, Value)>,
    /// What it measures; of functions that count, the value of the series in the same interval.
    pub value: f64,
    /// When it started, nanoseconds since the epoch.
    pub time_ns: i64,
}
