//! The doctor: rules over all three signals that say what is wrong with the telemetry itself, why, and what to do.
//!
//! [`examine`] gathers evidence from a snapshot once (`evidence`) and hands it to every rule of [`RULES`]. A rule is pure: it
//! counts, names up to five examples by their ids, and gives the command that shows the same again, the cause, and the fix in
//! the words of the SDK that the service uses (`remedy`). Nothing is guessed from a model; where a rule looked at a part
//! only, it says at how much of what.
//!
//! Rules by family, in the order of their numbers: `fields` (0..), `error_logs` (1..), `references` (2..), `names` (3..), `calls`
//! (4..), `sampling` (5..).

mod calls;
mod classify;
mod error_logs;
mod evidence;
mod fields;
mod log_pass;
mod names;
mod references;
mod remedy;
mod sampling;
mod traces;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_model::{SpanId, TraceId};
use throughline_store::{Error, Ledger, Snapshot, TimeRange};

use evidence::Evidence;

/// How far back the doctor looks when it is not told.
pub const RANGE_NS: i64 = 3_600_000_000_000;
/// A finding has at most so many examples.
pub const EXAMPLES_MAX: usize = 5;
/// A report has at most so many findings, the gravest first.
pub const FINDINGS_MAX: usize = 200;

/// What to examine.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Only this service's telemetry; names of services are compared with those of all others still.
    pub service: Option<String>,
    /// The window.
    pub range: TimeRange,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Links break or figures mislead.
    Warning,
    /// What an incident needs is not there.
    Error,
}

