//! Batches of spans and whole traces: scans of the store.

use std::cell::{Cell, RefCell};
use std::sync::{LazyLock, Mutex, PoisonError};

use throughline_exec::{Budget, ExecError};
use throughline_model::{SpanId, TraceId};
use throughline_store::{
    Error, More, SPAN_KEYS_MAX, Snapshot, SpanBound, SpanColumn, SpanRows, SpanRun, SpanScan, SpanTrace,
    SpanValues, SpanVisitor, StoredColumns, TimeRange, TraceSpans,
};
use throughline_traceql::ast::{Intrinsic, Scope};
use throughline_traceql::column::{Column, Numbers, Texts};
use throughline_traceql::source::{
    Demand, FieldTest, SpanBatch, SpanField, SpanRequest, SpanSink, TraceHead, TraceRun, TraceSource,
    WholeTrace, WindowOf, parents_by_id,
};

use super::columns::{self, Parsed};

/// How many threads there is room for: asking the machine takes longer than reading a column.
static THREADS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// The spans of a snapshot.
pub struct StoredTraces {
    snapshot: Snapshot,
    /// Why answers may be incomplete; collected over all questions.
    partial: Mutex<Vec<String>>,
}

impl StoredTraces {
    /// The spans of a snapshot.
    pub fn new(snapshot: Snapshot) -> StoredTraces {
        StoredTraces { snapshot, partial: Mutex::default() }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Why the answers so far may be incomplete.
    pub fn partial(&self) -> Vec<String> {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner).clone();
        partial.sort_unstable();
        partial.dedup();
        partial
    }

    /// Adds why an answer may be incomplete.
    pub fn note(&self, partial: impl IntoIterator<Item = String>) {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner).extend(partial);
    }
}

impl TraceSource for StoredTraces {
    fn scan(
        &self,
        request: &SpanRequest<'_>,
        budget: &Budget,
        sink: &mut dyn SpanSink,
    ) -> Result<(), ExecError> {
        let bounds: Vec<SpanBound<'_>> = request.tests.iter().filter_map(bound_of).collect();
        let mut reader = Reader { source: self, budget, sink, parsed: Parsed::default(), failed: None };
        let partial = self.snapshot.scan_spans(&scan_of(request, &bounds), &mut reader);
        let failed = reader.failed.take();
        self.note(partial);
        failed.map_or(Ok(()), Err)
    }

    fn scan_split(
        &self,
        request: &SpanRequest<'_>,
        budget: &Budget,
        sinks: Vec<&mut (dyn SpanSink + Send)>,
    ) -> Result<(), ExecError> {
        let bounds: Vec<SpanBound<'_>> = request.tests.iter().filter_map(bound_of).collect();
        let reader = |sink| Reader { source: self, budget, sink, parsed: Parsed::default(), failed: None };
        let mut readers: Vec<Reader<'_, dyn SpanSink + Send + '_>> =
            sinks.into_iter().take(*THREADS).map(reader).collect();
        let visitors = readers.iter_mut().map(|reader| reader as _).collect();
        let partial = self.snapshot.scan_spans_split(&scan_of(request, &bounds), visitors);
        self.note(partial);
        readers.into_iter().find_map(|reader| reader.failed).map_or(Ok(()), Err)
    }

    fn trace(&self, id: TraceId, budget: &Budget) -> Result<Option<Box<dyn SpanBatch + '_>>, ExecError> {
        Ok(self.traces(&[id], budget)?.pop().flatten())
    }

    fn traces(&self, ids: &[TraceId], budget: &Budget) -> Result<Vec<WholeTrace<'_>>, ExecError> {
        let found = self.snapshot.traces_spans(ids).map_err(source_error)?;
        let mut traces: Vec<WholeTrace<'_>> = Vec::with_capacity(ids.len());
        for (id, spans) in ids.iter().zip(found) {
            self.note(spans.partial.iter().cloned());
            budget.note_rows_read(spans.len() as u64, 0);
            let is_there = !spans.is_empty();
            let trace = StoredTrace { id: *id, spans, parsed: Parsed::default() };
            traces.push(if is_there { Some(Box::new(trace)) } else { None });
        }
        Ok(traces)
    }
}

fn scan_of<'q>(request: &SpanRequest<'q>, bounds: &'q [SpanBound<'q>]) -> SpanScan<'q> {
    SpanScan {
        range: TimeRange { start: request.start_ns, end: request.end_ns },
        of_traces: request.window == WindowOf::Traces,
        bounds,
        whole: request.whole,
        newest_first: request.newest_first,
    }
}

fn source_error(error: Error) -> ExecError {
    ExecError::Source { reason: error.to_string() }
}

