//! Random selectors and stages, mostly of those that the lines of [`super::data`] have something for.

use super::data::Shape;
use super::template;
use crate::differential::random::Random;

/// Labels of the lines of a shape, by what their values are.
struct Fields {
    texts: &'static [&'static str],
    numbers: &'static [&'static str],
    durations: &'static [&'static str],
    sizes: &'static [&'static str],
    addresses: &'static [&'static str],
}

fn fields(shape: Shape) -> Fields {
    match shape {
        Shape::Logfmt => Fields {
            texts: &["level", "method", "path", "msg", "empty", "flag", "trace_id", "app", "level_extracted"],
            numbers: &["status", "count", "ratio", "status_extracted", "exp", "inf"],
            durations: &["took", "took_extracted"],
            sizes: &["size", "sent"],
            addresses: &["ip"],
        },
        Shape::Json => Fields {
            texts: &[
                "level",
                "msg",
                "req_method",
                "req_path",
                "req_headers_x_id",
                "ok",
                "app_extracted",
                "nothing",
            ],
            numbers: &["status", "took_ms", "nested_a_b_c", "big", "float", "status_extracted"],
            durations: &["latency", "took"],
            sizes: &["size", "sent"],
            addresses: &["req_ip"],
        },
        Shape::Access => Fields {
            texts: &["method", "path", "user", "tenant"],
            numbers: &["status", "bytes", "tries"],
            durations: &["took"],
            sizes: &["bytes", "sent"],
            addresses: &["ip"],
        },
        Shape::Plain => Fields {
            texts: &["level", "id", "tenant", "detected_level"],
            numbers: &["id", "tries"],
            durations: &["took"],
            sizes: &["sent"],
            addresses: &["ip"],
        },
        Shape::Packed => Fields {
            texts: &["pod", "level", "msg", "app_extracted"],
            numbers: &["n", "n_extracted"],
            durations: &["took"],
            sizes: &["sent"],
            addresses: &["ip"],
        },
        Shape::Coloured | Shape::Odd => Fields {
            texts: &["level", "c", "a", "instance"],
            numbers: &["n", "tries"],
            durations: &["took"],
            sizes: &["sent"],
            addresses: &["ip"],
        },
    }
}

/// Labels that a query may group by.
pub fn group_label<'a>(random: &mut Random, shape: Shape) -> &'a str {
    let fields = fields(shape);
    match random.below(4) {
        0 => random.pick(fields.texts),
        1 => random.pick(&["app", "instance", "env", "service_name", "level", "detected_level", "nowhere"]),
        2 => random.pick(&["trace_id", "tenant", "status", "method"]),
        _ => random.pick(&["app", "instance"]),
    }
}

/// A label and how its value becomes a number, for `unwrap`.
pub fn unwrapped(random: &mut Random, shape: Shape) -> String {
    let fields = fields(shape);
    match random.below(6) {
        0 => format!("duration({})", random.pick(fields.durations)),
        1 => format!("duration_seconds({})", random.pick(fields.durations)),
        2 => format!("bytes({})", random.pick(fields.sizes)),
        _ => random.pick(fields.numbers).to_owned(),
    }
}

/// What kind of lines a query is mostly for.
pub fn shape(random: &mut Random) -> Shape {
    match random.below(12) {
        0..=3 => Shape::Logfmt,
        4..=6 => Shape::Json,
        at => Shape::ALL[(at - 5) as usize % Shape::ALL.len()],
    }
}

/// A selector.
pub fn selector(random: &mut Random, shape: Shape) -> String {
    let app = shape.app();
    match random.below(14) {
        0 => "{app=~\".+\"}".to_owned(),
        1 => format!("{{app=\"{app}\", env=\"prod\"}}"),
        2 => format!("{{app=~\"{app}|db\", instance!=\"i1\"}}"),
        3 => format!("{{app=\"{app}\", env!~\"t.*\"}}"),
        4 => format!("{{app=\"{app}\", level=\"\"}}"),
        5 => format!("{{app=\"{app}\", nowhere=\"\", env=~\".*\"}}"),
        6 => format!("{{service_name=~\"{app}|front-.\"}}"),
        7 if random.one_in(6) => {
            random.pick(&["{}", "{app=~\".*\"}", "{app!=\"x\"}", "{app=\"none\"}"]).to_owned()
        }
        _ => format!("{{app=\"{app}\"}}"),
    }
}

