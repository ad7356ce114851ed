//! Why an ERROR record's trace has no error span: one cause for each record, told apart by what is stored. Pure.
//!
//! In this order: what became of the trace; whether any of its spans is in error; whether the record's own span is there; and
//! if it is, whether the record lies within it.

use throughline_model::id::TraceIdForm;
use throughline_model::link::LinkState;
use throughline_model::record::{DroppedSpans, LogRecord, Span};
use throughline_model::{SpanId, TraceId};

/// A record this much outside of its span is outside: clocks of one machine and rounding to milliseconds stay below.
pub(super) const TOLERANCE_NS: i64 = 5_000_000;
/// So long after a record its span may well be running still.
const OPEN_NS: i64 = 120_000_000_000;

/// Why there is no error span.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cause {
    /// There is one.
    Fine,
    /// The trace may still arrive.
    Pending,
    /// The head sampler decided against the trace.
    HeadSampled,
    /// A policy dropped it.
    TailSampled { policy: String },
    /// It has passed its retention.
    Expired,
    /// The record's span ended without an error status.
    StatusUnset { span: Option<Ended> },
    /// No span of the service was running.
    OutsideSpan,
    /// The service sends no spans.
    Untraced,
    /// Without ids, although this span of the same service was running.
    Detached { running: Option<(TraceId, SpanId)> },
    /// After its span had ended.
    Late { by_ns: i64 },
    /// Its trace id cannot be read.
    MalformedId,
    /// Its trace id is 64 bits of another system's, and no trace is known by it.
    ForeignId,
    /// Its span never came.
    SpansLost { others_came: bool },
    /// Its span has not ended.
    NotEnded { has_children: bool },
    /// Before its span began.
    Early { by_ns: i64 },
    /// It was not looked at.
    NotTold,
}

impl Cause {
    /// A fixed word for it; nothing where the record was not looked at.
    pub fn word(&self) -> Option<&'static str> {
        Some(match self {
            Cause::Fine => "fine",
            Cause::Pending => "pending",
            Cause::HeadSampled => "sampled_out_by_head",
            Cause::TailSampled { .. } => "dropped",
            Cause::Expired => "expired",
            Cause::StatusUnset { .. } => "status_unset",
            Cause::OutsideSpan => "outside_any_span",
            Cause::Untraced => "no_spans",
            Cause::Detached { .. } | Cause::Late { .. } => "detached_or_late",
            Cause::MalformedId | Cause::ForeignId => "malformed_id",
            Cause::SpansLost { .. } => "spans_lost",
            Cause::NotEnded { .. } => "span_not_ended",
            Cause::Early { .. } => "clock_skew",
            Cause::NotTold => return None,
        })
    }
}

/// A span that ended without an error status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub name: String,
    /// Whether somebody said that it is fine.
    pub is_ok: bool,
    /// Whether it has an exception event all the same.
    pub has_exception: bool,
}

/// What there is of a record's trace.
pub(super) struct Found<'a> {
    pub state: &'a LinkState,
    pub spans: &'a [Span],
    /// What a policy dropped of it before the spans came that are here.
    pub dropped: Option<&'a DroppedSpans>,
}

/// The cause for a record that has a trace id.
pub(super) fn of_record(record: &LogRecord, found: &Found<'_>, taken_at: i64) -> Cause {
    let age = taken_at.saturating_sub(record.time);
    match found.state {
        LinkState::Resolved => of_trace(record, found, age),
        LinkState::Pending => Cause::Pending,
        LinkState::Unsampled => Cause::HeadSampled,
        LinkState::Dropped { policy, .. } => Cause::TailSampled { policy: policy.clone() },
        LinkState::Expired { .. } => Cause::Expired,
        LinkState::Malformed { .. } => Cause::MalformedId,
        LinkState::NeverReceived if record.unsampled => Cause::HeadSampled,
        LinkState::NeverReceived if is_foreign(record) => Cause::ForeignId,
        LinkState::NeverReceived if age < OPEN_NS => Cause::NotEnded { has_children: false },
        LinkState::NeverReceived => Cause::SpansLost { others_came: false },
    }
}

/// Whether an id is half of one, as systems with 64-bit ids write it.
fn is_foreign(record: &LogRecord) -> bool {
    let original = record.trace_id_original.as_deref().and_then(TraceId::parse);
    let is_short = original.is_some_and(|(_, form)| {
        matches!(form, TraceIdForm::Hex16 | TraceIdForm::HexStripped | TraceIdForm::Decimal)
    });
    is_short || record.trace_id.is_some_and(|id| id.0.iter().take(8).all(|byte| *byte == 0))
}

