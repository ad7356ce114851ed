//! Loki's push: streams of log lines into a [`LogBatch`](throughline_model::LogBatch).
//!
//! A stream's labels are the attributes of a resource, and its scope is [`STREAM_SCOPE`], which says that they are all of its
//! labels: no resource of OTLP has such a scope. Structured metadata are the record's attributes. Where a stream has no
//! label `service_name`, one is added from the label that names the service, as Loki does.
//!
//! JSON is transcoded to protobuf ([`json`]) and read by the same decoder. What is wrong with one entry refuses that entry,
//! what is wrong with a stream's labels refuses its entries; everything else is kept. Limits and their wording are Loki's.

pub(crate) mod json;
mod labels;
mod refusal;

use throughline_model::attribute;
use throughline_model::batch::{LogBatchBuilder, LogRow, ResourceIndex, ScopeIndex};
use throughline_model::protobuf::{Field, Malformed, Reader};
use throughline_model::{Batch, Level};

use self::labels::StreamLabels;
use self::refusal::Refusal;
use crate::level;
use crate::rejection::Tally;
use crate::trace_context::{self, Finder};
use crate::{DecodeContext, DecodeError, Decoded};

pub use labels::SERVICE_LABELS;
pub use refusal::summary;

/// The scope of records that came as a stream: a member that no scope of OTLP has.
pub const STREAM_SCOPE: &str = r#"{"loki":"stream"}"#;

/// The label that names the service.
pub const SERVICE_NAME: &str = "service_name";

/// Bytes of one line: Loki's `max_line_size`.
const LINE_BYTES_MAX: usize = 256 << 10;

/// Bytes of an entry's structured metadata, names and values: Loki's `max_structured_metadata_size`.
const METADATA_BYTES_MAX: usize = 64 << 10;

/// Pairs of an entry's structured metadata: Loki's `max_structured_metadata_entries_count`.
const METADATA_COUNT_MAX: usize = 128;

/// What a decoder keeps from one request to the next.
#[derive(Default)]
pub(crate) struct Memory {
    finder: Finder,
    attributes: Vec<u8>,
}

/// Decodes one request in protobuf: `logproto.PushRequest`.
pub(crate) fn decode(
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    let mut builder = LogBatchBuilder::new();
    let scope = builder.add_scope(STREAM_SCOPE);
    let mut walk = Walk { builder, scope, context, memory, tally: Tally::new(&context.limits), index: 0 };
    let walked = walk.request(body);
    let (mut builder, tally, index) = (walk.builder, walk.tally, walk.index);
    walked.map_err(|cause| DecodeError::Protobuf { path: format!("streams[{index}]"), cause })?;
    memory.attributes.clear();
    memory.attributes.shrink_to(METADATA_BYTES_MAX);
    Ok(Decoded { batch: Batch::Logs(builder.finish()), rejected: tally.finish() })
}

struct Walk<'a> {
    builder: LogBatchBuilder,
    scope: ScopeIndex,
    context: &'a DecodeContext,
    memory: &'a mut Memory,
    tally: Tally,
    /// The stream within the request.
    index: usize,
}

/// A stream whose labels are good.
struct Stream<'a> {
    resource: ResourceIndex,
    labels: &'a StreamLabels,
    /// The labels as an attribute list, where one of them may refer to a trace.
    references: Vec<u8>,
    /// The level of all its lines, where a label names one.
    level: Option<Level>,
}

/// An entry's fields as they are on the wire.
#[derive(Default)]
struct Entry<'a> {
    seconds: i64,
    nanos: i64,
    line: &'a [u8],
    metadata_bytes: usize,
    metadata_count: usize,
}

