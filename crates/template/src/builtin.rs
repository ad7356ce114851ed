//! The functions that Go defines. `and` and `or` stop early and are part of the evaluator.

use std::cmp::Ordering;

use crate::compare;
use crate::escape;
use crate::format;
use crate::functions::Room;
use crate::value::Value;

const NAMES: [&str; 19] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print",
    "printf", "println", "slice", "urlquery",
];

/// Whether Go defines a function of this name.
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// How many arguments it takes: at least, and at most where there is a limit.
pub fn arity(name: &str) -> (usize, Option<usize>) {
    match name {
        "and" | "or" | "eq" | "call" | "index" | "slice" | "printf" => (1, None),
        "ne" | "lt" | "le" | "gt" | "ge" => (2, Some(2)),
        "len" | "not" => (1, Some(1)),
        _ => (0, None),
    }
}

/// Calls one of them.
pub fn call(name: &str, values: &[Value], room: Room) -> Result<Value, String> {
    let text = |made: Result<String, format::Full>| {
        made.map(Value::text).map_err(|_| "the text is too large".to_owned())
    };
    match (name, values) {
        ("print", _) => text(format::sprint(values, room.bytes)),
        ("println", _) => text(format::sprintln(values, room.bytes)),
        ("printf", [Value::Text(form), rest @ ..]) => text(format::sprintf(form, rest, room.bytes)),
        ("printf", [other, ..]) => {
            Err(format!("wrong type for value; expected string; got {}", other.type_name()))
        }
        ("html" | "js" | "urlquery", _) => {
            let plain = match values {
                [Value::Text(text)] => text.to_string(),
                _ => format::sprint(values, room.bytes).map_err(|_| "the text is too large".to_owned())?,
            };
            Ok(Value::text(match name {
                "html" => escape::html(&plain),
                "js" => escape::js(&plain),
                _ => escape::url_query(&plain),
            }))
        }
        ("eq", _) => compare::is_equal(values).map(Value::Bool),
        ("ne", [a, b]) => Ok(Value::Bool(!compare::is_equal(&[a.clone(), b.clone()])?)),
        ("lt", [a, b]) => Ok(Value::Bool(compare::order(a, b)? == Some(Ordering::Less))),
        // As in Go: not greater, and not less.
        ("le", [a, b]) => {
            let order = compare::order(a, b)?;
            Ok(Value::Bool(matches!(order, Some(Ordering::Less | Ordering::Equal))))
        }
        ("gt", [a, b]) => {
            let order = compare::order(a, b)?;
            Ok(Value::Bool(!matches!(order, Some(Ordering::Less | Ordering::Equal))))
        }
        ("ge", [a, b]) => Ok(Value::Bool(compare::order(a, b)? != Some(Ordering::Less))),
        ("not", [value]) => Ok(Value::Bool(!value.truth())),
        ("len", [value]) => length(value),
        ("index", [item, keys @ ..]) => index(item, keys),
        ("slice", [item, bounds @ ..]) => slice(item, bounds),
        ("call", [value, ..]) => Err(format!("non-function of type {}", value.type_name())),
        _ => Err("wrong arguments".to_owned()),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) if map.missing.is_some() => map.entries.len(),
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index(item: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut item = item.clone();
    for key in keys {
        item = match (&item, key) {
            (Value::Nil, _) => return Err("index of untyped nil".to_owned()),
            (Value::List(list), _) => list.items[position(key, list.items.len(), false)?].clone(),
            (Value::Text(text), _) => {
                let at = position(key, text.len(), false)?;
                Value::Int(i64::from(text.as_bytes()[at]))
            }
            (Value::Map(map), Value::Text(key)) if map.missing.is_some() => {
                let missing = map.missing.as_ref().unwrap_or(&Value::Nil);
                map.entries.get(key).unwrap_or(missing).clone()
            }
            (Value::Map(map), key) if map.missing.is_some() => {
                let got = key.type_name();
                return Err(format!("value has type {got}; should be string"));
            }
            (other, _) => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

/// A position in something of this length; in a slice its end counts, too.
fn position(key: &Value, length: usize, is_bound: bool) -> Result<usize, String> {
    let number = match key {
        Value::Int(number) => *number,
        Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let at = usize::try_from(number).ok().filter(|at| *at < length || (is_bound && *at == length));
    at.ok_or_else(|| format!("index out of range: {number}"))
}

fn slice(item: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = match item {
        Value::Text(_) if bounds.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let mut at = [0, length, length];
    for (slot, bound) in at.iter_mut().zip(bounds) {
        *slot = position(bound, length, true)?;
    }
    let [start, end, most] = at;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    if end > most {
        return Err(format!("invalid slice index: {end} > {most}"));
    }
    Ok(match item {
        // Half a character becomes the replacement character.
        Value::Text(text) => Value::text(String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned()),
        Value::List(list) => Value::list_of(list.type_name, list.items[start..end].to_vec()),
        _ => Value::Nil,
    })
}
