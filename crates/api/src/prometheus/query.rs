//! `query`, `query_range`, `format_query`, `parse_query` and `query_exemplars`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use throughline_correlate::unresolved::{ASKED_MAX, Tally};
use throughline_exec::{Budget, Matcher};
use throughline_promql::ast::{Expr, ValueType, VectorSelector};
use throughline_promql::{Engine, QueryResult, parse, print};
use throughline_scan::metrics::{ExemplarSeries, MetricSource};

use super::params::Params;
use super::reply::{Notes, Refusal, closed, noted, opened, put_seconds, success};
use super::stats::{self, Started, Stats, deprecated_stats};
use super::{Prometheus, tree, values};

/// Points of one series in one answer: enough for a point every minute of a week.
const STEPS_MAX: i64 = 11_000;

/// Exemplars in one answer; a panel shows some hundreds.
const EXEMPLARS_MAX: usize = 10_000;

fn parsed(params: &Params) -> Result<(String, Expr), Refusal> {
    let text = params.text("query").unwrap_or_default().to_owned();
    if text.is_empty() {
        // Where nothing is, there is no place to point at.
        return Err(Refusal::parameter(
            "query",
            "unknown position: parse error: no expression found in input",
        ));
    }
    match parse(&text) {
        Ok(expr) => Ok((text, expr)),
        Err(error) => Err(Refusal::parameter("query", error)),
    }
}

fn engine(prometheus: &Prometheus, params: &Params) -> Result<Engine, Refusal> {
    let mut engine = prometheus.engine;
    if let Some(lookback) = params.lookback_ms()?.filter(|ms| *ms > 0) {
        engine.options.lookback_ms = lookback;
    }
    engine.options.count_samples = Stats::of(params) != Stats::None;
    Ok(engine)
}

pub(super) async fn query(State(prometheus): State<Prometheus>, params: Params) -> Result<Response, Refusal> {
    let limit = params.limit()?;
    let now_ms = prometheus.now_ms();
    let time_ms = params.time_ms("time")?.unwrap_or(now_ms);
    let timeout_ms = params.duration_ms("timeout")?;
    let engine = engine(&prometheus, &params)?;
    let (text, expr) = parsed(&params)?;
    let stats = Stats::of(&params);
    let snapshot = prometheus.store.snapshot();
    let place = prometheus.place_of(&snapshot, &expr, 1);
    let started = Started::now(&prometheus);
    let ask = move |source: &MetricSource, budget: &Budget| {
        let clock = started.evaluating();
        let result = engine.instant(&text, &expr, time_ms, source, budget);
        let result = result.map_err(|error| Refusal::query(&error))?;
        let timings = clock.evaluated();
        Ok(written(&result, Asked { grid: (time_ms, 0), end_ms: time_ms, limit, stats }, &timings))
    };
    let ((body, mut notes), partial) = prometheus.ask_within(timeout_ms, snapshot, place, ask).await?;
    notes.warnings.extend(partial);
    notes.warnings.extend(deprecated_stats(&params));
    Ok(closed(body, &notes))
}

