//! `*_over_time`: aggregations of the samples in a window.

use std::sync::Arc;

use throughline_exec::histogram::CompensatedSum;
use throughline_exec::{CounterResetHint, FloatHistogram, Labels};

use super::{RangeCall, Window, fill, is_mixed, note_ignored};
use crate::annotations::Note;
use crate::ast::Function;
use crate::sum::{Mean, Sum, Variance, quantile};
use crate::value::{Column, Sample, Steps};

pub(super) fn column<'a>(
    call: &RangeCall<'_>,
    labels: &Labels,
    windows: impl Iterator<Item = Window<'a>>,
    steps: Steps,
) -> Column {
    match call.function {
        Function::SumOverTime => fill(windows, steps, |w| {
            total(call, labels, w, sum, |histograms| sum_histograms(call, labels, histograms))
        }),
        Function::AvgOverTime => fill(windows, steps, |w| {
            total(call, labels, w, mean, |histograms| mean_histogram(call, labels, histograms))
        }),
        Function::CountOverTime => {
            fill(windows, steps, |w| float((w.values.len() + w.histograms.len()) as f64))
        }
        Function::PresentOverTime => fill(windows, steps, |_| float(1.0)),
        Function::LastOverTime => fill(windows, steps, |w| last(w).map(|found| found.1)),
        Function::FirstOverTime => fill(windows, steps, |w| first(w).map(|found| found.1)),
        Function::TsOfLastOverTime => fill(windows, steps, |w| seconds(last(w)?.0)),
        Function::TsOfFirstOverTime => fill(windows, steps, |w| seconds(first(w)?.0)),
        _ => fill(windows, steps, |w| {
            note_ignored(call, labels, w);
            if w.values.is_empty() { None } else { floats_only(call, w) }
        }),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what `fill` asks for")]
fn float(value: f64) -> Option<Sample> {
    Some(Sample::Float(value))
}

fn seconds(time_ms: i64) -> Option<Sample> {
    float(time_ms as f64 / 1000.0)
}

/// The functions that leave histograms out. There is at least one float.
fn floats_only(call: &RangeCall<'_>, window: &Window<'_>) -> Option<Sample> {
    let values = window.values;
    float(match call.function {
        Function::MinOverTime => values[extreme(values, |value, best| value < best)],
        Function::MaxOverTime => values[extreme(values, |value, best| value > best)],
        Function::TsOfMinOverTime => {
            return seconds(window.times[extreme(values, |value, best| value <= best)]);
        }
        Function::TsOfMaxOverTime => {
            return seconds(window.times[extreme(values, |value, best| value >= best)]);
        }
        Function::StddevOverTime => variance(values).sqrt(),
        Function::StdvarOverTime => variance(values),
        Function::QuantileOverTime => {
            let q = call.param(0, window.step);
            if !(0.0..=1.0).contains(&q) {
                call.evaluator.notes.add(Note::InvalidQuantile(q), call.param_spans[0]);
            }
            quantile(q, &mut values.to_vec())
        }
        Function::MadOverTime => median_deviation(values),
        _ => return None,
    })
}

/// The index of the value that no other beats. NaN is beaten by anything.
fn extreme(values: &[f64], beats: impl Fn(f64, f64) -> bool) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate().skip(1) {
        if beats(*value, values[best]) || values[best].is_nan() {
            best = at;
        }
    }
    best
}

fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.total()
}

fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::of(values[0]);
    values[1..].iter().for_each(|value| mean.add(*value));
    mean.total()
}

fn variance(values: &[f64]) -> f64 {
    let mut variance = Variance::default();
    values.iter().for_each(|value| variance.add(*value));
    variance.total()
}

fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let mut deviations = values.to_vec();
    let median = quantile(0.5, &mut deviations);
    deviations.iter_mut().for_each(|value| *value = (*value - median).abs());
    quantile(0.5, &mut deviations)
}

/// The oldest sample.
fn first(window: &Window<'_>) -> Option<(i64, Sample)> {
    let float = window.times.first().map(|at| (*at, Sample::Float(window.values[0])));
    let histogram = window.histograms.first().map(|(at, h)| (*at, Sample::Histogram(h.clone())));
    match (float, histogram) {
        (Some(float), Some(histogram)) if histogram.0 < float.0 => Some(histogram),
        (float, histogram) => float.or(histogram),
    }
}

