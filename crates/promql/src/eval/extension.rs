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
                difference.sub(before).ok()?;
                let mut between = difference.scaled(fraction);
                between.add(before).ok()?;
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
        let Some(before) = before else { continue };
        let after = match after {
            Some(after) if before.0 < time => after,
            _ => {
                column.set(step, before.1.clone());
                continue;
            }
        };
        let is_counter = match &before.1 {
            Sample::Float(_) => false,
            Sample::Histogram(first) => first.counter_reset_hint != CounterResetHint::Gauge,
        };
        let value = interpolated((before.0, &before.1), (after.0, &after.1), time, is_counter);
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
