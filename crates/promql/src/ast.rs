//! The syntax tree of PromQL, as the parser builds it and as every later stage reads it.
//!
//! Every node carries the bytes of the query that it came from ([`Span`]): errors and annotations point at them.
//! Trees are finite and shallow: the parser refuses what is nested deeper than `parse::DEPTH_MAX`, so
//! code that walks a tree may recurse.

mod operator;

use std::fmt;

pub use crate::signature::{Function, Signature};
pub use operator::{AggregateOp, BinaryOp};
pub use throughline_exec::Matcher;

/// The bytes `start..end` of the query text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    /// The span from the start of `self` to the end of `other`.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end }
    }

    /// `line:column` of the start of the span in `query`, both counted from one, as annotations print them.
    ///
    /// Columns count bytes: that is what Prometheus prints.
    #[must_use]
    pub fn position(self, query: &str) -> Position {
        let before = query.as_bytes().get(..self.start as usize).unwrap_or(query.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Position { line, column: before.len() - line_start + 1 }
    }
}

/// A place in a query, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From one.
    pub line: usize,
    /// In bytes, from one.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One float.
    Scalar,
    /// One text.
    Text,
    /// One sample for each series.
    Vector,
    /// Several samples for each series.
    Matrix,
}

impl ValueType {
    /// The name in the API (`resultType`).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Text => "string",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
        }
    }

    /// The name in messages of the type checker.
    #[must_use]
    pub fn documented_name(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Text => "string",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
        }
    }
}

/// Any expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `1`, `0x1f`, `5m`, `Inf`
    Number(NumberLiteral),
    /// `"text"`
    Text(StringLiteral),
    /// `up{job="a"} offset 5m`
    Vector(VectorSelector),
    /// `up[5m]`
    Matrix(MatrixSelector),
    /// `expr[1h:5m]`
    Subquery(Subquery),
    /// `rate(…)`
    Call(Call),
    /// `sum by (job) (…)`
    Aggregate(Aggregate),
    /// `a + b`
    Binary(Binary),
    /// `-a`
    Unary(Unary),
    /// `(a)`
    Paren(Paren),
}

impl Expr {
    /// Where the expression stands in the query.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Expr::Number(e) => e.span,
            Expr::Text(e) => e.span,
            Expr::Vector(e) => e.span,
            Expr::Matrix(e) => e.span,
            Expr::Subquery(e) => e.span,
            Expr::Call(e) => e.span,
            Expr::Aggregate(e) => e.span,
            Expr::Binary(e) => e.lhs.span().to(e.rhs.span()),
            Expr::Unary(e) => Span { start: e.start, end: e.expr.span().end },
            Expr::Paren(e) => e.span,
        }
    }

    /// The type of the value that the expression has, if it is well typed.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) => ValueType::Scalar,
            Expr::Text(_) => ValueType::Text,
            Expr::Vector(_) | Expr::Aggregate(_) => ValueType::Vector,
            Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Call(call) => call.function.signature().returns,
            Expr::Binary(binary) => {
                let scalars = binary.lhs.value_type() == ValueType::Scalar
                    && binary.rhs.value_type() == ValueType::Scalar;
                if scalars { ValueType::Scalar } else { ValueType::Vector }
            }
            Expr::Unary(unary) => unary.expr.value_type(),
            Expr::Paren(paren) => paren.expr.value_type(),
        }
    }

    /// The expression inside any number of parentheses.
    #[must_use]
    pub fn unparenthesized(&self) -> &Expr {
        let mut expr = self;
        while let Expr::Paren(paren) = expr {
            expr = &paren.expr;
        }
        expr
    }

    /// The expressions directly below this one, in the order of the text.
    #[must_use]
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Number(_) | Expr::Text(_) | Expr::Vector(_) | Expr::Matrix(_) => Vec::new(),
            Expr::Subquery(subquery) => vec![&subquery.expr],
            Expr::Call(call) => call.args.iter().collect(),
            Expr::Aggregate(aggregate) => {
                aggregate.param.as_deref().into_iter().chain([&*aggregate.expr]).collect()
            }
            Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            Expr::Unary(unary) => vec![&unary.expr],
            Expr::Paren(paren) => vec![&paren.expr],
        }
    }
}

/// A number, or a duration that stands for its seconds.
#[derive(Clone, Debug)]
pub struct NumberLiteral {
    /// The value; a duration's in seconds.
    pub value: f64,
    /// Whether it was written as a duration, and is printed so.
    pub duration: bool,
    /// Where it stands.
    pub span: Span,
}

impl PartialEq for NumberLiteral {
    /// Two NaN are the same literal.
    fn eq(&self, other: &Self) -> bool {
        let same = self.value == other.value || (self.value.is_nan() && other.value.is_nan());
        same && self.duration == other.duration && self.span == other.span
    }
}

