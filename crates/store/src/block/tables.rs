//! The tables of a block: their names, schemas and Parquet settings, and a writer for any of them.
//!
//! `docs/format/block.md` describes the columns for readers of other engines. Row groups are small where one trace is
//! read at a time (spans) and large where scans and dictionaries gain (logs); pages are small where single rows are
//! picked by number (logs, exemplars). Statistics are kept for the columns that a scan prunes by, and no others:
//! they cost bytes in every row group.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;

use super::checksums::{FileSums, FileWriter, Windows};
pub(crate) use super::groups::GroupColumn;
use super::groups::GroupWriter;
use crate::disk::Disk;
use crate::error::Error;

/// Rows of a row group of spans: a whole trace costs one group's dictionaries (performance figures, section B).
pub(crate) const SPAN_GROUP_ROWS: usize = 8_192;

/// Rows of a row group of the trace table: a look-up compares one id in it, and reads 16 bytes for each of these rows.
pub(crate) const TRACE_GROUP_ROWS: usize = 1_024;

/// Rows of a row group of logs.
pub(crate) const LOG_GROUP_ROWS: usize = 65_536;

/// Rows of a page of logs: what a look-up of one line decodes.
pub(crate) const LOG_PAGE_ROWS: usize = 2_048;

/// Rows of a row group of exemplars and series.
const SMALL_GROUP_ROWS: usize = 16_384;

/// Bytes of a page of runs, of each column.
const RUN_PAGE_BYTES: usize = 32 << 10;

/// Runs of samples in a row group: each is up to [`super::samples::RUN_POINTS`] points already.
const SAMPLE_GROUP_ROWS: usize = 64;

/// The tables of a block, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One row per trace.
    Traces,
    /// One row per span.
    Spans,
    /// One row per log record.
    Logs,
    /// One row per series.
    Series,
    /// One row per run of samples of one metric.
    Samples,
    /// One row per exemplar.
    Exemplars,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 6] =
        [Table::Traces, Table::Spans, Table::Logs, Table::Series, Table::Samples, Table::Exemplars];

    /// The name of its file.
    pub fn file_name(self) -> &'static str {
        match self {
            Table::Traces => "traces.parquet",
            Table::Spans => "spans.parquet",
            Table::Logs => "logs.parquet",
            Table::Series => "series.parquet",
            Table::Samples => "samples.parquet",
            Table::Exemplars => "exemplars.parquet",
        }
    }

    /// Flushed blocks live for minutes and are read once, by a merge: they take the faster codec. A merge copies most row
    /// groups of spans as they are.
    fn compression(self, level: u32) -> Compression {
        match (self, level) {
            (Table::Spans, _) | (_, 1..) => Compression::ZSTD(ZstdLevel::default()),
            _ => Compression::LZ4_RAW,
        }
    }

    fn properties(self, level: u32) -> WriterProperties {
        let base = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_compression(self.compression(level))
            .set_statistics_enabled(EnabledStatistics::None)
            .set_created_by("throughline".to_owned())
            .set_write_page_header_statistics(false);
        match self {
            Table::Traces => {
                let base = base.set_max_row_group_row_count(Some(TRACE_GROUP_ROWS));
                let base = raw(base, "trace_id");
                let base = packed(base, &["trace_row", "start_time", "first_span"]);
                split(base, &["duration_ns", "culprit_self_ns"]).set_offset_index_disabled(true)
            }
            Table::Spans => {
                let base = base.set_max_row_group_row_count(Some(SPAN_GROUP_ROWS));
                let base = raw(raw(base, "span_id"), "parent_span_id");
                let base = packed(base, &["trace_row", "start_time"]);
                let base = split(base, &["duration_ns"]);
                let base = small(
                    base,
                    &["parent_row", "kind", "status_code", "service", "flags", "trace_row", "start_time"],
                );
                let base = small(base, &["trace_state", "links", "adjusted_count", "dropped"]);
                statistics(base, &["service", "name", "start_time", "duration_ns", "status_code"])
                    .set_offset_index_disabled(true)
            }
            Table::Logs => {
                let base = base.set_max_row_group_row_count(Some(LOG_GROUP_ROWS));
                let base = base.set_data_page_row_count_limit(LOG_PAGE_ROWS);
                let base = base.set_write_batch_size(LOG_PAGE_ROWS);
                let base = lengths(raw(base, "span_id"), "slots");
                let base = packed(base, &["time", "observed_delay_ns", "trace_row"]);
                let base = small(
                    base,
                    &["severity_number", "severity_text", "body_kind", "span_row", "flags", "time"],
                );
                let base = small(base, &["trace_source", "service", "event_name", "dropped", "level"]);
                statistics(base, &["service", "time", "severity_number"])
            }
            Table::Series => {
                let base = base.set_max_row_group_row_count(Some(SMALL_GROUP_ROWS));
                packed(raw(base, "fingerprint"), &["series_row"])
            }
            Table::Samples => {
                let base = base.set_max_row_group_row_count(Some(SAMPLE_GROUP_ROWS));
                // A page ends after the run that fills it: a large run has pages of its own, and is read alone.
                let base = base.set_write_batch_size(1).set_data_page_size_limit(RUN_PAGE_BYTES);
                let columns = ["counts", "times", "start_times", "values", "flags", "payload"];
                let base = columns.into_iter().fold(base, raw);
                statistics(base, &["metric", "min_time", "max_time"])
            }
            Table::Exemplars => {
                let base = base.set_max_row_group_row_count(Some(SMALL_GROUP_ROWS));
                let base = base.set_data_page_row_count_limit(LOG_PAGE_ROWS);
                let base = base.set_write_batch_size(LOG_PAGE_ROWS);
                let base = packed(raw(base, "span_id"), &["series_row", "trace_row", "time"]);
                statistics(split(base, &["value"]), &["series_row", "time"])
            }
        }
        .build()
    }
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::from(column)
}

