//! Selectors: which samples stand for a series at a step, and which lie in a window.

use std::sync::Arc;

use throughline_exec::{
    CounterResetHint, ExecError, FloatHistogram, Grid, Limit, Matcher, SelectHints, SelectRequest,
    SeriesSamples, is_stale,
};

use super::{Evaluator, QueryError, map_parallel};
use crate::ast::{self, At, Duration, Expr, Extension, VectorSelector};
use crate::value::{Column, Sample, StepSeries, Steps};

/// The most steps of a subquery: a year of minutes is half a million. Memory is limited besides.
const SUBQUERY_STEPS_MAX: u64 = 10_000_000;

/// What a selector gives for the sample that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelectorOutput {
    /// Its value.
    Value,
    /// Its time in seconds.
    Timestamp,
    /// When what it counts began, in seconds; zero where that is unknown.
    StartTimestamp,
}

/// How `offset` and `@` move the time of evaluation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimeShift {
    pub offset_ms: i64,
    pub fixed_ms: Option<i64>,
}

impl TimeShift {
    /// Which time is looked at when the time of evaluation is `time_ms`.
    pub(crate) fn apply(&self, time_ms: i64) -> i64 {
        self.fixed_ms.unwrap_or(time_ms).saturating_sub(self.offset_ms)
    }
}

/// A range vector: samples, and the windows over them.
pub(crate) struct RangeInput {
    pub series: Vec<SeriesSamples>,
    /// Whether each series' name is dropped in the end.
    pub drop_names: Vec<bool>,
    pub range_ms: i64,
    pub shift: TimeShift,
    pub extension: Extension,
}

