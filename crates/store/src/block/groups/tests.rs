//! What is written comes back through the Parquet library's reader.

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
    Arc::new(Schema::new(vec![text("a", true), text("b", false), Field::new("n", DataType::Int64, false)]))
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
        let sizes: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
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
        let text = |n: u64| (!n.is_multiple_of(4)).then(|| "é".repeat((n % 300) as usize) + &n.to_string());
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
        assert_eq!(read_batches(writer.into_inner().unwrap(), &schema), batch, "{n_rows} rows, {bits} bits");
    }
}

#[test]
fn arrays_have_each_text_once() {
    let column = column_of((0..1_000).map(|n| Some(format!("{}", n % 200))));
    let dictionary: &DictionaryArray<Int32Type> = column.as_any().downcast_ref().unwrap();
    assert_eq!(dictionary.values().len(), 200);
}
