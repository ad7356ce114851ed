//! Spans: started by a [`Tracer`], described while they run, exported when they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{self as proto, span::Event};

use crate::attribute::{key_value, key_values, shorten};
use crate::telemetry::Core;
use crate::{Attribute, SpanContext, SpanId, Value, clock};

/// Attributes and events kept of one span: OpenTelemetry's default limits. The rest is counted as dropped.
const ATTRIBUTES_MAX: usize = 128;
const EVENTS_MAX: usize = 128;

/// OTLP span flags: "it is known whether the parent is remote", and "it is".
const FLAG_HAS_IS_REMOTE: u32 = 0x100;
const FLAG_IS_REMOTE: u32 = 0x200;

/// The role of a span in a call between services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work within the service.
    Internal,
    /// Serving a request.
    Server,
    /// Making a request and waiting for the answer.
    Client,
    /// Sending a message.
    Producer,
    /// Handling a message.
    Consumer,
}

/// Starts spans under one instrumentation scope.
#[derive(Clone)]
pub struct Tracer {
    core: Arc<Core>,
    scope: Arc<str>,
}

impl Tracer {
    pub(crate) fn new(core: Arc<Core>, scope: &str) -> Tracer {
        Tracer { core, scope: scope.into() }
    }

    /// Starts a trace of its own.
    pub fn root(&self, name: &str, kind: SpanKind) -> Span {
        self.start(None, name, kind)
    }

    /// Starts a span under a parent of this process.
    pub fn child_of(&self, parent: &SpanContext, name: &str, kind: SpanKind) -> Span {
        self.start(Some(parent), name, kind)
    }

    /// Starts a span under the caller that a `traceparent` header named, or a trace where there is none.
    pub fn continue_from(&self, caller: Option<&SpanContext>, name: &str, kind: SpanKind) -> Span {
        self.start(caller, name, kind)
    }

    fn start(&self, parent: Option<&SpanContext>, name: &str, kind: SpanKind) -> Span {
        let context = SpanContext {
            trace_id: parent.map_or_else(|| self.core.ids.trace_id(), |parent| parent.trace_id),
            span_id: self.core.ids.span_id(),
            flags: parent.map_or(SpanContext::ROOT_FLAGS, |parent| parent.flags),
            remote: false,
        };
        Span {
            tracer: self.clone(),
            context,
            parent: parent.map(|parent| (parent.span_id, parent.remote)),
            name: name.to_owned(),
            kind,
            start_unix_ns: clock::now_unix_ns(),
            started: clock::monotonic(),
            attributes: Vec::new(),
            dropped_attributes: 0,
            events: Vec::new(),
            dropped_events: 0,
            error: None,
        }
    }
}

/// A running span. It ends with [`Span::end`], or when it is dropped.
pub struct Span {
    tracer: Tracer,
    context: SpanContext,
    parent: Option<(SpanId, bool)>,
    name: String,
    kind: SpanKind,
    start_unix_ns: u64,
    started: Instant,
    attributes: Vec<KeyValue>,
    dropped_attributes: u32,
    events: Vec<Event>,
    dropped_events: u32,
    error: Option<String>,
}

impl Span {
    /// What child spans, log records, exemplars and outgoing calls refer to.
    pub fn context(&self) -> SpanContext {
        self.context
    }

    /// How long the span has been running.
    pub fn elapsed(&self) -> Duration {
        clock::monotonic().saturating_duration_since(self.started)
    }

    /// Sets an attribute; the last value of a key wins.
    pub fn set_attribute(&mut self, key: &str, value: impl Into<Value>) {
        let attribute = key_value(key, value.into());
        if let Some(other) = self.attributes.iter_mut().find(|other| other.key == key) {
            *other = attribute;
        } else if self.attributes.len() < ATTRIBUTES_MAX {
            self.attributes.push(attribute);
        } else {
            self.dropped_attributes += 1;
        }
    }

