//! Retention: blocks that are too old or over the disk budget go, and what is cited of them is held.
//!
//! What to do is decided elsewhere as data ([`crate::retain`]); here it is done, in an order that a power cut may end anywhere:
//! the ids of what goes are written first, then the blocks of what is held, then the manifest's edit does all of it at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use throughline_model::TraceId;

use super::maintain::Decided;
use super::{Engine, lock};
use crate::block::{Block, BlockMeta};
use crate::compact;
use crate::error::Error;
use crate::expired::Removed;
use crate::retain::{self, Citing, Held, RetainPolicy, Wanted};
use crate::snapshot::Snapshot;

/// A block of held traces is written again when nothing cites at least so large a part of them any more: an eighth.
const REWRITE_PART: u64 = 8;

/// A block that goes, and what stays of it.
struct Going {
    block: Arc<Block>,
    keep: HashSet<TraceId>,
}

/// What is to be done.
#[derive(Default)]
struct Plan {
    going: Vec<Going>,
    /// Cited traces for which the budget has no room.
    left_out: u64,
}

impl Engine {
    /// Removes blocks that are too old or over the disk budget, and says how many. What is cited of them stays, in blocks of its own.
    pub fn retain_once(&self) -> Result<usize, Error> {
        let _compacting = lock(&self.compacting);
        let policy = RetainPolicy {
            retention_ns: self.config.retention_ns(),
            budget_bytes: self.config.budgets.disk_bytes,
        };
        let log_bytes = lock(&self.log).writer.size().1;
        let (mut removed, decisions) = {
            let manifest = &lock(&self.manifest).manifest;
            let removed = retain::choose(&manifest.blocks, log_bytes, self.clock.now(), &policy);
            (removed, manifest.decisions.clone())
        };
        if removed.is_empty() {
            return Ok(0);
        }
        let snapshot = self.snapshot();
        let wanted = Wanted::gather(&snapshot, &removed, &decisions, policy.retention_ns, |error| {
            self.note_unheld(&error);
        });
        let mut plan = self.plan(&snapshot, &removed, &wanted);
        drop(snapshot);
        let (metas, blocks) = self.write_held(&mut plan)?;
        let n_removed = removed.len();
        removed.extend(plan.going.iter().map(|going| going.block.meta().id));
        removed.sort_unstable();
        removed.dedup();
        let folders: Vec<String> = metas.iter().map(|meta| meta.name.clone()).collect();
        let expired = self.remember(&plan);
        let floor = lock(&self.manifest).manifest.floor.clone();
        self.write_edits(&metas, &removed, &floor, &BTreeMap::new())
            .inspect_err(|_| self.remove_folders(&folders))?;
        let decided = Decided { pins: Some(decisions.pins), cited: Some(wanted.cited), ..Decided::default() };
        let left_out = plan.left_out;
        drop(plan);
        if !self.replace_blocks(&removed, metas, blocks, &decided)? {
            // Somebody pinned a trace meanwhile: once more, with the pin.
            self.remove_folders(&folders);
            return Ok(0);
        }
        if let Some(expired) = expired {
            self.show(|visible| visible.knowing(expired));
        }
        if left_out > 0 {
            self.counters.held_left_out(left_out);
            let text = format!(
                "{left_out} traces that pins, alerts or exemplars cite have passed their retention: what is held beyond \
                 it has reached its budget of {} MiB (throughline.retention.held_budget)",
                self.config.budgets.held_bytes >> 20
            );
            self.counters.note(self.clock.now(), text);
        }
        self.counters.retired(n_removed);
        self.reap();
        Ok(n_removed)
    }

    /// What is held beyond its retention.
    pub fn held(&self) -> Held {
        let visible = self.visible();
        let held = || visible.blocks.iter().map(|block| block.meta()).filter(|meta| meta.is_held());
        Held {
            traces: held().map(|meta| meta.rows.traces).sum(),
            bytes: held().map(BlockMeta::disk_bytes).sum(),
            budget_bytes: self.config.budgets.held_bytes,
            left_out: self.counters.held_left_out(0),
        }
    }

    fn note_unheld(&self, error: &Error) {
        let text = format!("traces that something cites may have passed their retention: {error}");
        self.counters.note(self.clock.now(), text);
    }

