//! Jaeger's `Batch` in Thrift's binary protocol, as clients post it over HTTP.
//!
//! A struct is a list of fields, each a type, a number and a value, up to a field of type 0. Lengths are never trusted beyond
//! the bytes that are there; nothing nests deeper than [`DEPTH_MAX`]. A field of another type than it should have is passed
//! over, as Thrift's own readers do.

use std::borrow::Cow;

use super::{NAMES, Process, Reference, Span, Tag, Tags, translate, write_log, write_process};
use crate::otlp::Memory;
use crate::otlp::trace::foreign::{self, Spans, Value};
use crate::{DecodeContext, DecodeError, Decoded};

/// How deep values that are passed over may nest. What is read nests five deep.
const DEPTH_MAX: usize = 16;

const TRUNCATED: &str = "the message ends inside a value";
const TOO_DEEP: &str = "values nest deeper than 16 levels";
const NEGATIVE: &str = "a length is negative";
const UNKNOWN_TYPE: &str = "a value has a type that is not known";

/// Types of values.
mod kind {
    pub(super) const STOP: u8 = 0;
    pub(super) const BOOL: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const DOUBLE: u8 = 4;
    pub(super) const I16: u8 = 6;
    pub(super) const I32: u8 = 8;
    pub(super) const I64: u8 = 10;
    pub(super) const STRING: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const MAP: u8 = 13;
    pub(super) const SET: u8 = 14;
    pub(super) const LIST: u8 = 15;
}

type Read<T> = Result<T, &'static str>;

/// Decodes one request.
pub(crate) fn decode(
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    foreign::decode(&NAMES, context, memory, |spans| {
        batch(body, spans).map_err(|cause| DecodeError::Thrift { path: spans.place(), cause })
    })
}

/// Reads values one after another.
#[derive(Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Read<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(bytes).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Read<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn i32(&mut self) -> Read<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Read<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn length(&mut self) -> Read<usize> {
        usize::try_from(self.i32()?).map_err(|_| NEGATIVE)
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    /// The next field's type and number; none at the end of the struct.
    fn field(&mut self) -> Read<Option<(u8, i16)>> {
        match self.byte()? {
            kind::STOP => Ok(None),
            of => Ok(Some((of, i16::from_be_bytes(self.array()?)))),
        }
    }

    /// The elements of a list of structs: none where it is a list of something else, which is passed over.
    fn structs(&mut self) -> Read<usize> {
        let (of, count) = (self.byte()?, self.length()?);
        if of == kind::STRUCT {
            return Ok(count);
        }
        self.skip_many(&[of], count, DEPTH_MAX)?;
        Ok(0)
    }

    fn skip(&mut self, of: u8, depth: usize) -> Read<()> {
        let depth = depth.checked_sub(1).ok_or(TOO_DEEP)?;
        match of {
            kind::BOOL | kind::BYTE => self.take(1).map(drop),
            kind::I16 => self.take(2).map(drop),
            kind::I32 => self.take(4).map(drop),
            kind::I64 | kind::DOUBLE => self.take(8).map(drop),
            kind::STRING => self.bytes().map(drop),
            kind::STRUCT => {
                while let Some((of, _)) = self.field()? {
                    self.skip(of, depth)?;
                }
                Ok(())
            }
            kind::MAP => {
                let (key, value, count) = (self.byte()?, self.byte()?, self.length()?);
                self.skip_many(&[key, value], count, depth)
            }
            kind::SET | kind::LIST => {
                let (of, count) = (self.byte()?, self.length()?);
                self.skip_many(&[of], count, depth)
            }
            _ => Err(UNKNOWN_TYPE),
        }
    }

    /// Passes over elements, each of which is at least a byte: a count of more than there is ends with the bytes.
    fn skip_many(&mut self, each: &[u8], count: usize, depth: usize) -> Read<()> {
        for _ in 0..count {
            for of in each {
                self.skip(*of, depth)?;
            }
        }
        Ok(())
    }
}

fn batch(body: &[u8], spans: &mut Spans<'_>) -> Read<()> {
    let limit = spans.limits().attributes_per_item;
    let (mut process, mut lists) = (Process::default(), Vec::new());
    let mut reader = Reader { rest: body };
    while let Some((of, number)) = reader.field()? {
        match (number, of) {
            (1, kind::STRUCT) => process = read_process(&mut reader, limit)?,
            (2, kind::LIST) if lists.is_empty() => {
                lists.push(reader);
                // Without its errors: the spans are read below, which says where they are bad.
                if reader.skip(of, DEPTH_MAX).is_err() {
                    break;
                }
            }
            _ => reader.skip(of, DEPTH_MAX)?,
        }
    }
    write_process(&mut spans.draft, &process);
    for mut list in lists {
        for _ in 0..list.structs()? {
            spans.draft.start();
            let span = read_span(&mut list, spans, limit)?;
            translate(spans, &span, &process).map_err(|_| "a span could not be translated")?;
        }
    }
    Ok(())
}

