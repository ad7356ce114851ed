//! `compare`: two sets of traces, and what one has in common that the other lacks.
//!
//! The selection is a TraceQL query, or a service, an operation, durations and a status. The baseline is a query of its own, or the
//! same selection in another window, or else the other traces of the same window: those of the service and operation, or
//! those whose roots are those of the selection.

use std::collections::BTreeSet;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Serialize;
use throughline_correlate::compare::{Ranked, Side, compare as differences};
use throughline_correlate::trace_view::TraceView;
use throughline_exec::Budget;
use throughline_model::TraceId;
use throughline_scan::traces::StoredTraces;
use throughline_store::{TimeRange, Want};
use throughline_traceql::{Engine, SearchParams, checked};

use crate::Api;
use crate::failure::Failure;
use crate::native::{Answer, HOUR_NS, json};
use crate::params::Params;
use crate::traces::Refusal;
use crate::traces::conditions::{all_of, duration, quoted};

/// Traces of each side: enough to tell one in five from one in ten.
const TRACES: (usize, usize) = (100, 500);
/// Roots of the selection whose other traces are the baseline.
const ROOTS_MAX: usize = 20;

/// What a side was.
#[derive(Serialize)]
struct SideAnswer {
    query: String,
    range: TimeRange,
    traces: usize,
}

#[derive(Serialize)]
struct CompareAnswer {
    limit: usize,
    selection: SideAnswer,
    baseline: SideAnswer,
    differences: Vec<Ranked>,
    partial: Vec<String>,
}

/// A side as it is asked for.
struct Asked {
    query: String,
    range: TimeRange,
}

/// What the parameters ask.
struct Question {
    selection: Asked,
    /// None: the other traces of the window.
    baseline: Option<Asked>,
    /// The other traces, where service or operation say which they are.
    others: Option<String>,
    limit: usize,
}

fn question(params: &Params) -> Result<Question, Failure> {
    let range = params.range(HOUR_NS)?;
    let limit = params.limit(TRACES.0, TRACES.1)?;
    let mut place = Vec::new();
    place.extend(params.text("service").map(|name| format!("resource.service.name = {}", quoted(name))));
    place.extend(params.text("operation").map(|name| format!("name = {}", quoted(name))));
    let others = (!place.is_empty()).then(|| all_of(&place));
    let mut conditions = place;
    conditions.extend(params.duration("min_duration")?.map(|ns| format!("duration >= {}", duration(ns))));
    conditions.extend(params.duration("max_duration")?.map(|ns| format!("duration <= {}", duration(ns))));
    conditions.extend(
        params.status()?.map(|is_error| {
            if is_error { "status = error".to_owned() } else { "status != error".to_owned() }
        }),
    );
    let query = match (params.owned("query"), conditions.is_empty()) {
        (Some(query), true) => query,
        (None, false) => all_of(&conditions),
        (Some(_), false) => {
            let message = "a query stands alone; write service, operation, durations and status into it";
            return Err(Failure::parameter("query", message));
        }
        (None, true) => {
            let message =
                "say which traces: query=TRACEQL, or service, operation, min_duration, max_duration, status";
            return Err(Failure::parameter("query", message));
        }
    };
    let (other_query, other_range) =
        (params.owned("baseline"), params.other_range("baseline_start", "baseline_end")?);
    let baseline = match (other_query, other_range) {
        (None, None) => None,
        (other_query, other_range) => Some(Asked {
            query: other_query.unwrap_or_else(|| query.clone()),
            range: other_range.unwrap_or(range),
        }),
    };
    Ok(Question { selection: Asked { query, range }, baseline, others, limit })
}

