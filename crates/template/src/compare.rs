//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`: only values of one basic kind compare.

use std::cmp::Ordering;

use crate::value::Value;

const INCOMPATIBLE: &str = "incompatible types for comparison";
const INVALID: &str = "invalid type for comparison";

/// Whether the first equals any of the others.
pub fn is_equal(values: &[Value]) -> Result<bool, String> {
    let Some((first, others)) = values.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Err("missing argument for comparison".to_owned());
    };
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        (Value::List(_) | Value::Map(_) | Value::Opaque(_), _)
        | (_, Value::List(_) | Value::Map(_) | Value::Opaque(_)) => {
            return Err(format!("non-comparable types {}, {}", a.type_name(), b.type_name()));
        }
        _ => return Err(INCOMPATIBLE.to_owned()),
    })
}

/// How two values are ordered; none for a NaN.
pub fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        _ if !is_ordered(a) || !is_ordered(b) => Err(INVALID.to_owned()),
        _ => Err(INCOMPATIBLE.to_owned()),
    }
}

fn is_ordered(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Duration(_) | Value::Float(_) | Value::Text(_))
}
