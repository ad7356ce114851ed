//! JSON pushes to `logproto.PushRequest`, so that there is one decoder.
//!
//! The request is read as a stream: each entry is written to the output as it comes, and no tree is built. Members that are
//! not known are skipped; a timestamp must be a text, as Loki asks.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use throughline_model::protobuf::{put_bytes, put_number};

use super::labels::quoted;
use crate::DecodeError;

/// Transcodes a request.
pub(crate) fn to_protobuf(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut state = State { out: Vec::with_capacity(body.len()), ..State::default() };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let result = deserializer.deserialize_map(Request(&mut state)).and_then(|()| deserializer.end());
    match result {
        Ok(()) => Ok(state.out),
        Err(error) => {
            let path = format!("$.streams[{}].values[{}]", state.stream, state.entry);
            Err(DecodeError::Json { path, detail: error.to_string() })
        }
    }
}

#[derive(Default)]
struct State {
    out: Vec<u8>,
    stream: usize,
    entry: usize,
    /// The message of the stream, and those of the entry and its parts.
    message: Vec<u8>,
    part: Vec<u8>,
    pair: Vec<u8>,
}

/// A text: borrowed where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }
}

struct Request<'s>(&'s mut State);

impl<'de> Visitor<'de> for Request<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with streams")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Text)? {
            match &*name {
                "streams" => map.next_value_seed(Streams(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Streams<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Streams<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Streams<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of streams")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Stream(self.0))?.is_some() {
            put_bytes(&mut self.0.out, 1, &self.0.message);
            self.0.stream += 1;
        }
        Ok(())
    }
}

struct Stream<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Stream<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.message.clear();
        self.0.entry = 0;
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Stream<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with stream and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Text)? {
            match &*name {
                "stream" => {
                    let labels = map.next_value_seed(Pairs)?;
                    let text = quoted(labels.iter().map(|(name, value)| (&**name, &**value)));
                    put_bytes(&mut self.0.message, 1, text.as_bytes());
                }
                "values" => map.next_value_seed(Values(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A flat object of texts.
struct Pairs;

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(name) = map.next_key_seed(Text)? {
            pairs.push((name, map.next_value_seed(Text)?));
        }
        Ok(pairs)
    }
}

struct Values<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Entry(self.0))?.is_some() {
            put_bytes(&mut self.0.message, 2, &self.0.part);
            self.0.entry += 1;
        }
        Ok(())
    }
}

struct Entry<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of a timestamp, a line and maybe structured metadata")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let State { part, pair, .. } = self.0;
        part.clear();
        let time =
            list.next_element_seed(Text)?.ok_or_else(|| A::Error::invalid_length(0, &"a timestamp"))?;
        let time: i64 = time.trim().parse().map_err(|_| {
            A::Error::custom(format_args!("timestamp {time:?} is not a number of nanoseconds"))
        })?;
        pair.clear();
        put_number(pair, 1, time.div_euclid(1_000_000_000) as u64);
        put_number(pair, 2, time.rem_euclid(1_000_000_000) as u64);
        put_bytes(part, 1, pair);
        let line = list.next_element_seed(Text)?.ok_or_else(|| A::Error::invalid_length(1, &"a line"))?;
        put_bytes(part, 2, line.as_bytes());
        for (name, value) in list.next_element_seed(Pairs)?.unwrap_or_default() {
            pair.clear();
            put_bytes(pair, 1, name.as_bytes());
            put_bytes(pair, 2, value.as_bytes());
            put_bytes(part, 3, pair);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
