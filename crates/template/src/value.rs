//! What a template works on: Go's values, as far as templates need them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The deepest nesting of lists and maps: printing and dropping a value recurse.
pub const NESTING_MAX: usize = 32;

/// A value. Clones share memory.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: Go's nil, and what is not there.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// A list.
    List(Arc<List>),
    /// A map, or a structure with its fields.
    Map(Arc<Map>),
    /// Nanoseconds since the Unix epoch, in UTC.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
    /// Something that can only be passed on and printed.
    Opaque(Arc<Opaque>),
}

/// A list and the name of its Go type.
#[derive(Debug)]
pub struct List {
    pub(crate) items: Vec<Value>,
    pub(crate) type_name: &'static str,
    nesting: usize,
}

/// A map and the name of its Go type.
#[derive(Debug)]
pub struct Map {
    pub(crate) entries: BTreeMap<Arc<str>, Value>,
    pub(crate) type_name: &'static str,
    /// What a key that is not there has; none where that is an error, as in a structure.
    pub(crate) missing: Option<Value>,
    nesting: usize,
}

/// A value of a type that templates do not know.
#[derive(Debug)]
pub struct Opaque {
    /// The name of its Go type.
    pub type_name: &'static str,
    /// What it prints as.
    pub text: String,
}

impl Value {
    /// Text.
    #[must_use]
    pub fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Text(text.into())
    }

    /// A list of any values.
    #[must_use]
    pub fn list(items: Vec<Value>) -> Value {
        Value::list_of("[]interface {}", items)
    }

    /// A list of a Go type.
    #[must_use]
    pub fn list_of(type_name: &'static str, items: Vec<Value>) -> Value {
        let nesting = 1 + items.iter().map(Value::nesting).max().unwrap_or(0);
        Value::List(Arc::new(List { items, type_name, nesting }))
    }

    /// A map of any values; a key that is not there has none.
    #[must_use]
    pub fn map<K: Into<Arc<str>>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::map_of("map[string]interface {}", Some(Value::Nil), entries)
    }

    /// A map of texts; a key that is not there has the empty text.
    #[must_use]
    pub fn text_map<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
        let entries = entries.into_iter().map(|(key, value)| (key, Value::text(value)));
        Value::map_of("map[string]string", Some(Value::text("")), entries)
    }

    /// A structure: asking for a field that it does not have is an error.
    #[must_use]
    pub fn record<K: Into<Arc<str>>>(
        type_name: &'static str,
        fields: impl IntoIterator<Item = (K, Value)>,
    ) -> Value {
        Value::map_of(type_name, None, fields)
    }

    fn map_of<K: Into<Arc<str>>>(
        type_name: &'static str,
        missing: Option<Value>,
        entries: impl IntoIterator<Item = (K, Value)>,
    ) -> Value {
        let entries: BTreeMap<Arc<str>, Value> =
            entries.into_iter().map(|(key, value)| (key.into(), value)).collect();
        let nesting = 1 + entries.values().map(Value::nesting).max().unwrap_or(0);
        Value::Map(Arc::new(Map { entries, type_name, missing, nesting }))
    }

    /// How deep lists and maps nest in it.
    pub(crate) fn nesting(&self) -> usize {
        match self {
            Value::List(list) => list.nesting,
            Value::Map(map) => map.nesting,
            _ => 0,
        }
    }

    /// The name of its Go type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::List(list) => list.type_name,
            Value::Map(map) => map.type_name,
            Value::Time(_) => "*time.Time",
            Value::Duration(_) => "*time.Duration",
            Value::Opaque(opaque) => opaque.type_name,
        }
    }

    /// Whether `if` takes it for true: everything but zero and empty values.
    #[must_use]
    pub fn truth(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(list) => !list.items.is_empty(),
            // A structure is always true.
            Value::Map(map) => map.missing.is_none() || !map.entries.is_empty(),
            Value::Time(_) | Value::Duration(_) | Value::Opaque(_) => true,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(list) => Some(&list.items),
            _ => None,
        }
    }

    /// A field of a structure or an entry of a map, if it is there.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.entries.get(key),
            _ => None,
        }
    }
}
