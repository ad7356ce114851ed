//! Jaeger's spans, as its clients and agents send them: `api_v2` in protobuf and `Batch` in Thrift.
//!
//! Both readers make a [`Span`], and [`translate`] writes it as OTLP, by OpenTelemetry's published mapping ("OpenTelemetry to
//! Jaeger Transformation", read backwards) and what the Collector's receiver does beyond it:
//!
//! * the process is the resource, its service name `service.name`, its tag `hostname` `host.name`;
//! * the tags `span.kind`, `error`, `otel.status_code`, `otel.status_description`, `w3c.tracestate`, `otel.scope.name` and
//!   `otel.scope.version` (`otel.library.…` in older senders) are fields of OTLP and no attributes; where no tag says how the
//!   span went, `http.status_code` does;
//! * the first reference `CHILD_OF` within the trace is the parent, every other reference a link with `opentracing.ref_type`;
//! * a log is an event, its field `event` (else `message`) the name;
//! * the sender's warnings are the attribute `jaeger.warnings`.

pub(crate) mod protobuf;
pub mod query;
pub(crate) mod thrift;

use std::borrow::Cow;

use throughline_model::protobuf::Malformed;

use crate::otlp::trace::foreign::{Draft, Names, Refusal, Spans, Value};

/// What Jaeger calls what OTLP has.
const NAMES: Names = Names {
    spans: "spans",
    fields: &[
        ("start_time_unix_nano", "start_time"),
        ("end_time_unix_nano", "duration"),
        ("parent_span_id", "references.span_id"),
        ("name", "operation_name"),
        ("attributes", "tags"),
        ("resource.attributes", "process.tags"),
        ("events.name", "logs.fields"),
        ("events.attributes", "logs.fields"),
        ("links.attributes", "references"),
    ],
};

/// What a process calls itself whose service has no name in OTLP.
const NO_SERVICE: &[u8] = b"OTLPResourceNoServiceName";

/// A tag, or a field of a log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tag<'a> {
    key: &'a [u8],
    value: Value<'a>,
}

/// Tags beyond which a span, a log or a process is over any limit; they are counted all the same.
#[derive(Debug, Default)]
struct Tags<'a> {
    list: Vec<Tag<'a>>,
    count: usize,
}

impl<'a> Tags<'a> {
    /// Adds a tag, unless there are more than the limit and the fields that tags can be.
    fn push(&mut self, tag: Tag<'a>, limit: usize) {
        self.count += 1;
        if self.list.len() < limit.saturating_add(FIELDS_AMONG_TAGS) {
            self.list.push(tag);
        }
    }

    /// Whether some were left out.
    fn is_cut(&self) -> bool {
        self.count > self.list.len()
    }
}

/// Tags of a span that are fields in OTLP.
const FIELDS_AMONG_TAGS: usize = 10;

/// Whom a span comes from.
#[derive(Debug, Default)]
struct Process<'a> {
    service: &'a [u8],
    tags: Tags<'a>,
}

/// A reference to another span.
#[derive(Clone, Debug, PartialEq)]
struct Reference<'a> {
    trace_id: Cow<'a, [u8]>,
    span_id: Cow<'a, [u8]>,
    follows_from: bool,
}

/// A span as Jaeger has it. Its logs are in the draft already.
#[derive(Debug, Default)]
struct Span<'a> {
    trace_id: Cow<'a, [u8]>,
    span_id: Cow<'a, [u8]>,
    /// The parent that Thrift has as a field; empty where there is none.
    parent: Cow<'a, [u8]>,
    name: &'a [u8],
    references: Vec<Reference<'a>>,
    flags: u32,
    /// Nanoseconds since the epoch; zero is none.
    start: u64,
    /// Nanoseconds.
    duration: i64,
    tags: Tags<'a>,
    warnings: Vec<&'a [u8]>,
    /// More logs, references or warnings than may be.
    over: Option<&'static str>,
}

/// Writes the process as the resource.
fn write_process(draft: &mut Draft, process: &Process<'_>) {
    draft.start_resource();
    if !process.service.is_empty() && process.service != NO_SERVICE {
        draft.resource_attribute(b"service.name", Value::Text(process.service));
    }
    let has_host = process.tags.list.iter().any(|tag| tag.key == b"host.name");
    for tag in &process.tags.list {
        let key = if tag.key == b"hostname" && !has_host { b"host.name" } else { tag.key };
        // A second name of the service would hide the first.
        if key != b"service.name" || process.service.is_empty() {
            draft.resource_attribute(key, tag.value);
        }
    }
}

