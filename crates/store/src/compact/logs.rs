//! Merges the log records of the inputs by service and time, with their references brought up to date.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, UInt32Builder};
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, RecordBatch, UInt32Array};
use arrow_schema::{Field, SchemaRef};

use ahash::AHashMap as HashMap;
use throughline_model::{PatternId, SpanId};

use super::spans::{Gather, attribute_fields};
use super::traces::RowMap;
use crate::block::Block;
use crate::block::build::{BlockBuilder, TraceRows};
use crate::block::index::tokens::{PatternTokens, TokenFilter};
use crate::block::read::{Columns, TableReader};
use crate::block::settled;
use crate::block::tables::{LOG_GROUP_ROWS, Table, TableWriter, logs_schema, with_dictionaries};
use crate::block::texts::{TextId, Texts, mapped};
use crate::block::traces::arrow_error;
use crate::error::Error;
use crate::patterns::counts::Counts;
use crate::patterns::learner::{Learned, own_id};
use crate::patterns::shape;

/// Rows that are read of an input at once, and written to the output at once; row groups end where such a piece ends.
const PIECE_ROWS: usize = LOG_GROUP_ROWS / 8;

/// One input and the rows of it that are next.
struct Input<'a> {
    table: &'a TableReader,
    next_row: u64,
    batch: Option<RecordBatch>,
    /// The place of the batch among the batches of the current piece of the output.
    slot: Option<usize>,
    /// The rank of the service and the time of each row of the batch.
    keys: Vec<(u32, i64)>,
    /// Of each row, where only those of some traces are wanted, whether it is one.
    wanted: Vec<bool>,
    at: usize,
}

impl Input<'_> {
    /// Reads the next rows, where the current ones are used up.
    fn fill(&mut self, number: usize, map: &RowMap, texts: &mut Texts, ranks: &[u32]) -> Result<(), Error> {
        if self.at < self.keys.len() || self.next_row >= self.table.num_rows() {
            return Ok(());
        }
        let to = (self.next_row + PIECE_ROWS as u64).min(self.table.num_rows());
        let group = self.table.group_of(self.next_row);
        let first = self.table.first_row(group);
        let to = to.min(self.table.first_row(group + 1));
        let range = (self.next_row - first) as usize..(to - first) as usize;
        let batches = self.table.read_in_use(group, Some(range))?;
        let batch = match batches.as_slice() {
            [batch] => batch.clone(),
            [first, ..] => {
                arrow_select::concat::concat_batches(&first.schema(), &batches).map_err(arrow_error)?
            }
            [] => return Ok(()),
        };
        let columns = Columns::new(&batch);
        let services = columns.dictionary("service").map(|(column, _)| (column, texts.intern_keys(column)));
        let rank = |row: usize| {
            let (column, keys) = services.as_ref()?;
            ranks.get(mapped(column, keys, row) as usize).copied()
        };
        let times = columns.times("time");
        self.keys = (0..batch.num_rows())
            .map(|row| (rank(row).unwrap_or(u32::MAX), times.map_or(0, |times| times.value(row))))
            .collect();
        (self.next_row, self.at, self.slot) = (to, 0, None);
        self.batch = Some(batch);
        self.find_wanted(number, map);
        Ok(())
    }

    /// Finds the rows that refer to traces which the output has.
    fn find_wanted(&mut self, number: usize, map: &RowMap) {
        let Some(batch) = self.batch.as_ref().filter(|_| map.is_thinned()) else { return };
        let rows = OldReferences::new(batch).trace_rows;
        let row_of = |row: usize| rows.filter(|rows| !rows.is_null(row)).map(|rows| rows.value(row));
        let is_wanted = |row: usize| row_of(row).is_some_and(|old| map.trace(number, old).is_some());
        self.wanted = (0..batch.num_rows()).map(is_wanted).collect();
    }

    /// Whether the row that is next is wanted.
    fn is_wanted(&self) -> bool {
        self.wanted.get(self.at).copied().unwrap_or(true)
    }

    fn key(&self) -> Option<(u32, i64)> {
        self.keys.get(self.at).copied()
    }
}

