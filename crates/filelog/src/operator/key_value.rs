//! `key_value_parser`: `name=value other="with spaces"`, which logfmt is.

use crate::value::{Map, Value};

/// What separates keys, values and pairs.
#[derive(Clone, Debug)]
pub struct KeyValue {
    /// Between a key and its value.
    pub delimiter: String,
    /// Between pairs; quoted, it is part of a value.
    pub pair_delimiter: String,
}

impl KeyValue {
    /// The pairs of a text; all of them or an error.
    pub fn parse(&self, text: &str) -> Result<Map, String> {
        let mut map = Map::new();
        for pair in pairs(text, &self.pair_delimiter)? {
            let (key, value) = pair
                .split_once(self.delimiter.as_str())
                .ok_or_else(|| format!("{pair:?} has no {:?} in it", self.delimiter))?;
            map.insert(key.trim().to_owned(), Value::Str(value.trim().to_owned()));
        }
        Ok(map)
    }
}

/// Pairs without their quotes. A quote after a backslash is a letter like others.
fn pairs(text: &str, delimiter: &str) -> Result<Vec<String>, String> {
    let (mut found, mut current, mut quote, mut escaped) = (Vec::new(), String::new(), None, false);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if quote.is_none()
            && let Some(after) = rest.strip_prefix(delimiter)
        {
            if !current.is_empty() {
                found.push(std::mem::take(&mut current));
            }
            rest = after;
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        if escaped {
            escaped = false;
        } else if quote == Some(letter) {
            quote = None;
            continue;
        } else if quote.is_none() && matches!(letter, '"' | '\'') {
            quote = Some(letter);
            continue;
        } else {
            escaped = letter == '\\';
        }
        current.push(letter);
    }
    if quote.is_some() {
        return Err("never reached the end of a quoted value".to_owned());
    }
    if !current.is_empty() {
        found.push(current);
    }
    Ok(found)
}
