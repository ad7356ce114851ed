//! Access to the columns of rows that were read, by name.

use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, UInt8Type, UInt32Type};
use arrow_array::{
    Array, BinaryArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int64Array,
    ListArray, PrimitiveArray, RecordBatch, StringArray, TimestampNanosecondArray,
};
use serde_json::{Map, Value as Json};
use throughline_model::{Level, SpanId, TraceId};

use crate::block::bodies::assemble;
use crate::block::shred::COLUMN_PREFIX;
use crate::snapshot::json_map;

/// The columns of one record batch. A column that is not there reads as null.
pub(crate) struct Columns<'a> {
    rows: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    pub(crate) fn new(rows: &'a RecordBatch) -> Columns<'a> {
        Columns { rows }
    }

    fn column<T: 'static>(&self, name: &str) -> Option<&'a T> {
        self.rows.column_by_name(name)?.as_any().downcast_ref()
    }

    pub(crate) fn text(&self, name: &str, row: usize) -> Option<&'a str> {
        let column = self.rows.column_by_name(name)?;
        if let Some(texts) = column.as_any().downcast_ref::<StringArray>() {
            return (!texts.is_null(row)).then(|| texts.value(row));
        }
        let dictionary: &DictionaryArray<Int32Type> = column.as_any().downcast_ref()?;
        let values: &StringArray = dictionary.values().as_any().downcast_ref()?;
        dictionary.key(row).filter(|key| *key < values.len()).map(|key| values.value(key))
    }

    pub(crate) fn owned(&self, name: &str, row: usize) -> String {
        self.text(name, row).unwrap_or_default().to_owned()
    }

    /// Writes the body of a log record after what `into` has.
    pub(crate) fn body(&self, row: usize, into: &mut String) {
        assemble(self.text("pattern", row).unwrap_or_default(), self.text("slots", row), into);
    }

    /// The level of a log record: a column of its own where the severity number does not say it.
    pub(crate) fn level(&self, row: usize) -> Level {
        match self.number::<UInt8Type>("level", row) {
            Some(code) => Level::from_code(code),
            None => Level::from_severity(self.u8("severity_number", row)),
        }
    }

    pub(crate) fn map(&self, name: &str, row: usize) -> Map<String, Json> {
        self.text(name, row).map(json_map).unwrap_or_default()
    }

    pub(crate) fn array(&self, name: &str, row: usize) -> Vec<Json> {
        self.text(name, row).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(crate) fn dictionary(&self, name: &str) -> Option<(&'a DictionaryArray<Int32Type>, &'a StringArray)> {
        let column: &DictionaryArray<Int32Type> = self.column(name)?;
        Some((column, column.values().as_any().downcast_ref()?))
    }

    pub(crate) fn texts(&self, name: &str) -> Option<&'a StringArray> {
        self.column(name)
    }

    pub(crate) fn numbers<T: ArrowPrimitiveType>(&self, name: &str) -> Option<&'a PrimitiveArray<T>> {
        self.column(name)
    }

    fn number<T: ArrowPrimitiveType>(&self, name: &str, row: usize) -> Option<T::Native> {
        let column = self.numbers::<T>(name)?;
        (!column.is_null(row)).then(|| column.value(row))
    }

    pub(crate) fn u8(&self, name: &str, row: usize) -> u8 {
        self.number::<UInt8Type>(name, row).unwrap_or_default()
    }

    pub(crate) fn u32(&self, name: &str, row: usize) -> Option<u32> {
        self.number::<UInt32Type>(name, row)
    }

    pub(crate) fn i64(&self, name: &str, row: usize) -> i64 {
        self.number::<Int64Type>(name, row).unwrap_or_default()
    }

    pub(crate) fn f64(&self, name: &str, row: usize) -> Option<f64> {
        self.number::<Float64Type>(name, row)
    }

    pub(crate) fn bool(&self, name: &str, row: usize) -> bool {
        self.column::<BooleanArray>(name).is_some_and(|column| !column.is_null(row) && column.value(row))
    }

    pub(crate) fn time(&self, name: &str, row: usize) -> i64 {
        self.times(name).map(|column| column.value(row)).unwrap_or_default()
    }

    pub(crate) fn times(&self, name: &str) -> Option<&'a TimestampNanosecondArray> {
        self.column(name)
    }

    pub(crate) fn bytes(&self, name: &str, row: usize) -> Option<&'a [u8]> {
        let column = self.rows.column_by_name(name)?;
        if let Some(binary) = column.as_any().downcast_ref::<BinaryArray>() {
            return (!binary.is_null(row)).then(|| binary.value(row));
        }
        let fixed: &FixedSizeBinaryArray = column.as_any().downcast_ref()?;
        (!fixed.is_null(row)).then(|| fixed.value(row))
    }

    pub(crate) fn trace_id(&self, name: &str, row: usize) -> Option<TraceId> {
        TraceId::from_slice(self.bytes(name, row)?)
    }

    pub(crate) fn span_id(&self, name: &str, row: usize) -> Option<SpanId> {
        SpanId::from_slice(self.bytes(name, row)?)
    }

    /// The texts of a list.
    pub(crate) fn list(&self, name: &str, row: usize) -> Vec<String> {
        let values = self.column::<ListArray>(name).map(|column| column.value(row));
        let texts = values.as_ref().and_then(|values| values.as_any().downcast_ref::<StringArray>());
        texts.map(|texts| texts.iter().flatten().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// A column of lists, and the texts of all of them one after the other.
    pub(crate) fn list_items(&self, name: &str) -> Option<(&'a ListArray, &'a StringArray)> {
        let lists: &ListArray = self.column(name)?;
        Some((lists, lists.values().as_any().downcast_ref()?))
    }

    /// The texts of a list in alphabetical order.
    pub(crate) fn sorted_list(&self, name: &str, row: usize) -> Vec<String> {
        let mut texts = self.list(name, row);
        texts.sort_unstable();
        texts
    }

    /// All attributes of a row: those with columns of their own and the residual.
    pub(crate) fn attributes(&self, row: usize) -> Map<String, Json> {
        let mut out = Map::new();
        for (field, column) in self.rows.schema_ref().fields().iter().zip(self.rows.columns()) {
            if let Some(key) = field.name().strip_prefix(COLUMN_PREFIX)
                && let Some(value) = attribute_value(column.as_ref(), row)
            {
                out.insert(key.to_owned(), value);
            }
        }
        for (key, value) in self.map("attributes", row) {
            out.entry(key).or_insert(value);
        }
        out
    }
}

fn attribute_value(column: &dyn Array, row: usize) -> Option<Json> {
    if column.is_null(row) {
        return None;
    }
    let any = column.as_any();
    if let Some(texts) = any.downcast_ref::<StringArray>() {
        return Some(Json::from(texts.value(row)));
    }
    if let Some(numbers) = any.downcast_ref::<Int64Array>() {
        return Some(Json::from(numbers.value(row)));
    }
    if let Some(numbers) = any.downcast_ref::<Float64Array>() {
        return Some(throughline_model::attribute::Value::Double(numbers.value(row)).to_json());
    }
    if let Some(texts) = any.downcast_ref::<DictionaryArray<Int32Type>>() {
        let values: &StringArray = texts.values().as_any().downcast_ref()?;
        return texts.key(row).map(|key| Json::from(values.value(key)));
    }
    any.downcast_ref::<BooleanArray>().map(|flags| Json::from(flags.value(row)))
}
