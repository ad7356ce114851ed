//! A map of the configuration as it is being read: takes known keys, reports everything else.
//!
//! Problems are collected, never thrown, so that one run of `throughline check` shows all of them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use throughline_correlate::units::{parse_bytes, parse_duration};

use super::tree::{Key, Node, Value};

/// Something wrong with the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where, with `::` between the keys; empty for the whole file.
    pub path: String,
    /// The line, counted from 1, where it is known.
    pub line: Option<u64>,
    /// What, and what would be right.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// One map of the file.
pub struct Section<'a> {
    path: String,
    line: Option<u64>,
    entries: Vec<(Key, Node)>,
    known: Vec<&'static str>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Section<'a> {
    /// The map that a node is; nothing counts as an empty map, anything else is a problem.
    pub fn new(path: &str, node: Option<Node>, problems: &'a mut Vec<Problem>) -> Section<'a> {
        let line = node.as_ref().map(|node| node.line);
        let entries = match node.map(|node| node.value) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Map(entries)) => entries,
            Some(other) => {
                let message = format!("expected a map, got {}", other.kind());
                problems.push(Problem { path: path.to_owned(), line, message });
                Vec::new()
            }
        };
        Section { path: path.to_owned(), line, entries, known: Vec::new(), problems }
    }

    /// The path of a key below this map.
    pub fn path_of(&self, key: &str) -> String {
        if key.is_empty() {
            return self.path.clone();
        }
        if self.path.is_empty() { key.to_owned() } else { format!("{}::{key}", self.path) }
    }

    /// Takes a key's node out.
    pub fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let at = self.entries.iter().position(|(known, _)| known.name == key)?;
        Some(self.entries.remove(at).1)
    }

    /// Takes everything that is left, whatever its key.
    pub fn take_rest(&mut self) -> Vec<(Key, Node)> {
        std::mem::take(&mut self.entries)
    }

    /// The map below a key; empty where there is none.
    pub fn section(&mut self, key: &'static str) -> Section<'_> {
        let node = self.take(key);
        let path = self.path_of(key);
        Section::new(&path, node, self.problems)
    }

    /// Reports a problem with one key's value.
    pub fn refuse(&mut self, key: &str, line: Option<u64>, message: impl Into<String>) {
        let path = self.path_of(key);
        self.problems.push(Problem { path, line: line.or(self.line), message: message.into() });
    }

    /// Adds problems that were found elsewhere.
    pub fn extend(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
    }

    /// A value that `read` makes something of.
    pub fn scalar<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(node) = self.take(key) else { return default };
        if node.value == Value::Null {
            return default;
        }
        let read = match node.value.scalar() {
            Some(text) => read(&text),
            None => Err(format!("expected a value, got {}", node.value.kind())),
        };
        read.unwrap_or_else(|message| {
            self.refuse(key, Some(node.line), message);
            default
        })
    }

    /// Text.
    pub fn text(&mut self, key: &'static str, default: String) -> String {
        self.scalar(key, default, |text| Ok(text.to_owned()))
    }

    /// A list of texts; empty where there is none.
    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let items = self.list(key);
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            match item.value.scalar() {
                Some(text) => out.push(text.to_string()),
                None => {
                    self.refuse(key, Some(item.line), format!("expected text, got {}", item.value.kind()))
                }
            }
        }
        out
    }

    /// A map of texts, in the file's order; empty where there is none.
    pub fn pairs(&mut self, key: &'static str) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let mut refused = Vec::new();
        for (name, node) in self.section(key).take_rest() {
            match node.value.scalar() {
                Some(text) => out.push((name.name, text.to_string())),
                None => refused
                    .push((node.line, format!("{}: expected text, got {}", name.name, node.value.kind()))),
            }
        }
        for (line, message) in refused {
            self.refuse(key, Some(line), message);
        }
        out
    }

    /// Text, or nothing where there is none.
    pub fn optional_text(&mut self, key: &'static str) -> Option<String> {
        self.scalar(key, None, |text| Ok(Some(text.to_owned())))
    }

    /// A boolean.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.choice(key, default, &[("true", true), ("false", false)])
    }

    /// The map below a key, where there is one.
    pub fn optional_section(&mut self, key: &'static str) -> Option<Section<'_>> {
        let node = self.take(key)?;
        let path = self.path_of(key);
        Some(Section::new(&path, Some(node), self.problems))
    }

    /// The items of a list; none where there is none.
    pub fn list(&mut self, key: &'static str) -> Vec<Node> {
        let Some(node) = self.take(key) else { return Vec::new() };
        match node.value {
            Value::Null => Vec::new(),
            Value::List(items) => items,
            other => {
                self.refuse(key, Some(node.line), format!("expected a list, got {}", other.kind()));
                Vec::new()
            }
        }
    }

    /// A list of texts, where there is one.
    pub fn optional_texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        let is_there =
            self.entries.iter().any(|(known, node)| known.name == key && node.value != Value::Null);
        let texts = self.texts(key);
        is_there.then_some(texts)
    }

    /// Refuses keys that are left and for which there is a message.
    pub fn refuse_keys(&mut self, message: impl Fn(&str) -> Option<String>) {
        let (refused, kept) =
            std::mem::take(&mut self.entries).into_iter().partition(|(key, _)| message(&key.name).is_some());
        self.entries = kept;
        let refused: Vec<(Key, Node)> = refused;
        for (key, _) in refused {
            let text = message(&key.name).unwrap_or_default();
            self.refuse(&key.name, Some(key.line), text);
        }
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, default: T, choices: &[(&str, T)]) -> T {
        self.scalar(key, default, |text| {
            let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            found.ok_or_else(|| format!("{text:?} is not one of {}", names.join(", ")))
        })
    }

    /// A whole number between two bounds.
    pub fn number(&mut self, key: &'static str, default: u64, bounds: std::ops::RangeInclusive<u64>) -> u64 {
        self.scalar(key, default, |text| {
            let number: u64 = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
            let out = || format!("{number} is not between {} and {}", bounds.start(), bounds.end());
            if bounds.contains(&number) { Ok(number) } else { Err(out()) }
        })
    }

    /// A size such as `64MiB`, at least `min` bytes.
    pub fn size(&mut self, key: &'static str, default: u64, min: u64) -> u64 {
        self.scalar(key, default, |text| {
            let bytes = parse_bytes(text)
                .ok_or_else(|| format!("{text:?} is not a size: write 64MiB or a number of bytes"))?;
            if bytes < min { Err(format!("{text} is below the least of {min} bytes")) } else { Ok(bytes) }
        })
    }

    /// A size, or nothing where there is none.
    pub fn optional_size(&mut self, key: &'static str, min: u64) -> Option<u64> {
        match self.size(key, 0, min) {
            0 => None,
            bytes => Some(bytes),
        }
    }

    /// A duration such as `30s` or `15d`, at least `min`.
    pub fn duration(&mut self, key: &'static str, default: Duration, min: Duration) -> Duration {
        self.scalar(key, default, |text| {
            let ns = parse_duration(text).and_then(|ns| u64::try_from(ns).ok());
            let ns = ns.ok_or_else(|| {
                format!("{text:?} is not a duration: write a number and a unit, such as 30s or 15d")
            })?;
            let duration = Duration::from_nanos(ns);
            if duration < min { Err(format!("{text} is below the least of {min:?}")) } else { Ok(duration) }
        })
    }

    /// A listening address: `host:port`; an empty host means all interfaces.
    pub fn endpoint(&mut self, key: &'static str, default: SocketAddr) -> SocketAddr {
        self.scalar(key, default, |text| {
            let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
            let mut found = full.to_socket_addrs().map_err(|error| {
                format!("{text:?} is not an endpoint: {error}; write host:port, such as 127.0.0.1:4317")
            })?;
            found.next().ok_or_else(|| format!("{text:?} has no address"))
        })
    }

    /// Ends the section: whatever was not taken is an invalid key.
    pub fn finish(mut self) {
        let rest = std::mem::take(&mut self.entries);
        for (key, _) in rest {
            let mut message = format!("has invalid keys: {}", key.name);
            if let Some(near) = closest(&key.name, &self.known) {
                message += &format!("; did you mean {near}?");
            } else if !self.known.is_empty() {
                message += &format!("; known here: {}", self.known.join(", "));
            }
            self.problems.push(Problem { path: self.path.clone(), line: Some(key.line), message });
        }
    }
}

/// The known word that a misspelt one is nearest to, where it is near at all.
pub fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = |candidate: &&&str| distance(word, candidate) <= 1 + candidate.len() / 4;
    known.iter().filter(near).min_by_key(|candidate| distance(word, candidate)).copied()
}

/// Levenshtein's distance, case aside.
fn distance(a: &str, b: &str) -> usize {
    const LETTERS_MAX: usize = 64;
    let letters =
        |text: &str| text.chars().take(LETTERS_MAX).map(|c| c.to_ascii_lowercase()).collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_find_their_neighbour() {
        assert_eq!(closest("durabilty", &["data_dir", "durability"]), Some("durability"));
        assert_eq!(closest("Endpoint", &["endpoint"]), Some("endpoint"));
        assert_eq!(closest("foo", &["endpoint", "durability"]), None);
    }
}
