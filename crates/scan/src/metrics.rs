//! Stored metrics as Prometheus series.
//!
//! Reading order: [`translate`] (what a stored series is in Prometheus), [`index`] (which series there are), [`select`]
//! (their samples, out of [`runs`]), [`listing`] (labels, series, metadata), [`exemplars`].

mod delta;
mod exemplars;
mod expand;
mod families;
mod index;
mod listing;
pub mod name;
mod native;
mod runs;
mod select;
pub mod translate;

pub use exemplars::{ExemplarSeries, FoundExemplar};
pub use index::MetricIndex;
pub use listing::{LabelValueCounts, Listing};
pub use name::Strategy;
pub use native::to_prometheus;
pub use select::{MetricSource, SlowWork};
pub use translate::{Metadata, Translation};
