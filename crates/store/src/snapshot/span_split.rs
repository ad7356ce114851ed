//! Scans of spans by several threads: each gets some of the row groups, and what all of them learn is put together by the asker.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::Snapshot;
use super::log_scan::More;
use super::span_scan::{SpanPart, SpanRows, SpanScan, SpanVisitor};
use crate::block::Block;

/// Row groups that one visitor takes before others help it: a quarter of a million spans.
const ALONE: usize = 32;

/// Fewer row groups than these are not worth a thread.
const SHARED_MIN: usize = 6;

/// A row group of a block, and the last start in it.
pub(super) type Group<'b> = (&'b Block, usize, i64);

impl Snapshot {
    /// As [`Snapshot::scan_spans`], with several visitors that share the row groups of blocks, each on a thread of its own. What is in
    /// memory, and where the newest are wanted first the first of the row groups, go to the first visitor: a question that ends early
    /// is asked once. Which visitor gets which row group does not depend on chance.
    pub fn scan_spans_split(
        &self,
        scan: &SpanScan<'_>,
        visitors: Vec<&mut (dyn SpanVisitor + Send)>,
    ) -> Vec<String> {
        let mut visitors = visitors.into_iter();
        let Some(first) = visitors.next() else { return Vec::new() };
        let helpers: Vec<&mut (dyn SpanVisitor + Send)> = visitors.collect();
        // How many row groups the first takes alone yet, and what is left for all.
        let mut alone = if scan.newest_first { ALONE } else { 0 };
        let mut rest: Vec<Group<'_>> = Vec::new();
        let mut set_aside = |group| match alone.checked_sub(1) {
            Some(left) => {
                alone = left;
                false
            }
            None => {
                rest.push(group);
                true
            }
        };
        let (mut partial, more) = self.scan_spans_but(scan, first, &mut set_aside);
        if more != More::Nothing {
            partial.extend(self.share(first, helpers, &rest, more));
        }
        partial
    }

    /// Hands out row groups to visitors in turn.
    fn share(
        &self,
        visitor: &mut (dyn SpanVisitor + Send),
        helpers: Vec<&mut (dyn SpanVisitor + Send)>,
        groups: &[Group<'_>],
        more: More,
    ) -> Vec<String> {
        // What one of them need not see the others need not see either.
        let until = AtomicI64::new(if let More::Until(time) = more { time } else { i64::MIN });
        let is_over = AtomicBool::new(false);
        let n_visitors = helpers.len() + 1;
        let work = |number: usize, of: usize, visitor: &mut (dyn SpanVisitor + Send)| {
            let mut damage = Vec::new();
            for (block, group, max_start) in groups.iter().skip(number).step_by(of) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                if *max_start <= until.load(Ordering::Relaxed) {
                    continue;
                }
                let spans = match block.group_spans(*group) {
                    Ok(Some(spans)) => spans,
                    Ok(None) => continue,
                    Err(error) => {
                        damage.push(error.to_string());
                        continue;
                    }
                };
                match visitor.rows(&SpanRows::new(SpanPart::Block(spans), self)) {
                    More::All => {}
                    More::Until(time) => _ = until.fetch_max(time, Ordering::Relaxed),
                    More::Nothing => is_over.store(true, Ordering::Relaxed),
                }
            }
            damage
        };
        if groups.len() < SHARED_MIN {
            return work(0, 1, visitor);
        }
        std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (1..)
                .zip(helpers)
                .map(|(number, helper)| scope.spawn(move || work(number, n_visitors, helper)))
                .collect();
            let mut damage = work(0, n_visitors, visitor);
            for thread in threads {
                match thread.join() {
                    Ok(of_thread) => damage.extend(of_thread),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            damage
        })
    }
}
