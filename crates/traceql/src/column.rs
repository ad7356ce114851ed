//! One field of many spans.
//!
//! Texts and what is like them repeat: a column has each of them once, and for each span the key of its own. A condition is
//! decided once for each distinct value.

use crate::ast::{SpanKind, SpanStatus};
use crate::value::{Scalar, Value, ValueRef};

/// The key of a span that has no value.
pub const NIL: u32 = u32::MAX;

/// One field of the spans of a batch.
#[derive(Clone, Debug, Default)]
pub enum Column {
    /// No span has it.
    #[default]
    Nil,
    /// Whole numbers.
    Ints(Numbers<i64>),
    /// Nanoseconds.
    Durations(Numbers<i64>),
    /// Numbers.
    Floats(Numbers<f64>),
    /// Truth values.
    Bools(Numbers<bool>),
    /// Texts, and the key of each span.
    Texts(Vec<u32>, Texts),
    /// Values of any type, and the key of each span.
    Cells(Vec<u32>, Vec<Cell>),
}

/// Numbers of spans, and which of the spans have one.
#[derive(Clone, Debug, Default)]
pub struct Numbers<T> {
    /// Of each span; anything where it has none.
    pub values: Vec<T>,
    /// Whether each span has one; nothing if all have.
    pub present: Option<Vec<bool>>,
}

/// What a span may have of a field, any of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A value.
    One(Value),
    /// One value of each event or link; at least one.
    Each(Vec<Value>),
}

/// Texts one after the other.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    text: String,
    ends: Vec<u32>,
}

impl Texts {
    /// Texts that lie one after the other; each ends where `ends` says.
    #[must_use]
    pub fn new(text: String, ends: Vec<u32>) -> Texts {
        Texts { text, ends }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A text; one that is not there is empty.
    #[must_use]
    pub fn get(&self, at: usize) -> &str {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let end = self.ends.get(at).copied().unwrap_or_default();
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Adds a text and says which it is.
    pub fn push(&mut self, text: &str) -> u32 {
        self.text.push_str(text);
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        self.ends.len() as u32 - 1
    }

    /// The bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<u32>()
    }
}

impl<'t> FromIterator<&'t str> for Texts {
    fn from_iter<I: IntoIterator<Item = &'t str>>(texts: I) -> Texts {
        let mut all = Texts::default();
        texts.into_iter().for_each(|text| _ = all.push(text));
        all
    }
}

impl<T: Copy> Numbers<T> {
    /// Numbers that all spans have.
    #[must_use]
    pub fn all(values: Vec<T>) -> Numbers<T> {
        Numbers { values, present: None }
    }

    /// The number of a span.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<T> {
        let present = self.present.as_ref().is_none_or(|present| present.get(row) == Some(&true));
        if present { self.values.get(row).copied() } else { None }
    }
}

impl Cell {
    fn borrow(&self) -> ValueRef<'_> {
        match self {
            Cell::One(value) => value.borrow(),
            Cell::Each(values) => ValueRef::Each(values),
        }
    }
}

impl Column {
    /// The statuses of spans from OTLP's codes.
    #[must_use]
    pub fn statuses(codes: &[u8]) -> Column {
        let cells = SpanStatus::ALL.map(|status| Cell::One(Value::Status(status)));
        // OTLP counts unset, ok, error, which is the order here; what it does not know is unset.
        let key = |code: &u8| if usize::from(*code) < cells.len() { u32::from(*code) } else { 0 };
        Column::Cells(codes.iter().map(key).collect(), cells.to_vec())
    }

    /// The kinds of spans from OTLP's codes.
    #[must_use]
    pub fn kinds(codes: &[u8]) -> Column {
        let cells = SpanKind::ALL.map(|kind| Cell::One(Value::Kind(kind)));
        let key = |code: &u8| if usize::from(*code) < cells.len() { u32::from(*code) } else { 0 };
        Column::Cells(codes.iter().map(key).collect(), cells.to_vec())
    }

    /// Values of any type, one for each span.
    #[must_use]
    pub fn cells(values: impl Iterator<Item = Option<Cell>>) -> Column {
        let (mut keys, mut cells) = (Vec::new(), Vec::new());
        for value in values {
            keys.push(match value {
                None => NIL,
                Some(value) => {
                    cells.push(value);
                    cells.len() as u32 - 1
                }
            });
        }
        if cells.is_empty() { Column::Nil } else { Column::Cells(keys, cells) }
    }

