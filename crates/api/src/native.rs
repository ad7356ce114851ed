//! The handlers of the native API: parameters in, a question to a snapshot, JSON out.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use throughline_correlate::missing::Missing;
use throughline_correlate::spike::Curve;
use throughline_correlate::trace_view::TraceView;
use throughline_correlate::unresolved::{self, Unresolved};
use throughline_correlate::{spike, walk as walks};
use throughline_model::link::LinkState;
use throughline_model::record::{Exemplar, LogRecord, Series, TraceSummary};
use throughline_model::{PatternId, SpanId, TraceId};
use throughline_store::{
    Found, LogQuery, SeriesQuery, ServiceSummary, Snapshot, TimeRange, TraceData, TraceQuery, Want,
};

use crate::Api;
use crate::asked;
use crate::blocking::QUERY_TIMEOUT;
use crate::failure::Failure;
use crate::params::{self, Params};

/// A screenful by default; what a browser can still list at most.
const TRACES: (usize, usize) = (20, 1_000);
/// A page by default; about 10 MB of JSON at most.
const LOGS: (usize, usize) = (100, 10_000);
/// A dense panel by default.
pub(crate) const EXEMPLARS: (usize, usize) = (100, 10_000);
/// What a metrics browser lists; JSON of about 10 MB at most.
const SERIES: (usize, usize) = (1_000, 20_000);
/// Spans in one answer: about 50 MB of JSON.
const SPANS_MAX: usize = 100_000;
/// How far searches look back by themselves.
pub(crate) const HOUR_NS: i64 = 3_600_000_000_000;

type Pairs = Query<Vec<(String, String)>>;
pub(crate) type Answer = Result<Response, Failure>;

impl Api {
    /// Now, nanoseconds since the epoch.
    pub(crate) fn now(&self) -> i64 {
        self.context.clock.now()
    }

    pub(crate) fn params(&self, Query(pairs): Pairs, known: &[&str]) -> Result<Params, Failure> {
        Params::new(pairs, known, self.context.clock.now())
    }

    /// Asks a snapshot and writes the answer as JSON, both on a blocking thread: a large answer takes as long to
    /// write as to find.
    pub(crate) async fn ask<T: Serialize>(
        &self,
        question: impl FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
    ) -> Answer {
        json(self.blocking.run(self.written(question)).await)
    }

    /// As [`Api::ask`], for a question about one trace, or one that was counted before: it is answered sooner than another
    /// thread would begin.
    pub(crate) async fn look_up<T: Serialize>(
        &self,
        question: impl FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
    ) -> Answer {
        json(self.blocking.run_here(self.written(question)).await)
    }

    /// As [`Api::look_up`], for a search that is mostly short, and ends by itself with what it found where it is not.
    pub(crate) async fn search<T: Serialize>(
        &self,
        question: impl FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
    ) -> Answer {
        let clock = self.context.clock.clone();
        self.look_up(move |snapshot| question(&snapshot.clone().ending_after(QUERY_TIMEOUT, clock))).await
    }

    fn written<T: Serialize>(
        &self,
        question: impl FnOnce(&Snapshot) -> Result<T, Failure> + Send + 'static,
    ) -> impl FnOnce() -> Result<Vec<u8>, Failure> + Send + 'static {
        let store = self.context.store.clone();
        move || {
            let answer = question(&store.snapshot())?;
            serde_json::to_vec(&answer).map_err(|error| Failure::internal(error.to_string()))
        }
    }
}

pub(crate) fn json(written: Result<Vec<u8>, Failure>) -> Answer {
    Ok(([(header::CONTENT_TYPE, "application/json")], written?).into_response())
}

#[derive(Serialize)]
struct TraceAnswer {
    link: LinkState,
    /// What was asked for: lists, counts and culprits are of these signals alone.
    included: Vec<&'static str>,
    #[serde(flatten)]
    view: TraceView,
    /// What happened to its spans, where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What is left of a trace that was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    tombstone: Option<TraceSummary>,
}

