//! What the spans of a trace say together: who took part how much, and whose clock is off.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use throughline_model::SpanId;
use throughline_model::record::Span;
use throughline_model::trace::Analysis;

/// What one service has in a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCount {
    /// Its name.
    pub service: String,
    /// Its spans.
    pub span_count: usize,
    /// Those whose status is error.
    pub error_count: usize,
    /// Their self times together, nanoseconds.
    pub self_time_ns: i64,
}

/// Two clocks that do not agree: spans begin before those that called them. How far the clocks are apart is not known, but that it is
/// at least so much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSkew {
    /// The service whose clock is behind.
    pub service: String,
    /// The service that called it.
    pub caller: String,
    /// How many of its spans begin too early.
    pub span_count: usize,
    /// By how much at most, nanoseconds: the clocks are at least so far apart.
    pub at_least_ns: i64,
}

/// OTLP's kinds of the two spans of one call that may share an id, as Zipkin's do.
const CLIENT_AND_SERVER: [u8; 2] = [2, 3];

/// The ids that several spans of a trace have by mistake: a client and its server may share one.
pub fn shared_ids(spans: &[Span]) -> HashSet<SpanId> {
    let mut kinds: HashMap<SpanId, Vec<u8>> = HashMap::with_capacity(spans.len());
    for span in spans {
        kinds.entry(span.span_id).or_default().push(span.kind);
    }
    let is_shared = |kinds: &mut Vec<u8>| {
        kinds.sort_unstable();
        kinds.len() > 1 && kinds.as_slice() != CLIENT_AND_SERVER
    };
    kinds.into_iter().filter_map(|(id, mut kinds)| is_shared(&mut kinds).then_some(id)).collect()
}

/// What each service has, by name.
pub(super) fn services(spans: &[Span], analysis: &Analysis) -> Vec<ServiceCount> {
    let mut counts: BTreeMap<&str, ServiceCount> = BTreeMap::new();
    for (index, span) in spans.iter().enumerate() {
        let count = counts.entry(&span.service).or_default();
        count.span_count += 1;
        count.error_count += usize::from(span.is_error());
        let own = analysis.self_time.get(index).copied().unwrap_or(0);
        count.self_time_ns = count.self_time_ns.saturating_add(own);
    }
    let named =
        |(service, count): (&str, ServiceCount)| ServiceCount { service: service.to_owned(), ..count };
    counts.into_iter().map(named).collect()
}

/// Clocks that do not agree, the furthest apart first. Spans of one service have one clock as far as is known.
pub(super) fn clock_skews(spans: &[Span], analysis: &Analysis) -> Vec<ClockSkew> {
    let mut skews: BTreeMap<(&str, &str), (usize, i64)> = BTreeMap::new();
    for (index, span) in spans.iter().enumerate() {
        let parent = analysis.parent.get(index).copied().flatten();
        let Some(parent) = parent.and_then(|parent| spans.get(parent as usize)) else { continue };
        let early = parent.start_time.saturating_sub(span.start_time);
        if early > 0 && parent.service != span.service {
            let (count, most) = skews.entry((&span.service, &parent.service)).or_default();
            *count += 1;
            *most = early.max(*most);
        }
    }
    let mut skews: Vec<ClockSkew> = skews
        .into_iter()
        .map(|((service, caller), (span_count, at_least_ns))| ClockSkew {
            service: service.to_owned(),
            caller: caller.to_owned(),
            span_count,
            at_least_ns,
        })
        .collect();
    skews.sort_by_key(|skew| std::cmp::Reverse(skew.at_least_ns));
    skews
}
