//! The common case: a series of floats alone, at many steps. What one window has in common with the next is not
//! computed again.
//!
//! - Rates need the first and the last sample and the few places where a counter falls. What depends on times alone is
//!   computed once for all series that have the same times, as those of one target do.
//! - Minimum and maximum keep a queue of the samples that no later one beats.
//! - Sums keep two compensated partial sums: of the samples up to a seam from each of them on, and of those after it.
//!   When the window has left the seam behind, it moves to the window's end.
//! - Quantiles keep the samples of the window sorted.

use std::collections::VecDeque;

use throughline_exec::{SeriesSamples, Times};

use super::{RangeCall, counter};
use crate::annotations::Note;
use crate::ast::{Extension, Function};
use crate::eval::TimeShift;
use crate::sum::{Sum, quantile_of_sorted, value_order};
use crate::value::{Column, StepSet, Steps};

/// From how many steps on windows share enough to keep anything.
const STEPS_MIN: usize = 4;

/// Sums of values up to this cannot overflow, in whatever order they are added.
const SUMMAND_MAX: f64 = 1e290;

/// A column, and the size of the largest window; nothing if this is not the common case.
pub(super) fn column(
    call: &RangeCall<'_>,
    samples: &SeriesSamples,
    steps: Steps,
    shift: TimeShift,
    plans: &mut RatePlans,
) -> Option<(Column, usize)> {
    if !samples.histograms.is_empty() || call.extension != Extension::None {
        return None;
    }
    let windows = Walk { times: &samples.timestamps, steps, range_ms: call.range_ms, shift };
    if matches!(call.function, Function::Rate | Function::Increase | Function::Delta) {
        return rates(call, samples, windows, plans);
    }
    if steps.count < STEPS_MIN {
        return None;
    }
    let mut column = Column::empty(steps.count);
    let size_max = match call.function {
        Function::MinOverTime => extremes(&samples.values, windows, &mut column, |kept, new| kept > new),
        Function::MaxOverTime => extremes(&samples.values, windows, &mut column, |kept, new| kept < new),
        Function::SumOverTime => sums(&samples.values, windows, &mut column, |sum, _| sum.value + sum.lost)?,
        Function::AvgOverTime => {
            sums(&samples.values, windows, &mut column, |sum, count| sum.value / count + sum.lost / count)?
        }
        Function::QuantileOverTime => quantiles(call, &samples.values, windows, &mut column),
        _ => return None,
    };
    Some((column, size_max))
}

/// The indexes of the samples within the windows.
struct Walk<'a> {
    times: &'a [i64],
    steps: Steps,
    range_ms: i64,
    shift: TimeShift,
}

/// One window that has samples: `first..last`.
struct Slide {
    step: usize,
    start_ms: i64,
    end_ms: i64,
    first: usize,
    last: usize,
}

impl Walk<'_> {
    /// The size of the largest window.
    fn each(self, mut use_window: impl FnMut(Slide)) -> usize {
        let (mut first, mut last, mut size_max) = (0, 0, 0);
        for step in 0..self.steps.count {
            let end_ms = self.shift.apply(self.steps.at(step));
            let start_ms = end_ms.saturating_sub(self.range_ms);
            while self.times.get(last).is_some_and(|at| *at <= end_ms) {
                last += 1;
            }
            while first < last && self.times[first] <= start_ms {
                first += 1;
            }
            size_max = size_max.max(last - first);
            if first < last {
                use_window(Slide { step, start_ms, end_ms, first, last });
            }
        }
        size_max
    }
}

/// Plans that are kept: one for each target whose series are looked at in turns.
const PLANS_MAX: usize = 64;

/// The plans of the series before.
#[derive(Default)]
pub(super) struct RatePlans {
    plans: Vec<RatePlan>,
    /// The one that was used last.
    last: usize,
}

