//! The investigation: from a moment at which something was wrong to who is likely to be the cause, with the evidence.
//!
//! 1. What is looked at follows from the focus: a window, a baseline to compare it with, and which traces ([`Request`]).
//! 2. Both sides are read: spans as trees, the lines that were written within them, utilisations ([`read`], [`side`]).
//! 3. Four kinds of differences are looked for, each on a scale of its own from nothing to one: calls that do something else than
//!    before ([`errors`]), time that is added ([`latency`]), resources that are full ([`resources`]), and error lines
//!    outside of spans. Each is weighed by how sure it is after so many looks ([`statistics`]).
//! 4. Differences are charged to where they come from: an error to the deepest call that shows it, time on the way to the one that is
//!    called. Whoever waits is not blamed.
//! 5. Services are ranked by the chance that not all that speaks against them is for nothing ([`suspects`]).
//!
//! The score of a suspect is that chance, not a share: several may be likely, or none. Deterministic: the same snapshot and
//! request give the same case. What was not checked is said, with the reason.

mod errors;
mod evidence;
pub mod focus;
mod illustrations;
mod latency;
mod lines;
mod read;
pub mod report;
mod resources;
mod sample;
mod side;
mod signature;
mod statistics;
mod suspects;
mod usage;
mod vocabulary;

use serde::{Deserialize, Serialize};
use throughline_model::link::LinkState;
use throughline_model::{Level, PatternId, SpanId, TraceId};
use throughline_store::{Error, Snapshot, TimeRange};

pub use focus::{Focus, Shift};
pub use lines::LINES_MAX;
pub use read::SPANS_MAX;
pub use resources::SERIES_MAX;

use illustrations::Lack;
use vocabulary::Vocabulary;

/// Suspects that a case names by itself.
pub const SUSPECTS: usize = 5;
/// The most that it names.
pub const SUSPECTS_MAX: usize = 50;
/// A suspect with a lower score is no more than noise.
pub const SCORE_MIN: f64 = 0.01;
/// The largest part of the baseline's length against the window's.
const BASELINE_WINDOWS: i64 = 3;
/// A baseline that nobody chose is at least so long.
const BASELINE_MIN_NS: i64 = 300_000_000_000;
/// What is wrong begins before it is noticed: a baseline that nobody chose ends so long before the window.
const GUARD_NS: i64 = 60_000_000_000;

/// What to investigate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What it starts from.
    pub focus: Focus,
    /// When something was wrong.
    pub window: TimeRange,
    /// When nothing was; chosen where absent.
    pub baseline: Option<TimeRange>,
    /// Only traces that come by this service.
    pub service: Option<String>,
    /// How many suspects to name.
    pub suspects: usize,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What it started from.
    pub focus: Focus,
    /// The window that was looked at.
    pub window: TimeRange,
    /// What it was compared with.
    pub baseline: TimeRange,
    /// Whether the baseline was chosen here.
    pub baseline_chosen: bool,
    /// Whether only traces that come by a service were compared, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Who is likely to be the cause, the likeliest first.
    pub suspects: Vec<Suspect>,
    /// What was read.
    pub read: ReadCounts,
    /// The steps that were not checked, each with the reason.
    pub unchecked: Vec<Unchecked>,
    /// What could not be read or was left out.
    pub partial: Vec<String>,
}

/// How much was read, of the window and of the baseline.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ReadCounts {
    pub traces: usize,
    pub baseline_traces: usize,
    pub spans: usize,
    pub baseline_spans: usize,
    /// Spans that began then, where there were more than are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spans_there: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_spans_there: Option<u64>,
    /// Lines that were looked at: those of the traces that were read, and error lines of no trace.
    pub lines: usize,
    pub baseline_lines: usize,
    /// Lines that were written within one of the spans.
    pub linked_lines: usize,
    pub baseline_linked_lines: usize,
    /// Series of utilisations.
    pub series: usize,
}

/// A step that was not checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    /// Which.
    pub step: String,
    /// Why not.
    pub reason: String,
}

