//! Counts that come together from numbers of distinct values and tallies, against counts of rows that are read one by one.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use throughline_exec::log::{LogRequest, LogSink, LogSource};
use throughline_exec::{Budget, ExecError};
use throughline_logql::{Engine, QueryParams, QueryValue, parse};
use throughline_model::Signal;
use throughline_scan::logs::listing::Counting;
use throughline_scan::logs::{StoredLogs, StreamCount};
use throughline_store::block::{Block, BlockMeta};
use throughline_store::compact::{Choice, merge};
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_store::{SimDisk, Snapshot, TimeRange};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

use super::{BASE_NS, SECOND};

/// Everything lies within so many seconds.
const SECONDS: i64 = 600;

/// Records of one memtable: several pages of several services.
const RECORDS: usize = 7_000;

/// Asks a source for rows one by one, as it would be asked by somebody who does everything himself.
struct Plainly<'a>(&'a StoredLogs);

impl LogSource for Plainly<'_> {
    fn read(&self, request: &LogRequest, budget: &Budget, sink: &mut dyn LogSink) -> Result<(), ExecError> {
        self.0.read(&LogRequest { cuts: None, label_hints: Vec::new(), ..request.clone() }, budget, sink)
    }
}

pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

pub(super) fn attributes(pairs: &[(&str, Json)]) -> Json {
    let value = |value: &Json| match value {
        Json::String(_) => json!({ "stringValue": value }),
        Json::Bool(_) => json!({ "boolValue": value }),
        Json::Number(number) if number.is_f64() => json!({ "doubleValue": value }),
        Json::Number(number) => json!({ "intValue": number.to_string() }),
        Json::Object(members) => {
            let members: Vec<Json> = members
                .iter()
                .map(|(key, of)| json!({ "key": key, "value": { "stringValue": of } }))
                .collect();
            json!({ "kvlistValue": { "values": members } })
        }
        _ => json!({}),
    };
    pairs.iter().map(|(key, of)| json!({ "key": key, "value": value(of) })).collect()
}

/// A record with what makes counting by numbers hard: attributes of several types under one name, names that are the same in
/// Loki, names that the stream has, too, levels that severity does not say, times to and fro.
fn record(random: &mut Random) -> Json {
    let time = BASE_NS + random.below(SECONDS as u64) as i64 * SECOND + random.below(3) as i64;
    let mut own: Vec<(&str, Json)> = Vec::new();
    match random.below(8) {
        0 => own.push(("logger.name", json!(random.below(3)))),
        1 => own.push(("logger_name", json!("under"))),
        2 => own.push(("logger", json!({ "name": *random.pick(&["cache", "db"]) }))),
        3 => {}
        4 => own.push(("logger.name", json!(""))),
        _ => own.push(("logger.name", json!(*random.pick(&["cache", "db", "http"])))),
    }
    if random.below(3) > 0 {
        own.push(("line", json!(random.below(40))));
    }
    if random.below(9) == 0 {
        own.push(("ratio", json!(random.below(4) as f64 / 4.0)));
        own.push(("hit", json!(random.below(2) == 0)));
    }
    if random.below(20) == 0 {
        own.push(("zone", json!("of the record")));
    }
    if random.below(200) == 0 {
        own.push(("rare", json!({ "a": "x", "b": "y" })));
    }
    let number = random.below(50);
    let body = match random.below(6) {
        0 => format!("attempt {number} of 5 failed"),
        1 => format!("handled GET /x/{number} in {}ms", random.below(9)),
        2 => "level=debug nothing to see".to_owned(),
        3 => format!("ERROR: {number} items"),
        _ => format!("user u-{number} {{}} logged in"),
    };
    let severity = *random.pick(&[0, 0, 5, 9, 9, 9, 13, 17]);
    json!({
        "timeUnixNano": time.to_string(), "severityNumber": severity, "severityText": *random.pick(&["", "INFO", "W"]),
        "body": { "stringValue": body }, "attributes": attributes(&own),
        "traceId": if random.below(5) == 0 { super::TRACE } else { "" },
    })
}

