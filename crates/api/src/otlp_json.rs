//! Stored spans as OTLP's JSON, in the two dialects that query APIs have: written straight into bytes, for a trace may have
//! 100,000 spans.
//!
//! OTLP itself has ids in hex and enumerations as numbers; Tempo has protobuf's own mapping, with ids in base64, enumerations
//! by name, and without members of zero. In both 64-bit numbers are texts.

use serde_json::{Map, Value as Json};
use throughline_model::attribute::{MAX_DEPTH, base64, write_json_text};
use throughline_model::record::Span;
use throughline_model::{SpanId, TraceId};
use throughline_wire::otlp::traces_data::{ResourceGroup, Stored, groups};

/// How ids and enumerations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OTLP's.
    Otlp,
    /// Protobuf's, as Tempo has it.
    Tempo,
}

const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

/// Appends the list of `ResourceSpans` of these spans.
pub(crate) fn write_resource_spans<'a>(
    out: &mut String,
    dialect: Dialect,
    spans: impl IntoIterator<Item = &'a Span>,
) {
    let mut list = List::open(out);
    for group in groups(spans) {
        list.next(out);
        write_group(out, dialect, &group);
    }
    list.close(out);
}

fn write_group(out: &mut String, dialect: Dialect, group: &ResourceGroup<'_>) {
    out.push_str(r#"{"resource":{"attributes":"#);
    match group.attributes.is_empty() {
        true => {
            let service = Map::from_iter([("service.name".to_owned(), Json::from(group.service))]);
            write_attributes(out, &service);
        }
        false => write_attributes(out, group.attributes),
    }
    out.push_str(r#"},"scopeSpans":"#);
    let mut scopes = List::open(out);
    for scope in &group.scopes {
        scopes.next(out);
        out.push_str(r#"{"scope":{"#);
        let mut members = Members::new();
        for name in ["name", "version"] {
            members.text(out, name, scope.scope.get(name).and_then(Json::as_str).unwrap_or_default());
        }
        if let Some(Json::Object(attributes)) = scope.scope.get("attributes") {
            members.attributes(out, attributes);
        }
        out.push_str(r#"},"spans":"#);
        let mut list = List::open(out);
        for span in &scope.spans {
            list.next(out);
            write_span(out, dialect, span);
        }
        list.close(out);
        out.push('}');
    }
    scopes.close(out);
    out.push('}');
}

fn write_span(out: &mut String, dialect: Dialect, span: &Span) {
    out.push('{');
    let mut members = Members::new();
    members.text(out, "traceId", &trace_id(dialect, span.trace_id));
    members.text(out, "spanId", &span_id(dialect, span.span_id));
    members.text(out, "traceState", &span.trace_state);
    if let Some(parent) = span.parent_span_id {
        members.text(out, "parentSpanId", &span_id(dialect, parent));
    }
    if span.flags > 0 {
        members.raw(out, "flags", &span.flags.to_string());
    }
    members.text(out, "name", &span.name);
    match dialect {
        Dialect::Otlp => members.raw(out, "kind", &span.kind.to_string()),
        Dialect::Tempo if span.kind > 0 => {
            members.text(out, "kind", KINDS.get(usize::from(span.kind)).copied().unwrap_or_default());
        }
        Dialect::Tempo => {}
    }
    members.text(out, "startTimeUnixNano", &span.start_time.to_string());
    members.text(out, "endTimeUnixNano", &span.start_time.saturating_add(span.duration_ns).to_string());
    members.attributes(out, &span.attributes);
    if !span.events.is_empty() {
        members.key(out, "events");
        let mut list = List::open(out);
        for event in &span.events {
            list.next(out);
            out.push('{');
            let mut members = Members::new();
            let time = event.get("time").and_then(Json::as_i64).unwrap_or(0);
            members.text(out, "timeUnixNano", &time.to_string());
            members.text(out, "name", text(event, "name"));
            members.attributes_of(out, event);
            out.push('}');
        }
        list.close(out);
    }
    if !span.links.is_empty() {
        members.key(out, "links");
        let mut list = List::open(out);
        for link in &span.links {
            list.next(out);
            write_link(out, dialect, link);
        }
        list.close(out);
    }
    members.key(out, "status");
    out.push('{');
    let mut status = Members::new();
    status.text(out, "message", &span.status_message);
    match (dialect, span.status_code) {
        (_, 0) => {}
        (Dialect::Otlp, code) => status.raw(out, "code", &code.to_string()),
        (Dialect::Tempo, 1) => status.text(out, "code", "STATUS_CODE_OK"),
        (Dialect::Tempo, _) => status.text(out, "code", "STATUS_CODE_ERROR"),
    }
    out.push_str("}}");
}

fn write_link(out: &mut String, dialect: Dialect, link: &Json) {
    out.push('{');
    let mut members = Members::new();
    if let Some((id, _)) = TraceId::parse(text(link, "trace_id")) {
        members.text(out, "traceId", &trace_id(dialect, id));
    }
    if let Some(id) = SpanId::parse(text(link, "span_id")) {
        members.text(out, "spanId", &span_id(dialect, id));
    }
    members.text(out, "traceState", text(link, "trace_state"));
    members.attributes_of(out, link);
    out.push('}');
}

fn trace_id(dialect: Dialect, id: TraceId) -> String {
    match dialect {
        Dialect::Otlp => id.to_string(),
        Dialect::Tempo => base64(&id.0),
    }
}

fn span_id(dialect: Dialect, id: SpanId) -> String {
    match dialect {
        Dialect::Otlp => id.to_string(),
        Dialect::Tempo => base64(&id.0),
    }
}

fn text<'a>(of: &'a Json, key: &str) -> &'a str {
    of.get(key).and_then(Json::as_str).unwrap_or_default()
}

/// Appends attributes as a list of `KeyValue`.
pub(crate) fn write_attributes<'a>(
    out: &mut String,
    attributes: impl IntoIterator<Item = (&'a String, &'a Json)>,
) {
    let mut list = List::open(out);
    for (key, value) in attributes {
        list.next(out);
        write_attribute(out, key, value, MAX_DEPTH);
    }
    list.close(out);
}

fn write_attribute(out: &mut String, key: &str, value: &Json, depth: usize) {
    out.push_str(r#"{"key":"#);
    write_json_text(out, key);
    out.push_str(r#","value":"#);
    write_value(out, value, depth);
    out.push('}');
}

/// Appends an `AnyValue`. What nests deeper than values are stored is left empty.
fn write_value(out: &mut String, value: &Json, depth: usize) {
    use std::fmt::Write as _;
    out.push('{');
    match Stored::of(value) {
        Stored::Bytes(text) => {
            out.push_str(r#""bytesValue":"#);
            write_json_text(out, text);
        }
        Stored::Double(number) => {
            let name = match number {
                f64::INFINITY => "Infinity",
                f64::NEG_INFINITY => "-Infinity",
                _ => "NaN",
            };
            _ = write!(out, r#""doubleValue":"{name}""#);
        }
        Stored::Json(Json::Null) => {}
        Stored::Json(Json::String(text)) => {
            out.push_str(r#""stringValue":"#);
            write_json_text(out, text);
        }
        Stored::Json(Json::Bool(value)) => _ = write!(out, r#""boolValue":{value}"#),
        Stored::Json(Json::Number(number)) => {
            _ = match number.as_i64() {
                Some(whole) => write!(out, r#""intValue":"{whole}""#),
                None => write!(out, r#""doubleValue":{number}"#),
            };
        }
        Stored::Json(_) if depth == 0 => {}
        Stored::Json(Json::Array(items)) => {
            out.push_str(r#""arrayValue":{"values":"#);
            let mut list = List::open(out);
            for item in items {
                list.next(out);
                write_value(out, item, depth - 1);
            }
            list.close(out);
            out.push('}');
        }
        Stored::Json(Json::Object(members)) => {
            out.push_str(r#""kvlistValue":{"values":"#);
            let mut list = List::open(out);
            for (key, value) in members {
                list.next(out);
                write_attribute(out, key, value, depth - 1);
            }
            list.close(out);
            out.push('}');
        }
    }
    out.push('}');
}

/// Commas between the elements of a list.
pub(crate) struct List {
    first: bool,
}

impl List {
    pub(crate) fn open(out: &mut String) -> List {
        out.push('[');
        List { first: true }
    }

    pub(crate) fn next(&mut self, out: &mut String) {
        if !std::mem::take(&mut self.first) {
            out.push(',');
        }
    }

    pub(crate) fn close(self, out: &mut String) {
        out.push(']');
    }
}

/// Names and commas of the members of an object. Members of empty text and empty attributes are left out.
pub(crate) struct Members {
    first: bool,
}

impl Members {
    pub(crate) fn new() -> Members {
        Members { first: true }
    }

    pub(crate) fn key(&mut self, out: &mut String, name: &str) {
        if !std::mem::take(&mut self.first) {
            out.push(',');
        }
        out.push('"');
        out.push_str(name);
        out.push_str("\":");
    }

    pub(crate) fn text(&mut self, out: &mut String, name: &str, text: &str) {
        if !text.is_empty() {
            self.key(out, name);
            write_json_text(out, text);
        }
    }

    /// A value that is JSON already.
    pub(crate) fn raw(&mut self, out: &mut String, name: &str, json: &str) {
        self.key(out, name);
        out.push_str(json);
    }

    fn attributes(&mut self, out: &mut String, attributes: &Map<String, Json>) {
        if !attributes.is_empty() {
            self.key(out, "attributes");
            write_attributes(out, attributes);
        }
    }

    fn attributes_of(&mut self, out: &mut String, of: &Json) {
        if let Some(Json::Object(attributes)) = of.get("attributes") {
            self.attributes(out, attributes);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span() -> Span {
        serde_json::from_value(json!({
            "trace_id": "0000000000000000000000000000c0de", "span_id": "00000000000000a1",
            "parent_span_id": "00000000000000a0", "flags": 0, "name": "GET \"x\"", "kind": 2, "start_time": 5,
            "duration_ns": 7, "status_code": 2, "status_message": "no", "service": "cart", "resource": {}, "scope": {},
            "attributes": {"n": 1, "d": 1.0, "l": [true, {"k": null}], "b": {"bytesValue": "AQ=="}, "x": {"doubleValue": "NaN"}},
            "events": [{"time": 6, "name": "e", "attributes": {}}],
            "links": [{"trace_id": "0000000000000000000000000000c0df", "span_id": "00000000000000a9", "attributes": {"a": "b"}}],
        }))
        .expect("a span")
    }

    fn written(dialect: Dialect) -> Json {
        let mut out = String::new();
        write_resource_spans(&mut out, dialect, [&span()]);
        serde_json::from_str(&out).expect("JSON")
    }

    #[test]
    fn otlp_has_hex_and_numbers() {
        let json = written(Dialect::Otlp);
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]});
        assert_eq!(json[0]["resource"], resource, "a resource without attributes has its service's name");
        let expected = json!({
            "traceId": "0000000000000000000000000000c0de", "spanId": "00000000000000a1", "parentSpanId": "00000000000000a0",
            "name": "GET \"x\"", "kind": 2, "startTimeUnixNano": "5", "endTimeUnixNano": "12",
            "attributes": [
                {"key": "b", "value": {"bytesValue": "AQ=="}},
                {"key": "d", "value": {"doubleValue": 1.0}},
                {"key": "l", "value": {"arrayValue": {"values": [
                    {"boolValue": true}, {"kvlistValue": {"values": [{"key": "k", "value": {}}]}}]}}},
                {"key": "n", "value": {"intValue": "1"}},
                {"key": "x", "value": {"doubleValue": "NaN"}},
            ],
            "events": [{"timeUnixNano": "6", "name": "e"}],
            "links": [{"traceId": "0000000000000000000000000000c0df", "spanId": "00000000000000a9",
                "attributes": [{"key": "a", "value": {"stringValue": "b"}}]}],
            "status": {"message": "no", "code": 2},
        });
        assert_eq!(json[0]["scopeSpans"], json!([{"scope": {}, "spans": [expected]}]));
    }

    #[test]
    fn tempo_has_base64_and_names() {
        let json = written(Dialect::Tempo);
        let span = &json[0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "AAAAAAAAAAAAAAAAAADA3g==");
        assert_eq!(
            (&span["spanId"], &span["links"][0]["spanId"]),
            (&json!("AAAAAAAAAKE="), &json!("AAAAAAAAAKk="))
        );
        assert_eq!(
            (&span["kind"], &span["status"]["code"]),
            (&json!("SPAN_KIND_SERVER"), &json!("STATUS_CODE_ERROR"))
        );
    }
}
