//! Writes the spans of the inputs in the order of the merged trace table.
//!
//! Inputs and output are in the order of trace starts, so each input is read almost in sequence: a few decoded row
//! groups of each are kept, and rows are gathered from them a row group of the output at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use arrow_array::builder::{FixedSizeBinaryBuilder, UInt32Builder};
use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Float64Array, RecordBatch, UInt32Array, new_null_array,
};
use arrow_schema::{DataType, Field, SchemaRef};

use super::traces::SpanFrom;
use crate::block::Block;
use crate::block::build::BlockBuilder;
use crate::block::read::{Columns, TableReader};
use crate::block::shred::COLUMN_PREFIX;
use crate::block::tables::{
    GroupColumn, SPAN_GROUP_ROWS, Table, TableWriter, spans_schema, with_dictionaries,
};
use crate::block::texts::{Run, gather_texts};
use crate::block::traces::arrow_error;
use crate::error::Error;
use crate::flush::id_column;
use crate::links::count::LinkCounter;
use crate::snapshot::json_map;

/// Decoded row groups that are kept of each input.
const GROUPS_KEPT: usize = 3;

/// Rows that follow each other are copied at once where so many do on average.
const LONG_RUN_ROWS: usize = 16;

/// At most so many attribute columns in the output; the others go to the residual.
const ATTRIBUTE_COLUMNS_MAX: usize = 128;

/// The attribute columns of the output: those that most inputs have, of the type that most inputs have.
pub(super) fn attribute_fields(schemas: &[SchemaRef]) -> Vec<Field> {
    let mut votes: BTreeMap<(&str, String), (usize, &DataType)> = BTreeMap::new();
    for schema in schemas {
        for field in schema.fields().iter().filter(|field| field.name().starts_with(COLUMN_PREFIX)) {
            let vote = votes.entry((field.name(), field.data_type().to_string()));
            vote.or_insert((0, field.data_type())).0 += 1;
        }
    }
    let mut best: BTreeMap<&str, (usize, &DataType)> = BTreeMap::new();
    for ((name, _), (count, kind)) in votes {
        let known = best.entry(name).or_insert((count, kind));
        if count > known.0 {
            *known = (count, kind);
        }
    }
    let mut ranked: Vec<(&str, (usize, &DataType))> = best.into_iter().collect();
    ranked.sort_by_key(|(name, (count, _))| (std::cmp::Reverse(*count), *name));
    ranked.truncate(ATTRIBUTE_COLUMNS_MAX);
    ranked.sort_by_key(|(name, _)| *name);
    ranked.into_iter().map(|(name, (_, kind))| Field::new(name, kind.clone(), true)).collect()
}

/// The type of a field's values.
fn kind_of(field: &Field) -> &DataType {
    match field.data_type() {
        DataType::Dictionary(_, values) => values,
        kind => kind,
    }
}

/// Rows of decoded batches, in the order of the output.
pub(super) struct Gather<'a> {
    batches: &'a [RecordBatch],
    indices: &'a [(usize, usize)],
    runs: Vec<Run>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(batches: &'a [RecordBatch], indices: &'a [(usize, usize)]) -> Gather<'a> {
        Gather { batches, indices, runs: Run::of(indices) }
    }

    /// A column of the batches; null where a batch has it not, or of another type.
    pub(super) fn column(&self, name: &str, kind: &DataType) -> Result<ArrayRef, Error> {
        if matches!(kind, DataType::Dictionary(..)) {
            return Ok(self.texts(name));
        }
        let arrays: Vec<ArrayRef> = self
            .batches
            .iter()
            .map(|batch| match batch.column_by_name(name) {
                Some(column) if column.data_type() == kind => column.clone(),
                _ => new_null_array(kind, batch.num_rows()),
            })
            .collect();
        if self.runs.len() * LONG_RUN_ROWS > self.indices.len() {
            let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
            return arrow_select::interleave::interleave(&arrays, self.indices).map_err(arrow_error);
        }
        let slices: Vec<ArrayRef> = self
            .runs
            .iter()
            .filter_map(|run| Some(arrays.get(run.array)?.slice(run.from, run.len)))
            .collect();
        match slices.as_slice() {
            [whole] => Ok(whole.clone()),
            _ => {
                let slices: Vec<&dyn Array> = slices.iter().map(AsRef::as_ref).collect();
                arrow_select::concat::concat(&slices).map_err(arrow_error)
            }
        }
    }

    /// A column of texts, with those in use as its values.
    fn texts(&self, name: &str) -> ArrayRef {
        let arrays: Vec<Option<&dyn Array>> =
            self.batches.iter().map(|batch| batch.column_by_name(name).map(AsRef::as_ref)).collect();
        gather_texts(&arrays, &self.runs)
    }

    /// The residual attributes: those of the inputs, and columns of the inputs that the output does not have.
    pub(super) fn residual(&self, fields: &[Field]) -> Result<ArrayRef, Error> {
        let is_kept = |field: &Field| {
            fields.iter().any(|kept| kept.name() == field.name() && kind_of(kept) == kind_of(field))
        };
        let mut spilled = vec![false; self.batches.len()];
        let mut batches = Vec::with_capacity(self.batches.len());
        for (batch, spilled) in self.batches.iter().zip(&mut spilled) {
            let schema = batch.schema();
            let out = |field: &Field| field.name().starts_with(COLUMN_PREFIX) && !is_kept(field);
            let names: Vec<&str> = schema
                .fields()
                .iter()
                .filter(|field| out(field))
                .map(|field| field.name().as_str())
                .collect();
            *spilled = !names.is_empty();
            batches.push(if names.is_empty() { batch.clone() } else { spill(batch, &names)? });
        }
        Ok(Gather::new(&batches, self.indices).texts("attributes"))
    }
}

