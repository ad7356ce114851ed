//! The lines that queries are asked over: logfmt, JSON, access logs, packed, coloured, plain and odd ones; whole and broken; with
//! metadata and without.

use serde_json::{Value as Json, json};

use crate::differential::random::Random;

/// How far back lines go: three quarters of an hour, within what Loki takes out of order.
pub const HISTORY_NS: i64 = 45 * 60 * 1_000_000_000;

/// Between two lines of a stream.
const INTERVAL_NS: i64 = 12_000_000_000;

/// What the lines of a stream are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Logfmt,
    Json,
    Access,
    Plain,
    Packed,
    Coloured,
    Odd,
}

impl Shape {
    /// All of them.
    pub const ALL: [Shape; 7] =
        [Shape::Logfmt, Shape::Json, Shape::Access, Shape::Plain, Shape::Packed, Shape::Coloured, Shape::Odd];

    /// The label `app` of its streams.
    pub fn app(self) -> &'static str {
        match self {
            Shape::Logfmt => "api",
            Shape::Json => "web",
            Shape::Access => "proxy",
            Shape::Plain => "db",
            Shape::Packed => "agent",
            Shape::Coloured => "shell",
            Shape::Odd => "odd",
        }
    }
}

/// A body of Loki's push for every stream.
pub fn pushes(seed: u64, end_ns: i64) -> Vec<Json> {
    let streams = Shape::ALL.iter().flat_map(|shape| (0..instances(*shape)).map(move |at| (*shape, at)));
    let push = |(number, (shape, at)): (usize, (Shape, u64))| {
        let mut labels = json!({ "app": shape.app(), "instance": format!("i{at}") });
        // Streams with and without a level, a service of their own, and an environment.
        if at == 1 {
            labels["level"] = json!("warn");
            labels["env"] = json!("test");
        } else if shape != Shape::Odd {
            labels["env"] = json!("prod");
        }
        if shape == Shape::Json {
            labels["service_name"] = json!(format!("front-{at}"));
        }
        let mut random = Random::of(seed, 1 << 40 | number as u64);
        let values: Vec<Json> = (0..HISTORY_NS / INTERVAL_NS)
            .map(|step| entry(&mut random, shape, end_ns, number as i64, step))
            .collect();
        json!({ "streams": [{ "stream": labels, "values": values }] })
    };
    streams.enumerate().map(push).collect()
}

fn instances(shape: Shape) -> u64 {
    match shape {
        Shape::Logfmt | Shape::Json => 3,
        Shape::Access | Shape::Plain => 2,
        Shape::Packed | Shape::Coloured | Shape::Odd => 1,
    }
}

fn entry(random: &mut Random, shape: Shape, end_ns: i64, stream: i64, step: i64) -> Json {
    // No two streams have a line at one time: which comes first would be chance. Those of the first lie on full seconds, where
    // windows end.
    let within = if stream == 0 { 0 } else { stream * 7_000_000 + random.below(1_000_000) as i64 };
    let time = end_ns - HISTORY_NS + step * INTERVAL_NS + within;
    let line = match shape {
        Shape::Logfmt => logfmt(random),
        Shape::Json => json_line(random),
        Shape::Access => access(random),
        Shape::Plain => plain(random),
        Shape::Packed => packed(random),
        Shape::Coloured => coloured(random),
        Shape::Odd => odd(random),
    };
    json!([time.to_string(), line, metadata(random, shape)])
}

fn metadata(random: &mut Random, shape: Shape) -> Json {
    // The level is said: what Loki takes for one where nobody says it is another question, and known to differ, as more
    // ways to write a level are known here.
    let level = random.pick(&["info", "info", "info", "warn", "error", "debug", "unknown"]);
    let mut metadata = json!({ "detected_level": level });
    if random.one_in(3) {
        metadata["trace_id"] = json!(format!("{:032x}", random.below(6) + 0xabc0));
    }
    if random.one_in(4) {
        metadata["tenant"] = json!(random.pick(&["red", "blue", "größe", ""]));
        metadata["took"] = json!(duration(random));
    }
    if random.one_in(6) {
        metadata["sent"] = json!(size(random));
        metadata["tries"] = json!(random.below(5).to_string());
    }
    // Names that the stream or the line has, too.
    if random.one_in(12) {
        metadata["env"] = json!("elsewhere");
    }
    if random.one_in(12) {
        metadata["status"] = json!("599");
    }
    if random.one_in(16) || (shape == Shape::Plain && random.one_in(2)) {
        metadata["level"] = json!(random.pick(&["error", "WARN", "Info", "trace", "whatever"]));
    }
    metadata
}

fn duration(random: &mut Random) -> String {
    let n = random.below(5_000);
    match random.below(9) {
        0 => format!("{n}ns"),
        1 => format!("{n}µs"),
        2 => format!("{}.{}s", n / 100, n % 10),
        3 => format!("{}m{}s", n % 7, n % 60),
        4 => format!("1h{}m", n % 60),
        5 => format!("{n}us"),
        _ => format!("{n}ms"),
    }
}