/// What statistics can say of a condition.
fn bound_of<'q>(test: &FieldTest<'q>) -> Option<SpanBound<'q>> {
    match test {
        FieldTest::Between(field, least, greatest) => {
            let column = match field {
                SpanField::Intrinsic(Intrinsic::Duration) => SpanColumn::Duration,
                SpanField::Intrinsic(Intrinsic::SpanStart) => SpanColumn::Start,
                _ => return None,
            };
            Some(SpanBound::Number(column, *least, *greatest))
        }
        FieldTest::Text(field, text) => {
            let column = match field {
                SpanField::Intrinsic(Intrinsic::Name) => SpanColumn::Name,
                SpanField::Service => SpanColumn::Service,
                _ => return None,
            };
            Some(SpanBound::Text(column, text))
        }
        FieldTest::Status(code) => {
            Some(SpanBound::Number(SpanColumn::Status, i64::from(*code), i64::from(*code)))
        }
    }
}

struct Reader<'r, S: SpanSink + ?Sized> {
    source: &'r StoredTraces,
    budget: &'r Budget,
    sink: &'r mut S,
    parsed: Parsed,
    failed: Option<ExecError>,
}

impl<S: SpanSink + ?Sized> SpanVisitor for Reader<'_, S> {
    fn rows(&mut self, rows: &SpanRows<'_>) -> More {
        self.budget.note_rows_read(rows.len() as u64, 0);
        let damaged = Cell::new(None);
        let batch = StoredBatch { source: self.source, rows, parsed: &self.parsed, damaged: &damaged };
        let demand = self.budget.check().and_then(|()| self.sink.batch(&batch));
        match (demand, damaged.take()) {
            (Ok(Demand::All), _) => More::All,
            (Ok(Demand::After(time)), _) => More::Until(time),
            (Ok(Demand::Nothing), _) => More::Nothing,
            // What cannot be read of a batch costs the batch, and is said.
            (Err(ExecError::Source { .. }), Some(reason)) => {
                self.source.note([reason]);
                More::All
            }
            (Err(error), _) => {
                self.failed = Some(error);
                More::Nothing
            }
        }
    }
}

fn run_of(run: &TraceRun) -> SpanRun {
    (run.start, run.end, run.trace)
}

fn head_of(trace: SpanTrace) -> TraceHead {
    TraceHead { id: trace.id, start_ns: trace.start, end_ns: trace.end }
}

/// Spans of one place.
struct StoredBatch<'b> {
    source: &'b StoredTraces,
    rows: &'b SpanRows<'b>,
    parsed: &'b Parsed,
    /// Why something of it could not be read.
    damaged: &'b Cell<Option<String>>,
}

impl StoredBatch<'_> {
    fn read<T>(&self, result: Result<T, Error>) -> Result<T, ExecError> {
        result.map_err(|error| {
            self.damaged.set(Some(error.to_string()));
            source_error(error)
        })
    }

    fn field(&self, field: &SpanField, rows: Option<&[u32]>) -> Result<Column, Error> {
        match field {
            SpanField::Intrinsic(Intrinsic::TraceId) => self.trace_ids(rows),
            SpanField::ParentRow => {
                let stored = self.rows.column(SpanColumn::ParentRow, None)?;
                match (stored, self.rows.has_parent_rows()) {
                    (_, false) => self.parent_rows(),
                    (stored, true) => columns::column(field, self.parsed, &|_| Ok(stored.clone())),
                }
            }
            field => columns::column(field, self.parsed, &|column| self.rows.column(column, rows)),
        }
    }

    fn trace_ids(&self, rows: Option<&[u32]>) -> Result<Column, Error> {
        let runs = self.rows.runs()?;
        let traces = self.rows.traces(&runs)?;
        let texts: Vec<String> = traces.iter().map(|trace| trace.id.to_string()).collect();
        let run_of = |row: u32| runs.partition_point(|(_, end, _)| *end <= row) as u32;
        let keys = match rows {
            Some(rows) => rows.iter().map(|row| run_of(*row)).collect(),
            None => (0..self.rows.len() as u32).map(run_of).collect(),
        };
        Ok(Column::Texts(keys, texts.iter().map(String::as_str).collect::<Texts>()))
    }

    /// Where parents are among the spans of the same trace, by their ids.
    fn parent_rows(&self) -> Result<Column, Error> {
        let ids =
            ids(self.rows.column(SpanColumn::SpanId, None)?, self.rows.column(SpanColumn::ParentId, None)?);
        let mut found = Vec::with_capacity(ids.len());
        for (start, end, _) in self.rows.runs()? {
            found.extend(parents_by_id(ids.get(start as usize..end as usize).unwrap_or_default()));
        }
        Ok(parent_column(&found))
    }
}

