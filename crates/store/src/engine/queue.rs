//! Requests on their way to the log: bounded by bytes, taken in groups.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::write::{Done, Write};

/// A group is gathered up to this size before it is written at once.
const GATHER_BYTES: usize = 1 << 20;
/// A group is gathered for at most so long, and only while requests are arriving in parallel.
const GATHER_TIME: Duration = Duration::from_millis(5);
/// A group takes at most this much, so that it fits a segment and its buffer stays small.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// A request and whom to tell.
pub(super) struct Queued {
    pub(super) write: Write,
    pub(super) done: Done,
    bytes: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Queued>,
    waiting_bytes: usize,
    body_bytes: usize,
    is_closed: bool,
}

/// Why a request is not taken.
pub(super) enum Refused {
    /// So many bytes wait already.
    Full(usize),
    /// The queue is closed.
    Closed,
}

pub(super) struct Queue {
    limit_bytes: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

impl Queue {
    pub(super) fn new(limit_bytes: usize) -> Queue {
        Queue { limit_bytes, state: Mutex::default(), arrived: Condvar::new() }
    }

    /// Adds a request, or gives it back with the reason.
    pub(super) fn push(&self, write: Write, done: Done) -> Result<(), (Refused, Done)> {
        let bytes = write.bytes();
        let mut state = self.lock();
        if state.is_closed {
            return Err((Refused::Closed, done));
        }
        // One request always fits an empty queue, whatever its size.
        if state.waiting_bytes > 0 && state.waiting_bytes + bytes > self.limit_bytes {
            return Err((Refused::Full(state.waiting_bytes), done));
        }
        state.waiting_bytes += bytes;
        state.body_bytes += write.body.len();
        state.waiting.push_back(Queued { write, done, bytes });
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes the next group without waiting.
    pub(super) fn take(&self) -> Vec<Queued> {
        let mut state = self.lock();
        let mut group = Vec::with_capacity(state.waiting.len());
        let mut group_bytes = 0;
        while let Some(next) = state.waiting.front() {
            group_bytes += next.write.body.len();
            if !group.is_empty() && group_bytes > GROUP_BYTES_MAX {
                break;
            }
            let Some(next) = state.waiting.pop_front() else { break };
            state.waiting_bytes -= next.bytes;
            state.body_bytes -= next.write.body.len();
            group.push(next);
        }
        group
    }

    /// Waits for requests: until one is there, `idle` has passed, or the queue is closed. Where the last group had
    /// several requests, waits a little for as many again: senders that were answered together come back together,
    /// and one sync serves them all. A lone request is never kept waiting.
    pub(super) fn wait(&self, last_group: usize, idle: Duration) {
        let state = self.lock();
        let (state, _) = self
            .arrived
            .wait_timeout_while(state, idle, |state| state.waiting.is_empty() && !state.is_closed)
            .unwrap_or_else(PoisonError::into_inner);
        if last_group > 1 && !state.waiting.is_empty() {
            _ = self.arrived.wait_timeout_while(state, GATHER_TIME, |state| {
                state.waiting.len() < last_group && state.body_bytes < GATHER_BYTES && !state.is_closed
            });
        }
    }

    /// Takes no more requests; those that wait stay.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.lock().waiting_bytes
    }

    pub(super) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
