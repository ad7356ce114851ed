//! Expressions as in `if: 'attributes.level == "error" and body matches "^x"'`: the part of the language Expr that
//! conditions of log pipelines are made of.
//!
//! Literals, fields of `body`, `attributes` and `resource` (`$` is the body), arithmetic, comparison, `and or not`, `in`,
//! `matches contains startsWith endsWith`, `?:`, `??`, lists, and the functions of [`eval`]. What else Expr knows is an
//! error that names it.

mod eval;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use crate::entry::Entry;
use crate::value::Value;

/// The longest expression.
const TEXT_BYTES_MAX: usize = 64 << 10;
/// The deepest nesting.
const DEPTH_MAX: usize = 64;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression(parser::Node);

impl Expression {
    /// Parses an expression. Calls of `env` are answered now.
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Expression, String> {
        let failed = |reason| format!("expression {text:?}: {reason}");
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("an expression is longer than {TEXT_BYTES_MAX} bytes"));
        }
        let tokens = lexer::tokens(text).map_err(failed)?;
        parser::parse(tokens, environment).map(Expression).map_err(failed)
    }

    /// Its value for an entry.
    pub fn value(&self, entry: &Entry) -> Result<Value, String> {
        eval::eval(&self.0, entry).map(std::borrow::Cow::into_owned)
    }

    /// Whether an entry meets it.
    pub fn is_met(&self, entry: &Entry) -> Result<bool, String> {
        match *eval::eval(&self.0, entry)? {
            Value::Bool(met) => Ok(met),
            ref other => Err(format!("the expression is {}, not a boolean", other.kind())),
        }
    }
}

/// Text with expressions in it: `EXPR(…)`.
#[derive(Clone, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Expression(Expression),
}

impl Template {
    /// Parses text.
    pub fn parse(text: &str, environment: Environment<'_>) -> Result<Template, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("EXPR(") {
            let end = closing(after).ok_or_else(|| format!("{text:?}: EXPR( without )"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Expression(Expression::parse(&after[..end], environment)?));
            rest = &after[end + 1..];
        }
        if !rest.is_empty() || parts.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    /// Its value for an entry: that of the expression where there is nothing beside one, otherwise text.
    pub fn value(&self, entry: &Entry) -> Result<Value, String> {
        if let [Part::Expression(only)] = self.0.as_slice() {
            return only.value(entry);
        }
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expression(expression) => {
                    let value = expression.value(entry)?;
                    out.push_str(&value.scalar().ok_or_else(|| format!("{} is no text", value.kind()))?);
                }
            }
        }
        Ok(Value::Str(out))
    }
}

/// Where the parenthesis that is open is closed, quotes aside.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (1, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}
