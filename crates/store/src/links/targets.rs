//! The traces that open references name, and what became of each.
//!
//! Spans in memory are gone through once, whatever the number of references; blocks are asked by their filters, which say no
//! without a read.

use std::sync::Arc;

use ahash::{AHashMap as HashMap, AHashSet as HashSet};
use throughline_model::link::LinkState;
use throughline_model::record::{DroppedSpans, Sampling};
use throughline_model::{SpanId, TraceId};

use crate::block::Block;
use crate::block::read::Kept;
use crate::error::Error;
use crate::memtable::MemtableView;
use crate::snapshot::{PENDING_NS, Snapshot};

/// Traces that one question looks for: the hash table of as many takes 60 MB.
const TARGETS_MAX: usize = 500_000;

/// Traces whose span ids one question reads from blocks, at some 100 µs each.
const SPAN_READS_MAX: usize = 5_000;

/// Where a trace is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Memory,
    /// Spans in at least one block.
    Block,
    Tombstone {
        policy: String,
        at: i64,
    },
    Nowhere,
}

/// A trace that something refers to.
pub(super) struct Target {
    pub(super) id: TraceId,
    /// When something referred to it last, nanoseconds since the epoch.
    pub(super) newest: i64,
    /// Somebody says that the sender's sampler decided against it.
    pub(super) is_unsampled: bool,
    pub(super) place: Place,
}

/// The traces by fingerprint.
#[derive(Default)]
pub(super) struct Targets {
    by_fingerprint: HashMap<u64, u32>,
    pub(super) list: Vec<Target>,
    /// Spans in memory of these traces.
    spans_in_memory: HashSet<(u32, SpanId)>,
    /// The span ids in blocks of traces that were asked for.
    spans_in_blocks: HashMap<u32, HashSet<SpanId>>,
    /// What was dropped of traces whose spans were asked for.
    dropped: HashMap<u32, Option<DroppedSpans>>,
    span_reads_left_out: usize,
    /// Span ids that references in memory name.
    named: Vec<SpanId>,
    /// References to traces beyond [`TARGETS_MAX`].
    pub(super) left_out: u64,
}

impl Targets {
    /// The number of a trace, which `count` references name at this time; `None` beyond the limit.
    pub(super) fn add(&mut self, id: TraceId, time: i64, is_unsampled: bool, count: u64) -> Option<u32> {
        let fingerprint = id.fingerprint();
        if let Some(number) = self.by_fingerprint.get(&fingerprint).copied() {
            if let Some(target) = self.list.get_mut(number as usize) {
                target.newest = target.newest.max(time);
                target.is_unsampled |= is_unsampled;
            }
            return Some(number);
        }
        if self.list.len() >= TARGETS_MAX {
            self.left_out += count;
            return None;
        }
        let number = self.list.len() as u32;
        self.by_fingerprint.insert(fingerprint, number);
        self.list.push(Target { id, newest: time, is_unsampled, place: Place::Nowhere });
        Some(number)
    }

    /// The number of a trace that was added.
    pub(super) fn number(&self, id: TraceId) -> Option<u32> {
        self.by_fingerprint.get(&id.fingerprint()).copied()
    }

    pub(super) fn get(&self, number: u32) -> Option<&Target> {
        self.list.get(number as usize)
    }

    /// Whether a span of a trace is in memory.
    pub(super) fn is_in_memory(&self, number: u32, span_id: SpanId) -> bool {
        self.spans_in_memory.contains(&(number, span_id))
    }

    /// Keeps a span id and says where.
    pub(super) fn keep(&mut self, span_id: SpanId) -> u32 {
        self.named.push(span_id);
        (self.named.len() - 1) as u32
    }

    /// A span id that was kept.
    pub(super) fn kept(&self, at: u32) -> Option<SpanId> {
        self.named.get(at as usize).copied()
    }

    /// Finds those that have spans in memory.
    pub(super) fn find_in_memory(&mut self, memtables: &[MemtableView]) {
        let Targets { by_fingerprint, list, spans_in_memory, .. } = self;
        for memtable in memtables {
            let wanted = |fingerprint: u64| by_fingerprint.get(&fingerprint).copied();
            memtable.each_span(wanted, |number, span_id| {
                if let Some(target) = list.get_mut(number as usize) {
                    target.place = Place::Memory;
                }
                spans_in_memory.extend(span_id.map(|span_id| (number, span_id)));
            });
        }
    }

