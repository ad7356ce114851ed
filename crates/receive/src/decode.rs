//! Decoding threads: from a request's bytes to the store, away from the reactors.
//!
//! Each thread has its own [`wire::Decoder`], which remembers resources from one request to the next. The queue
//! before them needs no limit of its own: every job in it holds a reservation of bytes in flight.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use throughline_model::Signal;
use throughline_store::{Store, Write, WriteError};
use throughline_wire::{self as wire, DecodeContext, DecodeLimits, Decoded, Decoder, Encoding, Rejection};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::admission::InFlight;
use crate::refusal::{Cause, Refusal, truncate};
use crate::service::{Accepted, ExportRequest, busy, closing};
use crate::{Error, ReceiveConfig};

/// Whoever asks a question waits for it; what comes in waits for a sync anyway.
const DECODE_NICENESS: i32 = 5;

/// Lets questions go before the calling thread, for the reactors that take requests in. Where the system refuses, the
/// thread runs like any other.
pub fn behind_questions() {
    _ = rustix::process::nice(DECODE_NICENESS);
}

/// What telemetry compresses to at best, as a guess of the room that decompression needs; what it takes beyond is
/// bounded by the number of threads times the size of a request.
const COMPRESSION_RATIO: usize = 12;

/// How long a decoding thread waits for bytes in flight to drain before it refuses: a few group commits.
const PATIENCE: Duration = Duration::from_secs(1);

/// When to try again after a write that failed: the store needs a new segment, or an operator.
const WRITE_FAILED_RETRY: Duration = Duration::from_secs(5);

/// The longest `partial_success.error_message`: a response is to stay far below the 4 MiB that senders accept.
const PARTIAL_MESSAGE_BYTES_MAX: usize = 4 << 10;

/// A request on its way to a decoding thread.
pub(crate) struct Job {
    pub(crate) request: ExportRequest,
    pub(crate) received_at: i64,
    pub(crate) reply: oneshot::Sender<Result<Accepted, Refusal>>,
}

/// The threads and the queue before them.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Worker {
    queue: Arc<Queue>,
    store: Store,
    in_flight: Arc<InFlight>,
    limits: DecodeLimits,
}

impl Pool {
    /// Starts a thread per core.
    pub(crate) fn start(
        config: &ReceiveConfig,
        store: &Store,
        in_flight: &Arc<InFlight>,
    ) -> Result<Pool, Error> {
        let queue = Arc::new(Queue::default());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let start = |n| {
            let worker = Worker {
                queue: Arc::clone(&queue),
                store: store.clone(),
                in_flight: Arc::clone(in_flight),
                limits: config.decode_limits,
            };
            let thread = std::thread::Builder::new().name(format!("decode-{n}"));
            let run = move || {
                behind_questions();
                worker.run();
            };
            thread.spawn(run).map_err(Error::Thread)
        };
        let threads = (0..threads).map(start).collect::<Result<Vec<_>, _>>()?;
        Ok(Pool { queue, threads: Mutex::new(threads) })
    }

    /// Hands a job over; false after [`Pool::close`].
    pub(crate) fn push(&self, job: Job) -> bool {
        let mut state = self.queue.lock();
        if state.closed {
            return false;
        }
        state.jobs.push_back(job);
        self.queue.changed.notify_one();
        true
    }

