//! What the tests share: requests with items that can be told apart, and an engine that is driven by hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number};
use throughline_model::{Signal, TraceId};
use throughline_store::engine::Engine;
use throughline_store::{
    Clock, Error, LogQuery, ManualClock, Parts, Sampling, SeriesQuery, SimDisk, Snapshot, StoreConfig,
    TimeRange, Want, Write, WriteError, Written,
};
use throughline_wire::{Compression, DecodeContext, Encoding};

/// A time at which nothing is too old or too new.
pub const NOW: i64 = 1_760_000_000_000_000_000;

/// The data folder on the simulated disk.
pub const DIR: &str = "data";

/// A small generator, the same everywhere (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// A request as a sender keeps it: the same bytes for every attempt.
#[derive(Clone, Debug)]
pub struct Request {
    pub signal: Signal,
    pub body: Bytes,
    /// The numbers of its items.
    pub items: Vec<u64>,
}

impl Request {
    /// A request with these items; item `n` says its number in a way that can be read back.
    pub fn new(signal: Signal, items: Vec<u64>) -> Request {
        let mut scope = Vec::new();
        match signal {
            Signal::Logs => items.iter().for_each(|n| put_bytes(&mut scope, 2, &log_record(*n))),
            Signal::Traces => items.iter().for_each(|n| put_bytes(&mut scope, 2, &span(*n))),
            Signal::Metrics => put_bytes(&mut scope, 2, &gauge(&items)),
        }
        let mut resource = Vec::new();
        put_bytes(&mut resource, 2, &scope);
        let mut body = Vec::new();
        put_bytes(&mut body, 1, &resource);
        Request { signal, body: body.into(), items }
    }

    pub fn hash(&self) -> u128 {
        let mut bytes = vec![self.signal as u8];
        bytes.extend_from_slice(&self.body);
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }

    pub fn write(&self, received_at: i64, config: &StoreConfig) -> Write {
        self.write_as(Encoding::Protobuf, received_at, config)
    }

    fn write_as(&self, encoding: Encoding, received_at: i64, config: &StoreConfig) -> Write {
        let context = DecodeContext { received_at, limits: config.limits };
        let decoded = throughline_wire::decode(self.signal, encoding, &self.body, &context)
            .expect("a request that can be decoded");
        Write {
            signal: self.signal,
            encoding,
            compression: Compression::Identity,
            body: self.body.clone(),
            received_at,
            content_hash: self.hash(),
            batch: decoded.batch,
            rejected: decoded.rejected,
        }
    }
}

fn text(value: &str) -> Vec<u8> {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, value.as_bytes());
    any
}

fn time_of(n: u64) -> u64 {
    NOW as u64 + n * 1_000
}

fn log_record(n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_fixed64(&mut out, 1, time_of(n));
    put_number(&mut out, 2, 9);
    put_bytes(&mut out, 5, &text(&format!("item {n} of the test")));
    out
}

/// Spans of the same eight share a trace.
pub fn trace_of(n: u64) -> TraceId {
    TraceId::from_low(n / 8 + 1).expect("not zero")
}

fn span(n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, &trace_of(n).0);
    put_bytes(&mut out, 2, &(n + 1).to_be_bytes());
    put_bytes(&mut out, 5, b"operation");
    put_fixed64(&mut out, 7, time_of(n));
    put_fixed64(&mut out, 8, time_of(n) + 500);
    out
}

fn gauge(items: &[u64]) -> Vec<u8> {
    let mut points = Vec::new();
    for n in items {
        let mut point = Vec::new();
        put_fixed64(&mut point, 3, time_of(*n));
        put_fixed64(&mut point, 4, (*n as f64).to_bits());
        put_bytes(&mut points, 1, &point);
    }
    let mut out = Vec::new();
    put_bytes(&mut out, 1, b"test.gauge");
    put_bytes(&mut out, 5, &points);
    out
}

pub fn config() -> StoreConfig {
    let retention = Duration::from_secs(30 * 86_400);
    let mut config = StoreConfig::new(PathBuf::from(DIR), retention);
    config.segment_bytes = 64 << 10;
    config.memtable_bytes = 4 << 20;
    config.reserve_bytes = Some(0);
    config
}

/// What became of a request.
pub type Answer = Arc<Mutex<Option<Result<Written, WriteError>>>>;

