//! Trace context in a body that is a JSON object.
//!
//! One streaming pass with serde: keys are classified as they come, values that are not of interest are skipped
//! without being built. Looked at are the object's own members and those of the objects in which loggers nest
//! context ([`is_container`]), two levels down at most.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use throughline_model::link::TraceSource;

use super::{Gathered, Role, TraceContext, role_of};

/// How deep context is looked for: `spans[0].trace_id` needs two levels below the body.
const LEVELS: u8 = 3;

/// Finds trace context in a JSON object; `None` too where the text is not JSON.
pub(super) fn find(body: &str) -> Option<TraceContext<'_>> {
    let mut gathered = Gathered::default();
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let walk = Walk { gathered: &mut gathered, key: Key::Container(Nest::Plain), levels: LEVELS };
    // An error half way leaves what was found before it, which holds all the same.
    let complete = walk.deserialize(&mut deserializer).is_ok();
    if !complete && gathered.trace.is_none() {
        return None;
    }
    gathered.finish(TraceSource::Body)
}

/// What a member's key says of its value.
#[derive(Clone, Copy)]
enum Key {
    Role(Role),
    Container(Nest),
    Other,
}

/// What the bare key `id` means within an object.
#[derive(Clone, Copy, PartialEq)]
enum Nest {
    Plain,
    /// ECS: `{"trace":{"id":…}}`.
    Trace,
    /// ECS: `{"span":{"id":…}}`; tracing-subscriber's `span` has the span's fields.
    Span,
    /// ECS: `{"transaction":{"id":…}}`.
    Transaction,
}

fn classify(key: &str, within: Nest) -> Key {
    match (key, within) {
        ("id", Nest::Trace) => Key::Role(Role::Trace),
        ("id", Nest::Span) => Key::Role(Role::Span),
        ("id", Nest::Transaction) => Key::Role(Role::Transaction),
        ("trace", _) => Key::Container(Nest::Trace),
        ("span", _) => Key::Container(Nest::Span),
        ("transaction", _) => Key::Container(Nest::Transaction),
        _ => match role_of(key.as_bytes()) {
            Some(role) => Key::Role(role),
            None if is_container(key) => Key::Container(Nest::Plain),
            None => Key::Other,
        },
    }
}

/// Members in which loggers nest their context: tracing-subscriber, log4j, logback, Datadog, winston, zap, Serilog, .NET's
/// console, loguru.
fn is_container(key: &str) -> bool {
    const NAMES: [&str; 19] = [
        "spans",
        "fields",
        "mdc",
        "contextMap",
        "context",
        "ctx",
        "attributes",
        "extra",
        "dd",
        "otel",
        "labels",
        "metadata",
        "Properties",
        "Scopes",
        "State",
        "record",
        "event",
        "properties",
        "data",
    ];
    NAMES.contains(&key)
}

struct Walk<'g, 'de> {
    gathered: &'g mut Gathered<'de>,
    key: Key,
    levels: u8,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.key {
            Key::Container(_) if self.levels == 0 => {
                deserializer.deserialize_ignored_any(IgnoredAny).map(drop)
            }
            Key::Other => deserializer.deserialize_ignored_any(IgnoredAny).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Walk<'_, 'de> {
    fn offer(self, value: Cow<'de, str>) {
        match self.key {
            Key::Role(role) => self.gathered.offer(role, value),
            // A bare `"trace": "<id>"` is as good as `trace_id` where it can be read.
            Key::Container(Nest::Trace) if throughline_model::TraceId::parse(&value).is_some() => {
                self.gathered.offer(Role::Trace, value);
            }
            _ => {}
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<(), E> {
        self.offer(Cow::Borrowed(value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.offer(Cow::Owned(value.to_owned()));
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        if let Key::Role(_) = self.key {
            self.offer(Cow::Owned(value.to_string()));
        }
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        if let Key::Role(role @ Role::Priority) = self.key {
            self.gathered.offer(role, Cow::Owned(value.to_string()));
        }
        Ok(())
    }

    fn visit_f64<E>(self, _value: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        if let Key::Role(role) = self.key {
            self.gathered.offer_flag(role, value);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // tracing-subscriber's `spans`: objects from the outermost to the innermost.
        loop {
            let key = if let Key::Container(nest) = self.key { Key::Container(nest) } else { Key::Other };
            let walk = Walk { gathered: &mut *self.gathered, key, levels: self.levels.saturating_sub(1) };
            if seq.next_element_seed(walk)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let within = if let Key::Container(nest) = self.key { nest } else { Nest::Plain };
        while let Some(key) = map.next_key_seed(Classify(within))? {
            let key = if matches!(self.key, Key::Container(_)) { key } else { Key::Other };
            let levels = self.levels.saturating_sub(1);
            map.next_value_seed(Walk { gathered: &mut *self.gathered, key, levels })?;
        }
        Ok(())
    }
}

/// Reads a key without keeping it.
struct Classify(Nest);

impl<'de> DeserializeSeed<'de> for Classify {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Classify {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(classify(key, self.0))
    }
}
