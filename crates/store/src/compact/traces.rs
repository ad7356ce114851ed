//! Merges the trace tables of the inputs, and says where each span of the output comes from.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use throughline_model::trace::SpanTiming;
use throughline_model::{SpanId, TraceId};

use crate::block::build::order_traces;
use crate::block::read::Columns;
use crate::block::texts::Texts;
use crate::block::traces::{SpanFacts, Summariser, TraceEntry};
use crate::block::{Block, Table};
use crate::error::Error;

/// A span of the output: the input and row that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanFrom {
    pub(super) input: u32,
    pub(super) row: u32,
    pub(super) trace_row: u32,
    /// The parent's row within the trace, where the trace's spans come from several inputs; in a trace that is whole
    /// in one input, what that input says holds.
    pub(super) parent: Option<Option<u32>>,
}

/// Where rows of the inputs went.
pub(super) struct RowMap {
    /// For each input, the output's row of each of its traces.
    traces: Vec<Vec<u32>>,
    /// For each input, the first span of each of its traces.
    first_spans: Vec<Vec<u32>>,
    /// Spans of traces that came together from several inputs: input and row there, to the row within the trace.
    moved: HashMap<(u32, u32), u32>,
}

impl RowMap {
    /// The output's row of a trace of an input.
    pub(super) fn trace(&self, input: usize, row: u32) -> Option<u32> {
        self.traces.get(input)?.get(row as usize).copied()
    }

    /// The row within its trace of a span that an input names by its row within the trace.
    pub(super) fn span(&self, input: usize, trace_row: u32, span_row: u32) -> Option<u32> {
        let first = *self.first_spans.get(input)?.get(trace_row as usize)?;
        Some(self.moved.get(&(input as u32, first.saturating_add(span_row))).copied().unwrap_or(span_row))
    }
}

/// The merged trace table.
pub(super) struct Merged {
    pub(super) entries: Vec<TraceEntry>,
    pub(super) spans: Vec<SpanFrom>,
    pub(super) rows: RowMap,
}

/// One trace of one input.
struct Member {
    input: u32,
    row: u32,
    entry: TraceEntry,
}

/// A trace of the output with the members that it consists of.
struct Group {
    entry: TraceEntry,
    members: Vec<(u32, u32)>,
    spans: Vec<SpanFrom>,
    /// Spans that were received twice: input and row there, and the row within the trace that stays.
    twins: Vec<((u32, u32), u32)>,
}

pub(super) fn merge(inputs: &[Arc<Block>], texts: &mut Texts) -> Result<Merged, Error> {
    let mut members = Vec::new();
    for (input, block) in inputs.iter().enumerate() {
        members.extend(read_members(input as u32, block, texts)?);
    }
    members.sort_by_key(|member| (member.entry.id, member.input));
    let split = read_split_spans(inputs, &members, texts)?;
    let mut summariser = Summariser::default();
    let mut groups: Vec<Group> = members
        .chunk_by(|a, b| a.entry.id == b.entry.id)
        .map(|members| join(members, &split, &mut summariser))
        .collect();
    drop(split);
    let n_traces: Vec<usize> = inputs.iter().map(|block| block.meta().rows.traces as usize).collect();
    let mut rows = RowMap {
        traces: n_traces.iter().map(|n| vec![0; *n]).collect(),
        first_spans: n_traces.iter().map(|n| vec![0; *n]).collect(),
        moved: HashMap::new(),
    };
    for member in &members {
        let firsts = rows.first_spans.get_mut(member.input as usize);
        if let Some(slot) = firsts.and_then(|firsts| firsts.get_mut(member.row as usize)) {
            *slot = member.entry.postings.first_span;
        }
    }
    groups.sort_by_key(|group| (group.entry.start, group.entry.id));
    let mut entries: Vec<TraceEntry> = Vec::with_capacity(groups.len());
    let mut spans = Vec::new();
    for (trace_row, group) in groups.into_iter().enumerate() {
        for (input, row) in group.members {
            let map = rows.traces.get_mut(input as usize);
            if let Some(slot) = map.and_then(|map| map.get_mut(row as usize)) {
                *slot = trace_row as u32;
            }
        }
        rows.moved.extend(group.twins);
        for (in_trace, span) in group.spans.into_iter().enumerate() {
            if span.parent.is_some() {
                rows.moved.insert((span.input, span.row), in_trace as u32);
            }
            spans.push(SpanFrom { trace_row: trace_row as u32, ..span });
        }
        entries.push(group.entry);
    }
    order_traces(&mut entries);
    Ok(Merged { entries, spans, rows })
}