fn read_process<'a>(reader: &mut Reader<'a>, limit: usize) -> Read<Process<'a>> {
    let mut process = Process::default();
    while let Some((of, number)) = reader.field()? {
        match (number, of) {
            (1, kind::STRING) => process.service = reader.bytes()?,
            (2, kind::LIST) => read_tags(reader, &mut process.tags, limit)?,
            _ => reader.skip(of, DEPTH_MAX)?,
        }
    }
    Ok(process)
}

fn read_span<'a>(reader: &mut Reader<'a>, spans: &mut Spans<'_>, limit: usize) -> Read<Span<'a>> {
    let mut span = Span::default();
    let (mut low, mut high) = (0, 0);
    while let Some((of, number)) = reader.field()? {
        match (number, of) {
            (1, kind::I64) => low = reader.i64()?,
            (2, kind::I64) => high = reader.i64()?,
            (3, kind::I64) => span.span_id = id(reader.i64()?),
            (4, kind::I64) => {
                span.parent = Some(reader.i64()?).filter(|id| *id != 0).map(id).unwrap_or_default()
            }
            (5, kind::STRING) => span.name = reader.bytes()?,
            (6, kind::LIST) => {
                for _ in 0..reader.structs()? {
                    let reference = read_reference(reader)?;
                    match span.references.len() < limit {
                        true => span.references.push(reference),
                        false => span.over = Some("references"),
                    }
                }
            }
            (7, kind::I32) => span.flags = reader.i32()? as u32,
            (8, kind::I64) => span.start = u64::try_from(nanoseconds(reader.i64()?)).unwrap_or(0),
            (9, kind::I64) => span.duration = nanoseconds(reader.i64()?),
            (10, kind::LIST) => read_tags(reader, &mut span.tags, limit)?,
            (11, kind::LIST) => {
                for _ in 0..reader.structs()? {
                    if read_log(reader, spans, limit)? {
                        span.over = Some("events.attributes");
                    }
                }
            }
            _ => reader.skip(of, DEPTH_MAX)?,
        }
    }
    span.trace_id = trace_id(high, low);
    Ok(span)
}

fn id(number: i64) -> Cow<'static, [u8]> {
    Cow::Owned(number.to_be_bytes().to_vec())
}

fn trace_id(high: i64, low: i64) -> Cow<'static, [u8]> {
    Cow::Owned([high.to_be_bytes(), low.to_be_bytes()].concat())
}

/// Microseconds as nanoseconds.
fn nanoseconds(microseconds: i64) -> i64 {
    microseconds.saturating_mul(1_000)
}

fn read_reference(reader: &mut Reader<'_>) -> Read<Reference<'static>> {
    let (mut low, mut high, mut span, mut follows_from) = (0, 0, 0, false);
    while let Some((of, number)) = reader.field()? {
        match (number, of) {
            (1, kind::I32) => follows_from = reader.i32()? == 1,
            (2, kind::I64) => low = reader.i64()?,
            (3, kind::I64) => high = reader.i64()?,
            (4, kind::I64) => span = reader.i64()?,
            _ => reader.skip(of, DEPTH_MAX)?,
        }
    }
    Ok(Reference { trace_id: trace_id(high, low), span_id: id(span), follows_from })
}

/// Reads a log into the draft; true where it has more fields than may be.
fn read_log(reader: &mut Reader<'_>, spans: &mut Spans<'_>, limit: usize) -> Read<bool> {
    let (mut time, mut fields) = (0, Tags::default());
    while let Some((of, number)) = reader.field()? {
        match (number, of) {
            (1, kind::I64) => time = nanoseconds(reader.i64()?),
            (2, kind::LIST) => read_tags(reader, &mut fields, limit)?,
            _ => reader.skip(of, DEPTH_MAX)?,
        }
    }
    write_log(&mut spans.draft, u64::try_from(time).unwrap_or(0), &fields);
    Ok(fields.is_cut())
}

fn read_tags<'a>(reader: &mut Reader<'a>, tags: &mut Tags<'a>, limit: usize) -> Read<()> {
    for _ in 0..reader.structs()? {
        tags.push(read_tag(reader)?, limit);
    }
    Ok(())
}

fn read_tag<'a>(reader: &mut Reader<'a>) -> Read<Tag<'a>> {
    let (mut key, mut of_value): (&[u8], i32) = (&[], 0);
    let (mut text, mut double, mut flag, mut int, mut binary): (&[u8], f64, bool, i64, &[u8]) =
        (&[], 0.0, false, 0, &[]);
    while let Some((of, number)) = reader.field()? {
        match (number, of) {
            (1, kind::STRING) => key = reader.bytes()?,
            (2, kind::I32) => of_value = reader.i32()?,
            (3, kind::STRING) => text = reader.bytes()?,
            (4, kind::DOUBLE) => double = f64::from_be_bytes(reader.array()?),
            (5, kind::BOOL) => flag = reader.byte()? != 0,
            (6, kind::I64) => int = reader.i64()?,
            (7, kind::STRING) => binary = reader.bytes()?,
            _ => reader.skip(of, DEPTH_MAX)?,
        }
    }
    let value = match of_value {
        1 => Value::Double(double),
        2 => Value::Bool(flag),
        3 => Value::Int(int),
        4 => Value::Binary(binary),
        _ => Value::Text(text),
    };
    Ok(Tag { key, value })
}