impl RatePlans {
    /// The plan for these times.
    fn of(&mut self, times: &Times, plan: impl FnOnce() -> RatePlan) -> &RatePlan {
        let is_for = |plan: &RatePlan| {
            plan.times.len() == times.len()
                && plan.times.first() == times.first()
                && plan.times.is_same(times)
        };
        if !self.plans.get(self.last).is_some_and(is_for) {
            self.last = match self.plans.iter().position(is_for) {
                Some(at) => at,
                None => {
                    if self.plans.len() >= PLANS_MAX {
                        self.plans.clear();
                    }
                    self.plans.push(plan());
                    self.plans.len() - 1
                }
            };
        }
        &self.plans[self.last]
    }
}

/// What rates need of the times of a series.
#[derive(Default)]
struct RatePlan {
    times: Times,
    windows: Vec<RateWindow>,
    /// The steps of the windows.
    present: StepSet,
    size_max: usize,
}

/// One window with at least two samples, by the indexes of its first and its last sample.
struct RateWindow {
    step: usize,
    first: usize,
    last: usize,
    /// Seconds between the two.
    sampled: f64,
    /// By how many seconds the increase is extrapolated to either side.
    to_start: f64,
    to_end: f64,
    /// What the increase is multiplied with.
    factor: f64,
}

impl RatePlan {
    fn new(times: Times, walk: Walk<'_>, per_seconds: f64) -> RatePlan {
        let steps = walk.steps.count;
        let mut plan = RatePlan {
            windows: Vec::with_capacity(steps),
            present: StepSet::none(steps),
            ..RatePlan::default()
        };
        let seconds = |ms: i64| ms as f64 / 1000.0;
        plan.size_max = walk.each(|window| {
            let Slide { step, start_ms, end_ms, first, last } = window;
            if last - first < 2 {
                return;
            }
            let (first_ms, last_ms) = (times[first], times[last - 1]);
            let sampled = seconds(last_ms - first_ms);
            let average = sampled / (last - first - 1) as f64;
            let threshold = average * 1.1;
            let reach = |seconds: f64| if seconds >= threshold { average / 2.0 } else { seconds };
            let (to_start, to_end) = (reach(seconds(first_ms - start_ms)), reach(seconds(end_ms - last_ms)));
            let factor = factor(sampled, to_start, to_end, per_seconds);
            plan.present.insert(step);
            plan.windows.push(RateWindow { step, first, last: last - 1, sampled, to_start, to_end, factor });
        });
        plan.times = times;
        plan
    }
}

/// In the order in which Prometheus computes it, so that the last bit is the same.
fn factor(sampled: f64, to_start: f64, to_end: f64, per_seconds: f64) -> f64 {
    (sampled + to_start + to_end) / sampled / per_seconds
}

/// Nothing if starts of counters are known: then resets may be where nothing falls.
fn rates(
    call: &RangeCall<'_>,
    samples: &SeriesSamples,
    walk: Walk<'_>,
    plans: &mut RatePlans,
) -> Option<(Column, usize)> {
    let is_counter = call.function != Function::Delta;
    if is_counter && samples.start_timestamps.iter().any(|start| *start != 0) {
        return None;
    }
    let per_seconds = if call.function == Function::Rate { call.range_seconds() } else { 1.0 };
    let steps = walk.steps.count;
    let times = &samples.timestamps;
    let plan = plans.of(times, || RatePlan::new(times.clone(), walk, per_seconds));
    let values = samples.values.as_slice();
    let falls = if is_counter { falls(values) } else { Vec::new() };
    let mut column = Column::empty(steps);
    for window in &plan.windows {
        let RateWindow { step, first, last, sampled, to_start, to_end, factor } = *window;
        let oldest = values[first];
        let mut increase = values[last] - oldest;
        if !falls.is_empty() {
            let from = falls.partition_point(|at| *at <= first);
            let inside = falls[from..].iter().take_while(|at| **at <= last);
            inside.for_each(|at| increase += values[at - 1]);
        }
        // A counter is not extrapolated to less than zero. Compared before it is divided: it seldom holds.
        let below_zero =
            is_counter && increase > 0.0 && oldest >= 0.0 && sampled * oldest < to_start * increase;
        let factor = if below_zero {
            // Compared again as it is divided: rounding decides where both are nearly equal.
            let to_zero = sampled * (oldest / increase);
            self::factor(sampled, to_zero.min(to_start), to_end, per_seconds)
        } else {
            factor
        };
        column.values[step] = increase * factor;
    }
    if !plan.windows.is_empty() {
        column.present.clone_from(&plan.present);
        if is_counter {
            counter::note_non_counter(call, &samples.labels);
        }
    }
    Some((column, plan.size_max))
}

