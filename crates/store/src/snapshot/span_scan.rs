//! Scans of spans: batches of them, of which columns are read when they are asked for.
//!
//! Blocks and row groups are left out by time and statistics, and nothing else is read before somebody asks: a condition on one column
//! that no row meets costs that column. What is asked of the rows is the asker's: [`SpanVisitor`].

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use throughline_model::{Signal, SpanId, TraceId};

use super::log_scan::More;
use super::span_split::Group;
use super::span_values::SpanValues;
use super::torn::RowBits;
use super::{Snapshot, TimeRange};
use crate::block::shred::COLUMN_PREFIX;
use crate::block::{Block, BlockSpans};
use crate::error::Error;
use crate::memtable::{MemtableSpans, MemtableView};
use crate::same_span::{SpanIdentity, keep_once};

/// How long before a window a row group may have begun whose traces reach into it: statistics say of the others that they do not.
const TRACE_REACH_NS: i64 = 3_600_000_000_000;

/// Keys of attributes that are listed of the spans of one batch: more are data rather than names.
pub const SPAN_KEYS_MAX: usize = 4_096;

/// A column of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanColumn<'q> {
    /// Texts.
    Name,
    /// Integers: OTLP's code.
    Kind,
    /// Integers: nanoseconds since the epoch.
    Start,
    /// Integers: nanoseconds.
    Duration,
    /// Integers: OTLP's code.
    Status,
    /// Texts.
    StatusMessage,
    /// Texts.
    Service,
    /// Texts: JSON objects.
    Resource,
    /// Texts: JSON objects of name, version and attributes.
    Scope,
    /// Texts: JSON arrays.
    Events,
    /// Texts: JSON arrays.
    Links,
    /// Ids.
    SpanId,
    /// Ids.
    ParentId,
    /// Integers: the row of the parent among those of its trace. In blocks only.
    ParentRow,
    /// Truth values: whether the span names a parent.
    HasParent,
    /// Numbers: how many spans each stands for, where its sampler says so. Nothing where none of the rows says it.
    AdjustedCount,
    /// Values of an attribute of the span.
    Attribute(&'q str),
    /// Integers: the start of the trace as far as it lies here, nanoseconds since the epoch.
    TraceStart,
    /// Integers: its duration.
    TraceDuration,
    /// Texts: the service of its root span, empty where that is not here.
    RootService,
    /// Texts: the name of its root span.
    RootName,
}

impl SpanColumn<'_> {
    /// What the column is called in the table of spans, where it is one there as it is.
    pub(crate) fn stored_name(self) -> Option<&'static str> {
        Some(match self {
            SpanColumn::Name => "name",
            SpanColumn::Kind => "kind",
            SpanColumn::Start => "start_time",
            SpanColumn::Duration => "duration_ns",
            SpanColumn::Status => "status_code",
            SpanColumn::StatusMessage => "status_message",
            SpanColumn::Service => "service",
            SpanColumn::Resource => "resource",
            SpanColumn::Scope => "scope",
            SpanColumn::Events => "events",
            SpanColumn::Links => "links",
            SpanColumn::SpanId => "span_id",
            SpanColumn::ParentRow => "parent_row",
            SpanColumn::AdjustedCount => "adjusted_count",
            SpanColumn::ParentId
            | SpanColumn::HasParent
            | SpanColumn::Attribute(_)
            | SpanColumn::TraceStart
            | SpanColumn::TraceDuration
            | SpanColumn::RootService
            | SpanColumn::RootName => return None,
        })
    }
}