/// The batch with these columns moved into its residual.
fn spill(batch: &RecordBatch, names: &[&str]) -> Result<RecordBatch, Error> {
    let indices: Vec<usize> = names.iter().filter_map(|name| batch.schema().index_of(name).ok()).collect();
    let part = batch.project(&indices).map_err(arrow_error)?;
    let columns = Columns::new(&part);
    let old = Columns::new(batch);
    let mut builder = arrow_array::builder::StringBuilder::new();
    for row in 0..batch.num_rows() {
        let mut all = old.text("attributes", row).map(json_map).unwrap_or_default();
        for (key, value) in columns.attributes(row) {
            all.entry(key).or_insert(value);
        }
        match all.is_empty() {
            true => builder.append_null(),
            false => builder.append_value(serde_json::Value::Object(all).to_string()),
        }
    }
    let field = Field::new("attributes", DataType::Utf8, true);
    let schema = Arc::new(arrow_schema::Schema::new(vec![field]));
    RecordBatch::try_new(schema, vec![Arc::new(builder.finish())]).map_err(arrow_error)
}

/// Decoded row groups of one input, the most recent last.
struct Input<'a> {
    table: &'a TableReader,
    groups: Vec<(usize, RecordBatch)>,
}

impl Input<'_> {
    fn group(&mut self, group: usize) -> Result<RecordBatch, Error> {
        if let Some(at) = self.groups.iter().position(|(number, _)| *number == group) {
            let found = self.groups.remove(at);
            self.groups.push(found);
        } else {
            let batches = self.table.read_in_use(group, None)?;
            let batch = match batches.as_slice() {
                [batch] => batch.clone(),
                [first, ..] => {
                    arrow_select::concat::concat_batches(&first.schema(), &batches).map_err(arrow_error)?
                }
                [] => RecordBatch::new_empty(self.table.schema().clone()),
            };
            if self.groups.len() >= GROUPS_KEPT {
                self.groups.remove(0);
            }
            self.groups.push((group, batch));
        }
        let (_, batch) = self.groups.last().ok_or(Error::Closed)?;
        Ok(batch.clone())
    }
}

/// A row group of an input is copied where no rows wait, or at least so many: fewer go into one group with it, so that
/// groups stay large.
const COPY_AFTER_ROWS: usize = SPAN_GROUP_ROWS / 2;

/// For each column of the output where it lies in an input; `None` where the input has it not.
type Places = Vec<Option<usize>>;

/// Where the columns of the output lie in an input whose row groups can be copied; `None` if they cannot: a column of the
/// input would have to go to the residual.
fn places(input: &SchemaRef, output: &SchemaRef) -> Option<Places> {
    let same = |field: &Arc<Field>| {
        let (at, own) = input.column_with_name(field.name())?;
        (kind_of(own) == kind_of(field)).then_some(at)
    };
    let places: Places = output.fields().iter().map(same).collect();
    let n_found = places.iter().flatten().count();
    let mut columns = output.fields().iter().zip(&places);
    let has_all = columns.all(|(field, place)| place.is_some() || field.name().starts_with(COLUMN_PREFIX));
    (has_all && n_found == input.fields().len()).then_some(places)
}

/// The output and what it is made of.
struct Output<'a> {
    inputs: Vec<Input<'a>>,
    places: Vec<Option<Places>>,
    fields: &'a [Field],
    schema: SchemaRef,
    table: TableWriter,
    span_ids: Vec<[u8; 8]>,
    weights: &'a Weights,
}

