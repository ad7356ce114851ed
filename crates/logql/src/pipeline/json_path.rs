//! Where a value is in a JSON document: `a.b[0]["c d"]`.

/// The most steps of a path.
const STEPS_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
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

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
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
    fn paths_have_steps() {
        let key = |key: &str| Step::Key(key.to_owned());
        let path = JsonPath::new(r#"a.b[1]["c d"]"#).unwrap();
        assert_eq!(path.steps(), [key("a"), key("b"), Step::Index(1), key("c d")]);
        assert_eq!(JsonPath::new(r#"["a"].b"#).unwrap().steps(), [key("a"), key("b")]);
        for wrong in ["", ".", "a.", "a..b", "[", "a[", "a[x]", "a b", "a[0]b", "[\"a"] {
            assert!(JsonPath::new(wrong).is_err(), "{wrong}");
        }
    }
}
