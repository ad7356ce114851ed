//! Metrics derived from spans: rate, errors and duration of every operation, and the service graph.
//!
//! They are counted from every span that is stored, before anything is sampled, and written back into the store as
//! series, like those of any other sender. Reading order: [`deriver`] (the state, pure), [`red`] and [`graph`] (what is
//! counted), [`table`] and [`histogram`] (where), [`samples`] (how it becomes series), [`checkpoint`] and
//! [`derivation`] (how it survives and runs).
//!
//! The state is a function of the log: of the batches below an LSN and the times at which they were received, of nothing
//! else. A checkpoint keeps it beside its LSN, and the store shows everything from there on again after a crash, so
//! that each stored span is counted exactly once.

pub mod checkpoint;
mod columns;
pub mod config;
pub mod derivation;
pub mod deriver;
mod dimensions;
pub mod graph;
pub mod histogram;
pub mod pairing;
mod peers;
pub mod red;
pub mod samples;
pub mod status;
pub mod table;

pub use config::{DeriveConfig, Dimension, GraphConfig};
pub use derivation::{Derivation, Running};
pub use deriver::Deriver;
pub use status::Status;
