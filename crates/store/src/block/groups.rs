//! Writes row groups column by column: texts by [`super::text_chunk`], everything else by the Parquet library.
//!
//! A group is complete before any of its columns is encoded, so that one encoder is at work at a time.

use std::io::{Write, sink};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::text_chunk::{self, ChunkOptions, Codec};

/// One column of the table.
struct Column {
    field: Field,
    /// Makes writers of this column alone.
    factory: ArrowRowGroupWriterFactory,
    options: ChunkOptions,
    takes_dictionary: bool,
    /// What there is of the current group.
    pieces: Vec<ArrayRef>,
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
            let mut pieces = std::mem::take(&mut column.pieces);
            if column.takes_dictionary
                && let Some((bytes, close)) = text_chunk::encode(&pieces, &column.options, &mut self.codec)?
            {
                group.append_column(&bytes, close)?;
                continue;
            }
            for piece in &mut pieces {
                *piece = text_chunk::spell_out(piece)?;
            }
            let mut writers = column.factory.create_column_writers(0)?;
            let Some(mut writer) = writers.pop() else { return Err(no_column(&column.field)) };
            for piece in &pieces {
                let field = column.field.clone().with_data_type(piece.data_type().clone());
                for leaf in compute_leaves(&field, piece)? {
                    writer.write(&leaf)?;
                }
            }
            writer.close()?.append_to_row_group(&mut group)?;
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
        is_compressed: properties.compression(path) != Compression::UNCOMPRESSED,
        has_statistics: properties.statistics_enabled(path) != EnabledStatistics::None,
        has_offset_index: !properties.offset_index_disabled(),
        page_rows: properties.data_page_row_count_limit(),
        descriptor: descriptor.clone(),
    };
    let takes_dictionary = properties.dictionary_enabled(path);
    // A file of this column that nobody reads: the library makes writers for all columns of a file only.
    let alone = Arc::new(Schema::new(vec![field.clone()]));
    let (of_one, factory) =
        ArrowWriter::try_new(sink(), alone, Some(properties.as_ref().clone()))?.into_serialized_writer()?;
    drop(of_one);
    Ok(Column { field: field.as_ref().clone(), factory, options, takes_dictionary, pieces: Vec::new() })
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int32Type;
    use arrow_array::{Array, DictionaryArray, Int64Array, StringArray};
    use arrow_schema::DataType;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::ZstdLevel;

    use super::*;
    use crate::block::tables::with_dictionaries;
    use crate::block::texts::column_of;

    type Rows = Vec<(Option<String>, String, i64)>;

    fn schema() -> SchemaRef {
        let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
        Arc::new(Schema::new(vec![
            text("a", true),
            text("b", false),
            Field::new("n", DataType::Int64, false),
        ]))
    }

    fn batch(rows: &[(Option<String>, String, i64)]) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            column_of(rows.iter().map(|(a, ..)| a.as_deref())),
            column_of(rows.iter().map(|(_, b, _)| Some(b))),
            Arc::new(rows.iter().map(|(.., n)| *n).collect::<Int64Array>()),
        ];
        RecordBatch::try_new(with_dictionaries(&schema()), columns).unwrap()
    }

    fn read(bytes: Bytes) -> Rows {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        let mut out = Vec::new();
        for rows in reader.map(Result::unwrap) {
            let texts = |at: usize| rows.column(at).as_any().downcast_ref::<StringArray>().unwrap();
            let numbers = rows.column(2).as_any().downcast_ref::<Int64Array>().unwrap();
            for row in 0..rows.num_rows() {
                let a = (!texts(0).is_null(row)).then(|| texts(0).value(row).to_owned());
                out.push((a, texts(1).value(row).to_owned(), numbers.value(row)));
            }
        }
        out
    }

    fn check(rows: &Rows, piece_rows: usize, compression: Compression) {
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_max_row_group_row_count(Some(1_000))
            .set_data_page_row_count_limit(300)
            .build();
        let mut writer = GroupWriter::new(Vec::new(), &schema(), properties).unwrap();
        rows.chunks(piece_rows).for_each(|piece| writer.write(&batch(piece)).unwrap());
        assert_eq!(&read(Bytes::from(writer.into_inner().unwrap())), rows);
    }

    #[test]
    fn texts_come_back() {
        let some = |n: i64, of: i64| (n % of != 0).then(|| format!("text {}", n * n % of));
        let wide = "w".repeat(3_000);
        let mixed: Rows = (0..2_500).map(|n| (some(n, 17), format!("b{}", n / 40), n)).collect();
        let unique: Rows = (0..1_100).map(|n| (some(n, 2_000), format!("{n}"), n)).collect();
        let empty: Rows = (0..1_300).map(|n| (None, String::new(), n)).collect();
        let large: Rows = (0..1_000).map(|n| (some(n, 3), format!("{n}{wide}"), n)).collect();
        for rows in [&mixed, &unique, &empty, &large, &Rows::new()] {
            for piece_rows in [1, 333, 1_000, 10_000] {
                for compression in
                    [Compression::UNCOMPRESSED, Compression::LZ4_RAW, Compression::ZSTD(ZstdLevel::default())]
                {
                    if piece_rows > 1 || rows.len() < 1_200 {
                        check(rows, piece_rows, compression);
                    }
                }
            }
        }
    }

    #[test]
    fn arrays_have_each_text_once() {
        let column = column_of((0..1_000).map(|n| Some(format!("{}", n % 200))));
        let dictionary: &DictionaryArray<Int32Type> = column.as_any().downcast_ref().unwrap();
        assert_eq!(dictionary.values().len(), 200);
    }
}