fn read_members(input: u32, block: &Block, texts: &mut Texts) -> Result<Vec<Member>, Error> {
    let mut postings = block.index().all_postings()?.into_iter();
    let table = block.table(Table::Traces)?;
    let mut out = Vec::with_capacity(table.num_rows() as usize);
    for group in 0..table.groups() {
        for batch in table.read_group(group, None, None)? {
            let columns = Columns::new(&batch);
            for row in 0..batch.num_rows() {
                let Some(id) = columns.trace_id("trace_id", row) else { continue };
                let start = columns.time("start_time", row);
                let mut entry = TraceEntry::referred(id, start);
                entry.end = start.saturating_add(columns.i64("duration_ns", row));
                let mut text = |name: &str| texts.intern(columns.text(name, row).unwrap_or_default());
                entry.root_service = text("root_service");
                entry.root_name = text("root_name");
                entry.culprit_service = text("culprit_service");
                entry.culprit_name = text("culprit_name");
                entry.services =
                    columns.list("services", row).iter().map(|name| texts.intern(name)).collect();
                entry.error_count = columns.u32("error_count", row).unwrap_or_default();
                entry.error_log_count = columns.u32("error_log_count", row).unwrap_or_default();
                entry.orphan_count = columns.u32("orphan_count", row).unwrap_or_default();
                entry.culprit_self_ns = columns.i64("culprit_self_ns", row);
                entry.postings = postings.next().unwrap_or_default();
                out.push(Member { input, row: out.len() as u32, entry });
            }
        }
    }
    Ok(out)
}

fn is_split(members: &[Member]) -> bool {
    members.iter().filter(|member| member.entry.postings.span_count > 0).count() > 1
}

/// The spans of traces that lie in several inputs: what a summary needs, by input and row.
fn read_split_spans(
    inputs: &[Arc<Block>],
    members: &[Member],
    texts: &mut Texts,
) -> Result<HashMap<(u32, u32), SpanFacts>, Error> {
    let mut wanted: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); inputs.len()];
    for members in members.chunk_by(|a, b| a.entry.id == b.entry.id).filter(|members| is_split(members)) {
        for member in members {
            let postings = &member.entry.postings;
            if let Some(rows) = wanted.get_mut(member.input as usize) {
                rows.extend(postings.first_span..postings.first_span + postings.span_count);
            }
        }
    }
    const COLUMNS: [&str; 9] = [
        "span_id",
        "parent_row",
        "parent_span_id",
        "name",
        "start_time",
        "duration_ns",
        "status_code",
        "service",
        "trace_row",
    ];
    let mut out = HashMap::new();
    for (input, (block, rows)) in inputs.iter().zip(wanted).enumerate() {
        let rows: Vec<u32> = rows.into_iter().collect();
        let mut numbers = rows.iter();
        let mut parents: Vec<(u32, u32, u32)> = Vec::new();
        let mut first_of_trace: HashMap<u32, u32> = HashMap::new();
        for batch in block.table(Table::Spans)?.read(&rows, Some(&COLUMNS))? {
            let columns = Columns::new(&batch);
            for (row, number) in (0..batch.num_rows()).zip(numbers.by_ref()) {
                let Some(span_id) = columns.span_id("span_id", row) else { continue };
                let trace = columns.u32("trace_row", row).unwrap_or_default();
                first_of_trace.entry(trace).or_insert(*number);
                parents.extend(columns.u32("parent_row", row).map(|parent| (*number, trace, parent)));
                let timing = SpanTiming {
                    span_id,
                    parent_span_id: columns.span_id("parent_span_id", row),
                    start: columns.time("start_time", row),
                    duration: columns.i64("duration_ns", row),
                    error: columns.u8("status_code", row) == 2,
                };
                let service = texts.intern(columns.text("service", row).unwrap_or_default());
                let name = texts.intern(columns.text("name", row).unwrap_or_default());
                out.insert((input as u32, *number), SpanFacts { timing, service, name });
            }
        }
        for (number, trace, parent_row) in parents {
            let first = first_of_trace.get(&trace).copied().unwrap_or_default();
            let parent: Option<SpanId> =
                out.get(&(input as u32, first + parent_row)).map(|f| f.timing.span_id);
            if let Some(facts) = out.get_mut(&(input as u32, number)) {
                facts.timing.parent_span_id = parent;
            }
        }
    }
    Ok(out)
}

