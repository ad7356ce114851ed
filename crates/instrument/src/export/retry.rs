//! Whether and when a request is sent again: OTLP's rules, exponential back-off, and the receiver's `Retry-After`.

use std::time::Duration;

use super::Outcome;
use super::client::{Answer, Client};
use crate::clock;
use crate::telemetry::Core;

/// The first back-off; each later one is twice as long.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// The longest back-off of our own choosing.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How long a request is tried. Meanwhile new items queue up, and are dropped where the queue is full.
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);

/// Posts a request until it is taken or given up.
pub(crate) fn post(core: &Core, client: &Client, path: &str, body: &[u8]) -> Outcome {
    let started = clock::monotonic();
    let mut attempt = 0;
    loop {
        let (error, retry_after) = match client.post(path, body, core.wake.time_left()) {
            Answer::Taken { rejected, message } => return Outcome::Taken { rejected, message },
            Answer::Refused(error) => return Outcome::Failed(error),
            Answer::TryLater { error, retry_after } => (error, retry_after),
        };
        let spent = clock::monotonic().saturating_duration_since(started);
        let Some(delay) = delay(attempt, spent, retry_after, core.ids.fraction()) else {
            return Outcome::Failed(format!("given up after {} attempts: {error}", attempt + 1));
        };
        if !core.wake.sleep(delay) {
            return Outcome::Failed(format!("given up at shutdown: {error}"));
        }
        attempt += 1;
    }
}

/// How long to wait before the next attempt; `None` gives up. A delay that the receiver named is kept exactly.
fn delay(attempt: u32, spent: Duration, retry_after: Option<Duration>, jitter: f64) -> Option<Duration> {
    let own = BACKOFF_FIRST.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX);
    let delay = retry_after.unwrap_or_else(|| own.mul_f64(0.5 + jitter / 2.0));
    (spent.saturating_add(delay) <= RETRY_TIME_MAX).then_some(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_with_jitter_up_to_its_limit() {
        let at = |attempt, jitter| delay(attempt, Duration::ZERO, None, jitter).unwrap().as_millis();
        assert_eq!([at(0, 1.0), at(1, 1.0), at(2, 1.0)], [100, 200, 400]);
        assert_eq!([at(0, 0.0), at(1, 0.0), at(2, 0.0)], [50, 100, 200]);
        assert_eq!(at(60, 1.0), BACKOFF_MAX.as_millis());
    }

    #[test]
    fn retry_after_is_kept_unless_it_exceeds_the_time_limit() {
        let after = |seconds| delay(0, Duration::from_secs(1), Some(Duration::from_secs(seconds)), 0.3);
        assert_eq!(after(7), Some(Duration::from_secs(7)));
        assert_eq!(after(60), None);
    }
}
