//! The walk over a snapshot with a known spike: 12 steps of 20 requests, partition p7 slow in the last four.

use std::sync::Arc;

use throughline_model::attribute::{self, Value};
use throughline_model::batch::{
    ExemplarRow, LogBatchBuilder, LogRow, MetricBatchBuilder, PointRow, SeriesRow, SpanBatchBuilder, SpanRow,
};
use throughline_model::link::TraceSource;
use throughline_model::point::{MetricType, PointKind};
use throughline_model::{Batch, Level, SpanId};
use throughline_store::memtable::Memtable;

use super::*;
use crate::mechanism::Mechanism;
use crate::sample::{MS, SECOND, histogram_point, span_id, trace_id};

/// When the first step starts: a multiple of the step.
const START: i64 = 1_790_000_000 * SECOND;
const STEPS: i64 = 12;
const REQUESTS: i64 = 20;

/// Whether a request meets the hot partition.
fn is_slow(step: i64, request: i64) -> bool {
    step >= 8 && request % 4 == 0
}

fn number(step: i64, request: i64) -> u64 {
    (step * REQUESTS + request + 1) as u64
}

fn started(step: i64, request: i64) -> i64 {
    START + step * 5 * SECOND + request * 100 * MS
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut list = Vec::new();
    pairs.iter().for_each(|(key, value)| attribute::push(&mut list, key, Value::Str(value)));
    list
}