    /// Adds an event that happened now.
    pub fn add_event(&mut self, name: &str, attributes: &[Attribute<'_>]) {
        if self.events.len() == EVENTS_MAX {
            self.dropped_events += 1;
            return;
        }
        self.events.push(Event {
            time_unix_nano: self.now_unix_ns(),
            name: name.to_owned(),
            attributes: key_values(attributes),
            dropped_attributes_count: 0,
        });
    }

    /// Marks the span as failed, with what failed.
    pub fn set_error(&mut self, message: &str) {
        self.error = Some(shorten(message.to_owned()));
    }

    /// Ends the span now.
    pub fn end(self) {
        drop(self);
    }

    /// Wall time by the monotonic clock, so that nothing in a span lies before its start.
    fn now_unix_ns(&self) -> u64 {
        let elapsed_ns = u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.start_unix_ns.saturating_add(elapsed_ns)
    }

    fn take_proto(&mut self) -> proto::Span {
        let remote = self.parent.is_some_and(|(_, remote)| remote);
        proto::Span {
            trace_id: self.context.trace_id.0.to_vec(),
            span_id: self.context.span_id.0.to_vec(),
            parent_span_id: self.parent.map(|(id, _)| id.0.to_vec()).unwrap_or_default(),
            flags: u32::from(self.context.flags)
                | FLAG_HAS_IS_REMOTE
                | if remote { FLAG_IS_REMOTE } else { 0 },
            name: std::mem::take(&mut self.name),
            kind: proto_kind(self.kind) as i32,
            start_time_unix_nano: self.start_unix_ns,
            end_time_unix_nano: self.now_unix_ns(),
            attributes: std::mem::take(&mut self.attributes),
            dropped_attributes_count: self.dropped_attributes,
            events: std::mem::take(&mut self.events),
            dropped_events_count: self.dropped_events,
            status: self
                .error
                .take()
                .map(|message| proto::Status { message, code: proto::status::StatusCode::Error as i32 }),
            ..proto::Span::default()
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.context.is_sampled() {
            let span = self.take_proto();
            self.tracer.core.send_span(self.tracer.scope.clone(), span);
        }
    }
}

fn proto_kind(kind: SpanKind) -> proto::span::SpanKind {
    match kind {
        SpanKind::Internal => proto::span::SpanKind::Internal,
        SpanKind::Server => proto::span::SpanKind::Server,
        SpanKind::Client => proto::span::SpanKind::Client,
        SpanKind::Producer => proto::span::SpanKind::Producer,
        SpanKind::Consumer => proto::span::SpanKind::Consumer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer() -> Tracer {
        Tracer::new(Arc::new(Core::for_test()), "test")
    }

    fn exported(tracer: &Tracer) -> Vec<proto::Span> {
        tracer.core.spans.take(usize::MAX).into_iter().map(|(_, span)| span).collect()
    }

    #[test]
    fn a_child_names_its_parent() {
        let tracer = tracer();
        let parent = tracer.root("GET /", SpanKind::Server);
        tracer.child_of(&parent.context(), "db:query", SpanKind::Client).end();
        parent.end();
        let spans = exported(&tracer);
        assert_eq!(spans[0].parent_span_id, spans[1].span_id);
        assert_eq!(spans[0].trace_id, spans[1].trace_id);
        assert!(spans[1].parent_span_id.is_empty());
        assert!(spans[1].start_time_unix_nano <= spans[0].start_time_unix_nano);
        assert!(spans[0].end_time_unix_nano <= spans[1].end_time_unix_nano);
        assert_eq!(spans[0].flags, 0x101);
    }

    #[test]
    fn a_remote_parent_is_continued_and_its_sampling_kept() {
        let tracer = tracer();
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";
        for sampled in [true, false] {
            let caller = SpanContext::parse_traceparent(&format!("{caller}{}", u8::from(sampled)));
            let span = tracer.continue_from(caller.as_ref(), "GET /", SpanKind::Server);
            assert_eq!(span.context().trace_id, caller.unwrap().trace_id);
            span.end();
            let spans = exported(&tracer);
            assert_eq!(spans.len(), usize::from(sampled));
            assert!(spans.iter().all(|span| span.flags == 0x301 && span.parent_span_id[0] == 0xb7));
        }
    }

    #[test]
    fn limits_are_counted_and_the_last_value_wins() {
        let tracer = tracer();
        let mut span = tracer.root("busy", SpanKind::Internal);
        for i in 0..ATTRIBUTES_MAX + 2 {
            span.set_attribute(&format!("key{i}"), i as i64);
            span.add_event("step", &[("i", (i as i64).into())]);
        }
        span.set_attribute("key0", "again");
        span.set_error("it broke");
        drop(span);
        let span = exported(&tracer).remove(0);
        assert_eq!((span.attributes.len(), span.dropped_attributes_count), (ATTRIBUTES_MAX, 2));
        assert_eq!((span.events.len(), span.dropped_events_count), (EVENTS_MAX, 2));
        assert_eq!(span.attributes[0], key_value("key0", "again".into()));
        assert_eq!(span.status.unwrap().code, 2);
    }
}
