//! Rates of counters, differences of gauges, and how often a series changed or was reset.
//!
//! `rate` and its kin take the difference between the last and the first sample, add what was lost at resets, and
//! extrapolate to the ends of the window where samples come close to them.

use std::sync::Arc;

use throughline_exec::{CounterResetHint, FloatHistogram, Labels, SeriesSamples};

use super::start;
use super::{RangeCall, Window, fill, is_mixed};
use crate::annotations::Note;
use crate::ast::Function;
use crate::value::{Column, Sample, Steps};

/// Suffixes of the names of counters.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// What a window comes to before extrapolation.
struct Difference {
    first_ms: i64,
    last_ms: i64,
    samples: usize,
    /// The value of a counter at the first sample: at zero nothing is extrapolated beyond.
    first_value: f64,
    value: Sample,
    /// Where the counter was zero for certain.
    zero_ms: Option<i64>,
}

/// `rate`, `increase` and `delta` at all steps.
pub(super) fn rate_column<'a>(
    call: &RangeCall<'_>,
    samples: &'a SeriesSamples,
    windows: impl Iterator<Item = Window<'a>>,
    steps: Steps,
) -> Column {
    let is_counter = call.function != Function::Delta;
    let labels = &samples.labels;
    let is_steady = is_counter && is_steady(samples);
    fill(windows, steps, |window| {
        if is_mixed(call, labels, window) {
            return None;
        }
        let difference = if window.histograms.is_empty() {
            float_difference(call, labels, window, is_counter)
        } else {
            histogram_difference(call, labels, window, is_counter, is_steady)
        }?;
        Some(extrapolated(call, window, difference, is_counter))
    })
}

/// By how much a difference grows when it is extrapolated from the samples to the window.
fn extrapolation(
    window: &Window<'_>,
    first_ms: i64,
    last_ms: i64,
    samples: usize,
    seconds_to_zero: impl FnOnce(f64) -> Option<f64>,
) -> f64 {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last_ms - first_ms);
    let average = sampled / (samples - 1) as f64;
    let threshold = average * 1.1;
    let mut to_start = seconds(first_ms - window.start_ms);
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if let Some(to_zero) = seconds_to_zero(sampled).filter(|to_zero| *to_zero < to_start) {
        to_start = to_zero;
    }
    let mut to_end = seconds(window.end_ms - last_ms);
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    (sampled + to_start + to_end) / sampled
}

fn extrapolated(
    call: &RangeCall<'_>,
    window: &Window<'_>,
    difference: Difference,
    is_counter: bool,
) -> Sample {
    let Difference { first_ms, last_ms, samples, first_value, value, zero_ms } = difference;
    let size = match &value {
        Sample::Float(value) => *value,
        Sample::Histogram(histogram) => histogram.count,
    };
    let mut factor = match zero_ms {
        // A sample of zero at the start takes the place of what would be extrapolated.
        Some(zero_ms) => {
            let sampled = (last_ms - zero_ms) as f64 / 1000.0;
            let average = (last_ms - first_ms) as f64 / 1000.0 / samples.saturating_sub(1).max(1) as f64;
            let mut to_end = (window.end_ms - last_ms) as f64 / 1000.0;
            if to_end >= average * 1.1 {
                to_end = average / 2.0;
            }
            (sampled + to_end) / sampled
        }
        None => extrapolation(window, first_ms, last_ms, samples, |sampled| {
            let from_zero = is_counter && size > 0.0 && first_value >= 0.0;
            from_zero.then(|| sampled * (first_value / size))
        }),
    };
    if call.function == Function::Rate {
        factor /= call.range_seconds();
    }
    match value {
        Sample::Float(value) => Sample::Float(value * factor),
        Sample::Histogram(histogram) => {
            Sample::Histogram(Arc::new(Arc::unwrap_or_clone(histogram).scaled(factor)))
        }
    }
}

