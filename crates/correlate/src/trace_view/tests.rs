//! The tree, the times, and where logs hang.

use throughline_store::TraceData;

use super::*;
use crate::sample::{MS, log, span, span_id, trace_id};

fn view() -> TraceView {
    let mut failing = span(4, 3, "db", "GET /kv", 30, 5);
    failing.status_code = 2;
    TraceView::new(
        trace_id(1),
        TraceData {
            spans: vec![
                failing,
                span(3, 2, "task-svc", "db:query", 20, 600),
                span(1, 0, "gateway", "GET /tasks", 0, 700),
                span(2, 1, "task-svc", "list", 10, 650),
                span(9, 77, "worker", "lost", 50, 10),
            ],
            logs: vec![
                log(Some(3), "task-svc", 40, 13, "RetryAttempts=3"),
                log(Some(1), "gateway", 5, 9, "got a request"),
                log(Some(500), "gateway", 1, 9, "of a span that is not here"),
                log(None, "gateway", 2, 9, "of no span"),
            ],
            ..TraceData::default()
        },
    )
}

#[test]
fn spans_come_in_tree_order_with_times() {
    let view = view();
    let shape: Vec<(&str, u32, bool)> =
        view.spans.iter().map(|at| (at.span.name.as_str(), at.depth, at.orphan)).collect();
    let expected = [
        ("GET /tasks", 0, false),
        ("list", 1, false),
        ("db:query", 2, false),
        ("GET /kv", 3, false),
        ("lost", 0, true),
    ];
    assert_eq!(shape, expected);
    assert_eq!((view.start_time, view.duration_ns), (0, 700 * MS));
    assert_eq!(view.missing_parents, [span_id(77)]);
    assert_eq!((view.root_service.as_str(), view.root_name.as_str()), ("gateway", "GET /tasks"));
    assert_eq!(view.services, ["db", "gateway", "task-svc", "worker"]);
    assert_eq!(view.descendants(1), 2..4);
}

#[test]
fn the_culprits_are_named_by_their_place() {
    let view = view();
    let latency = view.latency_culprit.expect("latency culprit");
    assert_eq!((latency.name.as_str(), latency.index), ("db:query", 2));
    assert_eq!((latency.self_time_ns, latency.critical_time_ns), (595 * MS, 595 * MS));
    assert!((latency.share - 0.85).abs() < 1e-9);
    assert_eq!(view.error_culprit.expect("error culprit").name, "GET /kv");
    assert_eq!(view.error_count, 1);
}

#[test]
fn logs_hang_on_their_span_else_on_the_trace() {
    let view = view();
    assert_eq!(view.spans[2].logs.len(), 1);
    assert_eq!(view.spans[0].logs.len(), 1);
    let bodies: Vec<&str> = view.logs.iter().filter_map(|log| log.body.as_str()).collect();
    assert_eq!(bodies, ["of a span that is not here", "of no span"]);
    assert_eq!(view.log_count, 4);
}

#[test]
fn what_names_an_id_that_spans_share_is_at_the_first_of_them() {
    let at = |kind: u8, span: Span| Span { kind, ..span };
    let spans = vec![
        span(1, 0, "a", "GET /", 0, 100),
        span(2, 1, "b", "second", 20, 10),
        span(2, 1, "b", "first", 10, 10),
        span(3, 2, "c", "below", 12, 5),
        // The two sides of a call may share an id.
        at(3, span(4, 1, "a", "call", 40, 10)),
        at(2, span(4, 1, "b", "call", 41, 5)),
    ];
    let logs = vec![log(Some(2), "b", 25, 9, "which of them?")];
    let view = TraceView::new(trace_id(1), TraceData { spans, logs, ..TraceData::default() });
    let shape: Vec<(&str, u32, bool, usize)> =
        view.spans.iter().map(|at| (at.span.name.as_str(), at.depth, at.shares_id, at.logs.len())).collect();
    let expected = [
        ("GET /", 0, false, 0),
        ("first", 1, true, 1),
        ("below", 2, false, 0),
        ("second", 1, true, 0),
        ("call", 1, false, 0),
        ("call", 1, false, 0),
    ];
    assert_eq!(shape, expected);
    assert_eq!(view.span(span_id(2)).map(|(at, _)| at), Some(1));
}

#[test]
fn the_parents_of_a_circle_are_not_missing() {
    let spans =
        vec![span(1, 2, "a", "one", 0, 5), span(2, 1, "a", "two", 1, 5), span(3, 3, "a", "own", 2, 5)];
    let view = TraceView::new(trace_id(1), TraceData { spans, ..TraceData::default() });
    assert_eq!((view.missing_parents.as_slice(), view.orphan_count), (&[] as &[SpanId], 0));
    assert!(view.spans.iter().all(|at| !at.orphan));
}

#[test]
fn a_trace_of_logs_alone_has_a_view() {
    let data = TraceData { logs: vec![log(None, "a", 7, 9, "x")], ..TraceData::default() };
    let view = TraceView::new(trace_id(1), data);
    assert_eq!((view.start_time, view.duration_ns, view.spans.len()), (7 * MS, 0, 0));
    assert_eq!(view.latency_culprit, None);
}

