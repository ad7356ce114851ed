//! What all parsers share: a field is read, what comes of it is merged into another, then time, severity, trace and scope are
//! taken from it.

use regex::bytes::Regex;

use super::csv::Csv;
use super::key_value::KeyValue;
use super::severity::Severity;
use super::trace::Trace;
use super::{TimeRule, named_groups, set_scope_name, text_of};
use crate::entry::Entry;
use crate::field::Field;
use crate::value::{Map, Value, parse_json};

/// Where a parser reads and writes.
#[derive(Clone, Debug)]
pub struct Parse {
    /// What is parsed.
    pub from: Field,
    /// Where it is merged into.
    pub to: Field,
    /// What becomes the body after that.
    pub body: Option<Field>,
    /// What becomes the timestamp.
    pub time: Option<TimeRule>,
    /// What becomes the severity.
    pub severity: Option<Severity>,
    /// What becomes the trace context.
    pub trace: Option<Trace>,
    /// What becomes the name of the scope.
    pub scope: Option<Field>,
}

/// How text becomes fields.
#[derive(Clone, Debug)]
pub enum Parser {
    /// It is a JSON object.
    Json {
        /// Whether whole numbers stay whole.
        whole_numbers: bool,
    },
    /// Named groups of an expression.
    Regex(Regex),
    /// Pairs.
    KeyValue(KeyValue),
    /// Comma-separated values.
    Csv(Csv),
}

impl Default for Parse {
    fn default() -> Parse {
        Parse {
            from: Field::body(),
            to: Field::attributes(),
            body: None,
            time: None,
            severity: None,
            trace: None,
            scope: None,
        }
    }
}

impl Parse {
    /// Parses an entry. On an error the entry is as far as it came: what was parsed is kept if only the time, say, was not.
    pub fn apply(&self, parser: &Parser, entry: &mut Entry) -> Result<(), String> {
        let parsed = parser.read(&self.from, entry)?;
        self.merge(parsed, entry)
    }

    /// Merges what was parsed and takes from it what it says.
    pub fn merge(&self, parsed: Map, entry: &mut Entry) -> Result<(), String> {
        self.to.set(entry, Value::Map(parsed))?;
        if let Some(body) = self.body.as_ref().and_then(|field| field.get(entry)) {
            entry.body = body;
        }
        self.embedded(entry)
    }

    /// All are tried, whatever becomes of the others; the first error counts.
    pub fn embedded(&self, entry: &mut Entry) -> Result<(), String> {
        let labelled = |name: &'static str| move |reason: String| format!("{name}: {reason}");
        let time = self.time.as_ref().map_or(Ok(()), |rule| rule.apply(entry)).map_err(labelled("timestamp"));
        let severity =
            self.severity.as_ref().map_or(Ok(()), |rule| rule.apply(entry)).map_err(labelled("severity"));
        let trace = self.trace.as_ref().map_or(Ok(()), |rule| rule.apply(entry)).map_err(labelled("trace"));
        let scope = self.scope.as_ref().map_or(Ok(()), |from| set_scope_name(from, entry));
        time.and(severity).and(trace).and(scope.map_err(labelled("scope_name")))
    }
}

impl Parser {
    fn read(&self, from: &Field, entry: &Entry) -> Result<Map, String> {
        let text = text_of(from, entry)?;
        match self {
            Parser::Json { whole_numbers } => match parse_json(text, *whole_numbers)? {
                Value::Map(map) => Ok(map),
                other => Err(format!("the JSON is {}, not an object", other.kind())),
            },
            Parser::Regex(pattern) => {
                named_groups(pattern, text).ok_or_else(|| "regex pattern does not match".to_owned())
            }
            Parser::KeyValue(rule) => rule.parse(text),
            Parser::Csv(rule) => rule.parse(text, entry),
        }
    }
}
