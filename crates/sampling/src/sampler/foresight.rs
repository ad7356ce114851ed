//! What policies will say of a trace that is not decided about yet, from its summary alone.
//!
//! It spends no rate and looks at no span. What would need either is not known, and counts as nothing said.

use super::{Trace, is_in_share, is_so};
use crate::policy::{Kind, Policy};

/// Whether a trace is sure to stay, as far as that can be said from its summary.
pub(super) fn stays(policies: &[Policy], trace: &Trace<'_>) -> bool {
    let said = |policy: &&Policy| says(policy, trace) == Some(true);
    let (drops, others): (Vec<&Policy>, Vec<&Policy>) =
        policies.iter().partition(|policy| matches!(policy.kind, Kind::Drop(_)));
    trace.evidence.hold.is_some() || (!drops.iter().any(said) && others.iter().any(said))
}

/// What a policy says; none where that is not known.
fn says(policy: &Policy, trace: &Trace<'_>) -> Option<bool> {
    match &policy.kind {
        Kind::And(parts) | Kind::Drop(parts) => {
            let mut all = Some(true);
            for part in parts {
                all = match (all, says(part, trace)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (all, said) => all.and(said),
                };
            }
            all
        }
        Kind::Not(part) => says(part, trace).map(|wants| !wants),
        Kind::Probabilistic { hash_salt, sampling_percentage } => {
            Some(is_in_share(hash_salt, trace.id, sampling_percentage / 100.0))
        }
        Kind::StatusCode { status_codes } if status_codes.as_slice() != [2] => None,
        kind @ (Kind::AlwaysSample
        | Kind::Latency { .. }
        | Kind::StatusCode { .. }
        | Kind::SpanCount { .. }
        | Kind::ErrorLog
        | Kind::Exemplar
        | Kind::FiringAlert
        | Kind::SlowForRoute { .. }
        | Kind::Pin) => Some(is_so(kind, trace)),
        Kind::NumericAttribute { .. }
        | Kind::StringAttribute { .. }
        | Kind::BooleanAttribute { .. }
        | Kind::TraceState { .. }
        | Kind::TraceFlags
        | Kind::OttlCondition { .. }
        | Kind::RateLimiting { .. }
        | Kind::BytesLimiting { .. }
        | Kind::Composite { .. }
        | Kind::SpanLink => None,
    }
}

/// Whether a policy, or one within it, asks who links to a trace.
pub(super) fn is_about_links(policy: &Policy) -> bool {
    match &policy.kind {
        Kind::SpanLink => true,
        Kind::And(parts) | Kind::Drop(parts) => parts.iter().any(is_about_links),
        Kind::Not(part) => is_about_links(part),
        Kind::Composite { parts, .. } => parts.iter().any(|(part, _)| is_about_links(part)),
        _ => false,
    }
}
