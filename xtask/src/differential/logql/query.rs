//! Random queries: for lines and for numbers, at one time and over a range.

use super::data::{HISTORY_NS, Shape};
use super::stages;
use crate::differential::random::Random;

/// When a query is asked; nanoseconds.
#[derive(Clone, Copy, Debug)]
pub enum Window {
    /// At one time.
    At(i64),
    /// For numbers at steps of so many seconds.
    Steps(i64, i64, i64),
    /// For lines.
    Lines {
        start_ns: i64,
        end_ns: i64,
        limit: u64,
        forward: bool,
        /// Whether kinds of labels are told apart.
        categorized: bool,
        /// Seconds between lines of a stream, if not all are wanted.
        interval: Option<u64>,
    },
}

/// A query.
pub struct Query {
    /// Its text.
    pub text: String,
    /// When it is asked.
    pub window: Window,
}

impl Query {
    /// The last part of its path.
    pub fn path(&self) -> &'static str {
        if matches!(self.window, Window::At(_)) { "query" } else { "query_range" }
    }

    /// Its headers.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self.window {
            Window::Lines { categorized: true, .. } => {
                &[("X-Loki-Response-Encoding-Flags", "categorize-labels")]
            }
            _ => &[],
        }
    }

    /// Its parameters.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("query", self.text.clone())];
        match self.window {
            Window::At(time) => parameters.push(("time", time.to_string())),
            Window::Steps(start, end, step) => parameters.extend([
                ("start", start.to_string()),
                ("end", end.to_string()),
                ("step", step.to_string()),
            ]),
            Window::Lines { start_ns, end_ns, limit, forward, interval, .. } => {
                let direction = if forward { "forward" } else { "backward" };
                parameters.extend([
                    ("start", start_ns.to_string()),
                    ("end", end_ns.to_string()),
                    ("limit", limit.to_string()),
                    ("direction", direction.to_owned()),
                ]);
                parameters.extend(interval.map(|seconds| ("interval", seconds.to_string())));
            }
        }
        parameters
    }

    /// Whether the order of its series says something. That of `topk` does here, where the greatest come first as in Prometheus, but
    /// not in Loki, which has them in the order of their labels.
    pub fn is_ordered(&self) -> bool {
        self.text.starts_with("sort")
    }
}

/// The query of that number.
pub fn query(seed: u64, number: u64, end_ns: i64) -> Query {
    let mut random = Random::of(seed, number);
    let random = &mut random;
    let second = 1_000_000_000;
    let start_ns = end_ns - HISTORY_NS + random.below(2_400) as i64 * second;
    if random.below(2) == 0 {
        let shape = stages::shape(random);
        let text = format!("{}{}", stages::selector(random, shape), stages::stages(random, shape));
        let interval = random.one_in(12).then(|| [1, 30, 120][random.below(3) as usize]);
        let window = Window::Lines {
            start_ns,
            end_ns: start_ns + (random.below(2_400) as i64 + 60) * second,
            // What Loki has not flushed it takes only so many lines of before it leaves out those that are too near.
            limit: [10, 100, 1_000, 5_000][if interval.is_some() { 3 } else { random.below(4) as usize }],
            forward: random.one_in(2),
            categorized: random.one_in(2),
            interval,
        };
        return Query { text, window };
    }
    let instant = random.one_in(3);
    // Numbers alone are not aggregated: Loki has no value for that, and says so in several ways.
    let text = match random.below(24) {
        0 => format!(
            "{} {} {} * {}",
            literal(random),
            random.pick(&["+", ">", "-", "%"]),
            literal(random),
            literal(random)
        ),
        _ => vector(random, 2, instant),
    };
    let window = if instant {
        Window::At(end_ns - random.below(2_000) as i64 * second)
    } else {
        let length = 300 + random.below(1_800) as i64;
        let step = [15, 30, 60, 61, 300][random.below(5) as usize];
        Window::Steps(start_ns, start_ns + length * second, step)
    };
    Query { text, window }
}

fn range(random: &mut Random) -> &'static str {
    random.pick(&["1m", "90s", "2m", "5m", "10m", "30s", "1m1ms"])
}

fn offset(random: &mut Random) -> &'static str {
    match random.below(10) {
        0 => random.pick(&[" offset 1m", " offset 5m", " offset 90s", " offset -1m"]),
        _ => "",
    }
}

fn grouping(random: &mut Random, shape: Shape) -> String {
    let count = random.below(3);
    let labels: Vec<&str> = (0..count).map(|_| stages::group_label(random, shape)).collect();
    format!(" {} ({})", random.pick(&["by", "by", "without"]), labels.join(", "))
}

