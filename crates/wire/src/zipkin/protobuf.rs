//! `zipkin.proto3.ListOfSpans`.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use throughline_model::protobuf::{Field, Malformed, Reader};

use super::{Endpoint, Id, NAMES, Span, translate};
use crate::otlp::Memory;
use crate::otlp::trace::foreign::{self, Refusal, Spans};
use crate::{DecodeContext, DecodeError, Decoded};

/// Decodes one request.
pub(crate) fn decode(
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    foreign::decode(&NAMES, context, memory, |spans| {
        request(body, spans).map_err(|cause| DecodeError::Protobuf { path: spans.place(), cause })
    })
}

fn request(body: &[u8], spans: &mut Spans<'_>) -> Result<(), Malformed> {
    let limit = spans.limits().attributes_per_item;
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next_field()? {
        if let (1, Field::Bytes(message)) = (number, field) {
            let span = read_span(message, limit)?;
            translate(spans, &span)?;
        }
    }
    Ok(())
}

fn read_span(message: &[u8], limit: usize) -> Result<Span<'_>, Malformed> {
    let mut span = Span::default();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(id)) => span.trace_id = Id::of(id),
            (2, Field::Bytes(id)) => span.parent = Id::of(id),
            (3, Field::Bytes(id)) => span.span_id = Id::of(id),
            (4, Field::Varint(kind)) => span.kind = kind_of(kind),
            (5, Field::Bytes(name)) => span.name = text(name, "name", &mut span.refusal),
            (6, Field::Fixed64(time)) => span.timestamp = time,
            (7, Field::Varint(duration)) => span.duration = duration,
            (8, Field::Bytes(end)) => span.local = endpoint(end, &mut span.refusal)?,
            (9, Field::Bytes(end)) => span.remote = endpoint(end, &mut span.refusal)?,
            (10, Field::Bytes(_)) if span.annotations.len() >= limit => {
                span.refusal = Some(Refusal::AttributeCount { field: "events.attributes", limit });
            }
            (10, Field::Bytes(message)) => {
                let annotation = annotation(message, &mut span.refusal)?;
                span.annotations.push(annotation);
            }
            (11, Field::Bytes(_)) if span.tags.len() >= limit => {
                span.refusal = Some(Refusal::AttributeCount { field: "attributes", limit });
            }
            (11, Field::Bytes(message)) => {
                let tag = tag(message, &mut span.refusal)?;
                span.tags.push(tag);
            }
            (12, Field::Varint(debug)) => span.debug = debug != 0,
            _ => {}
        }
    }
    Ok(span)
}

/// OTLP's number of Zipkin's: both count from 1, the client first here and the server there.
fn kind_of(kind: u64) -> u64 {
    match kind {
        1 => 3,
        2 => 2,
        3 => 4,
        4 => 5,
        _ => 0,
    }
}

/// Text, or a reason to refuse the span.
fn text<'a>(bytes: &'a [u8], field: &'static str, refusal: &mut Option<Refusal>) -> Cow<'a, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            *refusal = Some(Refusal::NotUtf8 { field });
            Cow::Borrowed("")
        }
    }
}

fn endpoint<'a>(message: &'a [u8], refusal: &mut Option<Refusal>) -> Result<Endpoint<'a>, Malformed> {
    let mut end = Endpoint::default();
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(name)) => end.service = text(name, "resource.attributes", refusal),
            (2, Field::Bytes(bytes)) => {
                if let Ok(ip) = <[u8; 4]>::try_from(bytes) {
                    end.ip = Cow::Owned(Ipv4Addr::from(ip).to_string());
                }
            }
            (3, Field::Bytes(bytes)) if end.ip.is_empty() => {
                if let Ok(ip) = <[u8; 16]>::try_from(bytes) {
                    end.ip = Cow::Owned(Ipv6Addr::from(ip).to_string());
                }
            }
            (4, Field::Varint(port)) => end.port = i64::from(port as u16),
            _ => {}
        }
    }
    Ok(end)
}

fn annotation<'a>(
    message: &'a [u8],
    refusal: &mut Option<Refusal>,
) -> Result<(u64, Cow<'a, str>), Malformed> {
    let (mut time, mut value) = (0, Cow::Borrowed(""));
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Fixed64(at)) => time = at,
            (2, Field::Bytes(bytes)) => value = text(bytes, "events.name", refusal),
            _ => {}
        }
    }
    Ok((time, value))
}

/// An entry of the map of tags.
fn tag<'a>(
    message: &'a [u8],
    refusal: &mut Option<Refusal>,
) -> Result<(Cow<'a, str>, Cow<'a, str>), Malformed> {
    let (mut key, mut value) = (Cow::Borrowed(""), Cow::Borrowed(""));
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => key = text(bytes, "attributes", refusal),
            (2, Field::Bytes(bytes)) => value = text(bytes, "attributes", refusal),
            _ => {}
        }
    }
    Ok((key, value))
}
