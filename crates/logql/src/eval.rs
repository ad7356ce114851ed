//! From a tree and a source of rows to a value.
//!
//! Evaluation goes series by series, not step by step: an aggregation over time reads its rows once for the whole range of the
//! query, and every operator maps the points of series at all steps.

mod binary;
mod group;
mod logs;
mod range;
mod vector;

use throughline_exec::log::{Direction, LogSource};
use throughline_exec::{Budget, ExecError, Labels};

use crate::ast::{Expr, LabelReplace, MetricExpr, Variants, VectorOp};
use crate::value::{QueryValue, Series, Steps, Value};

/// The label that tells variants from each other.
const VARIANT: &str = "__variant__";

/// Why a query has no value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// A limit, a cancellation, or the source.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A stage failed on a row that would be counted.
    #[error(
        "pipeline error: '{error}' for series: '{labels}'. Use a label filter to intentionally skip this error, \
         e.g. | __error__!=\"{error}\"; to skip all potential errors match empty ones: | __error__=\"\". The label filter can also \
         stand after unwrap"
    )]
    Pipeline {
        /// Its kind.
        error: String,
        /// The labels of the row, with what went wrong.
        labels: String,
    },
    /// One side of an operator has several series for one of the other.
    #[error(
        "found duplicate series on the {side} hand-side;many-to-many matching not allowed: matching labels must be unique on one \
         side (match group {group}: [{first}, {second}])"
    )]
    DuplicateSeries {
        /// `left` or `right`.
        side: &'static str,
        /// The labels that are compared.
        group: String,
        /// One series.
        first: String,
        /// Another.
        second: String,
    },
    /// Several series meet one.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ManyToOne,
    /// Several series would become one.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupNotUnique,
    /// A query that cannot be evaluated in this way.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
}

/// When a query is evaluated, and how much of it is wanted.
#[derive(Clone, Copy, Debug)]
pub struct QueryParams {
    /// The first time in nanoseconds since the epoch; it belongs to a query for lines.
    pub start_ns: i64,
    /// The last time of a query for numbers; the time after the last of a query for lines.
    pub end_ns: i64,
    /// Between two points, in nanoseconds; zero asks for one point, at `start_ns`.
    pub step_ns: i64,
    /// Lines lie so far apart, whatever their labels; zero for all of them.
    pub interval_ns: i64,
    /// The most lines.
    pub limit: usize,
    /// Which lines come first.
    pub direction: Direction,
    /// What templates take for now.
    pub now_ns: i64,
}

impl QueryParams {
    /// For one point in time.
    #[must_use]
    pub fn instant(time_ns: i64) -> QueryParams {
        QueryParams {
            start_ns: time_ns,
            end_ns: time_ns,
            step_ns: 0,
            interval_ns: 0,
            limit: 100,
            direction: Direction::Backward,
            now_ns: time_ns,
        }
    }

    /// For points from `start_ns` to `end_ns`.
    #[must_use]
    pub fn range(start_ns: i64, end_ns: i64, step_ns: i64) -> QueryParams {
        QueryParams { end_ns, step_ns, now_ns: end_ns, ..QueryParams::instant(start_ns) }
    }
}

/// Evaluates queries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Engine;

impl Engine {
    /// The value of a query: lines for a query for lines, else a number or vector if the step is zero, else a matrix.
    pub fn evaluate(
        &self,
        expr: &Expr,
        params: &QueryParams,
        source: &dyn LogSource,
        budget: &Budget,
    ) -> Result<QueryValue, QueryError> {
        match expr {
            Expr::Log(log) => logs::streams(log, params, source, budget).map(QueryValue::Streams),
            Expr::Metric(metric) => numbers(metric, params, source, budget),
        }
    }
}

fn numbers(
    expr: &MetricExpr,
    params: &QueryParams,
    source: &dyn LogSource,
    budget: &Budget,
) -> Result<QueryValue, QueryError> {
    let steps = steps(params, budget)?;
    let evaluator = Evaluator { source, budget, params, is_instant: params.step_ns == 0 };
    let value = evaluator.eval(expr, steps)?;
    Ok(match value {
        Value::Scalar(values) if evaluator.is_instant => {
            QueryValue::Scalar(values.first().copied().unwrap_or(f64::NAN))
        }
        Value::Scalar(values) => {
            let points = values.into_iter().enumerate().map(|(step, value)| (steps.at(step), value));
            QueryValue::Matrix(vec![(Labels::empty(), points.collect())])
        }
        Value::Vector(series) if evaluator.is_instant => {
            let samples = series
                .into_iter()
                .filter_map(|series| Some((series.labels, series.points.first().copied()??)));
            let mut samples: Vec<(Labels, f64)> = samples.collect();
            if !is_ordered(expr) {
                samples.sort_by(|a, b| a.0.cmp(&b.0));
            }
            QueryValue::Vector(samples)
        }
        Value::Vector(mut series) => {
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            let mut matrix: Vec<(Labels, Vec<(i64, f64)>)> = Vec::new();
            for one in series {
                let points = one.points.iter().enumerate();
                let points = points.filter_map(|(step, point)| Some((steps.at(step), (*point)?)));
                match matrix.last_mut() {
                    // Series that labels were replaced of may be told apart no more: they are one, as in Loki.
                    Some((labels, before)) if *labels == one.labels => {
                        before.extend(points);
                        before.sort_by_key(|(time, _)| *time);
                    }
                    _ => matrix.push((one.labels, points.collect())),
                }
            }
            matrix.retain(|(_, points)| !points.is_empty());
            QueryValue::Matrix(matrix)
        }
    })
}

