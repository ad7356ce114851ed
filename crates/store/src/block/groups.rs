//! Writes row groups column by column, by [`super::chunk`] or, where that leaves it to it, by the Parquet library.
//!
//! A group is complete before any of its columns is encoded, so that one encoder is at work at a time.

use std::io::{Write, sink};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::reader::ChunkReader;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::ColumnPath;

use super::chunk::{self, ChunkOptions, Form};
use super::codec::Codec;

/// One column of the table.
struct Column {
    field: Field,
    properties: WriterPropertiesPtr,
    /// Makes writers of this column alone; from the first group on that needs one.
    factory: Option<ArrowRowGroupWriterFactory>,
    options: ChunkOptions,
    /// What there is of the current group.
    pieces: Vec<ArrayRef>,
}

/// A column of a row group on its way into a file.
pub(crate) enum GroupColumn {
    /// A chunk of another file, of as many rows.
    Chunk(Box<ColumnChunkMetaData>),
    /// Rows to encode.
    Rows(ArrayRef),
}

impl Column {
    /// Encodes rows as the next chunk of a group.
    fn write<W: Write + Send>(
        &mut self,
        mut pieces: Vec<ArrayRef>,
        group: &mut SerializedRowGroupWriter<'_, W>,
        codec: &mut Codec,
    ) -> Result<()> {
        if let Some((bytes, close)) = chunk::encode(&pieces, &self.options, codec)? {
            return group.append_column(&bytes, close);
        }
        for piece in &mut pieces {
            *piece = chunk::spell_out(piece)?;
        }
        let factory = match &mut self.factory {
            Some(factory) => factory,
            none => none.insert(factory_of(&self.field, &self.properties)?),
        };
        let mut writers = factory.create_column_writers(0)?;
        let Some(mut writer) = writers.pop() else { return Err(no_column(&self.field)) };
        for piece in &pieces {
            let field = self.field.clone().with_data_type(piece.data_type().clone());
            for leaf in compute_leaves(&field, piece)? {
                writer.write(&leaf)?;
            }
        }
        writer.close()?.append_to_row_group(group)
    }
}

/// Writes a table of flat columns.
pub(super) struct GroupWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Column>,
    codec: Codec,
    group_rows: usize,
    /// Rows of the current group so far.
    n_rows: usize,
}

impl<W: Write + Send> GroupWriter<W> {
    pub(super) fn new(to: W, schema: &SchemaRef, properties: WriterProperties) -> Result<GroupWriter<W>> {
        let group_rows = properties.max_row_group_row_count().unwrap_or(usize::MAX);
        let compression = properties.compression(&"".into());
        let (file, _) =
            ArrowWriter::try_new(to, schema.clone(), Some(properties))?.into_serialized_writer()?;
        let columns = schema.fields().iter().enumerate();
        let columns = columns.map(|(at, field)| column(&file, at, field)).collect::<Result<Vec<_>>>()?;
        Ok(GroupWriter { file, columns, codec: Codec::new(compression)?, group_rows, n_rows: 0 })
    }

    /// Takes rows. Texts may come as dictionaries, whatever the schema says.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < rows.num_rows() {
            let n = (self.group_rows - self.n_rows).min(rows.num_rows() - from);
            for (column, array) in self.columns.iter_mut().zip(rows.columns()) {
                column.pieces.push(if n == rows.num_rows() { array.clone() } else { array.slice(from, n) });
            }
            from += n;
            self.n_rows += n;
            if self.n_rows == self.group_rows {
                self.end_group()?;
            }
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<()> {
        if self.n_rows == 0 {
            return Ok(());
        }
        self.n_rows = 0;
        let mut group = self.file.next_row_group()?;
        for column in &mut self.columns {
            let pieces = std::mem::take(&mut column.pieces);
            column.write(pieces, &mut group, &mut self.codec)?;
        }
        group.close()?;
        Ok(())
    }

