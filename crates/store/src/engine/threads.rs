//! The store: an engine and the threads that drive it.
//!
//! Three threads: one commits, one flushes, one merges, retires and deletes. They end when the store is closed; the last
//! clone that is dropped closes it too.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use throughline_model::TraceId;

use super::observe::{Observer, Parts, Unobserved};
use super::{Done, Durability, Engine, Status, StoreConfig, Write, lock};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::sample::{Decisions, Pin};
use crate::snapshot::Snapshot;

/// How long the committer sleeps without requests; with [`Durability::Os`] also the time between syncs.
const COMMIT_IDLE: Duration = Duration::from_secs(1);
/// How often the memtable's size is looked at: at full load it grows by a few megabytes in this time.
const FLUSH_IDLE: Duration = Duration::from_millis(50);
/// How often an empty memtable is looked at: it does not fill in this time.
const EMPTY_IDLE: Duration = Duration::from_millis(250);
/// How often blocks are looked at.
const MAINTAIN_IDLE: Duration = Duration::from_secs(1);
/// How often to look at what was set aside: it is kept for weeks.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// So long senders wait for a flush before they are refused: half of what exporters wait by default.
const STALL_MAX: Duration = Duration::from_secs(5);
/// How often the committer looks whether a flush is done.
const STALL_STEP: Duration = Duration::from_millis(2);
/// The pause after a failure, so that a broken disk does not keep a core busy.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<Engine>,
    stop: Arc<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What comes in waits for a sync anyway: queries go first.
const COMMIT_NICENESS: i32 = 5;

/// Writing blocks and merging them can wait for queries and for requests that wait for their answer.
const BACKGROUND_NICENESS: i32 = 10;

/// What a thread does until it is told to stop.
type Body = fn(&Engine, &Stop);

#[derive(Default)]
struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn set(&self) {
        *lock(&self.is_set) = true;
        self.changed.notify_all();
    }

    /// Sleeps; true if it is time to stop.
    fn sleep(&self, time: Duration) -> bool {
        let (is_set, _) = self
            .changed
            .wait_timeout_while(lock(&self.is_set), time, |is_set| !*is_set)
            .unwrap_or_else(PoisonError::into_inner);
        *is_set
    }
}

impl Store {
    /// Opens a data folder, replays its log and starts the threads.
    pub fn open(config: StoreConfig, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Store, Error> {
        Store::open_observed(config, disk, clock, Arc::new(Unobserved))
    }

    /// As [`Store::open`], watched from the first frame of the replay on.
    pub fn open_observed(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Result<Store, Error> {
        Store::open_with(config, disk, clock, Parts { observer, ..Parts::default() })
    }

    /// As [`Store::open`], with what watches it and what decides which traces stay.
    pub fn open_with(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        parts: Parts,
    ) -> Result<Store, Error> {
        let engine = Arc::new(Engine::open_with(config, disk, clock, parts)?);
        let stop = Arc::new(Stop::default());
        let shared = Shared { engine: engine.clone(), stop: stop.clone(), threads: Mutex::new(Vec::new()) };
        let bodies: [(&str, Body, i32); 3] = [
            ("commit", run_commits, COMMIT_NICENESS),
            ("flush", run_flushes, BACKGROUND_NICENESS),
            ("maintain", run_maintenance, BACKGROUND_NICENESS),
        ];
        for (name, body, niceness) in bodies {
            let (engine, stop) = (engine.clone(), stop.clone());
            let thread = std::thread::Builder::new().name(format!("store-{name}"));
            let started = thread.spawn(move || {
                let _guard = PanicGuard(&engine);
                // Where the system refuses, the thread runs like any other.
                _ = rustix::process::nice(niceness);
                body(&engine, &stop);
            });
            let started = started.map_err(|source| Error::Io {
                action: "start a thread for",
                path: engine_dir(&shared.engine),
                source,
            })?;
            lock(&shared.threads).push(started);
        }
        Ok(Store { shared: Arc::new(shared) })
    }

    /// Hands a decoded request over. `done` is called once, from the committing thread after the frame is durable; if
    /// the request is refused at once, from this one.
    pub fn submit(&self, write: Write, done: Done) {
        self.shared.engine.submit(write, done);
    }

    /// An immutable view of everything that is acknowledged.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.engine.snapshot()
    }

    /// The ledger of everything that is acknowledged.
    pub fn ledger(&self) -> Ledger {
        self.shared.engine.ledger()
    }

    /// The state of the store.
    pub fn status(&self) -> Status {
        self.shared.engine.status()
    }

    /// Pins a trace: it stays until it is unpinned.
    pub fn pin(&self, trace_id: TraceId, note: &str) -> Result<Pin, Error> {
        self.shared.engine.pin(trace_id, note)
    }

    /// Unpins a trace; false if it was not pinned.
    pub fn unpin(&self, trace_id: TraceId) -> Result<bool, Error> {
        self.shared.engine.unpin(trace_id)
    }

    /// What sampling dropped and what is held.
    pub fn decisions(&self) -> Decisions {
        self.shared.engine.decisions()
    }

    /// Puts a line among the notices of the status.
    pub fn note(&self, text: String) {
        let engine = &self.shared.engine;
        engine.counters.note(engine.clock.now(), text);
    }

    /// Writes the memtable as blocks now, whatever its size.
    pub fn flush(&self) -> Result<(), Error> {
        while self.shared.engine.flush_once()? {}
        Ok(())
    }

    /// Merges blocks until there is nothing to merge.
    pub fn compact(&self) -> Result<(), Error> {
        while self.shared.engine.compact_once()? {}
        Ok(())
    }

    /// Commits what waits, flushes, and leaves an empty log. Requests that come later are refused.
    pub fn close(&self) -> Result<(), Error> {
        self.shared.stop();
        self.shared.engine.close()
    }
}

impl Shared {
    fn stop(&self) {
        self.engine.refuse_writes();
        self.stop.set();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // A thread that panicked has said so already; what it left undone is in the log.
            _ = thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let is_closed = lock(&self.threads).is_empty();
        if !is_closed {
            self.stop();
            // Nobody is left to be told; what is acknowledged is in the log.
            _ = self.engine.close();
        }
    }
}

/// A thread that panics takes no one with it, and no one waits for it: the store refuses writes and says why.
struct PanicGuard<'a>(&'a Engine);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("a thread").to_owned();
            let reason = format!("the thread {name} panicked; restart");
            self.0.counters.poison(reason.clone(), self.0.clock.now());
            self.0.refuse_writes();
            self.0.refuse_waiting(&reason);
        }
    }
}

