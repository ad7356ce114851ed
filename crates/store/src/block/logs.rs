//! Writes the log records of mini-batches as `logs.parquet`: by service, then time.
//!
//! A record's trace is named by its row in the trace table and its span by its row within the trace, so that the 24
//! bytes of ids, which do not compress, are not stored again; the span's id stays only where the span is not in the
//! block.

use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::types::{Int32Type, UInt8Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, FixedSizeBinaryArray, Int64Array, RecordBatch,
    StringArray, TimestampNanosecondArray, UInt8Array, UInt32Array,
};
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, log,
};
use throughline_model::{Level, SpanId, TraceId};

use super::bodies::BodyColumns;
use super::shred::{AttributeColumns, Shredder};
use super::spans::RowRef;
use super::tables::LOG_GROUP_ROWS;
use super::texts::{TextId, Texts, gather_column, mapped};
use super::traces::arrow_error;
use crate::error::Error;
use crate::memtable::MiniBatch;

/// Of every so many rows one is looked at when columns are chosen.
const SAMPLE_EVERY: usize = 16;

/// The mini-batches that a block is written from, and their dictionaries' texts by the block's numbers.
pub(crate) struct LogSources {
    batches: Vec<Arc<MiniBatch>>,
    services: Vec<Vec<TextId>>,
    resources: Vec<Vec<TextId>>,
    scopes: Vec<Vec<TextId>>,
    typed: Vec<Typed>,
}

/// The columns of a mini-batch that are looked at record by record, as what they are.
struct Typed {
    times: TimestampNanosecondArray,
    observed: TimestampNanosecondArray,
    severities: UInt8Array,
    bodies: StringArray,
    trace_ids: FixedSizeBinaryArray,
    span_ids: FixedSizeBinaryArray,
    attributes: BinaryArray,
}

impl Typed {
    fn new(rows: &RecordBatch) -> Typed {
        Typed {
            times: column_time(rows, log::TIME).clone(),
            observed: column_time(rows, log::OBSERVED_TIME).clone(),
            severities: column_number::<UInt8Type>(rows, log::SEVERITY_NUMBER).clone(),
            bodies: column_text(rows, log::BODY).clone(),
            trace_ids: column_fixed(rows, log::TRACE_ID).clone(),
            span_ids: column_fixed(rows, log::SPAN_ID).clone(),
            attributes: column_binary(rows, log::ATTRIBUTES).clone(),
        }
    }
}

/// One record in the order of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogOrder {
    pub(crate) at: RowRef,
    pub(crate) trace_row: Option<u32>,
    /// The span's row within the trace.
    pub(crate) span_row: Option<u32>,
}

/// A record's trace context and severity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogContext {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: Option<SpanId>,
    pub(crate) is_error: bool,
}

impl LogSources {
    pub(crate) fn new(batches: Vec<Arc<MiniBatch>>, texts: &mut Texts) -> LogSources {
        let mut keys = |position: usize| -> Vec<Vec<TextId>> {
            batches.iter().map(|mini| texts.intern_keys(column_dictionary(&mini.rows, position))).collect()
        };
        let (services, resources, scopes) = (keys(log::SERVICE), keys(log::RESOURCE), keys(log::SCOPE));
        let typed = batches.iter().map(|mini| Typed::new(&mini.rows)).collect();
        LogSources { batches, services, resources, scopes, typed }
    }

    /// Every record: its time and where it lies, by service and time.
    pub(crate) fn sorted(&self, texts: &Texts) -> Vec<(i64, RowRef)> {
        let ranks = texts.ranks();
        let mut all: Vec<(u32, i64, u32, u32)> =
            Vec::with_capacity(self.batches.iter().map(|mini| mini.rows.num_rows()).sum());
        for (batch, (mini, services)) in self.batches.iter().zip(&self.services).enumerate() {
            let column = column_dictionary(&mini.rows, log::SERVICE);
            for (row, time) in column_time(&mini.rows, log::TIME).values().iter().enumerate() {
                let service = mapped(column, services, row);
                let rank = ranks.get(service as usize).copied().unwrap_or_default();
                all.push((rank, *time, batch as u32, row as u32));
            }
        }
        all.sort_unstable();
        all.into_iter().map(|(_, time, batch, row)| (time, RowRef { batch, row })).collect()
    }

    fn typed(&self, at: RowRef) -> Option<(&Typed, usize)> {
        self.typed.get(at.batch as usize).map(|typed| (typed, at.row as usize))
    }

    /// The trace that a record refers to.
    pub(crate) fn context(&self, at: RowRef) -> Option<LogContext> {
        let (typed, row) = self.typed(at)?;
        if typed.trace_ids.is_null(row) {
            return None;
        }
        let spans = &typed.span_ids;
        Some(LogContext {
            trace_id: TraceId::from_slice(typed.trace_ids.value(row))?,
            span_id: if spans.is_null(row) { None } else { SpanId::from_slice(spans.value(row)) },
            is_error: typed.severities.value(row) >= 17,
        })
    }

