//! Random queries: well formed, mostly well typed, over the series of [`super::data`].

use super::random::Random;

/// When a query is asked.
#[derive(Clone, Copy, Debug)]
pub enum Window {
    /// At one time, milliseconds.
    At(i64),
    /// Over a range: start, end and step, milliseconds.
    Over(i64, i64, i64),
}

impl Window {
    /// Whether it is a range.
    pub fn is_range(self) -> bool {
        matches!(self, Window::Over(..))
    }
}

/// A query.
pub struct Query {
    /// Its text.
    pub text: String,
    /// When it is asked.
    pub window: Window,
}

impl Query {
    /// A query at one time.
    pub fn instant(text: String, time_ms: i64) -> Query {
        Query { text, window: Window::At(time_ms) }
    }

    /// Its parameters.
    pub fn form(&self) -> Vec<(&'static str, String)> {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
        let query = ("query", self.text.clone());
        match self.window {
            Window::At(time) => vec![query, ("time", seconds(time))],
            Window::Over(start, end, step) => {
                vec![query, ("start", seconds(start)), ("end", seconds(end)), ("step", seconds(step))]
            }
        }
    }
}

/// The query of that number.
pub fn query(seed: u64, number: u64, end_ms: i64) -> Query {
    let mut writer = Writer(Random::of(seed, number));
    let text = writer.vector(3);
    let Writer(mut random) = writer;
    let window = if random.below(3) == 0 {
        Window::At(end_ms - random.below(2_400) as i64 * 1_000)
    } else {
        let start = end_ms - 2_400_000 + random.below(900_000) as i64;
        let step = [15_000, 30_000, 60_000, 61_500, 300_000][random.below(5) as usize];
        Window::Over(start, start + 300_000 + random.below(1_000_000) as i64, step)
    };
    Query { text, window }
}

const METRICS: [&str; 7] = [
    "requests_total",
    "busy",
    "load",
    "build_info",
    "latency_seconds_bucket",
    "latency_seconds_count",
    "rpc_seconds",
];

/// Writes queries.
struct Writer(Random);

impl Writer {
    fn number(&mut self) -> String {
        self.0.pick(&["0", "1", "2", "-1.5", "0.1", "10", "100", "1e3", "Inf", "NaN"]).to_owned()
    }