    /// Lets the threads finish what is queued and waits for them. It blocks: not for reactors.
    pub(crate) fn close(&self) {
        self.queue.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A worker catches what its jobs do; if it ended otherwise there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Threads end by themselves; waiting for them here could be waiting on a reactor.
        self.queue.close();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The next job; `None` when the queue is closed and empty.
    fn next(&self) -> Option<Job> {
        let mut state = self
            .changed
            .wait_while(self.lock(), |state| state.jobs.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.jobs.pop_front()
    }
}

impl Worker {
    fn run(self) {
        let mut decoder = Decoder::new();
        while let Some(job) = self.queue.next() {
            // Nobody waits for the answer of a job whose sender went away, and nothing was promised to it.
            if job.reply.is_closed() {
                continue;
            }
            // Decoders do not panic on any input. Should one, that request is refused and no other; what the
            // decoder remembered goes with it.
            if catch_unwind(AssertUnwindSafe(|| self.process(&mut decoder, job))).is_err() {
                decoder = Decoder::new();
            }
        }
    }

    fn process(&self, decoder: &mut Decoder, job: Job) {
        let Job { mut request, received_at, reply } = job;
        let (decoded, content_hash) = match self.decode(decoder, &mut request, received_at) {
            Ok(decoded) => decoded,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let ExportRequest { signal, encoding, compression, body, reservation, .. } = request;
        let accepted = accepted(&decoded, signal, encoding);
        if decoded.batch.is_empty() && accepted.rejected == 0 {
            return answer(reply, Ok(accepted));
        }
        let Decoded { batch, rejected } = decoded;
        let write = Write { signal, encoding, compression, body, received_at, content_hash, batch, rejected };
        let done = move |result: Result<_, WriteError>| {
            answer(reply, result.map(|_| accepted).map_err(refused_write));
            drop(reservation);
        };
        self.store.submit(write, Box::new(done));
    }

    fn decode(
        &self,
        decoder: &mut Decoder,
        request: &mut ExportRequest,
        received_at: i64,
    ) -> Result<(Decoded, u128), Refusal> {
        let body_bytes = request.reservation.bytes();
        // The room for the decompressed body and, once that is gone, for the batch, which is about as large.
        let guess = match request.compression {
            wire::Compression::Identity => request.body.len(),
            _ => request.body.len().saturating_mul(COMPRESSION_RATIO).min(request.bytes_max),
        };
        if !request.reservation.grow_waiting(guess, PATIENCE) {
            return Err(busy(&self.in_flight));
        }
        let plain: Cow<'_, [u8]> = wire::decompress(&request.body, request.compression, request.bytes_max)
            .map_err(|error| Refusal::undecodable(&error))?;
        request.reservation.shrink_to(body_bytes.saturating_add(plain.len()));
        let context = DecodeContext { received_at, limits: self.limits };
        let decoded = decoder
            .decode(request.signal, request.encoding, &plain, &context)
            .map_err(|error| Refusal::undecodable(&error))?;
        Ok((decoded, content_hash(request.signal, &plain)))
    }
}

/// What makes two requests the same: the signal and the decompressed bytes.
fn content_hash(signal: Signal, plain: &[u8]) -> u128 {
    xxh3_128_with_seed(plain, signal as u64)
}

fn accepted(decoded: &Decoded, signal: Signal, encoding: Encoding) -> Accepted {
    let mut message = match encoding {
        Encoding::LokiProtobuf | Encoding::LokiJson => wire::loki::summary(&decoded.rejected),
        _ => Rejection::summary(&decoded.rejected, signal),
    };
    truncate(&mut message, PARTIAL_MESSAGE_BYTES_MAX);
    Accepted {
        items: decoded.batch.items() as u64,
        histograms: decoded.batch.payloads() as u64,
        exemplars: decoded.batch.exemplars() as u64,
        rejected: Rejection::total(&decoded.rejected),
        message,
    }
}

fn answer(reply: oneshot::Sender<Result<Accepted, Refusal>>, outcome: Result<Accepted, Refusal>) {
    // The sender may have gone away; what was stored stays, and a retry of it is found to be a duplicate.
    let _ = reply.send(outcome);
}

fn refused_write(error: WriteError) -> Refusal {
    let message = error.to_string();
    match error {
        WriteError::DiskFull { retry_after, .. } => Refusal::retry(Cause::DiskFull, message, retry_after),
        WriteError::Overloaded { retry_after, .. } => Refusal::retry(Cause::Overloaded, message, retry_after),
        WriteError::Closed => closing(),
        WriteError::Failed(_) => Refusal::retry(Cause::WriteFailed, message, WRITE_FAILED_RETRY),
    }
}
