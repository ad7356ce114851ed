//! The demo's clock: it measures real processes.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the demo runs in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the demo runs in real time")]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
