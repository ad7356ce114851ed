//! Flush: the contents of a memtable become blocks of level 0, one for each partition of time that they touch.
//!
//! For each partition
//!
//! 1. spans are sorted by trace and start, and each trace is summarised;
//! 2. traces that are only referred to, by logs or exemplars, join the trace table;
//! 3. traces are ordered by start; from now on everything names them by row;
//! 4. `spans`, `logs`, `series`, `samples` and `exemplars` are written, then the trace table, index and checksums.

mod metrics;

use std::ops::Range;
use std::path::Path;

use ahash::AHashMap as HashMap;

use arrow_array::FixedSizeBinaryArray;
use throughline_model::TraceId;

use crate::block::BlockMeta;
use crate::block::build::{BlockBuilder, TraceRows, order_traces};
use crate::block::logs::{LogOrder, LogSources};
use crate::block::spans::{RowRef, SpanOrder, SpanSources};
use crate::block::tables::{Table, TableWriter, logs_schema, spans_schema, with_dictionaries};
use crate::block::texts::Texts;
use crate::block::traces::{SpanFacts, Summariser, TraceEntry};
use crate::disk::Disk;
use crate::error::Error;
use crate::memtable::Memtable;
use crate::patterns::Learner;
use crate::patterns::counts::Counts;
use crate::same_span::keep_once;
use metrics::{ExemplarAt, MetricSources, PointRange, add_point};

/// How blocks are cut.
#[derive(Clone, Copy, Debug)]
pub struct BlockOptions {
    /// The length of a partition of time: a block never crosses a partition's bounds, so that retention drops whole
    /// blocks.
    pub partition_ns: i64,
}

/// Where each partition's rows lie.
#[derive(Default)]
struct Part {
    /// The traces of its spans, and where the spans of each lie in `spans`.
    traces: Vec<(TraceEntry, Range<usize>)>,
    /// Spans trace after trace, and the row of each one's parent within the trace.
    spans: Vec<(RowRef, Option<u32>)>,
    logs: Vec<(i64, RowRef)>,
    /// Points that follow each other in a mini-batch, together.
    points: Vec<PointRange>,
    exemplars: Vec<ExemplarAt>,
}

/// The parts of a flush. Rows that follow each other mostly lie in the same one.
struct Parts {
    partition_ns: i64,
    parts: HashMap<i64, Part>,
    /// The key of the part at hand, and the first and the last time in it.
    last: (i64, i64, i64),
    current: Part,
}

impl Parts {
    fn new(partition_ns: i64) -> Parts {
        Parts { partition_ns, parts: HashMap::new(), last: (0, i64::MAX, i64::MIN), current: Part::default() }
    }

    /// The part that a time lies in.
    #[inline]
    fn at(&mut self, time: i64) -> &mut Part {
        let (_, first, last) = self.last;
        if time < first || time > last {
            self.turn_to(time);
        }
        &mut self.current
    }

    fn turn_to(&mut self, time: i64) {
        let key = time.div_euclid(self.partition_ns);
        let (before, first, last) = self.last;
        let put_away = std::mem::take(&mut self.current);
        if first <= last {
            self.parts.insert(before, put_away);
        }
        self.current = self.parts.remove(&key).unwrap_or_default();
        let first = key.saturating_mul(self.partition_ns);
        self.last = (key, first, first.saturating_add(self.partition_ns - 1));
    }

    /// All parts by partition.
    fn finish(mut self) -> Vec<(i64, Part)> {
        let (key, first, last) = self.last;
        if first <= last {
            self.parts.insert(key, self.current);
        }
        let mut parts: Vec<(i64, Part)> = self.parts.into_iter().collect();
        parts.sort_unstable_by_key(|(key, _)| *key);
        parts
    }
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
    let metrics = MetricSources::new(&contents);
    let mut parts = Parts::new(options.partition_ns);
    group_spans(&spans, &texts, &mut parts);
    for (time, at) in logs.sorted(&texts) {
        parts.at(time).logs.push((time, at));
    }
    metrics.each_point(|time, at| add_point(&mut parts.at(time).points, at));
    metrics.each_exemplar(|exemplar| parts.at(exemplar.1).exemplars.push(exemplar));
    let parts = parts.finish();
    let mut metas = Vec::with_capacity(parts.len());
    for (key, part) in parts {
        let min_time = key.saturating_mul(options.partition_ns);
        let mut builder = BlockBuilder::create(disk, data_dir, *next_block_id, 0, key, min_time)?;
        *next_block_id += 1;
        builder.meta.received_at = memtable.newest_at().unwrap_or_default();
        let learner = memtable.learner();
        let flush = PartFlush { spans: &spans, logs: &logs, metrics: &metrics, texts: &texts, learner };
        flush.write(&mut builder, part)?;
        metas.push(builder.finish(&texts)?);
    }
    Ok(metas)
}

