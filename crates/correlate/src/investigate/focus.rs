//! What an investigation starts from, and what follows from it: a window, and which traces to compare.

use serde::{Deserialize, Serialize};
use throughline_exec::Budget;
use throughline_model::{SpanId, TraceId};
use throughline_promql::Engine;
use throughline_promql::ast::Expr;
use throughline_promql::eval::QueryError;
use throughline_promql::value::QueryValue;
use throughline_scan::metrics::MetricSource;
use throughline_store::{Error, Snapshot, TimeRange};

use super::read::Through;

/// Steps in which an expression is looked at.
const STEPS: i64 = 120;
/// A step is no shorter than the interval at which most senders export.
const STEP_MS_MIN: i64 = 15_000;
/// How much of the time around a trace or a line is looked at.
pub const AROUND_NS: i64 = 60_000_000_000;
/// Labels that name a service, the most telling first.
const SERVICE_LABELS: [&str; 4] = ["service_name", "service", "job", "app"];

/// What an investigation starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Focus {
    /// Nothing but a window.
    Window,
    /// An alert that fired.
    Alert {
        /// Its name.
        name: String,
        /// When it fired and with which labels.
        shift: Option<Shift>,
    },
    /// A PromQL expression.
    Query {
        /// Its text.
        expression: String,
        /// Where it rose most.
        shift: Option<Shift>,
    },
    /// A trace, or the trace of an exemplar.
    Trace {
        /// Its id.
        id: TraceId,
    },
    /// A log line.
    Line {
        /// Its service.
        service: String,
        /// When, nanoseconds since the epoch.
        time: i64,
        /// Its trace, where it has one.
        trace: Option<TraceId>,
        /// Its span.
        span: Option<SpanId>,
    },
}

/// How an expression moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// The labels of the series that moved most.
    pub labels: String,
    /// The service that they name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its usual value.
    pub before: f64,
    /// Its highest value since then.
    pub after: f64,
    /// Since when, nanoseconds since the epoch.
    pub since: i64,
    /// Until when it stayed there.
    pub until: i64,
}

impl Focus {
    /// The service that the focus names.
    pub fn service(&self) -> Option<&str> {
        match self {
            Focus::Alert { shift, .. } | Focus::Query { shift, .. } => shift.as_ref()?.service.as_deref(),
            Focus::Line { service, .. } => Some(service),
            Focus::Window | Focus::Trace { .. } => None,
        }
    }

    /// The window that the focus suggests.
    pub fn window(&self, snapshot: &Snapshot) -> Result<Option<TimeRange>, Error> {
        Ok(match self {
            Focus::Window => None,
            Focus::Alert { shift, .. } | Focus::Query { shift, .. } => shift
                .as_ref()
                .map(|shift| TimeRange { start: shift.since, end: shift.until.max(shift.since + 1) }),
            Focus::Trace { id } => snapshot.trace_summary(*id)?.map(|summary| {
                around(summary.start_time, summary.start_time.saturating_add(summary.duration_ns))
            }),
            Focus::Line { time, .. } => Some(around(*time, *time)),
        })
    }

    /// Which traces are compared: those like the trace that it starts from, or those that come by the service that it names.
    /// A service that no trace comes by says nothing of traces.
    pub(super) fn through(&self, snapshot: &Snapshot, service: Option<String>) -> Result<Through, Error> {
        let id = match self {
            Focus::Trace { id } => Some(*id),
            Focus::Line { trace, .. } => *trace,
            _ => None,
        };
        let summary = match id {
            Some(id) => snapshot.trace_summary(id)?,
            None => None,
        };
        let root = summary
            .filter(|summary| summary.span_count > 0)
            .map(|summary| (summary.root_service, summary.root_name));
        let named = service.or_else(|| self.service().map(str::to_owned));
        let service = match named {
            Some(name) => {
                let services = snapshot.services(TimeRange::ALL)?.items;
                services.iter().any(|known| known.service == name && known.span_count > 0).then_some(name)
            }
            None => None,
        };
        Ok(Through { service, root })
    }
}

