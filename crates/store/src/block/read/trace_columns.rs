//! Columns of the trace table for many traces that lie together, as scans of spans want them: row groups whole, not row by row.

use std::ops::Range;

use arrow_schema::FieldRef;
use throughline_model::TraceId;

use super::Block;
use super::span_values::values_of;
use super::whole::WholeColumn;
use crate::block::Table;
use crate::error::Error;
use crate::snapshot::span_scan::SpanTrace;
use crate::snapshot::span_values::SpanValues;

/// Fewer traces than these are picked row by row.
pub(super) const TOGETHER_MIN: usize = 48;

impl Block {
    /// A column of the trace table for these rows, which ascend; none where only the library reads it. A row group in which it is
    /// null has no values.
    pub(super) fn trace_column(
        &self,
        name: &str,
        rows: &[u32],
    ) -> Result<Option<(FieldRef, WholeColumn)>, Error> {
        let Some(layout) = self.layout(Table::Traces) else { return Ok(None) };
        let mut found: Option<(FieldRef, WholeColumn)> = None;
        let mut at = 0;
        while let Some(first) = rows.get(at) {
            let group = layout.group_of(*first);
            let Some(of_group) = layout.group_rows(group).filter(|of_group| of_group.contains(first)) else {
                return Ok(None);
            };
            let n = rows.get(at..).unwrap_or_default().partition_point(|row| *row < of_group.end);
            let Some((field, Some(whole))) = layout.whole(self.file(Table::Traces)?, group, name)? else {
                return Ok(None);
            };
            let (_, into) = found.get_or_insert_with(|| (field, whole.without_rows()));
            let wanted = rows.get(at..at + n).unwrap_or_default().iter().map(|row| row - of_group.start);
            if into.append(&whole, wanted).is_none() {
                return Ok(None);
            }
            at += n;
        }
        Ok(found)
    }

    /// Whether `may` says yes of some values of a column of the trace table, among which are all that the traces of these spans have.
    /// Of texts a dictionary says it.
    pub(super) fn traces_may_have(
        &self,
        name: &str,
        spans: &Range<u32>,
        may: &mut dyn FnMut(SpanValues) -> bool,
    ) -> Result<bool, Error> {
        let (Some(layout), Some(first_spans)) = (self.layout(Table::Traces), self.first_spans()?) else {
            return Ok(true);
        };
        let from = first_spans.partition_point(|first| *first <= spans.start).saturating_sub(1);
        let to = first_spans.partition_point(|first| *first < spans.end);
        for group in from..to {
            let mut verdict = None;
            let mut ask = |field: &FieldRef, values: WholeColumn| {
                verdict = Some(may(values_of(field, values)));
                false
            };
            let found = layout.whole_if(self.file(Table::Traces)?, group, name, Some(&mut ask))?;
            let may_pass = match (verdict, found) {
                (Some(verdict), _) => verdict,
                (None, Some((field, Some(values)))) => may(values_of(&field, values)),
                // Without a value.
                (None, Some((_, None))) => may(SpanValues::None),
                (None, None) => true,
            };
            if may_pass {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first span of each row group of the trace table; none where only the library reads it. Looked up once.
    fn first_spans(&self) -> Result<Option<&[u32]>, Error> {
        if let Some(known) = self.first_spans.get() {
            return Ok(known.as_deref());
        }
        let mut found = None;
        if let Some(layout) = self.layout(Table::Traces) {
            let mut firsts = Vec::with_capacity(layout.groups());
            for rows in (0..layout.groups()).filter_map(|group| layout.group_rows(group)) {
                firsts.push(self.index().postings(rows.start)?.first_span);
            }
            found = Some(firsts);
        }
        Ok(self.first_spans.get_or_init(|| found).as_deref())
    }

    /// The ids, the first starts and the last ends of traces by row; the rows ascend.
    pub(super) fn trace_bounds(&self, rows: &[u32]) -> Result<Option<Vec<SpanTrace>>, Error> {
        let Some((_, WholeColumn::Fixed(16, ids, None))) = self.trace_column("trace_id", rows)? else {
            return Ok(None);
        };
        let Some((_, WholeColumn::Words(starts, None))) = self.trace_column("start_time", rows)? else {
            return Ok(None);
        };
        let Some((_, WholeColumn::Words(durations, None))) = self.trace_column("duration_ns", rows)? else {
            return Ok(None);
        };
        let (ids, _) = ids.as_chunks::<16>();
        let bounds = ids.iter().zip(starts).zip(durations).map(|((id, start), duration)| {
            let start = start as i64;
            SpanTrace { id: TraceId(*id), start, end: start.saturating_add(duration as i64) }
        });
        Ok(Some(bounds.collect()))
    }
}
