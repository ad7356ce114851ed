//! Policies that look at single spans, and what they need of them.
//!
//! As in the Collector a policy holds if any span meets it, and attributes of the resource come before those of spans.

use serde_json::Value as Json;
use throughline_model::record::Span;

use super::Needs;
use crate::policy::{Kind, Policy};

/// Whether a policy that looks at spans holds.
pub(super) fn is_so(kind: &Kind, spans: &[Span]) -> bool {
    match kind {
        Kind::NumericAttribute { key, min_value, max_value, invert_match } => {
            let is_within = |value: &Json, _| {
                let number = value.as_i64().unwrap_or(0);
                (*min_value == 0 || *min_value <= number) && (*max_value == 0 || number <= *max_value)
            };
            any(spans, key, is_within) != *invert_match
        }
        Kind::StringAttribute { key, values, invert_match } => {
            let is_one = |value: &Json, is_resource| {
                let text = value.as_str().unwrap_or_default();
                (is_resource || !text.is_empty()) && values.has(text)
            };
            any(spans, key, is_one) != *invert_match
        }
        Kind::BooleanAttribute { key, value, invert_match } => {
            any(spans, key, |found, _| found.as_bool().unwrap_or(false) == *value) != *invert_match
        }
        Kind::TraceState { key, values } => spans.iter().any(|span| {
            let members = span.trace_state.split(',').filter_map(|member| member.trim().split_once('='));
            let mut of_key = members.filter(|(name, _)| name == key);
            of_key.any(|(_, value)| values.iter().any(|wanted| wanted == value))
        }),
        Kind::OttlCondition { span, span_event } => spans.iter().any(|of| {
            span.iter().any(|condition| condition.is_true(of, None))
                || of.events.iter().any(|event| span_event.iter().any(|c| c.is_true(of, Some(event))))
        }),
        _ => false,
    }
}

/// Whether a resource or a span has an attribute of which something holds.
fn any(spans: &[Span], key: &str, holds: impl Fn(&Json, bool) -> bool) -> bool {
    spans.iter().any(|span| {
        span.resource.get(key).is_some_and(|value| holds(value, true))
            || span.attributes.get(key).is_some_and(|value| holds(value, false))
    })
}

/// Adds what a policy looks at.
pub(super) fn add_needs(policy: &Policy, needs: &mut Needs) {
    match &policy.kind {
        Kind::NumericAttribute { key, .. }
        | Kind::StringAttribute { key, .. }
        | Kind::BooleanAttribute { key, .. } => {
            needs.spans = true;
            needs.attributes.push(key.clone());
        }
        Kind::TraceState { .. } | Kind::TraceFlags => needs.spans = true,
        Kind::StatusCode { status_codes } => needs.spans |= status_codes.as_slice() != [2],
        Kind::OttlCondition { span, span_event } => {
            needs.spans = true;
            needs.events |= !span_event.is_empty();
            for condition in span.iter().chain(span_event) {
                needs.attributes.extend(condition.attributes().map(str::to_owned));
            }
        }
        Kind::BytesLimiting { .. } => needs.bytes = true,
        Kind::SlowForRoute { .. } => needs.routes = true,
        Kind::FiringAlert => needs.alerts = true,
        Kind::SpanLink => needs.links = true,
        Kind::And(parts) | Kind::Drop(parts) => parts.iter().for_each(|part| add_needs(part, needs)),
        Kind::Not(part) => add_needs(part, needs),
        Kind::Composite { parts, .. } => parts.iter().for_each(|(part, _)| add_needs(part, needs)),
        Kind::AlwaysSample
        | Kind::Latency { .. }
        | Kind::Probabilistic { .. }
        | Kind::RateLimiting { .. }
        | Kind::SpanCount { .. }
        | Kind::ErrorLog
        | Kind::Exemplar
        | Kind::Pin => {}
    }
}
