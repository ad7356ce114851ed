//! Schemas of batches, and typed access to their columns.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Int32Type};
use arrow_array::{
    BinaryArray, DictionaryArray, FixedSizeBinaryArray, PrimitiveArray, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

// === schemas ===

fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    let fields: Vec<Field> =
        fields.iter().map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable)).collect();
    Arc::new(Schema::new(fields))
}

/// The schema of a span batch; positions are in [`super::span`].
pub fn span_schema() -> SchemaRef {
    schema(&[
        ("trace_id", DataType::FixedSizeBinary(16), false),
        ("span_id", DataType::FixedSizeBinary(8), false),
        ("parent_span_id", DataType::FixedSizeBinary(8), true),
        ("trace_state", DataType::Utf8, true),
        ("flags", DataType::UInt32, false),
        ("name", DataType::Utf8, false),
        ("kind", DataType::UInt8, false),
        ("start_time", time_type(), false),
        ("duration_ns", DataType::Int64, false),
        ("status_code", DataType::UInt8, false),
        ("status_message", DataType::Utf8, true),
        ("service", dictionary_type(), false),
        ("resource", dictionary_type(), false),
        ("scope", dictionary_type(), false),
        ("attributes", DataType::Binary, false),
        ("events", DataType::Binary, true),
        ("links", DataType::Binary, true),
        ("adjusted_count", DataType::Float64, true),
        ("dropped", DataType::Utf8, true),
    ])
}

/// The schema of a log batch; positions are in [`super::log`].
pub fn log_schema() -> SchemaRef {
    schema(&[
        ("time", time_type(), false),
        ("observed_time", time_type(), false),
        ("severity_number", DataType::UInt8, false),
        ("severity_text", DataType::Utf8, true),
        ("body", DataType::Utf8, false),
        ("body_kind", DataType::UInt8, false),
        ("trace_id", DataType::FixedSizeBinary(16), true),
        ("span_id", DataType::FixedSizeBinary(8), true),
        ("flags", DataType::UInt32, false),
        ("trace_source", DataType::UInt8, false),
        ("trace_id_original", DataType::Utf8, true),
        ("service", dictionary_type(), false),
        ("resource", dictionary_type(), false),
        ("scope", dictionary_type(), false),
        ("event_name", DataType::Utf8, true),
        ("attributes", DataType::Binary, false),
        ("dropped", DataType::Utf8, true),
        ("level", DataType::UInt8, false),
    ])
}

/// The schema of a metric batch's series; positions are in [`super::series`].
pub fn series_schema() -> SchemaRef {
    schema(&[
        ("fingerprint", DataType::FixedSizeBinary(16), false),
        ("metric", DataType::Utf8, false),
        ("kind", DataType::UInt8, false),
        ("unit", DataType::Utf8, false),
        ("description", DataType::Utf8, false),
        ("temporality", DataType::UInt8, false),
        ("monotonic", DataType::Boolean, false),
        ("service", dictionary_type(), false),
        ("resource", dictionary_type(), false),
        ("scope", dictionary_type(), false),
        ("attributes", DataType::Binary, false),
        ("metric_type", DataType::UInt8, false),
    ])
}

/// The schema of a metric batch's points; positions are in [`super::point`].
pub fn point_schema() -> SchemaRef {
    schema(&[
        ("series", DataType::UInt32, false),
        ("time", time_type(), false),
        ("start_time", time_type(), false),
        ("value", DataType::Float64, false),
        ("flags", DataType::UInt32, false),
        ("payload", DataType::Binary, true),
    ])
}

/// The schema of a metric batch's exemplars; positions are in [`super::exemplar`].
pub fn exemplar_schema() -> SchemaRef {
    schema(&[
        ("series", DataType::UInt32, false),
        ("time", time_type(), false),
        ("value", DataType::Float64, false),
        ("trace_id", DataType::FixedSizeBinary(16), true),
        ("span_id", DataType::FixedSizeBinary(8), true),
        ("trace_id_original", DataType::Utf8, true),
        ("attributes", DataType::Binary, false),
    ])
}

// === column access ===

macro_rules! typed_column {
    ($(#[$doc:meta])* $name:ident, $array:ty) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// If the batch has not the schema that the caller asks by: a bug, not an input.
        pub fn $name(rows: &RecordBatch, position: usize) -> &$array {
            rows.column(position).as_any().downcast_ref().expect("column of the batch's own schema")
        }
    };
}

typed_column!(
    /// A text column.
    column_text, StringArray);
typed_column!(
    /// A binary column.
    column_binary, BinaryArray);
typed_column!(
    /// A column of ids or fingerprints.
    column_fixed, FixedSizeBinaryArray);
typed_column!(
    /// A time column, nanoseconds since the epoch.
    column_time, TimestampNanosecondArray);
typed_column!(
    /// A dictionary column.
    column_dictionary, DictionaryArray<Int32Type>);

/// A column of numbers.
///
/// # Panics
/// If the batch has not the schema that the caller asks by: a bug, not an input.
pub fn column_number<T: ArrowPrimitiveType>(rows: &RecordBatch, position: usize) -> &PrimitiveArray<T> {
    rows.column(position).as_any().downcast_ref().expect("column of the batch's own schema")
}
