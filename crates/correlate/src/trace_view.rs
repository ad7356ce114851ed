//! One trace as a reader wants it: a tree with times, and everything else that belongs to it in its place.
//!
//! 1. Spans come in tree order, children by start, with depth, self time and their share of the critical path
//!    ([`throughline_model::trace`] does the analysis).
//! 2. Log records hang on their span where that span is here, else on the trace.
//! 3. Span links carry their state; parents that are missing are named, and so are spans of other traces that link here.
//! 4. Where several spans have one id, what names it, a child or a log record, is at the first of them to start, and each of them
//!    says so.
//! 5. Spans that failed without saying so in their status are found by what they recorded and logged ([`effective`]).

pub mod effective;
pub mod facts;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use throughline_model::link::LinkState;
use throughline_model::record::{DroppedSpans, Exemplar, LogRecord, Span};
use throughline_model::trace::{Analyser, Analysis, SpanTiming};
use throughline_model::{SpanId, TraceId};
use throughline_store::{Error, Found, ReferringSpan, Snapshot, TraceData, Want};

use self::effective::EffectiveError;
use self::facts::{ClockSkew, ServiceCount};

/// How many other traces that span links point at are looked up for one trace. Each costs as much as the trace itself,
/// and a span of a batch consumer may link to thousands.
pub const LINKS_ASKED_MAX: usize = 20;

/// Spans of other traces that link to a trace, as many as a person looks through.
pub const REFERRERS_MAX: usize = 100;

/// A trace with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceView {
    /// The trace.
    pub trace_id: TraceId,
    /// The earliest start, nanoseconds since the epoch.
    pub start_time: i64,
    /// From the earliest start to the latest end, nanoseconds.
    pub duration_ns: i64,
    /// The root's service; empty where the root is missing.
    pub root_service: String,
    /// The root's name; empty where the root is missing.
    pub root_name: String,
    /// The services that took part, sorted.
    pub services: Vec<String>,
    /// What each of them has, by name.
    #[serde(default)]
    pub service_counts: Vec<ServiceCount>,
    /// How many spans have status error.
    pub error_count: usize,
    /// How many spans failed, by their status or by what they recorded and logged.
    #[serde(default)]
    pub effective_error_count: usize,
    /// How many log records there are, on spans and on the trace.
    pub log_count: usize,
    /// How many spans name a parent that is not here.
    #[serde(default)]
    pub orphan_count: usize,
    /// Parents that spans name and that are not here.
    pub missing_parents: Vec<SpanId>,
    /// Services whose clocks do not agree.
    #[serde(default)]
    pub clock_skews: Vec<ClockSkew>,
    /// The span that the latency is charged to.
    pub latency_culprit: Option<Culprit>,
    /// The deepest span in error: the cause, not its echo in the callers.
    pub error_culprit: Option<Culprit>,
    /// The spans in tree order.
    pub spans: Vec<SpanView>,
    /// Log records of the trace that belong to none of its spans.
    pub logs: Vec<LogRecord>,
    /// Exemplars that point at the trace.
    pub exemplars: Vec<Exemplar>,
    /// Spans of other traces that link to this one, the first to start first.
    #[serde(default)]
    pub referred_by: Vec<ReferringSpan>,
    /// What sampling dropped of it before the spans that are here came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_before: Option<DroppedSpans>,
    /// Why the answer may be incomplete; empty where it is complete.
    pub partial: Vec<String>,
}

/// A span in its trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanView {
    /// The span itself.
    #[serde(flatten)]
    pub span: Span,
    /// How many ancestors it has here.
    pub depth: u32,
    /// Its start after the trace's, nanoseconds.
    pub offset_ns: i64,
    /// Its duration without its children's.
    pub self_time_ns: i64,
    /// Its share of the critical path.
    pub critical_time_ns: i64,
    /// Whether it is on the critical path.
    pub on_critical_path: bool,
    /// Whether it names a parent that is not here.
    pub orphan: bool,
    /// Whether other spans of the trace have its id, which are not the other side of its call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_id: bool,
    /// Why it counts as failed, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_error: Option<EffectiveError>,
    /// Its log records, by time.
    pub logs: Vec<LogRecord>,
    /// What its span links point at, and whether that is here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_states: Vec<SpanLink>,
}

/// A span link's target and state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanLink {
    /// The linked trace.
    pub trace_id: TraceId,
    /// The linked span.
    pub span_id: Option<SpanId>,
    /// Whether that trace is here; nothing where it was not checked.
    pub link: Option<LinkState>,
}

/// The span that a trace's latency or error is charged to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Culprit {
    /// Its position in [`TraceView::spans`].
    pub index: usize,
    /// Its id.
    pub span_id: SpanId,
    /// Its service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its duration, nanoseconds.
    pub duration_ns: i64,
    /// Its self time, nanoseconds.
    pub self_time_ns: i64,
    /// Its share of the critical path, nanoseconds.
    pub critical_time_ns: i64,
    /// Its critical time as a fraction of the trace's duration, 0 to 1.
    pub share: f64,
}

