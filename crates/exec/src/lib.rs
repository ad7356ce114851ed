//! What the query languages share: labels and matchers, budgets and cancellation, series of samples, native histograms, rows of
//! logs.
//!
//! Nothing here does I/O or reads a clock: data comes through [`SeriesSource`] and [`log::LogSource`], time through a closure in [`Budget`].

mod budget;
mod error;
mod labels;
mod matcher;
mod pattern;
mod series;

pub mod duration;
pub mod histogram;
pub mod log;
pub mod quote;
pub mod script;

pub use budget::{Budget, Cancellation, Limits};
pub use error::{ExecError, Limit};
pub use histogram::{CounterResetHint, FloatHistogram};
pub use labels::{KnownHash, Labels, LabelsBuilder, LabelsMap, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use pattern::{AnchoredRegex, search_bytes_regex, search_regex};
pub use series::{
    Grid, STALE_NAN_BITS, SelectHints, SelectRequest, SeriesSamples, SeriesSource, Times, is_stale, stale_nan,
};
