//! When the export thread works: each interval, early when a queue fills, on a flush, and a last time at shutdown.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// Shared between the export thread and those who want something of it.
#[derive(Default)]
pub(crate) struct Wake {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    hurry: bool,
    flushes_asked: u64,
    flushes_done: u64,
    /// Set by the shutdown: when even the last export must be given up.
    deadline: Option<Instant>,
    /// The export thread has ended.
    ended: bool,
}

/// One round of the export thread.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    flushes: u64,
    /// There will be no other.
    pub(crate) last: bool,
}

impl Wake {
    /// Lets the export thread sleep until there is a reason to work.
    pub(crate) fn wait(&self, interval: Duration) -> Turn {
        let until = clock::monotonic() + interval;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(clock::monotonic());
            let asked = state.flushes_asked > state.flushes_done;
            if left.is_zero() || state.hurry || asked || state.deadline.is_some() {
                state.hurry = false;
                return Turn { flushes: state.flushes_asked, last: state.deadline.is_some() };
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says that the round is over.
    pub(crate) fn done(&self, turn: Turn) {
        let mut state = self.lock();
        state.flushes_done = turn.flushes;
        state.ended |= turn.last;
        self.changed.notify_all();
    }

    /// Asks for a round now.
    pub(crate) fn hurry(&self) {
        self.lock().hurry = true;
        self.changed.notify_all();
    }

    /// Asks for a round that begins after now and waits for its end.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let until = clock::monotonic() + timeout;
        let mut state = self.lock();
        state.flushes_asked += 1;
        let ask = state.flushes_asked;
        self.changed.notify_all();
        while state.flushes_done < ask && !state.ended {
            let left = until.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.flushes_done >= ask
    }

    /// Asks for a last round that ends before the deadline.
    pub(crate) fn shut_down(&self, deadline: Instant) {
        self.lock().deadline = Some(deadline);
        self.changed.notify_all();
    }

    /// The time that is left, if there is a deadline.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let deadline = self.lock().deadline;
        deadline.map(|deadline| deadline.saturating_duration_since(clock::monotonic()))
    }

    /// Sleeps between two attempts; false if a deadline does not allow for it.
    pub(crate) fn sleep(&self, delay: Duration) -> bool {
        let until = clock::monotonic() + delay;
        let mut state = self.lock();
        loop {
            if state.deadline.is_some_and(|deadline| deadline < until) {
                return false;
            }
            let left = until.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return true;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
