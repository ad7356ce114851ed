//! The part of a tree whose value is numbers.

use throughline_exec::AnchoredRegex;

use super::{CompareOp, LabelFilter, LogExpr};

/// What a value is before it is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// `duration(…)`: seconds
    Duration,
    /// `duration_seconds(…)`: the same
    DurationSeconds,
    /// `bytes(…)`
    Bytes,
}

impl Conversion {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Conversion::Duration => "duration",
            Conversion::DurationSeconds => "duration_seconds",
            Conversion::Bytes => "bytes",
        }
    }
}

/// `| unwrap label | filters`
#[derive(Clone, Debug)]
pub struct Unwrap {
    /// The label.
    pub label: String,
    /// How its value becomes a number.
    pub conversion: Option<Conversion>,
    /// Conditions after it.
    pub filters: Vec<LabelFilter>,
}

/// `by (a)` or `without (a)`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// The labels.
    pub labels: Vec<String>,
    /// Whether all others are kept.
    pub without: bool,
}

/// Rows over time, for an aggregation.
#[derive(Clone, Debug)]
pub struct LogRange {
    /// The rows.
    pub log: LogExpr,
    /// What is counted of them, if not rows.
    pub unwrap: Option<Unwrap>,
    /// Nanoseconds.
    pub range_ns: i64,
    /// Nanoseconds; the window lies so much earlier.
    pub offset_ns: i64,
    /// The time of the window, instead of that of the query.
    pub at: Option<At>,
}

/// A fixed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Nanoseconds since the epoch.
    Time(i64),
    /// The first time of the query.
    Start,
    /// The last time of the query.
    End,
}

/// Aggregations over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are named as they are written")]
pub enum RangeOp {
    Rate,
    RateCounter,
    CountOverTime,
    BytesRate,
    BytesOverTime,
    AbsentOverTime,
    SumOverTime,
    AvgOverTime,
    MinOverTime,
    MaxOverTime,
    FirstOverTime,
    LastOverTime,
    StddevOverTime,
    StdvarOverTime,
    QuantileOverTime,
}

impl RangeOp {
    /// All of them.
    pub const ALL: [RangeOp; 15] = [
        RangeOp::Rate,
        RangeOp::RateCounter,
        RangeOp::CountOverTime,
        RangeOp::BytesRate,
        RangeOp::BytesOverTime,
        RangeOp::AbsentOverTime,
        RangeOp::SumOverTime,
        RangeOp::AvgOverTime,
        RangeOp::MinOverTime,
        RangeOp::MaxOverTime,
        RangeOp::FirstOverTime,
        RangeOp::LastOverTime,
        RangeOp::StddevOverTime,
        RangeOp::StdvarOverTime,
        RangeOp::QuantileOverTime,
    ];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RangeOp::Rate => "rate",
            RangeOp::RateCounter => "rate_counter",
            RangeOp::CountOverTime => "count_over_time",
            RangeOp::BytesRate => "bytes_rate",
            RangeOp::BytesOverTime => "bytes_over_time",
            RangeOp::AbsentOverTime => "absent_over_time",
            RangeOp::SumOverTime => "sum_over_time",
            RangeOp::AvgOverTime => "avg_over_time",
            RangeOp::MinOverTime => "min_over_time",
            RangeOp::MaxOverTime => "max_over_time",
            RangeOp::FirstOverTime => "first_over_time",
            RangeOp::LastOverTime => "last_over_time",
            RangeOp::StddevOverTime => "stddev_over_time",
            RangeOp::StdvarOverTime => "stdvar_over_time",
            RangeOp::QuantileOverTime => "quantile_over_time",
        }
    }
}

/// Aggregations over series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are named as they are written")]
pub enum VectorOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    ApproxTopk,
    Sort,
    SortDesc,
}

impl VectorOp {
    /// All of them.
    pub const ALL: [VectorOp; 12] = [
        VectorOp::Sum,
        VectorOp::Avg,
        VectorOp::Min,
        VectorOp::Max,
        VectorOp::Count,
        VectorOp::Stddev,
        VectorOp::Stdvar,
        VectorOp::Topk,
        VectorOp::Bottomk,
        VectorOp::ApproxTopk,
        VectorOp::Sort,
        VectorOp::SortDesc,
    ];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            VectorOp::Sum => "sum",
            VectorOp::Avg => "avg",
            VectorOp::Min => "min",
            VectorOp::Max => "max",
            VectorOp::Count => "count",
            VectorOp::Stddev => "stddev",
            VectorOp::Stdvar => "stdvar",
            VectorOp::Topk => "topk",
            VectorOp::Bottomk => "bottomk",
            VectorOp::ApproxTopk => "approx_topk",
            VectorOp::Sort => "sort",
            VectorOp::SortDesc => "sort_desc",
        }
    }

    /// Whether it takes how many series to choose.
    #[must_use]
    pub fn takes_count(self) -> bool {
        matches!(self, VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk)
    }
}

