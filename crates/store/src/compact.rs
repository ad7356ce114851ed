//! Compaction: small blocks of one partition become a larger one.
//!
//! [`choose`] decides as data: from what the manifest says to a [`Choice`], without touching a disk. [`merge`] acts:
//! it streams the inputs, in the order of the output, through a few decoded row groups at a time, so that its memory
//! is that of the trace table and not of the data. Merging brings together the spans of a trace that arrived in
//! different blocks, finds parents, and resolves log records and exemplars to their traces. Where there is sampling, a merge
//! decides which traces stay ([`crate::sample`]); a block that is not merged any more is written again for it once.

mod fates;
mod logs;
mod metrics;
mod spans;
mod traces;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use throughline_model::TraceId;

use crate::block::build::{BlockBuilder, TraceRows};
use crate::block::texts::Texts;
use crate::block::{Block, BlockMeta, HELD_PARTITION};
use crate::disk::Disk;
use crate::error::Error;
use crate::sample::{Decider, is_due};

/// When blocks are merged, and how large they may become.
#[derive(Clone, Copy, Debug)]
pub struct CompactPolicy {
    /// So many small blocks of one level of a partition are merged.
    pub fan_in: usize,
    /// A merged block has at most about so many bytes.
    pub block_bytes_max: u64,
    /// A partition that got nothing new for so long is merged whatever the number of its blocks.
    pub settle_ns: i64,
    /// So long after its last row sampling decides about a block's traces; without sampling nothing is decided.
    pub sample_after_ns: Option<i64>,
}

impl Default for CompactPolicy {
    fn default() -> Self {
        // 192 MiB are about 4 million spans, whose trace table is what a merge holds in memory.
        CompactPolicy {
            fan_in: 8,
            block_bytes_max: 192 << 20,
            settle_ns: 60_000_000_000,
            sample_after_ns: None,
        }
    }
}

impl CompactPolicy {
    /// Blocks of so many bytes together cost little to write again: what counts is how many there are.
    fn small_bytes(&self) -> u64 {
        self.block_bytes_max / 16
    }

    /// A merge has at most so many inputs: it keeps decoded rows of each.
    fn inputs_max(&self) -> usize {
        3 * self.fan_in
    }
}

/// The level beyond which blocks are not merged for their number any more.
const LEVEL_MAX: u32 = 2;

/// A partition counts as one that got nothing new while what came lately is at most this part of what waits to be merged:
/// metrics derived from spans trickle in for as long as the process lives.
const TRICKLE_PART: u64 = 16;

/// Which blocks to merge, and into which level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The ids of the inputs, ascending.
    pub inputs: Vec<u64>,
    /// The level of the output.
    pub level: u32,
}

/// Decides what to merge next; `now` is in nanoseconds since the epoch. The lowest level comes first, then the oldest
/// partition.
///
/// A merge costs as much as the flush before it, so that under load every row is merged once: blocks wait until
/// together they fill an output. Small blocks, of which little load makes many, are merged by number.
pub fn choose(blocks: &[BlockMeta], now: i64, policy: &CompactPolicy) -> Option<Choice> {
    let mut sorted: Vec<&BlockMeta> = blocks.iter().collect();
    sorted.sort_by_key(|block| (block.partition, block.level, block.id));
    let mut choices: Vec<(u32, i64, Choice)> = Vec::new();
    for partition in sorted.chunk_by(|a, b| a.partition == b.partition) {
        let Some(key) = partition.first().map(|block| block.partition) else { continue };
        let (old, new): (Vec<&BlockMeta>, Vec<&BlockMeta>) =
            partition.iter().partition(|block| now.saturating_sub(block.received_at) >= policy.settle_ns);
        let waiting = old.iter().filter(|block| block.level == 0);
        let bytes = |blocks: &[&BlockMeta]| blocks.iter().map(|block| block.disk_bytes()).sum::<u64>();
        if bytes(&new) * TRICKLE_PART <= bytes(&waiting.copied().collect::<Vec<_>>()) {
            choices.extend(settle(&old, policy).map(|choice| (choice.level, key, choice)));
            continue;
        }
        for of_level in partition.chunk_by(|a, b| a.level == b.level) {
            let level = of_level.first().map_or(0, |block| block.level);
            if level < LEVEL_MAX {
                choices.extend(fill(of_level, level + 1, policy).map(|choice| (level, key, choice)));
            }
        }
    }
    choices.sort_by_key(|(level, partition, _)| (*level, *partition));
    let merge = choices.into_iter().next().map(|(.., choice)| choice);
    merge.or_else(|| sample(&sorted, now, policy))
}

