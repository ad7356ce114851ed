//! What the query languages share: labels and matchers, budgets and cancellation, series of samples, native histograms.
//!
//! Nothing here does I/O or reads a clock: data comes through [`SeriesSource`], time through a closure in [`Budget`].

mod budget;
mod error;
mod labels;
mod matcher;
mod pattern;
mod series;

pub mod histogram;
pub mod quote;

pub use budget::{Budget, Cancellation, Limits};
pub use error::{ExecError, Limit};
pub use histogram::{CounterResetHint, FloatHistogram};
pub use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use pattern::AnchoredRegex;
pub use series::{
    STALE_NAN_BITS, SelectHints, SelectRequest, SeriesSamples, SeriesSource, is_stale, stale_nan,
};