/// Random or already packed bytes: neither dictionary nor compression.
fn raw(base: WriterPropertiesBuilder, column: &str) -> WriterPropertiesBuilder {
    base.set_column_dictionary_enabled(path(column), false)
        .set_column_compression(path(column), Compression::UNCOMPRESSED)
        .set_column_encoding(path(column), Encoding::PLAIN)
}

/// Text that hardly repeats: no dictionary, and lengths apart from the text, which compresses better without them.
fn lengths(base: WriterPropertiesBuilder, column: &str) -> WriterPropertiesBuilder {
    base.set_column_dictionary_enabled(path(column), false)
        .set_column_encoding(path(column), Encoding::DELTA_LENGTH_BYTE_ARRAY)
}

/// Integers near their neighbour: packed deltas.
fn packed(base: WriterPropertiesBuilder, columns: &[&str]) -> WriterPropertiesBuilder {
    columns.iter().fold(base, |base, column| {
        base.set_column_dictionary_enabled(path(column), false)
            .set_column_encoding(path(column), Encoding::DELTA_BINARY_PACKED)
    })
}

/// Numbers of like magnitude without order: bytes of equal weight side by side, for the compressor.
fn split(base: WriterPropertiesBuilder, columns: &[&str]) -> WriterPropertiesBuilder {
    columns.iter().fold(base, |base, column| {
        base.set_column_dictionary_enabled(path(column), false)
            .set_column_encoding(path(column), Encoding::BYTE_STREAM_SPLIT)
    })
}

/// Few distinct values, or mostly none: what a compressor would gain is less than what its set-up costs a look-up,
/// which reads a page of every column.
fn small(base: WriterPropertiesBuilder, columns: &[&str]) -> WriterPropertiesBuilder {
    columns
        .iter()
        .fold(base, |base, column| base.set_column_compression(path(column), Compression::UNCOMPRESSED))
}

fn statistics(base: WriterPropertiesBuilder, columns: &[&str]) -> WriterPropertiesBuilder {
    columns
        .iter()
        .fold(base, |base, column| base.set_column_statistics_enabled(path(column), EnabledStatistics::Chunk))
}

// === schemas ===

pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

pub(crate) fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn fields(list: &[(&str, DataType, bool)]) -> Vec<Field> {
    list.iter().map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable)).collect()
}

fn with_attributes(mut core: Vec<Field>, attributes: impl Iterator<Item = Field>) -> SchemaRef {
    core.push(Field::new("attributes", DataType::Utf8, true));
    core.extend(attributes);
    Arc::new(Schema::new(core))
}

