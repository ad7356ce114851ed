//! Functions over range vectors: one walk over the samples of a series for all steps of a query.
//!
//! A window is two pairs of indexes into the series' columns that only move forward; nothing is copied. Functions
//! see a [`Window`] and give a sample or nothing.

mod counter;
mod extended;
mod over_time;
mod regression;
mod sliding;
mod start;

#[cfg(test)]
mod tests;

pub(crate) use over_time::HistogramMean;

use std::sync::Arc;

use throughline_exec::{FloatHistogram, Labels, SeriesSamples};

use crate::annotations::Note;
use crate::ast::{Call, Expr, Extension, Function, Span};
use crate::eval::{Evaluator, QueryError, RangeInput, map_parallel_with};
use crate::value::{Column, Sample, StepSeries, Steps};

/// The samples of one series within the range before one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub step: usize,
    /// The time of evaluation; the window itself may lie elsewhere.
    pub eval_ms: i64,
    /// Not part of the window.
    pub start_ms: i64,
    /// Part of the window.
    pub end_ms: i64,
    pub times: &'a [i64],
    pub values: &'a [f64],
    /// Empty where unknown.
    pub starts: &'a [i64],
    pub histograms: &'a [(i64, Arc<FloatHistogram>)],
    /// Empty where unknown.
    pub histogram_starts: &'a [i64],
    /// How many float samples the window weighs.
    pub weight: u64,
}

impl Window<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }
}

/// One call of a function over ranges, and what its steps need besides the samples.
pub(crate) struct RangeCall<'a> {
    pub evaluator: &'a Evaluator<'a>,
    pub function: Function,
    /// Where the range vector stands: what annotations point at.
    pub span: Span,
    pub range_ms: i64,
    pub extension: Extension,
    /// The scalar arguments, by step.
    pub params: Vec<Vec<f64>>,
    /// Of each scalar argument.
    pub param_spans: Vec<Span>,
}

impl RangeCall<'_> {
    pub(crate) fn note(&self, note: Note<'_>) {
        self.evaluator.notes.add(note, self.span);
    }

    pub(crate) fn param(&self, at: usize, step: usize) -> f64 {
        self.params[at][step]
    }

    fn range_seconds(&self) -> f64 {
        self.range_ms as f64 / 1000.0
    }
}

/// Evaluates a function that takes a range vector.
pub(crate) fn call(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let types = call.function.signature().args;
    let at = types.iter().position(|t| *t == crate::ast::ValueType::Matrix).unwrap_or(0);
    let Some(range) = call.args.get(at) else {
        return Err(QueryError::invalid("a range vector is missing"));
    };
    let scalars: Vec<&Expr> =
        call.args.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, arg)| arg).collect();
    let params = scalars
        .iter()
        .map(|scalar| evaluator.scalar(scalar, steps))
        .collect::<Result<Vec<_>, QueryError>>()?;
    let input = evaluator.range_input(range, steps, call.function.name())?;
    evaluator.count_windows(&input, steps, matches!(range.unparenthesized(), Expr::Subquery(_)));
    let range_call = RangeCall {
        evaluator,
        function: call.function,
        span: place(range),
        range_ms: input.range_ms,
        extension: input.extension,
        param_spans: scalars.iter().map(|scalar| scalar.span()).collect(),
        params,
    };
    check_extension(call.function, input.extension)?;
    regression::check_params(&range_call, &input, steps)?;
    if call.function == Function::AbsentOverTime {
        return Ok(crate::functions::absent::over_time(evaluator, range, &input, steps));
    }
    run(&range_call, input, steps)
}

/// What annotations point at: of a subquery the start of the query, as in Prometheus.
fn place(range: &Expr) -> Span {
    match range.unparenthesized() {
        Expr::Subquery(_) => Span::default(),
        _ => range.span(),
    }
}

