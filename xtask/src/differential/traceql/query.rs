//! Random questions, over the spans of [`super::data`]: most are queries that both understand, some are such as both refuse.
//!
//! Left out is what is a fault of Tempo's, or chance:
//!
//! - `!` before a comparison, and a constant on the left of `<` and its kind: Tempo reads only spans that fulfil the comparison without
//!   the `!`, or with its sides exchanged;
//! - of lists `!=`, since it has read only the items that fulfil it, and regular expressions, which fail the query; lists and attributes
//!   of several types alone as conditions, and what may not be there alone in `||`: with such a side it is false whatever the other is;
//! - constants of another type of number than the attribute's: Tempo keeps whole and other numbers apart and finds none;
//! - `= nil` of an attribute without a scope, which all spans fulfil whose resource lacks it; `<` and its kind, of texts that are not there;
//! - signs, without which series compare what has one; divisions and remainders of what spans may lack: such a span fails the query;
//! - windows of tags, which are those of blocks, filters of tags with several conditions, and values of durations, each another;
//! - averages of what is computed of attributes that spans may lack: spans that lack them are counted as well;
//! - powers of whole numbers, of which it exchanges the sides: two to the third is nine;
//! - relations and counts of children of trees that are not whole; of `&>>` and `&<<` all but the relation to roots, of others it misses
//!   some; conditions on the place in the tree, on events and on links where anything but a duration stands beside them: of several
//!   events it looks at one then;
//! - stages after `select()`, which find no attributes; roots and durations that traces are shown with where the query is about them;
//! - averages of negative numbers, which are those of their bits; numbers made of one of several events; sums over time of what spans lack: they begin anew there; those of `traceDuration`, which are of nanoseconds in Tempo;
//! - `by()` below a relation of spans, which fails at the first trace with two groups.

use super::data::{NAMES, SECOND_NS, SECONDS, SERVICES, TRACES, is_whole, span_id, trace_id};
use crate::differential::random::Random;

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Traces with sets of spans.
    Search,
    /// The same without what is said of traces as a whole.
    Spans,
    /// Series.
    Series,
    /// Names of tags, or values of one.
    Tags,
    /// A trace.
    Trace,
}

/// A question.
pub struct Query {
    /// What is asked for.
    pub kind: Kind,
    /// Below the root of the API.
    pub path: String,
    /// The parameters.
    pub form: Vec<(&'static str, String)>,
}

/// The question of that number.
pub fn query(seed: u64, number: u64, end_ns: u64) -> Query {
    let mut writer = Writer { random: Random::of(seed, number), seed, end_ns };
    match writer.random.below(100) {
        0..56 => writer.search(),
        56..88 => writer.series(),
        88..96 => writer.tags(),
        _ => writer.trace(),
    }
}

/// Writes queries.
struct Writer {
    random: Random,
    seed: u64,
    end_ns: u64,
}

/// What a field may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    Number,
    Duration,
    Bool,
    Status,
    Kind,
}

use Type::{Bool, Duration, Number, Text};