/// The schema of `traces.parquet`.
pub(crate) fn traces_schema() -> SchemaRef {
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    Arc::new(Schema::new(fields(&[
        ("trace_row", DataType::UInt32, false),
        ("trace_id", DataType::FixedSizeBinary(16), false),
        ("start_time", time_type(), false),
        ("duration_ns", DataType::Int64, false),
        ("root_service", DataType::Utf8, false),
        ("root_name", DataType::Utf8, false),
        ("services", DataType::List(item), false),
        ("first_span", DataType::UInt32, false),
        ("span_count", DataType::UInt32, false),
        ("error_count", DataType::UInt32, false),
        ("log_count", DataType::UInt32, false),
        ("error_log_count", DataType::UInt32, false),
        ("exemplar_count", DataType::UInt32, false),
        ("orphan_count", DataType::UInt32, false),
        ("culprit_service", DataType::Utf8, false),
        ("culprit_name", DataType::Utf8, false),
        ("culprit_self_ns", DataType::Int64, false),
        ("state", DataType::Utf8, false),
        ("policy", DataType::Utf8, true),
        ("decided_at", time_type(), true),
        ("adjusted_count", DataType::Float64, true),
        ("dropped_spans", DataType::UInt32, true),
        ("dropped_policy", DataType::Utf8, true),
        ("dropped_at", time_type(), true),
        ("error_culprit_service", DataType::Utf8, true),
        ("error_culprit_name", DataType::Utf8, true),
        ("clock_skew_ns", DataType::Int64, true),
    ])))
}

/// The schema of `spans.parquet`, with the columns of chosen attributes at the end.
pub(crate) fn spans_schema(attributes: impl Iterator<Item = Field>) -> SchemaRef {
    let core = fields(&[
        ("trace_row", DataType::UInt32, false),
        ("span_id", DataType::FixedSizeBinary(8), false),
        ("parent_row", DataType::UInt32, true),
        ("parent_span_id", DataType::FixedSizeBinary(8), true),
        ("name", DataType::Utf8, false),
        ("kind", DataType::UInt8, false),
        ("start_time", time_type(), false),
        ("duration_ns", DataType::Int64, false),
        ("status_code", DataType::UInt8, false),
        ("status_message", DataType::Utf8, true),
        ("service", dictionary_type(), false),
        ("resource", dictionary_type(), false),
        ("scope", dictionary_type(), false),
        ("trace_state", DataType::Utf8, true),
        ("flags", DataType::UInt32, false),
        ("events", DataType::Utf8, true),
        ("links", DataType::Utf8, true),
        ("adjusted_count", DataType::Float64, true),
        ("dropped", DataType::Utf8, true),
    ]);
    with_attributes(core, attributes)
}

/// The schema of `logs.parquet`, with the columns of chosen attributes at the end.
pub(crate) fn logs_schema(attributes: impl Iterator<Item = Field>) -> SchemaRef {
    let core = fields(&[
        ("time", time_type(), false),
        ("observed_delay_ns", DataType::Int64, false),
        ("severity_number", DataType::UInt8, false),
        ("severity_text", DataType::Utf8, true),
        ("pattern", DataType::Utf8, false),
        ("slots", DataType::Utf8, true),
        ("body_kind", DataType::UInt8, false),
        ("trace_row", DataType::UInt32, true),
        ("span_row", DataType::UInt32, true),
        ("span_id", DataType::FixedSizeBinary(8), true),
        ("flags", DataType::UInt32, false),
        ("trace_source", DataType::UInt8, false),
        ("trace_id_original", DataType::Utf8, true),
        ("service", dictionary_type(), false),
        ("resource", dictionary_type(), false),
        ("scope", dictionary_type(), false),
        ("event_name", DataType::Utf8, true),
        ("dropped", DataType::Utf8, true),
        ("level", DataType::UInt8, true),
    ]);
    with_attributes(core, attributes)
}

/// The schema of `series.parquet`.
pub(crate) fn series_schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&[
        ("series_row", DataType::UInt32, false),
        ("fingerprint", DataType::FixedSizeBinary(16), false),
        ("metric", DataType::Utf8, false),
        ("kind", DataType::UInt8, false),
        ("unit", DataType::Utf8, false),
        ("description", DataType::Utf8, false),
        ("temporality", DataType::UInt8, false),
        ("monotonic", DataType::Boolean, false),
        ("service", DataType::Utf8, false),
        ("resource", DataType::Utf8, false),
        ("scope", DataType::Utf8, false),
        ("attributes", DataType::Utf8, false),
        ("attribute_list", DataType::Binary, false),
        ("metric_type", DataType::UInt8, false),
    ])))
}

/// The schema of `samples.parquet`.
pub(crate) fn samples_schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&[
        ("metric", DataType::Utf8, false),
        ("kind", DataType::UInt8, false),
        ("first_series", DataType::UInt32, false),
        ("series_count", DataType::UInt32, false),
        ("point_count", DataType::UInt32, false),
        ("min_time", time_type(), false),
        ("max_time", time_type(), false),
        ("counts", DataType::Binary, false),
        ("times", DataType::Binary, false),
        ("start_times", DataType::Binary, false),
        ("values", DataType::Binary, false),
        ("flags", DataType::Binary, true),
        ("payload_form", DataType::UInt8, false),
        ("payload", DataType::Binary, true),
    ])))
}

