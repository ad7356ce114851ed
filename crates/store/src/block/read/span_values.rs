//! Columns of spans as values, from whole column chunks and from rows that were picked.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt32Type};
use arrow_array::{
    Array, ArrowPrimitiveType, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, RecordBatch,
};
use arrow_schema::{DataType, Field};
use throughline_model::SpanId;

use super::Columns;
use super::whole::WholeColumn;
use crate::error::Error;
use crate::snapshot::span_values::SpanValues;

/// Whether all rows have a value.
pub(super) fn has_all(values: &SpanValues) -> bool {
    match values {
        SpanValues::Texts(keys, ..) => !keys.contains(&SpanValues::NO_VALUE),
        SpanValues::Ints(_, present) | SpanValues::Doubles(_, present) | SpanValues::Bools(_, present) => {
            present.is_none() || matches!(present, Some(present) if !present.contains(&false))
        }
        _ => false,
    }
}

/// A whole column chunk as values.
pub(super) fn values_of(field: &Arc<Field>, whole: WholeColumn) -> SpanValues {
    match (whole, field.data_type()) {
        (WholeColumn::Texts(keys, texts, ends), _) => SpanValues::Texts(keys, texts, ends),
        (WholeColumn::Bools(values, present), _) => SpanValues::Bools(values, present),
        (WholeColumn::Words(words, present), DataType::Float64) => {
            SpanValues::Doubles(words.into_iter().map(f64::from_bits).collect(), present)
        }
        (WholeColumn::Words(words, present), DataType::FixedSizeBinary(_)) => {
            let has = |row: usize| present.as_ref().is_none_or(|present| present.get(row) == Some(&true));
            let id = |(row, word): (usize, u64)| SpanId::from_slice(&word.to_le_bytes()).filter(|_| has(row));
            SpanValues::Ids(words.into_iter().enumerate().map(id).collect())
        }
        (WholeColumn::Words(words, present), _) => {
            SpanValues::Ints(words.into_iter().map(|word| word as i64).collect(), present)
        }
        (WholeColumn::Fixed(..), _) => SpanValues::None,
    }
}

/// One column of rows that were picked; where a batch does not have it, its rows have no value.
pub(super) fn picked(batches: &[RecordBatch], name: &str) -> Result<SpanValues, Error> {
    let columns: Vec<(usize, Option<&dyn Array>)> = batches
        .iter()
        .map(|batch| (batch.num_rows(), batch.column_by_name(name).map(AsRef::as_ref)))
        .collect();
    let Some(kind) = columns.iter().find_map(|(_, column)| column.map(|column| column.data_type().clone()))
    else {
        return Ok(SpanValues::None);
    };
    Ok(match kind {
        DataType::Float64 => {
            let (values, present) = numbers::<Float64Type, f64>(&columns, |value| value);
            SpanValues::Doubles(values, present)
        }
        DataType::Int64 => ints::<Int64Type>(&columns, |value| value),
        DataType::UInt32 => ints::<UInt32Type>(&columns, i64::from),
        DataType::UInt8 => ints::<UInt8Type>(&columns, i64::from),
        DataType::Timestamp(..) => ints::<TimestampNanosecondType>(&columns, |value| value),
        DataType::Boolean => {
            let (mut values, mut present) = (Vec::new(), Vec::new());
            for (n_rows, column) in columns {
                let flags = column.and_then(|column| column.as_any().downcast_ref::<BooleanArray>());
                for row in 0..n_rows {
                    let value = flags.filter(|flags| !flags.is_null(row)).map(|flags| flags.value(row));
                    present.push(value.is_some());
                    values.push(value.unwrap_or_default());
                }
            }
            SpanValues::Bools(values, present.contains(&false).then_some(present))
        }
        DataType::FixedSizeBinary(_) => {
            let mut ids = Vec::new();
            for (n_rows, column) in columns {
                let array = column.and_then(|column| column.as_any().downcast_ref::<FixedSizeBinaryArray>());
                let id = |row: usize| {
                    let array = array.filter(|array| !array.is_null(row))?;
                    SpanId::from_slice(array.value(row))
                };
                ids.extend((0..n_rows).map(id));
            }
            SpanValues::Ids(ids)
        }
        _ => {
            let texts = batches.iter().flat_map(|batch| {
                let columns = Columns::new(batch);
                (0..batch.num_rows()).map(move |row| columns.text(name, row))
            });
            SpanValues::texts(texts)
        }
    })
}

fn ints<T: ArrowPrimitiveType>(
    columns: &[(usize, Option<&dyn Array>)],
    convert: impl Fn(T::Native) -> i64,
) -> SpanValues {
    let (values, present) = numbers::<T, i64>(columns, convert);
    SpanValues::Ints(values, present)
}

fn numbers<T: ArrowPrimitiveType, N: Default>(
    columns: &[(usize, Option<&dyn Array>)],
    convert: impl Fn(T::Native) -> N,
) -> (Vec<N>, Option<Vec<bool>>) {
    let (mut values, mut present) = (Vec::new(), Vec::new());
    for (n_rows, column) in columns {
        let array = column.and_then(|column| column.as_any().downcast_ref::<PrimitiveArray<T>>());
        for row in 0..*n_rows {
            let value = array.filter(|array| !array.is_null(row)).map(|array| convert(array.value(row)));
            present.push(value.is_some());
            values.push(value.unwrap_or_default());
        }
    }
    (values, present.contains(&false).then_some(present))
}
