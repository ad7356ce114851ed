//! How fast a log is replayed, and in how much memory: writes spans into the log alone, forgets the store, opens it.
//!
//! `cargo run --release -p throughline-store --example replay_speed -- SPANS`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example that prints a line, and may end at an error"
)]

use std::sync::Arc;
use std::time::Duration;

use throughline_generate::Generator;
use throughline_model::Signal;
use throughline_store::engine::Engine;
use throughline_store::{Clock, Disk, OsDisk, StoreConfig, SystemClock, Write};
use throughline_wire::{Compression, DecodeContext, Decoder, Encoding};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let spans: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(500_000);
    let dir = std::env::temp_dir().join(format!("throughline-replay-{}", std::process::id()));
    let clock = Arc::new(SystemClock::new());
    let mut config = StoreConfig::new(dir.clone(), Duration::from_secs(10_000 * 86_400));
    config.memtable_bytes = usize::MAX >> 4;
    let now = clock.now();
    let generator = Generator::new(42, now as u64 - 3_600_000_000_000);
    let mut decoder = Decoder::new();
    let mut bytes = 0;
    let limits = config.limits;
    let engine = Engine::open(config.clone(), Arc::new(OsDisk), clock.clone()).unwrap();
    let started = clock.monotonic();
    for (number, request) in generator.traces(spans).enumerate() {
        let context = DecodeContext { received_at: now, limits };
        let decoded = decoder.decode(Signal::Traces, Encoding::Protobuf, &request.body, &context).unwrap();
        bytes += request.body.len();
        let write = Write {
            signal: Signal::Traces,
            encoding: Encoding::Protobuf,
            compression: Compression::Identity,
            body: request.body.into(),
            received_at: now,
            content_hash: number as u128,
            batch: decoded.batch,
            rejected: decoded.rejected,
        };
        engine.submit(write, Box::new(|result| assert!(result.is_ok())));
        if number % 8 == 7 {
            engine.commit_once();
        }
    }
    while engine.commit_once() > 0 {}
    let took = clock.monotonic() - started;
    println!("generated, decoded and committed {} MB in {:.1} s", bytes >> 20, took.as_secs_f64());
    drop(engine);
    config.memtable_bytes = StoreConfig::MEMTABLE_BYTES;
    let started = clock.monotonic();
    let engine = Engine::open(config, Arc::new(OsDisk), clock.clone()).unwrap();
    let seconds = (clock.monotonic() - started).as_secs_f64();
    let status = engine.status();
    println!(
        "replayed {} records, {} spans, {:.0} MB/s, {:.0} spans/s, {} flushes, lost {:?}",
        status.replayed_records,
        status.replayed_items,
        bytes as f64 / seconds / 1e6,
        status.replayed_items as f64 / seconds,
        status.flushes,
        status.lost,
    );
    engine.close().unwrap();
    OsDisk.remove_dir(&dir).unwrap();
}
