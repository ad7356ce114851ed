//! The derivation beside a running store: it watches what is stored, writes what it counted, and survives.
//!
//! 1. [`Derivation::load`] reads the checkpoint before the store opens, and watches the replay.
//! 2. The store shows every stored batch; it waits in a queue, which is as large as the memtables that share its columns.
//! 3. [`Derivation::start`]: a thread counts what waits, and every interval writes all series into the store.
//! 4. Before the store forgets frames, what waits is counted and the checkpoint is written ([`Observer::settle`]).
//!
//! A series never falls back: what is written is the state after some frame, the frame that holds it comes later in the
//! log, and the state after a restart is that of all frames that the log has.
//!
//! Locks are taken in this order: `core`, `queue`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use throughline_model::{Batch, Signal, SpanBatch};
use throughline_store::{Clock, Disk, Error, Observer, Store, Write, WriteError, Written};
use throughline_wire::{Compression, DecodeContext, DecodeLimits, Decoder, Encoding};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::checkpoint;
use crate::config::DeriveConfig;
use crate::deriver::Deriver;
use crate::samples;
use crate::status::{Overflows, Status};

/// The name of the checkpoint in the data folder.
pub const FILE_NAME: &str = "derived";

/// How often the thread looks whether something waits: batches are shared with the memtable meanwhile, so that waiting
/// costs nothing.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// What it counts may come a little later; whoever asks a question waits for it.
const NICENESS: i32 = 5;

/// Watches a store and counts.
pub struct Derivation {
    config: DeriveConfig,
    disk: Arc<dyn Disk>,
    path: PathBuf,
    queue: Mutex<VecDeque<Seen>>,
    core: Mutex<Core>,
}

/// A stored batch; those without spans only say that time goes on.
struct Seen {
    lsn: u64,
    received_at: i64,
    spans: Option<SpanBatch>,
}

struct Core {
    deriver: Deriver,
    /// Frames below this are counted.
    lsn: u64,
    checkpoint_bytes: usize,
    overflows: Overflows,
    emissions: u64,
    failures: u64,
    samples: u64,
    /// For the operator, as soon as there is a store to tell.
    notices: Vec<String>,
}

impl Derivation {
    /// Reads the checkpoint of a data folder; without one that can be used, counting starts anew.
    pub fn load(config: DeriveConfig, disk: Arc<dyn Disk>, dir: &Path) -> Result<Arc<Derivation>, Error> {
        let path = dir.join(FILE_NAME);
        let mut core = Core::new(&config);
        match disk.read_all(&path) {
            Ok(bytes) => match checkpoint::decode(&bytes, &config) {
                Ok((deriver, lsn)) => {
                    (core.deriver, core.lsn, core.checkpoint_bytes) = (deriver, lsn, bytes.len());
                }
                Err(unusable) => core.notices.push(format!(
                    "counters derived from spans start anew: {} is not used, {unusable}",
                    path.display()
                )),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", &path)(error)),
        }
        let (queue, core) = (Mutex::new(VecDeque::new()), Mutex::new(core));
        Ok(Arc::new(Derivation { config, disk, path, queue, core }))
    }

    /// Starts the thread that counts and writes. `limits` are those that the store replays with.
    pub fn start(
        self: &Arc<Derivation>,
        store: Store,
        clock: Arc<dyn Clock>,
        limits: DecodeLimits,
    ) -> std::io::Result<Running> {
        let stop = Arc::new(Stop::default());
        let (derivation, decoder) = (self.clone(), Decoder::new());
        let emitter = Emitter { derivation, store, clock, limits, decoder, last_at: i64::MIN };
        let thread_stop = stop.clone();
        let thread = std::thread::Builder::new().name("derive".to_owned());
        let run = move || {
            // Where the system refuses, the thread runs like any other.
            _ = rustix::process::nice(NICENESS);
            emitter.run(&thread_stop);
        };
        let thread = thread.spawn(run)?;
        Ok(Running { stop, thread: Some(thread) })
    }

    /// What there is to know of it.
    pub fn status(&self) -> Status {
        let core = lock(&self.core);
        let mut status = Status::of(&core.deriver, &core.overflows);
        status.checkpoint_bytes = core.checkpoint_bytes;
        status.emissions = core.emissions;
        status.failed_emissions = core.failures;
        status.samples = core.samples;
        drop(core);
        status.waiting_batches = lock(&self.queue).len();
        status
    }

    /// The counters, with everything counted that was stored. For tests.
    pub fn with_state<T>(&self, read: impl FnOnce(&Deriver) -> T) -> T {
        read(&self.counted().deriver)
    }

    /// Counts what waits.
    fn counted(&self) -> MutexGuard<'_, Core> {
        let mut core = lock(&self.core);
        loop {
            let waiting = std::mem::take(&mut *lock(&self.queue));
            if waiting.is_empty() {
                return core;
            }
            waiting.into_iter().for_each(|seen| core.count(&seen));
        }
    }

