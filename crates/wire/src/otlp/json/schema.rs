//! The messages of OTLP as tables: names, field numbers and types of opentelemetry-proto 1.x.

use std::fmt;

/// A message type.
pub(super) struct Message {
    /// Its name, for error messages.
    pub name: &'static str,
    /// Its fields; members that are none of them are skipped.
    pub fields: &'static [Field],
    /// A field that is written first wherever its member stands: the key of an attribute, because series are told
    /// apart by the bytes of their attributes.
    pub first: Option<u32>,
}

impl Message {
    /// The field of a member's name, in lowerCamelCase or snake_case.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| is_name_of(name.as_bytes(), field.name.as_bytes()))
    }
}

/// Whether a member's name is the snake_case `field` in one of its two spellings.
fn is_name_of(name: &[u8], field: &[u8]) -> bool {
    if name == field {
        return true;
    }
    let mut rest = name.iter();
    let mut upper = false;
    for byte in field {
        if *byte == b'_' {
            upper = true;
            continue;
        }
        let expected = if std::mem::take(&mut upper) { byte.to_ascii_uppercase() } else { *byte };
        if rest.next() != Some(&expected) {
            return false;
        }
    }
    rest.next().is_none()
}

/// A field of a message.
pub(super) struct Field {
    /// Its name in snake_case.
    pub name: &'static str,
    /// Its number.
    pub number: u32,
    /// Its type.
    pub kind: Kind,
    /// Whether it is a list.
    pub repeated: bool,
}

/// A field's type.
pub(super) enum Kind {
    Text,
    /// Base64.
    Bytes,
    /// Hex.
    Id,
    Bool,
    /// `uint32` or `uint64`.
    Unsigned,
    /// `int64`.
    Signed,
    /// `sint32`.
    Zigzag,
    Fixed64,
    /// `fixed64`, but negative numbers are taken, too: they are beyond every limit, which costs the item, not the request.
    Time,
    SignedFixed64,
    Fixed32,
    Double,
    /// The prefix of the values' names, and the names from value 0 up.
    Enumeration(&'static str, &'static [&'static str]),
    Message(&'static Message),
}

impl Kind {
    /// Whether lists of this type are packed into one field.
    pub fn is_packed(&self) -> bool {
        !matches!(self, Kind::Text | Kind::Bytes | Kind::Id | Kind::Message(_))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Text => "a string",
            Kind::Bytes => "a base64 string",
            Kind::Id => "a hex string",
            Kind::Bool => "a boolean",
            Kind::Unsigned | Kind::Fixed64 | Kind::Time => "an unsigned integer, as a number or a string",
            Kind::Fixed32 => "an unsigned 32-bit integer",
            Kind::Signed | Kind::SignedFixed64 => "an integer, as a number or a string",
            Kind::Zigzag => "a 32-bit integer",
            Kind::Double => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            Kind::Enumeration(..) => "an enumeration's number or name",
            Kind::Message(message) => return write!(f, "an object ({})", message.name),
        })
    }
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: false }
}

const fn list(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, repeated: true }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident = $text:literal { $($field:expr),* $(,)? })*) => {$(
        $(#[$doc])*
        pub(super) static $name: Message = Message { name: $text, fields: &[$($field),*], first: None };
    )*};
}

use Kind::{
    Bool, Bytes, Double, Enumeration, Fixed32, Fixed64, Id, Signed, SignedFixed64, Text, Time, Unsigned,
    Zigzag,
};

static KEY_VALUE: Message = Message {
    name: "KeyValue",
    fields: &[one("key", 1, Text), one("value", 2, Kind::Message(&ANY_VALUE))],
    first: Some(1),
};

const SPAN_KIND: Kind =
    Enumeration("SPAN_KIND_", &["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"]);

const STATUS_CODE: Kind = Enumeration("STATUS_CODE_", &["UNSET", "OK", "ERROR"]);

const TEMPORALITY: Kind = Enumeration("AGGREGATION_TEMPORALITY_", &["UNSPECIFIED", "DELTA", "CUMULATIVE"]);

#[rustfmt::skip]
const SEVERITY: Kind = Enumeration("SEVERITY_NUMBER_", &[
    "UNSPECIFIED",
    "TRACE", "TRACE2", "TRACE3", "TRACE4",
    "DEBUG", "DEBUG2", "DEBUG3", "DEBUG4",
    "INFO", "INFO2", "INFO3", "INFO4",
    "WARN", "WARN2", "WARN3", "WARN4",
    "ERROR", "ERROR2", "ERROR3", "ERROR4",
    "FATAL", "FATAL2", "FATAL3", "FATAL4",
]);