fn memtable(seed: u64, records: usize) -> Arc<Memtable> {
    let mut random = Random(seed);
    let memtable = Arc::new(Memtable::new());
    let mut left = records;
    while left > 0 {
        let n = (1 + random.below(300) as usize).min(left);
        left -= n;
        let mut resource = vec![("service.name", json!(*random.pick(&["cart", "pay", "shop"])))];
        resource.push(("k8s.pod.name", json!(format!("p-{}", random.below(3)))));
        if random.below(4) == 0 {
            resource.push(("zone", json!("of the resource")));
        }
        if random.below(4) == 0 {
            resource.push(("service.namespace", json!("n")));
        }
        let scope = json!({ "name": *random.pick(&["", "lib"]), "version": *random.pick(&["", "1"]) });
        let records: Vec<Json> = (0..n).map(|_| record(&mut random)).collect();
        let body = json!({ "resourceLogs": [{
            "resource": { "attributes": attributes(&resource) },
            "scopeLogs": [{ "scope": scope, "logRecords": records }],
        }] });
        let limits = DecodeLimits::with_retention(86_400 * SECOND);
        let context = DecodeContext { received_at: BASE_NS + SECONDS * SECOND, limits };
        let decoded =
            throughline_wire::decode(Signal::Logs, Encoding::Json, body.to_string().as_bytes(), &context);
        memtable.insert(decoded.expect("decodes").batch, context.received_at);
    }
    memtable
}

pub(super) fn opened(disk: &SimDisk, metas: &[BlockMeta]) -> Vec<Arc<Block>> {
    let open =
        |meta: &BlockMeta| Arc::new(Block::open(disk, Path::new("data"), meta.clone()).expect("a block"));
    metas.iter().map(open).collect()
}

/// A memtable, a flushed block and one of two that were merged, of so many records each.
fn stored(seed: u64, records: usize) -> (Vec<Arc<Memtable>>, SimDisk, Vec<BlockMeta>) {
    let disk = SimDisk::new(seed);
    let options = BlockOptions { partition_ns: 1_000 * 3_600 * SECOND };
    let mut next = 1;
    let mut flush = |seed: u64| {
        let memtable = memtable(seed, records);
        write_blocks(&disk, Path::new("data"), &memtable, &mut next, &options).expect("a block")
    };
    let (first, second, third) = (flush(seed), flush(seed + 1), flush(seed + 2));
    let inputs: Vec<Arc<Block>> =
        [&first, &second].into_iter().flat_map(|metas| opened(&disk, metas)).collect();
    let choice = Choice { inputs: inputs.iter().map(|block| block.meta().id).collect(), level: 1 };
    let merged = merge(&disk, Path::new("data"), &inputs, &choice, &mut 9).expect("merged");
    let metas = merged.into_iter().chain(third).collect();
    (vec![memtable(seed + 3, records)], disk, metas)
}

fn source(memtables: &[Arc<Memtable>], blocks: Vec<Arc<Block>>) -> StoredLogs {
    let views = memtables.iter().map(|memtable| memtable.view()).collect();
    StoredLogs::new(Snapshot::new(views, Arc::new(blocks), Arc::default(), BASE_NS), Arc::default())
}

