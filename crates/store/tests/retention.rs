//! What retention removes is answered as expired, and what something cites outlives it, within a budget.

use std::sync::Arc;
use std::time::Duration;

use throughline_model::Signal;
use throughline_model::link::{LinkKind, LinkState};
use throughline_store::{
    LinkQuery, ManualClock, SeriesQuery, SimDisk, StoreConfig, TimeRange, Want, Written,
};

use crate::harness::{NOW, Request, Rig, config};
use crate::requests::{attribute, body, gauge, trace};
use crate::sampling::{alert_naming, exemplar, log, put, spans};

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;

fn rig(change: impl FnOnce(&mut StoreConfig)) -> Rig {
    let mut config = config();
    config.retention = Duration::from_secs(3600);
    config.compaction.fan_in = 2;
    change(&mut config);
    Rig::open(config, SimDisk::new(1), Arc::new(ManualClock::at(NOW))).expect("a store")
}

fn state(rig: &Rig, of: u64) -> LinkState {
    rig.engine.snapshot().link_state(trace(of)).expect("a state")
}

fn advance(rig: &Rig, minutes: u64) {
    rig.clock.advance(Duration::from_secs(60 * minutes));
}

fn is_expired(rig: &Rig, of: u64) -> bool {
    matches!(state(rig, of), LinkState::Expired { .. })
}

fn alert_citing(of: u64, time: i64) -> Request {
    let labels = [attribute("alertname", "Slow"), attribute("alertstate", "firing")];
    let items = [gauge("ALERTS", time, &labels, &[(time, &trace(of).0)])];
    Request { signal: Signal::Metrics, body: body("rules", &items).into(), items: Vec::new() }
}

/// Spans of these traces in a block, and 50 minutes later what refers to them.
fn with_traces(rig: &Rig, traces: std::ops::RangeInclusive<u64>) {
    for of in traces {
        put(rig, Signal::Traces, &spans(of, NOW, SECOND, false, "/a"));
        put(rig, Signal::Logs, &[log(of, NOW, 9)]);
    }
    rig.flush();
    advance(rig, 50);
}

#[test]
fn what_retention_removed_is_expired_and_not_never_received() {
    let rig = rig(|_| {});
    with_traces(&rig, 1..=2);
    let later = NOW + 50 * MINUTE;
    put(&rig, Signal::Logs, &[log(1, later, 9), log(99, later, 9)]);
    put(&rig, Signal::Metrics, &[gauge("test.gauge", later, &[], &[(later, &trace(77).0)])]);
    rig.flush();
    advance(&rig, 20);
    assert_eq!(rig.engine.retain_once().expect("retention"), 1);
    let at = NOW + 70 * MINUTE;
    let check = |rig: &Rig, how: &str| {
        let snapshot = rig.engine.snapshot();
        for of in [1, 2] {
            assert_eq!(state(rig, of), LinkState::Expired { at }, "{how}: {of}");
        }
        for of in [99, 77, 500] {
            assert_eq!(state(rig, of), LinkState::NeverReceived, "{how}: {of}");
        }
        let query = LinkQuery { range: TimeRange::ALL, service: None, examples: 5 };
        let report = snapshot.links(&query).expect("a report");
        for kind in [LinkKind::LogTrace, LinkKind::LogSpan] {
            let counts = [report.count(kind, "expired"), report.count(kind, "never_received")];
            assert_eq!(counts, [1, 1], "{how}: {:?}", report.counts);
        }
        assert_eq!(report.count(LinkKind::ExemplarTrace, "never_received"), 1, "{how}");
    };
    check(&rig, "in a block");
    let rig = rig.reopen();
    check(&rig, "opened again");
    put(&rig, Signal::Logs, &[log(2, later, 9)]);
    let report =
        rig.engine.snapshot().links(&LinkQuery { range: TimeRange::ALL, service: None, examples: 0 });
    assert_eq!(report.expect("a report").count(LinkKind::LogTrace, "expired"), 2, "a reference in memory");
}