/// Each trace with its spans by start; a span that was received twice is there once.
fn group_spans(sources: &SpanSources, texts: &Texts, parts: &mut Parts) {
    let mut summariser = Summariser::default();
    let all = sources.facts();
    let mut of_trace: Vec<(SpanFacts, RowRef)> = Vec::new();
    let mut facts = Vec::new();
    for spans in sources.by_trace(&all).chunk_by(|a, b| a.0 == b.0) {
        of_trace.clear();
        of_trace.extend(spans.iter().filter_map(|(.., at)| all.get(*at as usize)));
        let compare = |(a, _): &(SpanFacts, _), (b, _): &(SpanFacts, _)| a.compare(b, texts);
        keep_once(&mut of_trace, |(fact, _)| fact.timing.start, compare);
        facts.clear();
        facts.extend(of_trace.iter().map(|(fact, _)| *fact));
        if let Some((id, ..)) = spans.first() {
            let entry = summariser.summarise(TraceId(id.to_be_bytes()), &facts);
            let part = parts.at(entry.start);
            let from = part.spans.len();
            let places = of_trace.iter().map(|(_, at)| *at);
            part.spans.extend(places.zip(summariser.parents().iter().copied()));
            part.traces.push((entry, from..part.spans.len()));
        }
    }
}

/// The writing of one partition.
struct PartFlush<'a> {
    spans: &'a SpanSources,
    logs: &'a LogSources,
    metrics: &'a MetricSources<'a>,
    texts: &'a Texts,
    learner: &'a Learner,
}

impl PartFlush<'_> {
    fn write(&self, builder: &mut BlockBuilder<'_>, mut part: Part) -> Result<(), Error> {
        let order = self.order_traces(builder, &mut part);
        let rows = self.write_spans(builder, &order)?;
        self.write_logs(builder, &part, &rows)?;
        self.metrics.write(builder, &part.points, &part.exemplars, &rows)
    }

    /// Fills the trace table and gives every span its place.
    fn order_traces(&self, builder: &mut BlockBuilder<'_>, part: &mut Part) -> Vec<SpanOrder> {
        let mut traces = std::mem::take(&mut part.traces);
        self.refer(&mut traces, part);
        // Entries are large: their places are put in order rather than they.
        let places = traces.iter().zip(0..);
        let mut rows: Vec<(i64, TraceId, u32)> =
            places.map(|((entry, _), at)| (entry.start, entry.id, at)).collect();
        rows.sort_unstable();
        let mut order = Vec::with_capacity(part.spans.len());
        builder.traces.reserve_exact(traces.len());
        for (row, (.., at)) in rows.iter().enumerate() {
            let Some((entry, range)) = traces.get_mut(*at as usize) else { continue };
            let spans = part.spans.get(range.clone()).unwrap_or_default();
            order.extend(spans.iter().map(|(at, parent_row)| SpanOrder {
                at: *at,
                trace_row: row as u32,
                parent_row: *parent_row,
            }));
            builder.cover(entry.start, entry.end);
            let nothing = TraceEntry::referred(entry.id, entry.start);
            builder.traces.push(std::mem::replace(entry, nothing));
        }
        order_traces(&mut builder.traces);
        order
    }

    /// Adds the traces that only log records and exemplars refer to.
    fn refer(&self, traces: &mut Vec<(TraceEntry, Range<usize>)>, part: &Part) {
        if part.logs.is_empty() && part.exemplars.is_empty() {
            return;
        }
        let mut known: HashMap<TraceId, usize> =
            traces.iter().enumerate().map(|(at, (entry, _))| (entry.id, at)).collect();
        let mut refer = |id: TraceId, time: i64| {
            let at = *known.entry(id).or_insert_with(|| {
                traces.push((TraceEntry::referred(id, time), 0..0));
                traces.len() - 1
            });
            let found = traces.get_mut(at).map(|(entry, _)| entry);
            if let Some(entry) = found.filter(|entry| entry.postings.span_count == 0) {
                entry.start = entry.start.min(time);
                entry.end = entry.end.max(time);
            }
        };
        for (time, at) in &part.logs {
            if let Some(context) = self.logs.context(*at) {
                refer(context.trace_id, *time);
            }
        }
        for (_, time, batch, row) in &part.exemplars {
            if let Some(id) = self.metrics.exemplar_trace(*batch, *row) {
                refer(id, *time);
            }
        }
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
            builder.links.add_spans(&rows);
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
        let learner = self.learner;
        let mut counts = Counts::default();
        for rows in self.logs.chunks(&order, &columns, self.texts, &schema) {
            let rows = rows?;
            counts.add(&rows, |service, masked| learner.learn(service, masked));
            builder.links.add_logs(&rows, &builder.traces);
            table.write(&rows)?;
        }
        // No token filters: a flushed block is merged within minutes, and its logs are one or two row groups.
        builder.sums.push(table.finish()?);
        builder.meta.rows.logs = order.len() as u64;
        builder.write_patterns(&counts.finish(|id, first_seen| learner.seen(id, first_seen)))
    }
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
