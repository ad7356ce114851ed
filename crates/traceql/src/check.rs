//! What a query must keep to beyond its grammar: types, ranges, and what is in the language but not supported.
//!
//! The messages quote the part of the query that they are about.

mod field;
mod metrics;

use crate::ast::{
    Aggregate, Expr, Field, Hint, Literal, Pipeline, Query, ScalarExpr, ScalarFilter, SpansetExpr, Stage,
    Type,
};
use field::{condition, field_type, references_span};

/// Most regular expressions of a query: each may cost a millisecond and a megabyte to compile.
pub const REGEXES_MAX: usize = 200;
/// Most fields that series are grouped by; functions that add a label of their own have one less.
pub const GROUPS_MAX: usize = 5;

/// The hint that says how many exemplars there are at most.
pub(crate) const EXEMPLARS: &str = "exemplars";
/// The hint that asks for numbers of all spans, also of those that sampling left out.
pub(crate) const EXTRAPOLATE: &str = "extrapolate";

/// Why a query that parses is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It makes no sense.
    #[error("invalid query: {0}")]
    Invalid(String),
    /// It does, and is not supported.
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl CheckError {
    /// What is wrong, without what kind of error it is.
    pub(crate) fn what(&self) -> String {
        match self {
            CheckError::Invalid(message) => message.clone(),
            unsupported => unsupported.to_string(),
        }
    }

    /// The part of the query that it is about, as it is printed: what it quotes first.
    pub(crate) fn part(&self) -> &str {
        let (CheckError::Invalid(message) | CheckError::Unsupported(message)) = self;
        message.split('`').nth(1).unwrap_or_default()
    }
}

type Checked<T> = Result<T, CheckError>;

fn invalid<T>(message: impl Into<String>) -> Checked<T> {
    Err(CheckError::Invalid(message.into()))
}

fn unsupported<T>(what: impl Into<String>) -> Checked<T> {
    Err(CheckError::Unsupported(what.into()))
}

/// What one pass over a query counts.
#[derive(Default)]
struct Counts {
    regexes: usize,
}

/// Whether the query makes sense and is supported.
pub fn check(query: &Query) -> Checked<()> {
    let mut counts = Counts::default();
    match &query.expr {
        Expr::Spans(spans) => pipeline(&mut counts, spans)?,
        Expr::Metrics(expr) => metrics::expr(&mut counts, expr)?,
    }
    query.hints.iter().try_for_each(hint)
}

/// Whether a hint that is known has a value of its type.
fn hint(hint: &Hint) -> Checked<()> {
    let is_bool = matches!(hint.value, Literal::Bool(_));
    let (fits, expected) = match hint.name.as_str() {
        "most_recent" | EXTRAPOLATE => (is_bool, "true or false"),
        "sample" | "span_sample" | "trace_sample" => {
            let is_number = matches!(hint.value, Literal::Int(_) | Literal::Float(_));
            (is_bool || is_number, "true, false or a share from 0 to 1")
        }
        EXEMPLARS => (is_bool || matches!(hint.value, Literal::Int(_)), "true, false or a whole number"),
        // Clients give hints to other versions of other servers.
        _ => return Ok(()),
    };
    if fits { Ok(()) } else { invalid(format!("hint `{hint}`: expected {expected}")) }
}

fn pipeline(counts: &mut Counts, pipeline: &Pipeline) -> Checked<()> {
    pipeline.stages.iter().try_for_each(|stage| match stage {
        Stage::Spanset(spanset) => self::spanset(counts, spanset),
        Stage::Filter(filter) => scalar_filter(counts, filter),
        Stage::Group(expr) => {
            field_type(counts, expr)?;
            if !references_span(expr) {
                return invalid(format!("`{stage}` groups by nothing of the span"));
            }
            Ok(())
        }
        Stage::Coalesce => Ok(()),
        Stage::Select(fields) => fields.iter().try_for_each(|field| supported(field).map(|_| ())),
    })
}

fn spanset(counts: &mut Counts, spanset: &SpansetExpr) -> Checked<()> {
    match spanset {
        SpansetExpr::Filter(filter) => condition(counts, filter.as_ref()),
        SpansetExpr::Binary(binary) => {
            self::spanset(counts, &binary.left)?;
            self::spanset(counts, &binary.right)
        }
        SpansetExpr::Pipeline(inner) => pipeline(counts, inner),
    }
}

/// The type of a field, if it is supported.
fn supported(field: &Field) -> Checked<Type> {
    match field {
        Field::Attribute(attribute) if attribute.parent => {
            unsupported(format!("`{field}`, of the parent span,"))
        }
        Field::Attribute(_) => Ok(Type::Unknown),
        Field::Intrinsic { intrinsic: crate::ast::Intrinsic::Parent, .. } => {
            unsupported(format!("`{field}`, the parent span,"))
        }
        Field::Intrinsic { intrinsic, .. } => Ok(intrinsic.field_type()),
    }
}

fn scalar_filter(counts: &mut Counts, filter: &ScalarFilter) -> Checked<()> {
    scalar(counts, &filter.left)?;
    scalar(counts, &filter.right)?;
    match (&filter.left, &filter.right) {
        (ScalarExpr::Aggregate(_), right) if right.is_constant() => Ok(()),
        _ => unsupported(format!("`{filter}`, a comparison of other than one aggregate with a constant,")),
    }
}

fn scalar(counts: &mut Counts, expr: &ScalarExpr) -> Checked<()> {
    match expr {
        ScalarExpr::Number(_) => Ok(()),
        ScalarExpr::Aggregate(aggregate) => self::aggregate(counts, aggregate),
        ScalarExpr::Binary(binary) => {
            scalar(counts, &binary.left)?;
            scalar(counts, &binary.right)
        }
        ScalarExpr::Pipeline(inner) => {
            pipeline(counts, &inner.0)?;
            aggregate(counts, &inner.1)
        }
    }
}

fn aggregate(counts: &mut Counts, aggregate: &Aggregate) -> Checked<()> {
    let Aggregate::Fold(_, expr) = aggregate else { return Ok(()) };
    let expr_type = field_type(counts, expr)?;
    if !expr_type.is_number() && expr_type != Type::Unknown {
        return invalid(format!("`{aggregate}` is about {}, not about numbers", expr_type.describe()));
    }
    if !references_span(expr) {
        return invalid(format!("`{aggregate}` is about nothing of the span"));
    }
    Ok(())
}

impl Type {
    /// Whether it is one of the types of numbers, which compare with each other.
    #[must_use]
    pub fn is_number(self) -> bool {
        matches!(self, Type::Int | Type::Float | Type::Duration)
    }

    /// As messages call it.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Type::Unknown => "an attribute",
            Type::Nil => "nil",
            Type::Text => "a text",
            Type::Int => "a whole number",
            Type::Float => "a number",
            Type::Bool => "true or false",
            Type::Duration => "a duration",
            Type::Status => "a status",
            Type::Kind => "a kind",
        }
    }
}

#[cfg(test)]
mod tests;
