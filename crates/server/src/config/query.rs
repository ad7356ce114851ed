//! `throughline::query`, `throughline::prometheus` and `throughline::loki`: what queries may use, and how OTLP becomes
//! Prometheus' series and Loki's streams.

use std::time::Duration;

use throughline_scan::logs::LogLabels;
use throughline_scan::metrics::{Strategy, Translation};

use super::rules::Rules;
use super::section::Section;

/// What one query may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// How long it may take.
    pub timeout: Duration,
    /// Samples held at one time.
    pub samples_max: u64,
    /// Series selected.
    pub series_max: u64,
    /// Bytes held at one time, as estimated.
    pub memory_bytes_max: u64,
    /// How far back a selector looks for a sample.
    pub lookback: Duration,
    /// Which resource attributes are labels of log streams.
    pub log_labels: LogLabels,
}

impl Default for Query {
    /// Prometheus's defaults where it has the limit; the others keep one query within a quarter of 2 GiB.
    fn default() -> Query {
        Query {
            timeout: Duration::from_secs(120),
            samples_max: 50_000_000,
            series_max: 1_000_000,
            memory_bytes_max: 512 << 20,
            lookback: Duration::from_secs(300),
            log_labels: LogLabels::default(),
        }
    }
}

/// How OTLP becomes Prometheus series, what leaves the server, and rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prometheus {
    /// Names and labels.
    pub translation: Translation,
    /// Labels of everything that leaves this server.
    pub external_labels: Vec<(String, String)>,
    /// Rules, and who is told of alerts.
    pub rules: Rules,
}

/// Reads `throughline::loki`.
pub fn read_loki(mut section: Section<'_>, query: &mut Query) {
    let index = section.texts("resource_attributes_as_index_labels");
    if !index.is_empty() {
        query.log_labels = LogLabels::new(index);
    }
    section.finish();
}

/// Reads `throughline::query`.
pub fn read_query(mut section: Section<'_>, query: &mut Query) {
    query.timeout = section.duration("timeout", query.timeout, Duration::from_millis(1));
    query.samples_max = section.number("samples_max", query.samples_max, 1..=u64::MAX);
    query.series_max = section.number("series_max", query.series_max, 1..=u64::MAX);
    query.memory_bytes_max = section.size("memory_bytes_max", query.memory_bytes_max, 1 << 20);
    query.lookback = section.duration("lookback", query.lookback, Duration::from_millis(1));
    section.finish();
}

/// Reads `throughline::prometheus`; the keys below `otlp` are those of Prometheus's own configuration.
pub fn read_prometheus(mut section: Section<'_>, prometheus: &mut Prometheus) {
    prometheus.external_labels = section.pairs("external_labels");
    let mut otlp = section.section("otlp");
    let choices = [("false", false), ("true", true)];
    let translation = &mut prometheus.translation;
    translation.strategy = otlp.choice("translation_strategy", translation.strategy, &Strategy::ALL);
    translation.promote_resource_attributes = otlp.texts("promote_resource_attributes");
    translation.promote_all_resource_attributes =
        otlp.choice("promote_all_resource_attributes", false, &choices);
    translation.keep_identifying_resource_attributes =
        otlp.choice("keep_identifying_resource_attributes", false, &choices);
    translation.promote_scope_metadata = otlp.choice("promote_scope_metadata", false, &choices);
    otlp.finish();
    section.finish();
}