fn size(random: &mut Random) -> String {
    let n = random.below(4_096);
    match random.below(7) {
        0 => format!("{n}B"),
        1 => format!("{n}KB"),
        2 => format!("{}.{} KiB", n / 10, n % 10),
        3 => format!("{n}kb"),
        4 => format!("{}MiB", n % 9),
        5 => n.to_string(),
        _ => format!("{}MB", n % 20),
    }
}

fn address(random: &mut Random) -> String {
    match random.below(6) {
        0 => format!("192.168.{}.{}", random.below(4), random.below(256)),
        1 => format!("2001:db8::{:x}", random.below(64)),
        2 => "127.0.0.1".to_owned(),
        _ => format!("10.0.{}.{}", random.below(3), random.below(256)),
    }
}

fn level<'a>(random: &mut Random) -> &'a str {
    random.pick(&["info", "info", "warn", "error", "debug", "ERROR", "Warning", "critical", "fatal", "trace"])
}

fn path(random: &mut Random) -> String {
    let of = random.pick(&["/api/users", "/api/orders", "/health", "/static/app.js", "/a%20b?q=1&r=x"]);
    if random.one_in(2) { format!("{of}/{}", random.below(40)) } else { of.to_owned() }
}

fn logfmt(random: &mut Random) -> String {
    let mut line = format!(
        "level={} method={} path={} status={} took={}",
        level(random),
        random.pick(&["GET", "POST", "PUT"]),
        path(random),
        random.pick(&["200", "201", "404", "500", "503"]),
        duration(random),
    );
    if random.one_in(2) {
        line.push_str(&format!(" size={} ip={}", size(random), address(random)));
    }
    if random.one_in(2) {
        let ratio = random.below(2_000) as f64 / 1_000.0 - 1.0;
        line.push_str(&format!(" count={} ratio={ratio}", random.below(20)));
    }
    line.push_str(match random.below(24) {
        0 => " msg=\"said \\\"hi\\\" to a\\nb\"",
        1 => " msg=\"never ends",
        2 => " empty= flag quoted=\"\"",
        3 => " =orphan next=1",
        4 => " status=999",
        5 => " http.code=200 x-y=1 ünï=cödé 5th=five",
        6 => " app=other env=line trace_id=fromline",
        7 => " msg=\"caf\\u00e9 \\\"x\\\" \\t\"",
        8 => " a=\"b\"c=d e==f",
        9 => " ts=2026-01-02T03:04:05.678Z epoch=1673798889 millis=1673798889902",
        10 => " count=x ratio=NaN took=soon size=big",
        11 => " b64=aGVsbG8= url=a%2Fb+c hex=0x1f neg=-3.5 exp=1e3 inf=+Inf",
        12 => "   spaced   =   out   ",
        13 => " bad\"key=1 after=2",
        14 => " msg=\"tab\there\" other='single quoted'",
        15 => " json={\"a\":1}",
        _ => " msg=\"all is well\"",
    });
    line
}

fn json_line(random: &mut Random) -> String {
    let mut object = json!({
        "level": level(random),
        "msg": random.pick(&["all is well", "said \"hi\"", "tab\there", "line\nbreak", "größe ✓", "a/b", ""]),
        "status": random.pick(&[200, 201, 404, 500]),
        "took_ms": random.below(100_000) as f64 / 100.0,
        "latency": duration(random),
        "req": {
            "method": random.pick(&["GET", "POST"]),
            "path": path(random),
            "ip": address(random),
            "headers": { "x-id": format!("id-{}", random.below(9)), "User Agent": "curl/8.0" },
        },
        "items": [{ "id": random.below(9), "price": 2.5 }, { "id": 7, "tags": ["a", "b"] }],
    });
    if random.one_in(3) {
        object["size"] = json!(size(random));
        object["ok"] = json!(random.one_in(2));
        object["nothing"] = Json::Null;
    }
    let more = [
        ("app", json!("other")),
        ("trace_id", json!("from-line")),
        ("big", json!(123_456_789_012_345_678_u64)),
        ("float", json!(1e30)),
        ("nested", json!({ "a": { "b": { "c": random.below(50) } }, "a_b": "twice" })),
        ("empty", json!({ "object": {}, "array": [], "text": "" })),
        ("5th", json!("five")),
        ("ünï-cödé", json!("x")),
        ("_entry", json!("packed?")),
        ("req_method", json!("flat")),
        ("status_extracted", json!("e")),
        ("list", json!([1, "two", null, true, { "k": 3 }])),
    ];
    for (name, value) in more {
        if random.one_in(9) {
            object[name] = value;
        }
    }
    let text = object.to_string();
    match random.below(22) {
        0 => text[..text.floor_char_boundary(random.below(text.len() as u64) as usize)].to_owned(),
        1 => format!("{text} trailing"),
        2 => format!("  {text}\t"),
        3 => text.replace("\"level\"", "\"status\": 100, \"level\""),
        4 => text.replace(",\"req\"", ",,\"req\""),
        5 => text.replace("\"msg\":\"", "\"msg\":\"caf\\u00e9 \\ud83d\\ude00 \\/ "),
        6 => "[1,2,{\"a\":3}]".to_owned(),
        7 => "\"only text\"".to_owned(),
        8 => text.replace("\"status\":", "\"status\":0"),
        9 => text.replace("\"latency\":\"", "\"latency\":"),
        _ => text,
    }
}