messages! {
    // common
    ANY_VALUE = "AnyValue" {
        one("string_value", 1, Text),
        one("bool_value", 2, Bool),
        one("int_value", 3, Signed),
        one("double_value", 4, Double),
        one("array_value", 5, Kind::Message(&ARRAY_VALUE)),
        one("kvlist_value", 6, Kind::Message(&KEY_VALUE_LIST)),
        one("bytes_value", 7, Bytes),
    }
    ARRAY_VALUE = "ArrayValue" { list("values", 1, Kind::Message(&ANY_VALUE)) }
    KEY_VALUE_LIST = "KeyValueList" { list("values", 1, Kind::Message(&KEY_VALUE)) }
    RESOURCE = "Resource" {
        list("attributes", 1, Kind::Message(&KEY_VALUE)),
        one("dropped_attributes_count", 2, Unsigned),
    }
    SCOPE = "InstrumentationScope" {
        one("name", 1, Text),
        one("version", 2, Text),
        list("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("dropped_attributes_count", 4, Unsigned),
    }

    // traces
    /// `ExportTraceServiceRequest`.
    TRACES = "ExportTraceServiceRequest" { list("resource_spans", 1, Kind::Message(&RESOURCE_SPANS)) }
    RESOURCE_SPANS = "ResourceSpans" {
        one("resource", 1, Kind::Message(&RESOURCE)),
        list("scope_spans", 2, Kind::Message(&SCOPE_SPANS)),
        one("schema_url", 3, Text),
    }
    SCOPE_SPANS = "ScopeSpans" {
        one("scope", 1, Kind::Message(&SCOPE)),
        list("spans", 2, Kind::Message(&SPAN)),
        one("schema_url", 3, Text),
    }
    SPAN = "Span" {
        one("trace_id", 1, Id),
        one("span_id", 2, Id),
        one("trace_state", 3, Text),
        one("parent_span_id", 4, Id),
        one("name", 5, Text),
        one("kind", 6, SPAN_KIND),
        one("start_time_unix_nano", 7, Time),
        one("end_time_unix_nano", 8, Time),
        list("attributes", 9, Kind::Message(&KEY_VALUE)),
        one("dropped_attributes_count", 10, Unsigned),
        list("events", 11, Kind::Message(&EVENT)),
        one("dropped_events_count", 12, Unsigned),
        list("links", 13, Kind::Message(&LINK)),
        one("dropped_links_count", 14, Unsigned),
        one("status", 15, Kind::Message(&STATUS)),
        one("flags", 16, Fixed32),
    }
    EVENT = "Event" {
        one("time_unix_nano", 1, Time),
        one("name", 2, Text),
        list("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("dropped_attributes_count", 4, Unsigned),
    }
    LINK = "Link" {
        one("trace_id", 1, Id),
        one("span_id", 2, Id),
        one("trace_state", 3, Text),
        list("attributes", 4, Kind::Message(&KEY_VALUE)),
        one("dropped_attributes_count", 5, Unsigned),
        one("flags", 6, Fixed32),
    }
    STATUS = "Status" { one("message", 2, Text), one("code", 3, STATUS_CODE) }

    // logs
    /// `ExportLogsServiceRequest`.
    LOGS = "ExportLogsServiceRequest" { list("resource_logs", 1, Kind::Message(&RESOURCE_LOGS)) }
    RESOURCE_LOGS = "ResourceLogs" {
        one("resource", 1, Kind::Message(&RESOURCE)),
        list("scope_logs", 2, Kind::Message(&SCOPE_LOGS)),
        one("schema_url", 3, Text),
    }
    SCOPE_LOGS = "ScopeLogs" {
        one("scope", 1, Kind::Message(&SCOPE)),
        list("log_records", 2, Kind::Message(&LOG_RECORD)),
        one("schema_url", 3, Text),
    }
    LOG_RECORD = "LogRecord" {
        one("time_unix_nano", 1, Time),
        one("severity_number", 2, SEVERITY),
        one("severity_text", 3, Text),
        one("body", 5, Kind::Message(&ANY_VALUE)),
        list("attributes", 6, Kind::Message(&KEY_VALUE)),
        one("dropped_attributes_count", 7, Unsigned),
        one("flags", 8, Fixed32),
        one("trace_id", 9, Id),
        one("span_id", 10, Id),
        one("observed_time_unix_nano", 11, Time),
        one("event_name", 12, Text),
    }

    // metrics
    /// `ExportMetricsServiceRequest`.
    METRICS = "ExportMetricsServiceRequest" { list("resource_metrics", 1, Kind::Message(&RESOURCE_METRICS)) }
    RESOURCE_METRICS = "ResourceMetrics" {
        one("resource", 1, Kind::Message(&RESOURCE)),
        list("scope_metrics", 2, Kind::Message(&SCOPE_METRICS)),
        one("schema_url", 3, Text),
    }
    SCOPE_METRICS = "ScopeMetrics" {
        one("scope", 1, Kind::Message(&SCOPE)),
        list("metrics", 2, Kind::Message(&METRIC)),
        one("schema_url", 3, Text),
    }
    METRIC = "Metric" {
        one("name", 1, Text),
        one("description", 2, Text),
        one("unit", 3, Text),
        one("gauge", 5, Kind::Message(&GAUGE)),
        one("sum", 7, Kind::Message(&SUM)),
        one("histogram", 9, Kind::Message(&HISTOGRAM)),
        one("exponential_histogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        one("summary", 11, Kind::Message(&SUMMARY)),
        list("metadata", 12, Kind::Message(&KEY_VALUE)),
    }
    GAUGE = "Gauge" { list("data_points", 1, Kind::Message(&NUMBER_POINT)) }
    SUM = "Sum" {
        list("data_points", 1, Kind::Message(&NUMBER_POINT)),
        one("aggregation_temporality", 2, TEMPORALITY),
        one("is_monotonic", 3, Bool),
    }
    HISTOGRAM = "Histogram" {
        list("data_points", 1, Kind::Message(&HISTOGRAM_POINT)),
        one("aggregation_temporality", 2, TEMPORALITY),
    }
    EXPONENTIAL_HISTOGRAM = "ExponentialHistogram" {
        list("data_points", 1, Kind::Message(&EXPONENTIAL_POINT)),
        one("aggregation_temporality", 2, TEMPORALITY),
    }
    SUMMARY = "Summary" { list("data_points", 1, Kind::Message(&SUMMARY_POINT)) }
    NUMBER_POINT = "NumberDataPoint" {
        one("start_time_unix_nano", 2, Time),
        one("time_unix_nano", 3, Time),
        one("as_double", 4, Double),
        list("exemplars", 5, Kind::Message(&EXEMPLAR)),
        one("as_int", 6, SignedFixed64),
        list("attributes", 7, Kind::Message(&KEY_VALUE)),
        one("flags", 8, Unsigned),
    }
    HISTOGRAM_POINT = "HistogramDataPoint" {
        one("start_time_unix_nano", 2, Time),
        one("time_unix_nano", 3, Time),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        list("bucket_counts", 6, Fixed64),
        list("explicit_bounds", 7, Double),
        list("exemplars", 8, Kind::Message(&EXEMPLAR)),
        list("attributes", 9, Kind::Message(&KEY_VALUE)),
        one("flags", 10, Unsigned),
        one("min", 11, Double),
        one("max", 12, Double),
    }
    EXPONENTIAL_POINT = "ExponentialHistogramDataPoint" {
        list("attributes", 1, Kind::Message(&KEY_VALUE)),
        one("start_time_unix_nano", 2, Time),
        one("time_unix_nano", 3, Time),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        one("scale", 6, Zigzag),
        one("zero_count", 7, Fixed64),
        one("positive", 8, Kind::Message(&BUCKETS)),
        one("negative", 9, Kind::Message(&BUCKETS)),
        one("flags", 10, Unsigned),
        list("exemplars", 11, Kind::Message(&EXEMPLAR)),
        one("min", 12, Double),
        one("max", 13, Double),
        one("zero_threshold", 14, Double),
    }
    BUCKETS = "Buckets" { one("offset", 1, Zigzag), list("bucket_counts", 2, Unsigned) }
    SUMMARY_POINT = "SummaryDataPoint" {
        one("start_time_unix_nano", 2, Time),
        one("time_unix_nano", 3, Time),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        list("quantile_values", 6, Kind::Message(&VALUE_AT_QUANTILE)),
        list("attributes", 7, Kind::Message(&KEY_VALUE)),
        one("flags", 8, Unsigned),
    }
    VALUE_AT_QUANTILE = "ValueAtQuantile" { one("quantile", 1, Double), one("value", 2, Double) }
    EXEMPLAR = "Exemplar" {
        one("time_unix_nano", 2, Time),
        one("as_double", 3, Double),
        one("span_id", 4, Id),
        one("trace_id", 5, Id),
        one("as_int", 6, SignedFixed64),
        list("filtered_attributes", 7, Kind::Message(&KEY_VALUE)),
    }
}