fn around(start: i64, end: i64) -> TimeRange {
    TimeRange { start: start.saturating_sub(AROUND_NS), end: end.saturating_add(AROUND_NS) }
}

/// Where an expression rose most within a window: the series that moved most against its usual value there, since when and until
/// when. An expression that is only there while something is wrong, as an alert is, rises from nothing.
pub fn shift(
    text: &str,
    expr: &Expr,
    range: TimeRange,
    engine: &Engine,
    source: &MetricSource,
    budget: &Budget,
) -> Result<Option<Shift>, QueryError> {
    let (start_ms, end_ms) = (range.start.div_euclid(1_000_000), range.end.div_euclid(1_000_000));
    let step_ms = ((end_ms - start_ms) / STEPS).max(STEP_MS_MIN);
    let result = engine.range(text, expr, (start_ms, end_ms, step_ms), source, budget)?;
    let QueryValue::Matrix(matrix) = &result.value else { return Ok(None) };
    let steps = ((end_ms - start_ms) / step_ms + 1).max(1) as usize;
    let mut best: Option<(f64, Shift)> = None;
    for series in matrix {
        let floats: Vec<(i64, f64)> = series.floats.iter().filter(|(_, v)| v.is_finite()).copied().collect();
        let Some((factor, mut shift)) = shift_of(&floats, steps, step_ms) else { continue };
        if best.as_ref().is_none_or(|(known, _)| factor > *known) {
            shift.labels = series.labels.to_string();
            let named =
                |name: &str| series.labels.iter().find(|(label, value)| *label == name && !value.is_empty());
            shift.service =
                SERVICE_LABELS.iter().find_map(|name| named(name)).map(|(_, value)| service_in(value));
            best = Some((factor, shift));
        }
    }
    Ok(best.map(|(_, shift)| shift))
}

/// `namespace/name` is how a job names a service.
fn service_in(value: &str) -> String {
    value.rsplit('/').next().unwrap_or(value).to_owned()
}

fn shift_of(floats: &[(i64, f64)], steps: usize, step_ms: i64) -> Option<(f64, Shift)> {
    let mut sorted: Vec<f64> = floats.iter().map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    // Steps without a value count as nothing where they are most.
    let is_rare = sorted.len() * 2 < steps;
    let usual = if is_rare { 0.0 } else { *sorted.get(sorted.len() / 2)? };
    let highest = *sorted.last()?;
    if highest <= usual {
        return None;
    }
    let middle = f64::midpoint(usual, highest);
    let above: Vec<i64> = floats.iter().filter(|(_, value)| *value > middle).map(|(time, _)| *time).collect();
    let (first, last) = (*above.first()?, *above.last()?);
    let spread = sorted.get(sorted.len() * 3 / 4)? - sorted.get(sorted.len() / 4)?;
    let scale = spread.abs().max(usual.abs() * 0.05).max(f64::MIN_POSITIVE);
    let shift = Shift {
        labels: String::new(),
        service: None,
        before: usual,
        after: highest,
        since: (first - step_ms).saturating_mul(1_000_000),
        until: last.saturating_mul(1_000_000),
    };
    Some(((highest - usual) / scale, shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_shifts_where_it_rises() {
        let floats = [(0, 1.0), (15, 1.2), (30, 1.0), (45, 6.0), (60, 9.0), (75, 1.0)];
        let (_, shift) = shift_of(&floats, 6, 15).expect("a shift");
        assert_eq!((shift.since, shift.until, shift.after), (30_000_000, 60_000_000, 9.0));
        assert!(shift_of(&[(0, 1.0), (15, 1.0)], 2, 15).is_none());
        let (_, alert) = shift_of(&[(45, 1.0), (60, 1.0)], 40, 15).expect("it was not there before");
        assert_eq!((alert.before, alert.since), (0.0, 30_000_000));
        assert_eq!(service_in("shop/cart"), "cart");
    }
}
