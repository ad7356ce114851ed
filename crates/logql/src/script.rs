//! Scripts that load lines and say what queries over them answer: the language's tests, as text.
//!
//! A command begins at the margin, what belongs to it is indented; `#` begins a comment. A script is read as a whole
//! ([`command`], [`row`]), its rows live in memory, and [`run`] compares answers with what is written. Everything is pure: the
//! caller reads the files.
//!
//! ```text
//! clear
//! load
//!   {app="a"} "line {{.i}}" @ 10s [repeat every 10s for 3] [metadata k="v"]
//! eval instant at 60s count_over_time({app="a"}[1m])
//!   {app="a", k="v"} 3
//! eval range from 60s to 180s step 60s sum(rate({app="a"}[1m]))
//!   {} 0.05 _ _
//! eval logs from 0s to 60s limit 1 forward {app="a"} |= "line"
//!   {app="a", k="v"} "line 0" @ 10s [metadata k="v"]
//! eval instant at 0s sum(
//!   expect fail msg: syntax error
//! ```
//!
//! `expect empty` and `expect ordered` say so of the series of an answer. What a query for lines answers is written stream by stream.

mod command;
mod compare;
mod row;
mod run;

pub use run::run;
