//! Traces that lie in several places: what their spans fulfil, all places together.
//!
//! Such a trace is read by its id, which costs more than all of its spans in a batch. So first it is noted which conditions are
//! fulfilled by any of its spans, wherever a batch has some, and only traces that can be found at all are read, at the end.
//!
//! Places outside of the window are not looked at: a trace that has a decisive span there alone is not found, as in Tempo.

use std::cmp::Reverse;

use ahash::AHashMap as HashMap;
use throughline_exec::{Budget, ExecError};
use throughline_model::TraceId;

use super::filter::Mask;
use super::plan::Plan;
use crate::source::{TraceHead, TraceRun};

/// Conditions that are told apart; those beyond count as fulfilled.
const LEAVES: usize = 64;

/// What a trace takes here.
const TRACE_BYTES: u64 = 64;

/// Traces that are noted.
#[derive(Default)]
pub(super) struct Torn {
    /// The conditions that are fulfilled by any span, as bits, and the first start.
    traces: HashMap<TraceId, (u64, i64)>,
}

/// The conditions that are fulfilled by any span of a run, as bits.
pub(super) fn fulfilled(masks: &[Mask], run: &TraceRun) -> u64 {
    let of_run = |mask: &Mask| {
        let of_run = mask.get(run.start as usize..run.end as usize);
        of_run.is_some_and(|of_run| of_run.contains(&true))
    };
    let bits = masks.iter().take(LEAVES).enumerate();
    bits.fold(0, |bits, (leaf, mask)| bits | u64::from(of_run(mask)) << leaf)
}

/// Whether traces with these conditions fulfilled can be found.
pub(super) fn may_match(plan: &Plan, bits: u64) -> bool {
    plan.may_match(&|leaf| leaf >= LEAVES || bits >> leaf & 1 == 1)
}

impl Torn {
    /// Notes a part of a trace.
    pub fn add(&mut self, head: &TraceHead, bits: u64, budget: &Budget) -> Result<(), ExecError> {
        let n_traces = self.traces.len();
        let (known, start_ns) = self.traces.entry(head.id).or_insert((0, head.start_ns));
        *known |= bits;
        *start_ns = (*start_ns).min(head.start_ns);
        match self.traces.len() > n_traces {
            true => budget.take_bytes(TRACE_BYTES),
            false => Ok(()),
        }
    }

    /// Adds what was noted elsewhere.
    pub fn join(&mut self, other: Torn) {
        for (id, (bits, start_ns)) in other.traces {
            let (known, first) = self.traces.entry(id).or_insert((0, start_ns));
            *known |= bits;
            *first = (*first).min(start_ns);
        }
    }

    /// Those that can be found, with their starts as far as they are known; the last first.
    pub fn candidates(self, plan: &Plan) -> Vec<(TraceId, i64)> {
        let may = |(_, (bits, _)): &(TraceId, (u64, i64))| may_match(plan, *bits);
        let found = self.traces.into_iter().filter(may).map(|(id, (_, start_ns))| (id, start_ns));
        let mut found: Vec<(TraceId, i64)> = found.collect();
        found.sort_unstable_by_key(|(id, start_ns)| (Reverse(*start_ns), *id));
        found
    }
}
