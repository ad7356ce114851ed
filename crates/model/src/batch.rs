//! Batches: columnar telemetry of one signal, as decoded from one request.
//!
//! A batch is one or more Arrow record batches with a fixed schema. Attributes, events, links and the payloads of
//! histogram points stay encoded as they came ([`crate::attribute`], [`crate::point`]); what every query needs is a
//! column of its own. `service`, `resource` and `scope` are dictionary columns whose values stand once per batch.
//! The constants in [`span`], [`log`], [`series`], [`point`] and [`exemplar`] are column positions.

mod columns;
mod metrics;
mod reused;
mod samples;
mod schema;

use arrow_array::{Array as _, RecordBatch};

pub use columns::{LogBatchBuilder, LogRow, ResourceIndex, ScopeIndex, SpanBatchBuilder, SpanRow};
pub use metrics::{ExemplarRow, MetricBatchBuilder, PointRow, SeriesRow};
pub use samples::{LabelledRow, SampleBatchBuilder, point_bytes};
pub use schema::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, exemplar_schema,
    log_schema, point_schema, series_schema, span_schema,
};

/// Column positions of a span batch.
pub mod span {
    /// `FixedSizeBinary(16)`.
    pub const TRACE_ID: usize = 0;
    /// `FixedSizeBinary(8)`.
    pub const SPAN_ID: usize = 1;
    /// `FixedSizeBinary(8)`, null for a root span.
    pub const PARENT_SPAN_ID: usize = 2;
    /// `Utf8`: W3C `tracestate`, null where empty.
    pub const TRACE_STATE: usize = 3;
    /// `UInt32`: OTLP's span flags (the low 8 bits are W3C's).
    pub const FLAGS: usize = 4;
    /// `Utf8`.
    pub const NAME: usize = 5;
    /// `UInt8`: OTLP's `SpanKind`, 0 to 5.
    pub const KIND: usize = 6;
    /// `Timestamp(ns, UTC)`.
    pub const START_TIME: usize = 7;
    /// `Int64`, nanoseconds; negative where a sender's clock ran backwards.
    pub const DURATION: usize = 8;
    /// `UInt8`: OTLP's status code; 0 unset, 1 ok, 2 error.
    pub const STATUS_CODE: usize = 9;
    /// `Utf8`, null where empty.
    pub const STATUS_MESSAGE: usize = 10;
    /// `Dictionary(Int32, Utf8)`: the resource's `service.name`, `unknown_service` where it has none.
    pub const SERVICE: usize = 11;
    /// `Dictionary(Int32, Utf8)`: the resource's attributes as a JSON object.
    pub const RESOURCE: usize = 12;
    /// `Dictionary(Int32, Utf8)`: the instrumentation scope as a JSON object of name, version and attributes.
    pub const SCOPE: usize = 13;
    /// `Binary`: an attribute list.
    pub const ATTRIBUTES: usize = 14;
    /// `Binary`: OTLP `Event` messages, each after its length; null where there are none.
    pub const EVENTS: usize = 15;
    /// `Binary`: OTLP `Link` messages, each after its length; null where there are none.
    pub const LINKS: usize = 16;
    /// `Float64`: how many spans this one stands for, from `tracestate`'s `ot=th:`; null where it does not say.
    pub const ADJUSTED_COUNT: usize = 17;
    /// `Utf8`: what the sender's limits dropped, as JSON, such as `{"attributes":3}`; null where nothing.
    pub const DROPPED: usize = 18;
}

