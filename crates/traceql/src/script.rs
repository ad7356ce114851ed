//! Scripts that load spans and say what queries over them answer: the language's tests, as text.
//!
//! A command begins at the margin, what belongs to it is indented; `#` begins a comment. A script is read as a whole
//! ([`command`], [`span`]), its spans live in memory, and [`run`] compares answers with what is written. Everything is pure: the
//! caller reads the files.
//!
//! ```text
//! clear
//! load
//!   t1/a   web  "GET /cart" @0s   +100ms kind=server span.http.method="GET" resource.region="eu"
//!   t1/b<a cart "add"       @10ms +20ms  status=error event:name="exception" event.message="no"
//! eval search limit 5 spans 2 {status = error} | by(name)
//!   t1: b[status=error, name="add"] {by(name)="add"}
//! eval range from 0s to 20s step 10s {} | rate() by (resource.service.name)
//!   {resource.service.name="web"} 0.1 0
//! eval instant from 0s to 20s {} | count_over_time()
//!   {__name__="count_over_time"} 2
//! eval search {
//!   expect fail msg: unexpected the end of the query
//! ```
//!
//! A span is `TRACE/ID<PARENT SERVICE "NAME" @START +DURATION` and its fields; `event:name` begins an event and `link:spanID` a link.
//! An expected set of spans names its trace and the spans in order; `of 5` says how many matched where not all are shown, brackets
//! after a span its attributes, braces what is said of the set. `expect empty` says that there is no answer,
//! `expect note` what is said beside series, `expect exemplars 3` how many those have together.

mod command;
mod run;
mod span;

pub use run::run;
