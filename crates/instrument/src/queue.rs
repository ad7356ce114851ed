//! A bounded queue that never blocks its writers: what does not fit is dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Items of one signal on their way to the exporter.
pub(crate) struct Queue<T> {
    items: Mutex<VecDeque<T>>,
    capacity: usize,
    dropped: AtomicU64,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub(crate) fn new(capacity: usize) -> Queue<T> {
        Queue { items: Mutex::default(), capacity, dropped: AtomicU64::new(0) }
    }

    /// Appends an item, or drops and counts it; returns how many items are waiting.
    pub(crate) fn push(&self, item: T) -> usize {
        let mut items = self.lock();
        if items.len() < self.capacity {
            items.push_back(item);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        items.len()
    }

    /// Takes up to `count` of the oldest items.
    pub(crate) fn take(&self, count: usize) -> Vec<T> {
        let mut items = self.lock();
        let count = count.min(items.len());
        items.drain(..count).collect()
    }

    /// How many items did not fit.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A thread that panicked while pushing leaves the queue as it was before or after: both are fine.
    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_newest_and_counts() {
        let queue = Queue::new(2);
        assert_eq!([1, 2, 3].map(|item| queue.push(item)), [1, 2, 2]);
        assert_eq!(queue.dropped(), 1);
        assert_eq!(queue.take(10), [1, 2]);
        assert!(queue.take(10).is_empty());
    }
}
