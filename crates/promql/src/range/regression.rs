//! Trends: linear regression and double exponential smoothing.

use throughline_exec::Labels;

use super::{RangeCall, Window, note_ignored};
use crate::ast::Function;
use crate::eval::{QueryError, RangeInput};
use crate::sum::Sum;
use crate::value::{Sample, Steps};

/// Refuses factors of smoothing that are none.
pub(super) fn check_params(call: &RangeCall<'_>, input: &RangeInput, steps: Steps) -> Result<(), QueryError> {
    if call.function != Function::DoubleExponentialSmoothing || input.series.is_empty() {
        return Ok(());
    }
    for (at, name) in ["smoothing", "trend"].iter().enumerate() {
        let values = (0..steps.count).map(|step| call.param(at, step));
        if let Some(bad) = values.into_iter().find(|value| !(*value > 0.0 && *value < 1.0)) {
            let short = if at == 0 { "sf" } else { "tf" };
            return Err(QueryError::invalid(format!(
                "invalid {name} factor. Expected: 0 < {short} < 1, got: {bad:.6}"
            )));
        }
    }
    Ok(())
}

pub(super) fn value(call: &RangeCall<'_>, labels: &Labels, window: &Window<'_>) -> Option<Sample> {
    note_ignored(call, labels, window);
    let (values, times) = (window.values, window.times);
    if values.len() < 2 {
        return None;
    }
    Some(Sample::Float(match call.function {
        // Times near the samples keep the sums small.
        Function::Deriv => regression(times, values, times[0]).0,
        Function::PredictLinear => {
            let (slope, intercept) = regression(times, values, window.eval_ms);
            slope * call.param(0, window.step) + intercept
        }
        _ => smoothed(values, call.param(0, window.step), call.param(1, window.step)),
    }))
}

/// Slope per second, and the value at `origin_ms`.
fn regression(times: &[i64], values: &[f64], origin_ms: i64) -> (f64, f64) {
    if values.iter().all(|value| *value == values[0]) {
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    let count = values.len() as f64;
    let [mut x, mut y, mut xy, mut xx] = [Sum::default(); 4];
    for (time, value) in times.iter().zip(values) {
        let seconds = (time - origin_ms) as f64 / 1000.0;
        x.add(seconds);
        y.add(*value);
        xy.add(seconds * value);
        xx.add(seconds * seconds);
    }
    let [x, y, xy, xx] = [x, y, xy, xx].map(|sum| sum.value + sum.lost);
    let covariance = xy - x * y / count;
    let variance = xx - x * x / count;
    let slope = covariance / variance;
    (slope, y / count - slope * x / count)
}

fn smoothed(values: &[f64], smoothing: f64, trend: f64) -> f64 {
    let mut previous = 0.0;
    let mut level = values[0];
    let mut slope = values[1] - values[0];
    for (at, value) in values.iter().enumerate().skip(1) {
        if at > 1 {
            slope = trend * (level - previous) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + slope);
        (previous, level) = (level, next);
    }
    level
}
