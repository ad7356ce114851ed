//! Go's `text/template` language: what alerting rules and log line formats are written in.
//!
//! 1. [`lex`]: text to tokens; 2. [`parse`]: tokens to [`ast`], every name checked; 3. [`eval`]: walks the tree with a
//!    [`Value`] as data. Functions are a parameter ([`Functions`]), so that every language brings its own; those that
//!    Go defines are in [`builtin`], its `fmt` verbs in [`format`].
//!
//! Pure: no clock, no I/O. Text, data and functions may be hostile: nesting, steps, output and values have limits
//! ([`Limits`]), and nothing panics.

mod ast;
mod builtin;
mod compare;
mod error;
mod escape;
mod eval;
mod fields;
pub mod format;
mod functions;
mod lex;
mod number;
mod parse;
pub mod time;
mod value;

use std::collections::BTreeMap;

pub use error::Error;
pub use escape::url_query;
pub use functions::{Function, Functions, Kind, Room};
pub use value::{List, Map, NESTING_MAX, Opaque, Value};

use ast::Node;

/// What a template may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of its output.
    pub output_bytes: usize,
    /// Bytes of everything that its functions make.
    pub value_bytes: usize,
    /// Nodes and iterations that are evaluated.
    pub steps: usize,
}

impl Default for Limits {
    /// A label or an annotation is some hundred bytes; these are for whole pages, and end in milliseconds.
    fn default() -> Self {
        Limits { output_bytes: 1 << 20, value_bytes: 16 << 20, steps: 1_000_000 }
    }
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    text: String,
    root: Vec<Node>,
    defined: BTreeMap<String, Vec<Node>>,
}

impl Template {
    /// Parses a text. Functions that it calls must be in the table or among Go's own.
    pub fn parse(name: &str, text: &str, functions: &Functions<'_>) -> Result<Template, Error> {
        parse::parse(name, text, functions)
    }

    /// The output for this data.
    pub fn execute(&self, data: &Value, functions: &Functions<'_>, limits: &Limits) -> Result<String, Error> {
        eval::execute(self, data, functions, limits)
    }
}

#[cfg(test)]
mod tests;
