//! Which series a span belongs to.
//!
//! A batch has few distinct values of a field by which series are made. Each gets a small number within the batch, so that a span is
//! placed by a look into a table; what a value is as a label is asked for once for each value and batch.

use ahash::AHashMap as HashMap;
use throughline_exec::ExecError;

use crate::column::{Column, NIL};
use crate::eval::fields::{FieldRef, Rows};
use crate::value::{Value, ValueKey};

/// Values of one field of a batch by number: of each span its number, and of each number its value.
struct Numbered {
    of_row: Vec<u32>,
    values: Vec<Option<Value>>,
}

/// Groups by the values of fields.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by: Vec<FieldRef>,
    known: HashMap<Vec<ValueKey>, usize>,
    values: Vec<Vec<Option<Value>>>,
}

impl Groups {
    pub fn new(by: Vec<FieldRef>) -> Groups {
        Groups { by, ..Groups::default() }
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The values of each group.
    pub fn into_values(self) -> Vec<Vec<Option<Value>>> {
        self.values
    }

    /// The group of each of the spans, which are not all of the batch; new ones are added.
    pub fn of(&mut self, rows: &Rows<'_>, chosen: &[u32]) -> Result<Vec<usize>, ExecError> {
        if self.by.is_empty() {
            if self.values.is_empty() {
                self.values.push(Vec::new());
            }
            return Ok(vec![0; chosen.len()]);
        }
        let mut columns = Vec::with_capacity(self.by.len());
        for field in &self.by {
            columns.push(numbered(rows, *field, chosen)?);
        }
        // A number for each combination, as digits of different bases.
        let mut of_batch: HashMap<u64, usize> = HashMap::new();
        let mut table: Vec<Option<usize>> = match columns.as_slice() {
            [only] => vec![None; only.values.len()],
            _ => Vec::new(),
        };
        let mut found = Vec::with_capacity(chosen.len());
        for at in 0..chosen.len() {
            let digits = columns.iter().map(|column| column.of_row.get(at).copied().unwrap_or_default());
            let combination = digits.clone().zip(&columns).fold(0u64, |number, (digit, column)| {
                number.wrapping_mul(column.values.len() as u64).wrapping_add(u64::from(digit))
            });
            let known = match table.get(combination as usize) {
                Some(place) if columns.len() == 1 => *place,
                _ => of_batch.get(&combination).copied(),
            };
            let group = match known {
                Some(group) => group,
                None => {
                    let values = digits
                        .zip(&columns)
                        .map(|(digit, column)| column.values.get(digit as usize).cloned().flatten());
                    let group = self.group(values.collect());
                    match table.get_mut(combination as usize) {
                        Some(place) if columns.len() == 1 => *place = Some(group),
                        _ => _ = of_batch.insert(combination, group),
                    }
                    group
                }
            };
            found.push(group);
        }
        Ok(found)
    }

    /// The group of these values, which is added if it is new.
    pub fn place(&mut self, values: Vec<Option<Value>>) -> usize {
        if !self.by.is_empty() {
            return self.group(values);
        }
        if self.values.is_empty() {
            self.values.push(values);
        }
        0
    }

    fn group(&mut self, values: Vec<Option<Value>>) -> usize {
        let key: Vec<ValueKey> = values.iter().map(|value| ValueKey::of(value.as_ref())).collect();
        let next = self.values.len();
        let group = *self.known.entry(key).or_insert(next);
        if group == next {
            self.values.push(values);
        }
        group
    }
}

/// The values of a field, numbered.
fn numbered(rows: &Rows<'_>, field: FieldRef, chosen: &[u32]) -> Result<Numbered, ExecError> {
    if let Some(number) = field.single() {
        match rows.column(number)? {
            Column::Nil => return Ok(Numbered { of_row: vec![0; chosen.len()], values: vec![None] }),
            // The keys are numbers already; nothing comes after the last.
            Column::Texts(keys, texts) => {
                let nil = texts.len() as u32;
                let values = texts.iter().map(|text| Some(Value::Text(text.to_owned()))).chain([None]);
                return Ok(Numbered { of_row: picked(keys, chosen, nil), values: values.collect() });
            }
            column @ Column::Cells(keys, cells) => {
                let nil = cells.len() as u32;
                let mut values: Vec<Option<Value>> = vec![None; cells.len() + 1];
                for row in chosen {
                    let key = keys.get(*row as usize).copied().unwrap_or(NIL);
                    if let Some(place) = values.get_mut(key as usize).filter(|place| place.is_none()) {
                        *place = column.get(*row as usize).owned();
                    }
                }
                return Ok(Numbered { of_row: picked(keys, chosen, nil), values });
            }
            _ => {}
        }
    }
    let mut known: HashMap<ValueKey, u32> = HashMap::new();
    let (mut of_row, mut values) = (Vec::with_capacity(chosen.len()), Vec::new());
    for row in chosen {
        let value = rows.get(field, *row as usize)?.owned();
        let next = values.len() as u32;
        let number = *known.entry(ValueKey::of(value.as_ref())).or_insert(next);
        if number == next {
            values.push(value);
        }
        of_row.push(number);
    }
    Ok(Numbered { of_row, values })
}

fn picked(keys: &[u32], chosen: &[u32], nil: u32) -> Vec<u32> {
    let key = |row: &u32| keys.get(*row as usize).copied().filter(|key| *key != NIL).unwrap_or(nil);
    chosen.iter().map(key).collect()
}