    /// Finds those of the rest that blocks know of. `on_damage` is told of what cannot be read.
    pub(super) fn find_in_blocks(&mut self, blocks: &[Arc<Block>], mut on_damage: impl FnMut(Error)) {
        for target in self.list.iter_mut().filter(|target| target.place == Place::Nowhere) {
            for block in blocks.iter().filter(|block| block.may_have(target.id)) {
                match block.kept(target.id) {
                    Ok(Kept::Spans) => {
                        target.place = Place::Block;
                        break;
                    }
                    Ok(Kept::Tombstone(Sampling::Dropped { policy, at, .. })) => {
                        target.place = Place::Tombstone { policy, at };
                    }
                    Ok(Kept::Tombstone(_) | Kept::References) => {}
                    Err(error) => on_damage(error),
                }
            }
        }
    }

    /// What sampling dropped of a trace that has spans.
    pub(super) fn dropped(
        &mut self,
        number: u32,
        blocks: &[Arc<Block>],
    ) -> Result<Option<DroppedSpans>, Error> {
        if let Some(known) = self.dropped.get(&number) {
            return Ok(known.clone());
        }
        let Some(id) = self.list.get(number as usize).map(|target| target.id) else { return Ok(None) };
        let mut dropped = None;
        for block in blocks.iter().filter(|block| block.may_have(id)) {
            dropped = DroppedSpans::joined(dropped, block.dropped(id)?);
        }
        self.dropped.insert(number, dropped.clone());
        Ok(dropped)
    }

    /// Whether a span of a trace is anywhere; `None` where too many were looked for.
    pub(super) fn has_span(
        &mut self,
        number: u32,
        span_id: SpanId,
        blocks: &[Arc<Block>],
    ) -> Result<Option<bool>, Error> {
        if self.spans_in_memory.contains(&(number, span_id)) {
            return Ok(Some(true));
        }
        if let Some(ids) = self.spans_in_blocks.get(&number) {
            return Ok(Some(ids.contains(&span_id)));
        }
        let Some(target) = self.list.get(number as usize) else { return Ok(Some(false)) };
        if self.spans_in_blocks.len() >= SPAN_READS_MAX {
            self.span_reads_left_out += 1;
            return Ok(None);
        }
        let id = target.id;
        let mut ids = HashSet::new();
        for block in blocks.iter().filter(|block| block.may_have(id)) {
            ids.extend(block.span_ids_of(id)?);
        }
        let found = ids.contains(&span_id);
        self.spans_in_blocks.insert(number, ids);
        Ok(Some(found))
    }

    /// Why something was not looked for.
    pub(super) fn partial(&self) -> Vec<String> {
        let mut partial = Vec::new();
        if self.left_out > 0 {
            partial.push(format!(
                "{} references are in no count: more than {TARGETS_MAX} traces would have to be looked for; ask for a \
                 shorter time or for one service",
                self.left_out
            ));
        }
        if self.span_reads_left_out > 0 {
            partial.push(format!(
                "{} references to spans count as resolved because their traces are here: the spans of {SPAN_READS_MAX} \
                 traces were looked for, which is the limit",
                self.span_reads_left_out
            ));
        }
        partial
    }
}

/// The state of a reference whose trace is not here.
pub(super) fn state_without_trace(target: &Target, snapshot: &Snapshot) -> LinkState {
    let expired = || snapshot.expired.at(target.id, Some(target.newest));
    match &target.place {
        Place::Memory | Place::Block => LinkState::Resolved,
        Place::Tombstone { policy, at } => LinkState::Dropped { policy: policy.clone(), at: *at },
        Place::Nowhere => match expired() {
            Some(at) => LinkState::Expired { at },
            None if target.is_unsampled => LinkState::Unsampled,
            None if target.newest >= snapshot.taken_at().saturating_sub(PENDING_NS) => LinkState::Pending,
            None => LinkState::NeverReceived,
        },
    }
}
