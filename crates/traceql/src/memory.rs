//! Spans in memory, for tests and for scripts.

use throughline_exec::{Budget, ExecError};
use throughline_model::{SpanId, TraceId};

use crate::ast::{Intrinsic, Scope, SpanKind, SpanStatus};
use crate::column::{Cell, Column, Numbers};
use crate::source::{
    SpanBatch, SpanField, SpanRequest, SpanSink, TraceHead, TraceRun, TraceSource, parents_by_id,
};
use crate::value::Value;

/// Names and values.
pub type Attributes = Vec<(String, Value)>;

/// A span.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields are those of OTLP")]
pub struct MemorySpan {
    pub trace_id: TraceId,
    pub id: SpanId,
    pub parent: Option<SpanId>,
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    pub status: SpanStatus,
    pub status_message: String,
    pub start_ns: i64,
    pub duration_ns: i64,
    pub attributes: Attributes,
    pub resource: Attributes,
    pub scope_name: String,
    pub scope_version: String,
    pub scope: Attributes,
    pub events: Vec<MemoryEvent>,
    pub links: Vec<MemoryLink>,
}

/// An event of a span.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "fields are those of OTLP")]
pub struct MemoryEvent {
    pub name: String,
    pub time_ns: i64,
    pub attributes: Attributes,
}

/// A link of a span.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "fields are those of OTLP")]
pub struct MemoryLink {
    pub trace_id: String,
    pub span_id: String,
    pub attributes: Attributes,
}

/// Spans, those of a trace one after the other and by start.
#[derive(Clone, Debug, Default)]
pub struct MemoryTraces {
    spans: Vec<MemorySpan>,
}

impl MemoryTraces {
    /// Adds a span.
    pub fn push(&mut self, span: MemorySpan) {
        let key = |span: &MemorySpan| (span.trace_id, span.start_ns);
        let place = self.spans.partition_point(|other| key(other) <= key(&span));
        self.spans.insert(place, span);
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.spans.clear();
    }
}

impl TraceSource for MemoryTraces {
    fn scan(&self, _: &SpanRequest<'_>, budget: &Budget, sink: &mut dyn SpanSink) -> Result<(), ExecError> {
        budget.check()?;
        budget.note_rows_read(self.spans.len() as u64, 0);
        if self.spans.is_empty() {
            return Ok(());
        }
        sink.batch(&Spans(&self.spans)).map(|_| ())
    }

    /// A trace for each sink in turn, so that tests see what becomes of it.
    fn scan_split(
        &self,
        _: &SpanRequest<'_>,
        budget: &Budget,
        mut sinks: Vec<&mut (dyn SpanSink + Send)>,
    ) -> Result<(), ExecError> {
        budget.check()?;
        budget.note_rows_read(self.spans.len() as u64, 0);
        let n_sinks = sinks.len().max(1);
        for (number, spans) in self.spans.chunk_by(|a, b| a.trace_id == b.trace_id).enumerate() {
            if let Some(sink) = sinks.get_mut(number % n_sinks) {
                sink.batch(&Spans(spans))?;
            }
        }
        Ok(())
    }

    fn trace(&self, id: TraceId, _: &Budget) -> Result<Option<Box<dyn SpanBatch + '_>>, ExecError> {
        let from = self.spans.partition_point(|span| span.trace_id < id);
        let to = self.spans.partition_point(|span| span.trace_id <= id);
        let spans = self.spans.get(from..to).filter(|spans| !spans.is_empty());
        Ok(spans.map(|spans| Box::new(Spans(spans)) as Box<dyn SpanBatch>))
    }
}

/// Some of them.
struct Spans<'a>(&'a [MemorySpan]);

fn find(attributes: &Attributes, key: &str) -> Option<Value> {
    attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
}