/// By the row of the trace, how many spans a weighted one stands for; none where that is not known.
type Weights = HashMap<u32, Option<f64>>;

impl Output<'_> {
    /// The input and row group whose rows these begin with, if all of them follow and nothing about them is new but the
    /// rows of their traces.
    fn whole_group(&self, order: &[SpanFrom]) -> Option<(usize, usize, usize)> {
        let first = order.first().filter(|span| span.parent.is_none())?;
        let number = first.input as usize;
        let input = self.inputs.get(number)?;
        let group = input.table.group_of(u64::from(first.row));
        if input.table.first_row(group) != u64::from(first.row) {
            return None;
        }
        let places = self.places.get(number)?.as_ref()?;
        let n_rows = (input.table.first_row(group + 1) - u64::from(first.row)) as usize;
        let is_next = |(span, row): (&SpanFrom, u32)| {
            span.input == first.input && span.row == row && span.parent.is_none() && !span.is_weighted
        };
        let are_next = order.get(..n_rows)?.iter().zip(first.row..).all(is_next);
        let chunks = input.table.group(group).columns();
        let takes = |(at, place): (usize, &Option<usize>)| {
            place.is_none_or(|place| chunks.get(place).is_some_and(|chunk| self.table.takes(at, chunk)))
        };
        (are_next && places.iter().enumerate().all(takes)).then_some((number, group, n_rows))
    }

    /// Copies a row group; only the rows of traces are written anew.
    fn copy(
        &mut self,
        (number, group): (usize, usize),
        part: &[SpanFrom],
        links: &mut LinkCounter,
    ) -> Result<(), Error> {
        let (Some(input), Some(Some(places))) = (self.inputs.get(number), self.places.get(number)) else {
            return Ok(());
        };
        let mut names = vec!["span_id"];
        if !input.table.is_null(group, "links") {
            names.extend(["links", "service", "start_time"]);
        }
        for rows in input.table.read_group(group, None, Some(&names))? {
            self.span_ids.extend(id_column(&rows, "span_id"));
            links.add_spans(&rows);
        }
        let chunks = input.table.group(group).columns();
        let columns = self.schema.fields().iter().zip(places).map(|(field, place)| {
            if field.name() == "trace_row" {
                let rows: UInt32Array = part.iter().map(|span| span.trace_row).collect();
                return GroupColumn::Rows(Arc::new(rows));
            }
            match place.and_then(|place| chunks.get(place)) {
                Some(chunk) => GroupColumn::Chunk(Box::new(chunk.clone())),
                None => GroupColumn::Rows(new_null_array(field.data_type(), part.len())),
            }
        });
        let columns: Vec<GroupColumn> = columns.collect();
        self.table.copy_group(&input.table.group_bytes(group)?, columns, part.len())
    }

    /// Writes rows as one row group.
    fn write(&mut self, part: &[SpanFrom], links: &mut LinkCounter) -> Result<(), Error> {
        if part.is_empty() {
            return Ok(());
        }
        let rows = gather(part, &mut self.inputs, self.fields, &self.schema, self.weights)?;
        links.add_spans(&rows);
        self.span_ids.extend(id_column(&rows, "span_id"));
        self.table.write_group(&rows)
    }
}

/// Writes `spans.parquet` and returns the ids of all spans in order. Where a row group of an input is one of the output
/// as well, as most are whose neighbours in time lie in the same input, its bytes are copied.
pub(super) fn write(
    builder: &mut BlockBuilder<'_>,
    blocks: &[Arc<Block>],
    order: &[SpanFrom],
    weights: &Weights,
) -> Result<Vec<[u8; 8]>, Error> {
    let tables: Vec<Arc<TableReader>> =
        blocks.iter().map(|block| block.table(Table::Spans)).collect::<Result<_, _>>()?;
    let schemas: Vec<SchemaRef> = tables.iter().map(|table| table.schema().clone()).collect();
    let fields = attribute_fields(&schemas);
    let schema = spans_schema(fields.iter().cloned());
    let tables: Vec<TableReader> =
        tables.iter().map(|table| table.with_dictionaries()).collect::<Result<_, _>>()?;
    let level = builder.meta.level;
    let mut output = Output {
        inputs: tables.iter().map(|table| Input { table, groups: Vec::new() }).collect(),
        places: schemas.iter().map(|input| places(input, &schema)).collect(),
        fields: &fields,
        table: TableWriter::create(builder.disk, &builder.folder, Table::Spans, level, schema.clone())?,
        schema: with_dictionaries(&schema),
        span_ids: Vec::with_capacity(order.len()),
        weights,
    };
    let part = |range: std::ops::Range<usize>| order.get(range).unwrap_or_default();
    let links = &mut builder.links;
    let (mut from, mut at) = (0, 0);
    while at < order.len() {
        match output.whole_group(part(at..order.len())) {
            Some((input, group, n_rows)) if at == from || at - from >= COPY_AFTER_ROWS => {
                output.write(part(from..at), links)?;
                output.copy((input, group), part(at..at + n_rows), links)?;
                at += n_rows;
                from = at;
            }
            Some((.., n_rows)) => {
                output.write(part(from..at + n_rows), links)?;
                at += n_rows;
                from = at;
            }
            None => {
                at += 1;
                if at - from == SPAN_GROUP_ROWS {
                    output.write(part(from..at), links)?;
                    from = at;
                }
            }
        }
    }
    output.write(part(from..at), links)?;
    builder.sums.push(output.table.finish()?);
    builder.meta.rows.spans = order.len() as u64;
    Ok(output.span_ids)
}

