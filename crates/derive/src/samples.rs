//! How the state becomes series: remote write 2.0 requests, under the names that Grafana's service graph and span metrics
//! views query.
//!
//! Values are cumulative and carry the time at which their series began. The first time that a series is written it
//! also gets a zero at that time: without it nobody could see the rise from nothing to the first value.

use throughline_model::point::MetricType;
use throughline_wire::prometheus::write::{Exemplar, RequestBuilder, Sample, Series as Labelled};

use crate::deriver::Deriver;
use crate::graph::{Connection, ServiceGraph};
use crate::histogram::{self, Bounds, Histogram};
use crate::red::{SpanMetrics, kind_label, status_label};
use crate::table::{Series, label_texts};

/// A request has about so many samples at most: some megabytes in the log and in memory.
const SAMPLES_PER_REQUEST: usize = 50_000;
/// The label of the series that stands for those beyond the limit.
const OVERFLOW: (&str, &str) = ("otel_metric_overflow", "true");

const CALLS: &str = "traces_spanmetrics_calls_total";
const LATENCY: &str = "traces_spanmetrics_latency";
const SIZE: &str = "traces_spanmetrics_size_total";
const REQUESTS: &str = "traces_service_graph_request_total";
const FAILED: &str = "traces_service_graph_request_failed_total";
const SERVER: &str = "traces_service_graph_request_server_seconds";
const CLIENT: &str = "traces_service_graph_request_client_seconds";
const UNPAIRED: &str = "traces_service_graph_unpaired_spans_total";

/// The state at a time, as requests, and how many samples they hold.
pub fn requests(deriver: &mut Deriver, at: i64) -> (Vec<Vec<u8>>, usize) {
    let mut out = Requests {
        time_ms: at.div_euclid(1_000_000),
        builder: RequestBuilder::new(),
        bodies: Vec::new(),
        samples: 0,
    };
    span_metrics(&mut deriver.red, &mut out);
    if let Some(graph) = &mut deriver.graph {
        service_graph(graph, &mut out);
    }
    out.end_request();
    (out.bodies, out.samples)
}

/// What was built could not be stored: the zeros of new series are due again.
pub fn take_back(deriver: &mut Deriver) {
    deriver.red.table.iter_mut().for_each(|series| series.is_written = false);
    if let Some(graph) = &mut deriver.graph {
        graph.edges.table.iter_mut().for_each(|series| series.is_written = false);
        graph.unpaired.iter_mut().for_each(|series| series.is_written = false);
    }
}

fn span_metrics(red: &mut SpanMetrics, out: &mut Requests) {
    let names = red.labels();
    let (table, bounds) = (&mut red.table, &red.bounds);
    for series in table.iter_mut() {
        let key = series.key.clone();
        let mut labels: Vec<(&str, &str)> = texts(&names, &key);
        if let Some([kind, status, ..]) = key.get(..) {
            labels.extend([("span_kind", kind_label(*kind)), ("status_code", status_label(*status))]);
        }
        let mut writer = out.writer(series, labels);
        let red = &mut series.value;
        writer.number(CALLS, "Spans.", MetricType::Counter, red.latency.count());
        writer.number(SIZE, "Bytes of the spans' fields.", MetricType::Counter, red.bytes);
        writer.histogram(LATENCY, "Durations of spans.", bounds, &mut red.latency);
    }
}

fn service_graph(graph: &mut ServiceGraph, out: &mut Requests) {
    let names = graph.labels();
    for series in graph.edges.table.iter_mut() {
        let key = series.key.clone();
        let mut writer = out.writer(series, edge_labels(&names, &key));
        let edge = &mut series.value;
        let requests = edge.server.count();
        writer.number(REQUESTS, "Requests between two services.", MetricType::Counter, requests);
        let help = "Requests that either side calls failed.";
        writer.number(FAILED, help, MetricType::Counter, edge.failed);
        let help = "Durations of requests as the server saw them.";
        writer.histogram(SERVER, help, &graph.edges.bounds, &mut edge.server);
        let help = "Durations of requests as the client saw them.";
        writer.histogram(CLIENT, help, &graph.edges.bounds, &mut edge.client);
    }
    for series in graph.unpaired.iter_mut() {
        let key = series.key.clone();
        let mut writer = out.writer(series, edge_labels(&names, &key));
        let help = "Spans of requests whose other side sent no span.";
        writer.number(UNPAIRED, help, MetricType::Counter, series.value);
    }
}

