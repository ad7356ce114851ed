//! Jaeger's and Zipkin's spans: what they become, what is refused and by which name, and that damaged requests do no harm.
//!
//! `THROUGHLINE_MUTATIONS` sets how many damaged requests are made (default 2,000); `THROUGHLINE_SEED` the seed.

#[path = "requests/jaeger.rs"]
mod jaeger;
#[path = "requests/zipkin.rs"]
mod zipkin;

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt8Type};
use jaeger::{
    KeyValue, Log, Process, SpanRef, Thrift, moment, tag, thrift_batch, thrift_span, thrift_tag, thrift_tags,
};
use prost::Message as _;
use serde_json::{Value as Json, json};
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, span,
};
use throughline_model::protobuf::Reader;
use throughline_model::{Batch, Signal, attribute};
use throughline_wire::{
    DecodeContext, DecodeError, DecodeLimits, Decoded, Decoder, Encoding, RejectReason, decode,
};

const NOW: i64 = 1_750_000_000_000_000_000;
const HOUR: i64 = 3_600_000_000_000;

fn context() -> DecodeContext {
    DecodeContext { received_at: NOW, limits: DecodeLimits::with_retention(24 * HOUR) }
}

fn read(encoding: Encoding, body: &[u8]) -> Result<Decoded, DecodeError> {
    decode(Signal::Traces, encoding, body, &context())
}

