//! One trace of a block: from its id to its spans, log records and exemplars.

use arrow_array::types::UInt32Type;
use arrow_array::{Array as _, RecordBatch, UInt32Array};
use throughline_model::link::{TraceSource, UNSAMPLED};
use throughline_model::record::{DroppedSpans, LogRecord, Sampling, Span, TraceSummary};
use throughline_model::trace::SpanTiming;
use throughline_model::{PatternId, SpanId, TraceId};

use super::links::{dropped_at, sampling_at};
use super::{Block, Columns};
use crate::block::Table;
use crate::error::Error;
use crate::snapshot::rows::body_json;
use crate::snapshot::summary::{STATUS_ERROR, SpanPart, TraceParts};
use crate::snapshot::{TraceData, Want};

/// The trace and the span of a log record.
pub(super) type LogContext = (Option<TraceId>, Option<SpanId>);

impl Block {
    /// Adds what the block has of a trace. What cannot be read is named in `partial`, the rest is there.
    pub(crate) fn trace(&self, id: TraceId, want: Want, data: &mut TraceData) {
        let found = self.trace_row(id).and_then(|row| match row {
            Some(row) => Ok(Some((row, self.index().postings(row)?))),
            None => Ok(None),
        });
        let (row, postings) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => return data.partial.push(error.to_string()),
        };
        let mut failed = |error: Error| data.partial.push(error.to_string());
        if want.spans {
            match self.dropped_of(row) {
                Ok(dropped) => data.dropped = DroppedSpans::joined(data.dropped.take(), dropped),
                Err(error) => failed(error),
            }
        }
        let spans = postings.first_span..postings.first_span.saturating_add(postings.span_count);
        let mut span_ids = Vec::new();
        if want.spans && !spans.is_empty() {
            match self.spans(id, spans.clone()) {
                Ok(spans) => {
                    span_ids.extend(spans.iter().map(|span| span.span_id));
                    data.spans.extend(spans);
                }
                Err(error) => failed(error),
            }
        }
        if want.logs && !postings.logs.is_empty() {
            match self.logs_of_trace(id, spans, span_ids, &postings.logs) {
                Ok(logs) => data.logs.extend(logs),
                Err(error) => failed(error),
            }
        }
        if want.exemplars && !postings.exemplars.is_empty() {
            match self.exemplars_of_trace(id, &postings.exemplars) {
                Ok(exemplars) => data.exemplars.extend(exemplars),
                Err(error) => failed(error),
            }
        }
        if want.logs {
            data.partial.extend(self.pattern_damage());
        }
    }

    /// What the trace table says of those of the traces that are in it, each with its place among them.
    pub(crate) fn summaries(&self, ids: &[TraceId]) -> Result<Vec<(usize, TraceSummary)>, Error> {
        let rows = self.index().candidates_of(ids.iter().map(|id| id.fingerprint()))?;
        if rows.is_empty() {
            // A block that has none of them need not be readable.
            return Ok(Vec::new());
        }
        let mut numbers: Vec<u32> = rows.iter().map(|(row, _)| *row).collect();
        numbers.dedup();
        let mut rows = rows.into_iter().peekable();
        let mut numbers_read = numbers.iter();
        let mut out = Vec::new();
        for batch in self.pick(Table::Traces, &numbers, None)? {
            let columns = Columns::new(&batch);
            for (at_row, number) in (0..batch.num_rows()).zip(numbers_read.by_ref()) {
                let found = columns.trace_id("trace_id", at_row);
                while let Some((_, at)) = rows.next_if(|(row, _)| row == number) {
                    let id = ids.get(at).filter(|id| found == Some(**id));
                    out.extend(id.map(|id| (at, summary_of(&columns, *id, at_row))));
                }
            }
        }
        Ok(out)
    }

    /// Adds the spans of a trace as a summary needs them.
    pub(crate) fn span_parts(&self, id: TraceId, parts: &mut TraceParts) -> Result<(), Error> {
        let Some(row) = self.trace_row(id)? else { return Ok(()) };
        let postings = self.index().postings(row)?;
        let rows = postings.first_span..postings.first_span.saturating_add(postings.span_count);
        let (mut spans, mut parents) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for batch in self.pick_range(Table::Spans, rows, Some(&SUMMARY_COLUMNS))? {
            let columns = Columns::new(&batch);
            for row in 0..batch.num_rows() {
                parents.push(columns.u32("parent_row", row));
                spans.extend(span_part_of(&columns, row));
            }
        }
        let ids: Vec<SpanId> = spans.iter().map(|span: &SpanPart| span.timing.span_id).collect();
        for (mut span, parent) in spans.into_iter().zip(parents) {
            let of_row = parent.and_then(|parent| ids.get(parent as usize).copied());
            span.timing.parent_span_id = of_row.or(span.timing.parent_span_id);
            parts.add_span(span);
        }
        Ok(())
    }

    fn spans(&self, id: TraceId, rows: std::ops::Range<u32>) -> Result<Vec<Span>, Error> {
        let mut spans: Vec<Span> = Vec::with_capacity(rows.len());
        let mut parents: Vec<Option<u32>> = Vec::with_capacity(rows.len());
        for batch in self.pick_range(Table::Spans, rows, None)? {
            let columns = Columns::new(&batch);
            for row in 0..batch.num_rows() {
                parents.push(columns.u32("parent_row", row));
                spans.extend(span_of(&columns, id, row));
            }
        }
        let ids: Vec<SpanId> = spans.iter().map(|span| span.span_id).collect();
        for (span, parent) in spans.iter_mut().zip(parents) {
            if let Some(parent) = parent {
                span.parent_span_id = ids.get(parent as usize).copied();
            }
        }
        Ok(spans)
    }

    /// The log records of one trace by row; `span_ids` are those of its spans, where they were read.
    fn logs_of_trace(
        &self,
        id: TraceId,
        spans: std::ops::Range<u32>,
        mut span_ids: Vec<SpanId>,
        rows: &[u32],
    ) -> Result<Vec<LogRecord>, Error> {
        if span_ids.len() != spans.len() {
            span_ids.clear();
            for batch in self.pick_range(Table::Spans, spans, Some(&["span_id"]))? {
                let columns = Columns::new(&batch);
                span_ids.extend((0..batch.num_rows()).filter_map(|row| columns.span_id("span_id", row)));
            }
        }
        let mut out = Vec::with_capacity(rows.len());
        for batch in self.pick(Table::Logs, rows, None)? {
            let columns = Columns::new(&batch);
            out.extend((0..batch.num_rows()).map(|row| {
                let of_span = columns.u32("span_row", row).and_then(|at| span_ids.get(at as usize).copied());
                let span_id = of_span.or_else(|| columns.span_id("span_id", row));
                log_of(&columns, (Some(id), span_id), self.pattern_id(&columns, row), row)
            }));
        }
        Ok(out)
    }

    /// Log records by row; rows ascend.
    pub(crate) fn logs(&self, rows: &[u32]) -> Result<Vec<LogRecord>, Error> {
        let mut out = Vec::with_capacity(rows.len());
        for batch in self.pick(Table::Logs, rows, None)? {
            let names = self.log_contexts(&batch)?;
            let columns = Columns::new(&batch);
            for (row, context) in names.into_iter().enumerate() {
                out.push(log_of(&columns, context, self.pattern_id(&columns, row), row));
            }
        }
        Ok(out)
    }

    /// The trace and span ids of log rows, from the rows that they name.
    pub(super) fn log_contexts(&self, batch: &RecordBatch) -> Result<Vec<LogContext>, Error> {
        let columns = Columns::new(batch);
        let [of_trace, of_span] = ["trace_row", "span_row"].map(|name| columns.numbers::<UInt32Type>(name));
        let value =
            |of: Option<&UInt32Array>, row: usize| of.filter(|of| !of.is_null(row)).map(|of| of.value(row));
        let ascending = |numbers: &mut dyn Iterator<Item = u32>| {
            let mut numbers: Vec<u32> = numbers.collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let traces = ascending(&mut (0..batch.num_rows()).filter_map(|row| value(of_trace, row)));
        let trace_ids = self.trace_ids(&traces)?;
        let postings = self.index().postings_of(&traces)?;
        let position = |row: usize| traces.binary_search(&value(of_trace, row)?).ok();
        let span_row = |row: usize| {
            let in_trace = value(of_span, row)?;
            Some(postings.get(position(row)?)?.first_span.saturating_add(in_trace))
        };
        let spans = ascending(&mut (0..batch.num_rows()).filter_map(span_row));
        let mut span_ids = Vec::with_capacity(spans.len());
        for batch in self.pick(Table::Spans, &spans, Some(&["span_id"]))? {
            let columns = Columns::new(&batch);
            span_ids.extend((0..batch.num_rows()).map(|row| columns.span_id("span_id", row)));
        }
        Ok((0..batch.num_rows())
            .map(|row| {
                let trace_id = position(row).and_then(|at| trace_ids.get(at).copied().flatten());
                let resolved = span_row(row).and_then(|span| {
                    spans.binary_search(&span).ok().and_then(|at| span_ids.get(at).copied().flatten())
                });
                (trace_id, resolved.or_else(|| columns.span_id("span_id", row)))
            })
            .collect())
    }
}

