//! The labels of one row, while stages change them.
//!
//! A row has labels of three categories. The stream's are shared by many rows and only marked as gone; what a row has for itself lies in
//! one text that is used again for the next row. Of one name there is one label: what stages set replaces metadata, and both
//! replace labels of the stream; but parsers and metadata take another name first where the name is taken. A name that a stage
//! has set is not found by a parser any more, whatever became of it.

use throughline_exec::Labels;

use super::symbols::{ERROR, ERROR_DETAILS, PRESERVE_ERROR, Symbol, Symbols};

/// Where a label comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Category {
    Stream,
    Metadata,
    Parsed,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Symbol,
    category: Category,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Base {
    name: Symbol,
    start: usize,
    end: usize,
    gone: bool,
}

#[derive(Debug, Default)]
pub(crate) struct RowLabels {
    base: Vec<Base>,
    base_text: String,
    /// Whether anything of `base` is gone.
    base_changed: bool,
    entries: Vec<Entry>,
    /// The names that stages have set.
    extracted: Vec<Symbol>,
    text: String,
    error: &'static str,
    details: String,
}

impl RowLabels {
    /// The rows that follow are of this stream.
    pub(crate) fn begin_stream(&mut self, stream: &Labels, symbols: &mut Symbols) {
        self.base.clear();
        self.base_text.clear();
        self.base_changed = false;
        for (name, value) in stream.iter() {
            let start = self.base_text.len();
            self.base_text.push_str(value);
            let end = self.base_text.len();
            self.base.push(Base { name: symbols.intern(name), start, end, gone: false });
        }
        self.begin_row();
    }

    pub(crate) fn begin_row(&mut self) {
        if self.base_changed {
            self.base.iter_mut().for_each(|label| label.gone = false);
            self.base_changed = false;
        }
        self.entries.clear();
        self.extracted.clear();
        self.text.clear();
        self.error = "";
        self.details.clear();
    }

    /// Adds metadata; a name that the stream has becomes another.
    pub(crate) fn add_metadata(&mut self, name: Symbol, value: &str, symbols: &mut Symbols) {
        let name = if self.base_has(name) { symbols.extracted(name) } else { name };
        self.put(Category::Metadata, name, value);
    }

    /// Whether the stream has the label, whatever became of it.
    pub(crate) fn base_has(&self, name: Symbol) -> bool {
        self.base.iter().any(|label| label.name == name)
    }

    pub(crate) fn metadata_has(&self, name: Symbol) -> bool {
        self.entries.iter().any(|entry| entry.name == name && entry.category == Category::Metadata)
    }

    /// Whether a stage has set the label.
    pub(crate) fn is_extracted(&self, name: Symbol) -> bool {
        self.extracted.contains(&name)
    }

    /// The value of a label; what went wrong is none.
    pub(crate) fn get(&self, name: Symbol) -> Option<&str> {
        if let Some(entry) = self.entries.iter().find(|entry| entry.name == name) {
            return self.text.get(entry.start..entry.end);
        }
        let base = self.base.iter().find(|label| label.name == name && !label.gone)?;
        self.base_text.get(base.start..base.end)
    }

    /// The value for conditions on texts, which see what went wrong, too.
    pub(crate) fn text(&self, name: Symbol) -> &str {
        match name {
            ERROR => self.error,
            ERROR_DETAILS => &self.details,
            _ => self.get(name).unwrap_or_default(),
        }
    }

    /// Sets a label, as parsed.
    pub(crate) fn set(&mut self, name: Symbol, value: &str) {
        self.put(Category::Parsed, name, value);
        if !self.is_extracted(name) {
            self.extracted.push(name);
        }
    }

    /// Sets a label of a value that may have broken characters: a space stands for each.
    pub(crate) fn set_whole(&mut self, name: Symbol, value: &str) {
        if value.contains(char::REPLACEMENT_CHARACTER) {
            self.set(name, &value.replace(char::REPLACEMENT_CHARACTER, " "));
        } else {
            self.set(name, value);
        }
    }

