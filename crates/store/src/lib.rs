//! The store: requests in, one durable log, memtables and blocks, and immutable snapshots out.
//!
//! Reading order: [`engine`] (a write, step by step), [`wal`], [`memtable`], [`flush`], [`block`], [`compact`],
//! [`snapshot`]. Disk and clock are parameters ([`disk`], [`clock`]), so that a simulator can cut the power anywhere.

pub mod block;
pub mod clock;
pub mod compact;
pub mod dedup;
pub mod disk;
pub mod engine;
pub mod error;
pub mod expired;
pub mod flush;
pub mod fsck;
pub mod ledger;
pub mod links;
pub mod manifest;
pub mod memtable;
pub mod patterns;
pub mod retain;
mod same_span;
pub mod sample;
pub mod scrub;
pub mod set_aside;
pub mod snapshot;
pub mod wal;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, OsDisk, SimDisk};
pub use engine::{
    Budgets, Durability, Observer, Parts, Status, Store, StoreConfig, Write, WriteError, Written,
};
pub use error::Error;
pub use ledger::{Account, Ledger};
pub use links::{KindCount, LinkCount, LinkExample, LinkQuery, LinkReport, ReferringSpan, StateCount};
pub use memtable::{Instrument, SeriesAttributes, SeriesEntry};
pub use patterns::{Pattern, PatternLevel, PatternQuery};
pub use retain::Held;
pub use sample::{Decisions, Dropped, Pin, Sampling};
pub use snapshot::log_scan::{
    Among, BodyWant, FieldValue, FieldWant, KeyTest, LogFields, LogScan, LogVisitor, More, PieceOf,
    ScannedLogs, Verdict,
};
pub use snapshot::span_counts::{SpanCount, SpanCountQuery};
pub use snapshot::span_scan::{
    SPAN_KEYS_MAX, SpanBound, SpanColumn, SpanRows, SpanRun, SpanScan, SpanTrace, SpanVisitor, StoredColumns,
    TraceSpans,
};
pub use snapshot::span_values::SpanValues;
pub use snapshot::{
    Found, LogQuery, SeriesQuery, ServiceSummary, Snapshot, TimeRange, TraceData, TraceQuery, Want, spans_of,
};
