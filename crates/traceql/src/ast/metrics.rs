//! Series made of spans.

use super::{ArithmeticOp, CompareOp, Field, FieldExpr, Literal, Pipeline, ScalarExpr};

/// Series, or what is made of them.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricsExpr {
    /// `{} | rate()`
    Query(Box<MetricsQuery>),
    /// Arithmetic on series.
    Math(Box<MetricsMath>),
    /// A constant beside series; it has no aggregate.
    Constant(ScalarExpr),
    /// Series and what is kept of them.
    Stage(Box<(MetricsExpr, SecondStage)>),
}

/// Spans and the function that makes series of them.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsQuery {
    /// Which spans.
    pub source: Pipeline,
    /// What is made of them.
    pub function: MetricsFunction,
}

/// Arithmetic on series; one side may be a constant.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsMath {
    /// `+`, `-`, `*` or `/`
    pub op: ArithmeticOp,
    /// The left side.
    pub left: MetricsExpr,
    /// The right side.
    pub right: MetricsExpr,
}

/// What makes series of spans.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricsFunction {
    /// A number for every group and step.
    Grouped(Grouped),
    /// `compare({…}, top, start, end)`: the spans that fulfil a condition against all others.
    Compare {
        /// The condition; without one all.
        selection: Option<FieldExpr>,
        /// How many values of an attribute are shown, if it was written.
        top: Option<i64>,
        /// The window of the selection, in nanoseconds of Unix time.
        window: Option<(i64, i64)>,
    },
}

/// A function over the spans of groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped {
    /// Which.
    pub function: SpanFunction,
    /// The field, for those that need one.
    pub field: Option<Field>,
    /// The quantiles of `quantile_over_time`.
    pub quantiles: Vec<Literal>,
    /// `by (field, …)`
    pub by: Vec<Field>,
}

/// Functions over spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanFunction {
    /// `rate`
    Rate,
    /// `count_over_time`
    CountOverTime,
    /// `sum_over_time`
    SumOverTime,
    /// `avg_over_time`
    AvgOverTime,
    /// `min_over_time`
    MinOverTime,
    /// `max_over_time`
    MaxOverTime,
    /// `quantile_over_time`
    QuantileOverTime,
    /// `histogram_over_time`
    HistogramOverTime,
}

impl SpanFunction {
    /// All of them.
    pub const ALL: [SpanFunction; 8] = [
        SpanFunction::Rate,
        SpanFunction::CountOverTime,
        SpanFunction::SumOverTime,
        SpanFunction::AvgOverTime,
        SpanFunction::MinOverTime,
        SpanFunction::MaxOverTime,
        SpanFunction::QuantileOverTime,
        SpanFunction::HistogramOverTime,
    ];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SpanFunction::Rate => "rate",
            SpanFunction::CountOverTime => "count_over_time",
            SpanFunction::SumOverTime => "sum_over_time",
            SpanFunction::AvgOverTime => "avg_over_time",
            SpanFunction::MinOverTime => "min_over_time",
            SpanFunction::MaxOverTime => "max_over_time",
            SpanFunction::QuantileOverTime => "quantile_over_time",
            SpanFunction::HistogramOverTime => "histogram_over_time",
        }
    }

    /// Whether it is about the values of a field.
    #[must_use]
    pub fn takes_field(self) -> bool {
        !matches!(self, SpanFunction::Rate | SpanFunction::CountOverTime)
    }
}

/// What is kept of series.
#[derive(Clone, Debug, PartialEq)]
pub enum SecondStage {
    /// `| topk(5)`
    Rank(Ranking, i64),
    /// `> 5`
    Filter(CompareOp, ScalarExpr),
}

/// Which series are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranking {
    /// `topk`
    Top,
    /// `bottomk`
    Bottom,
}

impl Ranking {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ranking::Top => "topk",
            Ranking::Bottom => "bottomk",
        }
    }
}

/// `name=value` after `with`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hint {
    /// What it is about.
    pub name: String,
    /// Its value.
    pub value: Literal,
}