const QUERIES: [&str; 27] = [
    r#"sum(count_over_time({service_name=~".+"}[R]))"#,
    r#"count_over_time({service_name="cart"}[R])"#,
    r#"sum by (service_name) (rate({k8s_pod_name="p-1"}[R]))"#,
    r#"sum by (level, detected_level) (count_over_time({service_name=~".+"}[R]))"#,
    r#"sum by (detected_level) (count_over_time({service_name=~"cart|pay"} | detected_level!="info" [R] offset 7s))"#,
    r#"sum(count_over_time({service_name=~".+"} | logger_name="cache" [R]))"#,
    r#"sum by (logger_name) (count_over_time({service_name=~".+"}[R]))"#,
    r#"sum by (logger_name) (count_over_time({service_name=~".+"} | logger_name!="db" [R]))"#,
    r#"sum(count_over_time({service_name=~".+"} | logger_name="" [R]))"#,
    r#"sum(count_over_time({service_name=~".+"} | logger_name!="db" | logger_name=~"c.*" | logger_name!="cache" [R]))"#,
    r#"sum(count_over_time({service_name=~".+"} | logger_name=~"c.*|1" | line="7" [R]))"#,
    r#"sum(rate({service_name=~".+"} | line>=20 or ratio=0.5 [R]))"#,
    r#"sum by (zone) (count_over_time({service_name=~".+"}[R]))"#,
    r#"sum(count_over_time({service_name=~".+"} | zone="of the record" [R]))"#,
    r#"sum by (service_namespace) (count_over_time({service_name=~".+"} | service_namespace="n" [R]))"#,
    r#"sum by (hit, ratio) (count_over_time({service_name=~".+"} | hit="true" [R]))"#,
    r#"sum by (rare_a) (count_over_time({service_name=~".+"} | rare_b="y" [R]))"#,
    r#"sum by (severity_text, severity_number) (count_over_time({service_name=~".+"}[R]))"#,
    r#"sum by (scope_name, scope_version) (count_over_time({service_name="shop"}[R]))"#,
    r#"sum(count_over_time({service_name=~".+"} |= "handled GET" [R]))"#,
    r#"sum by (service_name) (count_over_time({service_name=~".+"} |~ "attempt [0-9]+ of 5" [R]))"#,
    r#"sum by (logger_name) (count_over_time({service_name=~".+"} |= "7" != "x/17" | line=~"1.*" [R]))"#,
    r#"sum by (k8s_pod_name) (count_over_time({service_name="cart"} | drop logger_name [R]))"#,
    r#"count_over_time({service_name="cart"} | keep logger_name, line [R])"#,
    r#"sum by (x) (count_over_time({service_name="cart"} | label_format x=logger_name [R]))"#,
    r#"absent_over_time({service_name="cart"} | logger_name="db" |= "items" [R])"#,
    r#"sum by (trace_id) (count_over_time({service_name="cart"} | trace_id!="" [R]))"#,
];

