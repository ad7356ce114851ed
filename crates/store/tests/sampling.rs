//! Sampling as retention: what stays, what goes, what is left of it, and when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use throughline_model::link::{LinkKind, LinkState};
use throughline_model::point::MetricType;
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number};
use throughline_model::record::{Sampling as Decision, TraceSummary};
use throughline_model::{Signal, SpanId, TraceId};
use throughline_sampling::policy::{DEFAULT_HASH_SALT, Kind, Policy, Texts};
use throughline_store::{
    LinkQuery, ManualClock, More, Sampling, SimDisk, SpanColumn, SpanRows, SpanScan, SpanVisitor,
    StoreConfig, TimeRange, TraceQuery, Want, Written,
};
use throughline_wire::Encoding;
use throughline_wire::prometheus::write::{self as remote_write, RequestBuilder};

use crate::harness::{NOW, Request, Rig, config};
use crate::requests::{attribute, body, gauge, text, trace};

pub const SECOND: i64 = 1_000_000_000;
pub const DELAY: Duration = Duration::from_secs(300);

fn request(signal: Signal, items: &[Vec<u8>]) -> Request {
    Request { signal, body: Bytes::from(body("web", items)), items: Vec::new() }
}

/// Two spans of a trace, a root and its child; the child has the status.
pub fn spans(of: u64, start: i64, duration: i64, is_error: bool, route: &str) -> Vec<Vec<u8>> {
    let span = |id: u64, parent: Option<u64>| {
        let mut out = Vec::new();
        put_bytes(&mut out, 1, &trace(of).0);
        put_bytes(&mut out, 2, &(of * 10 + id).to_be_bytes());
        if let Some(parent) = parent {
            put_bytes(&mut out, 4, &(of * 10 + parent).to_be_bytes());
        }
        put_bytes(&mut out, 5, b"GET /");
        put_fixed64(&mut out, 7, start as u64);
        put_fixed64(&mut out, 8, (start + duration) as u64);
        put_bytes(&mut out, 9, &attribute("http.route", route));
        if parent.is_some() && is_error {
            let mut status = Vec::new();
            put_number(&mut status, 3, 2);
            put_bytes(&mut out, 15, &status);
        }
        out
    };
    vec![span(1, None), span(2, Some(1))]
}

pub fn log(of: u64, time: i64, severity: u64) -> Vec<u8> {
    log_record(of, 2, time, severity)
}

fn log_of_span(of: u64, span: u64, time: i64) -> Vec<u8> {
    log_record(of, span, time, 9)
}

fn log_record(of: u64, span: u64, time: i64, severity: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_fixed64(&mut out, 1, time as u64);
    put_number(&mut out, 2, severity);
    put_bytes(&mut out, 5, &text("a line of the test"));
    put_bytes(&mut out, 9, &trace(of).0);
    put_bytes(&mut out, 10, &(of * 10 + span).to_be_bytes());
    out
}

pub fn exemplar(of: u64, time: i64) -> Vec<u8> {
    gauge("test.gauge", time, &[], &[(time, &trace(of).0)])
}

/// An alert that names a trace by a label.
pub fn alert_naming(of: u64, time: i64) -> Vec<u8> {
    let id = trace(of).to_string();
    let labels = [("alertname", "Slow"), ("alertstate", "firing"), ("trace_id", id.as_str())];
    gauge("ALERTS", time, &labels.map(|(name, value)| attribute(name, value)), &[])
}

fn policy(name: &str, kind: Kind) -> Policy {
    Policy { name: name.to_owned(), kind }
}

fn errors() -> Policy {
    policy("errors", Kind::StatusCode { status_codes: vec![2] })
}

fn share(percentage: f64) -> Policy {
    let hash_salt = DEFAULT_HASH_SALT.to_owned();
    policy("rest", Kind::Probabilistic { hash_salt, sampling_percentage: percentage })
}