/// Columns of the table of spans, by their names.
#[derive(Default)]
pub struct StoredColumns(Vec<Cow<'static, str>>);

impl StoredColumns {
    /// Adds what a column of spans is made of; what is of traces is not.
    pub fn add(&mut self, column: SpanColumn<'_>) {
        match column {
            SpanColumn::Attribute(key) => self.0.push(format!("{COLUMN_PREFIX}{key}").into()),
            SpanColumn::HasParent => self.0.extend(["parent_row".into(), "parent_span_id".into()]),
            column => self.0.extend(column.stored_name().map(Cow::Borrowed)),
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// What the spans of interest fulfil, for statistics.
#[derive(Clone, Copy, Debug)]
pub enum SpanBound<'q> {
    /// A number lies within, bounds included: start, duration or status.
    Number(SpanColumn<'q>, i64, i64),
    /// A text is this: name or service.
    Text(SpanColumn<'q>, &'q str),
}

/// Which spans.
#[derive(Clone, Copy)]
pub struct SpanScan<'q> {
    /// The window.
    pub range: TimeRange,
    /// Whether traces that reach into the window are of interest; otherwise spans that start within.
    pub of_traces: bool,
    /// All are fulfilled by the spans of interest.
    pub bounds: &'q [SpanBound<'q>],
    /// Whether the spans of a trace shall lie together as far as they are in memory. In a block they do.
    pub whole: bool,
    /// Whether those that started last are wanted first.
    pub newest_first: bool,
}

/// Takes batches of spans.
pub trait SpanVisitor {
    /// Takes spans, at least one.
    fn rows(&mut self, rows: &SpanRows<'_>) -> More;
}

/// What is known of a trace in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanTrace {
    /// Its id.
    pub id: TraceId,
    /// The first start, nanoseconds since the epoch.
    pub start: i64,
    /// The last end.
    pub end: i64,
}

/// The spans of one trace among the rows of a batch: from the first to after the last, and what the trace is called there.
pub type SpanRun = (u32, u32, u32);

/// Some spans, of one place.
pub struct SpanRows<'a> {
    pub(crate) part: SpanPart<'a>,
    snapshot: &'a Snapshot,
    /// Which traces of the block may have spans elsewhere, once that was asked; nothing where it is not known of all at once.
    torn: OnceCell<Option<Arc<RowBits>>>,
}

/// Where spans lie.
pub(crate) enum SpanPart<'a> {
    Block(BlockSpans<'a>),
    Memtable(MemtableSpans),
}

impl SpanPart<'_> {
    fn len(&self) -> usize {
        match self {
            SpanPart::Block(spans) => spans.len(),
            SpanPart::Memtable(spans) => spans.len(),
        }
    }

    fn attribute_keys(&self) -> Result<Vec<String>, Error> {
        let mut keys = match self {
            SpanPart::Block(spans) => spans.attribute_keys()?,
            SpanPart::Memtable(spans) => spans.attribute_keys(),
        };
        keys.sort_unstable();
        keys.dedup();
        keys.truncate(SPAN_KEYS_MAX);
        Ok(keys)
    }

    fn column(&self, column: SpanColumn<'_>, rows: Option<&[u32]>) -> Result<SpanValues, Error> {
        match self {
            SpanPart::Block(spans) => spans.column(column, rows),
            SpanPart::Memtable(spans) => Ok(spans.column(column, rows)),
        }
    }
}