fn engine_dir(engine: &Engine) -> std::path::PathBuf {
    engine.config.dir.clone()
}

fn run_commits(engine: &Engine, stop: &Stop) {
    let mut last_group = 0;
    let mut synced_at = engine.clock.monotonic();
    loop {
        engine.queue.wait(last_group, COMMIT_IDLE);
        wait_for_memory(engine, stop);
        last_group = engine.commit_once();
        if engine.config.durability == Durability::Os {
            let now = engine.clock.monotonic();
            if now.saturating_sub(synced_at) >= COMMIT_IDLE || engine.queue.is_closed() {
                // A failure is counted and shown; what is not durable yet is tried again.
                _ = engine.sync_once();
                synced_at = now;
            }
        }
        if last_group == 0 && engine.queue.is_closed() {
            return;
        }
    }
}

/// Slows senders down to the speed of the flush: they wait for their answers, and the queue fills behind them.
fn wait_for_memory(engine: &Engine, stop: &Stop) {
    let started = engine.clock.monotonic();
    while engine.check_memory().is_err()
        && engine.clock.monotonic().saturating_sub(started) < STALL_MAX
        && !stop.sleep(STALL_STEP)
    {}
}

fn run_flushes(engine: &Engine, stop: &Stop) {
    while !stop.sleep(if engine.memtable_bytes() == 0 { EMPTY_IDLE } else { FLUSH_IDLE }) {
        engine.forget_series();
        if engine.is_flush_due()
            && let Err(error) = engine.flush_once()
        {
            engine.counters.note(engine.clock.now(), error.to_string());
            if stop.sleep(FAILURE_PAUSE) {
                return;
            }
        }
    }
}

fn run_maintenance(engine: &Engine, stop: &Stop) {
    let mut pruned_at = engine.clock.monotonic();
    while !stop.sleep(MAINTAIN_IDLE) {
        engine.check_disk();
        engine.reap();
        engine.scrub_once();
        let now = engine.clock.monotonic();
        if now.saturating_sub(pruned_at) >= PRUNE_EVERY {
            engine.prune_set_aside();
            pruned_at = now;
        }
        let outcome = engine.retain_once().and_then(|_| {
            while !stop.sleep(Duration::ZERO) && engine.compact_once()? {}
            Ok(())
        });
        if let Err(error) = outcome {
            engine.counters.note(engine.clock.now(), error.to_string());
            if stop.sleep(FAILURE_PAUSE) {
                return;
            }
        }
    }
}
