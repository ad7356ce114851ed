//! Delta temporality: increments become a counter, as a query expects it.
//!
//! Increments are summed up from the start of a window that is the same for every question, so that two questions see
//! the same counter and no question reads more than one window before its own. At a window's start the counter begins
//! anew, which every function of rates understands as the reset that it is.

use std::sync::Arc;

use throughline_exec::{FloatHistogram, SeriesSamples, is_stale};

/// The length of a window, milliseconds: the default length of the store's partitions, so that few blocks are read.
pub(super) const WINDOW_MS: i64 = 2 * 3_600_000;

/// The start of the window that the time lies in.
pub(super) fn window_start_ms(time_ms: i64) -> i64 {
    time_ms.div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS)
}

/// Sums up increments within each window.
pub(super) fn accumulate(samples: &mut SeriesSamples) {
    let (mut window, mut sum) = (i64::MIN, 0.0);
    for (time, value) in samples.timestamps.iter().zip(&mut samples.values) {
        if is_stale(*value) {
            continue;
        }
        let start = window_start_ms(*time);
        sum = if start == window { sum + *value } else { *value };
        window = start;
        *value = sum;
    }
    let mut total: Option<(i64, FloatHistogram)> = None;
    for (time, histogram) in &mut samples.histograms {
        if is_stale(histogram.sum) {
            continue;
        }
        let start = window_start_ms(*time);
        let mut next = FloatHistogram::clone(histogram);
        if let Some((_, before)) = total.take().filter(|(window, _)| *window == start) {
            // Layouts that cannot be added are a change of the instrument: the counter begins anew.
            _ = next.add(&before);
        }
        *histogram = Arc::new(next.clone());
        total = Some((start, next));
    }
}

/// Drops what lies before the time.
pub(super) fn cut_before(samples: &mut SeriesSamples, start_ms: i64) {
    let floats = samples.timestamps.partition_point(|time| *time < start_ms);
    samples.timestamps = samples.timestamps.iter().skip(floats).copied().collect();
    samples.values.drain(..floats);
    samples.start_timestamps.drain(..floats.min(samples.start_timestamps.len()));
    let histograms = samples.histograms.partition_point(|(time, _)| *time < start_ms);
    samples.histograms.drain(..histograms);
    let starts = histograms.min(samples.histogram_start_timestamps.len());
    samples.histogram_start_timestamps.drain(..starts);
}
