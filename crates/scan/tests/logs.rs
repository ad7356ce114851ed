//! Logs as streams, from the request's bytes to the values of queries, out of a memtable and out of a block.

#[path = "logs/counts.rs"]
mod counts;
#[path = "logs/settled.rs"]
mod settled;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use throughline_exec::log::Direction;
use throughline_exec::{Budget, Labels};
use throughline_logql::{Engine, QueryParams, QueryValue, parse};
use throughline_model::Signal;
use throughline_scan::logs::StoredLogs;
use throughline_store::block::Block;
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_store::{SimDisk, Snapshot};
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

const BASE_NS: i64 = 1_795_176_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Lines a second for ten minutes, of three streams, and records of OTLP.
fn memtable() -> Arc<Memtable> {
    let memtable = Arc::new(Memtable::new());
    let line = |second: i64| {
        let level = if second % 10 == 0 { "error" } else { "info" };
        json!([
            (BASE_NS + second * SECOND).to_string(),
            format!("level={level} msg=\"item {second}\" took={}ms", second % 7)
        ])
    };
    let lines = |from: i64| (from..600).step_by(2).map(line).collect::<Vec<_>>();
    let pushed = json!({"streams": [
        {"stream": {"app": "cart", "zone": "a"}, "values": lines(0)},
        {"stream": {"app": "cart", "zone": "b"}, "values": lines(1)},
        {"stream": {"service_name": "shop"}, "values": [[BASE_NS.to_string(), "all is well", {"user.id": "u1"}]]},
    ]});
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let record = |second: i64, body: &str| {
        json!({
            "timeUnixNano": (BASE_NS + second * SECOND).to_string(),
            "severityNumber": 13,
            "severityText": "WARN",
            "body": {"stringValue": body},
            "traceId": TRACE,
            "spanId": "00f067aa0ba902b7",
            "attributes": [attribute("http.route", "/a"), {"key": "n", "value": {"intValue": "7"}}],
        })
    };
    let otlp = json!({"resourceLogs": [{
        "resource": {"attributes": [attribute("service.name", "pay"), attribute("host.name", "h1")]},
        "scopeLogs": [{"scope": {"name": "lib"}, "logRecords": [record(1, "slow 15 of 30"), record(2, "slower")]}],
    }]});
    for (encoding, body) in [(Encoding::LokiJson, pushed), (Encoding::Json, otlp)] {
        let limits = DecodeLimits::with_retention(86_400 * SECOND);
        let context = DecodeContext { received_at: BASE_NS + 600 * SECOND, limits };
        let decoded = throughline_wire::decode(Signal::Logs, encoding, body.to_string().as_bytes(), &context);
        let decoded = decoded.expect("decodes");
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        memtable.insert(decoded.batch, context.received_at);
    }
    memtable
}

/// The same lines in memory and in a block.
fn sources() -> Vec<StoredLogs> {
    let memtable = memtable();
    let disk = SimDisk::new(1);
    let options = BlockOptions { partition_ns: 1_000 * 3_600 * SECOND };
    let metas = write_blocks(&disk, Path::new("data"), &memtable, &mut 1, &options).expect("a block");
    let open = |meta| Arc::new(Block::open(&disk, Path::new("data"), meta).expect("a block"));
    let blocks = Arc::new(metas.into_iter().map(open).collect::<Vec<_>>());
    let snapshots = [
        Snapshot::new(vec![memtable.view()], Arc::default(), Arc::default(), BASE_NS),
        Snapshot::new(Vec::new(), blocks, Arc::default(), BASE_NS),
    ];
    snapshots.into_iter().map(|snapshot| StoredLogs::new(snapshot, Arc::default())).collect()
}

fn value(source: &StoredLogs, query: &str, params: QueryParams) -> QueryValue {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    let value = Engine.evaluate(&expr, &params, source, &Budget::unlimited());
    let value = value.unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(source.partial(), Vec::<String>::new());
    value
}

fn window() -> QueryParams {
    QueryParams { limit: 1_000, ..QueryParams::range(BASE_NS, BASE_NS + 600 * SECOND, 0) }
}

/// Lines in the order of the answer, with all labels.
fn lines(source: &StoredLogs, query: &str, params: QueryParams) -> Vec<(i64, String, Labels)> {
    let QueryValue::Streams(streams) = value(source, query, params) else { panic!("{query}: no lines") };
    let of = |stream: throughline_logql::LogStream| {
        let labels = stream.labels;
        stream.entries.into_iter().map(move |(time, line)| (time, line, labels.clone()))
    };
    streams.into_iter().flat_map(of).collect()
}

