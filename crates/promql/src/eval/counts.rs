//! How many samples a query looks at, as Prometheus counts them.
//!
//! *Queryable* is what each step would look at if it were asked alone: a window counts whole at every step that it is looked
//! at. *Read* counts a sample once for all windows that it lies in. A native histogram weighs as many samples as it takes
//! memory of. What happens inside a subquery is read, but queryable are only the values that it makes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Evaluator, RangeInput};
use crate::range::windows;
use crate::value::{StepSeries, Steps};

/// What a query looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleCounts {
    /// Samples queryable at each step.
    pub queryable: Vec<u64>,
    /// Samples read for each step, beyond those of the step before.
    pub read: Vec<u64>,
    /// Samples read inside subqueries.
    pub read_inside: u64,
}

impl SampleCounts {
    /// All samples queryable.
    #[must_use]
    pub fn queryable_total(&self) -> u64 {
        self.queryable.iter().sum()
    }

    /// All samples read.
    #[must_use]
    pub fn read_total(&self) -> u64 {
        self.read.iter().sum::<u64>() + self.read_inside
    }
}

/// The counts of a query that is being evaluated.
#[derive(Debug, Default)]
pub(super) struct Counting {
    counts: Mutex<SampleCounts>,
    /// How many subqueries are being evaluated one inside the other.
    depth: AtomicU32,
}

impl Counting {
    pub(super) fn new(steps: usize) -> Counting {
        let counts =
            SampleCounts { queryable: vec![0; steps], read: vec![0; steps], ..SampleCounts::default() };
        Counting { counts: Mutex::new(counts), depth: AtomicU32::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, SampleCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_inside(&self) -> bool {
        self.depth.load(Ordering::Relaxed) > 0
    }

    fn add(&self, step: usize, queryable: u64, read: u64) {
        let inside = self.is_inside();
        let mut counts = self.lock();
        if inside {
            counts.read_inside += read;
            return;
        }
        if let Some(at) = counts.queryable.get_mut(step) {
            *at += queryable;
        }
        if let Some(at) = counts.read.get_mut(step) {
            *at += read;
        }
    }

    pub(super) fn into_counts(self) -> SampleCounts {
        self.counts.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Evaluator<'_> {
    /// Counts the samples that a selector gave.
    pub(super) fn count_selected(&self, series: &[StepSeries]) {
        let Some(counting) = &self.counting else { return };
        for StepSeries { column, .. } in series {
            column.present.iter().for_each(|step| counting.add(step, 1, 1));
            for (step, histogram) in &column.histograms {
                let weight = histogram.sample_weight();
                counting.add(*step as usize, weight, weight);
            }
        }
    }

    /// Counts the samples of all windows. Those that a subquery made were read when it was evaluated.
    pub(crate) fn count_windows(&self, input: &RangeInput, steps: Steps, is_subquery: bool) {
        let Some(counting) = &self.counting else { return };
        for samples in &input.series {
            // Up to which time something was read for the steps before.
            let mut seen_ms = i64::MIN;
            for window in windows(samples, steps, input.range_ms, |time| input.shift.apply(time)) {
                let floats = window.times.iter().filter(|time| **time > seen_ms).count() as u64;
                let histograms = window.histograms.iter().filter(|pair| pair.0 > seen_ms);
                let new = floats + histograms.map(|pair| pair.1.sample_weight()).sum::<u64>();
                counting.add(window.step, window.weight, if is_subquery { 0 } else { new });
                seen_ms = seen_ms.max(window.end_ms);
            }
        }
    }

    /// What is evaluated within belongs to a subquery.
    pub(super) fn counted_inside<R>(&self, evaluate: impl FnOnce() -> R) -> R {
        let Some(counting) = &self.counting else { return evaluate() };
        counting.depth.fetch_add(1, Ordering::Relaxed);
        let result = evaluate();
        counting.depth.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// What is evaluated within at the first step stands for all steps, at each of which it is queryable.
    pub(super) fn counted_for_all<R>(&self, evaluate: impl FnOnce() -> R) -> R {
        let Some(counting) = self.counting.as_ref().filter(|counting| !counting.is_inside()) else {
            return evaluate();
        };
        let before = counting.lock().queryable.first().copied().unwrap_or_default();
        let result = evaluate();
        let mut counts = counting.lock();
        let once = counts.queryable.first().copied().unwrap_or_default() - before;
        counts.queryable.iter_mut().skip(1).for_each(|count| *count += once);
        drop(counts);
        result
    }
}