impl Level {
    /// The name as it stands in answers.
    pub fn name(self) -> &'static str {
        match self {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// A rule.
pub struct Rule {
    /// Its id, which stays: `TL101`.
    pub id: &'static str,
    /// Its name, which stays too.
    pub name: &'static str,
    /// What it looks for, as a sentence.
    pub what: &'static str,
    check: fn(&Evidence<'_>) -> Outcome,
}

/// What a rule found.
#[derive(Default)]
struct Outcome {
    looked_at: u64,
    of: u64,
    unit: &'static str,
    /// Why it could not look.
    skipped: Option<String>,
    findings: Vec<Draft>,
}

impl Outcome {
    fn of(looked_at: u64, of: u64, unit: &'static str) -> Outcome {
        Outcome { looked_at, of: of.max(looked_at), unit, ..Outcome::default() }
    }

    fn skipped(reason: impl Into<String>) -> Outcome {
        Outcome { skipped: Some(reason.into()), ..Outcome::default() }
    }
}

/// A finding without what its rule says of itself.
struct Draft {
    level: Level,
    service: String,
    count: u64,
    total: u64,
    message: String,
    cause: String,
    fix: String,
    query: String,
    examples: Vec<Example>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's id.
    pub rule: String,
    /// The rule's name.
    pub name: String,
    /// How grave it is.
    pub level: Level,
    /// Whose telemetry it is; empty where it is nobody's alone.
    pub service: String,
    /// How many.
    pub count: u64,
    /// Out of how many.
    pub total: u64,
    /// Of what.
    pub unit: String,
    /// What is wrong, as a sentence with its numbers.
    pub message: String,
    /// Why it is so.
    pub cause: String,
    /// What to do, in the words of the SDK or Collector concerned.
    pub fix: String,
    /// A command that shows it.
    pub query: String,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// One case of a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// When, nanoseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
    /// The trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<SpanId>,
    /// What there is to see.
    pub text: String,
}

impl Example {
    fn text(text: impl Into<String>) -> Example {
        Example { text: text.into(), ..Example::default() }
    }
}

/// What a rule looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The rule's id.
    pub rule: String,
    /// The rule's name.
    pub name: String,
    /// What it looks for.
    pub what: String,
    /// How many items it looked at.
    pub looked_at: u64,
    /// Out of how many.
    pub of: u64,
    /// Of what.
    pub unit: String,
    /// How many findings it has.
    pub findings: u64,
    /// Why it could not look at anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The window.
    pub range: TimeRange,
    /// The service, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The gravest level among the findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<Level>,
    /// What is wrong, the gravest first, then by rule.
    pub findings: Vec<Finding>,
    /// Every rule and what it looked at.
    pub checked: Vec<Checked>,
    /// What could not be read or is beyond a limit.
    pub partial: Vec<String>,
}

/// Every rule, by id.
pub const RULES: &[Rule] = &[
    fields::SPAN_SERVICE,
    fields::LOG_SERVICE,
    fields::METRIC_SERVICE,
    fields::LOG_TRACE_ID,
    fields::LOG_LEVEL,
    fields::REJECTED,
    fields::UNTRACED,
    fields::LOG_MALFORMED_ID,
    error_logs::HEAD_SAMPLED,
    error_logs::TAIL_SAMPLED,
    error_logs::STATUS_UNSET,
    error_logs::OUTSIDE_SPAN,
    error_logs::DETACHED,
    error_logs::MALFORMED_ID,
    error_logs::SPANS_LOST,
    error_logs::NOT_ENDED,
    error_logs::CLOCK_SKEW,
    error_logs::WITHOUT_LOG,
    references::LOG_UNRESOLVED,
    references::EXEMPLAR_MALFORMED,
    references::EXEMPLAR_UNRESOLVED,
    references::HISTOGRAM_WITHOUT_EXEMPLARS,
    names::SEVERAL_NAMES,
    names::SIGNALS_DISAGREE,
    names::SPAN_NAMES,
    names::ATTRIBUTES,
    calls::LOST_PROPAGATION,
    calls::UNINSTRUMENTED,
    calls::ORPHANS,
    calls::HOST_CLOCKS,
    sampling::STARVED_ERRORS,
    sampling::METRICS_AFTER,
];

/// Causes of the ERROR records of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorCauses {
    /// How many records have each cause, by a fixed word; `fine` where the trace has an error span.
    pub by_cause: BTreeMap<&'static str, u64>,
    /// How many ERROR records there are, of which the newest were looked at.
    pub of: u64,
    /// What could not be read.
    pub partial: Vec<String>,
}

/// Why ERROR records of a service have no error span, as the rules TL101 to TL109 tell it.
pub fn causes_of_errors(snapshot: &Snapshot, service: &str, range: TimeRange) -> Result<ErrorCauses, Error> {
    let request = Request { service: Some(service.to_owned()), range };
    let evidence = Evidence::of_errors(snapshot, &request)?;
    let mut by_cause = BTreeMap::new();
    for word in evidence.error_logs.iter().filter_map(|log| log.cause.word()) {
        *by_cause.entry(word).or_default() += 1;
    }
    Ok(ErrorCauses { by_cause, of: evidence.logs.errors(), partial: evidence.partial() })
}

/// Examines a window. `ledger` is what became of everything received, where it is known: it says what was rejected.
/// Deterministic: the same snapshot and request give the same report. Fails only where the store cannot be read at all.
pub fn examine(snapshot: &Snapshot, request: &Request, ledger: Option<&Ledger>) -> Result<Report, Error> {
    let evidence = Evidence::gather(snapshot, request, ledger)?;
    let mut report = Report {
        range: request.range,
        service: request.service.clone(),
        worst: None,
        findings: Vec::new(),
        checked: Vec::new(),
        partial: Vec::new(),
    };
    for rule in RULES {
        let outcome = (rule.check)(&evidence);
        report.checked.push(Checked {
            rule: rule.id.to_owned(),
            name: rule.name.to_owned(),
            what: rule.what.to_owned(),
            looked_at: outcome.looked_at,
            of: outcome.of,
            unit: outcome.unit.to_owned(),
            findings: outcome.findings.len() as u64,
            skipped: outcome.skipped,
        });
        let of_rule = outcome.findings.into_iter().map(|draft| draft.finding(rule, outcome.unit));
        report.findings.extend(of_rule);
    }
    report.findings.sort_by(|a, b| {
        (std::cmp::Reverse(a.level), &a.rule, std::cmp::Reverse(a.count), &a.service).cmp(&(
            std::cmp::Reverse(b.level),
            &b.rule,
            std::cmp::Reverse(b.count),
            &b.service,
        ))
    });
    report.worst = report.findings.iter().map(|finding| finding.level).max();
    report.partial = evidence.partial();
    let over = report.findings.len().saturating_sub(FINDINGS_MAX);
    if over > 0 {
        report.findings.truncate(FINDINGS_MAX);
        report.partial.push(format!("{over} findings over the limit of {FINDINGS_MAX} are left out"));
    }
    Ok(report)
}

impl Draft {
    fn finding(mut self, rule: &Rule, unit: &str) -> Finding {
        self.examples.truncate(EXAMPLES_MAX);
        Finding {
            rule: rule.id.to_owned(),
            name: rule.name.to_owned(),
            level: self.level,
            service: self.service,
            count: self.count,
            total: self.total,
            unit: unit.to_owned(),
            message: self.message,
            cause: self.cause,
            fix: self.fix,
            query: self.query,
            examples: self.examples,
        }
    }
}

#[cfg(test)]
mod tests;
