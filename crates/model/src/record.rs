//! Rows as the read side hands them out: spans, log records, exemplars and trace summaries, whole and owned.
//!
//! These are for answers of bounded size (one trace, a page of log lines). Scans over many rows stay in columns.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::link::{LinkState, TraceSource};
use crate::point::{MetricType, PointKind};
use crate::{Level, PatternId, SpanId, TraceId};

/// A span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// Its parent's id; none for a root span.
    pub parent_span_id: Option<SpanId>,
    /// W3C `tracestate`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trace_state: String,
    /// OTLP's flags.
    pub flags: u32,
    /// The operation.
    pub name: String,
    /// OTLP's kind, 0 to 5.
    pub kind: u8,
    /// Start, nanoseconds since the epoch.
    pub start_time: i64,
    /// Duration in nanoseconds.
    pub duration_ns: i64,
    /// 0 unset, 1 ok, 2 error.
    pub status_code: u8,
    /// The status' message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status_message: String,
    /// The service.
    pub service: String,
    /// The resource's attributes.
    pub resource: Map<String, Json>,
    /// The instrumentation scope: name, version, attributes.
    pub scope: Map<String, Json>,
    /// The span's attributes.
    pub attributes: Map<String, Json>,
    /// Events: objects of `time`, `name`, `attributes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Json>,
    /// Links: objects of `trace_id`, `span_id`, `trace_state`, `attributes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Json>,
    /// How many spans this one stands for, where the sender says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjusted_count: Option<f64>,
}

impl Span {
    /// End, nanoseconds since the epoch.
    pub fn end_time(&self) -> i64 {
        self.start_time.saturating_add(self.duration_ns.max(0))
    }

    /// Whether its status is error.
    pub fn is_error(&self) -> bool {
        self.status_code == 2
    }
}

/// A log record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Nanoseconds since the epoch.
    pub time: i64,
    /// When the record was observed, nanoseconds since the epoch.
    pub observed_time: i64,
    /// OTLP's severity number, 0 to 24.
    pub severity_number: u8,
    /// The severity's text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub severity_text: String,
    /// The level, from the severity or, where there is none, from wherever the record says it.
    #[serde(default)]
    pub level: Level,
    /// The body: text, or a structure.
    pub body: Json,
    /// The canonical trace id.
    pub trace_id: Option<TraceId>,
    /// The span's id.
    pub span_id: Option<SpanId>,
    /// W3C trace flags.
    pub flags: u32,
    /// Where the trace context was found.
    pub trace_source: TraceSource,
    /// Whether the record says that its trace was not sampled, so that there are no spans to find.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsampled: bool,
    /// The trace id as it was written, where that is another form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id_original: Option<String>,
    /// The service.
    pub service: String,
    /// The resource's attributes.
    pub resource: Map<String, Json>,
    /// The instrumentation scope.
    pub scope: Map<String, Json>,
    /// The event's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event_name: String,
    /// The record's attributes.
    pub attributes: Map<String, Json>,
    /// The pattern that its body has; none where it has no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern_id: Option<PatternId>,
}

/// A series: what identifies a stream of data points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its fingerprint, 32 hex digits.
    pub fingerprint: String,
    /// The instrument's name as OTLP has it; of a Prometheus series `__name__`.
    pub metric: String,
    /// The kind of its points.
    pub kind: PointKind,
    /// The unit.
    pub unit: String,
    /// The description.
    pub description: String,
    /// 0 none, 1 delta, 2 cumulative.
    pub temporality: u8,
    /// Whether a sum is monotonic.
    pub monotonic: bool,
    /// The service.
    pub service: String,
    /// The resource's attributes.
    pub resource: Map<String, Json>,
    /// The instrumentation scope.
    pub scope: Map<String, Json>,
    /// The points' attributes.
    pub attributes: Map<String, Json>,
    /// What the sender says that the metric is.
    #[serde(default)]
    pub metric_type: MetricType,
}

/// One data point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Nanoseconds since the epoch.
    pub time: i64,
    /// Start of the interval, nanoseconds since the epoch; 0 where unknown.
    pub start_time: i64,
    /// The value, or a histogram's sum.
    pub value: f64,
    /// OTLP's flags; bit 0 says that no value was recorded.
    pub flags: u32,
    /// The payload of a histogram or summary; empty for a number.
    pub payload: Vec<u8>,
}

