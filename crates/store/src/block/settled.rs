//! Slots that do not vary go back into their pattern.
//!
//! [`bodies`](super::bodies) takes every word with a digit for a slot, and many of them are a part of the text: a status code, a port, a
//! line number. A merge sees a whole row group. Where a slot is the same in all lines of a pattern in it, it stands in the pattern
//! again, which the dictionary stores once, and in no line. Putting a line together does not change.
//!
//! A pattern with slots in it is *settled*. What [`Splitter`](super::bodies::Splitter) makes of a line is its *mask*, which is the same
//! everywhere; it follows from the settled pattern alone, because slots lie apart from each other and from what is not one ([`mask`]).
//! So a merge takes the lines of its inputs apart again before it settles them anew.
//!
//! Of a line at most [`SLOTS_MAX`] slots of at most [`SLOT_BYTES_MAX`] bytes are settled, so that taking lines apart makes little of
//! much: 8 KiB a line.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use arrow_array::builder::StringBuilder;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow_buffer::ScalarBuffer;
use arrow_schema::ArrowError;

use super::bodies::{PLACEHOLDER, SEPARATOR, slot_at};

/// Lines that a pattern must have in a row group: of fewer, it is chance that they are alike, and a text of its own in the dictionary
/// costs more than their slots.
const LINES_MIN: u32 = 16;

/// Slots of a line that are looked at; those after them vary for all we know.
const SLOTS_MAX: usize = u128::BITS as usize;

/// Longer slots stay where they are.
const SLOT_BYTES_MAX: usize = 64;

/// The rows of a row group of `logs.parquet` as they are written: with the slots in the patterns that do not vary in them.
pub(crate) fn settle(pieces: &[RecordBatch]) -> Result<Vec<RecordBatch>, ArrowError> {
    let bodies: Vec<Option<BodiesOf<'_>>> = pieces.iter().map(BodiesOf::new).collect();
    let mut masks = Masks::default();
    let numbers: Vec<Vec<u32>> = bodies
        .iter()
        .map(|bodies| bodies.as_ref().map(|bodies| masks.add(bodies)))
        .map(Option::unwrap_or_default)
        .collect();
    let settle = |((rows, bodies), numbers): ((&RecordBatch, &Option<BodiesOf<'_>>), &Vec<u32>)| {
        with_bodies(rows, bodies.as_ref().and_then(|bodies| masks.settled(bodies, numbers)))
    };
    pieces.iter().zip(&bodies).zip(&numbers).map(settle).collect()
}

/// Rows of `logs.parquet` with the masks of their lines for patterns, whatever was settled where they come from.
pub(crate) fn take_apart(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    with_bodies(rows, BodiesOf::new(rows).and_then(|bodies| taken_apart(&bodies)))
}

/// The columns of rows that their bodies are made of.
struct BodiesOf<'a> {
    keys: &'a [i32],
    patterns: &'a StringArray,
    slots: &'a StringArray,
}

impl<'a> BodiesOf<'a> {
    /// `None` where a row has no pattern, which no file of the store has.
    fn new(rows: &'a RecordBatch) -> Option<BodiesOf<'a>> {
        let keys: &DictionaryArray<Int32Type> = rows.column_by_name("pattern")?.as_any().downcast_ref()?;
        let patterns = keys.values().as_any().downcast_ref()?;
        let slots = rows.column_by_name("slots")?.as_any().downcast_ref()?;
        (keys.null_count() == 0).then_some(BodiesOf { keys: keys.keys().values(), patterns, slots })
    }

    /// The key of the pattern of each row, and its slots.
    fn rows(&self) -> impl Iterator<Item = (usize, Option<&'a str>)> {
        let slots = self.slots;
        let of = move |row: usize| (!slots.is_null(row)).then(|| slots.value(row));
        let key = |key: i32| usize::try_from(key).unwrap_or(usize::MAX);
        self.keys.iter().enumerate().map(move |(row, of_row)| (key(*of_row), of(row)))
    }
}

/// The rows with other bodies, if there are any.
fn with_bodies(rows: &RecordBatch, bodies: Option<Bodies>) -> Result<RecordBatch, ArrowError> {
    let Some((patterns, slots)) = bodies else { return Ok(rows.clone()) };
    let fields = rows.schema_ref().fields().iter().zip(rows.columns());
    let columns = fields.map(|(field, column)| match field.name().as_str() {
        "pattern" => Arc::new(patterns.clone()) as ArrayRef,
        "slots" => Arc::new(slots.clone()),
        _ => column.clone(),
    });
    RecordBatch::try_new(rows.schema(), columns.collect())
}

/// A dictionary of patterns and the slots of each row.
type Bodies = (DictionaryArray<Int32Type>, StringArray);

/// Texts, each named by a number.
#[derive(Default)]
struct Numbered<'a> {
    numbers: HashMap<Cow<'a, str>, i32>,
    texts: Vec<Cow<'a, str>>,
}

