//! What targets show on their metrics page: Prometheus' text formats, OpenMetrics and delimited protobuf.
//!
//! [`parse`] walks a page and shows every sample to a visitor, with what the page says of its metric. Text is borrowed
//! from the page wherever it needs no unescaping; nothing is kept from one sample to the next but what the formats ask
//! for: the family's metadata, the start times of OpenMetrics, and one histogram where it is to be converted.
//!
//! Like Prometheus, a page with one bad line is refused as a whole: who shows it is broken, and half a page would look
//! like series that ended. The error names the line.

mod created;
mod custom_buckets;
mod escape;
mod number;
mod output;
mod protobuf;
mod text;
pub mod write;

use std::borrow::Cow;
use std::ops::ControlFlow;

use throughline_model::native_histogram::NativeHistogram;
use throughline_model::point::MetricType;

pub use escape::{Escaping, is_legacy_label_name, is_legacy_metric_name};
pub use number::{format_float, format_open_metrics_float};

/// The label that is the metric's name.
pub const NAME_LABEL: &str = "__name__";

/// A name and a value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text formats 0.0.4 and 1.0.0: the later one only allows more names.
    Text,
    /// OpenMetrics text.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily` messages, each after its length.
    Protobuf,
}

impl Format {
    /// The format that a `Content-Type` names; none where it is none of these.
    pub fn from_content_type(content_type: &str) -> Option<Format> {
        let mut parts = content_type.split(';');
        match parts.next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/plain" => Some(Format::Text),
            "application/openmetrics-text" => Some(Format::OpenMetrics),
            "application/vnd.google.protobuf" => Some(Format::Protobuf),
            _ => None,
        }
    }
}

/// What to make of histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    /// Native histograms are taken; else their classic buckets are.
    pub native: bool,
    /// Classic buckets are taken also where there is a native histogram in their place.
    pub always_classic: bool,
    /// Classic histograms become native histograms with custom buckets.
    pub convert_classic: bool,
}

/// What a page says of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// The family's name: that of its series without `_total`, `_bucket` and the like. Empty where nothing is said.
    pub family: &'a str,
    /// What it is.
    pub kind: MetricType,
    /// What it tells, in a sentence.
    pub help: &'a str,
    /// Its unit, in words: `seconds`.
    pub unit: &'a str,
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number.
    Number(f64),
    /// A native histogram.
    Histogram(&'a NativeHistogram),
}

/// A reference out of a sample, mostly to a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar<'a> {
    /// What it refers to.
    pub labels: Vec<Pair<'a>>,
    /// What was measured.
    pub value: f64,
    /// When, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
}

/// One sample of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    /// [`NAME_LABEL`] and then the labels as they stand on the page; values may be empty and names may repeat.
    pub labels: &'a [Pair<'a>],
    /// What the page says of the metric.
    pub metadata: Metadata<'a>,
    /// The value.
    pub value: Value<'a>,
    /// When, milliseconds since the epoch; mostly absent.
    pub timestamp_ms: Option<i64>,
    /// When counting began, milliseconds since the epoch; 0 where that is not said.
    pub start_timestamp_ms: i64,
    /// Its exemplars.
    pub exemplars: &'a [Exemplar<'a>],
}

/// Why a page is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpositionError {
    /// A line of text.
    #[error("line {line}: {detail}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// A message of the protobuf format.
    #[error("metric family {family} {name:?}: {detail}")]
    Family {
        /// Counted from 1.
        family: usize,
        /// Its name, if it was read.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// Shows every sample of a page to `visit`, until that breaks off.
pub fn parse<F>(format: Format, page: &[u8], histograms: Histograms, visit: F) -> Result<(), ExpositionError>
where
    F: FnMut(&Entry<'_>) -> ControlFlow<()>,
{
    let output = output::Output::new(histograms, visit);
    match format {
        Format::Text => text::parse(page, text::Dialect::Prometheus, output),
        Format::OpenMetrics => text::parse(page, text::Dialect::OpenMetrics, output),
        Format::Protobuf => protobuf::parse(page, output),
    }
}

#[cfg(test)]
mod tests;
