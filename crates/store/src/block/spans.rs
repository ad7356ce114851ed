//! Writes the spans of mini-batches as `spans.parquet`: trace after trace, by start within a trace.

use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, UInt32Builder};
use arrow_array::types::{Int32Type, Int64Type, UInt8Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, FixedSizeBinaryArray, Int64Array, RecordBatch,
    TimestampNanosecondArray, UInt8Array, UInt32Array,
};
use throughline_model::SpanId;
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, span,
};
use throughline_model::trace::SpanTiming;

use super::shred::{AttributeColumns, Shredder};
use super::tables::SPAN_GROUP_ROWS;
use super::texts::{TextId, Texts, column_of, gather_column, mapped, no_texts};
use super::traces::{SpanFacts, arrow_error};
use crate::error::Error;
use crate::memtable::MiniBatch;
use crate::snapshot::rows::{events_json, links_json};

/// Of every so many rows one is looked at when columns are chosen.
const SAMPLE_EVERY: usize = 16;

/// A row of a mini-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRef {
    pub(crate) batch: u32,
    pub(crate) row: u32,
}

/// The mini-batches that a block is written from, and their dictionaries' texts by the block's numbers.
pub(crate) struct SpanSources {
    batches: Vec<Arc<MiniBatch>>,
    services: Vec<Vec<TextId>>,
    resources: Vec<Vec<TextId>>,
    scopes: Vec<Vec<TextId>>,
    /// The name of each row.
    names: Vec<Vec<TextId>>,
    typed: Vec<Typed>,
}

/// The columns of a mini-batch that are looked at span by span, as what they are.
struct Typed {
    trace_ids: FixedSizeBinaryArray,
    span_ids: FixedSizeBinaryArray,
    parents: FixedSizeBinaryArray,
    starts: TimestampNanosecondArray,
    durations: Int64Array,
    kinds: UInt8Array,
    statuses: UInt8Array,
    services: DictionaryArray<Int32Type>,
    attributes: BinaryArray,
}

impl Typed {
    fn new(rows: &RecordBatch) -> Typed {
        Typed {
            trace_ids: column_fixed(rows, span::TRACE_ID).clone(),
            span_ids: column_fixed(rows, span::SPAN_ID).clone(),
            parents: column_fixed(rows, span::PARENT_SPAN_ID).clone(),
            starts: column_time(rows, span::START_TIME).clone(),
            durations: column_number::<Int64Type>(rows, span::DURATION).clone(),
            kinds: column_number::<UInt8Type>(rows, span::KIND).clone(),
            statuses: column_number::<UInt8Type>(rows, span::STATUS_CODE).clone(),
            services: column_dictionary(rows, span::SERVICE).clone(),
            attributes: column_binary(rows, span::ATTRIBUTES).clone(),
        }
    }
}

/// One span in the order of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanOrder {
    pub(crate) at: RowRef,
    pub(crate) trace_row: u32,
    /// The parent's row within the trace.
    pub(crate) parent_row: Option<u32>,
}

impl SpanSources {
    pub(crate) fn new(batches: Vec<Arc<MiniBatch>>, texts: &mut Texts) -> SpanSources {
        let mut keys = |position: usize| -> Vec<Vec<TextId>> {
            batches.iter().map(|mini| texts.intern_keys(column_dictionary(&mini.rows, position))).collect()
        };
        let (services, resources, scopes) = (keys(span::SERVICE), keys(span::RESOURCE), keys(span::SCOPE));
        let names =
            batches.iter().map(|mini| texts.intern_rows(column_text(&mini.rows, span::NAME))).collect();
        let typed = batches.iter().map(|mini| Typed::new(&mini.rows)).collect();
        SpanSources { batches, services, resources, scopes, names, typed }
    }

    /// Every span in the order in which it was received: what a summary needs of it, and where it lies.
    pub(crate) fn facts(&self) -> Vec<(SpanFacts, RowRef)> {
        // Summaries go through spans in the order of traces, so that one place in memory a span is better than one in each
        // of eight columns.
        let mut all = Vec::with_capacity(self.batches.iter().map(|mini| mini.rows.num_rows()).sum());
        for (batch, (typed, names)) in self.typed.iter().zip(&self.names).enumerate() {
            let services = self.services.get(batch).map(Vec::as_slice).unwrap_or_default();
            for (row, name) in names.iter().enumerate() {
                let parent = (!typed.parents.is_null(row)).then(|| typed.parents.value(row));
                let timing = SpanTiming {
                    span_id: SpanId(typed.span_ids.value(row).try_into().unwrap_or_default()),
                    parent_span_id: parent.and_then(SpanId::from_slice),
                    start: typed.starts.value(row),
                    duration: typed.durations.value(row),
                    error: typed.statuses.value(row) == 2,
                };
                let service = mapped(&typed.services, services, row);
                let facts = SpanFacts { timing, kind: typed.kinds.value(row), service, name: *name };
                all.push((facts, RowRef { batch: batch as u32, row: row as u32 }));
            }
        }
        all
    }

    /// The places of these spans in the order of traces and starts: the trace's id as a number, the start, the place.
    pub(crate) fn by_trace(&self, facts: &[(SpanFacts, RowRef)]) -> Vec<(u128, i64, u32)> {
        let ids = self.typed.iter().flat_map(|typed| {
            let ids = &typed.trace_ids;
            (0..ids.len()).map(move |row| ids.value(row).try_into().unwrap_or_default())
        });
        let all = ids.zip(facts).enumerate();
        let mut all: Vec<(u128, i64, u32)> = all
            .map(|(at, (id, (facts, _)))| (u128::from_be_bytes(id), facts.timing.start, at as u32))
            .collect();
        all.sort_unstable();
        all
    }