/// Stages, a few.
pub fn stages(random: &mut Random, shape: Shape) -> String {
    let count = [0, 1, 1, 2, 2, 3, 4, 5][random.below(8) as usize];
    let mut out = String::new();
    let (mut parsed, mut decolorized) = (false, false);
    for _ in 0..count {
        let stage = if parsed || random.one_in(3) {
            stage(random, shape)
        } else {
            parsed = true;
            parser(random, shape)
        };
        // Loki looks for what is in a line before it takes the colours out of it, whichever stands first.
        if decolorized && !stage.starts_with("| ") {
            continue;
        }
        decolorized |= stage == "| decolorize";
        out.push(' ');
        out.push_str(&stage);
    }
    out
}

fn stage(random: &mut Random, shape: Shape) -> String {
    match random.below(16) {
        0..=2 => line_filter(random, shape),
        3 => {
            let other = Shape::ALL[random.below(7) as usize];
            parser(random, other)
        }
        4..=8 => format!("| {}", label_filter(random, shape, 2)),
        9 | 10 => format!(
            "| line_format {}",
            template::template(random, fields(shape).texts, fields(shape).numbers)
        ),
        11 | 12 => label_format(random, shape),
        13 => random.pick(&["| decolorize", "| drop __error__, __error_details__", "| unpack"]).to_owned(),
        14 => format!("| drop {}", choices(random, shape)),
        _ => format!("| keep {}", choices(random, shape)),
    }
}

fn choices(random: &mut Random, shape: Shape) -> String {
    let fields = fields(shape);
    let count = random.below(3) + 1;
    let mut choices = Vec::new();
    for _ in 0..count {
        choices.push(match random.below(6) {
            0 => format!("{}=\"info\"", random.pick(fields.texts)),
            1 => format!("{}=~\"[2-4].*|e.*\"", random.pick(fields.numbers)),
            2 => format!("{}!=\"200\"", random.pick(fields.numbers)),
            3 => random.pick(&["app", "env", "level", "trace_id", "__error__", "detected_level"]).to_owned(),
            4 => random.pick(fields.numbers).to_owned(),
            _ => random.pick(fields.texts).to_owned(),
        });
    }
    choices.join(", ")
}

/// Expressions that line filters look for.
const EXPRESSIONS: &[&str] = &[
    "level=(warn|error)",
    "(?i)ERROR",
    "status.{1,3}[45]\\\\d\\\\d",
    "^.",
    "^$",
    "o{2}|l{2}",
    "\\\\d+ms",
    "[^a-z]{4}",
    "(?i)GRÖSSE|größe",
    ".*",
    "a.*b",
    "(GET|POST) /api",
    "\\\\bbob\\\\b",
    "(?s)x.y",
    "^\\\\s*\\\\{",
    "(?i)k",
    "(?i)msg=",
    "x{2,}",
    // No alternative without text, such as `foo|`: Loki takes it for `foo`.
    "(?P<n>n=)",
    "10\\\\.0\\\\.[01]\\\\.",
    "[[:upper:]]{5}",
    "\\\\x1b\\\\[",
    "err|warn|crit",
    "^level=info.*200",
    "well$",
];

/// Patterns of whole lines.
const PATTERNS: &[&str] = &[
    "<_>level=<_>",
    "level=error <_>",
    "<_> status=200 <_>",
    "<_>well\\\"",
    "<_>connection from <_>",
    "<_>",
    "connection <_> refused",
    "<_> - <_> [<_>] <_>",
    "<_>{<_>}<_>",
    "<_>a<_>b<_>",
    "{\\\"<_>",
    "<_>\\\"",
    "<a> x",
];

/// Addresses, ranges of them, and what is none.
const ADDRESSES: &[&str] = &[
    "10.0.0.0/24",
    "192.168.0.1-192.168.2.10",
    "127.0.0.1",
    "2001:db8::/122",
    "10.0.1.1",
    "10.0.0.0/8",
    "::1",
    "x",
];

/// Texts that lines of a shape have, or nearly.
fn texts(shape: Shape) -> &'static [&'static str] {
    match shape {
        Shape::Logfmt => {
            &["level=error", "status=5", "all is well", "GET", "", "took=", "café", "=\"", "Msg"]
        }
        Shape::Json => &["\"level\":\"error\"", "500", "items", "curl", "\\n", "größe", "trailing", "}", "x"],
        Shape::Access => &["GET", "\" 502 ", "bob", "HTTP/1.1", "10.0.0.", "Mozilla", "/api", "-"],
        Shape::Plain => &["ERROR", "connection", "slow query", "panic", "bob", "freed", "10.0", "\n"],
        Shape::Packed => &["_entry", "p-1", "cut", "level=warn", "{", "n"],
        Shape::Coloured => &["\u{1b}[", "ERROR", "n=", "plain", "yellow"],
        Shape::Odd => &["größe", "n=", " ", "🦀", "İ", "k", "x", "\\", "{{"],
    }
}

