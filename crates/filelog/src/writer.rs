//! From a request to the store: decoded like that of any sender, and asked again until it is stored.

use std::sync::mpsc;
use std::time::Duration;

use throughline_model::Signal;
use throughline_store::{Clock, Store, Write, WriteError, Written};
use throughline_wire::{Compression, DecodeContext, DecodeLimits, Decoder, Encoding, Rejection};

use crate::settings::RetryConfig;
use crate::stop::Stop;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the store had it already.
    pub is_known: bool,
    /// How many of its records the limits refused.
    pub rejected: u64,
    /// Why.
    pub rejections: Option<String>,
}

/// Why a request is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// The receiver stops, or the store is closed. The request is made again at the next start.
    #[error("stopped before it was stored")]
    Stopped,
    /// It cannot be read, which no request of ours should be.
    #[error("the request cannot be decoded: {0}")]
    Undecodable(String),
}

/// Writes into a store.
pub struct Writer {
    store: Store,
    decoder: Decoder,
    limits: DecodeLimits,
    retry: RetryConfig,
}

impl Writer {
    /// With the limits of the receivers, under which a restart reads the log again.
    #[must_use]
    pub fn new(store: Store, limits: DecodeLimits, retry: RetryConfig) -> Writer {
        Writer { store, decoder: Decoder::new(), limits, retry }
    }

    /// Stores a request; waits for as long as the store takes nothing. `on_wait` is told why.
    pub fn store(
        &mut self,
        request: &[u8],
        content_hash: u128,
        clock: &dyn Clock,
        stop: &Stop,
        on_wait: &mut dyn FnMut(&WriteError),
    ) -> Result<Answer, NotStored> {
        let mut wait = self.retry.initial;
        loop {
            let received_at = clock.now();
            let context = DecodeContext { received_at, limits: self.limits };
            let decoded = self.decoder.decode(Signal::Logs, Encoding::Protobuf, request, &context);
            let decoded = decoded.map_err(|error| NotStored::Undecodable(error.to_string()))?;
            let rejected = Rejection::total(&decoded.rejected);
            let rejections = (rejected > 0).then(|| Rejection::summary(&decoded.rejected, Signal::Logs));
            let write = Write {
                signal: Signal::Logs,
                encoding: Encoding::Protobuf,
                compression: Compression::Identity,
                received_at,
                content_hash,
                body: request.to_vec().into(),
                batch: decoded.batch,
                rejected: decoded.rejected,
            };
            let (done, outcome) = mpsc::sync_channel(1);
            self.store.submit(write, Box::new(move |result| _ = done.send(result)));
            let error = match outcome.recv() {
                Ok(Ok(written)) => {
                    return Ok(Answer { is_known: written == Written::Deduplicated, rejected, rejections });
                }
                Ok(Err(WriteError::Closed)) | Err(_) => return Err(NotStored::Stopped),
                Ok(Err(error)) => error,
            };
            on_wait(&error);
            let asked = match &error {
                WriteError::DiskFull { retry_after, .. } | WriteError::Overloaded { retry_after, .. } => {
                    *retry_after
                }
                WriteError::Closed | WriteError::Failed(_) => Duration::ZERO,
            };
            if stop.wait(wait.max(asked)) {
                return Err(NotStored::Stopped);
            }
            wait = (wait * 2).min(self.retry.max.max(self.retry.initial));
        }
    }
}
