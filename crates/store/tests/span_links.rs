//! What a trace that stays links to stays as well, wherever the trace that links lies, and no more than that.

use std::time::Duration;

use throughline_model::Signal;
use throughline_model::link::{LinkKind, LinkState};
use throughline_model::protobuf::put_bytes;
use throughline_model::record::Sampling as Decision;
use throughline_sampling::policy::{DEFAULT_HASH_SALT, Kind, Policy, Texts};
use throughline_sampling::{Evidence, Sampler, Trace};
use throughline_store::{LinkQuery, TimeRange};

use crate::harness::{NOW, Rig};
use crate::requests::trace;
use crate::sampling::{DELAY, SECOND, decide, is_here, put, sampled, settle, spans, state};

fn policy(name: &str, kind: Kind) -> Policy {
    Policy { name: name.to_owned(), kind }
}

fn rest() -> Policy {
    let hash_salt = DEFAULT_HASH_SALT.to_owned();
    policy("rest", Kind::Probabilistic { hash_salt, sampling_percentage: 25.0 })
}

/// Errors, what a link keeps, and a quarter of the rest; and what only spans can tell, which nobody foresees.
fn policies() -> Vec<Policy> {
    let values = Texts::Exact(vec!["/vip".to_owned()]);
    vec![
        policy("errors", Kind::StatusCode { status_codes: vec![2] }),
        policy("vip", Kind::StringAttribute { key: "http.route".to_owned(), values, invert_match: false }),
        policy("links", Kind::SpanLink),
        rest(),
    ]
}

/// Numbers of traces that chance keeps, or drops.
fn chosen(stays: bool) -> impl Iterator<Item = u64> {
    let sampler = Sampler::new(vec![rest()]).expect("a policy");
    let of = move |n: &u64| {
        sampler.foresees(&Trace {
            id: trace(*n),
            start: 0,
            end: 0,
            span_count: 2,
            error_count: 0,
            bytes: 0,
            spans: &[],
            evidence: Evidence::default(),
        })
    };
    (1..5_000).map(|n| n * 7_919).filter(move |n| of(n) == stays)
}

/// A trace whose second span links to others.
fn linking(of: u64, start: i64, (is_error, route): (bool, &str), to: &[u64]) -> Vec<Vec<u8>> {
    let mut all = spans(of, start, SECOND, is_error, route);
    for to in to {
        let mut link = Vec::new();
        put_bytes(&mut link, 1, &trace(*to).0);
        put_bytes(&mut link, 2, &(to * 10 + 1).to_be_bytes());
        put_bytes(&mut all[1], 13, &link);
    }
    all
}

const PLAIN: (bool, &str) = (false, "/a");
const ERROR: (bool, &str) = (true, "/a");
const VIP: (bool, &str) = (false, "/vip");

fn kept_by(rig: &Rig, of: u64) -> Option<(String, Option<f64>)> {
    let summary = rig.engine.snapshot().trace_summary(trace(of)).expect("read").expect("a summary");
    match summary.sampling {
        Decision::Kept { policy, adjusted_count, .. } => Some((policy, adjusted_count)),
        _ => None,
    }
}

/// Where the traces that link lie when those that they link to are decided about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    SameBlock,
    OtherBlock,
    Memory,
    Decided,
}

/// Stores traces, and lets it be decided about the first of them.
fn store(rig: &Rig, layout: Layout, producers: &[Vec<Vec<u8>>], consumers: &[Vec<Vec<u8>>]) {
    let put_all = |traces: &[Vec<Vec<u8>>]| traces.iter().for_each(|one| put(rig, Signal::Traces, one));
    match layout {
        Layout::SameBlock => put_all(producers),
        Layout::OtherBlock => {
            put_all(producers);
            rig.flush();
        }
        Layout::Memory => {
            put_all(producers);
            rig.flush();
            rig.clock.advance(DELAY + Duration::from_secs(61));
            put_all(consumers);
            settle(rig);
            return;
        }
        Layout::Decided => {}
    }
    put_all(consumers);
    decide(rig);
    if layout == Layout::Decided {
        put_all(producers);
        decide(rig);
    }
}

