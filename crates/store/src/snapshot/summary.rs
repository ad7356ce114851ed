//! The summary of a trace from everywhere that its rows lie.
//!
//! A block was told the summary of each of its traces when it was written. Where the spans of a trace lie in one place, that is
//! its summary, and what refers to it elsewhere is added. Where they lie in several, or in a memtable, they are put together
//! here, by the few columns that a summary needs: a search lists twenty traces, and reading them whole would be most of its
//! work.

use throughline_model::TraceId;
use throughline_model::record::{DroppedSpans, Sampling, TraceSummary};
use throughline_model::trace::{Analyser, Analysis, SpanTiming};

use crate::same_span::{SpanIdentity, keep_once};

/// OTLP's `STATUS_CODE_ERROR`.
pub(crate) const STATUS_ERROR: u8 = 2;

/// A record of this severity or a greater one is an error.
const SEVERITY_ERROR: u8 = 17;

/// A span as a summary needs it.
#[derive(Clone, Debug)]
pub(crate) struct SpanPart {
    pub(crate) timing: SpanTiming,
    pub(crate) kind: u8,
    pub(crate) service: String,
    pub(crate) name: String,
}

impl SpanPart {
    fn identity(&self) -> SpanIdentity<'_> {
        let SpanTiming { span_id, start, duration, .. } = self.timing;
        SpanIdentity { start, span_id, kind: self.kind, duration, name: &self.name, service: &self.service }
    }
}

/// What was found of one trace.
#[derive(Debug, Default)]
pub(crate) struct TraceParts {
    /// Summaries that blocks have.
    of_blocks: Vec<TraceSummary>,
    /// Its spans in memtables; where they lie in several places, all of them.
    spans: Vec<SpanPart>,
    log_count: u32,
    error_log_count: u32,
    exemplar_count: u32,
    /// The first and the last time of log records and exemplars in memtables.
    referred: Option<(i64, i64)>,
}

impl TraceParts {
    /// A block has this to say of it.
    pub(crate) fn add_summary(&mut self, summary: TraceSummary) {
        self.of_blocks.push(summary);
    }

    /// A span that no summary counts yet, or one of several places.
    pub(crate) fn add_span(&mut self, span: SpanPart) {
        self.spans.push(span);
    }

    /// A log record in a memtable.
    pub(crate) fn add_log(&mut self, time: i64, severity: u8) {
        self.log_count += 1;
        self.error_log_count += u32::from(severity >= SEVERITY_ERROR);
        self.refer(time);
    }

    /// An exemplar in a memtable.
    pub(crate) fn add_exemplar(&mut self, time: i64) {
        self.exemplar_count += 1;
        self.refer(time);
    }

    fn refer(&mut self, time: i64) {
        let (first, last) = self.referred.unwrap_or((time, time));
        self.referred = Some((first.min(time), last.max(time)));
    }

    /// Whether its spans lie in several places, so that those of blocks are needed, too.
    pub(crate) fn is_scattered(&self) -> bool {
        let of_blocks = self.of_blocks.iter().filter(|summary| summary.span_count > 0).count();
        of_blocks + usize::from(!self.spans.is_empty()) > 1
    }

    /// The summary; `None` where nothing is known of the trace.
    pub(crate) fn summarise(mut self, id: TraceId) -> Option<TraceSummary> {
        let of_memtables = self.of_memtables(id);
        let of_blocks = std::mem::take(&mut self.of_blocks);
        let dropped = of_blocks.iter().map(TraceSummary::dropped).reduce(DroppedSpans::joined).flatten();
        let mut summary = sum_of(of_blocks.into_iter().chain(of_memtables))?;
        if !self.spans.is_empty() {
            describe(self.spans, &mut summary);
        }
        tell_dropped(dropped, &mut summary);
        Some(summary)
    }