impl Evaluator<'_> {
    pub(crate) fn time_shift(&self, offset: &Duration, at: Option<At>) -> Result<TimeShift, QueryError> {
        let fixed_ms = at.map(|at| match at {
            At::Timestamp { ms } => ms,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        });
        Ok(TimeShift { offset_ms: self.surroundings().offset_ms(offset)?, fixed_ms })
    }

    /// An instant vector selector at all steps.
    pub(crate) fn select(
        &self,
        selector: &VectorSelector,
        steps: Steps,
        output: SelectorOutput,
    ) -> Result<Vec<StepSeries>, QueryError> {
        let shift = self.time_shift(&selector.offset, selector.at)?;
        let lookback = self.options.lookback_ms;
        let smoothed = selector.extension == Extension::Smoothed;
        let ahead = if smoothed { lookback } else { 0 };
        let window = (
            shift.apply(steps.start_ms).saturating_sub(lookback).saturating_add(1),
            shift.apply(steps.end_ms()).saturating_add(ahead),
        );
        // Where resets are looked for, the sample before matters, too; smoothing needs the one after.
        let needs_last = !smoothed && !self.counted.contains(&selector.span);
        let grid = Grid {
            first_ms: shift.apply(steps.start_ms),
            step_ms: steps.step_ms.max(1),
            count: if shift.fixed_ms.is_some() { 1 } else { steps.count },
        };
        let last_at = needs_last.then_some(grid);
        let hints = SelectHints { step_ms: self.step_ms, last_at, ..SelectHints::default() };
        let found = self.fetch_for(selector, window, hints)?;
        self.check_room(found.len(), steps)?;
        let column = |samples: &SeriesSamples| {
            if smoothed {
                super::extension::smoothed_column(self, selector.span, samples, steps, shift)
            } else {
                instant_column(samples, steps, shift, lookback, output)
            }
        };
        let name_drops = output != SelectorOutput::Value;
        let columns = map_parallel(found, self.options.threads, steps.count, |samples| {
            let column = column(&samples);
            StepSeries { labels: samples.labels, drop_name: name_drops, column }
        });
        let series: Vec<StepSeries> =
            columns.into_iter().filter(|series| !series.column.is_empty()).collect();
        self.count_selected(&series);
        self.hold(&series)?;
        Ok(series)
    }

    fn fetch_for(
        &self,
        selector: &VectorSelector,
        window: (i64, i64),
        hints: SelectHints,
    ) -> Result<Vec<SeriesSamples>, QueryError> {
        let mut found = self.fetch(&selector.matchers, window, hints)?;
        if self.counted.contains(&selector.span) {
            found.iter_mut().for_each(super::hints::only_counts);
        }
        Ok(found)
    }

    /// The samples of all series that match, within a window that includes both ends.
    pub(crate) fn fetch(
        &self,
        matchers: &[Matcher],
        (start_ms, end_ms): (i64, i64),
        hints: SelectHints,
    ) -> Result<Vec<SeriesSamples>, QueryError> {
        let request = SelectRequest { matchers: matchers.to_vec(), start_ms, end_ms, hints };
        let found = self.source.select(&request, self.budget)?;
        self.budget.take_series(found.len() as u64)?;
        self.budget.note_samples_read(found.iter().map(|series| series.len() as u64).sum());
        Ok(found)
    }

    /// The argument of a function over ranges, with every sample that a window at any step needs.
    pub(crate) fn range_input(
        &self,
        expr: &Expr,
        steps: Steps,
        function: &str,
    ) -> Result<RangeInput, QueryError> {
        match expr.unparenthesized() {
            Expr::Matrix(matrix) => self.matrix_input(matrix, steps, function),
            Expr::Subquery(subquery) => self.subquery_input(subquery, steps),
            other => Err(super::wrong_type(other, ast::ValueType::Matrix)),
        }
    }

    fn matrix_input(
        &self,
        matrix: &ast::MatrixSelector,
        steps: Steps,
        function: &str,
    ) -> Result<RangeInput, QueryError> {
        let selector = &matrix.selector;
        let shift = self.time_shift(&selector.offset, selector.at)?;
        let range_ms = self.surroundings().positive_ms(&matrix.range)?;
        let lookback = self.options.lookback_ms;
        let (before, after) = match selector.extension {
            Extension::None => (0, 0),
            Extension::Anchored => (lookback, 0),
            Extension::Smoothed => (lookback, lookback),
        };
        let first = shift.apply(steps.start_ms).saturating_sub(range_ms).saturating_sub(before);
        let last = shift.apply(steps.end_ms()).saturating_add(after);
        let hints = SelectHints {
            func: function.to_owned(),
            step_ms: self.step_ms,
            range_ms,
            ..SelectHints::default()
        };
        let mut series = self.fetch_for(selector, (first.saturating_add(1), last), hints)?;
        for samples in &mut series {
            drop_stale(samples);
        }
        series.retain(|samples| !samples.is_empty());
        let drop_names = vec![false; series.len()];
        Ok(RangeInput { series, drop_names, range_ms, shift, extension: selector.extension })
    }

    fn subquery_input(&self, subquery: &ast::Subquery, steps: Steps) -> Result<RangeInput, QueryError> {
        let shift = self.time_shift(&subquery.offset, subquery.at)?;
        let around = self.surroundings();
        let range_ms = around.positive_ms(&subquery.range)?;
        let step_ms = match &subquery.step {
            Some(step) => around.positive_ms(step)?,
            None => self.options.subquery_step_ms,
        }
        .max(1);
        // Steps of a subquery are multiples of its step since the epoch; the window is open on the left.
        let open = shift.apply(steps.start_ms).saturating_sub(range_ms);
        let start_ms = open.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        let end_ms = shift.apply(steps.end_ms());
        let mut input = RangeInput {
            series: Vec::new(),
            drop_names: Vec::new(),
            range_ms,
            shift,
            extension: Extension::None,
        };
        if end_ms < start_ms {
            return Ok(input);
        }
        let count = ((end_ms - start_ms) / step_ms) as u64 + 1;
        if count > SUBQUERY_STEPS_MAX {
            let limit = Limit::Steps;
            return Err(ExecError::Exceeded { limit, value: SUBQUERY_STEPS_MAX }.into());
        }
        let inner_steps = Steps { start_ms, step_ms, count: count as usize };
        let inner = self.counted_inside(|| self.vector(&subquery.expr, inner_steps))?;
        self.release(&inner);
        for series in super::merge_equal(inner)? {
            input.drop_names.push(series.drop_name);
            input.series.push(as_samples(&series, inner_steps));
        }
        Ok(input)
    }
}

/// A column as samples, each at the time of its step.
fn as_samples(series: &StepSeries, steps: Steps) -> SeriesSamples {
    let column = &series.column;
    SeriesSamples {
        labels: series.labels.clone(),
        timestamps: column.present.iter().map(|step| steps.at(step)).collect(),
        values: column.present.iter().map(|step| column.values[step]).collect(),
        histograms: column
            .histograms
            .iter()
            .map(|(step, histogram)| (steps.at(*step as usize), without_hint(histogram)))
            .collect(),
        ..SeriesSamples::default()
    }
}

