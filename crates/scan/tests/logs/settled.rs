//! Words with digits that lie in patterns once blocks are merged: every question has the answer that lines in memory have.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use throughline_exec::log::LogSource;
use throughline_exec::{Budget, MatchOp, Matcher};
use throughline_logql::{Engine, QueryParams, QueryValue, parse};
use throughline_model::Signal;
use throughline_scan::logs::StoredLogs;
use throughline_store::block::BlockMeta;
use throughline_store::compact::{Choice, merge};
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_store::{LogQuery, SimDisk, Snapshot, TimeRange};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

use super::counts::{Random, attributes, opened};
use super::{BASE_NS, SECOND};

/// Everything lies within so many seconds.
const SECONDS: i64 = 300;

/// Lines of which some words with digits are the same in one part, in all parts, or nowhere.
fn line(part: u64, random: &mut Random) -> String {
    let n = random.below(10_000);
    match random.below(14) {
        0 => format!("GET /orders/{n} gave 200 in {}.26ms on 10.0.0.7:8080", n % 3),
        1 => "step 2b done in 26ms".to_owned(),
        2 => format!("retry {} of 500", n % 7),
        3 => "retry {} of 500".to_owned(),
        4 => "retry {} of {}".to_owned(),
        5 => format!(r#"{{"msg":"user {n} of shard 17","code":200,"tags":{{}}}}"#),
        6 => format!(r#"{{"msg":"user {n} of shard 17","code":{},"ms":1.5}}"#, 200 + 100 * part),
        7 => format!("level=info code=200 took={}ms shard=s17", n % 9),
        8 => format!("block 0x{n:x} sealed by node-07f at height 1234567"),
        9 => "nothing to see".to_owned(),
        10 => format!("Ärger 5ü{} in part{part}", n % 4),
        11 => format!("status {} for /carts/{n}/add/7", 200 + 100 * part),
        12 => format!("build {}", "deadbeef42".repeat(1 + part as usize * 3)),
        _ => format!("{} rare {n}", ["one", "two", "three"][(n % 3) as usize].repeat((n % 40) as usize)),
    }
}

/// A memtable with some lines, which are added to those that are known.
fn memtable(part: u64, known: &mut Vec<String>) -> Arc<Memtable> {
    let mut random = Random(part + 31);
    let memtable = Arc::new(Memtable::new());
    for round in 0..12 {
        let service = if round % 2 == 0 { "cart" } else { "pay" };
        let resource = [("service.name", json!(service)), ("host.name", json!(format!("h{}", round % 3)))];
        let mut record = || {
            let body = line(part, &mut random);
            let time = BASE_NS + random.below(SECONDS as u64) as i64 * SECOND + known.len() as i64;
            known.push(body.clone());
            json!({ "timeUnixNano": time.to_string(), "severityNumber": 9, "body": { "stringValue": body } })
        };
        let records: Vec<_> = (0..250).map(|_| record()).collect();
        let body = json!({ "resourceLogs": [{
            "resource": { "attributes": attributes(&resource) }, "scopeLogs": [{ "logRecords": records }],
        }] });
        let limits = DecodeLimits::with_retention(86_400 * SECOND);
        let context = DecodeContext { received_at: BASE_NS + SECONDS * SECOND, limits };
        let decoded =
            throughline_wire::decode(Signal::Logs, Encoding::Json, body.to_string().as_bytes(), &context);
        memtable.insert(decoded.expect("decodes").batch, context.received_at);
    }
    memtable
}

/// The same lines in memory, flushed, in part merged, and merged twice.
fn snapshots(known: &mut Vec<String>) -> Vec<(&'static str, Snapshot)> {
    let (disk, data) = (SimDisk::new(3), Path::new("data"));
    let memtables: Vec<Arc<Memtable>> = (0..3).map(|part| memtable(part, known)).collect();
    let options = BlockOptions { partition_ns: 1_000 * 3_600 * SECOND };
    let mut next = 1;
    let flushed: Vec<BlockMeta> = memtables
        .iter()
        .flat_map(|memtable| write_blocks(&disk, data, memtable, &mut next, &options).expect("a block"))
        .collect();
    assert_eq!(flushed.len(), 3);
    let mut merged = |metas: &[BlockMeta], level: u32| -> Vec<BlockMeta> {
        let choice = Choice { inputs: metas.iter().map(|meta| meta.id).collect(), level };
        merge(&disk, data, &opened(&disk, metas), &choice, &mut next).expect("merged")
    };
    let alone: Vec<BlockMeta> =
        flushed.iter().flat_map(|meta| merged(std::slice::from_ref(meta), 1)).collect();
    let [first, second, third] = &flushed[..] else { panic!() };
    let once = [merged(&[first.clone(), second.clone()], 1), vec![third.clone()]].concat();
    let twice = merged(&[once[0].clone(), alone[2].clone()], 2);
    let of = |metas: &[BlockMeta]| {
        Snapshot::new(Vec::new(), Arc::new(opened(&disk, metas)), Arc::default(), BASE_NS)
    };
    let views = memtables.iter().map(|memtable| memtable.view()).collect();
    vec![
        ("in memory", Snapshot::new(views, Arc::default(), Arc::default(), BASE_NS)),
        ("flushed", of(&flushed)),
        ("each merged alone", of(&alone)),
        ("in part merged", of(&once)),
        ("merged twice", of(&twice)),
    ]
}

/// A piece of a line that is likely to have a digit.
fn piece(known: &[String], random: &mut Random) -> String {
    let line: Vec<char> = random.pick(known).chars().collect();
    let from = random.below(line.len() as u64) as usize;
    let digits: Vec<usize> = (0..line.len()).filter(|at| line[*at].is_ascii_digit()).collect();
    let from =
        if digits.is_empty() { from } else { random.pick(&digits).saturating_sub(random.below(6) as usize) };
    let to = (from + 1 + random.below(14) as usize).min(line.len());
    let mut piece: String = line[from..to].iter().collect();
    if random.below(8) == 0 {
        piece.push_str(["9", "x", "00", "{}"][random.below(4) as usize]);
    }
    piece
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// An expression for a text, with classes in place of some digits.
fn expression(text: &str, random: &mut Random) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '0'..='9' if random.below(4) == 0 => out.push_str("[0-9]+"),
            _ if char.is_ascii_punctuation() => out.extend(['\\', char]),
            _ => out.push(char),
        }
    }
    out
}

