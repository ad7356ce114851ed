//! Which connections are open, and which one makes room when there are too many.
//!
//! Turning new connections away would let whoever holds all of them, by saying nothing or by speaking slowly, keep
//! everybody else out. So the newcomer gets the place of the connection that deserves it least: one that never
//! brought a request to its end, oldest first; failing that, the one that has been idle longest. A sender in the
//! middle of a request on a connection that has proved itself is never interrupted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::socket::Activity;

/// A connection so young is left alone even though it has not brought anything to an end.
const GRACE: Duration = Duration::from_secs(1);

/// All open connections.
pub(crate) struct Connections {
    max: usize,
    open: Mutex<Open>,
    pub(crate) refused: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) timed_out: AtomicU64,
}

#[derive(Default)]
struct Open {
    /// By number, which is their age.
    by_number: BTreeMap<u64, Arc<Activity>>,
    next: u64,
}

/// One of the connections that may be open; its place is free when this is dropped.
pub(crate) struct OpenConnection {
    connections: Arc<Connections>,
    number: u64,
    pub(crate) activity: Arc<Activity>,
}

impl Connections {
    pub(crate) fn new(max: usize) -> Arc<Connections> {
        Arc::new(Connections {
            max,
            open: Mutex::default(),
            refused: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
        })
    }

    /// Takes a place, another connection's if need be; `None` if all are in good use.
    pub(crate) fn open(self: &Arc<Self>) -> Option<OpenConnection> {
        let mut open = self.lock();
        if open.by_number.len() >= self.max {
            let Some(number) = open.least_deserving() else {
                self.refused.fetch_add(1, Relaxed);
                return None;
            };
            if let Some(activity) = open.by_number.remove(&number) {
                activity.evict();
                self.evicted.fetch_add(1, Relaxed);
            }
        }
        let (number, activity) = (open.next, Activity::new());
        open.next += 1;
        open.by_number.insert(number, Arc::clone(&activity));
        Some(OpenConnection { connections: Arc::clone(self), number, activity })
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.lock().by_number.len()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // The map is whole between its operations: a panic elsewhere cannot have left it broken.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn least_deserving(&self) -> Option<u64> {
        let unproved = self
            .by_number
            .iter()
            .find(|(_, activity)| !activity.has_served() && (activity.is_idle() || activity.age() >= GRACE));
        let idle = || {
            let idle = self.by_number.iter().filter(|(_, activity)| activity.is_idle());
            idle.min_by_key(|(_, activity)| activity.idle_since())
        };
        unproved.or_else(idle).map(|(number, _)| *number)
    }
}

impl OpenConnection {
    /// Counts that it was closed for slow headers or idleness.
    pub(crate) fn count_time_out(&self) {
        self.connections.timed_out.fetch_add(1, Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_deserving_makes_room() {
        let connections = Connections::new(3);
        let open = || connections.open();
        let (proved, silent, busy) = (open().expect("1"), open().expect("2"), open().expect("3"));
        drop(proved.activity.begin());
        let request = busy.activity.begin();
        let newcomer = open().expect("the silent one's place");
        assert!(silent.activity.is_evicted() && !proved.activity.is_evicted());
        drop(silent);
        drop(newcomer.activity.begin());
        // Now two have proved themselves and the third is young and busy: the one that is idle longest goes.
        let second = open().expect("the idle one's place");
        assert!(proved.activity.is_evicted() && !busy.activity.is_evicted());
        let held = (second.activity.begin(), newcomer.activity.begin());
        assert!(open().is_none(), "all are in use, and young or proved");
        assert_eq!(connections.refused.load(Relaxed), 1);
        drop((held, request));
        drop((second, newcomer, busy));
        assert_eq!(connections.count(), 0);
    }
}
