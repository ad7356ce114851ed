//! The store: requests in, one durable log, memtables and blocks, and immutable snapshots out.
//!
//! Reading order: [`engine`] (a write, step by step), [`wal`], [`memtable`], [`flush`], [`block`], [`compact`],
//! [`snapshot`]. Disk and clock are parameters ([`disk`], [`clock`]), so that a simulator can cut the power anywhere.

pub mod clock;
pub mod disk;
pub mod error;
pub mod wal;

pub use error::Error;
