//! Traces as Jaeger's UI and Grafana read them: spans with tags, logs and references, and processes by number. Written straight
//! into text, for a trace may have 100,000 spans.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};
use throughline_correlate::trace_view::facts;
use throughline_model::attribute::write_json_text;
use throughline_model::record::Span;
use throughline_model::{SpanId, TraceId};
use throughline_wire::otlp::traces_data::Stored;

use crate::otlp_json::{List, Members};
use crate::traces::ReadTrace;

/// Beyond these a number is text, for JavaScript would round it.
const SAFE_INTEGER: i64 = (1 << 53) - 1;

/// Names of kinds by OTLP's number; nothing for an unspecified one.
pub(super) const KINDS: [&str; 6] = ["", "internal", "server", "client", "producer", "consumer"];

/// Attributes that hold warnings of whoever sent the span.
const WARNINGS: [&str; 2] = ["jaeger.warnings", "@jaeger@warnings"];

/// Appends a trace, which has at least one span. What says why there may be more of it stands at the trace and, where the UI shows
/// warnings, at the first span; what became of the traces that a span links to stands at the span.
pub(super) fn write_trace(out: &mut String, trace_id: TraceId, trace: &ReadTrace) {
    let ReadTrace { spans, partial, links, .. } = trace;
    let mut processes = Processes::default();
    let shared = facts::shared_ids(spans);
    out.push('{');
    let mut members = Members::new();
    members.text(out, "traceID", &trace_id.to_string());
    members.key(out, "spans");
    let mut list = List::open(out);
    for (at, span) in spans.iter().enumerate() {
        list.next(out);
        let process = processes.number(span);
        let mut warnings = links.warnings(span);
        if shared.contains(&span.span_id) {
            warnings.push(
                "other spans of the trace have this id; children that name it are of the first".to_owned(),
            );
        }
        warnings.extend(partial.iter().filter(|_| at == 0).cloned());
        write_span(out, span, process, warnings);
    }
    list.close(out);
    members.key(out, "processes");
    processes.write(out);
    let all = if partial.is_empty() { Json::Null } else { Json::from(partial.as_slice()) };
    members.raw(out, "warnings", &all.to_string());
    out.push('}');
}

/// The distinct resources of a trace.
#[derive(Default)]
struct Processes<'a> {
    numbers: HashMap<(&'a str, &'a Map<String, Json>), usize>,
    all: Vec<(&'a str, &'a Map<String, Json>)>,
}

impl<'a> Processes<'a> {
    fn number(&mut self, span: &'a Span) -> usize {
        let key = (span.service.as_str(), &span.resource);
        let all = &mut self.all;
        *self.numbers.entry(key).or_insert_with(|| {
            all.push(key);
            all.len()
        })
    }

