//! Spans: `ExportTraceServiceRequest` into a [`SpanBatch`](throughline_model::SpanBatch).

pub(crate) mod foreign;
mod threshold;

use std::fmt::Write as _;

use throughline_model::batch::{SpanBatchBuilder, SpanRow};
use throughline_model::protobuf::{Field, Malformed, Reader, put_varint};
use throughline_model::{Batch, SpanId, TraceId};

use super::attributes::{copy_attribute, count_attribute, text};
use super::origin::{OriginColumns, short_text};
use super::refusal::{Fault, Refusal, Tally};
use super::{ItemOrigin, Memory, Scratch, Sink, check_time, is_set, refused, walk};
use crate::{DecodeContext, DecodeError, DecodeLimits, Decoded};

pub(super) fn decode(
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    let mut tally = Tally::new(["resource_spans", "scope_spans", "spans"], &context.limits);
    let Memory { origins, scratch, spans, .. } = memory;
    // What a request that broke off left behind.
    spans.clear();
    let mut sink = SpanSink { builder: spans, context, scratch };
    walk(body, &mut sink, origins, &context.limits, &mut tally)?;
    Ok(Decoded { batch: Batch::Spans(sink.builder.finish()), rejected: tally.finish() })
}

struct SpanSink<'a> {
    builder: &'a mut SpanBatchBuilder,
    context: &'a DecodeContext,
    scratch: &'a mut Scratch,
}

impl Sink for SpanSink<'_> {
    fn columns(&mut self) -> &mut impl OriginColumns {
        &mut *self.builder
    }

    fn take(&mut self, message: &[u8], origin: ItemOrigin, tally: &mut Tally) -> Result<(), Malformed> {
        let taken = match tally.admit() {
            Ok(()) => refused(self.span(message, origin))?,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = taken {
            tally.refuse(refusal, 1);
        }
        Ok(())
    }

    fn count(&self, _message: &[u8]) -> Result<u64, Malformed> {
        Ok(1)
    }
}

/// A span's fields as they are on the wire.
#[derive(Default)]
struct Fields<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_span_id: &'a [u8],
    trace_state: &'a [u8],
    name: &'a [u8],
    status_message: &'a [u8],
    flags: u32,
    kind: u64,
    status_code: u64,
    start: u64,
    end: u64,
    dropped_attributes: u64,
    dropped_events: u64,
    dropped_links: u64,
}

impl SpanSink<'_> {
    fn span(&mut self, message: &[u8], origin: ItemOrigin) -> Result<(), Fault> {
        let fields = self.fields(message)?;
        let limits = &self.context.limits;
        let start_time = check_time(fields.start, self.context, "start_time_unix_nano")?;
        let trace_state = short_text(fields.trace_state, limits, "trace_state")?;
        let dropped = &mut self.scratch.dropped;
        dropped.clear();
        let counts = [
            ("attributes", fields.dropped_attributes),
            ("events", fields.dropped_events),
            ("links", fields.dropped_links),
        ];
        write_dropped(dropped, &counts);
        let trace_id = trace_id(fields.trace_id)?;
        let row = SpanRow {
            resource: origin.resource.index,
            scope: origin.scope.index,
            trace_id,
            span_id: span_id(fields.span_id, "span_id")?,
            parent_span_id: match fields.parent_span_id {
                [] | [0, 0, 0, 0, 0, 0, 0, 0] => None,
                parent => Some(span_id(parent, "parent_span_id")?),
            },
            trace_state,
            flags: fields.flags,
            name: short_text(fields.name, limits, "name")?,
            kind: small_code(fields.kind, 5),
            start_time,
            duration_ns: duration(start_time, fields.end, self.context)?,
            status_code: small_code(fields.status_code, 2),
            status_message: short_text(fields.status_message, limits, "status.message")?,
            attributes: &self.scratch.attributes,
            events: &self.scratch.events,
            links: &self.scratch.links,
            adjusted_count: threshold::adjusted_count(trace_state, trace_id),
            dropped,
        };
        self.builder.push(&row);
        Ok(())
    }

    fn fields<'m>(&mut self, message: &'m [u8]) -> Result<Fields<'m>, Fault> {
        let limits = &self.context.limits;
        let Scratch { attributes, events, links, .. } = &mut *self.scratch;
        attributes.clear();
        events.clear();
        links.clear();
        let mut fields = Fields::default();
        let (mut reader, mut count) = (Reader::new(message), 0);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (9, Field::Bytes(key_value)) => {
                    count_attribute(&mut count, limits, "attributes")?;
                    copy_attribute(attributes, key_value, limits, "attributes")?;
                }
                (1, Field::Bytes(bytes)) => fields.trace_id = bytes,
                (2, Field::Bytes(bytes)) => fields.span_id = bytes,
                (3, Field::Bytes(bytes)) => fields.trace_state = bytes,
                (4, Field::Bytes(bytes)) => fields.parent_span_id = bytes,
                (5, Field::Bytes(bytes)) => fields.name = bytes,
                (6, Field::Varint(kind)) => fields.kind = kind,
                (7, Field::Fixed64(time)) => fields.start = time,
                (8, Field::Fixed64(time)) => fields.end = time,
                (10, Field::Varint(n)) => fields.dropped_attributes = n,
                (11, Field::Bytes(event)) => {
                    check_part(event, 2, 3, limits, ["events.name", "events.attributes"])?;
                    put_delimited(events, event);
                }
                (12, Field::Varint(n)) => fields.dropped_events = n,
                (13, Field::Bytes(link)) => {
                    check_part(link, 3, 4, limits, ["links.trace_state", "links.attributes"])?;
                    put_delimited(links, link);
                }
                (14, Field::Varint(n)) => fields.dropped_links = n,
                (15, Field::Bytes(status)) => status_fields(status, &mut fields)?,
                (16, Field::Fixed32(flags)) => fields.flags = flags,
                _ => {}
            }
        }
        Ok(fields)
    }
}