    /// What stays of the blocks that go, and of those whose traces are held already. The strongest citations come first, and of
    /// one kind the younger blocks.
    fn plan(&self, snapshot: &Snapshot, removed: &[u64], wanted: &Wanted) -> Plan {
        let mut plan = Plan::all(snapshot, removed);
        let mut held_bytes = 0;
        for block in snapshot.blocks.iter().filter(|block| block.meta().is_held()) {
            let found = match cited_of(block, wanted) {
                Ok(found) => found,
                Err(error) => {
                    // It stays as it is.
                    self.note_unheld(&error);
                    held_bytes += block.meta().disk_bytes();
                    continue;
                }
            };
            held_bytes += found.iter().map(|cited| cited.bytes).sum::<u64>();
            let unwanted = block.meta().rows.traces.saturating_sub(found.len() as u64);
            if unwanted * REWRITE_PART >= block.meta().rows.traces {
                let keep = found.into_iter().map(|cited| cited.id).collect();
                plan.going.push(Going { block: block.clone(), keep });
            }
        }
        let mut found = Vec::new();
        for (at, going) in plan.going.iter().enumerate().filter(|(_, going)| !going.block.meta().is_held()) {
            match cited_of(&going.block, wanted) {
                Ok(of_block) => found.extend(of_block.into_iter().map(|cited| (cited, at))),
                Err(error) => self.note_unheld(&error),
            }
        }
        found.sort_by_key(|(cited, at)| {
            let end = plan.going.get(*at).map(|going| going.block.max_time());
            (cited.citing, std::cmp::Reverse(end), cited.id)
        });
        for (cited, at) in found {
            if held_bytes + cited.bytes > self.config.budgets.held_bytes {
                plan.left_out += 1;
                continue;
            }
            held_bytes += cited.bytes;
            plan.going.get_mut(at).into_iter().for_each(|going| _ = going.keep.insert(cited.id));
        }
        plan
    }

    /// Writes the blocks of what is held. Without room on the disk, or where a block cannot be read, retention goes on without.
    fn write_held(&self, plan: &mut Plan) -> Result<(Vec<BlockMeta>, Vec<Arc<Block>>), Error> {
        let written = self.write_new_blocks(|next_block_id| {
            let mut metas = Vec::new();
            for going in plan.going.iter().filter(|going| !going.keep.is_empty()) {
                let (disk, dir) = (self.disk.as_ref(), &self.config.dir);
                metas.extend(compact::thin(disk, dir, &going.block, &going.keep, next_block_id)?);
            }
            Ok(metas)
        });
        match written {
            Err(error)
                if error.is_disk_full() || matches!(error, Error::Damaged { .. } | Error::Columns { .. }) =>
            {
                self.note_unheld(&error);
                plan.going.retain(|going| !going.block.meta().is_held());
                plan.going.iter_mut().for_each(|going| going.keep.clear());
                Ok((Vec::new(), Vec::new()))
            }
            written => written,
        }
    }

    /// Writes down which traces go. What fails costs the state of references to them alone.
    fn remember(&self, plan: &Plan) -> Option<crate::expired::Expired> {
        let now = self.clock.now();
        let mut removed = Vec::new();
        for Going { block, keep } in &plan.going {
            match Removed::of(block, now, |id| keep.contains(&id)) {
                Ok(of_block) => removed.push(of_block),
                Err(error) => self.note_forgotten(&error),
            }
        }
        let known = self.visible().expired.clone();
        let next = known.with(removed, self.disk.as_ref(), &self.config.dir);
        next.inspect_err(|error| self.note_forgotten(error)).ok()
    }

    fn note_forgotten(&self, error: &Error) {
        let text = format!("traces that retention removed may count as never received: {error}");
        self.counters.note(self.clock.now(), text);
    }
}

impl Plan {
    /// Nothing is held of these blocks.
    fn all(snapshot: &Snapshot, removed: &[u64]) -> Plan {
        let going = snapshot.blocks.iter().filter(|block| removed.contains(&block.meta().id));
        let going = going.map(|block| Going { block: block.clone(), keep: HashSet::new() }).collect();
        Plan { going, left_out: 0 }
    }
}

/// A cited trace of a block.
struct CitedTrace {
    id: TraceId,
    citing: Citing,
    /// What it takes there, about.
    bytes: u64,
}

/// The traces of a block that something cites: with its log records too where a person or an alert does, and for an exemplar
/// only where there are spans that it can lead to.
fn cited_of(block: &Block, wanted: &Wanted) -> Result<Vec<CitedTrace>, Error> {
    let meta = block.meta();
    let rows = (meta.rows.spans + meta.rows.logs).max(1);
    let mut found = Vec::new();
    for (id, citing) in wanted.traces.iter().filter(|(id, _)| block.may_have(**id)) {
        let (spans, logs) = block.rows_of(*id)?;
        if spans > 0 || (logs > 0 && *citing != Citing::Exemplar) {
            let own = u64::from(spans) + logs as u64;
            let bytes = (u128::from(meta.disk_bytes()) * u128::from(own) / u128::from(rows)) as u64;
            found.push(CitedTrace { id: *id, citing: *citing, bytes });
        }
    }
    Ok(found)
}
