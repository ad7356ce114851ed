//! Zipkin's spans, version 2, in JSON and in protobuf.
//!
//! Both readers make a [`Span`], and [`translate`] writes it as OTLP, by OpenTelemetry's published mapping ("OpenTelemetry to
//! Zipkin Transformation", read backwards) and what the Collector's receiver does beyond it:
//!
//! * the local endpoint's service is the resource's `service.name`; addresses are the attributes `net.host.ip` and
//!   `net.host.port`, those of the remote endpoint `net.peer.ip` and `net.peer.port`, its service `peer.service`;
//! * the tags `span.kind` (where the span has no kind), `otel.status_code`, `otel.status_description`, `w3c.tracestate`,
//!   `otel.scope.name` and `otel.scope.version` (`otel.library.…` in older senders) are fields of OTLP and no attributes;
//! * the tag `error` says that the span failed, whatever its value but `false`; a value that is more than `true` is kept;
//! * an annotation is an event; a span without a timestamp begins with the first and ends with the last of them.

pub(crate) mod json;
pub(crate) mod protobuf;

use std::borrow::Cow;

use throughline_model::protobuf::Malformed;

use crate::otlp::trace::foreign::{Names, Refusal, Spans, Value};

/// What Zipkin calls what OTLP has.
const NAMES: Names = Names {
    spans: "spans",
    fields: &[
        ("trace_id", "traceId"),
        ("span_id", "id"),
        ("parent_span_id", "parentId"),
        ("start_time_unix_nano", "timestamp"),
        ("end_time_unix_nano", "duration"),
        ("attributes", "tags"),
        ("resource.attributes", "localEndpoint"),
        ("events.name", "annotations.value"),
        ("events.attributes", "annotations"),
    ],
};

/// One end of a call.
#[derive(Debug, Default, PartialEq)]
struct Endpoint<'a> {
    service: Cow<'a, str>,
    /// An address as text; version 4 where there are both.
    ip: Cow<'a, str>,
    port: i64,
}

/// A span as Zipkin has it.
#[derive(Debug, Default)]
struct Span<'a> {
    trace_id: Id,
    span_id: Id,
    parent: Id,
    name: Cow<'a, str>,
    /// OTLP's number.
    kind: u64,
    /// Microseconds since the epoch; zero is none.
    timestamp: u64,
    /// Microseconds.
    duration: u64,
    local: Endpoint<'a>,
    remote: Endpoint<'a>,
    /// Time in microseconds and text.
    annotations: Vec<(u64, Cow<'a, str>)>,
    tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    debug: bool,
    /// More tags or annotations than may be, or an id that is none.
    refusal: Option<Refusal>,
}

/// An id of at most 16 bytes, at the end of its room.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Id {
    bytes: [u8; 16],
    /// How many bytes it came with; 0 is none.
    len: usize,
}

impl Id {
    fn of(bytes: &[u8]) -> Id {
        let mut id = Id { bytes: [0; 16], len: bytes.len() };
        let room = id.bytes.iter_mut().rev();
        room.zip(bytes.iter().rev()).for_each(|(slot, byte)| *slot = *byte);
        id
    }

    /// Reads hex of at most 32 digits.
    fn hex(text: &str) -> Option<Id> {
        let digits = text.as_bytes();
        if digits.is_empty() || digits.len() > 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let number = u128::from_str_radix(text, 16).ok()?;
        Some(Id { bytes: number.to_be_bytes(), len: digits.len().div_ceil(2) })
    }

    /// The last so many bytes; all that came where those are more, so that the decoder sees them.
    fn last(&self, bytes: usize) -> &[u8] {
        let from = 16usize.saturating_sub(bytes.max(self.len));
        self.bytes.get(from..).unwrap_or_default()
    }
}

