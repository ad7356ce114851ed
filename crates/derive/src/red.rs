//! Span metrics: how many spans, how long they took and how large they were, per service, name, kind and status.

use crate::columns::Spans;
use crate::config::DeriveConfig;
use crate::dimensions::{Dimensions, Precedence};
use crate::histogram::{Bounds, Histogram};
use crate::table::{SEPARATOR, Table};

/// The values of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Red {
    /// The sizes of all spans.
    pub bytes: f64,
    /// Their durations; its count is the number of calls.
    pub latency: Histogram,
}

/// The span metrics.
#[derive(Debug)]
pub struct SpanMetrics {
    /// Series by labels.
    pub table: Table<Red>,
    /// The bounds of the histograms.
    pub bounds: Bounds,
    /// Labels of the user's choice.
    pub dimensions: Dimensions,
    key: Vec<u8>,
}

impl SpanMetrics {
    /// Nothing counted yet.
    pub fn new(config: &DeriveConfig) -> SpanMetrics {
        SpanMetrics {
            table: Table::new(config.cardinality_limit),
            bounds: Bounds::new(&config.histogram_buckets),
            dimensions: Dimensions::new(config.dimensions.clone(), Precedence::Span),
            key: Vec::new(),
        }
    }

    /// Counts every span.
    pub fn observe(&mut self, spans: &Spans<'_>, now: i64) {
        let resources = self.dimensions.of_resources(spans);
        for row in 0..spans.len() {
            let key = &mut self.key;
            key.clear();
            key.extend([spans.kind(row), spans.status(row)]);
            key.extend_from_slice(spans.service(row).as_bytes());
            key.push(SEPARATOR);
            key.extend_from_slice(spans.name(row).as_bytes());
            self.dimensions.write(spans, row, &resources, key);
            let bounds = &self.bounds;
            let new = || Red { bytes: 0.0, latency: Histogram::new(bounds) };
            let red = self.table.entry(key, now, new);
            let weight = spans.weight(row);
            red.bytes += spans.bytes(row) as f64 * weight;
            let ids = || (spans.trace_id(row), spans.span_id(row));
            red.latency.observe(bounds, spans.duration_ns(row), weight, now, ids);
        }
    }

    /// The names of the labels, in the order of a key's texts.
    pub fn labels(&self) -> Vec<String> {
        ["service", "span_name"].map(str::to_owned).into_iter().chain(self.dimensions.labels()).collect()
    }
}

/// The value of the label `span_kind`.
pub fn kind_label(code: u8) -> &'static str {
    match code {
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        _ => "SPAN_KIND_UNSPECIFIED",
    }
}

/// The value of the label `status_code`.
pub fn status_label(code: u8) -> &'static str {
    match code {
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        _ => "STATUS_CODE_UNSET",
    }
}
