//! Names and values of tags, for those who build queries: what there is in a window, filtered by what is typed so far.
//!
//! A filter may be half-typed: conditions that do not parse are left out, never refused. Values are those of a query that counts
//! spans by the tag. Where no window is named it is the last hour, and if there is nothing the last day, and then all that
//! is stored.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value as Json, json};
use throughline_exec::Budget;
use throughline_model::record::Span;
use throughline_scan::traces::{AttributeKeys, StoredTraces};
use throughline_store::{TimeRange, Want};
use throughline_traceql::ast::{Expr, Field, FieldExpr, Intrinsic, Scope, SpansetExpr, Stage};
use throughline_traceql::{Engine, MetricsParams, SearchParams, checked};
use throughline_wire::tempo::{TagValuesRequest, TagsRequest, encode_scopes, encode_texts, encode_values};

use super::reply::{Answer, Encoding, TextRefusal, json_answer, partial};
use super::search::seconds;
use crate::traces::params::{Params, seconds_ns};
use crate::traces::values::typed_texts;
use crate::traces::{Refusal, Traces};

/// Names of one scope, and values of one tag, in one answer at most.
const LIMIT_MAX: usize = 10_000;
/// How far back is looked where no window is named, one after the other until something is found.
const LOOK_BACK_NS: [i64; 2] = [3_600_000_000_000, 24 * 3_600_000_000_000];
/// Clocks of senders run ahead by up to this much and their data is still "until now".
const CLOCK_SKEW_NS: i64 = 60_000_000_000;
/// Traces whose spans show the names that a filter leaves.
const FILTERED_TRACES: usize = 200;
/// Conditions of a filter that are looked at.
const CONDITIONS_MAX: usize = 64;

/// Fields that every span has, as queries name them.
const INTRINSICS: [&str; 25] = [
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "link:spanID",
    "link:traceID",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:id",
    "span:kind",
    "span:name",
    "span:parentID",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:id",
    "trace:rootName",
    "trace:rootService",
    "traceDuration",
];

/// Scopes of attributes, in the order in which they are listed.
const SCOPES: [Scope; 5] = [Scope::Resource, Scope::Span, Scope::Event, Scope::Link, Scope::Instrumentation];

const INTRINSIC: &str = "intrinsic";

/// Where to look, one window after the other until something is found.
#[derive(Clone, Debug)]
struct Windows(Vec<TimeRange>);

impl Windows {
    fn new(start: i64, end: i64, now: i64) -> Result<Windows, Refusal> {
        if (start, end) != (0, 0) {
            if end <= start {
                let message =
                    format!("http parameter start must be before end. received start={start} end={end}");
                return Err(Refusal::bad(message));
            }
            return Ok(Windows(vec![TimeRange { start: seconds_ns(start), end: seconds_ns(end) }]));
        }
        let end = now.saturating_add(CLOCK_SKEW_NS);
        let back = LOOK_BACK_NS.map(|ns| TimeRange { start: now.saturating_sub(ns), end });
        Ok(Windows(back.into_iter().chain([TimeRange { start: 0, end }]).collect()))
    }
}

fn limit_of(limit: i64) -> usize {
    match usize::try_from(limit) {
        Ok(0) | Err(_) => LIMIT_MAX,
        Ok(limit) => limit.min(LIMIT_MAX),
    }
}

// === filters ===

/// The conditions of a filter that parse: of a half-typed one those between `&&` that are whole.
fn conditions(query: &str) -> Option<String> {
    if let Some(whole) = condition_of(query) {
        return whole;
    }
    let inner = query.trim().trim_start_matches('{').trim_end_matches('}');
    let parts = split_at_and(inner).into_iter().take(CONDITIONS_MAX);
    let good: Vec<String> = parts.filter_map(|part| condition_of(&format!("{{ {part} }}"))?).collect();
    (!good.is_empty()).then(|| good.join(" && "))
}

