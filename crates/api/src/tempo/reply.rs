//! Tempo's answers: protobuf or JSON, by what the client takes, and refusals as plain text.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use throughline_wire::tempo::{Attributes, FoundSpanSet, FoundTrace, Inspected, MetricsAnswer, SearchAnswer};

use crate::otlp_json::write_attributes;
use crate::traces::Refusal;
use crate::traces::links::LINK;

const PROTOBUF: &str = "application/protobuf";

/// Which encoding an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// What the client takes.
    pub(super) fn of(headers: &HeaderMap) -> Encoding {
        let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        match accepted.any(|value| value.contains(PROTOBUF)) {
            true => Encoding::Protobuf,
            false => Encoding::Json,
        }
    }

    /// An answer in this encoding, whose body is written already.
    pub(super) fn answer(self, body: impl Into<axum::body::Body>) -> Response {
        let content_type = match self {
            Encoding::Protobuf => PROTOBUF,
            Encoding::Json => "application/json",
        };
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        (StatusCode::OK, headers, body.into()).into_response()
    }
}

/// A refusal as Tempo words it.
pub(super) struct TextRefusal(pub(super) Refusal);

impl From<Refusal> for TextRefusal {
    fn from(refusal: Refusal) -> TextRefusal {
        TextRefusal(refusal)
    }
}

impl IntoResponse for TextRefusal {
    fn into_response(self) -> Response {
        let Refusal { status, message, link } = self.0;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut response = (status, [(header::CONTENT_TYPE, plain)], message + "\n").into_response();
        if let Some(link) = link {
            response.headers_mut().insert(LINK, HeaderValue::from_static(link.name()));
        }
        response
    }
}

pub(super) type Answer = Result<Response, TextRefusal>;

/// JSON as an answer.
pub(super) fn json_answer(json: &Json) -> Response {
    Encoding::Json.answer(json.to_string())
}

/// Inserts a member unless it is what protobuf's JSON leaves out.
fn put(object: &mut Json, name: &str, value: Json) {
    let is_default = match &value {
        Json::Null => true,
        Json::String(text) => text.is_empty() || text == "0",
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        Json::Bool(value) => !value,
    };
    if !is_default {
        object[name] = value;
    }
}

fn inspected(inspected: &Inspected) -> Json {
    let mut json = json!({"completedJobs": 1, "totalJobs": inspected.jobs()});
    put(&mut json, "inspectedTraces", Json::from(inspected.traces));
    put(&mut json, "inspectedBytes", Json::from(inspected.bytes.to_string()));
    put(&mut json, "totalBlocks", Json::from(inspected.blocks));
    put(&mut json, "inspectedSpans", Json::from(inspected.spans.to_string()));
    json
}

fn attributes(attributes: &Attributes) -> Json {
    let mut out = String::new();
    write_attributes(&mut out, attributes.iter().map(|(key, value)| (key, value)));
    serde_json::from_str(&out).unwrap_or(Json::Null)
}

/// `SearchResponse` as JSON.
pub(super) fn search_json(answer: &SearchAnswer) -> Json {
    let traces: Vec<Json> = answer.traces.iter().map(found_trace).collect();
    json!({"traces": traces, "metrics": inspected(&answer.inspected)})
}

fn found_trace(trace: &FoundTrace) -> Json {
    let mut json = json!({"traceID": trace.trace_id.to_string()});
    put(&mut json, "rootServiceName", Json::from(trace.root_service.as_str()));
    put(&mut json, "rootTraceName", Json::from(trace.root_name.as_str()));
    put(&mut json, "startTimeUnixNano", Json::from(trace.start_ns.max(0).to_string()));
    put(&mut json, "durationMs", Json::from(trace.duration_ms()));
    let sets: Vec<Json> = trace.span_sets.iter().map(span_set).collect();
    if let Some(first) = sets.first() {
        json["spanSet"] = first.clone();
    }
    put(&mut json, "spanSets", Json::Array(sets));
    let services = trace.services.iter().map(|(service, spans, errors)| {
        let mut stats = json!({});
        put(&mut stats, "spanCount", Json::from(*spans));
        put(&mut stats, "errorCount", Json::from(*errors));
        (service.clone(), stats)
    });
    put(&mut json, "serviceStats", services.collect());
    json
}

fn span_set(set: &FoundSpanSet) -> Json {
    let span = |span: &throughline_wire::tempo::FoundSpan| {
        let mut json = json!({"spanID": span.span_id.to_string()});
        put(&mut json, "name", Json::from(span.name.as_str()));
        put(&mut json, "startTimeUnixNano", Json::from(span.start_ns.max(0).to_string()));
        put(&mut json, "durationNanos", Json::from(span.duration_ns.max(0).to_string()));
        put(&mut json, "attributes", attributes(&span.attributes));
        json
    };
    let spans: Vec<Json> = set.spans.iter().map(span).collect();
    let mut json = json!({"spans": spans});
    put(&mut json, "matched", Json::from(set.matched));
    put(&mut json, "attributes", attributes(&set.attributes));
    json
}

/// A number of a sample; what JSON has no form for is text, as protobuf's JSON has it.
fn number(value: f64) -> Json {
    match value {
        value if value.is_finite() => Json::from(value),
        f64::INFINITY => Json::from("Infinity"),
        f64::NEG_INFINITY => Json::from("-Infinity"),
        _ => Json::from("NaN"),
    }
}

/// `QueryRangeResponse`, or `QueryInstantResponse`, as JSON.
pub(super) fn metrics_json(answer: &MetricsAnswer, is_instant: bool) -> Json {
    let sample = |(time, value): &(i64, f64)| {
        let mut json = json!({"timestampMs": time.to_string()});
        put(&mut json, "value", number(*value));
        json
    };
    let series = answer.series.iter().map(|series| {
        let mut json = json!({});
        put(&mut json, "labels", attributes(&series.labels));
        if is_instant {
            put(&mut json, "value", series.samples.last().map_or(Json::Null, |(_, value)| number(*value)));
            return json;
        }
        put(&mut json, "samples", series.samples.iter().map(sample).collect());
        let exemplars = series.exemplars.iter().map(|exemplar| {
            let mut json = json!({"timestampMs": exemplar.time_ms.to_string()});
            put(&mut json, "labels", attributes(&exemplar.labels));
            put(&mut json, "value", number(exemplar.value));
            json
        });
        put(&mut json, "exemplars", exemplars.collect());
        json
    });
    let series: Vec<Json> = series.collect();
    let mut json = json!({"series": series, "metrics": inspected(&answer.inspected)});
    if !answer.partial.is_empty() {
        json["status"] = Json::from("PARTIAL");
        json["message"] = Json::from(answer.partial.as_str());
    }
    json
}

/// The header that says why an answer may be incomplete: its strict JSON has no place for that.
pub(super) fn partial(mut response: Response, reasons: &[String]) -> Response {
    if let Some(value) = crate::traces::partial_header(reasons) {
        response.headers_mut().insert(crate::traces::PARTIAL, value);
    }
    response
}