    /// Writes rows as a group of their own, however many they are.
    pub(super) fn write_group(&mut self, rows: &RecordBatch) -> Result<()> {
        self.end_group()?;
        for (column, array) in self.columns.iter_mut().zip(rows.columns()) {
            column.pieces.push(array.clone());
        }
        self.n_rows = rows.num_rows();
        self.end_group()
    }

    /// Whether a chunk of another file can become one of this column as it is.
    pub(super) fn takes(&self, at: usize, chunk: &ColumnChunkMetaData) -> bool {
        let own = self.file.schema_descr().columns().get(at);
        let compression = chunk.compression();
        let is_final = compression == Compression::UNCOMPRESSED || compression == self.codec.compression();
        is_final && own.is_some_and(|own| own.as_ref() == chunk.column_descr())
    }

    /// Writes a group of rows of which some columns are taken as they are from another file.
    pub(super) fn copy_group<R: ChunkReader>(
        &mut self,
        from: &R,
        columns: Vec<GroupColumn>,
        n_rows: usize,
    ) -> Result<()> {
        self.end_group()?;
        let mut group = self.file.next_row_group()?;
        for (column, source) in self.columns.iter_mut().zip(columns) {
            match source {
                GroupColumn::Rows(rows) => column.write(vec![rows], &mut group, &mut self.codec)?,
                GroupColumn::Chunk(chunk) => {
                    let close = ColumnCloseResult {
                        bytes_written: u64::try_from(chunk.compressed_size()).unwrap_or_default(),
                        rows_written: n_rows as u64,
                        metadata: *chunk,
                        bloom_filter: None,
                        column_index: None,
                        offset_index: None,
                    };
                    group.append_column(from, close)?;
                }
            }
        }
        group.close()?;
        Ok(())
    }

    /// Writes what is left and the footer.
    pub(super) fn into_inner(mut self) -> Result<W> {
        self.end_group()?;
        self.file.into_inner()
    }
}

fn no_column(field: &Field) -> ParquetError {
    ParquetError::General(format!("column {} has no writer", field.name()))
}

fn column<W: Write + Send>(file: &SerializedFileWriter<W>, at: usize, field: &Arc<Field>) -> Result<Column> {
    let properties = file.properties();
    let descriptor = file.schema_descr().columns().get(at).cloned().ok_or_else(|| no_column(field))?;
    let path = descriptor.path();
    let options = ChunkOptions {
        form: form_of(properties, path),
        is_compressed: properties.compression(path) != Compression::UNCOMPRESSED,
        has_statistics: properties.statistics_enabled(path) != EnabledStatistics::None,
        has_offset_index: !properties.offset_index_disabled(),
        page_rows: properties.data_page_row_count_limit(),
        descriptor: descriptor.clone(),
    };
    let (field, properties) = (field.as_ref().clone(), properties.clone());
    Ok(Column { field, properties, factory: None, options, pieces: Vec::new() })
}

/// The form that the library would give the column by its properties.
fn form_of(properties: &WriterProperties, path: &ColumnPath) -> Form {
    match properties.encoding(path).filter(|_| !properties.dictionary_enabled(path)) {
        Some(Encoding::DELTA_BINARY_PACKED) => Form::Packed,
        Some(Encoding::BYTE_STREAM_SPLIT) => Form::Split,
        Some(Encoding::DELTA_LENGTH_BYTE_ARRAY) => Form::Lengths,
        Some(Encoding::PLAIN) => Form::Plain,
        _ => Form::Dictionary,
    }
}

fn factory_of(field: &Field, properties: &WriterPropertiesPtr) -> Result<ArrowRowGroupWriterFactory> {
    // A file of this column that nobody reads: the library makes writers for all columns of a file only.
    let alone = Arc::new(Schema::new(vec![field.clone()]));
    let (of_one, factory) =
        ArrowWriter::try_new(sink(), alone, Some(properties.as_ref().clone()))?.into_serialized_writer()?;
    drop(of_one);
    Ok(factory)
}

#[cfg(test)]
mod tests;
