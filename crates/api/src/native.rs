//! The handlers of the native API: parameters in, a question to a snapshot, JSON out.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};
use throughline_correlate::trace_view::TraceView;
use throughline_correlate::{spike, walk as walks};
use throughline_model::link::LinkState;
use throughline_model::record::LogRecord;
use throughline_model::{SpanId, TraceId};
use throughline_store::{LogQuery, SeriesQuery, Snapshot, TimeRange, TraceQuery, Want};

use crate::Api;
use crate::failure::Failure;
use crate::params::{self, Params};

/// A screenful by default; what a browser can still list at most.
const TRACES: (usize, usize) = (20, 1_000);
/// A page by default; about 10 MB of JSON at most.
const LOGS: (usize, usize) = (100, 10_000);
/// A dense panel by default.
const EXEMPLARS: (usize, usize) = (100, 10_000);
/// What a metrics browser lists; JSON of about 10 MB at most.
const SERIES: (usize, usize) = (1_000, 20_000);
/// Spans in one answer: about 50 MB of JSON.
const SPANS_MAX: usize = 100_000;
/// How far searches look back by themselves.
const HOUR_NS: i64 = 3_600_000_000_000;

type Pairs = Query<Vec<(String, String)>>;
type Answer = Result<Json<Value>, Failure>;

impl Api {
    fn params(&self, Query(pairs): Pairs, known: &[&str]) -> Result<Params, Failure> {
        Params::new(pairs, known, self.context.clock.now())
    }

    async fn ask(
        &self,
        question: impl FnOnce(&Snapshot) -> Result<Value, Failure> + Send + 'static,
    ) -> Answer {
        let store = self.context.store.clone();
        self.blocking.run(move || question(&store.snapshot())).await.map(Json)
    }
}

pub(crate) async fn trace(State(api): State<Api>, Path(id): Path<String>, pairs: Pairs) -> Answer {
    api.params(pairs, &[])?;
    let trace_id = params::trace_id(&id)?;
    api.ask(move |snapshot| {
        let link = snapshot.link_state(trace_id)?;
        let Some(mut view) = TraceView::read(snapshot, trace_id)? else {
            return Err(Failure::not_found(why_not_here(trace_id, &link), link));
        };
        if view.spans.len() > SPANS_MAX {
            view.partial.push(format!(
                "{} spans over the limit of {SPANS_MAX} are left out",
                view.spans.len() - SPANS_MAX
            ));
            view.spans.truncate(SPANS_MAX);
        }
        let mut body = to_json(&view)?;
        if let Some(object) = body.as_object_mut() {
            object.insert("link".to_owned(), json!(link));
        }
        Ok(body)
    })
    .await
}

/// A sentence for each state of a link, with what to do about it.
fn why_not_here(id: TraceId, link: &LinkState) -> String {
    match link {
        LinkState::Resolved => format!("trace {id} is here but could not be read; run throughline fsck"),
        LinkState::Pending => {
            format!("trace {id} is not here yet; something refers to it, so ask again in 30 s")
        }
        LinkState::Unsampled => {
            format!("trace {id} was not recorded: its sender's sampler decided against it")
        }
        LinkState::Dropped { policy, .. } => format!("trace {id} was dropped by the policy {policy}"),
        LinkState::Expired { .. } => format!("trace {id} has passed its retention"),
        LinkState::NeverReceived => {
            format!(
                "no span, log record or exemplar of trace {id} was ever received; check the id and the sender"
            )
        }
        LinkState::Malformed { form } => format!("{form:?} is not a trace id"),
    }
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
    api.ask(move |snapshot| {
        let found = snapshot.search_traces(&query)?;
        Ok(json!({"range": query.range, "traces": to_json(&found.items)?, "partial": found.partial}))
    })
    .await
}

pub(crate) async fn trace_logs(State(api): State<Api>, Path(id): Path<String>, pairs: Pairs) -> Answer {
    let params = api.params(pairs, &["span"])?;
    let trace_id = params::trace_id(&id)?;
    let filter = LogFilter { span: span_id(&params)?, limit: LOGS.1, ..LogFilter::default() };
    api.ask(move |snapshot| logs_of_trace(snapshot, trace_id, &filter)).await
}

pub(crate) async fn logs(State(api): State<Api>, pairs: Pairs) -> Answer {
    let known = ["trace", "span", "service", "severity", "contains", "start", "end", "limit"];
    let params = api.params(pairs, &known)?;
    let limit = params.limit(LOGS.0, LOGS.1)?;
    if let Some(text) = params.text("trace") {
        let trace_id = params::trace_id(text)?;
        let filter = LogFilter {
            span: span_id(&params)?,
            service: params.owned("service"),
            min_severity: params.severity()?,
            contains: params.owned("contains"),
            range: Some(params.range_or_all()?),
            limit,
        };
        return api.ask(move |snapshot| logs_of_trace(snapshot, trace_id, &filter)).await;
    }
    if params.text("span").is_some() {
        return Err(Failure::parameter("span", "span ids are unique within a trace only; add trace=ID"));
    }
    let query = LogQuery {
        range: params.range(HOUR_NS)?,
        service: params.owned("service"),
        min_severity: params.severity()?,
        contains: params.owned("contains"),
        limit,
    };
    api.ask(move |snapshot| {
        let found = snapshot.search_logs(&query)?;
        Ok(json!({"range": query.range, "logs": to_json(&found.items)?, "partial": found.partial}))
    })
    .await
}