/// An engine with its disk and clock.
pub struct Rig {
    pub disk: SimDisk,
    pub clock: Arc<ManualClock>,
    pub engine: Engine,
    pub config: StoreConfig,
    pub sampling: Option<Sampling>,
}

impl Rig {
    pub fn new(config: StoreConfig) -> Rig {
        Rig::open(config, SimDisk::new(1), Arc::new(ManualClock::at(NOW))).expect("a new store")
    }

    pub fn open(config: StoreConfig, disk: SimDisk, clock: Arc<ManualClock>) -> Result<Rig, Error> {
        Rig::open_sampled(config, disk, clock, None)
    }

    /// With something that decides which traces stay.
    pub fn open_sampled(
        config: StoreConfig,
        disk: SimDisk,
        clock: Arc<ManualClock>,
        sampling: Option<Sampling>,
    ) -> Result<Rig, Error> {
        let parts = Parts { sampling: sampling.clone(), ..Parts::default() };
        let engine = Engine::open_with(config.clone(), Arc::new(disk.clone()), clock.clone(), parts)?;
        Ok(Rig { disk, clock, engine, config, sampling })
    }

    /// Opens the same folder again, after a crash or a close.
    pub fn reopen(self) -> Rig {
        let Rig { disk, clock, engine, config, sampling } = self;
        drop(engine);
        Rig::open_sampled(config, disk, clock, sampling).expect("the store opens again")
    }

    /// Cuts the power and opens again.
    pub fn crash(self, seed: u64) -> Rig {
        self.disk.crash(seed);
        self.reopen()
    }

    pub fn submit(&self, request: &Request) -> Answer {
        self.submit_as(request, Encoding::Protobuf)
    }

    fn submit_as(&self, request: &Request, encoding: Encoding) -> Answer {
        let answer = Answer::default();
        let slot = answer.clone();
        let write = request.write_as(encoding, self.clock.now(), &self.config);
        self.engine.submit(write, Box::new(move |result| *slot.lock().expect("no panic") = Some(result)));
        answer
    }

    /// Submits, commits and returns the answer.
    pub fn store(&self, request: &Request) -> Result<Written, WriteError> {
        self.store_as(request, Encoding::Protobuf)
    }

    /// As [`Rig::store`], with a body that is not OTLP.
    pub fn store_as(&self, request: &Request, encoding: Encoding) -> Result<Written, WriteError> {
        let answer = self.submit_as(request, encoding);
        self.engine.commit_once();
        answer.lock().expect("no panic").clone().expect("an answer")
    }

    pub fn flush(&self) {
        while self.engine.flush_once().expect("a flush") {}
    }

    pub fn stored(&self) -> BTreeMap<(Signal, u64), usize> {
        stored(&self.engine.snapshot())
    }
}

/// The numbers of all items that a snapshot sees, and how often.
pub fn stored(snapshot: &Snapshot) -> BTreeMap<(Signal, u64), usize> {
    let mut found = BTreeMap::new();
    let mut count = |signal: Signal, n: u64| *found.entry((signal, n)).or_insert(0) += 1;
    let query = LogQuery {
        range: TimeRange::ALL,
        service: None,
        min_severity: 0,
        pattern: None,
        contains: None,
        limit: usize::MAX,
    };
    for log in snapshot.search_logs(&query).expect("logs").items {
        let body = log.body.as_str().expect("text").to_owned();
        let number = body.split(' ').nth(1).expect("a number");
        count(Signal::Logs, number.parse().expect("a number"));
    }
    let query = SeriesQuery {
        range: TimeRange::ALL,
        metric: None,
        service: None,
        attributes: Vec::new(),
        limit: usize::MAX,
    };
    for (_, points) in snapshot.points(&query).expect("points").items {
        points.iter().for_each(|point| count(Signal::Metrics, point.value as u64));
    }
    let query = throughline_store::TraceQuery {
        range: TimeRange::ALL,
        service: None,
        operation: None,
        min_duration_ns: None,
        max_duration_ns: None,
        error: None,
        limit: usize::MAX,
    };
    for trace in snapshot.search_traces(&query).expect("traces").items {
        let data = snapshot.trace(trace.trace_id, Want::SPANS).expect("a trace");
        data.spans.iter().for_each(|span| count(Signal::Traces, u64::from_be_bytes(span.span_id.0) - 1));
    }
    found
}
