//! The functions that a template may call: a table that each language fills.

use std::collections::BTreeMap;
use std::fmt;

use crate::value::Value;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any value.
    Any,
    /// A boolean.
    Bool,
    /// A whole number.
    Int,
    /// Any number that is a float; a constant may be written without a point.
    Float,
    /// Text.
    Text,
    /// A value of this Go type.
    Named(&'static str),
}

impl Kind {
    /// The Go type, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Any => "interface {}",
            Kind::Bool => "bool",
            Kind::Int => "int",
            Kind::Float => "float64",
            Kind::Text => "string",
            Kind::Named(name) => name,
        }
    }

    /// Whether a value may be passed.
    pub(crate) fn takes(self, value: &Value) -> bool {
        match self {
            Kind::Any => true,
            Kind::Bool => matches!(value, Value::Bool(_)),
            Kind::Int => matches!(value, Value::Int(_)),
            Kind::Float => matches!(value, Value::Float(_)),
            Kind::Text => matches!(value, Value::Text(_)),
            Kind::Named(name) => value.type_name() == name,
        }
    }
}

/// How much a function may still make: one that makes text larger than its arguments has to look.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes.
    pub bytes: usize,
}

type Call<'f> = Box<dyn Fn(&[Value], Room) -> Result<Value, String> + Send + Sync + 'f>;

/// A function.
pub struct Function<'f> {
    pub(crate) parameters: Vec<Kind>,
    pub(crate) variadic: Option<Kind>,
    pub(crate) call: Call<'f>,
}

/// Functions by name. They are found before those that Go defines.
#[derive(Default)]
pub struct Functions<'f> {
    table: BTreeMap<&'static str, Function<'f>>,
}

impl<'f> Functions<'f> {
    /// None but Go's own.
    #[must_use]
    pub fn new() -> Functions<'f> {
        Functions::default()
    }

    /// Adds a function. It is called with exactly these parameters, each of its kind.
    pub fn add(
        &mut self,
        name: &'static str,
        parameters: &[Kind],
        call: impl Fn(&[Value], Room) -> Result<Value, String> + Send + Sync + 'f,
    ) {
        let parameters = parameters.to_vec();
        self.table.insert(name, Function { parameters, variadic: None, call: Box::new(call) });
    }

    /// Adds a function that takes any number of arguments of one kind after its parameters.
    pub fn add_variadic(
        &mut self,
        name: &'static str,
        parameters: &[Kind],
        rest: Kind,
        call: impl Fn(&[Value], Room) -> Result<Value, String> + Send + Sync + 'f,
    ) {
        let parameters = parameters.to_vec();
        self.table.insert(name, Function { parameters, variadic: Some(rest), call: Box::new(call) });
    }

    /// Whether there is a function of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.table.keys().copied()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Function<'f>> {
        self.table.get(name)
    }
}

impl fmt::Debug for Functions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.table.keys()).finish()
    }
}