fn line_filter(random: &mut Random, shape: Shape) -> String {
    let op = random.pick(&["|=", "|=", "!=", "|~", "|~", "!~", "|>", "!>"]);
    let operand = |random: &mut Random| match op {
        "|=" | "!=" if random.one_in(6) => format!("ip(\"{}\")", random.pick(ADDRESSES)),
        "|=" | "!=" => quoted(random, texts(shape)),
        "|~" | "!~" => format!("\"{}\"", random.pick(EXPRESSIONS)),
        _ => format!("\"{}\"", random.pick(PATTERNS)),
    };
    let more = if random.one_in(4) { random.below(2) + 1 } else { 0 };
    let mut operands: Vec<String> = (0..=more).map(|_| operand(random)).collect();
    if more > 0 {
        // Of several, none that every line has: Loki leaves it out and looks for the others.
        operands.retain(|operand| !matches!(operand.as_str(), "``" | "\"\"" | "\".*\""));
    }
    if operands.is_empty() {
        operands.push("\"e\"".to_owned());
    }
    format!("{op} {}", operands.join(" or "))
}

/// One of the texts, in quotes of either kind.
fn quoted(random: &mut Random, texts: &[&str]) -> String {
    let text = random.pick(texts);
    if random.one_in(3) { format!("`{text}`") } else { serde_json::Value::from(text).to_string() }
}

fn parser(random: &mut Random, shape: Shape) -> String {
    let of = match shape {
        Shape::Logfmt => random.below(3),
        Shape::Json => 3 + random.below(3),
        Shape::Access => 6 + random.below(4),
        Shape::Plain => 8 + random.below(3),
        Shape::Packed => 11 + random.below(2),
        Shape::Coloured => 13,
        Shape::Odd => random.below(14),
    };
    match of {
        0 | 1 => format!("| logfmt{}", flags(random)),
        2 => format!("| logfmt{} {}", flags(random), extractions(random, &[
            "level", "status", "code=\"status\"", "took=\"took\"", "msg", "x=\"nowhere\"", "five=\"5th\"", "dotted=\"http.code\"",
            "app=\"app\"", "flag", "empty", "quoted=\"\\\"quoted\\\"\"", "u=\"ünï\"",
        ])),
        3 | 4 => "| json".to_owned(),
        5 => format!("| json {}", extractions(random, &[
            "level", "status", "code=\"status\"", "method=\"req.method\"", "ua=\"req.headers[\\\"User Agent\\\"]\"",
            "id=\"items[0].id\"", "items", "tags=\"items[1].tags\"", "tag=\"items[1].tags[1]\"", "far=\"items[9].id\"", "req",
            "c=\"nested.a.b.c\"", "app", "x=\"nowhere\"", "nothing", "ok", "took_ms", "big", "list", "two=\"list[1]\"", "deep=\"list[4].k\"",
            "five=\"[\\\"5th\\\"]\"", "float", "msg", "empty", "o=\"empty.object\"",
        ])),
        6 => "| pattern `<ip> - <user> [<time>] \"<method> <path> <_>\" <status> <bytes>`".to_owned(),
        7 => "| regexp `^(?P<ip>\\S+) - (?P<user>\\S+) .*\"(?P<method>[A-Z]+) (?P<path>[^ ]+) [^\"]*\" (?P<status>\\d+) (?P<bytes>\\d+)`".to_owned(),
        8 => format!("| regexp {}", random.pick(&[
            "`(?P<ip>\\d+\\.\\d+\\.\\d+\\.\\d+)(?P<rest>.*)`", "\"(?P<id>\\\\d+)\"", "`(?P<level>(?i)error|warn|info)?(?P<took>\\d+ms)`",
            "`(?P<a>x)|(?P<b>y)?`", "`(?P<app>\\w+)`", "`(\\d+)`", "`(?P<id>`", "`(?P<id>a)(?P<id>b)`", "`(?<id>\\d+)ms`",
        ])),
        9 => format!("| pattern {}", random.pick(&[
            "`<_> from <ip> <rest>`", "`<ip> <_>`", "`<level>: <rest>`", "`<_>(<took>)<_>`", "`<app> <_>`", "`<a><b>`", "`<_>`", "`x`", "`<_> <id> `",
            "`<level>=<value> <_>`",
        ])),
        10 => "| regexp `(?P<took>[0-9.]+(ns|µs|us|ms|s))`".to_owned(),
        11 => "| unpack".to_owned(),
        12 => "| json".to_owned(),
        _ => random.pick(&["| decolorize", "| logfmt", "| json", "| unpack"]).to_owned(),
    }
}