impl<'a> Numbered<'a> {
    fn number(&mut self, text: Cow<'a, str>) -> i32 {
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        let number = self.texts.len() as i32;
        self.numbers.insert(text.clone(), number);
        self.texts.push(text);
        number
    }

    fn dictionary(self, keys: Vec<i32>) -> DictionaryArray<Int32Type> {
        let keys = Int32Array::new(ScalarBuffer::from(keys), None);
        DictionaryArray::new(keys, Arc::new(StringArray::from_iter_values(self.texts)))
    }
}

// === the slots of a pattern ===

/// A slot of a pattern: a placeholder, or text.
struct Slot {
    at: Range<usize>,
    is_open: bool,
}

/// The slots of a pattern in their order.
fn slots_of(pattern: &str) -> Vec<Slot> {
    let (mut slots, mut at) = (Vec::new(), 0);
    let bytes = pattern.as_bytes();
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(PLACEHOLDER.as_bytes()) {
            slots.push(Slot { at: at..at + PLACEHOLDER.len(), is_open: true });
            at += PLACEHOLDER.len();
            continue;
        }
        let (len, slot) = slot_at(rest);
        if let Some(len) = slot {
            slots.push(Slot { at: at..at + len, is_open: false });
        }
        at += len;
    }
    slots
}

/// A pattern with other texts for its slots.
fn with_slots<'a>(pattern: &'a str, slots: &[Slot], text_of: impl Fn(usize) -> &'a str) -> String {
    let (mut out, mut copied) = (String::with_capacity(pattern.len()), 0);
    for (number, slot) in slots.iter().enumerate() {
        out.push_str(pattern.get(copied..slot.at.start).unwrap_or_default());
        out.push_str(text_of(number));
        copied = slot.at.end;
    }
    out.push_str(pattern.get(copied..).unwrap_or_default());
    out
}

/// The mask of a pattern, or of a whole line: what lines have in common of which only the words with digits differ. The same for
/// all patterns of a line, settled or not.
pub(crate) fn mask(pattern: &str) -> Cow<'_, str> {
    match has_digit(pattern) {
        true => Cow::Owned(with_slots(pattern, &slots_of(pattern), |_| PLACEHOLDER)),
        false => Cow::Borrowed(pattern),
    }
}

/// Whether a pattern has slots that are no placeholders.
fn has_digit(pattern: &str) -> bool {
    pattern.bytes().any(|byte| byte.is_ascii_digit())
}

/// Takes the first of some words that a [`SEPARATOR`] stands between.
fn take_word<'a>(words: &mut &'a str) -> &'a str {
    // Words are short: a search that has to be set up costs more than the bytes.
    let end = words.bytes().position(|byte| byte == SEPARATOR as u8).unwrap_or(words.len());
    let (word, rest) = words.split_at_checked(end).unwrap_or((words, ""));
    *words = rest.get(1..).unwrap_or_default();
    word
}

/// Adds words after others.
fn push_words(into: &mut String, words: &str) {
    if !into.is_empty() && !words.is_empty() {
        into.push(SEPARATOR);
    }
    into.push_str(words);
}

// === taking settled patterns apart ===

