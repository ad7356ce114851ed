//! Merges the trace tables of the inputs, and says where each span of the output comes from.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use ahash::{AHashMap as HashMap, AHashSet as HashSet};
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, Int64Array};
use throughline_model::trace::SpanTiming;
use throughline_model::{SpanId, TraceId};

use super::fates::Fates;
use crate::block::build::order_traces;
use crate::block::read::Columns;
use crate::block::texts::{TextId, Texts, mapped};
use crate::block::traces::{DroppedPart, Fate, SpanFacts, Summariser, TraceEntry};
use crate::block::{Block, Table};
use crate::error::Error;
use crate::flush::id_column;
use crate::same_span::sort;
use crate::sample::{Decider, Gathered};

/// A span of the output: the input and row that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanFrom {
    pub(super) input: u32,
    pub(super) row: u32,
    pub(super) trace_row: u32,
    /// The parent's row within the trace, where the trace's spans come from several inputs; in a trace that is whole
    /// in one input, what that input says holds.
    pub(super) parent: Option<Option<u32>>,
    /// Its trace was chosen by chance: it stands for more than before.
    pub(super) is_weighted: bool,
}

/// Where rows of the inputs went.
pub(super) struct RowMap {
    /// For each input, the output's row of each of its traces.
    traces: Vec<Vec<u32>>,
    /// For each input, the first span of each of its traces.
    first_spans: Vec<Vec<u32>>,
    /// Spans of traces that came together from several inputs: input and row there, to the row within the trace.
    moved: HashMap<(u32, u32), u32>,
    /// For each input, the ids of its spans, where log records refer to spans that are dropped; else nothing.
    dropped_ids: Vec<Vec<[u8; 8]>>,
    /// Traces whose spans are dropped, by input and row there.
    dropped: HashSet<(u32, u32)>,
    /// Some traces are left out.
    is_thinned: bool,
}

/// What stands for the row of a trace that the output has not.
const LEFT_OUT: u32 = u32::MAX;

impl RowMap {
    /// The id of a span that was dropped, which an input names by its row within the trace.
    pub(super) fn dropped_span(&self, input: usize, trace_row: u32, span_row: u32) -> Option<SpanId> {
        if !self.dropped.contains(&(input as u32, trace_row)) {
            return None;
        }
        let first = *self.first_spans.get(input)?.get(trace_row as usize)?;
        self.dropped_ids.get(input)?.get(first.saturating_add(span_row) as usize).copied().map(SpanId)
    }

