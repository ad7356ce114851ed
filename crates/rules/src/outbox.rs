//! Notifications that wait for their receivers: one bounded queue each, with retries.
//!
//! What waits is also in the state file. So that nothing is told that a restart would not know of, a notification can
//! only be taken after [`Outbox::release`], which follows the saving of the state. A crash between delivery and the
//! next save delivers it twice; receivers know alerts by their labels.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use crate::notification::Notification;

/// Notifications in one queue; of a full one the oldest go. As in Prometheus.
const CAPACITY: usize = 10_000;
/// Notifications in one request. As in Prometheus.
const BATCH_MAX: usize = 256;
/// The pause after the first failure; it doubles.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause between attempts: shorter than the time for which a notification is valid.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What a receiver understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Alertmanager's API v2: everything, again and again.
    Alertmanager,
    /// The payload of Alertmanager's webhooks: every change once.
    Webhook,
}

/// Somebody who is told of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// What it understands.
    pub kind: Kind,
    /// Where it is; this also names its queue in the state file.
    pub url: String,
}

/// What became of notifications for one receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting.
    pub waiting: usize,
    /// Delivered.
    pub sent: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Given up: the queue was full, or the receiver refused them.
    pub dropped: u64,
}

/// What is to be done for a receiver now.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Deliver these, and tell what came of it.
    Batch(Vec<Notification>),
    /// Nothing before this time of the monotonic clock.
    Wait(Duration),
    /// Nothing.
    Idle,
}

/// All queues.
#[derive(Debug, Default)]
pub struct Outbox {
    queues: Vec<Queue>,
}

#[derive(Debug)]
struct Queue {
    receiver: Receiver,
    entries: VecDeque<Entry>,
    /// The number of the first entry since the start.
    first: u64,
    /// Of each alert the number of its last entry, and whether that says that it is resolved.
    latest: HashMap<u64, (u64, bool)>,
    /// Entries at the front that are being delivered.
    in_flight: usize,
    /// So many are delivered one by one, after a request with several was refused.
    singly: usize,
    failures_in_a_row: u32,
    not_before: Duration,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    notification: Notification,
    is_released: bool,
}

impl Outbox {
    /// Empty queues.
    #[must_use]
    pub fn new(receivers: Vec<Receiver>) -> Outbox {
        Outbox { queues: receivers.into_iter().map(Queue::new).collect() }
    }

    /// Who is told.
    pub fn receivers(&self) -> impl Iterator<Item = (&Receiver, Counts)> {
        self.queues
            .iter()
            .map(|queue| (&queue.receiver, Counts { waiting: queue.entries.len(), ..queue.counts }))
    }

    /// Puts notifications into the queues of all who want to hear them. They wait for [`Outbox::release`].
    pub fn add(&mut self, notifications: &[Notification]) {
        for queue in &mut self.queues {
            for notification in notifications {
                if queue.receiver.kind == Kind::Alertmanager || !notification.is_repeat {
                    queue.push(notification.clone());
                }
            }
        }
    }

    /// Lets go what is in the state file by now.
    pub fn release(&mut self) {
        for queue in &mut self.queues {
            for entry in queue.entries.iter_mut().rev().take_while(|entry| !entry.is_released) {
                entry.is_released = true;
            }
        }
    }

    /// What is to be done for the receiver of this number.
    pub fn next(&mut self, receiver: usize, now: Duration) -> Next {
        self.queues.get_mut(receiver).map_or(Next::Idle, |queue| queue.next(now))
    }

    /// The batch was delivered.
    pub fn delivered(&mut self, receiver: usize) {
        let Some(queue) = self.queues.get_mut(receiver) else { return };
        queue.counts.sent += queue.in_flight as u64;
        queue.singly = queue.singly.saturating_sub(queue.in_flight);
        queue.pop_in_flight();
        queue.failures_in_a_row = 0;
    }

    /// The receiver could not be reached, or could not take the batch now.
    pub fn failed(&mut self, receiver: usize, now: Duration) {
        let Some(queue) = self.queues.get_mut(receiver) else { return };
        queue.in_flight = 0;
        queue.counts.failures += 1;
        let pause = RETRY_MIN.saturating_mul(1 << queue.failures_in_a_row.min(16));
        queue.failures_in_a_row += 1;
        queue.not_before = now + pause.min(RETRY_MAX);
    }

