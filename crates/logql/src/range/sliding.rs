//! The sum of a window that slides over cells, in constant time a cell: a queue of two stacks.
//!
//! Nothing is ever subtracted, so a window that has left an infinite value behind is finite again.

use super::fold::Fold;

/// The cells of a window, the oldest first.
#[derive(Debug)]
pub(super) struct Sliding<F> {
    /// The older cells, the oldest last, each with the sum of itself and all later ones of this stack.
    front: Vec<(i64, F)>,
    /// The later cells, the latest last.
    back: Vec<(i64, F)>,
    back_total: Option<F>,
}

impl<F> Default for Sliding<F> {
    fn default() -> Self {
        Sliding { front: Vec::new(), back: Vec::new(), back_total: None }
    }
}

impl<F: Fold> Sliding<F> {
    /// Adds a cell after all others.
    pub(super) fn push(&mut self, cell: i64, fold: F) {
        self.back.push((cell, fold));
        match &mut self.back_total {
            Some(total) => total.merge(&fold),
            None => self.back_total = Some(fold),
        }
    }

    /// Removes the cells before `first`.
    pub(super) fn drop_before(&mut self, first: i64) {
        loop {
            while self.front.last().is_some_and(|pair| pair.0 < first) {
                self.front.pop();
            }
            if !self.front.is_empty() || self.back.is_empty() {
                return;
            }
            let mut total: Option<F> = None;
            while let Some((cell, mut fold)) = self.back.pop() {
                if let Some(later) = &total {
                    fold.merge(later);
                }
                total = Some(fold);
                self.front.push((cell, fold));
            }
            self.back_total = None;
        }
    }

    /// The sum of all cells.
    pub(super) fn total(&self) -> Option<F> {
        match (self.front.last(), &self.back_total) {
            (Some((_, front)), Some(back)) => {
                let mut total = *front;
                total.merge(back);
                Some(total)
            }
            (Some((_, front)), None) => Some(*front),
            (None, back) => *back,
        }
    }
}