fn access(random: &mut Random) -> String {
    let (ip, path) = (address(random), path(random));
    let (method, status) =
        (random.pick(&["GET", "POST", "HEAD"]), random.pick(&["200", "304", "404", "502"]));
    let (bytes, user) = (random.below(90_000), random.pick(&["-", "bob", "eve"]));
    let line =
        format!("{ip} - {user} [10/Oct/2026:13:55:36 +0000] \"{method} {path} HTTP/1.1\" {status} {bytes}");
    match random.below(12) {
        0 => format!("{line} \"-\" \"Mozilla/5.0 (X11; Linux)\""),
        1 => line[..line.len() / 2].to_owned(),
        2 => format!("<13>{line}"),
        _ => line,
    }
}

fn plain(random: &mut Random) -> String {
    let (id, took, ip) = (random.below(1_000), duration(random), address(random));
    match random.below(10) {
        0 => format!("checkpoint {id} complete: wrote {} buffers in {took}", random.below(9_999)),
        1 => format!("ERROR:  duplicate key value violates unique constraint \"pk_{id}\""),
        2 => format!("connection from {ip} closed after {took} user=bob"),
        3 => format!("connection from {ip}:{} refused", 1024 + random.below(60_000)),
        4 => format!("[warn] slow query ({took}): select * from t where a = {id}"),
        5 => format!("panic: runtime error at 0x{id:x}\n\tgoroutine {id} [running]"),
        6 => "INFO started".to_owned(),
        7 => format!("user bob logged in from {ip} and 10.0.0.{}", random.below(256)),
        8 => format!("level=warn but not {{\"json\": {id}"),
        _ => format!("vacuum of table t{id} took {took}, {} freed", size(random)),
    }
}

fn packed(random: &mut Random) -> String {
    let (pod, n) = (random.below(5), random.below(99));
    match random.below(10) {
        0 => format!("{{\"pod\":\"p-{pod}\",\"n\":\"{n}\"}}"),
        1 => format!(
            "{{\"_entry\":\"level=info n={n}\",\"pod\":\"p-{pod}\",\"number\":{n},\"app\":\"packed\"}}"
        ),
        2 => format!("{{\"_entry\":\"cut off\",\"pod\":\"p-{pod}"),
        3 => format!("not packed {n}"),
        4 => format!("{{\"_entry\":\"{{\\\"n\\\":{n}}}\",\"pod\":\"p-{pod}\"}}"),
        5 => format!("{{\"_entry\":{n},\"pod\":\"p-{pod}\"}}"),
        6 => r#"{"_entry":"","pod":"","a b":"c"}"#.to_owned(),
        _ => format!(
            "{{\"_entry\":\"level=warn took={n}ms msg=\\\"x y\\\"\",\"pod\":\"p-{pod}\",\"n\":\"{n}\"}}"
        ),
    }
}

fn coloured(random: &mut Random) -> String {
    let n = random.below(300);
    match random.below(6) {
        0 => format!("\u{1b}[31mERROR\u{1b}[0m cannot open file{n}"),
        1 => format!("\u{1b}[1;32mlevel=info\u{1b}[0m \u{1b}[38;5;{n}mn={n}\u{1b}[m"),
        2 => format!("plain {n}"),
        3 => format!("\u{1b}[2K\u{1b}]0;title\u{7}n={n} \u{9b}1mbold"),
        4 => format!("\u{1b}[{n}"),
        _ => format!("{{\"n\":{n},\"c\":\"\u{1b}[33myellow\u{1b}[0m\"}}"),
    }
}

fn odd(random: &mut Random) -> String {
    let n = random.below(300);
    match random.below(14) {
        0 => format!("größe={n} 漢字=値 🦀={n}"),
        1 => format!("nul\u{0}in={n}"),
        2 => " ".repeat(random.below(5) as usize + 1),
        3 => "x".repeat(random.below(3_000) as usize + 1),
        4 => format!("\t\ttabs\tn={n}\r\n"),
        5 => format!("bom \u{feff} zero\u{200b}width {n}"),
        6 => format!("İstanbul ẞ ſ K n={n}"),
        7 => format!("back\\slash \\n n={n} \\x41"),
        8 => format!("<html>&amp; \u{2028} {n}</html>"),
        9 => format!("{{ .n }} {{{{ {n} }}}} %d %s"),
        10 => format!("a=\"x{n}\" \"b\"=2 c=\"\\\"\""),
        11 => format!("{{\"a\\\"b\":{n},\"\":\"empty key\",\"a\":{{\"\":{n}}}}}"),
        12 => format!("replaced \u{fffd} {n}"),
        _ => format!("é\u{301} combining {n}"),
    }
}
