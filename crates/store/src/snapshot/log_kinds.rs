//! Kinds of log records: records that are alike in all that is wanted of them, so that a count need not look at each.
//!
//! A block stores of most columns the distinct values and a number for each row. Rows with the same numbers in all wanted
//! columns are of one *kind*; what is derived from a row's fields is derived once for its kind.

use ahash::AHashMap as HashMap;
use serde_json::Value as Json;
use throughline_model::Level;

use super::json_map;
use super::log_scan::{FieldValue, LogFields, LogVisitor, Progress, ScannedLogs};

/// The number of a row without a value.
pub(crate) const NO_VALUE: u32 = u32::MAX;

/// The distinct values of a column, by number.
#[derive(Debug)]
pub(crate) enum Distinct {
    /// Texts one after the other, and where each ends.
    Texts(String, Vec<u32>),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
    Bools,
}

impl Distinct {
    pub(crate) fn text(&self, number: u32) -> Option<&str> {
        let Distinct::Texts(text, ends) = self else { return None };
        let at = number as usize;
        let from = at.checked_sub(1).map_or(Some(0), |before| ends.get(before).copied())?;
        text.get(from as usize..*ends.get(at)? as usize)
    }

    /// The value of a number; none where there is none.
    pub(crate) fn value(&self, number: u32) -> Option<FieldValue<'_>> {
        let at = number as usize;
        match self {
            _ if number == NO_VALUE => None,
            Distinct::Texts(..) => self.text(number).map(FieldValue::Text),
            Distinct::Ints(numbers) => numbers.get(at).copied().map(FieldValue::Int),
            Distinct::Doubles(numbers) => numbers.get(at).copied().map(FieldValue::Double),
            Distinct::Bools => Some(FieldValue::Bool(number != 0)),
        }
    }
}

/// What a column of kinds is.
#[derive(Debug)]
pub(crate) enum KindColumn {
    /// Codes of levels.
    Level,
    /// OTLP's severity numbers.
    SeverityNumber,
    SeverityText(Distinct),
    /// The values of an attribute.
    Attribute(String, Distinct),
    /// JSON objects with the attributes that have no column.
    Attributes(Distinct),
}

/// Kinds of rows: for each a number in each column.
#[derive(Debug, Default)]
pub struct Kinds {
    columns: Vec<KindColumn>,
    /// Kind after kind.
    numbers: Vec<u32>,
    len: usize,
}

impl Kinds {
    pub(crate) fn new(columns: Vec<KindColumn>) -> Kinds {
        Kinds { columns, numbers: Vec::new(), len: 0 }
    }

    /// Adds a kind with its number in each column.
    pub(crate) fn push(&mut self, numbers: impl IntoIterator<Item = u32>) {
        self.len += 1;
        self.numbers.extend(numbers);
        self.numbers.resize(self.len * self.columns.len(), NO_VALUE);
    }

    /// A value of a column.
    pub(crate) fn value(&self, column: usize, number: u32) -> Option<FieldValue<'_>> {
        match self.columns.get(column)? {
            KindColumn::Attribute(_, values) => values.value(number),
            _ => None,
        }
    }

    fn columns_of(&self, kind: u32) -> impl Iterator<Item = (&KindColumn, u32)> {
        let from = kind as usize * self.columns.len();
        let numbers = self.numbers.get(from..from + self.columns.len()).unwrap_or_default();
        self.columns.iter().zip(numbers.iter().copied())
    }

    /// The level.
    pub(crate) fn level(&self, kind: u32) -> Level {
        let of = self.columns_of(kind).find_map(|(column, number)| match column {
            KindColumn::Level => Some(Level::from_code(number as u8)),
            _ => None,
        });
        of.unwrap_or_default()
    }

    /// OTLP's severity number; 0 where there is none.
    pub(crate) fn severity_number(&self, kind: u32) -> u8 {
        let of = self.columns_of(kind).find_map(|(column, number)| match column {
            KindColumn::SeverityNumber => Some(number as u8),
            _ => None,
        });
        of.unwrap_or_default()
    }

    /// The severity's text; empty where there is none.
    pub(crate) fn severity_text(&self, kind: u32) -> &str {
        let of = self.columns_of(kind).find_map(|(column, number)| match column {
            KindColumn::SeverityText(texts) => texts.text(number),
            _ => None,
        });
        of.unwrap_or_default()
    }

    fn attributes(&self, kind: u32) -> impl Iterator<Item = (&KindColumn, u32)> {
        let is_attribute =
            |column: &KindColumn| matches!(column, KindColumn::Attribute(..) | KindColumn::Attributes(_));
        self.columns_of(kind).filter(move |(column, number)| is_attribute(column) && *number != NO_VALUE)
    }

    /// Whether a kind has attributes.
    pub(crate) fn has_attributes(&self, kind: u32) -> bool {
        self.attributes(kind).next().is_some()
    }

    /// Calls `visit` with each attribute of a kind.
    pub(crate) fn each_attribute(&self, kind: u32, visit: &mut dyn FnMut(&str, FieldValue<'_>)) {
        for (column, number) in self.attributes(kind) {
            match column {
                KindColumn::Attribute(key, values) => {
                    values.value(number).into_iter().for_each(|value| visit(key, value));
                }
                KindColumn::Attributes(objects) => {
                    each_of_object(objects.text(number).unwrap_or_default(), visit);
                }
                _ => {}
            }
        }
    }
}

