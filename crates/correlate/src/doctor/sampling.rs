//! Sampling that takes away what an incident needs.

use std::collections::{BTreeMap, BTreeSet};

use throughline_model::link::LinkState;
use throughline_store::{Error, SpanCountQuery};

use super::evidence::{Evidence, Reference};
use super::{Draft, EXAMPLES_MAX, Example, Level, Outcome, Rule};
use crate::command::{quoted, range_options};
use crate::reconcile;

/// From so many traces with an ERROR record on a share is a finding of its own.
const TRACES_MIN: u64 = 5;
/// From so many requests on two ways to count them are compared.
const REQUESTS_MIN: f64 = 50.0;
/// Span metrics that count less than this of the requests were computed after sampling.
const COUNTED_SHARE: f64 = 0.9;
/// Services whose span metrics are compared.
const SERVICES_MAX: usize = 50;
/// The share of failing traces that a head sampler may leave out.
const STARVED_SHARE: f64 = 0.2;

pub(super) const STARVED_ERRORS: Rule = Rule {
    id: "TL501",
    name: "head-sampling-starves-errors",
    what: "services most of whose failing requests have no trace because a head sampler decided before they failed",
    check: starved_errors,
};

pub(super) const METRICS_AFTER: Rule = Rule {
    id: "TL502",
    name: "metrics-after-sampling",
    what: "span metrics that count fewer requests than there were: computed after sampling",
    check: metrics_after,
};

fn starved_errors(evidence: &Evidence<'_>) -> Outcome {
    let failing: Vec<&(Reference, LinkState)> =
        evidence.references.iter().filter(|(reference, _)| reference.is_error).collect();
    let total = failing.len() as u64;
    let mut outcome = Outcome::of(total, total, "traces with an ERROR record");
    let mut services: BTreeMap<&str, (u64, Vec<&Reference>)> = BTreeMap::new();
    for (reference, state) in failing {
        let (total, unsampled) = services.entry(&reference.service).or_default();
        *total += 1;
        if *state == LinkState::Unsampled {
            unsampled.push(reference);
        }
    }
    for (service, (total, unsampled)) in services {
        let share = unsampled.len() as f64 / total.max(1) as f64;
        if total < TRACES_MIN || share < STARVED_SHARE {
            continue;
        }
        outcome.findings.push(Draft {
            level: Level::Error,
            service: service.to_owned(),
            count: unsampled.len() as u64,
            total,
            message: format!(
                "{} of {total} failing requests of {service} have no trace: its head sampler left them out",
                unsampled.len()
            ),
            cause: "a head sampler decides when a request begins, and keeps as few of those that fail as of the others".to_owned(),
            fix: evidence.sdk(service).open_sampler().to_owned(),
            query: format!(
                "throughline logs --service {} --severity error {}",
                quoted(service),
                range_options(evidence.request.range)
            ),
            examples: unsampled
                .iter()
                .take(EXAMPLES_MAX)
                .map(|reference| Example {
                    time: Some(reference.time),
                    trace_id: Some(reference.trace_id),
                    span_id: reference.span_id,
                    text: format!("an ERROR of {service} in a trace that was not sampled"),
                })
                .collect(),
        });
    }
    outcome
}

fn metrics_after(evidence: &Evidence<'_>) -> Outcome {
    let services: BTreeSet<&str> = evidence
        .series
        .iter()
        .filter(|series| reconcile::SPAN_METRICS.contains(&series.metric.as_str()))
        .map(|series| series.service.as_str())
        .collect();
    let mut outcome = Outcome::of(0, services.len() as u64, "services with span metrics of a Collector");
    for service in services.into_iter().take(SERVICES_MAX) {
        match compare(evidence, service) {
            Ok(found) => outcome.findings.extend(found),
            Err(error) => evidence.note([error.to_string()]),
        }
        outcome.looked_at += 1;
    }
    outcome
}

/// What the span metrics count beside the service's own metric or, without one, what its spans stand for.
fn compare(evidence: &Evidence<'_>, service: &str) -> Result<Option<Draft>, Error> {
    let (snapshot, range) = (evidence.snapshot, evidence.request.range);
    let calls = reconcile::span_metric_calls(snapshot, service, range)?.within(range).requests;
    let own = reconcile::own_requests(snapshot, service, range)?;
    let spans = snapshot.span_counts(&SpanCountQuery {
        range,
        service: Some(service.to_owned()),
        step_ns: i64::MAX,
    })?;
    evidence.note(spans.partial);
    // OTLP's SPAN_KIND_SERVER.
    let servers = || spans.items.iter().filter(|count| count.kind == 2);
    let adjusted: f64 = servers().map(|count| count.adjusted).sum();
    let stored: u64 = servers().map(|count| count.spans).sum();
    let (requests, by) = match own.metrics.first() {
        Some(metric) => (own.within(range).requests, metric.clone()),
        None => (adjusted, "what its spans stand for (tracestate ot=th)".to_owned()),
    };
    if requests < REQUESTS_MIN || calls < 1.0 || calls >= requests * COUNTED_SHARE {
        return Ok(None);
    }
    let (missing, total) = ((requests - calls).round() as u64, requests.round() as u64);
    Ok(Some(Draft {
        level: Level::Warning,
        service: service.to_owned(),
        count: missing,
        total,
        message: format!("span metrics of {service} count {calls:.0} of {total} requests by {by}"),
        cause: "the spanmetrics connector sees what a sampler has left: rates and error ratios from it are too low".to_owned(),
        fix: "put the spanmetrics connector before tail_sampling in the Collector (two pipelines, the connector in the one \
              without), and head-sample nothing; or use traces_spanmetrics_calls_total, which Throughline counts from every \
              span that comes, weighted by what it stands for"
            .to_owned(),
        query: format!("throughline reconcile --service {} {}", quoted(service), range_options(range)),
        examples: vec![Example::text(format!(
            "{calls:.0} by span metrics, {requests:.0} by {by}, {stored} stored server spans"
        ))],
    }))
}
