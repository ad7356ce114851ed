//! Attributes: a key and a typed value, as spans, events, log records and series carry them.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};

/// The longest text kept of one value, in bytes: an attribute is a label, not a payload.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// One attribute as it is handed in.
pub type Attribute<'a> = (&'a str, Value);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Value {
        Value::Int(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Int(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Value {
        Value::Int(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

/// An attribute in OTLP's form.
pub(crate) fn key_value(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(shorten(text)),
        Value::Int(number) => any_value::Value::IntValue(number),
        Value::Float(number) => any_value::Value::DoubleValue(number),
        Value::Bool(truth) => any_value::Value::BoolValue(truth),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A list of attributes in OTLP's form.
pub(crate) fn key_values(attributes: &[Attribute<'_>]) -> Vec<KeyValue> {
    attributes.iter().map(|(key, value)| key_value(key, value.clone())).collect()
}

/// Cuts a text at the limit, on a character boundary.
pub(crate) fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(shorten("ü".repeat(VALUE_BYTES_MAX)).len(), VALUE_BYTES_MAX);
        assert_eq!(shorten(format!("a{}", "ü".repeat(VALUE_BYTES_MAX))).len(), VALUE_BYTES_MAX - 1);
        assert_eq!(shorten("short".to_owned()), "short");
    }
}
