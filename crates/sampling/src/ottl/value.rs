//! Values of conditions.

use std::cmp::Ordering;

use serde_json::Value as Json;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// What is not there.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Double(f64),
    /// Text.
    Text(String),
    /// A list or a map, which equals nothing.
    Other,
}

impl Value {
    pub(super) fn of(json: Option<&Json>) -> Value {
        match json {
            None | Some(Json::Null) => Value::Nil,
            Some(Json::Bool(value)) => Value::Bool(*value),
            Some(Json::Number(number)) => match number.as_i64() {
                Some(whole) => Value::Int(whole),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Some(Json::String(text)) => Value::Text(text.clone()),
            Some(Json::Array(_) | Json::Object(_)) => Value::Other,
        }
    }

    /// The order of two values; none of values of different types.
    pub(super) fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Nil, Value::Nil) => Some(Ordering::Equal),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
            (Value::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// The value of two numbers; nil of anything else, of a division by zero and of what does not fit.
    pub(super) fn calculate(&self, operator: char, other: &Value) -> Value {
        let double = |value: &Value| match value {
            Value::Int(whole) => Some(*whole as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        };
        if let (Value::Int(a), Value::Int(b)) = (self, other) {
            let whole = match operator {
                '+' => a.checked_add(*b),
                '-' => a.checked_sub(*b),
                '*' => a.checked_mul(*b),
                _ => a.checked_div(*b),
            };
            return whole.map_or(Value::Nil, Value::Int);
        }
        match (double(self), double(other)) {
            (Some(a), Some(b)) => Value::Double(match operator {
                '+' => a + b,
                '-' => a - b,
                '*' => a * b,
                _ => a / b,
            }),
            _ => Value::Nil,
        }
    }

    /// As text, as patterns are compared with it.
    pub(super) fn to_text(&self) -> Option<String> {
        match self {
            Value::Nil | Value::Other => None,
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(whole) => Some(whole.to_string()),
            Value::Double(number) => Some(number.to_string()),
            Value::Text(text) => Some(text.clone()),
        }
    }
}
