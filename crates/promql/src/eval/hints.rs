//! Where only counts and sums of histograms are asked for, resets of their counters are looked for sample by sample,
//! also between samples that the storage says nothing about.
//!
//! Prometheus reads such selectors without buckets, and detects resets while it reads. What can be seen of this is
//! the hint of the samples: an aggregation complains where one says reset and another says none.

use std::collections::HashSet;
use std::sync::Arc;

use throughline_exec::{CounterResetHint, FloatHistogram, SeriesSamples};

use crate::ast::{Expr, Function, Span};

/// The selectors in `expr` of which only counts and sums are asked for.
pub(super) fn counted_selectors(expr: &Expr) -> HashSet<Span> {
    let mut found = HashSet::new();
    collect(expr, false, &mut found);
    found
}

fn collect(expr: &Expr, counted: bool, found: &mut HashSet<Span>) {
    let counted = match expr {
        Expr::Vector(selector) => {
            if counted {
                found.insert(selector.span);
            }
            return;
        }
        Expr::Matrix(matrix) => {
            if counted {
                found.insert(matrix.selector.span);
            }
            return;
        }
        // A subquery skips samples, so it cannot tell from one to the next.
        Expr::Subquery(_) => return,
        Expr::Call(call) => match call.function {
            Function::HistogramCount | Function::HistogramSum | Function::HistogramAvg => true,
            Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => false,
            _ => counted,
        },
        _ => counted,
    };
    expr.children().into_iter().for_each(|child| collect(child, counted, found));
}

/// Says of each histogram whether its counter was reset, where nothing is said and the sample before is known.
pub(super) fn detect_resets(samples: &mut SeriesSamples) {
    let mut previous: Option<Arc<FloatHistogram>> = None;
    for (_, histogram) in &mut samples.histograms {
        if histogram.is_stale() {
            continue;
        }
        let before = previous.replace(histogram.clone());
        if let (CounterResetHint::Unknown, Some(before)) = (histogram.counter_reset_hint, before) {
            let reset = histogram.detect_reset(&before);
            let counter_reset_hint = if reset { CounterResetHint::Reset } else { CounterResetHint::NotReset };
            *histogram = Arc::new(FloatHistogram { counter_reset_hint, ..histogram.as_ref().clone() });
        }
    }
}
