//! Functions of histograms: fields of native ones, and estimates from native and classic ones.
//!
//! A classic histogram is a group of series that differ in `le` alone. Groups are found once; the buckets of a step
//! are then read from their columns.

mod classic;

use std::collections::HashMap;
use std::sync::Arc;

use throughline_exec::histogram::format_float;
use throughline_exec::{FloatHistogram, Labels};

use super::{argument, unknown};
use crate::annotations::{Note, Repair};
use crate::ast::{Call, Function, Span};
use crate::eval::{Evaluator, QueryError, merge_equal};
use crate::value::{Column, StepSeries, Steps};

/// The label that holds the upper bound of a classic bucket.
const BUCKET_LABEL: &str = "le";

/// `histogram_count` and the like; floats give nothing.
pub(super) fn field(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let of: fn(&FloatHistogram) -> f64 = match call.function {
        Function::HistogramCount => |histogram| histogram.count,
        Function::HistogramSum => |histogram| histogram.sum,
        Function::HistogramAvg => |histogram| histogram.sum / histogram.count,
        Function::HistogramStdvar => FloatHistogram::variance,
        Function::HistogramStddev => |histogram| histogram.variance().sqrt(),
        _ => return Err(unknown(call)),
    };
    let series = evaluator.vector(argument(call, 0)?, steps)?;
    evaluator.map_vector(series, |series| {
        let mut column = Column::empty(steps.count);
        let histograms = series.column.histograms.iter();
        histograms.for_each(|(step, histogram)| column.set_float(*step as usize, of(histogram)));
        Some(StepSeries { labels: series.labels, drop_name: true, column })
    })
}

/// What is estimated.
enum Question {
    Quantile {
        /// By step.
        quantiles: Vec<f64>,
        /// The label that tells several quantiles apart, and its value at each step.
        label: Option<String>,
    },
    Fraction {
        lower: Vec<f64>,
        upper: Vec<f64>,
    },
}

/// `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`.
pub(super) fn estimate(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let scalar = |at: usize| evaluator.scalar(argument(call, at)?, steps);
    let quantile = |at: usize, label: Option<String>| -> Result<Question, QueryError> {
        let quantiles = scalar(at)?;
        for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            evaluator.notes.add(Note::InvalidQuantile(*q), argument(call, at)?.span());
        }
        Ok(Question::Quantile { quantiles, label })
    };
    let (vector_at, questions) = match call.function {
        Function::HistogramQuantile => (1, vec![quantile(0, None)?]),
        Function::HistogramQuantiles => {
            let label = evaluator.label_name(argument(call, 1)?)?;
            let questions = (2..call.args.len()).map(|at| quantile(at, Some(label.clone())));
            (0, questions.collect::<Result<_, _>>()?)
        }
        _ => (2, vec![Question::Fraction { lower: scalar(0)?, upper: scalar(1)? }]),
    };
    let vector = argument(call, vector_at)?;
    let series = evaluator.vector(vector, steps)?;
    let groups = group(evaluator, &series, vector.span());
    let mut found = Vec::with_capacity(groups.len());
    for group in &groups {
        evaluator.budget.check()?;
        // Counts are repaired for the first quantile, and are good for the others.
        for (nth, question) in questions.iter().enumerate() {
            let repair = answer(evaluator, question, group, &series, (steps, vector.span()), &mut found);
            if let Some(repair) = repair.filter(|_| nth == 0) {
                evaluator.notes.add_repair(group.labels.metric_name(), repair, vector.span());
            }
        }
    }
    evaluator.release(&series);
    let found: Vec<StepSeries> = found.into_iter().filter(|series| !series.column.is_empty()).collect();
    evaluator.hold(&found)?;
    merge_equal(found)
}

/// The series of one histogram, native or classic.
struct Group {
    labels: Labels,
    /// Indexes of series with native histograms.
    native: Vec<usize>,
    /// Upper bounds, ascending, and indexes of series.
    buckets: Vec<(f64, usize)>,
}

