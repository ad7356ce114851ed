//! What a query reads: samples of series in columns, and where they come from.
//!
//! Floats lie contiguously, because nearly all series have nothing else and loops over them should stay in cache.
//! Histograms lie beside them, each with its own time: a series may change from one kind to the other.

use std::ops::Deref;
use std::sync::Arc;

use crate::budget::Budget;
use crate::error::ExecError;
use crate::histogram::FloatHistogram;
use crate::labels::Labels;
use crate::matcher::Matcher;

/// The NaN that marks that a series ended, told from every other NaN by its bits.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether the value marks the end of a series.
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The value that marks the end of a series.
#[must_use]
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Times of samples, shared: all series that come from one target have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Arc<[i64]>);

impl Times {
    /// Whether both are the same; quick where they share memory.
    #[must_use]
    pub fn is_same(&self, other: &Times) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Deref for Times {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        &self.0
    }
}

impl From<Vec<i64>> for Times {
    fn from(times: Vec<i64>) -> Times {
        Times(times.into())
    }
}

impl FromIterator<i64> for Times {
    fn from_iter<I: IntoIterator<Item = i64>>(times: I) -> Times {
        Times(times.into_iter().collect())
    }
}

/// The samples of one series in a window, times ascending.
#[derive(Clone, Debug, Default)]
pub struct SeriesSamples {
    /// The series.
    pub labels: Labels,
    /// Of each float, milliseconds since the epoch.
    pub timestamps: Times,
    /// The floats, stale markers among them.
    pub values: Vec<f64>,
    /// When what each float counts began, in milliseconds; zero where unknown. Empty or as long as `values`.
    pub start_timestamps: Vec<i64>,
    /// Histograms with their times; a stale marker is one whose sum is [`STALE_NAN_BITS`].
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
    /// Like `start_timestamps`, for `histograms`.
    pub histogram_start_timestamps: Vec<i64>,
}

impl SeriesSamples {
    /// How many samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() + self.histograms.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }
}

/// What the asker will do with the series: a source may use it to read less, and need not.
#[derive(Clone, Debug, Default)]
pub struct SelectHints {
    /// The function or aggregation around the selector, or nothing.
    pub func: String,
    /// The step of the query in milliseconds, zero in an instant query.
    pub step_ms: i64,
    /// The range of the selector in milliseconds, zero without one.
    pub range_ms: i64,
    /// The labels of the aggregation around it.
    pub grouping: Vec<String>,
    /// Whether `grouping` is kept (`by`) instead of dropped.
    pub by: bool,
    /// Of each series only the last sample up to each of these times is looked at; all samples where there are none.
    pub last_at: Option<Grid>,
}

/// Times at equal distances, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The first time.
    pub first_ms: i64,
    /// From one to the next; more than zero.
    pub step_ms: i64,
    /// How many.
    pub count: usize,
}

impl Grid {
    /// The indexes of the samples that are the last up to some time of the grid. `times` ascend.
    #[must_use]
    pub fn last_of(&self, times: &[i64]) -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        let mut next = 0;
        for step in 0..self.count {
            let time = self.first_ms.saturating_add(self.step_ms.saturating_mul(step as i64));
            next += times.get(next..).map_or(0, |rest| rest.iter().take_while(|at| **at <= time).count());
            match next.checked_sub(1) {
                Some(last) if found.last() != Some(&last) => found.push(last),
                _ => {}
            }
            if next == times.len() {
                break;
            }
        }
        found
    }
}

/// Which series, and when.
#[derive(Clone, Debug, Default)]
pub struct SelectRequest {
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// The first millisecond.
    pub start_ms: i64,
    /// The last millisecond; it belongs to the window.
    pub end_ms: i64,
    /// What for.
    pub hints: SelectHints,
}

/// Where samples come from.
///
/// The implementations are the store's snapshot and, in tests and tools, memory.
pub trait SeriesSource: Sync {
    /// The samples of all series that match, sorted by labels. Series without samples in the window may be left out.
    fn select(&self, request: &SelectRequest, budget: &Budget) -> Result<Vec<SeriesSamples>, ExecError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_finds_the_last_sample_up_to_each_time() {
        let times = [10, 20, 30, 40, 50];
        let grid = |first_ms, step_ms, count| Grid { first_ms, step_ms, count };
        assert_eq!(grid(35, 1, 1).last_of(&times), [2]);
        assert_eq!(grid(5, 10, 3).last_of(&times), [0, 1]);
        assert_eq!(grid(20, 25, 9).last_of(&times), [1, 3, 4]);
        assert_eq!(grid(5, 1, 1).last_of(&times), [0usize; 0]);
        assert_eq!(grid(5, 1, 9).last_of(&[]), [0usize; 0]);
    }
}