impl Spans<'_> {
    fn values(&self, value: impl Fn(&MemorySpan) -> Option<Value>) -> Column {
        Column::cells(self.0.iter().map(|span| value(span).map(Cell::One)))
    }

    fn each(&self, values: impl Fn(&MemorySpan) -> Vec<Value>) -> Column {
        Column::cells(
            self.0.iter().map(|span| Some(values(span)).filter(|all| !all.is_empty()).map(Cell::Each)),
        )
    }

    fn attribute(&self, scope: Scope, key: &str) -> Column {
        match scope {
            Scope::Any | Scope::Span => self.values(|span| find(&span.attributes, key)),
            Scope::Resource => self.values(|span| find(&span.resource, key)),
            Scope::Instrumentation => self.values(|span| find(&span.scope, key)),
            Scope::Event => self
                .each(|span| span.events.iter().filter_map(|event| find(&event.attributes, key)).collect()),
            Scope::Link => {
                self.each(|span| span.links.iter().filter_map(|link| find(&link.attributes, key)).collect())
            }
        }
    }

    /// What is the same for all spans of a trace.
    fn of_trace(&self, value: impl Fn(&[MemorySpan]) -> Value) -> Column {
        let of_trace = self.0.chunk_by(|a, b| a.trace_id == b.trace_id);
        Column::cells(
            of_trace.flat_map(|spans| std::iter::repeat_n(Some(Cell::One(value(spans))), spans.len())),
        )
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Column {
        let text = |text: &str| Some(Value::Text(text.to_owned())).filter(|_| !text.is_empty());
        let root = |spans: &[MemorySpan], of: fn(&MemorySpan) -> &str| {
            let root = spans.iter().find(|span| span.parent.is_none());
            Value::Text(root.map(of).unwrap_or_default().to_owned())
        };
        match intrinsic {
            Intrinsic::Duration => {
                Column::Durations(Numbers::all(self.0.iter().map(|s| s.duration_ns).collect()))
            }
            Intrinsic::SpanStart => Column::Ints(Numbers::all(self.0.iter().map(|s| s.start_ns).collect())),
            Intrinsic::Name => self.values(|span| Some(Value::Text(span.name.clone()))),
            Intrinsic::Status => self.values(|span| Some(Value::Status(span.status))),
            Intrinsic::Kind => self.values(|span| Some(Value::Kind(span.kind))),
            Intrinsic::StatusMessage => self.values(|span| text(&span.status_message)),
            Intrinsic::SpanId => self.values(|span| text(&span.id.to_string())),
            Intrinsic::ParentId => self.values(|span| text(&span.parent?.to_string())),
            Intrinsic::TraceId => self.values(|span| text(&span.trace_id.to_string())),
            Intrinsic::InstrumentationName => self.values(|span| text(&span.scope_name)),
            Intrinsic::InstrumentationVersion => self.values(|span| text(&span.scope_version)),
            Intrinsic::EventName => {
                self.each(|span| span.events.iter().map(|event| Value::Text(event.name.clone())).collect())
            }
            Intrinsic::EventTime => self.each(|span| {
                let since =
                    |event: &MemoryEvent| Value::Duration(event.time_ns.saturating_sub(span.start_ns));
                span.events.iter().map(since).collect()
            }),
            Intrinsic::LinkTraceId => {
                self.each(|span| span.links.iter().map(|link| Value::Text(link.trace_id.clone())).collect())
            }
            Intrinsic::LinkSpanId => {
                self.each(|span| span.links.iter().map(|link| Value::Text(link.span_id.clone())).collect())
            }
            Intrinsic::TraceDuration => self.of_trace(|spans| {
                let (start, end) = bounds(spans);
                Value::Duration(end.saturating_sub(start))
            }),
            Intrinsic::TraceStart => self.of_trace(|spans| Value::Int(bounds(spans).0)),
            Intrinsic::RootName => self.of_trace(|spans| root(spans, |span| &span.name)),
            Intrinsic::RootServiceName => self.of_trace(|spans| root(spans, |span| &span.service)),
            Intrinsic::ChildCount
            | Intrinsic::Parent
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight
            | Intrinsic::NestedSetParent => Column::Nil,
        }
    }

    fn parent_rows(&self) -> Column {
        let mut parents = Vec::with_capacity(self.0.len());
        for spans in self.0.chunk_by(|a, b| a.trace_id == b.trace_id) {
            let ids: Vec<(SpanId, Option<SpanId>)> =
                spans.iter().map(|span| (span.id, span.parent)).collect();
            parents.extend(parents_by_id(&ids));
        }
        Column::Ints(Numbers {
            values: parents.iter().map(|parent| i64::from(parent.unwrap_or_default())).collect(),
            present: Some(parents.iter().map(Option::is_some).collect()),
        })
    }
}

/// The first start and the last end.
fn bounds(spans: &[MemorySpan]) -> (i64, i64) {
    let end = |span: &MemorySpan| span.start_ns.saturating_add(span.duration_ns.max(0));
    let start = spans.iter().map(|span| span.start_ns).min().unwrap_or_default();
    (start, spans.iter().map(end).max().unwrap_or(start))
}

impl SpanBatch for Spans<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn column(&self, field: &SpanField) -> Result<Column, ExecError> {
        Ok(match field {
            SpanField::Attribute(scope, key) => self.attribute(*scope, key),
            SpanField::Intrinsic(intrinsic) => self.intrinsic(*intrinsic),
            SpanField::Service => self.values(|span| Some(Value::Text(span.service.clone()))),
            SpanField::HasParent => self.values(|span| Some(Value::Bool(span.parent.is_some()))),
            SpanField::ParentRow => self.parent_rows(),
        })
    }

    fn pick(&self, field: &SpanField, rows: &[u32]) -> Result<Column, ExecError> {
        let order: Vec<(u32, u32)> = rows.iter().map(|row| (0, *row)).collect();
        Ok(Column::gathered(&[self.column(field)?], &order))
    }

    fn runs(&self) -> Result<Vec<TraceRun>, ExecError> {
        let mut start = 0;
        let run = |(trace, spans): (u32, &[MemorySpan])| {
            let end = start + spans.len() as u32;
            TraceRun { start: std::mem::replace(&mut start, end), end, trace }
        };
        Ok((0..).zip(self.0.chunk_by(|a, b| a.trace_id == b.trace_id)).map(run).collect())
    }

    fn heads(&self, runs: &[TraceRun]) -> Result<Vec<TraceHead>, ExecError> {
        let head = |run: &TraceRun| {
            let spans = self.0.get(run.start as usize..run.end as usize).unwrap_or_default();
            let (start_ns, end_ns) = bounds(spans);
            spans.first().map(|span| TraceHead { id: span.trace_id, start_ns, end_ns })
        };
        Ok(runs.iter().filter_map(head).collect())
    }

    fn is_whole(&self, _: &TraceRun, _: TraceId) -> Result<bool, ExecError> {
        Ok(true)
    }

    fn attributes(&self) -> Result<Vec<SpanField>, ExecError> {
        let mut fields: Vec<SpanField> = Vec::new();
        for span in self.0 {
            let of_span = span.attributes.iter().map(|(key, _)| (Scope::Span, key));
            let of_resource = span.resource.iter().map(|(key, _)| (Scope::Resource, key));
            let of_scope = span.scope.iter().map(|(key, _)| (Scope::Instrumentation, key));
            for (scope, key) in of_span.chain(of_resource).chain(of_scope) {
                let field = SpanField::Attribute(scope, key.clone());
                if !fields.contains(&field) {
                    fields.push(field);
                }
            }
        }
        Ok(fields)
    }

    fn starts_within(&self, _: i64, _: i64) -> bool {
        false
    }
}
