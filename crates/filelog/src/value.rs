//! What entries hold: texts, numbers, lists and maps, read from JSON and written as OTLP's `AnyValue`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number};

/// Named values, sorted by name.
pub type Map = BTreeMap<String, Value>;

/// A value of an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes that need not be text.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A map.
    Map(Map),
}

impl Value {
    /// What it is called in a message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Str(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar as text; none for lists and maps.
    #[must_use]
    pub fn scalar(&self) -> Option<String> {
        match self {
            Value::Bool(b) => Some(b.to_string()),
            Value::Int(n) => Some(n.to_string()),
            Value::Float(n) => Some(n.to_string()),
            Value::Str(text) => Some(text.clone()),
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// About the memory that it holds, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Value>()
            + match self {
                Value::Str(text) => text.len(),
                Value::Bytes(bytes) => bytes.len(),
                Value::List(items) => items.iter().map(Value::memory_bytes).sum(),
                Value::Map(map) => map_bytes(map),
                Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
            }
    }

    /// Appends the fields of an `AnyValue`. The depth is that of the JSON it came from, which is limited.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => {}
            Value::Bool(b) => put_number(out, 2, u64::from(*b)),
            Value::Int(n) => put_number(out, 3, n.cast_unsigned()),
            Value::Float(n) => put_fixed64(out, 4, n.to_bits()),
            Value::Str(text) => put_bytes(out, 1, text.as_bytes()),
            Value::Bytes(bytes) => put_bytes(out, 7, bytes),
            Value::List(items) => {
                let mut list = Vec::new();
                for item in items {
                    put_message(&mut list, 1, |out| item.encode(out));
                }
                put_bytes(out, 5, &list);
            }
            Value::Map(map) => {
                let mut list = Vec::new();
                put_map(&mut list, 1, map);
                put_bytes(out, 6, &list);
            }
        }
    }
}

/// About the memory that a map holds, in bytes.
#[must_use]
pub fn map_bytes(map: &Map) -> usize {
    map.iter().map(|(key, value)| size_of::<String>() + key.len() + value.memory_bytes()).sum()
}

/// Appends each entry of a map as a `KeyValue` in the field of this number.
pub fn put_map(out: &mut Vec<u8>, field: u32, map: &Map) {
    for (key, value) in map {
        put_message(out, field, |out| {
            put_bytes(out, 1, key.as_bytes());
            put_message(out, 2, |out| value.encode(out));
        });
    }
}

/// Appends a message.
pub fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut message = Vec::new();
    write(&mut message);
    put_bytes(out, field, &message);
}

/// Reads JSON, nested at most 128 deep. Numbers are floats, as in the Collector, unless `whole_numbers` are kept as such.
pub fn parse_json(text: &str, whole_numbers: bool) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Json { whole_numbers }.deserialize(&mut reader).and_then(|value| {
        reader.end()?;
        Ok(value)
    });
    value.map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Json {
    whole_numbers: bool,
}

impl<'de> DeserializeSeed<'de> for Json {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(if self.whole_numbers { Value::Int(value) } else { Value::Float(value as f64) })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(match i64::try_from(value) {
            Ok(whole) if self.whole_numbers => Value::Int(whole),
            _ => Value::Float(value as f64),
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            map.insert(key, access.next_value_seed(self)?);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reads_as_the_collector_reads_it() {
        let Ok(Value::Map(map)) = parse_json(r#"{"n":1,"l":[true,null],"s":"\u0000x","n":2}"#, false) else {
            panic!("not a map");
        };
        assert_eq!(map["n"], Value::Float(2.0));
        assert_eq!(map["l"], Value::List(vec![Value::Bool(true), Value::Null]));
        assert_eq!(map["s"], Value::Str("\0x".to_owned()));
        assert_eq!(parse_json("7", true), Ok(Value::Int(7)));
        assert_eq!(parse_json("18446744073709551615", true), Ok(Value::Float(18_446_744_073_709_551_615.0)));
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for text in ["", "{", "{} x", "nope", &"[".repeat(100_000)] {
            assert!(parse_json(text, false).is_err(), "{text:.20}");
        }
    }
}
