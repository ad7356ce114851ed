//! Attribute lists become columns: keys that occur often enough get a typed column of their own, the rest stays in
//! one residual column as JSON.
//!
//! Which keys those are is chosen per block from the data ([`AttributeColumns::choose`]). A value whose type is not
//! its column's, and a second value of the same key in one list, go to the residual, so that nothing is converted
//! and nothing is lost. A reader takes a column's value where it is not null and looks into the residual otherwise.

use ahash::AHashMap as HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow_buffer::{NullBuffer, NullBufferBuilder};
use arrow_schema::{DataType, Field};
use throughline_model::attribute::{self, RawValue, Value};

use super::texts::TextColumn;

/// What the name of an attribute's column starts with; the key follows.
pub(crate) const COLUMN_PREFIX: &str = "attributes.";

/// A key gets a column where at least one row in so many has it.
const ROWS_PER_OCCURRENCE_MAX: usize = 100;

/// At most so many keys get columns: each costs a chunk in every row group and in every footer.
const COLUMNS_MAX: usize = 96;

/// Longer keys stay in the residual: they are data rather than names.
const KEY_BYTES_MAX: usize = 128;

/// The type of an attribute's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ColumnKind {
    Text,
    Int,
    Double,
    Bool,
}

impl ColumnKind {
    fn of(value: &Value<'_>) -> Option<ColumnKind> {
        match value {
            Value::Str(_) => Some(ColumnKind::Text),
            Value::Int(_) => Some(ColumnKind::Int),
            Value::Double(_) => Some(ColumnKind::Double),
            Value::Bool(_) => Some(ColumnKind::Bool),
            _ => None,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            ColumnKind::Text => DataType::Utf8,
            ColumnKind::Int => DataType::Int64,
            ColumnKind::Double => DataType::Float64,
            ColumnKind::Bool => DataType::Boolean,
        }
    }
}

/// The keys that have columns, sorted by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AttributeColumns {
    columns: Vec<(String, ColumnKind)>,
}

impl AttributeColumns {
    /// Chooses columns from a sample of attribute lists.
    pub(crate) fn choose<'a>(sample: impl Iterator<Item = &'a [u8]>) -> AttributeColumns {
        let mut counts: HashMap<&'a str, [usize; 4]> = HashMap::new();
        let mut n_rows = 0;
        for list in sample {
            n_rows += 1;
            for (key, value) in attribute::iter(list) {
                if let Some(kind) = ColumnKind::of(&value)
                    && key.len() <= KEY_BYTES_MAX
                    && let Some(count) = counts.entry(key).or_default().get_mut(kind as usize)
                {
                    *count += 1;
                }
            }
        }
        const KINDS: [ColumnKind; 4] =
            [ColumnKind::Text, ColumnKind::Int, ColumnKind::Double, ColumnKind::Bool];
        let mut chosen: Vec<(usize, &str, ColumnKind)> = counts
            .into_iter()
            .filter_map(|(key, by_kind)| {
                let (count, kind) = by_kind.into_iter().zip(KINDS).max_by_key(|(count, _)| *count)?;
                (count * ROWS_PER_OCCURRENCE_MAX >= n_rows).then_some((count, key, kind))
            })
            .collect();
        chosen.sort_unstable_by(|a, b| b.cmp(a));
        chosen.truncate(COLUMNS_MAX);
        let mut columns: Vec<(String, ColumnKind)> =
            chosen.into_iter().map(|(_, key, kind)| (key.to_owned(), kind)).collect();
        columns.sort_unstable();
        AttributeColumns { columns }
    }

    /// The Arrow fields, in the order of the columns.
    pub(crate) fn fields(&self) -> impl Iterator<Item = Field> {
        self.columns
            .iter()
            .map(|(key, kind)| Field::new(format!("{COLUMN_PREFIX}{key}"), kind.data_type(), true))
    }
}

enum Values {
    Text(TextColumn),
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
}

