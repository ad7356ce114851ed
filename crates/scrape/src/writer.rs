//! From requests to the store: decoded as any remote write is, then logged and acknowledged.

use throughline_model::Signal;
use throughline_store::{Write, WriteError};
use throughline_wire::{Compression, DecodeContext, Encoding, Rejection, decode};
use tokio::sync::oneshot;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::pool::Pool;

/// Stores requests, one after another; the error says what is not stored.
pub async fn store(pool: &Pool, requests: Vec<Vec<u8>>) -> Result<(), String> {
    let mut failure = Ok(());
    for request in requests {
        if let Err(reason) = store_one(pool, request).await {
            pool.counts.store_failure();
            pool.warn(&format!("a scrape is not stored: {reason}"));
            failure = Err(format!("not stored: {reason}"));
        }
    }
    failure
}

async fn store_one(pool: &Pool, request: Vec<u8>) -> Result<(), String> {
    let shared = &pool.shared;
    let context = DecodeContext { received_at: shared.clock.now(), limits: shared.limits };
    let decoding = tokio::task::spawn_blocking(move || {
        let decoded = decode(Signal::Metrics, Encoding::RemoteWrite2, &request, &context);
        (decoded, xxh3_128_with_seed(&request, Signal::Metrics as u64), request)
    });
    let (decoded, content_hash, request) = decoding.await.map_err(|error| error.to_string())?;
    let decoded = decoded.map_err(|error| error.to_string())?;
    let refused = Rejection::total(&decoded.rejected);
    if refused > 0 {
        pool.counts.rejected(refused);
        pool.warn(&Rejection::summary(&decoded.rejected, Signal::Metrics));
    }
    let write = Write {
        signal: Signal::Metrics,
        encoding: Encoding::RemoteWrite2,
        compression: Compression::Identity,
        body: request.into(),
        received_at: context.received_at,
        content_hash,
        batch: decoded.batch,
        rejected: decoded.rejected,
    };
    let (done, answered) = oneshot::channel::<Result<(), WriteError>>();
    shared.store.submit(write, Box::new(move |result| _ = done.send(result.map(|_| ()))));
    match answered.await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the store is closed".to_owned()),
    }
}
