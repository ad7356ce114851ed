//! Patterns of log lines through a store's life: in memory, flushed, merged, after a power cut and a restart.

use std::time::Duration;

use bytes::Bytes;
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number};
use throughline_model::{Level, PatternId, Signal};
use throughline_store::{LogQuery, Pattern, PatternQuery, Snapshot, TimeRange};

use crate::harness::{NOW, Random, Request, Rig, config};

const SECOND: i64 = 1_000_000_000;

/// A line, its severity number and its time in seconds after [`NOW`].
type Line<'a> = (&'a str, u64, i64);

fn text(value: &str) -> Vec<u8> {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, value.as_bytes());
    any
}

fn request(service: &str, lines: &[Line<'_>]) -> Request {
    let mut scope = Vec::new();
    for (line, severity, second) in lines {
        let mut record = Vec::new();
        put_fixed64(&mut record, 1, (NOW + second * SECOND) as u64);
        put_number(&mut record, 2, *severity);
        put_bytes(&mut record, 5, &text(line));
        put_bytes(&mut scope, 2, &record);
    }
    let (mut attribute, mut attributes) = (Vec::new(), Vec::new());
    put_bytes(&mut attribute, 1, b"service.name");
    put_bytes(&mut attribute, 2, &text(service));
    put_bytes(&mut attributes, 1, &attribute);
    let (mut resource, mut body) = (Vec::new(), Vec::new());
    put_bytes(&mut resource, 1, &attributes);
    put_bytes(&mut resource, 2, &scope);
    put_bytes(&mut body, 1, &resource);
    Request { signal: Signal::Logs, body: Bytes::from(body), items: Vec::new() }
}

fn everything() -> PatternQuery {
    PatternQuery {
        range: TimeRange::ALL,
        service: None,
        new_since: None,
        step_ns: 10 * SECOND,
        limit: usize::MAX,
    }
}

fn patterns(snapshot: &Snapshot, query: &PatternQuery) -> Vec<Pattern> {
    let found = snapshot.patterns(query).expect("patterns");
    assert_eq!(found.partial, Vec::<String>::new());
    found.items
}

/// The pattern id of every line, by its body.
fn ids(snapshot: &Snapshot) -> Vec<(String, Option<PatternId>)> {
    let query = LogQuery {
        range: TimeRange::ALL,
        service: None,
        min_severity: 0,
        pattern: None,
        contains: None,
        limit: usize::MAX,
    };
    let found = snapshot.search_logs(&query).expect("logs").items;
    let mut ids: Vec<_> = found.iter().map(|log| (log.body.to_string(), log.pattern_id)).collect();
    ids.sort();
    ids
}

const FIRST: [Line<'_>; 5] = [
    ("user bob logged in after 7 ms", 9, 0),
    ("user al logged in after 12 ms", 9, 1),
    ("disk full", 17, 2),
    ("user eve logged in after 9 ms", 13, 25),
    ("", 9, 3),
];

#[test]
fn patterns_are_the_same_in_memory_on_disk_merged_and_after_a_power_cut() {
    let mut rig = Rig::new(config());
    rig.store(&request("web", &FIRST)).expect("stored");
    let in_memory = (ids(&rig.engine.snapshot()), patterns(&rig.engine.snapshot(), &everything()));
    assert_eq!(in_memory.1.len(), 3, "{:?}", in_memory.1);
    let logged_in = in_memory.1.first().expect("the most frequent");
    assert_eq!(logged_in.pattern, "user <_> logged in after <_> ms");
    assert_eq!((logged_in.count, logged_in.first_seen, logged_in.last_seen), (3, NOW, NOW + 25 * SECOND));
    assert_eq!(logged_in.example, "user bob logged in after 7 ms");
    let levels: Vec<_> = logged_in.levels.iter().map(|of| (of.level, of.samples.clone())).collect();
    assert_eq!(levels, [(Level::Info, vec![(NOW, 2)]), (Level::Warn, vec![(NOW + 20 * SECOND, 1)])]);
    let of_bob = in_memory.0.iter().find(|(body, _)| body.contains("bob")).and_then(|(_, id)| *id);
    assert_eq!(of_bob, Some(logged_in.id));
    assert_eq!(in_memory.0.iter().filter(|(_, id)| *id == of_bob).count(), 3);
    let same = |rig: &Rig, when: &str| {
        let now = (ids(&rig.engine.snapshot()), patterns(&rig.engine.snapshot(), &everything()));
        assert_eq!(now, in_memory, "{when}");
    };

    rig = rig.crash(1);
    same(&rig, "after a power cut before the flush");
    rig.flush();
    same(&rig, "flushed");
    rig = rig.crash(2);
    same(&rig, "after a power cut after the flush");

    // Lines of the same patterns, in another order than the first time, from a learner that knows blocks alone.
    let again = [("user al logged in after 1 ms", 9, 40), ("user zoe logged in after 1 ms", 9, 41)];
    rig.store(&request("web", &again)).expect("stored");
    let all = patterns(&rig.engine.snapshot(), &everything());
    assert_eq!((all.len(), all[0].count, all[0].id), (3, 5, logged_in.id), "{all:?}");
    rig.flush();
    assert_eq!(patterns(&rig.engine.snapshot(), &everything()), all);
    let before = ids(&rig.engine.snapshot());
    rig.clock.advance(Duration::from_secs(3_600));
    while rig.engine.compact_once().expect("a merge") {}
    assert_eq!(rig.engine.status().blocks_per_level.iter().sum::<usize>(), 1);
    let merged = patterns(&rig.engine.snapshot(), &everything());
    assert_eq!((merged, ids(&rig.engine.snapshot())), (all, before));
}

/// Words with digits that a merge puts back into the text change no pattern, its id, or its counts.
#[test]
fn patterns_are_the_same_where_words_with_digits_do_not_vary() {
    let mut rig = Rig::new(config());
    let lines: Vec<String> = (0..40)
        .flat_map(|n| {
            [
                format!("GET /a/{n} gave 200 in 5ms"),
                "step 2b took 26ms".to_owned(),
                format!("{{\"msg\":\"shard 17 of {n}\",\"code\":200}}"),
                format!("level=info code=200 took={n}ms"),
                "{} of 26ms".to_owned(),
            ]
        })
        .collect();
    let store = |rig: &mut Rig, second: i64| {
        // Records that are alike to the nanosecond are one in an answer.
        let lines: Vec<Line<'_>> =
            lines.iter().zip(second..).map(|(line, at)| (line.as_str(), 9, at)).collect();
        rig.store(&request("web", &lines)).expect("stored");
    };
    store(&mut rig, 0);
    let in_memory = (ids(&rig.engine.snapshot()), patterns(&rig.engine.snapshot(), &everything()));
    assert_eq!(in_memory.1.len(), 5, "{:?}", in_memory.1);
    rig.flush();
    rig.clock.advance(Duration::from_secs(3_600));
    while rig.engine.compact_once().expect("a merge") {}
    assert_eq!(rig.engine.status().blocks_per_level, [0, 1], "a block is written again alone");
    assert_eq!((ids(&rig.engine.snapshot()), patterns(&rig.engine.snapshot(), &everything())), in_memory);
    rig = rig.reopen();
    store(&mut rig, 300);
    let all = (ids(&rig.engine.snapshot()), patterns(&rig.engine.snapshot(), &everything()));
    assert_eq!(all.1.iter().map(|of| (of.count, of.id)).collect::<Vec<_>>(), {
        in_memory.1.iter().map(|of| (of.count * 2, of.id)).collect::<Vec<_>>()
    });
    rig.flush();
    rig.clock.advance(Duration::from_secs(3_600));
    while rig.engine.compact_once().expect("a merge") {}
    assert_eq!((ids(&rig.engine.snapshot()), patterns(&rig.engine.snapshot(), &everything())), all);
    for pattern in &all.1 {
        let query = LogQuery {
            range: TimeRange::ALL,
            service: None,
            min_severity: 0,
            pattern: Some(pattern.id),
            contains: None,
            limit: usize::MAX,
        };
        let found = rig.engine.snapshot().search_logs(&query).expect("logs").items;
        assert_eq!(found.len() as u64, pattern.count, "{}", pattern.pattern);
    }
}

#[test]
fn new_patterns_are_those_that_were_never_seen_before() {
    let mut rig = Rig::new(config());
    rig.store(&request("web", &FIRST)).expect("stored");
    rig.flush();
    let later =
        [("disk full", 17, 300), ("disk on fire", 21, 301), ("user kim logged in after 3 ms", 9, 302)];
    rig.store(&request("web", &later)).expect("stored");
    rig.store(&request("db", &[("disk full", 17, 303)])).expect("stored");
    let new = |rig: &Rig, service: Option<&str>| -> Vec<String> {
        let since = NOW + 200 * SECOND;
        let query = PatternQuery {
            range: TimeRange { start: since, end: i64::MAX },
            service: service.map(str::to_owned),
            new_since: Some(since),
            ..everything()
        };
        let found = patterns(&rig.engine.snapshot(), &query);
        found
            .iter()
            .map(|pattern| format!("{} {} {}", pattern.service, pattern.count, pattern.pattern))
            .collect()
    };
    for step in ["in memory", "flushed", "after a restart", "merged"] {
        match step {
            "flushed" => rig.flush(),
            "after a restart" => rig = rig.reopen(),
            "merged" => {
                rig.clock.advance(Duration::from_secs(3_600));
                while rig.engine.compact_once().expect("a merge") {}
            }
            _ => {}
        }
        assert_eq!(new(&rig, None), ["db 1 disk full", "web 1 disk on fire"], "{step}");
        assert_eq!(new(&rig, Some("web")), ["web 1 disk on fire"], "{step}");
    }
    let window = PatternQuery {
        range: TimeRange { start: NOW + 300 * SECOND, end: NOW + 310 * SECOND },
        step_ns: 60 * SECOND,
        limit: 2,
        ..everything()
    };
    let found = rig.engine.snapshot().patterns(&window).expect("patterns");
    assert_eq!(found.items.iter().map(|pattern| pattern.count).collect::<Vec<_>>(), [1, 1]);
    let start = (NOW + 300 * SECOND).div_euclid(60 * SECOND) * 60 * SECOND;
    assert_eq!(found.items[0].levels[0].samples, [(start, 1)]);
    assert_eq!(found.partial, ["2 patterns over the limit of 2 are left out; ask for more"]);
}

#[test]
fn a_flood_of_patterns_is_counted_as_left_out_and_every_line_is_there() {
    let mut rig = Rig::new(config());
    let mut random = Random(1);
    let mut word = || -> String { (0..8).map(|_| char::from(b'g' + random.below(16) as u8)).collect() };
    let lines: Vec<String> =
        (0..6_000).map(|_| format!("{} {} {} {} {}", word(), word(), word(), word(), word())).collect();
    for (n, part) in lines.chunks(500).enumerate() {
        let part: Vec<Line<'_>> = part.iter().map(|line| (line.as_str(), 9, n as i64)).collect();
        rig.store(&request("flood", &part)).expect("stored");
    }
    rig.store(&request("quiet", &[("all is well", 9, 1)])).expect("stored");
    rig.flush();
    for step in ["flushed", "after a restart"] {
        let found = rig.engine.snapshot().patterns(&everything()).expect("patterns");
        assert!(found.items.len() <= 2_001, "{step}: {}", found.items.len());
        assert!(found.items.iter().any(|pattern| pattern.service == "quiet"), "{step}");
        assert!(
            found.partial.iter().any(|text| text.contains("are in no count")),
            "{step}: {:?}",
            found.partial
        );
        assert!(ids(&rig.engine.snapshot()).iter().all(|(_, id)| id.is_some()), "{step}");
        assert_eq!(rig.engine.snapshot().stored_rows(Signal::Logs), 6_001, "{step}");
        rig = rig.reopen();
    }
}

#[test]
fn bad_lines_have_patterns() {
    let rig = Rig::new(config());
    let long = format!("start {}", "x1 ".repeat(400_000));
    let broken: Vec<String> = (0..20)
        .map(|n| {
            let line = format!(r#"{{"level":"info","msg":"request {n} done","ms":{n}}}"#);
            if n % 10 == 9 { line[..line.len() - 9].to_owned() } else { line }
        })
        .collect();
    let mut lines: Vec<Line<'_>> = broken.iter().map(|line| (line.as_str(), 0, 1)).collect();
    lines.extend([(long.as_str(), 0, 2), ("\u{0}\u{0} 1 \u{0}", 0, 3), ("\u{fffd}\u{fffd} 7", 0, 4)]);
    rig.store(&request("web", &lines)).expect("stored");
    let in_memory = patterns(&rig.engine.snapshot(), &everything());
    rig.flush();
    let found = patterns(&rig.engine.snapshot(), &everything());
    assert_eq!(found, in_memory);
    let count =
        |text: &str| found.iter().find(|pattern| pattern.pattern == text).map(|pattern| pattern.count);
    assert_eq!(count(r#"{"level":"<_>","msg":"request <_> done","ms":<_>}"#), Some(18), "{found:?}");
    assert!(found.iter().all(|pattern| pattern.pattern.len() < 600 && pattern.example.len() <= 256));
    assert_eq!(found.iter().map(|pattern| pattern.count).sum::<u64>(), 23);
    let levels = found.iter().find(|pattern| pattern.pattern.starts_with('{')).expect("JSON");
    assert_eq!(levels.levels[0].level, Level::Info);
}
