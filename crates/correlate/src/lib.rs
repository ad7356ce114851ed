//! Correlation: what the signals say together.
//!
//! Reads a [`throughline_store::Snapshot`] and nothing else: no file, no clock, no randomness. The same snapshot and
//! the same request give the same answer.
//!
//! - [`trace_view`]: one trace as a tree, with its logs and exemplars where they belong;
//! - [`walk`]: from a latency spike to its log lines and its likely cause;
//! - [`compare`]: what one set of traces has in common that another lacks;
//! - [`investigate`]: from a moment at which something was wrong to who is likely to be the cause, over all signals;
//! - [`distribution`], [`spike`], [`contrast`], [`mechanism`], [`cause`]: the parts of the walk, each pure;
//! - [`doctor`]: rules that say what is wrong with the telemetry itself, why, and what to do;
//! - [`exemplar`]: of an expression's series the exemplars that show a quantile or the start of a spike;
//! - [`reconcile`]: requests and errors by metric, by span and by log record, and where differences come from;
//! - [`command`]: commands that show an answer again;
//! - [`missing`], [`unresolved`]: what became of a trace that is not here, for one and for those of a list;
//! - [`units`]: times and durations as text, both ways.

pub mod cause;
pub mod command;
pub mod compare;
pub mod contrast;
pub mod distribution;
pub mod doctor;
pub mod exemplar;
pub mod investigate;
pub mod mechanism;
pub mod missing;
pub mod reconcile;
pub mod spike;
pub mod trace_view;
pub mod units;
pub mod unresolved;
pub mod walk;

#[cfg(test)]
mod sample;
