//! Queries run on blocking threads: at most so many at once, and not for longer than an answer is waited for.
//!
//! A query that outlives its time limit keeps its place until it ends: the limit on queries at once is a limit on
//! work, not on waiting clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::failure::Failure;

/// Queries at once: enough to keep the cores and the disk busy, few enough that each still gets memory.
pub const QUERIES_MAX: usize = 16;
/// How long a query may take. Interactive tools give up at 30 s.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a query waits for its turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Runs a query when a place is free, and waits so long for its answer.
    pub async fn run_within<T: Send + 'static, E: From<Failure> + Send + 'static>(
        &self,
        wait: Duration,
        query: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let waited = tokio::time::timeout(QUEUE_TIMEOUT, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = waited else { return Err(Failure::busy(QUERIES_MAX).into()) };
        let task = tokio::task::spawn_blocking(move || {
            let answer = query();
            drop(place);
            answer
        });
        match tokio::time::timeout(wait, task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                let why = "the query ended without an answer; this is a bug, please report it";
                Err(Failure::internal(why).into())
            }
            Err(_) => Err(Failure::timeout(wait.as_secs()).into()),
        }
    }
}

impl Default for Blocking {
    fn default() -> Self {
        Blocking::new()
    }
}