    /// The receiver will never take the batch: what is wrong with it is found by sending one after the other.
    pub fn refused(&mut self, receiver: usize) {
        let Some(queue) = self.queues.get_mut(receiver) else { return };
        queue.counts.failures += 1;
        if queue.in_flight > 1 {
            queue.singly = queue.in_flight;
            queue.in_flight = 0;
        } else {
            queue.counts.dropped += queue.in_flight as u64;
            queue.singly = queue.singly.saturating_sub(queue.in_flight);
            queue.pop_in_flight();
        }
    }

    /// What waits, by receiver.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<String, Vec<Notification>> {
        let waiting = self.queues.iter().filter(|queue| !queue.entries.is_empty()).map(|queue| {
            let entries = queue.entries.iter().map(|entry| entry.notification.clone());
            (queue.receiver.url.clone(), entries.collect())
        });
        waiting.collect()
    }

    /// Takes over what waited before a restart, as far as its receiver is still there and it is not older than
    /// `oldest_ns`. An Alertmanager would take an alert whose end has passed for resolved: if it still fires, the next
    /// evaluation says so again.
    pub fn restore(&mut self, waiting: &BTreeMap<String, Vec<Notification>>, oldest_ns: i64, now_ns: i64) {
        for queue in &mut self.queues {
            let is_alertmanager = queue.receiver.kind == Kind::Alertmanager;
            for notification in waiting.get(&queue.receiver.url).into_iter().flatten() {
                let needs_ns = if is_alertmanager && !notification.is_resolved { now_ns } else { oldest_ns };
                if notification.ends_at_ns >= needs_ns {
                    queue.push(notification.clone());
                }
            }
        }
        self.release();
    }
}

impl Queue {
    fn new(receiver: Receiver) -> Queue {
        Queue {
            receiver,
            entries: VecDeque::new(),
            first: 0,
            latest: HashMap::new(),
            in_flight: 0,
            singly: 0,
            failures_in_a_row: 0,
            not_before: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    fn push(&mut self, notification: Notification) {
        let fingerprint = notification.fingerprint();
        let is_resolved = notification.is_resolved;
        let known = self.latest.get(&fingerprint).filter(|(_, resolved)| *resolved == is_resolved);
        let place = known.and_then(|(number, _)| usize::try_from(number.checked_sub(self.first)?).ok());
        if let Some(place) = place.filter(|place| *place >= self.in_flight)
            && let Some(entry) = self.entries.get_mut(place)
        {
            // The newer one says the same and is valid for longer.
            entry.notification = notification;
            return;
        }
        if self.entries.len() >= CAPACITY {
            self.drop_oldest();
        }
        self.latest.insert(fingerprint, (self.first + self.entries.len() as u64, is_resolved));
        self.entries.push_back(Entry { notification, is_released: false });
    }

    fn drop_oldest(&mut self) {
        self.counts.dropped += 1;
        self.pop_front();
        // If it was being delivered, the rest of that batch still is.
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn pop_front(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let fingerprint = entry.notification.fingerprint();
        if self.latest.get(&fingerprint).is_some_and(|(number, _)| *number == self.first) {
            self.latest.remove(&fingerprint);
        }
        self.first += 1;
    }

    fn pop_in_flight(&mut self) {
        for _ in 0..std::mem::take(&mut self.in_flight) {
            self.pop_front();
        }
    }

    fn next(&mut self, now: Duration) -> Next {
        let most = if self.singly > 0 { 1 } else { BATCH_MAX };
        let mut batch: Vec<Notification> = Vec::new();
        for entry in self.entries.iter().take(most).take_while(|entry| entry.is_released) {
            // One payload of a webhook is about alerts of one name.
            let is_other = batch.first().is_some_and(|first| first.name() != entry.notification.name());
            if self.receiver.kind == Kind::Webhook && is_other {
                break;
            }
            batch.push(entry.notification.clone());
        }
        if batch.is_empty() {
            return Next::Idle;
        }
        if now < self.not_before {
            return Next::Wait(self.not_before);
        }
        self.in_flight = batch.len();
        Next::Batch(batch)
    }
}
