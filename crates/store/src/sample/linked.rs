//! Which traces stay for the links to them: the trace of a message's producer, to which the trace of its consumer links.
//!
//! 1. A trace that stays for a reason of its own, chance among them, keeps those that its spans link to, so that no link that one
//!    can follow leads nowhere. It keeps none of those that link to it: a batch has hundreds of producers, and with one of them
//!    chosen by chance nearly every batch would stay, and every other producer with it.
//! 2. What stays for a link alone keeps nothing further: a chain of jobs of which each links to the one before would stay whole.
//! 3. Mostly the trace that links is younger and nobody has decided about it. What will be decided is foreseen from its
//!    summary: chance is a hash of its id.

use std::sync::Arc;

use ahash::AHashSet as HashSet;
use throughline_model::TraceId;
use throughline_model::record::{Sampling, TraceSummary};
use throughline_sampling::Trace;

use super::evidence::About;
use super::{Decider, Gathered};
use crate::block::Block;
use crate::block::texts::Texts;
use crate::block::traces::Fate;
use crate::error::Error;
use crate::snapshot::Snapshot;

/// Links to one trace that are looked at in each block, and the traces of all of them.
const LINKS_OF_TRACE_MAX: usize = 32;

/// Links that are gone through for one merge: some 100 MB of lists.
const LINKS_MAX: u64 = 10_000_000;

/// Traces outside a merge whose summaries are read for it.
const SUMMARIES_MAX: usize = 20_000;

impl Decider<'_> {
    /// Finds the traces of a merge that others which stay link to, before it decides about them.
    pub(crate) fn follow_links<'t>(
        &mut self,
        inputs: &[Arc<Block>],
        traces: impl Iterator<Item = Gathered<'t>> + Clone,
        texts: &Texts,
    ) -> Result<(), Error> {
        if !self.needs.links {
            return Ok(());
        }
        let due = traces.clone().filter(|of| self.is_due(of.entry));
        let wanted: HashSet<u64> = due.map(|of| of.entry.id.fingerprint()).collect();
        let links = links_to(&wanted, self.snapshot, inputs);
        let linking: HashSet<TraceId> = links.iter().map(|(_, from)| *from).collect();
        let (mut staying, mut here) = (HashSet::new(), HashSet::new());
        let has_spans = |of: &Gathered<'_>| of.entry.postings.span_count > 0;
        for of in traces.filter(|of| linking.contains(&of.entry.id) && has_spans(of)) {
            here.insert(of.entry.id);
            if self.stays(&of, texts) {
                staying.insert(of.entry.id);
            }
        }
        let mut others: Vec<TraceId> = linking.iter().copied().filter(|id| !here.contains(id)).collect();
        others.sort_unstable();
        others.truncate(SUMMARIES_MAX);
        // A block that cannot be read says nothing of the traces that link.
        for summary in self.snapshot.summaries(&others, |_| Ok(()))? {
            if self.stays_elsewhere(&summary) {
                staying.insert(summary.trace_id);
            }
        }
        let of_staying = links.into_iter().filter(|(_, from)| staying.contains(from));
        self.around.linked = of_staying.map(|(to, _)| to).collect();
        Ok(())
    }

    /// Whether a trace of this merge stays for a reason of its own.
    fn stays(&self, of: &Gathered<'_>, texts: &Texts) -> bool {
        let entry = of.entry;
        match entry.fate {
            Fate::Kept { policy, .. } if !self.sampler.is_about_links(texts.get(policy)) => return true,
            Fate::Dropped { .. } => return false,
            Fate::Kept { .. } | Fate::Undecided => {}
        }
        let about = About {
            id: entry.id,
            start: entry.start,
            end: entry.end,
            error_logs: u64::from(entry.error_log_count),
            exemplars: of.exemplars,
            root: (texts.get(entry.root_service), texts.get(entry.root_name)),
        };
        let took_part = |service: &str| entry.services.iter().any(|of| texts.get(*of) == service);
        self.foresees(&about, (entry.postings.span_count, entry.error_count), took_part)
    }

    /// Whether a trace that is not of this merge stays for a reason of its own.
    fn stays_elsewhere(&self, of: &TraceSummary) -> bool {
        match &of.sampling {
            Sampling::Kept { policy, .. } if !self.sampler.is_about_links(policy) => return true,
            Sampling::Dropped { .. } => return false,
            Sampling::Kept { .. } | Sampling::Undecided => {}
        }
        let about = About {
            id: of.trace_id,
            start: of.start_time,
            end: of.start_time.saturating_add(of.duration_ns),
            error_logs: u64::from(of.error_log_count),
            exemplars: u64::from(of.exemplar_count),
            root: (&of.root_service, &of.root_name),
        };
        let took_part = |service: &str| of.services.iter().any(|other| other == service);
        self.foresees(&about, (of.span_count, of.error_count), took_part)
    }

    fn foresees(
        &self,
        of: &About<'_>,
        (span_count, error_count): (u32, u32),
        took_part: impl Fn(&str) -> bool,
    ) -> bool {
        self.sampler.foresees(&Trace {
            id: of.id,
            start: of.start,
            end: of.end,
            span_count: u64::from(span_count),
            error_count: u64::from(error_count),
            bytes: 0,
            spans: &[],
            evidence: self.around.evidence(of, took_part),
        })
    }
}

/// The links to traces with these fingerprints, from other traces: what is linked to, and which trace links. Those of the inputs
/// come first, then those of the oldest blocks, and all in memory.
fn links_to(wanted: &HashSet<u64>, snapshot: &Snapshot, inputs: &[Arc<Block>]) -> Vec<(u64, TraceId)> {
    let mut links: Vec<(u64, TraceId)> = Vec::new();
    if wanted.is_empty() {
        return links;
    }
    // What links to a trace is not older than it.
    let since = inputs.iter().map(|block| block.min_time()).min().unwrap_or_default();
    let is_input = |block: &Arc<Block>| inputs.iter().any(|input| input.meta().id == block.meta().id);
    let mut blocks: Vec<&Arc<Block>> =
        snapshot.blocks.iter().filter(|block| block.max_time() >= since).collect();
    blocks.sort_by_key(|block| (!is_input(block), block.min_time(), block.meta().id));
    let mut left = LINKS_MAX;
    for block in blocks {
        let Some(rest) = left.checked_sub(block.link_count()) else { continue };
        left = rest;
        // A list that cannot be read names nobody: whoever reads its block says so.
        links.extend(block.linking_traces(wanted, LINKS_OF_TRACE_MAX).unwrap_or_default());
    }
    for memtable in &snapshot.memtables {
        memtable.linking_traces(wanted, &mut links);
    }
    links.retain(|(to, from)| from.fingerprint() != *to);
    links.sort_unstable();
    links.dedup();
    let (mut of, mut n) = (None, 0);
    links.retain(|(to, _)| {
        n = if of == Some(*to) { n + 1 } else { 1 };
        of = Some(*to);
        n <= LINKS_OF_TRACE_MAX
    });
    links
}