    /// What memtables have, without the spans.
    fn of_memtables(&self, id: TraceId) -> Option<TraceSummary> {
        let first_span = self.spans.iter().map(|span| span.timing.start).min();
        let (first, last) = self.referred.or(first_span.map(|start| (start, start)))?;
        Some(TraceSummary {
            trace_id: id,
            start_time: first,
            duration_ns: last.saturating_sub(first),
            root_service: String::new(),
            root_name: String::new(),
            services: Vec::new(),
            span_count: 0,
            error_count: 0,
            log_count: self.log_count,
            error_log_count: self.error_log_count,
            exemplar_count: self.exemplar_count,
            orphan_count: 0,
            culprit_service: String::new(),
            culprit_name: String::new(),
            culprit_self_ns: 0,
            error_culprit_service: String::new(),
            error_culprit_name: String::new(),
            clock_skew_ns: 0,
            sampling: Sampling::Undecided,
            dropped_before: None,
        })
    }
}

/// What a part knows of spans: it has some, or is a tombstone of some.
fn knows_spans(part: &TraceSummary) -> (bool, bool) {
    (part.span_count > 0, matches!(part.sampling, Sampling::Dropped { .. }))
}

/// One summary of several: bounds and what spans say are those of one that has spans, or else of a tombstone; what refers to
/// the trace is added.
fn sum_of(parts: impl Iterator<Item = TraceSummary>) -> Option<TraceSummary> {
    parts.reduce(|a, b| {
        let is_known = knows_spans(&a).max(knows_spans(&b)) > (false, false);
        let (mut sum, other) = if knows_spans(&b) > knows_spans(&a) { (b, a) } else { (a, b) };
        if !is_known {
            let end = |part: &TraceSummary| part.start_time.saturating_add(part.duration_ns);
            let last = end(&sum).max(end(&other));
            sum.start_time = sum.start_time.min(other.start_time);
            sum.duration_ns = last.saturating_sub(sum.start_time);
        }
        sum.log_count += other.log_count;
        sum.error_log_count += other.error_log_count;
        sum.exemplar_count += other.exemplar_count;
        sum
    })
}

/// Writes what sampling dropped, of all parts: where spans have come since, beside what was decided about them.
fn tell_dropped(dropped: Option<DroppedSpans>, summary: &mut TraceSummary) {
    match dropped {
        Some(DroppedSpans { policy, at, span_count }) if summary.span_count == 0 => {
            summary.sampling = Sampling::Dropped { policy, at, span_count };
        }
        dropped => summary.dropped_before = dropped,
    }
}

/// Writes what these spans say, which are all of the trace; those that were received twice count once.
fn describe(mut spans: Vec<SpanPart>, summary: &mut TraceSummary) {
    keep_once(&mut spans, |span| span.timing.start, |a, b| a.identity().cmp(&b.identity()));
    let timings: Vec<SpanTiming> = spans.iter().map(|span| span.timing).collect();
    let mut analysis = Analysis::default();
    Analyser::default().analyse(&timings, &mut analysis);
    let end_time = timings.iter().map(SpanTiming::end).max().unwrap_or_default();
    if summary.span_count == 0 {
        // A tombstone's spans have gone, and these have come since.
        summary.sampling = Sampling::Undecided;
    }
    summary.start_time = timings.iter().map(|timing| timing.start).min().unwrap_or_default();
    summary.duration_ns = end_time.saturating_sub(summary.start_time);
    summary.span_count = spans.len() as u32;
    summary.error_count = timings.iter().filter(|timing| timing.error).count() as u32;
    summary.orphan_count = analysis.orphans;
    summary.services = spans.iter().map(|span| span.service.clone()).collect();
    summary.services.sort_unstable();
    summary.services.dedup();
    let at = |index: Option<u32>| index.and_then(|index| spans.get(index as usize));
    let names = |span: Option<&SpanPart>| {
        span.map(|span| (span.service.clone(), span.name.clone())).unwrap_or_default()
    };
    let root = at(analysis.root).filter(|span| span.timing.parent_span_id.is_none());
    (summary.root_service, summary.root_name) = names(root);
    (summary.culprit_service, summary.culprit_name) = names(at(analysis.latency_culprit));
    let self_time = analysis.latency_culprit.and_then(|index| analysis.self_time.get(index as usize));
    summary.culprit_self_ns = self_time.copied().unwrap_or_default();
    (summary.error_culprit_service, summary.error_culprit_name) = names(at(analysis.error_culprit));
    summary.clock_skew_ns = analysis.clock_skew_ns(&timings, |a, b| {
        let service = |span: usize| spans.get(span).map(|span| &span.service);
        service(a) == service(b)
    });
}
