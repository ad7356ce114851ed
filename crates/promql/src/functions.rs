//! Functions over instant vectors and scalars; those over ranges are in `range`.

pub(crate) mod absent;
mod histogram;
mod info;
mod labels;
mod math;
mod sort;
pub(crate) use sort::by_float;
pub(crate) mod time;

use throughline_exec::Labels;

use crate::ast::{Call, Expr, Function, ValueType};
use crate::eval::{Evaluator, QueryError, SelectorOutput};
use crate::range;
use crate::value::{Column, StepSeries, Steps, Value};

/// Evaluates a call.
pub(crate) fn call(evaluator: &Evaluator<'_>, call: &Call, steps: Steps) -> Result<Value, QueryError> {
    let signature = call.function.signature();
    if signature.args.contains(&ValueType::Matrix) {
        return range::call(evaluator, call, steps).map(Value::Vector);
    }
    if signature.returns == ValueType::Scalar {
        return scalar_call(evaluator, call, steps).map(Value::Scalar);
    }
    vector_call(evaluator, call, steps).map(Value::Vector)
}

fn scalar_call(evaluator: &Evaluator<'_>, call: &Call, steps: Steps) -> Result<Vec<f64>, QueryError> {
    let constant = |value: f64| Ok(vec![value; steps.count]);
    let seconds = |ms: i64| constant(ms as f64 / 1000.0);
    match call.function {
        Function::Pi => constant(std::f64::consts::PI),
        Function::Time => Ok(steps.times().map(|time| time as f64 / 1000.0).collect()),
        Function::Start => seconds(evaluator.start_ms),
        Function::End => seconds(evaluator.end_ms),
        Function::Range => seconds(evaluator.end_ms.saturating_sub(evaluator.start_ms)),
        Function::Step => seconds(evaluator.step_ms),
        Function::MaxOf | Function::MinOf => {
            let left = evaluator.scalar(argument(call, 0)?, steps)?;
            let right = evaluator.scalar(argument(call, 1)?, steps)?;
            let choose = if call.function == Function::MaxOf { math::max } else { math::min };
            Ok(left.into_iter().zip(right).map(|(a, b)| choose(a, b)).collect())
        }
        Function::Scalar => {
            let series = evaluator.vector(argument(call, 0)?, steps)?;
            evaluator.release(&series);
            Ok(only_floats(&series, steps))
        }
        _ => Err(unknown(call)),
    }
}

/// At each step the float if there is exactly one.
fn only_floats(series: &[StepSeries], steps: Steps) -> Vec<f64> {
    let value = |step: usize| {
        let mut floats = series.iter().filter_map(|series| series.column.float(step));
        match (floats.next(), floats.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    (0..steps.count).map(value).collect()
}

fn vector_call(evaluator: &Evaluator<'_>, call: &Call, steps: Steps) -> Result<Vec<StepSeries>, QueryError> {
    use Function as F;
    match call.function {
        F::Vector => {
            let values = evaluator.scalar(argument(call, 0)?, steps)?;
            let column = Column::full(values);
            Ok(vec![StepSeries { labels: Labels::empty(), drop_name: false, column }])
        }
        F::Timestamp => timestamps(evaluator, call, steps, SelectorOutput::Timestamp),
        F::StartTimestamp => timestamps(evaluator, call, steps, SelectorOutput::StartTimestamp),
        F::Absent => absent::absent(evaluator, argument(call, 0)?, steps),
        F::Info => info::info(evaluator, call, steps),
        F::LabelReplace => labels::replace(evaluator, call, steps),
        F::LabelJoin => labels::join(evaluator, call, steps),
        F::Sort | F::SortDesc => sort::by_value(evaluator, call, steps),
        F::SortByLabel | F::SortByLabelDesc => sort::by_labels(evaluator, call, steps),
        F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction => {
            histogram::estimate(evaluator, call, steps)
        }
        F::HistogramAvg | F::HistogramCount | F::HistogramSum | F::HistogramStddev | F::HistogramStdvar => {
            histogram::field(evaluator, call, steps)
        }
        F::Clamp | F::ClampMin | F::ClampMax | F::Round => math::with_params(evaluator, call, steps),
        F::DayOfMonth
        | F::DayOfWeek
        | F::DayOfYear
        | F::DaysInMonth
        | F::Hour
        | F::Minute
        | F::Month
        | F::Year => time::date(evaluator, call, steps),
        _ => math::simple(evaluator, call, steps),
    }
}

pub(crate) fn argument(call: &Call, at: usize) -> Result<&Expr, QueryError> {
    call.args.get(at).ok_or_else(|| {
        let name = call.function.name();
        QueryError::invalid(format!("argument {} is missing in call to {name:?}", at + 1))
    })
}

fn unknown(call: &Call) -> QueryError {
    QueryError::invalid(format!("function {:?} cannot be evaluated", call.function.name()))
}

/// `timestamp` and `start_timestamp`: of the sample that a selector finds; of everything else the time of evaluation.
fn timestamps(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    output: SelectorOutput,
) -> Result<Vec<StepSeries>, QueryError> {
    let argument = argument(call, 0)?;
    if let Expr::Vector(selector) = argument.unparenthesized() {
        return evaluator.select(selector, steps, output);
    }
    let series = evaluator.vector(argument, steps)?;
    if output == SelectorOutput::StartTimestamp {
        evaluator.release(&series);
        return Ok(Vec::new());
    }
    evaluator.map_vector(series, |mut series| {
        let occupied = series.column.occupied();
        let mut column = Column::empty(steps.count);
        occupied.iter().for_each(|step| column.set_float(step, steps.at(step) as f64 / 1000.0));
        series.column = column;
        Some(StepSeries { drop_name: true, ..series })
    })
}