/// What a pattern of the input is for its rows: for those with slots, or for those of which it is the whole body.
struct Apart<'a> {
    /// The number of its mask.
    mask: i32,
    /// Of each slot its text, and none where it is open; no slots where nothing is settled.
    slots: Vec<Option<&'a str>>,
}

impl<'a> Apart<'a> {
    fn new(pattern: &'a str, is_settled: bool, masks: &mut Numbered<'a>) -> Apart<'a> {
        if !is_settled {
            return Apart { mask: masks.number(Cow::Borrowed(pattern)), slots: Vec::new() };
        }
        let slots = slots_of(pattern);
        let text = |slot: &Slot| pattern.get(slot.at.clone()).filter(|_| !slot.is_open);
        let mask = with_slots(pattern, &slots, |_| PLACEHOLDER);
        Apart { mask: masks.number(Cow::Owned(mask)), slots: slots.iter().map(text).collect() }
    }

    /// Writes all slots, open and settled, in place of what `into` has.
    fn write(&self, mut open: &str, into: &mut String) {
        into.clear();
        for slot in &self.slots {
            push_words(into, slot.unwrap_or_else(|| take_word(&mut open)));
        }
    }
}

/// Rows with masks, from patterns that may be settled. `None` where they have them.
fn taken_apart(bodies: &BodiesOf<'_>) -> Option<Bodies> {
    let has_digits: Vec<bool> =
        bodies.patterns.iter().map(|pattern| pattern.is_some_and(has_digit)).collect();
    if !has_digits.contains(&true) {
        return None;
    }
    // A body with a placeholder in it has no slots, whatever looks like one.
    let is_settled = |key: usize, slots: Option<&str>| {
        has_digits.get(key) == Some(&true)
            && (slots.is_some() || !bodies.patterns.value(key).contains(PLACEHOLDER))
    };
    if !bodies.rows().any(|(key, slots)| is_settled(key, slots)) {
        return None;
    }
    let mut masks = Numbered::default();
    // For each pattern, what it is for rows without slots and for rows with them.
    let mut known: Vec<[Option<Apart<'_>>; 2]> = Vec::new();
    known.resize_with(bodies.patterns.len(), Default::default);
    let mut keys = Vec::with_capacity(bodies.keys.len());
    let mut out = StringBuilder::with_capacity(bodies.keys.len(), bodies.slots.value_data().len() * 2);
    let mut all = String::new();
    for (key, slots) in bodies.rows() {
        let place = known.get_mut(key)?.get_mut(usize::from(slots.is_some()))?;
        let new = || Apart::new(bodies.patterns.value(key), is_settled(key, slots), &mut masks);
        let apart = place.get_or_insert_with(new);
        keys.push(apart.mask);
        match apart.slots.is_empty() {
            true => out.append_option(slots),
            false => {
                apart.write(slots.unwrap_or_default(), &mut all);
                out.append_value(&all);
            }
        }
    }
    Some((masks.dictionary(keys), out.finish()))
}

// === settling ===

/// What the lines of a mask have in common.
struct Common<'a> {
    n_lines: u32,
    /// The slots of one of them.
    first: &'a str,
    /// A bit for each slot that all lines have as the first has it.
    same: u128,
}

