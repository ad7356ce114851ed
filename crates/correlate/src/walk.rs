//! The first walk: from a latency spike to its log lines and its likely cause.
//!
//! 1. the series whose quantile rose ([`crate::spike`]);
//! 2. the exemplar within the spike nearest to that quantile whose trace is here;
//! 3. the slowest trace of the same kind within the spike;
//! 4. its culprit: the span with the largest share of the critical path;
//! 5. the log lines, those of that very span first;
//! 6. the likely cause ([`crate::cause`]), against quiet traces of the same operation.
//!
//! Every step says whether it resolved and, if not, why; a step that fails does not end the walk where a later one
//! can be reached another way. Deterministic: the same snapshot and request give the same walk.

mod steps;

use serde::{Deserialize, Serialize};
use throughline_model::TraceId;
use throughline_model::link::LinkState;
use throughline_model::record::{Exemplar, LogRecord, TraceSummary};
use throughline_store::{Error, Snapshot, TimeRange};

use crate::cause::Cause;
use crate::spike::Spike;
use crate::trace_view::Culprit;

/// The quantile that a walk looks at when it is not told another.
pub const QUANTILE: f64 = 0.99;
/// How far back a walk looks when it is not told.
pub const RANGE_NS: i64 = 15 * 60 * 1_000_000_000;

/// What to walk from.
#[derive(Clone, Debug, PartialEq)]
pub struct WalkRequest {
    /// Only this service's metrics.
    pub service: Option<String>,
    /// Only this metric.
    pub metric: Option<String>,
    /// Where to look for the spike.
    pub range: TimeRange,
    /// Which quantile, 0 to 1.
    pub quantile: f64,
}

/// A walk, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// Where the spike was looked for.
    pub range: TimeRange,
    /// Which quantile.
    pub quantile: f64,
    /// Whether every step resolved.
    pub resolved: bool,
    /// 1. The series and its spike.
    pub spike: Step<Spike>,
    /// 2. The exemplar.
    pub exemplar: Step<ExemplarFound>,
    /// 3. The slowest trace.
    pub trace: Step<TraceFound>,
    /// 4. The culprit span.
    pub culprit: Step<Culprit>,
    /// 5. The log lines.
    pub logs: Step<LogsFound>,
    /// 6. The likely cause.
    pub cause: Step<Cause>,
    /// The other services and metrics that rose, clearest first.
    pub alternatives: Vec<Alternative>,
    /// What could not be read, so that the walk may have missed it.
    pub partial: Vec<String>,
}

/// One step of a walk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step<T> {
    /// Whether it was found.
    pub resolved: bool,
    /// Why not, or what is worth knowing of how it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The state of the link that leads here, where the step follows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
    /// The command that shows it again.
    pub command: String,
    /// What was found.
    pub found: Option<T>,
}

impl<T> Step<T> {
    fn resolved(found: T, command: String) -> Step<T> {
        Step { resolved: true, reason: None, link: None, command, found: Some(found) }
    }

    fn unresolved(reason: impl Into<String>, command: String) -> Step<T> {
        Step { resolved: false, reason: Some(reason.into()), link: None, command, found: None }
    }
}

/// The exemplar that leads on, and what became of the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExemplarFound {
    /// The exemplar with its link.
    pub exemplar: Exemplar,
    /// Its value in milliseconds.
    pub value_ms: f64,
    /// How many exemplars lie within the spike.
    pub total: usize,
    /// How many of them have a trace that is here.
    pub resolving: usize,
}

/// The trace that stands for the spike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceFound {
    /// Its summary.
    pub summary: TraceSummary,
    /// Whether it is the exemplar's own trace.
    pub is_exemplar: bool,
    /// Among how many traces it is the slowest.
    pub candidates: usize,
}

/// The log lines of the culprit and its trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogsFound {
    /// The lines: the span's own, those of spans below it, then the trace's others; each group by time.
    pub lines: Vec<LogLine>,
    /// How many there are in the whole trace.
    pub total: usize,
}

/// A log record and how near to the culprit it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// How it belongs to the culprit.
    pub relation: Relation,
    /// The record.
    #[serde(flatten)]
    pub log: LogRecord,
}

/// How a log record belongs to a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Written within that very span.
    Span,
    /// Written within a span below it.
    Below,
    /// Written elsewhere in the trace.
    Trace,
}

/// Another metric that rose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// The service.
    pub service: String,
    /// The metric.
    pub metric: String,
    /// The quantile outside of its spike, milliseconds.
    pub before_ms: f64,
    /// The quantile within it, milliseconds.
    pub after_ms: f64,
    /// How many times as high.
    pub factor: f64,
    /// When its spike started, nanoseconds since the epoch.
    pub start: i64,
}

/// Walks. Fails only where the store cannot be read at all.
pub fn walk(snapshot: &Snapshot, request: &WalkRequest) -> Result<Walk, Error> {
    let mut walker = steps::Walker::new(snapshot, request);
    let (spike, alternatives) = walker.spike()?;
    let exemplar = walker.exemplar(spike.found.as_ref())?;
    let trace = walker.trace(spike.found.as_ref(), exemplar.found.as_ref())?;
    let id: Option<TraceId> = trace.found.as_ref().map(|found| found.summary.trace_id);
    let view = walker.view(id)?;
    let culprit = walker.culprit(view.as_ref());
    let logs = walker.logs(view.as_ref(), culprit.found.as_ref());
    let cause = walker.cause(spike.found.as_ref(), view.as_ref(), culprit.found.as_ref())?;
    let resolved = spike.resolved
        && exemplar.resolved
        && trace.resolved
        && culprit.resolved
        && logs.resolved
        && cause.resolved;
    Ok(Walk {
        range: request.range,
        quantile: request.quantile,
        resolved,
        spike,
        exemplar,
        trace,
        culprit,
        logs,
        cause,
        alternatives,
        partial: walker.partial(),
    })
}

#[cfg(test)]
mod tests;