    fn put(&mut self, category: Category, name: Symbol, value: &str) {
        self.mark_gone(name);
        let start = self.text.len();
        self.text.push_str(value);
        let entry = Entry { name, category, start, end: self.text.len() };
        match self.entries.iter_mut().find(|entry| entry.name == name) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
    }

    pub(crate) fn remove(&mut self, name: Symbol) {
        self.entries.retain(|entry| entry.name != name);
        self.mark_gone(name);
    }

    fn mark_gone(&mut self, name: Symbol) {
        if let Some(label) = self.base.iter_mut().find(|label| label.name == name && !label.gone) {
            label.gone = true;
            self.base_changed = true;
        }
    }

    /// Keeps the labels that `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(Symbol, &str) -> bool) {
        let text = &self.text;
        let special = |name: Symbol| name == PRESERVE_ERROR;
        self.entries.retain(|entry| {
            special(entry.name) || keep(entry.name, text.get(entry.start..entry.end).unwrap_or_default())
        });
        for label in &mut self.base {
            let value = self.base_text.get(label.start..label.end).unwrap_or_default();
            if !label.gone && !keep(label.name, value) {
                label.gone = true;
                self.base_changed = true;
            }
        }
    }

    pub(crate) fn has_error(&self) -> bool {
        !self.error.is_empty()
    }

    /// Notes what went wrong, in the place of what went wrong before. Without details those of before stay.
    pub(crate) fn fail(&mut self, error: &'static str, details: &str) {
        self.error = error;
        if !details.is_empty() {
            self.details.clear();
            self.details.push_str(details);
        }
    }

    pub(crate) fn clear_error(&mut self) {
        self.error = "";
    }

    pub(crate) fn clear_error_details(&mut self) {
        self.details.clear();
    }

    /// Whether the row has the labels of its stream and nothing else.
    pub(crate) fn is_stream(&self) -> bool {
        self.entries.is_empty() && !self.base_changed && self.error.is_empty()
    }

    /// All labels, in no order; what went wrong is among them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Symbol, &str, Category)> {
        let base = self.base.iter().filter(|label| !label.gone).map(|label| {
            (label.name, self.base_text.get(label.start..label.end).unwrap_or_default(), Category::Stream)
        });
        let entries = self.entries.iter().map(|entry| {
            (entry.name, self.text.get(entry.start..entry.end).unwrap_or_default(), entry.category)
        });
        let errors = [(ERROR, self.error), (ERROR_DETAILS, self.details.as_str())];
        let errors = errors.into_iter().filter(|(_, value)| !value.is_empty());
        base.chain(entries).chain(errors.map(|(name, value)| (name, value, Category::Parsed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_name_there_is_one_label() {
        let mut symbols = Symbols::default();
        let mut row = RowLabels::default();
        row.begin_stream(&Labels::from_pairs([("a", "stream"), ("b", "stream")]), &mut symbols);
        let [a, b, c] = ["a", "b", "c"].map(|name| symbols.intern(name));
        let a_extracted = symbols.extracted(a);
        row.add_metadata(a, "metadata", &mut symbols);
        row.add_metadata(c, "metadata", &mut symbols);
        assert_eq!(row.get(a), Some("stream"));
        assert_eq!(row.get(a_extracted), Some("metadata"));
        row.set(b, "parsed");
        row.set(c, "formatted");
        assert_eq!((row.get(b), row.get(c)), (Some("parsed"), Some("formatted")));
        assert!(row.is_extracted(b) && !row.is_extracted(a));
        assert_eq!(row.iter().count(), 4);
        row.remove(a);
        assert_eq!((row.get(a), row.iter().count()), (None, 3));
        row.begin_row();
        assert!(row.is_stream());
        assert_eq!((row.get(a), row.get(b), row.get(c)), (Some("stream"), Some("stream"), None));
    }
}