/// Fields, what most spans have there, and constants that some are equal to.
const FIELDS: [(&str, Type, &[&str]); 49] = [
    ("name", Text, &["GET /", "GET /cart", "POST /pay", "SELECT", ""]),
    ("span:name", Text, &["GET /", "send"]),
    ("statusMessage", Text, &["boom", "no stock", ""]),
    ("span:statusMessage", Text, &["boom", ""]),
    ("rootName", Text, &["GET /", "SELECT", ""]),
    ("trace:rootName", Text, &["GET /cart", "send"]),
    ("rootServiceName", Text, &["web", "db", ""]),
    ("trace:rootService", Text, &["cart", "queue"]),
    ("resource.service.name", Text, &["web", "cart", "db", "queue", "x"]),
    (".service.name", Text, &["web", "cart"]),
    ("resource.region", Text, &["eu", "us", "ap"]),
    ("span.region", Text, &["eu", "us", "ap"]),
    (".region", Text, &["eu", "us", "ap"]),
    ("resource.zones", Text, &["a", "b", "x"]),
    ("resource.k8s.namespace.name", Text, &["shop", "infra"]),
    ("resource.service.instance.id", Text, &["web-0", "cart-1", "x"]),
    ("span.http.method", Text, &["GET", "POST", "PUT", "DELETE"]),
    (".http.method", Text, &["GET", "POST"]),
    ("span.tags", Text, &["a", "b", "c", "x"]),
    ("span.\"a b\"", Text, &["x", "y z"]),
    ("span.empty", Text, &["", "x"]),
    ("span.missing", Text, &["x"]),
    (".missing", Text, &["x"]),
    ("instrumentation:name", Text, &["lib.a", "lib.b", ""]),
    ("instrumentation:version", Text, &["1.0", "2.1", ""]),
    ("instrumentation.lang", Text, &["go", "rust"]),
    ("span.mixed", Text, &["x", "5"]),
    ("span.mixed", Bool, &["true", "false"]),
    ("span.http.status_code", Number, &["200", "404", "500", "503"]),
    (".http.status_code", Number, &["200", "404", "501"]),
    ("span.items", Number, &["0", "3", "-1", "10", "7"]),
    (".items", Number, &["1", "7"]),
    ("span.share", Number, &["0.5", "0.0", "1.0", "2.75", "-0.5"]),
    ("span.codes", Number, &["1", "2", "3", "4"]),
    ("span.shares", Number, &["0.5", "1.5", "1.0"]),
    ("span.big", Number, &["9223372036854775806", "9007199254740993", "0"]),
    ("resource.pods", Number, &["1", "3", "5"]),
    (".pods", Number, &["1", "7"]),
    ("resource.ratio", Number, &["0.5", "1.0", "1.5", "0.0"]),
    ("instrumentation.level", Number, &["3", "4"]),
    ("duration", Duration, &["1ms", "10ms", "100ms", "1s", "30s", "0s", "100us"]),
    ("span:duration", Duration, &["1ms", "1.5s"]),
    ("traceDuration", Duration, &["1ms", "10s", "30s"]),
    ("trace:duration", Duration, &["1s", "20s"]),
    ("span.flag", Bool, &["true", "false"]),
    ("span.flags", Bool, &["true", "false"]),
    ("resource.ready", Bool, &["true", "false"]),
    ("status", Type::Status, &["ok", "error", "unset"]),
    ("kind", Type::Kind, &["server", "client", "internal", "producer", "consumer", "unspecified"]),
];

/// Fields with numbers: sums and quantiles are of those.
const NUMBERS: [&str; 5] = ["duration", "span.http.status_code", "span.items", "span.share", "resource.pods"];

/// Attributes that are lists.
const LISTS: [&str; 6] =
    ["resource.zones", "span.tags", "span.codes", "span.shares", "span.flags", "event.tags"];

/// Comparisons with a constant on the left, and with lists.
const EQUALITIES: [&str; 2] = ["=", "!="];
const POSITIVE: [&str; 5] = ["=", ">", ">=", "<", "<="];

const PATTERNS: [&str; 9] =
    [".*", "GET.*", "a|b", "e.", ".*t", "no.*|boom", "x?", "[a-c]+", "lib\\\\..|(?i)get"];

const COMPARISONS: [&str; 6] = ["=", "!=", ">", ">=", "<", "<="];

const RELATIONS: [&str; 17] =
    ["&&", "||", ">", "!>", "&>", "<", "!<", "&<", ">>", "!>>", "&>>", "<<", "!<<", "&<<", "~", "!~", "&~"];

/// What is no query, or makes no sense.
const REFUSED: [&str; 28] = [
    "{ name = 5 }",
    "{ status > error }",
    "{ kind = error }",
    "{ duration =~ \"x\" }",
    "{ name =~ \"(\" }",
    "{ 1 + \"a\" = 2 }",
    "{ name = nil }",
    "{ resource.service.name = nil }",
    "{ span.items }  | max(name) > 1",
    "{} | by(1)",
    "{} | count()",
    "{} | sum(1) > 1",
    "{ parent.items = 1 }",
    "{ parent = nil }",
    "{ duration }",
    "{ 1 }",
    "{ .a = }",
    "{ .a = 1 ",
    "{ items = 1 }",
    "{} | rate() | {}",
    "{} | count() > count()",
    "({} | count()) > 1",
    "{} + {}",
    "{} | select()",
    "{ .a = 1d1 }",
    "{} | coalesce() > 1",
    "{ status = nil || true }",
    "{ !name }",
];

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

