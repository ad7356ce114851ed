//! A served API over a simulated disk, for the tests of this folder.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;

use bytes::Bytes;
use serde_json::{Value, json};
use throughline_api::states::{NoStates, StateSource};
use throughline_api::{Context, LokiContext, PREFIX, PrometheusContext, TracesContext};
use throughline_exec::Limits;
use throughline_model::Signal;
use throughline_promql::Engine;
use throughline_sampling::policy::{Kind, Policy};
use throughline_scan::metrics::{MetricIndex, Translation};
use throughline_store::{
    Durability, ManualClock, Parts, Sampling, SimDisk, Store, StoreConfig, Write, WriteError, Written,
};
use throughline_wire::{Compression, DecodeContext, DecodeLimits, Encoding};

/// The time at which everything is asked.
pub const NOW: i64 = 1_790_000_100_000_000_000;

/// What an answer may have: a trace of 100,000 spans has some 60 MB.
pub const BODY_BYTES_MAX: u64 = 1 << 30;

/// How the store is configured: a retention of a day.
pub fn config() -> StoreConfig {
    StoreConfig {
        durability: Durability::Fsync,
        segment_bytes: 1 << 20,
        reserve_bytes: Some(1),
        ..StoreConfig::new("/data".into(), std::time::Duration::from_secs(86_400))
    }
}

/// A served API over a simulated disk at a fixed time.
pub struct Served {
    pub base: String,
    pub store: Store,
    pub draining: Arc<AtomicBool>,
    pub clock: Arc<ManualClock>,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    /// Serves a store that `fill` has written to.
    pub fn new(fill: impl FnOnce(&Store)) -> Served {
        Served::with_states(fill, Arc::new(NoStates))
    }

    /// Likewise, with rules and targets.
    pub fn with_states(fill: impl FnOnce(&Store), states: Arc<dyn StateSource>) -> Served {
        Served::with_parts(SimDisk::new(1), |store, _| fill(store), states, None)
    }

    /// Likewise, over a disk that a store with this [`config`] has written to.
    pub fn over(disk: SimDisk, fill: impl FnOnce(&Store), states: Arc<dyn StateSource>) -> Served {
        Served::with_parts(disk, |store, _| fill(store), states, None)
    }

    /// Likewise, where traces go unless a span's status is Ok: `fill` may let the time pass after which that is decided.
    pub fn sampled(delay: std::time::Duration, fill: impl FnOnce(&Store, &ManualClock)) -> Served {
        let policy = Policy { name: "approved".to_owned(), kind: Kind::StatusCode { status_codes: vec![1] } };
        let sampling = Sampling::new(vec![policy], delay).expect("a policy");
        Served::with_parts(SimDisk::new(1), fill, Arc::new(NoStates), Some(sampling))
    }

    fn with_parts(
        disk: SimDisk,
        fill: impl FnOnce(&Store, &ManualClock),
        states: Arc<dyn StateSource>,
        sampling: Option<Sampling>,
    ) -> Served {
        let clock = Arc::new(ManualClock::at(NOW));
        let parts = Parts { sampling, ..Parts::default() };
        let store = Store::open_with(config(), Arc::new(disk), clock.clone(), parts).expect("opened");
        fill(&store, &clock);
        let draining = Arc::new(AtomicBool::new(false));
        let router = throughline_api::native(Context {
            store: store.clone(),
            clock: clock.clone(),
            families: Arc::new(Vec::new),
            draining: draining.clone(),
            prometheus: PrometheusContext {
                index: Arc::new(MetricIndex::new(Translation::default())),
                engine: Engine::default(),
                limits: Limits::NONE,
                timeout: std::time::Duration::from_secs(10),
                states,
                external_labels: vec![("cluster".to_owned(), "test".to_owned())],
                started_at_ms: NOW / 1_000_000,
            },
            loki: LokiContext {
                labels: Arc::default(),
                engine: throughline_logql::Engine,
                limits: Limits::NONE,
                timeout: std::time::Duration::from_secs(10),
            },
            traces: TracesContext { limits: Limits::NONE, timeout: std::time::Duration::from_secs(10) },
            process: Arc::new(json!({"version": "test"})),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("bound");
        let base = format!("http://{}", listener.local_addr().expect("address"));
        let (_, router) = tokio::sync::watch::channel(router);
        runtime.spawn(throughline_api::listener::serve(listener, router, std::future::pending()));
        Served { base, store, draining, clock, _runtime: runtime }
    }

    /// Writes what is in memory as blocks.
    pub fn flush(&self) {
        self.store.flush().expect("flushed");
    }

    /// Merges all blocks, which takes a while in which nothing comes.
    pub fn merge(&self) {
        self.clock.advance(std::time::Duration::from_secs(3_600));
        self.store.compact().expect("merged");
        assert_eq!(self.store.status().blocks_per_level.iter().sum::<usize>(), 1);
    }

    pub fn get_text(&self, path: &str) -> (u16, String) {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        let agent = ureq::Agent::from(config);
        let request = agent.get(format!("{}{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let mut response = request.call().expect("answered");
        (
            response.status().as_u16(),
            response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string().expect("text"),
        )
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path);
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}")))
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.post_text(path, &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}")))
    }

    pub fn post_text(&self, path: &str, body: &str) -> (u16, String) {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        let request = ureq::Agent::from(config).post(format!("{}{path}", self.base));
        let mut response = request.header("content-type", "application/json").send(body).expect("answered");
        (response.status().as_u16(), response.body_mut().read_to_string().expect("text"))
    }

    pub fn ask(&self, question: &str) -> (u16, Value) {
        self.get(&format!("{PREFIX}/{question}"))
    }
}

/// Writes a request and waits until it is stored.
pub fn write(store: &Store, signal: Signal, encoding: Encoding, body: Vec<u8>) {
    let context =
        DecodeContext { received_at: NOW, limits: DecodeLimits::with_retention(86_400 * 1_000_000_000) };
    let decoded = throughline_wire::decode(signal, encoding, &body, &context).expect("decoded");
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    let mut hasher = DefaultHasher::new();
    (signal as u8, &body).hash(&mut hasher);
    let (sender, receiver) = mpsc::channel::<Result<Written, WriteError>>();
    let write = Write {
        signal,
        encoding,
        compression: Compression::Identity,
        body: Bytes::from(body),
        received_at: NOW,
        content_hash: u128::from(hasher.finish()),
        batch: decoded.batch,
        rejected: decoded.rejected,
    };
    store.submit(write, Box::new(move |done| sender.send(done).expect("awaited")));
    assert_eq!(receiver.recv().expect("answered"), Ok(Written::Stored));
}

impl Drop for Served {
    fn drop(&mut self) {
        self.store.close().expect("closed");
    }
}