impl<'a> Common<'a> {
    /// Of one line with slots.
    fn new(first: &'a str) -> Common<'a> {
        let words = first.split(SEPARATOR).take(SLOTS_MAX).enumerate();
        let short = words.filter(|(_, word)| word.len() <= SLOT_BYTES_MAX);
        Common { n_lines: 1, first, same: short.fold(0, |bits, (at, _)| bits | 1 << at) }
    }

    fn add(&mut self, slots: &str) {
        self.n_lines = self.n_lines.saturating_add(1);
        let (mut first, mut own, mut bit) = (self.first, slots, 1u128);
        // Nothing after the last slot that is the same is looked at, which is the most for most masks.
        while self.same >= bit {
            if take_word(&mut first) != take_word(&mut own) {
                self.same &= !bit;
            }
            bit = match bit.checked_mul(2) {
                Some(bit) => bit,
                None => break,
            };
        }
    }

    fn is_settled(&self) -> bool {
        self.n_lines >= LINES_MIN && self.same != 0
    }

    /// Whether a slot, by its number, is the same in all lines.
    fn has(&self, number: usize) -> bool {
        number < SLOTS_MAX && self.same >> number & 1 == 1
    }

    /// Whether no slot varies.
    fn is_whole(&self) -> bool {
        self.first.split(SEPARATOR).enumerate().all(|(number, _)| self.has(number))
    }

    /// The settled pattern.
    fn pattern(&self, mask: &str) -> String {
        let words: Vec<&str> = self.first.split(SEPARATOR).take(SLOTS_MAX).collect();
        let text = |number: usize| words.get(number).filter(|_| self.has(number)).copied();
        with_slots(mask, &slots_of(mask), |number| text(number).unwrap_or(PLACEHOLDER))
    }

    /// Writes the slots that vary in place of what `into` has.
    fn write_open(&self, mut slots: &str, into: &mut String) {
        into.clear();
        let mut same = self.same;
        while same != 0 {
            let word = take_word(&mut slots);
            if same & 1 == 0 {
                push_words(into, word);
            }
            same >>= 1;
        }
        push_words(into, slots);
    }
}

/// What the lines of each mask have in common.
#[derive(Default)]
struct Masks<'a> {
    numbers: HashMap<&'a str, u32>,
    common: Vec<Common<'a>>,
}

/// The number of a mask of which no line with slots was met.
const UNKNOWN: u32 = u32::MAX;

impl<'a> Masks<'a> {
    /// Adds rows that have masks for patterns. Returns the number of each of them.
    fn add(&mut self, bodies: &BodiesOf<'a>) -> Vec<u32> {
        let mut of_key = vec![UNKNOWN; bodies.patterns.len()];
        for (key, slots) in bodies.rows() {
            let (Some(slots), Some(number)) = (slots, of_key.get_mut(key)) else { continue };
            if *number == UNKNOWN {
                let next = self.common.len() as u32;
                *number = *self.numbers.entry(bodies.patterns.value(key)).or_insert(next);
            }
            match self.common.get_mut(*number as usize) {
                Some(common) => common.add(slots),
                None => self.common.push(Common::new(slots)),
            }
        }
        of_key
    }

    /// The rows with the slots in the patterns that do not vary. `None` where there are none.
    fn settled(&self, bodies: &BodiesOf<'_>, numbers: &[u32]) -> Option<Bodies> {
        let common_of = |number: &u32| self.common.get(*number as usize).filter(|common| common.is_settled());
        // With whether all slots go.
        let common: Vec<Option<(&Common<'_>, bool)>> = numbers
            .iter()
            .map(|number| common_of(number).map(|common| (common, common.is_whole())))
            .collect();
        if !common.iter().any(Option::is_some) {
            return None;
        }
        let mut patterns = Numbered::default();
        // For each mask, the number of the settled pattern, and that of bodies that look like the mask.
        let mut known: Vec<[Option<i32>; 2]> = vec![[None; 2]; common.len()];
        let mut keys = Vec::with_capacity(bodies.keys.len());
        let mut out = StringBuilder::with_capacity(bodies.keys.len(), bodies.slots.value_data().len());
        let mut open = String::new();
        for (key, slots) in bodies.rows() {
            let common = slots.and(*common.get(key)?);
            let number = known.get_mut(key)?.get_mut(usize::from(common.is_some()))?;
            keys.push(*number.get_or_insert_with(|| {
                let mask = bodies.patterns.value(key);
                patterns.number(
                    common.map_or(Cow::Borrowed(mask), |(common, _)| Cow::Owned(common.pattern(mask))),
                )
            }));
            match common {
                Some((_, true)) => out.append_null(),
                Some((common, false)) => {
                    common.write_open(slots.unwrap_or_default(), &mut open);
                    out.append_value(&open);
                }
                None => out.append_option(slots),
            }
        }
        Some((patterns.dictionary(keys), out.finish()))
    }
}

#[cfg(test)]
mod tests;
