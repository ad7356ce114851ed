//! Aggregations that keep a running value for each group and step.
//!
//! Threads share the work by steps, so that each group adds up its series in their order whatever the number of
//! threads: the result is the same to the last bit.

use std::sync::Arc;

use throughline_exec::histogram::{CompensatedSum, Incompatible, Reconciled};
use throughline_exec::{CounterResetHint, FloatHistogram};

use super::{Group, groups, note_ignored};
use crate::annotations::Note;
use crate::ast::{Aggregate, AggregateOp};
use crate::eval::{Evaluator, map_parallel};
use crate::range::HistogramMean;
use crate::sum::{Mean, Sum};
use crate::value::{Column, StepSeries, StepSet, Steps};

/// A running value of floats.
trait Float: Copy + Send {
    /// Before the first value.
    const START: Self;
    fn add(&mut self, value: f64);
    fn total(self) -> f64;
}

impl Float for Sum {
    const START: Sum = Sum { value: 0.0, lost: 0.0 };
    fn add(&mut self, value: f64) {
        self.add(value);
    }
    fn total(self) -> f64 {
        self.total()
    }
}

impl Float for Mean {
    const START: Mean = Mean::NONE;
    fn add(&mut self, value: f64) {
        self.add(value);
    }
    fn total(self) -> f64 {
        self.total()
    }
}

/// A running variance (Welford's). Prometheus compensates that of one series over time and not that of many series, and values
/// become labels by `count_values`: every digit counts.
#[derive(Clone, Copy)]
struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Float for Variance {
    const START: Variance = Variance { count: 0.0, mean: 0.0, squares: 0.0 };
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
    fn total(self) -> f64 {
        self.squares / self.count
    }
}

#[derive(Clone, Copy)]
struct Smallest(f64);

impl Float for Smallest {
    const START: Smallest = Smallest(f64::NAN);
    fn add(&mut self, value: f64) {
        if value < self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }
    fn total(self) -> f64 {
        self.0
    }
}

#[derive(Clone, Copy)]
struct Greatest(f64);

impl Float for Greatest {
    const START: Greatest = Greatest(f64::NAN);
    fn add(&mut self, value: f64) {
        if value > self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }
    fn total(self) -> f64 {
        self.0
    }
}

pub(super) fn fold(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    series: &[StepSeries],
    steps: Steps,
) -> Vec<StepSeries> {
    use AggregateOp as Op;
    let groups = groups(aggregate, series);
    match aggregate.op {
        Op::Min | Op::Max | Op::Stddev | Op::Stdvar => note_ignored(evaluator, aggregate, series),
        _ => {}
    }
    let threads = evaluator.options.threads;
    let mut columns = match aggregate.op {
        Op::Avg => floats::<Mean>(&groups, series, steps, threads),
        Op::Min => floats::<Smallest>(&groups, series, steps, threads),
        Op::Max => floats::<Greatest>(&groups, series, steps, threads),
        Op::Stddev | Op::Stdvar => floats::<Variance>(&groups, series, steps, threads),
        Op::Count | Op::Group => counts(&groups, series, steps),
        _ => floats::<Sum>(&groups, series, steps, threads),
    };
    match aggregate.op {
        Op::Sum | Op::Avg => {
            for (group, column) in groups.iter().zip(&mut columns) {
                histograms(evaluator, aggregate, group, series, column);
            }
        }
        Op::Stddev => each_value(&mut columns, f64::sqrt),
        Op::Group => each_value(&mut columns, |_| 1.0),
        _ => {}
    }
    let named = groups.into_iter().zip(columns);
    named
        .map(|(group, column)| StepSeries { labels: group.labels, drop_name: group.drop_name, column })
        .collect()
}

fn each_value(columns: &mut [Column], change: impl Fn(f64) -> f64) {
    let values = columns.iter_mut().flat_map(|column| &mut column.values);
    values.for_each(|value| *value = change(*value));
}

/// Samples of either kind, counted.
fn counts(groups: &[Group], series: &[StepSeries], steps: Steps) -> Vec<Column> {
    let count = |group: &Group| {
        let mut column = Column::empty(steps.count);
        for at in &group.members {
            let occupied = series[*at].column.occupied();
            occupied.iter().for_each(|step| column.values[step] += 1.0);
            column.present.union(&occupied);
        }
        column
    };
    groups.iter().map(count).collect()
}

