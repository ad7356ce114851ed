//! What a line has for fields, whether or not a query asks for them: what the parser of JSON finds, or else that of logfmt.

use std::collections::HashSet;

use crate::convert;
use crate::pipeline::json::{Failure, Flow, Reader, Value, key_text, push_name};
use crate::pipeline::logfmt::Pairs;
use crate::pipeline::{EXTRACTED, sanitized};

/// The deepest nesting that is looked into.
const DEPTH_MAX: usize = 32;

/// A field of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The label that a parser makes of it.
    pub label: String,
    /// Its value.
    pub value: String,
    /// The keys that lead to it in JSON; none in logfmt.
    pub path: Vec<String>,
}

/// The parser that reads a line, by its name in queries, and what it finds. A label that is taken takes another name.
#[must_use]
pub fn fields_of(line: &str, is_taken: impl Fn(&str) -> bool) -> (&'static str, Vec<Field>) {
    let mut found = Found { is_taken, seen: HashSet::new(), fields: Vec::new() };
    if walk(&mut Reader::new(line), &mut String::new(), &mut Vec::new(), &mut found).is_ok() {
        return ("json", found.fields);
    }
    found.seen.clear();
    found.fields.clear();
    for pair in Pairs::new(line).filter_map(Result::ok).filter(|pair| !pair.value.is_empty()) {
        found.add(&sanitized(pair.key), pair.text(&mut String::new()), &[]);
    }
    ("logfmt", found.fields)
}

struct Found<F> {
    is_taken: F,
    seen: HashSet<String>,
    fields: Vec<Field>,
}

impl<F: Fn(&str) -> bool> Found<F> {
    fn add(&mut self, label: &str, value: &str, path: &[String]) {
        let mut label = label.to_owned();
        if label.is_empty() {
            return;
        }
        if (self.is_taken)(&label) {
            label.push_str(EXTRACTED);
        }
        // Of one label the first value counts.
        if self.seen.insert(label.clone()) {
            self.fields.push(Field { label, value: value.to_owned(), path: path.to_vec() });
        }
    }
}

/// Recursion ends at [`DEPTH_MAX`]: what lies deeper is skipped.
fn walk<F: Fn(&str) -> bool>(
    reader: &mut Reader<'_>,
    label: &mut String,
    path: &mut Vec<String>,
    found: &mut Found<F>,
) -> Result<(), Failure> {
    let (mut key_scratch, mut value_scratch) = (String::new(), String::new());
    let walked = reader.members(|reader, key| {
        let length = label.len();
        push_name(label, key);
        path.push(key_text(key, &mut key_scratch).to_owned());
        if reader.peek() == Some(b'{') && path.len() < DEPTH_MAX {
            walk(reader, label, path, found)?;
        } else {
            match reader.value()? {
                value @ (Value::Text(_) | Value::Plain(_)) => {
                    found.add(label, value.text(&mut value_scratch), path);
                }
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
        path.pop();
        label.truncate(length);
        Ok(Flow::On)
    });
    walked.map(|_| ())
}

/// A value as it is listed for queries to be made with it: sizes without spaces, rounded, in units of thousands.
#[must_use]
pub fn listed_value(value: &str) -> String {
    const SUFFIXES: [&str; 26] = [
        "b", "kib", "kb", "mib", "mb", "gib", "gb", "tib", "tb", "pib", "pb", "eib", "eb", "ki", "k", "mi",
        "m", "gi", "g", "ti", "t", "pi", "p", "ei", "e", "B",
    ];
    let lower = value.to_lowercase();
    match convert::bytes(value) {
        Ok(bytes) if SUFFIXES.iter().any(|suffix| lower.ends_with(suffix)) => size(bytes),
        _ => value.to_owned(),
    }
}

/// `1.5kB`
fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let power = (bytes.ilog10() / 3).min(6);
    let value = (bytes as f64 / 1_000f64.powi(power as i32) * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS.get(power as usize).copied().unwrap_or("B");
    if value < 10.0 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> (&'static str, Vec<String>) {
        let (parser, fields) = fields_of(line, |label| label == "app");
        let text = |field: &Field| format!("{}={} {}", field.label, field.value, field.path.join("."));
        (parser, fields.iter().map(text).collect())
    }

    #[test]
    fn lines_have_fields_as_parsers_find_them() {
        let line = r#"{"a":{"b c":"\u00e9"},"app":1,"a":2,"a":3,"n":null,"l":[1],"5":0200}"#;
        assert_eq!(
            found(line),
            (
                "json",
                vec![
                    "a_b_c=é a.b c".to_owned(),
                    "app_extracted=1 app".to_owned(),
                    "a=2 a".to_owned(),
                    "_5=0200 5".to_owned(),
                ]
            )
        );
        assert_eq!(found("a=1 b c= a=2 {x"), ("logfmt", vec!["a=1 ".to_owned()]));
        assert!(found(&"{\"a\":".repeat(500)).1.is_empty());
    }

    #[test]
    fn sizes_are_listed_for_queries() {
        for (value, listed) in
            [("1536KB", "1.5MB"), ("5 B", "5B"), ("12 KiB", "12kB"), ("12", "12"), ("xb", "xb")]
        {
            assert_eq!(listed_value(value), listed);
        }
    }
}
