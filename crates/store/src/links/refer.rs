//! Which spans of other traces link to a trace: asked of every block's list of referrers, and of the spans in memory.

use throughline_model::TraceId;

use super::ReferringSpan;
use crate::snapshot::{Found, Snapshot};

impl Snapshot {
    /// Spans of other traces that link to a trace, the first to start first, at most so many. No time is needed, and no more is read
    /// than the spans that are found.
    pub fn referring_spans(&self, id: TraceId, limit: usize) -> Found<ReferringSpan> {
        let mut found = Found { items: Vec::new(), partial: self.missing.to_vec() };
        let mut is_cut = false;
        for memtable in &self.memtables {
            is_cut |= memtable.referring_spans(id, limit, &mut found.items);
        }
        let mut before = 0;
        for block in self.blocks.iter() {
            match block.referring_spans(id, limit, &mut found.items) {
                Ok(Some(more)) => is_cut |= more,
                Ok(None) => before += 1,
                Err(error) => found.partial.push(error.to_string()),
            }
        }
        let place = |span: &ReferringSpan| (span.start_time, span.trace_id, span.span_id, span.to_span_id);
        let names = |a: &ReferringSpan, b: &ReferringSpan| (&a.name, &a.service).cmp(&(&b.name, &b.service));
        found.items.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| names(a, b)));
        // A span that was received twice, or lies in memory and already in a block.
        found.items.dedup();
        if is_cut || found.items.len() > limit {
            found.items.truncate(limit);
            found.partial.push(format!(
                "more than {limit} spans of other traces link to this one; the first are listed"
            ));
        }
        if before > 0 {
            found.partial.push(format!(
                "{before} blocks are from before it was noted which spans link to which traces: links from there are not listed"
            ));
        }
        found
    }
}
