//! A store over a simulated disk that takes OTLP/JSON.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use throughline_model::Signal;
use throughline_store::{
    Durability, ManualClock, Parts, Sampling, SimDisk, Store, StoreConfig, Write, WriteError, Written,
};
use throughline_wire::{Compression, DecodeContext, DecodeLimits, Encoding};

/// A hundred years: incidents may be old.
const RETENTION_S: u64 = 100 * 365 * 86_400;

pub struct Filled {
    pub store: Store,
    pub clock: Arc<ManualClock>,
    disk: SimDisk,
    now: i64,
}

impl Filled {
    /// An empty store at a time.
    pub fn new(now: i64) -> Filled {
        Filled::sampled(now, None)
    }

    /// Likewise, where something decides which traces stay.
    pub fn sampled(now: i64, sampling: Option<Sampling>) -> Filled {
        let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::at(now)));
        let store = open(&disk, &clock, sampling);
        Filled { store, clock, disk, now }
    }

    /// The same folder after the store was closed and opened again.
    pub fn reopened(self) -> Filled {
        let (disk, clock, now) = (self.disk.clone(), Arc::clone(&self.clock), self.now);
        // Which closes it.
        drop(self);
        let store = open(&disk, &clock, None);
        Filled { store, clock, disk, now }
    }

    /// Writes a request and waits until it is stored.
    pub fn write(&self, signal: Signal, body: Vec<u8>) {
        let limits = DecodeLimits::with_retention((RETENTION_S * 1_000_000_000).min(i64::MAX as u64) as i64);
        let context = DecodeContext { received_at: self.now, limits };
        let decoded = throughline_wire::decode(signal, Encoding::Json, &body, &context).expect("decoded");
        assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
        let mut hasher = DefaultHasher::new();
        (signal as u8, &body).hash(&mut hasher);
        let (sender, receiver) = mpsc::channel::<Result<Written, WriteError>>();
        let write = Write {
            signal,
            encoding: Encoding::Json,
            compression: Compression::Identity,
            body: Bytes::from(body),
            received_at: self.now,
            content_hash: u128::from(hasher.finish()),
            batch: decoded.batch,
            rejected: decoded.rejected,
        };
        self.store.submit(write, Box::new(move |done| sender.send(done).expect("awaited")));
        // Minutes of incidents may overlap with their baselines.
        let written = receiver.recv().expect("answered");
        assert!(matches!(written, Ok(Written::Stored | Written::Deduplicated)), "{written:?}");
    }
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>, sampling: Option<Sampling>) -> Store {
    let config = StoreConfig {
        durability: Durability::Os,
        segment_bytes: 1 << 20,
        reserve_bytes: Some(1),
        ..StoreConfig::new("/data".into(), std::time::Duration::from_secs(RETENTION_S))
    };
    let parts = Parts { sampling, ..Parts::default() };
    Store::open_with(config, Arc::new(disk.clone()), clock.clone(), parts).expect("opened")
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.store.close().expect("closed");
    }
}
