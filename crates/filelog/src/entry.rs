//! An entry: one log record on its way through the operators.

use crate::value::{Map, Value, map_bytes};

/// Where an entry's first byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The number of the file.
    pub file: u64,
    /// The offset within it, in bytes.
    pub start: u64,
    /// How many records of the file came before.
    pub record: u64,
}

/// One log record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Where it comes from.
    pub origin: Origin,
    /// When it happened, nanoseconds since the epoch, if an operator found that out.
    pub timestamp: Option<i64>,
    /// When it was read, nanoseconds since the epoch.
    pub observed_at: i64,
    /// OTLP's severity number; zero if none is known.
    pub severity: u8,
    /// The severity as it was written.
    pub severity_text: String,
    /// The line, or what became of it.
    pub body: Value,
    /// Its attributes.
    pub attributes: Map,
    /// What it comes from.
    pub resource: Map,
    /// The name of the scope.
    pub scope: String,
    /// The trace that it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// The span that it belongs to.
    pub span_id: Option<[u8; 8]>,
    /// W3C's trace flags.
    pub trace_flags: Option<u8>,
}

impl Entry {
    /// About the memory that it holds, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Entry>()
            + self.severity_text.len()
            + self.scope.len()
            + self.body.memory_bytes()
            + map_bytes(&self.attributes)
            + map_bytes(&self.resource)
    }
}
