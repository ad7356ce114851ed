//! Operators: between scalars, vectors and scalars, and vectors.

mod element;
mod matching;
mod set;

use std::sync::Arc;

use throughline_exec::FloatHistogram;

use crate::ast::{Binary, BinaryOp, Unary};
use crate::eval::{Evaluator, QueryError};
use crate::value::{Column, StepSeries, Steps, Value};
use element::{Combined, Operation, Side};

pub(crate) fn binary(evaluator: &Evaluator<'_>, binary: &Binary, steps: Steps) -> Result<Value, QueryError> {
    let lhs = evaluator.eval(&binary.lhs, steps)?;
    let rhs = evaluator.eval(&binary.rhs, steps)?;
    let span = binary.lhs.span().to(binary.rhs.span());
    let operation =
        Operation { op: binary.op, return_bool: binary.return_bool, notes: &evaluator.notes, span };
    match (lhs, rhs) {
        (Value::Scalar(_), Value::Scalar(_)) if binary.op.is_trim() => {
            let symbol = binary.op.symbol();
            Err(QueryError::invalid(format!("operator {symbol:?} not allowed for Scalar operations")))
        }
        (Value::Scalar(lhs), Value::Scalar(rhs)) => {
            let compute = element::of_floats(binary.op);
            Ok(Value::Scalar(lhs.into_iter().zip(rhs).map(|(a, b)| compute(a, b)).collect()))
        }
        (Value::Vector(lhs), Value::Scalar(rhs)) => {
            let sides = |column: &Column| {
                operation.combine(Side::Column(column), Side::Scalar(&rhs), Side::Column(column), steps)
            };
            with_scalar(evaluator, &operation, lhs, sides).map(Value::Vector)
        }
        (Value::Scalar(lhs), Value::Vector(rhs)) => {
            let sides = |column: &Column| {
                operation.combine(Side::Scalar(&lhs), Side::Column(column), Side::Column(column), steps)
            };
            with_scalar(evaluator, &operation, rhs, sides).map(Value::Vector)
        }
        (Value::Vector(lhs), Value::Vector(rhs)) => {
            let Some(matching) = &binary.matching else {
                return Err(QueryError::invalid("vectors without a rule of matching"));
            };
            evaluator.release(&lhs);
            evaluator.release(&rhs);
            let found = if binary.op.is_set() {
                set::combine(binary.op, matching, lhs, rhs, steps)?
            } else {
                matching::combine(evaluator, &operation, matching, &lhs, &rhs, steps)?
            };
            let found: Vec<StepSeries> =
                found.into_iter().filter(|series| !series.column.is_empty()).collect();
            evaluator.hold(&found)?;
            Ok(Value::Vector(found))
        }
        _ => Err(QueryError::invalid(format!("operator {} does not work on texts", binary.op.symbol()))),
    }
}

fn with_scalar(
    evaluator: &Evaluator<'_>,
    operation: &Operation<'_>,
    series: Vec<StepSeries>,
    combine: impl Fn(&Column) -> Combined + Sync,
) -> Result<Vec<StepSeries>, QueryError> {
    let drops_name = drops_name(operation.op) || operation.return_bool;
    evaluator.map_vector(series, |series| {
        let Combined { column, complaints, .. } = combine(&series.column);
        complaints.into_iter().for_each(|(_, complaint)| operation.complain(complaint));
        let drop_name = series.drop_name || drops_name;
        Some(StepSeries { labels: series.labels, drop_name, column })
    })
}

/// Whether the result is something else than the metric was. Filters and trims keep what it is.
pub(crate) fn drops_name(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}

pub(crate) fn unary(evaluator: &Evaluator<'_>, unary: &Unary, steps: Steps) -> Result<Value, QueryError> {
    let value = evaluator.eval(&unary.expr, steps)?;
    if !unary.negative {
        return Ok(value);
    }
    match value {
        Value::Scalar(values) => Ok(Value::Scalar(values.into_iter().map(|value| -value).collect())),
        Value::Vector(series) => {
            let negated = evaluator.map_vector(series, |mut series| {
                series.column.values.iter_mut().for_each(|value| *value = -*value);
                for (_, histogram) in &mut series.column.histograms {
                    *histogram = Arc::new(FloatHistogram::clone(histogram).scaled(-1.0));
                }
                Some(StepSeries { drop_name: true, ..series })
            });
            negated.map(Value::Vector)
        }
        Value::Text(_) => Err(QueryError::invalid("a text has no sign")),
    }
}
