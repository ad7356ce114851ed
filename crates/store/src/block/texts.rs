//! Texts that many rows share, each kept once and named by a number.

use ahash::AHashMap as HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, DictionaryArray, Int32Array, StringArray, types::Int32Type};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};

use throughline_model::batch::column_text;

use crate::memtable::MiniBatch;

/// A text of a [`Texts`].
pub(crate) type TextId = u32;

/// The empty text, which every [`Texts`] has.
pub(crate) const NO_TEXT: TextId = 0;

/// A growing set of texts.
pub(crate) struct Texts {
    by_text: HashMap<Arc<str>, TextId>,
    texts: Vec<Arc<str>>,
}

impl Texts {
    /// A set of the empty text.
    pub(crate) fn new() -> Texts {
        let empty: Arc<str> = "".into();
        Texts { by_text: HashMap::from([(empty.clone(), NO_TEXT)]), texts: vec![empty] }
    }

    /// The number of a text.
    pub(crate) fn intern(&mut self, text: &str) -> TextId {
        if let Some(id) = self.by_text.get(text) {
            return *id;
        }
        let id = self.texts.len() as TextId;
        let shared: Arc<str> = text.into();
        self.texts.push(shared.clone());
        self.by_text.insert(shared, id);
        id
    }

    /// The text of a number.
    pub(crate) fn get(&self, id: TextId) -> &str {
        self.texts.get(id as usize).map_or("", |text| text)
    }

    /// For each key of a dictionary column, the number of its text.
    pub(crate) fn intern_keys(&mut self, column: &DictionaryArray<Int32Type>) -> Vec<TextId> {
        let values: Option<&StringArray> = column.values().as_any().downcast_ref();
        let values = values.into_iter().flat_map(|values| values.iter());
        values.map(|value| self.intern(value.unwrap_or_default())).collect()
    }

    /// The number of each row's text.
    pub(crate) fn intern_rows(&mut self, column: &StringArray) -> Vec<TextId> {
        let mut last = ("", NO_TEXT);
        let mut number = |text| {
            if last.0 != text {
                last = (text, self.intern(text));
            }
            last.1
        };
        (0..column.len()).map(|row| number(column.value(row))).collect()
    }

    /// A dictionary column of these texts.
    pub(crate) fn dictionary(&self, ids: impl Iterator<Item = TextId>) -> ArrayRef {
        // Only the texts in use become values: readers of the column go through all of them.
        let mut keys = Vec::with_capacity(ids.size_hint().0);
        let mut key_of = vec![UNKNOWN; self.texts.len()];
        let mut values: Vec<&str> = Vec::new();
        for id in ids {
            let Some(key) = key_of.get_mut(id as usize) else { continue };
            if *key == UNKNOWN {
                *key = values.len() as i32;
                values.push(self.get(id));
            }
            keys.push(*key);
        }
        Arc::new(DictionaryArray::new(Int32Array::from(keys), Arc::new(StringArray::from(values))))
    }

    /// The rank of each text in alphabetical order.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.texts.len() as u32).collect();
        order.sort_unstable_by_key(|id| self.get(*id));
        let mut ranks = vec![0; order.len()];
        for (rank, id) in order.into_iter().enumerate() {
            if let Some(slot) = ranks.get_mut(id as usize) {
                *slot = rank as u32;
            }
        }
        ranks
    }
}

/// The key of a row of a dictionary column, through a mapping of keys.
pub(crate) fn mapped(column: &DictionaryArray<Int32Type>, keys: &[TextId], row: usize) -> TextId {
    column.key(row).and_then(|key| keys.get(key).copied()).unwrap_or_default()
}

/// What stands for a key that has none yet.
const UNKNOWN: i32 = -1;

/// The dictionary and its texts, of an array of texts.
fn dictionary_of(array: &dyn Array) -> Option<(DictionaryArray<Int32Type>, StringArray)> {
    if let Some(values) = array.as_any().downcast_ref::<StringArray>() {
        let keys = Int32Array::new((0..values.len() as i32).collect(), values.nulls().cloned());
        return Some((DictionaryArray::new(keys, Arc::new(values.clone())), values.clone()));
    }
    let dictionary: &DictionaryArray<Int32Type> = array.as_any().downcast_ref()?;
    let values: &StringArray = dictionary.values().as_any().downcast_ref()?;
    Some((dictionary.clone(), values.clone()))
}

/// Rows that follow each other in one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) array: usize,
    pub(crate) from: usize,
    pub(crate) len: usize,
}