fn float_difference(
    call: &RangeCall<'_>,
    labels: &Labels,
    window: &Window<'_>,
    is_counter: bool,
) -> Option<Difference> {
    let (first, last) = (*window.values.first()?, *window.values.last()?);
    let (first_ms, last_ms) = (*window.times.first()?, *window.times.last()?);
    let zero_ms = if is_counter { start::first_start(window, first_ms, window.starts) } else { None };
    if window.values.len() < 2 && zero_ms.is_none() {
        return None;
    }
    let mut value = last - first;
    if is_counter {
        note_non_counter(call, labels);
        note_overlaps(call, labels, window.times.iter().copied(), window.starts);
        for at in 1..window.values.len() {
            if is_float_reset(window, at) {
                value += window.values[at - 1];
            }
        }
    }
    if zero_ms.is_some() {
        value += first;
    }
    Some(Difference {
        first_ms,
        last_ms,
        samples: window.values.len(),
        first_value: first,
        value: Sample::Float(value),
        zero_ms,
    })
}

/// Whether the counter was reset between the float before `at` and that at `at`.
fn is_float_reset(window: &Window<'_>, at: usize) -> bool {
    window.values[at] < window.values[at - 1]
        || stamped(window.starts, at, |at| window.times[at])
            .is_some_and(|(previous, current)| start::is_reset(previous, current))
}

fn is_histogram_reset(window: &Window<'_>, at: usize, previous: &FloatHistogram) -> bool {
    window.histograms[at].1.detect_reset(previous)
        || stamped(window.histogram_starts, at, |at| window.histograms[at].0)
            .is_some_and(|(previous, current)| start::is_reset(previous, current))
}

/// Times and starts of a sample and the one before it.
fn stamped(starts: &[i64], at: usize, time: impl Fn(usize) -> i64) -> Option<((i64, i64), (i64, i64))> {
    let previous = *starts.get(at.checked_sub(1)?)?;
    Some(((time(at - 1), previous), (time(at), *starts.get(at)?)))
}

fn note_overlaps(
    call: &RangeCall<'_>,
    labels: &Labels,
    times: impl Iterator<Item = i64> + Clone,
    starts: &[i64],
) {
    let mut pairs = start::pairs(times, starts);
    if pairs.any(|(previous, current)| start::overlaps(previous, current.1)) {
        call.note(Note::StartOverlap(labels.metric_name()));
    }
}

/// Says so if a metric does not look like a counter.
pub(super) fn note_non_counter(call: &RangeCall<'_>, labels: &Labels) {
    let metric = labels.metric_name();
    let kind = labels.get("__type__");
    if metric.is_empty() {
        return;
    }
    if !kind.is_empty() {
        if !matches!(kind, "counter" | "histogram") {
            call.note(Note::PossibleNonCounterType { metric, kind });
        }
    } else if !COUNTER_SUFFIXES.iter().any(|suffix| metric.ends_with(suffix)) {
        call.note(Note::PossibleNonCounter(metric));
    }
}

/// Whether a series of histograms is a counter that nothing ever happened to: of one schema, never reset. Found out
/// once, it spares every window a look at each of its samples.
fn is_steady(samples: &SeriesSamples) -> bool {
    let histograms = &samples.histograms;
    let Some((_, first)) = histograms.first() else { return false };
    let fits = |histogram: &FloatHistogram| {
        histogram.schema == first.schema
            && histogram.custom_values == first.custom_values
            && histogram.counter_reset_hint != CounterResetHint::Gauge
    };
    histograms.iter().all(|pair| fits(&pair.1))
        && samples.histogram_start_timestamps.iter().all(|start| *start == 0)
        && !histograms.windows(2).any(|pair| pair[1].1.detect_reset(&pair[0].1))
}

/// Whether at least a quarter of the buckets are populated.
fn is_dense(histogram: &FloatHistogram) -> bool {
    let counts = || histogram.positive.counts.iter().chain(&histogram.negative.counts);
    let populated: usize = counts().map(|count| usize::from(*count != 0.0)).sum();
    populated * 4 >= counts().count()
}