/// One column under construction; rows without the key are filled with nulls when the next value comes.
struct Column {
    key: Vec<u8>,
    values: Values,
    nulls: NullBufferBuilder,
    n_rows: usize,
}

impl Column {
    fn new(key: &str, kind: ColumnKind) -> Column {
        let values = match kind {
            ColumnKind::Text => Values::Text(TextColumn::default()),
            ColumnKind::Int => Values::Int(Vec::new()),
            ColumnKind::Double => Values::Double(Vec::new()),
            ColumnKind::Bool => Values::Bool(Vec::new()),
        };
        Column { key: key.as_bytes().to_vec(), values, nulls: NullBufferBuilder::new(0), n_rows: 0 }
    }

    fn pad(&mut self, n_rows: usize) {
        let missing = n_rows.saturating_sub(self.n_rows);
        if missing == 0 {
            return;
        }
        self.nulls.append_n_nulls(missing);
        match &mut self.values {
            Values::Text(column) => column.pad(n_rows),
            Values::Int(values) => values.resize(n_rows, 0),
            Values::Double(values) => values.resize(n_rows, 0.0),
            Values::Bool(values) => values.resize(n_rows, false),
        }
        self.n_rows = n_rows;
    }

    /// Takes the value for a row, unless the type differs or the row has one.
    fn push(&mut self, row: usize, value: &RawValue<'_>) -> bool {
        if self.n_rows > row {
            return false;
        }
        let fits = matches!(
            (&self.values, value),
            (Values::Text(_), RawValue::Text(_))
                | (Values::Int(_), RawValue::Int(_))
                | (Values::Double(_), RawValue::Double(_))
                | (Values::Bool(_), RawValue::Bool(_))
        );
        if fits {
            self.pad(row);
            self.n_rows = row + 1;
            self.nulls.append_non_null();
            match (&mut self.values, value) {
                (Values::Text(column), RawValue::Text(text)) => column.push(text),
                (Values::Int(values), RawValue::Int(n)) => values.push(*n),
                (Values::Double(values), RawValue::Double(d)) => values.push(*d),
                (Values::Bool(values), RawValue::Bool(b)) => values.push(*b),
                _ => {}
            }
        }
        fits
    }

    fn finish(mut self, n_rows: usize) -> ArrayRef {
        self.pad(n_rows);
        let nulls = self.nulls.finish();
        match self.values {
            Values::Text(column) => column.finish(nulls),
            Values::Int(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
        }
    }
}

/// Takes attribute lists apart, row by row.
pub(crate) struct Shredder {
    columns: Vec<Column>,
    by_key: HashMap<Vec<u8>, usize>,
    /// For each column, and for the start of a list, the columns that its attribute was followed by lately: attributes come
    /// in few orders.
    next: Vec<[usize; 2]>,
    residual: TextColumn,
    has_residual: Vec<bool>,
    n_rows: usize,
    /// The row's residual, as JSON without its closing brace.
    rest: String,
}

impl Shredder {
    pub(crate) fn new(columns: &AttributeColumns) -> Shredder {
        Shredder {
            columns: columns.columns.iter().map(|(key, kind)| Column::new(key, *kind)).collect(),
            by_key: columns
                .columns
                .iter()
                .enumerate()
                .map(|(at, (key, _))| (key.clone().into_bytes(), at))
                .collect(),
            next: vec![[usize::MAX; 2]; columns.columns.len() + 1],
            residual: TextColumn::default(),
            has_residual: Vec::new(),
            n_rows: 0,
            rest: String::new(),
        }
    }

