//! Which blocks are removed: a pure choice from what there is and the policy.

use crate::block::BlockMeta;

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
    let mut oldest_first: Vec<&BlockMeta> = blocks.iter().collect();
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
