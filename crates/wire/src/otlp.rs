//! OTLP (opentelemetry-proto 1.x): the walk that its three signals share.
//!
//! A request of any signal is a list of resources, each with a list of scopes, each with a list of items, under the
//! same field numbers. [`walk`] goes through them once, front to back, and hands every item's bytes to the signal's
//! [`Sink`], which reads its fields into the columns of a batch builder. No tree of objects is made on the way.

mod attributes;
pub mod json;
mod logs;
mod metrics;
mod origin;
mod refusal;
pub(crate) mod trace;
pub mod traces_data;

use std::borrow::Cow;

use throughline_model::Signal;
use throughline_model::batch::{
    LogBatchBuilder, MetricBatchBuilder, ResourceIndex, ScopeIndex, SpanBatchBuilder,
};
use throughline_model::protobuf::{Field, Malformed, Reader};

use self::origin::{OriginColumns, OriginMemory, Registered, RequestOrigins};
use self::refusal::{Fault, Refusal, Tally};
use crate::trace_context::Finder;
use crate::{DecodeContext, DecodeError, DecodeLimits, Decoded};

/// What a decoder keeps from one request to the next.
#[derive(Default)]
pub(crate) struct Memory {
    origins: OriginMemory,
    /// The limits under which `origins` were read.
    limits: Option<DecodeLimits>,
    /// Working memory of the item at hand.
    scratch: Scratch,
    /// The prepared search for trace context in bodies.
    finder: Finder,
    /// The builders' room.
    spans: SpanBatchBuilder,
    logs: LogBatchBuilder,
    metrics: MetricBatchBuilder,
    series: metrics::SeriesRows,
}

impl Memory {
    /// Forgets what was read under other limits.
    fn under(&mut self, limits: DecodeLimits) {
        if self.limits != Some(limits) {
            self.origins.clear();
            self.limits = Some(limits);
        }
    }
}

/// Working memory for the variable parts of one item.
#[derive(Default)]
struct Scratch {
    attributes: Vec<u8>,
    events: Vec<u8>,
    links: Vec<u8>,
    text: String,
    dropped: String,
}

/// Working memory that a decoder keeps between requests; one huge item must not hold its size for ever.
const SCRATCH_BYTES: usize = 1 << 20;

impl Scratch {
    /// Gives back what an unusual request made of the working memory.
    fn give_back(&mut self) {
        for list in [&mut self.attributes, &mut self.events, &mut self.links] {
            list.clear();
            list.shrink_to(SCRATCH_BYTES);
        }
        for text in [&mut self.text, &mut self.dropped] {
            text.clear();
            text.shrink_to(SCRATCH_BYTES);
        }
    }
}

/// Decodes one request in protobuf.
pub(crate) fn decode(
    signal: Signal,
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    memory.under(context.limits);
    let decoded = match signal {
        Signal::Traces => trace::decode(body, context, memory),
        Signal::Logs => logs::decode(body, context, memory),
        Signal::Metrics => metrics::decode(body, context, memory),
    };
    memory.scratch.give_back();
    decoded
}

/// Where an item comes from.
#[derive(Clone, Copy)]
struct ItemOrigin {
    resource: Registered<ResourceIndex>,
    scope: Registered<ScopeIndex>,
}

/// What takes the items of one signal.
trait Sink {
    /// The builder that resources and scopes are registered with.
    fn columns(&mut self) -> &mut impl OriginColumns;

    /// Takes one message: a span, a log record or a metric. Items that are refused are counted in `tally`; an error
    /// ends the request.
    fn take(&mut self, message: &[u8], origin: ItemOrigin, tally: &mut Tally) -> Result<(), Malformed>;

    /// How many items a message stands for, when it is refused without being read.
    fn count(&self, message: &[u8]) -> Result<u64, Malformed>;
}

/// Walks a request.
fn walk(
    body: &[u8],
    sink: &mut impl Sink,
    origins: &mut OriginMemory,
    limits: &DecodeLimits,
    tally: &mut Tally,
) -> Result<(), DecodeError> {
    let mut known = RequestOrigins::default();
    let mut level = Level { sink, origins, limits, tally, known: &mut known };
    level.request(body).map_err(|cause| DecodeError::Protobuf { path: tally.place.to_string(), cause })
}