/// A piece of the output: batches, and the rows of them in order with the input that each is from.
#[derive(Default)]
struct Piece {
    batches: Vec<RecordBatch>,
    inputs: Vec<usize>,
    indices: Vec<(usize, usize)>,
}

impl Piece {
    /// Takes the row of an input that is next.
    fn take(&mut self, number: usize, input: &mut Input<'_>) {
        let slot = match (input.slot, &input.batch) {
            (Some(slot), _) => slot,
            (None, Some(batch)) => {
                self.batches.push(batch.clone());
                self.inputs.push(number);
                *input.slot.insert(self.batches.len() - 1)
            }
            (None, None) => return,
        };
        self.indices.push((slot, input.at));
    }
}

/// Writes `logs.parquet` and the references of traces to it.
pub(super) fn write(
    builder: &mut BlockBuilder<'_>,
    blocks: &[Arc<Block>],
    map: &RowMap,
    rows: &TraceRows,
    texts: &mut Texts,
) -> Result<(), Error> {
    let tables: Vec<Arc<TableReader>> =
        blocks.iter().map(|block| block.table(Table::Logs)).collect::<Result<_, _>>()?;
    let ranks = service_ranks(&tables, texts)?;
    let schemas: Vec<SchemaRef> = tables.iter().map(|table| table.schema().clone()).collect();
    let fields = attribute_fields(&schemas);
    let schema = logs_schema(fields.iter().cloned());
    let tables: Vec<TableReader> =
        tables.iter().map(|table| table.with_dictionaries()).collect::<Result<_, _>>()?;
    let mut writer = Output {
        table: TableWriter::create(
            builder.disk,
            &builder.folder,
            Table::Logs,
            builder.meta.level,
            schema.clone(),
        )?,
        schema: with_dictionaries(&schema),
        fields,
        map,
        rows,
        group: Vec::new(),
        tokens: TokenFilter::new(),
        counts: Counts::default(),
        known: KnownPatterns::of(blocks)?,
        n_rows: 0,
    };
    let mut inputs: Vec<Input<'_>> = tables
        .iter()
        .map(|table| Input {
            table,
            next_row: 0,
            batch: None,
            slot: None,
            keys: Vec::new(),
            wanted: Vec::new(),
            at: 0,
        })
        .collect();
    let mut heap: BinaryHeap<Reverse<((u32, i64), usize)>> = BinaryHeap::new();
    for (number, input) in inputs.iter_mut().enumerate() {
        input.fill(number, map, texts, &ranks)?;
        heap.extend(input.key().map(|key| Reverse((key, number))));
    }
    let mut piece = Piece::default();
    while let Some(Reverse((_, number))) = heap.pop() {
        let Some(input) = inputs.get_mut(number) else { continue };
        if input.is_wanted() {
            piece.take(number, input);
        }
        input.at += 1;
        input.fill(number, map, texts, &ranks)?;
        heap.extend(input.key().map(|key| Reverse((key, number))));
        if piece.indices.len() == PIECE_ROWS {
            writer.write(builder, std::mem::take(&mut piece))?;
            inputs.iter_mut().for_each(|input| input.slot = None);
        }
    }
    if !piece.indices.is_empty() {
        writer.write(builder, piece)?;
    }
    writer.finish(builder)
}

/// The alphabetical rank of each service of the inputs, by its number.
fn service_ranks(tables: &[Arc<TableReader>], texts: &mut Texts) -> Result<Vec<u32>, Error> {
    let mut services: BTreeSet<TextId> = BTreeSet::new();
    for table in tables {
        for group in 0..table.groups() {
            for batch in table.read_group(group, None, Some(&["service"]))? {
                if let Some((column, _)) = Columns::new(&batch).dictionary("service") {
                    services.extend(texts.intern_keys(column));
                }
            }
        }
    }
    let all = texts.ranks();
    let mut ranks = vec![u32::MAX; all.len()];
    for service in services {
        if let (Some(slot), Some(rank)) = (ranks.get_mut(service as usize), all.get(service as usize)) {
            *slot = *rank;
        }
    }
    Ok(ranks)
}

