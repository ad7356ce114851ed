//! Values of fields: owned where they are part of an answer, borrowed where columns are looked at.

use std::fmt;

use crate::ast::{SpanKind, SpanStatus};

/// A value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// The status of a span.
    Status(SpanStatus),
    /// The kind of a span.
    Kind(SpanKind),
    /// Several values, as an attribute may have.
    List(Vec<Value>),
}

/// One value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// The status of a span.
    Status(SpanStatus),
    /// The kind of a span.
    Kind(SpanKind),
}

/// What a span has of a field.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// Nothing.
    Nil,
    /// One value.
    One(Scalar<'a>),
    /// A list: an attribute whose value is one.
    List(&'a [Value]),
    /// One value of each of its events or links.
    Each(&'a [Value]),
}

impl Value {
    /// The value borrowed; nothing if it is a list.
    #[must_use]
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        Some(match self {
            Value::Text(text) => Scalar::Text(text),
            Value::Int(number) => Scalar::Int(*number),
            Value::Float(number) => Scalar::Float(*number),
            Value::Bool(is) => Scalar::Bool(*is),
            Value::Duration(ns) => Scalar::Duration(*ns),
            Value::Status(status) => Scalar::Status(*status),
            Value::Kind(kind) => Scalar::Kind(*kind),
            Value::List(_) => return None,
        })
    }

    /// The value borrowed, list or not.
    #[must_use]
    pub fn borrow(&self) -> ValueRef<'_> {
        match self {
            Value::List(values) => ValueRef::List(values),
            other => other.scalar().map_or(ValueRef::Nil, ValueRef::One),
        }
    }
}

impl Scalar<'_> {
    /// The value owned.
    #[must_use]
    pub fn owned(self) -> Value {
        match self {
            Scalar::Text(text) => Value::Text(text.to_owned()),
            Scalar::Int(number) => Value::Int(number),
            Scalar::Float(number) => Value::Float(number),
            Scalar::Bool(is) => Value::Bool(is),
            Scalar::Duration(ns) => Value::Duration(ns),
            Scalar::Status(status) => Value::Status(status),
            Scalar::Kind(kind) => Value::Kind(kind),
        }
    }

    /// The number that it is: durations in nanoseconds.
    #[must_use]
    pub fn number(self) -> Option<f64> {
        match self {
            Scalar::Int(number) | Scalar::Duration(number) => Some(number as f64),
            Scalar::Float(number) => Some(number),
            _ => None,
        }
    }
}

impl<'a> ValueRef<'a> {
    /// The one value there is, or the first of several events or links.
    #[must_use]
    pub fn first(self) -> ValueRef<'a> {
        match self {
            ValueRef::Each(values) => values.first().map_or(ValueRef::Nil, Value::borrow),
            other => other,
        }
    }

    /// The value if it is one, or the first of several events or links.
    #[must_use]
    pub fn scalar(self) -> Option<Scalar<'a>> {
        match self.first() {
            ValueRef::One(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The value owned; of several events or links the first.
    #[must_use]
    pub fn owned(self) -> Option<Value> {
        match self.first() {
            ValueRef::One(scalar) => Some(scalar.owned()),
            ValueRef::List(values) => Some(Value::List(values.to_vec())),
            ValueRef::Nil | ValueRef::Each(_) => None,
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_nil(self) -> bool {
        matches!(self.first(), ValueRef::Nil)
    }
}

impl fmt::Display for Value {
    /// As it is written in a query; a list in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::ast::Literal;
        match self {
            Value::Text(text) => Literal::Text(text.clone()).fmt(f),
            Value::Int(number) => number.fmt(f),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Bool(is) => is.fmt(f),
            Value::Duration(ns) => Literal::Duration(*ns).fmt(f),
            Value::Status(status) => f.write_str(status.name()),
            Value::Kind(kind) => f.write_str(kind.name()),
            Value::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A value as something to tell groups by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ValueKey {
    Nil,
    Text(Box<str>),
    /// The type, and the bits.
    Number(u8, u64),
    List(Vec<ValueKey>),
}

impl ValueKey {
    pub fn of(value: Option<&Value>) -> ValueKey {
        match value {
            None => ValueKey::Nil,
            Some(Value::Text(text)) => ValueKey::Text(text.as_str().into()),
            Some(Value::Int(number)) => ValueKey::Number(0, *number as u64),
            Some(Value::Float(number)) => ValueKey::Number(1, number.to_bits()),
            Some(Value::Bool(is)) => ValueKey::Number(2, u64::from(*is)),
            Some(Value::Duration(ns)) => ValueKey::Number(3, *ns as u64),
            Some(Value::Status(status)) => ValueKey::Number(4, *status as u64),
            Some(Value::Kind(kind)) => ValueKey::Number(5, *kind as u64),
            Some(Value::List(values)) => {
                ValueKey::List(values.iter().map(|value| ValueKey::of(Some(value))).collect())
            }
        }
    }
}