impl<'a> SpanRows<'a> {
    pub(super) fn new(part: SpanPart<'a>, snapshot: &'a Snapshot) -> SpanRows<'a> {
        SpanRows { part, snapshot, torn: OnceCell::new() }
    }

    fn torn(&self, block: &Block) -> Option<&RowBits> {
        self.torn.get_or_init(|| self.snapshot.torn_traces(block)).as_deref()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.part.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A column, of all rows or of those named, which ascend.
    pub fn column(&self, column: SpanColumn<'_>, rows: Option<&[u32]>) -> Result<SpanValues, Error> {
        self.part.column(column, rows)
    }

    /// A column of all rows; nothing if `may` says no of some values among which are all that rows have. It is asked where they are
    /// known without reading every row.
    pub fn column_if(
        &self,
        column: SpanColumn<'_>,
        may: &mut dyn FnMut(SpanValues) -> bool,
    ) -> Result<Option<SpanValues>, Error> {
        match &self.part {
            SpanPart::Block(spans) => spans.column_if(column, may),
            SpanPart::Memtable(spans) => Ok(Some(spans.column(column, None))),
        }
    }

    /// Whether any row may have this text as an attribute; no is certain.
    pub fn attribute_may_be(&self, key: &str, text: &str) -> Result<bool, Error> {
        match &self.part {
            SpanPart::Block(spans) => spans.attribute_may_be(key, text),
            SpanPart::Memtable(_) => Ok(true),
        }
    }

    /// The traces, in the order of rows.
    pub fn runs(&self) -> Result<Vec<SpanRun>, Error> {
        match &self.part {
            SpanPart::Block(spans) => spans.runs(),
            SpanPart::Memtable(spans) => Ok(spans.runs().to_vec()),
        }
    }

    /// What is known here of traces; runs ascend.
    pub fn traces(&self, runs: &[SpanRun]) -> Result<Vec<SpanTrace>, Error> {
        match &self.part {
            SpanPart::Block(spans) => spans.traces(runs),
            SpanPart::Memtable(spans) => Ok(spans.traces(runs)),
        }
    }

    /// The keys of the attributes that any of the spans has, sorted; of very many the first [`SPAN_KEYS_MAX`].
    pub fn attribute_keys(&self) -> Result<Vec<String>, Error> {
        self.part.attribute_keys()
    }

    /// Whether [`SpanColumn::ParentRow`] says where parents are; otherwise their ids do.
    pub fn has_parent_rows(&self) -> bool {
        matches!(self.part, SpanPart::Block(_))
    }

    /// Whether all spans that are stored are in the place that these are of.
    pub fn is_alone(&self) -> bool {
        let own = match &self.part {
            SpanPart::Block(spans) => Some(spans.block().meta().id),
            SpanPart::Memtable(_) => None,
        };
        let has_spans = |block: &Block| block.rows(Signal::Traces) > 0;
        let mut memtables = self.snapshot.memtables.iter();
        if own.is_some() && memtables.any(|memtable| memtable.rows(Signal::Traces) > 0) {
            return false;
        }
        !self.snapshot.blocks.iter().any(|block| Some(block.meta().id) != own && has_spans(block))
    }

    /// Whether some of what is stored of a trace may be outside of the run, as far as that is known without its id.
    pub fn may_be_torn(&self, run: SpanRun) -> Result<bool, Error> {
        Ok(match &self.part {
            SpanPart::Block(spans) => {
                let is_elsewhere = || match self.torn(spans.block()) {
                    Some(torn) => torn.contains(run.2),
                    None => !self.is_alone(),
                };
                !spans.holds(run)? || is_elsewhere()
            }
            SpanPart::Memtable(spans) => spans.is_torn || !self.is_alone(),
        })
    }

    /// Whether all that is stored of a trace is in the run.
    pub fn is_whole(&self, run: SpanRun, id: TraceId) -> Result<bool, Error> {
        Ok(self.are_whole(&[(run, id)])?.contains(&true))
    }

    /// Of each trace and its run whether all that is stored of it is in the run.
    pub fn are_whole(&self, traces: &[(SpanRun, TraceId)]) -> Result<Vec<bool>, Error> {
        if let SpanPart::Block(spans) = &self.part
            && let Some(torn) = self.torn(spans.block())
        {
            let is_whole = |(run, _): &(SpanRun, TraceId)| Ok(!torn.contains(run.2) && spans.holds(*run)?);
            return traces.iter().map(is_whole).collect();
        }
        let own = match &self.part {
            SpanPart::Block(spans) => Some(spans.block().meta().id),
            SpanPart::Memtable(_) => None,
        };
        let holds = |(run, id): &(SpanRun, TraceId)| match &self.part {
            SpanPart::Block(spans) => {
                Ok(spans.holds(*run)? && !self.snapshot.memtables.iter().any(|of| of.has_spans(*id)))
            }
            SpanPart::Memtable(spans) => Ok(!spans.is_torn),
        };
        let mut whole: Vec<bool> = traces.iter().map(holds).collect::<Result<_, Error>>()?;
        for block in self.snapshot.blocks.iter().filter(|block| Some(block.meta().id) != own) {
            let left: Vec<usize> = (0..traces.len()).filter(|at| whole.get(*at) == Some(&true)).collect();
            let ids: Vec<TraceId> = left.iter().filter_map(|at| traces.get(*at)).map(|(_, id)| *id).collect();
            for at in block.with_spans(&ids)? {
                if let Some(whole) = left.get(at).and_then(|at| whole.get_mut(*at)) {
                    *whole = false;
                }
            }
        }
        Ok(whole)
    }

    /// Whether all spans are known to start within a window.
    pub fn starts_within(&self, range: TimeRange) -> bool {
        match &self.part {
            SpanPart::Block(spans) => spans.starts_within(range),
            SpanPart::Memtable(spans) => spans.starts_within(range),
        }
    }
}

