//! Books balance: requests and errors of a service, minute by minute, by metric, by span and by log record, and where the
//! differences come from.
//!
//! 1. *By metric*: the service's own request metric (`http.server.request.duration` and its like, [`requests`]), and what this
//!    store derived from every span before anything was sampled (`traces_spanmetrics_calls_total`);
//! 2. *by span*: stored spans of the kinds server and consumer, as they are and adjusted by what their sampler says that they
//!    stand for;
//! 3. *by log record*: traces that the service's records refer to, those with an ERROR, and ERROR records of no trace.
//!
//! A difference between two of them is split into parts, each with its cause and the figures that show it. What no evidence
//! explains is named as unexplained, never spread over the rest.

mod attribution;
mod logs;
mod requests;

use serde::{Deserialize, Serialize};
use throughline_store::{Error, Snapshot, SpanCountQuery, TimeRange};

use crate::doctor;

pub(crate) use requests::{DERIVED, SPAN_METRICS, derived_calls_by_service, own_requests, span_metric_calls};

/// The width of a row.
pub const STEP_NS: i64 = 60_000_000_000;
/// A window has at most so many rows: a day.
pub const MINUTES_MAX: usize = 1_440;
/// OTLP's kinds of spans that serve a request or handle a message.
const SERVER: u8 = 2;
const CONSUMER: u8 = 5;

/// What to reconcile.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The service.
    pub service: String,
    /// The window.
    pub range: TimeRange,
}

/// Requests and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests.
    pub requests: f64,
    /// Those that failed.
    pub errors: f64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.requests += other.requests;
        self.errors += other.errors;
    }
}

/// What log records say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LogSide {
    /// Log records.
    pub records: u64,
    /// Of level ERROR or above.
    pub error_records: u64,
    /// ERROR records of no trace.
    pub errors_without_trace: u64,
    /// Traces that records refer to.
    pub traces: u64,
    /// Those with an ERROR record.
    pub error_traces: u64,
    /// Those whose records say that they were not sampled.
    pub unsampled_traces: u64,
}

impl LogSide {
    fn add(&mut self, other: &LogSide) {
        self.records += other.records;
        self.error_records += other.error_records;
        self.errors_without_trace += other.errors_without_trace;
        self.traces += other.traces;
        self.error_traces += other.error_traces;
        self.unsampled_traces += other.unsampled_traces;
    }
}

/// One row: a minute, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its start, nanoseconds since the epoch.
    pub start: i64,
    /// By the service's own metric; nothing where it has none or no value yet.
    pub metric: Option<Counts>,
    /// By every span that was received, as this store counted them; nothing where deriving is off.
    pub received: Option<Counts>,
    /// By stored spans.
    pub spans: Counts,
    /// By stored spans, each as many as it stands for.
    pub adjusted: Counts,
    /// The variance of these, where chance chose which spans stay.
    #[serde(default)]
    pub variance: Counts,
    /// Of these those that handle messages, which no request metric counts.
    pub messages: f64,
    /// By log records.
    pub logs: LogSide,
}

/// Part of a difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The cause, a fixed word: `sampled`, `sampled_out_by_head`, `chance`, `dropped`, `no_metric`, `outside_any_span`, ….
    pub cause: String,
    /// How much of the difference.
    pub amount: f64,
    /// What shows it.
    pub why: String,
}

/// The difference between two ways to count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// What is counted: `requests` or `errors`.
    pub of: String,
    /// The way with its figure: `metric`, `received`, `adjusted spans`, `spans`, `log records`.
    pub left: (String, f64),
    /// The other.
    pub right: (String, f64),
    /// Left less right.
    pub amount: f64,
    /// Where it comes from.
    pub parts: Vec<Part>,
    /// What no evidence explains.
    pub unexplained: f64,
}

/// The books of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// The service.
    pub service: String,
    /// The window.
    pub range: TimeRange,
    /// The width of a row, nanoseconds.
    pub step_ns: i64,
    /// The metrics that requests were counted by.
    pub metrics: Vec<String>,
    /// Minute by minute, those in which anything was counted.
    pub minutes: Vec<Row>,
    /// All minutes together.
    pub total: Row,
    /// The differences, split.
    pub differences: Vec<Difference>,
    /// Whether every difference is explained, to one in a hundred of what is counted.
    pub balanced: bool,
    /// What could not be read or is beyond a limit.
    pub partial: Vec<String>,
}

/// Rows of a window.
pub(crate) struct Minutes {
    start: i64,
    rows: Vec<Row>,
}

impl Minutes {
    fn new(range: TimeRange) -> Minutes {
        let start = range.start.div_euclid(STEP_NS).saturating_mul(STEP_NS);
        let n_rows = range.end.saturating_sub(start).saturating_add(STEP_NS - 1) / STEP_NS;
        let n_rows = usize::try_from(n_rows).unwrap_or(0).min(MINUTES_MAX);
        let at = |row: usize| start.saturating_add(STEP_NS.saturating_mul(row as i64));
        let rows = (0..n_rows).map(|row| Row { start: at(row), ..Row::default() }).collect();
        Minutes { start, rows }
    }

