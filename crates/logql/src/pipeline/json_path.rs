//! Where a value is in a JSON document: `a.b[0]["c d"]`.

use super::json::{Failure, Reader, Value};

/// The most steps of a path.
const STEPS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads a path.
    pub fn new(text: &str) -> Result<JsonPath, String> {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        let mut after_point = false;
        while !rest.is_empty() || after_point {
            if steps.len() >= STEPS_MAX {
                return Err(format!("the path has more than {STEPS_MAX} steps"));
            }
            let (step, after) = match rest.strip_prefix('[') {
                Some(inner) if !after_point => bracket(inner)?,
                _ if steps.is_empty() || after_point => field(rest)?,
                _ => return Err(unexpected(rest)),
            };
            steps.push(step);
            after_point = after.starts_with('.');
            rest = if after_point { after.get(1..).unwrap_or_default() } else { after };
        }
        if steps.is_empty() { Err("syntax error: the path is empty".to_owned()) } else { Ok(JsonPath(steps)) }
    }

    /// The value at the path, if there is one. What is wrong with the text elsewhere is not looked at.
    pub(crate) fn find<'a>(&self, text: &'a str) -> Result<Option<Value<'a>>, Failure> {
        let mut reader = Reader::new(text);
        for step in &self.0 {
            let there = match step {
                Step::Key(key) => reader.enter_key(key),
                Step::Index(index) => reader.enter_index(*index),
            };
            if there != Ok(true) {
                return Ok(None);
            }
        }
        reader.value().map(Some)
    }
}

fn unexpected(rest: &str) -> String {
    match rest.chars().next() {
        Some(char) => format!("syntax error: unexpected '{char}'"),
        None => "syntax error: unexpected end".to_owned(),
    }
}

/// A key without quotes.
fn field(rest: &str) -> Result<(Step, &str), String> {
    let belongs = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '@' | '$');
    let end = rest.find(|char| !belongs(char)).unwrap_or(rest.len());
    let (key, after) = rest.split_at(end);
    if key.is_empty() { Err(unexpected(rest)) } else { Ok((Step::Key(key.to_owned()), after)) }
}

/// `0]` or `"key"]`
fn bracket(inner: &str) -> Result<(Step, &str), String> {
    if let Some(quoted) = inner.strip_prefix('"') {
        let (key, after) = quoted.split_once("\"]").ok_or("syntax error: expected \"]")?;
        return Ok((Step::Key(key.replace("\\\"", "\"")), after));
    }
    let (index, after) = inner.split_once(']').ok_or("syntax error: expected ]")?;
    let index = index.trim().parse().map_err(|_| format!("syntax error: {index:?} is no index"))?;
    Ok((Step::Index(index), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let text = r#"{"a":{"b":[1,{"c d":"x"}]},"e":[],"f":{"g":null}}"#;
        let find = |path: &str| {
            let value = JsonPath::new(path).unwrap().find(text).unwrap();
            value.map(|value| value.text(&mut String::new()).to_owned())
        };
        assert_eq!(find("a.b[0]"), Some("1".to_owned()));
        assert_eq!(find(r#"a.b[1]["c d"]"#), Some("x".to_owned()));
        assert_eq!(find(r#"["a"].b"#), Some(r#"[1,{"c d":"x"}]"#.to_owned()));
        assert_eq!(find("f.g"), Some(String::new()));
        assert_eq!(find("f"), Some(r#"{"g":null}"#.to_owned()));
        assert_eq!((find("e[0]"), find("a.x"), find("a[0]"), find("x.y")), (None, None, None, None));
        assert!(JsonPath::new("a").unwrap().find("[1").is_ok_and(|value| value.is_none()));
        assert!(JsonPath::new("a").unwrap().find(r#"{"b":"#).is_ok_and(|value| value.is_none()));
        assert!(JsonPath::new("b").unwrap().find(r#"{"b":"#).is_err());
        for wrong in ["", ".", "a.", "a..b", "[", "a[", "a[x]", "a b", "a[0]b", "[\"a"] {
            assert!(JsonPath::new(wrong).is_err(), "{wrong}");
        }
    }
}
