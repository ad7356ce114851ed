//! Fields: names of places in an entry, such as `body.user`, `attributes["http.method"]` or `resource`.
//!
//! A field that starts with none of the three words is one of the body.

use std::fmt;

use crate::entry::Entry;
use crate::value::{Map, Value};

/// The most keys of one field.
const KEYS_MAX: usize = 32;

/// The part of an entry that a field is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// The body.
    Body,
    /// The attributes.
    Attributes,
    /// The resource.
    Resource,
}

/// A place in an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The part.
    pub root: Root,
    /// Keys of nested maps, from the outside in.
    pub keys: Vec<String>,
}

impl Field {
    /// The whole body.
    #[must_use]
    pub fn body() -> Field {
        Field { root: Root::Body, keys: Vec::new() }
    }

    /// All attributes.
    #[must_use]
    pub fn attributes() -> Field {
        Field { root: Root::Attributes, keys: Vec::new() }
    }

    /// One attribute.
    #[must_use]
    pub fn attribute(key: &str) -> Field {
        Field { root: Root::Attributes, keys: vec![key.to_owned()] }
    }

    /// Reads a field; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Field, String> {
        let mut keys = split(text).map_err(|reason| format!("{text:?} is not a field: {reason}"))?;
        let root = match keys.first().map(String::as_str) {
            Some("body") => Some(Root::Body),
            Some("attributes") => Some(Root::Attributes),
            Some("resource") => Some(Root::Resource),
            _ => None,
        };
        if root.is_some() {
            keys.remove(0);
        }
        Ok(Field { root: root.unwrap_or(Root::Body), keys })
    }

    /// Whether it is a whole part.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.keys.is_empty()
    }

    /// The value there; none where there is none. Whole attributes and resources are copied.
    #[must_use]
    pub fn get(&self, entry: &Entry) -> Option<Value> {
        match self.keys.split_first() {
            None => Some(match self.root {
                Root::Body => entry.body.clone(),
                Root::Attributes => Value::Map(entry.attributes.clone()),
                Root::Resource => Value::Map(entry.resource.clone()),
            }),
            Some(_) => self.find(entry).cloned(),
        }
    }

    /// The value there without a copy; none where there is none, and for whole attributes and resources.
    #[must_use]
    pub fn find<'e>(&self, entry: &'e Entry) -> Option<&'e Value> {
        let mut keys = self.keys.iter();
        let mut at = match self.root {
            Root::Body => &entry.body,
            Root::Attributes => entry.attributes.get(keys.next()?)?,
            Root::Resource => entry.resource.get(keys.next()?)?,
        };
        for key in keys {
            let Value::Map(map) = at else { return None };
            at = map.get(key)?;
        }
        Some(at)
    }

    /// Puts a value there. Maps are merged into what is there, and what stands in the way of nested keys is replaced.
    pub fn set(&self, entry: &mut Entry, value: Value) -> Result<(), String> {
        if let (true, Root::Body) = (self.is_root(), self.root)
            && !matches!(value, Value::Map(_))
        {
            entry.body = value;
            return Ok(());
        }
        let mut map = match self.root {
            Root::Body => as_map(&mut entry.body),
            Root::Attributes => &mut entry.attributes,
            Root::Resource => &mut entry.resource,
        };
        if let Value::Map(values) = value {
            for key in &self.keys {
                map = as_map(map.entry(key.clone()).or_default());
            }
            map.extend(values);
            return Ok(());
        }
        let Some((last, outer)) = self.keys.split_last() else {
            return Err(format!("{self} can be set to a map only, not to {}", value.kind()));
        };
        for key in outer {
            map = as_map(map.entry(key.clone()).or_default());
        }
        map.insert(last.clone(), value);
        Ok(())
    }

    /// Takes the value out; none where there is none.
    pub fn take(&self, entry: &mut Entry) -> Option<Value> {
        let Some((last, outer)) = self.keys.split_last() else {
            return Some(match self.root {
                Root::Body => std::mem::take(&mut entry.body),
                Root::Attributes => Value::Map(std::mem::take(&mut entry.attributes)),
                Root::Resource => Value::Map(std::mem::take(&mut entry.resource)),
            });
        };
        let mut map = match (self.root, &mut entry.body) {
            (Root::Attributes, _) => &mut entry.attributes,
            (Root::Resource, _) => &mut entry.resource,
            (Root::Body, Value::Map(map)) => map,
            (Root::Body, _) => return None,
        };
        for key in outer {
            let Some(Value::Map(inner)) = map.get_mut(key) else { return None };
            map = inner;
        }
        map.remove(last)
    }

    /// The field that this one is in.
    #[must_use]
    pub fn parent(&self) -> Field {
        let outer = self.keys.split_last().map_or(&[][..], |(_, outer)| outer);
        Field { root: self.root, keys: outer.to_vec() }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.root {
            Root::Body => "body",
            Root::Attributes => "attributes",
            Root::Resource => "resource",
        })?;
        for key in &self.keys {
            if key.contains('.') { write!(f, "[{key:?}]")? } else { write!(f, ".{key}")? }
        }
        Ok(())
    }
}

