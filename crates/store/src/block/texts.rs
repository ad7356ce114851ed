//! Texts that many rows share, each kept once and named by a number.

use ahash::AHashMap as HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, DictionaryArray, Int32Array, StringArray, types::Int32Type};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

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

/// Texts of several arrays, each row named by array and row, as a dictionary of those in use. A text is looked at once
/// for each array that has it, not for each row. An array of no texts counts as nulls.
pub(crate) fn gather_texts(arrays: &[Option<&dyn Array>], indices: &[(usize, usize)]) -> ArrayRef {
    let with_texts = |array: &Option<&dyn Array>| {
        dictionary_of((*array).filter(|array| array.null_count() < array.len())?)
    };
    let sources: Vec<Option<(DictionaryArray<Int32Type>, StringArray)>> =
        arrays.iter().map(with_texts).collect();
    if sources.iter().all(Option::is_none) {
        return no_texts(indices.len());
    }
    let columns: Vec<Option<(&[i32], Option<&NullBuffer>)>> = sources
        .iter()
        .map(|source| {
            source.as_ref().map(|(array, _)| (array.keys().values().as_ref(), array.keys().nulls()))
        })
        .collect();
    let n_texts = |source: &Option<(_, StringArray)>| source.as_ref().map_or(0, |(_, texts)| texts.len());
    let mut new_keys: Vec<Vec<i32>> = sources.iter().map(|source| vec![UNKNOWN; n_texts(source)]).collect();
    let is_one = sources.iter().flatten().count() <= 1;
    let mut known: HashMap<&str, i32> = HashMap::new();
    let mut values: Vec<&str> = Vec::new();
    let mut keys: Vec<i32> = Vec::with_capacity(indices.len());
    let mut present: Vec<bool> = Vec::with_capacity(indices.len());
    for (array, row) in indices {
        let old = match columns.get(*array) {
            Some(Some((_, Some(nulls)))) if nulls.is_null(*row) => None,
            Some(Some((keys, _))) => keys.get(*row).and_then(|key| usize::try_from(*key).ok()),
            _ => None,
        };
        let slot = old.and_then(|old| new_keys.get_mut(*array)?.get_mut(old));
        present.push(slot.is_some());
        let Some(slot) = slot else {
            keys.push(0);
            continue;
        };
        if *slot == UNKNOWN
            && let Some((old, (_, texts))) = old.zip(sources.get(*array).and_then(Option::as_ref))
        {
            let text = texts.value(old);
            let next = values.len() as i32;
            *slot = if is_one { next } else { *known.entry(text).or_insert(next) };
            if *slot == next {
                values.push(text);
            }
        }
        keys.push(*slot);
    }
    let nulls = Some(NullBuffer::from(present)).filter(|nulls| nulls.null_count() > 0);
    let keys = Int32Array::new(ScalarBuffer::from(keys), nulls);
    Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(values))))
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
    /// The key of a text by its hash. Texts of equal hash are rare and may be there twice.
    known: HashMap<u64, i32>,
    keys: Vec<i32>,
    last: i32,
}

impl TextColumn {
    fn text(&self, key: i32) -> Option<&[u8]> {
        let key = usize::try_from(key).ok()?;
        let start = key.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before))?;
        self.bytes.get(*start as usize..*self.ends.get(key)? as usize)
    }

    /// Adds a row with a text.
    pub(crate) fn push(&mut self, text: &[u8]) {
        if self.text(self.last) != Some(text) {
            let next = self.ends.len() as i32;
            let hash = xxhash_rust::xxh3::xxh3_64(text);
            let key = *self.known.entry(hash).or_insert(next);
            self.last = if key < next && self.text(key) == Some(text) { key } else { next };
            if self.last == next {
                self.bytes.extend_from_slice(text);
                self.ends.push(self.bytes.len() as i32);
            }
        }
        self.keys.push(self.last);
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