fn histogram_difference(
    call: &RangeCall<'_>,
    labels: &Labels,
    window: &Window<'_>,
    is_counter: bool,
    is_steady: bool,
) -> Option<Difference> {
    let (first_ms, first) = window.histograms.first()?;
    let last_ms = window.histograms.last()?.0;
    let zero_ms =
        if is_counter { start::first_start(window, *first_ms, window.histogram_starts) } else { None };
    if window.histograms.len() < 2 && zero_ms.is_none() {
        return None;
    }
    if is_counter {
        let times = window.histograms.iter().map(|pair| pair.0);
        note_overlaps(call, labels, times, window.histogram_starts);
    }
    let mut value = if is_steady {
        let mut increase = window.histograms.last()?.1.as_ref().clone();
        increase.sub(first).ok()?;
        increase
    } else {
        histogram_increase(call, labels, window, is_counter)?
    };
    if zero_ms.is_some() {
        value.add(first).ok()?;
    }
    value.counter_reset_hint = CounterResetHint::Gauge;
    // Empty buckets do no harm, and histograms that have the same buckets are added up several times faster.
    if !is_dense(&value) {
        value.compact();
    }
    Some(Difference {
        first_ms: *first_ms,
        last_ms,
        samples: window.histograms.len(),
        first_value: first.count,
        value: Sample::Histogram(Arc::new(value)),
        zero_ms,
    })
}

/// The last histogram less the first, with what was lost at resets. Nothing if they do not go together.
fn histogram_increase(
    call: &RangeCall<'_>,
    labels: &Labels,
    window: &Window<'_>,
    is_counter: bool,
) -> Option<FloatHistogram> {
    let metric = labels.metric_name();
    let histograms = window.histograms;
    let (first, last) = (&*histograms.first()?.1, &*histograms.last()?.1);
    let is_gauge = |histogram: &FloatHistogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
    // A first sample right before a reset counts as nothing: its buckets need not go with the others.
    let nothing;
    let mut previous = first;
    if is_counter && histograms.len() > 1 && is_histogram_reset(window, 1, first) {
        let second = &histograms[1].1;
        nothing = FloatHistogram {
            schema: second.schema,
            custom_values: second.custom_values.clone(),
            ..FloatHistogram::default()
        };
        previous = &nothing;
    }
    let is_custom = previous.is_custom();
    let between = if is_counter { histograms.get(1..).unwrap_or(&[]) } else { &[] };
    let is_mixed = between.iter().any(|pair| pair.1.is_custom() != is_custom);
    let is_last_other = last.is_custom() != is_custom;
    // Nothing else is said of histograms that cannot be compared, but of the ends.
    let ends_alone = [first, last];
    let mut looked_at: Box<dyn Iterator<Item = &FloatHistogram>> = match (is_last_other, is_mixed) {
        (false, true) => Box::new(std::iter::empty()),
        (true, _) => Box::new(ends_alone.into_iter()),
        (false, false) => Box::new(histograms.iter().map(|pair| &*pair.1)),
    };
    if is_counter && looked_at.any(is_gauge) {
        call.note(Note::NotCounter(metric));
    }
    if is_last_other || is_mixed {
        call.note(Note::MixedSchemas(metric));
        return None;
    }
    let mut increase = last.clone();
    if !is_custom {
        let schema = between.iter().map(|pair| pair.1.schema).min().unwrap_or(last.schema);
        increase.coarsen(schema.min(previous.schema));
    }
    if increase.sub(previous).ok()?.custom_bounds {
        call.note(Note::CustomBounds("subtraction"));
    }
    for (at, pair) in histograms.iter().enumerate().skip(if is_counter { 1 } else { usize::MAX }) {
        if is_histogram_reset(window, at, previous) && increase.add(previous).ok()?.custom_bounds {
            call.note(Note::CustomBounds("addition"));
        }
        previous = &pair.1;
    }
    if !(is_counter || is_gauge(first) && is_gauge(last)) {
        call.note(Note::NotGauge(metric));
    }
    Some(increase)
}

