//! Attributes as bytes: the encoding that batches carry, a borrowing reader, and JSON.
//!
//! An *attribute list* is a sequence of OTLP `KeyValue` messages (opentelemetry-proto, `common.proto`), each after
//! its length as a varint. That is what stands on the wire between the field tags, so the decoder copies it and the
//! block writer is the first to take it apart. Whoever builds a list has checked it: UTF-8 strings, and values
//! nested at most [`MAX_DEPTH`] deep. Readers still never panic and never recurse deeper.

use serde_json::Value as Json;

use crate::protobuf::{self, Field, Malformed, Reader};

/// How deep an `AnyValue` may nest (reliability promise O2).
pub const MAX_DEPTH: usize = 32;

/// An attribute's value, borrowed from an attribute list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `AnyValue` with nothing set.
    Empty,
    /// A string.
    Str(&'a str),
    /// A boolean.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// The bytes of an `ArrayValue` message.
    Array(&'a [u8]),
    /// The bytes of a `KeyValueList` message.
    Map(&'a [u8]),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Reads one `AnyValue` message. The last member of the `oneof` wins, as protobuf has it.
    pub fn decode(message: &'a [u8]) -> Result<Value<'a>, Malformed> {
        let mut reader = Reader::new(message);
        let mut value = Value::Empty;
        while let Some((number, field)) = reader.next_field()? {
            value = match (number, field) {
                (1, Field::Bytes(text)) => Value::Str(text_of(text)),
                (2, Field::Varint(n)) => Value::Bool(n != 0),
                (3, Field::Varint(n)) => Value::Int(n as i64),
                (4, Field::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
                (5, Field::Bytes(array)) => Value::Array(array),
                (6, Field::Bytes(map)) => Value::Map(map),
                (7, Field::Bytes(bytes)) => Value::Bytes(bytes),
                _ => value,
            };
        }
        Ok(value)
    }

    /// The value as text, as a person would write it: strings bare, everything else as JSON.
    pub fn to_text(&self) -> String {
        match self {
            Value::Str(text) => (*text).to_owned(),
            other => {
                let mut out = String::new();
                other.write_json(&mut out);
                out
            }
        }
    }

    /// Appends the value as JSON. What JSON lacks is written as an object of one member: bytes as
    /// `{"bytesValue":"<base64>"}`, and infinite or undefined doubles as `{"doubleValue":"NaN"}`, as OTLP/JSON
    /// names them. Doubles always carry a point or an exponent, so that they stay doubles.
    pub fn write_json(&self, out: &mut String) {
        self.write_json_at(out, MAX_DEPTH);
    }

    fn write_json_at(&self, out: &mut String, depth: usize) {
        use std::fmt::Write as _;
        match self {
            Value::Empty => out.push_str("null"),
            Value::Str(text) => write_json_text(out, text),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Int(n) => _ = write!(out, "{n}"),
            Value::Double(d) if d.is_finite() => _ = write!(out, "{d:?}"),
            Value::Double(d) => {
                let name = if d.is_nan() {
                    "NaN"
                } else if *d > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                };
                _ = write!(out, "{{\"doubleValue\":\"{name}\"}}");
            }
            Value::Bytes(bytes) => _ = write!(out, "{{\"bytesValue\":\"{}\"}}", base64(bytes)),
            Value::Array(_) | Value::Map(_) if depth == 0 => out.push_str("null"),
            Value::Array(array) => {
                out.push('[');
                let mut reader = Reader::new(array);
                let mut first = true;
                while let Ok(Some((number, field))) = reader.next_field() {
                    if number == 1 {
                        separate(out, &mut first);
                        Value::decode(field.bytes()).unwrap_or(Value::Empty).write_json_at(out, depth - 1);
                    }
                }
                out.push(']');
            }
            Value::Map(map) => {
                out.push('{');
                let mut reader = Reader::new(map);
                let mut first = true;
                while let Ok(Some((number, field))) = reader.next_field() {
                    if let (1, Ok((key, value))) = (number, decode_key_value(field.bytes())) {
                        separate(out, &mut first);
                        write_json_text(out, key);
                        out.push(':');
                        value.write_json_at(out, depth - 1);
                    }
                }
                out.push('}');
            }
        }
    }

    /// The value as a JSON tree.
    pub fn to_json(&self) -> Json {
        let mut text = String::new();
        self.write_json(&mut text);
        serde_json::from_str(&text).unwrap_or(Json::Null)
    }
}

fn separate(out: &mut String, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(',');
    }
}

fn text_of(bytes: &[u8]) -> &str {
    // Lists are checked when they are built; text that is damaged since is empty rather than a panic.
    simdutf8::basic::from_utf8(bytes).unwrap_or_default()
}

/// Reads one `KeyValue` message.
pub fn decode_key_value(message: &[u8]) -> Result<(&str, Value<'_>), Malformed> {
    let mut reader = Reader::new(message);
    let (mut key, mut value) = ("", Value::Empty);
    while let Some((number, field)) = reader.next_field()? {
        match number {
            1 => key = text_of(field.bytes()),
            2 => value = Value::decode(field.bytes())?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// Iterates over an attribute list. Damaged rests end the iteration.
pub fn iter(list: &[u8]) -> impl Iterator<Item = (&str, Value<'_>)> {
    let mut reader = Reader::new(list);
    std::iter::from_fn(move || {
        if reader.rest().is_empty() {
            return None;
        }
        decode_key_value(reader.delimited().ok()?).ok()
    })
}

/// An attribute's value whose text is not checked again: for the block writer, which checks whole columns at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RawValue<'a> {
    /// The bytes of a string.
    Text(&'a [u8]),
    /// A 64-bit integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A boolean.
    Bool(bool),
    /// An `AnyValue` message of another kind, or one that is written in an unusual way.
    Other(&'a [u8]),
}

/// Iterates over an attribute list with keys and strings as bytes. Damaged rests end the iteration.
pub fn iter_raw(list: &[u8]) -> impl Iterator<Item = (&[u8], RawValue<'_>)> {
    let mut reader = Reader::new(list);
    std::iter::from_fn(move || {
        if reader.rest().is_empty() {
            return None;
        }
        let message = reader.delimited().ok()?;
        usual_key_value(message).or_else(|| {
            let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
            let mut fields = Reader::new(message);
            while let Some((number, field)) = fields.next_field().ok()? {
                match number {
                    1 => key = field.bytes(),
                    2 => value = field.bytes(),
                    _ => {}
                }
            }
            Some((key, RawValue::Other(value)))
        })
    })
}

/// A `KeyValue` as every SDK writes it: the key, then the value with one field.
#[inline]
fn usual_key_value(message: &[u8]) -> Option<(&[u8], RawValue<'_>)> {
    const KEY: u8 = 0x0a;
    const VALUE: u8 = 0x12;
    let mut reader = Reader::new(message.strip_prefix(&[KEY])?);
    let key = reader.delimited().ok()?;
    let mut reader = Reader::new(reader.rest().strip_prefix(&[VALUE])?);
    let any = reader.delimited().ok()?;
    if !reader.rest().is_empty() {
        return None;
    }
    let (tag, rest) = any.split_first()?;
    let mut reader = Reader::new(rest);
    let value = match tag {
        0x0a => RawValue::Text(reader.delimited().ok()?),
        0x10 => RawValue::Bool(reader.varint().ok()? != 0),
        0x18 => RawValue::Int(reader.varint().ok()? as i64),
        0x21 if rest.len() == 8 => {
            return Some((key, RawValue::Double(f64::from_le_bytes(rest.try_into().ok()?))));
        }
        _ => return Some((key, RawValue::Other(any))),
    };
    reader.rest().is_empty().then_some((key, value))
}

/// The value of the first attribute with this key.
pub fn get<'a>(list: &'a [u8], key: &str) -> Option<Value<'a>> {
    iter(list).find(|(k, _)| *k == key).map(|(_, value)| value)
}

/// Appends a whole list as one JSON object.
pub fn write_json_object(list: &[u8], out: &mut String) {
    out.push('{');
    let mut first = true;
    for (key, value) in iter(list) {
        separate(out, &mut first);
        write_json_text(out, key);
        out.push(':');
        value.write_json(out);
    }
    out.push('}');
}

/// Appends a list entry for an already encoded `KeyValue` message.
#[inline]
pub fn push_encoded(list: &mut Vec<u8>, key_value: &[u8]) {
    protobuf::put_varint(list, key_value.len() as u64);
    list.extend_from_slice(key_value);
}

/// Appends a list entry with a text.
pub fn push_text(list: &mut Vec<u8>, key: &str, text: &str) {
    let field_bytes = |bytes: usize| 1 + protobuf::varint_bytes(bytes) + bytes;
    let any_bytes = field_bytes(text.len());
    protobuf::put_varint(list, (field_bytes(key.len()) + field_bytes(any_bytes)) as u64);
    protobuf::put_bytes(list, 1, key.as_bytes());
    protobuf::put_varint(list, 2 << 3 | 2);
    protobuf::put_varint(list, any_bytes as u64);
    protobuf::put_bytes(list, 1, text.as_bytes());
}

/// Appends a list entry.
pub fn push(list: &mut Vec<u8>, key: &str, value: Value<'_>) {
    let mut any = Vec::new();
    match value {
        Value::Empty => {}
        Value::Str(text) => protobuf::put_bytes(&mut any, 1, text.as_bytes()),
        Value::Bool(b) => protobuf::put_number(&mut any, 2, u64::from(b)),
        Value::Int(n) => protobuf::put_number(&mut any, 3, n as u64),
        Value::Double(d) => protobuf::put_fixed64(&mut any, 4, d.to_bits()),
        Value::Array(array) => protobuf::put_bytes(&mut any, 5, array),
        Value::Map(map) => protobuf::put_bytes(&mut any, 6, map),
        Value::Bytes(bytes) => protobuf::put_bytes(&mut any, 7, bytes),
    }
    let mut message = Vec::with_capacity(any.len() + key.len() + 8);
    protobuf::put_bytes(&mut message, 1, key.as_bytes());
    protobuf::put_bytes(&mut message, 2, &any);
    push_encoded(list, &message);
}

/// Appends text as a JSON string, quotes included.
pub fn write_json_text(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    // Nearly all texts stand as they are, and a look without an early exit sees many bytes at once.
    let is_plain = |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, is_plain) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(text.get(plain..index).unwrap_or_default());
        if escape.is_empty() {
            _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
        plain = index + 1;
    }
    out.push_str(text.get(plain..).unwrap_or_default());
    out.push('"');
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let six = word >> (18 - 6 * index) & 63;
            let symbol = ALPHABET.get(six as usize).copied().unwrap_or(b'=');
            out.push(if index <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back_as_json() {
        let mut list = Vec::new();
        push(&mut list, "s", Value::Str("a\"b\u{1}"));
        push(&mut list, "i", Value::Int(-7));
        push(&mut list, "d", Value::Double(2.0));
        push(&mut list, "n", Value::Double(f64::NAN));
        push(&mut list, "b", Value::Bytes(&[1, 2, 3, 4]));
        let mut out = String::new();
        write_json_object(&list, &mut out);
        let expected =
            r#"{"s":"a\"b\u0001","i":-7,"d":2.0,"n":{"doubleValue":"NaN"},"b":{"bytesValue":"AQIDBA=="}}"#;
        assert_eq!(out, expected);
        assert_eq!(get(&list, "i"), Some(Value::Int(-7)));
    }

    #[test]
    fn raw_values_are_the_values() {
        let mut list = Vec::new();
        let values =
            [Value::Str("x"), Value::Int(-1), Value::Double(0.5), Value::Bool(true), Value::Bytes(b"b")];
        values.iter().for_each(|value| push(&mut list, "k", *value));
        // The value before the key, and a value whose last field wins.
        push_encoded(&mut list, &[0x12, 2, 0x18, 5, 0x0a, 1, b'k']);
        push_encoded(&mut list, &[0x0a, 1, b'k', 0x12, 5, 0x18, 5, 0x0a, 1, b'y']);
        let raw = iter_raw(&list).map(|(key, value)| {
            assert_eq!(key, b"k");
            match value {
                RawValue::Text(text) => Value::Str(std::str::from_utf8(text).unwrap()),
                RawValue::Int(n) => Value::Int(n),
                RawValue::Double(d) => Value::Double(d),
                RawValue::Bool(b) => Value::Bool(b),
                RawValue::Other(any) => Value::decode(any).unwrap(),
            }
        });
        let expected: Vec<Value<'_>> = iter(&list).map(|(_, value)| value).collect();
        assert_eq!(raw.collect::<Vec<_>>(), expected);
        assert_eq!(expected.len(), 7);
    }

    #[test]
    fn damaged_lists_end_early() {
        let mut list = Vec::new();
        push(&mut list, "a", Value::Int(1));
        list.extend_from_slice(&[200, 1, 2]);
        assert_eq!(iter(&list).count(), 1);
    }
}
