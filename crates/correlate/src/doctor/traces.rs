//! A sample of the window's traces, and what counting over them gives.
//!
//! The window is cut into parts of equal length, and of each the newest traces are taken: a burst does not crowd out the rest.
//! Traces that are still arriving are left out, because what they lack may be on its way.

use std::collections::{BTreeMap, BTreeSet};

use throughline_model::record::{LogRecord, Span, TraceSummary};
use throughline_model::{SpanId, TraceId};
use throughline_store::{Error, TimeRange, TraceData, TraceQuery, Want};

use super::classify::TOLERANCE_NS;
use super::evidence::{Evidence, TRACE_SPANS_MAX};

/// Traces that are read.
const TRACES_MAX: usize = 1_200;
/// Parts of the window.
const PARTS: i64 = 12;
/// A trace that ended less than this before the snapshot was taken may still be arriving.
pub(super) const SETTLED_NS: i64 = 60_000_000_000;
/// How long before a record a span may have begun that is looked at for this record.
const RUNNING_NS: i64 = 60 * SECOND_NS;
/// Of those first the newest, then those that lasted at least so long.
const RUNNING: [Option<i64>; 2] = [None, Some(SECOND_NS)];
/// Longer ones, batch jobs and streams, are looked for once: those of the window and of so long before it.
const LONG_FROM_NS: i64 = 86_400 * SECOND_NS;
/// How many traces are looked at for each of them.
const RUNNING_MAX: usize = 20;
const SECOND_NS: i64 = 1_000_000_000;
/// Kinds of OTLP.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const CONSUMER: u8 = 5;
/// Attributes of a client's span that name the other side, the surest first.
const PEER_ATTRIBUTES: [&str; 7] =
    ["peer.service", "rpc.service", "server.address", "net.peer.name", "http.host", "url.full", "http.url"];
