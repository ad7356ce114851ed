//! Values at paths of a JSON document, found by one walk over its bytes that checks nothing but what it is after.
//!
//! Broken documents are the reason for its ways: a key is a text with a colon behind it, wherever it stands, and how deep it lies
//! follows from the brackets before it. As in Loki, so that the same broken lines have the same labels.

use super::json::{Failure, MALFORMED, Reader, Value, key_text, unescape};
use super::json_path::{JsonPath, Step};

/// Calls `found` with the number of a path and its value, or what is wrong with that, once for each path at most.
pub(super) fn each<'a>(
    paths: &[&JsonPath],
    text: &'a str,
    found: &mut dyn FnMut(Option<usize>, Result<Value<'a>, Failure>),
) {
    let longest = paths.iter().map(|path| path.steps().len()).max().unwrap_or_default();
    let mut walk = Walk {
        paths,
        text,
        at: 0,
        level: 0,
        keys: vec![String::new(); longest],
        done: vec![false; paths.len()],
        found,
    };
    walk.run();
}

struct Walk<'w, 'a> {
    paths: &'w [&'w JsonPath],
    text: &'a str,
    at: usize,
    /// How many brackets are open.
    level: isize,
    /// The last key of each level.
    keys: Vec<String>,
    done: Vec<bool>,
    found: &'w mut dyn FnMut(Option<usize>, Result<Value<'a>, Failure>),
}

impl<'a> Walk<'_, 'a> {
    /// Nothing when there is no more to do.
    fn run(&mut self) -> Option<()> {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b'"' => self.quoted()?,
                b'{' => self.level += 1,
                b'[' => self.array()?,
                b'}' | b']' => self.level -= 1,
                _ => {}
            }
            self.at += 1;
        }
        None
    }

    fn is_done(&self) -> bool {
        self.done.iter().all(|done| *done)
    }

    /// Whether the keys above a place lead to where a path goes.
    fn is_below(&self, path: &JsonPath, level: usize) -> bool {
        let steps = path.steps().iter().zip(&self.keys).take(level);
        steps.into_iter().all(|(step, key)| matches!(step, Step::Key(wanted) if wanted == key))
    }

    fn quoted(&mut self) -> Option<()> {
        let mut reader = Reader::at(self.text, self.at);
        let raw = reader.string().ok()?;
        reader.peek()?;
        let next = reader.place();
        if self.text.as_bytes().get(next) != Some(&b':') {
            // What follows is looked at next.
            self.at = next - 1;
            return Some(());
        }
        self.at = next;
        let mut scratch = String::new();
        if raw.contains('\\') && !unescape(raw, &mut scratch) {
            return None;
        }
        if self.level > self.keys.len() as isize {
            return Some(());
        }
        let Some(level) = usize::try_from(self.level).ok().filter(|level| *level > 0) else {
            (self.found)(None, Err(MALFORMED));
            return None;
        };
        if let Some(slot) = self.keys.get_mut(level - 1) {
            slot.clear();
            slot.push_str(key_text(raw, &mut scratch));
        }
        for number in 0..self.paths.len() {
            let Some(path) = self.paths.get(number).filter(|path| path.steps().len() == level) else {
                continue;
            };
            if self.done.get(number) != Some(&false) || !self.is_below(path, level) {
                continue;
            }
            self.set_done(number);
            (self.found)(Some(number), Reader::at(self.text, self.at + 1).value());
        }
        if self.is_done() { None } else { Some(()) }
    }

    fn set_done(&mut self, number: usize) {
        if let Some(done) = self.done.get_mut(number) {
            *done = true;
        }
    }

    fn array(&mut self) -> Option<()> {
        let Ok(level) = usize::try_from(self.level) else {
            (self.found)(None, Err(MALFORMED));
            return None;
        };
        let into: Vec<(usize, usize)> = self
            .paths
            .iter()
            .enumerate()
            .filter(|(number, path)| self.done.get(*number) == Some(&false) && self.is_below(path, level))
            .filter_map(|(number, path)| match path.steps().get(level) {
                Some(Step::Index(index)) => Some((number, *index)),
                _ => None,
            })
            .collect();
        if into.is_empty() {
            // Keys in arrays are keys of no path.
            let mut reader = Reader::at(self.text, self.at);
            reader.skip().ok()?;
            self.at = reader.place() - 1;
            return Some(());
        }
        self.level += 1;
        let mut reader = Reader::at(self.text, self.at + 1);
        let mut index = 0;
        if reader.peek()? != b']' {
            while let Ok(item) = reader.value() {
                for (number, _) in into.iter().filter(|(_, wanted)| *wanted == index) {
                    self.set_done(*number);
                    let rest = self.paths.get(*number).and_then(|path| path.steps().get(level + 1..));
                    if let Some(inner) = rest.and_then(|rest| inner(item, rest)) {
                        (self.found)(Some(*number), inner);
                    }
                }
                index += 1;
                match reader.peek() {
                    Some(b',') => reader.advance(),
                    _ => break,
                }
            }
        }
        self.at = reader.place().saturating_sub(1).max(self.at);
        if self.is_done() { None } else { Some(()) }
    }
}

