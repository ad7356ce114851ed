//! Labels while they are made: of a target, or of a sample on its way through relabelling.

use std::borrow::Cow;

use throughline_wire::prometheus::exposition::Pair;

/// Labels by name. Values may be empty until [`LabelSet::finish`]: a page that says `instance=""` says something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSet<'a> {
    /// Sorted; every name once.
    pairs: Vec<Pair<'a>>,
}

impl<'a> LabelSet<'a> {
    /// The set of these labels, or the name that is there twice.
    pub fn from_pairs(pairs: impl IntoIterator<Item = Pair<'a>>) -> Result<LabelSet<'a>, String> {
        let mut pairs: Vec<Pair<'a>> = pairs.into_iter().collect();
        pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        match pairs.windows(2).find(|pair| matches!(pair, [a, b] if a.0 == b.0)) {
            Some([twice, ..]) => Err(twice.0.to_string()),
            _ => Ok(LabelSet { pairs }),
        }
    }

    /// A label's value; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).map_or("", |at| self.pairs.get(at).map_or("", |(_, value)| value))
    }

    /// Whether there is such a label, be it empty.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            return self.remove(&name);
        }
        match self.find(&name) {
            Ok(at) => self.pairs[at].1 = value,
            Err(at) => self.pairs.insert(at, (name, value)),
        }
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.pairs.remove(at);
        }
    }

    /// Keeps the labels whose names fit.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.pairs.retain(|(name, _)| keep(name));
    }

    /// Removes labels without a value: they are the same as none.
    pub fn finish(&mut self) {
        self.pairs.retain(|(_, value)| !value.is_empty());
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Names and values as texts of their own.
    pub fn to_owned_pairs(&self) -> Vec<(String, String)> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(known, _)| known.as_ref().cmp(name))
    }
}
