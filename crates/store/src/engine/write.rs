//! What is handed to the store, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use throughline_model::{Batch, Signal};
use throughline_wire::{Compression, Encoding, Rejection};

/// A decoded request.
pub struct Write {
    /// Its signal.
    pub signal: Signal,
    /// How the body is written.
    pub encoding: Encoding,
    /// How the body is compressed.
    pub compression: Compression,
    /// The body as received.
    pub body: Bytes,
    /// When it was received, nanoseconds since the epoch; the time that it was decoded with.
    pub received_at: i64,
    /// xxh3-128 of signal and decompressed body: an exact retry within 15 minutes is stored once.
    pub content_hash: u128,
    /// Its accepted items.
    pub batch: Batch,
    /// Its rejected items.
    pub rejected: Vec<Rejection>,
}

impl Write {
    /// The memory that it holds while it waits.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.batch.memory_bytes()
    }
}

/// What became of an acknowledged request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Stored,
    /// The same request is stored already.
    Deduplicated,
}

/// Why a request is not acknowledged. It is in no column of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// There is too little room on the disk. Retryable: it heals when there is room.
    #[error(
        "disk full: {free_bytes} bytes free, {reserve_bytes} kept in reserve; free space or lower retention"
    )]
    DiskFull {
        /// What is free.
        free_bytes: u64,
        /// What has to be.
        reserve_bytes: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Requests arrive faster than they can be written. Retryable.
    #[error("overloaded: {waiting_bytes} bytes wait to be written, the limit is {limit_bytes}")]
    Overloaded {
        /// What is waiting.
        waiting_bytes: usize,
        /// What may wait.
        limit_bytes: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store is closed or closing.
    #[error("the store is closed")]
    Closed,
    /// The log failed; whether the request survives is unknown, a retry with the same bytes is safe.
    #[error("the write-ahead log failed: {0}")]
    Failed(String),
}

impl WriteError {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, WriteError::DiskFull { .. } | WriteError::Overloaded { .. })
    }
}

/// Called once with the outcome.
pub type Done = Box<dyn FnOnce(Result<Written, WriteError>) + Send>;
