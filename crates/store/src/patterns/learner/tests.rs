//! What belongs together, how ids stay, and that memory is bounded.

use std::collections::BTreeSet;

use super::*;
use crate::block::bodies::Splitter;

fn learn(learner: &Learner, service: &str, line: &str) -> PatternId {
    learner.learn(service, Splitter::default().split(line).0).id
}

/// The texts of the patterns of some lines, in the order of the lines.
fn texts(lines: &[&str]) -> Vec<String> {
    let learner = Learner::new();
    let ids: Vec<PatternId> = lines.iter().map(|line| learn(&learner, "web", line)).collect();
    ids.iter().map(|id| learner.text(*id).expect("known")).collect()
}

#[test]
fn lines_that_differ_in_a_value_are_one_pattern() {
    let together = |lines: &[&str], text: &str| {
        assert!(texts(lines).iter().all(|found| found == text), "{lines:?}: {:?}", texts(lines));
    };
    together(&["GET /a/1 took 8ms", "GET /a/22 took 1.5ms"], "GET /a/<_> took <_>ms");
    together(&["user bob logged in", "user al logged in"], "user <_> logged in");
    together(
        &["request of user=bob was denied by rule", "request of user=al was denied by rule"],
        "request of user=<_> was denied by rule",
    );
    together(
        &[r#"{"msg":"user bob has logged in","ip":"a"}"#, r#"{"msg":"user al has logged in","ip":"b"}"#],
        r#"{"msg":"user <_> has logged in","ip":"<_>"}"#,
    );
    together(
        &["connection to (alpha) was closed", "connection to (beta) was closed"],
        "connection to (<_>) was closed",
    );
}

#[test]
fn lines_that_say_something_else_are_not() {
    let apart = |lines: &[&str]| {
        let texts = texts(lines);
        assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), lines.len(), "{texts:?}");
    };
    apart(&["cache hit", "cache miss"]);
    apart(&["GET /orders 1", "POST /orders 1"]);
    apart(&["user 5 logged in", "user 5 logged out", "user 5 failed in"]);
    apart(&["one two three", "one two three four"]);
    apart(&[r#"{"msg":"a b c"}"#, r#"{"msg":"a b c","x":1}"#]);
    let learner = Learner::new();
    assert_ne!(learn(&learner, "web", "hello"), learn(&learner, "db", "hello"));
}

#[test]
fn ids_stay_when_texts_become_general_and_after_a_restart() {
    let learner = Learner::new();
    let bob = learn(&learner, "web", "user bob logged in");
    assert_eq!(learn(&learner, "web", "user al logged in"), bob);
    assert_eq!(learn(&learner, "web", "user bob logged in"), bob);
    let al = learner.learn("web", "user al logged in");
    assert_ne!(al.own, bob);
    assert_eq!(learner.seen(bob, 7), Some((7, "user <_> logged in".to_owned())));
    assert_eq!(learner.seen(bob, 9).map(|(first, _)| first), Some(7));

    let next = Learner::new();
    next.restore([(bob, "web", "user <_> logged in", 7)].into_iter(), [(al.own, bob)].into_iter());
    // In another order than before: the one that joined comes first.
    assert_eq!(learn(&next, "web", "user al logged in"), bob);
    assert_eq!(learn(&next, "web", "user bob logged in"), bob);
    assert_eq!(learn(&next, "web", "user eve logged in"), bob);
    assert_eq!(next.seen(bob, 100).map(|(first, _)| first), Some(7));
    // Nothing but the first shape is needed to know its id.
    assert_eq!(learn(&Learner::new(), "web", "user bob logged in"), bob);
}

#[test]
fn words_that_vary_much_do_not_become_many_patterns() {
    let learner = Learner::new();
    let letters =
        |n: usize| -> String { (0..4).map(|at| char::from(b'a' + (n >> (at * 3)) as u8 % 8)).collect() };
    let ids: BTreeSet<PatternId> = (0..4_000)
        .map(|n| learn(&learner, "web", &format!("{} joined {} room", letters(n * 7), letters(n))))
        .collect();
    assert!(ids.len() < 40, "{}", ids.len());
}

#[test]
fn a_flood_of_patterns_is_forgotten_and_others_are_kept() {
    let learner = Learner::new();
    let kept = learn(&learner, "calm", "nothing happened");
    let mut state = 1u64;
    for n in 0..60_000 {
        let mut line = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            line.extend((0..6).map(|at| char::from(b'g' + (state >> (20 + 5 * at)) as u8 % 16)));
            line.push(' ');
        }
        learn(&learner, if n % 2 == 0 { "flood" } else { "torrent" }, &line);
    }
    assert!(learner.len() <= 2 * SERVICE_PATTERNS_MAX + 1, "{}", learner.len());
    assert!(learner.text(kept).is_some());
    let patterns = learner.lock();
    assert!(patterns.lines.young.len() <= REMEMBERED_MAX && patterns.lines.old.len() <= REMEMBERED_MAX);
    let in_trees =
        patterns.services.values().flat_map(|tree| tree.leaves.values()).map(Vec::len).sum::<usize>();
    assert_eq!(in_trees, patterns.by_id.len());
    drop(patterns);
    // Services without end are bounded too.
    for n in 0..20_000 {
        learn(&learner, &format!("service {n}"), "hello");
    }
    assert!(learner.len() <= PATTERNS_MAX);
    assert!(learner.lock().services.len() <= PATTERNS_MAX);
}

#[test]
fn any_bytes_are_learned() {
    let learner = Learner::new();
    for line in
        ["", " ", "\u{0}\u{0}", "<_>", "<_> <_>", "=", "a= =b", "\u{fffd}\u{fffd}", &"x ".repeat(500_000)]
    {
        assert_eq!(learn(&learner, "web", line), learn(&learner, "web", line), "{line:.20}");
    }
    assert_eq!(common_ends("user=bob", "user=al"), (5, 0));
    assert_eq!(common_ends("(a)", "(b)"), (1, 1));
    assert_eq!(common_ends("((", "("), (1, 0));
    assert_eq!(common_ends("a=ü)", "a=ö)"), (2, 1));
}
