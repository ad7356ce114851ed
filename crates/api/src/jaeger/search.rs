//! Traces of the older API: by id, and by service, operation, duration and tags.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use throughline_model::TraceId;
use throughline_model::record::Span;
use throughline_traceql::ast::Scope;
use throughline_traceql::{Engine, SearchParams, answer, checked};

use super::model::write_trace;
use super::reply::{Legacy, written};
use super::{Jaeger, reply};
use crate::otlp_json::List;
use crate::traces::conditions::{all_of, attribute, duration, has_value, quoted};
use crate::traces::params::{Params, trace_id};
use crate::traces::{ReadTrace, Refusal, read_linked, read_trace};

const MICROSECOND_NS: i64 = 1_000;
/// How far back a search looks that names no start.
const WINDOW_NS: i64 = 48 * 3_600_000_000_000;
/// Traces of one answer, unless asked for otherwise.
pub(super) const LIMIT: i64 = 100;
/// Traces of one answer at most: what Jaeger's UI lets one ask for.
const LIMIT_MAX: i64 = 1_500;
/// Spans of all traces of one answer together.
const SPANS_MAX: usize = 500_000;
/// Clocks of senders run ahead by up to this much and their data is still "until now".
const CLOCK_SKEW_NS: i64 = 60_000_000_000;

/// Where an attribute of any other name is looked for.
const SCOPES: [Scope; 5] = [Scope::Span, Scope::Resource, Scope::Instrumentation, Scope::Event, Scope::Link];

/// A search as both versions ask it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Search {
    pub(super) service: String,
    pub(super) operation: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) min_ns: Option<i64>,
    pub(super) max_ns: Option<i64>,
    /// Nanoseconds since the epoch.
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) limit: i64,
}

impl Search {
    fn of_params(params: &Params, now: i64) -> Result<Search, Refusal> {
        let time =
            |name: &str| Ok::<_, Refusal>(params.whole(name)?.map(|us| us.saturating_mul(MICROSECOND_NS)));
        let end_ns = time("end")?.unwrap_or(now.saturating_add(CLOCK_SKEW_NS));
        let start_ns = time("start")?.unwrap_or_else(|| end_ns.min(now).saturating_sub(WINDOW_NS));
        let service = params.text("service").unwrap_or_default().to_owned();
        if service.is_empty() {
            return Err(Refusal::bad("parameter 'service' is required"));
        }
        let (min_ns, max_ns) = (params.duration_ns("minDuration")?, params.duration_ns("maxDuration")?);
        if min_ns.zip(max_ns).is_some_and(|(min, max)| min > max) {
            return Err(Refusal::bad("'maxDuration' should be greater than 'minDuration'"));
        }
        Ok(Search {
            service,
            operation: params.text("operation").unwrap_or_default().to_owned(),
            tags: tags_of(params)?,
            min_ns,
            max_ns,
            start_ns,
            end_ns,
            limit: params.whole("limit")?.unwrap_or(LIMIT),
        })
    }

    /// The query that means the same: all conditions are of one span.
    fn query(&self) -> String {
        let mut conditions = Vec::new();
        if !self.service.is_empty() {
            conditions.push(format!("resource.service.name = {}", quoted(&self.service)));
        }
        if !self.operation.is_empty() {
            conditions.push(format!("name = {}", quoted(&self.operation)));
        }
        conditions.extend(self.min_ns.map(|ns| format!("duration >= {}", duration(ns))));
        conditions.extend(self.max_ns.map(|ns| format!("duration <= {}", duration(ns))));
        conditions.extend(self.tags.iter().map(|(key, value)| condition(key, value)));
        all_of(&conditions)
    }

    /// The traces that it finds, those that started last first, and why there may be more.
    pub(super) async fn run(
        self,
        jaeger: &Jaeger,
    ) -> Result<(Vec<answer::FoundTrace>, Vec<String>), Refusal> {
        if self.end_ns <= self.start_ns {
            return Err(Refusal::bad("the end of the search is not after its start"));
        }
        let limit = match self.limit {
            limit @ 1..=LIMIT_MAX => limit as usize,
            limit => {
                return Err(Refusal::bad(format!("limit {limit} is not between 1 and {LIMIT_MAX}")));
            }
        };
        let query = checked(&self.query())?;
        let params = SearchParams { start_ns: self.start_ns, end_ns: self.end_ns, limit, spans_per_set: 1 };
        let found = jaeger.traces.ask(move |source, budget| {
            let answer = Engine.search(&query, &params, source, budget)?;
            Ok((answer.traces, source.partial()))
        });
        found.await
    }