fn steps(params: &QueryParams, budget: &Budget) -> Result<Steps, QueryError> {
    if params.step_ns <= 0 {
        return Ok(Steps { start_ns: params.start_ns, step_ns: 1, count: 1 });
    }
    let Some(length_ns) = params.end_ns.checked_sub(params.start_ns).filter(|length| *length >= 0) else {
        return Err(invalid("the end of a range query must not be before its start"));
    };
    let count = u64::try_from(length_ns / params.step_ns).unwrap_or(u64::MAX).saturating_add(1);
    budget.check_steps(count)?;
    let count = usize::try_from(count).map_err(|_| invalid("the query has too many steps"))?;
    Ok(Steps { start_ns: params.start_ns, step_ns: params.step_ns, count })
}

fn invalid(message: impl Into<String>) -> QueryError {
    QueryError::Invalid { message: message.into() }
}

/// Whether the order of the result means something.
fn is_ordered(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Aggregate(aggregate) => {
            aggregate.op.takes_count() || matches!(aggregate.op, VectorOp::Sort | VectorOp::SortDesc)
        }
        MetricExpr::Binary(binary) if binary.left.is_scalar() => is_ordered(&binary.right),
        MetricExpr::Binary(binary) if binary.right.is_scalar() => is_ordered(&binary.left),
        MetricExpr::LabelReplace(replace) => is_ordered(&replace.expr),
        MetricExpr::Paren(inner) => is_ordered(inner),
        _ => false,
    }
}

struct Evaluator<'a> {
    source: &'a dyn LogSource,
    budget: &'a Budget,
    params: &'a QueryParams,
    is_instant: bool,
}

impl Evaluator<'_> {
    /// Recursion is bounded by the parser.
    fn eval(&self, expr: &MetricExpr, steps: Steps) -> Result<Value, QueryError> {
        match expr {
            MetricExpr::Number(value) => {
                self.hold(1, steps)?;
                Ok(Value::Scalar(vec![*value; steps.count]))
            }
            MetricExpr::Vector(value) => {
                self.hold(1, steps)?;
                let points = vec![Some(*value); steps.count];
                Ok(Value::Vector(vec![Series { labels: Labels::empty(), points }]))
            }
            MetricExpr::Range(aggregation) => range::eval(self, aggregation, None, steps).map(Value::Vector),
            MetricExpr::Aggregate(aggregation) => vector::eval(self, aggregation, steps).map(Value::Vector),
            MetricExpr::Binary(binary) => {
                let (left, right) = (self.eval(&binary.left, steps)?, self.eval(&binary.right, steps)?);
                binary::eval(binary, left, right)
            }
            MetricExpr::LabelReplace(replace) => {
                let series = self.vector(&replace.expr, steps)?;
                Ok(Value::Vector(label_replace(replace, series)))
            }
            MetricExpr::Variants(variants) => self.variants(variants, steps).map(Value::Vector),
            MetricExpr::Paren(inner) => self.eval(inner, steps),
        }
    }

    /// The value of an expression that has labels; a number is a series without any.
    fn vector(&self, expr: &MetricExpr, steps: Steps) -> Result<Vec<Series>, QueryError> {
        Ok(match self.eval(expr, steps)? {
            Value::Vector(series) => series,
            Value::Scalar(values) => {
                vec![Series { labels: Labels::empty(), points: values.into_iter().map(Some).collect() }]
            }
        })
    }

    /// Counts the points of so many series as held, before they are made.
    fn hold(&self, series: usize, steps: Steps) -> Result<(), QueryError> {
        let points = (series as u64).saturating_mul(steps.count as u64);
        self.budget.take_bytes(points.saturating_mul(size_of::<Option<f64>>() as u64))?;
        Ok(())
    }

    fn variants(&self, variants: &Variants, steps: Steps) -> Result<Vec<Series>, QueryError> {
        let mut all = Vec::new();
        for (at, variant) in variants.variants.iter().enumerate() {
            let series = self.vector(variant, steps)?;
            all.extend(series.into_iter().map(|series| {
                let labels = series.labels.with(VARIANT, &at.to_string());
                Series { labels, ..series }
            }));
        }
        Ok(all)
    }
}

/// Series that can no longer be told apart stay several, as in Loki.
fn label_replace(replace: &LabelReplace, series: Vec<Series>) -> Vec<Series> {
    let replaced = series.into_iter().map(|series| {
        let value = series.labels.get(&replace.source);
        let labels = match replace.regex.expand(value, &replace.replacement) {
            Some(value) => series.labels.with(&replace.target, &value),
            None => series.labels,
        };
        Series { labels, points: series.points }
    });
    replaced.collect()
}

#[cfg(test)]
mod tests;