impl TraceView {
    /// Reads the wanted signals of a trace from a snapshot, in one look-up. Links are not asked: that takes
    /// [`TraceView::ask_links`]. Of an unknown trace the view is empty.
    pub fn read(snapshot: &Snapshot, id: TraceId, want: Want) -> Result<TraceView, Error> {
        Ok(TraceView::new(id, snapshot.trace(id, want)?))
    }

    /// Arranges what was read of a trace. Links are not asked.
    pub fn new(trace_id: TraceId, data: TraceData) -> TraceView {
        let TraceData { spans, mut logs, mut exemplars, dropped, partial } = data;
        logs.sort_by_key(|log| log.time);
        exemplars.sort_by_key(|exemplar| exemplar.time);
        let analysis = analyse(&spans);
        let start_time = bounds_start(&spans, &logs, &exemplars);
        let end_time = spans.iter().map(Span::end_time).max().unwrap_or(start_time);
        let root = analysis.root.and_then(|i| spans.get(i as usize)).filter(|s| s.parent_span_id.is_none());
        let mut services: Vec<String> = spans.iter().map(|span| span.service.clone()).collect();
        services.sort_unstable();
        services.dedup();
        let mut view = TraceView {
            trace_id,
            start_time,
            duration_ns: end_time.saturating_sub(start_time),
            root_service: root.map_or_else(String::new, |span| span.service.clone()),
            root_name: root.map_or_else(String::new, |span| span.name.clone()),
            services,
            service_counts: facts::services(&spans, &analysis),
            error_count: spans.iter().filter(|span| span.is_error()).count(),
            effective_error_count: 0,
            log_count: logs.len(),
            orphan_count: analysis.orphans as usize,
            missing_parents: Vec::new(),
            clock_skews: facts::clock_skews(&spans, &analysis),
            latency_culprit: None,
            error_culprit: None,
            spans: Vec::with_capacity(spans.len()),
            logs: Vec::new(),
            exemplars,
            referred_by: Vec::new(),
            // Where no spans are here, the tombstone says more.
            dropped_before: dropped.filter(|_| !spans.is_empty()),
            partial,
        };
        view.arrange(spans, &analysis);
        view.attach_logs(logs);
        view.find_errors();
        view
    }

    /// Finds the spans that failed, with their log records in place, and the one that the error is charged to.
    fn find_errors(&mut self) {
        for at in &mut self.spans {
            at.effective_error = EffectiveError::of(&at.span, &at.logs);
        }
        self.effective_error_count = self.spans.iter().filter(|at| at.effective_error.is_some()).count();
        self.error_culprit = effective::culprit(&self.spans).and_then(|index| self.culprit(index));
    }

    fn culprit(&self, index: usize) -> Option<Culprit> {
        let at = self.spans.get(index)?;
        Some(Culprit {
            index,
            span_id: at.span.span_id,
            service: at.span.service.clone(),
            name: at.span.name.clone(),
            duration_ns: at.span.duration_ns,
            self_time_ns: at.self_time_ns,
            critical_time_ns: at.critical_time_ns,
            share: at.critical_time_ns as f64 / self.duration_ns.max(1) as f64,
        })
    }

