//! What a query reads of spans, and where they come from.
//!
//! 1. The asker says in a [`SpanRequest`] which traces or spans may be of interest.
//! 2. The source hands out [`SpanBatch`]es: spans of one place, those of a trace one after the other as far as the place has them.
//!    A batch is lazy: only the columns that are asked for are read, and only the rows where few are asked for.
//! 3. The sink answers with a [`Demand`], so that the source stops, or skips what is too old, when enough is known.
//! 4. What may lie in several places is asked for by its id: [`TraceSource::trace`].

use throughline_exec::{Budget, ExecError};
use throughline_model::{SpanId, TraceId};

use crate::ast::{Intrinsic, Scope};
use crate::column::Column;

/// A field as a source knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SpanField {
    /// An attribute of one scope; never of [`Scope::Any`].
    Attribute(Scope, String),
    /// What every span has, but for what is computed from the tree of its trace (see [`SpanField::is_of_tree`]).
    Intrinsic(Intrinsic),
    /// The service that made the span, as text.
    Service,
    /// Whether the span names a parent.
    HasParent,
    /// Where the parent is among the spans of the same trace in the same batch, counted from the first of them; nothing where it is
    /// not there. Asked for whole traces only.
    ParentRow,
}

impl SpanField {
    /// Whether it is computed from the tree of a whole trace; a source is not asked for it.
    #[must_use]
    pub fn is_of_tree(&self) -> bool {
        use Intrinsic::{ChildCount, NestedSetLeft, NestedSetParent, NestedSetRight};
        let of_tree = [ChildCount, NestedSetLeft, NestedSetRight, NestedSetParent];
        matches!(self, SpanField::Intrinsic(intrinsic) if of_tree.contains(intrinsic))
    }

    /// Whether it is the same for all spans of a trace, and not known where the trace is not whole.
    #[must_use]
    pub fn is_of_trace(&self) -> bool {
        use Intrinsic::{RootName, RootServiceName, TraceDuration, TraceStart};
        let of_trace = [RootName, RootServiceName, TraceDuration, TraceStart];
        matches!(self, SpanField::Intrinsic(intrinsic) if of_trace.contains(intrinsic))
    }
}

/// What must lie in the window of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowOf {
    /// A trace overlaps with it.
    Traces,
    /// A span starts within.
    Spans,
}

/// Which spans.
#[derive(Clone, Debug)]
pub struct SpanRequest<'q> {
    /// The first nanosecond since the epoch.
    pub start_ns: i64,
    /// The nanosecond after the last.
    pub end_ns: i64,
    /// What of it. A source may hand out more.
    pub window: WindowOf,
    /// Conditions that the spans that matter fulfil, all of them. A source may leave out batches that have no such span.
    pub tests: &'q [FieldTest<'q>],
    /// Whether traces are wanted whole as far as one place has them. Otherwise those of a batch may be torn.
    pub whole: bool,
    /// Whether few traces suffice, so that those that started last are wanted first.
    pub newest_first: bool,
}

/// A condition on one field.
#[derive(Clone, Copy, Debug)]
pub enum FieldTest<'q> {
    /// The number, nanoseconds of a duration, lies within, bounds included.
    Between(&'q SpanField, i64, i64),
    /// The text is this one.
    Text(&'q SpanField, &'q str),
    /// The status is this one, by OTLP's code.
    Status(u8),
}

/// The spans of one trace in a batch: they lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceRun {
    /// The first.
    pub start: u32,
    /// After the last.
    pub end: u32,
    /// What the source calls the trace.
    pub trace: u32,
}

/// What is known of a trace in the place of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHead {
    /// Its id.
    pub id: TraceId,
    /// The first start, nanoseconds since the epoch.
    pub start_ns: i64,
    /// The last end.
    pub end_ns: i64,
}

/// Some spans.
pub trait SpanBatch {
    /// How many.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says which fields will be asked for: a source may read together what lies together.
    fn prepare(&self, fields: &[&SpanField]) {
        _ = fields;
    }

    /// One field of all spans.
    fn column(&self, field: &SpanField) -> Result<Column, ExecError>;

    /// One field of all spans; nothing if `may_pass`, asked of a column of some values among which are all that spans have, says no. A
    /// source that knows such values without reading every span asks.
    fn column_if(
        &self,
        field: &SpanField,
        may_pass: &dyn Fn(&Column) -> bool,
    ) -> Result<Option<Column>, ExecError> {
        _ = may_pass;
        self.column(field).map(Some)
    }