/// Column positions of a log batch.
pub mod log {
    /// `Timestamp(ns, UTC)`: the record's time, its observed time where it has none, else the time of receipt.
    pub const TIME: usize = 0;
    /// `Timestamp(ns, UTC)`.
    pub const OBSERVED_TIME: usize = 1;
    /// `UInt8`: OTLP's severity number, 0 to 24.
    pub const SEVERITY_NUMBER: usize = 2;
    /// `Utf8`, null where empty.
    pub const SEVERITY_TEXT: usize = 3;
    /// `Utf8`: the body's text, or its JSON where it is structured.
    pub const BODY: usize = 4;
    /// `UInt8`: 0 where the body is text, 1 where it is JSON, 2 where it is absent.
    pub const BODY_KIND: usize = 5;
    /// `FixedSizeBinary(16)`: the canonical trace id, null where the record has none.
    pub const TRACE_ID: usize = 6;
    /// `FixedSizeBinary(8)`, null where the record has none.
    pub const SPAN_ID: usize = 7;
    /// `UInt32`: W3C trace flags in the low 8 bits.
    pub const FLAGS: usize = 8;
    /// `UInt8`: a [`crate::link::TraceSource`], with the bit [`crate::link::UNSAMPLED`] where the sender's sampler decided
    /// against the trace.
    pub const TRACE_SOURCE: usize = 9;
    /// `Utf8`: the trace id as it was written, where that is not 32 lower-case hex digits in OTLP's own field; also
    /// where it could not be read, and then `TRACE_ID` is null.
    pub const TRACE_ID_ORIGINAL: usize = 10;
    /// `Dictionary(Int32, Utf8)`, as for spans.
    pub const SERVICE: usize = 11;
    /// `Dictionary(Int32, Utf8)`, as for spans.
    pub const RESOURCE: usize = 12;
    /// `Dictionary(Int32, Utf8)`, as for spans.
    pub const SCOPE: usize = 13;
    /// `Utf8`, null where empty.
    pub const EVENT_NAME: usize = 14;
    /// `Binary`: an attribute list.
    pub const ATTRIBUTES: usize = 15;
    /// `Utf8`: what the sender's limits dropped, as JSON; null where nothing.
    pub const DROPPED: usize = 16;
    /// `UInt8`: a [`crate::Level`].
    pub const LEVEL: usize = 17;
}

/// Column positions of a metric batch's series.
pub mod series {
    /// `FixedSizeBinary(16)`: a hash of everything that tells this series from others, independent of the order of
    /// attributes.
    pub const FINGERPRINT: usize = 0;
    /// `Utf8`: the instrument's name as OTLP has it; empty for a Prometheus series, whose labels have it.
    pub const METRIC: usize = 1;
    /// `UInt8`: a [`crate::point::PointKind`].
    pub const KIND: usize = 2;
    /// `Utf8`, empty where unset.
    pub const UNIT: usize = 3;
    /// `Utf8`, empty where unset.
    pub const DESCRIPTION: usize = 4;
    /// `UInt8`: OTLP's aggregation temporality; 0 none, 1 delta, 2 cumulative.
    pub const TEMPORALITY: usize = 5;
    /// `Boolean`: whether a sum is monotonic.
    pub const MONOTONIC: usize = 6;
    /// `Dictionary(Int32, Utf8)`, as for spans.
    pub const SERVICE: usize = 7;
    /// `Dictionary(Int32, Utf8)`, as for spans.
    pub const RESOURCE: usize = 8;
    /// `Dictionary(Int32, Utf8)`, as for spans.
    pub const SCOPE: usize = 9;
    /// `Binary`: the points' attributes, an attribute list; of a Prometheus series all labels as they came, a
    /// label list ([`crate::label`]).
    pub const ATTRIBUTES: usize = 10;
    /// `UInt8`: a [`crate::point::MetricType`]; it does not tell series apart.
    pub const METRIC_TYPE: usize = 11;
}

/// Column positions of a metric batch's points.
pub mod point {
    /// `UInt32`: the row of the batch's series.
    pub const SERIES: usize = 0;
    /// `Timestamp(ns, UTC)`.
    pub const TIME: usize = 1;
    /// `Timestamp(ns, UTC)`, 0 where the sender gave none.
    pub const START_TIME: usize = 2;
    /// `Float64`: a gauge's or sum's value (integers are converted, as PromQL's samples are); a histogram's sum.
    pub const VALUE: usize = 3;
    /// `UInt32`: OTLP's data point flags; bit 0 says that no value was recorded.
    pub const FLAGS: usize = 4;
    /// `Binary`: for histograms and summaries the point's payload ([`crate::point`]); null for numbers.
    pub const PAYLOAD: usize = 5;
}

