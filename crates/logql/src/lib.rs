//! LogQL: from the text of a query to its value.
//!
//! The stages, in order: [`lexer`] cuts the text into tokens, [`parse`] builds the tree ([`ast`]) from them, [`check`] holds it to
//! the rules of aggregations and matching, [`pipeline`] makes of the stages of a log query what takes rows one by one, [`eval`] computes
//! values over a source of logs. [`fields`] lists what lines have without any query, [`print`] makes text of a tree again, [`script`]
//! runs queries over lines that are written down.
//! All of it is pure: rows come through [`throughline_exec::log::LogSource`], time through the parameters of a query.

pub mod ast;
pub mod check;
mod convert;
pub mod eval;
pub mod fields;
mod functions;
pub mod lexer;
pub mod parse;
mod pipeline;
pub mod print;
mod range;
pub mod script;
pub mod value;

pub use eval::{Engine, QueryError, QueryParams};
pub use parse::{ParseError, parse};
pub use value::{LogStream, QueryValue};
