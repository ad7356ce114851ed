//! Spans, log records and latency histograms that know of each other, exported over OTLP/HTTP.
//!
//! This is the library for Rust services that send telemetry to Throughline, or to anything else that takes OTLP.
//! It is small on purpose: a service starts one [`Telemetry`], takes tracers, loggers and histograms from it, and
//! hands the context of the active span on explicitly. There is no global and no thread-local: what a log record
//! or an exemplar refers to is what the code says.
//!
//! ```no_run
//! use std::time::Duration;
//! use throughline_instrument::{Config, SpanContext, SpanKind, Telemetry, LATENCY_BOUNDS_SECONDS};
//!
//! let telemetry = Telemetry::start(Config::new("http://127.0.0.1:4318", "task-svc"))?;
//! let tracer = telemetry.tracer("http");
//! let logger = telemetry.logger("http");
//! let latency = telemetry.histogram("http.server.request.duration", "s", LATENCY_BOUNDS_SECONDS);
//!
//! // A request has come in; its caller sent a `traceparent` header.
//! let caller = SpanContext::parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
//! let mut span = tracer.continue_from(caller.as_ref(), "GET /tasks/{id}", SpanKind::Server);
//! span.set_attribute("http.request.method", "GET");
//!
//! // A call to another service: a child span, whose context goes out as a header.
//! let query = tracer.child_of(&span.context(), "db:query", SpanKind::Client);
//! let header = query.context().traceparent();
//! logger.warn(&query.context(), "throttled", &[("retry.attempts", 1.into())]);
//! query.end();
//!
//! // The exemplar of this value leads to this span.
//! let attributes = [("http.route", "/tasks/{id}".into())];
//! latency.record(span.elapsed().as_secs_f64(), &attributes, Some(&span.context()));
//! span.end();
//! # drop(header);
//!
//! telemetry.shutdown(Duration::from_secs(2));
//! # Ok::<(), throughline_instrument::Error>(())
//! ```
//!
//! Nothing here blocks the caller: items go into bounded queues, and what does not fit is dropped and counted
//! ([`Telemetry::stats`]). One background thread sends what has gathered every second, retries while the receiver
//! says that it is worth it, and keeps to the receiver's `Retry-After`.

mod attribute;
mod clock;
mod context;
mod export;
mod histogram;
mod id;
mod logger;
mod queue;
mod telemetry;
mod tracer;

pub use attribute::{Attribute, Value};
pub use context::{SpanContext, SpanId, TraceId};
pub use histogram::{Histogram, LATENCY_BOUNDS_SECONDS};
pub use logger::{Logger, Severity};
pub use telemetry::{Config, Error, SignalStats, Stats, Telemetry};
pub use tracer::{Span, SpanKind, Tracer};
