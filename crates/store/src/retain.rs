//! What retention removes and what is held: pure choices from what there is and the policy.
//!
//! A block goes when its youngest row is too old, or when the folder is too large. Traces in it that something cites are held:
//! they become a block of their own, which no age removes, for as long as the citation lasts and within a budget.
//!
//! - A pin holds until it is taken back.
//! - An alert holds for as long again as everything else stays, from when its trace would have gone.
//! - An exemplar holds for as long as it is stored itself.
//!
//! Where the budget is not enough, pins come before alerts and alerts before exemplars, and what is left out is counted and said.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use throughline_model::TraceId;

use crate::block::BlockMeta;
use crate::error::Error;
use crate::links::alerts;
use crate::sample::Decisions;
use crate::snapshot::{Snapshot, TimeRange};

/// Traces that alerts cite and that are held: the newest.
pub const CITED_MAX: usize = 10_000;

/// An exemplar is at most so much younger than the rows of its trace's block: what exports it again sends its own time.
const EXEMPLAR_REACH_NS: i64 = 3_600_000_000_000;

/// What may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainPolicy {
    /// A block goes when its youngest row is older than this.
    pub retention_ns: i64,
    /// Blocks together with the log may take so many bytes; beyond it the oldest go. No limit if `None`.
    pub budget_bytes: Option<u64>,
}

/// The ids of the blocks to remove, oldest first. `log_bytes` is what the log takes.
pub fn choose(blocks: &[BlockMeta], log_bytes: u64, now: i64, policy: &RetainPolicy) -> Vec<u64> {
    let mut oldest_first: Vec<&BlockMeta> = blocks.iter().filter(|block| !block.is_held()).collect();
    oldest_first.sort_by_key(|block| (block.max_time, block.id));
    let horizon = now.saturating_sub(policy.retention_ns);
    let mut bytes: u64 = blocks.iter().map(BlockMeta::disk_bytes).sum::<u64>().saturating_add(log_bytes);
    let mut removed = Vec::new();
    for block in oldest_first {
        let is_expired = block.max_time < horizon;
        let is_over_budget = policy.budget_bytes.is_some_and(|budget| bytes > budget);
        if !is_expired && !is_over_budget {
            break;
        }
        bytes = bytes.saturating_sub(block.disk_bytes());
        removed.push(block.id);
    }
    removed
}

/// What is held beyond its retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Traces.
    pub traces: u64,
    /// Bytes of their blocks.
    pub bytes: u64,
    /// What these may come to.
    pub budget_bytes: u64,
    /// Traces that something cited and that went all the same because the budget was exhausted, since the process started.
    pub left_out: u64,
}

/// Why a trace is held, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Citing {
    Pin,
    Alert,
    Exemplar,
}

/// A trace that an alert cites, and until when it is held: a part of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cited {
    /// The trace.
    pub trace_id: TraceId,
    /// Nanoseconds since the epoch.
    pub until: i64,
}

/// The traces that something cites.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) traces: HashMap<TraceId, Citing>,
    /// Those of them that alerts cite, with what the manifest knows of them so far.
    pub(crate) cited: Vec<Cited>,
}

impl Wanted {
    /// What is cited by pins and by what stays once these blocks have gone. An alert may lie in one of them: it is younger than
    /// what it cites, and is remembered. `on_damage` is told of what cannot be read, which then cites nothing.
    pub(crate) fn gather(
        snapshot: &Snapshot,
        going: &[u64],
        decisions: &Decisions,
        retention_ns: i64,
        mut on_damage: impl FnMut(Error),
    ) -> Wanted {
        let mut wanted = Wanted::default();
        let end = snapshot.blocks.iter().filter(|block| going.contains(&block.meta().id));
        let end =
            end.map(|block| block.max_time()).max().unwrap_or(i64::MIN).saturating_add(EXEMPLAR_REACH_NS);
        let is_near = |min_time: i64| min_time <= end;
        for block in snapshot.blocks.iter().filter(|block| is_near(block.min_time())) {
            if !going.contains(&block.meta().id) {
                block.each_cited_trace(|id| wanted.add(id, Citing::Exemplar)).unwrap_or_else(&mut on_damage);
            }
        }
        for memtable in &snapshot.memtables {
            memtable.each_cited_trace(|id| wanted.add(id, Citing::Exemplar));
        }
        wanted.cited = decisions.cited.clone();
        let until = snapshot.taken_at().saturating_add(retention_ns);
        let citations = alerts::citations(snapshot, TimeRange::ALL);
        let (citations, _) = citations.unwrap_or_else(|error| {
            on_damage(error);
            Default::default()
        });
        let going: Vec<_> = snapshot.blocks.iter().filter(|block| going.contains(&block.meta().id)).collect();
        for citation in citations {
            let Ok(trace_id) = citation.to else { continue };
            match wanted.cited.iter_mut().find(|known| known.trace_id == trace_id) {
                // An alert that names it by a label and still fires.
                Some(known) => known.until = known.until.max(citation.time.saturating_add(retention_ns)),
                None if going.iter().any(|block| block.may_have(trace_id)) => {
                    wanted.cited.push(Cited { trace_id, until });
                }
                None => {}
            }
        }
        wanted.cited.retain(|cited| cited.until > snapshot.taken_at());
        let over = wanted.cited.len().saturating_sub(CITED_MAX);
        wanted.cited.drain(..over);
        for id in wanted.cited.iter().map(|cited| cited.trace_id).collect::<Vec<_>>() {
            wanted.add(id, Citing::Alert);
        }
        decisions.pins.iter().for_each(|pin| wanted.add(pin.trace_id, Citing::Pin));
        wanted
    }

    fn add(&mut self, id: TraceId, citing: Citing) {
        let known = self.traces.entry(id).or_insert(citing);
        *known = citing.min(*known);
    }
}