/// Somebody who may be the cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// Its place in the list, from 1.
    pub rank: usize,
    /// The service.
    pub service: String,
    /// The instance that stands out, where one does or where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The operation that stands out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// What kind of cause.
    pub cause: CauseClass,
    /// The chance that not all of the evidence is for nothing, 0 to 1.
    pub score: f64,
    /// The whole of it in words.
    pub sentence: String,
    /// What speaks against it, the strongest first.
    pub evidence: Vec<Evidence>,
}

/// A kind of cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseClass {
    /// It fails: errors that are new begin here.
    Errors,
    /// It leaves out what it always did.
    MissingWork,
    /// It takes longer itself.
    SlowItself,
    /// It takes longer to reach it and to get its answer.
    SlowToReach,
    /// It waits for something that sends no spans.
    SlowDependency,
    /// A resource of it is full.
    Saturation,
}

impl CauseClass {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            CauseClass::Errors => "errors begin here",
            CauseClass::MissingWork => "work is left out",
            CauseClass::SlowItself => "slow itself",
            CauseClass::SlowToReach => "slow to reach",
            CauseClass::SlowDependency => "slow dependency",
            CauseClass::Saturation => "resource is full",
        }
    }
}

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A log line or a status of error that more calls have than before.
    NewError,
    /// A log line that calls always had and have not any more.
    VanishedLine,
    /// A call that was always made and is not any more.
    MissingCall,
    /// Time that is spent in the service itself.
    OwnTime,
    /// Time that is spent on the way to the service and back.
    TimeOnTheWay,
    /// A resource that is fuller than before.
    Saturation,
    /// Error lines outside of spans.
    LooseErrors,
    /// An instance uses more or less of a resource than it ever did before, where nothing says how much there is.
    ResourceUse,
    /// Another version runs.
    Deployment,
    /// Requests and failures by the metrics that were counted from every span, whatever was sampled.
    MetricShift,
    /// An exemplar of the window that resolves.
    Exemplar,
    /// A span that stands for the difference.
    Culprit,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What kind.
    pub kind: EvidenceKind,
    /// How much it adds to the suspicion, 0 to 1; nothing for what only illustrates.
    pub score: f64,
    /// How sure it is, after so many looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// In words.
    pub sentence: String,
    /// The operation that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The metric that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// The value in the window: a share of calls, milliseconds, or a utilisation, as the sentence says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<f64>,
    /// The value in the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// How many calls in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<usize>,
    /// How many calls in the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline_calls: Option<usize>,
    /// Of errors: how much of it no call further down explains. Of time: its share of all time that was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The log line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Line>,
    /// Traces that show it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<TraceRef>,
    /// The command that shows it.
    pub command: String,
}

/// A log line as evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When, nanoseconds since the epoch.
    pub time: i64,
    /// Its level.
    pub level: Level,
    /// Its text, or the start of it.
    pub text: String,
    /// Its pattern, where it is known by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<PatternId>,
    /// The trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceId>,
    /// The span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanId>,
}

/// A trace and the span of it that is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceRef {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    /// How long the span's own part took, milliseconds.
    pub own_ms: f64,
    /// How long the trace took, milliseconds.
    pub trace_ms: f64,
    /// Whether it is one of the baseline.
    pub baseline: bool,
    /// Whether it is here; of an exemplar, what its link says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
}

/// Investigates. Fails only where the store cannot be read at all.
pub fn investigate(snapshot: &Snapshot, request: &Request) -> Result<Case, Error> {
    let baseline = request.baseline.unwrap_or_else(|| baseline_of(request.window));
    let mut vocabulary = Vocabulary::default();
    let through = request.focus.through(snapshot, request.service.clone())?;
    let ([before, now], (utilisations, slow)) =
        read::read(snapshot, [baseline, request.window], &through, &mut vocabulary, |before, now| {
            (resources::find(snapshot, request.window, baseline), latency::find(now, before))
        });
    let utilisations = utilisations?;
    let rules = errors::find(&now, &before, &latency::by_span(&slow), &vocabulary);
    let found = suspects::Found {
        snapshot,
        window: request.window,
        baseline,
        now: &now,
        before: &before,
        vocabulary: &vocabulary,
        rules,
        slow: latency::by_service(slow, &now.side, &vocabulary),
        loose: errors::loose(&now, &before, &vocabulary),
        deployed: resources::deployments(&now.side, &before.side, &vocabulary),
        full: &utilisations.full,
    };
    let (suspects, lacks) = found.suspects(request.suspects.clamp(1, SUSPECTS_MAX))?;
    let unchecked = unchecked(&now, &before, &utilisations, &suspects, &lacks);
    let mut partial: Vec<String> =
        [&now.partial, &before.partial, &utilisations.partial].into_iter().flatten().cloned().collect();
    partial.sort_unstable();
    partial.dedup();
    Ok(Case {
        focus: request.focus.clone(),
        window: request.window,
        baseline,
        baseline_chosen: request.baseline.is_none(),
        service: through.service,
        suspects,
        read: counts(&now, &before, utilisations.series),
        unchecked,
        partial,
    })
}