    /// Writes the state. Nobody misses a checkpoint of nothing.
    fn save(&self, mut core: MutexGuard<'_, Core>) -> Result<(), Error> {
        if core.checkpoint_bytes == 0 && core.deriver.red.table.is_empty() {
            return Ok(());
        }
        let bytes = checkpoint::encode(&core.deriver, &self.config, core.lsn);
        core.checkpoint_bytes = bytes.len();
        drop(core);
        self.disk.replace(&self.path, &bytes).map_err(Error::io("replace", &self.path))
    }
}

impl Observer for Derivation {
    fn stored(&self, lsn: u64, received_at: i64, batch: &Batch) {
        let spans = match batch {
            Batch::Spans(spans) => Some(spans.clone()),
            _ => None,
        };
        lock(&self.queue).push_back(Seen { lsn, received_at, spans });
    }

    fn recovered(&self, next_lsn: u64) {
        let mut core = self.counted();
        if core.lsn > next_lsn {
            // Frames that were not durable are gone and their numbers come again. What was counted of them stays
            // counted: a counter never falls back.
            core.lsn = next_lsn;
            if let Err(error) = self.save(core) {
                lock(&self.core).notices.push(error.to_string());
            }
        }
    }

    fn settle(&self, lsn: u64) -> Result<(), Error> {
        let mut core = self.counted();
        core.lsn = core.lsn.max(lsn);
        self.save(core)
    }
}

impl Core {
    fn new(config: &DeriveConfig) -> Core {
        Core {
            deriver: Deriver::new(config),
            lsn: 0,
            checkpoint_bytes: 0,
            overflows: Overflows::default(),
            emissions: 0,
            failures: 0,
            samples: 0,
            notices: Vec::new(),
        }
    }

    fn count(&mut self, seen: &Seen) {
        if seen.lsn < self.lsn {
            return;
        }
        self.lsn = seen.lsn + 1;
        match &seen.spans {
            Some(spans) => self.deriver.observe(seen.received_at, spans),
            None => self.deriver.advance(seen.received_at),
        }
    }
}

/// The thread that counts and writes; it ends with a last emission.
pub struct Running {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Writes everything that was counted, and ends. To be called when nobody writes any more, before the store closes.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so; what it did not write, the next start does.
            _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

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
        let sleep = self.changed.wait_timeout_while(lock(&self.is_set), time, |is_set| !*is_set);
        *sleep.unwrap_or_else(PoisonError::into_inner).0
    }
}

struct Emitter {
    derivation: Arc<Derivation>,
    store: Store,
    clock: Arc<dyn Clock>,
    limits: DecodeLimits,
    /// It knows the series of the emissions before.
    decoder: Decoder,
    last_at: i64,
}

impl Emitter {
    fn run(mut self, stop: &Stop) {
        // At once: after a restart the series go on where they were.
        let mut next = self.clock.monotonic();
        while !stop.sleep(COUNT_EVERY) {
            drop(self.derivation.counted());
            let now = self.clock.monotonic();
            if now >= next {
                self.emit();
                next = now + self.derivation.config.interval;
            }
        }
        self.emit();
    }

    /// Writes all series as they are now. What cannot be written is part of the next emission.
    fn emit(&mut self) {
        let at = self.clock.now();
        if at.div_euclid(1_000_000) <= self.last_at {
            // The clock was set back. A second value at a time that has one would be a contradiction.
            return;
        }
        let mut core = self.derivation.counted();
        let (bodies, samples) = samples::requests(&mut core.deriver, at);
        let Core { deriver, overflows, notices, .. } = &mut *core;
        notices.extend(overflows.update(deriver));
        let notices = std::mem::take(notices);
        drop(core);
        notices.into_iter().for_each(|text| self.store.note(text));
        if bodies.is_empty() {
            return;
        }
        self.last_at = at.div_euclid(1_000_000);
        let written = bodies.into_iter().try_for_each(|body| self.write(body, at));
        let mut core = lock(&self.derivation.core);
        match written {
            Ok(()) => {
                core.emissions += 1;
                core.samples += samples as u64;
            }
            Err(reason) => {
                core.failures += 1;
                samples::take_back(&mut core.deriver);
                drop(core);
                self.store.note(format!("metrics derived from spans were not written: {reason}"));
            }
        }
    }

    fn write(&mut self, body: Vec<u8>, received_at: i64) -> Result<(), String> {
        let context = DecodeContext { received_at, limits: self.limits };
        let decoded = self.decoder.decode(Signal::Metrics, Encoding::RemoteWrite2, &body, &context);
        let decoded = decoded.map_err(|error| error.to_string())?;
        let write = Write {
            signal: Signal::Metrics,
            encoding: Encoding::RemoteWrite2,
            compression: Compression::Identity,
            content_hash: xxh3_128_with_seed(&body, Signal::Metrics as u64),
            body: body.into(),
            received_at,
            batch: decoded.batch,
            rejected: decoded.rejected,
        };
        let (sender, answer) = std::sync::mpsc::channel::<Result<Written, WriteError>>();
        // Nobody waits for an answer any more if the receiver is gone.
        self.store.submit(write, Box::new(move |result| _ = sender.send(result)));
        match answer.recv() {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the store is gone".to_owned()),
        }
    }
}

/// A lock whose holder panicked: what it holds was counted by whole batches, but for the one that was at hand.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
