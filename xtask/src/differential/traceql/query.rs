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
//! - conditions computed of intrinsics in queries for numbers: Tempo takes them for such as its columns have decided, and counts all spans;
//! - signs of other attributes than durations; divisions and remainders of what spans may lack: such a span fails the query;
//! - windows of tags, which are those of blocks, filters of tags with several conditions, and values of durations, each another;
//! - what is computed of attributes that spans may lack, made one number: it is false there, which is counted and may come first, so
//!   that the number is false, too;
//! - `= nil` beside other conditions on the attribute, and conditions beside a group by what Tempo has a column for: they see the text
//!   `nil` where the attribute is missing;
//! - numbers made of attributes that Tempo has a column for: where they are missing it has read the text `nil`, which is more than any
//!   number and adds to none; several labels with such an attribute, where the text remains;
//! - powers of whole numbers, of which it exchanges the sides: two to the third is nine;
//! - relations and counts of children of trees that are not whole; of `&>>` and `&<<` all but the relation to roots, of others it misses
//!   some; the numbers of nested sets, which depend on the order of children, that nobody has laid down, but for how far they are apart;
//! - conditions on events and on links wherever one of them may fail, as beside `||`, a relation, or a stage that makes numbers or
//!   groups: Tempo looks at the first event that has the attribute then, whatever the others say;
//! - conditions on several attributes of events: in Tempo one event fulfils them all, in ours any event each;
//! - lists of numbers and flags in queries for numbers: what Tempo has read of a list is overwritten by what it reads next;
//! - groups and quantiles by attributes that the query has conditions on: those that fail it have lost the attribute;
//! - stages after `select()`, which find no attributes; roots and durations that traces are shown with where the query is about them;
//! - averages of negative numbers, which are those of their bits; numbers made of one of several events; sums over time of what spans lack: they begin anew there; those of `traceDuration`, which are of nanoseconds in Tempo;
//! - `by()` below a relation of spans, which fails at the first trace with two groups.

use super::data::{NAMES, SECOND_NS, SECONDS, SERVICES, TRACES, is_whole, span_id, trace_id};
use super::fields::Type::{self, Bool, Duration, Number, Text};
use super::fields::{FIELDS, LISTS, NUMBERS, OVERWRITTEN, is_confused, lacks_after, names};
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
    let mut writer = Writer { random: Random::of(seed, number), seed, end_ns, is_of_series: false };
    loop {
        writer.is_of_series = false;
        let query = match writer.random.below(100) {
            0..56 => writer.search(),
            56..88 => writer.series(),
            88..96 => writer.tags(),
            _ => writer.trace(),
        };
        if !query.form.iter().any(|(_, text)| is_confused(text)) {
            return query;
        }
    }
}

/// Writes queries.
struct Writer {
    random: Random,
    seed: u64,
    end_ns: u64,
    /// Whether the query is one for numbers.
    is_of_series: bool,
}

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
        loop {
            let field = self.random.pick(&FIELDS);
            if !self.is_of_series || !OVERWRITTEN.contains(&field.0) {
                return field;
            }
        }
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
        match self.random.below(6) {
            0 if !self.is_of_series => format!("duration * 2 {op} {}", self.random.pick(&["10ms", "1s"])),
            1 if !self.is_of_series => format!("-duration {op} {}", self.random.pick(&["-10ms", "-1s"])),
            2 => format!("{} {op} {term}", self.random.pick(&["0", "3", "2 * 2 + 1", "1.5"])),
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
            10 if !self.is_of_series => {
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
                let right = if self.is_of_series { "resource.pods" } else { right };
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
                let apart = 1 + 2 * self.random.below(4);
                format!("nestedSetLeft > 0 && nestedSetRight - nestedSetLeft {op} {apart}")
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

    /// A condition on events or links, or on the place in the tree, and what must be fulfilled beside it.
    fn alone(&mut self) -> String {
        let special = self.special();
        if self.random.one_in(3) {
            return format!("{{ {special} }}");
        }
        // An attribute without a scope may be that of the span or of the resource, so that either may fail.
        let mut beside = self.comparison();
        while beside.starts_with('.') || beside.contains(" .") {
            beside = self.comparison();
        }
        format!("{{ {special} && {beside} }}")
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
        let is_text_too = number.starts_with("span.http.") && names(&spans, number);
        let number = if is_text_too { "duration" } else { number };
        let of_any =
            self.random.pick(&["duration", "span.items", "span.share", "resource.pods", "traceDuration"]);
        let of_any = if lacks_after(&spans, of_any) { "duration" } else { of_any };
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
        // For averages Tempo does not read again what a condition has read, of intrinsics neither.
        let is_average = function.contains("avg_over_time");
        let lacks = |by: &str| lacks_after(&spans, by) || is_average && names(&spans, by);
        let by = match self.random.below(5) {
            0..2 => {
                let mut by = self.group();
                // Those that Tempo has a column for are not left out where they are missing.
                let is_one = !function.starts_with("quantile") && !function.starts_with("histogram");
                while lacks(by) || !is_one && by.starts_with("span.http.") {
                    by = self.group();
                }
                format!(" by ({by})")
            }
            2 => {
                let other = self.random.pick(&["span.flag", "span.region", "span.share", "name", "kind"]);
                let by = [other, self.random.pick(&["status", "rootName", "resource.pods"])];
                match by.into_iter().find(|by| !lacks(by)) {
                    Some(only) if by.into_iter().any(lacks) => format!(" by ({only})"),
                    Some(_) => format!(" by ({})", by.join(", ")),
                    None => String::new(),
                }
            }
            _ => String::new(),
        };
        format!("{spans} | {function}{by}")
    }

    /// A comparison of spans. What has no value is `nil` to Tempo only where a condition of the query itself has asked for it, what it has a
    /// column for is the text, ids are not read, and of attributes that the query has conditions on it has lost those that fail them.
    fn compare(&mut self) -> String {
        let spans = self.braces();
        let is_told = |selection: &str| {
            let unread = ["nil", "http.", "k8s.", ":id", ":parentID"];
            let is_of_both = FIELDS.iter().any(|(name, ..)| names(&spans, name) && names(selection, name));
            !is_of_both && !unread.iter().any(|unread| selection.contains(unread))
        };
        let mut selection = self.braces();
        while !is_told(&selection) {
            selection = self.braces();
        }
        format!("{spans} | compare({selection}, 1000)")
    }

    fn series(&mut self) -> Query {
        self.is_of_series = true;
        let mut text = match self.random.below(12) {
            0 => self.compare(),
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
                // Of lists Tempo has the last item there, and of what spans have in columns no value again that it has met in
                // another resource before, though that one fails the filter.
                if self.random.one_in(2) && !LISTS.contains(&tag) {
                    let is_in_column = !tag.contains('.') || tag.contains("http.");
                    let mut filter = self.plain();
                    while is_in_column && filter.starts_with("resource.") {
                        filter = self.plain();
                    }
                    form.push(("q", format!("{{ {filter} }}")));
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