    fn name(&self, at: RowRef) -> TextId {
        let names = self.names.get(at.batch as usize);
        names.and_then(|names| names.get(at.row as usize)).copied().unwrap_or_default()
    }

    fn typed(&self, at: RowRef) -> Option<(&Typed, usize)> {
        self.typed.get(at.batch as usize).map(|typed| (typed, at.row as usize))
    }

    /// The attribute columns that suit these spans.
    pub(crate) fn choose_columns(&self, order: &[SpanOrder]) -> AttributeColumns {
        let sample = order.iter().step_by(SAMPLE_EVERY).filter_map(|span| {
            let (typed, row) = self.typed(span.at)?;
            Some(typed.attributes.value(row))
        });
        AttributeColumns::choose(sample)
    }

    /// The rows of the table, a row group at a time.
    pub(crate) fn chunks<'a>(
        &'a self,
        order: &'a [SpanOrder],
        columns: &'a AttributeColumns,
        texts: &'a Texts,
        schema: &'a arrow_schema::SchemaRef,
    ) -> impl Iterator<Item = Result<RecordBatch, Error>> + 'a {
        order.chunks(SPAN_GROUP_ROWS).map(|part| {
            let columns = self.chunk(part, columns, texts)?;
            RecordBatch::try_new(schema.clone(), columns).map_err(arrow_error)
        })
    }

    fn chunk(
        &self,
        part: &[SpanOrder],
        columns: &AttributeColumns,
        texts: &Texts,
    ) -> Result<Vec<ArrayRef>, Error> {
        let indices: Vec<(usize, usize)> =
            part.iter().map(|span| (span.at.batch as usize, span.at.row as usize)).collect();
        let gather = |position: usize| -> Result<ArrayRef, Error> {
            let arrays: Vec<&dyn Array> =
                self.batches.iter().map(|mini| mini.rows.column(position).as_ref()).collect();
            arrow_select::interleave::interleave(&arrays, &indices).map_err(arrow_error)
        };
        let text = |position: usize| gather_column(&self.batches, position, &indices);
        let dictionary = |position: usize, keys: &[Vec<TextId>]| -> ArrayRef {
            let columns: Vec<&DictionaryArray<Int32Type>> =
                self.batches.iter().map(|mini| column_dictionary(&mini.rows, position)).collect();
            texts.dictionary(part.iter().map(|span| {
                let keys = keys.get(span.at.batch as usize).map(Vec::as_slice).unwrap_or_default();
                let column = columns.get(span.at.batch as usize);
                column.map_or(0, |column| mapped(column, keys, span.at.row as usize))
            }))
        };
        let (attributes, attribute_columns) = self.shred(part, columns);
        let (parent_rows, parent_ids) = self.parents(part)?;
        let mut out: Vec<ArrayRef> = vec![
            Arc::new(part.iter().map(|span| span.trace_row).collect::<UInt32Array>()),
            gather(span::SPAN_ID)?,
            parent_rows,
            parent_ids,
            texts.dictionary(part.iter().map(|span| self.name(span.at))),
            gather(span::KIND)?,
            gather(span::START_TIME)?,
            gather(span::DURATION)?,
            gather(span::STATUS_CODE)?,
            text(span::STATUS_MESSAGE),
            dictionary(span::SERVICE, &self.services),
            dictionary(span::RESOURCE, &self.resources),
            dictionary(span::SCOPE, &self.scopes),
            text(span::TRACE_STATE),
            gather(span::FLAGS)?,
            self.json(part, span::EVENTS, events_json),
            self.json(part, span::LINKS, links_json),
            gather(span::ADJUSTED_COUNT)?,
            text(span::DROPPED),
            attributes,
        ];
        out.extend(attribute_columns);
        Ok(out)
    }

    fn shred(&self, part: &[SpanOrder], columns: &AttributeColumns) -> (ArrayRef, Vec<ArrayRef>) {
        let mut shredder = Shredder::new(columns);
        for span in part {
            let list = self.typed(span.at).map(|(typed, row)| typed.attributes.value(row));
            shredder.push(list.unwrap_or_default());
        }
        shredder.finish()
    }

    /// A parent in the trace is named by its row; the id stays only where it is not there.
    fn parents(&self, part: &[SpanOrder]) -> Result<(ArrayRef, ArrayRef), Error> {
        let mut parent_rows = UInt32Builder::with_capacity(part.len());
        let mut ids = FixedSizeBinaryBuilder::with_capacity(part.len(), 8);
        for span in part {
            parent_rows.append_option(span.parent_row);
            let parent = self.typed(span.at).map(|(typed, row)| (&typed.parents, row));
            match parent {
                Some((parents, row)) if span.parent_row.is_none() && !parents.is_null(row) => {
                    ids.append_value(parents.value(row)).map_err(arrow_error)?;
                }
                _ => ids.append_null(),
            }
        }
        Ok((Arc::new(parent_rows.finish()), Arc::new(ids.finish())))
    }

    fn json(&self, part: &[SpanOrder], position: usize, convert: fn(&[u8]) -> serde_json::Value) -> ArrayRef {
        let columns: Vec<&BinaryArray> =
            self.batches.iter().map(|mini| column_binary(&mini.rows, position)).collect();
        if columns.iter().all(|column| column.null_count() == column.len()) {
            return no_texts(part.len());
        }
        let text = |span: &SpanOrder| {
            let (column, row) = (columns.get(span.at.batch as usize)?, span.at.row as usize);
            (!column.is_null(row)).then(|| convert(column.value(row)).to_string())
        };
        column_of(part.iter().map(text))
    }
}
