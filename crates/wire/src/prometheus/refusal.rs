//! Why a series, a sample or an exemplar is refused.

use std::fmt;

use crate::RejectReason;

/// Why an item is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    NoMetricName,
    EmptyLabelName,
    DuplicateLabel,
    NotUtf8,
    SymbolReference { reference: u64, symbols: usize },
    OddReferences { count: usize },
    FirstSymbol,
    LabelCount { count: usize, limit: usize },
    LabelBytes { bytes: usize, limit: usize },
    TextBytes { limit: usize },
    TooNew { time_ms: i64, received_at: i64, limit_ns: i64 },
    TooOld { time_ms: i64, received_at: i64, limit_ns: i64 },
    DuplicateTime { time_ms: i64 },
    ItemCount { limit: usize },
    NoSample,
    Histogram(BadHistogram),
}

/// What is wrong with a native histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BadHistogram {
    Schema { schema: i32 },
    SpanOffset { span: usize },
    Buckets { spans: u64, buckets: u64 },
    BothForms,
    NegativeCount,
    Count { count: f64, buckets: f64 },
    CustomBounds,
    CustomNegative,
    ZeroThreshold,
}

impl fmt::Display for BadHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadHistogram::Schema { schema } => {
                write!(f, "schema {schema} is not known: -4 to 8, and -53 for custom bounds, are")
            }
            BadHistogram::SpanOffset { span } => write!(f, "span {span} has a negative offset"),
            BadHistogram::Buckets { spans, buckets } => {
                write!(f, "spans name {spans} buckets, {buckets} have a count")
            }
            BadHistogram::BothForms => f.write_str("buckets have counts of integers and of floats"),
            BadHistogram::NegativeCount => f.write_str("a count is negative or not a number"),
            BadHistogram::Count { count, buckets } => {
                write!(f, "count is {count}, its buckets have {buckets} values together")
            }
            BadHistogram::CustomBounds => {
                f.write_str("custom bounds are not ascending, too few, or of another schema")
            }
            BadHistogram::CustomNegative => {
                f.write_str("with custom bounds there are no negative buckets and no zero bucket")
            }
            BadHistogram::ZeroThreshold => f.write_str("zero_threshold is negative or not a number"),
        }
    }
}

impl Refusal {
    pub fn reason(&self) -> RejectReason {
        match self {
            Refusal::NoMetricName
            | Refusal::EmptyLabelName
            | Refusal::DuplicateLabel
            | Refusal::FirstSymbol
            | Refusal::SymbolReference { .. }
            | Refusal::OddReferences { .. } => RejectReason::InvalidLabels,
            Refusal::NotUtf8 => RejectReason::InvalidUtf8,
            Refusal::LabelCount { .. } | Refusal::LabelBytes { .. } | Refusal::TextBytes { .. } => {
                RejectReason::TooLarge
            }
            Refusal::TooNew { .. } => RejectReason::TooNew,
            Refusal::TooOld { .. } => RejectReason::TooOld,
            Refusal::DuplicateTime { .. } => RejectReason::DuplicateTime,
            Refusal::ItemCount { .. } => RejectReason::TooManyItems,
            Refusal::NoSample | Refusal::Histogram(_) => RejectReason::InvalidMetric,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Refusal::NoMetricName => f.write_str("the series has no label __name__"),
            Refusal::EmptyLabelName => f.write_str("a label has no name"),
            Refusal::DuplicateLabel => f.write_str("a label is there twice"),
            Refusal::NotUtf8 => f.write_str("a label is not valid UTF-8"),
            Refusal::SymbolReference { reference, symbols } => {
                write!(f, "a reference is to symbol {reference}, the request has {symbols}")
            }
            Refusal::OddReferences { count } => {
                write!(f, "labels_refs has {count} references, they come in pairs")
            }
            Refusal::FirstSymbol => f.write_str("the first symbol must be empty"),
            Refusal::LabelCount { count, limit } => {
                write!(f, "{count} labels, limit {limit} (throughline.limits.attributes_per_item)")
            }
            Refusal::LabelBytes { bytes, limit } => {
                write!(f, "a label has {bytes} bytes, limit {limit} (throughline.limits.attribute_size)")
            }
            Refusal::TextBytes { limit } => {
                write!(f, "the labels of the request come to more than {limit} bytes; send less at a time")
            }
            Refusal::TooNew { time_ms, received_at, limit_ns } => write!(
                f,
                "timestamp {time_ms} is {} s ahead of the time of receipt, limit {} s; correct the sender's clock or \
                 raise throughline.limits.future",
                time_ms.saturating_sub(received_at / NS_PER_MS) / 1_000,
                limit_ns / 1_000_000_000
            ),
            Refusal::TooOld { time_ms, received_at, limit_ns } => write!(
                f,
                "timestamp {time_ms} is {} s before the time of receipt, limit {} s (throughline.retention.age); raise \
                 it to keep older data",
                (received_at / NS_PER_MS).saturating_sub(time_ms) / 1_000,
                limit_ns / 1_000_000_000
            ),
            Refusal::DuplicateTime { time_ms } => {
                write!(f, "the series has another value for timestamp {time_ms} in the same request")
            }
            Refusal::ItemCount { limit } => write!(
                f,
                "the request has more than {limit} samples (throughline.limits.items_per_request); send less at a time"
            ),
            Refusal::NoSample => f.write_str("the series has no sample, no histogram and no exemplar"),
            Refusal::Histogram(bad) => write!(f, "not a native histogram: {bad}"),
        }
    }
}

/// Nanoseconds of a millisecond.
pub(crate) const NS_PER_MS: i64 = 1_000_000;