/// The schema of `exemplars.parquet`.
pub(crate) fn exemplars_schema() -> SchemaRef {
    Arc::new(Schema::new(fields(&[
        ("series_row", DataType::UInt32, false),
        ("time", time_type(), false),
        ("value", DataType::Float64, false),
        ("trace_row", DataType::UInt32, true),
        ("span_id", DataType::FixedSizeBinary(8), true),
        ("trace_id_original", DataType::Utf8, true),
        ("attributes", DataType::Utf8, true),
    ])))
}

/// The schema with all texts as dictionaries, but those of columns without one: how rows lie in memory on their way
/// from or to a file.
pub(crate) fn with_dictionaries(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 if field.name() != "slots" => field.as_ref().clone().with_data_type(dictionary_type()),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

// === writer ===

/// Writes one table of a block.
pub(crate) struct TableWriter {
    table: Table,
    writer: Inner,
}

enum Inner {
    /// Few rows, or lists in them: the library does all.
    Arrow(ArrowWriter<FileWriter>),
    Groups(GroupWriter<FileWriter>),
}

impl TableWriter {
    pub(crate) fn create(
        disk: &dyn Disk,
        folder: &Path,
        table: Table,
        level: u32,
        schema: SchemaRef,
    ) -> Result<TableWriter, Error> {
        let file = FileWriter::create(disk, folder, table.file_name())?;
        let properties = table.properties(level);
        let writer = match table {
            Table::Spans | Table::Logs | Table::Series => {
                GroupWriter::new(file, &schema, properties).map(Inner::Groups)
            }
            _ => ArrowWriter::try_new(file, schema, Some(properties)).map(Inner::Arrow),
        };
        let writer = writer.map_err(|error| columns_error(table, "create", error))?;
        Ok(TableWriter { table, writer })
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let written = match &mut self.writer {
            Inner::Arrow(writer) => writer.write(rows),
            Inner::Groups(writer) => writer.write(rows),
        };
        written.map_err(|error| columns_error(self.table, "write", error))
    }

    /// Writes rows as a row group of their own. For tables of flat columns.
    pub(crate) fn write_group(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let written = match &mut self.writer {
            Inner::Arrow(writer) => writer.write(rows),
            Inner::Groups(writer) => writer.write_group(rows),
        };
        written.map_err(|error| columns_error(self.table, "write", error))
    }

    /// Whether a chunk of another file can become one of the column of this number as it is.
    pub(crate) fn takes(&self, at: usize, chunk: &ColumnChunkMetaData) -> bool {
        match &self.writer {
            Inner::Arrow(_) => false,
            Inner::Groups(writer) => writer.takes(at, chunk),
        }
    }

    /// Writes a row group, of which chunks that [`TableWriter::takes`] accepted are copied.
    pub(crate) fn copy_group(
        &mut self,
        from: &Windows,
        columns: Vec<GroupColumn>,
        n_rows: usize,
    ) -> Result<(), Error> {
        let copied = match &mut self.writer {
            Inner::Arrow(_) => Err(ParquetError::General("the table has columns of lists".to_owned())),
            Inner::Groups(writer) => writer.copy_group(from, columns, n_rows),
        };
        copied.map_err(|error| columns_error(self.table, "write", error))
    }

    pub(crate) fn finish(self) -> Result<FileSums, Error> {
        let file = match self.writer {
            Inner::Arrow(writer) => writer.into_inner(),
            Inner::Groups(writer) => writer.into_inner(),
        };
        file.map_err(|error| columns_error(self.table, "finish", error))?.finish()
    }
}

/// An error of the Parquet library as ours: what the disk or a checksum said comes back out of it.
pub(crate) fn columns_error(table: Table, action: &str, error: ParquetError) -> Error {
    let detail = match error {
        ParquetError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => return *ours,
            Err(other) => match other.downcast::<std::io::Error>() {
                Ok(io) => {
                    let path = table.file_name().into();
                    return Error::Io { action: "write", path, source: *io };
                }
                Err(other) => other.to_string(),
            },
        },
        other => other.to_string(),
    };
    Error::Columns { action: format!("{action} {}", table.file_name()), detail }
}