/// Ids of spans and of their parents; what has no id is nobody's parent.
fn ids(own: SpanValues, parents: SpanValues) -> Vec<(SpanId, Option<SpanId>)> {
    let SpanValues::Ids(own) = own else { return Vec::new() };
    let parents = if let SpanValues::Ids(parents) = parents { parents } else { vec![None; own.len()] };
    own.into_iter().map(|id| id.unwrap_or(SpanId([0; 8]))).zip(parents).collect()
}

fn parent_column(parents: &[Option<u32>]) -> Column {
    Column::Ints(Numbers {
        values: parents.iter().map(|parent| i64::from(parent.unwrap_or_default())).collect(),
        present: Some(parents.iter().map(Option::is_some).collect()),
    })
}

impl SpanBatch for StoredBatch<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn column(&self, field: &SpanField) -> Result<Column, ExecError> {
        self.read(self.field(field, None))
    }

    fn column_if(
        &self,
        field: &SpanField,
        may_pass: &dyn Fn(&Column) -> bool,
    ) -> Result<Option<Column>, ExecError> {
        if !columns::is_of_one(field) {
            return self.column(field).map(Some);
        }
        let is_rejected = Cell::new(false);
        let read = |column: SpanColumn<'_>| {
            let mut may = |values: SpanValues| {
                // What cannot be told is read.
                columns::column(field, self.parsed, &|_| Ok(values.clone()))
                    .map_or(true, |column| may_pass(&column))
            };
            let found = self.rows.column_if(column, &mut may)?;
            is_rejected.set(found.is_none());
            Ok(found.unwrap_or(SpanValues::None))
        };
        let column = self.read(columns::column(field, self.parsed, &read))?;
        Ok(Some(column).filter(|_| !is_rejected.get()))
    }

    fn may_have_text(&self, field: &SpanField, text: &str) -> Result<bool, ExecError> {
        // Of what has few values the dictionary is taken apart as fast.
        match field {
            SpanField::Attribute(Scope::Span, key) => self.read(self.rows.attribute_may_be(key, text)),
            _ => Ok(true),
        }
    }

    fn pick(&self, field: &SpanField, rows: &[u32]) -> Result<Column, ExecError> {
        self.read(self.field(field, Some(rows)))
    }

    fn runs(&self) -> Result<Vec<TraceRun>, ExecError> {
        let runs = self.read(self.rows.runs())?;
        Ok(runs.into_iter().map(|(start, end, trace)| TraceRun { start, end, trace }).collect())
    }

    fn heads(&self, runs: &[TraceRun]) -> Result<Vec<TraceHead>, ExecError> {
        let runs: Vec<SpanRun> = runs.iter().map(run_of).collect();
        Ok(self.read(self.rows.traces(&runs))?.into_iter().map(head_of).collect())
    }

    fn is_whole(&self, run: &TraceRun, id: TraceId) -> Result<bool, ExecError> {
        self.read(self.rows.is_whole(run_of(run), id))
    }

    fn may_be_torn(&self, run: &TraceRun) -> Result<bool, ExecError> {
        self.read(self.rows.may_be_torn(run_of(run)))
    }

    fn is_alone(&self) -> bool {
        self.rows.is_alone()
    }

    fn attributes(&self) -> Result<Vec<SpanField>, ExecError> {
        let keys = self.read(self.rows.attribute_keys())?;
        if keys.len() >= SPAN_KEYS_MAX {
            let first = format!(
                "of more than {SPAN_KEYS_MAX} attributes of some spans only the first were looked at"
            );
            self.source.note([first]);
        }
        let resources = self.read(self.rows.column(SpanColumn::Resource, None))?;
        let scopes = self.read(self.rows.column(SpanColumn::Scope, None))?;
        Ok(columns::attributes(keys, &resources, &scopes, self.parsed))
    }

    fn starts_within(&self, start_ns: i64, end_ns: i64) -> bool {
        self.rows.starts_within(TimeRange { start: start_ns, end: end_ns })
    }
}

/// All spans of a trace.
struct StoredTrace<'t> {
    id: TraceId,
    spans: TraceSpans<'t>,
    parsed: Parsed,
}