    /// The attribute columns that suit these records.
    pub(crate) fn choose_columns(&self, order: &[LogOrder]) -> AttributeColumns {
        let sample = order.iter().step_by(SAMPLE_EVERY).filter_map(|record| {
            let (typed, row) = self.typed(record.at)?;
            Some(typed.attributes.value(row))
        });
        AttributeColumns::choose(sample)
    }

    /// The rows of the table, in pieces that end where row groups end.
    pub(crate) fn chunks<'a>(
        &'a self,
        order: &'a [LogOrder],
        columns: &'a AttributeColumns,
        texts: &'a Texts,
        schema: &'a arrow_schema::SchemaRef,
    ) -> impl Iterator<Item = Result<RecordBatch, Error>> + 'a {
        order.chunks(LOG_GROUP_ROWS / 8).map(|part| {
            let columns = self.chunk(part, columns, texts)?;
            RecordBatch::try_new(schema.clone(), columns).map_err(arrow_error)
        })
    }

    fn chunk(
        &self,
        part: &[LogOrder],
        columns: &AttributeColumns,
        texts: &Texts,
    ) -> Result<Vec<ArrayRef>, Error> {
        let indices: Vec<(usize, usize)> =
            part.iter().map(|record| (record.at.batch as usize, record.at.row as usize)).collect();
        let gather = |position: usize| -> Result<ArrayRef, Error> {
            let arrays: Vec<&dyn Array> =
                self.batches.iter().map(|mini| mini.rows.column(position).as_ref()).collect();
            arrow_select::interleave::interleave(&arrays, &indices).map_err(arrow_error)
        };
        let text = |position: usize| gather_column(&self.batches, position, &indices);
        let dictionary = |position: usize, keys: &[Vec<TextId>]| -> ArrayRef {
            let columns: Vec<&DictionaryArray<Int32Type>> =
                self.batches.iter().map(|mini| column_dictionary(&mini.rows, position)).collect();
            texts.dictionary(part.iter().map(|record| {
                let keys = keys.get(record.at.batch as usize).map(Vec::as_slice).unwrap_or_default();
                let column = columns.get(record.at.batch as usize);
                column.map_or(0, |column| mapped(column, keys, record.at.row as usize))
            }))
        };
        let mut shredder = Shredder::new(columns);
        let mut bodies = BodyColumns::default();
        for record in part {
            let typed = self.typed(record.at);
            shredder.push(typed.map(|(typed, row)| typed.attributes.value(row)).unwrap_or_default());
            bodies.push(typed.map(|(typed, row)| typed.bodies.value(row)).unwrap_or_default());
        }
        let [patterns, slots] = bodies.finish();
        let (attributes, attribute_columns) = shredder.finish();
        let mut out: Vec<ArrayRef> = vec![
            gather(log::TIME)?,
            self.observed_delays(part),
            gather(log::SEVERITY_NUMBER)?,
            text(log::SEVERITY_TEXT),
            patterns,
            slots,
            gather(log::BODY_KIND)?,
            Arc::new(part.iter().map(|record| record.trace_row).collect::<UInt32Array>()),
            Arc::new(part.iter().map(|record| record.span_row).collect::<UInt32Array>()),
            self.unresolved_span_ids(part)?,
            gather(log::FLAGS)?,
            gather(log::TRACE_SOURCE)?,
            text(log::TRACE_ID_ORIGINAL),
            dictionary(log::SERVICE, &self.services),
            dictionary(log::RESOURCE, &self.resources),
            dictionary(log::SCOPE, &self.scopes),
            text(log::EVENT_NAME),
            text(log::DROPPED),
            self.detected_levels(part),
            attributes,
        ];
        out.extend(attribute_columns);
        Ok(out)
    }

    /// The levels that severity numbers do not say.
    fn detected_levels(&self, part: &[LogOrder]) -> ArrayRef {
        let level = |record: &LogOrder| {
            let (batch, row) = (record.at.batch as usize, record.at.row as usize);
            let rows = &self.batches.get(batch)?.rows;
            let level = column_number::<UInt8Type>(rows, log::LEVEL).value(row);
            let severity = column_number::<UInt8Type>(rows, log::SEVERITY_NUMBER).value(row);
            (level != Level::from_severity(severity) as u8).then_some(level)
        };
        Arc::new(part.iter().map(level).collect::<UInt8Array>())
    }

    fn observed_delays(&self, part: &[LogOrder]) -> ArrayRef {
        let delay = |record: &LogOrder| {
            self.typed(record.at)
                .map_or(0, |(typed, row)| typed.observed.value(row).wrapping_sub(typed.times.value(row)))
        };
        Arc::new(part.iter().map(delay).collect::<Int64Array>())
    }

    fn unresolved_span_ids(&self, part: &[LogOrder]) -> Result<ArrayRef, Error> {
        let mut ids = FixedSizeBinaryBuilder::with_capacity(part.len(), 8);
        for record in part {
            match self.typed(record.at).map(|(typed, row)| (&typed.span_ids, row)) {
                Some((spans, row)) if record.span_row.is_none() && !spans.is_null(row) => {
                    ids.append_value(spans.value(row)).map_err(arrow_error)?;
                }
                _ => ids.append_null(),
            }
        }
        Ok(Arc::new(ids.finish()))
    }
}
