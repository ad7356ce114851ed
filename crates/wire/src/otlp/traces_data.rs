//! `TracesData`: stored spans on their way out, as OTLP's protobuf.
//!
//! Spans are grouped by resource and scope, in the order in which those first come; [`groups`] serves other encodings of the
//! same tree too. Sub-messages that readers take for granted (resource, scope, status) are always there, even empty; a
//! resource without attributes gets its service's name, for some readers drop a resource that has none.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number, put_varint};
use throughline_model::record::Span;
use throughline_model::{SpanId, TraceId};

/// How deep values are written: as deep as they are stored.
const DEPTH_MAX: usize = throughline_model::attribute::MAX_DEPTH;

/// The spans of one resource.
pub struct ResourceGroup<'a> {
    /// The service.
    pub service: &'a str,
    /// The resource's attributes.
    pub attributes: &'a Map<String, Json>,
    /// Its scopes.
    pub scopes: Vec<ScopeGroup<'a>>,
}

/// The spans of one scope of a resource.
pub struct ScopeGroup<'a> {
    /// The scope: `name`, `version`, `attributes`.
    pub scope: &'a Map<String, Json>,
    /// Its spans.
    pub spans: Vec<&'a Span>,
}

/// Groups spans by resource and scope.
pub fn groups<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<ResourceGroup<'a>> {
    let mut groups: Vec<ResourceGroup<'a>> = Vec::new();
    let mut resources: HashMap<(&str, &Map<String, Json>), usize> = HashMap::new();
    let mut scopes: HashMap<(usize, &Map<String, Json>), usize> = HashMap::new();
    for span in spans {
        let (service, attributes) = (span.service.as_str(), &span.resource);
        let at = *resources.entry((service, attributes)).or_insert_with(|| {
            groups.push(ResourceGroup { service, attributes, scopes: Vec::new() });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(at) else { continue };
        let scope = *scopes.entry((at, &span.scope)).or_insert_with(|| {
            group.scopes.push(ScopeGroup { scope: &span.scope, spans: Vec::new() });
            group.scopes.len() - 1
        });
        if let Some(scope) = group.scopes.get_mut(scope) {
            scope.spans.push(span);
        }
    }
    groups
}

/// A value as it is stored, told apart from what JSON lacks: bytes, and doubles that are no number or infinite.
pub enum Stored<'a> {
    /// Bytes, in base64.
    Bytes(&'a str),
    /// A double that JSON has no form for.
    Double(f64),
    /// Everything else.
    Json(&'a Json),
}

impl<'a> Stored<'a> {
    /// Reads a stored value.
    pub fn of(value: &'a Json) -> Stored<'a> {
        let Json::Object(members) = value else { return Stored::Json(value) };
        let mut members_of = members.iter();
        match (members_of.next(), members_of.next()) {
            (Some((key, Json::String(text))), None) if key == "bytesValue" => Stored::Bytes(text),
            (Some((key, Json::String(text))), None) if key == "doubleValue" => {
                text.parse().map_or(Stored::Json(value), Stored::Double)
            }
            _ => Stored::Json(value),
        }
    }
}

/// Encodes spans as one `TracesData`, which Tempo's `Trace` is too.
pub fn encode<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
    let (mut out, mut resource, mut list, mut span_message) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for group in groups(spans) {
        resource.clear();
        put_bytes(&mut resource, 1, &resource_message(&group));
        for scope in &group.scopes {
            list.clear();
            put_bytes(&mut list, 1, &scope_message(scope.scope));
            for span in &scope.spans {
                span_message.clear();
                put_span(&mut span_message, span);
                put_bytes(&mut list, 2, &span_message);
            }
            put_bytes(&mut resource, 2, &list);
        }
        put_bytes(&mut out, 1, &resource);
    }
    out
}

fn resource_message(group: &ResourceGroup<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_attributes(&mut out, 1, group.attributes);
    if out.is_empty() {
        put_attribute(&mut out, 1, "service.name", &Json::from(group.service));
    }
    out
}

fn scope_message(scope: &Map<String, Json>) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, name) in [(1, "name"), (2, "version")] {
        if let Some(text) = scope.get(name).and_then(Json::as_str).filter(|text| !text.is_empty()) {
            put_bytes(&mut out, field, text.as_bytes());
        }
    }
    if let Some(Json::Object(attributes)) = scope.get("attributes") {
        put_attributes(&mut out, 3, attributes);
    }
    out
}