/// Operators between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they are named after what they do")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Compare(CompareOp),
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// The value of an operator; of a comparison, one or zero. Nothing can be divided by zero.
    #[must_use]
    pub(crate) fn number(self, left: f64, right: f64) -> f64 {
        match self {
            BinaryOp::Add => left + right,
            BinaryOp::Sub => left - right,
            BinaryOp::Mul => left * right,
            BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
            BinaryOp::Div => left / right,
            BinaryOp::Mod => left % right,
            BinaryOp::Pow => left.powf(right),
            BinaryOp::Compare(op) => f64::from(u8::from(op.holds(left, right))),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Compare(op) => op.symbol(),
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }

    /// Whether it works on which series there are.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

/// Which side of an operator has several series for one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// Neither.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

/// Which series of both sides belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// The labels that are compared, or are not.
    pub labels: Vec<String>,
    /// Whether only `labels` are compared.
    pub on: bool,
    /// Which side may have several.
    pub cardinality: Cardinality,
    /// Labels taken over from the side that has one.
    pub include: Vec<String>,
}

/// An expression whose value is numbers.
#[derive(Clone, Debug)]
pub enum MetricExpr {
    /// `1`
    Number(f64),
    /// `vector(1)`
    Vector(f64),
    /// `rate({…}[1m])`
    Range(Box<RangeAggregation>),
    /// `sum by (a) (…)`
    Aggregate(Box<VectorAggregation>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `label_replace(…)`
    LabelReplace(Box<LabelReplace>),
    /// `variants(…) of (…)`
    Variants(Box<Variants>),
    /// `(…)`
    Paren(Box<MetricExpr>),
}

impl MetricExpr {
    /// Whether its value is a number without labels.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        match self {
            MetricExpr::Number(_) => true,
            MetricExpr::Paren(inner) => inner.is_scalar(),
            MetricExpr::Binary(binary) => binary.left.is_scalar() && binary.right.is_scalar(),
            _ => false,
        }
    }

    /// The number that an expression without series says.
    #[must_use]
    pub fn constant(&self) -> Option<f64> {
        match self {
            MetricExpr::Number(value) => Some(*value),
            MetricExpr::Paren(inner) => inner.constant(),
            MetricExpr::Binary(binary) => {
                let (left, right) = (binary.left.constant()?, binary.right.constant()?);
                Some(binary.op.number(left, right))
            }
            _ => None,
        }
    }

    /// Without parentheses around it.
    #[must_use]
    pub fn unparenthesized(&self) -> &MetricExpr {
        let mut expr = self;
        while let MetricExpr::Paren(inner) = expr {
            expr = inner;
        }
        expr
    }

    /// The expressions right below it.
    #[must_use]
    pub fn children(&self) -> Vec<&MetricExpr> {
        match self {
            MetricExpr::Number(_) | MetricExpr::Vector(_) | MetricExpr::Range(_) => Vec::new(),
            MetricExpr::Aggregate(aggregate) => vec![&aggregate.expr],
            MetricExpr::Binary(binary) => vec![&binary.left, &binary.right],
            MetricExpr::LabelReplace(replace) => vec![&replace.expr],
            MetricExpr::Variants(variants) => variants.variants.iter().collect(),
            MetricExpr::Paren(inner) => vec![inner],
        }
    }
}

/// An aggregation over time.
#[derive(Clone, Debug)]
pub struct RangeAggregation {
    /// Which.
    pub op: RangeOp,
    /// The quantile.
    pub parameter: Option<f64>,
    /// Over what.
    pub range: LogRange,
    /// The series of the result.
    pub grouping: Option<Grouping>,
}

/// An aggregation over series.
#[derive(Clone, Debug)]
pub struct VectorAggregation {
    /// Which.
    pub op: VectorOp,
    /// How many series are chosen.
    pub count: Option<u32>,
    /// The series of the result.
    pub grouping: Option<Grouping>,
    /// Over what.
    pub expr: MetricExpr,
}

/// An operator and its two sides.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// Whether a comparison answers with numbers.
    pub return_bool: bool,
    /// Which series belong together, where it was said.
    pub matching: Option<Matching>,
    /// The left side.
    pub left: MetricExpr,
    /// The right side.
    pub right: MetricExpr,
}

/// `label_replace(expr, "target", "replacement", "source", "expression")`
#[derive(Clone, Debug)]
pub struct LabelReplace {
    /// Whose labels.
    pub expr: MetricExpr,
    /// The label that is set.
    pub target: String,
    /// What to, with `$1` for groups.
    pub replacement: String,
    /// The label that is looked at.
    pub source: String,
    /// As written.
    pub pattern: String,
    /// The expression on its whole value.
    pub regex: AnchoredRegex,
}

/// `variants(a, b) of ({…}[1m])`
#[derive(Clone, Debug)]
pub struct Variants {
    /// What is computed; each is told from the others by a label.
    pub variants: Vec<MetricExpr>,
    /// The rows that all of them speak of.
    pub of: LogRange,
}