/// An alert that was firing at these times, as rules write it.
fn store_firing(rig: &Rig, labels: &[(&str, &str)], times: &[i64]) {
    let labels =
        [&[("__name__", "ALERTS"), ("alertname", "Slow"), ("alertstate", "firing")], labels].concat();
    let metric_type = MetricType::default();
    let series = remote_write::Series { labels: &labels, metric_type, help: "", unit: "" };
    let sample = |time: &i64| remote_write::Sample { time_ms: time / 1_000_000, start_ms: 0, value: 1.0 };
    let mut builder = RequestBuilder::new();
    builder.add(&series, &times.iter().map(sample).collect::<Vec<_>>(), &[], &[]);
    let request = Request { signal: Signal::Metrics, body: builder.finish().into(), items: Vec::new() };
    let written = rig.store_as(&request, Encoding::RemoteWrite2);
    assert_eq!(written, Ok(Written::Stored));
}

/// A store that samples, driven by hand.
pub fn sampled(policies: &[Policy]) -> Rig {
    let mut config = config();
    config.compaction.fan_in = 2;
    open(policies, config, SimDisk::new(1), Arc::new(ManualClock::at(NOW)))
}

fn open(policies: &[Policy], config: StoreConfig, disk: SimDisk, clock: Arc<ManualClock>) -> Rig {
    let sampling = Sampling::new(policies.to_vec(), DELAY).expect("policies");
    Rig::open_sampled(config, disk, clock, Some(sampling)).expect("a store")
}

pub fn put(rig: &Rig, signal: Signal, items: &[Vec<u8>]) {
    assert_eq!(rig.store(&request(signal, items)), Ok(Written::Stored));
}

pub fn settle(rig: &Rig) {
    while rig.engine.compact_once().expect("a merge") {}
}

/// Lets the delay pass and compacts.
pub fn decide(rig: &Rig) {
    rig.flush();
    rig.clock.advance(DELAY + Duration::from_secs(61));
    settle(rig);
}

pub fn state(rig: &Rig, of: u64) -> LinkState {
    rig.engine.snapshot().link_state(trace(of)).expect("a state")
}

pub fn is_here(rig: &Rig, of: u64) -> bool {
    state(rig, of) == LinkState::Resolved
}

#[test]
fn a_dropped_trace_leaves_a_tombstone_and_its_logs() {
    let rig = sampled(&[errors()]);
    put(&rig, Signal::Traces, &spans(1, NOW, SECOND, false, "/a"));
    put(&rig, Signal::Traces, &spans(2, NOW, SECOND, true, "/a"));
    put(&rig, Signal::Logs, &[log(1, NOW, 9), log(2, NOW, 9)]);
    rig.flush();
    settle(&rig);
    assert!(is_here(&rig, 1) && is_here(&rig, 2), "nothing is decided before the delay is over");
    decide(&rig);
    let LinkState::Dropped { policy, at } = state(&rig, 1) else { panic!("{:?}", state(&rig, 1)) };
    assert_eq!(policy, "no-policy");
    assert!(at > NOW + 300 * SECOND);
    assert!(is_here(&rig, 2));
    let snapshot = rig.engine.snapshot();
    let data = snapshot.trace(trace(1), Want::ALL).expect("a trace");
    assert!(data.spans.is_empty());
    assert_eq!(data.logs.len(), 1);
    assert_eq!(
        data.logs[0].span_id,
        Some(SpanId(12u64.to_be_bytes())),
        "the span that was dropped is still named"
    );
    let summary = snapshot.trace_summary(trace(1)).expect("a summary").expect("a tombstone");
    assert_eq!((summary.root_service.as_str(), summary.root_name.as_str()), ("web", "GET /"));
    assert_eq!((summary.start_time, summary.duration_ns, summary.log_count), (NOW, SECOND, 1));
    assert_eq!(summary.sampling, Decision::Dropped { policy, at, span_count: 2 });
    let kept = snapshot.trace_summary(trace(2)).expect("a summary").expect("a trace");
    assert!(
        matches!(&kept.sampling, Decision::Kept { policy, adjusted_count: Some(1.0), .. } if policy == "errors")
    );
    let query = LinkQuery { range: TimeRange::ALL, service: None, examples: 5 };
    let report = snapshot.links(&query).expect("a report");
    for kind in [LinkKind::LogTrace, LinkKind::LogSpan] {
        assert_eq!(
            (report.count(kind, "resolved"), report.count(kind, "dropped")),
            (1, 1),
            "{:?}",
            report.counts
        );
    }
    let ledger = rig.engine.ledger();
    assert!(ledger.is_balanced());
    assert_eq!((ledger.traces.stored, ledger.traces.dropped.get("no-policy")), (4, Some(&2)));
    assert_eq!(snapshot.stored_rows(Signal::Traces), 2);
    drop(snapshot);
    let decisions = rig.engine.decisions();
    let rig = rig.reopen();
    assert_eq!(rig.engine.decisions(), decisions);
    assert!(matches!(state(&rig, 1), LinkState::Dropped { .. }) && is_here(&rig, 2));
}

