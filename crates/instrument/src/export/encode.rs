//! OTLP requests from what the queues and histograms gave.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// A request with these spans.
pub(crate) fn traces(resource: &Resource, spans: Vec<(Arc<str>, Span)>) -> Vec<u8> {
    let scope_spans =
        by_scope(spans).map(|(scope, spans)| ScopeSpans { scope, spans, ..ScopeSpans::default() });
    let resource_spans = ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: scope_spans.collect(),
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

/// A request with these log records.
pub(crate) fn logs(resource: &Resource, records: Vec<(Arc<str>, LogRecord)>) -> Vec<u8> {
    let scope_logs = by_scope(records).map(|(scope, log_records)| ScopeLogs {
        scope,
        log_records,
        ..ScopeLogs::default()
    });
    let resource_logs = ResourceLogs {
        resource: Some(resource.clone()),
        scope_logs: scope_logs.collect(),
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }.encode_to_vec()
}

/// A request with these metrics.
pub(crate) fn metrics(resource: &Resource, metrics: Vec<Metric>) -> Vec<u8> {
    let scope = InstrumentationScope { name: env!("CARGO_PKG_NAME").to_owned(), ..Default::default() };
    let resource_metrics = ResourceMetrics {
        resource: Some(resource.clone()),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec()
}

/// How many data points these metrics have.
pub(crate) fn count_points(metrics: &[Metric]) -> usize {
    let points = |metric: &Metric| match &metric.data {
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        _ => 0,
    };
    metrics.iter().map(points).sum()
}

fn by_scope<T>(items: Vec<(Arc<str>, T)>) -> impl Iterator<Item = (Option<InstrumentationScope>, Vec<T>)> {
    let mut scopes: BTreeMap<Arc<str>, Vec<T>> = BTreeMap::new();
    for (scope, item) in items {
        scopes.entry(scope).or_default().push(item);
    }
    scopes.into_iter().map(|(name, items)| {
        let scope = InstrumentationScope { name: name.to_string(), ..InstrumentationScope::default() };
        (Some(scope), items)
    })
}