pub(super) async fn query_range(
    State(prometheus): State<Prometheus>,
    params: Params,
) -> Result<Response, Refusal> {
    let limit = params.limit()?;
    let start_ms = params.required_time_ms("start")?;
    let end_ms = params.required_time_ms("end")?;
    if end_ms < start_ms {
        return Err(Refusal::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.required_duration_ms("step")?;
    if step_ms <= 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(Refusal::parameter("step", reason));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > STEPS_MAX {
        return Err(Refusal::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let timeout_ms = params.duration_ms("timeout")?;
    let engine = engine(&prometheus, &params)?;
    let (text, expr) = parsed(&params)?;
    if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
        let kind = expr.value_type().documented_name();
        let reason =
            format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector");
        return Err(Refusal::parameter("query", reason));
    }
    let stats = Stats::of(&params);
    let snapshot = prometheus.store.snapshot();
    let place = prometheus.place_of(&snapshot, &expr, end_ms.saturating_sub(start_ms) / step_ms + 1);
    let started = Started::now(&prometheus);
    let ask = move |source: &MetricSource, budget: &Budget| {
        let clock = started.evaluating();
        let result = engine.range(&text, &expr, (start_ms, end_ms, step_ms), source, budget);
        let result = result.map_err(|error| Refusal::query(&error))?;
        let timings = clock.evaluated();
        Ok(written(&result, Asked { grid: (start_ms, step_ms), end_ms, limit, stats }, &timings))
    };
    let ((body, mut notes), partial) = prometheus.ask_within(timeout_ms, snapshot, place, ask).await?;
    notes.warnings.extend(partial);
    notes.warnings.extend(deprecated_stats(&params));
    Ok(closed(body, &notes))
}

/// What of an answer is asked for.
#[derive(Clone, Copy)]
struct Asked {
    /// The first step and the distance of steps, milliseconds.
    grid: (i64, i64),
    /// The time of values that have none of their own.
    end_ms: i64,
    limit: Option<usize>,
    stats: Stats,
}

fn written(result: &QueryResult, asked: Asked, timings: &Json) -> (Vec<u8>, Notes) {
    let mut notes = Notes { warnings: result.warnings.clone(), infos: result.infos.clone() };
    let mut out = opened(values::room_for(&result.value, asked.limit));
    out.push(b'{');
    if values::put_value(&mut out, &result.value, asked.end_ms, asked.limit) {
        notes.warnings.push("results truncated due to limit".to_owned());
    }
    if asked.stats != Stats::None {
        let samples = stats::samples(result, asked.stats, asked.grid);
        let stats = json!({ "timings": timings, "samples": samples });
        out.extend_from_slice(format!(r#","stats":{stats}"#).as_bytes());
    }
    out.push(b'}');
    (out, notes)
}

pub(super) async fn format_query(params: Params) -> Result<Response, Refusal> {
    let (_, expr) = parsed(&params)?;
    Ok(success(&print::pretty(&expr)))
}

pub(super) async fn parse_query(params: Params) -> Result<Response, Refusal> {
    let (_, expr) = parsed(&params)?;
    Ok(success(&tree::node(&expr)))
}

/// The selectors of an expression, from left to right.
pub(super) fn selectors<'a>(expr: &'a Expr, out: &mut Vec<&'a VectorSelector>) {
    match expr {
        Expr::Vector(selector) => out.push(selector),
        Expr::Matrix(matrix) => out.push(&matrix.selector),
        other => other.children().into_iter().for_each(|child| selectors(child, out)),
    }
}

pub(super) async fn query_exemplars(
    State(prometheus): State<Prometheus>,
    params: Params,
) -> Result<Response, Refusal> {
    let start_ms = params.time_ms("start")?.unwrap_or(i64::MIN);
    let end_ms = params.time_ms("end")?.unwrap_or(i64::MAX);
    if end_ms < start_ms {
        return Err(Refusal::bad_data("end timestamp must not be before start timestamp"));
    }
    let (_, expr) = parsed(&params)?;
    let mut found = Vec::new();
    selectors(&expr, &mut found);
    if found.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let matchers: Vec<Vec<Matcher>> = found.into_iter().map(|selector| selector.matchers.clone()).collect();
    let ask = move |source: &MetricSource, budget: &Budget| {
        let found = source.exemplars(&matchers, start_ms, end_ms, budget);
        let mut series = found.map_err(|error| Refusal::exec(&error))?;
        let over = keep_newest(&mut series);
        let infos = lost(source, &series);
        Ok((series, over, infos))
    };
    let ((series, over, infos), partial) = prometheus.ask(ask).await?;
    let mut notes = Notes { warnings: partial, infos };
    if over > 0 {
        notes.warnings.push(format!("{over} older exemplars over the limit of {EXEMPLARS_MAX} are left out"));
    }
    let mut body = opened(0);
    put_exemplar_series(&mut body, &series);
    Ok(closed(body, &notes))
}

/// What became of exemplars' traces that are not here: Prometheus's answer has no place for it at the exemplar.
fn lost(source: &MetricSource, series: &[ExemplarSeries]) -> Vec<String> {
    let mut tally = Tally::default();
    let mut total = 0;
    for exemplar in series.iter().flat_map(|series| &series.exemplars) {
        total += 1;
        if let Some(id) = exemplar.record.trace_id {
            tally.add(id, 1, |id| source.link_state(id));
        }
    }
    let mut infos: Vec<String> = tally
        .lost()
        .iter()
        .map(|(what, lost)| {
            let (count, ids) = (lost.count, lost.named.join(", "));
            format!("{count} of {total} exemplars lead to a trace that is not here ({what}), such as {ids}")
        })
        .collect();
    if tally.left_out() > 0 {
        infos.push(format!(
            "of {} exemplars it was not looked for whether their traces are here: {ASKED_MAX} traces are, at most",
            tally.left_out()
        ));
    }
    infos
}

/// Drops the oldest exemplars over the limit; returns how many.
fn keep_newest(series: &mut Vec<ExemplarSeries>) -> usize {
    let total: usize = series.iter().map(|series| series.exemplars.len()).sum();
    if total <= EXEMPLARS_MAX {
        return 0;
    }
    let mut times: Vec<i64> = series.iter().flat_map(|s| s.exemplars.iter().map(|e| e.record.time)).collect();
    times.sort_unstable();
    let from = times.get(total - EXEMPLARS_MAX).copied().unwrap_or(i64::MIN);
    series.iter_mut().for_each(|series| series.exemplars.retain(|exemplar| exemplar.record.time >= from));
    series.retain(|series| !series.exemplars.is_empty());
    total - series.iter().map(|series| series.exemplars.len()).sum::<usize>()
}

fn put_exemplar_series(out: &mut Vec<u8>, series: &[ExemplarSeries]) {
    out.push(b'[');
    for (at, series) in series.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"seriesLabels":"#);
        values::put_labels(out, &series.labels);
        out.extend_from_slice(br#","exemplars":["#);
        for (at, exemplar) in series.exemplars.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"labels":{"#);
            for (at, (name, value)) in exemplar.labels.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                values::put_text(out, name);
                out.push(b':');
                values::put_text(out, value);
            }
            let value = super::reply::float_text(exemplar.value);
            out.extend_from_slice(format!(r#"}},"value":"{value}","timestamp":"#).as_bytes());
            put_seconds(out, exemplar.time_ms);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
}

/// An answer that is no more than data.
pub(super) fn listed<T: serde::Serialize>(data: &T, partial: Vec<String>) -> Response {
    noted(data, &Notes { warnings: partial, ..Notes::default() })
}