    /// The spans of the traces that it finds, as many as there may be in one answer.
    pub(super) async fn spans(self, jaeger: &Jaeger) -> Result<FoundSpans, Refusal> {
        let (found, partial) = self.run(jaeger).await?;
        let read = jaeger.traces.ask(move |source, budget| {
            let (mut traces, mut left_out, mut spans) = (Vec::new(), Vec::new(), 0);
            for id in found.into_iter().map(|trace| trace.id) {
                budget.check()?;
                if spans >= SPANS_MAX {
                    left_out.push(id);
                    continue;
                }
                // A trace may have gone meanwhile: clients take one without spans for a mistake.
                if let Ok(trace) = read_trace(source.snapshot(), id) {
                    spans += trace.spans.len();
                    traces.push((id, trace));
                }
            }
            Ok(FoundSpans { traces, left_out, partial })
        });
        read.await
    }
}

/// What a search finds.
pub(super) struct FoundSpans {
    pub(super) traces: Vec<(TraceId, ReadTrace)>,
    /// Traces that did not fit into one answer.
    pub(super) left_out: Vec<TraceId>,
    /// Why there may be more.
    partial: Vec<String>,
}

impl FoundSpans {
    /// The spans of all traces, for answers that have no place to say what is left out; and why there may be more.
    pub(super) fn whole(self) -> Result<(Vec<Vec<Span>>, Vec<String>), Refusal> {
        if !self.left_out.is_empty() {
            let message =
                format!("{} traces do not fit into one answer; narrow the query", self.left_out.len());
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let mut partial = self.partial;
        let mut all = Vec::with_capacity(self.traces.len());
        for (_, trace) in self.traces {
            let ReadTrace { spans, partial: of_trace, .. } = trace.whole()?;
            partial.extend(of_trace);
            all.push(spans);
        }
        Ok((all, partial))
    }
}

/// `tag=key:value`, repeated, and `tags`, a JSON object of texts.
fn tags_of(params: &Params) -> Result<BTreeMap<String, String>, Refusal> {
    let mut tags = BTreeMap::new();
    for pair in params.all("tag") {
        let (key, value) = pair.split_once(':').ok_or_else(|| {
            Refusal::bad(format!("malformed 'tag' parameter, expecting key:value, received: {pair}"))
        })?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    for text in params.all("tags") {
        tags.extend(texts(text).map_err(|error| {
            Refusal::bad(format!("malformed 'tags' parameter, cannot unmarshal JSON: {error}"))
        })?);
    }
    Ok(tags)
}

/// A JSON object of texts.
pub(super) fn texts(json: &str) -> Result<BTreeMap<String, String>, serde_json::Error> {
    serde_json::from_str(json)
}

/// What a tag asks of a span. Some keys mean fields of the span.
fn condition(key: &str, value: &str) -> String {
    match (key, value) {
        ("error", "true") => "status = error".to_owned(),
        ("error", "false") => "status != error".to_owned(),
        ("span.kind", _) => match word(value, &super::model::KINDS).filter(|kind| !kind.is_empty()) {
            Some(kind) => format!("kind = {kind}"),
            None => has_value(&SCOPES, key, value),
        },
        ("span.status", _) => match word(value, &["error", "ok", "unset"]) {
            Some(status) => format!("status = {status}"),
            None => has_value(&SCOPES, key, value),
        },
        ("scope.name", value) => format!("instrumentation:name = {}", quoted(value)),
        ("scope.version", value) => format!("instrumentation:version = {}", quoted(value)),
        (key, value) => match key.strip_prefix("resource.") {
            Some(key) => has_value(&[Scope::Resource], key, value),
            None => has_value(&SCOPES, key, value),
        },
    }
}

/// The word that a value is, whatever the case of its letters.
fn word(value: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().find(|word| word.eq_ignore_ascii_case(value)).copied()
}

/// The field by which spans of a service are told.
pub(super) fn service_field() -> String {
    attribute(Scope::Resource, "service.name")
}

pub(super) async fn trace(
    State(jaeger): State<Jaeger>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Legacy> {
    // The window is checked and changes nothing: clients send it in several units.
    params.whole("start")?;
    params.whole("end")?;
    params.flag("raw")?;
    let id = trace_id(&id)?;
    let write = move |trace: ReadTrace| {
        let traces = [(id, trace)];
        let [(_, ReadTrace { links, .. })] = &traces;
        Ok(links.found(written(written_traces(&traces, &[]))))
    };
    Ok(jaeger.traces.read(id, write).await?)
}

pub(super) async fn search(State(jaeger): State<Jaeger>, params: Params) -> Result<Response, Legacy> {
    let ids: Vec<TraceId> = params.all("traceID").map(trace_id).collect::<Result<_, _>>()?;
    if !ids.is_empty() {
        return Ok(by_ids(&jaeger, ids).await?);
    }
    let search = Search::of_params(&params, jaeger.traces.now())?;
    let FoundSpans { traces, left_out, partial } = search.spans(&jaeger).await?;
    let message =
        format!("left out: the traces before it have {SPANS_MAX} spans together; ask for it by its id");
    let left_out = left_out.iter().map(|id| (413, message.clone(), Some(*id)));
    let errors: Vec<_> = partial.into_iter().map(|why| (206, why, None)).chain(left_out).collect();
    Ok(reply::written(written_traces(&traces, &errors)))
}

/// Traces by their ids; those that are not here are named beside the others.
async fn by_ids(jaeger: &Jaeger, ids: Vec<TraceId>) -> Result<Response, Refusal> {
    if ids.len() > LIMIT_MAX as usize {
        return Err(Refusal::bad(format!("{} trace IDs are more than {LIMIT_MAX}", ids.len())));
    }
    let read = jaeger.traces.ask(move |source, budget| {
        let (mut traces, mut errors) = (Vec::new(), Vec::new());
        for id in ids {
            budget.check()?;
            match read_linked(source.snapshot(), id) {
                Ok(trace) => traces.push((id, trace)),
                Err(refusal) => errors.push((refusal.status.as_u16(), refusal.message, Some(id))),
            }
        }
        Ok(written_traces(&traces, &errors))
    });
    Ok(written(read.await?))
}

/// Traces in the envelope, and what is to be said beside them.
pub(super) fn written_traces(
    traces: &[(TraceId, ReadTrace)],
    errors: &[(u16, String, Option<TraceId>)],
) -> String {
    let mut out = r#"{"data":"#.to_owned();
    let mut list = List::open(&mut out);
    for (id, trace) in traces {
        list.next(&mut out);
        write_trace(&mut out, *id, trace);
    }
    list.close(&mut out);
    out.push_str(r#","total":0,"limit":0,"offset":0,"errors":"#);
    let errors: Vec<_> = errors
        .iter()
        .map(|(code, message, id)| match id {
            Some(id) => json!({"code": code, "msg": message, "traceID": id.to_string()}),
            None => json!({"code": code, "msg": message}),
        })
        .collect();
    out.push_str(&if errors.is_empty() { "null".to_owned() } else { json!(errors).to_string() });
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000_000_000;

    #[test]
    fn a_search_becomes_a_query() {
        let params = Params::of(&[
            ("service", "cart"),
            ("operation", "GET /"),
            ("minDuration", "1.5ms"),
            ("tag", "error:true"),
            ("tag", "resource.host.name:n1"),
            ("tags", r#"{"span.kind":"server","scope.name":"lib"}"#),
            ("lookback", "1h"),
        ]);
        let search = Search::of_params(&params, NOW).expect("a search");
        assert_eq!(search.start_ns, NOW - WINDOW_NS);
        let expected = "{ resource.service.name = \"cart\" && name = \"GET /\" && duration >= 1500us && status = error && \
                        resource.host.name = \"n1\" && instrumentation:name = \"lib\" && kind = server }";
        assert_eq!(search.query(), expected);
        assert!(checked(expected).is_ok());
        let any =
            Search { tags: [("http.status_code".to_owned(), "500".to_owned())].into(), ..Search::default() };
        assert!(any.query().contains("event.http.status_code = 500"), "{}", any.query());
        assert!(checked(&any.query()).is_ok());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bad in [
            [("operation", "a"), ("limit", "1")],
            [("service", "a"), ("start", "soon")],
            [("service", "a"), ("tag", "novalue")],
            [("service", "a"), ("tags", "{\"a\":1}")],
            [("service", "a"), ("minDuration", "5")],
        ] {
            assert!(Search::of_params(&Params::of(&bad), NOW).is_err(), "{bad:?}");
        }
    }
}
