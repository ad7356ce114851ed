//! Between the parsers and the visitor: classic histograms on their way are converted, where that is asked for.

use std::ops::ControlFlow;

use super::custom_buckets::Collector;
use super::{Entry, Histograms};

/// Where parsers put what they find.
pub struct Output<F> {
    visit: F,
    /// What to make of histograms.
    pub histograms: Histograms,
    collector: Option<Collector>,
}

impl<F> Output<F>
where
    F: FnMut(&Entry<'_>) -> ControlFlow<()>,
{
    pub fn new(histograms: Histograms, visit: F) -> Output<F> {
        let collector = histograms.convert_classic.then(|| Collector::new(histograms.always_classic));
        Output { visit, histograms, collector }
    }

    /// An entry that may be part of a classic histogram.
    pub fn classic(&mut self, entry: &Entry<'_>) -> ControlFlow<()> {
        match &mut self.collector {
            Some(collector) => collector.take(entry, &mut self.visit),
            None => (self.visit)(entry),
        }
    }

    /// An entry that is to stay as it is.
    pub fn verbatim(&mut self, entry: &Entry<'_>) -> ControlFlow<()> {
        self.finish()?;
        (self.visit)(entry)
    }

    /// Shows what was held back.
    pub fn finish(&mut self) -> ControlFlow<()> {
        match &mut self.collector {
            Some(collector) => collector.finish(&mut self.visit),
            None => ControlFlow::Continue(()),
        }
    }
}