    fn end(&self) -> i64 {
        self.start.saturating_add(STEP_NS.saturating_mul(self.rows.len() as i64))
    }

    fn at(&mut self, time: i64) -> Option<&mut Row> {
        let row = time.checked_sub(self.start)?.div_euclid(STEP_NS);
        self.rows.get_mut(usize::try_from(row).ok()?)
    }

    /// Spreads what was counted between two moments evenly over the minutes between.
    fn spread(&mut self, from: i64, to: i64, counts: Counts, side: fn(&mut Row) -> &mut Option<Counts>) {
        let length = to.saturating_sub(from);
        if length <= 0 {
            if let Some(row) = self.at(to) {
                side(row).get_or_insert_default().add(counts);
            }
            return;
        }
        let mut at = from.max(self.start);
        let until = to.min(self.end());
        while at < until {
            let next = at.div_euclid(STEP_NS).saturating_add(1).saturating_mul(STEP_NS).min(until);
            let share = (next - at) as f64 / length as f64;
            if let Some(row) = self.at(at) {
                let part = Counts { requests: counts.requests * share, errors: counts.errors * share };
                side(row).get_or_insert_default().add(part);
            }
            at = next;
        }
    }
}

/// Reconciles. Deterministic: the same snapshot and request give the same books.
pub fn reconcile(snapshot: &Snapshot, request: &Request) -> Result<Reconciliation, Error> {
    let mut partial = Vec::new();
    let mut minutes = Minutes::new(request.range);
    let range = TimeRange { start: minutes.start, end: minutes.end() };
    if range.end < request.range.end {
        partial.push(format!("only the first {MINUTES_MAX} minutes of the window are counted"));
    }
    let own = own_requests(snapshot, &request.service, range)?;
    let derived = requests::derived_calls(snapshot, &request.service, range)?;
    for (counted, side) in [
        (&own, (|row: &mut Row| &mut row.metric) as fn(&mut Row) -> &mut Option<Counts>),
        (&derived, |row: &mut Row| &mut row.received),
    ] {
        partial.extend(counted.partial.iter().cloned());
        for step in &counted.steps {
            minutes.spread(step.from, step.to, step.counts, side);
        }
    }
    let counts = snapshot.span_counts(&SpanCountQuery {
        range,
        service: Some(request.service.clone()),
        step_ns: STEP_NS,
    })?;
    partial.extend(counts.partial);
    for count in counts.items.iter().filter(|count| matches!(count.kind, SERVER | CONSUMER)) {
        let Some(row) = minutes.at(count.start) else { continue };
        row.spans.add(Counts { requests: count.spans as f64, errors: count.errors as f64 });
        row.adjusted.add(Counts { requests: count.adjusted, errors: count.adjusted_errors });
        row.variance.add(Counts { requests: count.variance, errors: count.error_variance });
        row.messages += if count.kind == CONSUMER { count.adjusted } else { 0.0 };
    }
    partial.extend(logs::count(snapshot, &request.service, range, &mut minutes));
    let causes = doctor::causes_of_errors(snapshot, &request.service, range)?;
    partial.extend(causes.partial.iter().cloned());
    let total = total(&minutes.rows, range.start);
    let differences = attribution::differences(&total, &minutes.rows, &causes);
    let is_explained = |difference: &Difference| {
        difference.unexplained.abs() <= (difference.left.1.max(difference.right.1) / 100.0).max(1.0)
    };
    partial.sort_unstable();
    partial.dedup();
    Ok(Reconciliation {
        service: request.service.clone(),
        range,
        step_ns: STEP_NS,
        metrics: own.metrics.into_iter().chain(derived.metrics).collect(),
        balanced: differences.iter().all(is_explained),
        minutes: minutes.rows.into_iter().filter(has_any).collect(),
        total,
        differences,
        partial,
    })
}

fn has_any(row: &Row) -> bool {
    row.metric.is_some() || row.received.is_some() || row.spans.requests > 0.0 || row.logs.records > 0
}

fn total(rows: &[Row], start: i64) -> Row {
    let mut total = Row { start, ..Row::default() };
    for row in rows {
        for (sum, part) in [(&mut total.metric, row.metric), (&mut total.received, row.received)] {
            if let Some(part) = part {
                sum.get_or_insert_default().add(part);
            }
        }
        total.spans.add(row.spans);
        total.adjusted.add(row.adjusted);
        total.variance.add(row.variance);
        total.messages += row.messages;
        total.logs.add(&row.logs);
    }
    total
}

#[cfg(test)]
mod tests;
