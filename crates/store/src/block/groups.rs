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

use super::chunk::{self, ChunkOptions, Codec, Form};

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
mod tests {
    use arrow_array::builder::FixedSizeBinaryBuilder;
    use arrow_array::types::Int32Type;
    use arrow_array::{
        Array, DictionaryArray, Int64Array, StringArray, TimestampNanosecondArray, UInt8Array, UInt32Array,
    };
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
    fn numbers_come_back() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("byte", DataType::UInt8, false),
            Field::new("word", DataType::UInt32, true),
            Field::new("long", DataType::Int64, true),
        ]));
        let rows = |n_distinct: i64| {
            let numbers = 0..2_500i64;
            let present = |n: i64| n % 7 != 0;
            let columns: Vec<ArrayRef> = vec![
                Arc::new(numbers.clone().map(|n| Some((n % 5) as u8)).collect::<UInt8Array>()),
                Arc::new(
                    numbers.clone().map(|n| present(n).then_some((n / 100) as u32)).collect::<UInt32Array>(),
                ),
                Arc::new(numbers.map(|n| present(n).then_some(n % n_distinct - 9)).collect::<Int64Array>()),
            ];
            RecordBatch::try_new(schema.clone(), columns).unwrap()
        };
        for n_distinct in [1, 40, 5_000] {
            let batch = rows(n_distinct);
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(1_000))
                .set_data_page_row_count_limit(300)
                .build();
            let mut writer = GroupWriter::new(Vec::new(), &schema, properties).unwrap();
            writer.write(&batch.slice(0, 700)).unwrap();
            writer.write_group(&batch.slice(700, 1_300)).unwrap();
            writer.write(&batch.slice(2_000, 500)).unwrap();
            let bytes = Bytes::from(writer.into_inner().unwrap());
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
            let sizes: Vec<i64> =
                reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
            assert_eq!(sizes, [700, 1_300, 500]);
            assert_eq!(read_batches(bytes.to_vec(), &schema), batch);
        }
    }

    fn read_batches(bytes: Vec<u8>, schema: &SchemaRef) -> RecordBatch {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap().build().unwrap();
        let found: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        arrow_select::concat::concat_batches(schema, &found).unwrap()
    }

    #[test]
    fn every_form_comes_back() {
        let names = ["packed", "time", "split", "plain", "lengths"];
        let schema = Arc::new(Schema::new(vec![
            Field::new("packed", DataType::UInt32, true),
            Field::new("time", crate::block::tables::time_type(), false),
            Field::new("split", DataType::Int64, false),
            Field::new("plain", DataType::FixedSizeBinary(8), true),
            Field::new("lengths", DataType::Utf8, true),
        ]));
        let mut state = 3u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ state >> 29
        };
        for (n_rows, bits) in [(1, 3), (2, 64), (129, 64), (700, 7), (2_345, 32), (2_345, 64)] {
            let mut number = || random() >> (64 - bits);
            let packed = (0..n_rows).map(|_| Some(number() as u32).filter(|n| n % 5 != 0));
            let packed: UInt32Array = packed.collect();
            let time = TimestampNanosecondArray::from_iter_values((0..n_rows).map(|_| number() as i64));
            let split: Int64Array = (0..n_rows).map(|_| Some(number() as i64)).collect();
            let mut plain = FixedSizeBinaryBuilder::new(8);
            for _ in 0..n_rows {
                match number() {
                    n if n % 3 == 0 => plain.append_null(),
                    n => plain.append_value(n.to_le_bytes()).unwrap(),
                }
            }
            let text = |n: u64| (n % 4 != 0).then(|| "é".repeat((n % 300) as usize) + &n.to_string());
            let lengths: StringArray = (0..n_rows).map(|_| text(number())).collect();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(packed),
                Arc::new(time.with_timezone("UTC")),
                Arc::new(split),
                Arc::new(plain.finish()),
                Arc::new(lengths),
            ];
            let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
            let encodings = [
                Encoding::DELTA_BINARY_PACKED,
                Encoding::DELTA_BINARY_PACKED,
                Encoding::BYTE_STREAM_SPLIT,
                Encoding::PLAIN,
                Encoding::DELTA_LENGTH_BYTE_ARRAY,
            ];
            let base = WriterProperties::builder()
                .set_compression(Compression::LZ4_RAW)
                .set_dictionary_enabled(false)
                .set_data_page_row_count_limit(500);
            let properties = names
                .into_iter()
                .zip(encodings)
                .fold(base, |base, (name, encoding)| base.set_column_encoding(name.into(), encoding));
            let mut writer = GroupWriter::new(Vec::new(), &schema, properties.build()).unwrap();
            let pieces = [batch.slice(0, n_rows / 3), batch.slice(n_rows / 3, n_rows - n_rows / 3)];
            pieces.iter().for_each(|piece| writer.write(piece).unwrap());
            assert_eq!(
                read_batches(writer.into_inner().unwrap(), &schema),
                batch,
                "{n_rows} rows, {bits} bits"
            );
        }
    }

    #[test]
    fn arrays_have_each_text_once() {
        let column = column_of((0..1_000).map(|n| Some(format!("{}", n % 200))));
        let dictionary: &DictionaryArray<Int32Type> = column.as_any().downcast_ref().unwrap();
        assert_eq!(dictionary.values().len(), 200);
    }
}
