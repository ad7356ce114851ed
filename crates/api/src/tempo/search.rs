//! Search: TraceQL, or tags and durations as older clients write them, which become TraceQL.

use axum::extract::State;
use axum::http::HeaderMap;
use throughline_traceql::answer;
use throughline_traceql::{Engine, SearchParams, checked};
use throughline_wire::tempo::{FoundSpan, FoundSpanSet, FoundTrace, Inspected, SearchAnswer, SearchRequest};

use super::reply::{Answer, Encoding, json_answer, partial, search_json};
use crate::traces::conditions::{all_of, contains, contains_value, duration};
use crate::traces::params::{Params, seconds_ns};
use crate::traces::values::attributes_of;
use crate::traces::{Refusal, Traces, gone};

/// Traces of one answer, unless asked for otherwise.
const LIMIT: u32 = 20;
/// Traces of one answer at most: ten screens of what a browser can list.
const LIMIT_MAX: u32 = 10_000;
/// Spans of one set, unless asked for otherwise.
const SPANS: u32 = 3;
/// Spans of one set at most, and where all are asked for.
const SPANS_MAX: u32 = 1_000;
/// How far back a search looks that names no window.
const WINDOW_NS: i64 = 3_600_000_000_000;
/// Clocks of senders run ahead by up to this much and their data is still "until now".
const CLOCK_SKEW_NS: i64 = 60_000_000_000;

/// Parameters that are no tags where tags are parameters of their own.
const RESERVED: [&str; 8] = ["q", "tags", "minDuration", "maxDuration", "limit", "spss", "start", "end"];

/// A search as it is asked.
pub(super) struct Search {
    query: String,
    params: SearchParams,
}

impl Search {
    fn of_params(params: &Params, now: i64) -> Result<Search, Refusal> {
        let (start, end) = (seconds(params, "start")?, seconds(params, "end")?);
        let query = params.text("q");
        if query.is_some() && params.text("tags").is_some() {
            return Err(Refusal::bad("invalid request: can't specify tags and q in the same query"));
        }
        let (min, max) = (params.duration_ns("minDuration")?, params.duration_ns("maxDuration")?);
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            return Err(Refusal::bad("invalid maxDuration: must be greater than minDuration"));
        }
        let limit = match params.whole("limit")? {
            None => LIMIT,
            Some(limit) => limit_of(limit)?,
        };
        let spans = match params.whole("spss")? {
            None => SPANS,
            Some(spans) => u32::try_from(spans)
                .map_err(|_| Refusal::bad(format!("invalid spss: {spans} is not a number of spans")))?,
        };
        let query = match query {
            Some(query) => query.to_owned(),
            None => tags_query(&tags_of(params)?, min, max),
        };
        Search::new(query, limit, spans, (start, end), now)
    }

    pub(super) fn of_request(request: &SearchRequest, now: i64) -> Result<Search, Refusal> {
        let limit = match request.limit {
            0 => LIMIT,
            limit => limit_of(i64::from(limit))?,
        };
        let spans = if request.spans_per_span_set == 0 { SPANS } else { request.spans_per_span_set };
        let milliseconds = |ms: u32| (ms > 0).then(|| i64::from(ms) * 1_000_000);
        let query = match request.query.is_empty() {
            false => request.query.clone(),
            true => {
                let (min, max) =
                    (milliseconds(request.min_duration_ms), milliseconds(request.max_duration_ms));
                tags_query(&request.tags, min, max)
            }
        };
        Search::new(query, limit, spans, (i64::from(request.start), i64::from(request.end)), now)
    }

    fn new(
        query: String,
        limit: u32,
        spans: u32,
        (start, end): (i64, i64),
        now: i64,
    ) -> Result<Search, Refusal> {
        if (start, end) != (0, 0) && end <= start {
            let message =
                format!("http parameter start must be before end. received start={start} end={end}");
            return Err(Refusal::bad(message));
        }
        let (start_ns, end_ns) = match (start, end) {
            (0, 0) => (now.saturating_sub(WINDOW_NS), now.saturating_add(CLOCK_SKEW_NS)),
            // What begins at the end itself belongs to the window, as in Tempo; a window of ours is without its end.
            (start, end) => (seconds_ns(start), seconds_ns(end).saturating_add(1)),
        };
        let spans_per_set = if spans == 0 { SPANS_MAX } else { spans.min(SPANS_MAX) } as usize;
        Ok(Search { query, params: SearchParams { start_ns, end_ns, limit: limit as usize, spans_per_set } })
    }

    /// Runs the search; says why the answer may be incomplete, too.
    pub(super) async fn run(self, traces: &Traces) -> Result<(SearchAnswer, Vec<String>), Refusal> {
        let query = checked(&self.query)?;
        let answer = traces.ask(move |source, budget| {
            let answer = Engine.search(&query, &self.params, source, budget)?;
            let (spans, bytes) = budget.rows_read();
            let mut reasons = source.partial();
            reasons.extend(gone(&query, source.snapshot(), answer.traces.is_empty())?);
            let inspected = Inspected { traces: 0, bytes, blocks: 0, spans, is_partial: !reasons.is_empty() };
            let traces = answer.traces.iter().map(found_trace).collect();
            Ok((SearchAnswer { traces, inspected }, reasons))
        });
        answer.await
    }
}