fn filter(known: &[String], random: &mut Random) -> String {
    let text = piece(known, random);
    match random.below(9) {
        0 => format!("!= {}", quoted(&text)),
        1 => format!("|~ {}", quoted(&expression(&text, random))),
        2 => format!("!~ {}", quoted(&expression(&text, random))),
        3 => format!("|~ {}", quoted(&format!("(?i){}", expression(&text.to_uppercase(), random)))),
        4 => format!("|= {} or {}", quoted(&text), quoted(&piece(known, random))),
        5 if !text.contains(['<', '>']) => format!("|> {}", quoted(&format!("<_>{text}<_>"))),
        _ => format!("|= {}", quoted(&text)),
    }
}

fn value(source: &dyn LogSource, query: &str, params: QueryParams) -> QueryValue {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let value = Engine.evaluate(&expr, &params, source, &Budget::unlimited());
    value.unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn lines(source: &StoredLogs, query: &str) -> Vec<(String, i64, String)> {
    let window =
        QueryParams { limit: usize::MAX, ..QueryParams::range(BASE_NS, BASE_NS + 2 * SECONDS * SECOND, 0) };
    let QueryValue::Streams(streams) = value(source, query, window) else { panic!("no lines") };
    let of = |stream: throughline_logql::LogStream| {
        let labels = stream.labels.to_string();
        stream.entries.into_iter().map(move |(time, line)| (labels.clone(), time, line))
    };
    let mut lines: Vec<_> = streams.into_iter().flat_map(of).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn filters_find_the_same_lines_wherever_digits_lie() {
    let mut known = Vec::new();
    let sources: Vec<(&str, StoredLogs)> = snapshots(&mut known)
        .into_iter()
        .map(|(name, snapshot)| (name, StoredLogs::new(snapshot, Arc::default())))
        .collect();
    let [(_, in_memory), stored @ ..] = &sources[..] else { panic!() };
    let mut random = Random(17);
    let mut n_found = 0;
    for _ in 0..80 {
        let streams =
            *random.pick(&[r#"{service_name=~".+"}"#, r#"{service_name="cart"}"#, r#"{host_name="h1"}"#]);
        let mut query = format!("{streams} {}", filter(&known, &mut random));
        if random.below(3) == 0 {
            query = format!("{query} {}", filter(&known, &mut random));
        }
        let found = lines(in_memory, &query);
        n_found += usize::from(!found.is_empty());
        let at = QueryParams::instant(BASE_NS + 2 * SECONDS * SECOND);
        let count = format!("sum by (host_name) (count_over_time({query}[1h]))");
        let counted = value(in_memory, &count, at);
        for (name, source) in stored {
            assert!(lines(source, &query) == found, "{name}: {query}: {} in memory", found.len());
            assert_eq!(value(source, &count, at), counted, "{name}: {count}");
        }
    }
    assert!(n_found > 20, "{n_found} queries found something");
    assert!(sources.iter().all(|(_, source)| source.partial().is_empty()));
}

#[test]
fn words_are_found_wherever_digits_lie() {
    let mut known = Vec::new();
    let snapshots = snapshots(&mut known);
    let mut random = Random(23);
    for _ in 0..80 {
        let text = piece(&known, &mut random);
        let expected = known.iter().filter(|line| line.contains(&text)).count();
        let query = LogQuery {
            range: TimeRange::ALL,
            service: None,
            min_severity: 0,
            pattern: None,
            contains: Some(text.clone()),
            limit: usize::MAX,
        };
        for (name, snapshot) in &snapshots {
            let found = snapshot.search_logs(&query).expect("records");
            assert_eq!((found.items.len(), found.partial), (expected, Vec::new()), "{name}: {text:?}");
        }
    }
}

#[test]
fn kinds_of_lines_are_counted_as_one_wherever_digits_lie() {
    let mut known = Vec::new();
    let range = TimeRange { start: BASE_NS, end: BASE_NS + 2 * SECONDS * SECOND };
    let matchers = [Matcher::new("host_name", MatchOp::NotEqual, "h2").expect("a matcher")];
    let counted: Vec<_> = snapshots(&mut known)
        .into_iter()
        .map(|(name, snapshot)| {
            let source = StoredLogs::new(snapshot, Arc::default());
            let patterns = source.patterns(&matchers, range, 60 * SECOND, &Budget::unlimited());
            (name, patterns.expect("patterns"))
        })
        .collect();
    let [(_, in_memory), stored @ ..] = &counted[..] else { panic!() };
    assert!(in_memory.iter().any(|of| of.pattern == "status <_> for /carts/<_>/add/<_>"), "{in_memory:?}");
    for (name, patterns) in stored {
        assert_eq!(patterns, in_memory, "{name}");
    }
}
