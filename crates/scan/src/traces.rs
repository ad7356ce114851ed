//! Stored spans as TraceQL sees them.
//!
//! Reading order: [`source`] (batches of spans and whole traces), [`columns`] (what a field is in the columns of the store),
//! [`keys`] (which attributes there are).

mod columns;
mod keys;
mod source;

pub use keys::AttributeKeys;
pub use source::StoredTraces;