/// The oldest block about whose traces sampling can decide by now and has not.
fn sample(blocks: &[&BlockMeta], now: i64, policy: &CompactPolicy) -> Option<Choice> {
    let delay_ns = policy.sample_after_ns?;
    let due = blocks.iter().filter(|block| is_due(block, now, delay_ns));
    let oldest = due.min_by_key(|block| (block.max_time, block.id))?;
    Some(Choice { inputs: vec![oldest.id], level: oldest.level.max(1) })
}

/// Blocks of one level that fill an output, or that are small and many.
fn fill(blocks: &[&BlockMeta], level: u32, policy: &CompactPolicy) -> Option<Choice> {
    let open: Vec<&BlockMeta> =
        blocks.iter().copied().filter(|block| block.disk_bytes() < policy.block_bytes_max / 2).collect();
    let mut bytes = 0;
    let fitting: Vec<&BlockMeta> = open
        .iter()
        .copied()
        .take(policy.inputs_max())
        .take_while(|block| {
            bytes += block.disk_bytes();
            bytes <= policy.block_bytes_max
        })
        .collect();
    let is_full = fitting.len() < open.len() || fitting.len() >= policy.inputs_max();
    let first: u64 = fitting.iter().take(policy.fan_in).map(|block| block.disk_bytes()).sum();
    let is_many = fitting.len() >= policy.fan_in && first <= policy.small_bytes();
    match (is_full, is_many) {
        (true, _) => choice(&fitting, level),
        (false, true) => choice(fitting.get(..policy.fan_in)?, level),
        (false, false) => None,
    }
}

/// Blocks of a partition that got nothing new: those that were never merged first, then the smallest, and of them a large one
/// only together with half as many bytes of others, so that what trickles in late does not have it written again and again.
fn settle(blocks: &[&BlockMeta], policy: &CompactPolicy) -> Option<Choice> {
    let mut sorted = blocks.to_vec();
    sorted.sort_by_key(|block| (block.level > 0, block.disk_bytes(), block.id));
    let mut taken: Vec<&BlockMeta> = Vec::new();
    let mut bytes = 0;
    for block in sorted {
        let own = block.disk_bytes();
        let is_new = block.level == 0;
        let is_worth_it = is_new || taken.is_empty() || own <= policy.small_bytes() || own <= 2 * bytes;
        if !is_worth_it || bytes + own > policy.block_bytes_max || taken.len() >= policy.inputs_max() {
            break;
        }
        bytes += own;
        taken.push(block);
    }
    let level = blocks.iter().map(|block| block.level).max().unwrap_or_default().max(1);
    choice(&taken, level).or_else(|| alone(blocks))
}

/// A flushed block with log records that nothing is left to be merged with: its log records have no filters of words yet, and
/// searches look at all of them.
fn alone(blocks: &[&BlockMeta]) -> Option<Choice> {
    let flushed = blocks.iter().filter(|block| block.level == 0 && block.rows.logs > 0);
    let oldest = flushed.min_by_key(|block| block.id)?;
    Some(Choice { inputs: vec![oldest.id], level: 1 })
}

fn choice(blocks: &[&BlockMeta], level: u32) -> Option<Choice> {
    let mut inputs: Vec<u64> = blocks.iter().map(|block| block.id).collect();
    inputs.sort_unstable();
    (inputs.len() >= 2).then_some(Choice { inputs, level })
}