impl Writer {
    fn constant(&mut self, of: Type, constants: &[&str]) -> String {
        let constant = self.random.pick(constants);
        match of {
            Text => quoted(constant),
            _ => constant.to_owned(),
        }
    }

    fn field(&mut self) -> (&'static str, Type, &'static [&'static str]) {
        self.random.pick(&FIELDS)
    }

    /// A comparison of ids with those of a span that is there.
    fn ids(&mut self) -> String {
        let (trace, span) = (self.random.below(TRACES), self.random.below(3));
        let (of_trace, of_span) = (trace_id(self.seed, trace), span_id(self.seed, trace, span));
        let op = self.random.pick(&["=", "!="]);
        match self.random.below(3) {
            0 => format!("trace:id {op} {}", quoted(&of_trace)),
            1 => format!("span:id {op} {}", quoted(&of_span)),
            _ => format!("span:parentID {op} {}", quoted(&of_span)),
        }
    }

    fn arithmetic(&mut self) -> String {
        let field = self.random.pick(&["span.items", "span.share", "resource.pods", "span.http.status_code"]);
        let term = match self.random.below(5) {
            0 => format!("{field} * 2"),
            1 => format!("{field} + 1.5"),
            2 => format!("{field} / 2"),
            3 => format!("({field} - {})", self.random.pick(&["span.items", "resource.pods", "1"])),
            _ => "span.share ^ 2".to_owned(),
        };
        let op = self.random.pick(&COMPARISONS);
        match self.random.below(5) {
            0 => format!("duration * 2 {op} {}", self.random.pick(&["10ms", "1s"])),
            1 => format!("{} {op} {term}", self.random.pick(&["0", "3", "2 * 2 + 1", "1.5"])),
            _ => format!("{term} {op} {}", self.random.pick(&["0", "1", "4", "2.5", "1 + 1", "span.items"])),
        }
    }

    fn comparison(&mut self) -> String {
        let (field, of, constants) = self.field();
        let constant = self.constant(of, constants);
        match self.random.below(40) {
            0..3 => return self.ids(),
            3..6 => return self.arithmetic(),
            6..9 if !LISTS.contains(&field) => {
                let nil = if field.starts_with("span.") { "=" } else { "!=" };
                return match self.random.below(3) {
                    0 => format!("nil != {field}"),
                    _ => format!("{field} {nil} nil"),
                };
            }
            9 => {
                // Attributes beside constants of a type that they never have.
                let field = self.random.pick(&[
                    "span.items",
                    "span.http.method",
                    "span.flag",
                    "span.tags",
                    ".region",
                ]);
                let constant = self.random.pick(&["\"5\"", "1s", "true", "error", "server"]);
                return format!("{field} = {constant}");
            }
            10 => {
                let (left, right) = self.random.pick(&[
                    (".region", "resource.region"),
                    ("duration", "traceDuration"),
                    ("name", "rootName"),
                ]);
                return format!("{left} {} {right}", self.random.pick(&COMPARISONS));
            }
            11 => {
                let (left, right) = self.random.pick(&[
                    ("span.items", "resource.pods"),
                    ("span.items", "span.share"),
                    ("span.items", "span.codes"),
                ]);
                return format!("{left} {} {right}", self.random.pick(&[">", "<", "=", "<="]));
            }
            12 if is_whole(self.seed) => {
                return format!(
                    "span:childCount {} {}",
                    self.random.pick(&COMPARISONS),
                    self.random.below(4)
                );
            }
            _ => {}
        }
        let is_list = LISTS.contains(&field);
        match of {
            Text if self.random.one_in(3) && !is_list => {
                let op = self.random.pick(&["=~", "!~"]);
                format!("{field} {op} {}", quoted(self.random.pick(&PATTERNS)))
            }
            _ if is_list => {
                let op = if of == Bool { "=" } else { self.random.pick(&POSITIVE) };
                format!("{field} {op} {constant}")
            }
            Text | Number | Duration if self.random.one_in(6) => {
                format!("{constant} {} {field}", self.random.pick(&EQUALITIES))
            }
            Text | Number | Duration => format!("{field} {} {constant}", self.random.pick(&COMPARISONS)),
            Bool | Type::Status | Type::Kind => {
                format!("{field} {} {constant}", self.random.pick(&EQUALITIES))
            }
        }
    }

    fn condition(&mut self, depth: u64) -> String {
        if depth == 0 {
            return self.comparison();
        }
        match self.random.below(9) {
            0..4 => format!("{} && {}", self.condition(depth - 1), self.condition(depth - 1)),
            4..6 => format!("{} || {}", self.condition(depth - 1), self.condition(depth - 1)),
            6 => format!("({} || {}) && {}", self.comparison(), self.comparison(), self.comparison()),
            _ => self.comparison(),
        }
    }

    /// A condition on events or links, or on the place in the tree.
    fn special(&mut self) -> String {
        let op = self.random.pick(&COMPARISONS);
        let equality = self.random.pick(&EQUALITIES);
        let (trace, span) = (self.random.below(TRACES), self.random.below(3));
        match self.random.below(9) {
            0 => format!("event:name {equality} {}", quoted(self.random.pick(&["retry", "exception", "x"]))),
            1 => format!(
                "event.exception.message {}",
                self.random.pick(&["!= nil", "= \"boom\"", "=~ \"no.*\""])
            ),
            2 => format!("link.why {equality} {}", quoted(self.random.pick(&["cause", "batch"]))),
            3 => format!("event.n {op} {}", self.random.below(4)),
            4 => format!("event:timeSinceStart {op} {}", self.random.pick(&["1ms", "100ms", "1s", "0s"])),
            5 => format!("link:traceID {equality} {}", quoted(&trace_id(self.seed, trace))),
            6 => format!("link:spanID {equality} {}", quoted(&span_id(self.seed, trace, span))),
            8 if is_whole(self.seed) => {
                format!("nestedSetLeft > 0 && nestedSetRight {op} {}", 2 + 4 * self.random.below(4))
            }
            _ => self.random.pick(&["nestedSetParent < 0", "nestedSetParent = -1"]).to_owned(),
        }
    }

    fn braces(&mut self) -> String {
        match self.random.below(12) {
            0 => "{}".to_owned(),
            1 => "{ true }".to_owned(),
            2 => format!(
                "{{ {} && {} }}",
                self.random.pick(&["span.flag", "resource.ready"]),
                self.comparison()
            ),
            _ => format!("{{ {} }}", self.condition(2)),
        }
    }

    /// A condition on events or links, or on the place in the tree, that nothing else stands beside.
    fn alone(&mut self) -> String {
        match self.random.below(2) {
            0 => format!("{{ {} }}", self.special()),
            _ => format!("{{ {} && duration {} 10ms }}", self.special(), self.random.pick(&["<", ">="])),
        }
    }

    fn spanset(&mut self, depth: u64) -> String {
        if depth == 0 || self.random.one_in(2) || !is_whole(self.seed) {
            return self.braces();
        }
        let op = self.random.pick(&RELATIONS);
        let (mut left, mut right) = (self.spanset(depth - 1), self.spanset(depth - 1));
        match op {
            "&>>" => left = "{ nestedSetParent < 0 }".to_owned(),
            "&<<" => right = "{ nestedSetParent < 0 }".to_owned(),
            _ => {}
        }
        match self.random.below(4) {
            0 => format!("({left}) {op} ({right})"),
            1 => format!("{left} {op} ({right})"),
            _ => format!("{left} {op} {right}"),
        }
    }

    fn stages(&mut self) -> String {
        let mut out = String::new();
        for _ in 0..self.random.below(3) {
            let op = self.random.pick(&COMPARISONS);
            out += " | ";
            out += &match self.random.below(9) {
                0 => self.braces(),
                1 | 2 => format!("by({})", self.group()),
                3 => "coalesce()".to_owned(),
                4 => format!("count() {op} {}", self.random.below(6)),
                5 => {
                    let (field, against) = self.random.pick(&[
                        ("duration", "10ms"),
                        ("duration", "1s"),
                        ("span.http.status_code", "300"),
                        ("span.share", "0.5"),
                        ("resource.pods", "4"),
                    ]);
                    let fold = self.random.pick(&["avg", "min", "max", "sum"]);
                    format!("{fold}({field}) {op} {against}")
                }
                6 => {
                    let fold = self.random.pick(&["min", "max", "sum"]);
                    format!("{fold}(span.items) {op} {}", self.random.below(5))
                }
                _ => self.braces(),
            };
        }
        if self.random.one_in(4) {
            let fields: Vec<&str> = (0..1 + self.random.below(3)).map(|_| self.field().0).collect();
            out += &format!(" | select({})", fields.join(", "));
        }
        out
    }

    /// What groups are made by.
    fn group(&mut self) -> &'static str {
        self.random.pick(&[
            "name",
            "status",
            "kind",
            "resource.service.name",
            "span.http.method",
            "span.http.status_code",
            ".region",
            "span.flag",
            "span.missing",
            "span.share",
            "rootName",
            "rootServiceName",
            "span.mixed",
            "instrumentation:name",
            "statusMessage",
        ])
    }