fn summary_of(columns: &Columns<'_>, id: TraceId, row: usize) -> TraceSummary {
    let number = |name: &str| columns.u32(name, row).unwrap_or_default();
    let sampling = sampling_at(columns, row);
    let is_tombstone = matches!(sampling, Sampling::Dropped { .. });
    TraceSummary {
        trace_id: id,
        start_time: columns.time("start_time", row),
        duration_ns: columns.i64("duration_ns", row),
        root_service: columns.owned("root_service", row),
        root_name: columns.owned("root_name", row),
        services: columns.sorted_list("services", row),
        span_count: number("span_count"),
        error_count: number("error_count"),
        log_count: number("log_count"),
        error_log_count: number("error_log_count"),
        exemplar_count: number("exemplar_count"),
        orphan_count: number("orphan_count"),
        culprit_service: columns.owned("culprit_service", row),
        culprit_name: columns.owned("culprit_name", row),
        culprit_self_ns: columns.i64("culprit_self_ns", row),
        error_culprit_service: columns.owned("error_culprit_service", row),
        error_culprit_name: columns.owned("error_culprit_name", row),
        clock_skew_ns: columns.i64("clock_skew_ns", row),
        dropped_before: if is_tombstone { None } else { dropped_at(columns, row) },
        sampling,
    }
}