    /// Whether nothing was found: no span, log record or exemplar.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.logs.is_empty() && self.exemplars.is_empty()
    }

    /// The span with this id and its position; of several the first to start.
    pub fn span(&self, id: SpanId) -> Option<(usize, &SpanView)> {
        let with_id = self.spans.iter().enumerate().filter(|(_, view)| view.span.span_id == id);
        with_id.min_by_key(|(_, view)| view.span.start_time)
    }

    /// The positions of a span's descendants: those that follow it in tree order and lie deeper.
    pub fn descendants(&self, index: usize) -> std::ops::Range<usize> {
        let depth = self.spans.get(index).map_or(0, |view| view.depth);
        let below = self.spans.iter().skip(index + 1).take_while(|view| view.depth > depth).count();
        index + 1..index + 1 + below
    }

    fn arrange(&mut self, spans: Vec<Span>, analysis: &Analysis) {
        let order = tree_order(&spans, analysis);
        let mut place = vec![0usize; spans.len()];
        for (at, index) in order.iter().enumerate() {
            place[*index] = at;
        }
        let latency = analysis.latency_culprit.and_then(|index| place.get(index as usize).copied());
        let here: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
        let shared = facts::shared_ids(&spans);
        let mut slots: Vec<Option<Span>> = spans.into_iter().map(Some).collect();
        let mut missing = HashSet::new();
        for index in order {
            let Some(span) = slots.get_mut(index).and_then(Option::take) else { continue };
            // Of a circle one span has no parent in the tree, though all of them are here.
            let lost = span.parent_span_id.filter(|parent| !here.contains(parent));
            self.missing_parents.extend(lost.filter(|parent| missing.insert(*parent)));
            self.spans.push(SpanView {
                depth: analysis.depth[index],
                offset_ns: span.start_time.saturating_sub(self.start_time),
                self_time_ns: analysis.self_time[index],
                critical_time_ns: analysis.critical_time[index],
                on_critical_path: analysis.on_critical_path[index],
                orphan: lost.is_some(),
                shares_id: shared.contains(&span.span_id),
                effective_error: None,
                logs: Vec::new(),
                link_states: Vec::new(),
                span,
            });
        }
        self.latency_culprit = latency.and_then(|index| self.culprit(index));
    }

    fn attach_logs(&mut self, logs: Vec<LogRecord>) {
        let mut by_id: HashMap<SpanId, usize> = HashMap::with_capacity(self.spans.len());
        for (index, view) in self.spans.iter().enumerate() {
            let first = by_id.entry(view.span.span_id).or_insert(index);
            if view.span.start_time < self.spans[*first].span.start_time {
                *first = index;
            }
        }
        for log in logs {
            let owner = log.span_id.and_then(|id| by_id.get(&id)).and_then(|i| self.spans.get_mut(*i));
            match owner {
                Some(view) => view.logs.push(log),
                None => self.logs.push(log),
            }
        }
    }

    /// Fills in the states of span links, and what links to the trace. Traces beyond [`LINKS_ASKED_MAX`] are left unchecked and spans
    /// beyond [`REFERRERS_MAX`] are left out, which `partial` says.
    pub fn ask_links(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let Found { items, partial } = snapshot.referring_spans(self.trace_id, REFERRERS_MAX);
        self.referred_by = items;
        for reason in partial {
            if !self.partial.contains(&reason) {
                self.partial.push(reason);
            }
        }
        self.fill_links(|id, referred_at| snapshot.link_state_since(id, Some(referred_at)))
    }

    fn fill_links(
        &mut self,
        mut look_up: impl FnMut(TraceId, i64) -> Result<LinkState, Error>,
    ) -> Result<(), Error> {
        // Links between spans of this very trace need no look-up: its spans are here.
        let mut states = HashMap::from([(self.trace_id, LinkState::Resolved)]);
        let (mut asked, mut unchecked) = (0, 0usize);
        for view in &mut self.spans {
            for link in &view.span.links {
                let text = |key: &str| link.get(key).and_then(Json::as_str).unwrap_or_default();
                let Some((trace_id, _)) = TraceId::parse(text("trace_id")) else { continue };
                if asked < LINKS_ASKED_MAX && !states.contains_key(&trace_id) {
                    asked += 1;
                    states.insert(trace_id, look_up(trace_id, view.span.start_time)?);
                }
                let link_state = states.get(&trace_id).cloned();
                unchecked += usize::from(link_state.is_none());
                let span_id = SpanId::parse(text("span_id"));
                view.link_states.push(SpanLink { trace_id, span_id, link: link_state });
            }
        }
        if unchecked > 0 {
            let only = format!("only {LINKS_ASKED_MAX} linked traces are looked up");
            self.partial.push(format!("{unchecked} span links were not checked: {only}"));
        }
        Ok(())
    }
}

fn analyse(spans: &[Span]) -> Analysis {
    let timings: Vec<SpanTiming> = spans
        .iter()
        .map(|span| SpanTiming {
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            start: span.start_time,
            duration: span.duration_ns,
            error: span.is_error(),
        })
        .collect();
    let mut analysis = Analysis::default();
    Analyser::default().analyse(&timings, &mut analysis);
    analysis
}

fn bounds_start(spans: &[Span], logs: &[LogRecord], exemplars: &[Exemplar]) -> i64 {
    let spans = spans.iter().map(|span| span.start_time).min();
    let others = logs.iter().map(|log| log.time).chain(exemplars.iter().map(|e| e.time)).min();
    spans.or(others).unwrap_or(0)
}

/// Depth first without recursion; the root comes first, then the other tops by start.
fn tree_order(spans: &[Span], analysis: &Analysis) -> Vec<usize> {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut stack = Vec::new();
    for (index, parent) in analysis.parent.iter().enumerate() {
        match parent {
            Some(parent) => children[*parent as usize].push(index),
            None => stack.push(index),
        }
    }
    // The stack is taken from its end, so everything is sorted latest first.
    let latest_first = |index: &usize| std::cmp::Reverse((spans[*index].start_time, *index));
    stack.sort_by_key(|index| {
        std::cmp::Reverse((Some(*index as u32) != analysis.root, spans[*index].start_time, *index))
    });
    let mut order = Vec::with_capacity(spans.len());
    while let Some(index) = stack.pop() {
        order.push(index);
        let mut below = std::mem::take(&mut children[index]);
        below.sort_by_key(latest_first);
        stack.append(&mut below);
    }
    order
}

#[cfg(test)]
mod tests;