    /// Takes the next row's list.
    pub(crate) fn push(&mut self, list: &[u8]) {
        let row = self.n_rows;
        self.n_rows += 1;
        self.rest.clear();
        let mut before = self.columns.len();
        for (key, value) in attribute::iter_raw(list) {
            let at = self.column_of(before, key);
            before = at.unwrap_or(before);
            if let Some(column) = at.and_then(|at| self.columns.get_mut(at))
                && column.push(row, &value)
            {
                continue;
            }
            self.rest.push(if self.rest.is_empty() { '{' } else { ',' });
            attribute::write_json_text(&mut self.rest, &String::from_utf8_lossy(key));
            self.rest.push(':');
            write_json(&mut self.rest, &value);
        }
        self.has_residual.push(!self.rest.is_empty());
        if self.rest.is_empty() {
            self.residual.pad(self.n_rows);
        } else {
            self.rest.push('}');
            self.residual.push(self.rest.as_bytes());
        }
    }

    /// The column of a key that follows the attribute of another column.
    #[inline]
    fn column_of(&mut self, before: usize, key: &[u8]) -> Option<usize> {
        let next = self.next.get_mut(before)?;
        for at in *next {
            if self.columns.get(at).is_some_and(|column| column.key == key) {
                return Some(at);
            }
        }
        let at = *self.by_key.get(key)?;
        let [last, _] = *next;
        *next = [at, last];
        Some(at)
    }

    /// The residual column and the attributes' columns, in the order of the keys.
    pub(crate) fn finish(self) -> (ArrayRef, Vec<ArrayRef>) {
        let n_rows = self.n_rows;
        let nulls = Some(NullBuffer::from(self.has_residual)).filter(|nulls| nulls.null_count() > 0);
        (self.residual.finish(nulls), self.columns.into_iter().map(|column| column.finish(n_rows)).collect())
    }
}

fn write_json(out: &mut String, value: &RawValue<'_>) {
    match value {
        RawValue::Text(text) => attribute::write_json_text(out, &String::from_utf8_lossy(text)),
        RawValue::Int(n) => Value::Int(*n).write_json(out),
        RawValue::Double(d) => Value::Double(*d).write_json(out),
        RawValue::Bool(b) => Value::Bool(*b).write_json(out),
        RawValue::Other(any) => Value::decode(any).unwrap_or(Value::Empty).write_json(out),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int32Type;
    use arrow_array::{Array, DictionaryArray, Int64Array, StringArray};

    use super::*;

    fn list(pairs: &[(&str, Value<'_>)]) -> Vec<u8> {
        let mut list = Vec::new();
        for (key, value) in pairs {
            attribute::push(&mut list, key, *value);
        }
        list
    }

    #[test]
    fn frequent_keys_become_columns_and_nothing_is_lost() {
        let rows = [
            list(&[("code", Value::Int(200)), ("path", Value::Str("/a"))]),
            list(&[("code", Value::Str("odd")), ("path", Value::Str("/b")), ("path", Value::Str("/twice"))]),
            list(&[("code", Value::Int(500))]),
        ];
        let columns = AttributeColumns::choose(rows.iter().map(Vec::as_slice));
        let names: Vec<String> = columns.fields().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["attributes.code", "attributes.path"]);
        let mut shredder = Shredder::new(&columns);
        rows.iter().for_each(|row| shredder.push(row));
        let (residual, values) = shredder.finish();
        let codes: &Int64Array = values[0].as_any().downcast_ref().unwrap();
        assert_eq!(codes.iter().collect::<Vec<_>>(), [Some(200), None, Some(500)]);
        let residual: &DictionaryArray<Int32Type> = residual.as_any().downcast_ref().unwrap();
        let residual = residual.downcast_dict::<StringArray>().unwrap();
        let rest: Vec<Option<&str>> = residual.into_iter().collect();
        assert_eq!(rest, [None, Some(r#"{"code":"odd","path":"/twice"}"#), None]);
        assert_eq!(values[1].null_count(), 1);
    }

    #[test]
    fn rare_keys_stay_in_the_residual() {
        let common = list(&[("a", Value::Bool(true))]);
        let rare = list(&[("b", Value::Bool(true))]);
        let rows = std::iter::repeat_n(&common, 150).chain([&rare]);
        let columns = AttributeColumns::choose(rows.map(Vec::as_slice));
        assert_eq!(columns.fields().count(), 1);
    }
}
