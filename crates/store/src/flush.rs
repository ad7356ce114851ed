//! Flush: the contents of a memtable become blocks of level 0, one for each partition of time that they touch.
//!
//! For each partition
//!
//! 1. spans are sorted by trace and start, and each trace is summarised;
//! 2. traces that are only referred to, by logs or exemplars, join the trace table;
//! 3. traces are ordered by start; from now on everything names them by row;
//! 4. `spans`, `logs`, `series`, `samples` and `exemplars` are written, then the trace table, index and checksums.

use ahash::AHashMap as HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::{Float64Type, UInt32Type};
use arrow_array::{Array, FixedSizeBinaryArray};
use throughline_model::batch::{
    column_binary, column_fixed, column_number, column_text, column_time, exemplar, point,
};
use throughline_model::record::Point;
use throughline_model::{SpanId, TraceId, attribute};

use crate::block::BlockMeta;
use crate::block::build::{BlockBuilder, TraceRows, order_traces};
use crate::block::logs::{LogOrder, LogSources};
use crate::block::metrics::{ExemplarEntry, MetricsWriter, series_order, write_exemplars};
use crate::block::spans::{RowRef, SpanOrder, SpanSources};
use crate::block::tables::{Table, TableWriter, logs_schema, spans_schema, with_dictionaries};
use crate::block::texts::Texts;
use crate::block::traces::{Summariser, TraceEntry};
use crate::disk::Disk;
use crate::error::Error;
use crate::memtable::read::point_row;
use crate::memtable::{Contents, Memtable, SeriesEntry};

/// How blocks are cut.
#[derive(Clone, Copy, Debug)]
pub struct BlockOptions {
    /// The length of a partition of time: a block never crosses a partition's bounds, so that retention drops whole
    /// blocks.
    pub partition_ns: i64,
}

/// One trace of a flush before rows are given out: its entry and its spans' places.
struct Group {
    entry: TraceEntry,
    spans: Vec<(RowRef, Option<u32>)>,
}

/// Where each partition's rows lie.
#[derive(Default)]
struct Part {
    groups: Vec<Group>,
    logs: Vec<(i64, RowRef)>,
    /// Series (by rank), time, mini-batch, row.
    points: Vec<(u32, i64, u32, u32)>,
    exemplars: Vec<(u32, i64, u32, u32)>,
}

/// Writes the contents of a memtable as blocks. They are complete and durable, and nobody knows of them yet.
pub fn write_blocks(
    disk: &dyn Disk,
    data_dir: &Path,
    memtable: &Memtable,
    next_block_id: &mut u64,
    options: &BlockOptions,
) -> Result<Vec<BlockMeta>, Error> {
    let contents = memtable.contents();
    let mut texts = Texts::new();
    let spans = SpanSources::new(contents.spans.clone(), &mut texts);
    let logs = LogSources::new(contents.logs.clone(), &mut texts);
    let (series, ranks) = sorted_series(&contents);
    let mut parts: HashMap<i64, Part> = HashMap::new();
    let partition = |time: i64| time.div_euclid(options.partition_ns);
    for group in group_spans(&spans) {
        parts.entry(partition(group.entry.start)).or_default().groups.push(group);
    }
    for (time, at) in logs.sorted(&texts) {
        parts.entry(partition(time)).or_default().logs.push((time, at));
    }
    for (batch, metrics) in contents.metrics.iter().enumerate() {
        let rank = |row: u32| {
            let series = metrics.series.get(row as usize).copied().unwrap_or_default();
            ranks.get(series as usize).copied().unwrap_or_default()
        };
        let rows = &metrics.points.rows;
        let of = column_number::<UInt32Type>(rows, point::SERIES).values();
        for (row, (of, time)) in of.iter().zip(column_time(rows, point::TIME).values()).enumerate() {
            let part = parts.entry(partition(*time)).or_default();
            part.points.push((rank(*of), *time, batch as u32, row as u32));
        }
        let rows = &metrics.exemplars.rows;
        let of = column_number::<UInt32Type>(rows, exemplar::SERIES).values();
        for (row, (of, time)) in of.iter().zip(column_time(rows, exemplar::TIME).values()).enumerate() {
            let part = parts.entry(partition(*time)).or_default();
            part.exemplars.push((rank(*of), *time, batch as u32, row as u32));
        }
    }
    let mut order: Vec<i64> = parts.keys().copied().collect();
    order.sort_unstable();
    let mut metas = Vec::with_capacity(order.len());
    for key in order {
        let Some(part) = parts.remove(&key) else { continue };
        let min_time = key.saturating_mul(options.partition_ns);
        let mut builder = BlockBuilder::create(disk, data_dir, *next_block_id, 0, key, min_time)?;
        *next_block_id += 1;
        builder.meta.received_at = memtable.newest_at().unwrap_or_default();
        let flush =
            PartFlush { contents: &contents, spans: &spans, logs: &logs, series: &series, texts: &texts };
        flush.write(&mut builder, part)?;
        metas.push(builder.finish(&texts)?);
    }
    Ok(metas)
}

