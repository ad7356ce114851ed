//! The references of a block, and what its trace table says of the traces that others refer to.

use std::collections::BTreeSet;

use ahash::AHashSet as HashSet;
use throughline_model::link::UNSAMPLED;
use throughline_model::record::{DroppedSpans, Sampling};
use throughline_model::{Signal, SpanId, TraceId};

use super::{Block, Columns};
use crate::block::Table;
use crate::error::Error;
use crate::links::ReferringSpan;
use crate::links::referrers::Referrers;
use crate::links::table::LinkTable;

/// A log record that names a span which its block does not have.
pub(crate) struct SpanReference {
    pub(crate) service: String,
    pub(crate) time: i64,
    pub(crate) span_id: SpanId,
    pub(crate) is_unsampled: bool,
}

/// What a block has of a trace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kept {
    /// Spans.
    Spans,
    /// A tombstone: its spans were dropped.
    Tombstone(Sampling),
    /// What refers to it, or nothing.
    References,
}

impl Block {
    /// The block's references; `None` in a block from before they were counted, and where there is nothing to count.
    pub(crate) fn link_table(&self) -> Result<Option<LinkTable>, Error> {
        let Some(file) = &self.links else { return Ok(None) };
        let bytes = file.read(0, usize::try_from(file.bytes()).unwrap_or(usize::MAX))?;
        LinkTable::decode(file.path(), &bytes).map(Some)
    }

    /// Calls `visit` with the traces of which it has spans or a tombstone.
    pub(crate) fn each_stored_trace(&self, mut visit: impl FnMut(TraceId)) -> Result<(), Error> {
        self.each_trace(&["trace_id", "span_count", "dropped_spans"], |columns, row, id| {
            if columns.u32("span_count", row).unwrap_or_default() > 0
                || columns.u32("dropped_spans", row).is_some()
            {
                visit(id);
            }
        })
    }

    /// Calls `visit` with the traces that its exemplars refer to.
    pub(crate) fn each_cited_trace(&self, mut visit: impl FnMut(TraceId)) -> Result<(), Error> {
        self.each_trace(&["trace_id", "exemplar_count"], |columns, row, id| {
            if columns.u32("exemplar_count", row).unwrap_or_default() > 0 {
                visit(id);
            }
        })
    }