fn put_span(out: &mut Vec<u8>, span: &Span) {
    put_bytes(out, 1, &span.trace_id.0);
    put_bytes(out, 2, &span.span_id.0);
    put_text(out, 3, &span.trace_state);
    if let Some(parent) = span.parent_span_id {
        put_bytes(out, 4, &parent.0);
    }
    put_text(out, 5, &span.name);
    if span.kind > 0 {
        put_number(out, 6, u64::from(span.kind));
    }
    put_fixed64(out, 7, span.start_time as u64);
    put_fixed64(out, 8, span.start_time.saturating_add(span.duration_ns) as u64);
    put_attributes(out, 9, &span.attributes);
    let mut part = Vec::new();
    for event in &span.events {
        part.clear();
        put_fixed64(&mut part, 1, event.get("time").and_then(Json::as_i64).unwrap_or(0) as u64);
        put_text(&mut part, 2, text(event, "name"));
        put_attributes_of(&mut part, 3, event);
        put_bytes(out, 11, &part);
    }
    for link in &span.links {
        part.clear();
        if let Some((id, _)) = TraceId::parse(text(link, "trace_id")) {
            put_bytes(&mut part, 1, &id.0);
        }
        if let Some(id) = SpanId::parse(text(link, "span_id")) {
            put_bytes(&mut part, 2, &id.0);
        }
        put_text(&mut part, 3, text(link, "trace_state"));
        put_attributes_of(&mut part, 4, link);
        put_bytes(out, 13, &part);
    }
    part.clear();
    put_text(&mut part, 2, &span.status_message);
    if span.status_code > 0 {
        put_number(&mut part, 3, u64::from(span.status_code));
    }
    put_bytes(out, 15, &part);
    if span.flags > 0 {
        put_varint(out, 16 << 3 | 5);
        out.extend_from_slice(&span.flags.to_le_bytes());
    }
}

fn text<'a>(of: &'a Json, key: &str) -> &'a str {
    of.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

fn put_attributes_of(out: &mut Vec<u8>, field: u32, of: &Json) {
    if let Some(Json::Object(attributes)) = of.get("attributes") {
        put_attributes(out, field, attributes);
    }
}

fn put_attributes(out: &mut Vec<u8>, field: u32, attributes: &Map<String, Json>) {
    for (key, value) in attributes {
        put_attribute(out, field, key, value);
    }
}

/// Appends a `KeyValue` as a field.
pub fn put_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &Json) {
    put_attribute_at(out, field, key, value, DEPTH_MAX);
}

fn put_attribute_at(out: &mut Vec<u8>, field: u32, key: &str, value: &Json, depth: usize) {
    let (mut any, mut pair) = (Vec::new(), Vec::new());
    put_value(&mut any, value, depth);
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &any);
    put_bytes(out, field, &pair);
}

/// Appends the fields of an `AnyValue`. What nests deeper than values are stored is left empty.
fn put_value(any: &mut Vec<u8>, value: &Json, depth: usize) {
    let json = match Stored::of(value) {
        Stored::Bytes(text) => {
            return put_bytes(any, 7, &super::json::base64_bytes(text).unwrap_or_default());
        }
        Stored::Double(number) => return put_fixed64(any, 4, number.to_bits()),
        Stored::Json(json) => json,
    };
    match json {
        Json::Null => {}
        Json::String(text) => put_bytes(any, 1, text.as_bytes()),
        Json::Bool(value) => put_number(any, 2, u64::from(*value)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => put_number(any, 3, whole as u64),
            None => put_fixed64(any, 4, number.as_f64().unwrap_or(0.0).to_bits()),
        },
        Json::Array(_) | Json::Object(_) if depth == 0 => {}
        Json::Array(items) => {
            let (mut list, mut element) = (Vec::new(), Vec::new());
            for item in items {
                element.clear();
                put_value(&mut element, item, depth - 1);
                put_bytes(&mut list, 1, &element);
            }
            put_bytes(any, 5, &list);
        }
        Json::Object(members) => {
            let mut list = Vec::new();
            for (key, value) in members {
                put_attribute_at(&mut list, 1, key, value, depth - 1);
            }
            put_bytes(any, 6, &list);
        }
    }
}