/// The time before a window that it is compared with where nobody chose one.
pub fn baseline_of(window: TimeRange) -> TimeRange {
    let length = window.end.saturating_sub(window.start).max(1);
    let end = window.start.saturating_sub(GUARD_NS.min(length));
    let start = end.saturating_sub(length.saturating_mul(BASELINE_WINDOWS).max(BASELINE_MIN_NS));
    TimeRange { start, end }
}

fn counts(now: &read::Reading, before: &read::Reading, series: usize) -> ReadCounts {
    ReadCounts {
        traces: now.side.traces.len(),
        baseline_traces: before.side.traces.len(),
        spans: now.side.spans.len(),
        baseline_spans: before.side.spans.len(),
        spans_there: now.spans_there,
        baseline_spans_there: before.spans_there,
        lines: now.lines,
        baseline_lines: before.lines,
        linked_lines: now.linked,
        baseline_linked_lines: before.linked,
        series,
    }
}

/// What was not checked, and why.
fn unchecked(
    now: &read::Reading,
    before: &read::Reading,
    utilisations: &resources::Utilisations,
    suspects: &[Suspect],
    lacks: &[Lack],
) -> Vec<Unchecked> {
    let mut unchecked = Vec::new();
    let mut add = |step: &str, reason: String| unchecked.push(Unchecked { step: step.to_owned(), reason });
    if now.side.spans.is_empty() {
        add("traces", "no trace began in the window".to_owned());
    } else if before.side.spans.is_empty() {
        add(
            "traces against the baseline",
            "no trace began in the baseline: name another with spans in it".to_owned(),
        );
    }
    if now.linked == 0 || before.linked == 0 {
        let side = if now.linked == 0 { "window" } else { "baseline" };
        add("log lines of calls", format!("no log line of the {side} names one of its spans"));
    }
    if now.lines_cut || before.lines_cut {
        add("log lines that are missing", format!("more than {LINES_MAX} lines lie in a window"));
    }
    if utilisations.series == 0 {
        add(
            "saturation",
            "no gauge of the windows is a utilisation (unit %, or 1 and utilization in its name)".to_owned(),
        );
    } else if utilisations.full.is_empty() {
        add(
            "saturation",
            "no utilisation has values in both windows and is higher in the later one".to_owned(),
        );
    }
    if suspects.is_empty() {
        add("exemplars", "there is no suspect to have any".to_owned());
    }
    for (kind, step) in [
        (EvidenceKind::MetricShift, "metric shifts"),
        (EvidenceKind::Exemplar, "exemplars"),
        (EvidenceKind::Culprit, "culprit spans"),
        (EvidenceKind::ResourceUse, "use of resources"),
    ] {
        let of_kind = lacks.iter().filter(|lack| lack.kind == kind);
        let reasons: Vec<String> = of_kind.map(|lack| format!("{}: {}", lack.service, lack.reason)).collect();
        if !reasons.is_empty() {
            add(step, reasons.join("; "));
        }
    }
    let has =
        |kind: EvidenceKind| suspects.iter().flat_map(|s| &s.evidence).any(|evidence| evidence.kind == kind);
    if !has(EvidenceKind::Deployment) {
        add(
            "deployments",
            "no resource of a suspect names another service.version or image than in the baseline; what they do not name cannot be seen"
                .to_owned(),
        );
    }
    add(
        "resources without a share",
        "counters and gauges that are not the share of something have no scale to be full on: processor seconds, network traffic and bytes of memory of suspects are compared with the baseline and add nothing to a score, and others are not looked at".to_owned(),
    );
    unchecked
}
