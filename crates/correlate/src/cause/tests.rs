//! Sentences from evidence.

use serde_json::json;
use throughline_model::record::Span;
use throughline_store::TraceData;

use super::*;
use crate::contrast::{Traits, traits};
use crate::sample::{log, object, span, trace_id};

fn throttled(partition: &str) -> TraceView {
    let mut query = span(3, 2, "task-svc", "db:query", 20, 600);
    query.attributes =
        object(json!({"db.system": "dynamodb", "db.partition": partition, "db.retry_count": 3}));
    let mut refused = span(4, 3, "db", "GET /kv", 30, 5);
    refused.status_code = 2;
    refused.status_message = "ProvisionedThroughputExceededException".to_owned();
    let again = Span { span_id: crate::sample::span_id(5), ..refused.clone() };
    let spans = vec![
        span(1, 0, "gateway", "GET /tasks", 0, 700),
        span(2, 1, "task-svc", "list", 10, 650),
        query,
        refused,
        again,
    ];
    let logs = vec![log(Some(3), "task-svc", 40, 13, "backing off, RetryAttempts=3")];
    TraceView::new(trace_id(1), TraceData { spans, logs, ..TraceData::default() })
}

fn quiet(partition: &str) -> Traits {
    let mut query = span(3, 0, "task-svc", "db:query", 20, 6);
    query.attributes =
        object(json!({"db.system": "dynamodb", "db.partition": partition, "db.retry_count": 0}));
    let view = TraceView::new(trace_id(1), TraceData { spans: vec![query], ..TraceData::default() });
    traits(&view, "task-svc", "db:query")
}

#[test]
fn throttling_with_retries_on_one_partition() {
    let view = throttled("p7");
    let culprit = view.latency_culprit.clone().expect("culprit");
    let slow: Vec<Traits> = (0..50).map(|_| traits(&throttled("p7"), "task-svc", "db:query")).collect();
    let quiet: Vec<Traits> = (0..50).map(|i| quiet(if i < 3 { "p7" } else { "p1" })).collect();
    let cause = explain(&view, &culprit, &slow, &quiet);
    assert!(cause.is_explained());
    assert_eq!(cause.mechanism, Some(Mechanism::Throttling));
    assert_eq!((cause.retries, cause.back_off), (Some(3), true));
    let expected = "db:query in task-svc took 595 ms of 700 ms (85 %) because of throttling by dynamodb \
                    (ProvisionedThroughputExceededException): it retried 3 times and waited with back-off in between; \
                    db.partition=p7 in 100 % of slow and 6 % of quiet traces.";
    assert_eq!(cause.sentence, expected);
    assert!(cause.evidence.iter().any(|fact| fact.contains("RetryAttempts=3")), "{:?}", cause.evidence);
}

#[test]
fn what_nothing_explains_is_said_to_be_unexplained() {
    let view = TraceView::new(
        trace_id(1),
        TraceData { spans: vec![span(1, 0, "a", "compute", 0, 100)], ..TraceData::default() },
    );
    let culprit = view.latency_culprit.clone().expect("culprit");
    let cause = explain(&view, &culprit, &[], &[]);
    assert!(!cause.is_explained());
    assert!(cause.sentence.ends_with("no stored attribute or log line tells why."), "{}", cause.sentence);
}