impl Walk<'_> {
    fn request(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(body);
        while let Some((number, field)) = reader.next_field()? {
            if let (1, Field::Bytes(stream)) = (number, field) {
                self.stream(stream)?;
                self.index += 1;
            }
        }
        Ok(())
    }

    fn stream(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let (mut text, mut entries): (&[u8], u64) = (&[], 0);
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(bytes)) => text = bytes,
                (2, Field::Bytes(_)) => entries += 1,
                _ => {}
            }
        }
        let labels = match StreamLabels::parse(text, &self.context.limits) {
            Ok(labels) => labels,
            Err(refusal) => {
                // A stream without entries is counted as one item, so that it shows.
                self.tally.refuse(refusal.reason(), entries.max(1), || refusal.says());
                return Ok(());
            }
        };
        if entries == 0 {
            return Ok(());
        }
        let resource = self.builder.add_resource(labels.service(), labels.json());
        let (references, level) = (labels.references(), labels.level());
        let stream = Stream { resource, labels: &labels, references, level };
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            if let (2, Field::Bytes(entry)) = (number, field) {
                let taken = match self.tally.admit(|limit| Refusal::EntryCount { limit }) {
                    Ok(()) => self.entry(entry, &stream)?,
                    Err(refusal) => Err(refusal),
                };
                if let Err(refusal) = taken {
                    let (text, context) = (stream.labels.text(), self.context);
                    self.tally.refuse(refusal.reason(), 1, || refusal.says(text, context));
                }
            }
        }
        Ok(())
    }

    /// Takes an entry, or says why not.
    fn entry(&mut self, message: &[u8], stream: &Stream<'_>) -> Result<Result<(), Refusal>, Malformed> {
        let attributes = &mut self.memory.attributes;
        attributes.clear();
        let mut entry = Entry::default();
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            match (number, field) {
                (1, Field::Bytes(time)) => (entry.seconds, entry.nanos) = timestamp(time)?,
                (2, Field::Bytes(line)) => entry.line = line,
                (3, Field::Bytes(pair)) => {
                    let (name, value) = pair_of(pair)?;
                    entry.metadata_bytes += name.len() + value.len();
                    entry.metadata_count += 1;
                    if entry.metadata_count <= METADATA_COUNT_MAX
                        && entry.metadata_bytes <= METADATA_BYTES_MAX
                    {
                        let texts = (simdutf8::basic::from_utf8(name), simdutf8::basic::from_utf8(value));
                        let (Ok(name), Ok(value)) = texts else { return Ok(Err(Refusal::NotUtf8)) };
                        attribute::push_text(attributes, name, value);
                    }
                }
                _ => {}
            }
        }
        Ok(self.record(&entry, stream))
    }

    fn record(&mut self, entry: &Entry<'_>, stream: &Stream<'_>) -> Result<(), Refusal> {
        let time = entry.time(self.context)?;
        if entry.line.len() > LINE_BYTES_MAX {
            return Err(Refusal::LineBytes { bytes: entry.line.len() });
        }
        if entry.metadata_bytes > METADATA_BYTES_MAX {
            return Err(Refusal::MetadataBytes { bytes: entry.metadata_bytes });
        }
        if entry.metadata_count > METADATA_COUNT_MAX {
            return Err(Refusal::MetadataCount { count: entry.metadata_count });
        }
        let line = simdutf8::basic::from_utf8(entry.line).map_err(|_| Refusal::NotUtf8)?;
        let Memory { finder, attributes } = &*self.memory;
        let found = trace_context::from_attributes(attributes)
            .or_else(|| trace_context::from_attributes(&stream.references))
            .or_else(|| finder.in_body(line))
            .unwrap_or_default();
        let said = level::Said { severity_number: 0, severity_text: "", attributes, body: line };
        let level = stream.level.unwrap_or_else(|| level::detect(&said));
        self.builder.push(&LogRow {
            resource: stream.resource,
            scope: self.scope,
            time,
            observed_time: time,
            severity_number: 0,
            severity_text: "",
            body: line,
            body_kind: 0,
            trace_id: found.trace_id,
            span_id: found.span_id,
            flags: found.flags.map_or(0, u32::from),
            trace_source: found.source,
            is_unsampled: found.is_unsampled(0, false),
            trace_id_original: &found.original,
            event_name: "",
            attributes,
            dropped: "",
            level,
        });
        Ok(())
    }
}

impl Entry<'_> {
    fn time(&self, context: &DecodeContext) -> Result<i64, Refusal> {
        let time = self.seconds.saturating_mul(1_000_000_000).saturating_add(self.nanos);
        if time < context.received_at.saturating_sub(context.limits.past_ns) {
            return Err(Refusal::TooOld { time });
        }
        if time > context.received_at.saturating_add(context.limits.future_ns) {
            return Err(Refusal::TooNew { time });
        }
        Ok(time)
    }
}

/// A `google.protobuf.Timestamp`: seconds and nanoseconds.
fn timestamp(message: &[u8]) -> Result<(i64, i64), Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Varint(n)) => seconds = n as i64,
            (2, Field::Varint(n)) => nanos = n as i64,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// A `LabelPairAdapter`: name and value.
fn pair_of(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader::new(message);
    while let Some((number, field)) = reader.next_field()? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => name = bytes,
            (2, Field::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((name, value))
}
