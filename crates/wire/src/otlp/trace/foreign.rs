//! Spans of other formats, taken in as OTLP's.
//!
//! A translator writes each span as the messages that OTLP has for it, a [`Draft`], and the decoder of OTLP reads those:
//! checks, limits and columns are the same whatever a span came as. One span is held at a time, never a request.

use std::borrow::Cow;

use throughline_model::Batch;
use throughline_model::batch::ResourceIndex;
use throughline_model::protobuf::{Malformed, put_bytes, put_fixed64, put_number, put_varint};

use super::super::origin::{OriginMemory, Registered, RequestOrigins};
use super::super::refusal::{FieldNames, Tally};
use super::super::{ItemOrigin, Memory, Sink as _, refused};
use super::SpanSink;
use crate::{DecodeContext, DecodeLimits, Decoded};

pub(crate) use super::super::refusal::Refusal;

/// How a format calls what OTLP has.
pub(crate) struct Names {
    /// The list of spans.
    pub spans: &'static str,
    /// The fields.
    pub fields: FieldNames,
}

/// A value of an attribute. Text need not be UTF-8: the decoder refuses a span with other bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// Text.
    Text(&'a [u8]),
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A double.
    Double(f64),
    /// Bytes.
    Binary(&'a [u8]),
    /// A list of texts.
    Texts(&'a [&'a [u8]]),
}

/// Writes attributes, with working memory that is used again.
#[derive(Default)]
struct Pairs {
    value: Vec<u8>,
    pair: Vec<u8>,
}

impl Pairs {
    /// Appends a `KeyValue` as a field.
    fn put(&mut self, out: &mut Vec<u8>, field: u32, key: &[u8], value: Value<'_>) {
        let Pairs { value: any, pair } = self;
        any.clear();
        match value {
            Value::Text(text) => put_bytes(any, 1, text),
            Value::Bool(value) => put_number(any, 2, u64::from(value)),
            Value::Int(number) => put_number(any, 3, number as u64),
            Value::Double(number) => put_fixed64(any, 4, number.to_bits()),
            Value::Binary(bytes) => put_bytes(any, 7, bytes),
            Value::Texts(texts) => {
                let (mut array, mut element) = (Vec::new(), Vec::new());
                for text in texts {
                    element.clear();
                    put_bytes(&mut element, 1, text);
                    put_bytes(&mut array, 1, &element);
                }
                put_bytes(any, 5, &array);
            }
        }
        pair.clear();
        put_bytes(pair, 1, key);
        put_bytes(pair, 2, any);
        put_bytes(out, field, pair);
    }
}

/// One span as it is written: the messages of its resource, its scope and itself.
#[derive(Default)]
pub(crate) struct Draft {
    resource: Vec<u8>,
    scope: Vec<u8>,
    span: Vec<u8>,
    part: Vec<u8>,
    pairs: Pairs,
}

impl Draft {
    /// Forgets the last span. The resource stays, for the next one is likely to have it too.
    pub fn start(&mut self) {
        self.scope.clear();
        self.span.clear();
    }

    /// Forgets the resource.
    pub fn start_resource(&mut self) {
        self.resource.clear();
    }

    /// Adds an attribute of the resource.
    pub fn resource_attribute(&mut self, key: &[u8], value: Value<'_>) {
        self.pairs.put(&mut self.resource, 1, key, value);
    }

    /// Sets the scope; an empty name or version is none.
    pub fn scope(&mut self, name: &[u8], version: &[u8]) {
        for (field, text) in [(1, name), (2, version)] {
            if !text.is_empty() {
                put_bytes(&mut self.scope, field, text);
            }
        }
    }

    /// The ids of the span; an empty parent is none.
    pub fn ids(&mut self, trace_id: &[u8], span_id: &[u8], parent: &[u8]) {
        put_bytes(&mut self.span, 1, trace_id);
        put_bytes(&mut self.span, 2, span_id);
        if !parent.is_empty() {
            put_bytes(&mut self.span, 4, parent);
        }
    }

    /// W3C `tracestate`.
    pub fn trace_state(&mut self, text: &[u8]) {
        put_bytes(&mut self.span, 3, text);
    }

    /// The name and OTLP's number of the kind.
    pub fn name_and_kind(&mut self, name: &[u8], kind: u64) {
        put_bytes(&mut self.span, 5, name);
        put_number(&mut self.span, 6, kind);
    }

    /// Start and end, nanoseconds since the epoch; zero is none.
    pub fn times(&mut self, start: u64, end: u64) {
        put_fixed64(&mut self.span, 7, start);
        put_fixed64(&mut self.span, 8, end);
    }

    /// W3C trace flags.
    pub fn flags(&mut self, flags: u32) {
        put_varint(&mut self.span, 16 << 3 | 5);
        self.span.extend_from_slice(&flags.to_le_bytes());
    }

