//! Aggregations: series are put into groups once, then columns are folded into the column of their group.

mod choose;
mod fold;

use throughline_exec::{Labels, LabelsMap, METRIC_NAME};

use crate::annotations::Note;
use crate::ast::{Aggregate, AggregateOp, Expr};
use crate::eval::{Evaluator, QueryError};
use crate::sum::quantile;
use crate::value::{Column, Sample, StepSeries, Steps};

/// Series that are aggregated into one.
pub(crate) struct Group {
    pub labels: Labels,
    pub drop_name: bool,
    /// Indexes into the input, ascending.
    pub members: Vec<usize>,
}

pub(crate) fn aggregate(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    use AggregateOp as Op;
    let param = match (&aggregate.param, aggregate.op) {
        (None, _) | (_, Op::CountValues) => Vec::new(),
        (Some(param), _) => evaluator.scalar(param, steps)?,
    };
    let param_expr = aggregate.param.as_deref();
    let limits = match aggregate.op {
        Op::Topk | Op::Bottomk | Op::Limitk => Some(choose::counts(&param)?),
        _ => None,
    };
    if aggregate.op == Op::Quantile {
        note_quantiles(evaluator, &param, param_expr);
    }
    let series = evaluator.vector(&aggregate.expr, steps)?;
    evaluator.release(&series);
    let found = match aggregate.op {
        Op::Topk | Op::Bottomk => {
            choose::extremes(evaluator, aggregate, series, &limits.unwrap_or_default(), steps)
        }
        Op::Limitk => choose::first(aggregate, series, &limits.unwrap_or_default(), steps),
        Op::LimitRatio => choose::ratio(evaluator, series, &param, param_expr, steps)?,
        Op::CountValues => count_values(evaluator, aggregate, &series, steps)?,
        Op::Quantile => quantiles(evaluator, aggregate, &series, &param, steps),
        _ => fold::fold(evaluator, aggregate, &series, steps),
    };
    let found: Vec<StepSeries> = found.into_iter().filter(|series| !series.column.is_empty()).collect();
    evaluator.hold(&found)?;
    Ok(found)
}

/// The labels that a series' group has.
fn group_labels(aggregate: &Aggregate, labels: &Labels) -> Labels {
    if !aggregate.without {
        return if aggregate.grouping.is_empty() {
            Labels::empty()
        } else {
            labels.only(&aggregate.grouping)
        };
    }
    let mut dropped: Vec<&str> = aggregate.grouping.iter().map(String::as_str).collect();
    dropped.push(METRIC_NAME);
    labels.without(&dropped)
}

/// Whether a series belongs to the group with these labels, without making labels.
fn is_of_group(aggregate: &Aggregate, labels: &Labels, group: &Labels) -> bool {
    let is_named = |name: &str| aggregate.grouping.iter().any(|known| known == name);
    if aggregate.without {
        let kept = labels.iter().filter(|(name, _)| *name != METRIC_NAME && !is_named(name));
        return kept.eq(group.iter());
    }
    aggregate.grouping.iter().all(|name| labels.get(name) == group.get(name))
}

/// The groups, in the order of their first members.
fn groups(aggregate: &Aggregate, series: &[StepSeries]) -> Vec<Group> {
    let mut by_labels: LabelsMap<Labels, usize> = LabelsMap::default();
    let mut groups: Vec<Group> = Vec::new();
    let mut last = 0;
    for (at, one) in series.iter().enumerate() {
        // Neighbours are mostly of one group.
        let is_same =
            groups.get(last).is_some_and(|group| is_of_group(aggregate, &one.labels, &group.labels));
        if !is_same {
            let labels = group_labels(aggregate, &one.labels);
            let new = groups.len();
            last = *by_labels.entry(labels.clone()).or_insert(new);
            if last == new {
                groups.push(Group { labels, drop_name: false, members: Vec::new() });
            }
        }
        groups[last].drop_name |= one.drop_name;
        groups[last].members.push(at);
    }
    groups
}

fn note_quantiles(evaluator: &Evaluator<'_>, param: &[f64], expr: Option<&Expr>) {
    let span = crate::eval::span_of(expr);
    for q in param.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        evaluator.notes.add(Note::InvalidQuantile(*q), span);
    }
}

/// Says that histograms are left out.
fn note_ignored(evaluator: &Evaluator<'_>, aggregate: &Aggregate, series: &[StepSeries]) {
    if series.iter().any(|series| !series.column.histograms.is_empty()) {
        let note = Note::IgnoredInAggregation(aggregate.op.name());
        // Aggregations that choose series are pointed at themselves, others at what they aggregate.
        let chooses = matches!(aggregate.op, AggregateOp::Topk | AggregateOp::Bottomk);
        evaluator.notes.add(note, if chooses { aggregate.span } else { aggregate.expr.span() });
    }
}

fn quantiles(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    series: &[StepSeries],
    param: &[f64],
    steps: Steps,
) -> Vec<StepSeries> {
    note_ignored(evaluator, aggregate, series);
    let mut values = Vec::new();
    let of_group = |group: Group| {
        let mut column = Column::empty(steps.count);
        for (step, q) in param.iter().enumerate() {
            values.clear();
            values.extend(group.members.iter().filter_map(|at| series[*at].column.float(step)));
            if !values.is_empty() {
                column.set_float(step, quantile(*q, &mut values));
            }
        }
        StepSeries { labels: group.labels, drop_name: group.drop_name, column }
    };
    groups(aggregate, series).into_iter().map(of_group).collect()
}

fn count_values(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    series: &[StepSeries],
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let Some(param) = aggregate.param.as_deref() else {
        return Err(QueryError::invalid("a label name is missing"));
    };
    let label = evaluator.label_name(param)?;
    let mut with_value = aggregate.clone();
    if !with_value.without {
        with_value.grouping.push(label.clone());
    }
    let mut by_labels: LabelsMap<Labels, usize> = LabelsMap::default();
    let mut found: Vec<StepSeries> = Vec::new();
    for one in series {
        // Most series have few values: the group of the value before is mostly that of this one.
        let mut last: Option<(String, usize)> = None;
        for (step, sample) in one.column.samples() {
            let value = value_text(&sample);
            let index = match &last {
                Some((text, index)) if *text == value => *index,
                _ => {
                    let labels = group_labels(&with_value, &one.labels.with(&label, &value));
                    let new = found.len();
                    let index = *by_labels.entry(labels.clone()).or_insert(new);
                    if index == new {
                        evaluator.budget.take_series(1)?;
                        let column = Column::empty(steps.count);
                        found.push(StepSeries { labels, drop_name: one.drop_name, column });
                    }
                    index
                }
            };
            let column = &mut found[index].column;
            let count = column.float(step).unwrap_or(0.0);
            column.set_float(step, count + 1.0);
            last = Some((value, index));
        }
    }
    Ok(found)
}

fn value_text(sample: &Sample) -> String {
    match sample {
        Sample::Float(value) if value.is_infinite() => {
            if *value > 0.0 {
                "+Inf".to_owned()
            } else {
                "-Inf".to_owned()
            }
        }
        Sample::Float(value) => value.to_string(),
        Sample::Histogram(histogram) => histogram.to_string(),
    }
}