/// All spans of one trace, wherever they lie.
pub struct TraceSpans<'a> {
    parts: Vec<SpanPart<'a>>,
    /// The part and the row of each span, by start; nothing if there is one part, whose order it is.
    order: Option<Vec<(u32, u32)>>,
    /// Why there may be more; empty where there is not.
    pub partial: Vec<String>,
}

impl TraceSpans<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        match &self.order {
            Some(order) => order.len(),
            None => self.parts.iter().map(SpanPart::len).sum(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part and the row of each span, by start; nothing if there is one part, whose rows they are.
    pub fn order(&self) -> Option<&[(u32, u32)]> {
        self.order.as_deref()
    }

    /// How many parts.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Says which columns will be asked for, so that they are read at once.
    pub fn prepare(&self, columns: &StoredColumns) {
        for part in &self.parts {
            if let SpanPart::Block(spans) = part {
                spans.prepare(columns);
            }
        }
    }

    /// A column of a part.
    pub fn column(&self, part: usize, column: SpanColumn<'_>) -> Result<SpanValues, Error> {
        self.parts.get(part).map_or(Ok(SpanValues::None), |part| part.column(column, None))
    }

    /// The keys of the attributes that any of the spans has, sorted.
    pub fn attribute_keys(&self) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        for part in &self.parts {
            keys.extend(part.attribute_keys()?);
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// By start, without duplicates.
    fn arrange(&mut self) -> Result<(), Error> {
        if let [SpanPart::Block(_)] = self.parts.as_slice() {
            return Ok(());
        }
        let mut all: Vec<((i64, SpanId), u32, u32)> = Vec::new();
        for (number, part) in (0..).zip(&self.parts) {
            let starts = part.column(SpanColumn::Start, None)?;
            let SpanValues::Ids(ids) = part.column(SpanColumn::SpanId, None)? else { continue };
            for (row, id) in (0u32..).zip(ids) {
                let start = starts.int(row as usize).unwrap_or_default();
                all.push(((start, id.unwrap_or(SpanId([0; 8]))), number, row));
            }
        }
        all.sort_unstable();
        if all.windows(2).any(|two| matches!(two, [a, b] if a.0 == b.0)) {
            self.tell_apart(&mut all)?;
        }
        self.order = Some(all.into_iter().map(|(_, part, row)| (part, row)).collect());
        Ok(())
    }

    /// Keeps spans that start at once and have one id where they differ otherwise.
    fn tell_apart(&self, all: &mut Vec<((i64, SpanId), u32, u32)>) -> Result<(), Error> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let read = |column| part.column(column, None);
            let numbers = (read(SpanColumn::Kind)?, read(SpanColumn::Duration)?);
            parts.push((numbers, read(SpanColumn::Name)?, read(SpanColumn::Service)?));
        }
        let none = ((SpanValues::None, SpanValues::None), SpanValues::None, SpanValues::None);
        let mut spans: Vec<_> = std::mem::take(all)
            .into_iter()
            .map(|(key, part, row)| {
                let ((kinds, durations), names, services) = parts.get(part as usize).unwrap_or(&none);
                let at = row as usize;
                let identity = SpanIdentity {
                    start: key.0,
                    span_id: key.1,
                    kind: kinds.int(at).and_then(|kind| u8::try_from(kind).ok()).unwrap_or_default(),
                    duration: durations.int(at).unwrap_or_default(),
                    name: names.text(at).unwrap_or_default(),
                    service: services.text(at).unwrap_or_default(),
                };
                (identity, (key, part, row))
            })
            .collect();
        keep_once(&mut spans, |(identity, _)| identity.start, |(a, _), (b, _)| a.cmp(b));
        all.extend(spans.into_iter().map(|(_, place)| place));
        Ok(())
    }
}