/// An exemplar with the series that it belongs to and the state of its link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    /// The instrument's name.
    pub metric: String,
    /// The series' fingerprint.
    pub series: String,
    /// The service.
    pub service: String,
    /// Nanoseconds since the epoch.
    pub time: i64,
    /// The measured value.
    pub value: f64,
    /// The canonical trace id.
    pub trace_id: Option<TraceId>,
    /// The span's id.
    pub span_id: Option<SpanId>,
    /// The trace id as it was written, where that is another form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id_original: Option<String>,
    /// The series' attributes.
    pub series_attributes: Map<String, Json>,
    /// The attributes that the series' view filtered out.
    pub attributes: Map<String, Json>,
    /// Whether the trace is here; none until it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
}

/// What sampling decided about a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Sampling {
    /// Nothing so far: all of it is here.
    #[default]
    Undecided,
    /// It stays.
    Kept {
        /// The policy that decided.
        policy: String,
        /// When, nanoseconds since the epoch.
        at: i64,
        /// How many traces it stands for, where chance decided; 1 where it did not. None where that is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adjusted_count: Option<f64>,
    },
    /// Its spans were dropped.
    Dropped {
        /// The policy that decided.
        policy: String,
        /// When, nanoseconds since the epoch.
        at: i64,
        /// How many spans it had.
        span_count: u32,
    },
}

impl Sampling {
    /// Whether nothing was decided.
    pub fn is_undecided(&self) -> bool {
        *self == Sampling::Undecided
    }
}

/// Spans of a trace that sampling dropped. Where the trace has spans all the same, those came later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedSpans {
    /// The policy that decided; where several did, the first.
    pub policy: String,
    /// When, nanoseconds since the epoch; where it was decided several times, the first time.
    pub at: i64,
    /// How many spans.
    pub span_count: u32,
}

impl DroppedSpans {
    /// What was dropped at one time and another.
    pub fn joined(a: Option<DroppedSpans>, b: Option<DroppedSpans>) -> Option<DroppedSpans> {
        let (Some(a), Some(b)) = (&a, &b) else { return a.or(b) };
        let span_count = a.span_count.saturating_add(b.span_count);
        let first = if b.at < a.at { b } else { a };
        Some(DroppedSpans { span_count, ..first.clone() })
    }
}

/// One row per trace: what is known of it without reading its spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: TraceId,
    /// The earliest start, nanoseconds since the epoch; of logs and exemplars where there are no spans.
    pub start_time: i64,
    /// From the earliest start to the latest end, nanoseconds.
    pub duration_ns: i64,
    /// The root span's service; empty where the root is missing.
    pub root_service: String,
    /// The root span's name; empty where the root is missing.
    pub root_name: String,
    /// The services that took part, sorted.
    pub services: Vec<String>,
    /// How many spans.
    pub span_count: u32,
    /// How many of them have status error.
    pub error_count: u32,
    /// How many log records refer to it.
    pub log_count: u32,
    /// How many of those are of severity ERROR or above.
    pub error_log_count: u32,
    /// How many exemplars refer to it.
    pub exemplar_count: u32,
    /// Spans whose parent is not in the trace.
    pub orphan_count: u32,
    /// The service of the span that the trace's latency is charged to.
    pub culprit_service: String,
    /// The name of that span.
    pub culprit_name: String,
    /// Its self time, nanoseconds.
    pub culprit_self_ns: i64,
    /// The service of the deepest span whose status is error; empty where there is none, or where it was not stored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_culprit_service: String,
    /// The name of that span.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error_culprit_name: String,
    /// How far the clocks of its services are apart at least, nanoseconds: by so much a span begins before the one that called it. 0
    /// where none does, or where it was not stored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_skew_ns: i64,
    /// What sampling decided about it. The summary of a dropped trace is that of the spans that it had.
    #[serde(default, skip_serializing_if = "Sampling::is_undecided")]
    pub sampling: Sampling,
    /// What sampling had dropped of it before its spans came; none where nothing was, and in a tombstone, which says so
    /// itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_before: Option<DroppedSpans>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl TraceSummary {
    /// What sampling dropped of it, whether or not there are spans of it.
    pub fn dropped(&self) -> Option<DroppedSpans> {
        match &self.sampling {
            Sampling::Dropped { policy, at, span_count } => {
                Some(DroppedSpans { policy: policy.clone(), at: *at, span_count: *span_count })
            }
            _ => self.dropped_before.clone(),
        }
    }
}