struct Output<'a> {
    table: TableWriter,
    schema: SchemaRef,
    fields: Vec<Field>,
    map: &'a RowMap,
    rows: &'a TraceRows,
    /// The rows of the current row group, which are written together.
    group: Vec<RecordBatch>,
    /// Its tokens.
    tokens: TokenFilter,
    counts: Counts,
    known: KnownPatterns,
    n_rows: usize,
}

/// What the inputs know of their patterns.
#[derive(Default)]
struct KnownPatterns {
    aliases: HashMap<PatternId, PatternId>,
    /// When each was seen first, and its text in the newest block that has it.
    seen: HashMap<PatternId, (i64, String)>,
}

impl KnownPatterns {
    fn of(blocks: &[Arc<Block>]) -> Result<KnownPatterns, Error> {
        let mut known = KnownPatterns::default();
        for block in blocks {
            let Some(table) = block.pattern_table()? else { continue };
            known.aliases.extend(table.aliases);
            for pattern in table.patterns {
                let seen = known.seen.entry(pattern.id).or_insert((i64::MAX, String::new()));
                *seen = (seen.0.min(pattern.first_seen), pattern.text);
            }
        }
        Ok(known)
    }

    fn learned(&self, service: &str, masked: &str) -> Learned {
        let mut text = String::new();
        shape::write(masked, &mut text);
        let own = own_id(service, &text);
        Learned { own, id: self.aliases.get(&own).copied().unwrap_or(own) }
    }
}

/// The references of the records of a piece.
struct References {
    trace_rows: ArrayRef,
    span_rows: ArrayRef,
    span_ids: ArrayRef,
}

/// The references of the records of a batch, as its input has them.
#[derive(Clone, Copy, Default)]
struct OldReferences<'a> {
    trace_rows: Option<&'a UInt32Array>,
    span_rows: Option<&'a UInt32Array>,
    span_ids: Option<&'a FixedSizeBinaryArray>,
}

