//! TraceQL: from the text of a query to a checked tree. Nothing here runs a query.
//!
//! The stages, in order: [`lexer`] cuts the text into tokens, [`parse`] builds the tree ([`ast`]) from them, [`check`] holds it to
//! the rules of types and names what is valid and not supported. [`print`] makes text of a tree again. All of it is pure.

pub mod ast;
pub mod check;
pub mod lexer;
pub mod parse;
pub mod print;

pub use check::{CheckError, check};
pub use parse::{ParseError, parse};

/// Why a text is no query that can be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It does not parse.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It parses, and makes no sense or is not supported.
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// The checked tree of a query.
pub fn checked(query: &str) -> Result<ast::Query, QueryError> {
    let tree = parse(query)?;
    check(&tree)?;
    Ok(tree)
}
