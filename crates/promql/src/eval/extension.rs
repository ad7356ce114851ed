//! Values between samples: the `smoothed` mode.

use std::sync::Arc;

use throughline_exec::{CounterResetHint, FloatHistogram, SeriesSamples, is_stale};

use super::{Evaluator, TimeShift};
use crate::annotations::Note;
use crate::ast::Span;
use crate::value::{Column, Sample, Steps};

/// The value at `time` between two samples, or nothing if they do not go together.
///
/// Between the samples of a counter that was reset, it starts from zero at the first.
pub(crate) fn interpolated(
    (before_ms, before): (i64, &Sample),
    (after_ms, after): (i64, &Sample),
    time_ms: i64,
    is_counter: bool,
    note: &dyn Fn(Note<'_>),
) -> Option<Sample> {
    let fraction = (time_ms - before_ms) as f64 / (after_ms - before_ms) as f64;
    match (before, after) {
        (Sample::Float(before), Sample::Float(after)) => {
            let start = if is_counter && after < before { 0.0 } else { *before };
            Some(Sample::Float(start + (after - start) * fraction))
        }
        (Sample::Histogram(before), Sample::Histogram(after)) => {
            let between = if is_counter && after.detect_reset(before) {
                FloatHistogram::clone(after).scaled(fraction)
            } else {
                let mut difference = FloatHistogram::clone(after);
                if difference.sub(before).ok()?.custom_bounds {
                    note(Note::CustomBounds("subtraction"));
                }
                let mut between = difference.scaled(fraction);
                if between.add(before).ok()?.custom_bounds {
                    note(Note::CustomBounds("addition"));
                }
                between.compact();
                between
            };
            Some(Sample::Histogram(Arc::new(between)))
        }
        _ => None,
    }
}

/// A selector in `smoothed` mode: at each step the value between the samples around it.
pub(super) fn smoothed_column(
    evaluator: &Evaluator<'_>,
    span: Span,
    samples: &SeriesSamples,
    steps: Steps,
    shift: TimeShift,
) -> Column {
    let ordered = in_order(samples);
    let lookback = evaluator.options.lookback_ms;
    let mut column = Column::empty(steps.count);
    for step in 0..steps.count {
        let time = shift.apply(steps.at(step));
        let next_at = ordered.partition_point(|sample| sample.0 <= time);
        let before = next_at
            .checked_sub(1)
            .map(|at| &ordered[at])
            .filter(|sample| sample.0 > time.saturating_sub(lookback));
        let after = ordered.get(next_at).filter(|sample| sample.0 <= time.saturating_add(lookback));
        let around = ordered.partition_point(|sample| sample.0 <= time.saturating_sub(lookback))
            ..ordered.partition_point(|sample| sample.0 <= time.saturating_add(lookback));
        if is_mixed(ordered.get(around).unwrap_or_default()) {
            evaluator.notes.add(Note::MixedRange(samples.labels.metric_name()), span);
            continue;
        }
        let Some(before) = before else { continue };
        let after = match after {
            _ if before.0 == time => {
                column.set(step, before.1.clone());
                continue;
            }
            Some(after) => after,
            None => {
                column.set(step, carried(&before.1));
                continue;
            }
        };
        let is_gauge = |sample: &Sample| match sample {
            Sample::Float(_) => true,
            Sample::Histogram(histogram) => histogram.counter_reset_hint == CounterResetHint::Gauge,
        };
        let is_counter = !(is_gauge(&before.1) && is_gauge(&after.1));
        let note = |note: Note<'_>| evaluator.notes.add(note, span);
        let value = interpolated((before.0, &before.1), (after.0, &after.1), time, is_counter, &note);
        match value.filter(|_| same_buckets(&before.1, &after.1)) {
            Some(value) => column.set(step, value),
            None => {
                let metric = samples.labels.metric_name();
                let both = matches!((&before.1, &after.1), (Sample::Histogram(_), Sample::Histogram(_)));
                let note = if both { Note::MixedSchemas(metric) } else { Note::MixedRange(metric) };
                evaluator.notes.add(note, span);
            }
        }
    }
    column
}

/// Whether there are floats and histograms.
fn is_mixed(samples: &[(i64, Sample)]) -> bool {
    let is_float = |sample: &(i64, Sample)| matches!(sample.1, Sample::Float(_));
    samples.iter().any(is_float) && !samples.iter().all(is_float)
}

/// A sample at a later time: what it says of the one before says nothing there.
fn carried(sample: &Sample) -> Sample {
    match sample {
        Sample::Float(value) => Sample::Float(*value),
        Sample::Histogram(histogram) => {
            let counter_reset_hint = CounterResetHint::Unknown;
            let histogram = FloatHistogram { counter_reset_hint, ..FloatHistogram::clone(histogram) };
            Sample::Histogram(Arc::new(histogram))
        }
    }
}

fn same_buckets(before: &Sample, after: &Sample) -> bool {
    match (before, after) {
        (Sample::Histogram(before), Sample::Histogram(after)) => before.is_custom() == after.is_custom(),
        _ => true,
    }
}

/// Floats and histograms in one list by time, without markers of the series' end.
pub(crate) fn in_order(samples: &SeriesSamples) -> Vec<(i64, Sample)> {
    let floats = samples.timestamps.iter().zip(&samples.values);
    let fresh = floats.filter(|(_, value)| !is_stale(**value));
    let mut ordered: Vec<(i64, Sample)> = fresh.map(|(at, value)| (*at, Sample::Float(*value))).collect();
    let histograms = samples.histograms.iter().filter(|pair| !pair.1.is_stale());
    ordered.extend(histograms.map(|(at, histogram)| (*at, Sample::Histogram(histogram.clone()))));
    ordered.sort_by_key(|sample| sample.0);
    ordered
}
