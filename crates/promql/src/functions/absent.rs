//! `absent` and `absent_over_time`: one where there is nothing.

use throughline_exec::{Labels, MatchOp, Matcher};

use crate::ast::Expr;
use crate::eval::{Evaluator, QueryError, RangeInput, occupied_steps};
use crate::range::windows;
use crate::value::{Column, StepSeries, StepSet, Steps};

pub(super) fn absent(
    evaluator: &Evaluator<'_>,
    argument: &Expr,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let series = evaluator.vector(argument, steps)?;
    evaluator.release(&series);
    let occupied = occupied_steps(&series, steps.count);
    let found = ones_outside(argument, &occupied, steps);
    evaluator.hold(&found)?;
    Ok(found)
}

pub(crate) fn over_time(
    evaluator: &Evaluator<'_>,
    argument: &Expr,
    input: &RangeInput,
    steps: Steps,
) -> Vec<StepSeries> {
    let mut occupied = StepSet::none(steps.count);
    for samples in &input.series {
        for window in windows(samples, steps, input.range_ms, |time| input.shift.apply(time)) {
            if !window.is_empty() {
                occupied.insert(window.step);
            }
        }
    }
    let found = ones_outside(argument, &occupied, steps);
    let _ = evaluator.hold(&found);
    found
}

fn ones_outside(argument: &Expr, occupied: &StepSet, steps: Steps) -> Vec<StepSeries> {
    let mut column = Column::full(vec![1.0; steps.count]);
    column.present.subtract(occupied);
    if column.is_empty() {
        return Vec::new();
    }
    vec![StepSeries { labels: labels_of(argument), drop_name: false, column }]
}

/// The labels that the missing series would have: those that the selector names with one value each.
fn labels_of(argument: &Expr) -> Labels {
    let matchers: &[Matcher] = match argument.unparenthesized() {
        Expr::Vector(selector) => &selector.matchers,
        Expr::Matrix(matrix) => &matrix.selector.matchers,
        _ => return Labels::empty(),
    };
    let named = matchers.iter().filter(|matcher| matcher.name() != throughline_exec::METRIC_NAME);
    let alone = |name: &str| matchers.iter().filter(|other| other.name() == name).count() == 1;
    let known = named.filter(|matcher| matcher.op() == MatchOp::Equal && alone(matcher.name()));
    Labels::from_pairs(known.map(|matcher| (matcher.name(), matcher.value())))
}
