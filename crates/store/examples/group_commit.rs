//! How many durable acknowledgements a second this machine gives, beside what its disk gives.
//!
//! `cargo run --release -p throughline-store --example group_commit -- FOLDER`: clients in a closed loop, each with a
//! 16 KiB request at a time; the floor is one thread that writes and syncs as much at once, into a preallocated file.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example that prints a table, and may end at an error"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use throughline_model::Signal;
use throughline_model::protobuf::{put_bytes, put_fixed64};
use throughline_store::{Clock, Disk, Durability, OsDisk, Store, StoreConfig, SystemClock, Write};
use throughline_wire::{Compression, DecodeContext, Encoding};

const BODY_BYTES: usize = 16 << 10;
const RUN: Duration = Duration::from_secs(4);

fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from).join("group-commit");
    let clock = SystemClock::new();
    println!(
        "{:>8} {:>8} {:>12} {:>10} {:>10} {:>10}",
        "clients", "mode", "acks/s", "p50 ms", "p99 ms", "syncs/s"
    );
    for clients in [1usize, 8, 32, 128] {
        let (acks, mut times) = floor(&folder, clients, &clock);
        row(clients, "floor", acks, &mut times, acks / clients as f64);
        for durability in [Durability::Fsync, Durability::Os] {
            let (acks, mut times, syncs) = run(&folder, clients, durability, &clock);
            row(
                clients,
                if durability == Durability::Fsync { "fsync" } else { "os" },
                acks,
                &mut times,
                syncs,
            );
        }
    }
    _ = OsDisk.remove_dir(&folder);
}

fn row(clients: usize, mode: &str, acks: f64, times: &mut [f64], syncs: f64) {
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default() * 1e3;
    println!("{clients:>8} {mode:>8} {acks:>12.0} {:>10.2} {:>10.2} {syncs:>10.0}", at(0.5), at(0.99));
}

/// One writer that writes what all clients would send and syncs it.
fn floor(folder: &Path, clients: usize, clock: &SystemClock) -> (f64, Vec<f64>) {
    OsDisk.create_dir_all(folder).unwrap();
    let path = folder.join("floor");
    _ = OsDisk.remove(&path);
    let file = OsDisk.create(&path).unwrap();
    let (size, group) = (64u64 << 20, vec![7u8; clients * BODY_BYTES]);
    file.preallocate(size).unwrap();
    file.sync_data().unwrap();
    let (mut at, mut times, start) = (0, Vec::new(), clock.monotonic());
    while clock.monotonic() - start < RUN {
        if at + group.len() as u64 > size {
            at = 0;
            file.truncate(0).and_then(|()| file.preallocate(size)).unwrap();
            file.sync_data().unwrap();
        }
        let began = clock.monotonic();
        file.write_at(at, &group).unwrap();
        file.sync_data().unwrap();
        at += group.len() as u64;
        times.push((clock.monotonic() - began).as_secs_f64());
    }
    let seconds = (clock.monotonic() - start).as_secs_f64();
    _ = OsDisk.remove(&path);
    ((times.len() * clients) as f64 / seconds, times)
}

fn run(folder: &Path, clients: usize, durability: Durability, clock: &SystemClock) -> (f64, Vec<f64>, f64) {
    let dir = folder.join(format!("{clients}-{durability:?}"));
    _ = OsDisk.remove_dir(&dir);
    let mut config = StoreConfig::new(dir.clone(), Duration::from_secs(86_400));
    config.durability = durability;
    let limits = config.limits;
    let store = Store::open(config, Arc::new(OsDisk), Arc::new(*clock)).unwrap();
    let start = clock.monotonic();
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            let (store, clock) = (store.clone(), *clock);
            std::thread::spawn(move || {
                let body = request(clock.now());
                let context = DecodeContext { received_at: clock.now(), limits };
                let decoded =
                    throughline_wire::decode(Signal::Logs, Encoding::Protobuf, &body, &context).unwrap();
                let (mut times, mut n) = (Vec::new(), 0u128);
                while clock.monotonic() - start < RUN {
                    n += 1;
                    let write = Write {
                        signal: Signal::Logs,
                        encoding: Encoding::Protobuf,
                        compression: Compression::Identity,
                        body: body.clone(),
                        received_at: clock.now(),
                        content_hash: (client as u128) << 64 | n,
                        batch: decoded.batch.clone(),
                        rejected: Vec::new(),
                    };
                    let (sender, receiver) = channel();
                    let began = clock.monotonic();
                    store.submit(write, Box::new(move |result| sender.send(result.is_ok()).unwrap()));
                    if receiver.recv().unwrap() {
                        times.push((clock.monotonic() - began).as_secs_f64());
                    } else {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
                times
            })
        })
        .collect();
    let times: Vec<f64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let seconds = (clock.monotonic() - start).as_secs_f64();
    let syncs = store.status().fsyncs as f64 / seconds;
    store.close().unwrap();
    _ = OsDisk.remove_dir(&dir);
    (times.len() as f64 / seconds, times, syncs)
}

/// A request of few and long records: the log is measured here, not the memtable.
fn request(now: i64) -> Bytes {
    let mut scope = Vec::new();
    for n in 0..4 {
        let (mut record, mut any) = (Vec::new(), Vec::new());
        put_bytes(&mut any, 1, &vec![b'a' + n; BODY_BYTES / 4]);
        put_fixed64(&mut record, 1, now as u64);
        put_bytes(&mut record, 5, &any);
        put_bytes(&mut scope, 2, &record);
    }
    let (mut resource, mut body) = (Vec::new(), Vec::new());
    put_bytes(&mut resource, 2, &scope);
    put_bytes(&mut body, 1, &resource);
    body.into()
}
