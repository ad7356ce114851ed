//! The tree of a query. Whatever can be compiled is compiled in it: a tree that exists can be run.

mod metric;

pub use metric::{
    At, Binary, BinaryOp, Cardinality, Conversion, Grouping, LabelReplace, LogRange, Matching, MetricExpr,
    RangeAggregation, RangeOp, Unwrap, Variants, VectorAggregation, VectorOp,
};

use std::sync::Arc;

use regex::Regex;
use throughline_exec::log::{IpMatcher, LineFilter, LinePattern};
use throughline_exec::{MatchOp, Matcher};

use crate::pipeline::json_path::JsonPath;
use crate::pipeline::template::LineTemplate;

/// A query.
#[derive(Clone, Debug)]
pub enum Expr {
    /// Its value is lines.
    Log(LogExpr),
    /// Its value is numbers.
    Metric(MetricExpr),
}

/// Which streams, and what becomes of their rows.
#[derive(Clone, Debug)]
pub struct LogExpr {
    /// Conditions on the labels of the stream.
    pub matchers: Vec<Matcher>,
    /// In order.
    pub stages: Vec<Stage>,
}

/// One stage between bars.
#[derive(Clone, Debug)]
pub enum Stage {
    /// `|= "text" or ip("…")`
    LineFilter(LineFilterStage),
    /// `json`, `json name="path"`
    Json(Vec<JsonExtraction>),
    /// `logfmt --strict --keep-empty name="key"`
    Logfmt(LogfmtStage),
    /// `regexp "…"`
    Regexp(RegexpStage),
    /// `pattern "…"`
    Pattern(LinePattern),
    /// `unpack`
    Unpack,
    /// `name = "value"`
    LabelFilter(LabelFilter),
    /// `line_format "…"`
    LineFormat(Arc<LineTemplate>),
    /// `label_format a=b, c="…"`
    LabelFormat(Vec<LabelFormat>),
    /// `decolorize`
    Decolorize,
    /// `drop name, name="value"`
    Drop(Vec<LabelChoice>),
    /// `keep name, name="value"`
    Keep(Vec<LabelChoice>),
}

/// How a line filter compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

impl LineOp {
    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            LineOp::Contains => "|=",
            LineOp::NotContains => "!=",
            LineOp::Regex => "|~",
            LineOp::NotRegex => "!~",
            LineOp::Pattern => "|>",
            LineOp::NotPattern => "!>",
        }
    }

    /// Whether lines that match are left out.
    #[must_use]
    pub fn is_negated(self) -> bool {
        matches!(self, LineOp::NotContains | LineOp::NotRegex | LineOp::NotPattern)
    }
}

/// A line filter: as written, and compiled.
#[derive(Clone, Debug)]
pub struct LineFilterStage {
    /// How it compares.
    pub op: LineOp,
    /// What with; several are joined by `or`.
    pub operands: Vec<LineOperand>,
    /// What decides.
    pub filter: LineFilter,
}

/// What a line filter compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineOperand {
    /// A text, an expression or a pattern.
    Text(String),
    /// `ip("…")`
    Ip(String),
}

/// `name="path"` of the JSON parser.
#[derive(Clone, Debug)]
pub struct JsonExtraction {
    /// The label.
    pub label: String,
    /// As written, without its quotes.
    pub text: String,
    /// Where its value is.
    pub path: JsonPath,
}

/// The parser by an expression.
#[derive(Clone, Debug)]
pub struct RegexpStage {
    /// As written.
    pub text: String,
    /// Its named groups are labels.
    pub regex: Arc<Regex>,
}

/// The logfmt parser.
#[derive(Clone, Debug, Default)]
pub struct LogfmtStage {
    /// Whether a broken pair is an error of the line.
    pub strict: bool,
    /// Whether keys without a value become labels.
    pub keep_empty: bool,
    /// Labels and the keys that they come from; all keys if there are none.
    pub extractions: Vec<LogfmtExtraction>,
}

/// `name="key"` of the logfmt parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogfmtExtraction {
    /// The label.
    pub label: String,
    /// As written, without its quotes.
    pub text: String,
    /// The key whose value it has.
    pub key: String,
}

/// How numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `=` or `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

impl CompareOp {
    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            CompareOp::Equal => "==",
            CompareOp::NotEqual => "!=",
            CompareOp::Greater => ">",
            CompareOp::GreaterOrEqual => ">=",
            CompareOp::Less => "<",
            CompareOp::LessOrEqual => "<=",
        }
    }

    /// Whether it holds. What is no number is equal to nothing.
    #[must_use]
    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            CompareOp::Equal => left == right,
            CompareOp::NotEqual => left != right,
            CompareOp::Greater => left > right,
            CompareOp::GreaterOrEqual => left >= right,
            CompareOp::Less => left < right,
            CompareOp::LessOrEqual => left <= right,
        }
    }
}

/// A number that a label is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// `5`
    Number(f64),
    /// `5ms`, in nanoseconds
    Duration(i64),
    /// `5KB`
    Bytes(u64),
}

/// A condition on labels.
#[derive(Clone, Debug)]
pub enum LabelFilter {
    /// A text or an expression.
    Match(Matcher),
    /// A number with its unit.
    Compare {
        /// The label.
        label: String,
        /// How.
        op: CompareOp,
        /// With what.
        quantity: Quantity,
    },
    /// `addr = ip("…")`
    Ip {
        /// The label.
        label: String,
        /// Whether values that match are left out.
        negated: bool,
        /// The addresses.
        addresses: IpMatcher,
    },
    /// Both.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// One of them.
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// One label that a stage sets.
#[derive(Clone, Debug)]
pub struct LabelFormat {
    /// The label.
    pub label: String,
    /// Its value.
    pub source: LabelSource,
}

/// Where the value of a label comes from.
#[derive(Clone, Debug)]
pub enum LabelSource {
    /// Another label, which is renamed.
    Rename(String),
    /// A template.
    Template(Arc<LineTemplate>),
}

/// A label that is dropped or kept.
#[derive(Clone, Debug)]
pub enum LabelChoice {
    /// Whatever its value is.
    Name(String),
    /// If its value matches.
    Matching(Matcher),
}

/// The operators of matchers, as they are written.
#[must_use]
pub fn match_symbol(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}