/// Counts of records by origin, level and piece of time.
pub(crate) struct LevelCounts {
    has_levels: bool,
    /// The place of each origin, level and first nanosecond of a piece.
    places: HashMap<(u32, u32, i64), usize>,
    /// What was added last, and its place.
    last: Option<((u32, u32, i64), usize)>,
    origins: Vec<u32>,
    levels: Vec<u32>,
    times: Vec<i64>,
    counts: Vec<u64>,
}

impl LevelCounts {
    /// No counts yet; without levels those that are added are left aside.
    pub(crate) fn new(has_levels: bool) -> LevelCounts {
        LevelCounts {
            has_levels,
            places: HashMap::new(),
            last: None,
            origins: Vec::new(),
            levels: Vec::new(),
            times: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Adds records of a piece of time, of which the first nanosecond is given, and a time in it.
    pub(crate) fn add(&mut self, origin: u32, level: u32, (piece, time): (i64, i64), count: u64) {
        let level = if self.has_levels { level } else { 0 };
        let key = (origin, level, piece);
        let next = self.counts.len();
        let place = match self.last {
            Some((last, place)) if last == key => place,
            _ => *self.places.entry(key).or_insert(next),
        };
        self.last = Some((key, place));
        if place == next {
            self.origins.push(origin);
            self.levels.push(level);
            self.times.push(time);
            self.counts.push(0);
        }
        if let Some(sum) = self.counts.get_mut(place) {
            *sum += count;
        }
    }

    /// Hands the counts out, if anything is wanted still.
    pub(crate) fn hand_out(&self, visitor: &mut dyn LogVisitor, progress: &mut Progress) {
        if self.counts.is_empty() || progress.is_over() {
            return;
        }
        let mut kinds = Kinds::new(vec![KindColumn::Level]);
        let n_levels = self.levels.iter().max().map_or(0, |level| level + 1);
        (0..n_levels).for_each(|level| kinds.push([level]));
        let fields = if self.has_levels { LogFields::Kinds(&kinds, &self.levels) } else { LogFields::None };
        let rows = ScannedLogs {
            origins: &self.origins,
            times: &self.times,
            counts: &self.counts,
            bodies: &[],
            body_bytes: &[],
            fields,
        };
        progress.note(visitor.rows(&rows));
    }
}

/// Calls `visit` with each attribute of a JSON object.
pub(crate) fn each_of_object(object: &str, visit: &mut dyn FnMut(&str, FieldValue<'_>)) {
    for (key, value) in json_map(object) {
        match &value {
            Json::String(text) => visit(&key, FieldValue::Text(text)),
            Json::Bool(is) => visit(&key, FieldValue::Bool(*is)),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => visit(&key, FieldValue::Int(number)),
                (None, Some(number)) => visit(&key, FieldValue::Double(number)),
                (None, None) => {}
            },
            other => visit(&key, FieldValue::Json(other)),
        }
    }
}