fn of_trace(record: &LogRecord, found: &Found<'_>, age: i64) -> Cause {
    let spans = found.spans;
    if spans.iter().any(Span::is_error) {
        return Cause::Fine;
    }
    let Some(id) = record.span_id else { return Cause::StatusUnset { span: None } };
    let Some(span) = spans.iter().find(|span| span.span_id == id) else {
        if record.unsampled {
            // Its own service's sampler decided otherwise than that of the others.
            return Cause::HeadSampled;
        }
        if let Some(dropped) = found.dropped {
            return Cause::TailSampled { policy: dropped.policy.clone() };
        }
        let has_children =
            spans.iter().any(|span| span.parent_span_id == Some(id) && span.service == record.service);
        return match has_children || age < OPEN_NS {
            true => Cause::NotEnded { has_children },
            false => Cause::SpansLost { others_came: true },
        };
    };
    let early = span.start_time.saturating_sub(record.time);
    let late = record.time.saturating_sub(span.end_time());
    if early > TOLERANCE_NS {
        return Cause::Early { by_ns: early };
    }
    if late > TOLERANCE_NS {
        return Cause::Late { by_ns: late };
    }
    let is_exception = |event: &serde_json::Value| {
        event.get("name").and_then(serde_json::Value::as_str) == Some("exception")
    };
    Cause::StatusUnset {
        span: Some(Ended {
            name: span.name.clone(),
            is_ok: span.status_code == 1,
            has_exception: span.events.iter().any(is_exception),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sample::{SECOND, log, span, span_id};

    const LATER: i64 = 3_600 * SECOND;

    /// A record of span 2 at 50 ms, a trace of spans 1 and 2, and what became of it.
    fn check(state: &LinkState, change: impl FnOnce(&mut LogRecord, &mut Vec<Span>)) -> Cause {
        let mut record = log(Some(2), "cart", 50, 17, "failed");
        let mut spans = vec![span(1, 0, "gateway", "GET /", 0, 100), span(2, 1, "cart", "add", 10, 80)];
        change(&mut record, &mut spans);
        of_record(&record, &Found { state, spans: &spans, dropped: None }, LATER)
    }

    #[test]
    fn what_became_of_the_trace_comes_first() {
        let unsampled = LinkState::Unsampled;
        assert_eq!(check(&unsampled, |_, _| {}), Cause::HeadSampled);
        let dropped = LinkState::Dropped { policy: "rest".to_owned(), at: 1 };
        assert_eq!(check(&dropped, |_, _| {}), Cause::TailSampled { policy: "rest".to_owned() });
        assert_eq!(check(&LinkState::Pending, |_, _| {}), Cause::Pending);
        assert_eq!(check(&LinkState::Expired { at: 1 }, |_, _| {}), Cause::Expired);
        let lost = check(&LinkState::NeverReceived, |record, _| record.trace_id = Some(TraceId([7; 16])));
        assert_eq!(lost, Cause::SpansLost { others_came: false });
        let sampled_out = check(&LinkState::NeverReceived, |record, _| record.unsampled = true);
        assert_eq!(sampled_out, Cause::HeadSampled);
    }

    #[test]
    fn half_an_id_is_foreign() {
        let never = LinkState::NeverReceived;
        let decimal = check(&never, |record, _| record.trace_id_original = Some("49374".to_owned()));
        assert_eq!(decimal, Cause::ForeignId);
        let upper = check(&never, |record, _| {
            record.trace_id = Some(TraceId([0xab; 16]));
            record.trace_id_original = Some("AB".repeat(16));
        });
        assert_eq!(upper, Cause::SpansLost { others_came: false }, "another way to write the same id");
    }

    #[test]
    fn an_error_span_is_fine_and_none_is_told_apart() {
        let here = LinkState::Resolved;
        assert_eq!(check(&here, |_, spans| spans[0].status_code = 2), Cause::Fine);
        let ended = |is_ok, has_exception| Cause::StatusUnset {
            span: Some(Ended { name: "add".to_owned(), is_ok, has_exception }),
        };
        assert_eq!(check(&here, |_, _| {}), ended(false, false));
        assert_eq!(check(&here, |_, spans| spans[1].status_code = 1), ended(true, false));
        let event = json!({"name": "exception", "attributes": {}});
        assert_eq!(check(&here, |_, spans| spans[1].events.push(event)), ended(false, true));
        assert_eq!(check(&here, |record, _| record.span_id = None), Cause::StatusUnset { span: None });
    }

    #[test]
    fn times_and_missing_spans() {
        let here = LinkState::Resolved;
        let at = |ms: i64| check(&here, |record, _| record.time = ms * 1_000_000);
        assert_eq!(at(190), Cause::Late { by_ns: 100_000_000 });
        assert_eq!(at(-990), Cause::Early { by_ns: 1_000_000_000 });
        let gone = |parent: u64, time: i64| {
            check(&here, |record, spans| {
                (record.span_id, record.time) = (Some(span_id(9)), time);
                spans[1].parent_span_id = Some(span_id(parent));
            })
        };
        assert_eq!(gone(9, 0), Cause::NotEnded { has_children: true });
        assert_eq!(gone(1, LATER - SECOND), Cause::NotEnded { has_children: false });
        assert_eq!(gone(1, 0), Cause::SpansLost { others_came: true });
    }

    #[test]
    fn a_span_that_a_sampler_took_is_not_lost() {
        let unsampled = check(&LinkState::Resolved, |record, _| {
            (record.span_id, record.unsampled) = (Some(span_id(9)), true);
        });
        assert_eq!(unsampled, Cause::HeadSampled);
        let mut record = log(Some(9), "cart", 50, 17, "failed");
        let spans = [span(1, 0, "gateway", "GET /", 0, 100)];
        let dropped = DroppedSpans { policy: "rest".to_owned(), at: 1, span_count: 1 };
        let found = Found { state: &LinkState::Resolved, spans: &spans, dropped: Some(&dropped) };
        let cause = of_record(&record, &found, LATER);
        assert_eq!(cause, Cause::TailSampled { policy: "rest".to_owned() });
        record.span_id = Some(span_id(1));
        assert!(matches!(of_record(&record, &found, LATER), Cause::StatusUnset { .. }), "its span is here");
    }
}
