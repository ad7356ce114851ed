//! The order of the spans of a trace, and when two of them are one that was received twice: the same rule where spans are flushed,
//! merged, read by id and put together for a summary.
//!
//! An id alone does not tell. A client and its server may share one, and senders give one id to spans that differ: these are different
//! spans, and all of them are stored and shown. A span was received twice where id, kind, start, duration, name and service are equal.
//! These are the order of the spans of a trace, too, the start first, so that spans that are one stand side by side, however many
//! start at once.

use std::cmp::Ordering;

use throughline_model::SpanId;

/// What tells a span from every other of its trace, in the order in which spans are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SpanIdentity<'a> {
    pub(crate) start: i64,
    pub(crate) span_id: SpanId,
    pub(crate) kind: u8,
    pub(crate) duration: i64,
    pub(crate) name: &'a str,
    pub(crate) service: &'a str,
}

/// Puts the spans of a trace in order, and keeps the first of those that are one. `compare` compares identities; where starts differ,
/// as most do, it is not asked.
pub(crate) fn keep_once<T>(
    spans: &mut Vec<T>,
    start: impl Fn(&T) -> i64,
    compare: impl Fn(&T, &T) -> Ordering,
) {
    sort(spans, &start, &compare);
    spans.dedup_by(|later, first| start(later) == start(first) && compare(later, first).is_eq());
}

/// Puts the spans of a trace in order; those that are one stay in the order in which they are given.
pub(crate) fn sort<T>(spans: &mut [T], start: impl Fn(&T) -> i64, compare: impl Fn(&T, &T) -> Ordering) {
    spans.sort_by(|a, b| start(a).cmp(&start(b)).then_with(|| compare(a, b)));
}