fn found_trace(trace: &answer::FoundTrace) -> FoundTrace {
    let root = |text: &str| match text {
        "" => "<root span not yet received>".to_owned(),
        text => text.to_owned(),
    };
    FoundTrace {
        trace_id: trace.id,
        root_service: root(&trace.root_service),
        root_name: trace.root_name.clone(),
        start_ns: trace.start_ns,
        duration_ns: trace.duration_ns,
        span_sets: trace.spansets.iter().map(found_set).collect(),
        services: trace.services.iter().map(|of| (of.service.clone(), of.spans, of.errors)).collect(),
    }
}

fn found_set(set: &answer::FoundSpanset) -> FoundSpanSet {
    let span = |span: &answer::FoundSpan| FoundSpan {
        span_id: span.id,
        name: span.name.clone(),
        start_ns: span.start_ns,
        duration_ns: span.duration_ns,
        attributes: attributes_of(&span.attributes),
    };
    FoundSpanSet {
        spans: set.spans.iter().map(span).collect(),
        matched: u32::try_from(set.matched).unwrap_or(u32::MAX),
        attributes: attributes_of(&set.attributes),
    }
}

fn limit_of(limit: i64) -> Result<u32, Refusal> {
    match u32::try_from(limit) {
        Ok(0) | Err(_) => Err(Refusal::bad("invalid limit: must be a positive number")),
        Ok(limit) if limit > LIMIT_MAX => {
            Err(Refusal::bad(format!("invalid limit: {limit} is above the server's {LIMIT_MAX}")))
        }
        Ok(limit) => Ok(limit),
    }
}

/// Whole seconds since the epoch, which must fit 32 bits; zero where there are none.
pub(super) fn seconds(params: &Params, name: &str) -> Result<i64, Refusal> {
    let seconds = params.whole(name)?.unwrap_or(0);
    match u32::try_from(seconds) {
        Ok(_) => Ok(seconds),
        Err(_) => {
            Err(Refusal::bad(format!("invalid {name}: {seconds} is not a time in seconds since the epoch")))
        }
    }
}

/// Tags of the old forms: in one parameter, or each in one of its own where nothing else says what is asked.
fn tags_of(params: &Params) -> Result<Vec<(String, String)>, Refusal> {
    if let Some(text) = params.text("tags") {
        return logfmt(text);
    }
    if params.text("start").is_some() || params.text("end").is_some() {
        return Ok(Vec::new());
    }
    let others =
        params.pairs().iter().filter(|(name, value)| !RESERVED.contains(&name.as_str()) && !value.is_empty());
    Ok(others.cloned().collect())
}

