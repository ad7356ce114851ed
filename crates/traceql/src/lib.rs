//! TraceQL: from the text of a query to its answer.
//!
//! The stages, in order: [`lexer`] cuts the text into tokens, [`parse`] builds the tree ([`ast`]) from them, [`check`] holds it to
//! the rules of types and names what is valid and not supported, [`eval`] computes answers ([`answer`]) over a source of spans.
//! [`print`] makes text of a tree again, [`script`] runs queries over spans that are written down. All of it is pure: spans come through [`source::TraceSource`] as columns
//! ([`column`], [`value`]), time through the parameters of a query.

pub mod answer;
pub mod ast;
pub mod check;
pub mod column;
pub mod eval;
pub mod lexer;
mod locate;
pub mod memory;
pub mod parse;
pub mod print;
pub mod script;
pub mod source;
pub mod value;

pub use answer::{
    FoundSpan, FoundSpanset, FoundTrace, MetricExemplar, MetricSeries, MetricsAnswer, SearchAnswer,
    ServiceStats,
};
pub use check::{CheckError, check};
pub use eval::{Engine, EvalError, MetricsParams, SearchParams};
pub use parse::{ParseError, parse};
pub use value::Value;

/// Why a text is no query that can be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It does not parse.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It parses, and makes no sense or is not supported.
    #[error("check error at line {line}, col {column}: {}", error.what())]
    Check {
        /// Where the part that the error is about begins: the line, from one.
        line: usize,
        /// Of the line, in characters from one.
        column: usize,
        /// What is wrong.
        error: CheckError,
    },
}

/// The checked tree of a query.
pub fn checked(query: &str) -> Result<ast::Query, QueryError> {
    let tree = parse(query)?;
    match check(&tree) {
        Ok(()) => Ok(tree),
        Err(error) => {
            let at = locate::part(query, error.part());
            let ParseError { line, column, .. } = ParseError::new(query, at, String::new());
            Err(QueryError::Check { line, column, error })
        }
    }
}
