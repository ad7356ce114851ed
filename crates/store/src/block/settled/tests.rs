//! Every line comes back, settled or taken apart again, and has the same mask.

use super::*;
use crate::block::bodies::{Splitter, assemble};

fn rows_of((patterns, slots): Bodies) -> RecordBatch {
    let columns = [("pattern", Arc::new(patterns) as ArrayRef, false), ("slots", Arc::new(slots), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// Rows as a flush writes them.
fn split(bodies: &[String]) -> RecordBatch {
    let mut splitter = Splitter::default();
    let mut numbered = Numbered::default();
    let (mut keys, mut all) = (Vec::new(), StringBuilder::new());
    for body in bodies {
        let (mask, slots) = splitter.split(body);
        keys.push(numbered.number(Cow::Owned(mask.to_owned())));
        all.append_option(slots);
    }
    rows_of((numbered.dictionary(keys), all.finish()))
}

fn texts(rows: &RecordBatch) -> Vec<(String, Option<String>)> {
    let bodies = BodiesOf::new(rows).unwrap();
    let text = |(key, slots): (usize, Option<&str>)| {
        (bodies.patterns.value(key).to_owned(), slots.map(str::to_owned))
    };
    bodies.rows().map(text).collect()
}

/// Settles pieces of so many rows together and takes them apart again; says the settled rows.
fn there_and_back(bodies: &[String], piece_rows: usize) -> Vec<(String, Option<String>)> {
    let pieces: Vec<RecordBatch> = bodies.chunks(piece_rows).map(split).collect();
    let stored = settle(&pieces).unwrap();
    let all =
        |pieces: &[RecordBatch]| -> Vec<(String, Option<String>)> { pieces.iter().flat_map(texts).collect() };
    let (before, after) = (all(&pieces), all(&stored));
    assert_eq!(after.len(), bodies.len());
    for (((pattern, slots), body), (mask_before, slots_before)) in after.iter().zip(bodies).zip(&before) {
        let mut again = String::new();
        assemble(pattern, slots.as_deref(), &mut again);
        assert_eq!(&again, body);
        if slots_before.is_some() {
            assert_eq!(&mask(pattern), mask_before, "of {body:?}, stored as {pattern:?}");
        }
    }
    let back: Vec<RecordBatch> = stored.iter().map(|rows| take_apart(rows).unwrap()).collect();
    assert_eq!(all(&back), before);
    after
}

#[test]
fn slots_that_do_not_vary_stand_in_the_pattern() {
    let mut bodies: Vec<String> =
        (0..20).map(|n| format!("GET /orders/{n} gave 200 in {}.26ms on 10.0.0.7:8080", n % 3)).collect();
    bodies.push("retry 3 of 5".to_owned());
    bodies.push("retry {} of 5".to_owned());
    bodies.extend((0..16).map(|_| "step 2b done in 26ms".to_owned()));
    let stored = there_and_back(&bodies, 7);
    let pair = |pattern: &str, slots: &str| (pattern.to_owned(), Some(slots.to_owned()));
    assert_eq!(stored[4], pair("GET /orders/{} gave 200 in {}.26ms on 10.0.0.7:8080", "4 1"));
    assert_eq!(stored[20], pair("retry {} of {}", "3 5"));
    assert_eq!(stored[21], ("retry {} of 5".to_owned(), None));
    assert_eq!(stored[30], ("step 2b done in 26ms".to_owned(), None));
    assert_eq!(mask(&stored[30].0), "step {} done in {}ms");
}

#[test]
fn a_body_that_looks_like_a_settled_pattern_is_told_from_it() {
    let mut bodies: Vec<String> = (0..20).map(|n| format!("retry {n} of 5")).collect();
    bodies.extend((0..20).map(|_| "retry {} of 5".to_owned()));
    bodies.extend((0..20).map(|_| "retry {} of {}".to_owned()));
    let stored = there_and_back(&bodies, 7);
    assert_eq!(stored[3], ("retry {} of 5".to_owned(), Some("3".to_owned())));
    assert_eq!(stored[25], ("retry {} of 5".to_owned(), None));
    assert_eq!(stored[45], ("retry {} of {}".to_owned(), None));
}

#[test]
fn few_lines_stay_as_they_are() {
    let bodies: Vec<String> = (0..15).map(|n| format!("code {n} of 5")).collect();
    assert_eq!(there_and_back(&bodies, 7)[0], ("code {} of {}".to_owned(), Some("0 5".to_owned())));
}

#[test]
fn every_text_comes_back() {
    let parts = [
        "0",
        "00",
        "007",
        "-0",
        "+1",
        "18446744073709551616",
        "1e9",
        "0x1F",
        "DeadBEEF12",
        "f00d",
        "5ms",
        "5 ms",
        "{}",
        "{",
        "}",
        "{1}",
        "ü9ü",
        "9ü",
        "10.0.0.1",
        " ",
        "  ",
        "",
        "a",
        "status=200",
        "\u{0}1",
        "٣",
        "1_000",
        "2023-01-29T15:38:06Z",
        "ab12cd",
        "49a51828322183eb20bfe4ace3060000",
        "99g",
        "g99",
        "9f9",
        "1 2 3",
    ];
    let mut state = 11u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..400 {
        let n_kinds = 1 + random(4);
        let kinds: Vec<Vec<usize>> =
            (0..n_kinds).map(|_| (0..random(7)).map(|_| random(parts.len() + 4)).collect()).collect();
        let bodies: Vec<String> = (0..1 + random(90))
            .map(|_| {
                let kind = &kinds[random(n_kinds)];
                // Of each kind some parts stay and some vary.
                let part = |at: &usize, n: usize| {
                    parts.get(*at).map_or_else(|| n.to_string(), |part| (*part).to_owned())
                };
                kind.iter().map(|at| part(at, random(1_000))).collect()
            })
            .collect();
        there_and_back(&bodies, 7);
    }
}

#[test]
fn long_lines_are_settled_in_part() {
    let long = "word 17 ".repeat(1 << 17);
    let slots = there_and_back(&vec![long; 20], 7)[3].1.clone().unwrap_or_default();
    assert_eq!(slots.split(SEPARATOR).count(), (1 << 17) - SLOTS_MAX);
    let words: Vec<String> = (0..SLOTS_MAX).map(|n| n.to_string()).collect();
    let line = words.join(" ");
    assert_eq!(there_and_back(&vec![line.clone(); 20], 7)[19], (line.clone(), None));
    let varied: Vec<String> = (0..20).map(|n| format!("{line} {n}")).collect();
    assert_eq!(there_and_back(&varied, 7)[5], (format!("{line} {{}}"), Some("5".to_owned())));
    let (longest, longer) = ("7".repeat(SLOT_BYTES_MAX), "7".repeat(SLOT_BYTES_MAX + 1));
    let lines = vec![format!("a {longest} b {longer}"); 20];
    assert_eq!(there_and_back(&lines, 7)[0], (format!("a {longest} b {{}}"), Some(longer)));
}

#[test]
fn masks_are_those_of_the_splitter() {
    assert_eq!(mask("took 5ms of 30s on node-07f"), "took {}ms of {}s on node-{}");
    assert_eq!(mask("took {}ms of 30s"), "took {}ms of {}s");
    assert_eq!(mask("nothing"), "nothing");
    assert_eq!(mask("a{7}b{}"), "a{{}}b{}");
    assert_eq!(mask("ü9ü ٣"), "ü{}ü ٣");
}
