//! What queries evaluate to.

use throughline_exec::Labels;

/// The samples of one series at all steps of a query.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub labels: Labels,
    /// As many as there are steps.
    pub points: Vec<Option<f64>>,
}

/// What an expression evaluates to, at every step.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
}

/// The times at which an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub start_ns: i64,
    /// At least one.
    pub step_ns: i64,
    pub count: usize,
}

impl Steps {
    pub(crate) fn at(&self, step: usize) -> i64 {
        self.start_ns.saturating_add(self.step_ns.saturating_mul(i64::try_from(step).unwrap_or(i64::MAX)))
    }

    pub(crate) fn end_ns(&self) -> i64 {
        self.at(self.count.saturating_sub(1))
    }
}

/// The lines of one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct LogStream {
    /// All labels.
    pub labels: Labels,
    /// Those of them that are the stream's.
    pub stream: Labels,
    /// Those that are metadata of each line.
    pub metadata: Labels,
    /// Those that stages made.
    pub parsed: Labels,
    /// Times in nanoseconds and lines, in the direction of the query.
    pub entries: Vec<(i64, String)>,
}

/// The value of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// Lines, by labels.
    Streams(Vec<LogStream>),
    /// A number.
    Scalar(f64),
    /// A sample for each series, in the order of the result.
    Vector(Vec<(Labels, f64)>),
    /// Samples over time, times in nanoseconds; sorted by labels.
    Matrix(Vec<(Labels, Vec<(i64, f64)>)>),
}
