//! Where only counts and sums of histograms are asked for, resets of their counters are looked for sample by sample,
//! also between samples that the storage says nothing about.
//!
//! Prometheus reads such selectors without buckets, and detects resets while it reads. What can be seen of this is
//! the hint of the samples: an aggregation complains where one says reset and another says none; and that nothing is said
//! about buckets that do not go together.

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
            // What needs buckets needs them however deep below counts and sums are asked for.
            Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => {
                return;
            }
            _ => counted,
        },
        Expr::Binary(binary) if binary.op.is_trim() => return,
        _ => counted,
    };
    expr.children().into_iter().for_each(|child| collect(child, counted, found));
}

/// Leaves of each histogram what counts and sums need, and says whether its counter was reset, where nothing is said and the
/// sample before is known.
pub(super) fn only_counts(samples: &mut SeriesSamples) {
    let mut previous: Option<Arc<FloatHistogram>> = None;
    for (_, histogram) in &mut samples.histograms {
        if histogram.is_stale() {
            continue;
        }
        let before = previous.replace(histogram.clone());
        let counter_reset_hint = match (histogram.counter_reset_hint, before) {
            (CounterResetHint::Unknown, Some(before)) if histogram.detect_reset(&before) => {
                CounterResetHint::Reset
            }
            (CounterResetHint::Unknown, Some(_)) => CounterResetHint::NotReset,
            (hint, _) => hint,
        };
        let FloatHistogram { schema, count, sum, .. } = **histogram;
        *histogram =
            Arc::new(FloatHistogram { counter_reset_hint, schema, count, sum, ..FloatHistogram::default() });
    }
}