/// The youngest sample.
fn last(window: &Window<'_>) -> Option<(i64, Sample)> {
    let float = window.times.last().copied().zip(window.values.last().map(|v| Sample::Float(*v)));
    let histogram = window.histograms.last().map(|(at, h)| (*at, Sample::Histogram(h.clone())));
    match (float, histogram) {
        (Some(float), Some(histogram)) if histogram.0 > float.0 => Some(histogram),
        (float, histogram) => float.or(histogram),
    }
}

/// A function that knows both kinds, but not together.
fn total(
    call: &RangeCall<'_>,
    labels: &Labels,
    window: &Window<'_>,
    of_floats: impl Fn(&[f64]) -> f64,
    of_histograms: impl Fn(&[(i64, Arc<FloatHistogram>)]) -> Option<FloatHistogram>,
) -> Option<Sample> {
    if is_mixed(call, labels, window) {
        return None;
    }
    if window.histograms.is_empty() {
        return float(of_floats(window.values));
    }
    of_histograms(window.histograms).map(|total| Sample::Histogram(Arc::new(total)))
}

/// Gives warnings about histograms that are added up.
fn note_hints(call: &RangeCall<'_>, histograms: &[(i64, Arc<FloatHistogram>)]) {
    let has = |hint| histograms.iter().any(|pair| pair.1.counter_reset_hint == hint);
    if has(CounterResetHint::Reset) && has(CounterResetHint::NotReset) {
        call.note(Note::ResetCollision("aggregation"));
    }
}

fn sum_histograms(
    call: &RangeCall<'_>,
    labels: &Labels,
    histograms: &[(i64, Arc<FloatHistogram>)],
) -> Option<FloatHistogram> {
    note_hints(call, histograms);
    let (first, rest) = histograms.split_first()?;
    let mut sum = CompensatedSum::new(FloatHistogram::clone(&first.1));
    for (_, histogram) in rest {
        match sum.add(histogram) {
            Ok(reconciled) if reconciled.custom_bounds => {
                call.note(Note::CustomBounds("aggregation"));
            }
            Ok(_) => {}
            Err(_) => {
                call.note(Note::MixedSchemas(labels.metric_name()));
                return None;
            }
        }
    }
    Some(sum.finish())
}

fn mean_histogram(
    call: &RangeCall<'_>,
    labels: &Labels,
    histograms: &[(i64, Arc<FloatHistogram>)],
) -> Option<FloatHistogram> {
    note_hints(call, histograms);
    let (first, rest) = histograms.split_first()?;
    let mut mean = HistogramMean::new(&first.1);
    for (_, histogram) in rest {
        match mean.add(histogram) {
            Ok(reconciled) if reconciled.custom_bounds => {
                call.note(Note::CustomBounds("aggregation"));
            }
            Ok(_) => {}
            Err(_) => {
                call.note(Note::MixedSchemas(labels.metric_name()));
                return None;
            }
        }
    }
    Some(mean.finish())
}

/// A running mean of histograms: of the sum while it does not overflow, of the mean so far from then on.
pub(crate) struct HistogramMean {
    sum: CompensatedSum,
    count: f64,
    incremental: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: &FloatHistogram) -> HistogramMean {
        HistogramMean { sum: CompensatedSum::new(first.clone()), count: 1.0, incremental: false }
    }

    pub(crate) fn add(
        &mut self,
        histogram: &FloatHistogram,
    ) -> Result<throughline_exec::histogram::Reconciled, throughline_exec::histogram::Incompatible> {
        self.count += 1.0;
        if !self.incremental {
            let mut sum = self.sum.clone();
            let reconciled = sum.add(histogram)?;
            if !sum.uncompensated().has_overflow() {
                self.sum = sum;
                return Ok(reconciled);
            }
            self.incremental = true;
            self.sum.divide(self.count - 1.0);
        }
        self.sum.scale((self.count - 1.0) / self.count);
        self.sum.add(&histogram.clone().divided(self.count))
    }

    pub(crate) fn finish(mut self) -> FloatHistogram {
        if !self.incremental {
            self.sum.divide(self.count);
        }
        self.sum.finish()
    }
}
