//! Aggregations over time: what rows add up to in each window.
//!
//! A window is `(step - range, step]`. The time line is cut where windows begin or end; a piece between two cuts is a *cell*. Each
//! row goes into one cell ([`Cells`]), whatever the number of windows over it, and a window is a run of cells ([`sliding`]). What needs
//! every sample of a window ([`samples`]) keeps them instead.

pub(crate) mod fold;
pub(crate) mod samples;
mod sliding;

use throughline_exec::log::Cuts;

use crate::value::Steps;
use fold::Fold;
use sliding::Sliding;

/// How time is cut into cells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    steps: Steps,
    range_ns: i64,
    /// Whole steps of the range.
    whole: i64,
    /// What is left of the range.
    rest_ns: i64,
}

impl Grid {
    pub(crate) fn new(steps: Steps, range_ns: i64) -> Grid {
        // With one step, whatever is in its window is in one cell.
        let step_ns = if steps.count == 1 { range_ns } else { steps.step_ns }.max(1);
        let steps = Steps { step_ns, ..steps };
        Grid { steps, range_ns, whole: range_ns / step_ns, rest_ns: range_ns % step_ns }
    }

    pub(crate) fn steps(&self) -> Steps {
        self.steps
    }

    pub(crate) fn range_ns(&self) -> i64 {
        self.range_ns
    }

    /// The piece of time that a time is in.
    pub(crate) fn piece(&self, time_ns: i64) -> Piece {
        let nowhere = Piece { after_ns: time_ns.saturating_sub(1), until_ns: time_ns, cell: None };
        let Some(since) = time_ns.checked_sub(self.steps.start_ns) else { return nowhere };
        let step_ns = self.steps.step_ns;
        // The first step at or after the time, and how long after it that is.
        let step = since.div_euclid(step_ns) + i64::from(since.rem_euclid(step_ns) > 0);
        let Some(before_ns) = step.checked_mul(step_ns).and_then(|end| end.checked_sub(since)) else {
            return nowhere;
        };
        let late = before_ns < self.rest_ns;
        let last = step.saturating_add(self.whole) - i64::from(!late);
        let count = i64::try_from(self.steps.count).unwrap_or(i64::MAX);
        let is_in = step < count && last >= 0 && last >= step;
        // Cells are numbered in the order of time, two a step, from the first that any window has.
        let cell = step.saturating_add(self.whole).saturating_mul(2).saturating_add(i64::from(late));
        let step_end = time_ns.saturating_add(before_ns);
        let cut = step_end.saturating_sub(self.rest_ns);
        let (after_ns, until_ns) =
            if late { (cut, step_end) } else { (step_end.saturating_sub(step_ns), cut) };
        Piece { after_ns, until_ns, cell: is_in.then_some(cell) }
    }

    /// The cuts of its cells, for times that are so much earlier than those of the steps.
    pub(crate) fn cuts(&self, offset_ns: i64) -> Cuts {
        Cuts {
            at_ns: self.steps.start_ns.saturating_sub(offset_ns),
            period_ns: self.steps.step_ns,
            before_ns: self.rest_ns,
        }
    }

    /// The first and the last cell of the window of a step.
    fn window(&self, step: usize) -> (i64, i64) {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        (
            step.saturating_mul(2).saturating_add(1),
            (step.saturating_add(self.whole)).saturating_mul(2).saturating_add(1),
        )
    }
}

/// A piece of time between two cuts: after the first, up to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    after_ns: i64,
    until_ns: i64,
    /// Nothing if no window is over it.
    pub cell: Option<i64>,
}

impl Piece {
    /// Where no time is.
    pub(crate) const EMPTY: Piece = Piece { after_ns: 0, until_ns: 0, cell: None };

    pub(crate) fn has(&self, time_ns: i64) -> bool {
        self.after_ns < time_ns && time_ns <= self.until_ns
    }
}

/// What the rows of one series add up to in each cell that has any, in the order of time.
#[derive(Clone, Debug)]
pub(crate) struct Cells<F>(Vec<(i64, F)>);

impl<F> Default for Cells<F> {
    fn default() -> Self {
        Cells(Vec::new())
    }
}

impl<F: Fold> Cells<F> {
    /// Adds a sample; whether it is the first of its cell.
    pub(crate) fn add(&mut self, cell: i64, time_ns: i64, value: f64) -> bool {
        match self.0.last_mut() {
            Some((last, fold)) if *last == cell => {
                fold.add(time_ns, value);
                return false;
            }
            Some((last, _)) if *last > cell => {}
            _ => {
                self.0.push((cell, F::new(time_ns, value)));
                return true;
            }
        }
        match self.0.binary_search_by_key(&cell, |pair| pair.0) {
            Ok(at) => {
                if let Some((_, fold)) = self.0.get_mut(at) {
                    fold.add(time_ns, value);
                }
                false
            }
            Err(at) => {
                self.0.insert(at, (cell, F::new(time_ns, value)));
                true
            }
        }
    }

    /// The value of each window that has a row.
    pub(crate) fn windows(&self, grid: &Grid) -> Vec<Option<f64>> {
        let mut sliding = Sliding::default();
        let mut cells = self.0.iter().peekable();
        let points = (0..grid.steps.count).map(|step| {
            let (first, last) = grid.window(step);
            while let Some((cell, fold)) = cells.next_if(|pair| pair.0 <= last) {
                sliding.push(*cell, *fold);
            }
            sliding.drop_before(first);
            sliding.total().map(|fold: F| fold.value())
        });
        points.collect()
    }
}

#[cfg(test)]
mod tests;
