//! What one query may use, and the token that stops it.
//!
//! A budget is shared by the threads of a query. What is counted is counted in batches (a series, a block, a step
//! vector), so that a check costs one atomic addition; the deadline is asked for only by [`Budget::check`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{ExecError, Limit};

/// Stops a query from outside; clones stop together.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// A token that nobody has used yet.
    #[must_use]
    pub fn new() -> Cancellation {
        Cancellation::default()
    }

    /// Stops every query that has a clone of this token, at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether [`Cancellation::cancel`] was called.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The values of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Samples held at one time: results so far and the window being read.
    pub samples: u64,
    /// Series selected.
    pub series: u64,
    /// Bytes held at one time, as estimated.
    pub bytes: u64,
    /// Steps of a range query.
    pub steps: u64,
}

impl Limits {
    /// No limits, for tests and tools that hold all data anyway.
    pub const NONE: Limits = Limits { samples: u64::MAX, series: u64::MAX, bytes: u64::MAX, steps: u64::MAX };
}

/// Whether the time of the query is over.
type Expired = Arc<dyn Fn() -> bool + Send + Sync>;

/// What one query may use and has used.
pub struct Budget {
    limits: Limits,
    cancellation: Cancellation,
    expired: Option<Expired>,
    samples: AtomicU64,
    samples_peak: AtomicU64,
    samples_read: AtomicU64,
    rows_read: AtomicU64,
    row_bytes_read: AtomicU64,
    series: AtomicU64,
    bytes: AtomicU64,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Budget {
    /// A budget that nothing has been taken from.
    #[must_use]
    pub fn new(limits: Limits, cancellation: Cancellation) -> Budget {
        Budget {
            limits,
            cancellation,
            expired: None,
            samples: AtomicU64::new(0),
            samples_peak: AtomicU64::new(0),
            samples_read: AtomicU64::new(0),
            rows_read: AtomicU64::new(0),
            row_bytes_read: AtomicU64::new(0),
            series: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// No limits at all.
    #[must_use]
    pub fn unlimited() -> Budget {
        Budget::new(Limits::NONE, Cancellation::new())
    }

    /// Ends the query once `expired` says so: the clock is the caller's.
    #[must_use]
    pub fn with_deadline(mut self, expired: impl Fn() -> bool + Send + Sync + 'static) -> Budget {
        self.expired = Some(Arc::new(expired));
        self
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Fails if the query was cancelled or its time is over. Called for each series or batch of them.
    pub fn check(&self) -> Result<(), ExecError> {
        if self.cancellation.is_canceled() {
            return Err(ExecError::Canceled);
        }
        match &self.expired {
            Some(expired) if expired() => Err(ExecError::TimedOut),
            _ => Ok(()),
        }
    }

    /// Counts samples that the query holds from now on.
    pub fn take_samples(&self, count: u64) -> Result<(), ExecError> {
        let held = self.samples.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        self.samples_peak.fetch_max(held, Ordering::Relaxed);
        within(Limit::Samples, held, self.limits.samples)
    }

    /// Counts samples that the query lets go of.
    pub fn release_samples(&self, count: u64) {
        release(&self.samples, count);
    }

    /// Counts samples that were looked at; there is no limit, only the figure for statistics.
    pub fn note_samples_read(&self, count: u64) {
        self.samples_read.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts log rows that were looked at and the bytes of their lines, for statistics.
    pub fn note_rows_read(&self, rows: u64, bytes: u64) {
        self.rows_read.fetch_add(rows, Ordering::Relaxed);
        self.row_bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts selected series, or streams of logs.
    pub fn take_series(&self, count: u64) -> Result<(), ExecError> {
        let taken = self.series.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        within(Limit::Series, taken, self.limits.series)
    }

    /// Counts memory that the query holds from now on.
    pub fn take_bytes(&self, count: u64) -> Result<(), ExecError> {
        let held = self.bytes.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        within(Limit::Bytes, held, self.limits.bytes)
    }

    /// Counts memory that the query lets go of.
    pub fn release_bytes(&self, count: u64) {
        release(&self.bytes, count);
    }

    /// Fails if a range query of so many steps is too long.
    pub fn check_steps(&self, count: u64) -> Result<(), ExecError> {
        within(Limit::Steps, count, self.limits.steps)
    }

    /// The most samples held at one time so far.
    #[must_use]
    pub fn samples_peak(&self) -> u64 {
        self.samples_peak.load(Ordering::Relaxed)
    }

    /// The log rows looked at so far, and the bytes of their lines.
    #[must_use]
    pub fn rows_read(&self) -> (u64, u64) {
        (self.rows_read.load(Ordering::Relaxed), self.row_bytes_read.load(Ordering::Relaxed))
    }

    /// The samples looked at so far.
    #[must_use]
    pub fn samples_read(&self) -> u64 {
        self.samples_read.load(Ordering::Relaxed)
    }
}

fn within(limit: Limit, used: u64, value: u64) -> Result<(), ExecError> {
    if used > value { Err(ExecError::Exceeded { limit, value }) } else { Ok(()) }
}

/// Never below zero: what is released was taken, but a failed take may have been rolled back by nobody.
fn release(counter: &AtomicU64, count: u64) {
    let lower = |held: u64| Some(held.saturating_sub(count));
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lower);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_names_itself_and_how_to_raise_it() {
        let limits = Limits { samples: 10, ..Limits::NONE };
        let budget = Budget::new(limits, Cancellation::new());
        budget.take_samples(6).unwrap();
        budget.release_samples(5);
        budget.take_samples(9).unwrap();
        assert_eq!(budget.samples_peak(), 10);
        let error = budget.take_samples(1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "query needs more than 10 samples; narrow the query or raise query.samples_max"
        );
    }

    #[test]
    fn cancellation_and_deadline_end_a_query() {
        let token = Cancellation::new();
        let budget = Budget::new(Limits::NONE, token.clone());
        assert_eq!(budget.check(), Ok(()));
        token.cancel();
        assert_eq!(budget.check(), Err(ExecError::Canceled));
        let budget = Budget::unlimited().with_deadline(|| true);
        assert_eq!(budget.check(), Err(ExecError::TimedOut));
    }
}
