//! OTLP/JSON to OTLP/protobuf, so that there is one decoder.
//!
//! The request is read as a stream, driven by the message tables of [`schema`]: every member is written to the
//! output as it comes, members that are not known are skipped, and no tree is built. Differences of OTLP/JSON from
//! protobuf's JSON mapping (opentelemetry.io, "OTLP", JSON Protobuf Encoding) are covered: ids are hex, enumerations
//! are numbers. Accepted beyond it: snake_case names, the names of enumeration values, and bare `NaN` and `Infinity`.
//!
//! An id that is not hex is written as its text, which no length of an id fits, so that the decoder refuses that one
//! item (or keeps it, for a log record) as it would any malformed id.

mod bare;
mod schema;
mod write;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use throughline_model::Signal;

use self::schema::{Field, Kind, Message};
use self::write::Writer;
pub(crate) use self::write::base64 as base64_bytes;
use crate::DecodeError;

/// How deep objects and arrays may nest (reliability promise O2).
const DEPTH: usize = 64;

/// Transcodes a request.
pub fn to_protobuf(signal: Signal, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let message = match signal {
        Signal::Traces => &schema::TRACES,
        Signal::Logs => &schema::LOGS,
        Signal::Metrics => &schema::METRICS,
    };
    transcode(message, body).or_else(|error| match bare::quoted(body) {
        Some(quoted) => transcode(message, &quoted),
        None => Err(error),
    })
}

fn transcode(message: &'static Message, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut state = State { writer: Writer::new(body.len()), path: Vec::new() };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let root = MessageSeed { state: &mut state, message };
    let result = deserializer.deserialize_map(root).and_then(|()| deserializer.end());
    match result {
        Ok(()) => Ok(state.writer.finish()),
        Err(error) => Err(DecodeError::Json { path: path_text(&state.path), detail: error.to_string() }),
    }
}

/// Where in the request the reader is. Parts are left in place when an error passes, so that it can be named.
#[derive(Clone, Copy)]
enum Part {
    Member(&'static str),
    Element(usize),
}

fn path_text(path: &[Part]) -> String {
    use fmt::Write as _;
    let mut text = String::from("$");
    for part in path {
        _ = match part {
            Part::Member(name) => write!(text, ".{name}"),
            Part::Element(index) => write!(text, "[{index}]"),
        };
    }
    text
}

struct State {
    writer: Writer,
    path: Vec<Part>,
}

impl State {
    /// Goes one level down, unless that is too deep.
    fn enter<E: serde::de::Error>(&mut self, part: Part) -> Result<(), E> {
        if self.path.len() >= DEPTH {
            return Err(E::custom(format_args!("nested deeper than {DEPTH} levels")));
        }
        self.path.push(part);
        Ok(())
    }

    fn leave(&mut self) {
        self.path.pop();
    }
}

/// Reads the members of an object as the fields of a message.
struct MessageSeed<'s> {
    state: &'s mut State,
    message: &'static Message,
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.state.writer.len();
        while let Some(field) = map.next_key_seed(FieldSeed(self.message))? {
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let member = self.state.writer.len();
            self.state.enter(Part::Member(field.name))?;
            map.next_value_seed(ValueSeed { state: self.state, field, element: false })?;
            self.state.leave();
            if self.message.first == Some(field.number) {
                self.state.writer.move_to(member, start);
            }
        }
        Ok(())
    }
}

/// Finds the field of a member's name.
struct FieldSeed(&'static Message);

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.field(name))
    }
}

/// Reads one member's value, or one element of its array.
struct ValueSeed<'s> {
    state: &'s mut State,
    field: &'static Field,
    element: bool,
}

impl ValueSeed<'_> {
    fn takes_array(&self) -> bool {
        self.field.repeated && !self.element
    }

    fn scalar<E: serde::de::Error>(self, value: Scalar<'_>) -> Result<(), E> {
        if self.takes_array() {
            return Err(E::custom(format_args!("expected an array, found {value}")));
        }
        let tag = if self.element && self.field.kind.is_packed() { None } else { Some(self.field.number) };
        let written = self.state.writer.scalar(tag, &self.field.kind, value);
        written.map_err(|()| E::custom(format_args!("expected {}, found {value}", self.field.kind)))
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.takes_array() { "an array of " } else { "" }, self.field.kind)
    }

    /// `null` is the same as a member that is not there.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.scalar(Scalar::Text(text))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(Scalar::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.scalar(Scalar::Unsigned(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(Scalar::Signed(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.scalar(Scalar::Double(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if !self.takes_array() {
            return Err(A::Error::custom(format_args!("expected {}, found an array", self.field.kind)));
        }
        let (state, field) = (self.state, self.field);
        let packed = field.kind.is_packed().then(|| state.writer.open(field.number));
        for index in 0.. {
            state.enter(Part::Element(index))?;
            let element = ValueSeed { state: &mut *state, field, element: true };
            if seq.next_element_seed(element)?.is_none() {
                state.leave();
                break;
            }
            state.leave();
        }
        if let Some(open) = packed {
            state.writer.close(open);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(A::Error::custom(format_args!("expected {}, found an object", self.field.kind)));
        };
        if self.takes_array() {
            return Err(A::Error::custom("expected an array, found an object"));
        }
        let open = self.state.writer.open(self.field.number);
        MessageSeed { state: &mut *self.state, message }.visit_map(map)?;
        self.state.writer.close(open);
        Ok(())
    }
}

/// A JSON value that is neither array nor object.
#[derive(Clone, Copy)]
enum Scalar<'a> {
    Text(&'a str),
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Double(f64),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The start is enough to find it.
            Scalar::Text(text) => {
                write!(f, "{:?}", text.get(..text.floor_char_boundary(40)).unwrap_or_default())
            }
            Scalar::Bool(value) => write!(f, "{value}"),
            Scalar::Unsigned(value) => write!(f, "{value}"),
            Scalar::Signed(value) => write!(f, "{value}"),
            Scalar::Double(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests;
