//! PromQL: from the text of a query to its value.
//!
//! The stages, in order: [`lexer`] cuts the text into tokens, [`parse`] builds the tree ([`ast`]) from them,
//! [`check`] holds it to the rules of types and matching. [`print`] makes text of a tree again. All of them are
//! pure.

pub mod ast;
pub mod check;
pub mod duration;
pub mod lexer;
pub mod parse;
pub mod print;
pub mod quote;
pub mod signature;

pub use parse::{ParseError, parse};
