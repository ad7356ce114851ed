//! The books of a service whose telemetry is known to the item.

use std::sync::Arc;

use throughline_model::batch::{MetricBatchBuilder, PointRow, SeriesRow};
use throughline_model::point::{MetricType, PointKind};
use throughline_model::{Batch, TraceId};
use throughline_store::memtable::Memtable;

use super::*;
use crate::sample::{
    MS, SECOND, attribute_list, histogram_point, log, log_batch, object, span, span_batch, trace_id,
};

/// A whole minute.
const START: i64 = 1_790_000_040 * SECOND;

/// Requests of `cart` by its own metric: in each minute so many, of which the second figure failed.
fn metrics(minutes: &[(u64, u64)]) -> Batch {
    let mut builder = MetricBatchBuilder::new();
    let (resource, scope) = (builder.add_resource("cart", "{}"), builder.add_scope("{}"));
    for (number, status) in ["200", "500"].into_iter().enumerate() {
        let series = builder.push_series(&SeriesRow {
            resource,
            scope,
            fingerprint: [number as u8 + 1; 16],
            metric: "http.server.request.duration",
            kind: PointKind::Histogram,
            unit: "s",
            description: "",
            temporality: 2,
            monotonic: false,
            attributes: &attribute_list(&object(serde_json::json!({"http.response.status_code": status}))),
            metric_type: MetricType::Histogram,
        });
        let mut count = 0;
        for (minute, (requests, errors)) in (1..).zip(minutes) {
            count += if number == 1 { *errors } else { requests - errors };
            let point = histogram_point(START + minute * 60 * SECOND, START, &[count, 0, 0, 0, 0, 0, 0]);
            builder.push_point(&PointRow {
                series,
                time: point.time,
                start_time: point.start_time,
                value: 0.0,
                flags: 0,
                payload: Some(&point.payload),
            });
        }
    }
    Batch::Metrics(builder.finish())
}

#[test]
fn a_window_balances_to_the_request() {
    // Of 20 requests in each of two minutes cart's head sampler keeps 15; the records say which it did not keep. In the second
    // minute four fail: two with an error status, one without, and one record belongs to no span.
    let (mut spans, mut logs) = (Vec::new(), Vec::new());
    for n in 0..40u64 {
        let at = START / MS + n as i64 * 3_000;
        let is_kept = n % 4 != 0;
        let fails = matches!(n, 21..=23);
        let id = trace_id(n + 1);
        if is_kept {
            let mut span = span(n + 1, 0, "cart", "GET /cart", at, 100);
            (span.trace_id, span.status_code) = (id, if matches!(n, 21 | 22) { 2 } else { 0 });
            spans.push(span);
        }
        let mut record = log(Some(n + 1), "cart", at + 50, if fails { 17 } else { 9 }, "served");
        (record.trace_id, record.unsampled) = (Some(id), !is_kept);
        logs.push(record);
    }
    let mut alone = log(None, "cart", START / MS + 118_950, 17, "cleanup failed");
    alone.trace_id = None;
    logs.push(alone);
    let memtable = Arc::new(Memtable::new());
    for batch in [span_batch(&spans), log_batch(&logs), metrics(&[(20, 0), (20, 3)])] {
        memtable.insert(batch, START);
    }
    let snapshot = Snapshot::new(vec![memtable.view()], Arc::default(), Arc::default(), START + 600 * SECOND);
    let range = TimeRange { start: START, end: START + 120 * SECOND };
    let books = reconcile(&snapshot, &Request { service: "cart".to_owned(), range }).expect("reconciled");
    assert_eq!(books.metrics, ["http.server.request.duration"]);
    assert_eq!(books.minutes.len(), 2);
    let by_metric: Vec<Option<Counts>> = books.minutes.iter().map(|row| row.metric).collect();
    let counts = |requests: f64, errors: f64| Some(Counts { requests, errors });
    assert_eq!(by_metric, [counts(20.0, 0.0), counts(20.0, 3.0)]);
    assert_eq!((books.total.spans.requests, books.total.spans.errors), (30.0, 2.0));
    let logs = books.total.logs;
    assert_eq!((logs.records, logs.traces, logs.unsampled_traces), (41, 40, 10));
    assert_eq!((logs.error_records, logs.error_traces, logs.errors_without_trace), (4, 3, 1));
    let parts: Vec<(&str, &str, f64)> = books
        .differences
        .iter()
        .flat_map(|difference| {
            let parts = difference.parts.iter();
            parts.map(|part| (difference.of.as_str(), part.cause.as_str(), part.amount))
        })
        .collect();
    let expected = [
        ("requests", "sampled_out_by_head", 10.0),
        ("errors", "no_span", 0.75),
        ("errors", "outside_any_span", 1.0),
        ("errors", "status_unset", 1.0),
    ];
    assert_eq!(parts, expected, "{:#?}", books.differences);
    assert!(books.balanced, "{:#?}", books.differences);
    assert!(TraceId::from_low(1).is_some());
}

#[test]
fn a_service_that_nobody_knows_has_empty_books() {
    let snapshot = Snapshot::new(Vec::new(), Arc::default(), Arc::default(), START);
    let range = TimeRange { start: START, end: START + 60 * SECOND };
    let books = reconcile(&snapshot, &Request { service: "nobody".to_owned(), range }).expect("reconciled");
    assert!(books.balanced && books.minutes.is_empty() && books.differences.is_empty(), "{books:?}");
}

#[test]
fn counts_are_spread_over_the_minutes_between() {
    let mut minutes = Minutes::new(TimeRange { start: START, end: START + 180 * SECOND });
    let counts = Counts { requests: 120.0, errors: 12.0 };
    minutes.spread(START - 30 * SECOND, START + 90 * SECOND, counts, |row| &mut row.metric);
    let requests: Vec<Option<f64>> =
        minutes.rows.iter().map(|row| row.metric.map(|counts| counts.requests)).collect();
    assert_eq!(requests, [Some(60.0), Some(30.0), None]);
}