/// The memtable's series in the order of the file, and the rank of each by its number.
fn sorted_series(contents: &Contents) -> (Vec<Arc<SeriesEntry>>, Vec<u32>) {
    let mut order: Vec<u32> = (0..contents.series.len() as u32).collect();
    let entry = |index: u32| contents.series.get(index as usize);
    order.sort_by(|a, b| match (entry(*a), entry(*b)) {
        (Some(a), Some(b)) => series_order(a, b),
        _ => std::cmp::Ordering::Equal,
    });
    let mut ranks = vec![0; order.len()];
    for (rank, index) in order.iter().enumerate() {
        if let Some(slot) = ranks.get_mut(*index as usize) {
            *slot = rank as u32;
        }
    }
    (order.into_iter().filter_map(entry).cloned().collect(), ranks)
}

/// Each trace with its spans by start; a span that was received twice is there once.
fn group_spans(sources: &SpanSources) -> Vec<Group> {
    let mut summariser = Summariser::default();
    let mut groups = Vec::new();
    let mut facts = Vec::new();
    for spans in sources.sorted().chunk_by(|a, b| a.0 == b.0) {
        facts.clear();
        let mut places: Vec<RowRef> = Vec::with_capacity(spans.len());
        for (_, _, at) in spans {
            if let Some(fact) = sources.facts(*at)
                && fact.twin_among(&facts).is_none()
            {
                facts.push(fact);
                places.push(*at);
            }
        }
        if let Some((id, ..)) = spans.first() {
            let entry = summariser.summarise(*id, &facts);
            let spans = places.into_iter().zip(summariser.parents().iter().copied()).collect();
            groups.push(Group { entry, spans });
        }
    }
    groups
}

/// The writing of one partition.
struct PartFlush<'a> {
    contents: &'a Contents,
    spans: &'a SpanSources,
    logs: &'a LogSources,
    series: &'a [Arc<SeriesEntry>],
    texts: &'a Texts,
}