fn flags(random: &mut Random) -> &'static str {
    random.pick(&["", "", "", " --strict", " --keep-empty", " --strict --keep-empty"])
}

fn extractions(random: &mut Random, of: &[&str]) -> String {
    let count = random.below(3) + 1;
    let list: Vec<&str> = (0..count).map(|_| random.pick(of)).collect();
    list.join(", ")
}

/// A condition on labels.
pub fn label_filter(random: &mut Random, shape: Shape, depth: u64) -> String {
    if depth == 0 || !random.one_in(4) {
        return condition(random, shape);
    }
    let (a, b) = (label_filter(random, shape, depth - 1), label_filter(random, shape, depth - 1));
    match random.below(5) {
        0 => format!("({a} or {b})"),
        1 => format!("{a}, {b}"),
        2 => format!("{a} or {b}"),
        3 => format!("{a} {b}"),
        _ => format!("{a} and {b}"),
    }
}

fn condition(random: &mut Random, shape: Shape) -> String {
    let fields = fields(shape);
    let compare = random.pick(&["=", "==", "!=", ">", ">=", "<", "<="]);
    match random.below(12) {
        0..=2 => {
            let value =
                random.pick(&["error", "info", "GET", "200", "", "all is well", "WARN", "p-1", "{{.x}}"]);
            format!("{}{}\"{value}\"", random.pick(fields.texts), random.pick(&["=", "!="]))
        }
        3 | 4 => {
            // No empty expression: Loki lets every value match it. Nor one that only the anchors of conditions on labels keep from
            // values, such as `api/.*`: Loki documents the anchors, and looks for `api/` anywhere.
            let value = random.pick(&[
                "(?i)err.*",
                "e|w",
                ".*",
                ".+",
                "[2-4]0.",
                "a",
                "/api/.*",
                ".*x",
                "warn|error",
            ]);
            format!("{}{}\"{value}\"", random.pick(fields.texts), random.pick(&["=~", "!~"]))
        }
        5 | 6 => {
            let value = random.pick(&["200", "404", "0", "-0.5", "1e3", "5", "500.0", "+3", "NaN", "0x10"]);
            format!("{} {compare} {value}", random.pick(fields.numbers))
        }
        7 => {
            let value = random.pick(&["1s", "250ms", "1m", "1h", "1.5s", "100µs", "5ns", "1d", "2000ms"]);
            format!("{} {compare} {value}", random.pick(fields.durations))
        }
        8 => {
            let value = random.pick(&["1KB", "2MB", "1KiB", "500B", "1.5MiB", "1GB"]);
            format!("{} {compare} {value}", random.pick(fields.sizes))
        }
        9 => {
            let value = random.pick(&[
                "10.0.0.0/24",
                "192.168.0.0-192.168.2.255",
                "127.0.0.1",
                "2001:db8::/120",
                "no",
            ]);
            format!("{} {} ip(\"{value}\")", random.pick(fields.addresses), random.pick(&["=", "!="]))
        }
        10 => random
            .pick(&[
                "__error__=\"\"",
                "__error__!=\"\"",
                "__error__=~\"J.*|Lo.*\"",
                "detected_level=\"error\"",
                "env=\"prod\"",
            ])
            .to_owned(),
        _ => format!(
            "{}{}\"{}\"",
            random.pick(&["trace_id", "tenant", "tries", "env"]),
            random.pick(&["=", "!="]),
            random.pick(&["0000000000000000000000000000abc2", "red", "größe", "1", "elsewhere", "",])
        ),
    }
}

fn label_format(random: &mut Random, shape: Shape) -> String {
    let fields = fields(shape);
    let count = random.below(2) + 1;
    let mut formats = Vec::new();
    for _ in 0..count {
        let target = random.pick(&["new", "x", "level", "status", "app", "took", "trace_id", "env"]);
        formats.push(match random.below(4) {
            0 => format!("{target}={}", random.pick(fields.texts)),
            1 => format!("{target}={}", random.pick(&["trace_id", "instance", "took", "nowhere", "status"])),
            _ => format!("{target}={}", template::template(random, fields.texts, fields.numbers)),
        });
    }
    format!("| label_format {}", formats.join(", "))
}