/// The one number of a query at the end of the window.
fn number(source: &StoredLogs, query: &str) -> f64 {
    let at = QueryParams::instant(BASE_NS + 600 * SECOND);
    match value(source, query, at) {
        QueryValue::Vector(samples) if samples.len() <= 1 => samples.first().map_or(0.0, |sample| sample.1),
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn lines_are_found_by_labels_text_and_metadata() {
    for source in sources() {
        let count = |query: &str| lines(&source, query, window()).len();
        for (query, expected) in [
            (r#"{app="cart"}"#, 600),
            (r#"{app="cart", zone="b"}"#, 300),
            (r#"{service_name=~"cart|shop"}"#, 601),
            (r#"{app="cart"} |= "item 17\" took""#, 1),
            (r#"{app="cart"} |= "item 1""#, 111),
            (r#"{app="cart"} |~ "item 1[0-9]\"""#, 10),
            (r#"{app="cart"} !~ "item [0-9]{2}""#, 10),
            (r#"{app="cart"} |~ "(?i)ITEM 59[89]""#, 2),
            (r#"{app="cart"} |> "<_> msg=\"item 5<_>""#, 111),
            (r#"{app="cart"} |= "nowhere""#, 0),
            (r#"{app="cart"} | logfmt | took >= 6ms"#, 85),
            (r#"{service_name="shop"} | user_id="u1""#, 1),
            (r#"{service_name="pay"} |= "slow""#, 2),
            (r#"{service_name="pay"} |= "slow 15""#, 1),
            (r#"{service_name=~".+"} | trace_id="4bf92f3577b34da6a3ce929d0e0e4736""#, 2),
            (r#"{service_name=~".+"} | trace_id="4bf92f3577b34da6a3ce929d0e0e4737""#, 0),
            (r#"{service_name="nobody"}"#, 0),
        ] {
            assert_eq!(count(query), expected, "{query}");
        }
    }
}

#[test]
fn the_nearest_lines_come_first() {
    for source in sources() {
        for (direction, expected) in [(Direction::Backward, [599, 598, 597]), (Direction::Forward, [0, 1, 2])]
        {
            let mut found =
                lines(&source, r#"{app="cart"}"#, QueryParams { limit: 3, direction, ..window() });
            found.sort_by_key(|(time, ..)| *time);
            if direction == Direction::Backward {
                found.reverse();
            }
            let seconds: Vec<i64> = found.iter().map(|(time, ..)| (time - BASE_NS) / SECOND).collect();
            assert_eq!(seconds, expected);
            let item = expected.first().copied().unwrap_or_default();
            assert!(found[0].1.contains(&format!("item {item}\"")), "{found:?}");
        }
    }
}

#[test]
fn records_of_otlp_have_their_fields_as_metadata() {
    for source in sources() {
        let found = lines(&source, r#"{service_name="pay"} |= "15 of 30""#, window());
        let [(_, line, labels)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(line, "slow 15 of 30");
        for (name, expected) in [
            ("service_name", "pay"),
            ("host_name", "h1"),
            ("scope_name", "lib"),
            ("http_route", "/a"),
            ("n", "7"),
            ("severity_number", "13"),
            ("severity_text", "WARN"),
            ("detected_level", "warn"),
            ("trace_id", TRACE),
            ("span_id", "00f067aa0ba902b7"),
        ] {
            assert_eq!(labels.get(name), expected, "{name} of {labels}");
        }
    }
}

#[test]
fn lines_are_counted_without_being_read() {
    for source in sources() {
        for (query, expected) in [
            (r#"sum(count_over_time({app="cart"}[10m]))"#, 599.0),
            (r#"sum(count_over_time({app="cart"} |= "item 1" [10m]))"#, 111.0),
            (r#"sum(count_over_time({app="cart"} | n="7" [10m]))"#, 0.0),
            (r#"sum(count_over_time({service_name="pay"} | n="7" [10m]))"#, 2.0),
            (r#"sum(bytes_over_time({service_name="pay"}[10m]))"#, 19.0),
            (r#"sum by (host_name) (count_over_time({service_name="pay"}[10m]))"#, 2.0),
            (r#"sum by (detected_level) (count_over_time({service_name="pay"}[10m]))"#, 2.0),
        ] {
            assert_eq!(number(&source, query), expected, "{query}");
        }
    }
}
