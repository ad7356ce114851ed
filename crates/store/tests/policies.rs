//! Policies over stored spans: each with a trace that it keeps and one that it drops, from one block and from several.
//!
//! What makes the difference is in one span alone, so that a part of spans that is not read is missed. Policies about what refers to
//! a trace are tested in [`crate::sampling`].

use throughline_model::Signal;
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number, put_varint};
use throughline_sampling::ottl::{Condition, Context};
use throughline_sampling::policy::{DEFAULT_HASH_SALT, Kind, Policy, Texts};
use throughline_store::Written;

use crate::harness::{NOW, Request};
use crate::requests::attribute;
use crate::sampling::{SECOND, decide, is_here, put, sampled, spans};

/// What is added to the second span of a trace: fields as they are on the wire.
type Fields = Vec<u8>;

/// A policy, a trace that it keeps and one that it drops; none where it keeps or drops whatever comes.
struct Case {
    kind: Kind,
    kept: Option<Trace>,
    dropped: Option<Trace>,
}

#[derive(Clone)]
struct Trace {
    duration: i64,
    is_error: bool,
    n_spans: usize,
    second: Fields,
}

fn plain() -> Option<Trace> {
    Some(Trace { duration: SECOND, is_error: false, n_spans: 2, second: Vec::new() })
}

fn lasting(duration: i64) -> Option<Trace> {
    plain().map(|plain| Trace { duration, ..plain })
}

fn with(second: Fields) -> Option<Trace> {
    plain().map(|plain| Trace { second, ..plain })
}

fn bytes(field: u32, value: &[u8]) -> Fields {
    let mut out = Vec::new();
    put_bytes(&mut out, field, value);
    out
}

/// An attribute that is no text: a truth value in field 2 of its value, a whole number in field 3.
fn number(key: &str, field: u32, value: u64) -> Fields {
    let (mut any, mut pair) = (Vec::new(), Vec::new());
    put_number(&mut any, field, value);
    put_bytes(&mut pair, 1, key.as_bytes());
    put_bytes(&mut pair, 2, &any);
    bytes(9, &pair)
}

fn named(key: &str, value: &str) -> Fields {
    bytes(9, &attribute(key, value))
}

fn state(value: &str) -> Fields {
    bytes(3, value.as_bytes())
}

