//! What stops a query: a limit, a cancellation, a failing source.

use std::fmt;

/// The limits of a [`crate::Budget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Samples held at one time.
    Samples,
    /// Series selected.
    Series,
    /// Bytes held at one time.
    Bytes,
    /// Steps of a range query.
    Steps,
    /// Time.
    Deadline,
}

impl Limit {
    /// The key of the limit in the configuration's query section, which is how it is raised.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Limit::Samples => "query.samples_max",
            Limit::Series => "query.series_max",
            Limit::Bytes => "query.memory_bytes_max",
            Limit::Steps => "query.steps_max",
            Limit::Deadline => "query.timeout",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Samples => "samples",
            Limit::Series => "series",
            Limit::Bytes => "bytes of memory",
            Limit::Steps => "steps",
            Limit::Deadline => "time",
        })
    }
}

/// Why a query stopped.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExecError {
    /// More than the budget allows.
    #[error("query needs more than {value} {limit}; narrow the query or raise {}", limit.setting())]
    Exceeded {
        /// Which limit.
        limit: Limit,
        /// Its value.
        value: u64,
    },
    /// The time given to the query is over.
    #[error("query timed out; narrow the query or raise {}", Limit::Deadline.setting())]
    TimedOut,
    /// The asker went away, or the server stops.
    #[error("query was canceled")]
    Canceled,
    /// The data could not be read.
    #[error("read series: {reason}")]
    Source {
        /// What the source says.
        reason: String,
    },
}