/// A decoded span as JSON, but for what is empty.
fn shown(decoded: &Decoded, row: usize) -> Json {
    let Batch::Spans(spans) = &decoded.batch else { panic!("a batch of spans") };
    let rows = &spans.rows;
    let text_of = |position| {
        let column = column_dictionary(rows, position);
        column.values().as_string::<i32>().value(column.key(row).expect("a key")).to_owned()
    };
    let mut attributes = String::new();
    attribute::write_json_object(column_binary(rows, span::ATTRIBUTES).value(row), &mut attributes);
    let parents = column_fixed(rows, span::PARENT_SPAN_ID);
    let parent = if parents.is_null(row) { String::new() } else { hex(parents.value(row)) };
    let parse = |text: &str| serde_json::from_str::<Json>(text).expect("JSON");
    json!({
        "trace": hex(column_fixed(rows, span::TRACE_ID).value(row)),
        "span": hex(column_fixed(rows, span::SPAN_ID).value(row)),
        "parent": parent,
        "name": column_text(rows, span::NAME).value(row),
        "kind": column_number::<UInt8Type>(rows, span::KIND).value(row),
        "start": column_time(rows, span::START_TIME).value(row),
        "duration": column_number::<Int64Type>(rows, span::DURATION).value(row),
        "status": column_number::<UInt8Type>(rows, span::STATUS_CODE).value(row),
        "message": column_text(rows, span::STATUS_MESSAGE).value(row),
        "state": column_text(rows, span::TRACE_STATE).value(row),
        "service": text_of(span::SERVICE),
        "resource": parse(&text_of(span::RESOURCE)),
        "scope": parse(&text_of(span::SCOPE)),
        "attributes": parse(&attributes),
        "events": events(column_binary(rows, span::EVENTS).value(row)),
        "links": parts(column_binary(rows, span::LINKS).value(row)).len(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parts(list: &[u8]) -> Vec<&[u8]> {
    let mut reader = Reader::new(list);
    std::iter::from_fn(|| (!reader.rest().is_empty()).then(|| reader.delimited().expect("a part"))).collect()
}

/// Name, time and number of attributes of each event.
fn events(list: &[u8]) -> Json {
    let read = |message: &[u8]| {
        let event = opentelemetry_proto::tonic::trace::v1::span::Event::decode(message).expect("an event");
        json!([event.name, event.time_unix_nano, event.attributes.len()])
    };
    parts(list).into_iter().map(read).collect()
}

fn full_jaeger() -> jaeger::Span {
    let number = KeyValue { key: "size".to_owned(), v_type: 2, v_int64: -7, ..KeyValue::default() };
    let error = KeyValue { key: "error".to_owned(), v_type: 1, v_bool: true, ..KeyValue::default() };
    let ratio = KeyValue { key: "ratio".to_owned(), v_type: 3, v_float64: 0.5, ..KeyValue::default() };
    let raw = KeyValue { key: "raw".to_owned(), v_type: 4, v_binary: vec![1, 2], ..KeyValue::default() };
    let reference = |trace: u8, span: u8, ref_type| SpanRef {
        trace_id: vec![trace; 16],
        span_id: vec![span; 8],
        ref_type,
    };
    let log = Log {
        timestamp: moment(NOW + 5),
        fields: vec![tag("k", "v"), tag("event", "retry"), tag("message", "again")],
    };
    jaeger::Span {
        tags: vec![
            tag("span.kind", "server"),
            tag("otel.scope.name", "lib"),
            tag("otel.library.version", "2"),
            tag("otel.status_description", "no stock"),
            tag("w3c.tracestate", "a=b"),
            tag("http.method", "GET"),
            number,
            error,
            ratio,
            raw,
        ],
        references: vec![reference(1, 9, 1), reference(1, 8, 0), reference(2, 8, 0)],
        logs: vec![log],
        warnings: vec!["clock skew".to_owned()],
        ..jaeger::span(1, 2, NOW)
    }
}

#[test]
fn a_span_of_jaeger_becomes_one_of_otlp() {
    let body = jaeger::request(vec![full_jaeger()]).encode_to_vec();
    let decoded = read(Encoding::JaegerProtobuf, &body).expect("decodes");
    assert_eq!(decoded.rejected, []);
    let expected = json!({
        "trace": "01".repeat(16), "span": "02".repeat(8), "parent": "08".repeat(8), "name": "GET /cart", "kind": 2,
        "start": NOW, "duration": 2_000_000, "status": 2, "message": "no stock", "state": "a=b", "service": "cart",
        "resource": {"service.name": "cart", "host.name": "n1", "ip": "10.0.0.1"},
        "scope": {"name": "lib", "version": "2"},
        "attributes": {
            "http.method": "GET", "size": -7, "ratio": 0.5, "raw": {"bytesValue": "AQI="},
            "jaeger.warnings": ["clock skew"],
        },
        "events": [["retry", NOW + 5, 2]], "links": 2,
    });
    assert_eq!(shown(&decoded, 0), expected);
}

#[test]
fn a_status_is_found_where_a_sender_has_it() {
    let check = |kind: &str, tags: Vec<KeyValue>, status: u64| {
        let tags = std::iter::once(tag("span.kind", kind)).chain(tags).collect();
        let body = jaeger::request(vec![jaeger::Span { tags, ..jaeger::span(1, 2, NOW) }]).encode_to_vec();
        let decoded = read(Encoding::JaegerProtobuf, &body).expect("decodes");
        assert_eq!(shown(&decoded, 0)["status"], json!(status));
    };
    let code = |code: i64| KeyValue {
        key: "http.status_code".to_owned(),
        v_type: 2,
        v_int64: code,
        ..KeyValue::default()
    };
    let no_error = KeyValue { key: "error".to_owned(), v_type: 1, ..KeyValue::default() };
    check("server", vec![], 0);
    check("server", vec![code(404)], 0);
    check("client", vec![code(404)], 2);
    check("server", vec![code(503)], 2);
    check("server", vec![tag("http.status_code", "503")], 2);
    check("server", vec![code(503), no_error], 0);
    check("client", vec![code(500), tag("otel.status_code", "OK")], 1);
    check("client", vec![tag("otel.status_code", "ERROR")], 2);
    check("client", vec![tag("error", "true"), tag("otel.status_code", "OK")], 2);
}

#[test]
fn spans_with_a_process_of_their_own_keep_it() {
    let mut own = jaeger::span(1, 3, NOW);
    own.process = Some(Process { service_name: "web".to_owned(), tags: vec![tag("host.name", "n2")] });
    let spans = vec![jaeger::span(1, 2, NOW), own, jaeger::span(1, 4, NOW)];
    let decoded = read(Encoding::JaegerProtobuf, &jaeger::request(spans).encode_to_vec()).expect("decodes");
    let services: Vec<Json> = (0..3).map(|row| shown(&decoded, row)["service"].clone()).collect();
    assert_eq!(services, ["cart", "web", "cart"]);
    assert_eq!(shown(&decoded, 1)["resource"], json!({"service.name": "web", "host.name": "n2"}));
}

#[test]
fn good_spans_are_kept_and_bad_ones_named() {
    let no_id = jaeger::Span { span_id: vec![1; 5], ..jaeger::span(1, 2, NOW) };
    let old = jaeger::span(1, 3, NOW - 48 * HOUR);
    let never = jaeger::Span { start_time: None, ..jaeger::span(1, 4, NOW) };
    let many = jaeger::Span { tags: vec![tag("k", "v"); 2_000], ..jaeger::span(1, 5, NOW) };
    let backwards = jaeger::Span { duration: moment(-5_000), ..jaeger::span(1, 6, NOW) };
    let spans = vec![jaeger::span(1, 1, NOW), no_id, old, never, many, backwards];
    let decoded = read(Encoding::JaegerProtobuf, &jaeger::request(spans).encode_to_vec()).expect("decodes");
    assert_eq!(decoded.batch.items(), 2);
    assert_eq!(shown(&decoded, 1)["duration"], json!(-5_000));
    let said: Vec<(RejectReason, u64, &str)> =
        decoded.rejected.iter().map(|r| (r.reason, r.count, r.message.as_str())).collect();
    assert_eq!(said[0], (RejectReason::InvalidId, 1, "spans[1]: span_id has 5 bytes, it must have 8"));
    assert_eq!((said[1].0, said[1].1), (RejectReason::TooOld, 2));
    assert!(said[1].2.starts_with("spans[2]: start_time "), "{}", said[1].2);
    assert_eq!(said[2].0, RejectReason::TooLarge);
    assert!(said[2].2.starts_with("spans[4]: more than 1024 tags"), "{}", said[2].2);
}

#[test]
fn a_batch_in_thrift_becomes_spans() {
    let log = Thrift::default()
        .int(1, NOW / 1_000)
        .list(2, vec![thrift_tag("event", "retry"), thrift_tag("k", "v")]);
    let reference = |kind, trace, span| Thrift::default().small(1, kind).int(2, trace).int(3, 0).int(4, span);
    let span = thrift_span(0xc0de, 7, 5, NOW)
        .list(6, vec![reference(0, 0xc0de, 5), reference(1, 0xbad, 9)])
        .list(10, [vec![thrift_tag("span.kind", "client")], thrift_tags()].concat())
        .list(11, vec![log])
        // A field that no version has.
        .nested(99, Thrift::default().list(1, vec![thrift_tag("a", "b")]));
    let decoded = read(Encoding::JaegerThrift, &thrift_batch(vec![span])).expect("decodes");
    assert_eq!(decoded.rejected, []);
    let expected = json!({
        "trace": format!("{:032x}", 0xc0de), "span": format!("{:016x}", 7), "parent": format!("{:016x}", 5),
        "name": "GET /cart", "kind": 3, "start": NOW, "duration": 2_000_000, "status": 2, "message": "", "state": "",
        "service": "cart", "resource": {"service.name": "cart", "host.name": "n1"}, "scope": {},
        "attributes": {"ratio": 0.5, "size": -7},
        "events": [["retry", NOW, 1]], "links": 1,
    });
    assert_eq!(shown(&decoded, 0), expected);
}

#[test]
fn damaged_thrift_is_refused_by_its_place() {
    let good = thrift_batch(vec![thrift_span(1, 2, 0, NOW), thrift_span(1, 3, 0, NOW)]);
    for end in 0..good.len() {
        let error = read(Encoding::JaegerThrift, &good[..end]).expect_err("cut off");
        assert!(matches!(error, DecodeError::Thrift { .. }), "{error}");
    }
    let cut = read(Encoding::JaegerThrift, &good[..good.len() - 3]).expect_err("cut off");
    assert_eq!(cut.to_string(), "malformed Thrift at spans[1]: the message ends inside a value");
    // A struct in a struct in a struct, without an end.
    let deep: Vec<u8> = [12, 0, 1].repeat(100_000);
    let error = read(Encoding::JaegerThrift, &[&[12, 0, 9][..], &deep].concat()).expect_err("deep");
    assert!(error.to_string().contains("deeper than 16 levels"), "{error}");
    // A list of two billion.
    let huge = [&[15, 0, 2, 12][..], &i32::MAX.to_be_bytes()].concat();
    assert!(read(Encoding::JaegerThrift, &huge).is_err());
}

#[test]
fn a_span_of_zipkin_becomes_one_of_otlp() {
    let tags = [("error", "no stock"), ("http.method", "GET"), ("otel.scope.name", "lib")];
    let endpoint = |name: &str, ip: [u8; 4], port| zipkin::Endpoint {
        service_name: name.to_owned(),
        ipv4: ip.to_vec(),
        port,
        ..zipkin::Endpoint::default()
    };
    let span = zipkin::Span {
        parent_id: vec![8; 8],
        local_endpoint: Some(endpoint("cart", [10, 0, 0, 1], 0)),
        remote_endpoint: Some(endpoint("db", [10, 0, 0, 2], 5432)),
        annotations: vec![zipkin::Annotation { timestamp: NOW as u64 / 1_000, value: "sent".to_owned() }],
        tags: tags.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..zipkin::span(1, 2, NOW)
    };
    let body = zipkin::ListOfSpans { spans: vec![span] }.encode_to_vec();
    let json = format!(
        r#"[{{"traceId":"{}","id":"{}","parentId":"{}","kind":"CLIENT","name":"get /cart","timestamp":{},"duration":2000.0,
        "localEndpoint":{{"serviceName":"cart","ipv4":"10.0.0.1"}},"shared":false,
        "remoteEndpoint":{{"serviceName":"db","ipv4":"10.0.0.2","port":5432}},
        "annotations":[{{"timestamp":{},"value":"sent"}}],
        "tags":{{"error":"no stock","http.method":"GET","otel.scope.name":"lib"}}}}]"#,
        "01".repeat(16),
        "02".repeat(8),
        "08".repeat(8),
        NOW / 1_000,
        NOW / 1_000,
    );
    let expected = json!({
        "trace": "01".repeat(16), "span": "02".repeat(8), "parent": "08".repeat(8), "name": "get /cart", "kind": 3,
        "start": NOW, "duration": 2_000_000, "status": 2, "message": "no stock", "state": "", "service": "cart",
        "resource": {"service.name": "cart"}, "scope": {"name": "lib"},
        "attributes": {
            "peer.service": "db", "net.host.ip": "10.0.0.1", "net.peer.ip": "10.0.0.2", "net.peer.port": 5432,
            "error": "no stock", "http.method": "GET",
        },
        "events": [["sent", NOW, 0]], "links": 0,
    });
    for (encoding, body) in [(Encoding::ZipkinProtobuf, body), (Encoding::ZipkinJson, json.into_bytes())] {
        let decoded = read(encoding, &body).expect("decodes");
        assert_eq!((shown(&decoded, 0), &decoded.rejected), (expected.clone(), &vec![]), "{encoding:?}");
    }
}

#[test]
fn what_zipkin_leaves_out_is_made_up_for() {
    let us = NOW / 1_000;
    let json = format!(
        r#"[{{"traceId":"c0de","id":"7","annotations":[{{"timestamp":{},"value":"cs"}},{{"timestamp":{us},"value":"cr"}}],
        "tags":{{"span.kind":"internal","n":1,"b":true,"x":null}}}},
        {{"traceId":"c0de","id":"8","timestamp":{us},"tags":null,"annotations":null,"localEndpoint":null,"debug":true}}]"#,
        us - 3
    );
    let decoded = read(Encoding::ZipkinJson, json.as_bytes()).expect("decodes");
    let first = shown(&decoded, 0);
    assert_eq!((&first["start"], &first["duration"]), (&json!(NOW - 3_000), &json!(3_000)));
    assert_eq!((&first["trace"], &first["kind"]), (&json!(format!("{:032x}", 0xc0de)), &json!(1)));
    assert_eq!(first["attributes"], json!({"n": "1", "b": "true", "x": ""}));
    assert_eq!(first["service"], "unknown_service");
    assert_eq!(shown(&decoded, 1)["duration"], json!(0));
}