pub(crate) async fn trace(State(api): State<Api>, Path(id): Path<String>, pairs: Pairs) -> Answer {
    let want = api.params(pairs, &["include"])?.include()?;
    let trace_id = params::trace_id(&id)?;
    api.look_up(move |snapshot| {
        let mut view = TraceView::read(snapshot, trace_id, want)?;
        let missing = if view.spans.is_empty() { Some(Missing::of(snapshot, trace_id)?) } else { None };
        // A trace that is here and has none of what was asked for is an answer, not a failure.
        let missing = missing.filter(|missing| want.spans || missing.link != LinkState::Resolved);
        if let Some(missing) = missing.as_ref().filter(|_| view.is_empty()) {
            return Err(not_here(trace_id, want, missing, &view.partial));
        }
        let link = missing.as_ref().map_or(LinkState::Resolved, |missing| missing.link.clone());
        // They point at this very trace.
        view.exemplars.iter_mut().for_each(|exemplar| exemplar.link = Some(link.clone()));
        if view.spans.len() > SPANS_MAX {
            let over = view.spans.len() - SPANS_MAX;
            view.partial.push(format!("{over} spans over the limit of {SPANS_MAX} are left out"));
            view.spans.truncate(SPANS_MAX);
        }
        view.ask_links(snapshot)?;
        let (why, tombstone) = missing.map(|missing| (missing.message, missing.tombstone)).unzip();
        let tombstone = tombstone.flatten();
        Ok(TraceAnswer { link, included: params::included(want), view, why, tombstone })
    })
    .await
}

/// The refusal that says what happened to a trace.
fn not_here(id: TraceId, want: Want, missing: &Missing, partial: &[String]) -> Failure {
    let mut why = match missing.link {
        LinkState::NeverReceived if want != Want::ALL => {
            format!(
                "no span of trace {id} was ever received; without include, log records and exemplars are looked for too"
            )
        }
        _ => missing.message.clone(),
    };
    if !partial.is_empty() {
        why += &format!("; not everything could be read: {}", partial.join("; "));
    }
    Failure::not_found(why, missing.link.clone())
}

#[derive(Serialize)]
struct TracesAnswer {
    range: TimeRange,
    limit: usize,
    traces: Vec<TraceSummary>,
    partial: Vec<String>,
}

pub(crate) async fn traces(State(api): State<Api>, pairs: Pairs) -> Answer {
    let known = ["service", "operation", "min_duration", "max_duration", "status", "start", "end", "limit"];
    let params = api.params(pairs, &known)?;
    let query = TraceQuery {
        range: params.range(HOUR_NS)?,
        service: params.owned("service"),
        operation: params.owned("operation"),
        min_duration_ns: params.duration("min_duration")?,
        max_duration_ns: params.duration("max_duration")?,
        error: params.status()?,
        limit: params.limit(TRACES.0, TRACES.1)?,
    };
    api.search(move |snapshot| {
        let Found { items: traces, partial } = snapshot.search_traces(&query)?;
        Ok(TracesAnswer { range: query.range, limit: query.limit, traces, partial })
    })
    .await
}

/// The log records of one trace.
#[derive(Serialize)]
struct TraceLogsAnswer {
    trace_id: TraceId,
    link: LinkState,
    /// What happened to its spans, where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// How many there are without the filters.
    total: usize,
    limit: usize,
    logs: Vec<LogRecord>,
    partial: Vec<String>,
}

#[derive(Serialize)]
struct LogsAnswer {
    range: TimeRange,
    limit: usize,
    logs: Vec<LogRecord>,
    /// The traces that they refer to and that are not here, with what became of each.
    unresolved: Vec<Unresolved>,
    partial: Vec<String>,
}