/// Takes a span whose resource and events are drafted.
fn translate(spans: &mut Spans<'_>, span: &Span<'_>, process: &Process<'_>) -> Result<(), Malformed> {
    let limit = spans.limits().attributes_per_item;
    let over = [(span.tags.is_cut(), "attributes"), (process.tags.is_cut(), "resource.attributes")];
    let over = over.into_iter().find_map(|(is_over, field)| is_over.then_some(field)).or(span.over);
    if let Some(field) = over {
        spans.refuse(Refusal::AttributeCount { field, limit });
        return Ok(());
    }
    let draft = &mut spans.draft;
    let parent = parent(span);
    draft.ids(&span.trace_id, &span.span_id, parent);
    let end = i64::try_from(span.start).map_or(0, |start| start.saturating_add(span.duration)).max(0);
    draft.times(span.start, if span.duration == 0 { span.start } else { end as u64 });
    // Bit 0 means the same to both; the others (debug, firehose) are Jaeger's own.
    draft.flags(span.flags & 1);
    let fields = write_tags(draft, &span.tags.list);
    draft.name_and_kind(span.name, fields.kind);
    draft.scope(fields.scope, fields.scope_version);
    if !fields.trace_state.is_empty() {
        draft.trace_state(fields.trace_state);
    }
    if let Some(code) = fields.status() {
        draft.status(code, fields.message);
    }
    if !span.warnings.is_empty() {
        draft.attribute(b"jaeger.warnings", Value::Texts(&span.warnings));
    }
    let mut parent_is_due = !parent.is_empty();
    for reference in &span.references {
        let is_parent = !reference.follows_from && *reference.span_id == *parent;
        if is_parent && std::mem::take(&mut parent_is_due) {
            continue;
        }
        let kind: &[u8] = if reference.follows_from { b"follows_from" } else { b"child_of" };
        draft.link(&reference.trace_id, &reference.span_id, (b"opentracing.ref_type", kind));
    }
    spans.take()
}

/// The parent's id; empty where there is none.
fn parent<'s>(span: &'s Span<'_>) -> &'s [u8] {
    if !span.parent.is_empty() {
        return &span.parent;
    }
    let child_of = |r: &&Reference<'_>| !r.follows_from && r.trace_id == span.trace_id;
    let named = span.references.iter().find(child_of).map(|reference| &*reference.span_id);
    named.filter(|id| id.iter().any(|byte| *byte != 0)).unwrap_or_default()
}

/// What tags say that OTLP has fields for.
#[derive(Default)]
struct TagFields<'a> {
    kind: u64,
    error: Option<bool>,
    status_code: u64,
    http_status: Option<i64>,
    message: &'a [u8],
    trace_state: &'a [u8],
    scope: &'a [u8],
    scope_version: &'a [u8],
}

impl TagFields<'_> {
    /// OTLP's status code; none where it is unset. A client takes every 4xx for its failure, a server only 5xx.
    fn status(&self) -> Option<u64> {
        const SERVER: u64 = 2;
        let failed = |code: i64| code >= if self.kind == SERVER { 500 } else { 400 };
        match (self.error, self.status_code, self.http_status) {
            (Some(true), ..) => Some(2),
            (_, code @ 1..=2, _) => Some(code),
            (None, _, Some(code)) if failed(code) => Some(2),
            _ => (!self.message.is_empty()).then_some(0),
        }
    }
}

/// Writes tags as attributes, but for those that are fields.
fn write_tags<'a>(draft: &mut Draft, tags: &[Tag<'a>]) -> TagFields<'a> {
    let mut fields = TagFields::default();
    for tag in tags {
        match (tag.key, tag.value) {
            (b"span.kind", Value::Text(kind)) => {
                fields.kind = kind_of(kind);
                if fields.kind == 0 {
                    draft.attribute(tag.key, tag.value);
                }
            }
            (b"error", Value::Bool(error)) => fields.error = Some(error),
            (b"error", Value::Text(b"true")) => fields.error = Some(true),
            (b"error", Value::Text(b"false")) => fields.error = Some(false),
            (b"otel.status_code", Value::Text(b"OK")) => fields.status_code = 1,
            (b"otel.status_code", Value::Text(b"ERROR")) => fields.status_code = 2,
            (b"otel.status_code", Value::Text(b"UNSET")) => {}
            (b"otel.status_description", Value::Text(text)) => fields.message = text,
            (b"w3c.tracestate", Value::Text(text)) => fields.trace_state = text,
            (b"otel.scope.name" | b"otel.library.name", Value::Text(text)) => fields.scope = text,
            (b"otel.scope.version" | b"otel.library.version", Value::Text(text)) => {
                fields.scope_version = text;
            }
            (key, value) => {
                if key == b"http.status_code" {
                    fields.http_status = http_status(value);
                }
                draft.attribute(key, value);
            }
        }
    }
    fields
}

fn http_status(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(code) => Some(code),
        Value::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// OTLP's number of a kind by its name in OpenTracing.
fn kind_of(name: &[u8]) -> u64 {
    match name {
        b"internal" => 1,
        b"server" => 2,
        b"client" => 3,
        b"producer" => 4,
        b"consumer" => 5,
        _ => 0,
    }
}

/// Writes a log as an event.
fn write_log(draft: &mut Draft, time: u64, fields: &Tags<'_>) {
    let named = |name: &[u8]| {
        fields.list.iter().position(|field| field.key == name && matches!(field.value, Value::Text(_)))
    };
    let at = named(b"event").or_else(|| named(b"message"));
    let name = match at.and_then(|at| fields.list.get(at)).map(|field| field.value) {
        Some(Value::Text(text)) => text,
        _ => b"",
    };
    let others = fields.list.iter().enumerate().filter(|(index, _)| Some(*index) != at);
    draft.event(time, name, others.map(|(_, field)| (field.key, field.value)));
}
