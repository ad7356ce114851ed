//! Operators that change fields: `add`, `copy`, `move`, `remove`, `retain`, `flatten`, `unquote`, `regex_replace`.

use regex::bytes::Regex;

use super::{missing, text_of};
use crate::entry::Entry;
use crate::expr::Template;
use crate::field::{Field, Root};
use crate::value::Value;

/// A change.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Sets a field to a value.
    Add(Field, Added),
    /// Sets a field to the value of another.
    Copy(Field, Field),
    /// The same, and the other is gone.
    Move(Field, Field),
    /// Takes a field away.
    Remove(Field),
    /// Takes everything else away from the parts that the fields are in.
    Retain(Vec<Field>),
    /// Moves what is in a field up to where the field is.
    Flatten(Field),
    /// Takes the quotes off a text.
    Unquote(Field),
    /// Replaces what an expression matches.
    Replace(Field, Regex, String),
}

/// A value that is set.
#[derive(Clone, Debug)]
pub enum Added {
    /// Always the same.
    Fixed(Value),
    /// That of an expression.
    Computed(Template),
}

impl Edit {
    /// Changes an entry.
    pub fn apply(&self, entry: &mut Entry) -> Result<(), String> {
        match self {
            Edit::Add(to, value) => {
                let value = match value {
                    Added::Fixed(value) => value.clone(),
                    Added::Computed(template) => template.value(entry)?,
                };
                to.set(entry, value)
            }
            Edit::Copy(from, to) => {
                let value = from.get(entry).ok_or_else(|| missing(from))?;
                to.set(entry, value)
            }
            Edit::Move(from, to) => {
                let value = from.take(entry).ok_or_else(|| missing(from))?;
                match to.set(entry, value.clone()) {
                    Ok(()) => Ok(()),
                    // A move that fails moves nothing.
                    Err(reason) => from.set(entry, value).and(Err(reason)),
                }
            }
            Edit::Remove(field) => field.take(entry).map(drop).ok_or_else(|| missing(field)),
            Edit::Retain(fields) => retain(fields, entry),
            Edit::Flatten(field) => match field.find(entry) {
                Some(Value::Map(_)) if !field.is_root() => {
                    let inner = field.take(entry).unwrap_or_default();
                    field.parent().set(entry, inner)
                }
                Some(other) => Err(format!("{field} is {}, not a map within another", other.kind())),
                None => Err(missing(field)),
            },
            Edit::Unquote(field) => {
                let unquoted = unquote(text_of(field, entry)?)?;
                field.set(entry, Value::Str(unquoted))
            }
            Edit::Replace(field, pattern, with) => {
                let replaced = pattern.replace_all(text_of(field, entry)?.as_bytes(), with.as_bytes());
                let replaced = String::from_utf8_lossy(&replaced).into_owned();
                field.set(entry, Value::Str(replaced))
            }
        }
    }
}

/// A part of which no field is named is kept whole.
fn retain(fields: &[Field], entry: &mut Entry) -> Result<(), String> {
    let mut kept = Entry::default();
    for field in fields {
        if let Some(value) = field.get(entry) {
            field.set(&mut kept, value)?;
        }
    }
    let is_named = |root| fields.iter().any(|field| field.root == root);
    if is_named(Root::Body) {
        entry.body = kept.body;
    }
    if is_named(Root::Attributes) {
        entry.attributes = kept.attributes;
    }
    if is_named(Root::Resource) {
        entry.resource = kept.resource;
    }
    Ok(())
}

/// What Go's quotes hold: `"…"` with escapes, backquotes without, `'…'` around one character.
fn unquote(text: &str) -> Result<String, String> {
    let failed = || format!("{text:?} is not quoted text");
    let quote = text.chars().next().ok_or_else(failed)?;
    let inside = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)).ok_or_else(failed)?;
    match quote {
        '`' if !inside.contains('`') => Ok(inside.to_owned()),
        '"' | '\'' => {
            // The escapes of expressions are those of Go.
            let expression = crate::expr::Expression::parse(text, &|_| None).map_err(|_| failed())?;
            let value = expression.value(&Entry::default())?;
            let unquoted = value.scalar().ok_or_else(failed)?;
            let is_character = unquoted.chars().count() == 1;
            if quote == '"' || is_character { Ok(unquoted) } else { Err(failed()) }
        }
        _ => Err(failed()),
    }
}