/// What [`span_part_of`] reads, and the rows of parents.
const SUMMARY_COLUMNS: [&str; 9] = [
    "span_id",
    "parent_row",
    "parent_span_id",
    "name",
    "kind",
    "start_time",
    "duration_ns",
    "status_code",
    "service",
];

fn span_part_of(columns: &Columns<'_>, row: usize) -> Option<SpanPart> {
    let timing = SpanTiming {
        span_id: columns.span_id("span_id", row)?,
        parent_span_id: columns.span_id("parent_span_id", row),
        start: columns.time("start_time", row),
        duration: columns.i64("duration_ns", row),
        error: columns.u8("status_code", row) == STATUS_ERROR,
    };
    let kind = columns.u8("kind", row);
    Some(SpanPart { timing, kind, service: columns.owned("service", row), name: columns.owned("name", row) })
}

pub(crate) fn span_of(columns: &Columns<'_>, id: TraceId, row: usize) -> Option<Span> {
    Some(Span {
        trace_id: id,
        span_id: columns.span_id("span_id", row)?,
        parent_span_id: columns.span_id("parent_span_id", row),
        trace_state: columns.owned("trace_state", row),
        flags: columns.u32("flags", row).unwrap_or_default(),
        name: columns.owned("name", row),
        kind: columns.u8("kind", row),
        start_time: columns.time("start_time", row),
        duration_ns: columns.i64("duration_ns", row),
        status_code: columns.u8("status_code", row),
        status_message: columns.owned("status_message", row),
        service: columns.owned("service", row),
        resource: columns.map("resource", row),
        scope: columns.map("scope", row),
        attributes: columns.attributes(row),
        events: columns.array("events", row),
        links: columns.array("links", row),
        adjusted_count: columns.f64("adjusted_count", row),
    })
}

fn log_of(
    columns: &Columns<'_>,
    (trace_id, span_id): LogContext,
    pattern_id: Option<PatternId>,
    row: usize,
) -> LogRecord {
    let time = columns.time("time", row);
    let source = columns.u8("trace_source", row);
    let mut body = String::new();
    columns.body(row, &mut body);
    LogRecord {
        time,
        observed_time: time.wrapping_add(columns.i64("observed_delay_ns", row)),
        severity_number: columns.u8("severity_number", row),
        severity_text: columns.owned("severity_text", row),
        level: columns.level(row),
        body: body_json(body, columns.u8("body_kind", row)),
        trace_id,
        span_id,
        flags: columns.u32("flags", row).unwrap_or_default(),
        trace_source: TraceSource::from_code(source),
        unsampled: source & UNSAMPLED != 0,
        trace_id_original: columns.text("trace_id_original", row).map(str::to_owned),
        service: columns.owned("service", row),
        resource: columns.map("resource", row),
        scope: columns.map("scope", row),
        event_name: columns.owned("event_name", row),
        attributes: columns.attributes(row),
        pattern_id,
    }
}