/// Column positions of a metric batch's exemplars.
pub mod exemplar {
    /// `UInt32`: the row of the batch's series.
    pub const SERIES: usize = 0;
    /// `Timestamp(ns, UTC)`.
    pub const TIME: usize = 1;
    /// `Float64`.
    pub const VALUE: usize = 2;
    /// `FixedSizeBinary(16)`, null where the exemplar has none or it could not be read.
    pub const TRACE_ID: usize = 3;
    /// `FixedSizeBinary(8)`, null where the exemplar has none.
    pub const SPAN_ID: usize = 4;
    /// `Utf8`: the trace id as it was written, where it is not 16 bytes.
    pub const TRACE_ID_ORIGINAL: usize = 5;
    /// `Binary`: the filtered attributes, an attribute list.
    pub const ATTRIBUTES: usize = 6;
}

/// Spans with the schema of [`span`].
#[derive(Clone, Debug)]
pub struct SpanBatch {
    /// One row per span.
    pub rows: RecordBatch,
}

/// Log records with the schema of [`log`].
#[derive(Clone, Debug)]
pub struct LogBatch {
    /// One row per log record.
    pub rows: RecordBatch,
}

/// Metric data points with their series and exemplars.
#[derive(Clone, Debug)]
pub struct MetricBatch {
    /// The batch's distinct series, schema of [`series`].
    pub series: RecordBatch,
    /// One row per data point, schema of [`point`].
    pub points: RecordBatch,
    /// One row per exemplar, schema of [`exemplar`].
    pub exemplars: RecordBatch,
}

/// A batch of any signal.
#[derive(Clone, Debug)]
pub enum Batch {
    /// Spans.
    Spans(SpanBatch),
    /// Log records.
    Logs(LogBatch),
    /// Metric data points.
    Metrics(MetricBatch),
}

impl Batch {
    /// The number of items: spans, log records or data points.
    pub fn items(&self) -> usize {
        match self {
            Batch::Spans(spans) => spans.rows.num_rows(),
            Batch::Logs(logs) => logs.rows.num_rows(),
            Batch::Metrics(metrics) => metrics.points.num_rows(),
        }
    }

    /// The number of exemplars.
    pub fn exemplars(&self) -> usize {
        match self {
            Batch::Metrics(metrics) => metrics.exemplars.num_rows(),
            Batch::Spans(_) | Batch::Logs(_) => 0,
        }
    }

    /// How many data points are more than a number.
    pub fn payloads(&self) -> usize {
        match self {
            Batch::Metrics(metrics) => {
                let payloads = metrics.points.column(point::PAYLOAD);
                payloads.len() - payloads.null_count()
            }
            Batch::Spans(_) | Batch::Logs(_) => 0,
        }
    }

    /// Whether there is nothing to store: exemplars may come without data points.
    pub fn is_empty(&self) -> bool {
        self.items() == 0 && self.exemplars() == 0
    }

    /// Which signal it is of.
    pub fn signal(&self) -> crate::Signal {
        match self {
            Batch::Spans(_) => crate::Signal::Traces,
            Batch::Logs(_) => crate::Signal::Logs,
            Batch::Metrics(_) => crate::Signal::Metrics,
        }
    }

    /// The bytes that the batch holds in memory.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Batch::Spans(spans) => spans.rows.get_array_memory_size(),
            Batch::Logs(logs) => logs.rows.get_array_memory_size(),
            Batch::Metrics(m) => {
                let others: usize =
                    [&m.series, &m.exemplars].iter().map(|rows| rows.get_array_memory_size()).sum();
                others + point_bytes(&m.points)
            }
        }
    }
}