impl Run {
    /// Rows, each named by array and row, as runs.
    pub(crate) fn of(indices: &[(usize, usize)]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (array, row) in indices {
            match runs.last_mut() {
                Some(last) if last.array == *array && last.from + last.len == *row => last.len += 1,
                _ => runs.push(Run { array: *array, from: *row, len: 1 }),
            }
        }
        runs
    }
}

/// The keys of one array and what they become.
struct Keys<'a> {
    old: &'a [i32],
    nulls: Option<&'a NullBuffer>,
    texts: &'a StringArray,
    new: Vec<i32>,
}

/// Texts of several arrays as a dictionary of those in use. A text is looked at once for each array that has it, not for
/// each row. An array of no texts counts as nulls.
pub(crate) fn gather_texts(arrays: &[Option<&dyn Array>], runs: &[Run]) -> ArrayRef {
    let n_rows = runs.iter().map(|run| run.len).sum();
    let with_texts = |array: &Option<&dyn Array>| {
        dictionary_of((*array).filter(|array| array.null_count() < array.len())?)
    };
    let sources: Vec<Option<(DictionaryArray<Int32Type>, StringArray)>> =
        arrays.iter().map(with_texts).collect();
    if sources.iter().all(Option::is_none) {
        return no_texts(n_rows);
    }
    let keys_of =
        |(array, texts): &'_ (DictionaryArray<Int32Type>, StringArray)| (array.keys().clone(), texts.len());
    let owned: Vec<Option<(Int32Array, usize)>> =
        sources.iter().map(|source| source.as_ref().map(keys_of)).collect();
    let mut columns: Vec<Option<Keys<'_>>> = owned
        .iter()
        .zip(&sources)
        .map(|(keys, source)| {
            let ((keys, n_texts), (_, texts)) = (keys.as_ref()?, source.as_ref()?);
            let nulls = keys.nulls().filter(|nulls| nulls.null_count() > 0);
            Some(Keys { old: keys.values(), nulls, texts, new: vec![UNKNOWN; *n_texts] })
        })
        .collect();
    let mut known = (columns.iter().flatten().count() > 1).then(HashMap::new);
    let mut values: Vec<&str> = Vec::new();
    let mut keys: Vec<i32> = Vec::with_capacity(n_rows);
    let mut nulls = NullBufferBuilder::new(n_rows);
    for run in runs {
        let Some(Some(column)) = columns.get_mut(run.array) else {
            nulls.append_n_nulls(run.len);
            keys.resize(keys.len() + run.len, 0);
            continue;
        };
        let old = column.old.get(run.from..run.from + run.len).unwrap_or_default();
        match column.nulls.map(|nulls| nulls.slice(run.from, run.len)).filter(|nulls| nulls.null_count() > 0)
        {
            None => {
                nulls.append_n_non_nulls(run.len);
                for key in old {
                    keys.push(new_key(column.texts, &mut column.new, *key, &mut known, &mut values));
                }
            }
            Some(present) => {
                nulls.append_buffer(&present);
                for (key, is_present) in old.iter().zip(&present) {
                    let new = &mut column.new;
                    keys.push(if is_present {
                        new_key(column.texts, new, *key, &mut known, &mut values)
                    } else {
                        0
                    });
                }
            }
        }
    }
    let keys = Int32Array::new(ScalarBuffer::from(keys), nulls.finish());
    Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(values))))
}

/// The new key of an old one. Where only one array has texts they are known to differ, and nobody needs to look.
#[inline]
fn new_key<'a>(
    texts: &'a StringArray,
    new: &mut [i32],
    old: i32,
    known: &mut Option<HashMap<&'a str, i32>>,
    values: &mut Vec<&'a str>,
) -> i32 {
    let Some(slot) = new.get_mut(old as usize) else { return 0 };
    if *slot == UNKNOWN {
        let text = texts.value(old as usize);
        let next = values.len() as i32;
        *slot = known.as_mut().map_or(next, |known| *known.entry(text).or_insert(next));
        if *slot == next {
            values.push(text);
        }
    }
    *slot
}

/// A column of nulls.
pub(crate) fn no_texts(n_rows: usize) -> ArrayRef {
    Arc::new(DictionaryArray::new(Int32Array::new_null(n_rows), Arc::new(StringArray::new_null(0))))
}