/// Folds the floats of all groups, a part of the steps on each thread.
fn floats<F: Float>(groups: &[Group], series: &[StepSeries], steps: Steps, threads: usize) -> Vec<Column> {
    let parts = threads.min(steps.count / 16).max(1);
    let size = steps.count.div_ceil(parts).max(1);
    let ranges: Vec<(usize, usize)> =
        (0..steps.count).step_by(size).map(|start| (start, (start + size).min(steps.count))).collect();
    let folded = map_parallel(ranges, threads, series.len() * size, |(start, end)| {
        let of_group = |group: &Group| fold_part::<F>(group, series, start, end);
        groups.iter().map(of_group).collect::<Vec<_>>()
    });
    let mut present: Vec<StepSet> = Vec::with_capacity(groups.len());
    for group in groups {
        let mut set = StepSet::none(steps.count);
        group.members.iter().for_each(|at| set.union(&series[*at].column.present));
        present.push(set);
    }
    let mut columns: Vec<Column> = present
        .into_iter()
        .map(|present| Column { values: Vec::with_capacity(steps.count), present, histograms: Vec::new() })
        .collect();
    for part in folded {
        columns.iter_mut().zip(part).for_each(|(column, values)| column.values.extend(values));
    }
    columns
}

/// The values of one group from step `start` to `end`; of no meaning where there are none.
fn fold_part<F: Float>(group: &Group, series: &[StepSeries], start: usize, end: usize) -> Vec<f64> {
    let mut running: Vec<F> = vec![F::START; end - start];
    let all = StepSet::all(series.first().map_or(0, |series| series.column.values.len()));
    for at in &group.members {
        let column = &series[*at].column;
        let values = running.iter_mut().zip(&column.values[start..end]);
        if column.present == all {
            values.for_each(|(running, value)| running.add(*value));
        } else {
            let present = values.enumerate().filter(|(offset, _)| column.present.has(start + offset));
            present.for_each(|(_, (running, value))| running.add(*value));
        }
    }
    running.into_iter().map(F::total).collect()
}

/// A running value of histograms.
enum Running {
    Sum(CompensatedSum),
    Mean(HistogramMean),
    /// They do not go together.
    Broken,
}

impl Running {
    fn add(&mut self, histogram: &FloatHistogram) -> Result<Reconciled, Incompatible> {
        match self {
            Running::Sum(sum) => sum.add(histogram),
            Running::Mean(mean) => mean.add(histogram),
            Running::Broken => Ok(Reconciled::default()),
        }
    }
}

/// One step of one group.
struct HistogramStep {
    running: Running,
    seen_reset: bool,
    seen_no_reset: bool,
}

impl HistogramStep {
    fn new(op: AggregateOp, first: &FloatHistogram) -> HistogramStep {
        let running = if op == AggregateOp::Avg {
            Running::Mean(HistogramMean::new(first))
        } else {
            Running::Sum(CompensatedSum::new(first.clone()))
        };
        let mut step = HistogramStep { running, seen_reset: false, seen_no_reset: false };
        step.note_hint(first);
        step
    }

    fn note_hint(&mut self, histogram: &FloatHistogram) {
        self.seen_reset |= histogram.counter_reset_hint == CounterResetHint::Reset;
        self.seen_no_reset |= histogram.counter_reset_hint == CounterResetHint::NotReset;
    }
}

/// Adds up the histograms of a group. Where there are floats, too, the step has no value.
fn histograms(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    group: &Group,
    series: &[StepSeries],
    column: &mut Column,
) {
    let members = || group.members.iter().map(|at| &series[*at]);
    if members().all(|member| member.column.histograms.is_empty()) {
        return;
    }
    let span = aggregate.expr.span();
    let mut steps: Vec<Option<HistogramStep>> = Vec::new();
    steps.resize_with(column.values.len(), || None);
    for member in members() {
        for (step, histogram) in &member.column.histograms {
            let Some(found) = &mut steps[*step as usize] else {
                steps[*step as usize] = Some(HistogramStep::new(aggregate.op, histogram));
                continue;
            };
            found.note_hint(histogram);
            match found.running.add(histogram) {
                Ok(reconciled) if reconciled.custom_bounds => {
                    evaluator.notes.add(Note::CustomBounds("aggregation"), span);
                }
                Ok(_) => {}
                Err(Incompatible) => {
                    let metric = member.labels.metric_name();
                    evaluator.notes.add(Note::MixedSchemas(metric), span);
                    found.running = Running::Broken;
                }
            }
        }
    }
    finish(evaluator, aggregate, steps, column);
}

fn finish(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    steps: Vec<Option<HistogramStep>>,
    column: &mut Column,
) {
    let span = aggregate.expr.span();
    for (step, found) in steps.into_iter().enumerate() {
        let Some(found) = found else { continue };
        if found.seen_reset && found.seen_no_reset {
            evaluator.notes.add(Note::ResetCollision("aggregation"), span);
        }
        if column.present.has(step) {
            evaluator.notes.add(Note::MixedGroup, span);
            column.present.remove(step);
            continue;
        }
        let mut total = match found.running {
            Running::Sum(sum) => sum.finish(),
            Running::Mean(mean) => mean.finish(),
            Running::Broken => continue,
        };
        total.compact();
        column.histograms.push((step as u32, Arc::new(total)));
    }
}
