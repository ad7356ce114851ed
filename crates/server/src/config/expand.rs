//! Expansion of `${env:NAME}`, `${NAME}` and `${NAME:-default}` in values, as the Collector does it; `$$` is one `$`.
//!
//! A reference that is a whole value is read as YAML again, so that `"8080"` from the environment is a number; within
//! longer text it is text. Keys are not expanded. References do not nest: what was fetched is taken as it is.

use super::tree::{self, Node, Value};

/// Expands every value of a tree. `env` looks a variable up; problems are `(line, message)`.
pub fn expand(node: &mut Node, env: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<(u64, String)>) {
    // Values are visited from a list of their own, so that depth costs no stack.
    let mut waiting = vec![node];
    while let Some(node) = waiting.pop() {
        let line = node.line;
        if let Value::Text(text) = &node.value
            && text.contains('$')
        {
            match expand_text(text, env) {
                Ok(value) => node.value = value,
                Err(message) => problems.push((line, message)),
            }
        }
        match &mut node.value {
            Value::List(items) => waiting.extend(items),
            Value::Map(entries) => waiting.extend(entries.iter_mut().map(|(_, value)| value)),
            _ => {}
        }
    }
}

fn expand_text(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Value, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(inside) = from.strip_prefix("${") {
            let end = inside.find('}').ok_or_else(|| format!("{text:?}: ${{ without }}"))?;
            let (reference, after) = (&inside[..end], &inside[end + 1..]);
            let fetched = fetch(reference, env)?;
            if before.is_empty() && out.is_empty() && after.is_empty() {
                return Ok(fetched.map_or(Value::Null, whole_value));
            }
            out.push_str(&fetched.unwrap_or_default());
            rest = after;
        } else {
            out.push('$');
            rest = &from[1..];
        }
    }
    out.push_str(rest);
    Ok(Value::Text(out))
}

fn fetch(reference: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, String> {
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let name = match name.split_once(':') {
        Some(("env", name)) => name,
        Some((scheme, _)) => {
            return Err(format!("${{{reference}}}: scheme {scheme:?} is not supported yet; use env"));
        }
        None => name,
    };
    let mut letters = name.bytes();
    let starts_well = letters.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts_well || !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!(
            "environment variable {name:?} has invalid name: must match ^[a-zA-Z_][a-zA-Z0-9_]*$"
        ));
    }
    Ok(env(name).or_else(|| default.map(str::to_owned)))
}

fn whole_value(text: String) -> Value {
    match tree::parse(&text) {
        Ok(Node { value: Value::Text(_), .. }) | Err(_) => Value::Text(text),
        Ok(node) => node.value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Value, String> {
        expand_text(text, &|name| match name {
            "PORT" => Some("4317".to_owned()),
            "HOST" => Some("localhost".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn references_are_replaced() {
        assert_eq!(check("${env:PORT}"), Ok(Value::Int(4317)));
        assert_eq!(check("${HOST}:${env:PORT}"), Ok(Value::Text("localhost:4317".to_owned())));
        assert_eq!(check("${env:NONE:-a b}"), Ok(Value::Text("a b".to_owned())));
        assert_eq!(check("${NONE}"), Ok(Value::Null));
        assert_eq!(check("$$x $y"), Ok(Value::Text("$x $y".to_owned())));
        assert_eq!(check("$${HOST}"), Ok(Value::Text("${HOST}".to_owned())));
    }

    #[test]
    fn what_cannot_be_fetched_is_an_error() {
        for text in ["${HOST", "${file:/etc/passwd}", "${1x}", "${}"] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