fn edge_labels<'a>(names: &'a [String], key: &'a [u8]) -> Vec<(&'a str, &'a str)> {
    let mut labels = texts(names, key);
    let connection = key.first().map_or("", |code| Connection::label(*code));
    labels.push(("connection_type", connection));
    labels
}

/// The texts of a key with their labels' names; for the overflow series what says that it is one.
fn texts<'a>(names: &'a [String], key: &'a [u8]) -> Vec<(&'a str, &'a str)> {
    if key.is_empty() {
        return vec![OVERFLOW];
    }
    let all = names.iter().zip(label_texts(key));
    all.filter_map(|(name, text)| Some((name.as_str(), text?))).collect()
}

struct Requests {
    time_ms: i64,
    builder: RequestBuilder,
    bodies: Vec<Vec<u8>>,
    samples: usize,
}

impl Requests {
    /// For one series of a table, whose labels these are; an empty value is the same as no label.
    fn writer<'a, V>(
        &'a mut self,
        series: &mut Series<V>,
        mut labels: Vec<(&'a str, &'a str)>,
    ) -> Writer<'a> {
        if self.builder.len() >= SAMPLES_PER_REQUEST {
            self.end_request();
        }
        labels.retain(|(_, value)| !value.is_empty());
        // A span was received at the time when its series was made; before it there was none.
        let start_ms = series.born_at.div_euclid(1_000_000).min(self.time_ms) - 1;
        let is_new = !std::mem::replace(&mut series.is_written, true);
        Writer { out: self, labels, start_ms, is_new }
    }

    fn end_request(&mut self) {
        if !self.builder.is_empty() {
            self.samples += self.builder.len();
            self.bodies.push(std::mem::take(&mut self.builder).finish());
        }
    }
}

/// Writes the metrics of one set of labels.
struct Writer<'a> {
    out: &'a mut Requests,
    labels: Vec<(&'a str, &'a str)>,
    start_ms: i64,
    is_new: bool,
}

impl Writer<'_> {
    fn number(&mut self, name: &str, help: &str, metric_type: MetricType, value: f64) {
        self.add(name, None, help, metric_type, value, &[]);
    }

    fn histogram(&mut self, name: &str, help: &str, bounds: &Bounds, histogram: &mut Histogram) {
        let exemplars = histogram.take_exemplars();
        let mut exemplars = exemplars.iter().peekable();
        let bucket = format!("{name}_bucket");
        let mut count = 0.0;
        for (index, (label, in_bucket)) in bounds.labels.iter().zip(histogram.counts()).enumerate() {
            count += in_bucket;
            let exemplar = exemplars.next_if(|exemplar| exemplar.bucket == index);
            self.add(&bucket, Some(label), help, MetricType::Histogram, count, exemplar.as_slice());
        }
        self.add(&format!("{name}_count"), None, help, MetricType::Histogram, count, &[]);
        self.add(&format!("{name}_sum"), None, help, MetricType::Histogram, histogram.sum, &[]);
    }

    fn add(
        &mut self,
        name: &str,
        le: Option<&str>,
        help: &str,
        metric_type: MetricType,
        value: f64,
        exemplars: &[&histogram::Exemplar],
    ) {
        let labels: Vec<(&str, &str)> = self
            .labels
            .iter()
            .copied()
            .chain([("__name__", name)])
            .chain(le.map(|bound| ("le", bound)))
            .collect();
        let start_ms = self.start_ms;
        let zero = Sample { time_ms: start_ms, start_ms, value: 0.0 };
        let sample = Sample { time_ms: self.out.time_ms, start_ms, value };
        let samples = if self.is_new { &[zero, sample][..] } else { &[sample][..] };
        let unit = if name.contains("_total") { "" } else { "seconds" };
        let series = Labelled { labels: &labels, metric_type, help, unit };
        let Some(exemplar) = exemplars.first() else {
            return self.out.builder.add(&series, samples, &[], &[]);
        };
        let (trace_id, span_id) = (hex(&exemplar.ids.0), hex(&exemplar.ids.1));
        let labels = [("trace_id", &*trace_id), ("span_id", &*span_id)];
        // Of a clock that was set back since, the exemplar says what the sample says.
        let time_ms = exemplar.at.div_euclid(1_000_000).min(self.out.time_ms);
        let exemplar = Exemplar { labels: &labels, time_ms, value: exemplar.duration_ns as f64 / 1e9 };
        self.out.builder.add(&series, samples, &[], &[exemplar]);
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}