pub(crate) async fn trace_logs(State(api): State<Api>, Path(id): Path<String>, pairs: Pairs) -> Answer {
    let params = api.params(pairs, &["span"])?;
    let trace_id = params::trace_id(&id)?;
    let filter = LogFilter { span: span_id(&params)?, limit: LOGS.1, ..LogFilter::default() };
    api.look_up(move |snapshot| logs_of_trace(snapshot, trace_id, &filter)).await
}

pub(crate) async fn logs(State(api): State<Api>, pairs: Pairs) -> Answer {
    let known = ["trace", "span", "service", "severity", "pattern", "contains", "start", "end", "limit"];
    let params = api.params(pairs, &known)?;
    let limit = params.limit(LOGS.0, LOGS.1)?;
    if let Some(text) = params.text("trace") {
        let trace_id = params::trace_id(text)?;
        let filter = LogFilter {
            span: span_id(&params)?,
            service: params.owned("service"),
            min_severity: params.severity()?,
            pattern: params.pattern()?,
            contains: params.owned("contains"),
            range: Some(params.range_or_all()?),
            limit,
        };
        return api.look_up(move |snapshot| logs_of_trace(snapshot, trace_id, &filter)).await;
    }
    if params.text("span").is_some() {
        return Err(Failure::parameter("span", "span ids are unique within a trace only; add trace=ID"));
    }
    let query = LogQuery {
        range: params.range(HOUR_NS)?,
        service: params.owned("service"),
        min_severity: params.severity()?,
        pattern: params.pattern()?,
        contains: params.owned("contains"),
        limit,
    };
    api.search(move |snapshot| {
        let Found { items: logs, mut partial } = snapshot.search_logs(&query)?;
        let traces = logs.iter().filter_map(|log| log.trace_id);
        let (unresolved, reason) = unresolved::of(snapshot, traces)?;
        partial.extend(reason);
        Ok(LogsAnswer { range: query.range, limit: query.limit, logs, unresolved, partial })
    })
    .await
}

#[derive(Default)]
struct LogFilter {
    span: Option<SpanId>,
    service: Option<String>,
    min_severity: u8,
    pattern: Option<PatternId>,
    contains: Option<String>,
    range: Option<TimeRange>,
    limit: usize,
}

impl LogFilter {
    fn takes(&self, log: &LogRecord) -> bool {
        let text = || log.body.as_str().map_or_else(|| log.body.to_string(), str::to_owned);
        self.span.is_none_or(|span| log.span_id == Some(span))
            && self.service.as_ref().is_none_or(|service| *service == log.service)
            && log.level.severity(log.severity_number) >= self.min_severity
            && self.pattern.is_none_or(|pattern| log.pattern_id == Some(pattern))
            && self.range.is_none_or(|range| range.contains(log.time))
            && self.contains.as_ref().is_none_or(|words| text().contains(words.as_str()))
    }
}

fn logs_of_trace(snapshot: &Snapshot, id: TraceId, filter: &LogFilter) -> Result<TraceLogsAnswer, Failure> {
    let TraceData { mut logs, mut partial, .. } =
        snapshot.trace(id, Want { spans: false, logs: true, exemplars: false })?;
    let (total, limit) = (logs.len(), filter.limit);
    logs.retain(|log| filter.takes(log));
    let over = logs.len().saturating_sub(limit);
    if over > 0 {
        partial.push(format!("{over} records over the limit of {limit} are left out"));
        logs.truncate(limit);
    }
    let Missing { link, message, .. } = Missing::of(snapshot, id)?;
    let why = (link != LinkState::Resolved).then_some(message);
    Ok(TraceLogsAnswer { trace_id: id, link, why, total, limit, logs, partial })
}

#[derive(Serialize)]
struct ExemplarsAnswer {
    range: TimeRange,
    limit: usize,
    /// How many of them have a trace that is here.
    resolving: usize,
    exemplars: Vec<Exemplar>,
    partial: Vec<String>,
}

