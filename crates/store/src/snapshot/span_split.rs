//! Scans of spans by several threads: each gets some of the row groups, and what all of them learn is put together by the asker.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::log_scan::More;
use super::span_scan::{SpanPart, SpanRows, SpanScan, SpanVisitor, TRACE_REACH_NS};
use super::{Snapshot, TimeRange};
use crate::block::Block;
use crate::error::Error;
use crate::memtable::{MemtableSpans, MemtableView};

/// Row groups that one visitor takes before others help it: a quarter of a million spans.
const ALONE: usize = 32;

/// Fewer row groups than these are not worth a thread.
const SHARED_MIN: usize = 6;

/// A row group of a block, and the last start in it.
type Group<'b> = (&'b Block, usize, i64);

/// The first of several visitors, and what is left for all of them.
struct Alone<'v, 'b> {
    visitor: &'v mut (dyn SpanVisitor + Send),
    /// How many row groups it takes alone yet.
    left: usize,
    rest: Vec<Group<'b>>,
}

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
        let left = if scan.newest_first { ALONE } else { 0 };
        let mut alone = Alone { visitor: first, left, rest: Vec::new() };
        let mut partial = self.missing.to_vec();
        let memtables: Vec<&MemtableView> = self.memtables.iter().collect();
        let mut more = More::All;
        for spans in MemtableSpans::of(&memtables, scan) {
            more = alone.visitor.rows(&SpanRows { part: SpanPart::Memtable(spans), snapshot: self });
            if more == More::Nothing {
                return partial;
            }
        }
        let reach = if scan.of_traces { TRACE_REACH_NS } else { 0 };
        let range = TimeRange { start: scan.range.start.saturating_sub(reach), end: scan.range.end };
        for block in self.newest_first(&range) {
            if matches!(more, More::Until(time) if block.max_time() <= time) {
                continue;
            }
            if let Err(error) = self.scan_alone(block, scan, &mut more, &mut alone) {
                partial.push(error.to_string());
            }
            if more == More::Nothing {
                return partial;
            }
        }
        let Alone { visitor, rest, .. } = alone;
        partial.extend(self.share(visitor, helpers, &rest, more));
        partial
    }

    /// Hands out row groups of a block as long as the first visitor is alone, and notes the others.
    fn scan_alone<'b>(
        &self,
        block: &'b Block,
        scan: &SpanScan<'_>,
        more: &mut More,
        alone: &mut Alone<'_, 'b>,
    ) -> Result<(), Error> {
        for (group, max_start) in block.span_groups(scan)? {
            if matches!(*more, More::Until(time) if max_start <= time) {
                continue;
            }
            if alone.left == 0 {
                alone.rest.push((block, group, max_start));
                continue;
            }
            let Some(spans) = block.group_spans(group)? else { continue };
            alone.left -= 1;
            *more = alone.visitor.rows(&SpanRows { part: SpanPart::Block(spans), snapshot: self });
            if *more == More::Nothing {
                break;
            }
        }
        Ok(())
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
                match visitor.rows(&SpanRows { part: SpanPart::Block(spans), snapshot: self }) {
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
