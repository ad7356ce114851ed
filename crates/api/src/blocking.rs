//! Queries run on blocking threads: at most so many at once, and not for longer than an answer is waited for.
//!
//! A query that outlives its time limit keeps its place until it ends: the limit on queries at once is a limit on
//! work, not on waiting clients.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use throughline_exec::{Budget, Cancellation, Limits};
use throughline_store::Clock;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;

/// Queries at once: enough to keep the cores and the disk busy, few enough that each still gets memory.
pub const QUERIES_MAX: usize = 16;
/// How long a query may take. Interactive tools give up at 30 s.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a query waits for its turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// Stops the query when the client goes away: the future that holds it is dropped.
pub(crate) struct CancelOnDrop(pub(crate) Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What a query that begins now may use, and until when.
pub(crate) fn budget(
    limits: Limits,
    timeout: Duration,
    cancellation: Cancellation,
    clock: Arc<dyn Clock>,
) -> Budget {
    let until = clock.now().saturating_add(i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX));
    Budget::new(limits, cancellation).with_deadline(move || clock.now() > until)
}

/// The places for running queries.
#[derive(Clone)]
pub struct Blocking {
    places: Arc<Semaphore>,
}

impl Blocking {
    /// With [`QUERIES_MAX`] places.
    pub fn new() -> Blocking {
        Blocking { places: Arc::new(Semaphore::new(QUERIES_MAX)) }
    }

    /// Runs a query when a place is free.
    pub async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.run_within(QUERY_TIMEOUT, query).await
    }

    /// Runs a look-up on this thread when a place is free. It takes about as long as it would wait for another thread on
    /// busy cores, twice; whatever else this thread has to do is handed to others meanwhile. There is no time limit but the
    /// question's own: for questions whose answer is bounded by one trace, that are known to be small, or that end by
    /// themselves.
    pub async fn run_here<T: Send + 'static, E: From<Failure> + Send + 'static>(
        &self,
        query: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        if Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
            return self.run_within(QUERY_TIMEOUT, query).await;
        }
        let _place = self.place().await?;
        let outcome = tokio::task::block_in_place(|| catch_unwind(AssertUnwindSafe(query)));
        outcome.unwrap_or_else(|_| Err(without_answer().into()))
    }

    /// Runs a look-up on this thread when a place is free, and whatever else the thread has to do waits: for what takes less
    /// time than handing anything over to another thread. What turns out to take longer on the way is done by
    /// [`handed_over`].
    pub async fn run_at_once<T, E: From<Failure>>(
        &self,
        query: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let _place = self.place().await?;
        catch_unwind(AssertUnwindSafe(query)).unwrap_or_else(|_| Err(without_answer().into()))
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let waited = tokio::time::timeout(QUEUE_TIMEOUT, Arc::clone(&self.places).acquire_owned()).await;
        match waited {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Failure::busy(QUERIES_MAX)),
        }
    }

    /// Runs a query when a place is free, and waits so long for its answer.
    pub async fn run_within<T: Send + 'static, E: From<Failure> + Send + 'static>(
        &self,
        wait: Duration,
        query: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let place = self.place().await?;
        let task = tokio::task::spawn_blocking(move || {
            let answer = query();
            drop(place);
            answer
        });
        match tokio::time::timeout(wait, task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(without_answer().into()),
            Err(_) => Err(Failure::timeout(wait.as_secs()).into()),
        }
    }
}

/// Does work that takes longer than handing what else this thread has to do over to others, which happens first.
pub(crate) fn handed_over(work: &mut dyn FnMut()) {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn without_answer() -> Failure {
    Failure::internal("the query ended without an answer; this is a bug, please report it")
}

impl Default for Blocking {
    fn default() -> Self {
        Blocking::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_panics_is_answered_and_leaves_its_place() {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let one = tokio::runtime::Builder::new_current_thread().enable_all().build();
        for runtime in [threads.expect("runtime"), one.expect("runtime")] {
            let blocking = Blocking::new();
            runtime.block_on(async {
                for _ in 0..=QUERIES_MAX {
                    let failed = blocking.run_here::<(), Failure>(|| panic!("as a bug would")).await;
                    assert!(format!("{:?}", failed.expect_err("no answer")).contains("internal"));
                }
                assert_eq!(blocking.run_here(|| Ok::<i32, Failure>(7)).await.ok(), Some(7));
                for _ in 0..=QUERIES_MAX {
                    let failed = blocking.run_at_once::<(), Failure>(|| panic!("as a bug would")).await;
                    assert!(format!("{:?}", failed.expect_err("no answer")).contains("internal"));
                }
                assert_eq!(blocking.run_at_once(|| Ok::<i32, Failure>(8)).await.ok(), Some(8));
                let mut done = 0;
                let slowly = || {
                    handed_over(&mut || done += 1);
                    handed_over(&mut || done += 1);
                    Ok::<i32, Failure>(9)
                };
                assert_eq!(blocking.run_at_once(slowly).await.ok(), Some(9));
                assert_eq!(done, 2);
            });
        }
    }
}
