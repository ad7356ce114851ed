//! Functions of one float.

use std::f64::consts::PI;

use super::{argument, unknown};
use crate::ast::{Call, Function};
use crate::eval::{Evaluator, QueryError};
use crate::value::{StepSeries, Steps};

/// The greater one, and NaN if either is.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a.is_infinite() && a > 0.0 || b.is_infinite() && b > 0.0 {
        return f64::INFINITY;
    }
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The smaller one, and NaN if either is.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        value
    }
}

/// The function as one of floats.
fn of_float(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Abs => f64::abs,
        Function::Acos => f64::acos,
        Function::Acosh => acosh,
        Function::Asin => f64::asin,
        Function::Asinh => asinh,
        Function::Atan => f64::atan,
        Function::Atanh => f64::atanh,
        Function::Ceil => f64::ceil,
        Function::Cos => f64::cos,
        Function::Cosh => f64::cosh,
        Function::Deg => |value| value * 180.0 / PI,
        Function::Exp => f64::exp,
        Function::Floor => f64::floor,
        Function::Ln => f64::ln,
        Function::Log10 => f64::log10,
        Function::Log2 => f64::log2,
        Function::Rad => |value| value * PI / 180.0,
        Function::Sgn => sign,
        Function::Sin => f64::sin,
        Function::Sinh => f64::sinh,
        Function::Sqrt => f64::sqrt,
        Function::Tan => f64::tan,
        Function::Tanh => f64::tanh,
        _ => return None,
    })
}

pub(super) fn simple(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let function = of_float(call.function).ok_or_else(|| unknown(call))?;
    let series = evaluator.vector(argument(call, 0)?, steps)?;
    evaluator.map_vector(series, |mut series| {
        series.column.values.iter_mut().for_each(|value| *value = function(*value));
        series.column.histograms.clear();
        Some(StepSeries { drop_name: true, ..series })
    })
}

/// `round` and the clamps, whose bounds may differ from step to step.
pub(super) fn with_params(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let series = evaluator.vector(argument(call, 0)?, steps)?;
    let mut params = Vec::new();
    for expr in &call.args[1..] {
        params.push(evaluator.scalar(expr, steps)?);
    }
    let function = call.function;
    evaluator.map_vector(series, |mut series| {
        let column = &mut series.column;
        column.histograms.clear();
        for (step, value) in column.values.iter_mut().enumerate() {
            let param = |at: usize| params.get(at).map(|values| values[step]);
            match clamped(function, *value, param(0), param(1)) {
                Some(clamped) => *value = clamped,
                None => column.present.remove(step),
            }
        }
        Some(StepSeries { drop_name: true, ..series })
    })
}

fn clamped(function: Function, value: f64, first: Option<f64>, second: Option<f64>) -> Option<f64> {
    let bound = first.unwrap_or(1.0);
    match function {
        Function::ClampMin => Some(max(bound, value)),
        Function::ClampMax => Some(min(bound, value)),
        Function::Clamp => {
            let upper = second.unwrap_or(f64::INFINITY);
            if upper < bound { None } else { Some(max(bound, min(upper, value))) }
        }
        // The inverse is exact where the nearest itself (0.1) is not.
        _ => {
            let inverse = 1.0 / bound;
            Some((value * inverse + 0.5).floor() / inverse)
        }
    }
}

/// Beyond this the square of a number says nothing more of its neighbour, and would overflow long before the number does.
const SQUARED_MAX: f64 = (1u64 << 28) as f64;

fn asinh(value: f64) -> f64 {
    if value.abs() > SQUARED_MAX && value.is_finite() {
        return (value.abs().ln() + std::f64::consts::LN_2).copysign(value);
    }
    value.asinh()
}

fn acosh(value: f64) -> f64 {
    if value > SQUARED_MAX && value.is_finite() { value.ln() + std::f64::consts::LN_2 } else { value.acosh() }
}