#[test]
fn bad_spans_of_zipkin_are_named() {
    let us = NOW / 1_000;
    let check = |span: &str, says: &str| {
        let json = format!(r#"[{{"traceId":"c0de","id":"7","timestamp":{us}}},{span}]"#);
        let decoded = read(Encoding::ZipkinJson, json.as_bytes()).expect("decodes");
        assert_eq!(decoded.batch.items(), 1, "{span}");
        assert!(decoded.rejected[0].message.starts_with(says), "{:?}", decoded.rejected);
    };
    check(r#"{"traceId":"nothex","id":"7","timestamp":1}"#, "spans[1]: traceId is not hex");
    check(
        &format!(r#"{{"traceId":"c0de","id":"{}","timestamp":{us}}}"#, "1".repeat(20)),
        "spans[1]: id has 10 bytes",
    );
    check(&format!(r#"{{"id":"7","timestamp":{us}}}"#), "spans[1]: traceId has 0 bytes");
    check(r#"{"traceId":"c0de","id":"7"}"#, "spans[1]: timestamp is not set");
    let refuse = |json: &str, path: &str| {
        let error = read(Encoding::ZipkinJson, json.as_bytes()).expect_err("no list of spans");
        assert_eq!(error.field(), path, "{error}");
    };
    refuse(r#"{"traceId":"c0de"}"#, "spans[0]");
    refuse(r#"[{"traceId":"c0de","id":"7","timestamp":-1}]"#, "spans[0].timestamp");
    refuse(r#"[{"traceId":"c0de","id":"7","timestamp":1},{"tags":[]}]"#, "spans[1].tags");
    refuse(r#"[{"traceId":"c0de""#, "spans[0].traceId");
    let long = zipkin::Span { trace_id: vec![1; 20], ..zipkin::span(1, 2, NOW) };
    let body = zipkin::ListOfSpans { spans: vec![long] }.encode_to_vec();
    let decoded = read(Encoding::ZipkinProtobuf, &body).expect("decodes");
    assert_eq!(decoded.rejected[0].message, "spans[0]: traceId has 20 bytes, it must have 16");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A stream of random numbers (splitmix64).
struct Seed(u64);

impl Seed {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

fn mutate(bytes: &mut Vec<u8>, seed: &mut Seed) {
    for _ in 0..=seed.below(3) {
        let at = seed.below(bytes.len() as u64) as usize;
        match seed.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << seed.below(8),
            1 if !bytes.is_empty() => bytes[at] = seed.next() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, seed.next() as u8),
            4 => _ = bytes.splice(at..at, [0xff; 9]),
            _ if !bytes.is_empty() => {
                let end = (at + seed.below(64) as usize).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {}
        }
    }
}

#[test]
fn damaged_requests_never_panic() {
    let thrift = thrift_batch(vec![
        thrift_span(1, 2, 0, NOW).list(10, vec![thrift_tag("span.kind", "server")]),
        thrift_span(1, 3, 2, NOW).list(11, vec![Thrift::default().list(2, vec![thrift_tag("event", "e")])]),
    ]);
    let zipkin = zipkin::ListOfSpans { spans: vec![zipkin::span(1, 2, NOW), zipkin::span(1, 3, NOW)] };
    let json = br#"[{"traceId":"c0de","id":"7","timestamp":1750000000000000,"tags":{"a":"\u00e9"},"localEndpoint":{"port":1}}]"#;
    let goods = [
        (Encoding::JaegerProtobuf, jaeger::request(vec![full_jaeger(), full_jaeger()]).encode_to_vec()),
        (Encoding::JaegerThrift, thrift),
        (Encoding::ZipkinProtobuf, zipkin.encode_to_vec()),
        (Encoding::ZipkinJson, json.to_vec()),
    ];
    let mut decoder = Decoder::new();
    let first = setting("THROUGHLINE_SEED", 1);
    for number in 0..setting("THROUGHLINE_MUTATIONS", 2_000) {
        let mut seed = Seed(first.wrapping_mul(0x9e37_79b9).wrapping_add(number));
        for (encoding, good) in &goods {
            let mut bytes = good.clone();
            mutate(&mut bytes, &mut seed);
            let Ok(decoded) = decoder.decode(Signal::Traces, *encoding, &bytes, &context()) else { continue };
            for row in 0..decoded.batch.items() {
                shown(&decoded, row);
            }
            assert!(decoded.rejected.iter().all(|rejection| !rejection.message.is_empty()));
        }
    }
}