impl PartFlush<'_> {
    fn write(&self, builder: &mut BlockBuilder<'_>, part: Part) -> Result<(), Error> {
        let order = self.order_traces(builder, &part);
        let rows = self.write_spans(builder, &order)?;
        self.write_logs(builder, &part, &rows)?;
        self.write_metrics(builder, &part, &rows)
    }

    /// Fills the trace table and gives every span its place.
    fn order_traces(&self, builder: &mut BlockBuilder<'_>, part: &Part) -> Vec<SpanOrder> {
        let mut known: HashMap<TraceId, usize> =
            part.groups.iter().enumerate().map(|(at, group)| (group.entry.id, at)).collect();
        builder.traces = part.groups.iter().map(|group| group.entry.clone()).collect();
        let mut refer = |builder: &mut BlockBuilder<'_>, id: TraceId, time: i64| {
            let at = *known.entry(id).or_insert_with(|| {
                builder.traces.push(TraceEntry::referred(id, time));
                builder.traces.len() - 1
            });
            if let Some(entry) = builder.traces.get_mut(at).filter(|entry| entry.postings.span_count == 0) {
                entry.start = entry.start.min(time);
                entry.end = entry.end.max(time);
            }
        };
        for (time, at) in &part.logs {
            if let Some(context) = self.logs.context(*at) {
                refer(builder, context.trace_id, *time);
            }
        }
        for (_, time, batch, row) in &part.exemplars {
            if let Some(id) = self.exemplar_trace(*batch, *row) {
                refer(builder, id, *time);
            }
        }
        order_traces(&mut builder.traces);
        let group_of: HashMap<TraceId, &Group> =
            part.groups.iter().map(|group| (group.entry.id, group)).collect();
        let mut order = Vec::new();
        for (row, entry) in builder.traces.iter().enumerate() {
            let spans = group_of.get(&entry.id).map(|group| group.spans.as_slice()).unwrap_or_default();
            order.extend(spans.iter().map(|(at, parent_row)| SpanOrder {
                at: *at,
                trace_row: row as u32,
                parent_row: *parent_row,
            }));
        }
        for index in 0..builder.traces.len() {
            if let Some(entry) = builder.traces.get(index) {
                let (start, end) = (entry.start, entry.end);
                builder.cover(start, end);
            }
        }
        order
    }

    fn write_spans(&self, builder: &mut BlockBuilder<'_>, order: &[SpanOrder]) -> Result<TraceRows, Error> {
        let columns = self.spans.choose_columns(order);
        let schema = spans_schema(columns.fields());
        let mut table = TableWriter::create(builder.disk, &builder.folder, Table::Spans, 0, schema.clone())?;
        let schema = with_dictionaries(&schema);
        let mut span_ids = Vec::with_capacity(order.len());
        for rows in self.spans.chunks(order, &columns, self.texts, &schema) {
            let rows = rows?;
            span_ids.extend(id_column(&rows, "span_id"));
            table.write(&rows)?;
        }
        builder.sums.push(table.finish()?);
        builder.meta.rows.spans = order.len() as u64;
        Ok(TraceRows::new(&builder.traces, span_ids))
    }

    fn write_logs(&self, builder: &mut BlockBuilder<'_>, part: &Part, rows: &TraceRows) -> Result<(), Error> {
        let mut order = Vec::with_capacity(part.logs.len());
        for (row, (time, at)) in part.logs.iter().enumerate() {
            builder.cover(*time, *time);
            let context = self.logs.context(*at);
            let trace_row = context.and_then(|context| rows.trace(context.trace_id));
            let span_row = trace_row.zip(context.and_then(|context| context.span_id));
            let span_row = span_row.and_then(|(trace_row, id)| rows.span(trace_row, id));
            if let Some(entry) = trace_row.and_then(|row| builder.traces.get_mut(row as usize)) {
                entry.postings.logs.push(row as u32);
                entry.error_log_count += u32::from(context.is_some_and(|context| context.is_error));
            }
            order.push(LogOrder { at: *at, trace_row, span_row });
        }
        let columns = self.logs.choose_columns(&order);
        let schema = logs_schema(columns.fields());
        let mut table = TableWriter::create(builder.disk, &builder.folder, Table::Logs, 0, schema.clone())?;
        let schema = with_dictionaries(&schema);
        for rows in self.logs.chunks(&order, &columns, self.texts, &schema) {
            table.write(&rows?)?;
        }
        // No token filters: a flushed block is merged within minutes, and its logs are one or two row groups.
        builder.sums.push(table.finish()?);
        builder.meta.rows.logs = order.len() as u64;
        Ok(())
    }

    fn write_metrics(
        &self,
        builder: &mut BlockBuilder<'_>,
        part: &Part,
        rows: &TraceRows,
    ) -> Result<(), Error> {
        let mut points = part.points.clone();
        points.sort_unstable();
        let mut exemplars = part.exemplars.clone();
        exemplars.sort_unstable();
        let mut writer = MetricsWriter::create(builder.disk, &builder.folder, 0)?;
        let mut entries = Vec::with_capacity(exemplars.len());
        let mut used: Vec<u32> = points.iter().chain(&exemplars).map(|(rank, ..)| *rank).collect();
        used.sort_unstable();
        used.dedup();
        let (mut points, mut exemplars) = (points.as_slice(), exemplars.as_slice());
        for rank in used {
            let Some(series) = self.series.get(rank as usize) else { continue };
            let of_series = split_rank(&mut points, rank);
            of_series.iter().for_each(|(_, time, ..)| builder.cover(*time, *time));
            let series_row = writer.add(series, last_of_each_time(of_series).map(|at| self.point(at)))?;
            for (_, time, batch, row) in split_rank(&mut exemplars, rank) {
                builder.cover(*time, *time);
                let trace_row = self.exemplar_trace(*batch, *row).and_then(|id| rows.trace(id));
                if let Some(entry) = trace_row.and_then(|row| builder.traces.get_mut(row as usize)) {
                    entry.postings.exemplars.push(entries.len() as u32);
                }
                entries.extend(self.exemplar(*batch, *row, series_row, trace_row));
            }
        }
        let (sums, n_series, n_points) = writer.finish()?;
        builder.sums.extend(sums);
        let sums = write_exemplars(builder, &entries)?;
        builder.sums.push(sums);
        builder.meta.rows.series = u64::from(n_series);
        builder.meta.rows.points = n_points;
        builder.meta.rows.exemplars = entries.len() as u64;
        Ok(())
    }

    fn point(&self, (_, _, batch, row): &(u32, i64, u32, u32)) -> Point {
        match self.contents.metrics.get(*batch as usize) {
            Some(metrics) => point_row(&metrics.points.rows, *row as usize),
            None => Point { time: 0, start_time: 0, value: f64::NAN, flags: 1, payload: Vec::new() },
        }
    }

    fn exemplar_trace(&self, batch: u32, row: u32) -> Option<TraceId> {
        let rows = &self.contents.metrics.get(batch as usize)?.exemplars.rows;
        let ids = column_fixed(rows, exemplar::TRACE_ID);
        if ids.is_null(row as usize) { None } else { TraceId::from_slice(ids.value(row as usize)) }
    }

    fn exemplar(
        &self,
        batch: u32,
        row: u32,
        series_row: u32,
        trace_row: Option<u32>,
    ) -> Option<ExemplarEntry> {
        let rows = &self.contents.metrics.get(batch as usize)?.exemplars.rows;
        let row = row as usize;
        let span_ids = column_fixed(rows, exemplar::SPAN_ID);
        let originals = column_text(rows, exemplar::TRACE_ID_ORIGINAL);
        let list = column_binary(rows, exemplar::ATTRIBUTES).value(row);
        let mut json = String::new();
        attribute::write_json_object(list, &mut json);
        Some(ExemplarEntry {
            series_row,
            time: column_time(rows, exemplar::TIME).value(row),
            value: column_number::<Float64Type>(rows, exemplar::VALUE).value(row),
            trace_row,
            span_id: if span_ids.is_null(row) { None } else { SpanId::from_slice(span_ids.value(row)) },
            trace_id_original: (!originals.is_null(row)).then(|| originals.value(row).to_owned()),
            attributes: (!list.is_empty()).then_some(json),
        })
    }
}

/// Takes the leading entries of one rank off a sorted list.
fn split_rank<'a>(list: &mut &'a [(u32, i64, u32, u32)], rank: u32) -> &'a [(u32, i64, u32, u32)] {
    let (head, tail) = list.split_at(list.partition_point(|(other, ..)| *other <= rank));
    *list = tail;
    head
}

/// Of points of equal time the one that was received last.
fn last_of_each_time(points: &[(u32, i64, u32, u32)]) -> impl Iterator<Item = &(u32, i64, u32, u32)> {
    points.chunk_by(|a, b| a.1 == b.1).filter_map(|same| same.last())
}

/// The ids of a column, in order.
pub(crate) fn id_column(rows: &arrow_array::RecordBatch, name: &str) -> Vec<[u8; 8]> {
    let column: Option<&FixedSizeBinaryArray> =
        rows.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    let ids = column.into_iter().flat_map(|column| column.iter());
    ids.map(|id| id.and_then(|id| id.try_into().ok()).unwrap_or_default()).collect()
}

#[cfg(test)]
pub(crate) mod tests;
