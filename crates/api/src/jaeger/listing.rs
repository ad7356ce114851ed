//! Services, operations, and who calls whom.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value as Json, json};
use throughline_promql::value::Sample;
use throughline_promql::{QueryValue, parse};
use throughline_scan::metrics::MetricSource;
use throughline_store::TimeRange;
use throughline_traceql::{Engine, MetricsParams, Value, checked};

use super::Jaeger;
use super::reply::{Legacy, bare, enveloped};
use super::search::service_field;
use crate::traces::Refusal;
use crate::traces::conditions::quoted;
use crate::traces::params::Params;

/// How far back the kinds of operations are looked for.
const KINDS_NS: i64 = 24 * 3_600_000_000_000;
/// Operations of a service whose kinds are looked for.
const OPERATIONS_MAX: usize = 10_000;
/// How far back calls are counted, unless asked for otherwise, milliseconds.
pub(super) const LOOKBACK_MS: i64 = 24 * 3_600_000;

/// The services that sent spans, sorted.
pub(super) async fn service_names(jaeger: &Jaeger) -> Result<Vec<String>, Refusal> {
    let read = jaeger.traces.ask(|source, _| {
        let services = source.snapshot().services(TimeRange::ALL)?.items;
        let with_spans = services.into_iter().filter(|of| of.span_count > 0 && !of.service.is_empty());
        Ok(with_spans.map(|of| of.service).collect())
    });
    read.await
}

/// The operations of a service: names and kinds, sorted. A name whose kind was not seen of late has none.
pub(super) async fn operation_kinds(
    jaeger: &Jaeger,
    service: &str,
) -> Result<Vec<(String, &'static str)>, Refusal> {
    let service = service.to_owned();
    let now = jaeger.traces.now();
    let text = format!("{{ {} = {} }} | count_over_time() by(name, kind)", service_field(), quoted(&service));
    let query = checked(&text)?;
    let read = jaeger.traces.ask(move |source, budget| {
        let params = MetricsParams {
            start_ns: now.saturating_sub(KINDS_NS),
            end_ns: now.saturating_add(KINDS_NS),
            step_ns: 0,
            exemplars: 0,
            series_max: OPERATIONS_MAX,
        };
        let mut found: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
        for series in Engine.metrics(&query, &params, source, budget)?.series {
            let (mut name, mut kind) = (None, "");
            for (label, value) in series.labels {
                match (label.as_str(), value) {
                    ("name", Value::Text(text)) => name = Some(text),
                    ("kind", Value::Kind(of)) if of.name() != "unspecified" => kind = of.name(),
                    _ => {}
                }
            }
            if let Some(name) = name {
                found.entry(name).or_default().insert(kind);
            }
        }
        let services = source.snapshot().services(TimeRange::ALL)?.items;
        let own = services.into_iter().find(|of| of.service == service);
        for name in own.into_iter().flat_map(|of| of.operations) {
            let kinds = found.entry(name).or_default();
            if kinds.is_empty() {
                kinds.insert("");
            }
        }
        let each = found
            .into_iter()
            .flat_map(|(name, kinds)| kinds.into_iter().map(move |kind| (name.clone(), kind)));
        Ok(each.collect())
    });
    read.await
}

/// Caller, callee and calls in the time before a moment, milliseconds since the epoch; from the derived service graph.
pub(super) async fn calls(
    jaeger: &Jaeger,
    end_ms: i64,
    lookback_ms: i64,
) -> Result<Vec<(String, String, u64)>, Refusal> {
    if lookback_ms <= 0 {
        return Err(Refusal::bad(format!("lookback {lookback_ms} is not positive")));
    }
    let text = format!(
        "sum by (client, server) (increase(traces_service_graph_request_total{{client!=\"user\"}}[{lookback_ms}ms]))"
    );
    let engine = jaeger.prometheus.engine;
    let expr = parse(&text).map_err(|error| Refusal::bad(error.to_string()))?;
    let read = jaeger.prometheus.ask_for(move |source: &MetricSource, budget| {
        let result = engine.instant(&text, &expr, end_ms, source, budget);
        Ok(result.map_err(|error| Refusal::bad(error.to_string()))?.value)
    });
    let QueryValue::Vector(samples) = read.await? else { return Ok(Vec::new()) };
    let mut calls: Vec<(String, String, u64)> = samples
        .into_iter()
        .map(|sample| {
            let (client, server) = (sample.labels.get("client"), sample.labels.get("server"));
            let calls = match sample.sample {
                Sample::Float(calls) => calls.round().max(0.0) as u64,
                Sample::Histogram(_) => 0,
            };
            (client.to_owned(), server.to_owned(), calls)
        })
        .filter(|(.., calls)| *calls > 0)
        .collect();
    calls.sort_unstable();
    Ok(calls)
}

pub(super) async fn services(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, Legacy> {
    let names = service_names(&jaeger).await?;
    Ok(enveloped(&json!(names), names.len(), &params))
}

pub(super) async fn operations_of(
    State(jaeger): State<Jaeger>,
    Path(service): Path<String>,
    params: Params,
) -> Result<Response, Legacy> {
    let operations = operation_kinds(&jaeger, &service).await?;
    let names: BTreeSet<String> = operations.into_iter().map(|(name, _)| name).collect();
    Ok(enveloped(&json!(names), names.len(), &params))
}

pub(super) async fn operations(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, Legacy> {
    let service = params.text("service").ok_or_else(|| Refusal::bad("parameter 'service' is required"))?;
    let wanted = params.text("spanKind");
    let operations = operation_kinds(&jaeger, service).await?;
    let one = |(name, kind): &(String, &str)| json!({"name": name, "spanKind": kind});
    let shown = operations.iter().filter(|(_, kind)| wanted.is_none_or(|wanted| wanted == *kind));
    let list: Vec<Json> = shown.map(one).collect();
    let total = list.len();
    Ok(enveloped(&Json::Array(list), total, &params))
}

pub(super) async fn dependencies(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, Legacy> {
    let now_ms = jaeger.traces.now().div_euclid(1_000_000);
    let end_ms = params.whole("endTs")?.unwrap_or(now_ms);
    let lookback_ms = params.whole("lookback")?.unwrap_or(LOOKBACK_MS);
    let of = params.text("service");
    let calls = calls(&jaeger, end_ms, lookback_ms).await?;
    let wanted = calls.iter().filter(|(parent, child, _)| of.is_none_or(|of| of == parent || of == child));
    let list: Vec<Json> = wanted
        .map(|(parent, child, calls)| json!({"parent": parent, "child": child, "callCount": calls}))
        .collect();
    let envelope = json!({"data": list, "total": 0, "limit": 0, "offset": 0, "errors": null});
    Ok(bare(&envelope, &params))
}
