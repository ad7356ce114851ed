//! The spans of the blocks that are merged, with those parts that policies look at.
//!
//! Traces are decided about in the order in which their spans lie, so that a few decoded row groups are enough.

use std::sync::Arc;

use arrow_array::RecordBatch;
use throughline_model::record::Span;
use throughline_model::{SpanId, TraceId};
use throughline_sampling::Needs;

use crate::block::read::{Columns, TableReader, span_of};
use crate::block::{Block, COLUMN_PREFIX, Table};
use crate::error::Error;

/// Decoded row groups that are kept.
const GROUPS_KEPT: usize = 8;

/// What stands for a parent that is somewhere in the trace: policies ask only whether there is one.
const SOME_PARENT: SpanId = SpanId([0xff; 8]);

/// What the parts of a span take that are not text.
const FIXED_BYTES: u64 = 80;

/// Reads spans by input and row.
pub(crate) struct SpanReader {
    tables: Vec<Arc<TableReader>>,
    /// The columns that are read; none where all are.
    names: Option<Vec<String>>,
    /// The input, the row group and its rows, the most recent last.
    groups: Vec<(u32, usize, RecordBatch)>,
}

impl SpanReader {
    pub(super) fn new(inputs: &[Arc<Block>], needs: &Needs) -> Result<SpanReader, Error> {
        let tables = inputs.iter().map(|block| block.table(Table::Spans)).collect::<Result<_, _>>()?;
        Ok(SpanReader { tables, names: names(needs), groups: Vec::new() })
    }

    /// The spans at these inputs and rows.
    pub(super) fn read(
        &mut self,
        id: TraceId,
        rows: &mut dyn Iterator<Item = (u32, u32)>,
    ) -> Result<Vec<Span>, Error> {
        let mut spans = Vec::new();
        for (input, row) in rows {
            let Some(table) = self.tables.get(input as usize) else { continue };
            let group = table.group_of(u64::from(row));
            let at = (u64::from(row) - table.first_row(group)) as usize;
            let batch = self.group(input, group)?;
            let columns = Columns::new(&batch);
            let Some(mut span) = span_of(&columns, id, at) else { continue };
            if span.parent_span_id.is_none() && columns.u32("parent_row", at).is_some() {
                span.parent_span_id = Some(SOME_PARENT);
            }
            spans.push(span);
        }
        Ok(spans)
    }

    fn group(&mut self, input: u32, group: usize) -> Result<RecordBatch, Error> {
        if let Some(at) = self.groups.iter().position(|(i, g, _)| (*i, *g) == (input, group)) {
            let found = self.groups.remove(at);
            self.groups.push(found);
        } else {
            let table = self.tables.get(input as usize).ok_or(Error::Closed)?;
            let names: Option<Vec<&str>> =
                self.names.as_ref().map(|names| names.iter().map(String::as_str).collect());
            let batches = table.read_group(group, None, names.as_deref())?;
            let batch = match batches.as_slice() {
                [batch] => batch.clone(),
                [first, ..] => arrow_select::concat::concat_batches(&first.schema(), &batches)
                    .map_err(crate::block::traces::arrow_error)?,
                [] => RecordBatch::new_empty(table.schema().clone()),
            };
            if self.groups.len() >= GROUPS_KEPT {
                self.groups.remove(0);
            }
            self.groups.push((input, group, batch));
        }
        let (.., batch) = self.groups.last().ok_or(Error::Closed)?;
        Ok(batch.clone())
    }
}

/// The columns of what policies look at.
fn names(needs: &Needs) -> Option<Vec<String>> {
    if needs.bytes {
        return None;
    }
    let fixed = [
        "span_id",
        "parent_row",
        "parent_span_id",
        "name",
        "kind",
        "start_time",
        "duration_ns",
        "status_code",
        "status_message",
        "scope",
        "trace_state",
        "flags",
    ];
    let mut names: Vec<String> = fixed.iter().map(|name| (*name).to_owned()).collect();
    if needs.events {
        names.push("events".to_owned());
    }
    if !needs.attributes.is_empty() {
        names.extend(["resource".to_owned(), "attributes".to_owned()]);
        names.extend(needs.attributes.iter().map(|key| format!("{COLUMN_PREFIX}{key}")));
    }
    Some(names)
}

/// What spans take, about as much as in OTLP's protobuf.
pub(super) fn bytes(spans: &[Span]) -> u64 {
    let of = |span: &Span| {
        let texts = [&span.name, &span.status_message, &span.trace_state];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let attributes = serde_json::to_string(&span.attributes).map_or(0, |text| text.len());
        let lists = [&span.events, &span.links].map(|list| {
            if list.is_empty() { 0 } else { serde_json::to_string(list).map_or(0, |text| text.len()) }
        });
        FIXED_BYTES + (texts + attributes + lists.iter().sum::<usize>()) as u64
    };
    spans.iter().map(of).sum()
}