/// What is at the rest of a path in an item of an array.
fn inner<'a>(item: Value<'a>, rest: &[Step]) -> Option<Result<Value<'a>, Failure>> {
    match item {
        item if rest.is_empty() => Some(Ok(item)),
        Value::Object(text) | Value::Array(text) => {
            let mut reader = Reader::new(text);
            for step in rest {
                let is_there = match step {
                    Step::Key(key) => reader.enter_key(key),
                    Step::Index(index) => reader.enter_index(*index),
                };
                if is_there != Ok(true) {
                    return None;
                }
            }
            Some(reader.value())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&str], text: &str) -> Vec<String> {
        let paths: Vec<JsonPath> = paths.iter().map(|path| JsonPath::new(path).expect("a path")).collect();
        let paths: Vec<&JsonPath> = paths.iter().collect();
        let mut out = Vec::new();
        each(&paths, text, &mut |number, value| {
            let value = value.map(|value| value.text(&mut String::new()).to_owned());
            out.push(format!(
                "{}={}",
                number.map_or(-1, |number| number as i64),
                value.unwrap_or_else(str::to_owned)
            ));
        });
        out
    }

    #[test]
    fn values_are_found_in_whole_documents() {
        let text = r#"{"a":{"b":[1,{"c d":"x"}]},"e":[],"f":{"g":null},"a":{"b":2}}"#;
        assert_eq!(
            found(&["a.b[0]", r#"a.b[1]["c d"]"#, "f.g", "f", "e[0]"], text),
            ["0=1", "1=x", "3={\"g\":null}", "2="]
        );
        assert_eq!(found(&["a.b", "x.y", "a[0]"], text), ["0=[1,{\"c d\":\"x\"}]"]);
        assert_eq!(found(&["[1].a"], r#"[1,{"a":2}]"#), ["0=2"]);
        assert_eq!(found(&["a"], r#"[{"a":2}]"#), Vec::<String>::new());
    }

    #[test]
    fn broken_documents_are_walked_over() {
        assert_eq!(found(&["b"], r#"{"a":x,,"b":1"#), ["0=1"]);
        assert_eq!(found(&["b"], r#"{"a":1s","b":1}"#), Vec::<String>::new());
        assert_eq!(found(&["a"], r#""a":1"#), ["-1=Malformed JSON error"]);
        assert_eq!(
            found(&["b", "a"], r#"{"b":x,"a":[1"#),
            ["0=Unknown value type", "1=Value is array, but can't find closing ']' symbol"]
        );
        assert!(found(&["a"], r#"{"b":"#).is_empty() && found(&["a[0]"], r#"{"a":[["#).is_empty());
        for text in ["[", "]", "\"", "{\"", "{\"a\"", "]]\"a\":1", "{\"a\":", "[1", "{\"a\":[1,"] {
            found(&["a", "a[0]", "[0]"], text);
        }
    }
}
