//! What the generator promises: repeatable, of the right size, and with references that lead somewhere.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, metric::Data};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::*;

const BASE_NS: u64 = 1_790_000_000_000_000_000;

fn spans(generator: &Generator, count: u64) -> Vec<Span> {
    let requests = generator.traces(count).map(|r| ExportTraceServiceRequest::decode(&r.body[..]).unwrap());
    let resources = requests.flat_map(|r| r.resource_spans);
    resources.flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
}

fn records(generator: &Generator, count: u64) -> Vec<LogRecord> {
    let requests = generator.logs(count).map(|r| ExportLogsServiceRequest::decode(&r.body[..]).unwrap());
    let resources = requests.flat_map(|r| r.resource_logs);
    resources.flat_map(|r| r.scope_logs).flat_map(|s| s.log_records).collect()
}

fn histograms(generator: &Generator, count: u64) -> Vec<HistogramDataPoint> {
    let requests =
        generator.metrics(count).map(|r| ExportMetricsServiceRequest::decode(&r.body[..]).unwrap());
    let metrics =
        requests.flat_map(|r| r.resource_metrics).flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
    let points = metrics.flat_map(|metric| match metric.data {
        Some(Data::Histogram(histogram)) => histogram.data_points,
        _ => Vec::new(),
    });
    points.collect()
}

fn bytes_per_item(requests: impl Iterator<Item = Request>) -> f64 {
    let (bytes, items) = requests.fold((0, 0), |(bytes, items), r| (bytes + r.body.len(), items + r.items));
    bytes as f64 / items as f64
}

#[test]
fn same_seed_gives_same_bytes() {
    let (one, other) = (Generator::new(42, BASE_NS), Generator::new(42, BASE_NS));
    assert!(one.traces(3_000).eq(other.traces(3_000)));
    assert!(one.logs(3_000).eq(other.logs(3_000)));
    assert!(one.metrics(3_000).eq(other.metrics(3_000)));
    assert!(!one.traces(3_000).eq(Generator::new(43, BASE_NS).traces(3_000)));
}

#[test]
fn items_have_the_sizes_of_real_telemetry() {
    let generator = Generator::new(42, BASE_NS);
    let (span, record) = (bytes_per_item(generator.traces(200_000)), bytes_per_item(generator.logs(200_000)));
    let point = bytes_per_item(generator.metrics(414_720));
    println!("{span:.1} bytes a span, {record:.1} a record, {point:.1} a data point");
    assert!((350.0..400.0).contains(&span), "{span} bytes a span");
    assert!((230.0..260.0).contains(&record), "{record} bytes a log record");
    assert!((180.0..210.0).contains(&point), "{point} bytes a data point");
}

#[test]
fn counts_are_what_was_asked_for() {
    let generator = Generator::new(1, BASE_NS);
    assert_eq!(generator.logs(1_234).map(|r| r.items).sum::<usize>(), 1_234);
    assert_eq!(generator.metrics(4_321).map(|r| r.items).sum::<usize>(), 4_321);
    let spans: usize = generator.traces(100_000).map(|r| r.items).sum();
    assert!((90_000..110_000).contains(&spans), "{spans} spans");
    assert!(generator.traces(100_000).all(|r| r.items <= ITEMS_PER_REQUEST));
}

#[test]
fn truth_lists_every_trace_with_its_spans() {
    let generator = Generator::new(5, BASE_NS);
    let mut found: HashMap<Vec<u8>, usize> = HashMap::new();
    for span in spans(&generator, 5_000) {
        *found.entry(span.trace_id).or_default() += 1;
    }
    let truth: HashMap<Vec<u8>, usize> =
        generator.trace_ids(5_000).map(|trace| (trace.trace_id.to_vec(), trace.spans)).collect();
    assert_eq!(found, truth);
}

#[test]
fn children_lie_within_parents_and_all_ends_before_the_base() {
    let generator = Generator::new(6, BASE_NS);
    for number in 0..2_000 {
        let plan = generator.plan(number);
        for span in &plan.spans {
            let end_ns = span.start_ns + span.duration_ns;
            assert!(end_ns <= BASE_NS, "{span:?}");
            let Some(parent) = span.parent.map(|at| &plan.spans[at]) else { continue };
            let inside = span.start_ns >= parent.start_ns && end_ns <= parent.start_ns + parent.duration_ns;
            assert!(
                inside || matches!(span.work, plan::Work::Consume { .. }),
                "{span:?} outside of {parent:?}"
            );
        }
    }
}

#[test]
fn records_and_exemplars_refer_to_spans_that_exist() {
    let generator = Generator::new(7, BASE_NS).referring_to(10_000);
    let known: HashSet<(Vec<u8>, Vec<u8>)> =
        spans(&generator, 10_000).into_iter().map(|span| (span.trace_id, span.span_id)).collect();
    let records = records(&generator, 15_000);
    let with_context: Vec<_> = records.iter().filter(|record| !record.trace_id.is_empty()).collect();
    assert_eq!(with_context.len() * 5, records.len() * 2);
    let mut of_trace: HashMap<&[u8], u64> = HashMap::new();
    with_context.iter().for_each(|record| *of_trace.entry(&record.trace_id).or_default() += 1);
    assert!(of_trace.len() == 1_000 && of_trace.values().all(|count| *count == logs::WITH_CONTEXT));
    assert!(with_context.iter().all(|r| known.contains(&(r.trace_id.clone(), r.span_id.clone()))));
    let points = histograms(&generator, 50_000);
    assert!(!points.is_empty());
    for point in points {
        let [exemplar] = &point.exemplars[..] else { panic!("one exemplar a point: {point:?}") };
        assert!(known.contains(&(exemplar.trace_id.clone(), exemplar.span_id.clone())));
    }
}

#[test]
fn a_sixth_of_the_points_are_histograms_and_a_fiftieth_of_the_spans_have_events() {
    let generator = Generator::new(8, BASE_NS);
    assert_eq!(histograms(&generator, 414_720).len(), 414_720 / 6);
    let spans = spans(&generator, 100_000);
    let share = spans.iter().filter(|span| !span.events.is_empty()).count() as f64 / spans.len() as f64;
    assert!((0.015..0.03).contains(&share), "{share}");
    let keys: HashSet<&str> = spans.iter().flat_map(|s| &s.attributes).map(|a| a.key.as_str()).collect();
    assert!((24..=30).contains(&keys.len()), "{} keys", keys.len());
    let attributes = spans.iter().map(|s| s.attributes.len()).sum::<usize>() as f64 / spans.len() as f64;
    assert!((6.0..7.5).contains(&attributes), "{attributes} attributes a span");
}
