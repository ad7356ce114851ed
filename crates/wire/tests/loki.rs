//! Loki's push: what streams become, what is refused and in which words, and that damaged requests do no harm.
//!
//! `THROUGHLINE_MUTATIONS` sets how many damaged requests are made (default 2,000).

#[path = "requests/loki.rs"]
mod messages;

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt8Type;
use messages::{Entry, PushRequest, Stream, entry, stream};
use prost::Message as _;
use throughline_model::attribute;
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, log,
};
use throughline_model::{Batch, Level, LogBatch, Signal};
use throughline_wire::loki::{STREAM_SCOPE, summary};
use throughline_wire::{
    Compression, DecodeContext, DecodeError, DecodeLimits, Decoded, Decoder, Encoding, RejectReason, decode,
    decompress,
};

const NOW: i64 = 1_750_000_000_000_000_000;
const HOUR: i64 = 3_600_000_000_000;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn context() -> DecodeContext {
    DecodeContext { received_at: NOW, limits: DecodeLimits::with_retention(24 * HOUR) }
}

fn push(streams: Vec<Stream>) -> Decoded {
    let body = PushRequest { streams }.encode_to_vec();
    decode(Signal::Logs, Encoding::LokiProtobuf, &body, &context()).expect("decodes")
}

fn push_json(body: &str) -> Result<Decoded, DecodeError> {
    decode(Signal::Logs, Encoding::LokiJson, body.as_bytes(), &context())
}

fn logs(decoded: &Decoded) -> &LogBatch {
    match &decoded.batch {
        Batch::Logs(logs) => logs,
        _ => panic!("a batch of logs"),
    }
}

fn text_of(logs: &LogBatch, position: usize, row: usize) -> String {
    let column = column_dictionary(&logs.rows, position);
    let key = column.key(row).expect("a key");
    column.values().as_string::<i32>().value(key).to_owned()
}

/// Stream, time, line and metadata of each record.
fn records(decoded: &Decoded) -> Vec<(String, i64, String, String)> {
    let logs = logs(decoded);
    let record = |row| {
        let mut metadata = String::new();
        attribute::write_json_object(column_binary(&logs.rows, log::ATTRIBUTES).value(row), &mut metadata);
        assert_eq!(text_of(logs, log::SCOPE, row), STREAM_SCOPE);
        (
            text_of(logs, log::RESOURCE, row),
            column_time(&logs.rows, log::TIME).value(row),
            column_text(&logs.rows, log::BODY).value(row).to_owned(),
            metadata,
        )
    };
    (0..logs.rows.num_rows()).map(record).collect()
}

