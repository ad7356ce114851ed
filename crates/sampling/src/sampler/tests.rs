//! The Collector's truth table, chance and weight, and our own policies.

use serde_json::{Map, json};
use throughline_model::SpanId;

use super::*;
use crate::ottl::{Condition, Context};
use crate::policy::{DEFAULT_HASH_SALT, Texts, production};

const SECOND: i64 = 1_000_000_000;

fn policy(name: &str, kind: Kind) -> Policy {
    Policy { name: name.to_owned(), kind }
}

fn share(percentage: f64, salt: &str) -> Kind {
    Kind::Probabilistic { hash_salt: salt.to_owned(), sampling_percentage: percentage }
}

fn span(attributes: serde_json::Value, resource: serde_json::Value) -> Span {
    let map = |value: serde_json::Value| -> Map<String, serde_json::Value> {
        value.as_object().cloned().unwrap_or_default()
    };
    Span {
        trace_id: TraceId::from_low(1).expect("not zero"),
        span_id: SpanId([1; 8]),
        parent_span_id: None,
        trace_state: "vendor=x,ot=th:8".to_owned(),
        flags: 1,
        name: "op".to_owned(),
        kind: 2,
        start_time: 0,
        duration_ns: 1,
        status_code: 1,
        status_message: String::new(),
        service: "web".to_owned(),
        resource: map(resource),
        scope: Map::new(),
        attributes: map(attributes),
        events: vec![json!({"name": "exception", "attributes": {}})],
        links: Vec::new(),
        adjusted_count: None,
    }
}

fn trace(spans: &[Span]) -> Trace<'_> {
    Trace {
        id: TraceId::from_low(12_345).expect("not zero"),
        start: 0,
        end: 2 * SECOND,
        span_count: 3,
        error_count: 0,
        bytes: 1_000,
        spans,
        evidence: Evidence::default(),
    }
}

fn wants(kind: Kind, trace: &Trace<'_>) -> bool {
    let mut sampler = Sampler::new(vec![policy("p", kind)]).expect("a policy");
    matches!(sampler.decide(trace, 0), Decision::Keep { .. })
}