/// A text in quotes.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// The text, without quotes and escapes.
    ///
    /// Bytes that are no UTF-8 (`"\xff"`) are kept as they were written, which is why this is no `String`.
    pub value: Vec<u8>,
    /// Where it stands.
    pub span: Span,
}

impl StringLiteral {
    /// The text, with what is no UTF-8 replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.value)
    }
}

/// The time that `@` fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// `@ 1609746000`
    Timestamp {
        /// Milliseconds since the epoch.
        ms: i64,
    },
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// A length of time: fixed, or to be computed when the step and the range of the query are known.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// `5m`
    Fixed {
        /// Milliseconds; negative only in an offset.
        ms: i64,
    },
    /// `step() * 2`
    Computed(DurationExpr),
}

impl Duration {
    /// No time at all: the offset of a selector without one.
    pub const ZERO: Duration = Duration::Fixed { ms: 0 };
}

/// Arithmetic on durations; every value is in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What it computes.
    pub kind: DurationKind,
    /// Where it stands.
    pub span: Span,
}

/// The forms of [`DurationExpr`].
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// A literal.
    Number(NumberLiteral),
    /// `step()`: the step of the query, zero in an instant query.
    Step,
    /// `range()`: the end of the query less its start.
    Range,
    /// `-a`; `+a` is kept for printing.
    Unary {
        /// Whether the sign is a minus.
        negative: bool,
        /// Of what.
        inner: Box<DurationExpr>,
    },
    /// `a * b`
    Binary {
        /// One of `+ - * / % ^`.
        op: BinaryOp,
        /// Left.
        lhs: Box<DurationExpr>,
        /// Right.
        rhs: Box<DurationExpr>,
    },
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `(a)`
    Paren(Box<DurationExpr>),
}

/// The extended modes of a range or instant selector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extension {
    /// Plain.
    #[default]
    None,
    /// `anchored`: the window includes the sample before it.
    Anchored,
    /// `smoothed`: values at the window's edges are interpolated.
    Smoothed,
}

/// `name{matchers} offset 5m @ 10`
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The metric name where it stands before the braces. A quoted name inside them is only a matcher.
    pub name: Option<String>,
    /// All matchers in the order of the text; that of `name` is the last.
    pub matchers: Vec<Matcher>,
    /// The offset as written; positive looks back.
    pub offset: Duration,
    /// The fixed time.
    pub at: Option<At>,
    /// Whether samples around the evaluation time are used in an extended way.
    ///
    /// The mode of `up[5m] anchored` stands here too, in the selector inside the range.
    pub extension: Extension,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// `selector[5m]`
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// The series, with the offset, the `@` and the mode that are written after the range.
    pub selector: VectorSelector,
    /// The range, positive.
    pub range: Duration,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// `expr[1h:5m]`
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated at each step.
    pub expr: Box<Expr>,
    /// The range, positive.
    pub range: Duration,
    /// The step; without one the default of the engine counts.
    pub step: Option<Duration>,
    /// The offset.
    pub offset: Duration,
    /// The fixed time.
    pub at: Option<At>,
    /// Where it stands, modifiers included.
    pub span: Span,
}

/// `rate(x[5m])`
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which function.
    pub function: Function,
    /// The arguments.
    pub args: Vec<Expr>,
    /// From the name to the closing parenthesis.
    pub span: Span,
}

/// `sum by (job) (x)`
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: AggregateOp,
    /// The parameter, of exactly those operators that have one.
    pub param: Option<Box<Expr>>,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// Whether `grouping` is dropped instead of kept.
    pub without: bool,
    /// Where it stands.
    pub span: Span,
}

/// How many series of each side meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// One and one.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// Which series of both sides belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// How many of each.
    pub card: Cardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Whether `labels` are compared (`on`) instead of left out.
    pub on: bool,
    /// The labels that `group_left(…)` and `group_right(…)` take from the one side.
    pub include: Vec<String>,
    /// The value that stands in for a missing series on the left.
    pub fill_left: Option<f64>,
    /// The same on the right.
    pub fill_right: Option<f64>,
}

/// `a / on (job) group_left b`
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left.
    pub lhs: Box<Expr>,
    /// Right.
    pub rhs: Box<Expr>,
    /// How series are matched; there exactly if both sides are vectors.
    pub matching: Option<Matching>,
    /// Whether a comparison answers 0 or 1 instead of filtering.
    pub return_bool: bool,
}

/// `-a`
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Whether the sign is a minus.
    pub negative: bool,
    /// Of what.
    pub expr: Box<Expr>,
    /// The byte of the sign.
    pub start: u32,
}

/// `(a)`
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// What stands inside.
    pub expr: Box<Expr>,
    /// With the parentheses.
    pub span: Span,
}
