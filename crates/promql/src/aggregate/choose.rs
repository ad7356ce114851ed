//! Aggregations that choose series instead of combining them.

use std::cmp::Ordering;

use throughline_exec::histogram::format_float;

use super::{Group, groups, note_ignored};
use crate::annotations::Note;
use crate::ast::{Aggregate, AggregateOp, Expr};
use crate::eval::{Evaluator, QueryError};
use crate::functions::by_float;
use crate::value::{StepSeries, StepSet, Steps};

/// How many series are chosen at each step.
pub(super) fn counts(param: &[f64]) -> Result<Vec<usize>, QueryError> {
    // Where nothing is chosen at any step, it does not matter how little.
    if param.iter().all(|value| *value < 1.0) {
        return Ok(vec![0; param.len()]);
    }
    let count = |value: &f64| {
        if value.is_nan() {
            return Err(QueryError::invalid("Parameter value is NaN"));
        }
        if *value >= i64::MAX as f64 {
            return Err(QueryError::invalid(format!(
                "Scalar value {} overflows int64",
                format_float(*value)
            )));
        }
        if *value <= i64::MIN as f64 {
            return Err(QueryError::invalid(format!(
                "Scalar value {} underflows int64",
                format_float(*value)
            )));
        }
        Ok(if *value < 1.0 { 0 } else { *value as usize })
    };
    param.iter().map(count).collect()
}

/// `topk` and `bottomk`. NaN is chosen last.
pub(super) fn extremes(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    mut series: Vec<StepSeries>,
    counts: &[usize],
    steps: Steps,
) -> Vec<StepSeries> {
    if counts.iter().any(|count| *count > 0) {
        note_ignored(evaluator, aggregate, &series);
    }
    let descending = aggregate.op == AggregateOp::Topk;
    let groups = groups(aggregate, &series);
    let mut kept: Vec<StepSet> = vec![StepSet::none(steps.count); series.len()];
    let mut order = Vec::new();
    let mut candidates: Vec<(f64, usize)> = Vec::new();
    for group in &groups {
        for (step, count) in counts.iter().enumerate() {
            candidates.clear();
            let floats = group.members.iter();
            candidates.extend(floats.filter_map(|at| Some((series[*at].column.float(step)?, *at))));
            let by_value = |a: &(f64, usize), b: &(f64, usize)| -> Ordering {
                by_float(a.0, b.0, descending).then(a.1.cmp(&b.1))
            };
            if *count < candidates.len() {
                if *count > 0 {
                    candidates.select_nth_unstable_by(*count - 1, by_value);
                }
                candidates.truncate(*count);
            }
            if steps.count == 1 {
                candidates.sort_unstable_by(by_value);
                order.extend(candidates.iter().map(|candidate| candidate.1));
            }
            candidates.iter().for_each(|(_, at)| kept[*at].insert(step));
        }
    }
    for (series, kept) in series.iter_mut().zip(&kept) {
        series.column.histograms.clear();
        series.column.retain(kept);
    }
    if steps.count > 1 {
        return series;
    }
    // The result of an instant query is in the order of values.
    let mut slots: Vec<Option<StepSeries>> = series.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| slots[at].take()).collect()
}

/// `limitk`: the first series of each group, whatever their kind.
pub(super) fn first(
    aggregate: &Aggregate,
    mut series: Vec<StepSeries>,
    counts: &[usize],
    steps: Steps,
) -> Vec<StepSeries> {
    for Group { members, .. } in groups(aggregate, &series) {
        let mut left = counts.to_vec();
        for at in members {
            let column = &mut series[at].column;
            let mut kept = StepSet::none(steps.count);
            for step in column.occupied().iter() {
                if left[step] > 0 {
                    kept.insert(step);
                    left[step] -= 1;
                }
            }
            column.retain(&kept);
        }
    }
    series
}

/// `limit_ratio`: series are chosen by their hash, so that `r` and `r - 1` choose complements.
pub(super) fn ratio(
    evaluator: &Evaluator<'_>,
    mut series: Vec<StepSeries>,
    param: &[f64],
    param_expr: Option<&Expr>,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    if param.iter().any(|ratio| ratio.is_nan()) {
        return Err(QueryError::invalid("Ratio value is NaN"));
    }
    let span = crate::eval::span_of(param_expr);
    let capped: Vec<f64> = param.iter().map(|ratio| ratio.clamp(-1.0, 1.0)).collect();
    for (ratio, capped) in param.iter().zip(&capped).filter(|(ratio, capped)| ratio != capped) {
        evaluator.notes.add(Note::InvalidRatio(*ratio, *capped), span);
    }
    for series in &mut series {
        let offset = series.labels.ratio_hash() as f64 / u64::MAX as f64;
        let mut kept = StepSet::none(steps.count);
        for (step, ratio) in capped.iter().enumerate() {
            let chosen = if *ratio >= 0.0 { offset < *ratio } else { offset >= 1.0 + ratio };
            if chosen {
                kept.insert(step);
            }
        }
        series.column.retain(&kept);
    }
    Ok(series)
}