/// Merges blocks into one. It is complete and durable, and nobody knows of it yet. The inputs are in the order of
/// their ids, and are of one partition.
pub fn merge(
    disk: &dyn Disk,
    data_dir: &Path,
    inputs: &[Arc<Block>],
    choice: &Choice,
    next_block_id: &mut u64,
) -> Result<Vec<BlockMeta>, Error> {
    merge_deciding(disk, data_dir, inputs, choice, next_block_id, None)
}

/// As [`merge`], deciding which traces stay. Of one block about which there was nothing to decide there is no new one.
pub(crate) fn merge_deciding(
    disk: &dyn Disk,
    data_dir: &Path,
    inputs: &[Arc<Block>],
    choice: &Choice,
    next_block_id: &mut u64,
    mut decider: Option<&mut Decider<'_>>,
) -> Result<Vec<BlockMeta>, Error> {
    let Some(first) = inputs.first() else { return Ok(Vec::new()) };
    let mut texts = Texts::new();
    let merged = traces::merge(inputs, &mut texts, decider.as_deref_mut())?;
    // One alone is written again to be of a higher level, or for what was decided.
    let is_higher = first.meta().level < choice.level;
    if decider.is_some() && inputs.len() == 1 && !is_higher && !merged.is_changed {
        return Ok(Vec::new());
    }
    let partition = first.meta().partition;
    let min_time = inputs.iter().map(|block| block.min_time()).min().unwrap_or_default();
    let mut builder =
        BlockBuilder::create(disk, data_dir, *next_block_id, choice.level, partition, min_time)?;
    *next_block_id += 1;
    for block in inputs {
        builder.cover(block.min_time(), block.max_time());
        builder.meta.received_at = builder.meta.received_at.max(block.meta().received_at);
    }
    builder.meta.sampled_at = match &decider {
        Some(decider) => decider.now(),
        None => inputs.iter().map(|block| block.meta().sampled_at).min().unwrap_or_default(),
    };
    builder.traces = merged.entries;
    let span_ids = spans::write(&mut builder, inputs, &merged.spans, &merged.weights)?;
    let rows = TraceRows::new(&builder.traces, span_ids);
    logs::write(&mut builder, inputs, &merged.rows, &rows, &mut texts)?;
    metrics::write(&mut builder, inputs, &merged.rows)?;
    Ok(vec![builder.finish(&texts)?])
}

/// Writes what a block has of these traces as a block of its own: their spans and log records. Nothing where it has none of them.
/// It is complete and durable, and nobody knows of it yet.
pub(crate) fn thin(
    disk: &dyn Disk,
    data_dir: &Path,
    block: &Arc<Block>,
    keep: &HashSet<TraceId>,
    next_block_id: &mut u64,
) -> Result<Option<BlockMeta>, Error> {
    let inputs = std::slice::from_ref(block);
    let mut texts = Texts::new();
    let mut merged = traces::merge(inputs, &mut texts, None)?;
    merged.keep_only(keep);
    if merged.entries.is_empty() {
        return Ok(None);
    }
    let meta = block.meta();
    let level = meta.level.max(1);
    let mut builder =
        BlockBuilder::create(disk, data_dir, *next_block_id, level, HELD_PARTITION, meta.min_time)?;
    *next_block_id += 1;
    builder.cover(meta.min_time, meta.max_time);
    (builder.meta.received_at, builder.meta.sampled_at) = (meta.received_at, meta.sampled_at);
    builder.traces = merged.entries;
    let span_ids = spans::write(&mut builder, inputs, &merged.spans, &merged.weights)?;
    let rows = TraceRows::new(&builder.traces, span_ids);
    logs::write(&mut builder, inputs, &merged.rows, &rows, &mut texts)?;
    metrics::write_none(&mut builder)?;
    builder.finish(&texts).map(Some)
}

#[cfg(test)]
mod tests;