/// Refuses functions that look at single samples where the window has values of its own.
fn check_extension(function: Function, extension: Extension) -> Result<(), QueryError> {
    use Function::{Changes, Delta, Increase, Rate, Resets};
    let (mode, known): (&str, &[Function]) = match extension {
        Extension::None => return Ok(()),
        Extension::Anchored => ("anchored", &[Changes, Delta, Increase, Rate, Resets]),
        Extension::Smoothed => ("smoothed", &[Delta, Increase, Rate]),
    };
    if known.contains(&function) {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().map(|function| function.name()).collect();
    Err(QueryError::invalid(format!(
        "{mode} modifier can only be used with: {} - not with {}",
        names.join(", "),
        function.name()
    )))
}

fn run(call: &RangeCall<'_>, input: RangeInput, steps: Steps) -> Result<Vec<StepSeries>, QueryError> {
    let keeps_name = matches!(call.function, Function::LastOverTime | Function::FirstOverTime);
    let budget = call.evaluator.budget;
    let (shift, range_ms) = (input.shift, input.range_ms);
    call.evaluator.check_room(input.series.len(), steps)?;
    let items: Vec<(SeriesSamples, bool)> = input.series.into_iter().zip(input.drop_names).collect();
    let evaluate = |plans: &mut sliding::RatePlans, (samples, drop_name): (SeriesSamples, bool)| {
        budget.check()?;
        let labels = samples.labels.clone();
        if let Some((column, size_max)) = sliding::column(call, &samples, steps, shift, plans) {
            budget.take_samples(size_max as u64)?;
            budget.release_samples(size_max as u64);
            let drop_name = drop_name || !keeps_name;
            return Ok((!column.is_empty()).then_some(StepSeries { labels, drop_name, column }));
        }
        let weight_max = std::cell::Cell::new(0);
        let windows = windows(&samples, steps, range_ms, |time| shift.apply(time))
            .inspect(|window| weight_max.set(weight_max.get().max(window.weight)));
        let column = if input.extension == Extension::None {
            column(call, &samples, windows, steps)
        } else {
            extended::column(call, &samples, windows, steps)
        };
        // Only the largest window counts as held: those of other steps and series have been let go of.
        budget.take_samples(weight_max.get())?;
        budget.release_samples(weight_max.get());
        let drop_name = drop_name || !keeps_name;
        Ok((!column.is_empty()).then_some(StepSeries { labels, drop_name, column }))
    };
    let threads = call.evaluator.options.threads;
    let evaluated = map_parallel_with(items, threads, steps.count, sliding::RatePlans::default, evaluate);
    let found: Result<Vec<Option<StepSeries>>, QueryError> = evaluated.into_iter().collect();
    let series: Vec<StepSeries> = found?.into_iter().flatten().collect();
    call.evaluator.hold(&series)?;
    Ok(series)
}

/// The windows of all steps, in order; those without samples, too.
pub(crate) fn windows<'a>(
    samples: &'a SeriesSamples,
    steps: Steps,
    range_ms: i64,
    end_of: impl Fn(i64) -> i64,
) -> impl Iterator<Item = Window<'a>> {
    let (mut first, mut last) = (0, 0);
    let (mut first_histogram, mut last_histogram) = (0, 0);
    let times = &samples.timestamps;
    let histograms = &samples.histograms;
    // Of the histograms up to each, so that a window's weight is a difference.
    let weights: Vec<u64> = std::iter::once(0)
        .chain(histograms.iter().scan(0, |sum, pair| {
            *sum += pair.1.sample_weight();
            Some(*sum)
        }))
        .collect();
    (0..steps.count).map(move |step| {
        let eval_ms = steps.at(step);
        let end_ms = end_of(eval_ms);
        let start_ms = end_ms.saturating_sub(range_ms);
        while times.get(last).is_some_and(|at| *at <= end_ms) {
            last += 1;
        }
        while first < last && times[first] <= start_ms {
            first += 1;
        }
        while histograms.get(last_histogram).is_some_and(|pair| pair.0 <= end_ms) {
            last_histogram += 1;
        }
        while first_histogram < last_histogram && histograms[first_histogram].0 <= start_ms {
            first_histogram += 1;
        }
        Window {
            step,
            eval_ms,
            start_ms,
            end_ms,
            times: &times[first..last],
            values: &samples.values[first..last],
            starts: part(&samples.start_timestamps, first, last),
            histograms: &histograms[first_histogram..last_histogram],
            histogram_starts: part(&samples.histogram_start_timestamps, first_histogram, last_histogram),
            weight: (last - first) as u64 + weights[last_histogram] - weights[first_histogram],
        }
    })
}

fn part(starts: &[i64], first: usize, last: usize) -> &[i64] {
    if starts.is_empty() { starts } else { &starts[first..last] }
}

fn column<'a>(
    call: &RangeCall<'_>,
    samples: &'a SeriesSamples,
    windows: impl Iterator<Item = Window<'a>>,
    steps: Steps,
) -> Column {
    let labels = &samples.labels;
    match call.function {
        Function::Rate | Function::Increase | Function::Delta => {
            counter::rate_column(call, samples, windows, steps)
        }
        Function::Irate => fill(windows, steps, |w| counter::instant_rate(call, labels, w, true)),
        Function::Idelta => fill(windows, steps, |w| counter::instant_rate(call, labels, w, false)),
        Function::Changes => fill(windows, steps, |w| Some(Sample::Float(counter::changes(w)))),
        Function::Resets => fill(windows, steps, |w| Some(Sample::Float(counter::resets(w)))),
        Function::Deriv | Function::PredictLinear | Function::DoubleExponentialSmoothing => {
            fill(windows, steps, |w| regression::value(call, labels, w))
        }
        _ => over_time::column(call, labels, windows, steps),
    }
}

/// Applies a function to every window that has samples.
fn fill<'a>(
    windows: impl Iterator<Item = Window<'a>>,
    steps: Steps,
    mut value: impl FnMut(&Window<'a>) -> Option<Sample>,
) -> Column {
    let mut column = Column::empty(steps.count);
    for window in windows.filter(|window| !window.is_empty()) {
        if let Some(sample) = value(&window) {
            column.set(window.step, sample);
        }
    }
    column
}

/// Whether floats and histograms are both there; then a warning is given.
fn is_mixed(call: &RangeCall<'_>, labels: &Labels, window: &Window<'_>) -> bool {
    let mixed = !window.values.is_empty() && !window.histograms.is_empty();
    if mixed {
        call.note(Note::MixedRange(labels.metric_name()));
    }
    mixed
}

/// Says that histograms are left out, if there are any beside floats.
fn note_ignored(call: &RangeCall<'_>, labels: &Labels, window: &Window<'_>) {
    if !window.values.is_empty() && !window.histograms.is_empty() {
        // Prometheus points at the first argument, which the quantile is.
        let span = match call.function {
            Function::QuantileOverTime => call.param_spans.first().copied().unwrap_or(call.span),
            _ => call.span,
        };
        call.evaluator.notes.add(Note::IgnoredInRange(labels.metric_name()), span);
    }
}
