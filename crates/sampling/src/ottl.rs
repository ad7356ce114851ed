//! Conditions in the OpenTelemetry Transformation Language, of spans and span events: the part of it that sampling uses.
//!
//! There are paths, literals, comparisons, arithmetic, `and`, `or`, `not`, and the functions that are listed in
//! [`FUNCTIONS`]. Everything else of the language is refused by name. Comparisons are OTTL's: values of different types are
//! unequal and in no order, whole numbers and others compare as numbers, `nil` equals `nil`.

mod lexer;
mod parser;
mod value;

use regex::Regex;
use serde_json::Value as Json;
use throughline_model::record::Span;

pub use value::Value;

/// The functions that conditions may call.
pub const FUNCTIONS: [&str; 8] =
    ["IsMatch", "IsRootSpan", "HasPrefix", "HasSuffix", "IsString", "IsInt", "IsDouble", "IsBool"];

/// What a condition is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A span.
    Span,
    /// A span event.
    SpanEvent,
}

/// What is wrong with a condition's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {message}")]
pub struct ConditionError {
    /// Where, counted from 1.
    pub at: usize,
    /// What, and what there is instead.
    pub message: String,
}

/// A condition that was read.
#[derive(Clone, Debug)]
pub struct Condition {
    root: Test,
}

/// Something that is true or not.
#[derive(Clone, Debug)]
enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
    Compare(Term, Comparison, Term),
    /// A value that must be a boolean.
    Is(Term),
    Match(Term, Regex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Something that has a value.
#[derive(Clone, Debug)]
enum Term {
    Literal(Value),
    Path(Path),
    Math(Box<Term>, char, Box<Term>),
    /// A function of a value and a text.
    Text(TextTest, Box<Term>, String),
    /// Whether a value is of a type.
    Type(Type, Box<Term>),
    IsRootSpan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextTest {
    HasPrefix,
    HasSuffix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    String,
    Int,
    Double,
    Bool,
}

/// A field of a span, of its resource or scope, or of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Path {
    Name,
    Kind,
    KindText,
    StatusCode,
    StatusMessage,
    Start,
    End,
    TraceState(Option<String>),
    TraceIdText,
    SpanIdText,
    ParentSpanIdText,
    Attribute(String),
    Resource(String),
    ScopeName,
    ScopeVersion,
    EventName,
    EventTime,
    EventAttribute(String),
}

impl Condition {
    /// Reads a condition.
    pub fn parse(text: &str, context: Context) -> Result<Condition, ConditionError> {
        Ok(Condition { root: parser::parse(text, context)? })
    }

    /// Whether it is true of a span, and of one of its events where it is of events.
    pub fn is_true(&self, span: &Span, event: Option<&Json>) -> bool {
        self.root.is_true(span, event)
    }

    /// The attributes of spans and resources that it looks at.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let mut names = Vec::new();
        self.root.add_attributes(&mut names);
        names.into_iter()
    }
}

impl Test {
    fn is_true(&self, span: &Span, event: Option<&Json>) -> bool {
        match self {
            Test::And(parts) => parts.iter().all(|part| part.is_true(span, event)),
            Test::Or(parts) => parts.iter().any(|part| part.is_true(span, event)),
            Test::Not(part) => !part.is_true(span, event),
            Test::Compare(a, comparison, b) => comparison.holds(&a.value(span, event), &b.value(span, event)),
            Test::Is(term) => term.value(span, event) == Value::Bool(true),
            Test::Match(term, pattern) => {
                term.value(span, event).to_text().is_some_and(|text| pattern.is_match(&text))
            }
        }
    }

    fn add_attributes<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Test::And(parts) | Test::Or(parts) => parts.iter().for_each(|part| part.add_attributes(names)),
            Test::Not(part) => part.add_attributes(names),
            Test::Compare(a, _, b) => [a, b].into_iter().for_each(|term| term.add_attributes(names)),
            Test::Is(term) | Test::Match(term, _) => term.add_attributes(names),
        }
    }
}

impl Comparison {
    fn holds(self, a: &Value, b: &Value) -> bool {
        let order = a.compare(b);
        match self {
            Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
            Comparison::Unequal => !order.is_some_and(std::cmp::Ordering::is_eq),
            Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Comparison::AtMost => order.is_some_and(std::cmp::Ordering::is_le),
            Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Comparison::AtLeast => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

impl Term {
    fn value(&self, span: &Span, event: Option<&Json>) -> Value {
        match self {
            Term::Literal(value) => value.clone(),
            Term::Path(path) => path.value(span, event),
            Term::Math(a, operator, b) => a.value(span, event).calculate(*operator, &b.value(span, event)),
            Term::Text(test, term, part) => {
                let value = term.value(span, event);
                let Value::Text(text) = &value else { return Value::Bool(false) };
                Value::Bool(match test {
                    TextTest::HasPrefix => text.starts_with(part.as_str()),
                    TextTest::HasSuffix => text.ends_with(part.as_str()),
                })
            }
            Term::Type(kind, term) => Value::Bool(matches!(
                (kind, term.value(span, event)),
                (Type::String, Value::Text(_))
                    | (Type::Int, Value::Int(_))
                    | (Type::Double, Value::Double(_))
                    | (Type::Bool, Value::Bool(_))
            )),
            Term::IsRootSpan => Value::Bool(span.parent_span_id.is_none()),
        }
    }

    fn add_attributes<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Term::Path(Path::Attribute(name) | Path::Resource(name)) => names.push(name),
            Term::Math(a, _, b) => [a, b].into_iter().for_each(|term| term.add_attributes(names)),
            Term::Text(_, term, _) | Term::Type(_, term) => term.add_attributes(names),
            Term::Literal(_) | Term::Path(_) | Term::IsRootSpan => {}
        }
    }
}

/// OTLP's kinds of spans as OTTL writes them.
const KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];

impl Path {
    fn value(&self, span: &Span, event: Option<&Json>) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        let of_event = |key: &str| event.and_then(|event| event.get(key));
        match self {
            Path::Name => text(&span.name),
            Path::Kind => Value::Int(i64::from(span.kind)),
            Path::KindText => text(KINDS.get(usize::from(span.kind)).copied().unwrap_or_default()),
            Path::StatusCode => Value::Int(i64::from(span.status_code)),
            Path::StatusMessage => text(&span.status_message),
            Path::Start => Value::Int(span.start_time),
            Path::End => Value::Int(span.end_time()),
            Path::TraceState(None) => text(&span.trace_state),
            Path::TraceState(Some(key)) => {
                let mut members = span.trace_state.split(',').filter_map(|m| m.trim().split_once('='));
                members.find(|(name, _)| name == key).map_or(Value::Nil, |(_, value)| text(value))
            }
            Path::TraceIdText => text(&span.trace_id.to_string()),
            Path::SpanIdText => text(&span.span_id.to_string()),
            Path::ParentSpanIdText => {
                span.parent_span_id.map_or_else(|| text("0000000000000000"), |id| text(&id.to_string()))
            }
            Path::Attribute(key) => Value::of(span.attributes.get(key)),
            Path::Resource(key) => Value::of(span.resource.get(key)),
            Path::ScopeName => Value::of(span.scope.get("name")),
            Path::ScopeVersion => Value::of(span.scope.get("version")),
            Path::EventName => Value::of(of_event("name")),
            Path::EventTime => Value::of(of_event("time")),
            Path::EventAttribute(key) => Value::of(of_event("attributes").and_then(|all| all.get(key))),
        }
    }
}

#[cfg(test)]
mod tests;
