//! Scripts that load series and say what queries over them answer: the language's tests, as text.
//!
//! The format is that of Prometheus's own tests, so that suites serve both. A script is read as a whole
//! ([`command`], [`points`]), its series live in memory ([`memory`]), and [`run`] compares answers ([`compare`])
//! with what is written. Everything is pure: the caller reads the files.

mod classic;
mod command;
mod compare;
mod memory;
mod points;
mod run;

pub use memory::MemorySeries;
pub use points::{Point, SeriesLine, series_line};
pub use run::run;