#[test]
fn what_is_cited_outlives_retention_for_as_long_as_its_citation() {
    let rig = rig(|_| {});
    with_traces(&rig, 1..=4);
    let later = NOW + 50 * MINUTE;
    rig.engine.pin(trace(1), "for the report").expect("a pin");
    put(&rig, Signal::Metrics, &[exemplar(2, later)]);
    assert_eq!(rig.store(&alert_citing(3, later)), Ok(Written::Stored));
    rig.flush();
    advance(&rig, 20);
    assert_eq!(rig.engine.retain_once().expect("retention"), 1);
    let check_held = |rig: &Rig, held: &[u64], how: &str| {
        for of in 1..=4 {
            assert_eq!(
                state(rig, of) == LinkState::Resolved,
                held.contains(&of),
                "{how}: {of} {:?}",
                state(rig, of)
            );
            let data = rig.engine.snapshot().trace(trace(of), Want::ALL).expect("a trace");
            let rows = (data.spans.len(), data.logs.len());
            assert_eq!(rows, if held.contains(&of) { (2, 1) } else { (0, 0) }, "{how}: {of}");
            assert!(data.partial.is_empty(), "{how}: {:?}", data.partial);
        }
    };
    check_held(&rig, &[1, 2, 3], "held");
    assert!(is_expired(&rig, 4));
    let held = rig.engine.held();
    assert_eq!((held.traces, held.left_out), (3, 0));
    let query =
        SeriesQuery { range: TimeRange::ALL, metric: None, service: None, attributes: Vec::new(), limit: 10 };
    let exemplars = rig.engine.snapshot().exemplars(&query).expect("exemplars").items;
    assert_eq!(exemplars.len(), 2);
    assert!(exemplars.iter().all(|exemplar| exemplar.link == Some(LinkState::Resolved)), "the contract");
    let rig = rig.reopen();
    check_held(&rig, &[1, 2, 3], "opened again");
    // The block of the exemplar and the alert goes as well. The alert's citation is remembered for as long again.
    advance(&rig, 45);
    assert_eq!(rig.engine.retain_once().expect("retention"), 1);
    check_held(&rig, &[1, 3], "without the exemplar");
    put(&rig, Signal::Traces, &spans(5, NOW + 116 * MINUTE, SECOND, false, "/a"));
    rig.flush();
    assert!(rig.engine.unpin(trace(1)).expect("unpinned"));
    advance(&rig, 70);
    assert_eq!(rig.engine.retain_once().expect("retention"), 1);
    check_held(&rig, &[], "nothing cites anything any more");
    assert!((1..=5).all(|of| is_expired(&rig, of)));
    assert_eq!(rig.engine.held().traces, 0);
}

#[test]
fn a_trace_that_a_label_of_an_alert_names_is_held_as_long_as_it_fires() {
    let rig = rig(|_| {});
    with_traces(&rig, 1..=2);
    let fires_at = |minute: i64| {
        put(&rig, Signal::Metrics, &[alert_naming(1, NOW + minute * MINUTE)]);
        rig.flush();
    };
    fires_at(50);
    // It still fires when the trace's block goes, long after its end.
    advance(&rig, 20);
    fires_at(69);
    assert!(rig.engine.retain_once().expect("retention") > 0);
    assert!(state(&rig, 1) == LinkState::Resolved && is_expired(&rig, 2), "{:?}", state(&rig, 1));
    // And when it has been held for as long again.
    advance(&rig, 70);
    fires_at(139);
    assert!(rig.engine.retain_once().expect("retention") > 0);
    assert_eq!(state(&rig, 1), LinkState::Resolved);
    advance(&rig, 130);
    assert!(rig.engine.retain_once().expect("retention") > 0);
    assert!(is_expired(&rig, 1), "it fires no more");
}