    fn each_trace(
        &self,
        names: &[&str],
        mut visit: impl FnMut(&Columns<'_>, usize, TraceId),
    ) -> Result<(), Error> {
        let table = self.table(Table::Traces)?;
        for group in 0..table.groups() {
            for batch in table.read_group(group, None, Some(names))? {
                let columns = Columns::new(&batch);
                for row in 0..batch.num_rows() {
                    if let Some(id) = columns.trace_id("trace_id", row) {
                        visit(&columns, row, id);
                    }
                }
            }
        }
        Ok(())
    }

    /// How many spans and log records of a trace the block has.
    pub(crate) fn rows_of(&self, id: TraceId) -> Result<(u32, usize), Error> {
        let Some(row) = self.trace_row(id)? else { return Ok((0, 0)) };
        let postings = self.index().postings(row)?;
        Ok((postings.span_count, postings.logs.len()))
    }

    /// Whether it has rows that may refer to traces and that nobody has counted.
    pub(crate) fn lacks_links(&self) -> bool {
        let rows = &self.meta.rows;
        self.links.is_none() && rows.spans + rows.logs + rows.exemplars > 0
    }

    /// Adds spans of other traces that link to a trace, at most so many in all; says whether there are more. `None` where the
    /// block is from before they were listed.
    pub(crate) fn referring_spans(
        &self,
        id: TraceId,
        limit: usize,
        into: &mut Vec<ReferringSpan>,
    ) -> Result<Option<bool>, Error> {
        let Some(referrers) = &self.referrers else {
            return Ok((self.meta.rows.spans == 0).then_some(false));
        };
        let (mut rows, is_cut) = referrers.rows_of(id.fingerprint(), limit.saturating_add(1))?;
        rows.dedup();
        if rows.is_empty() {
            return Ok(Some(false));
        }
        let names = ["trace_row", "span_id", "service", "name", "start_time", "links"];
        for batch in self.pick(Table::Spans, &rows, Some(&names))? {
            let columns = Columns::new(&batch);
            let trace_rows: Vec<u32> =
                (0..batch.num_rows()).map(|row| columns.u32("trace_row", row).unwrap_or_default()).collect();
            let mut distinct = trace_rows.clone();
            distinct.dedup();
            let ids = self.trace_ids(&distinct)?;
            for (row, trace_row) in trace_rows.into_iter().enumerate() {
                let at = distinct.partition_point(|other| *other < trace_row);
                let Some(trace_id) = ids.get(at).copied().flatten().filter(|trace| *trace != id) else {
                    continue;
                };
                let Some(span_id) = columns.span_id("span_id", row) else { continue };
                for to_span_id in linked_spans(columns.text("links", row).unwrap_or_default(), id) {
                    into.push(ReferringSpan {
                        trace_id,
                        span_id,
                        service: columns.owned("service", row),
                        name: columns.owned("name", row),
                        start_time: columns.time("start_time", row),
                        to_span_id,
                    });
                }
            }
        }
        Ok(Some(is_cut))
    }

    /// How many links its list of referrers has.
    pub(crate) fn link_count(&self) -> u64 {
        self.referrers.as_ref().map_or(0, Referrers::count)
    }

    /// The traces whose spans here link to traces with these fingerprints, at most so many links to each. The fingerprint is not
    /// compared with the link's id.
    pub(crate) fn linking_traces(
        &self,
        wanted: &HashSet<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, TraceId)>, Error> {
        let Some(referrers) = &self.referrers else { return Ok(Vec::new()) };
        let links = referrers.among(|fingerprint| wanted.contains(&fingerprint), limit)?;
        let mut rows: Vec<u32> = links.iter().map(|(_, row)| *row).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut trace_rows: Vec<u32> = Vec::with_capacity(rows.len());
        for batch in self.pick(Table::Spans, &rows, Some(&["trace_row"]))? {
            let columns = Columns::new(&batch);
            trace_rows
                .extend((0..batch.num_rows()).map(|row| columns.u32("trace_row", row).unwrap_or_default()));
        }
        let mut distinct = trace_rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let ids = self.trace_ids(&distinct)?;
        let trace_of = |row: u32| {
            let trace_row = trace_rows.get(rows.binary_search(&row).ok()?)?;
            ids.get(distinct.binary_search(trace_row).ok()?).copied().flatten()
        };
        Ok(links.into_iter().filter_map(|(to, row)| Some((to, trace_of(row)?))).collect())
    }

    /// What the block has of a trace.
    pub(crate) fn kept(&self, id: TraceId) -> Result<Kept, Error> {
        let Some(row) = self.trace_row(id)? else { return Ok(Kept::References) };
        if self.index().postings(row)?.span_count > 0 {
            return Ok(Kept::Spans);
        }
        Ok(match self.sampling_of(row)? {
            dropped @ Sampling::Dropped { .. } => Kept::Tombstone(dropped),
            _ => Kept::References,
        })
    }

    /// Which of the traces, by their places, have spans in the block.
    pub(crate) fn with_spans(&self, ids: &[TraceId]) -> Result<Vec<usize>, Error> {
        if self.rows(Signal::Traces) == 0 {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for (at, trace) in self.trace_rows(ids)? {
            if !self.span_rows(trace)?.is_empty() {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// What sampling decided about the trace of a row.
    pub(crate) fn sampling_of(&self, row: u32) -> Result<Sampling, Error> {
        let names = ["state", "policy", "decided_at", "adjusted_count", "dropped_spans"];
        let batches = self.pick(Table::Traces, &[row], Some(&names))?;
        Ok(batches.first().map(|batch| sampling_at(&Columns::new(batch), 0)).unwrap_or_default())
    }

    /// What sampling dropped of the trace of a row. Nearly all row groups have nothing of the kind, and cost no read.
    pub(crate) fn dropped_of(&self, row: u32) -> Result<Option<DroppedSpans>, Error> {
        let found = self.pick(Table::Traces, &[row], Some(&["dropped_spans"]))?;
        let dropped = found.first().and_then(|batch| Columns::new(batch).u32("dropped_spans", 0));
        if dropped.is_none() {
            return Ok(None);
        }
        let found = self.pick(Table::Traces, &[row], Some(&DROPPED_COLUMNS))?;
        Ok(found.first().and_then(|batch| dropped_at(&Columns::new(batch), 0)))
    }

    /// What sampling dropped of a trace.
    pub(crate) fn dropped(&self, id: TraceId) -> Result<Option<DroppedSpans>, Error> {
        match self.trace_row(id)? {
            Some(row) => self.dropped_of(row),
            None => Ok(None),
        }
    }

    /// The ids of a trace's spans here.
    pub(crate) fn span_ids_of(&self, id: TraceId) -> Result<Vec<SpanId>, Error> {
        let Some(row) = self.trace_row(id)? else { return Ok(Vec::new()) };
        let postings = self.index().postings(row)?;
        let rows = postings.first_span..postings.first_span.saturating_add(postings.span_count);
        let mut ids = Vec::with_capacity(rows.len());
        for batch in self.pick_range(Table::Spans, rows, Some(&["span_id"]))? {
            let columns = Columns::new(&batch);
            ids.extend((0..batch.num_rows()).filter_map(|row| columns.span_id("span_id", row)));
        }
        Ok(ids)
    }

    /// The log records of the trace of a row that name spans which are not here.
    pub(crate) fn open_spans_of(&self, trace_row: u32) -> Result<Vec<SpanReference>, Error> {
        let rows: BTreeSet<u32> = self.index().postings(trace_row)?.logs.into_iter().collect();
        let rows: Vec<u32> = rows.into_iter().collect();
        let mut out = Vec::new();
        let names = ["time", "service", "span_id", "trace_source"];
        for batch in self.pick(Table::Logs, &rows, Some(&names))? {
            let columns = Columns::new(&batch);
            out.extend((0..batch.num_rows()).filter_map(|row| {
                Some(SpanReference {
                    service: columns.owned("service", row),
                    time: columns.time("time", row),
                    span_id: columns.span_id("span_id", row)?,
                    is_unsampled: columns.u8("trace_source", row) & UNSAMPLED != 0,
                })
            }));
        }
        Ok(out)
    }
}

/// What [`dropped_at`] reads.
const DROPPED_COLUMNS: [&str; 5] = ["dropped_spans", "policy", "decided_at", "dropped_policy", "dropped_at"];

/// What sampling dropped, as a row of the trace table says.
pub(super) fn dropped_at(columns: &Columns<'_>, row: usize) -> Option<DroppedSpans> {
    let span_count = columns.u32("dropped_spans", row)?;
    let (policy, at) = match columns.text("dropped_policy", row) {
        Some(policy) => (policy, columns.time("dropped_at", row)),
        None => (columns.text("policy", row)?, columns.time("decided_at", row)),
    };
    Some(DroppedSpans { policy: policy.to_owned(), at, span_count })
}

/// The spans of a trace that links name, as `spans.parquet` has them; nothing in the place of one that is not named.
fn linked_spans(links: &str, id: TraceId) -> Vec<Option<SpanId>> {
    let links: Vec<serde_json::Value> = serde_json::from_str(links).unwrap_or_default();
    let text = |link: &serde_json::Value, name: &str| link.get(name)?.as_str().map(str::to_owned);
    let to = |link: &serde_json::Value| {
        TraceId::parse(&text(link, "trace_id")?).filter(|(of, _)| *of == id)?;
        Some(text(link, "span_id").and_then(|text| SpanId::parse(&text)))
    };
    links.iter().filter_map(to).collect()
}

/// What sampling decided, as a row of the trace table says.
pub(super) fn sampling_at(columns: &Columns<'_>, row: usize) -> Sampling {
    let Some(policy) = columns.text("policy", row) else { return Sampling::Undecided };
    let (policy, at) = (policy.to_owned(), columns.time("decided_at", row));
    match columns.text("state", row) {
        Some("dropped") => {
            let span_count = columns.u32("dropped_spans", row).unwrap_or_default();
            Sampling::Dropped { policy, at, span_count }
        }
        _ => Sampling::Kept { policy, at, adjusted_count: columns.f64("adjusted_count", row) },
    }
}