pub(crate) async fn exemplars(State(api): State<Api>, pairs: Pairs) -> Answer {
    let known =
        ["metric", "service", "attribute", "query", "near", "first", "per_series", "start", "end", "limit"];
    let params = api.params(pairs, &known)?;
    if params.text("query").is_some() {
        return asked::exemplars(&api, &params).await;
    }
    if let Some(name) = ["near", "first", "per_series"].into_iter().find(|name| params.text(name).is_some()) {
        return Err(Failure::parameter(name, format!("{name} needs query, a PromQL expression")));
    }
    let query = series_query(&params, EXEMPLARS)?;
    api.ask(move |snapshot| {
        let Found { items: exemplars, partial } = snapshot.exemplars(&query)?;
        let resolving = exemplars.iter().filter(|e| e.link == Some(LinkState::Resolved)).count();
        Ok(ExemplarsAnswer { range: query.range, limit: query.limit, resolving, exemplars, partial })
    })
    .await
}

#[derive(Serialize)]
struct SeriesAnswer {
    range: TimeRange,
    limit: usize,
    series: Vec<Series>,
    /// A quantile of each latency metric over time, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    curves: Option<Vec<Curve>>,
    partial: Vec<String>,
}

pub(crate) async fn series(State(api): State<Api>, pairs: Pairs) -> Answer {
    let params =
        api.params(pairs, &["metric", "service", "attribute", "quantile", "start", "end", "limit"])?;
    let query = series_query(&params, SERIES)?;
    let quantile = params.quantile()?;
    api.ask(move |snapshot| {
        let (range, limit) = (query.range, query.limit);
        let Some(quantile) = quantile else {
            let Found { items: series, partial } = snapshot.series(&query)?;
            return Ok(SeriesAnswer { range, limit, series, curves: None, partial });
        };
        let Found { items, partial } = snapshot.points(&query)?;
        let findings = spike::find(&items, range, quantile);
        let curves = Some(findings.into_iter().map(|finding| finding.curve).collect());
        let series = items.into_iter().map(|(series, _)| series).collect();
        Ok(SeriesAnswer { range, limit, series, curves, partial })
    })
    .await
}

#[derive(Serialize)]
struct ServicesAnswer {
    services: Vec<ServiceSummary>,
    partial: Vec<String>,
}

pub(crate) async fn services(State(api): State<Api>, pairs: Pairs) -> Answer {
    let range = api.params(pairs, &["start", "end"])?.range_or_all()?;
    api.look_up(move |snapshot| {
        let Found { items: mut services, partial } = snapshot.services(range)?;
        // Series between two services, or of no service, name none.
        services.retain(|service| !service.service.is_empty());
        Ok(ServicesAnswer { services, partial })
    })
    .await
}

pub(crate) async fn ledger(State(api): State<Api>, pairs: Pairs) -> Answer {
    api.params(pairs, &[])?;
    Ok(Json(crate::health::ledger_json(&api.context.store)).into_response())
}

pub(crate) async fn walk(State(api): State<Api>, pairs: Pairs) -> Answer {
    let params = api.params(pairs, &["service", "metric", "quantile", "start", "end"])?;
    let request = walks::WalkRequest {
        service: params.owned("service"),
        metric: params.owned("metric"),
        range: params.range(walks::RANGE_NS)?,
        quantile: params.quantile()?.unwrap_or(walks::QUANTILE),
    };
    api.ask(move |snapshot| Ok(walks::walk(snapshot, &request)?)).await
}

fn series_query(params: &Params, (default, max): (usize, usize)) -> Result<SeriesQuery, Failure> {
    Ok(SeriesQuery {
        range: params.range(HOUR_NS)?,
        metric: params.owned("metric"),
        service: params.owned("service"),
        attributes: params.attributes()?,
        limit: params.limit(default, max)?,
    })
}

fn span_id(params: &Params) -> Result<Option<SpanId>, Failure> {
    let Some(text) = params.text("span") else { return Ok(None) };
    let message = || format!("{text:?} is not a span id: write it as 16 hex digits, decimal or base64");
    SpanId::parse(text).map(Some).ok_or_else(|| Failure::parameter("span", message()))
}
