//! Log files in: found by patterns, followed through rotation, made log records of, stored, each line once.
//!
//! The path of a line:
//!
//! 1. [`tracker`] finds files ([`glob`]) and knows those again that were renamed, copied or truncated ([`identity`]).
//! 2. [`tracked`] reads one; [`split`] says where records end; [`encoding`] makes text of bytes.
//! 3. [`chain`] takes an [`entry`] through the operators ([`operator`]), whose conditions are [`expr`]essions.
//! 4. [`request`] makes an OTLP request of entries, [`writer`] hands it to the store like that of any sender.
//! 5. [`checkpoint`] remembers how far each file is stored. [`worker`] does all this in its order, in a thread for each receiver.
//!
//! This is a boundary: [`source`] reads files. Splitting, operators, expressions, layouts and requests are pure.

mod batch;
pub mod chain;
pub mod checkpoint;
mod counts;
pub mod encoding;
pub mod entry;
pub mod expr;
pub mod field;
pub mod glob;
pub mod identity;
mod labels;
pub mod operator;
pub mod request;
pub mod settings;
mod source;
pub mod split;
mod stop;
pub mod time;
mod tracked;
mod tracker;
pub mod value;
mod worker;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use throughline_store::{Clock, Disk, Store};
use throughline_wire::DecodeLimits;

pub use checkpoint::CheckpointError;
pub use counts::ReceiverStats;
pub use source::Compression;

use crate::batch::Batch;
use crate::chain::Running;
use crate::counts::{Counts, Warnings};
use crate::settings::Receiver;
use crate::stop::Stop;
use crate::tracker::Tracker;
use crate::worker::Worker;
use crate::writer::Writer;

/// What all receivers are told.
pub struct FileLogConfig {
    /// The receivers.
    pub receivers: Vec<Receiver>,
    /// The folder of the checkpoints of those that name none.
    pub folder: PathBuf,
    /// What single records may be.
    pub decode_limits: DecodeLimits,
    /// Is told what an operator should know.
    pub warn: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Why receivers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A checkpoint cannot be read.
    #[error("the checkpoint of {receiver}: {error}")]
    Checkpoint {
        /// The receiver.
        receiver: String,
        /// What is wrong.
        error: CheckpointError,
    },
    /// There is no thread for it.
    #[error("start a thread for {receiver}: {error}")]
    Thread {
        /// The receiver.
        receiver: String,
        /// What happened.
        error: std::io::Error,
    },
}

/// The running receivers.
pub struct FileLog {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
    observer: Observer,
}

/// Asks the running receivers; clones ask the same.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    receivers: Vec<(String, Arc<Counts>)>,
}

impl FileLog {
    /// Starts all receivers.
    pub fn start(
        config: FileLogConfig,
        store: &Store,
        clock: &Arc<dyn Clock>,
        disk: &Arc<dyn Disk>,
    ) -> Result<FileLog, StartError> {
        let FileLogConfig { receivers, folder, decode_limits: limits, warn } = config;
        let stop = Arc::new(Stop::default());
        let mut running = FileLog { stop, threads: Vec::new(), observer: Observer::default() };
        for receiver in receivers {
            let id = receiver.id.clone();
            let checkpoint = receiver.storage.as_ref().unwrap_or(&folder).join(file_name(&id));
            let saved = checkpoint::load(&**disk, &checkpoint)
                .map_err(|error| StartError::Checkpoint { receiver: id.clone(), error })?;
            let counts = Arc::new(Counts::default());
            let (sequence, pending, known) = match saved {
                Some(saved) => (saved.sequence, saved.pending, Some((saved.files, saved.next_file))),
                None => (0, None, None),
            };
            let unit_bytes = receiver.format.encoding.unit_bytes();
            let worker = Worker {
                tracker: Tracker::new(receiver.find.clone(), unit_bytes, known),
                chain: Running::new(receiver.chain.clone()),
                writer: Writer::new(store.clone(), limits, receiver.retry.clone()),
                clock: Arc::clone(clock),
                disk: Arc::clone(disk),
                checkpoint,
                sequence,
                entries_max: limits.items_per_request,
                batch: Batch::default(),
                counts: Arc::clone(&counts),
                warnings: Warnings::new(&id, Arc::clone(&warn)),
                stop: Arc::clone(&running.stop),
                has_moved: false,
                receiver,
            };
            let thread = std::thread::Builder::new().name("filelog".to_owned());
            let thread = thread.spawn(move || worker.run(pending));
            let thread = thread.map_err(|error| StartError::Thread { receiver: id.clone(), error })?;
            running.threads.push(thread);
            running.observer.receivers.push((id, counts));
        }
        Ok(running)
    }

    /// Somebody who may ask.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Stops all receivers; a request on its way is waited for.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.set();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to wait for.
            _ = thread.join();
        }
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.end();
    }
}

impl Observer {
    /// What happened so far, per receiver.
    #[must_use]
    pub fn stats(&self) -> Vec<ReceiverStats> {
        self.receivers.iter().map(|(id, counts)| counts.read(id)).collect()
    }
}

/// The file of a receiver's checkpoint: its id with everything but letters and digits written as hexadecimal.
fn file_name(id: &str) -> String {
    let letter = |byte: u8| {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            char::from(byte).to_string()
        } else {
            format!("_{byte:02x}")
        }
    };
    id.bytes().map(letter).collect()
}
