//! `jaeger.api_v2.PostSpansRequest`: a batch of spans with the process that they come from, or one of their own.

use std::borrow::Cow;

use throughline_model::protobuf::{Field, Malformed, Reader};

use super::{NAMES, Process, Reference, Span, Tag, Tags, translate, write_log, write_process};
use crate::otlp::Memory;
use crate::otlp::trace::foreign::{self, Spans, Value};
use crate::{DecodeContext, DecodeError, Decoded};

/// Decodes one request.
pub(crate) fn decode(
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    foreign::decode(&NAMES, context, memory, |spans| {
        request(body, spans)
            .map_err(|cause| DecodeError::Protobuf { path: format!("batch.{}", spans.place()), cause })
    })
}

fn request(body: &[u8], spans: &mut Spans<'_>) -> Result<(), Malformed> {
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        if let (1, Field::Bytes(message)) = (number, field) {
            batch(message, spans)?;
        }
    }
    Ok(())
}

fn batch(message: &[u8], spans: &mut Spans<'_>) -> Result<(), Malformed> {
    let limit = spans.limits().attributes_per_item;
    // The process comes after the spans where fields are written in their order.
    let mut of_batch = Process::default();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        if let (2, Field::Bytes(process)) = (number, field) {
            read_process(process, &mut of_batch, limit)?;
        }
    }
    let mut drafted = false;
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        let (1, Field::Bytes(message)) = (number, field) else { continue };
        spans.draft.start();
        let (span, own) = read_span(message, spans)?;
        match own {
            Some(own) => {
                write_process(&mut spans.draft, &own);
                drafted = false;
                translate(spans, &span, &own)?;
            }
            None => {
                if !std::mem::replace(&mut drafted, true) {
                    write_process(&mut spans.draft, &of_batch);
                }
                translate(spans, &span, &of_batch)?;
            }
        }
    }
    Ok(())
}

fn read_process<'a>(message: &'a [u8], process: &mut Process<'a>, limit: usize) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(name)) => process.service = name,
            (2, Field::Bytes(tag)) => process.tags.push(read_tag(tag)?, limit),
            _ => {}
        }
    }
    Ok(())
}

/// Reads a span, and its own process where it has one. Logs go into the draft at once.
fn read_span<'a>(
    message: &'a [u8],
    spans: &mut Spans<'_>,
) -> Result<(Span<'a>, Option<Process<'a>>), Malformed> {
    let limit = spans.limits().attributes_per_item;
    let (mut span, mut process) = (Span::default(), None);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(id)) => span.trace_id = trace_id(id),
            (2, Field::Bytes(id)) => span.span_id = Cow::Borrowed(id),
            (3, Field::Bytes(name)) => span.name = name,
            (4, Field::Bytes(_)) if span.references.len() >= limit => span.over = Some("references"),
            (4, Field::Bytes(reference)) => span.references.push(read_reference(reference)?),
            (5, Field::Varint(flags)) => span.flags = flags as u32,
            (6, Field::Bytes(time)) => span.start = u64::try_from(nanoseconds(time)?).unwrap_or(0),
            (7, Field::Bytes(duration)) => span.duration = nanoseconds(duration)?,
            (8, Field::Bytes(tag)) => span.tags.push(read_tag(tag)?, limit),
            // Read, whatever comes of it.
            (9, Field::Bytes(log)) if read_log(log, spans, limit)? => span.over = Some("events.attributes"),
            (10, Field::Bytes(message)) => {
                read_process(message, process.get_or_insert_with(Process::default), limit)?;
            }
            (12, Field::Bytes(_)) if span.warnings.len() >= limit => span.over = Some("warnings"),
            (12, Field::Bytes(warning)) => span.warnings.push(warning),
            _ => {}
        }
    }
    Ok((span, process))
}

/// A trace id of 8 bytes is the low half of one.
fn trace_id(id: &[u8]) -> Cow<'_, [u8]> {
    match id.len() {
        8 => Cow::Owned([&[0; 8], id].concat()),
        _ => Cow::Borrowed(id),
    }
}

fn read_reference(message: &[u8]) -> Result<Reference<'_>, Malformed> {
    let mut reference =
        Reference { trace_id: Cow::Borrowed(&[]), span_id: Cow::Borrowed(&[]), follows_from: false };
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(id)) => reference.trace_id = trace_id(id),
            (2, Field::Bytes(id)) => reference.span_id = Cow::Borrowed(id),
            (3, Field::Varint(kind)) => reference.follows_from = kind == 1,
            _ => {}
        }
    }
    Ok(reference)
}

/// Reads a log into the draft; true where it has more fields than may be.
fn read_log(message: &[u8], spans: &mut Spans<'_>, limit: usize) -> Result<bool, Malformed> {
    let (mut time, mut fields) = (0, Tags::default());
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(at)) => time = nanoseconds(at)?,
            (2, Field::Bytes(tag)) => fields.push(read_tag(tag)?, limit),
            _ => {}
        }
    }
    write_log(&mut spans.draft, u64::try_from(time).unwrap_or(0), &fields);
    Ok(fields.is_cut())
}

/// A `KeyValue` of Jaeger: the value's type, and a field for each type.
fn read_tag(message: &[u8]) -> Result<Tag<'_>, Malformed> {
    let (mut key, mut kind): (&[u8], u64) = (&[], 0);
    let (mut text, mut flag, mut int, mut double, mut binary): (&[u8], bool, i64, f64, &[u8]) =
        (&[], false, 0, 0.0, &[]);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = bytes,
            (2, Field::Varint(number)) => kind = number,
            (3, Field::Bytes(bytes)) => text = bytes,
            (4, Field::Varint(number)) => flag = number != 0,
            (5, Field::Varint(number)) => int = number as i64,
            (6, Field::Fixed64(bits)) => double = f64::from_bits(bits),
            (7, Field::Bytes(bytes)) => binary = bytes,
            _ => {}
        }
    }
    let value = match kind {
        1 => Value::Bool(flag),
        2 => Value::Int(int),
        3 => Value::Double(double),
        4 => Value::Binary(binary),
        _ => Value::Text(text),
    };
    Ok(Tag { key, value })
}

/// A `Timestamp` or a `Duration`: seconds and nanoseconds, as nanoseconds.
fn nanoseconds(message: &[u8]) -> Result<i64, Malformed> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Varint(number)) => seconds = number as i64,
            (2, Field::Varint(number)) => nanos = number as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