/// Takes a span.
fn translate(spans: &mut Spans<'_>, span: &Span<'_>) -> Result<(), Malformed> {
    let ids = [
        (&span.trace_id, "trace_id", 16),
        (&span.span_id, "span_id", 8),
        (&span.parent, "parent_span_id", 8),
    ];
    // Of a longer one only the end is held.
    let too_long = ids.into_iter().find(|(id, ..)| id.len > 16);
    let too_long = too_long.map(|(id, field, expected)| Refusal::IdLength { field, bytes: id.len, expected });
    if let Some(refusal) = span.refusal.or(too_long) {
        spans.refuse(refusal);
        return Ok(());
    }
    let draft = &mut spans.draft;
    draft.start();
    draft.start_resource();
    if !span.local.service.is_empty() {
        draft.resource_attribute(b"service.name", Value::Text(span.local.service.as_bytes()));
    }
    let none: &[u8] = &[];
    let id = |id: &Id, bytes: usize| if id.len == 0 { Vec::new() } else { id.last(bytes).to_vec() };
    let parent = if span.parent.len == 0 { none } else { span.parent.last(8) };
    draft.ids(&id(&span.trace_id, 16), &id(&span.span_id, 8), parent);
    let (start, end) = bounds(span);
    draft.times(start, end);
    if span.debug {
        // Debug spans are sampled by definition.
        draft.flags(1);
    }
    endpoints(spans, span);
    let fields = write_tags(spans, span);
    let draft = &mut spans.draft;
    draft.name_and_kind(span.name.as_bytes(), fields.kind);
    draft.scope(fields.scope.as_bytes(), fields.scope_version.as_bytes());
    if !fields.trace_state.is_empty() {
        draft.trace_state(fields.trace_state.as_bytes());
    }
    if fields.status_code != 0 || !fields.message.is_empty() {
        draft.status(fields.status_code, fields.message.as_bytes());
    }
    for (time, text) in &span.annotations {
        draft.event(time.saturating_mul(1_000), text.as_bytes(), std::iter::empty());
    }
    spans.take()
}

/// Start and end, nanoseconds since the epoch.
fn bounds(span: &Span<'_>) -> (u64, u64) {
    let times = || span.annotations.iter().map(|(time, _)| *time);
    if span.timestamp == 0 {
        let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let end = last.max(first.saturating_add(span.duration));
        return (first.saturating_mul(1_000), end.saturating_mul(1_000));
    }
    let start = span.timestamp.saturating_mul(1_000);
    (start, start.saturating_add(span.duration.saturating_mul(1_000)))
}

fn endpoints(spans: &mut Spans<'_>, span: &Span<'_>) {
    let draft = &mut spans.draft;
    if !span.remote.service.is_empty() {
        draft.attribute(b"peer.service", Value::Text(span.remote.service.as_bytes()));
    }
    let ends: [(&Endpoint<'_>, &[u8], &[u8]); 2] =
        [(&span.local, b"net.host.ip", b"net.host.port"), (&span.remote, b"net.peer.ip", b"net.peer.port")];
    for (end, ip, port) in ends {
        if !end.ip.is_empty() {
            draft.attribute(ip, Value::Text(end.ip.as_bytes()));
        }
        if end.port != 0 {
            draft.attribute(port, Value::Int(end.port));
        }
    }
}

/// What tags say that OTLP has fields for.
#[derive(Default)]
struct TagFields<'a> {
    kind: u64,
    status_code: u64,
    message: &'a str,
    trace_state: &'a str,
    scope: &'a str,
    scope_version: &'a str,
}

/// Writes tags as attributes, but for those that are fields.
fn write_tags<'a>(spans: &mut Spans<'_>, span: &'a Span<'_>) -> TagFields<'a> {
    let mut fields = TagFields { kind: span.kind, ..TagFields::default() };
    let mut failed = None;
    for (key, value) in &span.tags {
        let (key, value) = (key.as_ref(), value.as_ref());
        match (key, value) {
            ("span.kind", kind) if span.kind == 0 && kind_of(kind) != 0 => fields.kind = kind_of(kind),
            ("error", "false") => {}
            ("error", why) => {
                failed = Some(why);
                if !matches!(why, "" | "true") {
                    spans.draft.attribute(b"error", Value::Text(why.as_bytes()));
                }
            }
            ("otel.status_code", "OK") => fields.status_code = 1,
            ("otel.status_code", "ERROR") => fields.status_code = 2,
            ("otel.status_code", "UNSET") => {}
            ("otel.status_description", text) => fields.message = text,
            ("w3c.tracestate", text) => fields.trace_state = text,
            ("otel.scope.name" | "otel.library.name", text) => fields.scope = text,
            ("otel.scope.version" | "otel.library.version", text) => fields.scope_version = text,
            (key, value) => spans.draft.attribute(key.as_bytes(), Value::Text(value.as_bytes())),
        }
    }
    if let Some(why) = failed {
        fields.status_code = 2;
        if fields.message.is_empty() && why != "true" {
            fields.message = why;
        }
    }
    fields
}

/// OTLP's number of a kind by its name.
fn kind_of(name: &str) -> u64 {
    match name.to_ascii_uppercase().as_str() {
        "INTERNAL" => 1,
        "SERVER" => 2,
        "CLIENT" => 3,
        "PRODUCER" => 4,
        "CONSUMER" => 5,
        _ => 0,
    }
}
