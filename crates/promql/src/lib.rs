//! PromQL: from the text of a query to its value.
//!
//! The stages, in order: the parser builds the tree ([`ast`]) from the text, the checker holds it to the rules of
//! types and matching. All of them are pure.

pub mod ast;
pub mod signature;