    fn range(&mut self) -> &'static str {
        self.0.pick(&["1m", "90s", "2m", "5m", "10m"])
    }

    fn selector(&mut self) -> String {
        let metric = self.0.pick(&METRICS);
        let mut matchers = Vec::new();
        if self.0.below(2) == 0 {
            matchers.push(self.0.pick(&[
                "job=\"api\"",
                "job=~\"api|db\"",
                "job!=\"web\"",
                "instance=~\"i[01]\"",
                "instance!~\"i0|i3\"",
                "method=\"get\"",
                "code=~\"5..\"",
                "job=~\".*b\"",
                "nothing=\"\"",
            ]));
        }
        if matchers.is_empty() { metric.to_owned() } else { format!("{metric}{{{}}}", matchers.join(",")) }
    }

    fn modifier(&mut self) -> &'static str {
        match self.0.below(8) {
            0 => self.0.pick(&[" offset 1m", " offset -1m", " @ start()", " @ end()"]),
            _ => "",
        }
    }

    fn over_range(&mut self, depth: u64) -> String {
        let function = self.0.pick(&[
            "rate",
            "increase",
            "irate",
            "delta",
            "idelta",
            "deriv",
            "changes",
            "resets",
            "avg_over_time",
            "sum_over_time",
            "min_over_time",
            "max_over_time",
            "count_over_time",
            "last_over_time",
            "first_over_time",
            "present_over_time",
            "stddev_over_time",
            "stdvar_over_time",
            "mad_over_time",
            "ts_of_max_over_time",
            "absent_over_time",
        ]);
        let range = if depth > 0 && self.0.below(4) == 0 {
            format!(
                "({})[{}:{}]",
                self.vector(depth - 1),
                self.range(),
                self.0.pick(&["15s", "1m", "45s", ""])
            )
        } else {
            let extension = if self.0.below(6) == 0 && matches!(function, "rate" | "increase" | "delta") {
                self.0.pick(&[" anchored", " smoothed"])
            } else {
                ""
            };
            format!("{}[{}]{extension}{}", self.selector(), self.range(), self.modifier())
        };
        match self.0.below(12) {
            0 => format!("quantile_over_time({}, {range})", self.0.pick(&["0.5", "0.9", "0", "1", "-1"])),
            1 => format!("predict_linear({range}, {})", self.0.pick(&["60", "-30", "600"])),
            2 => format!("double_exponential_smoothing({range}, 0.5, 0.3)"),
            _ => format!("{function}({range})"),
        }
    }

    fn grouping(&mut self) -> String {
        match self.0.below(3) {
            0 => String::new(),
            _ => {
                let labels =
                    self.0.pick(&["job", "instance", "job, instance", "method, job", "code", "le", ""]);
                format!("{} ({labels}) ", self.0.pick(&["by", "without"]))
            }
        }
    }

    fn aggregation(&mut self, depth: u64) -> String {
        let of = self.vector(depth);
        let grouping = self.grouping();
        match self.0.below(9) {
            0 => format!("quantile {grouping}({}, {of})", self.0.pick(&["0.5", "0.95", "0"])),
            1 => format!("count_values {grouping}(\"value\", {of})"),
            2 => format!("{} {grouping}(1000, {of})", self.0.pick(&["topk", "bottomk"])),
            _ => {
                let operator = self
                    .0
                    .pick(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "sum", "avg"]);
                format!("{operator} {grouping}({of})")
            }
        }
    }

    fn binary(&mut self, depth: u64) -> String {
        let operator =
            self.0.pick(&["+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "atan2"]);
        let is_comparison = matches!(operator, "==" | "!=" | ">" | "<" | ">=" | "<=");
        let returns_bool = if is_comparison && self.0.below(2) == 0 { " bool" } else { "" };
        let lhs = self.vector(depth - 1);
        match self.0.below(5) {
            0 => format!("({lhs}) {operator}{returns_bool} {}", self.number()),
            1 => format!("{} {operator}{returns_bool} ({lhs})", self.number()),
            2 => {
                let set = self.0.pick(&["and", "or", "unless"]);
                let matching =
                    self.0.pick(&["", " on (job)", " ignoring (le, method)", " on (job, instance)"]);
                format!("({lhs}) {set}{matching} ({})", self.vector(depth - 1))
            }
            3 => {
                let matching = self.0.pick(&["", " on (job, instance)", " ignoring (code, method)"]);
                let rhs = self.vector(depth - 1);
                format!("({lhs}) {operator}{returns_bool}{matching} ({rhs})")
            }
            _ => format!(
                "({lhs}) {operator}{returns_bool} on (job, instance) group_left{} build_info",
                self.0.pick(&["", " (version)"])
            ),
        }
    }

    fn function(&mut self, depth: u64) -> String {
        let of = self.vector(depth - 1);
        match self.0.below(14) {
            0 => {
                let by = self.0.pick(&["sum by (le, job)", "sum by (le)"]);
                format!(
                    "histogram_quantile({}, {by} (rate(latency_seconds_bucket[5m])))",
                    self.0.pick(&["0.5", "0.99"])
                )
            }
            1 => format!(
                "histogram_quantile({}, sum by (job) (rate(rpc_seconds[2m])))",
                self.0.pick(&["0.5", "0.9"])
            ),
            2 => format!(
                "{}(sum by (job) (rpc_seconds))",
                self.0.pick(&["histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev"])
            ),
            3 => format!("histogram_fraction(0.5, 2, rate(rpc_seconds[{}]))", self.range()),
            4 => format!("label_replace({of}, \"x\", \"$1-y\", \"job\", \"(.).*\")"),
            5 => format!("label_join({of}, \"x\", \"-\", \"job\", \"instance\")"),
            6 => format!("absent({of})"),
            7 => format!("timestamp({of})"),
            8 => format!("clamp({of}, -10, {})", self.0.pick(&["10", "1e4"])),
            9 => format!("round({of}, {})", self.0.pick(&["1", "0.5", "10"])),
            10 => format!("scalar({of}) + vector(time())"),
            _ => {
                let name = self.0.pick(&[
                    "abs",
                    "ceil",
                    "floor",
                    "exp",
                    "ln",
                    "log2",
                    "log10",
                    "sqrt",
                    "sgn",
                    "sin",
                    "cos",
                    "rad",
                    "deg",
                    "minute",
                    "hour",
                    "day_of_week",
                    "month",
                    "sort",
                    "sort_desc",
                    "-",
                    "atan",
                    "tanh",
                ]);
                format!("{name}({of})")
            }
        }
    }

    fn vector(&mut self, depth: u64) -> String {
        if depth == 0 {
            return match self.0.below(3) {
                0 => format!("{}{}", self.selector(), self.modifier()),
                _ => self.over_range(0),
            };
        }
        match self.0.below(7) {
            0 => self.over_range(depth),
            1 | 2 => self.aggregation(depth - 1),
            3 | 4 => self.binary(depth),
            _ => self.function(depth),
        }
    }
}
