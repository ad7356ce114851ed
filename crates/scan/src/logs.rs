//! Stored logs as Loki's streams.
//!
//! Reading order: [`labels`] (what an origin is in Loki: labels of a stream, and metadata that all of its records have),
//! [`metadata`] (what a single record adds), [`source`] (the rows of a query), [`listing`] (streams with their counts,
//! patterns of lines).

pub mod labels;
pub mod listing;
mod metadata;
mod source;
mod verdict;

pub use labels::{LogLabels, OriginLabels};
pub use listing::{LogPattern, StreamCount};
pub use source::StoredLogs;
