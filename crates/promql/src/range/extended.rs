//! `anchored` and `smoothed` windows: no extrapolation, but samples outside of the window.
//!
//! An anchored window begins with the last sample at or before its start. A smoothed one interpolates the values at
//! its start and end from the samples around them. Either needs look-back beyond the window, no more.

use std::sync::Arc;

use throughline_exec::{CounterResetHint, FloatHistogram, Labels, SeriesSamples};

use super::counter;
use super::{RangeCall, Window};
use crate::annotations::Note;
use crate::ast::{Extension, Function};
use crate::eval::interpolated;
use crate::value::{Column, Sample, Steps};

pub(super) fn column<'a>(
    call: &RangeCall<'_>,
    samples: &'a SeriesSamples,
    windows: impl Iterator<Item = Window<'a>>,
    steps: Steps,
) -> Column {
    let mut column = Column::empty(steps.count);
    for window in windows {
        let wide = widen(call, samples, &window);
        let value = match call.function {
            Function::Changes | Function::Resets => {
                if window.is_empty() {
                    continue;
                }
                let counted = if call.function == Function::Changes {
                    counter::changes(&wide)
                } else {
                    counter::resets(&wide)
                };
                Some(Sample::Float(counted))
            }
            _ => {
                if is_mixed(call, samples, &window) {
                    continue;
                }
                difference(call, &samples.labels, &window, &wide)
            }
        };
        if let Some(value) = value {
            column.set(window.step, value);
        }
    }
    column
}

/// The window with the samples around it that it needs: the last before it, and with smoothing the first after it.
fn widen<'a>(call: &RangeCall<'_>, samples: &'a SeriesSamples, window: &Window<'a>) -> Window<'a> {
    let lookback = call.evaluator.options.lookback_ms;
    let oldest = window.start_ms.saturating_sub(lookback);
    let youngest = window.end_ms.saturating_add(lookback);
    let smoothed = call.extension == Extension::Smoothed;
    let times = &samples.timestamps;
    let histograms = &samples.histograms;
    let mut first = times.partition_point(|at| *at <= window.start_ms);
    let mut last = times.partition_point(|at| *at <= window.end_ms);
    let mut first_histogram = histograms.partition_point(|pair| pair.0 <= window.start_ms);
    let mut last_histogram = histograms.partition_point(|pair| pair.0 <= window.end_ms);
    let float_before = first.checked_sub(1).map(|at| times[at]).filter(|at| *at > oldest);
    let histogram_before =
        first_histogram.checked_sub(1).map(|at| histograms[at].0).filter(|at| *at > oldest);
    if float_before > histogram_before {
        first -= 1;
    } else if histogram_before.is_some() {
        first_histogram -= 1;
    }
    if smoothed {
        let float_after = times.get(last).copied().filter(|at| *at <= youngest);
        let histogram_after = histograms.get(last_histogram).map(|pair| pair.0).filter(|at| *at <= youngest);
        let ends = |times_last: Option<i64>| times_last == Some(window.end_ms);
        let exact = ends(last.checked_sub(1).map(|at| times[at]))
            || ends(last_histogram.checked_sub(1).map(|at| histograms[at].0));
        match (float_after, histogram_after) {
            _ if exact => {}
            (Some(float), Some(histogram)) if histogram < float => last_histogram += 1,
            (Some(_), _) => last += 1,
            (None, Some(_)) => last_histogram += 1,
            (None, None) => {}
        }
    }
    Window {
        times: &times[first..last],
        values: &samples.values[first..last],
        starts: samples.start_timestamps.get(first..last).unwrap_or_default(),
        histograms: &histograms[first_histogram..last_histogram],
        histogram_starts: samples
            .histogram_start_timestamps
            .get(first_histogram..last_histogram)
            .unwrap_or_default(),
        ..*window
    }
}

/// Whether floats and histograms are both there, as far as look-back goes; then a warning is given.
fn is_mixed(call: &RangeCall<'_>, samples: &SeriesSamples, window: &Window<'_>) -> bool {
    let lookback = call.evaluator.options.lookback_ms;
    let oldest = window.start_ms.saturating_sub(lookback);
    let youngest = match call.extension {
        Extension::Smoothed => window.end_ms.saturating_add(lookback),
        _ => window.end_ms,
    };
    let times = &samples.timestamps;
    let first = times.partition_point(|at| *at <= oldest);
    let first_histogram = samples.histograms.partition_point(|pair| pair.0 <= oldest);
    let mixed = times.get(first).is_some_and(|at| *at <= youngest)
        && samples.histograms.get(first_histogram).is_some_and(|pair| pair.0 <= youngest);
    if mixed {
        call.note(Note::MixedRange(samples.labels.metric_name()));
    }
    mixed
}

