//! What to do, in the words of the SDK that a service uses.
//!
//! The SDK is known from the resource's `telemetry.sdk.language` and `telemetry.sdk.name`. Where a service says neither, the
//! text is that of the specification.

use serde_json::{Map, Value as Json};

/// The SDK of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sdk {
    #[default]
    Unknown,
    Python,
    Java,
    JavaScript,
    DotNet,
    Go,
    Rust,
    /// This project's own library for Rust.
    Instrument,
    Ruby,
    Php,
    Cpp,
}

impl Sdk {
    pub fn of_resource(resource: &Map<String, Json>) -> Sdk {
        let text = |key: &str| resource.get(key).and_then(Json::as_str).unwrap_or_default();
        if text("telemetry.sdk.name") == "throughline-instrument" {
            return Sdk::Instrument;
        }
        match text("telemetry.sdk.language") {
            "python" => Sdk::Python,
            "java" => Sdk::Java,
            "nodejs" | "webjs" => Sdk::JavaScript,
            "dotnet" => Sdk::DotNet,
            "go" => Sdk::Go,
            "rust" => Sdk::Rust,
            "ruby" => Sdk::Ruby,
            "php" => Sdk::Php,
            "cpp" => Sdk::Cpp,
            _ => Sdk::Unknown,
        }
    }