    /// What a span has.
    #[must_use]
    pub fn get(&self, row: usize) -> ValueRef<'_> {
        let one = |scalar: Option<Scalar<'static>>| scalar.map_or(ValueRef::Nil, ValueRef::One);
        match self {
            Column::Nil => ValueRef::Nil,
            Column::Ints(numbers) => one(numbers.get(row).map(Scalar::Int)),
            Column::Durations(numbers) => one(numbers.get(row).map(Scalar::Duration)),
            Column::Floats(numbers) => one(numbers.get(row).map(Scalar::Float)),
            Column::Bools(numbers) => one(numbers.get(row).map(Scalar::Bool)),
            Column::Texts(keys, texts) => match keys.get(row) {
                Some(key) if (*key as usize) < texts.len() => {
                    ValueRef::One(Scalar::Text(texts.get(*key as usize)))
                }
                _ => ValueRef::Nil,
            },
            Column::Cells(keys, cells) => {
                keys.get(row).and_then(|key| cells.get(*key as usize)).map_or(ValueRef::Nil, Cell::borrow)
            }
        }
    }

    /// The whole number that a span has, if it has one: of durations nanoseconds.
    #[must_use]
    pub fn int(&self, row: usize) -> Option<i64> {
        match self {
            Column::Ints(numbers) | Column::Durations(numbers) => numbers.get(row),
            _ => None,
        }
    }

    /// The text that a span has, if it has one.
    #[must_use]
    pub fn text(&self, row: usize) -> Option<&str> {
        match self.get(row).scalar() {
            Some(Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether a span has the truth value true.
    #[must_use]
    pub fn is_true(&self, row: usize) -> bool {
        matches!(self.get(row), ValueRef::One(Scalar::Bool(true)))
    }

    /// The column with a text for each of so many spans that has nothing.
    #[must_use]
    pub fn or_text(self, text: &str, len: usize) -> Column {
        let fill = |keys: &mut Vec<u32>, key: usize| {
            keys.iter_mut().filter(|old| **old == NIL).for_each(|old| *old = key as u32);
        };
        match self {
            Column::Nil => Column::Texts(vec![0; len], [text].into_iter().collect()),
            Column::Texts(mut keys, mut texts) if keys.contains(&NIL) => {
                fill(&mut keys, texts.len());
                texts.push(text);
                Column::Texts(keys, texts)
            }
            Column::Cells(mut keys, mut cells) if keys.contains(&NIL) => {
                fill(&mut keys, cells.len());
                cells.push(Cell::One(Value::Text(text.to_owned())));
                Column::Cells(keys, cells)
            }
            full => full,
        }
    }

    /// Some rows of several columns of one field as one column: of each row the column and the row of it.
    #[must_use]
    pub fn gathered(columns: &[Column], order: &[(u32, u32)]) -> Column {
        if columns.iter().all(|column| matches!(column, Column::Nil)) {
            return Column::Nil;
        }
        let at = |(column, row): (u32, u32)| Some((columns.get(column as usize)?, row as usize));
        let ints = |is: fn(&Column) -> Option<&Numbers<i64>>| -> Option<Numbers<i64>> {
            let all =
                columns.iter().all(|column| is(column).is_some_and(|numbers| numbers.present.is_none()));
            let number = |place: &(u32, u32)| {
                let (column, row) = at(*place)?;
                is(column)?.get(row)
            };
            if all { order.iter().map(number).collect::<Option<Vec<i64>>>().map(Numbers::all) } else { None }
        };
        if let Some(numbers) = ints(|column| match column {
            Column::Ints(numbers) => Some(numbers),
            _ => None,
        }) {
            return Column::Ints(numbers);
        }
        if let Some(numbers) = ints(|column| match column {
            Column::Durations(numbers) => Some(numbers),
            _ => None,
        }) {
            return Column::Durations(numbers);
        }
        if columns.iter().all(|column| matches!(column, Column::Nil | Column::Texts(..))) {
            let mut texts = Texts::default();
            let key = |place: &(u32, u32)| {
                let text = at(*place).and_then(|(column, row)| column.text(row));
                text.map_or(NIL, |text| texts.push(text))
            };
            return Column::Texts(order.iter().map(key).collect(), texts);
        }
        Column::cells(order.iter().map(|place| {
            let (column, row) = at(*place)?;
            match column.get(row) {
                ValueRef::Nil => None,
                ValueRef::Each(values) => Some(Cell::Each(values.to_vec())),
                one => one.owned().map(Cell::One),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_one_field_are_gathered() {
        let texts = Column::Texts(vec![0, NIL, 0], ["a"].into_iter().collect());
        let more = Column::Texts(vec![1], ["b", "c"].into_iter().collect());
        let both = Column::gathered(&[texts.clone(), more], &[(1, 0), (0, 1), (0, 2)]);
        assert_eq!([both.text(0), both.text(1), both.text(2)], [Some("c"), None, Some("a")]);
        let ints = Column::Ints(Numbers::all(vec![5]));
        let mixed = Column::gathered(&[texts, ints, Column::Nil], &[(0, 0), (1, 0), (2, 0)]);
        assert_eq!(mixed.get(1).owned(), Some(Value::Int(5)));
        assert!(mixed.get(2).is_nil() && !mixed.get(0).is_nil());
    }
}
