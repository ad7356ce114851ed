//! Zipkin's JSON: a list of spans, read one after another without a tree of all of them.
//!
//! What is not JSON of a list of spans refuses the request and names the place. Values are taken as senders write them: a tag
//! may be a number or a boolean, a time a number with a point. Members that are not known are passed over.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Endpoint, Id, NAMES, Span, kind_of, translate};
use crate::otlp::Memory;
use crate::otlp::trace::foreign::{self, Refusal, Spans};
use crate::{DecodeContext, DecodeError, Decoded};

/// Decodes one request.
pub(crate) fn decode(
    body: &[u8],
    context: &DecodeContext,
    memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    foreign::decode(&NAMES, context, memory, |spans| {
        let member = RefCell::new("");
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let list = List { spans, member: &member };
        let read = deserializer.deserialize_seq(list).and_then(|()| deserializer.end());
        read.map_err(|error| {
            let place = spans.place();
            let dot = if member.borrow().is_empty() { "" } else { "." };
            let path = format!("{place}{dot}{}", member.borrow());
            DecodeError::Json { path, detail: error.to_string() }
        })
    })
}

/// The list of spans.
struct List<'s, 'm> {
    spans: &'s mut Spans<'m>,
    /// The member that is being read, for an error.
    member: &'s RefCell<&'static str>,
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of spans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let limit = self.spans.limits().attributes_per_item;
        while let Some(span) = list.next_element_seed(SpanSeed { limit, member: self.member })? {
            let taken = translate(self.spans, &span);
            taken.map_err(A::Error::custom)?;
            *self.member.borrow_mut() = "";
        }
        Ok(())
    }
}

struct SpanSeed<'s> {
    limit: usize,
    member: &'s RefCell<&'static str>,
}

impl<'de> DeserializeSeed<'de> for SpanSeed<'_> {
    type Value = Span<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Span<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// Members that are read.
const MEMBERS: [&str; 12] = [
    "traceId",
    "id",
    "parentId",
    "name",
    "kind",
    "timestamp",
    "duration",
    "localEndpoint",
    "remoteEndpoint",
    "annotations",
    "tags",
    "debug",
];

impl<'de> Visitor<'de> for SpanSeed<'_> {
    type Value = Span<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Span<'de>, A::Error> {
        let mut span = Span::default();
        while let Some(name) = map.next_key_seed(Text)? {
            let Some(known) = MEMBERS.iter().find(|known| **known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            *self.member.borrow_mut() = known;
            match *known {
                "traceId" => span.trace_id = id(&map.next_value_seed(Text)?, "trace_id", &mut span.refusal),
                "id" => span.span_id = id(&map.next_value_seed(Text)?, "span_id", &mut span.refusal),
                "parentId" => {
                    span.parent = id(&map.next_value_seed(Text)?, "parent_span_id", &mut span.refusal)
                }
                "name" => span.name = map.next_value_seed(Text)?,
                "kind" => span.kind = kind_of(&map.next_value_seed(Text)?),
                "timestamp" => span.timestamp = map.next_value_seed(Whole)?,
                "duration" => span.duration = map.next_value_seed(Whole)?,
                "localEndpoint" => span.local = map.next_value_seed(EndpointSeed)?,
                "remoteEndpoint" => span.remote = map.next_value_seed(EndpointSeed)?,
                "annotations" => {
                    let over =
                        map.next_value_seed(Annotations { into: &mut span.annotations, limit: self.limit })?;
                    if over {
                        let field = "events.attributes";
                        span.refusal = Some(Refusal::AttributeCount { field, limit: self.limit });
                    }
                }
                "tags" => {
                    if map.next_value_seed(Tags { into: &mut span.tags, limit: self.limit })? {
                        let field = "attributes";
                        span.refusal = Some(Refusal::AttributeCount { field, limit: self.limit });
                    }
                }
                _ => span.debug = &*map.next_value_seed(Text)? == "true",
            }
        }
        *self.member.borrow_mut() = "";
        Ok(span)
    }
}

/// An id, or a reason to refuse the span. Empty text is no id.
fn id(text: &str, field: &'static str, refusal: &mut Option<Refusal>) -> Id {
    if text.is_empty() {
        return Id::default();
    }
    Id::hex(text).unwrap_or_else(|| {
        *refusal = Some(Refusal::IdText { field });
        Id::default()
    })
}

/// A scalar as text: borrowed where it is a string without escapes; `null` is empty.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(if value { "true" } else { "false" }))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(""))
    }
}

/// A whole number that is not negative.
struct Whole;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of microseconds")
    }

    fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value).map_err(|_| E::custom(format_args!("{value} is negative")))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<u64, E> {
        match value.is_finite() && value >= 0.0 {
            true => Ok(value as u64),
            false => Err(E::custom(format_args!("{value} is no number of microseconds"))),
        }
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(0)
    }
}

struct EndpointSeed;

impl<'de> DeserializeSeed<'de> for EndpointSeed {
    type Value = Endpoint<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Endpoint<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EndpointSeed {
    type Value = Endpoint<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint")
    }

    fn visit_unit<E>(self) -> Result<Endpoint<'de>, E> {
        Ok(Endpoint::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Endpoint<'de>, A::Error> {
        let (mut end, mut v6) = (Endpoint::default(), Cow::Borrowed(""));
        while let Some(name) = map.next_key_seed(Text)? {
            match &*name {
                "serviceName" => end.service = map.next_value_seed(Text)?,
                "ipv4" => end.ip = map.next_value_seed(Text)?,
                "ipv6" => v6 = map.next_value_seed(Text)?,
                "port" => end.port = i64::from(u16::try_from(map.next_value_seed(Whole)?).unwrap_or(0)),
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        if end.ip.is_empty() {
            end.ip = v6;
        }
        Ok(end)
    }
}

/// Reads annotations, up to a limit; says whether there were more.
struct Annotations<'s, 'de> {
    into: &'s mut Vec<(u64, Cow<'de, str>)>,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Annotations<'_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Annotations<'_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of annotations")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let mut over = false;
        while let Some(annotation) = list.next_element_seed(AnnotationSeed)? {
            match self.into.len() < self.limit {
                true => self.into.push(annotation),
                false => over = true,
            }
        }
        Ok(over)
    }
}

struct AnnotationSeed;

impl<'de> DeserializeSeed<'de> for AnnotationSeed {
    type Value = (u64, Cow<'de, str>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AnnotationSeed {
    type Value = (u64, Cow<'de, str>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an annotation")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut time, mut value) = (0, Cow::Borrowed(""));
        while let Some(name) = map.next_key_seed(Text)? {
            match &*name {
                "timestamp" => time = map.next_value_seed(Whole)?,
                "value" => value = map.next_value_seed(Text)?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok((time, value))
    }
}

/// Reads tags, up to a limit; says whether there were more.
struct Tags<'s, 'de> {
    into: &'s mut Vec<(Cow<'de, str>, Cow<'de, str>)>,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for Tags<'_, 'de> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tags<'_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tags")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut over = false;
        while let Some(key) = map.next_key_seed(Text)? {
            let value = map.next_value_seed(Text)?;
            match self.into.len() < self.limit {
                true => self.into.push((key, value)),
                false => over = true,
            }
        }
        Ok(over)
    }
}