/// Attributes that say that the other side sends no spans.
const STORE_ATTRIBUTES: [&str; 3] = ["db.system", "db.system.name", "messaging.system"];
/// Attributes that hold the answer's status, of HTTP and of gRPC.
const HTTP_STATUS: [&str; 2] = ["http.response.status_code", "http.status_code"];
const RPC_STATUS: [&str; 2] = ["rpc.grpc.status_code", "rpc.response.status_code"];
/// Answers of something in between, or of nobody: gateways', and gRPC's CANCELLED, DEADLINE_EXCEEDED and UNAVAILABLE.
const GATEWAY_ERRORS: [&str; 3] = ["502", "503", "504"];
const RPC_UNANSWERED: [&str; 6] = ["1", "4", "14", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"];
/// Examples that are kept of each thing counted.
const KEPT: usize = 8;

/// The sampled traces, newest first.
pub(super) fn sample(evidence: &Evidence<'_>) -> Result<Vec<TraceSummary>, Error> {
    let range = evidence.request.range;
    let settled = evidence.snapshot.taken_at().saturating_sub(SETTLED_NS);
    let end = range.end.min(settled);
    if end <= range.start {
        return Ok(Vec::new());
    }
    let start = range.start.max(end.saturating_sub(366 * 86_400 * 1_000_000_000));
    let step = (end.saturating_sub(start) / PARTS).max(1);
    let parts = (0..PARTS).map(|part| {
        let from = start.saturating_add(step.saturating_mul(part));
        let to = if part == PARTS - 1 { end } else { from.saturating_add(step).min(end) };
        TimeRange { start: from, end: to }
    });
    let newest = |range: TimeRange, limit: usize| -> Result<Vec<TraceSummary>, Error> {
        let found = evidence.snapshot.search_traces(&TraceQuery {
            range,
            service: evidence.request.service.clone(),
            operation: None,
            min_duration_ns: None,
            max_duration_ns: None,
            error: None,
            limit,
        })?;
        evidence.note(found.partial);
        Ok(found.items)
    };
    let mut out: Vec<TraceSummary> = Vec::new();
    let mut full: Vec<TimeRange> = Vec::new();
    let share = TRACES_MAX / PARTS as usize;
    for part in parts.filter(|part| part.start < part.end) {
        let found = newest(part, share)?;
        if found.len() >= share {
            full.push(part);
        }
        out.extend(found);
    }
    // What parts without so many leave goes to the others: a service may have begun to send a minute ago.
    let left = TRACES_MAX.saturating_sub(out.len()) / full.len().max(1);
    if left >= share / 2 {
        for part in full {
            out.extend(newest(part, share + left)?);
        }
    }
    out.retain(|trace| trace.span_count > 0 && trace.start_time.saturating_add(trace.duration_ns) < settled);
    out.sort_by_key(|trace| (std::cmp::Reverse(trace.start_time), trace.trace_id));
    out.dedup_by_key(|trace| trace.trace_id);
    Ok(out)
}

/// A span of the record's service that was running when it was written.
pub(super) fn running_at(
    evidence: &Evidence<'_>,
    record: &LogRecord,
) -> Result<Option<(TraceId, SpanId)>, Error> {
    let instance = instance_of(&record.resource);
    let is_running = |span: &&Span| {
        span.service == record.service
            && span.start_time <= record.time
            && record.time <= span.end_time()
            && is_same(&instance_of(&span.resource), &instance)
    };
    let end = record.time.saturating_add(1);
    let near = TimeRange { start: record.time.saturating_sub(RUNNING_NS), end };
    for min_duration_ns in RUNNING {
        for summary in newest_of(evidence, &record.service, near, min_duration_ns)? {
            let data = evidence.snapshot.trace(summary.trace_id, Want::SPANS)?;
            if let Some(span) = data.spans.iter().find(is_running) {
                return Ok(Some((span.trace_id, span.span_id)));
            }
        }
    }
    let long = evidence.long_spans(&record.service)?;
    Ok(long.iter().find(is_running).map(|span| (span.trace_id, span.span_id)))
}

/// The newest traces with a span of a service, but for the largest.
fn newest_of(
    evidence: &Evidence<'_>,
    service: &str,
    range: TimeRange,
    min_duration_ns: Option<i64>,
) -> Result<Vec<TraceSummary>, Error> {
    let mut found = evidence.snapshot.search_traces(&TraceQuery {
        range,
        service: Some(service.to_owned()),
        operation: None,
        min_duration_ns,
        max_duration_ns: None,
        error: None,
        limit: RUNNING_MAX,
    })?;
    found.items.retain(|trace| trace.span_count <= TRACE_SPANS_MAX);
    Ok(found.items)
}

/// The spans of a service that lasted longer than what [`running_at`] looks at for each record, of the window and a day before it.
pub(super) fn long_spans(evidence: &Evidence<'_>, service: &str) -> Result<Vec<Span>, Error> {
    let range = evidence.request.range;
    let range = TimeRange { start: range.start.saturating_sub(LONG_FROM_NS), end: range.end };
    let mut out = Vec::new();
    for summary in newest_of(evidence, service, range, Some(RUNNING_NS))? {
        let spans = evidence.snapshot.trace(summary.trace_id, Want::SPANS)?.spans;
        out.extend(
            spans.into_iter().filter(|span| span.service == service && span.duration_ns >= RUNNING_NS),
        );
    }
    Ok(out)
}

/// Whether two instances are one, as far as both are named.
fn is_same(a: &str, b: &str) -> bool {
    a.is_empty() || b.is_empty() || a == b
}

/// What tells an instance of a service from others: its id, its pod or its host.
fn instance_of(resource: &serde_json::Map<String, serde_json::Value>) -> String {
    let keys = ["service.instance.id", "k8s.pod.name", "host.name"];
    let found = keys.iter().find_map(|key| resource.get(*key));
    found.map_or_else(String::new, crate::contrast::text_of)
}

/// A case with its ids.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub time: i64,
    pub text: String,
}

impl Case {
    fn of(span: &Span, text: String) -> Case {
        Case { trace_id: span.trace_id, span_id: span.span_id, time: span.start_time, text }
    }
}

/// Counted things with some examples.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub count: u64,
    pub cases: Vec<Case>,
}

impl Tally {
    fn add(&mut self, case: impl FnOnce() -> Case) {
        self.count += 1;
        if self.cases.len() < KEPT {
            self.cases.push(case());
        }
    }
}