#[test]
fn levels_come_from_labels_metadata_and_lines() {
    let lines = || {
        vec![
            entry(NOW, b"level=warn x", &[]),
            entry(NOW, b"x", &[("severity", "err")]),
            entry(NOW, b"x", &[]),
        ]
    };
    let decoded = push(vec![stream(r#"{app="a"}"#, lines()), stream(r#"{app="b", Level="fatal"}"#, lines())]);
    let levels = column_number::<UInt8Type>(&logs(&decoded).rows, log::LEVEL).values();
    let names: Vec<&str> = levels.iter().map(|code| Level::from_code(*code).name()).collect();
    assert_eq!(names, ["warn", "error", "unknown", "fatal", "fatal", "fatal"]);
}

#[test]
fn streams_become_records_whose_labels_survive() {
    let first = vec![
        entry(NOW, b"one", &[("trace_id", TRACE), ("user.id", "7")]),
        entry(NOW - 5, "zwei\0é\n".as_bytes(), &[]),
    ];
    let decoded = push(vec![
        stream(r#"{job="j", app="cart"}"#, first),
        stream(r#"{service_name="s"}"#, vec![entry(NOW - HOUR, b"", &[])]),
        stream(r#"{app="none"}"#, vec![]),
    ]);
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    let cart = r#"{"app":"cart","job":"j","service_name":"cart"}"#;
    let expected = [
        (cart, NOW, "one", format!(r#"{{"trace_id":"{TRACE}","user.id":"7"}}"#)),
        (cart, NOW - 5, "zwei\0é\n", "{}".to_owned()),
        (r#"{"service_name":"s"}"#, NOW - HOUR, "", "{}".to_owned()),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(s, t, l, m)| (s.to_owned(), t, l.to_owned(), m)).collect();
    assert_eq!(records(&decoded), expected);
    let logs = logs(&decoded);
    assert_eq!(text_of(logs, log::SERVICE, 0), "cart");
    let ids = column_fixed(&logs.rows, log::TRACE_ID);
    assert_eq!(ids.value(0), u128::from_str_radix(TRACE, 16).expect("hex").to_be_bytes());
    assert!(arrow_array::Array::is_null(ids, 1));
}

#[test]
fn json_becomes_what_protobuf_does() {
    let json = format!(
        r#"{{"other":{{"x":[1]}},"streams":[
            {{"values":[["{NOW}","a \"b\"\\ \u00e9",{{"k":"v\n","trace_id":"{TRACE}"}}],["{}","c"],["7","d",{{}},1]],
              "stream":{{"app":"ca\"rt\\\n","zone":"1"}},"more":null}},
            {{"stream":{{}},"values":[["{NOW}","e"]]}}]}}"#,
        NOW - 1
    );
    let from_json = push_json(&json).expect("decodes");
    let metadata = [("k", "v\n"), ("trace_id", TRACE)];
    let entries =
        vec![entry(NOW, "a \"b\"\\ é".as_bytes(), &metadata), entry(NOW - 1, b"c", &[]), entry(7, b"d", &[])];
    let same = push(vec![
        stream("{app=\"ca\\\"rt\\\\\\n\", zone=\"1\"}", entries),
        stream("{}", vec![entry(NOW, b"e", &[])]),
    ]);
    assert_eq!(records(&from_json), records(&same));
    assert_eq!(records(&same).len(), 2);
    assert_eq!(from_json.rejected, same.rejected);
    let reasons: Vec<_> = same.rejected.iter().map(|r| (r.reason, r.count)).collect();
    assert_eq!(reasons, [(RejectReason::TooOld, 1), (RejectReason::InvalidLabels, 1)]);
}

#[test]
fn json_that_is_no_push_is_refused_where_it_is_wrong() {
    for (body, says) in [
        ("", "EOF"),
        ("[]", "streams"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"],[2,"y"]]}]}"#, "streams[0].values[1]"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["x","y"]]}]}"#, "timestamp \"x\" is not a number"),
        (r#"{"streams":[{"stream":{"a":1}}]}"#, "expected a string"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#, "a line"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["1","l",{"k":{"n":"x"}}]]}]}"#, "expected a string"),
        (r#"{"streams":[]} x"#, "trailing"),
    ] {
        let error = push_json(body).expect_err(body).to_string();
        assert!(error.contains(says), "{body}: {error}");
    }
    let deep = format!(r#"{{"x":{}"#, "[".repeat(100_000));
    assert!(push_json(&deep).is_err());
}

#[test]
fn what_is_wrong_with_one_entry_refuses_that_entry_in_lokis_words() {
    let long = vec![b'x'; (256 << 10) + 1];
    let value = "v".repeat(64 << 10);
    let many: Vec<(String, String)> = (0..129).map(|n| (format!("k{n}"), "v".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let cases: [(Entry, RejectReason, &str); 7] = [
        (
            entry(NOW - 25 * HOUR, b"old", &[]),
            RejectReason::TooOld,
            "entry for stream '{app=\"x\", service_name=\"x\"}' has timestamp too old: 2025-06-14T14:06:40Z, oldest \
             acceptable timestamp is: 2025-06-14T15:06:40Z",
        ),
        (
            entry(NOW + HOUR, b"new", &[]),
            RejectReason::TooNew,
            "entry for stream '{app=\"x\", service_name=\"x\"}' has timestamp too new: 2025-06-15T16:06:40Z",
        ),
        (
            entry(NOW, &long, &[]),
            RejectReason::TooLarge,
            "Max entry size '262144' bytes exceeded for stream '{app=\"x\", service_name=\"x\"}' while adding an entry \
             with length '262145' bytes",
        ),
        (
            entry(NOW, b"m", &[("k", &value)]),
            RejectReason::TooLarge,
            "structured metadata too large: '65537' bytes",
        ),
        (
            entry(NOW, b"m", &many),
            RejectReason::TooLarge,
            "too many structured metadata labels: '129', limit: '128'",
        ),
        (entry(NOW, b"\xff", &[]), RejectReason::InvalidUtf8, "is not valid UTF-8"),
        (
            Entry { timestamp: None, ..entry(0, b"no time", &[]) },
            RejectReason::TooOld,
            "1970-01-01T00:00:00Z",
        ),
    ];
    for (bad, reason, says) in cases {
        let good = || entry(NOW, b"good", &[]);
        let decoded = push(vec![stream("{app=\"x\"}", vec![good(), bad, good()])]);
        assert_eq!(records(&decoded).len(), 2, "{says}");
        let [rejection] = &decoded.rejected[..] else { panic!("{:?}", decoded.rejected) };
        assert_eq!((rejection.reason, rejection.count), (reason, 1));
        assert!(rejection.message.contains(says), "{}", rejection.message);
        assert_eq!(summary(&decoded.rejected), rejection.message);
    }
}

#[test]
fn what_is_wrong_with_labels_refuses_their_entries() {
    let entries = || vec![entry(NOW, b"a", &[]), entry(1, b"b", &[])];
    let decoded = push(vec![
        stream("{a-b=\"c\"}", entries()),
        stream("{a=\"b\", a=\"c\"}", entries()),
        stream("{a=\"b\"}", entries()),
        stream("{}", vec![]),
    ]);
    assert_eq!(records(&decoded).len(), 1);
    let reasons: Vec<_> = decoded.rejected.iter().map(|r| (r.reason, r.count)).collect();
    assert_eq!(reasons, [(RejectReason::InvalidLabels, 5), (RejectReason::TooOld, 1)]);
    let says = summary(&decoded.rejected);
    assert!(says.starts_with("5 errors like: Error parsing labels '{a-b=\"c\"}' with error: 1:3:"), "{says}");
    assert!(says.contains("; 1 errors like: entry for stream '{a=\"b\""), "{says}");
}

#[test]
fn a_request_has_a_limit_of_entries() {
    let mut context = context();
    context.limits.items_per_request = 3;
    let entries = (0..5).map(|n| entry(NOW - n, b"x", &[])).collect();
    let body = PushRequest { streams: vec![stream("{a=\"b\"}", entries)] }.encode_to_vec();
    let decoded = decode(Signal::Logs, Encoding::LokiProtobuf, &body, &context).expect("decodes");
    assert_eq!(records(&decoded).len(), 3);
    assert_eq!((decoded.rejected[0].reason, decoded.rejected[0].count), (RejectReason::TooManyItems, 2));
}

/// As many streams as entries, each with labels of its own, as of a label with a request's id; one in ten is no labels at all. Were
/// the time to grow with the square of the streams, this would take minutes.
#[test]
fn labels_that_are_all_distinct_are_read() {
    const COUNT: usize = 200_000;
    let one = |n: usize| match n % 10 {
        9 => stream(&format!("{{request={n}}}"), vec![entry(NOW, b"broken", &[])]),
        _ => stream(&format!("{{app=\"x\", request=\"{n:x}\"}}"), vec![entry(NOW, b"a\0b", &[])]),
    };
    let body = PushRequest { streams: (0..COUNT).map(one).collect() }.encode_to_vec();
    let mut context = context();
    context.limits.items_per_request = COUNT;
    let decoded = decode(Signal::Logs, Encoding::LokiProtobuf, &body, &context).expect("decodes");
    assert_eq!(logs(&decoded).rows.num_rows(), COUNT - COUNT / 10);
    assert_eq!(decoded.rejected.iter().map(|r| r.count).sum::<u64>(), COUNT as u64 / 10);
    assert!(summary(&decoded.rejected).len() < 10_000, "what is wrong is summed up");
}

#[test]
fn compressions_of_pushes_are_undone_and_bounded() {
    use std::io::Write as _;
    let plain = vec![b'a'; 100_000];
    let snappy = snap::raw::Encoder::new().compress_vec(&plain).expect("small");
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).and_then(|()| out.finish()).expect("in memory")
    };
    let deflate = |bytes: &[u8]| {
        let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).and_then(|()| out.finish()).expect("in memory")
    };
    for (body, compression) in [
        (deflate(&plain), Compression::Deflate),
        (gzip(&snappy), Compression::GzipSnappy),
        (deflate(&snappy), Compression::DeflateSnappy),
    ] {
        assert_eq!(Compression::from_code(compression.code()), Some(compression));
        assert_eq!(decompress(&body, compression, plain.len()).expect("fits"), plain);
        assert!(decompress(&body, compression, plain.len() - 1).is_err_and(|error| error.is_too_large()));
        assert!(decompress(&body[..body.len() / 2], compression, plain.len()).is_err());
    }
}

/// Damaged requests are refused or read: nothing panics, and every entry of what is read is stored or counted.
#[test]
fn damaged_requests_do_no_harm() {
    let rounds = std::env::var("THROUGHLINE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000u64);
    let mut state = 1u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit.max(1)
    };
    let whole = PushRequest {
        streams: vec![
            stream(r#"{app="cart", lvl='x\u00e9'}"#, vec![entry(NOW, b"line trace_id=1", &[("k", "v")])]),
            stream("{b=`c`}", vec![entry(NOW - 1, b"{\"level\":\"error\"}", &[]), entry(3, b"", &[])]),
        ],
    };
    let protobuf = whole.encode_to_vec();
    let json = format!(
        r#"{{"streams":[{{"stream":{{"a":"b\u00e9"}},"values":[["{NOW}","l",{{"k":"v"}}],["{NOW}","m"]]}}]}}"#
    );
    let mut decoder = Decoder::new();
    let mut accepted = 0;
    for round in 0..rounds {
        let is_json = round % 2 == 0;
        let (mut body, encoding) = match is_json {
            true => (json.clone().into_bytes(), Encoding::LokiJson),
            false => (protobuf.clone(), Encoding::LokiProtobuf),
        };
        for _ in 0..1 + below(4) {
            let at = below(body.len());
            match below(4) {
                0 => body[at] = below(256) as u8,
                1 => body.truncate(at),
                2 => body.insert(at, below(256) as u8),
                _ => body[at] ^= 1 << below(8),
            }
            if body.is_empty() {
                break;
            }
        }
        let Ok(decoded) = decoder.decode(Signal::Logs, encoding, &body, &context()) else { continue };
        accepted += records(&decoded).len();
        if !is_json && let Ok(read) = PushRequest::decode(&body[..]) {
            let entries: usize = read.streams.iter().map(|stream| stream.entries.len()).sum();
            let empty = read.streams.iter().filter(|stream| stream.entries.is_empty()).count();
            let counted =
                records(&decoded).len() as u64 + decoded.rejected.iter().map(|r| r.count).sum::<u64>();
            let counted = counted as usize;
            assert!((entries..=entries + empty).contains(&counted), "{counted} of {entries} and {empty}");
        }
    }
    assert!(accepted > 100, "some damage does no harm: {accepted}");
}