#[test]
fn what_refers_to_a_trace_keeps_it_wherever_it_lies() {
    let rig = sampled(&[errors(), policy("error-logs", Kind::ErrorLog)]);
    for of in 1..=8 {
        put(&rig, Signal::Traces, &spans(of, NOW, SECOND, false, "/a"));
    }
    put(&rig, Signal::Logs, &[log(1, NOW, 17), log(6, NOW, 9)]);
    put(&rig, Signal::Metrics, &[exemplar(2, NOW)]);
    rig.engine.pin(trace(3), "for the report").expect("a pin");
    rig.flush();
    rig.clock.advance(DELAY + Duration::from_secs(61));
    // Evidence that comes when the delay is over counts until the merge: in memory, and in a block that is not merged.
    put(&rig, Signal::Logs, &[log(4, NOW + 400 * SECOND, 21)]);
    put(&rig, Signal::Metrics, &[exemplar(5, NOW + 400 * SECOND)]);
    put(&rig, Signal::Metrics, &[alert_naming(7, NOW + 400 * SECOND)]);
    settle(&rig);
    for of in [1, 2, 3, 4, 5, 7] {
        assert!(is_here(&rig, of), "{of}: {:?}", state(&rig, of));
    }
    assert!(matches!(state(&rig, 8), LinkState::Dropped { .. }), "{:?}", state(&rig, 8));
    assert!(matches!(state(&rig, 6), LinkState::Dropped { .. }), "{:?}", state(&rig, 6));
    let policy_of = |of| {
        let summary = rig.engine.snapshot().trace_summary(trace(of)).expect("a summary").expect("a trace");
        match summary.sampling {
            Decision::Kept { policy, .. } => policy,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([1, 2, 3, 7].map(policy_of), ["error-logs", "exemplar", "pin", "alert"]);
}

#[test]
fn late_spans_follow_and_late_evidence_rescues_them() {
    let rig = sampled(&[errors()]);
    put(&rig, Signal::Traces, &spans(1, NOW, SECOND, false, "/a")[..1]);
    put(&rig, Signal::Traces, &spans(2, NOW, SECOND, false, "/a")[..1]);
    decide(&rig);
    assert!(matches!(state(&rig, 1), LinkState::Dropped { .. }));
    put(&rig, Signal::Traces, &spans(1, NOW, SECOND, false, "/a")[1..]);
    put(&rig, Signal::Traces, &spans(2, NOW, SECOND, true, "/a")[1..]);
    assert!(is_here(&rig, 1) && is_here(&rig, 2), "what is stored is visible");
    // Of trace 2 a log record names the span that was dropped, and another the one that came late.
    put(&rig, Signal::Logs, &[log_of_span(2, 1, NOW), log_of_span(2, 2, NOW)]);
    let summary = |of| rig.engine.snapshot().trace_summary(trace(of)).expect("read").expect("a summary");
    let check = |how: &str| {
        let data = rig.engine.snapshot().trace(trace(2), Want::ALL).expect("a trace");
        assert_eq!(data.spans.len(), 1, "{how}: the late span is here");
        let dropped = data.dropped.expect("the trace says that an earlier span was dropped");
        assert_eq!((dropped.policy.as_str(), dropped.span_count), ("no-policy", 1), "{how}");
        assert_eq!(summary(2).dropped_before, Some(dropped), "{how}");
        let query = LinkQuery { range: TimeRange::ALL, service: None, examples: 5 };
        let report = rig.engine.snapshot().links(&query).expect("a report");
        assert_eq!(report.count(LinkKind::LogTrace, "resolved"), 2, "{how}: {:?}", report.counts);
        assert_eq!(report.count(LinkKind::LogSpan, "resolved"), 1, "{how}: {:?}", report.counts);
        assert_eq!(report.count(LinkKind::LogSpan, "dropped"), 1, "{how}: {:?}", report.counts);
    };
    check("in memory");
    rig.flush();
    check("in two blocks");
    decide(&rig);
    check("in one block");
    assert!(matches!(summary(1).sampling, Decision::Dropped { span_count: 2, .. }), "{:?}", summary(1));
    assert!(is_here(&rig, 2), "the error that came late stays");
    assert!(matches!(summary(2).sampling, Decision::Kept { .. }), "{:?}", summary(2));
    assert_eq!(rig.engine.decisions().dropped_spans(), 3);
    put(&rig, Signal::Traces, &spans(7, NOW, SECOND, true, "/a"));
    decide(&rig);
    check("merged again");
    let rig = rig.reopen();
    let data = rig.engine.snapshot().trace(trace(2), Want::SPANS).expect("a trace");
    assert_eq!(data.dropped.map(|dropped| dropped.span_count), Some(1));
}

#[test]
fn chance_says_how_many_traces_one_stands_for() {
    let rig = sampled(&[errors(), share(25.0)]);
    // Of every third trace the sender kept only one half, and says so: what its spans stand for is multiplied.
    let of_sender = |id: TraceId| if (id.low() / 7_919).is_multiple_of(3) { 2.0 } else { 1.0 };
    for of in 1..=400 {
        let mut all = spans(of * 7_919, NOW + of as i64, SECOND, of % 10 == 0, "/a");
        if of % 3 == 0 {
            all.iter_mut().for_each(|span| put_bytes(span, 3, b"ot=th:8;rv:c0000000000000"));
        }
        put(&rig, Signal::Traces, &all);
        if of % 100 == 0 {
            rig.flush();
        }
    }
    decide(&rig);
    let snapshot = rig.engine.snapshot();
    let everything = TraceQuery {
        range: TimeRange::ALL,
        service: None,
        operation: None,
        min_duration_ns: None,
        max_duration_ns: None,
        error: None,
        limit: 1_000,
    };
    let found = snapshot.search_traces(&everything).expect("traces").items;
    assert!((100..170).contains(&found.len()), "{}", found.len());
    let mut weight = 0.0;
    for summary in &found {
        let Decision::Kept { adjusted_count: Some(count), .. } = summary.sampling else {
            panic!("{:?}", summary.sampling)
        };
        assert_eq!(count, if summary.error_count > 0 { 1.0 } else { 4.0 });
        weight += count;
        for span in snapshot.trace(summary.trace_id, Want::SPANS).expect("a trace").spans {
            assert_eq!(span.adjusted_count.unwrap_or(1.0), count * of_sender(summary.trace_id));
        }
    }
    assert!((300.0..500.0).contains(&weight), "{weight}");
    let count_of = |summary: &TraceSummary| if summary.error_count > 0 { 1.0 } else { 4.0 };
    let kept: Vec<(TraceId, f64)> =
        found.iter().map(|summary| (summary.trace_id, count_of(summary))).collect();
    for expected in [1.0, 2.0, 4.0, 8.0] {
        let has = kept.iter().any(|(id, count)| count * of_sender(*id) == expected);
        assert!(has, "no trace stands for {expected}");
    }
    drop(snapshot);
    // Nothing is decided twice: what stays is as it was after another merge.
    put(&rig, Signal::Traces, &spans(3, NOW + 1_000, SECOND, true, "/a"));
    decide(&rig);
    let snapshot = rig.engine.snapshot();
    for (id, count) in kept {
        let spans = snapshot.trace(id, Want::SPANS).expect("a trace").spans;
        assert_eq!(spans.len(), 2);
        let expected = count * of_sender(id);
        assert!(spans.iter().all(|span| span.adjusted_count.unwrap_or(1.0) == expected));
    }
}

#[test]
fn policies_see_attributes_of_spans() {
    let key = "http.route".to_owned();
    let kind =
        Kind::StringAttribute { key, values: Texts::Exact(vec!["/b".to_owned()]), invert_match: false };
    let rig = sampled(&[policy("route-b", kind)]);
    for of in 1..=40 {
        put(
            &rig,
            Signal::Traces,
            &spans(of, NOW + of as i64, SECOND, false, if of % 8 == 0 { "/b" } else { "/a" }),
        );
    }
    decide(&rig);
    for of in 1..=40 {
        assert_eq!(is_here(&rig, of), of % 8 == 0, "{of}");
    }
}

#[test]
fn what_is_slow_for_its_route_stays() {
    let slow = Kind::SlowForRoute { quantile: 0.95, min_traces: 20 };
    let rig = sampled(&[policy("slow", slow)]);
    for of in 1..=100 {
        let duration = if of == 50 { 5 * SECOND } else { SECOND / 100 };
        put(&rig, Signal::Traces, &spans(of, NOW + of as i64, duration, false, "/a"));
    }
    decide(&rig);
    let here: Vec<u64> = (1..=100).filter(|of| is_here(&rig, *of)).collect();
    assert_eq!(here, [50]);
}

/// An alert is written every minute while it fires, and a longer pause than that of a query is a time without it.
#[test]
fn what_ran_while_an_alert_was_firing_stays() {
    const MINUTE: i64 = 60 * SECOND;
    let fired: Vec<i64> = (10..=14).chain(24..=26).map(|minute| NOW + minute * MINUTE).collect();
    let traces = [
        ("before", NOW + 9 * MINUTE, false),
        ("into its beginning", NOW + 10 * MINUTE - SECOND / 2, true),
        ("between two samples", NOW + 12 * MINUTE + 20 * SECOND, true),
        ("out of its end", NOW + 14 * MINUTE, true),
        ("in the gap", NOW + 19 * MINUTE, false),
        ("when it fires again", NOW + 25 * MINUTE + SECOND, true),
        ("after", NOW + 26 * MINUTE + SECOND, false),
    ];
    let alerts: [(&[(&str, &str)], bool); 4] = [
        (&[("service", "web")], true),
        (&[("service_name", "web"), ("severity", "page")], true),
        (&[("service", "db")], false),
        // Of no service, and so of all.
        (&[("severity", "page")], true),
    ];
    for (labels, is_of) in alerts {
        for is_flushed in [true, false] {
            let rig = sampled(&[policy("alerts", Kind::FiringAlert)]);
            rig.clock.advance(Duration::from_secs(30 * 60));
            for (of, (_, start, _)) in (1..).zip(traces) {
                put(&rig, Signal::Traces, &spans(of, start, SECOND, false, "/a"));
            }
            if is_flushed {
                store_firing(&rig, labels, &fired);
            }
            rig.flush();
            if !is_flushed {
                store_firing(&rig, labels, &fired);
            }
            rig.clock.advance(DELAY + Duration::from_secs(61));
            settle(&rig);
            for (of, (name, _, is_during)) in (1..).zip(traces) {
                assert_eq!(is_here(&rig, of), is_of && is_during, "{name}, {labels:?}, {is_flushed}");
            }
        }
    }
}

#[test]
fn an_alert_that_is_pending_keeps_nothing() {
    let rig = sampled(&[policy("alerts", Kind::FiringAlert)]);
    put(&rig, Signal::Traces, &spans(1, NOW, SECOND, false, "/a"));
    let labels = [("alertname", "Slow"), ("alertstate", "pending"), ("service", "web")];
    put(
        &rig,
        Signal::Metrics,
        &[gauge("ALERTS", NOW, &labels.map(|(name, value)| attribute(name, value)), &[])],
    );
    decide(&rig);
    assert!(!is_here(&rig, 1));
}

#[test]
fn a_block_is_looked_at_once_and_a_pin_can_be_taken_back() {
    let rig = sampled(&[errors()]);
    put(&rig, Signal::Traces, &spans(1, NOW, SECOND, true, "/a"));
    put(&rig, Signal::Traces, &spans(2, NOW, SECOND, false, "/a"));
    rig.engine.pin(trace(2), "").expect("a pin");
    decide(&rig);
    assert!(!rig.engine.compact_once().expect("nothing to do"));
    assert!(is_here(&rig, 2));
    assert_eq!(rig.engine.decisions().pins.len(), 1);
    assert!(rig.engine.unpin(trace(2)).expect("unpinned"));
    assert!(!rig.engine.unpin(trace(2)).expect("it is not pinned"));
    assert_eq!(rig.engine.decisions().pins, Vec::new());
}

#[test]
fn without_sampling_nothing_goes() {
    let rig = Rig::new(config());
    put(&rig, Signal::Traces, &spans(1, NOW, SECOND, false, "/a"));
    decide(&rig);
    assert!(is_here(&rig, 1));
    assert_eq!(rig.engine.decisions().dropped_spans(), 0);
}

#[test]
fn a_trace_that_its_records_call_unsampled_is_unsampled_unless_it_is_here_or_was_dropped() {
    let rig = sampled(&[errors()]);
    // Flags of which the one of sampling is not set.
    let unsampled = |of, time| {
        let mut out = log(of, time, 9);
        out.extend([0x45, 2, 0, 0, 0]);
        out
    };
    put(&rig, Signal::Logs, &[unsampled(1, NOW - 3_600 * SECOND), unsampled(2, NOW), log(3, NOW, 9)]);
    put(&rig, Signal::Logs, &[unsampled(4, NOW)]);
    put(&rig, Signal::Traces, &spans(4, NOW, SECOND, false, "/a"));
    let states = |rig: &Rig| [1, 2, 3, 4].map(|of| state(rig, of));
    let expected = [LinkState::Unsampled, LinkState::Unsampled, LinkState::Pending, LinkState::Resolved];
    assert_eq!(states(&rig), expected, "in memory");
    rig.flush();
    assert_eq!(states(&rig), expected, "in blocks");
    decide(&rig);
    let [old, young, other, dropped] = states(&rig);
    assert_eq!([old, young, other], [LinkState::Unsampled, LinkState::Unsampled, LinkState::NeverReceived]);
    assert!(matches!(dropped, LinkState::Dropped { .. }), "{dropped:?}");
}

#[test]
fn what_only_a_span_link_names_may_still_be_on_its_way() {
    let rig = Rig::new(config());
    let state = |referred_at| rig.engine.snapshot().link_state_since(trace(1), referred_at).expect("a state");
    assert_eq!(state(Some(NOW - SECOND)), LinkState::Pending);
    assert_eq!(state(Some(NOW - 60 * SECOND)), LinkState::NeverReceived);
    assert_eq!(state(None), LinkState::NeverReceived);
}

/// The adjusted counts that a scan hands out, without an order; one of a span without.
fn scanned_counts(rig: &Rig) -> Vec<f64> {
    struct Counts(Vec<f64>);
    impl SpanVisitor for Counts {
        fn rows(&mut self, rows: &SpanRows<'_>) -> More {
            let counts = rows.column(SpanColumn::AdjustedCount, None).expect("a column");
            self.0.extend((0..rows.len()).map(|row| counts.double(row).unwrap_or(1.0)));
            More::All
        }
    }
    let scan =
        SpanScan { range: TimeRange::ALL, of_traces: false, bounds: &[], whole: true, newest_first: false };
    let mut counts = Counts(Vec::new());
    assert_eq!(rig.engine.snapshot().scan_spans(&scan, &mut counts), Vec::<String>::new());
    counts.0.sort_by(f64::total_cmp);
    counts.0
}

#[test]
fn scans_hand_out_adjusted_counts_of_head_and_of_tail_sampling() {
    let rig = sampled(&[errors(), share(25.0)]);
    put(&rig, Signal::Traces, &spans(3, NOW, SECOND, false, "/a"));
    assert_eq!(scanned_counts(&rig), [1.0, 1.0]);
    // A head sampler kept one in four of these.
    let mut of_head = spans(5, NOW, SECOND, true, "/a");
    of_head.iter_mut().for_each(|span| put_bytes(span, 3, b"ot=th:c;rv:ffffffffffffff"));
    put(&rig, Signal::Traces, &of_head);
    assert_eq!(scanned_counts(&rig), [1.0, 1.0, 4.0, 4.0], "in memory");
    rig.flush();
    assert_eq!(scanned_counts(&rig), [1.0, 1.0, 4.0, 4.0], "in a block");
    let rig = sampled(&[errors(), share(25.0)]);
    for of in 1..=100 {
        put(&rig, Signal::Traces, &spans(of * 7_919, NOW + of as i64, SECOND, of % 10 == 0, "/a"));
    }
    rig.flush();
    decide(&rig);
    let counts = scanned_counts(&rig);
    assert_eq!(counts.iter().filter(|count| **count == 1.0).count(), 20, "{counts:?}");
    assert!(counts.len() > 40 && counts.iter().all(|count| [1.0, 4.0].contains(count)), "{counts:?}");
}
