//! Admission: how many bytes may be in flight, and when a refused sender should come back.
//!
//! Bytes are reserved before they are read or produced and given back when the store has answered. Reading may use
//! half of them only, so that the decoding of what was read always finds room: a body in the queue cannot starve
//! the step that would free it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Hints are between these, as promised to senders.
const HINT_SECONDS: std::ops::RangeInclusive<f64> = 1.0..=60.0;

/// How long finished bytes are counted before they become a new estimate of the rate.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// The bytes in flight, shared by all connections.
pub(crate) struct InFlight {
    bytes_max: usize,
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    bytes: usize,
    waiting: usize,
    /// Bytes given back since `window_start`.
    window_bytes: usize,
    window_start: Instant,
    /// Bytes per second that were given back in the last whole window.
    rate: f64,
    hints: u64,
}

/// Bytes that belong to one request until this is dropped.
pub(crate) struct Reservation {
    in_flight: Arc<InFlight>,
    bytes: usize,
}

impl InFlight {
    /// With nothing in flight.
    pub(crate) fn new(bytes_max: usize) -> Arc<InFlight> {
        let state = State {
            bytes: 0,
            waiting: 0,
            window_bytes: 0,
            window_start: Instant::now(),
            rate: 0.0,
            hints: 0,
        };
        Arc::new(InFlight { bytes_max, state: Mutex::new(state), freed: Condvar::new() })
    }

    /// The bytes that are in flight.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The most that may be.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether a body of that size could be read now.
    pub(crate) fn has_room_for_body(&self, bytes: usize) -> bool {
        self.lock().bytes.saturating_add(bytes) <= self.reading_bytes_max()
    }

    /// Reserves bytes for reading a body; `None` if too many are in flight.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let mut reservation = Reservation { in_flight: Arc::clone(self), bytes: 0 };
        reservation.grow_to(bytes).then_some(reservation)
    }

    /// When a refused sender should try again: the time in which what is in flight drains at the measured rate,
    /// with a jitter so that senders refused together do not return together.
    pub(crate) fn retry_hint(&self) -> Duration {
        let mut state = self.lock();
        state.hints = state.hints.wrapping_add(1);
        let drain_seconds =
            if state.rate > 0.0 { state.bytes as f64 / state.rate } else { *HINT_SECONDS.start() };
        // Fibonacci hashing spreads consecutive numbers evenly: no randomness is needed for a jitter.
        let spread = (state.hints.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64;
        let seconds =
            (drain_seconds * (1.0 + 0.5 * spread)).clamp(*HINT_SECONDS.start(), *HINT_SECONDS.end());
        Duration::from_millis((seconds * 1000.0) as u64)
    }

    fn reading_bytes_max(&self) -> usize {
        self.bytes_max / 2
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers, whole after every statement: a panic elsewhere cannot have left it broken.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.window_bytes = state.window_bytes.saturating_add(bytes);
        let elapsed = state.window_start.elapsed();
        if elapsed >= RATE_WINDOW {
            state.rate = state.window_bytes as f64 / elapsed.as_secs_f64();
            state.window_bytes = 0;
            state.window_start = Instant::now();
        }
        if state.waiting > 0 {
            self.freed.notify_all();
        }
    }
}

impl Reservation {
    /// Grows to at least `bytes` in all, for reading; false if there is no room now.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes) else { return true };
        let limit = self.in_flight.reading_bytes_max();
        let mut state = self.in_flight.lock();
        let admitted = state.bytes.saturating_add(more) <= limit;
        if admitted {
            state.bytes += more;
            self.bytes += more;
        }
        admitted
    }

    /// Grows by `more`, for decoding, and waits up to `patience` for room. It blocks: not for reactors.
    pub(crate) fn grow_waiting(&mut self, more: usize, patience: Duration) -> bool {
        let in_flight = &self.in_flight;
        let mut state = in_flight.lock();
        state.waiting += 1;
        let (mut state, _) = in_flight
            .freed
            .wait_timeout_while(state, patience, |state| {
                state.bytes.saturating_add(more) > in_flight.bytes_max
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        let admitted = state.bytes.saturating_add(more) <= in_flight.bytes_max;
        if admitted {
            state.bytes += more;
            self.bytes += more;
        }
        admitted
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(less) = self.bytes.checked_sub(bytes) {
            self.bytes = bytes;
            self.in_flight.release(less);
        }
    }

    /// The bytes that are reserved.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.in_flight.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_takes_half_and_decoding_the_rest() {
        let in_flight = InFlight::new(100);
        let mut first = in_flight.reserve(40).expect("40 of 50");
        assert!(in_flight.reserve(11).is_none());
        assert!(!first.grow_to(51));
        assert!(first.grow_to(50));
        assert!(first.grow_waiting(50, Duration::ZERO));
        assert!(!first.grow_waiting(1, Duration::ZERO));
        first.shrink_to(60);
        assert_eq!(in_flight.bytes(), 60);
        drop(first);
        assert_eq!(in_flight.bytes(), 0);
    }

    #[test]
    fn a_waiting_decoder_gets_what_is_freed() {
        let in_flight = InFlight::new(100);
        let mut held = in_flight.reserve(10).expect("room");
        assert!(held.grow_waiting(90, Duration::ZERO));
        let mut waiting = Reservation { in_flight: Arc::clone(&in_flight), bytes: 0 };
        let thread = std::thread::spawn(move || waiting.grow_waiting(80, Duration::from_secs(30)));
        drop(held);
        assert!(thread.join().expect("no panic"));
    }

    #[test]
    fn hints_stay_within_their_bounds_and_differ() {
        let in_flight = InFlight::new(100);
        let _held = in_flight.reserve(50);
        in_flight.lock().rate = 10.0;
        let hints: Vec<Duration> = (0..20).map(|_| in_flight.retry_hint()).collect();
        assert!(hints.iter().all(|hint| (5..=8).contains(&hint.as_secs())), "{hints:?}");
        assert!(hints.windows(2).all(|pair| pair[0] != pair[1]), "{hints:?}");
        in_flight.lock().rate = 0.001;
        assert_eq!(in_flight.retry_hint(), Duration::from_secs(60));
    }
}