#[test]
fn beyond_the_budget_pins_come_first_and_what_goes_is_said() {
    let rig = rig(|config| config.budgets.held_bytes = 6 << 10);
    with_traces(&rig, 1..=20);
    for of in 2..=20 {
        put(&rig, Signal::Metrics, &[exemplar(of, NOW + 50 * MINUTE + of as i64)]);
    }
    rig.engine.pin(trace(20), "").expect("a pin");
    rig.flush();
    advance(&rig, 20);
    assert_eq!(rig.engine.retain_once().expect("retention"), 1);
    assert_eq!(state(&rig, 20), LinkState::Resolved, "a pin comes first");
    let held = rig.engine.held();
    assert!(held.traces < 19 && held.left_out > 0, "{held:?}");
    assert_eq!(held.traces + held.left_out, 19);
    let notices = rig.engine.status().notices;
    assert!(notices.iter().any(|notice| notice.text.contains("held_budget")), "{notices:?}");
}

/// Wherever the power goes during a removal, what is held is there afterwards, and what is not there any more says so.
#[test]
fn a_power_cut_during_a_removal_costs_nothing_that_is_held() {
    let mut finished = 0;
    for operations in 0..160 {
        let rig = rig(|_| {});
        with_traces(&rig, 1..=3);
        rig.engine.pin(trace(1), "").expect("a pin");
        advance(&rig, 20);
        rig.disk.cut_power_after(operations);
        let outcome = rig.engine.retain_once();
        finished += u32::from(outcome.is_ok());
        let rig = rig.crash(operations);
        assert_eq!(state(&rig, 1), LinkState::Resolved, "after {operations} operations");
        for of in [2, 3] {
            let is_told = state(&rig, of) == LinkState::Resolved || is_expired(&rig, of);
            assert!(is_told, "after {operations} operations: {of} is {:?}", state(&rig, of));
            let data = rig.engine.snapshot().trace(trace(of), Want::SPANS).expect("a trace");
            assert_eq!(data.partial, Vec::<String>::new(), "after {operations} operations");
        }
        rig.engine.retain_once().expect("retention");
        assert_eq!(state(&rig, 1), LinkState::Resolved, "after {operations} operations and another removal");
        assert!(is_expired(&rig, 2) && is_expired(&rig, 3), "after {operations} operations");
        assert_eq!(rig.engine.held().traces, 1);
    }
    assert!(finished > 0, "no removal was short enough");
}

#[test]
fn of_more_exemplars_than_the_limit_the_oldest_are_handed_out_wherever_they_lie() {
    let rig = rig(|_| {});
    // Two metrics take turns in time, and three exemplars have the same.
    let points = |of: std::ops::Range<i64>| -> Vec<Vec<u8>> {
        of.map(|n| {
            let time = NOW + if (6..9).contains(&n) { 6 } else { n } * SECOND;
            gauge(["even", "odd"][n as usize % 2], time, &[], &[(time, &trace(n as u64 + 1).0)])
        })
        .collect()
    };
    let asked = |limit: usize| {
        let query =
            SeriesQuery { range: TimeRange::ALL, metric: None, service: None, attributes: Vec::new(), limit };
        rig.engine.snapshot().exemplars(&query).expect("exemplars")
    };
    put(&rig, Signal::Metrics, &points(0..8));
    rig.flush();
    put(&rig, Signal::Metrics, &points(8..16));
    rig.flush();
    put(&rig, Signal::Metrics, &points(16..20));
    let all = asked(100);
    assert_eq!((all.items.len(), all.partial.as_slice()), (20, &[][..]));
    for limit in [0, 1, 5, 7, 8, 9, 15, 19] {
        let some = asked(limit);
        assert_eq!(some.items, all.items[..limit], "{limit}");
        let said = format!("{} exemplars over the limit of {limit} are left out", 20 - limit);
        assert_eq!(some.partial, [said], "{limit}");
    }
}
