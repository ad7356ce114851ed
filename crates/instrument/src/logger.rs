//! Log records that carry the ids of the span in which they were written.

use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use crate::attribute::{key_values, shorten};
use crate::telemetry::Core;
use crate::{Attribute, SpanContext, clock};

/// How serious a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For debugging.
    Debug,
    /// Normal.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

impl Severity {
    /// OTLP's severity number and text.
    fn code(self) -> (i32, &'static str) {
        match self {
            Severity::Debug => (5, "DEBUG"),
            Severity::Info => (9, "INFO"),
            Severity::Warn => (13, "WARN"),
            Severity::Error => (17, "ERROR"),
        }
    }
}

/// Writes log records under one instrumentation scope.
#[derive(Clone)]
pub struct Logger {
    core: Arc<Core>,
    scope: Arc<str>,
}

impl Logger {
    pub(crate) fn new(core: Arc<Core>, scope: &str) -> Logger {
        Logger { core, scope: scope.into() }
    }

    /// Writes a record within a span, or outside of any.
    pub fn log(
        &self,
        severity: Severity,
        span: Option<&SpanContext>,
        message: &str,
        attributes: &[Attribute<'_>],
    ) {
        let (number, text) = severity.code();
        let now_unix_ns = clock::now_unix_ns();
        let record = LogRecord {
            time_unix_nano: now_unix_ns,
            observed_time_unix_nano: now_unix_ns,
            severity_number: number,
            severity_text: text.to_owned(),
            body: Some(AnyValue { value: Some(any_value::Value::StringValue(shorten(message.to_owned()))) }),
            attributes: key_values(attributes),
            flags: span.map_or(0, |span| u32::from(span.flags)),
            trace_id: span.map(|span| span.trace_id.0.to_vec()).unwrap_or_default(),
            span_id: span.map(|span| span.span_id.0.to_vec()).unwrap_or_default(),
            ..LogRecord::default()
        };
        self.core.send_log(self.scope.clone(), record);
    }

    /// Writes an INFO record within a span.
    pub fn info(&self, span: &SpanContext, message: &str, attributes: &[Attribute<'_>]) {
        self.log(Severity::Info, Some(span), message, attributes);
    }

    /// Writes a WARN record within a span.
    pub fn warn(&self, span: &SpanContext, message: &str, attributes: &[Attribute<'_>]) {
        self.log(Severity::Warn, Some(span), message, attributes);
    }

    /// Writes an ERROR record within a span.
    pub fn error(&self, span: &SpanContext, message: &str, attributes: &[Attribute<'_>]) {
        self.log(Severity::Error, Some(span), message, attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SpanKind, Tracer};

    #[test]
    fn a_record_carries_the_ids_of_its_span() {
        let core = Arc::new(Core::for_test());
        let (tracer, logger) = (Tracer::new(core.clone(), "test"), Logger::new(core.clone(), "test"));
        let span = tracer.root("db:query", SpanKind::Client);
        logger.warn(&span.context(), "throttled", &[("retry.attempts", 1.into())]);
        logger.log(Severity::Info, None, "listening", &[]);
        let records: Vec<_> = core.logs.take(9).into_iter().map(|(_, record)| record).collect();
        assert_eq!(records[0].trace_id, span.context().trace_id.0);
        assert_eq!(records[0].span_id, span.context().span_id.0);
        assert_eq!((records[0].severity_number, records[0].severity_text.as_str()), (13, "WARN"));
        assert_eq!(records[0].flags, 1);
        assert!(records[1].trace_id.is_empty() && records[1].span_id.is_empty());
    }
}
