//! TraceQL by the native API: `search?query=…` with the traces that it finds or the series that it makes.

use axum::extract::{Query, State};
use serde_json::{Map, Value as Json, json};
use throughline_exec::{Budget, Cancellation};
use throughline_scan::traces::StoredTraces;
use throughline_store::TimeRange;
use throughline_traceql::ast::{Expr, Query as TraceQuery};
use throughline_traceql::{
    Engine, EvalError, FoundSpanset, FoundTrace, MetricSeries, MetricsParams, SearchParams, Value, checked,
};

use crate::Api;
use crate::blocking::budget;
use crate::failure::Failure;
use crate::native::{Answer, HOUR_NS};
use crate::params::Params;

/// A screenful of traces by default; what a browser can still list at most.
const TRACES: (usize, usize) = (20, 1_000);
/// Spans of each set by default; zero asks for all.
const SPANS: usize = 3;
/// Points of a chart by default.
const POINTS: i64 = 240;
/// Exemplars of a chart by default, and at most.
const EXEMPLARS: (usize, usize) = (100, 10_000);
/// The most series of an answer.
const SERIES_MAX: usize = 1_000;

pub(crate) async fn search(State(api): State<Api>, Query(pairs): Query<Vec<(String, String)>>) -> Answer {
    let known = ["query", "limit", "spans", "step", "exemplars", "start", "end"];
    let params = Params::new(pairs, &known, api.now())?;
    let text = params.owned("query").unwrap_or_else(|| "{}".to_owned());
    let query = checked(&text).map_err(|error| Failure::parameter("query", error.to_string()))?;
    let range = params.range(HOUR_NS)?;
    let limit = params.limit(TRACES.0, TRACES.1)?;
    let spans = params.count("spans")?.unwrap_or(SPANS);
    let exemplars = params.count("exemplars")?.unwrap_or(EXEMPLARS.0).min(EXEMPLARS.1);
    let step_ns = params.duration("step")?;
    let prometheus = api.context.prometheus.clone();
    let clock = api.context.clock.clone();
    api.ask(move |snapshot| {
        let budget = budget(prometheus.limits, prometheus.timeout, Cancellation::new(), clock);
        let source = StoredTraces::new(snapshot.clone());
        let mut gone = None;
        let failed = |error: EvalError| Failure::parameter("query", error.to_string());
        let answer = match &query.expr {
            Expr::Spans(_) => {
                let asked =
                    SearchParams { start_ns: range.start, end_ns: range.end, limit, spans_per_set: spans };
                let found = Engine.search(&query, &asked, &source, &budget).map_err(failed)?;
                let traces: Vec<Json> = found.traces.iter().map(trace).collect();
                gone = crate::traces::gone(&query, snapshot, traces.is_empty())?;
                json!({"range": range, "limit": limit, "traces": traces})
            }
            Expr::Metrics(_) => {
                let step_ns = step_ns.unwrap_or_else(|| step_of(range));
                let asked = MetricsParams {
                    start_ns: range.start,
                    end_ns: range.end,
                    step_ns,
                    exemplars,
                    series_max: SERIES_MAX,
                };
                let (answer, notes) =
                    series_answer(&query, asked, range, &source, &budget).map_err(failed)?;
                source.note(notes);
                answer
            }
        };
        let mut answer = answer;
        if let Some(members) = answer.as_object_mut() {
            let mut partial = source.partial();
            partial.extend(gone);
            members.insert("partial".to_owned(), json!(partial));
        }
        Ok(answer)
    })
    .await
}

fn series_answer(
    query: &TraceQuery,
    asked: MetricsParams,
    range: TimeRange,
    source: &StoredTraces,
    budget: &Budget,
) -> Result<(Json, Vec<String>), EvalError> {
    let found = Engine.metrics(query, &asked, source, budget)?;
    let series: Vec<Json> = found.series.iter().map(self::series).collect();
    let answer = json!({"range": range, "step_ns": asked.step_ns, "series": series, "is_cut": found.is_cut});
    Ok((answer, found.notes))
}

/// Whole seconds, so that a chart has some hundred points.
fn step_of(range: TimeRange) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    (range.end.saturating_sub(range.start) / POINTS / SECOND).max(1) * SECOND
}

fn value(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Int(number) => json!(number),
        Value::Float(number) if number.is_finite() => json!(number),
        Value::Float(number) => json!(number.to_string()),
        Value::Bool(is) => json!(is),
        Value::List(values) => values.iter().map(self::value).collect(),
        Value::Duration(_) | Value::Status(_) | Value::Kind(_) => json!(value.to_string()),
    }
}

fn members(pairs: &[(String, Value)]) -> Map<String, Json> {
    pairs.iter().map(|(name, value)| (name.clone(), self::value(value))).collect()
}

fn trace(trace: &FoundTrace) -> Json {
    let services = trace.services.iter().map(
        |stats| json!({"service": stats.service, "span_count": stats.spans, "error_count": stats.errors}),
    );
    json!({
        "trace_id": trace.id,
        "root_service": trace.root_service,
        "root_name": trace.root_name,
        "start_time": trace.start_ns,
        "duration_ns": trace.duration_ns,
        "services": services.collect::<Vec<Json>>(),
        "spansets": trace.spansets.iter().map(spanset).collect::<Vec<Json>>(),
    })
}

fn spanset(set: &FoundSpanset) -> Json {
    let spans = set.spans.iter().map(|span| {
        json!({
            "span_id": span.id,
            "name": span.name,
            "start_time": span.start_ns,
            "duration_ns": span.duration_ns,
            "attributes": members(&span.attributes),
        })
    });
    json!({"matched": set.matched, "attributes": members(&set.attributes), "spans": spans.collect::<Vec<Json>>()})
}

fn series(series: &MetricSeries) -> Json {
    let exemplars = series.exemplars.iter().map(|exemplar| {
        json!({
            "trace_id": exemplar.trace_id,
            "time": exemplar.time_ns,
            "value": exemplar.value,
            "attributes": members(&exemplar.labels),
        })
    });
    json!({
        "labels": members(&series.labels),
        "points": series.samples,
        "exemplars": exemplars.collect::<Vec<Json>>(),
    })
}