/// Texts as they come, each kept once. They are bytes of which it is known that they were text; they are checked once,
/// whole, when the column is finished.
#[derive(Default)]
pub(crate) struct TextColumn {
    bytes: Vec<u8>,
    /// The end of each distinct text.
    ends: Vec<i32>,
    /// Part of a text's hash and its key, at the place that the hash says or after it; at most half of them in use.
    slots: Vec<(u32, i32)>,
    keys: Vec<i32>,
    last: i32,
}

/// Slots of a column with its first text.
const SLOTS_MIN: usize = 64;

impl TextColumn {
    fn text(&self, key: i32) -> Option<&[u8]> {
        let key = usize::try_from(key).ok()?;
        let start = key.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before))?;
        self.bytes.get(*start as usize..*self.ends.get(key)? as usize)
    }

    /// Adds a row with a text.
    pub(crate) fn push(&mut self, text: &[u8]) {
        if self.text(self.last) != Some(text) {
            self.last = self.key_of(text);
        }
        self.keys.push(self.last);
    }

    fn key_of(&mut self, text: &[u8]) -> i32 {
        if self.ends.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = xxhash_rust::xxh3::xxh3_64(text);
        let (mut at, tag) = (hash as usize, (hash >> 32) as u32);
        let mask = self.slots.len() - 1;
        loop {
            match self.slots.get(at & mask) {
                Some((other, key)) if *key != UNKNOWN => {
                    if *other == tag && self.text(*key) == Some(text) {
                        return *key;
                    }
                }
                _ => break,
            }
            at = at.wrapping_add(1);
        }
        let key = self.ends.len() as i32;
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as i32);
        if let Some(slot) = self.slots.get_mut(at & mask) {
            *slot = (tag, key);
        }
        key
    }

    fn grow(&mut self) {
        let n_slots = (self.slots.len() * 4).max(SLOTS_MIN);
        let mut slots = vec![(0, UNKNOWN); n_slots];
        for key in 0..self.ends.len() as i32 {
            let hash = xxhash_rust::xxh3::xxh3_64(self.text(key).unwrap_or_default());
            let mut at = hash as usize;
            while slots.get(at & (n_slots - 1)).is_some_and(|(_, key)| *key != UNKNOWN) {
                at = at.wrapping_add(1);
            }
            if let Some(slot) = slots.get_mut(at & (n_slots - 1)) {
                *slot = ((hash >> 32) as u32, key);
            }
        }
        self.slots = slots;
    }

    /// Adds rows without a text until there are so many.
    pub(crate) fn pad(&mut self, n_rows: usize) {
        self.keys.resize(n_rows, 0);
    }

    /// The column; rows that have no text are null.
    pub(crate) fn finish(self, nulls: Option<NullBuffer>) -> ArrayRef {
        if self.ends.is_empty() {
            return no_texts(self.keys.len());
        }
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend_from_slice(&self.ends);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let bytes = Buffer::from_vec(self.bytes);
        let values = StringArray::try_new(offsets.clone(), bytes.clone(), None).unwrap_or_else(|_| {
            // The decoder checked the text before; what is damaged since is made readable rather than lost.
            let binary = BinaryArray::new(offsets, bytes, None);
            binary.iter().map(|text| text.map(String::from_utf8_lossy)).collect()
        });
        let keys = Int32Array::new(ScalarBuffer::from(self.keys), nulls);
        Arc::new(DictionaryArray::new(keys, Arc::new(values)))
    }
}

/// A column of texts that are there or not.
pub(crate) fn column_of<T: AsRef<[u8]>>(texts: impl Iterator<Item = Option<T>>) -> ArrayRef {
    let mut column = TextColumn::default();
    let mut present = Vec::with_capacity(texts.size_hint().0);
    for (row, text) in texts.enumerate() {
        present.push(text.is_some());
        match text {
            Some(text) => column.push(text.as_ref()),
            None => column.pad(row + 1),
        }
    }
    column.finish(Some(NullBuffer::from(present)).filter(|nulls| nulls.null_count() > 0))
}

/// Rows of a column of texts of mini-batches.
pub(crate) fn gather_column(
    batches: &[Arc<MiniBatch>],
    position: usize,
    indices: &[(usize, usize)],
) -> ArrayRef {
    let columns: Vec<&StringArray> = batches.iter().map(|mini| column_text(&mini.rows, position)).collect();
    if columns.iter().all(|column| column.null_count() == column.len()) {
        return no_texts(indices.len());
    }
    column_of(indices.iter().map(|(batch, row)| {
        let column = columns.get(*batch)?;
        (!column.is_null(*row)).then(|| column.value(*row))
    }))
}