struct Level<'w, 'a, S> {
    sink: &'w mut S,
    origins: &'w mut OriginMemory,
    limits: &'w DecodeLimits,
    tally: &'w mut Tally,
    known: &'w mut RequestOrigins<'a>,
}

impl<'a, S: Sink> Level<'_, 'a, S> {
    fn request(&mut self, body: &'a [u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(body);
        self.tally.place.at = [0; 3];
        while let Some((number, field)) = reader.next_field()? {
            if let (1, Field::Bytes(resource_items)) = (number, field) {
                self.resource(resource_items)?;
                let [resource, ..] = self.tally.place.at;
                self.tally.place.at = [resource + 1, 0, 0];
            }
        }
        Ok(())
    }

    fn resource(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let raw = first_field(message)?;
        let mut reader = Reader::new(message);
        // Registered with its first scope, so that a resource without items leaves no trace in the batch.
        let mut resource = None;
        while let Some((number, field)) = reader.next_field()? {
            if let (2, Field::Bytes(scope_items)) = (number, field) {
                let resource = match resource {
                    Some(known) => known,
                    None => *resource.insert(refused(self.known.resource(
                        raw.clone(),
                        self.origins,
                        self.limits,
                        self.sink.columns(),
                    ))?),
                };
                self.scope(scope_items, resource)?;
                let [at, scope, _] = self.tally.place.at;
                self.tally.place.at = [at, scope + 1, 0];
            }
        }
        Ok(())
    }

    fn scope(
        &mut self,
        message: &'a [u8],
        resource: Result<Registered<ResourceIndex>, Refusal>,
    ) -> Result<(), Malformed> {
        let raw = first_field(message)?;
        let scope = refused(self.known.scope(raw, self.origins, self.limits, self.sink.columns()))?;
        let origin = resource.and_then(|resource| Ok(ItemOrigin { resource, scope: scope? }));
        let mut reader = Reader::new(message);
        while let Some((number, field)) = reader.next_field()? {
            if let (2, Field::Bytes(item)) = (number, field) {
                match origin {
                    Ok(origin) => self.sink.take(item, origin, self.tally)?,
                    Err(refusal) => self.tally.refuse(refusal, self.sink.count(item)?),
                }
                let [at, scope, index] = self.tally.place.at;
                self.tally.place =
                    refusal::Place { at: [at, scope, index + 1], point: None, ..self.tally.place };
            }
        }
        Ok(())
    }
}

/// Field 1 of a message: its resource or scope. A message that is there several times is merged, which for encoded
/// messages is to put one after the other (protobuf.dev, "Last One Wins").
fn first_field(message: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    let mut reader = Reader::new(message);
    let mut found: Option<Cow<'_, [u8]>> = None;
    while let Some((number, field)) = reader.next_field()? {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            match &mut found {
                Some(found) => found.to_mut().extend_from_slice(bytes),
                None => found = Some(Cow::Borrowed(bytes)),
            }
        }
    }
    Ok(found.unwrap_or_default())
}

/// Tells what ends the request from what refuses items.
fn refused<T>(result: Result<T, Fault>) -> Result<Result<T, Refusal>, Malformed> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Refused(refusal)) => Ok(Err(refusal)),
        Err(Fault::Malformed(malformed)) => Err(malformed),
    }
}

/// What Go's `time.Time{}.UnixNano()` gives, and what therefore reaches OTLP from Go programs for "no time".
const GO_ZERO_TIME: u64 = (-6_795_364_578_871_345_152_i64) as u64;

/// Whether a sender gave a time.
#[inline]
fn is_set(time: u64) -> bool {
    time != 0 && time != GO_ZERO_TIME
}

/// Checks an item's time against the limits and converts it.
#[inline]
fn check_time(time: u64, context: &DecodeContext, field: &'static str) -> Result<i64, Refusal> {
    let (received_at, limits) = (context.received_at, &context.limits);
    if !is_set(time) {
        return Err(Refusal::NoTime { field });
    }
    match i64::try_from(time) {
        Ok(ns) if ns <= received_at.saturating_add(limits.future_ns) => {
            if ns < received_at.saturating_sub(limits.past_ns) {
                return Err(Refusal::TooOld { field, time, received_at, limit_ns: limits.past_ns });
            }
            Ok(ns)
        }
        _ => Err(Refusal::TooNew { field, time, received_at, limit_ns: limits.future_ns }),
    }
}
