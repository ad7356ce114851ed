//! PromQL: from the text of a query to its value.
//!
//! The stages, in order: [`lexer`] cuts the text into tokens, [`parse`] builds the tree ([`ast`]) from them,
//! [`check`] holds it to the rules of types and matching, [`eval`] computes its value over a source of series.
//! [`print`] makes text of a tree again, [`script`] runs queries over series that are written down. All of it is
//! pure: samples come through [`throughline_exec::SeriesSource`], time through the budget.

mod aggregate;
mod annotations;
pub mod ast;
mod binary;
pub mod check;
pub mod duration;
pub mod eval;
mod functions;
pub mod lexer;
pub mod parse;
pub mod print;
mod range;
pub mod script;
pub mod signature;
mod sum;
pub mod value;

pub use eval::Engine;
pub use parse::{ParseError, parse};
pub use value::{QueryResult, QueryValue};