fn status_fields<'m>(status: &'m [u8], fields: &mut Fields<'m>) -> Result<(), Malformed> {
    let mut reader = Reader::new(status);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (2, Field::Bytes(bytes)) => fields.status_message = bytes,
            (3, Field::Varint(code)) => fields.status_code = code,
            _ => {}
        }
    }
    Ok(())
}

/// Checks an event or a link: the text in one field, the attributes in another.
fn check_part(
    message: &[u8],
    text_number: u32,
    attributes_number: u32,
    limits: &DecodeLimits,
    names: [&'static str; 2],
) -> Result<(), Fault> {
    let [text_name, attributes_name] = names;
    let (mut reader, mut count) = (Reader::new(message), 0);
    while let Some((number, field)) = reader.next_field()? {
        let Field::Bytes(bytes) = field else { continue };
        if number == text_number {
            text(bytes, text_name)?;
        } else if number == attributes_number {
            count_attribute(&mut count, limits, attributes_name)?;
            super::attributes::check_attribute(bytes, limits, attributes_name)?;
        }
    }
    Ok(())
}

fn put_delimited(out: &mut Vec<u8>, message: &[u8]) {
    put_varint(out, message.len() as u64);
    out.extend_from_slice(message);
}

fn trace_id(bytes: &[u8]) -> Result<TraceId, Refusal> {
    const FIELD: &str = "trace_id";
    let id =
        bytes.try_into().map_err(|_| Refusal::IdLength { field: FIELD, bytes: bytes.len(), expected: 16 })?;
    TraceId::from_bytes(id).ok_or(Refusal::IdZero { field: FIELD })
}

fn span_id(bytes: &[u8], field: &'static str) -> Result<SpanId, Refusal> {
    if bytes.len() != 8 {
        return Err(Refusal::IdLength { field, bytes: bytes.len(), expected: 8 });
    }
    SpanId::from_slice(bytes).ok_or(Refusal::IdZero { field })
}

/// An enumeration's value; what is not in the range that is known becomes 0, "unspecified".
pub(super) fn small_code(value: u64, max: u8) -> u8 {
    u8::try_from(value).ok().filter(|code| *code <= max).unwrap_or(0)
}

/// From start to end; negative where the end is before the start, zero where the sender gave no end.
fn duration(start_time: i64, end: u64, context: &DecodeContext) -> Result<i64, Refusal> {
    const FIELD: &str = "end_time_unix_nano";
    let (received_at, limit_ns) = (context.received_at, context.limits.future_ns);
    match i64::try_from(end) {
        _ if !is_set(end) => Ok(0),
        Ok(end) if end <= received_at.saturating_add(limit_ns) => Ok(end.saturating_sub(start_time)),
        _ => Err(Refusal::TooNew { field: FIELD, time: end, received_at, limit_ns }),
    }
}

/// What the sender's limits dropped, as a JSON object; nothing where nothing was dropped.
pub(super) fn write_dropped(out: &mut String, counts: &[(&str, u64)]) {
    for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
        out.push(if out.is_empty() { '{' } else { ',' });
        _ = write!(out, "\"{name}\":{count}");
    }
    if !out.is_empty() {
        out.push('}');
    }
}