/// One trace of the output from its members.
fn join(members: &[Member], split: &HashMap<(u32, u32), SpanFacts>, summariser: &mut Summariser) -> Group {
    let numbers: Vec<(u32, u32)> = members.iter().map(|member| (member.input, member.row)).collect();
    let mut twins = Vec::new();
    let (mut entry, spans) =
        if is_split(members) { join_spans(members, split, summariser, &mut twins) } else { whole(members) };
    entry.error_log_count = members.iter().map(|member| member.entry.error_log_count).sum();
    entry.postings.logs = Vec::new();
    entry.postings.exemplars = Vec::new();
    Group { entry, members: numbers, spans, twins }
}

/// All spans are in one input, or there are none: its summary holds.
fn whole(members: &[Member]) -> (TraceEntry, Vec<SpanFrom>) {
    let with_spans = members.iter().find(|member| member.entry.postings.span_count > 0);
    let Some(base) = with_spans else {
        let id = members.first().map_or(TraceId([0; 16]), |member| member.entry.id);
        let start = members.iter().map(|member| member.entry.start).min().unwrap_or_default();
        let mut entry = TraceEntry::referred(id, start);
        entry.end = members.iter().map(|member| member.entry.end).max().unwrap_or(start);
        return (entry, Vec::new());
    };
    let postings = &base.entry.postings;
    let spans = (0..postings.span_count)
        .map(|at| SpanFrom { input: base.input, row: postings.first_span + at, trace_row: 0, parent: None })
        .collect();
    (base.entry.clone(), spans)
}

fn join_spans(
    members: &[Member],
    split: &HashMap<(u32, u32), SpanFacts>,
    summariser: &mut Summariser,
    twins: &mut Vec<((u32, u32), u32)>,
) -> (TraceEntry, Vec<SpanFrom>) {
    let mut all: Vec<(SpanFacts, u32, u32)> = Vec::new();
    for member in members {
        let postings = &member.entry.postings;
        for row in postings.first_span..postings.first_span + postings.span_count {
            all.extend(split.get(&(member.input, row)).map(|facts| (*facts, member.input, row)));
        }
    }
    all.sort_by_key(|(facts, input, row)| (facts.timing.start, *input, *row));
    let mut facts: Vec<SpanFacts> = Vec::with_capacity(all.len());
    let mut spans = Vec::with_capacity(all.len());
    for (fact, input, row) in all {
        match fact.twin_among(&facts) {
            Some(twin) => twins.push(((input, row), twin as u32)),
            None => {
                facts.push(fact);
                spans.push(SpanFrom { input, row, trace_row: 0, parent: Some(None) });
            }
        }
    }
    let id = members.first().map_or(TraceId([0; 16]), |member| member.entry.id);
    let entry = summariser.summarise(id, &facts);
    for (span, parent) in spans.iter_mut().zip(summariser.parents()) {
        span.parent = Some(*parent);
    }
    (entry, spans)
}
