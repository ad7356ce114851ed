//! Texts that many rows share, each kept once and named by a number.

use ahash::AHashMap as HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, StringArray, types::Int32Type};

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

    /// A dictionary column of these texts.
    pub(crate) fn dictionary(&self, ids: impl Iterator<Item = TextId>) -> ArrayRef {
        // Only the texts in use become values: readers of the column go through all of them.
        let mut keys = Vec::with_capacity(ids.size_hint().0);
        let mut key_of: HashMap<TextId, i32> = HashMap::new();
        let mut values: Vec<&str> = Vec::new();
        for id in ids {
            let key = *key_of.entry(id).or_insert_with(|| {
                values.push(self.get(id));
                values.len() as i32 - 1
            });
            keys.push(key);
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
