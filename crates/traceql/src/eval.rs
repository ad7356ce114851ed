//! From a tree and a source of spans to an answer.
//!
//! A query for spans goes from the newest batch back: conditions are decided for all spans of a batch at once ([`filter`]), whole
//! traces in it go through the pipeline ([`pipeline`], relations by [`tree`]) as far as what is there tells that they may be found
//! ([`parts`]), and what may lie in several places is asked for by its id. The traces of the answer are read once more, with what
//! they are shown with ([`search`]). Numbers ([`metrics`]) are counted batch by batch.

mod expr;
mod fields;
mod filter;
mod metrics;
mod parts;
mod pipeline;
mod plan;
mod search;
mod torn;
mod tree;

use throughline_exec::{Budget, ExecError};

use crate::answer::{MetricsAnswer, SearchAnswer};
use crate::ast::{Expr, Query};
use crate::source::{TraceHead, TraceSource};

pub use metrics::MetricsParams;

/// Threads that share the batches of one query: more would take what other queries need.
const THREADS: usize = 2;

/// Why a query has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EvalError {
    /// A limit, a cancellation, or the source.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A query that cannot be evaluated in this way, or with these parameters.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
}

/// What of a query for spans is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchParams {
    /// Traces overlap with the window from this nanosecond since the epoch.
    pub start_ns: i64,
    /// To this one, which is the first after it.
    pub end_ns: i64,
    /// The most traces.
    pub limit: usize,
    /// The most spans of each set; zero for all of them.
    pub spans_per_set: usize,
}

/// How far from the window a part of a trace may lie whose other parts are looked for: spans of a trace come within seconds.
const PART_REACH_NS: i64 = 10_000_000_000;

impl SearchParams {
    /// Whether other parts of a trace may lie in the window, of which this one has no more than a part.
    pub(crate) fn is_near(&self, head: &TraceHead) -> bool {
        head.start_ns < self.end_ns.saturating_add(PART_REACH_NS)
            && self.start_ns.saturating_sub(PART_REACH_NS) <= head.end_ns
    }

    /// Whether a trace overlaps with the window.
    pub(crate) fn overlaps(&self, head: &TraceHead) -> bool {
        head.start_ns < self.end_ns && self.start_ns <= head.end_ns
    }
}

/// Evaluates queries that were parsed and checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Engine;

impl Engine {
    /// The traces that a query for spans finds, those that started last first.
    pub fn search(
        &self,
        query: &Query,
        params: &SearchParams,
        source: &dyn TraceSource,
        budget: &Budget,
    ) -> Result<SearchAnswer, EvalError> {
        match &query.expr {
            Expr::Spans(pipeline) => search::search(pipeline, params, source, budget),
            Expr::Metrics(_) => {
                Err(invalid(format!("`{query}` asks for series, not for traces: it is a metrics query")))
            }
        }
    }

    /// The series that a query for numbers makes.
    pub fn metrics(
        &self,
        query: &Query,
        params: &MetricsParams,
        source: &dyn TraceSource,
        budget: &Budget,
    ) -> Result<MetricsAnswer, EvalError> {
        match &query.expr {
            Expr::Metrics(expr) => metrics::metrics(expr, &query.hints, params, source, budget),
            Expr::Spans(_) => Err(invalid(format!(
                "`{query}` asks for traces, not for series: add a function such as `| rate()`"
            ))),
        }
    }
}

fn invalid(message: impl Into<String>) -> EvalError {
    EvalError::Invalid { message: message.into() }
}
