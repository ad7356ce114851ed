//! Aggregations over series, at every step.

use std::cmp::Ordering;
use std::collections::HashMap;

use throughline_exec::Labels;

use super::{Evaluator, QueryError, invalid, range};
use crate::ast::{Grouping, MetricExpr, RangeOp, VectorAggregation, VectorOp};
use crate::range::fold::{Avg, Deviation, Fold, Max, Min, Sum, Variance};
use crate::value::{Series, Steps};

pub(super) fn eval(
    evaluator: &Evaluator<'_>,
    aggregation: &VectorAggregation,
    steps: Steps,
) -> Result<Vec<Series>, QueryError> {
    if aggregation.op == VectorOp::ApproxTopk && !evaluator.is_instant {
        return Err(invalid("approx_topk error: count min sketches are only supported on instant queries"));
    }
    if let Some(inner) = summed(aggregation) {
        let all = Grouping::default();
        return range::eval(evaluator, inner, Some(aggregation.grouping.as_ref().unwrap_or(&all)), steps);
    }
    let series = evaluator.vector(&aggregation.expr, steps)?;
    Ok(match aggregation.op {
        VectorOp::Sort | VectorOp::SortDesc => sorted(series, aggregation.op == VectorOp::SortDesc),
        VectorOp::Topk | VectorOp::ApproxTopk => {
            chosen(aggregation, series, steps, evaluator.is_instant, false)
        }
        VectorOp::Bottomk => chosen(aggregation, series, steps, evaluator.is_instant, true),
        VectorOp::Sum => folded::<Sum>(aggregation, &series, steps),
        VectorOp::Avg => folded::<Avg>(aggregation, &series, steps),
        VectorOp::Min => folded::<Min>(aggregation, &series, steps),
        VectorOp::Max => folded::<Max>(aggregation, &series, steps),
        VectorOp::Count => folded::<Count>(aggregation, &series, steps),
        VectorOp::Stddev => folded::<Deviation>(aggregation, &series, steps),
        VectorOp::Stdvar => folded::<Variance>(aggregation, &series, steps),
    })
}

/// The aggregation over time that a sum is of, if its rows can as well be added up in the groups of the sum.
fn summed(aggregation: &VectorAggregation) -> Option<&crate::ast::RangeAggregation> {
    let MetricExpr::Range(inner) = aggregation.expr.unparenthesized() else { return None };
    let adds_up = matches!(
        inner.op,
        RangeOp::Rate
            | RangeOp::CountOverTime
            | RangeOp::BytesRate
            | RangeOp::BytesOverTime
            | RangeOp::SumOverTime
    );
    (aggregation.op == VectorOp::Sum && adds_up).then_some(inner)
}

#[derive(Clone, Copy, Debug)]
struct Count(f64);

impl Fold for Count {
    fn new(_: i64, _: f64) -> Self {
        Count(1.0)
    }

    fn add(&mut self, _: i64, _: f64) {
        self.0 += 1.0;
    }

    fn merge(&mut self, later: &Self) {
        self.0 += later.0;
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// The labels of the group of a series.
fn group_of(grouping: Option<&Grouping>, labels: &Labels) -> Labels {
    match grouping {
        None => Labels::empty(),
        Some(grouping) if grouping.without => labels.without(&grouping.labels),
        Some(grouping) => labels.only(&grouping.labels),
    }
}

/// Series by group, in the order in which groups come.
fn groups<'a>(aggregation: &VectorAggregation, series: &'a [Series]) -> Vec<(Labels, Vec<&'a Series>)> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Vec<&Series>)> = Vec::new();
    for one in series {
        let group = group_of(aggregation.grouping.as_ref(), &one.labels);
        let without = aggregation.grouping.as_ref().is_some_and(|grouping| grouping.without);
        // A label of an empty value tells no groups apart, unless it was asked for.
        let labels = if without && group.iter().any(|(_, value)| value.is_empty()) {
            Labels::from_pairs(group.iter())
        } else {
            group
        };
        let at = *places.entry(labels.clone()).or_insert(groups.len());
        match groups.get_mut(at) {
            Some((_, members)) => members.push(one),
            None => groups.push((labels, vec![one])),
        }
    }
    groups
}

fn folded<F: Fold>(aggregation: &VectorAggregation, series: &[Series], steps: Steps) -> Vec<Series> {
    let groups = groups(aggregation, series).into_iter().map(|(labels, members)| {
        let mut folds: Vec<Option<F>> = vec![None; steps.count];
        for member in members {
            for (fold, point) in folds.iter_mut().zip(&member.points) {
                match (fold, point) {
                    (Some(fold), Some(value)) => fold.add(0, *value),
                    (fold @ None, Some(value)) => *fold = Some(F::new(0, *value)),
                    (_, None) => {}
                }
            }
        }
        let points = folds.iter().map(|fold| fold.as_ref().map(Fold::value)).collect();
        Series { labels, points }
    });
    groups.collect()
}

/// The greatest or least of each group at each step. What is no number comes last.
fn chosen(
    aggregation: &VectorAggregation,
    series: Vec<Series>,
    steps: Steps,
    is_instant: bool,
    least: bool,
) -> Vec<Series> {
    let count = aggregation.count.map_or(0, |count| count as usize);
    let mut places: HashMap<Labels, Vec<usize>> = HashMap::new();
    for (at, one) in series.iter().enumerate() {
        places.entry(group_of(aggregation.grouping.as_ref(), &one.labels)).or_default().push(at);
    }
    let point =
        |at: usize, step: usize| series.get(at).and_then(|series| series.points.get(step).copied().flatten());
    let mut kept: Vec<Vec<bool>> = series.iter().map(|series| vec![false; series.points.len()]).collect();
    for members in places.values() {
        for step in 0..steps.count {
            let mut present: Vec<(usize, f64)> =
                members.iter().filter_map(|at| Some((*at, point(*at, step)?))).collect();
            // Of equal values the first series is chosen.
            present.sort_by(|a, b| order(a.1, b.1, !least).then(a.0.cmp(&b.0)));
            for (at, _) in present.iter().take(count) {
                if let Some(flag) = kept.get_mut(*at).and_then(|flags| flags.get_mut(step)) {
                    *flag = true;
                }
            }
        }
    }
    let mut result = Vec::new();
    for (mut one, flags) in series.into_iter().zip(kept) {
        for (point, kept) in one.points.iter_mut().zip(flags) {
            if !kept {
                *point = None;
            }
        }
        if one.points.iter().any(Option::is_some) {
            result.push(one);
        }
    }
    if is_instant { sorted(result, !least) } else { result }
}

fn order(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) if descending => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
        (a_is_nan, b_is_nan) => a_is_nan.cmp(&b_is_nan),
    }
}

/// By value at the first step; what is no number comes last.
fn sorted(mut series: Vec<Series>, descending: bool) -> Vec<Series> {
    let value = |series: &Series| series.points.first().copied().flatten().unwrap_or(f64::NAN);
    series.sort_by(|a, b| order(value(a), value(b), descending).then_with(|| a.labels.cmp(&b.labels)));
    series
}