    /// Notes that the spans of a trace are dropped. Where log records refer to them their ids are read, all of an input's.
    fn drop_spans(
        &mut self,
        inputs: &[Arc<Block>],
        members: &[Member],
        places: &[(TraceId, u32)],
    ) -> Result<(), Error> {
        for member in at(members, places) {
            self.dropped.insert((member.input, member.row));
            let ids = self.dropped_ids.get_mut(member.input as usize).filter(|ids| ids.is_empty());
            let (Some(ids), Some(block)) = (ids, inputs.get(member.input as usize)) else { continue };
            if member.has_logs {
                let table = block.table(Table::Spans)?;
                for group in 0..table.groups() {
                    for rows in table.read_group(group, None, Some(&["span_id"]))? {
                        ids.extend(id_column(&rows, "span_id"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The output's row of a trace of an input; none where the output has it not.
    pub(super) fn trace(&self, input: usize, row: u32) -> Option<u32> {
        self.traces.get(input)?.get(row as usize).copied().filter(|row| *row != LEFT_OUT)
    }

    /// Whether the output has only some of the traces, and only what is of those.
    pub(super) fn is_thinned(&self) -> bool {
        self.is_thinned
    }

    /// The row within its trace of a span that an input names by its row within the trace.
    pub(super) fn span(&self, input: usize, trace_row: u32, span_row: u32) -> Option<u32> {
        let first = *self.first_spans.get(input)?.get(trace_row as usize)?;
        if self.dropped.contains(&(input as u32, trace_row)) {
            return None;
        }
        Some(self.moved.get(&(input as u32, first.saturating_add(span_row))).copied().unwrap_or(span_row))
    }
}

/// The merged trace table.
pub(super) struct Merged {
    pub(super) entries: Vec<TraceEntry>,
    pub(super) spans: Vec<SpanFrom>,
    pub(super) rows: RowMap,
    /// By the row of the trace, how many spans a weighted one of it stands for; none where that is not known.
    pub(super) weights: HashMap<u32, Option<f64>>,
    /// Something was decided that changes rows.
    pub(super) is_changed: bool,
}

/// One trace of one input.
struct Member {
    input: u32,
    row: u32,
    entry: TraceEntry,
    /// Log records of its input refer to it.
    has_logs: bool,
}

/// Where the spans of a trace of the output come from.
enum Spans {
    /// One after the other in one input.
    Whole {
        input: u32,
        first: u32,
        count: u32,
    },
    Split(Vec<SpanFrom>),
}

/// A trace of the output.
struct Group {
    entry: TraceEntry,
    /// Its members, as a range of the list of all.
    members: Range<usize>,
    spans: Spans,
    /// Spans that were received twice: input and row there, and the row within the trace that stays.
    twins: Vec<((u32, u32), u32)>,
    /// How many each of its spans stands for, where chance decided about it; none where that is not known.
    weight: Option<Option<f64>>,
    /// Inputs whose spans of it have that weight already.
    weighed: Vec<u32>,
    /// Its spans are dropped by this merge.
    is_dropped: bool,
    /// Exemplars that refer to it.
    exemplars: u64,
    /// The largest of what earlier merges have left of it, where spans came after that.
    tombstone: Option<Box<TraceEntry>>,
}

impl Group {
    fn gathered(&self) -> Gathered<'_> {
        Gathered { entry: &self.entry, exemplars: self.exemplars }
    }
}

pub(super) fn merge(
    inputs: &[Arc<Block>],
    texts: &mut Texts,
    decider: Option<&mut Decider<'_>>,
) -> Result<Merged, Error> {
    let mut members = Vec::with_capacity(inputs.iter().map(|block| block.meta().rows.traces as usize).sum());
    for (input, block) in inputs.iter().enumerate() {
        read_members(input as u32, block, texts, &mut members)?;
    }
    // Members are large: their places are put in order rather than they.
    let mut order: Vec<(TraceId, u32)> =
        members.iter().enumerate().map(|(at, member)| (member.entry.id, at as u32)).collect();
    order.sort_unstable();
    let by_trace = || order.chunk_by(|a, b| a.0 == b.0);
    let split = read_split_spans(inputs, &members, by_trace(), texts)?;
    let mut rows = row_map(inputs, &members);
    let mut summariser = Summariser::default();
    let mut groups: Vec<Group> = Vec::with_capacity(order.len());
    let mut from = 0;
    for places in by_trace() {
        let mut group = join(&mut members, places, (&split, texts), &mut summariser);
        group.members = from..from + places.len();
        from = group.members.end;
        groups.push(group);
    }
    drop(split);
    let mut starts: Vec<(i64, TraceId, u32)> =
        groups.iter().enumerate().map(|(at, group)| (group.entry.start, group.entry.id, at as u32)).collect();
    starts.sort_unstable();
    if let Some(decider) = decider {
        let of = |group: &Group| order.get(group.members.clone()).unwrap_or_default();
        decider.follow_links(inputs, groups.iter().map(Group::gathered), texts)?;
        for (.., at) in &starts {
            let Some(group) = groups.get_mut(*at as usize) else { continue };
            decide(group, decider, texts)?;
            if group.is_dropped {
                rows.drop_spans(inputs, &members, of(group))?;
            }
        }
    }
    let mut merged = Merged {
        entries: Vec::with_capacity(groups.len()),
        spans: Vec::with_capacity(inputs.iter().map(|block| block.meta().rows.spans as usize).sum()),
        rows,
        weights: HashMap::new(),
        is_changed: false,
    };
    for (trace_row, (.., at)) in starts.into_iter().enumerate() {
        let Some(group) = groups.get_mut(at as usize) else { continue };
        let trace_row = trace_row as u32;
        for (_, place) in order.get(group.members.clone()).unwrap_or_default() {
            let Some(member) = members.get(*place as usize) else { continue };
            let map = merged.rows.traces.get_mut(member.input as usize);
            if let Some(slot) = map.and_then(|map| map.get_mut(member.row as usize)) {
                *slot = trace_row;
            }
        }
        merged.place(group, trace_row);
    }
    order_traces(&mut merged.entries);
    Ok(merged)
}

impl Merged {
    /// Leaves all other traces out.
    pub(super) fn keep_only(&mut self, keep: &std::collections::HashSet<TraceId>) {
        let mut n_kept = 0;
        let new_rows: Vec<u32> = (self.entries.iter())
            .map(|entry| match keep.contains(&entry.id) {
                true => {
                    n_kept += 1;
                    n_kept - 1
                }
                false => LEFT_OUT,
            })
            .collect();
        let new_row = |row: u32| new_rows.get(row as usize).copied().unwrap_or(LEFT_OUT);
        self.entries.retain(|entry| keep.contains(&entry.id));
        order_traces(&mut self.entries);
        self.spans.retain_mut(|span| {
            span.trace_row = new_row(span.trace_row);
            span.trace_row != LEFT_OUT
        });
        self.rows.traces.iter_mut().flatten().for_each(|row| *row = new_row(*row));
        self.rows.is_thinned = true;
    }

    /// Gives the spans of a trace their places.
    fn place(&mut self, group: &mut Group, trace_row: u32) {
        self.is_changed |= group.is_dropped || group.weight.is_some();
        self.weights.extend(group.weight.map(|weight| (trace_row, weight)));
        let is_weighted = group.weight.is_some();
        self.rows.moved.extend(group.twins.drain(..));
        match &group.spans {
            Spans::Whole { input, first, count } => self.spans.extend((0..*count).map(|at| SpanFrom {
                input: *input,
                row: first + at,
                trace_row,
                parent: None,
                is_weighted,
            })),
            Spans::Split(split) => {
                let places = split.iter().zip(0..);
                self.rows.moved.extend(places.map(|(span, in_trace)| ((span.input, span.row), in_trace)));
                let weighted = |span: &SpanFrom| is_weighted && !group.weighed.contains(&span.input);
                let place = |span: &SpanFrom| SpanFrom { trace_row, is_weighted: weighted(span), ..*span };
                self.spans.extend(split.iter().map(place));
            }
        }
        self.entries.push(std::mem::replace(&mut group.entry, TraceEntry::referred(TraceId([0; 16]), 0)));
    }
}

/// Decides about a trace.
fn decide(group: &mut Group, decider: &mut Decider<'_>, texts: &mut Texts) -> Result<(), Error> {
    if group.entry.postings.span_count == 0 || group.entry.fate != Fate::Undecided {
        return Ok(());
    }
    let gathered = group.gathered();
    let fate = match &group.spans {
        Spans::Whole { input, first, count } => {
            let (input, first) = (*input, *first);
            decider.decide(&gathered, &mut (0..*count).map(|at| (input, first + at)), texts)?
        }
        Spans::Split(split) => {
            decider.decide(&gathered, &mut split.iter().map(|span| (span.input, span.row)), texts)?
        }
    };
    group.entry.fate = fate;
    match fate {
        Fate::Dropped { .. } => {
            group.is_dropped = true;
            group.entry.postings.span_count = 0;
            group.entry.unite(group.tombstone.take());
            group.spans = Spans::Split(Vec::new());
            group.twins.clear();
        }
        Fate::Kept { adjusted, .. } if adjusted != Some(1.0) => group.weight = Some(adjusted),
        Fate::Kept { .. } | Fate::Undecided => {}
    }
    Ok(())
}

/// The map of the inputs' rows, with nothing known but where each trace's spans start.
fn row_map(inputs: &[Arc<Block>], members: &[Member]) -> RowMap {
    let zeros = || inputs.iter().map(|block| vec![0; block.meta().rows.traces as usize]).collect();
    let mut rows = RowMap {
        traces: zeros(),
        first_spans: zeros(),
        moved: HashMap::new(),
        dropped_ids: vec![Vec::new(); inputs.len()],
        dropped: HashSet::new(),
        is_thinned: false,
    };
    for member in members {
        let firsts = rows.first_spans.get_mut(member.input as usize);
        if let Some(slot) = firsts.and_then(|firsts| firsts.get_mut(member.row as usize)) {
            *slot = member.entry.postings.first_span;
        }
    }
    rows
}

fn read_members(input: u32, block: &Block, texts: &mut Texts, out: &mut Vec<Member>) -> Result<(), Error> {
    let mut postings = block.index().all_postings()?.into_iter();
    let table = block.table(Table::Traces)?.with_dictionaries()?;
    let mut number = 0;
    for group in 0..table.groups() {
        for batch in table.read_group(group, None, None)? {
            let columns = Columns::new(&batch);
            let mut text_column = |name: &str| -> Vec<TextId> {
                let Some((column, _)) = columns.dictionary(name) else { return Vec::new() };
                let keys = texts.intern_keys(column);
                (0..batch.num_rows()).map(|row| mapped(column, &keys, row)).collect()
            };
            let names =
                ["root_service", "root_name", "culprit_service", "culprit_name"].map(&mut text_column);
            let errors = ["error_culprit_service", "error_culprit_name"].map(&mut text_column);
            let has_error = columns.dictionary("error_culprit_service").map(|(column, _)| column);
            let policies = text_column("policy");
            let dropped_policies = text_column("dropped_policy");
            let services = columns.list_items("services");
            let service_ids = services.map(|(_, values)| texts.intern_rows(values)).unwrap_or_default();
            let count_of = |name: &str| columns.numbers::<UInt32Type>(name);
            let counts = ["error_count", "error_log_count", "orphan_count"].map(count_of);
            let longs = ["duration_ns", "culprit_self_ns", "clock_skew_ns"]
                .map(|name| columns.numbers::<Int64Type>(name));
            let starts = columns.times("start_time");
            let fates = Fates::new(&columns);
            for row in 0..batch.num_rows() {
                let Some(id) = columns.trace_id("trace_id", row) else { continue };
                let start = starts.map(|column| column.value(row)).unwrap_or_default();
                let mut entry = TraceEntry::referred(id, start);
                let long = |column: &Int64Array| if column.is_null(row) { 0 } else { column.value(row) };
                let [duration, culprit_self, skew] = longs.map(|column| column.map_or(0, long));
                entry.end = start.saturating_add(duration);
                (entry.culprit_self_ns, entry.clock_skew_ns) = (culprit_self, skew);
                let of = |column: &Vec<TextId>| column.get(row).copied().unwrap_or_default();
                let [root_service, root_name, culprit_service, culprit_name] = &names;
                (entry.root_service, entry.root_name) = (of(root_service), of(root_name));
                (entry.culprit_service, entry.culprit_name) = (of(culprit_service), of(culprit_name));
                let [error_service, error_name] = &errors;
                entry.error_culprit = has_error
                    .filter(|column| !column.is_null(row))
                    .map(|_| (of(error_service), of(error_name)));
                let ends = services.and_then(|(list, _)| list.value_offsets().get(row..row + 2));
                if let Some([from, to]) = ends {
                    entry.services =
                        service_ids.get(*from as usize..*to as usize).unwrap_or_default().to_vec();
                }
                [entry.error_count, entry.error_log_count, entry.orphan_count] =
                    counts.map(|column| column.map(|column| column.value(row)).unwrap_or_default());
                entry.postings = postings.next().unwrap_or_default();
                (entry.fate, entry.dropped_before) = fates.at(row, of(&policies), of(&dropped_policies));
                let has_logs = !entry.postings.logs.is_empty();
                out.push(Member { input, row: number, entry, has_logs });
                number += 1;
            }
        }
    }
    Ok(())
}

/// The members at these places.
fn at<'a>(members: &'a [Member], places: &'a [(TraceId, u32)]) -> impl Iterator<Item = &'a Member> {
    places.iter().filter_map(|(_, place)| members.get(*place as usize))
}

fn is_split(members: &[Member], places: &[(TraceId, u32)]) -> bool {
    places.len() > 1 && at(members, places).filter(|member| member.entry.postings.span_count > 0).count() > 1
}

/// The spans of traces that lie in several inputs: what a summary needs, by input and row.
fn read_split_spans<'a>(
    inputs: &[Arc<Block>],
    members: &[Member],
    by_trace: impl Iterator<Item = &'a [(TraceId, u32)]>,
    texts: &mut Texts,
) -> Result<HashMap<(u32, u32), SpanFacts>, Error> {
    let mut wanted: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); inputs.len()];
    for places in by_trace.filter(|places| is_split(members, places)) {
        for member in at(members, places) {
            let postings = &member.entry.postings;
            if let Some(rows) = wanted.get_mut(member.input as usize) {
                rows.extend(postings.first_span..postings.first_span + postings.span_count);
            }
        }
    }
    const COLUMNS: [&str; 10] = [
        "span_id",
        "parent_row",
        "parent_span_id",
        "name",
        "kind",
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
                let kind = columns.u8("kind", row);
                out.insert((input as u32, *number), SpanFacts { timing, kind, service, name });
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

/// One trace of the output from its members. The entry of one of them may be taken.
fn join(
    members: &mut [Member],
    places: &[(TraceId, u32)],
    split: (&HashMap<(u32, u32), SpanFacts>, &Texts),
    summariser: &mut Summariser,
) -> Group {
    let mut twins = Vec::new();
    let error_log_count = at(members, places).map(|member| member.entry.error_log_count).sum();
    let exemplars = at(members, places).map(|member| member.entry.postings.exemplars.len() as u64).sum();
    let dropped =
        at(members, places).map(|member| member.entry.dropped()).reduce(DroppedPart::joined).flatten();
    let tombstone = largest_tombstone(members, places).and_then(|place| members.get(place));
    let tombstone = tombstone.filter(|_| places.len() > 1).map(|member| Box::new(member.entry.clone()));
    let (mut entry, spans) = if is_split(members, places) {
        let (entry, spans) = join_spans(members, places, split, summariser, &mut twins);
        (entry, Spans::Split(spans))
    } else {
        whole(members, places)
    };
    entry.error_log_count = error_log_count;
    match entry.postings.span_count {
        0 => entry.bury(dropped),
        _ => entry.dropped_before = dropped,
    }
    let mut group = Group {
        entry,
        members: 0..0,
        spans,
        twins,
        weight: None,
        weighed: Vec::new(),
        is_dropped: false,
        exemplars,
        tombstone,
    };
    if group.entry.postings.span_count > 0 && group.entry.fate == Fate::Undecided {
        follow(&mut group, members, places);
    }
    group.entry.postings.logs = Vec::new();
    group.entry.postings.exemplars = Vec::new();
    group
}

/// What was decided of a part of a trace that stays holds for the spans that came late.
fn follow(group: &mut Group, members: &[Member], places: &[(TraceId, u32)]) {
    let is_kept = |member: &&Member| {
        matches!(member.entry.fate, Fate::Kept { .. }) && member.entry.postings.span_count > 0
    };
    let Some(kept) = at(members, places).find(is_kept) else { return };
    group.entry.fate = kept.entry.fate;
    if let Fate::Kept { adjusted, .. } = kept.entry.fate
        && adjusted != Some(1.0)
    {
        group.weight = Some(adjusted);
        group.weighed = at(members, places).filter(is_kept).map(|member| member.input).collect();
    }
}

/// The place of the tombstone that tells of most spans.
fn largest_tombstone(members: &[Member], places: &[(TraceId, u32)]) -> Option<usize> {
    let spans = |place: &u32| match members.get(*place as usize)?.entry.fate {
        Fate::Dropped { spans, .. } => Some(spans),
        Fate::Undecided | Fate::Kept { .. } => None,
    };
    let tombstones = places.iter().filter_map(|(_, place)| Some((spans(place)?, *place as usize)));
    tombstones.max_by_key(|(spans, place)| (*spans, std::cmp::Reverse(*place))).map(|(_, place)| place)
}

/// All spans are in one input, or there are none: its summary holds.
fn whole(members: &mut [Member], places: &[(TraceId, u32)]) -> (TraceEntry, Spans) {
    let id = places.first().map_or(TraceId([0; 16]), |(id, _)| *id);
    let start = at(members, places).map(|member| member.entry.start).min().unwrap_or_default();
    let end = at(members, places).map(|member| member.entry.end).max().unwrap_or(start);
    let mut referred = TraceEntry::referred(id, start);
    let has_spans = |(_, place): &&(TraceId, u32)| {
        members.get(*place as usize).is_some_and(|member| member.entry.postings.span_count > 0)
    };
    let base = places.iter().find(has_spans).map(|(_, place)| *place as usize);
    let base = base.or_else(|| largest_tombstone(members, places));
    let Some(base) = base.and_then(|place| members.get_mut(place)) else {
        referred.end = end;
        return (referred, Spans::Split(Vec::new()));
    };
    let entry = std::mem::replace(&mut base.entry, referred);
    let (first, count) = (entry.postings.first_span, entry.postings.span_count);
    (entry, Spans::Whole { input: base.input, first, count })
}

fn join_spans(
    members: &[Member],
    places: &[(TraceId, u32)],
    (split, texts): (&HashMap<(u32, u32), SpanFacts>, &Texts),
    summariser: &mut Summariser,
    twins: &mut Vec<((u32, u32), u32)>,
) -> (TraceEntry, Vec<SpanFrom>) {
    let mut all: Vec<(SpanFacts, u32, u32)> = Vec::new();
    for member in at(members, places) {
        let postings = &member.entry.postings;
        for row in postings.first_span..postings.first_span + postings.span_count {
            all.extend(split.get(&(member.input, row)).map(|facts| (*facts, member.input, row)));
        }
    }
    sort(&mut all, |(fact, ..)| fact.timing.start, |(a, ..), (b, ..)| a.compare(b, texts));
    let mut facts: Vec<SpanFacts> = Vec::with_capacity(all.len());
    let mut spans = Vec::with_capacity(all.len());
    for (fact, input, row) in all {
        if facts.last().is_some_and(|last| last.compare(&fact, texts).is_eq()) {
            twins.push(((input, row), facts.len() as u32 - 1));
            continue;
        }
        facts.push(fact);
        spans.push(SpanFrom { input, row, trace_row: 0, parent: Some(None), is_weighted: false });
    }
    let id = places.first().map_or(TraceId([0; 16]), |(id, _)| *id);
    let entry = summariser.summarise(id, &facts);
    for (span, parent) in spans.iter_mut().zip(summariser.parents()) {
        span.parent = Some(*parent);
    }
    (entry, spans)
}