fn as_map(value: &mut Value) -> &mut Map {
    if !matches!(value, Value::Map(_)) {
        *value = Value::Map(Map::new());
    }
    match value {
        Value::Map(map) => map,
        _ => unreachable!("it was made a map above"),
    }
}

/// Keys between dots and in brackets.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut keys = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let quote = inside.chars().next().filter(|c| "\"'".contains(*c));
            let quote = quote.ok_or("a key in brackets is quoted")?;
            let (key, after) = inside[1..].split_once(quote).ok_or("a quote has no end")?;
            rest = after.strip_prefix(']').ok_or("a bracket has no end")?;
            keys.push(key.to_owned());
            if let Some(after) = rest.strip_prefix('.') {
                if after.is_empty() || after.starts_with('[') {
                    return Err("a key is missing after a dot".to_owned());
                }
                rest = after;
            } else if !rest.is_empty() && !rest.starts_with('[') {
                return Err("after a bracket comes a dot or another bracket".to_owned());
            }
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            if key.is_empty() || after == "." {
                return Err("a key is missing".to_owned());
            }
            keys.push(key.to_owned());
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("it has more than {KEYS_MAX} keys"));
        }
    }
    if keys.is_empty() { Err("it is empty".to_owned()) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> Field {
        Field::parse(text).expect("a field")
    }

    #[test]
    fn fields_read_as_they_are_written() {
        assert_eq!(field("body"), Field::body());
        assert_eq!(field("user.name"), field("body.user.name"));
        assert_eq!(field(r#"attributes["a.b"].c"#).keys, ["a.b", "c"]);
        assert_eq!(field("resource['x']").to_string(), "resource.x");
        for bad in ["", ".", "a.", "a..b", "a[b]", "a[\"b", "a[\"b\"", "a['b']c", "a['b']."] {
            assert!(Field::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_set_merged_and_taken() {
        let mut entry = Entry { body: Value::Str("x".to_owned()), ..Entry::default() };
        field("attributes.a.b").set(&mut entry, Value::Int(1)).expect("set");
        field("attributes.a")
            .set(&mut entry, Value::Map(Map::from([("c".to_owned(), Value::Int(2))])))
            .expect("set");
        assert_eq!(field("attributes.a.b").get(&entry), Some(Value::Int(1)));
        assert_eq!(field("attributes.a.c").find(&entry), Some(&Value::Int(2)));
        assert!(field("attributes").set(&mut entry, Value::Int(1)).is_err());
        // Text stands in the way and is replaced.
        field("body.k").set(&mut entry, Value::Bool(true)).expect("set");
        assert_eq!(field("k").take(&mut entry), Some(Value::Bool(true)));
        assert_eq!(field("k").take(&mut entry), None);
        assert_eq!(field("body.k.deeper").take(&mut entry), None);
        assert_eq!(field("attributes").take(&mut entry).map(|value| value.kind()), Some("a map"));
        assert!(entry.attributes.is_empty());
    }
}
