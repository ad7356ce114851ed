//! The clocks: wall time for what is sent, monotonic time for durations and waits.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch; zero on a machine whose clock stands before it.
#[expect(clippy::disallowed_methods, reason = "a library in somebody's service has no clock handed to it")]
pub(crate) fn now_unix_ns() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// The monotonic clock, so that a span's duration survives a step of the wall clock.
#[expect(clippy::disallowed_methods, reason = "a library in somebody's service has no clock handed to it")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
