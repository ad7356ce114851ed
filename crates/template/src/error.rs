//! What is wrong with a template, worded as Go words it.

/// Where and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a template.
    #[error("template: {name}:{line}: {message}")]
    Parse {
        /// The template.
        name: String,
        /// The line, counted from 1.
        line: usize,
        /// What.
        message: String,
    },
    /// The template could not be executed on the data.
    #[error("template: {name}:{line}:{column}: executing {template:?} at <{context}>: {message}")]
    Execute {
        /// The template's file.
        name: String,
        /// The line, counted from 1.
        line: usize,
        /// Bytes before it on the line.
        column: usize,
        /// The template or the one it calls.
        template: String,
        /// The part of the text.
        context: String,
        /// What.
        message: String,
    },
    /// A limit was reached.
    #[error("template: {name}: exceeded the limit of {limit} {what}")]
    Limit {
        /// The template.
        name: String,
        /// The limit's value.
        limit: usize,
        /// What it limits.
        what: &'static str,
    },
}