    /// The status: OTLP's code and a message.
    pub fn status(&mut self, code: u64, message: &[u8]) {
        self.part.clear();
        if !message.is_empty() {
            put_bytes(&mut self.part, 2, message);
        }
        put_number(&mut self.part, 3, code);
        put_bytes(&mut self.span, 15, &self.part);
    }

    /// Adds an attribute of the span.
    pub fn attribute(&mut self, key: &[u8], value: Value<'_>) {
        self.pairs.put(&mut self.span, 9, key, value);
    }

    /// Adds an event: its time in nanoseconds since the epoch, its name, its attributes.
    pub fn event<'a>(
        &mut self,
        time: u64,
        name: &[u8],
        attributes: impl Iterator<Item = (&'a [u8], Value<'a>)>,
    ) {
        self.part.clear();
        put_fixed64(&mut self.part, 1, time);
        put_bytes(&mut self.part, 2, name);
        for (key, value) in attributes {
            self.pairs.put(&mut self.part, 3, key, value);
        }
        put_bytes(&mut self.span, 11, &self.part);
    }

    /// Adds a link to another span, with one attribute that says of which kind it is.
    pub fn link(&mut self, trace_id: &[u8], span_id: &[u8], kind: (&[u8], &[u8])) {
        self.part.clear();
        put_bytes(&mut self.part, 1, trace_id);
        put_bytes(&mut self.part, 2, span_id);
        self.pairs.put(&mut self.part, 4, kind.0, Value::Text(kind.1));
        put_bytes(&mut self.span, 13, &self.part);
    }
}

/// A resource in the batch, or why its spans are refused.
type Known = Result<Registered<ResourceIndex>, Refusal>;

/// Takes the spans of one request.
pub(crate) struct Spans<'m> {
    sink: SpanSink<'m>,
    origins: &'m mut OriginMemory,
    known: RequestOrigins<'static>,
    /// The resource of the span before: most requests have one.
    last: Option<(Vec<u8>, Known)>,
    tally: Tally,
    limits: DecodeLimits,
    /// The span that is being written.
    pub draft: Draft,
}

impl Spans<'_> {
    /// What single items may be.
    pub fn limits(&self) -> &DecodeLimits {
        &self.limits
    }

    /// Where in the request the walk is, for an error.
    pub fn place(&self) -> String {
        self.tally.place.to_string()
    }

    /// Takes the drafted span, or refuses it.
    pub fn take(&mut self) -> Result<(), Malformed> {
        let resource = match &self.last {
            Some((raw, known)) if *raw == self.draft.resource => *known,
            _ => {
                let raw = Cow::Owned(self.draft.resource.clone());
                let known = self.known.resource(raw, self.origins, &self.limits, self.sink.builder);
                let known = refused(known)?;
                self.last = Some((self.draft.resource.clone(), known));
                known
            }
        };
        let scope = Cow::Owned(self.draft.scope.clone());
        let scope = refused(self.known.scope(scope, self.origins, &self.limits, self.sink.builder))?;
        match resource.and_then(|resource| Ok(ItemOrigin { resource, scope: scope? })) {
            Ok(origin) => self.sink.take(&self.draft.span, origin, &mut self.tally)?,
            Err(refusal) => self.tally.refuse(refusal, 1),
        }
        self.next();
        Ok(())
    }

    /// Refuses a span that cannot be written as a draft.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.tally.refuse(refusal, 1);
        self.next();
    }

    fn next(&mut self) {
        let [index, ..] = self.tally.place.at;
        self.tally.place.at = [index + 1, 0, 0];
    }
}

/// Decodes one request of another format, of which `walk` takes the spans one after another.
pub(crate) fn decode<E>(
    names: &Names,
    context: &DecodeContext,
    memory: &mut Memory,
    walk: impl FnOnce(&mut Spans<'_>) -> Result<(), E>,
) -> Result<Decoded, E> {
    memory.under(context.limits);
    let mut tally = Tally::new([names.spans, "", ""], &context.limits);
    tally.fields = names.fields;
    let Memory { origins, scratch, spans: builder, .. } = &mut *memory;
    // What a request that broke off left behind.
    builder.clear();
    let sink = SpanSink { builder, context, scratch };
    let (known, last, draft) = (RequestOrigins::default(), None, Draft::default());
    let mut spans = Spans { sink, origins, known, last, tally, limits: context.limits, draft };
    let walked = walk(&mut spans);
    let Spans { sink, tally, .. } = spans;
    let decoded =
        walked.map(|()| Decoded { batch: Batch::Spans(sink.builder.finish()), rejected: tally.finish() });
    memory.scratch.give_back();
    decoded
}
