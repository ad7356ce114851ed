//! What happened so far, for those who ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What happened to a receiver so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Its id.
    pub receiver: String,
    /// Files that are known.
    pub files: u64,
    /// Files that are open.
    pub open_files: u64,
    /// Files whose bytes were others than before.
    pub truncated_files: u64,
    /// Bytes of lines that were read.
    pub bytes: u64,
    /// Lines that were read.
    pub lines: u64,
    /// Records that are stored.
    pub records: u64,
    /// Records that filters and routers dropped.
    pub filtered: u64,
    /// Records that were dropped because an operator failed.
    pub failed: u64,
    /// Records that the store's limits refused.
    pub rejected: u64,
    /// Failures of operators.
    pub operator_failures: u64,
    /// Requests that the store knew from before a crash.
    pub deduplicated_requests: u64,
    /// How often the store took nothing and was waited for.
    pub store_waits: u64,
    /// Files that could not be read.
    pub read_failures: u64,
}

macro_rules! counts {
    ($($name:ident),*) => {
        /// The counters of a receiver.
        #[derive(Debug, Default)]
        pub struct Counts {
            $(
                #[doc = concat!("See [`ReceiverStats::", stringify!($name), "`].")]
                pub $name: AtomicU64,
            )*
        }

        impl Counts {
            /// Their values now.
            #[must_use]
            pub fn read(&self, receiver: &str) -> ReceiverStats {
                ReceiverStats {
                    receiver: receiver.to_owned(),
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counts!(
    files,
    open_files,
    truncated_files,
    bytes,
    lines,
    records,
    filtered,
    failed,
    rejected,
    operator_failures,
    deduplicated_requests,
    store_waits,
    read_failures
);

/// Adds to a counter.
pub fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// Tells an operator things, each kind at most once in a while.
pub struct Warnings {
    receiver: String,
    warn: Arc<dyn Fn(&str) + Send + Sync>,
    said: BTreeMap<String, (Duration, u64)>,
}

/// The same kind of warning is said again after so long.
const SAID_AGAIN: Duration = Duration::from_secs(30);
/// Kinds of warnings that are remembered.
const KINDS_MAX: usize = 1000;

impl Warnings {
    /// Warnings of one receiver.
    pub fn new(receiver: &str, warn: Arc<dyn Fn(&str) + Send + Sync>) -> Warnings {
        Warnings { receiver: receiver.to_owned(), warn, said: BTreeMap::new() }
    }

    /// Says something, with how often that was not said since the last time.
    pub fn say(&mut self, kind: &str, text: &str, now: Duration) {
        if self.said.len() >= KINDS_MAX {
            self.said.clear();
        }
        let (last, unsaid) = match self.said.get_mut(kind) {
            Some((last, unsaid)) => (last, unsaid),
            None => {
                self.said.insert(kind.to_owned(), (now, 0));
                return (self.warn)(&format!("{}: {text}", self.receiver));
            }
        };
        if now.saturating_sub(*last) < SAID_AGAIN {
            *unsaid += 1;
            return;
        }
        let more = match std::mem::take(unsaid) {
            0 => String::new(),
            more => format!(" (and {more} times before that)"),
        };
        *last = now;
        (self.warn)(&format!("{}: {text}{more}", self.receiver));
    }
}