/// An aggregation over time.
fn over_time(random: &mut Random) -> String {
    let shape = stages::shape(random);
    let selector = stages::selector(random, shape);
    let mut lines = stages::stages(random, shape);
    // Most errors of stages would fail the query.
    if random.below(3) > 0 {
        lines.push_str(" | __error__=\"\"");
    }
    let (range, offset) = (range(random), offset(random));
    if random.below(2) == 0 {
        let function = random.pick(&[
            "rate",
            "count_over_time",
            "bytes_rate",
            "bytes_over_time",
            "absent_over_time",
            "count_over_time",
        ]);
        return match random.below(6) {
            0 => format!(
                "{function}({selector}[{range}]{lines})",
                lines = if offset.is_empty() { lines } else { String::new() }
            ),
            _ => format!("{function}({selector}{lines} [{range}]{offset})"),
        };
    }
    let function = random.pick(&[
        "rate",
        "rate_counter",
        "sum_over_time",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "first_over_time",
        "last_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "quantile_over_time",
        "absent_over_time",
    ]);
    let unwrap = stages::unwrapped(random, shape);
    let mut after = String::new();
    if random.below(4) > 0 {
        after.push_str(" | __error__=\"\"");
    }
    if random.one_in(8) {
        after.push_str(&format!(" | {}", stages::label_filter(random, shape, 1)));
    }
    let parameter = match function {
        "quantile_over_time" => random.pick(&["0.5, ", "0.99, ", "0, ", "1, ", "0.25, ", "1.5, "]),
        _ => "",
    };
    let grouping = match function {
        "rate" | "rate_counter" | "sum_over_time" | "absent_over_time" if !random.one_in(20) => String::new(),
        _ if random.one_in(2) => grouping(random, shape),
        _ => String::new(),
    };
    format!("{function}({parameter}{selector}{lines} | unwrap {unwrap}{after} [{range}]{offset}){grouping}")
}

fn aggregation(random: &mut Random, depth: u64, instant: bool) -> String {
    let shape = stages::shape(random);
    let of = vector(random, depth, instant);
    match random.below(10) {
        0 => format!("{}({of})", random.pick(&["sort", "sort_desc"])),
        1 if instant => format!("approx_topk({}, {of})", random.pick(&["100", "1000"])),
        1 | 2 => {
            let grouping = if random.one_in(2) { grouping(random, shape) } else { String::new() };
            format!("{}{grouping} (100, {of})", random.pick(&["topk", "bottomk"]))
        }
        _ => {
            let operator =
                random.pick(&["sum", "avg", "min", "max", "count", "stddev", "stdvar", "sum", "sum"]);
            match random.below(3) {
                0 => format!("{operator}({of})"),
                1 => format!("{operator}({of}){}", grouping(random, shape)),
                _ => format!("{operator}{} ({of})", grouping(random, shape)),
            }
        }
    }
}

fn literal(random: &mut Random) -> String {
    random.pick(&["0", "1", "2", "-1.5", "0.1", "10", "1e3"]).to_owned()
}

fn binary(random: &mut Random, depth: u64, instant: bool) -> String {
    let operator = random.pick(&["+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<="]);
    let compares = matches!(operator, "==" | "!=" | ">" | "<" | ">=" | "<=");
    let returns_bool = if compares && random.one_in(2) { " bool" } else { "" };
    let left = vector(random, depth - 1, instant);
    match random.below(8) {
        0 => format!("({left}) {operator}{returns_bool} {}", literal(random)),
        1 => format!("{} {operator}{returns_bool} ({left})", literal(random)),
        2 => format!("{left} {operator}{returns_bool} vector({})", random.pick(&["0", "2", "1.5"])),
        3 => format!("({left}) {operator}{returns_bool} {} * {}", literal(random), literal(random)),
        4 => {
            let set = random.pick(&["and", "or", "unless", "or"]);
            let matching = random.pick(&["", " on (app)", " ignoring (level)", " on (app, instance)"]);
            format!("({left}) {set}{matching} ({})", vector(random, depth - 1, instant))
        }
        5 => {
            let matching = random.pick(&["", " on (app, instance)", " ignoring (level)", " on ()"]);
            format!("({left}) {operator}{returns_bool}{matching} ({})", vector(random, depth - 1, instant))
        }
        6 => {
            // Without a list of labels, what is in parentheses next would be taken for one.
            let group = random.pick(&["group_left (level)", "group_left ()"]);
            format!(
                "({left}) {operator}{returns_bool} on (app) {group} (sum by (app{}) (count_over_time({{app=~\".+\"}}[5m])))",
                random.pick(&["", ", level"])
            )
        }
        _ => {
            let group = random.pick(&["group_right ()", "group_right (instance)"]);
            format!(
                "(sum by (app) (rate({{app=~\"a.*\"}}[2m]))) {operator}{returns_bool} on (app) {group} ({left})"
            )
        }
    }
}

fn vector(random: &mut Random, depth: u64, instant: bool) -> String {
    if depth == 0 {
        return over_time(random);
    }
    match random.below(10) {
        0..=2 => over_time(random),
        3..=6 => aggregation(random, depth - 1, instant),
        7 => {
            let of = vector(random, depth - 1, instant);
            let source = random.pick(&["app", "instance", "level", "nowhere"]);
            let expression = random.pick(&["(.).*", "(a)(?P<x>.*)", "", ".*", "(i)(.)", "("]);
            let replacement = random.pick(&["$1-y", "${1}z$2", "", "x", "$x"]);
            let target = random.pick(&["new", "app", "level"]);
            format!("label_replace({of}, \"{target}\", \"{replacement}\", \"{source}\", \"{expression}\")")
        }
        _ => binary(random, depth, instant),
    }
}