    /// Whether any span may have this text in a field; no is certain. A source that can tell without taking texts apart does.
    fn may_have_text(&self, field: &SpanField, text: &str) -> Result<bool, ExecError> {
        _ = (field, text);
        Ok(true)
    }

    /// One field of some spans, whose positions ascend.
    fn pick(&self, field: &SpanField, rows: &[u32]) -> Result<Column, ExecError>;

    /// The traces. Where a batch may be torn a trace may have several runs.
    fn runs(&self) -> Result<Vec<TraceRun>, ExecError>;

    /// What is known of these traces, in their order; runs ascend.
    fn heads(&self, runs: &[TraceRun]) -> Result<Vec<TraceHead>, ExecError>;

    /// Whether all there is of a trace lies in the run.
    fn is_whole(&self, run: &TraceRun, id: TraceId) -> Result<bool, ExecError>;

    /// Whether some of the spans of a trace may be outside of its run, as far as that is known without the trace's id.
    fn may_be_torn(&self, run: &TraceRun) -> Result<bool, ExecError> {
        _ = run;
        Ok(true)
    }

    /// Whether no other place has any span, so that what fields say of traces as a whole ([`SpanField::is_of_trace`]) is so wherever
    /// the rest of a trace is.
    fn is_alone(&self) -> bool {
        false
    }

    /// The attributes that any of the spans has: of spans, of their resources, but for the name of the service, and of the libraries that
    /// made them.
    fn attributes(&self) -> Result<Vec<SpanField>, ExecError>;

    /// Whether all spans are known to start within a window, the end excluded.
    fn starts_within(&self, start_ns: i64, end_ns: i64) -> bool;
}

/// What a sink still wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// All that is left.
    All,
    /// Traces that start after this time, in nanoseconds; older ones do no harm.
    After(i64),
    /// Nothing: the source returns.
    Nothing,
}

/// Takes batches.
pub trait SpanSink {
    /// Takes a batch, which has at least one span. An error ends the reading, and the source returns it.
    fn batch(&mut self, batch: &dyn SpanBatch) -> Result<Demand, ExecError>;
}

/// All spans of a trace, if there are any.
pub type WholeTrace<'s> = Option<Box<dyn SpanBatch + 's>>;

/// Where spans come from.
///
/// The implementations are the store's snapshot and, in tests and tools, memory.
pub trait TraceSource: Sync {
    /// Hands out batches. The source checks the budget for each, and counts spans with [`Budget::note_rows_read`].
    fn scan(
        &self,
        request: &SpanRequest<'_>,
        budget: &Budget,
        sink: &mut dyn SpanSink,
    ) -> Result<(), ExecError>;

    /// As [`TraceSource::scan`], with several sinks that share the batches, each on a thread of its own where the source has some to
    /// spare. Which sink gets which batch does not depend on chance.
    fn scan_split(
        &self,
        request: &SpanRequest<'_>,
        budget: &Budget,
        sinks: Vec<&mut (dyn SpanSink + Send)>,
    ) -> Result<(), ExecError> {
        match sinks.into_iter().next() {
            Some(sink) => self.scan(request, budget, sink),
            None => Ok(()),
        }
    }

    /// All spans of a trace wherever they lie, by start and without duplicates: one run. Nothing if there are none.
    fn trace(&self, id: TraceId, budget: &Budget) -> Result<Option<Box<dyn SpanBatch + '_>>, ExecError>;

    /// As [`TraceSource::trace`], each of some traces: a source may read together what lies together.
    fn traces(&self, ids: &[TraceId], budget: &Budget) -> Result<Vec<WholeTrace<'_>>, ExecError> {
        ids.iter().map(|id| self.trace(*id, budget)).collect()
    }
}

/// Where the parent of each span is among these spans, of which each has an id and may have that of a parent.
#[must_use]
pub fn parents_by_id(ids: &[(SpanId, Option<SpanId>)]) -> Vec<Option<u32>> {
    let mut by_id: Vec<(SpanId, u32)> = (0..).zip(ids).map(|(at, (id, _))| (*id, at)).collect();
    by_id.sort_unstable();
    let find = |wanted: SpanId| {
        let at = by_id.partition_point(|(id, _)| *id < wanted);
        by_id.get(at).filter(|(id, _)| *id == wanted).map(|(_, at)| *at)
    };
    let parent = |(at, (_, parent)): (u32, &(SpanId, Option<SpanId>))| {
        parent.and_then(find).filter(|parent| *parent != at)
    };
    (0..).zip(ids).map(parent).collect()
}