impl StoredTrace<'_> {
    fn field(&self, field: &SpanField) -> Result<Column, Error> {
        use Intrinsic::{RootName, RootServiceName, TraceDuration, TraceStart};
        match field {
            SpanField::Intrinsic(Intrinsic::TraceId) => {
                let id = self.id.to_string();
                return Ok(self.same(&id));
            }
            SpanField::Intrinsic(intrinsic @ (TraceStart | TraceDuration)) => {
                let head = self.head()?;
                let all = |value: i64| Numbers::all(vec![value; self.spans.len()]);
                return Ok(match intrinsic {
                    TraceStart => Column::Ints(all(head.start_ns)),
                    _ => Column::Durations(all(head.end_ns.saturating_sub(head.start_ns))),
                });
            }
            SpanField::Intrinsic(intrinsic @ (RootName | RootServiceName)) => {
                let has_parent = self.field(&SpanField::HasParent)?;
                let of_span = match intrinsic {
                    RootName => self.field(&SpanField::Intrinsic(Intrinsic::Name))?,
                    _ => self.field(&SpanField::Service)?,
                };
                let root = (0..self.spans.len()).find(|row| !has_parent.is_true(*row));
                return Ok(self.same(root.and_then(|root| of_span.text(root)).unwrap_or_default()));
            }
            SpanField::ParentRow if self.spans.order().is_some() => return self.parent_rows(),
            _ => {}
        }
        let mut parts = Vec::with_capacity(self.spans.parts());
        for part in 0..self.spans.parts() {
            let read = |column: SpanColumn<'_>| self.spans.column(part, column);
            parts.push(columns::column(field, &self.parsed, &read)?);
        }
        Ok(match self.spans.order() {
            None => parts.pop().unwrap_or_default(),
            Some(order) => Column::gathered(&parts, order),
        })
    }

    /// A text that all spans have.
    fn same(&self, text: &str) -> Column {
        Column::Texts(vec![0; self.spans.len()], [text].into_iter().collect())
    }

    fn parent_rows(&self) -> Result<Column, Error> {
        let mut parts = Vec::with_capacity(self.spans.parts());
        for part in 0..self.spans.parts() {
            let column = |column| self.spans.column(part, column);
            parts.push(ids(column(SpanColumn::SpanId)?, column(SpanColumn::ParentId)?));
        }
        let of = |(part, row): &(u32, u32)| parts.get(*part as usize)?.get(*row as usize).copied();
        let order = self.spans.order().unwrap_or_default();
        let ids: Vec<_> = order.iter().map(|place| of(place).unwrap_or((SpanId([0; 8]), None))).collect();
        Ok(parent_column(&parents_by_id(&ids)))
    }

    fn head(&self) -> Result<TraceHead, Error> {
        let starts = self.field(&SpanField::Intrinsic(Intrinsic::SpanStart))?;
        let durations = self.field(&SpanField::Intrinsic(Intrinsic::Duration))?;
        let mut head = TraceHead { id: self.id, start_ns: i64::MAX, end_ns: i64::MIN };
        for row in 0..self.spans.len() {
            let start = starts.int(row).unwrap_or_default();
            let end = start.saturating_add(durations.int(row).unwrap_or_default().max(0));
            head.start_ns = head.start_ns.min(start);
            head.end_ns = head.end_ns.max(end);
        }
        Ok(head)
    }
}

impl SpanBatch for StoredTrace<'_> {
    fn len(&self) -> usize {
        self.spans.len()
    }

    fn prepare(&self, fields: &[&SpanField]) {
        let columns = RefCell::new(StoredColumns::default());
        let note = |column: SpanColumn<'_>| {
            columns.borrow_mut().add(column);
            Ok(SpanValues::None)
        };
        for field in fields {
            // What it would be made of is what is asked for.
            _ = columns::column(field, &self.parsed, &note);
        }
        self.spans.prepare(&columns.into_inner());
    }

    fn column(&self, field: &SpanField) -> Result<Column, ExecError> {
        self.field(field).map_err(source_error)
    }

    fn pick(&self, field: &SpanField, rows: &[u32]) -> Result<Column, ExecError> {
        let whole = self.column(field)?;
        let order: Vec<(u32, u32)> = rows.iter().map(|row| (0, *row)).collect();
        Ok(Column::gathered(&[whole], &order))
    }

    fn runs(&self) -> Result<Vec<TraceRun>, ExecError> {
        Ok(vec![TraceRun { start: 0, end: self.spans.len() as u32, trace: 0 }])
    }

    fn heads(&self, _: &[TraceRun]) -> Result<Vec<TraceHead>, ExecError> {
        Ok(vec![self.head().map_err(source_error)?])
    }

    fn is_whole(&self, _: &TraceRun, _: TraceId) -> Result<bool, ExecError> {
        Ok(true)
    }

    fn attributes(&self) -> Result<Vec<SpanField>, ExecError> {
        let mut fields = Vec::new();
        for part in 0..self.spans.parts() {
            let resources = self.spans.column(part, SpanColumn::Resource).map_err(source_error)?;
            let scopes = self.spans.column(part, SpanColumn::Scope).map_err(source_error)?;
            fields.extend(columns::attributes(Vec::new(), &resources, &scopes, &self.parsed));
        }
        let keys = self.spans.attribute_keys().map_err(source_error)?;
        fields.extend(columns::attributes(keys, &SpanValues::None, &SpanValues::None, &self.parsed));
        fields.sort_by_key(|field| format!("{field:?}"));
        fields.dedup();
        Ok(fields)
    }

    fn starts_within(&self, _: i64, _: i64) -> bool {
        false
    }
}