    fn window(&mut self) -> [(&'static str, String); 2] {
        let end = self.end_ns / SECOND_NS;
        let (start, end) = match self.random.below(4) {
            0 => {
                let start = end - self.random.below(SECONDS);
                (start, start + 1 + self.random.below(180))
            }
            _ => return self.whole_window(),
        };
        [("start", start.to_string()), ("end", end.to_string())]
    }

    fn whole_window(&self) -> [(&'static str, String); 2] {
        let end = self.end_ns / SECOND_NS;
        [("start", (end - SECONDS - 60).to_string()), ("end", (end + 30).to_string())]
    }

    fn search(&mut self) -> Query {
        let text = match self.random.below(25) {
            0 => self.random.pick(&REFUSED).to_owned(),
            _ => {
                let (spans, stages) = match self.random.below(6) {
                    0 => (self.alone(), String::new()),
                    _ => (self.spanset(2), self.stages()),
                };
                let hint = if self.random.one_in(8) { " with (most_recent=true)" } else { "" };
                format!("{spans}{stages}{hint}")
            }
        };
        let mut form = vec![("q", text), ("limit", "1000".to_owned()), ("spss", "1000".to_owned())];
        form.extend(self.window());
        let is_about_trace = form[0].1.contains("trace") || form[0].1.contains("root");
        let kind = if is_about_trace { Kind::Spans } else { Kind::Search };
        Query { kind, path: "search".to_owned(), form }
    }

    /// A query for numbers.
    fn function(&mut self) -> String {
        let spans = match self.random.below(3) {
            0 => self.spanset(1),
            _ => format!("{{ {} }}", self.condition(1)),
        };
        let number = self.random.pick(&NUMBERS);
        let of_any =
            self.random.pick(&["duration", "span.items", "span.share", "resource.pods", "traceDuration"]);
        let function = match self.random.below(10) {
            0..2 => "rate()".to_owned(),
            2..4 => "count_over_time()".to_owned(),
            4..7 => {
                let name =
                    self.random.pick(&["sum_over_time", "avg_over_time", "min_over_time", "max_over_time"]);
                format!("{{ {number} != nil }} | {name}({number})")
            }
            7 => format!("quantile_over_time({of_any}, {})", self.random.pick(&[".5", ".9, .99", "0, 1"])),
            8 => format!("histogram_over_time({of_any})"),
            _ => "rate()".to_owned(),
        };
        let by = match self.random.below(5) {
            0..2 => format!(" by ({})", self.group()),
            2 => {
                // Those that Tempo has a column for are not left out where they are missing.
                let other = self.random.pick(&["span.flag", "span.region", "span.share", "name", "kind"]);
                format!(" by ({other}, {})", self.random.pick(&["status", "rootName", "resource.pods"]))
            }
            _ => String::new(),
        };
        format!("{spans} | {function}{by}")
    }

    fn series(&mut self) -> Query {
        let mut text = match self.random.below(12) {
            0 => format!("{} | compare({}, 1000)", self.braces(), self.braces()),
            1 => {
                let op = self.random.pick(&["+", "-", "*", "/"]);
                format!("({}) {op} ({})", self.function(), self.function())
            }
            2 => {
                let op = self.random.pick(&["+", "-", "*", "/"]);
                let number = self.random.pick(&["2", "0.5", "100"]);
                if self.random.one_in(2) {
                    format!("({}) {op} {number}", self.function())
                } else {
                    format!("{number} {op} ({})", self.function())
                }
            }
            3 => format!(
                "{} | {}({})",
                self.function(),
                self.random.pick(&["topk", "bottomk"]),
                1 + self.random.below(4)
            ),
            4 => format!(
                "{} {} {}",
                self.function(),
                self.random.pick(&COMPARISONS),
                self.random.pick(&["1", "0.5", "10", "0"])
            ),
            _ => self.function(),
        };
        if self.random.one_in(10) {
            text += " with (exemplars=true)";
        }
        let from = self.end_ns - SECONDS * SECOND_NS + self.random.below(SECONDS / 2) * SECOND_NS;
        let to = from + (20 + self.random.below(SECONDS / 2)) * SECOND_NS;
        let time = |random: &mut Random, ns: u64| match random.below(3) {
            0 => (ns + 123_456_789).to_string(),
            _ => (ns / SECOND_NS).to_string(),
        };
        let (start, end) = (time(&mut self.random, from), time(&mut self.random, to));
        let mut form = vec![("q", text), ("start", start), ("end", end)];
        if self.random.one_in(4) {
            return Query { kind: Kind::Series, path: "metrics/query".to_owned(), form };
        }
        form.push(("step", self.random.pick(&["10s", "15s", "30", "1m", "7s", "150s"]).to_owned()));
        Query { kind: Kind::Series, path: "metrics/query_range".to_owned(), form }
    }

    fn tags(&mut self) -> Query {
        let mut form = Vec::from(self.whole_window());
        let path = match self.random.below(8) {
            0 => "search/tags".to_owned(),
            1 => "v2/search/tags".to_owned(),
            2 => {
                let tag = self.random.pick(&["service.name", "region", "http.method", "name", "missing"]);
                return Query { kind: Kind::Tags, path: format!("search/tag/{tag}/values"), form };
            }
            _ => {
                let mut tag = self.field().0;
                // What Tempo lists of numbers of trees and times is of no use.
                while tag.contains(' ') || tag.ends_with("uration") {
                    tag = self.field().0;
                }
                if self.random.one_in(2) {
                    form.push(("q", format!("{{ {} }}", self.plain())));
                }
                return Query { kind: Kind::Tags, path: format!("v2/search/tag/{tag}/values"), form };
            }
        };
        if self.random.one_in(2) {
            let scopes =
                ["resource", "span", "intrinsic", "event", "link", "instrumentation", "none", "wrong"];
            form.push(("scope", self.random.pick(&scopes).to_owned()));
        }
        Query { kind: Kind::Tags, path, form }
    }

    /// A condition that filters of tags are made of.
    fn plain(&mut self) -> String {
        match self.random.below(4) {
            0 => format!("resource.service.name = {}", quoted(self.random.pick(&SERVICES))),
            1 => format!("name = {}", quoted(self.random.pick(&NAMES[..4]))),
            2 => format!("status = {}", self.random.pick(&["error", "ok"])),
            _ => format!("span.http.method = {}", quoted(self.random.pick(&["GET", "POST"]))),
        }
    }

    fn trace(&mut self) -> Query {
        let id = trace_id(self.seed, self.random.below(TRACES + 3));
        let id = match self.random.below(6) {
            0 => id.trim_start_matches('0').to_owned(),
            1 => id.to_uppercase(),
            2 if self.random.one_in(3) => format!("{id}00"),
            _ => id,
        };
        let path = self.random.pick(&["traces", "v2/traces"]);
        Query { kind: Kind::Trace, path: format!("{path}/{id}"), form: Vec::new() }
    }
}