fn spans() -> Batch {
    let mut builder = SpanBatchBuilder::new();
    let gateway = builder.add_resource("gateway", r#"{"service.name":"gateway"}"#);
    let task = builder.add_resource("task-svc", r#"{"service.name":"task-svc"}"#);
    let scope = builder.add_scope("{}");
    for step in 0..STEPS {
        for request in 0..REQUESTS {
            let slow = is_slow(step, request);
            let partition = if slow { "p7".to_owned() } else { format!("p{}", request % 7) };
            let list = attributes(&[("db.system", "kv"), ("db.partition", &partition)]);
            let n = number(step, request);
            let all = if slow { 700 } else { 20 };
            let rows = [
                (gateway, 1, 0, "GET /tasks", 0, all),
                (task, 2, 1, "list", 2, all - 4),
                (task, 3, 2, "db:query", 4, all - 8),
            ];
            for (resource, id, parent, name, offset_ms, duration_ms) in rows {
                builder.push(&SpanRow {
                    resource,
                    scope,
                    trace_id: trace_id(n),
                    span_id: span_id(n * 10 + id),
                    parent_span_id: SpanId::from_slice(
                        &if parent == 0 { 0 } else { n * 10 + parent }.to_be_bytes(),
                    ),
                    trace_state: "",
                    flags: 1,
                    name,
                    kind: 2,
                    start_time: started(step, request) + offset_ms * MS,
                    duration_ns: duration_ms * MS,
                    status_code: 0,
                    status_message: "",
                    attributes: if id == 3 { &list } else { &[] },
                    events: &[],
                    links: &[],
                    adjusted_count: None,
                    dropped: "",
                });
            }
        }
    }
    Batch::Spans(builder.finish())
}

fn logs() -> Batch {
    let mut builder = LogBatchBuilder::new();
    let resource = builder.add_resource("task-svc", "{}");
    let scope = builder.add_scope("{}");
    for step in 0..STEPS {
        for request in (0..REQUESTS).filter(|request| is_slow(step, *request)) {
            let n = number(step, request);
            for (id, body) in [(3, "ThrottlingException, backing off, RetryAttempts=3"), (2, "listing")] {
                builder.push(&LogRow {
                    resource,
                    scope,
                    time: started(step, request) + 100 * MS,
                    observed_time: 0,
                    severity_number: 13,
                    severity_text: "WARN",
                    body,
                    body_kind: 0,
                    trace_id: Some(trace_id(n)),
                    span_id: Some(span_id(n * 10 + id)),
                    flags: 1,
                    trace_source: TraceSource::Field,
                    is_unsampled: false,
                    trace_id_original: "",
                    event_name: "",
                    attributes: &[],
                    dropped: "",
                    level: Level::Warn,
                });
            }
        }
    }
    Batch::Logs(builder.finish())
}

fn metrics() -> Batch {
    let mut builder = MetricBatchBuilder::new();
    let resource = builder.add_resource("task-svc", "{}");
    let scope = builder.add_scope("{}");
    let series = builder.push_series(&SeriesRow {
        resource,
        scope,
        fingerprint: [7; 16],
        metric: "request.duration",
        kind: PointKind::Histogram,
        unit: "ms",
        description: "",
        temporality: 2,
        monotonic: false,
        attributes: &[],
        metric_type: MetricType::Histogram,
    });
    let mut counts = [0u64; 7];
    for step in 0..STEPS {
        for request in 0..REQUESTS {
            let slow = is_slow(step, request);
            counts[if slow { 5 } else { 1 }] += 1;
            // The first slow exemplar of each step points at a trace that never came.
            let missing = request == 0;
            builder.push_exemplar(&ExemplarRow {
                series,
                time: started(step, request) + 700 * MS,
                value: if slow { 696.0 - request as f64 } else { 16.0 },
                trace_id: Some(trace_id(if missing { 1_000_000 } else { number(step, request) })),
                span_id: None,
                trace_id_original: "",
                attributes: &[],
            });
        }
        let point = histogram_point(START + (step + 1) * 5 * SECOND, START, &counts);
        builder.push_point(&PointRow {
            series,
            time: point.time,
            start_time: point.start_time,
            value: 0.0,
            flags: 0,
            payload: Some(&point.payload),
        });
    }
    Batch::Metrics(builder.finish())
}

fn snapshot(batches: Vec<Batch>) -> Snapshot {
    let memtable = Arc::new(Memtable::new());
    batches.into_iter().for_each(|batch| memtable.insert(batch, START));
    Snapshot::new(vec![memtable.view()], Arc::default(), Arc::default(), START + 600 * SECOND)
}

fn request() -> WalkRequest {
    let range = TimeRange { start: START, end: START + 120 * SECOND };
    WalkRequest { service: None, metric: None, range, quantile: 0.99 }
}

#[test]
fn every_step_resolves() {
    let snapshot = snapshot(vec![spans(), logs(), metrics()]);
    let walk = walk(&snapshot, &request()).expect("walked");
    assert!(walk.resolved, "{walk:#?}");
    let spike = walk.spike.found.as_ref().expect("spike");
    assert_eq!((spike.curve.service.as_str(), spike.start), ("task-svc", START + 40 * SECOND));
    assert_eq!(spike.curve.metric, "request.duration");
    assert!(spike.before_ms < 25.0 && spike.after_ms > 900.0, "{spike:?}");
    let exemplar = walk.exemplar.found.as_ref().expect("exemplar");
    assert_eq!((exemplar.total, exemplar.resolving), (80, 76));
    assert_eq!(exemplar.value_ms, 692.0);
    assert_eq!(walk.exemplar.link, Some(LinkState::Resolved));
    let trace = walk.trace.found.as_ref().expect("trace");
    assert_eq!((trace.summary.root_service.as_str(), trace.candidates), ("gateway", 20));
    let culprit = walk.culprit.found.as_ref().expect("culprit");
    assert_eq!((culprit.name.as_str(), culprit.self_time_ns), ("db:query", 692 * MS));
    let logs = walk.logs.found.as_ref().expect("logs");
    let relations: Vec<Relation> = logs.lines.iter().map(|line| line.relation).collect();
    assert_eq!(relations, [Relation::Span, Relation::Trace]);
    let cause = walk.cause.found.as_ref().expect("cause");
    assert_eq!((cause.mechanism, cause.retries), (Some(Mechanism::Throttling), Some(3)));
    let ending = "db.partition=p7 in 100 % of slow and 0 % of quiet traces.";
    assert!(cause.sentence.ends_with(ending), "{}", cause.sentence);
    assert_eq!((cause.slow_traces, cause.quiet_traces), (20, 50));
}

#[test]
fn the_same_request_gives_the_same_walk() {
    let snapshot = snapshot(vec![spans(), logs(), metrics()]);
    let once = walk(&snapshot, &request()).expect("walked");
    assert_eq!(walk(&snapshot, &request()).expect("walked"), once);
    let json = serde_json::to_string(&once).expect("written");
    let again: Walk = serde_json::from_str(&json).expect("read");
    let sentence = |walk: &Walk| walk.cause.found.as_ref().map(|cause| cause.sentence.clone());
    assert_eq!(
        (sentence(&again), again.logs, again.trace),
        (sentence(&once), once.logs.clone(), once.trace.clone())
    );
}

#[test]
fn without_logs_the_walk_says_so_and_goes_on() {
    let walk = walk(&snapshot(vec![spans(), metrics()]), &request()).expect("walked");
    assert!(!walk.resolved);
    assert_eq!(walk.logs.reason.as_deref(), Some("no log record carries this trace's id"));
    assert!(walk.cause.resolved, "slow traces still differ by partition");
}

#[test]
fn exemplars_whose_traces_are_not_here_are_told_apart() {
    let walk = walk(&snapshot(vec![metrics()]), &request()).expect("walked");
    assert_eq!(walk.exemplar.link, Some(LinkState::NeverReceived));
    assert!(
        walk.exemplar.reason.as_deref().is_some_and(|r| r.contains("none of the 80 exemplars")),
        "{walk:?}"
    );
    assert_eq!(walk.trace.reason.as_deref(), Some("no trace of task-svc within the spike is stored"));
}

#[test]
fn nothing_stored_is_an_answer_too() {
    let walk = walk(&snapshot(Vec::new()), &request()).expect("walked");
    assert!(!walk.resolved);
    assert!(walk.spike.reason.as_deref().is_some_and(|r| r.starts_with("no latency histogram has values")));
}