impl Snapshot {
    /// Hands out spans. What could not be read is named in the answer.
    pub fn scan_spans(&self, scan: &SpanScan<'_>, visitor: &mut dyn SpanVisitor) -> Vec<String> {
        self.scan_spans_but(scan, visitor, &mut |_| false).0
    }

    /// Hands out spans but those of row groups that are set aside. Returns what could not be read, and what is wanted after that.
    pub(super) fn scan_spans_but<'b>(
        &'b self,
        scan: &SpanScan<'_>,
        visitor: &mut dyn SpanVisitor,
        set_aside: &mut dyn FnMut(Group<'b>) -> bool,
    ) -> (Vec<String>, More) {
        let mut partial = self.missing.to_vec();
        let mut more = More::All;
        // What is in memory came last.
        let memtables: Vec<&MemtableView> = self.memtables.iter().collect();
        for spans in MemtableSpans::of(&memtables, scan) {
            more = visitor.rows(&SpanRows::new(SpanPart::Memtable(spans), self));
            if more == More::Nothing {
                return (partial, more);
            }
        }
        let reach = if scan.of_traces { TRACE_REACH_NS } else { 0 };
        let range = TimeRange { start: scan.range.start.saturating_sub(reach), end: scan.range.end };
        for block in self.newest_first(&range) {
            if matches!(more, More::Until(time) if block.max_time() <= time) {
                continue;
            }
            if let Err(error) = self.scan_block(block, scan, &mut more, visitor, set_aside) {
                partial.push(error.to_string());
            }
            if more == More::Nothing {
                break;
            }
        }
        (partial, more)
    }

    fn scan_block<'b>(
        &self,
        block: &'b Block,
        scan: &SpanScan<'_>,
        more: &mut More,
        visitor: &mut dyn SpanVisitor,
        set_aside: &mut dyn FnMut(Group<'b>) -> bool,
    ) -> Result<(), Error> {
        for (group, max_start) in block.span_groups(scan)? {
            if matches!(*more, More::Until(time) if max_start <= time) || set_aside((block, group, max_start))
            {
                continue;
            }
            let Some(spans) = block.group_spans(group)? else { continue };
            *more = visitor.rows(&SpanRows::new(SpanPart::Block(spans), self));
            if *more == More::Nothing {
                break;
            }
        }
        Ok(())
    }

    /// All spans of a trace.
    pub fn trace_spans(&self, id: TraceId) -> Result<TraceSpans<'_>, Error> {
        let none = || TraceSpans { parts: Vec::new(), order: None, partial: Vec::new() };
        Ok(self.traces_spans(&[id])?.pop().unwrap_or_else(none))
    }

    /// All spans of each of some traces, whose ids differ. What is asked of one is read for several of them at once.
    pub fn traces_spans<'a>(&'a self, ids: &[TraceId]) -> Result<Vec<TraceSpans<'a>>, Error> {
        let memtables: Vec<&MemtableView> = self.memtables.iter().collect();
        let of_memory = |id: &TraceId| TraceSpans {
            parts: MemtableSpans::of_trace(&memtables, *id).map(SpanPart::Memtable).into_iter().collect(),
            order: None,
            partial: self.missing.to_vec(),
        };
        let mut found: Vec<TraceSpans<'a>> = ids.iter().map(of_memory).collect();
        let mut damaged = Vec::new();
        for block in self.blocks.iter() {
            let spans = match block.traces_rows(ids) {
                Ok(spans) => spans,
                // What is damaged of one does no harm to the others.
                Err(_) => {
                    let mut spans = Vec::new();
                    for (at, id) in ids.iter().enumerate() {
                        match block.traces_rows(&[*id]) {
                            Ok(of_one) => spans.extend(of_one.into_iter().map(|(_, of_one)| (at, of_one))),
                            Err(error) => damaged.push((at, error)),
                        }
                    }
                    spans
                }
            };
            for (at, spans) in spans {
                if let Some(of) = found.get_mut(at) {
                    of.parts.push(SpanPart::Block(spans));
                }
            }
        }
        for (at, error) in damaged {
            if let Some(of) = found.get_mut(at) {
                of.partial.push(error.to_string());
            }
        }
        found.iter_mut().try_for_each(TraceSpans::arrange)?;
        Ok(found)
    }
}