fn value(source: &dyn LogSource, query: &str, params: QueryParams) -> QueryValue {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let value = Engine.evaluate(&expr, &params, source, &Budget::unlimited());
    value.unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn params(random: &mut Random) -> QueryParams {
    let second = |random: &mut Random| BASE_NS + random.below(SECONDS as u64 + 60) as i64 * SECOND;
    match random.below(3) {
        0 => QueryParams::instant(BASE_NS + (SECONDS + 10) * SECOND),
        1 => QueryParams::instant(second(random)),
        _ => {
            let start = second(random);
            let end = start + random.below(400) as i64 * SECOND;
            QueryParams::range(start, end, (1 + random.below(120) as i64) * SECOND + random.below(2) as i64)
        }
    }
}

#[test]
fn counts_are_those_of_rows() {
    for seed in [1, 20] {
        let (memtables, disk, metas) = stored(seed, RECORDS);
        let source = source(&memtables, opened(&disk, &metas));
        let mut random = Random(seed + 7);
        for round in 0..2 {
            for query in QUERIES {
                let range = *random.pick(&["1h", "90s", "60s", "7s", "3m20s"]);
                let (query, params) = (query.replace('R', range), params(&mut random));
                let (counted, read) =
                    (value(&source, &query, params), value(&Plainly(&source), &query, params));
                assert_eq!(counted, read, "seed {seed}, round {round}: {query} {params:?}");
            }
        }
        assert_eq!(source.partial(), Vec::<String>::new());
    }
}

/// A merged block of several row groups, which are counted at the same time.
#[test]
fn counts_of_row_groups_go_together() {
    let (_, disk, metas) = stored(300, 70_000);
    let source = source(&[], opened(&disk, &metas[..1]));
    let at = QueryParams::instant(BASE_NS + (SECONDS + 10) * SECOND);
    for query in &QUERIES[..18] {
        let query = query.replace('R', "1h");
        assert_eq!(value(&source, &query, at), value(&Plainly(&source), &query, at), "{query}");
    }
}

/// The streams of a window by looking at every line.
fn streams_plainly(source: &StoredLogs, range: TimeRange) -> Vec<(String, u64)> {
    let window = QueryParams { limit: usize::MAX, ..QueryParams::range(range.start, range.end, 0) };
    let QueryValue::Streams(streams) = value(&Plainly(source), r#"{service_name=~".+"}"#, window) else {
        panic!("no lines")
    };
    let mut counts = std::collections::BTreeMap::new();
    for stream in streams {
        *counts.entry(stream.stream.to_string()).or_default() += stream.entries.len() as u64;
    }
    counts.into_iter().collect()
}

#[test]
fn streams_are_listed_as_their_lines_are() {
    let (memtables, disk, metas) = stored(77, RECORDS);
    let source = source(&memtables, opened(&disk, &metas));
    let mut random = Random(5);
    for _ in 0..5 {
        let start = BASE_NS - SECOND + random.below(SECONDS as u64) as i64 * SECOND;
        let range = TimeRange { start, end: start + 1 + random.below(SECONDS as u64) as i64 * SECOND };
        let list = |bytes: bool, step_ns: Option<i64>| {
            let counting = Counting { range, bytes, step_ns };
            source.streams(&[], counting, &Budget::unlimited()).expect("streams")
        };
        let plain = list(true, Some(30 * SECOND));
        let without_bytes = |stream: &StreamCount| {
            let steps = stream.steps.iter().map(|(step, rows, _)| (*step, *rows, 0)).collect();
            StreamCount { labels: stream.labels.clone(), entries: stream.entries, bytes: 0, steps }
        };
        assert_eq!(list(false, Some(30 * SECOND)), plain.iter().map(without_bytes).collect::<Vec<_>>());
        let mut counted: Vec<(String, u64)> =
            list(false, None).iter().map(|stream| (stream.labels.to_string(), stream.entries)).collect();
        counted.sort_unstable();
        assert_eq!(counted, streams_plainly(&source, range));
    }
}

/// What cannot be read is missing, and the answer says so.
#[test]
fn damage_is_never_counted_in_silence() {
    let (_, disk, metas) = stored(13, RECORDS);
    let whole = source(&[], opened(&disk, &metas));
    let at = QueryParams::instant(BASE_NS + (SECONDS + 1) * SECOND);
    let expected: Vec<QueryValue> =
        QUERIES.iter().map(|query| value(&whole, &query.replace('R', "1h"), at)).collect();
    let mut random = Random(99);
    let mut n_damaged = 0;
    for _ in 0..15 {
        let damaged = disk.copy();
        let meta = random.pick(&metas);
        let file = *random.pick(&["logs.parquet", "logs.parquet", "spans.parquet", "traces.parquet"]);
        let path = meta.folder(Path::new("data")).join(file);
        let bytes = meta.files.iter().find(|of| of.name == file).map_or(1, |of| of.bytes);
        damaged.flip_bit(&path, random.below(bytes), 3).expect("a flip");
        let source = source(&[], opened(&damaged, &metas));
        for (query, expected) in QUERIES.iter().zip(&expected) {
            let before = source.partial().len();
            let found = value(&source, &query.replace('R', "1h"), at);
            let is_told = source.partial().len() > before || before > 0;
            assert!(
                found == *expected || is_told,
                "{query}: {found:?} for {expected:?}, and nothing is said"
            );
            n_damaged += usize::from(found != *expected);
        }
    }
    assert!(n_damaged > 0, "nothing was hit");
}