    fn write(&self, out: &mut String) {
        out.push('{');
        let mut members = Members::new();
        for (at, (service, resource)) in self.all.iter().enumerate() {
            members.key(out, &format!("p{}", at + 1));
            out.push_str(r#"{"serviceName":"#);
            write_json_text(out, service);
            out.push_str(r#","tags":"#);
            let mut tags = List::open(out);
            for (key, value) in *resource {
                write_tag(out, &mut tags, key, value);
            }
            if !resource.contains_key("service.name") {
                write_tag(out, &mut tags, "service.name", &Json::from(*service));
            }
            tags.close(out);
            out.push('}');
        }
        out.push('}');
    }
}

fn write_span(out: &mut String, span: &Span, process: usize, warnings: Vec<String>) {
    out.push('{');
    let mut members = Members::new();
    members.text(out, "traceID", &span.trace_id.to_string());
    members.text(out, "spanID", &span.span_id.to_string());
    if span.flags > 0 {
        members.raw(out, "flags", &span.flags.to_string());
    }
    members.key(out, "operationName");
    write_json_text(out, &span.name);
    members.key(out, "references");
    write_references(out, span);
    members.raw(out, "startTime", &microseconds(span.start_time));
    members.raw(out, "duration", &microseconds(span.duration_ns.max(0)));
    members.key(out, "tags");
    write_tags(out, span);
    members.key(out, "logs");
    let mut logs = List::open(out);
    for event in &span.events {
        logs.next(out);
        let time = event.get("time").and_then(Json::as_i64).unwrap_or(0);
        out.push_str(&format!(r#"{{"timestamp":{},"fields":"#, microseconds(time)));
        let mut fields = List::open(out);
        let name = event.get("name").and_then(Json::as_str).unwrap_or_default();
        if !name.is_empty() {
            write_tag(out, &mut fields, "event", &Json::from(name));
        }
        for (key, value) in attributes_of(event) {
            write_tag(out, &mut fields, key, value);
        }
        fields.close(out);
        out.push('}');
    }
    logs.close(out);
    members.text(out, "processID", &format!("p{process}"));
    members.key(out, "warnings");
    write_warnings(out, span, warnings);
    out.push('}');
}

fn microseconds(ns: i64) -> String {
    ns.div_euclid(1_000).to_string()
}

fn attributes_of(of: &Json) -> impl Iterator<Item = (&String, &Json)> {
    of.get("attributes").and_then(Json::as_object).into_iter().flatten()
}

fn write_references(out: &mut String, span: &Span) {
    let mut references = List::open(out);
    let mut write = |out: &mut String, kind: &str, trace: TraceId, span: SpanId| {
        references.next(out);
        out.push_str(&format!(r#"{{"refType":"{kind}","traceID":"{trace}","spanID":"{span}"}}"#));
    };
    if let Some(parent) = span.parent_span_id {
        write(out, "CHILD_OF", span.trace_id, parent);
    }
    for link in &span.links {
        let text = |key: &str| link.get(key).and_then(Json::as_str).unwrap_or_default();
        let (Some((trace, _)), Some(id)) = (TraceId::parse(text("trace_id")), SpanId::parse(text("span_id")))
        else {
            continue;
        };
        let of_type = attributes_of(link).find(|(key, _)| *key == "opentracing.ref_type");
        let is_child = of_type.is_some_and(|(_, value)| value == "child_of");
        write(out, if is_child { "CHILD_OF" } else { "FOLLOWS_FROM" }, trace, id);
    }
    references.close(out);
}

fn write_tags(out: &mut String, span: &Span) {
    let mut tags = List::open(out);
    for (key, value) in span.attributes.iter().filter(|(key, _)| !WARNINGS.contains(&key.as_str())) {
        write_tag(out, &mut tags, key, value);
    }
    let mut text = |out: &mut String, key: &str, text: &str| {
        if !text.is_empty() {
            write_tag(out, &mut tags, key, &Json::from(text));
        }
    };
    let scope = |name: &str| span.scope.get(name).and_then(Json::as_str).unwrap_or_default();
    text(out, "otel.scope.name", scope("name"));
    text(out, "otel.scope.version", scope("version"));
    text(out, "span.kind", KINDS.get(usize::from(span.kind)).copied().unwrap_or_default());
    text(
        out,
        "otel.status_code",
        ["", "OK", "ERROR"].get(usize::from(span.status_code)).copied().unwrap_or_default(),
    );
    text(out, "otel.status_description", &span.status_message);
    text(out, "w3c.tracestate", &span.trace_state);
    if span.is_error() {
        write_tag(out, &mut tags, "error", &Json::Bool(true));
    }
    tags.close(out);
}

fn write_tag(out: &mut String, list: &mut List, key: &str, value: &Json) {
    list.next(out);
    out.push_str(r#"{"key":"#);
    write_json_text(out, key);
    let (kind, json) = typed(value);
    out.push_str(&format!(r#","type":"{kind}","value":"#));
    match json {
        Written::Text(text) => write_json_text(out, &text),
        Written::Json(json) => out.push_str(&json),
    }
    out.push('}');
}

/// A value as text in quotes, or as JSON.
enum Written {
    Text(String),
    Json(String),
}

/// The type of a tag and its value.
fn typed(value: &Json) -> (&'static str, Written) {
    match Stored::of(value) {
        Stored::Bytes(text) => ("binary", Written::Text(text.to_owned())),
        Stored::Double(number) => ("float64", Written::Text(number.to_string())),
        Stored::Json(Json::String(text)) => ("string", Written::Text(text.clone())),
        Stored::Json(Json::Bool(value)) => ("bool", Written::Json(value.to_string())),
        Stored::Json(Json::Number(number)) => match number.as_i64() {
            Some(whole) if whole.abs() > SAFE_INTEGER => ("int64", Written::Text(whole.to_string())),
            Some(whole) => ("int64", Written::Json(whole.to_string())),
            None => ("float64", Written::Json(number.to_string())),
        },
        Stored::Json(Json::Null) => ("string", Written::Text(String::new())),
        Stored::Json(nested) => ("string", Written::Text(nested.to_string())),
    }
}

/// What is odd about the span: what its sender says, and what shows.
fn write_warnings(out: &mut String, span: &Span, more: Vec<String>) {
    let mut warnings: Vec<String> = Vec::new();
    for key in WARNINGS {
        let list = span.attributes.get(key).and_then(Json::as_array).into_iter().flatten();
        warnings.extend(list.filter_map(Json::as_str).map(str::to_owned));
    }
    if span.duration_ns < 0 {
        warnings.push(format!("the span ends {} ns before it starts", span.duration_ns.unsigned_abs()));
    }
    if span.parent_span_id == Some(span.span_id) {
        warnings.push("the span is its own parent".to_owned());
    }
    warnings.extend(more);
    if warnings.is_empty() {
        out.push_str("null");
        return;
    }
    let mut list = List::open(out);
    for warning in &warnings {
        list.next(out);
        write_json_text(out, warning);
    }
    list.close(out);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::traces::links::LinkStates;

    #[test]
    fn a_span_has_tags_logs_and_references() {
        let span: Span = serde_json::from_value(json!({
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b91bc3b0acd0db0f",
            "parent_span_id": "00f067aa0ba902b7", "flags": 1, "name": "GET /cart", "kind": 2,
            "start_time": 1_700_000_000_000_000_000i64, "duration_ns": 250_000_999, "status_code": 2, "status_message": "no",
            "trace_state": "a=b", "service": "cart", "resource": {"service.name": "cart", "host.name": "n1"},
            "scope": {"name": "lib", "version": "1"},
            "attributes": {
                "big": 9_007_199_254_740_993i64, "code": 500, "jaeger.warnings": ["late"], "list": [1, "a"], "ok": true,
                "raw": {"bytesValue": "AQ=="}, "share": 0.5,
            },
            "events": [{"time": 1_700_000_000_100_000_000i64, "name": "exception", "attributes": {"k": "v"}}],
            "links": [
                {"trace_id": "0af7651916cd43dd8448eb211c80319d", "span_id": "00000000000000a9", "attributes": {}},
                {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "00000000000000aa",
                    "attributes": {"opentracing.ref_type": "child_of"}},
            ],
        }))
        .expect("a span");
        let mut out = String::new();
        let partial = vec!["9 spans are left out".to_owned()];
        let trace =
            ReadTrace { spans: vec![span.clone()], partial, left_out: 9, links: LinkStates::default() };
        write_trace(&mut out, span.trace_id, &trace);
        let tag = |key: &str, kind: &str, value: Json| json!({"key": key, "type": kind, "value": value});
        let reference =
            |kind: &str, trace: &str, span: &str| json!({"refType": kind, "traceID": trace, "spanID": span});
        let (own, other) = ("0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319d");
        let expected = json!({
            "traceID": own,
            "spans": [{
                "traceID": own, "spanID": "b91bc3b0acd0db0f", "flags": 1, "operationName": "GET /cart",
                "references": [
                    reference("CHILD_OF", own, "00f067aa0ba902b7"),
                    reference("FOLLOWS_FROM", other, "00000000000000a9"),
                    reference("CHILD_OF", own, "00000000000000aa"),
                ],
                "startTime": 1_700_000_000_000_000i64, "duration": 250_000,
                "tags": [
                    tag("big", "int64", json!("9007199254740993")), tag("code", "int64", json!(500)),
                    tag("list", "string", json!("[1,\"a\"]")), tag("ok", "bool", json!(true)),
                    tag("raw", "binary", json!("AQ==")), tag("share", "float64", json!(0.5)),
                    tag("otel.scope.name", "string", json!("lib")), tag("otel.scope.version", "string", json!("1")),
                    tag("span.kind", "string", json!("server")), tag("otel.status_code", "string", json!("ERROR")),
                    tag("otel.status_description", "string", json!("no")), tag("w3c.tracestate", "string", json!("a=b")),
                    tag("error", "bool", json!(true)),
                ],
                "logs": [{"timestamp": 1_700_000_000_100_000i64, "fields": [
                    tag("event", "string", json!("exception")), tag("k", "string", json!("v"))]}],
                "processID": "p1", "warnings": ["late", "9 spans are left out"],
            }],
            "processes": {"p1": {"serviceName": "cart", "tags": [
                tag("host.name", "string", json!("n1")), tag("service.name", "string", json!("cart"))]}},
            "warnings": ["9 spans are left out"],
        });
        assert_eq!(serde_json::from_str::<Json>(&out).expect("JSON"), expected);
    }
}