fn gather(
    part: &[SpanFrom],
    inputs: &mut [Input<'_>],
    fields: &[Field],
    schema: &SchemaRef,
    weights: &Weights,
) -> Result<RecordBatch, Error> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut known: HashMap<(u32, usize), usize> = HashMap::new();
    let mut indices = Vec::with_capacity(part.len());
    for span in part {
        let Some(input) = inputs.get_mut(span.input as usize) else { continue };
        let group = input.table.group_of(u64::from(span.row));
        let at = match known.get(&(span.input, group)) {
            Some(at) => *at,
            None => {
                batches.push(input.group(group)?);
                known.insert((span.input, group), batches.len() - 1);
                batches.len() - 1
            }
        };
        indices.push((at, (u64::from(span.row) - input.table.first_row(group)) as usize));
    }
    let gather = Gather::new(&batches, &indices);
    let (parent_rows, parent_ids) = parents(part, &gather)?;
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match field.name().as_str() {
            "trace_row" => Arc::new(part.iter().map(|span| span.trace_row).collect::<UInt32Array>()),
            "parent_row" => parent_rows.clone(),
            "parent_span_id" => parent_ids.clone(),
            "attributes" => gather.residual(fields)?,
            "adjusted_count" if part.iter().any(|span| span.is_weighted) => {
                let counts = gather.column("adjusted_count", field.data_type())?;
                weighted(part, &counts, weights)
            }
            name => gather.column(name, field.data_type())?,
        });
    }
    RecordBatch::try_new(schema.clone(), columns).map_err(arrow_error)
}

/// How many spans each stands for: as many as before, times what its trace stands for.
fn weighted(part: &[SpanFrom], counts: &ArrayRef, weights: &Weights) -> ArrayRef {
    let counts: Option<&Float64Array> = counts.as_any().downcast_ref();
    let count = |(at, span): (usize, &SpanFrom)| {
        let own = counts.filter(|counts| counts.is_valid(at)).map(|counts| counts.value(at));
        match weights.get(&span.trace_row).filter(|_| span.is_weighted) {
            Some(weight) => weight.map(|weight| weight * own.unwrap_or(1.0)),
            None => own,
        }
    };
    Arc::new(part.iter().enumerate().map(count).collect::<Float64Array>())
}

/// A trace that came together from several inputs has new parents; the others keep theirs.
fn parents(part: &[SpanFrom], gather: &Gather<'_>) -> Result<(ArrayRef, ArrayRef), Error> {
    let mut rows = UInt32Builder::with_capacity(part.len());
    let mut ids = FixedSizeBinaryBuilder::with_capacity(part.len(), 8);
    let sources: Vec<(Option<&UInt32Array>, Option<&FixedSizeBinaryArray>)> = gather
        .batches
        .iter()
        .map(|batch| {
            let ids = batch.column_by_name("parent_span_id");
            let ids = ids.and_then(|column| column.as_any().downcast_ref());
            (Columns::new(batch).numbers::<UInt32Type>("parent_row"), ids)
        })
        .collect();
    for (span, (batch, row)) in part.iter().zip(gather.indices) {
        let (old_rows, old_ids) = sources.get(*batch).copied().unwrap_or_default();
        let known = old_rows.filter(|rows| !rows.is_null(*row)).map(|rows| rows.value(*row));
        let parent = span.parent.unwrap_or(known);
        rows.append_option(parent);
        match old_ids.filter(|ids| parent.is_none() && !ids.is_null(*row)) {
            Some(old) => ids.append_value(old.value(*row)).map_err(arrow_error)?,
            None => ids.append_null(),
        }
    }
    Ok((Arc::new(rows.finish()), Arc::new(ids.finish())))
}
