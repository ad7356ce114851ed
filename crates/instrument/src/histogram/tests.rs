//! Tests of histograms: buckets, series, and above all that an exemplar names the span that recorded it.

use std::sync::Arc;

use super::*;
use crate::telemetry::Core;
use crate::{Span, SpanKind, Tracer};

fn span() -> Span {
    Tracer::new(Arc::new(Core::for_test()), "test").root("GET /", SpanKind::Server)
}

fn points(histogram: &Histogram) -> Vec<proto::HistogramDataPoint> {
    match histogram.collect(9).unwrap().data {
        Some(metric::Data::Histogram(histogram)) => histogram.data_points,
        other => panic!("not a histogram: {other:?}"),
    }
}

#[test]
fn bounds_are_inclusive_above() {
    let histogram = Histogram::new("h", "s", &[1.0, 2.0]);
    for value in [0.5, 1.0, 1.5, 2.0, 2.5, f64::NAN, f64::INFINITY] {
        histogram.record(value, &[], None);
    }
    let point = points(&histogram).remove(0);
    assert_eq!(point.bucket_counts, [2, 2, 1]);
    assert_eq!((point.count, point.sum, point.min, point.max), (5, Some(7.5), Some(0.5), Some(2.5)));
    assert!(point.exemplars.is_empty());
}

#[test]
fn exemplars_name_the_span_that_recorded_the_value() {
    let histogram = Histogram::new("h", "s", &[0.5]);
    let spans: Vec<Span> = (0..4).map(|_| span()).collect();
    for (span, value) in spans.iter().zip([0.1, 0.9, 0.7, 0.6]) {
        histogram.record(value, &[], Some(&span.context()));
    }
    let exemplars = points(&histogram).remove(0).exemplars;
    let named: Vec<_> = exemplars.iter().map(|exemplar| (&exemplar.trace_id, &exemplar.span_id)).collect();
    // The only one of the low bucket; the largest and the latest of the high one.
    for (at, of) in [(0, 0), (1, 1), (2, 3)] {
        let context = spans[of].context();
        assert_eq!(named[at], (&context.trace_id.0.to_vec(), &context.span_id.0.to_vec()));
    }
    assert_eq!(exemplars[1].value, Some(exemplar::Value::AsDouble(0.9)));
    assert_eq!(exemplars.len(), 3);
}

#[test]
fn counts_accumulate_and_exemplars_start_anew() {
    let histogram = Histogram::new("h", "s", &[0.5]);
    let span = span();
    histogram.record(0.1, &[], Some(&span.context()));
    assert_eq!(points(&histogram)[0].exemplars.len(), 1);
    histogram.record(0.1, &[], None);
    let point = points(&histogram).remove(0);
    assert_eq!((point.count, point.exemplars.len()), (2, 0));
}

#[test]
fn an_unsampled_span_is_counted_and_leaves_no_exemplar() {
    let histogram = Histogram::new("h", "s", &[0.5]);
    let context = SpanContext { flags: 0, ..span().context() };
    histogram.record(0.1, &[], Some(&context));
    let point = points(&histogram).remove(0);
    assert_eq!((point.count, point.exemplars.len()), (1, 0));
}

#[test]
fn attributes_in_any_order_are_one_series() {
    let histogram = Histogram::new("h", "s", &[]);
    histogram.record(1.0, &[("a", 1.into()), ("b", "x".into())], None);
    histogram.record(1.0, &[("b", "x".into()), ("a", 1.into())], None);
    histogram.record(1.0, &[("a", 1.into())], None);
    let mut counts: Vec<u64> = points(&histogram).iter().map(|point| point.count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn series_over_the_limit_share_one() {
    let histogram = Histogram::new("h", "s", &[]);
    for i in 0..SERIES_MAX as i64 + 10 {
        histogram.record(1.0, &[("i", i.into())], None);
    }
    let points = points(&histogram);
    assert_eq!(points.len(), SERIES_MAX + 1);
    let overflow = points.iter().find(|point| point.attributes[0].key == OVERFLOW).unwrap();
    assert_eq!(overflow.count, 10);
}