/// `irate` and `idelta`: what happened between the last two samples.
pub(super) fn instant_rate(
    call: &RangeCall<'_>,
    labels: &Labels,
    window: &Window<'_>,
    is_rate: bool,
) -> Option<Sample> {
    let (floats, histograms) = (window.values.len(), window.histograms.len());
    let float_time = |back: usize| floats.checked_sub(back).map(|at| window.times[at]);
    let histogram_time = |back: usize| histograms.checked_sub(back).map(|at| window.histograms[at].0);
    // The two youngest samples of either kind.
    let mut youngest = [float_time(1), float_time(2), histogram_time(1), histogram_time(2)];
    let histogram_last = histogram_time(1) > float_time(1);
    youngest.sort_unstable();
    let (last_ms, previous_ms) = (youngest[3]?, youngest[2]?);
    let histogram_previous = histogram_time(if histogram_last { 2 } else { 1 }) == Some(previous_ms);
    if histogram_last != histogram_previous {
        call.note(Note::MixedRange(labels.metric_name()));
        return None;
    }
    let seconds = (last_ms - previous_ms) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    if histogram_last {
        let value = histogram_step(call, labels, window, is_rate)?;
        let value = if is_rate { value.divided(seconds) } else { value };
        return Some(Sample::Histogram(Arc::new(value)));
    }
    let (last, previous) = (window.values[floats - 1], window.values[floats - 2]);
    if !is_rate {
        return Some(Sample::Float(last - previous));
    }
    let value = if is_float_reset(window, floats - 1) { last } else { last - previous };
    Some(Sample::Float(value / seconds))
}

fn histogram_step(
    call: &RangeCall<'_>,
    labels: &Labels,
    window: &Window<'_>,
    is_rate: bool,
) -> Option<FloatHistogram> {
    let metric = labels.metric_name();
    let at = window.histograms.len() - 1;
    let (previous, last) = (&window.histograms[at - 1].1, &window.histograms[at].1);
    let gauges = [previous, last].map(|h| h.counter_reset_hint == CounterResetHint::Gauge);
    if is_rate && gauges.contains(&true) {
        call.note(Note::NotCounter(metric));
    }
    if !is_rate && gauges.contains(&false) {
        call.note(Note::NotGauge(metric));
    }
    let mut value = FloatHistogram::clone(last);
    if !is_rate || !is_histogram_reset(window, at, previous) {
        match value.sub(previous) {
            Ok(reconciled) if reconciled.custom_bounds => {
                call.note(Note::CustomBounds("subtraction"));
            }
            Ok(_) => {}
            Err(_) => {
                call.note(Note::MixedSchemas(metric));
                return None;
            }
        }
    }
    value.counter_reset_hint = CounterResetHint::Gauge;
    value.compact();
    Some(value)
}

/// One sample of a window, whatever its kind.
enum Item<'a> {
    Float(usize, f64),
    Histogram(usize, &'a FloatHistogram),
}

/// Floats and histograms in the order of their times.
fn items<'a>(window: &'a Window<'_>) -> impl Iterator<Item = Item<'a>> {
    let mut floats = window.times.iter().zip(window.values).enumerate().peekable();
    let mut histograms = window.histograms.iter().enumerate().peekable();
    std::iter::from_fn(move || {
        let float_ms = floats.peek().map(|next| *next.1.0);
        let histogram_ms = histograms.peek().map(|next| next.1.0);
        let float_first = match (float_ms, histogram_ms) {
            (Some(float), Some(histogram)) => float <= histogram,
            (float, _) => float.is_some(),
        };
        if float_first {
            floats.next().map(|(at, (_, value))| Item::Float(at, *value))
        } else {
            histograms.next().map(|(at, (_, histogram))| Item::Histogram(at, histogram))
        }
    })
}

/// How often the value is another than before.
pub(super) fn changes(window: &Window<'_>) -> f64 {
    let mut count = 0;
    let mut previous: Option<Item<'_>> = None;
    for item in items(window) {
        let changed = match (&previous, &item) {
            (None, _) => false,
            (Some(Item::Float(_, a)), Item::Float(_, b)) => a != b && !(a.is_nan() && b.is_nan()),
            (Some(Item::Histogram(_, a)), Item::Histogram(_, b)) => !a.same_data(b),
            _ => true,
        };
        count += usize::from(changed);
        previous = Some(item);
    }
    count as f64
}

/// How often the counter was reset. A change of kind is one.
pub(super) fn resets(window: &Window<'_>) -> f64 {
    let mut count = 0;
    let mut previous: Option<Item<'_>> = None;
    for item in items(window) {
        let reset = match (&previous, &item) {
            (None, _) => false,
            (Some(Item::Float(..)), Item::Float(at, _)) => is_float_reset(window, *at),
            (Some(Item::Histogram(_, a)), Item::Histogram(at, _)) => is_histogram_reset(window, *at, a),
            _ => true,
        };
        count += usize::from(reset);
        previous = Some(item);
    }
    count as f64
}