#[derive(Default)]
struct LogFilter {
    span: Option<SpanId>,
    service: Option<String>,
    min_severity: u8,
    contains: Option<String>,
    range: Option<TimeRange>,
    limit: usize,
}

impl LogFilter {
    fn takes(&self, log: &LogRecord) -> bool {
        let text = || log.body.as_str().map_or_else(|| log.body.to_string(), str::to_owned);
        self.span.is_none_or(|span| log.span_id == Some(span))
            && self.service.as_ref().is_none_or(|service| *service == log.service)
            && log.severity_number >= self.min_severity
            && self.range.is_none_or(|range| range.contains(log.time))
            && self.contains.as_ref().is_none_or(|words| text().contains(words.as_str()))
    }
}

fn logs_of_trace(snapshot: &Snapshot, id: TraceId, filter: &LogFilter) -> Result<Value, Failure> {
    let mut data = snapshot.trace(id, Want { spans: false, logs: true, exemplars: false })?;
    let total = data.logs.len();
    data.logs.retain(|log| filter.takes(log));
    if data.logs.len() > filter.limit {
        data.partial.push(format!(
            "{} records over the limit of {} are left out",
            data.logs.len() - filter.limit,
            filter.limit
        ));
        data.logs.truncate(filter.limit);
    }
    let link = snapshot.link_state(id)?;
    let logs = to_json(&data.logs)?;
    Ok(json!({"trace_id": id, "link": link, "total": total, "logs": logs, "partial": data.partial}))
}

pub(crate) async fn exemplars(State(api): State<Api>, pairs: Pairs) -> Answer {
    let params = api.params(pairs, &["metric", "service", "attribute", "start", "end", "limit"])?;
    let query = series_query(&params, EXEMPLARS)?;
    api.ask(move |snapshot| {
        let found = snapshot.exemplars(&query)?;
        let resolving = found.items.iter().filter(|e| e.link == Some(LinkState::Resolved)).count();
        let (total, exemplars) = (found.items.len(), to_json(&found.items)?);
        let range = query.range;
        Ok(json!({
            "range": range, "total": total, "resolving": resolving, "exemplars": exemplars, "partial": found.partial,
        }))
    })
    .await
}

pub(crate) async fn series(State(api): State<Api>, pairs: Pairs) -> Answer {
    let params =
        api.params(pairs, &["metric", "service", "attribute", "quantile", "start", "end", "limit"])?;
    let query = series_query(&params, SERIES)?;
    let quantile = params.quantile()?;
    api.ask(move |snapshot| {
        let Some(quantile) = quantile else {
            let found = snapshot.series(&query)?;
            return Ok(json!({"range": query.range, "series": to_json(&found.items)?, "partial": found.partial}));
        };
        let found = snapshot.points(&query)?;
        let findings = spike::find(&found.items, query.range, quantile);
        let curves: Vec<&spike::Curve> = findings.iter().map(|finding| &finding.curve).collect();
        let series: Vec<_> = found.items.iter().map(|(series, _)| series).collect();
        Ok(json!({
            "range": query.range, "series": to_json(&series)?, "curves": to_json(&curves)?, "partial": found.partial,
        }))
    })
    .await
}

pub(crate) async fn services(State(api): State<Api>, pairs: Pairs) -> Answer {
    let range = api.params(pairs, &["start", "end"])?.range_or_all()?;
    api.ask(move |snapshot| {
        let found = snapshot.services(range)?;
        Ok(json!({"services": to_json(&found.items)?, "partial": found.partial}))
    })
    .await
}

pub(crate) async fn ledger(State(api): State<Api>, pairs: Pairs) -> Answer {
    api.params(pairs, &[])?;
    Ok(Json(crate::health::ledger_json(&api.context.store)))
}

pub(crate) async fn walk(State(api): State<Api>, pairs: Pairs) -> Answer {
    let params = api.params(pairs, &["service", "metric", "quantile", "start", "end"])?;
    let request = walks::WalkRequest {
        service: params.owned("service"),
        metric: params.owned("metric"),
        range: params.range(walks::RANGE_NS)?,
        quantile: params.quantile()?.unwrap_or(walks::QUANTILE),
    };
    api.ask(move |snapshot| to_json(&walks::walk(snapshot, &request)?)).await
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

fn to_json(value: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::internal(error.to_string()))
}
