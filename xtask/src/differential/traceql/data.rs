//! The spans that queries are asked over: several services, trees with spans that have lost their parents, events, links, attributes
//! of all types, missing ones, durations of all lengths.

use serde_json::{Value as Json, json};

use crate::differential::random::{Random, mix};

/// Traces.
pub const TRACES: u64 = 160;
/// Traces start within so many seconds before the end.
pub const SECONDS: u64 = 600;
/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Traces of one request.
const TRACES_PER_REQUEST: u64 = 20;

/// Services. All say their names: one that does not is nobody to Tempo, and `unknown_service` to us, as senders' libraries have it.
pub const SERVICES: [&str; 4] = ["web", "cart", "db", "queue"];
/// Names of spans.
pub const NAMES: [&str; 6] = ["GET /", "GET /cart", "POST /pay", "SELECT", "send", ""];
/// Libraries: name, version, whether they have attributes.
const SCOPES: [(&str, &str, bool); 3] = [("lib.a", "1.0", true), ("lib.b", "2.1", false), ("", "", false)];

/// Whether no span has lost its parent. Of trees that are not whole Tempo answers nothing where relations are asked for.
pub fn is_whole(seed: u64) -> bool {
    seed % 2 == 1
}

/// The id of a trace, in hexadecimal. Some begin with zeros.
pub fn trace_id(seed: u64, trace: u64) -> String {
    let high = if trace % 7 == 3 { 0 } else { mix(seed ^ mix(trace * 2 + 1)) };
    format!("{high:016x}{:016x}", mix(seed ^ mix(trace * 2)))
}

/// The id of a span of a trace.
pub fn span_id(seed: u64, trace: u64, span: u64) -> String {
    format!("{:016x}", mix(seed ^ mix(trace << 20 | (span + 1))))
}

fn text(value: &str) -> Json {
    json!({ "stringValue": value })
}

fn int(value: i64) -> Json {
    json!({ "intValue": value.to_string() })
}

fn double(value: f64) -> Json {
    json!({ "doubleValue": value })
}

fn list(values: Vec<Json>) -> Json {
    json!({ "arrayValue": { "values": values } })
}

/// Attributes that are collected.
#[derive(Default)]
struct Attributes(Vec<Json>);

impl Attributes {
    fn add(&mut self, key: &str, value: Json) {
        self.0.push(json!({ "key": key, "value": value }));
    }
}

/// Some of some values: Tempo takes a list of one for that one, and one of none for nothing.
fn several<T: Copy>(random: &mut Random, values: &[T], one: impl Fn(T) -> Json) -> Json {
    let n = 2 + random.below(2);
    list((0..n).map(|_| one(random.pick(values))).collect())
}

fn resource(service: usize, instance: u64) -> Json {
    let mut random = Random::of(service as u64, instance);
    let mut of = Attributes::default();
    let name = SERVICES[service];
    of.add("service.name", text(name));
    of.add("service.instance.id", text(&format!("{name}-{instance}")));
    of.add("region", text(random.pick(&["eu", "us"])));
    if instance == 0 {
        of.add("pods", int(service as i64 * 2 + 1));
        of.add("zones", several(&mut random, &["a", "b", "c"], text));
        of.add("k8s.namespace.name", text(random.pick(&["shop", "infra"])));
    } else {
        of.add("ratio", double(0.5 * service as f64));
        of.add("ready", json!({ "boolValue": service.is_multiple_of(2) }));
    }
    json!({ "attributes": of.0 })
}

fn scope(number: usize) -> Json {
    let (name, version, has_attributes) = SCOPES[number];
    let mut of = Attributes::default();
    if has_attributes {
        of.add("lang", text("go"));
        of.add("level", int(3));
    }
    json!({ "name": name, "version": version, "attributes": of.0 })
}

fn attributes(random: &mut Random) -> Vec<Json> {
    let mut of = Attributes::default();
    let mut maybe = |random: &mut Random, percent: u64, key: &str, value: &dyn Fn(&mut Random) -> Json| {
        if random.below(100) < percent {
            of.add(key, value(random));
        }
    };
    maybe(random, 60, "http.method", &|random| text(random.pick(&["GET", "POST", "PUT"])));
    maybe(random, 60, "http.status_code", &|random| int(random.pick(&[200, 201, 404, 500, 503])));
    maybe(random, 40, "region", &|random| text(random.pick(&["eu", "us", "ap"])));
    maybe(random, 50, "items", &|random| int(random.below(16) as i64 - 3));
    maybe(random, 40, "share", &|random| double(random.pick(&[-0.5, 0.0, 0.25, 0.5, 1.0, 2.75])));
    maybe(random, 50, "flag", &|random| json!({ "boolValue": random.one_in(2) }));
    maybe(random, 40, "tags", &|random| several(random, &["a", "b", "c"], text));
    maybe(random, 30, "codes", &|random| several(random, &[1, 2, 3], int));
    maybe(random, 20, "shares", &|random| several(random, &[0.5, 1.5], double));
    maybe(random, 20, "flags", &|random| several(random, &[true, false], |is| json!({ "boolValue": is })));
    maybe(random, 50, "mixed", &|random| match random.below(6) {
        0 => text("x"),
        1 => text("5"),
        2 => int(5),
        3 => double(5.0),
        4 => double(2.5),
        _ => json!({ "boolValue": true }),
    });
    maybe(random, 20, "a b", &|random| text(random.pick(&["x", "y z"])));
    maybe(random, 15, "big", &|random| int(random.pick(&[i64::MAX - 1, (1 << 53) + 1, -(1 << 53) - 1])));
    maybe(random, 10, "empty", &|_| text(""));
    maybe(
        random,
        10,
        "map",
        &|_| json!({ "kvlistValue": { "values": [{ "key": "k", "value": { "stringValue": "v" } }] } }),
    );
    maybe(random, 10, "raw", &|_| json!({ "bytesValue": "AQID" }));
    of.0
}