impl<'a> OldReferences<'a> {
    fn new(batch: &'a RecordBatch) -> OldReferences<'a> {
        let columns = Columns::new(batch);
        let ids = batch.column_by_name("span_id");
        OldReferences {
            trace_rows: columns.numbers::<UInt32Type>("trace_row"),
            span_rows: columns.numbers::<UInt32Type>("span_row"),
            span_ids: ids.and_then(|column| column.as_any().downcast_ref()),
        }
    }
}

impl Output<'_> {
    fn write(&mut self, builder: &mut BlockBuilder<'_>, piece: Piece) -> Result<(), Error> {
        let references = self.references(builder, &piece)?;
        let gather = Gather::new(&piece.batches, &piece.indices);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            columns.push(match field.name().as_str() {
                "trace_row" => references.trace_rows.clone(),
                "span_row" => references.span_rows.clone(),
                "span_id" => references.span_ids.clone(),
                "attributes" => gather.residual(&self.fields)?,
                name => gather.column(name, field.data_type())?,
            });
        }
        let rows = RecordBatch::try_new(self.schema.clone(), columns).map_err(arrow_error)?;
        let rows = settled::take_apart(&rows).map_err(arrow_error)?;
        self.add_tokens(&rows);
        self.counts.add(&rows, |service, masked| self.known.learned(service, masked));
        builder.links.add_logs(&rows, &builder.traces);
        self.n_rows += rows.num_rows();
        self.group.push(rows);
        if self.n_rows.is_multiple_of(LOG_GROUP_ROWS) {
            self.end_group(builder)?;
        }
        Ok(())
    }

    /// Adds the tokens of bodies: what lines of one pattern have in common is looked at once.
    fn add_tokens(&mut self, rows: &RecordBatch) {
        let columns = Columns::new(rows);
        let (Some((keys, patterns)), Some(slots)) = (columns.dictionary("pattern"), columns.texts("slots"))
        else {
            return;
        };
        let mut known: Vec<Option<PatternTokens>> = Vec::new();
        known.resize_with(patterns.len(), || None);
        let mut is_added = vec![(false, false); patterns.len()];
        for row in 0..rows.num_rows() {
            let Some(key) = keys.key(row) else { continue };
            let (Some(tokens), Some(is_added)) = (known.get_mut(key), is_added.get_mut(key)) else {
                continue;
            };
            let (line_is_added, pattern_is_added) = is_added;
            if slots.is_null(row) {
                // The pattern is the line, whatever looks like a slot in it.
                if !std::mem::replace(line_is_added, true) {
                    self.tokens.add(patterns.value(key));
                }
                continue;
            }
            let tokens = tokens.get_or_insert_with(|| PatternTokens::new(patterns.value(key)));
            if !std::mem::replace(pattern_is_added, true) {
                self.tokens.add_pattern(tokens);
            }
            self.tokens.add_slots(tokens, slots.value(row));
        }
    }

    fn end_group(&mut self, builder: &mut BlockBuilder<'_>) -> Result<(), Error> {
        builder.index.add_tokens(&self.tokens.take()?);
        for rows in settled::settle(&std::mem::take(&mut self.group)).map_err(arrow_error)? {
            self.table.write(&rows)?;
        }
        Ok(())
    }

    fn references(&self, builder: &mut BlockBuilder<'_>, piece: &Piece) -> Result<References, Error> {
        let n = piece.indices.len();
        let mut trace_rows = UInt32Builder::with_capacity(n);
        let mut span_rows = UInt32Builder::with_capacity(n);
        let mut span_ids = FixedSizeBinaryBuilder::with_capacity(n, 8);
        let sources: Vec<OldReferences<'_>> = piece.batches.iter().map(OldReferences::new).collect();
        for (at, (slot, row)) in piece.indices.iter().enumerate() {
            let source = sources.get(*slot).copied().unwrap_or_default();
            let input = piece.inputs.get(*slot).copied().unwrap_or_default();
            let number = |column: Option<&UInt32Array>| {
                column.filter(|column| !column.is_null(*row)).map(|column| column.value(*row))
            };
            let (old_trace, old_span) = (number(source.trace_rows), number(source.span_rows));
            let trace = old_trace.and_then(|old| self.map.trace(input, old));
            let ids = source.span_ids.filter(|ids| !ids.is_null(*row));
            let dropped = old_trace.zip(old_span);
            let dropped = dropped.and_then(|(trace, span)| self.map.dropped_span(input, trace, span));
            let id = ids.and_then(|ids| SpanId::from_slice(ids.value(*row))).or(dropped);
            let span = match (old_trace, old_span, trace, id) {
                (Some(old_trace), Some(old_span), ..) => self.map.span(input, old_trace, old_span),
                (_, None, Some(trace), Some(id)) => self.rows.span(trace, id),
                _ => None,
            };
            trace_rows.append_option(trace);
            span_rows.append_option(span);
            match id.filter(|_| span.is_none()) {
                Some(id) => span_ids.append_value(id.0).map_err(arrow_error)?,
                None => span_ids.append_null(),
            }
            if let Some(entry) = trace.and_then(|trace| builder.traces.get_mut(trace as usize)) {
                entry.postings.logs.push((self.n_rows + at) as u32);
            }
        }
        Ok(References {
            trace_rows: Arc::new(trace_rows.finish()),
            span_rows: Arc::new(span_rows.finish()),
            span_ids: Arc::new(span_ids.finish()),
        })
    }

    fn finish(mut self, builder: &mut BlockBuilder<'_>) -> Result<(), Error> {
        if !self.n_rows.is_multiple_of(LOG_GROUP_ROWS) {
            self.end_group(builder)?;
        }
        builder.meta.rows.logs = self.n_rows as u64;
        builder.sums.push(self.table.finish()?);
        let KnownPatterns { seen, .. } = self.known;
        let first = |id, time: i64| seen.get(&id).map(|(first, text)| (time.min(*first), text.clone()));
        builder.write_patterns(&self.counts.finish(first))
    }
}