/// The ids of the traces that a query finds, and their roots as conditions.
fn find(
    asked: &Asked,
    limit: usize,
    source: &StoredTraces,
    budget: &Budget,
) -> Result<(Vec<TraceId>, BTreeSet<String>), Refusal> {
    let query = checked(&asked.query)?;
    let TimeRange { start: start_ns, end: end_ns } = asked.range;
    let params = SearchParams { start_ns, end_ns, limit, spans_per_set: 1 };
    let found = Engine.search(&query, &params, source, budget)?.traces;
    let root = |trace: &throughline_traceql::answer::FoundTrace| {
        let (service, name) = (quoted(&trace.root_service), quoted(&trace.root_name));
        format!("(rootServiceName = {service} && rootName = {name})")
    };
    let rooted = found.iter().filter(|trace| !trace.root_name.is_empty());
    let roots = rooted.map(root).collect();
    Ok((found.into_iter().map(|trace| trace.id).collect(), roots))
}

/// Reads traces; those that have gone meanwhile are left out.
fn read(
    ids: impl IntoIterator<Item = TraceId>,
    source: &StoredTraces,
    budget: &Budget,
    partial: &mut Vec<String>,
) -> Result<Side, Refusal> {
    const WANT: Want = Want { spans: true, logs: true, exemplars: false };
    let mut side = Side::default();
    for id in ids {
        budget.check()?;
        let view = TraceView::read(source.snapshot(), id, WANT)?;
        if !view.spans.is_empty() {
            side.add(&view);
        }
        let unknown: Vec<String> =
            view.partial.into_iter().filter(|reason| !partial.contains(reason)).collect();
        partial.extend(unknown);
    }
    if side.cut > 0 {
        partial.push(format!("of {} traces not all attributes were looked at: they have too many", side.cut));
    }
    Ok(side)
}

fn answer(question: &Question, source: &StoredTraces, budget: &Budget) -> Result<CompareAnswer, Refusal> {
    let Question { selection, baseline, others, limit } = question;
    let mut partial = Vec::new();
    let (ids, roots) = find(selection, *limit, source, budget)?;
    let chosen: BTreeSet<TraceId> = ids.iter().copied().collect();
    let fallback;
    let (baseline, more) = match baseline {
        Some(baseline) => (baseline, 0),
        None => {
            let roots: Vec<String> = roots.into_iter().take(ROOTS_MAX).collect();
            let of_roots = || match roots.as_slice() {
                [] => "{ }".to_owned(),
                roots => format!("{{ {} }}", roots.join(" || ")),
            };
            let query = others.clone().unwrap_or_else(of_roots);
            fallback = Asked { query, range: selection.range };
            // The selection is found again, and taken out.
            (&fallback, chosen.len())
        }
    };
    let (others, _) = find(baseline, limit + more, source, budget)?;
    let others = others.into_iter().filter(|id| !chosen.contains(id)).take(*limit);
    let selected = read(ids, source, budget, &mut partial)?;
    let compared = read(others, source, budget, &mut partial)?;
    let side = |asked: &Asked, side: &Side| SideAnswer {
        query: asked.query.clone(),
        range: asked.range,
        traces: side.len(),
    };
    Ok(CompareAnswer {
        limit: *limit,
        differences: differences(&selected, &compared),
        selection: side(selection, &selected),
        baseline: side(baseline, &compared),
        partial,
    })
}

pub(crate) async fn compare(State(api): State<Api>, pairs: Query<Vec<(String, String)>>) -> Answer {
    let known = [
        "query",
        "service",
        "operation",
        "min_duration",
        "max_duration",
        "status",
        "baseline",
        "baseline_start",
        "baseline_end",
        "start",
        "end",
        "limit",
    ];
    let question = question(&api.params(pairs, &known)?)?;
    let asked = api.traces.ask(move |source, budget| {
        let answer = answer(&question, source, budget)?;
        serde_json::to_vec(&answer)
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    });
    json(asked.await.map_err(|refusal| match refusal.status.as_u16() {
        400 | 422 => Failure::parameter("query", refusal.message),
        429 => Failure::busy(crate::blocking::QUERIES_MAX),
        504 => Failure::too_slow(refusal.message),
        _ => Failure::internal(refusal.message),
    }))
}