/// The condition of a query of one filter: none where it has no condition; nothing where it is no such query.
fn condition_of(query: &str) -> Option<Option<String>> {
    let query = checked(query).ok()?;
    let Expr::Spans(pipeline) = &query.expr else { return None };
    match pipeline.stages.first()? {
        Stage::Spanset(SpansetExpr::Filter(None)) => Some(None),
        Stage::Spanset(SpansetExpr::Filter(Some(condition))) => Some(Some(format!("({condition})"))),
        _ => None,
    }
}

/// Cuts a text at `&&` outside of quotes.
fn split_at_and(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quote, mut escaped) = (Vec::new(), 0, None, false);
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(b'"'), b'\\') => escaped = true,
            (Some(open), byte) if byte == open => quote = None,
            (None, b'"' | b'`') => quote = Some(byte),
            (None, b'&') if at > start && text.as_bytes().get(at - 1) == Some(&b'&') => {
                parts.push(text.get(start..at - 1).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

// === names ===

/// Names of tags as they are asked for.
pub(super) struct Names {
    /// All where there is none.
    scope: Option<String>,
    filter: Option<String>,
    windows: Windows,
    limit: usize,
}

impl Names {
    fn of_params(params: &Params, now: i64) -> Result<Names, Refusal> {
        let (start, end) = (seconds(params, "start")?, seconds(params, "end")?);
        let limit = limit_of(params.whole("limit")?.unwrap_or(0));
        Names::new(params.text("scope").unwrap_or_default(), params.text("q"), (start, end), limit, now)
    }

    pub(super) fn of_request(request: &TagsRequest, now: i64) -> Result<Names, Refusal> {
        let window = (i64::from(request.start), i64::from(request.end));
        let query = Some(request.query.as_str()).filter(|query| !query.is_empty());
        Names::new(&request.scope, query, window, limit_of(i64::from(request.limit)), now)
    }

    fn new(
        scope: &str,
        query: Option<&str>,
        (start, end): (i64, i64),
        limit: usize,
        now: i64,
    ) -> Result<Names, Refusal> {
        let known = || SCOPES.iter().map(|scope| scope.name()).chain([INTRINSIC]);
        let scope = match scope {
            "" | "none" => None,
            scope if known().any(|known| known == scope) => Some(scope.to_owned()),
            scope => return Err(Refusal::bad(format!("invalid scope: {scope}"))),
        };
        let filter = query.and_then(conditions);
        Ok(Names { scope, filter, windows: Windows::new(start, end, now)?, limit })
    }

    /// Names without their scopes, and why there may be more.
    pub(super) async fn run_v1(mut self, traces: &Traces) -> Result<(Vec<String>, Vec<String>), Refusal> {
        // Fields that every span has are listed where they are asked for by name.
        let of_all = self.scope.is_none();
        let limit = std::mem::replace(&mut self.limit, LIMIT_MAX);
        let (scopes, mut reasons) = self.run(traces).await?;
        let wanted = scopes.into_iter().filter(|(scope, _)| !of_all || *scope != INTRINSIC);
        let names: BTreeSet<String> = wanted.flat_map(|(_, names)| names).collect();
        reasons.extend(more_than(names.len(), limit));
        Ok((names.into_iter().take(limit).collect(), reasons))
    }

    /// Scopes that have any, and their names, and why there may be more.
    pub(super) async fn run(self, traces: &Traces) -> Result<(ScopeNames, Vec<String>), Refusal> {
        let wants = |name: &str| self.scope.as_deref().is_none_or(|wanted| wanted == name);
        let mut scopes = ScopeNames::new();
        let wanted: Vec<Scope> = SCOPES.into_iter().filter(|scope| wants(scope.name())).collect();
        if wants(INTRINSIC) {
            scopes.push((INTRINSIC, INTRINSICS.map(str::to_owned).to_vec()));
        }
        if wanted.is_empty() {
            return Ok((scopes, Vec::new()));
        }
        let (filter, windows, limit) = (self.filter, self.windows, self.limit);
        let found = traces.ask(move |source, budget| {
            for range in windows.0 {
                let keys = match &filter {
                    None => source.attribute_keys(range, budget)?,
                    Some(filter) => filtered_keys(source, filter, range, budget)?,
                };
                if !keys.is_empty() {
                    return Ok((keys, source.partial()));
                }
            }
            Ok((AttributeKeys::default(), source.partial()))
        });
        let (keys, mut reasons) = found.await?;
        for scope in wanted {
            reasons.extend(more_than(keys.of(scope).len(), limit));
            let names: Vec<String> = keys.of(scope).iter().take(limit).cloned().collect();
            if !names.is_empty() {
                scopes.push((scope.name(), names));
            }
        }
        Ok((scopes, reasons))
    }
}

/// Scopes and their names.
type ScopeNames = Vec<(&'static str, Vec<String>)>;

/// What is said where there are more than were asked for.
fn more_than(found: usize, limit: usize) -> Option<String> {
    (found > limit).then(|| format!("there are more than {limit}; narrow the query or ask for more"))
}

/// The names that spans have that pass a filter, of the newest traces that have some.
fn filtered_keys(
    source: &StoredTraces,
    filter: &str,
    range: TimeRange,
    budget: &Budget,
) -> Result<AttributeKeys, Refusal> {
    let query = checked(&format!("{{ {filter} }}"))?;
    let params =
        SearchParams { start_ns: range.start, end_ns: range.end, limit: FILTERED_TRACES, spans_per_set: 0 };
    let mut keys = AttributeKeys::default();
    let found = Engine.search(&query, &params, source, budget)?.traces;
    if found.len() >= FILTERED_TRACES {
        source.note([format!("names are those of the newest {FILTERED_TRACES} traces that pass the filter")]);
    }
    for trace in found {
        budget.check()?;
        let ids: BTreeSet<_> =
            trace.spansets.iter().flat_map(|set| set.spans.iter().map(|span| span.id)).collect();
        let spans = source.snapshot().trace(trace.id, Want::SPANS)?.spans;
        spans.iter().filter(|span| ids.contains(&span.span_id)).for_each(|span| note_keys(&mut keys, span));
    }
    Ok(keys)
}

fn note_keys(keys: &mut AttributeKeys, span: &Span) {
    let of = |json: Option<&Json>| {
        let members = json.and_then(Json::as_object).into_iter().flatten();
        members.map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    keys.note(Scope::Resource, span.resource.keys());
    keys.note(Scope::Span, span.attributes.keys());
    keys.note(Scope::Instrumentation, &of(span.scope.get("attributes")));
    for (scope, items) in [(Scope::Event, &span.events), (Scope::Link, &span.links)] {
        for item in items {
            keys.note(scope, &of(item.get("attributes")));
        }
    }
}

pub(super) async fn names_v1(State(traces): State<Traces>, headers: HeaderMap, params: Params) -> Answer {
    let (names, reasons) = Names::of_params(&params, traces.now())?.run_v1(&traces).await?;
    let response = match Encoding::of(&headers) {
        Encoding::Protobuf => Encoding::Protobuf.answer(encode_texts(&names, !reasons.is_empty())),
        Encoding::Json => json_answer(&json!({"tagNames": names, "metrics": {}})),
    };
    Ok(partial(response, &reasons))
}

pub(super) async fn names_v2(State(traces): State<Traces>, headers: HeaderMap, params: Params) -> Answer {
    let (scopes, reasons) = Names::of_params(&params, traces.now())?.run(&traces).await?;
    let response = match Encoding::of(&headers) {
        Encoding::Protobuf => Encoding::Protobuf.answer(encode_scopes(&scopes, !reasons.is_empty())),
        Encoding::Json => {
            let scopes: Vec<Json> =
                scopes.into_iter().map(|(name, tags)| json!({"name": name, "tags": tags})).collect();
            json_answer(&json!({"scopes": scopes, "metrics": {}}))
        }
    };
    Ok(partial(response, &reasons))
}

// === values ===

/// Values of a tag as they are asked for.
pub(super) struct Values {
    tag: Field,
    filter: Option<String>,
    windows: Windows,
    limit: usize,
}

impl Values {
    fn of_params(tag: &str, params: &Params, is_v1: bool, now: i64) -> Result<Values, Refusal> {
        let (start, end) = (seconds(params, "start")?, seconds(params, "end")?);
        let limit = limit_of(params.whole("limit")?.unwrap_or(0));
        Values::new(tag, params.text("q"), (start, end), limit, (is_v1, now))
    }

    pub(super) fn of_request(request: &TagValuesRequest, is_v1: bool, now: i64) -> Result<Values, Refusal> {
        let window = (i64::from(request.start), i64::from(request.end));
        let query = Some(request.query.as_str()).filter(|query| !query.is_empty());
        Values::new(&request.tag, query, window, limit_of(i64::from(request.limit)), (is_v1, now))
    }

    fn new(
        tag: &str,
        query: Option<&str>,
        (start, end): (i64, i64),
        limit: usize,
        (is_v1, now): (bool, i64),
    ) -> Result<Values, Refusal> {
        let field = field_of(tag).or_else(|| {
            // The old form names attributes of any scope, and fields that every span has.
            is_v1.then(|| field_of(&crate::traces::conditions::attribute(Scope::Any, tag))).flatten()
        });
        let tag = field.ok_or_else(|| {
            Refusal::bad(format!("tag name is not valid intrinsic or scoped attribute: {tag}"))
        })?;
        let windows = Windows::new(start, end, now)?;
        Ok(Values { tag, filter: query.and_then(conditions), windows, limit })
    }

    /// Types and values, sorted, and why there may be more.
    pub(super) async fn run(self, traces: &Traces) -> Result<(TypedValues, Vec<String>), Refusal> {
        if let Some(fixed) = fixed_values(&self.tag) {
            return Ok((fixed, Vec::new()));
        }
        let filter = self.filter.map_or_else(String::new, |filter| format!("{filter} && "));
        let tag = &self.tag;
        let query = checked(&format!("{{ {filter}{tag} != nil }} | count_over_time() by({tag})"))?;
        let (windows, limit) = (self.windows, self.limit);
        let found = traces.ask(move |source, budget| {
            for range in windows.0 {
                let params = MetricsParams {
                    start_ns: range.start,
                    end_ns: range.end,
                    step_ns: 0,
                    exemplars: 0,
                    series_max: limit,
                };
                let answer = Engine.metrics(&query, &params, source, budget)?;
                let labels = answer.series.iter().filter_map(|series| series.labels.first());
                let values: BTreeSet<_> = labels.flat_map(|(_, value)| typed_texts(value)).collect();
                if !values.is_empty() {
                    let more = if answer.is_cut { limit + 1 } else { values.len() };
                    let reasons =
                        source.partial().into_iter().chain(answer.notes).chain(more_than(more, limit));
                    return Ok((values.into_iter().take(limit).collect(), reasons.collect()));
                }
            }
            Ok((Vec::new(), source.partial()))
        });
        found.await
    }
}

/// Types and values.
type TypedValues = Vec<(&'static str, String)>;

/// The field that a tag names.
fn field_of(tag: &str) -> Option<Field> {
    let query = checked(&format!("{{ {tag} != nil }}")).ok()?;
    let Expr::Spans(pipeline) = query.expr else { return None };
    let Some(Stage::Spanset(SpansetExpr::Filter(Some(FieldExpr::Binary(compared))))) =
        pipeline.stages.into_iter().next()
    else {
        return None;
    };
    match compared.left {
        FieldExpr::Field(field) => Some(field),
        _ => None,
    }
}

/// Values that need no look: words of the language, and nothing where every span has another.
fn fixed_values(tag: &Field) -> Option<TypedValues> {
    let Field::Intrinsic { intrinsic, .. } = tag else { return None };
    let words = |words: &[&str]| Some(words.iter().map(|word| ("keyword", (*word).to_owned())).collect());
    match intrinsic {
        Intrinsic::Status => words(&["error", "ok", "unset"]),
        Intrinsic::Kind => words(&["client", "consumer", "internal", "producer", "server", "unspecified"]),
        Intrinsic::Name
        | Intrinsic::ChildCount
        | Intrinsic::StatusMessage
        | Intrinsic::RootName
        | Intrinsic::RootServiceName
        | Intrinsic::EventName
        | Intrinsic::InstrumentationName
        | Intrinsic::InstrumentationVersion => None,
        _ => Some(Vec::new()),
    }
}

/// The tag of a path: all up to the last `/values`.
fn tag_of(rest: &str) -> Result<&str, TextRefusal> {
    let not_found = || Refusal::new(axum::http::StatusCode::NOT_FOUND, "the path ends with /values");
    Ok(rest.strip_suffix("/values").filter(|tag| !tag.is_empty()).ok_or_else(not_found)?)
}

pub(super) async fn values_v1(
    State(traces): State<Traces>,
    Path(rest): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Answer {
    let (values, reasons) =
        Values::of_params(tag_of(&rest)?, &params, true, traces.now())?.run(&traces).await?;
    let values: Vec<String> = values.into_iter().map(|(_, value)| value).collect();
    let response = match Encoding::of(&headers) {
        Encoding::Protobuf => Encoding::Protobuf.answer(encode_texts(&values, !reasons.is_empty())),
        Encoding::Json => json_answer(&json!({"tagValues": values, "metrics": {}})),
    };
    Ok(partial(response, &reasons))
}

pub(super) async fn values_v2(
    State(traces): State<Traces>,
    Path(rest): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Answer {
    let (values, reasons) =
        Values::of_params(tag_of(&rest)?, &params, false, traces.now())?.run(&traces).await?;
    let response = match Encoding::of(&headers) {
        Encoding::Protobuf => Encoding::Protobuf.answer(encode_values(&values, !reasons.is_empty())),
        Encoding::Json => {
            let values: Vec<Json> =
                values.into_iter().map(|(kind, value)| json!({"type": kind, "value": value})).collect();
            json_answer(&json!({"tagValues": values, "metrics": {}}))
        }
    };
    Ok(partial(response, &reasons))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_filter_what_parses_is_kept() {
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(conditions(query).as_deref(), expected, "{query}");
        };
        check("{ resource.service.name = \"cart\" }", Some("(resource.service.name = \"cart\")"));
        check("{ resource.service.name=\"cart\" && span.x= }", Some("(resource.service.name = \"cart\")"));
        check("{ span.a = \"x && y\" && span.b = }", Some("(span.a = \"x && y\")"));
        check("{ span.a =~ \"\\\"&&\" && }", Some("(span.a =~ \"\\\"&&\")"));
        check("{}", None);
        check("", None);
        check("{ span.x= }", None);
        check("nonsense && more", None);
    }

    #[test]
    fn tags_are_fields() {
        let check = |tag: &str, is_v1: bool, expected: Option<&str>| {
            let values = Values::new(tag, None, (0, 0), 10, (is_v1, 1)).ok();
            assert_eq!(values.map(|values| values.tag.to_string()).as_deref(), expected, "{tag}");
        };
        check("resource.service.name", false, Some("resource.service.name"));
        check(".foo", false, Some(".foo"));
        check("span.\"a b\"", false, Some("span.\"a b\""));
        check("span.http/path", false, Some("span.http/path"));
        check("name", false, Some("name"));
        check("span:kind", false, Some("span:kind"));
        check("service.name", false, None);
        check("service.name", true, Some(".service.name"));
        check("status", true, Some("status"));
        check("}| rate() #", true, Some(".\"}| rate() #\""));
    }
}