fn group(evaluator: &Evaluator<'_>, series: &[StepSeries], span: Span) -> Vec<Group> {
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (at, one) in series.iter().enumerate() {
        let le = one.labels.get(BUCKET_LABEL);
        let mut group_of = |labels: Labels, groups: &mut Vec<Group>| {
            let new = groups.len();
            let index = *by_labels.entry(labels.clone()).or_insert(new);
            if index == new {
                groups.push(Group { labels, native: Vec::new(), buckets: Vec::new() });
            }
            index
        };
        if !one.column.present.is_empty() {
            match crate::functions::histogram::classic::parse_bound(le) {
                Some(bound) => {
                    let index = group_of(one.labels.without(&[BUCKET_LABEL]), &mut groups);
                    groups[index].buckets.push((bound, at));
                }
                None => {
                    let metric = one.labels.metric_name();
                    evaluator.notes.add(Note::BadBucketLabel { value: le, metric }, span);
                }
            }
        }
        if !one.column.histograms.is_empty() {
            let index = group_of(one.labels.clone(), &mut groups);
            groups[index].native.push(at);
        }
    }
    for group in &mut groups {
        group.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    groups
}

/// Answers one question for one histogram at all steps. Returns how its counts had to be repaired.
fn answer(
    evaluator: &Evaluator<'_>,
    question: &Question,
    group: &Group,
    series: &[StepSeries],
    (steps, span): (Steps, Span),
    found: &mut Vec<StepSeries>,
) -> Option<Repair> {
    let metric = group.labels.metric_name();
    let mut columns: Vec<(Labels, Column)> = Vec::new();
    let mut buckets = Vec::with_capacity(group.buckets.len());
    let mut repair = None;
    for step in 0..steps.count {
        buckets.clear();
        buckets.extend(group.buckets.iter().filter_map(|(bound, at)| {
            let count = series[*at].column.float(step)?;
            Some(classic::Bucket { upper: *bound, count })
        }));
        let native = group.native.iter().find_map(|at| series[*at].column.histogram(step));
        let value = match (native, buckets.is_empty()) {
            (Some(_), false) => {
                evaluator.notes.add(Note::MixedClassicNative(metric), span);
                continue;
            }
            (Some(histogram), true) => of_native(evaluator, question, histogram, step, metric, span),
            (None, false) => {
                let (value, repaired) = of_classic(question, &mut buckets, step);
                merge_repair(&mut repair, repaired, steps.at(step));
                value
            }
            (None, true) => continue,
        };
        let labels = || match question {
            Question::Quantile { quantiles, label: Some(label) } => {
                group.labels.with(label, &open_metrics_float(quantiles[step]))
            }
            _ => group.labels.clone(),
        };
        let same = columns.last().is_some_and(|_| is_same_label(question, step));
        if !same {
            let labels = labels();
            match columns.iter().position(|column| column.0 == labels) {
                Some(at) => {
                    let last = columns.len() - 1;
                    columns.swap(at, last);
                }
                None => columns.push((labels, Column::empty(steps.count))),
            }
        }
        if let Some((_, column)) = columns.last_mut() {
            column.set_float(step, value);
        }
    }
    let series = columns.into_iter();
    found.extend(series.map(|(labels, column)| StepSeries { labels, drop_name: true, column }));
    repair
}

/// Whether the label of the step is that of the step before.
fn is_same_label(question: &Question, step: usize) -> bool {
    match question {
        Question::Quantile { quantiles, label: Some(_) } => {
            step > 0 && quantiles[step].to_bits() == quantiles[step - 1].to_bits()
        }
        _ => true,
    }
}

fn of_native(
    evaluator: &Evaluator<'_>,
    question: &Question,
    histogram: &Arc<FloatHistogram>,
    step: usize,
    metric: &str,
    span: Span,
) -> f64 {
    match question {
        Question::Quantile { quantiles, .. } => {
            let q = quantiles[step];
            let value = histogram.quantile(q);
            if (0.0..=1.0).contains(&q) && histogram.count != 0.0 && histogram.has_nan_observations() {
                let is_beyond = histogram.ranks_beyond_buckets(q);
                let note = if is_beyond { Note::QuantileNan(metric) } else { Note::QuantileSkewed(metric) };
                evaluator.notes.add(note, span);
            }
            value
        }
        Question::Fraction { lower, upper } => {
            if histogram.has_nan_observations() && lower[step] < upper[step] {
                evaluator.notes.add(Note::FractionNan(metric), span);
            }
            histogram.fraction(lower[step], upper[step])
        }
    }
}

fn of_classic(
    question: &Question,
    buckets: &mut Vec<classic::Bucket>,
    step: usize,
) -> (f64, Option<classic::Fall>) {
    match question {
        Question::Quantile { quantiles, .. } => classic::quantile(quantiles[step], buckets),
        Question::Fraction { lower, upper } => (classic::fraction(lower[step], upper[step], buckets), None),
    }
}

fn merge_repair(repair: &mut Option<Repair>, fall: Option<classic::Fall>, time_ms: i64) {
    let Some(fall) = fall else { return };
    let next = Repair {
        lowest: fall.lowest,
        highest: fall.highest,
        difference_max: fall.difference_max,
        first_ms: time_ms,
        last_ms: time_ms,
        samples: 1,
    };
    match repair {
        Some(repair) => repair.merge(next),
        None => *repair = Some(next),
    }
}

/// A float as OpenMetrics wants it in a label: never without a point or an exponent.
fn open_metrics_float(value: f64) -> String {
    let text = format_float(value);
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}