fn flags(value: u32) -> Fields {
    let mut out = Vec::new();
    // Field 16, four bytes.
    put_varint(&mut out, 16 << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
    out
}

fn status(code: u64, message: &str) -> Fields {
    let mut of_status = Vec::new();
    put_bytes(&mut of_status, 2, message.as_bytes());
    put_number(&mut of_status, 3, code);
    bytes(15, &of_status)
}

fn kind(value: u64) -> Fields {
    let mut out = Vec::new();
    put_number(&mut out, 6, value);
    out
}

fn event(name: &str) -> Fields {
    let mut of_event = Vec::new();
    put_fixed64(&mut of_event, 1, NOW as u64);
    put_bytes(&mut of_event, 2, name.as_bytes());
    put_bytes(&mut of_event, 3, &attribute("reason", name));
    bytes(11, &of_event)
}

fn link(state: &str) -> Fields {
    let mut of_link = Vec::new();
    put_bytes(&mut of_link, 1, &[7; 16]);
    put_bytes(&mut of_link, 2, &[7; 8]);
    put_bytes(&mut of_link, 3, state.as_bytes());
    bytes(13, &of_link)
}

fn policy(name: &str, kind: Kind) -> Policy {
    Policy { name: name.to_owned(), kind }
}

fn long() -> Kind {
    Kind::Latency { threshold_ms: 2_000, upper_threshold_ms: 0 }
}

fn text_is(value: &str, invert_match: bool) -> Kind {
    Kind::StringAttribute {
        key: "word".to_owned(),
        values: Texts::Exact(vec![value.to_owned()]),
        invert_match,
    }
}

fn span_is(condition: &str) -> Kind {
    let span = vec![Condition::parse(condition, Context::Span).expect(condition)];
    Kind::OttlCondition { span, span_event: Vec::new() }
}

fn event_is(condition: &str) -> Kind {
    let span_event = vec![Condition::parse(condition, Context::SpanEvent).expect(condition)];
    Kind::OttlCondition { span: Vec::new(), span_event }
}

/// The traces of a case, 1 to stay and 2 to go, as they come: all at once, or each in two parts that lie in different blocks.
fn check(case: &Case, is_split: bool) {
    let rig = sampled(&[policy("tested", case.kind.clone())]);
    let parts: &[(usize, usize)] = if is_split { &[(0, 1), (1, usize::MAX)] } else { &[(0, usize::MAX)] };
    for (start, end) in parts {
        for (of, trace) in [(1, &case.kept), (2, &case.dropped)] {
            let Some(trace) = trace else { continue };
            let mut all = spans(of, NOW + of as i64, trace.duration, trace.is_error, "/a");
            all[1].extend_from_slice(&trace.second);
            for n in 2..trace.n_spans as u64 {
                let mut more = all[1].clone();
                put_bytes(&mut more, 2, &(of * 10 + 1 + n).to_be_bytes());
                all.push(more);
            }
            put(&rig, Signal::Traces, &all[*start..all.len().min(*end)]);
        }
        rig.flush();
    }
    decide(&rig);
    let how = format!("{:?}, {}", case.kind, if is_split { "from two blocks" } else { "from one block" });
    for (of, trace, stays) in [(1, &case.kept, true), (2, &case.dropped, false)] {
        assert!(trace.is_none() || is_here(&rig, of) == stays, "{of} of {how}");
    }
}

fn check_all(cases: Vec<Case>) {
    for case in &cases {
        check(case, false);
        check(case, true);
    }
}

fn case(kind: Kind, kept: Option<Trace>, dropped: Option<Trace>) -> Case {
    Case { kind, kept, dropped }
}

#[test]
fn policies_about_summaries_decide_over_stored_traces() {
    let share = |sampling_percentage| Kind::Probabilistic {
        hash_salt: DEFAULT_HASH_SALT.to_owned(),
        sampling_percentage,
    };
    let error = || plain().map(|plain| Trace { is_error: true, ..plain });
    let three = || plain().map(|plain| Trace { n_spans: 3, ..plain });
    let codes = |codes: &[u8]| Kind::StatusCode { status_codes: codes.to_vec() };
    let between = Kind::Latency { threshold_ms: 500, upper_threshold_ms: 1_500 };
    let parts = || vec![policy("long", long()), policy("error", codes(&[2]))];
    let long_error = || error().map(|error| Trace { duration: 2 * SECOND, ..error });
    check_all(vec![
        case(Kind::AlwaysSample, plain(), None),
        case(long(), lasting(2 * SECOND), lasting(2 * SECOND - 1_000_000)),
        case(between, lasting(SECOND), lasting(2 * SECOND)),
        case(share(100.0), plain(), None),
        case(share(0.0), None, plain()),
        case(codes(&[2]), error(), plain()),
        case(Kind::SpanCount { min_spans: 3, max_spans: 0 }, three(), plain()),
        case(Kind::SpanCount { min_spans: 1, max_spans: 2 }, plain(), three()),
        // The first spends all that may be kept.
        case(Kind::RateLimiting { spans_per_second: 1, burst_capacity: 2 }, plain(), plain()),
        case(Kind::RateLimiting { spans_per_second: 1, burst_capacity: 1 }, None, plain()),
        case(Kind::And(parts()), long_error(), error()),
        case(Kind::Not(Box::new(policy("long", long()))), plain(), lasting(2 * SECOND)),
        case(
            Kind::Composite {
                max_total_spans_per_second: 2,
                parts: vec![(policy("long", long()), 2), (policy("error", codes(&[2])), 1)],
            },
            lasting(2 * SECOND),
            error(),
        ),
    ]);
}

#[test]
fn policies_about_spans_decide_over_stored_traces() {
    let number_is = |min_value, max_value, invert_match| Kind::NumericAttribute {
        key: "n".to_owned(),
        min_value,
        max_value,
        invert_match,
    };
    let flag_is = |value, invert_match| Kind::BooleanAttribute { key: "b".to_owned(), value, invert_match };
    let pattern = Kind::StringAttribute {
        key: "word".to_owned(),
        values: Texts::patterns(&["^a+$".to_owned()]).expect("a pattern"),
        invert_match: false,
    };
    let of_state = Kind::TraceState { key: "vendor".to_owned(), values: vec!["x".to_owned()] };
    let limit = |burst_capacity| Kind::BytesLimiting { bytes_per_second: 1, burst_capacity };
    let large = "large".repeat(1_000);
    check_all(vec![
        case(Kind::StatusCode { status_codes: vec![1] }, with(status(1, "")), plain()),
        case(number_is(5, 0, false), with(number("n", 3, 5)), with(number("n", 3, 4))),
        case(number_is(0, 5, true), with(number("n", 3, 6)), with(number("n", 3, 5))),
        case(text_is("a", false), with(named("word", "a")), with(named("word", "b"))),
        case(text_is("a", true), with(named("word", "b")), with(named("word", "a"))),
        case(pattern, with(named("word", "aa")), with(named("word", "ab"))),
        case(flag_is(true, false), with(number("b", 2, 1)), with(number("b", 2, 0))),
        case(flag_is(true, true), with(number("b", 2, 0)), with(number("b", 2, 1))),
        case(of_state, with(state("a=b,vendor=x")), with(state("a=x,vendor=y"))),
        case(Kind::TraceFlags, with(flags(0x101)), with(flags(0x302))),
        case(Kind::TraceFlags, with(flags(1)), plain()),
        // Each part of a span counts, and nothing much besides.
        case(limit(1_000), plain(), with(named("word", &large))),
        case(limit(1_000), plain(), with(event(&large))),
        case(limit(1_000), plain(), with(link(&large))),
        case(limit(1_000), plain(), with(status(1, &large))),
        case(limit(1_000), plain(), with(state(&format!("vendor={}", &large[..250].repeat(4))))),
        case(limit(100), None, plain()),
    ]);
}

#[test]
fn conditions_see_every_part_of_stored_spans() {
    check_all(vec![
        case(span_is("name == \"other\""), with(bytes(5, b"other")), plain()),
        case(span_is("kind == SPAN_KIND_SERVER"), with(kind(2)), with(kind(3))),
        case(span_is("status.code == STATUS_CODE_OK"), with(status(1, "")), plain()),
        case(span_is("status.message == \"late\""), with(status(1, "late")), with(status(1, "early"))),
        case(span_is("trace_state[\"vendor\"] == \"x\""), with(state("vendor=x")), with(state("vendor=y"))),
        case(span_is("span_id.string == \"000000000000000c\""), plain(), plain()),
        case(span_is("parent_span_id.string != \"\" and not IsRootSpan()"), plain(), None),
        case(span_is("end_time_unix_nano - start_time_unix_nano > 1500000000"), lasting(2 * SECOND), plain()),
        case(span_is("attributes[\"n\"] == 5"), with(number("n", 3, 5)), with(number("n", 3, 4))),
        case(span_is("resource.attributes[\"service.name\"] == \"web\""), plain(), None),
        case(span_is("resource.attributes[\"service.name\"] == \"db\""), None, plain()),
        case(event_is("name == \"exception\""), with(event("exception")), with(event("retry"))),
        case(event_is("attributes[\"reason\"] == \"retry\""), with(event("retry")), with(event("exception"))),
    ]);
}

#[test]
fn conditions_see_the_scope_of_stored_spans() {
    let rig = sampled(&[policy("scope", span_is("instrumentation_scope.name == \"lib\""))]);
    for (of, name) in [(1, "lib"), (2, "other")] {
        let (mut scope, mut of_resource, mut body) = (bytes(1, &bytes(1, name.as_bytes())), vec![], vec![]);
        spans(of, NOW, SECOND, false, "/a").iter().for_each(|span| put_bytes(&mut scope, 2, span));
        put_bytes(&mut of_resource, 2, &scope);
        put_bytes(&mut body, 1, &of_resource);
        let request = Request { signal: Signal::Traces, body: body.into(), items: Vec::new() };
        assert_eq!(rig.store(&request), Ok(Written::Stored));
    }
    decide(&rig);
    assert!(is_here(&rig, 1) && !is_here(&rig, 2));
}

/// A `drop` policy stands beside others.
#[test]
fn a_drop_policy_decides_over_stored_traces() {
    let dropper = policy("no-probes", Kind::Drop(vec![policy("probe", text_is("probe", false))]));
    let rig = sampled(&[policy("all", Kind::AlwaysSample), dropper]);
    for (of, word) in [(1, "order"), (2, "probe")] {
        let mut all = spans(of, NOW, SECOND, false, "/a");
        all[1].extend(named("word", word));
        put(&rig, Signal::Traces, &all);
    }
    decide(&rig);
    assert!(is_here(&rig, 1) && !is_here(&rig, 2));
}