/// Reads `key=value key="a value"`.
fn logfmt(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let key_bytes = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(key_bytes);
        if key.is_empty() || key.contains('"') {
            return Err(Refusal::bad(format!("invalid tags: unexpected character at pos {}", at + 1)));
        }
        let (value, after) = match after.strip_prefix('=') {
            None => (String::new(), after),
            Some(after) if after.starts_with('"') => quoted_value(after).ok_or_else(|| {
                Refusal::bad(format!("invalid tags: unterminated quoted value at pos {}", at + 1))
            })?,
            Some(after) => {
                let bytes = after.find(char::is_whitespace).unwrap_or(after.len());
                let (value, after) = after.split_at(bytes);
                (value.to_owned(), after)
            }
        };
        if pairs.iter().any(|(known, _)| known == key) {
            return Err(Refusal::bad(format!("invalid tags: tag {key} has been set twice")));
        }
        pairs.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// A value in quotes, and what follows it.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

/// The query that means the same as tags, each of which is contained, and durations of the trace.
fn tags_query(tags: &[(String, String)], min_ns: Option<i64>, max_ns: Option<i64>) -> String {
    let mut conditions: Vec<String> = tags
        .iter()
        .map(|(key, value)| match (key.as_str(), value.as_str()) {
            ("error", "true") => "status = error".to_owned(),
            ("status" | "status.code", "error" | "ok" | "unset") => format!("status = {value}"),
            ("name", value) => contains("name", value),
            ("root.name", value) => contains("rootName", value),
            ("root.service.name", value) => contains("rootServiceName", value),
            (key, value) => contains_value(key, value),
        })
        .collect();
    conditions.extend(min_ns.map(|ns| format!("traceDuration >= {}", duration(ns))));
    conditions.extend(max_ns.map(|ns| format!("traceDuration <= {}", duration(ns))));
    all_of(&conditions)
}

pub(super) async fn search(State(traces): State<Traces>, headers: HeaderMap, params: Params) -> Answer {
    let (answer, reasons) = Search::of_params(&params, traces.now())?.run(&traces).await?;
    let response = match Encoding::of(&headers) {
        Encoding::Protobuf => Encoding::Protobuf.answer(answer.encode()),
        Encoding::Json => json_answer(&search_json(&answer)),
    };
    Ok(partial(response, &reasons))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000_000_000;

    fn query(pairs: &[(&str, &str)]) -> String {
        Search::of_params(&Params::of(pairs), NOW).expect("a search").query
    }

    #[test]
    fn older_forms_become_queries() {
        assert_eq!(query(&[]), "{ }");
        assert_eq!(query(&[("q", "{ name = `a` }")]), "{ name = `a` }");
        let tags = query(&[("tags", r#"service.name=cart name="GET /" error=true http.status_code=500"#)]);
        let expected = "{ .service.name =~ \"(?i).*cart.*\" && name =~ \"(?i).*GET /.*\" && status = error && \
                        (.http.status_code =~ \"(?i).*500.*\" || .http.status_code = 500) }";
        assert_eq!(tags, expected);
        let durations = query(&[
            ("minDuration", "1.5s"),
            ("maxDuration", "1m"),
            ("start", "1"),
            ("end", "2"),
            ("x", "y"),
        ]);
        assert_eq!(durations, "{ traceDuration >= 1500ms && traceDuration <= 1m }");
        assert_eq!(query(&[("cluster", "eu")]), "{ .cluster =~ \"(?i).*eu.*\" }");
        for text in [tags, durations] {
            assert!(checked(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn windows_and_limits_are_checked() {
        let search = Search::of_params(&Params::of(&[("start", "10"), ("end", "20"), ("spss", "0")]), NOW);
        let expected = SearchParams {
            start_ns: 10_000_000_000,
            end_ns: 20_000_000_001,
            limit: 20,
            spans_per_set: 1_000,
        };
        assert_eq!(search.expect("a search").params, expected);
        for bad in [
            [("limit", "0"), ("q", "{}")],
            [("limit", "-1"), ("q", "{}")],
            [("limit", "10001"), ("q", "{}")],
            [("start", "20"), ("end", "10")],
            [("start", "20"), ("end", "0")],
            [("start", "1790000000000"), ("end", "1790000000001")],
            [("q", "{}"), ("tags", "a=b")],
            [("minDuration", "2s"), ("maxDuration", "1s")],
            [("minDuration", "5"), ("q", "{}")],
            [("tags", "a=b a=c"), ("x", "")],
            [("tags", "a=\"b"), ("x", "")],
        ] {
            assert!(Search::of_params(&Params::of(&bad), NOW).is_err(), "{bad:?}");
        }
    }
}