/// Client spans of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// All that call somebody who could send spans, and that reached somebody, as far as they say.
    pub client_spans: u64,
    /// Those with the other side's span, by the peer's name.
    pub answered: BTreeMap<String, u64>,
    /// Those without, likewise.
    pub unanswered: BTreeMap<String, Unanswered>,
}

/// Calls of one peer without its span.
#[derive(Clone, Debug, Default)]
pub(super) struct Unanswered {
    pub tally: Tally,
    /// The attribute that names the peer, and its value.
    pub by: Option<(&'static str, String)>,
}

/// What the spans of a trace have below them.
#[derive(Default)]
struct Below {
    /// A span that serves, or that is another service's.
    answers: BTreeSet<SpanId>,
    /// A client span of the same service: that one makes the call.
    calls: BTreeSet<SpanId>,
}

impl Below {
    fn of(spans: &[Span], by_id: &BTreeMap<SpanId, &Span>) -> Below {
        let mut below = Below::default();
        for span in spans {
            let Some(id) = span.parent_span_id else { continue };
            let parent = by_id.get(&id);
            if matches!(span.kind, SERVER | CONSUMER) || parent.is_some_and(|of| of.service != span.service) {
                below.answers.insert(id);
            } else if span.kind == CLIENT {
                below.calls.insert(id);
            }
        }
        below
    }
}

/// Who was called: the name, and the attribute that says it.
fn peer_of(span: &Span) -> (String, Option<(&'static str, String)>) {
    let named = PEER_ATTRIBUTES.iter().find_map(|key| {
        let value = crate::contrast::text_of(span.attributes.get(*key)?);
        Some((*key, value)).filter(|(_, value)| !value.is_empty())
    });
    let Some((key, value)) = named else { return (String::new(), None) };
    let name = match key {
        // A package and a service.
        "rpc.service" => value.rsplit('.').next().unwrap_or_default(),
        "url.full" | "http.url" => {
            let rest = value.split_once("://").map_or(value.as_str(), |(_, rest)| rest);
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            return (authority.rsplit('@').next().unwrap_or_default().to_owned(), None);
        }
        _ => value.as_str(),
    };
    (name.to_owned(), Some((key, value)))
}

/// Whether the other side may have seen a call: one that failed without its answer may never have reached it.
fn may_have_arrived(span: &Span) -> bool {
    let status = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| span.attributes.get(*key))?;
        Some(found.as_f64().map_or_else(|| crate::contrast::text_of(found), |code| code.to_string()))
    };
    match (status(&RPC_STATUS), status(&HTTP_STATUS)) {
        _ if !span.is_error() => true,
        (Some(code), _) => !RPC_UNANSWERED.contains(&code.as_str()),
        (None, Some(code)) => !GATEWAY_ERRORS.contains(&code.as_str()),
        (None, None) => false,
    }
}

/// Two instances of which one calls the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub caller: (String, String),
    pub callee: (String, String),
}

/// How the clocks of a pair differ.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    pub calls: u64,
    /// Calls whose server span lies outside of the client's, and how far the server's clock would have to be turned.
    pub outside: Tally,
    pub offsets_ns: Vec<i64>,
}

/// What was counted over the sampled traces.
#[derive(Default)]
pub(super) struct Tallies {
    pub spans: u64,
    /// Spans of each service.
    pub by_service: BTreeMap<String, u64>,
    pub orphans: BTreeMap<String, Tally>,
    /// Of orphans those that serve a request of somebody unseen.
    pub orphan_servers: BTreeMap<String, u64>,
    pub calls: BTreeMap<String, Calls>,
    pub clocks: BTreeMap<Pair, Clocks>,
    /// A log record's service and that of its own span, where they differ.
    pub disagreeing: BTreeMap<(String, String), Tally>,
    pub logs_on_spans: u64,
}

