//! The link ledger: every reference in stored data, counted by its kind, its state and the cause of it.
//!
//! A reference is counted where it is written. Flush and merge see every log record, exemplar and span link beside the trace
//! table anyway, and [`count`] adds up, by service and minute, what holds within the block, what a policy dropped and what
//! cannot be read. What the block alone cannot answer stays open and names its trace's row. [`table`] is the file in
//! which a block keeps this. [`answer`] adds blocks and memtables up and looks for the traces of open references in all of
//! them, so that a state is as of the snapshot.

pub(crate) mod alerts;
mod answer;
pub(crate) mod count;
mod refer;
pub(crate) mod referrers;
pub(crate) mod table;
mod targets;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_model::link::{LinkKind, LinkState};
use throughline_model::{SpanId, TraceId};

use crate::snapshot::TimeRange;

/// References are counted in pieces of so many nanoseconds: a minute.
pub const MINUTE_NS: i64 = 60_000_000_000;

/// Examples of one count: what a person looks at.
pub const EXAMPLES_MAX: usize = 5;

/// Which references to count.
#[derive(Clone, Debug)]
pub struct LinkQuery {
    /// The reference's own time lies in one of the minutes that this touches.
    pub range: TimeRange,
    /// The service that refers; all where none is named.
    pub service: Option<String>,
    /// Examples of each count, at most [`EXAMPLES_MAX`]; without any, less is read.
    pub examples: usize,
}

impl LinkQuery {
    /// Whether a reference at this time is counted: where its minute is.
    pub(crate) fn has_minute(&self, minute: i64) -> bool {
        let start = minute.saturating_mul(MINUTE_NS);
        self.range.overlaps(start, start.saturating_add(MINUTE_NS - 1))
    }

    pub(crate) fn has_service(&self, service: &str) -> bool {
        self.service.as_deref().is_none_or(|wanted| wanted == service)
    }
}

/// A reference as it lies in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    pub(crate) kind: LinkKind,
    pub(crate) service: &'a str,
    /// Nanoseconds since the epoch.
    pub(crate) time: i64,
    pub(crate) to: ReferredTo<'a>,
    /// The sender's sampler decided against the trace.
    pub(crate) is_unsampled: bool,
}

/// What a reference names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReferredTo<'a> {
    Trace(TraceId),
    Span(TraceId, SpanId),
    /// A text that is no id.
    Malformed(&'a str),
}

/// References of one service, kind, state and cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkCount {
    /// The service that refers.
    pub service: String,
    /// What refers to what.
    pub kind: LinkKind,
    /// The state's name, one of [`LinkState::NAMES`].
    pub state: String,
    /// The policy that dropped the traces, or what is wrong with the ids; none where the state says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How many references.
    pub count: u64,
    /// Some of them, at most [`EXAMPLES_MAX`].
    pub examples: Vec<LinkExample>,
}

/// One reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkExample {
    /// The trace that is referred to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The span that is referred to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<SpanId>,
    /// The text as it was sent, where it is no id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// The service that refers.
    pub service: String,
    /// When, nanoseconds since the epoch, to the minute where the block keeps no more.
    pub time: i64,
}

/// A span with a link to a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferringSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// Its service.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its start, nanoseconds since the epoch.
    pub start_time: i64,
    /// The span that it links to, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_span_id: Option<SpanId>,
}

/// References of one kind, over all services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindCount {
    /// What refers to what.
    pub kind: LinkKind,
    /// How many references.
    pub total: u64,
    /// How many of them hold.
    pub resolved: u64,
    /// By state and cause, the most frequent first.
    pub states: Vec<StateCount>,
}

/// References of one kind, state and cause, over all services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateCount {
    /// The state's name.
    pub state: String,
    /// Its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How many references.
    pub count: u64,
    /// Some of them.
    pub examples: Vec<LinkExample>,
}

/// What the ledger answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// By service, kind, state and cause.
    pub counts: Vec<LinkCount>,
    /// Why something is not counted; empty where everything is.
    pub partial: Vec<String>,
}

impl LinkReport {
    /// How many references of a kind are in a state; a state's name is one of [`LinkState::NAMES`].
    pub fn count(&self, kind: LinkKind, state: &str) -> u64 {
        let counts = self.counts.iter().filter(|of| of.kind == kind && of.state == state);
        counts.map(|of| of.count).sum()
    }

    /// The counts over all services, for each kind of which there are references.
    pub fn kinds(&self) -> Vec<KindCount> {
        let mut kinds: BTreeMap<LinkKind, BTreeMap<(&str, Option<&str>), StateCount>> = BTreeMap::new();
        for of in &self.counts {
            let states = kinds.entry(of.kind).or_default();
            let sum = states.entry((&of.state, of.cause.as_deref())).or_insert_with(|| StateCount {
                state: of.state.clone(),
                cause: of.cause.clone(),
                count: 0,
                examples: Vec::new(),
            });
            sum.count += of.count;
            let room = EXAMPLES_MAX.saturating_sub(sum.examples.len());
            sum.examples.extend(of.examples.iter().take(room).cloned());
        }
        let of_kind = |(kind, states): (LinkKind, BTreeMap<_, StateCount>)| {
            let mut states: Vec<StateCount> = states.into_values().collect();
            states.sort_by_key(|of| std::cmp::Reverse(of.count));
            let is_resolved = |of: &&StateCount| of.state == LinkState::Resolved.name();
            KindCount {
                kind,
                total: states.iter().map(|of| of.count).sum(),
                resolved: states.iter().filter(is_resolved).map(|of| of.count).sum(),
                states,
            }
        };
        kinds.into_iter().map(of_kind).collect()
    }
}

#[cfg(test)]
mod tests;
