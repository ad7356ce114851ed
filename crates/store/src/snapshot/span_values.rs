//! The values of a column of spans.

use serde_json::Value as Json;
use throughline_model::SpanId;
use throughline_model::attribute::{self, Value};

/// The values of a column, one for each row.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanValues {
    /// No row has one.
    None,
    /// The key of each row, [`SpanValues::NO_VALUE`] where it has none, and texts one after the other with their ends.
    Texts(Vec<u32>, String, Vec<u32>),
    /// Integers, and which rows have one, if not all.
    Ints(Vec<i64>, Option<Vec<bool>>),
    /// Numbers, likewise.
    Doubles(Vec<f64>, Option<Vec<bool>>),
    /// Truth values, likewise.
    Bools(Vec<bool>, Option<Vec<bool>>),
    /// Ids of spans.
    Ids(Vec<Option<SpanId>>),
    /// Values of any type.
    Mixed(Vec<Option<Json>>),
}

impl SpanValues {
    /// The key of a row without a value.
    pub const NO_VALUE: u32 = u32::MAX;

    /// Texts, of which equal ones are one.
    pub(crate) fn texts<'t>(texts: impl Iterator<Item = Option<&'t str>>) -> SpanValues {
        let mut known: ahash::AHashMap<&'t str, u32> = ahash::AHashMap::new();
        let (mut keys, mut all, mut ends) = (Vec::new(), String::new(), Vec::new());
        for text in texts {
            keys.push(match text {
                None => SpanValues::NO_VALUE,
                Some(text) => *known.entry(text).or_insert_with(|| {
                    all.push_str(text);
                    ends.push(u32::try_from(all.len()).unwrap_or(u32::MAX));
                    ends.len() as u32 - 1
                }),
            });
        }
        if ends.is_empty() { SpanValues::None } else { SpanValues::Texts(keys, all, ends) }
    }

    /// Values of attributes: of one type where they are.
    pub(crate) fn attributes(values: &[Option<Value<'_>>]) -> SpanValues {
        let found = || values.iter().flatten();
        if found().next().is_none() {
            return SpanValues::None;
        }
        let present = || {
            let present: Vec<bool> = values.iter().map(Option::is_some).collect();
            present.contains(&false).then_some(present)
        };
        if found().all(|value| matches!(value, Value::Str(_))) {
            return SpanValues::texts(values.iter().map(|value| match value {
                Some(Value::Str(text)) => Some(*text),
                _ => None,
            }));
        }
        if found().all(|value| matches!(value, Value::Int(_))) {
            let ints = values.iter().map(|value| match value {
                Some(Value::Int(number)) => *number,
                _ => 0,
            });
            return SpanValues::Ints(ints.collect(), present());
        }
        if found().all(|value| matches!(value, Value::Double(_))) {
            let doubles = values.iter().map(|value| match value {
                Some(Value::Double(number)) => *number,
                _ => 0.0,
            });
            return SpanValues::Doubles(doubles.collect(), present());
        }
        if found().all(|value| matches!(value, Value::Bool(_))) {
            let bools = values.iter().map(|value| matches!(value, Some(Value::Bool(true))));
            return SpanValues::Bools(bools.collect(), present());
        }
        SpanValues::Mixed(values.iter().map(|value| value.map(|value| value.to_json())).collect())
    }

    /// Some rows of them.
    pub(crate) fn some(&self, rows: impl Iterator<Item = usize>) -> SpanValues {
        fn numbers<T: Copy + Default>(
            (values, present): (&[T], &Option<Vec<bool>>),
            rows: impl Iterator<Item = usize>,
            make: fn(Vec<T>, Option<Vec<bool>>) -> SpanValues,
        ) -> SpanValues {
            let has = |row: usize| present.as_ref().is_none_or(|present| present.get(row) == Some(&true));
            let some = rows.map(|row| (values.get(row).copied().unwrap_or_default(), has(row)));
            let (values, present): (Vec<T>, Vec<bool>) = some.unzip();
            match present.contains(&true) {
                true => make(values, present.contains(&false).then_some(present)),
                false => SpanValues::None,
            }
        }
        match self {
            SpanValues::None => SpanValues::None,
            SpanValues::Texts(keys, text, ends) => {
                let (mut some, mut all, mut all_ends) = (Vec::new(), String::new(), Vec::new());
                let mut places = vec![SpanValues::NO_VALUE; ends.len()];
                for row in rows {
                    let key = keys.get(row).map_or(usize::MAX, |key| *key as usize);
                    let (Some(place), Some(end)) = (places.get_mut(key), ends.get(key)) else {
                        some.push(SpanValues::NO_VALUE);
                        continue;
                    };
                    if *place == SpanValues::NO_VALUE {
                        let start = key.checked_sub(1).and_then(|before| ends.get(before)).copied();
                        let of_key = start.unwrap_or_default() as usize..*end as usize;
                        *place = all_ends.len() as u32;
                        all.push_str(text.get(of_key).unwrap_or_default());
                        all_ends.push(u32::try_from(all.len()).unwrap_or(u32::MAX));
                    }
                    some.push(*place);
                }
                if all_ends.is_empty() { SpanValues::None } else { SpanValues::Texts(some, all, all_ends) }
            }
            SpanValues::Ints(values, present) => numbers((values, present), rows, SpanValues::Ints),
            SpanValues::Doubles(values, present) => numbers((values, present), rows, SpanValues::Doubles),
            SpanValues::Bools(values, present) => numbers((values, present), rows, SpanValues::Bools),
            SpanValues::Ids(ids) => {
                let some: Vec<Option<SpanId>> = rows.map(|row| ids.get(row).copied().flatten()).collect();
                if some.iter().any(Option::is_some) { SpanValues::Ids(some) } else { SpanValues::None }
            }
            SpanValues::Mixed(values) => {
                SpanValues::Mixed(rows.map(|row| values.get(row).cloned().flatten()).collect())
            }
        }
    }

    /// The value of a row as JSON.
    pub(crate) fn json(&self, row: usize) -> Option<Json> {
        let has = |present: &Option<Vec<bool>>| present.as_ref().is_none_or(|p| p.get(row) == Some(&true));
        match self {
            SpanValues::None => None,
            SpanValues::Texts(..) => self.text(row).map(Json::from),
            SpanValues::Ints(values, present) if has(present) => {
                values.get(row).map(|value| Json::from(*value))
            }
            SpanValues::Doubles(values, present) if has(present) => {
                values.get(row).map(|value| attribute::Value::Double(*value).to_json())
            }
            SpanValues::Bools(values, present) if has(present) => {
                values.get(row).map(|value| Json::from(*value))
            }
            SpanValues::Ints(..) | SpanValues::Doubles(..) | SpanValues::Bools(..) => None,
            SpanValues::Ids(ids) => ids.get(row).copied().flatten().map(|id| Json::from(id.to_string())),
            SpanValues::Mixed(values) => values.get(row).cloned().flatten(),
        }
    }

    /// The text of a row.
    pub fn text(&self, row: usize) -> Option<&str> {
        let SpanValues::Texts(keys, texts, ends) = self else { return None };
        let key = *keys.get(row)? as usize;
        let start = key.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or_default();
        texts.get(start as usize..*ends.get(key)? as usize)
    }

    /// The integer of a row.
    pub fn int(&self, row: usize) -> Option<i64> {
        match self {
            SpanValues::Ints(values, None) => values.get(row).copied(),
            SpanValues::Ints(values, Some(present)) if present.get(row) == Some(&true) => {
                values.get(row).copied()
            }
            _ => None,
        }
    }

    /// The number of a row that is not an integer.
    pub fn double(&self, row: usize) -> Option<f64> {
        match self {
            SpanValues::Doubles(values, None) => values.get(row).copied(),
            SpanValues::Doubles(values, Some(present)) if present.get(row) == Some(&true) => {
                values.get(row).copied()
            }
            _ => None,
        }
    }
}