/// `rate`, `increase` and `delta`.
fn difference(
    call: &RangeCall<'_>,
    labels: &Labels,
    window: &Window<'_>,
    wide: &Window<'_>,
) -> Option<Sample> {
    let is_counter = call.function != Function::Delta;
    let smoothed = call.extension == Extension::Smoothed;
    let floats = wide.times.iter().zip(wide.values).map(|(at, value)| (*at, Sample::Float(*value)));
    let histograms =
        wide.histograms.iter().map(|(at, histogram)| (*at, Sample::Histogram(histogram.clone())));
    let samples: Vec<(i64, Sample)> = floats.chain(histograms).collect();
    let (first, last) = (samples.first()?, samples.last()?);
    let missing =
        if smoothed { last.0 <= window.start_ms || first.0 > window.end_ms } else { window.is_empty() };
    if missing || !histograms_fit(call, labels, wide, is_counter) {
        return None;
    }
    if is_counter && !wide.values.is_empty() {
        counter::note_non_counter(call, labels);
    }
    let note = |note: Note<'_>| call.note(note);
    let between = |before: &(i64, Sample), after: &(i64, Sample), time: i64| {
        interpolated((before.0, &before.1), (after.0, &after.1), time, is_counter, &note)
    };
    let left_between = smoothed && first.0 < window.start_ms && samples.len() > 1;
    let right_between = smoothed && last.0 > window.end_ms && samples.len() > 1;
    let left = if left_between { between(first, &samples[1], window.start_ms)? } else { first.1.clone() };
    let right = if right_between {
        between(&samples[samples.len() - 2], last, window.end_ms)?
    } else {
        last.1.clone()
    };
    let is_gauge = |sample: &Sample| match sample {
        Sample::Float(_) => true,
        Sample::Histogram(histogram) => histogram.counter_reset_hint == CounterResetHint::Gauge,
    };
    if !(is_counter || is_gauge(&left) && is_gauge(&right)) {
        call.note(Note::NotGauge(labels.metric_name()));
    }
    let points = reset_points(&samples, &left, &right, left_between);
    let mut value = minus(call, right, &left)?;
    // What was lost at resets is summed up by itself: added to the difference one by one, much could cancel out.
    let mut lost: Option<Sample> = None;
    for pair in points.windows(2).filter(|pair| is_counter && is_reset(&pair[0], &pair[1])) {
        lost = Some(match lost {
            Some(lost) => plus(call, lost, &pair[0])?,
            None => pair[0].clone(),
        });
    }
    if let Some(lost) = lost {
        value = plus(call, value, &lost)?;
    }
    let divisor = if call.function == Function::Rate { call.range_seconds() } else { 1.0 };
    Some(match value {
        Sample::Float(value) => Sample::Float(value / divisor),
        Sample::Histogram(histogram) => {
            let mut histogram = Arc::unwrap_or_clone(histogram).divided(divisor);
            histogram.counter_reset_hint = CounterResetHint::Gauge;
            histogram.compact();
            Sample::Histogram(Arc::new(histogram))
        }
    })
}

/// Whether histograms can be subtracted, with warnings about their kinds.
fn histograms_fit(call: &RangeCall<'_>, labels: &Labels, wide: &Window<'_>, is_counter: bool) -> bool {
    let histograms = wide.histograms;
    let Some(first) = histograms.first() else { return true };
    let is_gauge = |histogram: &FloatHistogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    if is_counter && histograms.iter().any(|pair| is_gauge(&pair.1)) {
        call.note(Note::NotCounter(labels.metric_name()));
    }
    let is_custom = first.1.is_custom();
    let fit = histograms.iter().all(|pair| pair.1.is_custom() == is_custom);
    if !fit {
        call.note(Note::MixedSchemas(labels.metric_name()));
    }
    fit
}

/// The values between which resets are looked for: of floats the ends as they are used, interpolated or not, and the
/// samples within; of histograms the samples themselves, but that an interpolated left end starts after a reset already.
fn reset_points(samples: &[(i64, Sample)], left: &Sample, right: &Sample, left_between: bool) -> Vec<Sample> {
    let values = samples.iter().map(|pair| pair.1.clone());
    if matches!(left, Sample::Histogram(_)) {
        return values.skip(usize::from(left_between)).collect();
    }
    let inner = values.skip(1).take(samples.len().saturating_sub(2));
    std::iter::once(left.clone()).chain(inner).chain([right.clone()]).collect()
}

fn is_reset(before: &Sample, after: &Sample) -> bool {
    match (before, after) {
        (Sample::Float(before), Sample::Float(after)) => after < before,
        (Sample::Histogram(before), Sample::Histogram(after)) => after.detect_reset(before),
        _ => false,
    }
}

fn minus(call: &RangeCall<'_>, right: Sample, left: &Sample) -> Option<Sample> {
    match (right, left) {
        (Sample::Float(right), Sample::Float(left)) => Some(Sample::Float(right - left)),
        (Sample::Histogram(right), Sample::Histogram(left)) => {
            let mut value = Arc::unwrap_or_clone(right);
            if value.sub(left).ok()?.custom_bounds {
                call.note(Note::CustomBounds("subtraction"));
            }
            Some(Sample::Histogram(Arc::new(value)))
        }
        _ => None,
    }
}

fn plus(call: &RangeCall<'_>, value: Sample, other: &Sample) -> Option<Sample> {
    match (value, other) {
        (Sample::Float(value), Sample::Float(other)) => Some(Sample::Float(value + other)),
        (Sample::Histogram(value), Sample::Histogram(other)) => {
            let mut value = Arc::unwrap_or_clone(value);
            if value.add(other).ok()?.custom_bounds {
                call.note(Note::CustomBounds("addition"));
            }
            Some(Sample::Histogram(Arc::new(value)))
        }
        _ => None,
    }
}