fn ottl(text: &str, context: Context) -> Vec<Condition> {
    vec![Condition::parse(text, context).expect("a condition")]
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one entry or more a policy")]
fn every_policy_looks_at_what_its_name_says() {
    let spans = [
        span(json!({"n": 5, "s": "abc", "b": true, "empty": ""}), json!({"env": "prod", "none": ""})),
        span(json!({}), json!({})),
    ];
    let trace = trace(&spans);
    let latency = |threshold_ms, upper_threshold_ms| Kind::Latency { threshold_ms, upper_threshold_ms };
    let number = |min_value, max_value, invert_match| Kind::NumericAttribute {
        key: "n".to_owned(),
        min_value,
        max_value,
        invert_match,
    };
    let text = |key: &str, value: &str, invert_match| Kind::StringAttribute {
        key: key.to_owned(),
        values: Texts::Exact(vec![value.to_owned()]),
        invert_match,
    };
    let pattern = |value: &str| Kind::StringAttribute {
        key: "s".to_owned(),
        values: Texts::Patterns(vec![regex::Regex::new(value).expect("a pattern")]),
        invert_match: false,
    };
    let flag = |value, invert_match| Kind::BooleanAttribute { key: "b".to_owned(), value, invert_match };
    let state = |value: &str| Kind::TraceState { key: "ot".to_owned(), values: vec![value.to_owned()] };
    let count = |min_spans, max_spans| Kind::SpanCount { min_spans, max_spans };
    let codes = |codes: &[u8]| Kind::StatusCode { status_codes: codes.to_vec() };
    let condition = |span: Vec<Condition>, span_event| Kind::OttlCondition { span, span_event };
    let not = |kind| Kind::Not(Box::new(policy("part", kind)));
    let cases = [
        (true, Kind::AlwaysSample),
        (true, latency(2_000, 0)),
        (false, latency(2_001, 0)),
        (true, latency(1_999, 2_000)),
        (false, latency(2_000, 3_000)),
        (true, number(5, 5, false)),
        (false, number(6, 0, false)),
        (true, number(6, 0, true)),
        (true, text("s", "abc", false)),
        (false, text("s", "abc", true)),
        (true, text("env", "prod", false)),
        (false, text("empty", "", false)),
        (true, text("none", "", false)),
        (false, text("s", "b", false)),
        (true, pattern("b")),
        (true, flag(true, false)),
        (true, flag(false, true)),
        (true, Kind::BooleanAttribute { key: "s".to_owned(), value: false, invert_match: false }),
        (false, Kind::BooleanAttribute { key: "nowhere".to_owned(), value: false, invert_match: false }),
        (true, state("th:8")),
        (false, state("th")),
        (true, Kind::TraceFlags),
        (true, count(3, 3)),
        (false, count(4, 0)),
        (true, codes(&[1])),
        (false, codes(&[2])),
        (false, codes(&[0])),
        (true, condition(ottl("name == \"op\"", Context::Span), Vec::new())),
        (true, condition(Vec::new(), ottl("name == \"exception\"", Context::SpanEvent))),
        (false, condition(ottl("name == \"other\"", Context::Span), Vec::new())),
        (true, Kind::And(vec![policy("a", count(1, 0)), policy("b", latency(1, 0))])),
        (false, Kind::And(vec![policy("a", count(1, 0)), policy("b", latency(9_000, 0))])),
        (true, not(latency(9_000, 0))),
        (false, not(Kind::AlwaysSample)),
        (false, Kind::ErrorLog),
        (false, Kind::Exemplar),
        (false, Kind::FiringAlert),
        (false, Kind::Pin),
        (false, Kind::SpanLink),
    ];
    for (expected, kind) in cases {
        assert_eq!(wants(kind.clone(), &trace), expected, "{kind:?}");
    }
    let evidence = Evidence {
        error_logs: 1,
        exemplars: 1,
        is_alerted: true,
        is_pinned: true,
        is_linked: true,
        ..Evidence::default()
    };
    for kind in [Kind::ErrorLog, Kind::Exemplar, Kind::FiringAlert, Kind::Pin, Kind::SpanLink] {
        assert!(wants(kind.clone(), &Trace { evidence, ..trace }), "{kind:?}");
    }
}

/// The rules of the Collector's decision: a drop that fires wins, then any vote, else the trace goes.
#[test]
fn the_decision_follows_from_the_votes() {
    let drop = |kind| policy("dropper", Kind::Drop(vec![policy("part", kind)]));
    let never = Kind::Latency { threshold_ms: 1 << 40, upper_threshold_ms: 0 };
    let cases = [
        (vec![policy("all", Kind::AlwaysSample), drop(Kind::AlwaysSample)], Err("dropper")),
        (vec![policy("all", Kind::AlwaysSample), drop(never.clone())], Ok("all")),
        (vec![policy("none", never.clone())], Err(UNWANTED)),
        (vec![policy("none", never.clone()), policy("chance", share(0.0001, "x"))], Err("chance")),
        (vec![policy("none", never), policy("all", Kind::AlwaysSample)], Ok("all")),
    ];
    for (policies, expected) in cases {
        let mut sampler = Sampler::new(policies).expect("policies");
        let found = match sampler.decide(&trace(&[]), 0) {
            Decision::Keep { policy, .. } => Ok(policy),
            Decision::Drop { policy } => Err(policy),
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn what_something_holds_on_to_stays_whatever_policies_say() {
    let drop = policy("dropper", Kind::Drop(vec![policy("part", Kind::AlwaysSample)]));
    let mut sampler = Sampler::new(vec![drop]).expect("policies");
    for hold in [Hold::Pin, Hold::Alert, Hold::Exemplar] {
        let evidence = Evidence { hold: Some(hold), ..Evidence::default() };
        let expected = Decision::Keep { policy: hold.name(), adjusted_count: Some(1.0) };
        assert_eq!(sampler.decide(&Trace { evidence, ..trace(&[]) }, 0), expected);
    }
}

fn kept(sampler: &mut Sampler, n: u64) -> Vec<(TraceId, Option<f64>)> {
    let mut out = Vec::new();
    for low in 1..=n {
        // Ids as good as random: SplitMix64's finisher.
        let mut word = low.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let id = TraceId::from_low(word ^ (word >> 31) | 1).expect("not zero");
        if let Decision::Keep { adjusted_count, .. } = sampler.decide(&Trace { id, ..trace(&[]) }, 0) {
            out.push((id, adjusted_count));
        }
    }
    out
}

#[test]
fn chance_is_a_hash_and_its_weight_counts_what_went() {
    let mut sampler = Sampler::new(vec![policy("rest", share(10.0, DEFAULT_HASH_SALT))]).expect("a policy");
    let first = kept(&mut sampler, 20_000);
    assert!((1_800..2_200).contains(&first.len()), "{}", first.len());
    assert_eq!(first, kept(&mut sampler, 20_000), "the same every time");
    let weight: f64 = first.iter().filter_map(|(_, adjusted)| *adjusted).sum();
    assert!((18_000.0..22_000.0).contains(&weight), "{weight}");
    let mut other = Sampler::new(vec![policy("rest", share(10.0, "other"))]).expect("a policy");
    assert_ne!(first, kept(&mut other, 20_000), "another salt, another choice");
}

#[test]
fn weights_of_several_chances() {
    let weight = |policies: Vec<Policy>| {
        let mut sampler = Sampler::new(policies).expect("policies");
        let kept = kept(&mut sampler, 5_000);
        let first = kept.first().expect("some").1;
        assert!(kept.iter().all(|(_, adjusted)| *adjusted == first));
        (first, kept.len())
    };
    let two = |a: &str, b: &str| vec![policy("a", share(50.0, a)), policy("b", share(20.0, b))];
    let (independent, count) = weight(two("a", "b"));
    assert!((independent.expect("known") - 1.0 / 0.6).abs() < 1e-9);
    assert!((2_800..3_200).contains(&count), "{count}");
    let (nested, count) = weight(two("a", "a"));
    assert!((nested.expect("known") - 2.0).abs() < 1e-9, "of the same hash the larger share counts");
    assert!((2_350..2_650).contains(&count), "{count}");
    let certain = weight(vec![policy("a", share(50.0, "a")), policy("all", Kind::AlwaysSample)]);
    assert_eq!(certain, (Some(1.0), 5_000));
    let both = Kind::And(vec![policy("long", Kind::AlwaysSample), policy("half", share(50.0, "a"))]);
    assert_eq!(weight(vec![policy("both", both)]).0, Some(2.0));
    let rate = Kind::RateLimiting { spans_per_second: 30, burst_capacity: 0 };
    let limited = weight(vec![policy("rate", rate), policy("half", share(50.0, "a"))]);
    assert_eq!(limited.0, None, "a rate has no known chance");
}

/// What is kept of so many, against what it says that it stands for.
fn weighed(policies: Vec<Policy>, n: u64) -> (usize, f64) {
    let mut sampler = Sampler::new(policies).expect("policies");
    let kept = kept(&mut sampler, n);
    (kept.len(), kept.iter().map(|(_, adjusted)| adjusted.expect("known")).sum())
}

/// Whatever draws from whatever hash, the weights of what stays come to what there was.
#[test]
fn weights_come_to_what_there_was() {
    let (and, not) =
        (|parts| policy("and", Kind::And(parts)), |part| policy("not", Kind::Not(Box::new(part))));
    let long = || policy("long", Kind::AlwaysSample);
    let part = |percentage| policy("part", share(percentage, "a"));
    let drop = |parts| policy("drop", Kind::Drop(parts));
    for (policies, expected) in [
        // Of one hash within another policy and beside it: the larger share, not two draws.
        (vec![policy("rest", share(20.0, "a")), and(vec![long(), part(50.0)])], 0.5),
        (vec![policy("rest", share(20.0, "b")), and(vec![long(), part(50.0)])], 0.6),
        // One half, and then the other.
        (vec![policy("rest", share(30.0, "a")), not(part(30.0))], 1.0),
        (vec![and(vec![part(50.0), not(policy("other", share(20.0, "a")))])], 0.3),
        // A drop by chance takes from what another wants for what it is.
        (vec![policy("all", Kind::AlwaysSample), drop(vec![long(), part(90.0)])], 0.1),
        (vec![policy("rest", share(50.0, "b")), drop(vec![part(60.0)])], 0.2),
        (vec![policy("rest", share(80.0, "a")), drop(vec![part(60.0)])], 0.2),
    ] {
        let text = format!("{policies:?}");
        let (count, weight) = weighed(policies, 20_000);
        let share = count as f64 / 20_000.0;
        assert!((share - expected).abs() < 0.02, "{share} of {expected}: {text}");
        assert!((weight - 20_000.0).abs() < 1_200.0, "{weight}: {text}");
    }
}

#[test]
fn a_rate_leaves_the_weight_unknown_only_where_it_matters() {
    let rate = || policy("rate", Kind::RateLimiting { spans_per_second: 1 << 40, burst_capacity: 0 });
    let decided = |policies: Vec<Policy>| {
        let mut sampler = Sampler::new(policies).expect("policies");
        match sampler.decide(&trace(&[]), 0) {
            Decision::Keep { policy, adjusted_count } => (policy.to_owned(), adjusted_count),
            Decision::Drop { policy } => (policy.to_owned(), Some(0.0)),
        }
    };
    assert_eq!(decided(vec![rate()]), ("rate".to_owned(), None));
    assert_eq!(
        decided(vec![rate(), policy("all", Kind::AlwaysSample)]),
        ("all".to_owned(), Some(1.0)),
        "what another wants for what it is the rate cannot take"
    );
    let never = policy("never", Kind::Latency { threshold_ms: 1 << 40, upper_threshold_ms: 0 });
    let no_rate = policy("no-rate", Kind::And(vec![never, rate()]));
    let half = policy("most", share(100.0, "a"));
    assert_eq!(decided(vec![no_rate.clone(), half]), ("most".to_owned(), Some(1.0)));
    assert_eq!(decided(vec![no_rate]), (UNWANTED.to_owned(), Some(0.0)), "no rate would have kept it");
    let many: Vec<Policy> =
        (0..12).map(|n| policy(&format!("p{n}"), share(50.0, &format!("salt {n}")))).collect();
    let mut sampler = Sampler::new(many).expect("policies");
    let unknown = kept(&mut sampler, 100);
    assert!(unknown.iter().all(|(_, adjusted)| adjusted.is_none()), "too many draws to go through");
}

#[test]
fn rates_are_of_time() {
    let rate = |burst_capacity| Kind::RateLimiting { spans_per_second: 10, burst_capacity };
    let mut sampler = Sampler::new(vec![policy("rate", rate(0))]).expect("a policy");
    let mut stays = |now: i64, span_count: u64| {
        let trace = Trace { span_count, ..trace(&[]) };
        matches!(sampler.decide(&trace, now), Decision::Keep { .. })
    };
    assert!(stays(0, 20), "the burst is twice the rate");
    assert!(!stays(0, 1));
    assert!(!stays(SECOND / 2, 6));
    assert!(stays(SECOND / 2, 5));
    assert!(!stays(0, 1), "time that goes backwards fills nothing");
    assert!(!stays(100 * SECOND, 21), "more than the burst never stays");
    assert!(stays(100 * SECOND, 20));
    let mut bytes = Sampler::new(vec![policy(
        "bytes",
        Kind::BytesLimiting { bytes_per_second: 600, burst_capacity: 1_500 },
    )])
    .expect("a policy");
    let keeps = |decision: Decision<'_>| matches!(decision, Decision::Keep { .. });
    assert!(keeps(bytes.decide(&trace(&[]), 0)));
    assert!(!keeps(bytes.decide(&trace(&[]), 0)), "of 1,500 bytes 500 are left");
}

#[test]
fn a_composite_asks_in_order_and_has_no_second_choice() {
    let parts = vec![
        (policy("long", Kind::Latency { threshold_ms: 1_000, upper_threshold_ms: 0 }), 5),
        (policy("all", Kind::AlwaysSample), 100),
        (policy("none", Kind::AlwaysSample), 0),
    ];
    let composite = Kind::Composite { max_total_spans_per_second: 1_000, parts };
    let mut sampler = Sampler::new(vec![policy("c", composite)]).expect("a policy");
    let mut stays = |end: i64, now: i64| {
        matches!(sampler.decide(&Trace { end, ..trace(&[]) }, now), Decision::Keep { .. })
    };
    assert!(stays(2 * SECOND, 0));
    assert!(!stays(2 * SECOND, 0), "its share is spent, and the next part is not asked");
    assert!(stays(0, 0), "what the first part does not want");
    assert!(stays(2 * SECOND, SECOND), "a new second");
}

#[test]
fn the_production_policies_keep_what_matters() {
    let mut sampler = Sampler::new(production(10.0)).expect("policies");
    let needs = sampler.needs();
    assert!(!needs.spans && needs.routes && needs.alerts && needs.links, "summaries are enough: {needs:?}");
    let mut route = Durations::default();
    (0..1_000).for_each(|n| route.add(SECOND / 100 + n));
    let quiet = Evidence { route: Some(&route), ..Evidence::default() };
    let fast = Trace { end: SECOND / 100, evidence: quiet, ..trace(&[]) };
    let cases = [
        ("errors", Trace { error_count: 1, ..fast }),
        ("error-logs", Trace { evidence: Evidence { error_logs: 1, ..quiet }, ..fast }),
        ("slow-for-route", Trace { end: SECOND, ..fast }),
        ("firing-alerts", Trace { evidence: Evidence { is_alerted: true, ..quiet }, ..fast }),
        ("span-links", Trace { evidence: Evidence { is_linked: true, ..quiet }, ..fast }),
        ("exemplar", Trace { evidence: Evidence { hold: Some(Hold::Exemplar), ..quiet }, ..fast }),
    ];
    for (name, trace) in cases {
        let expected = Decision::Keep { policy: name, adjusted_count: Some(1.0) };
        assert_eq!(sampler.decide(&trace, 0), expected);
    }
    let mut new_route = Durations::default();
    new_route.add(1);
    let evidence = Evidence { route: Some(&new_route), ..Evidence::default() };
    let decision = sampler.decide(&Trace { evidence, ..fast }, 0);
    assert_eq!(decision, Decision::Keep { policy: "slow-for-route", adjusted_count: Some(1.0) });
}

/// What is foreseen is what is decided then, wherever the summary is enough; where it is not, nothing is foreseen.
#[test]
fn what_a_summary_is_enough_for_is_foreseen() {
    let long = || policy("long", Kind::Latency { threshold_ms: 1_000, upper_threshold_ms: 0 });
    let never = || policy("never", Kind::Latency { threshold_ms: 1 << 40, upper_threshold_ms: 0 });
    let not = |part| policy("not", Kind::Not(Box::new(part)));
    let and = |parts| policy("and", Kind::And(parts));
    let drop = |parts| policy("drop", Kind::Drop(parts));
    let unknown = || {
        let (key, values) = ("s".to_owned(), Texts::Exact(vec!["abc".to_owned()]));
        policy("unknown", Kind::StringAttribute { key, values, invert_match: false })
    };
    let rate = policy("rate", Kind::RateLimiting { spans_per_second: 1 << 40, burst_capacity: 0 });
    let spans = [span(json!({"s": "abc"}), json!({}))];
    for (expected, policies) in [
        (true, vec![long()]),
        (false, vec![never()]),
        (true, vec![not(never())]),
        (true, vec![and(vec![long(), not(never())])]),
        (false, vec![and(vec![long(), never()])]),
        (false, vec![long(), drop(vec![policy("all", Kind::AlwaysSample)])]),
        // Spans, rates and other links are not looked at, whichever way they are asked.
        (false, vec![unknown()]),
        (false, vec![not(unknown())]),
        (false, vec![and(vec![long(), unknown()])]),
        (false, vec![not(policy("links", Kind::SpanLink))]),
        (false, vec![rate]),
        (true, vec![long(), unknown()]),
        (true, vec![not(and(vec![never(), unknown()]))]),
        (true, vec![long(), drop(vec![unknown()])]),
    ] {
        let text = format!("{policies:?}");
        let sampler = Sampler::new(policies).expect("policies");
        assert_eq!(sampler.foresees(&trace(&spans)), expected, "{text}");
    }
    let mut sampler = Sampler::new(vec![policy("half", share(50.0, "a"))]).expect("a policy");
    for low in 1..=200 {
        let id = TraceId::from_low(low * 7_919).expect("not zero");
        let of = Trace { id, ..trace(&[]) };
        let foreseen = sampler.foresees(&of);
        assert_eq!(matches!(sampler.decide(&of, 0), Decision::Keep { .. }), foreseen, "{low}");
    }
    let held = Evidence { hold: Some(Hold::Pin), ..Evidence::default() };
    assert!(Sampler::new(vec![never()]).expect("a policy").foresees(&Trace { evidence: held, ..trace(&[]) }));
}
