//! Version 3 of the API over HTTP: OTLP's JSON and summaries of traces.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};
use throughline_model::record::Span;
use throughline_traceql::answer::FoundTrace;
use throughline_wire::jaeger::query::{Summary, TraceQuery};

use super::Jaeger;
use super::listing::{LOOKBACK_MS, calls, operation_kinds, service_names};
use super::reply::{V3, bare, written};
use super::search::{LIMIT, Search, texts};
use crate::otlp_json::{Dialect, write_resource_spans};
use crate::traces::params::{Params, trace_id};
use crate::traces::{PARTIAL, ReadTrace, Refusal, partial_header};

/// The operations of a service, or those of one kind.
pub(super) async fn operations_of(
    jaeger: &Jaeger,
    service: &str,
    wanted: Option<&str>,
) -> Result<BTreeSet<(String, &'static str)>, Refusal> {
    Ok(reported(operation_kinds(jaeger, service).await?, wanted))
}

/// Without a kind an operation is an internal one here.
fn reported(
    operations: Vec<(String, &'static str)>,
    wanted: Option<&str>,
) -> BTreeSet<(String, &'static str)> {
    let with_kinds =
        operations.into_iter().map(|(name, kind)| (name, if kind.is_empty() { "internal" } else { kind }));
    with_kinds.filter(|(_, kind)| wanted.is_none_or(|wanted| wanted == *kind)).collect()
}

pub(super) async fn services(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, V3> {
    Ok(bare(&json!({"services": service_names(&jaeger).await?}), &params))
}

pub(super) async fn operations(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, V3> {
    let service =
        params.text("service").ok_or_else(|| Refusal::bad("malformed parameter service: it is required"))?;
    let operations = operations_of(&jaeger, service, params.any(&["spanKind", "span_kind"])).await?;
    let one = |(name, kind): &(String, &'static str)| json!({"name": name, "spanKind": kind});
    Ok(bare(&json!({"operations": operations.iter().map(one).collect::<Vec<Json>>()}), &params))
}

/// An answer with the header that says why it may be incomplete: there is no other place.
fn said(mut response: Response, partial: &[String]) -> Response {
    response.headers_mut().extend(partial_header(partial).map(|why| (PARTIAL, why)));
    response
}

fn wrapped<'a>(spans: impl IntoIterator<Item = &'a Span>) -> String {
    let mut out = r#"{"result":{"resourceSpans":"#.to_owned();
    write_resource_spans(&mut out, Dialect::Otlp, spans);
    out.push_str("}}");
    out
}

pub(super) async fn trace(
    State(jaeger): State<Jaeger>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, V3> {
    // The window is checked and changes nothing.
    params.rfc3339_ns(&["startTime", "start_time"])?;
    params.rfc3339_ns(&["endTime", "end_time"])?;
    params.flag("rawTraces")?;
    // There is no place to say that spans are left out.
    let write = |trace: ReadTrace| {
        let trace = trace.whole()?;
        Ok(said(trace.links.found(written(wrapped(&trace.spans))), &trace.partial))
    };
    Ok(jaeger.traces.read(trace_id(&id)?, write).await?)
}

/// The query of the parameters, in any of their names.
fn query_of(params: &Params) -> Result<TraceQuery, Refusal> {
    let named = |camel: &str, snake: &str| params.any(&[camel, snake]).unwrap_or_default().to_owned();
    let duration = |camel: &str, snake: &str| match params.duration_ns(camel)? {
        None => params.duration_ns(snake),
        some => Ok(some),
    };
    let attributes = match params.any(&["query.attributes"]) {
        None => Vec::new(),
        Some(text) => texts(text)
            .map_err(|error| Refusal::bad(format!("malformed parameter query.attributes: {error}")))?
            .into_iter()
            .collect(),
    };
    let depth = match params.whole("query.searchDepth")? {
        None => params.whole("query.search_depth")?.or(params.whole("query.num_traces")?),
        some => some,
    };
    Ok(TraceQuery {
        service: named("query.serviceName", "query.service_name"),
        operation: named("query.operationName", "query.operation_name"),
        attributes,
        start_min: params.rfc3339_ns(&["query.startTimeMin", "query.start_time_min"])?,
        start_max: params.rfc3339_ns(&["query.startTimeMax", "query.start_time_max"])?,
        duration_min: duration("query.durationMin", "query.duration_min")?,
        duration_max: duration("query.durationMax", "query.duration_max")?,
        search_depth: i32::try_from(depth.unwrap_or(0)).unwrap_or(i32::MAX),
        has_filter: params.text("query.filter").is_some(),
    })
}

/// The search that a query asks for.
pub(super) fn search_of(query: TraceQuery) -> Result<Search, Refusal> {
    if query.has_filter {
        return Err(Refusal::bad(
            "query.filter is not supported; use service, operation, durations and attributes",
        ));
    }
    let required = |time: Option<i64>, name: &str| {
        time.ok_or_else(|| Refusal::bad(format!("malformed parameter {name}: it is required")))
    };
    Ok(Search {
        start_ns: required(query.start_min, "query.start_time_min")?,
        end_ns: required(query.start_max, "query.start_time_max")?,
        service: query.service,
        operation: query.operation,
        tags: query.attributes.into_iter().collect(),
        min_ns: query.duration_min.filter(|ns| *ns > 0),
        max_ns: query.duration_max.filter(|ns| *ns > 0),
        limit: if query.search_depth == 0 { LIMIT } else { i64::from(query.search_depth) },
    })
}

pub(super) async fn traces(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, V3> {
    let (traces, partial) = search_of(query_of(&params)?)?.spans(&jaeger).await?.whole()?;
    if traces.is_empty() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "No traces found").into());
    }
    Ok(said(written(wrapped(traces.iter().flatten())), &partial))
}

/// What version 3 says of each of these traces.
pub(super) async fn summaries_of(jaeger: &Jaeger, found: Vec<FoundTrace>) -> Result<Vec<Summary>, Refusal> {
    let read = jaeger.traces.ask(move |source, budget| {
        let one = |trace: FoundTrace| {
            budget.check()?;
            let stored = source.snapshot().trace_summary(trace.id)?;
            let count = |of: fn(&throughline_traceql::answer::ServiceStats) -> u32| {
                trace.services.iter().map(of).sum::<u32>()
            };
            Ok(Summary {
                trace_id: trace.id,
                start_ns: trace.start_ns,
                end_ns: trace.start_ns.saturating_add(trace.duration_ns),
                spans: count(|of| of.spans),
                errors: count(|of| of.errors),
                orphans: stored.map_or(0, |summary| summary.orphan_count),
                services: trace.services.into_iter().map(|of| (of.service, of.spans, of.errors)).collect(),
                root_service: trace.root_service,
                root_operation: trace.root_name,
            })
        };
        found.into_iter().map(one).collect()
    });
    read.await
}

pub(super) async fn summaries(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, V3> {
    let (found, partial) = search_of(query_of(&params)?)?.run(&jaeger).await?;
    let one = |summary: &Summary| {
        let service = |(name, spans, errors): &(String, u32, u32)| json!({"name": name, "spanCount": spans, "errorSpanCount": errors});
        json!({
            "traceId": summary.trace_id.to_string(),
            "rootServiceName": summary.root_service,
            "rootOperationName": summary.root_operation,
            "minStartTimeUnixNano": summary.start_ns.to_string(),
            "maxEndTimeUnixNano": summary.end_ns.to_string(),
            "spanCount": summary.spans,
            "errorSpanCount": summary.errors,
            "orphanSpanCount": summary.orphans,
            "services": summary.services.iter().map(service).collect::<Vec<Json>>(),
        })
    };
    let summaries: Vec<Json> = summaries_of(&jaeger, found).await?.iter().map(one).collect();
    Ok(said(bare(&json!({"summaries": summaries}), &params), &partial))
}

pub(super) async fn dependencies(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, V3> {
    let now = jaeger.traces.now();
    let end = params.rfc3339_ns(&["endTime", "end_time"])?.unwrap_or(now);
    let start = params.rfc3339_ns(&["startTime", "start_time"])?;
    let start = start.unwrap_or_else(|| end.saturating_sub(LOOKBACK_MS * 1_000_000));
    let found =
        calls(&jaeger, end.div_euclid(1_000_000), end.saturating_sub(start).div_euclid(1_000_000)).await?;
    let one = |(parent, child, calls): &(String, String, u64)| json!({"parent": parent, "child": child, "callCount": calls.to_string()});
    Ok(bare(&json!({"dependencies": found.iter().map(one).collect::<Vec<Json>>()}), &params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_reported_once() {
        let all = [("a", ""), ("a", "internal"), ("a", "server"), ("b", "")];
        let all: Vec<_> = all.map(|(name, kind)| (name.to_owned(), kind)).into();
        let names = |wanted| {
            let found = reported(all.clone(), wanted);
            found.into_iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["a internal", "a server", "b internal"]);
        assert_eq!(names(Some("internal")), ["a internal", "b internal"]);
    }
}
