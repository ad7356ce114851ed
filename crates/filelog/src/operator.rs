//! Operators: what is done to entries one after another, as the Collector's operators do it.
//!
//! An [`Operator`] is a settled description; [`Chain`](crate::chain::Chain) runs them. [`parse`](self::parse) has what all
//! parsers share; one file each for the rest.

pub mod container;
pub mod csv;
pub mod edit;
pub mod key_value;
pub mod parse;
pub mod recombine;
pub mod severity;
#[cfg(test)]
mod tests;
pub mod trace;

use regex::bytes::Regex;

use crate::entry::Entry;
use crate::expr::Expression;
use crate::field::Field;
use crate::time::TimeFormat;
use crate::value::Value;

use container::Container;
use edit::Edit;
use parse::{Parse, Parser};
use recombine::Recombine;
use severity::Severity;
use trace::Trace;

/// One operator.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Its id.
    pub id: String,
    /// Entries that do not meet it pass by.
    pub condition: Option<Expression>,
    /// What becomes of entries that it fails on.
    pub on_error: OnError,
    /// Where entries go next.
    pub outputs: Vec<Output>,
    /// What it does.
    pub action: Action,
}

/// What becomes of an entry that an operator fails on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It goes on as it is.
    Send {
        /// Whether nobody is told.
        is_quiet: bool,
    },
    /// It is dropped.
    Drop {
        /// Whether nobody is told.
        is_quiet: bool,
    },
}

impl OnError {
    /// Whether entries are dropped.
    #[must_use]
    pub fn drops(self) -> bool {
        matches!(self, OnError::Drop { .. })
    }

    /// Whether nobody is told.
    #[must_use]
    pub fn is_quiet(self) -> bool {
        matches!(self, OnError::Drop { is_quiet: true } | OnError::Send { is_quiet: true })
    }
}

/// Where an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the operator of this index.
    Operator(usize),
    /// Out, to the store.
    Store,
}

/// What an operator does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Makes fields of text.
    Parse(Box<Parse>, Parser),
    /// Reads the lines of container runtimes.
    Container(Box<Container>),
    /// Sets the timestamp.
    Time(TimeRule),
    /// Sets the severity.
    Severity(Severity),
    /// Sets trace, span and flags.
    Trace(Trace),
    /// Sets the name of the scope.
    ScopeName(Field),
    /// Changes fields.
    Edit(Edit),
    /// Drops entries that meet this.
    Filter(Expression),
    /// Sends entries to the first route that they meet, or to these outputs; to none drops them.
    Router(Vec<Route>, Vec<Output>),
    /// Makes one entry of several.
    Recombine(Box<Recombine>),
    /// Nothing.
    Noop,
}

/// Which field is a timestamp.
#[derive(Clone, Debug)]
pub struct TimeRule {
    /// The field.
    pub from: Field,
    /// How the time is written.
    pub format: TimeFormat,
}

/// One way of a router.
#[derive(Clone, Debug)]
pub struct Route {
    /// Entries that meet it go here.
    pub condition: Expression,
    /// Where they go.
    pub outputs: Vec<Output>,
    /// Attributes that they get.
    pub attributes: Vec<(String, crate::expr::Template)>,
}

impl TimeRule {
    /// Sets an entry's timestamp.
    pub fn apply(&self, entry: &mut Entry) -> Result<(), String> {
        let value = self.from.find(entry).ok_or_else(|| missing(&self.from))?;
        entry.timestamp = Some(self.format.read(value, entry.observed_at)?);
        Ok(())
    }
}

/// Sets the scope's name from a field.
pub fn set_scope_name(from: &Field, entry: &mut Entry) -> Result<(), String> {
    let name = from.find(entry).and_then(Value::text).ok_or_else(|| missing(from))?.to_owned();
    entry.scope = name;
    Ok(())
}

/// What to say where a field is not there, or not text where it has to be.
fn missing(field: &Field) -> String {
    format!("the entry has no {field} of the kind that is expected")
}

/// The text of a field.
fn text_of<'e>(field: &Field, entry: &'e Entry) -> Result<&'e str, String> {
    match field.find(entry) {
        Some(Value::Str(text)) => Ok(text),
        Some(other) => Err(format!("{field} is {}, not text", other.kind())),
        None => Err(missing(field)),
    }
}

/// The named groups of an expression in a text; those that take no part are empty.
fn named_groups(pattern: &Regex, text: &str) -> Option<crate::value::Map> {
    let found = pattern.captures(text.as_bytes())?;
    let names = pattern.capture_names().flatten();
    let groups = names.map(|name| {
        let group = found.name(name).map(|group| String::from_utf8_lossy(group.as_bytes()).into_owned());
        (name.to_owned(), Value::Str(group.unwrap_or_default()))
    });
    Some(groups.collect())
}