impl Tallies {
    pub fn add(&mut self, evidence: &Evidence<'_>, summary: &TraceSummary, data: &TraceData) {
        let by_id: BTreeMap<SpanId, &Span> = data.spans.iter().map(|span| (span.span_id, span)).collect();
        let below = Below::of(&data.spans, &by_id);
        let is_asked =
            |service: &str| evidence.request.service.as_deref().is_none_or(|asked| asked == service);
        for span in &data.spans {
            let parent = span.parent_span_id.map(|id| (id, by_id.get(&id).copied()));
            if let Some((_, Some(parent))) = parent
                && (is_asked(&span.service) || is_asked(&parent.service))
            {
                self.compare_clocks(parent, span);
            }
            if !is_asked(&span.service) {
                continue;
            }
            self.spans += 1;
            *self.by_service.entry(span.service.clone()).or_default() += 1;
            if let Some((id, None)) = parent
                && summary.orphan_count > 0
            {
                self.orphans.entry(span.service.clone()).or_default().add(|| {
                    Case::of(span, format!("{} names the parent {id}, which is not here", span.name))
                });
                if matches!(span.kind, SERVER | CONSUMER) {
                    *self.orphan_servers.entry(span.service.clone()).or_default() += 1;
                }
            }
            // Who takes a message does so in a trace of its own with a span link, later, or never: producers call nobody.
            if span.kind == CLIENT {
                self.count_call(span, &below);
            }
        }
        self.compare_names(&by_id, data, is_asked);
    }

    fn compare_names(
        &mut self,
        by_id: &BTreeMap<SpanId, &Span>,
        data: &TraceData,
        is_asked: impl Fn(&str) -> bool,
    ) {
        for log in &data.logs {
            let Some(span) = log.span_id.and_then(|id| by_id.get(&id)) else { continue };
            if !is_asked(&log.service) && !is_asked(&span.service) {
                continue;
            }
            self.logs_on_spans += 1;
            if log.service != span.service {
                let key = (log.service.clone(), span.service.clone());
                self.disagreeing.entry(key).or_default().add(|| Case {
                    trace_id: span.trace_id,
                    span_id: span.span_id,
                    time: log.time,
                    text: super::evidence::text_of(log),
                });
            }
        }
    }

    fn count_call(&mut self, span: &Span, below: &Below) {
        if STORE_ATTRIBUTES.iter().any(|key| span.attributes.contains_key(*key)) {
            return;
        }
        let is_answered = below.answers.contains(&span.span_id);
        if !is_answered && (below.calls.contains(&span.span_id) || !may_have_arrived(span)) {
            return;
        }
        let calls = self.calls.entry(span.service.clone()).or_default();
        calls.client_spans += 1;
        let (peer, by) = peer_of(span);
        if is_answered {
            *calls.answered.entry(peer).or_default() += 1;
            return;
        }
        let text = format!("{} to {}", span.name, if peer.is_empty() { "an unnamed peer" } else { &peer });
        let unanswered = calls.unanswered.entry(peer).or_default();
        unanswered.by = unanswered.by.take().or(by);
        unanswered.tally.add(|| Case::of(span, text));
    }

    /// A server's span lies within its client's, but for the clocks.
    fn compare_clocks(&mut self, parent: &Span, child: &Span) {
        if parent.kind != CLIENT || child.kind != SERVER {
            return;
        }
        let instance = |span: &Span| (span.service.clone(), instance_of(&span.resource));
        let pair = Pair { caller: instance(parent), callee: instance(child) };
        if pair.caller == pair.callee {
            return;
        }
        let clocks = self.clocks.entry(pair).or_default();
        clocks.calls += 1;
        let start = child.start_time.saturating_sub(parent.start_time);
        let end = child.end_time().saturating_sub(parent.end_time());
        // A client that gave up, or that does not wait, ends before its server: only where the start is shifted the same way
        // is it the clock.
        let is_shifted = start < -TOLERANCE_NS || (start > TOLERANCE_NS && end > TOLERANCE_NS);
        if !is_shifted {
            return;
        }
        let offset = start.midpoint(end);
        clocks.offsets_ns.push(offset);
        let by = crate::units::duration(offset.saturating_abs());
        let way = if offset < 0 { "behind" } else { "ahead of" };
        clocks
            .outside
            .add(|| Case::of(child, format!("{} of {} is {by} {way} its caller", child.name, child.service)));
    }
}