fn events(random: &mut Random, start_ns: u64, duration_ns: u64) -> Vec<Json> {
    let n = if random.one_in(3) { 1 + random.below(3) } else { 0 };
    let event = |random: &mut Random| {
        let mut of = Attributes::default();
        let name = random.pick(&["exception", "retry", "cache miss"]);
        if name == "exception" {
            of.add("exception.message", text(random.pick(&["boom", "no stock"])));
        }
        if random.one_in(2) {
            of.add("n", int(random.below(4) as i64));
        }
        let time = start_ns + random.below(duration_ns + 1);
        json!({ "timeUnixNano": time.to_string(), "name": name, "attributes": of.0 })
    };
    (0..n).map(|_| event(random)).collect()
}

fn links(random: &mut Random, seed: u64) -> Vec<Json> {
    let n = if random.one_in(7) { 1 + random.below(2) } else { 0 };
    let link = |random: &mut Random| {
        let mut of = Attributes::default();
        if random.one_in(2) {
            of.add("why", text(random.pick(&["cause", "batch"])));
        }
        let trace = random.below(TRACES);
        json!({ "traceId": trace_id(seed, trace), "spanId": span_id(seed, trace, random.below(3)), "attributes": of.0 })
    };
    (0..n).map(|_| link(random)).collect()
}

/// From a microsecond to half a minute, each length as often as any other.
fn duration_ns(random: &mut Random) -> u64 {
    match random.below(40) {
        0 => 0,
        1 => random.pick(&[1, 10, 100, 1_000]) * 1_000_000,
        _ => {
            let least = 1_000 << random.below(25);
            least + random.below(least)
        }
    }
}

/// The spans of a trace, which has one root or has lost it: of several Tempo takes the one that came last in its request. The service and its instance, the library, and the span.
fn spans(seed: u64, trace: u64, end_ns: u64) -> Vec<(usize, u64, usize, Json)> {
    let mut random = Random::of(seed, trace << 8);
    let mut trace_start_ns = end_ns - SECONDS * SECOND_NS + random.below((SECONDS - 60) * SECOND_NS);
    if random.one_in(8) {
        trace_start_ns -= trace_start_ns % (10 * SECOND_NS);
    }
    let n = if random.one_in(4) { 1 + random.below(3) } else { 1 + random.below(24) };
    let lost_parent = |span: u64| span_id(seed, TRACES + trace, span);
    let root_is_lost = !is_whole(seed) && random.one_in(10);
    let mut placed: Vec<(u64, u64)> = Vec::new();
    let mut out = Vec::new();
    for span in 0..n {
        let (mut start_ns, mut parent) = (trace_start_ns, None);
        if span > 0 {
            let of = random.below(span);
            let (parent_start_ns, parent_duration_ns) = placed[of as usize];
            start_ns = parent_start_ns + random.below(parent_duration_ns + 1);
            parent = Some(if !is_whole(seed) && random.one_in(20) {
                lost_parent(span)
            } else {
                span_id(seed, trace, of)
            });
        } else if root_is_lost {
            parent = Some(lost_parent(span));
        }
        let duration_ns = duration_ns(&mut random);
        placed.push((start_ns, duration_ns));
        let (code, message) =
            random.pick(&[(0, ""), (0, ""), (0, ""), (1, ""), (2, ""), (2, "no stock"), (2, "boom")]);
        let mut json = json!({
            "traceId": trace_id(seed, trace),
            "spanId": span_id(seed, trace, span),
            "name": random.pick(&NAMES),
            "kind": random.below(6),
            "startTimeUnixNano": start_ns.to_string(),
            "endTimeUnixNano": (start_ns + duration_ns).to_string(),
            "attributes": attributes(&mut random),
            "events": events(&mut random, start_ns, duration_ns),
            "links": links(&mut random, seed),
            "status": { "code": code, "message": message },
        });
        if let Some(parent) = parent {
            json["parentSpanId"] = Json::from(parent);
        }
        let service = random.below(SERVICES.len() as u64) as usize;
        out.push((service, random.below(2), random.below(SCOPES.len() as u64) as usize, json));
    }
    out
}

/// Bodies of OTLP in JSON, each with some traces as a whole.
pub fn requests(seed: u64, end_ns: u64) -> Vec<Json> {
    (0..TRACES)
        .step_by(TRACES_PER_REQUEST as usize)
        .map(|first| {
            let traces = first..(first + TRACES_PER_REQUEST).min(TRACES);
            let mut all: Vec<_> = traces.flat_map(|trace| spans(seed, trace, end_ns)).collect();
            all.sort_by_key(|(service, instance, library, _)| (*service, *instance, *library));
            let of_resource = all.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)).map(|spans| {
                let of_scope = spans.chunk_by(|a, b| a.2 == b.2).map(|spans| {
                    let list: Vec<&Json> = spans.iter().map(|(.., span)| span).collect();
                    json!({ "scope": scope(spans[0].2), "spans": list })
                });
                let of_scope: Vec<Json> = of_scope.collect();
                json!({ "resource": resource(spans[0].0, spans[0].1), "scopeSpans": of_scope })
            });
            json!({ "resourceSpans": of_resource.collect::<Vec<Json>>() })
        })
        .collect()
}