/// What the storage says of the sample before says nothing of the step before.
fn without_hint(histogram: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    match histogram.counter_reset_hint {
        CounterResetHint::Unknown | CounterResetHint::Gauge => histogram.clone(),
        CounterResetHint::Reset | CounterResetHint::NotReset => {
            let counter_reset_hint = CounterResetHint::Unknown;
            Arc::new(FloatHistogram { counter_reset_hint, ..histogram.as_ref().clone() })
        }
    }
}

/// Leaves out the markers of a series' end.
fn drop_stale(samples: &mut SeriesSamples) {
    // Without an early exit, and for any NaN, so that several values are compared at once.
    let has_nan = samples.values.iter().fold(false, |any, value| any | value.is_nan());
    if has_nan && samples.values.iter().any(|value| is_stale(*value)) {
        let fresh: Vec<bool> = samples.values.iter().map(|value| !is_stale(*value)).collect();
        samples.timestamps = kept(&samples.timestamps, &fresh).collect();
        retain_by(&mut samples.start_timestamps, &fresh);
        retain_by(&mut samples.values, &fresh);
    }
    if samples.histograms.iter().any(|pair| pair.1.is_stale()) {
        let fresh: Vec<bool> = samples.histograms.iter().map(|pair| !pair.1.is_stale()).collect();
        retain_by(&mut samples.histogram_start_timestamps, &fresh);
        retain_by(&mut samples.histograms, &fresh);
    }
}

fn kept<'a>(times: &'a [i64], keep: &'a [bool]) -> impl Iterator<Item = i64> {
    times.iter().zip(keep).filter(|(_, keep)| **keep).map(|(time, _)| *time)
}

fn retain_by<T>(items: &mut Vec<T>, keep: &[bool]) {
    let mut flags = keep.iter();
    items.retain(|_| flags.next().copied().unwrap_or(true));
}

/// At each step the last sample that is not older than the look-back, unless it marks the end of the series.
fn instant_column(
    samples: &SeriesSamples,
    steps: Steps,
    shift: TimeShift,
    lookback_ms: i64,
    output: SelectorOutput,
) -> Column {
    if samples.histograms.is_empty() && output == SelectorOutput::Value {
        return float_column(samples, steps, shift, lookback_ms);
    }
    let mut column = Column::empty(steps.count);
    let (mut floats, mut histograms) = (0, 0);
    for step in 0..steps.count {
        let time = shift.apply(steps.at(step));
        while samples.timestamps.get(floats).is_some_and(|at| *at <= time) {
            floats += 1;
        }
        while samples.histograms.get(histograms).is_some_and(|pair| pair.0 <= time) {
            histograms += 1;
        }
        let oldest = time.saturating_sub(lookback_ms);
        let float_at = floats.checked_sub(1).map(|at| samples.timestamps[at]);
        let histogram_at = histograms.checked_sub(1).map(|at| samples.histograms[at].0);
        let (at, is_float) = match (float_at, histogram_at) {
            (Some(float), Some(histogram)) => (float.max(histogram), float >= histogram),
            (Some(float), None) => (float, true),
            (None, Some(histogram)) => (histogram, false),
            (None, None) => continue,
        };
        if at <= oldest {
            continue;
        }
        let (sample, start) = if is_float {
            let starts = &samples.start_timestamps;
            let value = samples.values[floats - 1];
            if is_stale(value) {
                continue;
            }
            (Sample::Float(value), starts.get(floats - 1))
        } else {
            let starts = &samples.histogram_start_timestamps;
            let histogram = &samples.histograms[histograms - 1].1;
            if histogram.is_stale() {
                continue;
            }
            (Sample::Histogram(histogram.clone()), starts.get(histograms - 1))
        };
        match output {
            SelectorOutput::Value => column.set(step, sample),
            SelectorOutput::Timestamp => column.set_float(step, at as f64 / 1000.0),
            SelectorOutput::StartTimestamp => {
                column.set_float(step, start.copied().unwrap_or(0) as f64 / 1000.0);
            }
        }
    }
    column
}

/// [`instant_column`] for the common case: values of a series of floats alone.
fn float_column(samples: &SeriesSamples, steps: Steps, shift: TimeShift, lookback_ms: i64) -> Column {
    let mut column = Column::empty(steps.count);
    let (times, values) = (&samples.timestamps, &samples.values);
    let mut next = 0;
    for step in 0..steps.count {
        let time = shift.apply(steps.at(step));
        while times.get(next).is_some_and(|at| *at <= time) {
            next += 1;
        }
        let Some(last) = next.checked_sub(1) else { continue };
        if times[last] > time.saturating_sub(lookback_ms) && !is_stale(values[last]) {
            column.set_float(step, values[last]);
        }
    }
    column
}