    /// How a span's status is set.
    pub fn set_status(self) -> &'static str {
        match self {
            Sdk::Python => {
                "where the exception is caught: span.set_status(Status(StatusCode.ERROR, str(error))); \
                 span.record_exception(error) alone leaves the status unset"
            }
            Sdk::Java => {
                "in the catch block: span.setStatus(StatusCode.ERROR, e.getMessage()); span.recordException(e) alone leaves \
                 the status unset"
            }
            Sdk::JavaScript => {
                "in the catch block: span.setStatus({ code: SpanStatusCode.ERROR, message: error.message }); \
                 span.recordException(error) alone leaves the status unset"
            }
            Sdk::DotNet => {
                "in the catch block: activity?.SetStatus(ActivityStatusCode.Error, e.Message); activity?.AddException(e) \
                 alone leaves the status unset"
            }
            Sdk::Go => {
                "beside the log call: span.SetStatus(codes.Error, err.Error()); span.RecordError(err) alone leaves the status \
                 unset"
            }
            Sdk::Rust => {
                "beside the log call: span.set_status(Status::error(message)); with tracing-opentelemetry record \
                 otel.status_code = \"ERROR\" on the span"
            }
            Sdk::Instrument => "beside the log call: span.set_error(message)",
            Sdk::Ruby => {
                "in the rescue block: span.status = OpenTelemetry::Trace::Status.error(e.message); record_exception alone \
                 leaves the status unset"
            }
            Sdk::Php => {
                "in the catch block: $span->setStatus(StatusCode::STATUS_ERROR, $e->getMessage()); recordException alone \
                 leaves the status unset"
            }
            Sdk::Cpp => {
                "beside the log call: span->SetStatus(opentelemetry::trace::StatusCode::kError, message)"
            }
            Sdk::Unknown => {
                "set the span's status to Error where the error is handled: recording an exception event alone leaves it Unset"
            }
        }
    }

    /// How a record gets the context of a span.
    pub fn log_within_span(self) -> &'static str {
        match self {
            Sdk::Python => {
                "log inside `with tracer.start_as_current_span(...)`, through a logger that has the SDK's LoggingHandler (or \
                 opentelemetry-instrumentation-logging); give start-up code and jobs a span of their own"
            }
            Sdk::Java => {
                "log inside `try (Scope scope = span.makeCurrent())`; put the OpenTelemetry appender before any AsyncAppender, \
                 so that the context is taken on the calling thread; give jobs a span of their own"
            }
            Sdk::JavaScript => {
                "log inside tracer.startActiveSpan(name, span => ...), with an AsyncLocalStorageContextManager registered; \
                 give jobs a span of their own"
            }
            Sdk::DotNet => {
                "log while Activity.Current is set; an asynchronous sink must take it on the calling thread (an enricher \
                 before the sink); start an Activity for jobs"
            }
            Sdk::Go => {
                "use the calls that take a context (slog.ErrorContext(ctx, ...) with the otelslog bridge) and hand ctx \
                 through; start a span for jobs"
            }
            Sdk::Rust => {
                "log while the span is entered (tracing: #[instrument], or future.instrument(span)); start a span for jobs"
            }
            Sdk::Instrument => "hand the span's context to the logger: logger.error(&span.context(), ...)",
            Sdk::Ruby => "log inside tracer.in_span(name) { ... }; give jobs a span of their own",
            Sdk::Php => {
                "log between $scope = $span->activate() and $scope->detach(); give jobs a span of their own"
            }
            Sdk::Cpp | Sdk::Unknown => {
                "write the record while a span is the current one of the context; give start-up code and jobs a span of their \
                 own"
            }
        }
    }

    /// How a record gets the trace id of its span where no log bridge fills it in.
    pub fn write_trace_id(self) -> String {
        let write = match self {
            Sdk::Python => "format(trace.get_current_span().get_span_context().trace_id, \"032x\")",
            Sdk::Java => "Span.current().getSpanContext().getTraceId()",
            Sdk::JavaScript => "trace.getActiveSpan()?.spanContext().traceId",
            Sdk::DotNet => "Activity.Current?.TraceId.ToHexString()",
            Sdk::Go => "trace.SpanContextFromContext(ctx).TraceID().String()",
            Sdk::Rust => "Context::current().span().span_context().trace_id().to_string()",
            Sdk::Instrument => {
                return "hand span.context() to the logger, which fills in OTLP's own trace_id".to_owned();
            }
            Sdk::Ruby => "OpenTelemetry::Trace.current_span.context.hex_trace_id",
            Sdk::Php => "Span::getCurrent()->getContext()->getTraceId()",
            Sdk::Cpp => "span->GetContext().trace_id().ToLowerBase16(buffer)",
            Sdk::Unknown => "the span context's trace id as 32 hex digits, zeros at its start included",
        };
        format!(
            "let the SDK's log bridge fill in OTLP's own trace_id, or write {write}; leave the key out where there is no span"
        )
    }

    /// How a task keeps its context, or gets one of its own.
    pub fn carry_context(self) -> String {
        let carry = match self {
            Sdk::Python => {
                "hand the context to the thread: contextvars.copy_context().run(task), or \
                 opentelemetry-instrumentation-threading"
            }
            Sdk::Java => "wrap the executor: Context.taskWrapping(executor), or Context.current().wrap(task)",
            Sdk::JavaScript => "bind the callback: context.bind(context.active(), callback)",
            Sdk::DotNet => {
                "start the Activity with the parent's ActivityContext where ExecutionContext does not flow"
            }
            Sdk::Go => "hand ctx to the goroutine (context.WithoutCancel(ctx) where it outlives the request)",
            Sdk::Rust => "instrument what is spawned: tokio::spawn(task.instrument(Span::current()))",
            Sdk::Instrument => "hand span.context() to the task, and start a child with tracer.child_of",
            Sdk::Ruby | Sdk::Php | Sdk::Cpp | Sdk::Unknown => "attach the caller's context in the task",
        };
        format!(
            "{carry}; end the span after the work that it stands for, and give a task that outlives its caller a span \
                 of its own with a link to it"
        )
    }

    /// How a service gets its name.
    pub fn set_service_name(self) -> &'static str {
        match self {
            Sdk::Rust | Sdk::Cpp => {
                "give the provider a resource with service.name, or set OTEL_SERVICE_NAME where the SDK reads it"
            }
            Sdk::Instrument => "Config::new(endpoint, service_name)",
            _ => "set OTEL_SERVICE_NAME, or service.name in OTEL_RESOURCE_ATTRIBUTES",
        }
    }

    /// How the last spans of a process, and those of a busy one, get out.
    pub fn flush_spans(self) -> &'static str {
        match self {
            Sdk::Instrument => {
                "call telemetry.shutdown(timeout) at the end; telemetry.stats() counts what was dropped"
            }
            _ => {
                "shut the tracer provider down at the end of the process, so that it flushes; where the queue overflows raise \
                 OTEL_BSP_MAX_QUEUE_SIZE or lower OTEL_BSP_SCHEDULE_DELAY; in a Collector look at \
                 otelcol_exporter_send_failed_spans and otelcol_exporter_enqueue_failed_spans, and turn on sending_queue and \
                 retry_on_failure. If a Collector's tail_sampling decided against these traces, add a policy that keeps \
                 errors (type: status_code, status_codes: [ERROR])"
            }
        }
    }

    /// How head sampling is opened.
    pub fn open_sampler(self) -> &'static str {
        match self {
            Sdk::Instrument => {
                "the caller decided: look at the sampled flag of the traceparent that comes in"
            }
            _ => {
                "send everything and sample afterwards: OTEL_TRACES_SAMPLER=parentbased_always_on; where that is too much, raise \
                 OTEL_TRACES_SAMPLER_ARG: a head sampler cannot know that a request will fail"
            }
        }
    }

    /// How measurements get exemplars.
    pub fn record_exemplars(self) -> &'static str {
        match self {
            Sdk::Python => {
                "record while the span is current (OTEL_METRICS_EXEMPLAR_FILTER=trace_based is the default): \
                 histogram.record(value, attributes, context=context)"
            }
            Sdk::Java => {
                "record while the span is current; OTEL_METRICS_EXEMPLAR_FILTER must not be always_off"
            }
            Sdk::DotNet => {
                "exemplars are off by default: .SetExemplarFilter(ExemplarFilterType.TraceBased), or \
                 OTEL_METRICS_EXEMPLAR_FILTER=trace_based"
            }
            Sdk::Go => {
                "hand the context of the span to Record(ctx, value); OTEL_METRICS_EXEMPLAR_FILTER must not be always_off"
            }
            Sdk::Instrument => {
                "hand the span's context to the measurement: histogram.record(value, attributes, Some(&span.context()))"
            }
            Sdk::JavaScript | Sdk::Rust | Sdk::Ruby | Sdk::Php | Sdk::Cpp => {
                "check whether this SDK's version has exemplars; until then use traces_spanmetrics_latency, which Throughline \
                 derives from spans and which has them"
            }
            Sdk::Unknown => {
                "record while a sampled span is current; of scraped metrics expose OpenMetrics with exemplars, and set \
                 send_exemplars: true in remote_write"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_sdk_is_known_by_its_resource() {
        let of = |resource: Json| Sdk::of_resource(resource.as_object().unwrap());
        assert_eq!(of(json!({"telemetry.sdk.language": "python"})), Sdk::Python);
        let own = json!({"telemetry.sdk.name": "throughline-instrument", "telemetry.sdk.language": "rust"});
        assert_eq!(of(own), Sdk::Instrument);
        assert_eq!(of(json!({"service.name": "x"})), Sdk::Unknown);
    }
}
