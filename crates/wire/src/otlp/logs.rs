//! Log records: `ExportLogsServiceRequest` into a [`LogBatch`](throughline_model::LogBatch).

use throughline_model::Batch;
use throughline_model::attribute::Value;
use throughline_model::batch::{LogBatchBuilder, LogRow};
use throughline_model::protobuf::{Field, Malformed, Reader};

use super::attributes::{check_value, copy_attribute, count_attribute, plain_key, text};
use super::origin::{OriginColumns, short_text};
use super::refusal::{Fault, Tally};
use super::trace::{small_code, write_dropped};
use super::{ItemOrigin, Memory, Scratch, Sink, check_time, is_set, refused, walk};
use crate::level;
use crate::trace_context::{self, Finder};
use crate::{DecodeContext, DecodeError, Decoded};

pub(super) fn decode(
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    let mut tally = Tally::new(["resource_logs", "scope_logs", "log_records"], &context.limits);
    let Memory { origins, scratch, finder, logs, .. } = memory;
    // What a request that broke off left behind.
    logs.clear();
    let mut sink = LogSink { builder: logs, context, scratch, finder };
    walk(body, &mut sink, origins, &context.limits, &mut tally)?;
    Ok(Decoded { batch: Batch::Logs(sink.builder.finish()), rejected: tally.finish() })
}

struct LogSink<'a> {
    builder: &'a mut LogBatchBuilder,
    context: &'a DecodeContext,
    scratch: &'a mut Scratch,
    finder: &'a Finder,
}

impl Sink for LogSink<'_> {
    fn columns(&mut self) -> &mut impl OriginColumns {
        &mut *self.builder
    }

    fn take(&mut self, message: &[u8], origin: ItemOrigin, tally: &mut Tally) -> Result<(), Malformed> {
        let taken = match tally.admit() {
            Ok(()) => refused(self.record(message, origin))?,
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

/// A log record's fields as they are on the wire.
#[derive(Default)]
struct Fields<'a> {
    time: u64,
    observed_time: u64,
    severity_number: u64,
    severity_text: &'a [u8],
    body: Option<&'a [u8]>,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a [u8],
    flags: u32,
    dropped_attributes: u64,
    /// Whether an attribute may carry trace context.
    may_have_context: bool,
}

impl LogSink<'_> {
    fn record(&mut self, message: &[u8], origin: ItemOrigin) -> Result<(), Fault> {
        let fields = self.fields(message)?;
        let Scratch { attributes, text, dropped, .. } = &mut *self.scratch;
        let limits = &self.context.limits;
        let (time, observed_time) = times(&fields, self.context)?;
        let (body, body_kind) = body(fields.body, text)?;
        let found = trace_context::from_fields(fields.trace_id, fields.span_id)
            .or_else(
                || if fields.may_have_context { trace_context::from_attributes(attributes) } else { None },
            )
            .or_else(|| self.finder.in_body(body))
            .unwrap_or_default();
        dropped.clear();
        write_dropped(dropped, &[("attributes", fields.dropped_attributes)]);
        let severity_number = small_code(fields.severity_number, 24);
        let severity_text = short_text(fields.severity_text, limits, "severity_text")?;
        let level = level::detect(&level::Said { severity_number, severity_text, attributes, body });
        self.builder.push(&LogRow {
            resource: origin.resource.index,
            scope: origin.scope.index,
            time,
            observed_time,
            severity_number,
            severity_text,
            body,
            body_kind,
            trace_id: found.trace_id,
            span_id: found.span_id,
            flags: if fields.flags == 0 { found.flags.map_or(0, u32::from) } else { fields.flags },
            trace_source: found.source,
            is_unsampled: found.is_unsampled(fields.flags, origin.resource.is_of_sdk),
            trace_id_original: &found.original,
            event_name: short_text(fields.event_name, limits, "event_name")?,
            attributes,
            dropped,
            level,
        });
        Ok(())
    }

    fn fields<'m>(&mut self, message: &'m [u8]) -> Result<Fields<'m>, Fault> {
        let limits = &self.context.limits;
        let attributes = &mut self.scratch.attributes;
        attributes.clear();
        let mut fields = Fields::default();
        let (mut reader, mut count) = (Reader::new(message), 0);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (6, Field::Bytes(key_value)) => {
                    count_attribute(&mut count, limits, "attributes")?;
                    copy_attribute(attributes, key_value, limits, "attributes")?;
                    // A key in an unusual layout is not seen here, so it is looked at.
                    fields.may_have_context |=
                        plain_key(key_value).is_none_or(|(key, _)| trace_context::may_be_role(key));
                }
                (1, Field::Fixed64(time)) => fields.time = time,
                (2, Field::Varint(number)) => fields.severity_number = number,
                (3, Field::Bytes(bytes)) => fields.severity_text = bytes,
                (5, Field::Bytes(any)) => fields.body = Some(any),
                (7, Field::Varint(n)) => fields.dropped_attributes = n,
                (8, Field::Fixed32(flags)) => fields.flags = flags,
                (9, Field::Bytes(bytes)) => fields.trace_id = bytes,
                (10, Field::Bytes(bytes)) => fields.span_id = bytes,
                (11, Field::Fixed64(time)) => fields.observed_time = time,
                (12, Field::Bytes(bytes)) => fields.event_name = bytes,
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// The record's time and observed time. A record without a time has the time at which it was observed, and one
/// without either the time of receipt, as OTLP's data model recommends.
fn times(fields: &Fields<'_>, context: &DecodeContext) -> Result<(i64, i64), Fault> {
    let observed = match i64::try_from(fields.observed_time) {
        _ if !is_set(fields.observed_time) => context.received_at,
        Ok(time) => time,
        Err(_) => i64::MAX,
    };
    let time = if is_set(fields.time) {
        check_time(fields.time, context, "time_unix_nano")?
    } else if is_set(fields.observed_time) {
        check_time(fields.observed_time, context, "observed_time_unix_nano")?
    } else {
        context.received_at
    };
    Ok((time, observed))
}

/// The body's text and kind; `json` is working memory for a structured one.
fn body<'a>(any: Option<&'a [u8]>, json: &'a mut String) -> Result<(&'a str, u8), Fault> {
    const TEXT: u8 = 0;
    const JSON: u8 = 1;
    const ABSENT: u8 = 2;
    let Some(any) = any else { return Ok(("", ABSENT)) };
    let mut reader = Reader::new(any);
    if let Some((1, Field::Bytes(bytes))) = reader.next_field()?
        && reader.rest().is_empty()
    {
        return Ok((text(bytes, "body")?, TEXT));
    }
    check_value(any, "body", 1)?;
    match Value::decode(any)? {
        Value::Str(text) => Ok((text, TEXT)),
        Value::Empty => Ok(("", ABSENT)),
        value => {
            json.clear();
            value.write_json(json);
            Ok((json, JSON))
        }
    }
}
