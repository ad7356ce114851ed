//! The order of an instant query's result. In a range query series are sorted by labels in the end.

use std::cmp::Ordering;

use super::argument;
use crate::ast::{Call, Function};
use crate::eval::{Evaluator, QueryError};
use crate::value::{StepSeries, Steps};

pub(super) fn by_value(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let series = evaluator.vector(argument(call, 0)?, steps)?;
    let mut floats = evaluator.map_vector(series, |mut series| {
        series.column.histograms.clear();
        Some(series)
    })?;
    if steps.count == 1 {
        let descending = call.function == Function::SortDesc;
        floats.sort_by(|a, b| by_float(a.column.values[0], b.column.values[0], descending));
    }
    Ok(floats)
}

/// By value; NaN is last either way.
pub(crate) fn by_float(a: f64, b: f64, descending: bool) -> Ordering {
    let order = a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
    if descending && !a.is_nan() && !b.is_nan() { order.reverse() } else { order }
}

pub(super) fn by_labels(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let mut series = evaluator.vector(argument(call, 0)?, steps)?;
    let names: Vec<String> =
        call.args[1..].iter().map(|arg| evaluator.string(arg)).collect::<Result<_, _>>()?;
    let order = |a: &StepSeries, b: &StepSeries| {
        let named = names.iter().map(|name| natural(a.labels.get(name), b.labels.get(name)));
        let first = named.into_iter().find(|order| order.is_ne());
        first.unwrap_or_else(|| a.labels.cmp(&b.labels))
    };
    if call.function == Function::SortByLabelDesc {
        series.sort_by(|a, b| order(b, a));
    } else {
        series.sort_by(order);
    }
    Ok(series)
}

/// Runs of digits compare as numbers, all else as text: `a2` comes before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (first, left_rest) = run(left);
        let (second, right_rest) = run(right);
        if first.is_empty() || second.is_empty() {
            return first.len().cmp(&second.len());
        }
        let order = match (first.parse::<u64>(), second.parse::<u64>()) {
            (Ok(first), Ok(second)) => first.cmp(&second),
            _ => first.cmp(second),
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
}

/// The digits, or the other characters, at the start.
fn run(text: &str) -> (&str, &str) {
    let is_digit = |c: char| c.is_ascii_digit();
    let starts_with_digit = text.starts_with(is_digit);
    let end = text.find(|c| is_digit(c) != starts_with_digit).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_sort_by_size() {
        let mut texts = ["a10", "a2", "b", "a", "10", "9", "a2b"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["9", "10", "a", "a2", "a2b", "a10", "b"]);
    }
}