#[test]
fn of_many_links_some_are_checked_and_the_rest_is_said_to_be_unchecked() {
    let link = |id: u64| serde_json::json!({"trace_id": trace_id(id).to_string(), "span_id": ""});
    let mut consumer = span(1, 0, "worker", "batch", 0, 10);
    let others = LINKS_ASKED_MAX as u64 + 5;
    // Each trace twice, and the trace itself at the end, which needs no look-up.
    consumer.links = (0..others).flat_map(|n| [link(n + 2), link(n + 2)]).chain([link(1)]).collect();
    let mut view = TraceView::new(trace_id(1), TraceData { spans: vec![consumer], ..TraceData::default() });
    let mut asked = Vec::new();
    view.fill_links(|id, _| {
        asked.push(id);
        Ok(LinkState::NeverReceived)
    })
    .expect("filled");
    assert_eq!(asked, (2..LINKS_ASKED_MAX as u64 + 2).map(trace_id).collect::<Vec<_>>());
    let states = &view.spans[0].link_states;
    assert_eq!(states.len(), others as usize * 2 + 1);
    assert_eq!(states.iter().filter(|link| link.link.is_none()).count(), 10);
    assert_eq!(states.last().and_then(|link| link.link.as_ref()), Some(&LinkState::Resolved));
    assert_eq!(view.partial, ["10 span links were not checked: only 20 linked traces are looked up"]);
}

#[test]
fn a_view_reads_back_from_json() {
    let view = view();
    let json = serde_json::to_string(&view).expect("written");
    assert_eq!(serde_json::from_str::<TraceView>(&json).expect("read"), view);
}

fn event(name: &str, attributes: serde_json::Value) -> serde_json::Value {
    serde_json::json!({"time": 1, "name": name, "attributes": attributes})
}

#[test]
fn a_span_fails_by_its_status_its_exceptions_or_its_log_lines() {
    let mut thrown = span(3, 2, "db", "GET /kv", 2, 5);
    thrown.events = vec![event(
        "exception",
        serde_json::json!({"exception.type": "Timeout", "exception.message": "after 5 s"}),
    )];
    let mut settled = span(4, 2, "db", "PUT /kv", 3, 5);
    (settled.events, settled.status_code) = (thrown.events.clone(), 1);
    let mut set = span(2, 1, "task", "call", 1, 9);
    (set.status_code, set.status_message) = (2, "no answer".to_owned());
    let spans =
        vec![span(1, 0, "gateway", "GET /", 0, 10), set, thrown, settled, span(5, 1, "mail", "send", 4, 1)];
    let logs = vec![
        log(Some(5), "mail", 4, 17, "mail is down"),
        log(Some(5), "mail", 4, 9, "trying"),
        log(Some(4), "db", 4, 17, "handled"),
    ];
    let view = TraceView::new(trace_id(1), TraceData { spans, logs, ..TraceData::default() });
    let of = |id: u64| view.span(crate::sample::span_id(id)).expect("here").1.effective_error.clone();
    let error = |status, exceptions, error_logs, message: &str| {
        Some(EffectiveError { status, exceptions, error_logs, message: message.to_owned() })
    };
    assert_eq!(of(1), None);
    assert_eq!(of(2), error(true, 0, 0, "no answer"));
    assert_eq!(of(3), error(false, 1, 0, "Timeout: after 5 s"));
    assert_eq!(of(4), None, "a status of ok settles it");
    assert_eq!(of(5), error(false, 0, 1, "mail is down"));
    assert_eq!((view.error_count, view.effective_error_count), (1, 3));
    // The deepest below a span whose status is error; the mail's failure echoes nowhere.
    assert_eq!(view.error_culprit.expect("a culprit").name, "GET /kv");
}

#[test]
fn without_a_status_of_error_the_deepest_failure_is_the_culprit() {
    let spans = vec![span(1, 0, "a", "top", 0, 10), span(2, 1, "b", "below", 1, 5)];
    let logs = vec![log(Some(1), "a", 4, 17, "failed"), log(Some(2), "b", 4, 21, "crashed")];
    let view = TraceView::new(trace_id(1), TraceData { spans, logs, ..TraceData::default() });
    assert_eq!(view.error_culprit.expect("a culprit").name, "below");
}

#[test]
fn a_trace_knows_its_services_orphans_and_clocks() {
    let mut failed = span(3, 2, "db", "get", -7, 5);
    failed.status_code = 2;
    let spans = vec![
        span(1, 0, "gateway", "GET /", 0, 100),
        span(2, 1, "task", "call", 10, 50),
        failed,
        span(4, 2, "db", "put", 5, 5),
        span(5, 1, "gateway", "early, with the same clock", -1, 5),
        span(6, 99, "task", "of a parent that is not here", 3, 5),
    ];
    let view = TraceView::new(trace_id(1), TraceData { spans, ..TraceData::default() });
    let counts: Vec<(&str, usize, usize)> =
        view.service_counts.iter().map(|of| (of.service.as_str(), of.span_count, of.error_count)).collect();
    assert_eq!(counts, [("db", 2, 1), ("gateway", 2, 0), ("task", 2, 0)]);
    let skew = ClockSkew {
        service: "db".to_owned(),
        caller: "task".to_owned(),
        span_count: 2,
        at_least_ns: 17 * MS,
    };
    assert_eq!(view.clock_skews, [skew]);
    assert_eq!((view.orphan_count, view.missing_parents.len()), (1, 1));
}