/// Where a counter falls: the indexes of the samples that are less than the one before.
fn falls(values: &[f64]) -> Vec<usize> {
    // Nearly no counter falls: found out without an early exit, so that several pairs are compared at once.
    if !values.windows(2).fold(false, |any, pair| any | (pair[1] < pair[0])) {
        return Vec::new();
    }
    let pairs = values.windows(2).enumerate();
    pairs.filter(|(_, pair)| pair[1] < pair[0]).map(|(at, _)| at + 1).collect()
}

/// The value that no other beats; `beaten(kept, new)` says whether a new value beats an earlier one. NaN is skipped.
fn extremes(
    values: &[f64],
    windows: Walk<'_>,
    column: &mut Column,
    beaten: impl Fn(f64, f64) -> bool,
) -> usize {
    let mut queue: VecDeque<usize> = VecDeque::new();
    let mut seen = 0;
    windows.each(|window| {
        for (at, value) in values.iter().enumerate().take(window.last).skip(seen.max(window.first)) {
            if value.is_nan() {
                continue;
            }
            while queue.back().is_some_and(|kept| beaten(values[*kept], *value)) {
                queue.pop_back();
            }
            queue.push_back(at);
        }
        seen = window.last;
        while queue.front().is_some_and(|at| *at < window.first) {
            queue.pop_front();
        }
        column.set_float(window.step, queue.front().map_or(f64::NAN, |at| values[*at]));
    })
}

/// Nothing if a partial sum might overflow where the sum in order does not.
fn sums(
    values: &[f64],
    windows: Walk<'_>,
    column: &mut Column,
    total: impl Fn(Sum, f64) -> f64,
) -> Option<usize> {
    if !values.iter().all(|value| value.abs() < SUMMAND_MAX) {
        return None;
    }
    // The sums from each sample up to the seam, by distance from `base`.
    let (mut front, mut base, mut seam): (Vec<Sum>, usize, usize) = (Vec::new(), 0, 0);
    let (mut back, mut back_end) = (Sum::default(), 0);
    Some(windows.each(|window| {
        let Slide { step, first, last, .. } = window;
        if first >= seam {
            front.clear();
            front.resize(last - first, Sum::default());
            let mut running = Sum::default();
            for (slot, value) in front.iter_mut().zip(&values[first..last]).rev() {
                running.add(*value);
                *slot = running;
            }
            (base, seam, back_end) = (first, last, last);
            back = Sum::default();
        }
        values[back_end..last].iter().for_each(|value| back.add(*value));
        back_end = last;
        let mut sum = front[first - base];
        sum.add(back.value);
        sum.lost += back.lost;
        column.set_float(step, total(sum, (last - first) as f64));
    }))
}

fn quantiles(call: &RangeCall<'_>, values: &[f64], windows: Walk<'_>, column: &mut Column) -> usize {
    let mut sorted: Vec<f64> = Vec::new();
    let (mut from, mut to) = (0, 0);
    windows.each(|window| {
        let Slide { step, first, last, .. } = window;
        if first >= to {
            sorted.clear();
            sorted.extend_from_slice(&values[first..last]);
            sorted.sort_unstable_by(value_order);
        } else {
            for value in &values[from..first] {
                if let Ok(at) = sorted.binary_search_by(|other| value_order(other, value)) {
                    sorted.remove(at);
                }
            }
            for value in &values[to..last] {
                let at = sorted.partition_point(|other| value_order(other, value).is_lt());
                sorted.insert(at, *value);
            }
        }
        (from, to) = (first, last);
        let q = call.param(0, step);
        if !(0.0..=1.0).contains(&q) {
            call.evaluator.notes.add(Note::InvalidQuantile(q), call.param_spans[0]);
        }
        column.set_float(step, quantile_of_sorted(q, &sorted));
    })
}