#[test]
fn what_a_trace_that_stays_links_to_stays() {
    let unlucky: Vec<u64> = chosen(false).take(20).collect();
    let lucky: Vec<u64> = chosen(true).take(4).collect();
    let p = &unlucky[..10];
    let (of_error, of_plain, back, chained, end, own, vip) =
        (unlucky[10], unlucky[11], unlucky[12], unlucky[13], unlucky[14], unlucky[15], unlucky[16]);
    for layout in [Layout::SameBlock, Layout::OtherBlock, Layout::Memory, Layout::Decided] {
        let rig = sampled(&policies());
        rig.clock.advance(Duration::from_secs(4 * 3_600));
        // Of another partition of the store than what they link to, where they lie in another block.
        let later = if layout == Layout::OtherBlock { NOW + 3 * 3_600 * SECOND } else { NOW + SECOND };
        let mut producers: Vec<Vec<Vec<u8>>> =
            p.iter().map(|of| spans(*of, NOW, SECOND, false, "/a")).collect();
        producers.push(spans(lucky[0], NOW, SECOND, false, "/a"));
        let consumers = [
            linking(of_error, later, ERROR, &[p[0], p[1]]),
            linking(lucky[1], later, PLAIN, &[p[2]]),
            linking(of_plain, later, PLAIN, &[p[3]]),
            linking(lucky[2], later, PLAIN, &[lucky[0]]),
            linking(back, later, PLAIN, &[lucky[0]]),
            linking(chained, later, PLAIN, &[p[4]]),
            linking(end, later + SECOND, ERROR, &[chained]),
            linking(own, later, PLAIN, &[own]),
            linking(vip, later, VIP, &[p[5]]),
        ];
        store(&rig, layout, &producers, &consumers);
        let of_link = Some(("links".to_owned(), Some(1.0)));
        for of in [p[0], p[1], p[2], lucky[0]] {
            assert_eq!(
                kept_by(&rig, of),
                of_link,
                "{layout:?}, {of}: given that what links stays, it is certain"
            );
        }
        assert!(!is_here(&rig, p[3]), "{layout:?}: what links goes itself");
        assert!(!is_here(&rig, p[4]), "{layout:?}: what stays for a link alone keeps nothing further");
        let is_known = layout == Layout::Decided;
        assert_eq!(
            is_here(&rig, p[5]),
            is_known,
            "{layout:?}: what only spans tell is known when it is decided"
        );
        assert!(p[6..].iter().all(|of| !is_here(&rig, *of)), "{layout:?}: nothing links to them");
        if layout == Layout::Memory {
            continue;
        }
        assert_eq!(kept_by(&rig, chained), of_link, "{layout:?}");
        for of in [of_plain, back, own] {
            assert!(
                matches!(state(&rig, of), LinkState::Dropped { .. }),
                "{layout:?}: linking keeps nothing: {of}"
            );
        }
        let query = LinkQuery { range: TimeRange::ALL, service: None, examples: 5 };
        let report = rig.engine.snapshot().links(&query).expect("a report");
        let counts = ["resolved", "dropped"].map(|state| report.count(LinkKind::SpanLinkTrace, state));
        let expected = if is_known { [6, 1] } else { [5, 2] };
        assert_eq!(counts, expected, "{layout:?}: {:?}", report.counts);
    }
}

/// Batches of ten messages: neither do all batches stay for one of their producers, nor all producers for their batch, and weights
/// come to what there was.
#[test]
fn batches_are_sampled_as_before() {
    let rig = sampled(&policies());
    // Ids as good as random: the hash tells one that differs in its last bytes alone badly from another.
    let of = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    for batch in 0..60 {
        let members: Vec<u64> = (1..=10).map(|n| of(batch * 11 + n)).collect();
        for member in &members {
            put(&rig, Signal::Traces, &spans(*member, NOW, SECOND, false, "/a"));
        }
        put(&rig, Signal::Traces, &linking(of(batch * 11 + 11), NOW + SECOND, PLAIN, &members));
    }
    decide(&rig);
    let (mut n_batches, mut n_members, mut weight) = (0, 0, 0.0);
    for n in (1..=660).filter(|n| is_here(&rig, of(*n))) {
        let (policy, count) = kept_by(&rig, of(n)).expect("decided");
        if n % 11 == 0 {
            assert_eq!((policy.as_str(), count), ("rest", Some(4.0)));
            n_batches += 1;
        } else {
            n_members += 1;
            weight += count.expect("known");
        }
    }
    assert!((8..=24).contains(&n_batches), "{n_batches}");
    assert!((200..340).contains(&n_members), "{n_members}");
    assert!((480.0..720.0).contains(&weight), "{weight}");
}

/// Of one trace so many links are looked at in a block, and no more.
#[test]
fn links_to_one_trace_are_limited() {
    for (n, stays) in [(31, true), (32, false)] {
        let rig = sampled(&policies());
        // Spans lie in the order of their traces' ids.
        let unlucky: Vec<u64> = chosen(false).take(n + 2).collect();
        let (producer, last) = (unlucky[0], unlucky[n + 1]);
        put(&rig, Signal::Traces, &spans(producer, NOW, SECOND, false, "/a"));
        for of in &unlucky[1..=n] {
            put(&rig, Signal::Traces, &linking(*of, NOW, PLAIN, &[producer]));
        }
        put(&rig, Signal::Traces, &linking(last, NOW, ERROR, &[producer]));
        decide(&rig);
        assert_eq!(is_here(&rig, producer), stays, "behind {n} others");
    }
}

/// Without the policy links keep nothing.
#[test]
fn links_count_where_a_policy_asks_for_them() {
    let rig = sampled(&[policy("errors", Kind::StatusCode { status_codes: vec![2] })]);
    put(&rig, Signal::Traces, &spans(1, NOW, SECOND, false, "/a"));
    put(&rig, Signal::Traces, &linking(2, NOW + SECOND, ERROR, &[1]));
    decide(&rig);
    assert!(!is_here(&rig, 1) && is_here(&rig, 2));
}
