//! Stored spans as TraceQL sees them.
//!
//! Reading order: [`source`] (batches of spans and whole traces), [`columns`] (what a field is in the columns of the store).

mod columns;
mod source;

pub use source::StoredTraces;
