//! Measures the blocks alone: how long a flush and a merge take for each row, what they cost on disk column by column,
//! and how long a trace takes to read. Run with `--release`; arguments: spans, log records, data points.

use std::path::Path;
use std::sync::Arc;

use throughline_generate::{Generator, Signal as Generated};
use throughline_model::{Signal, TraceId};
use throughline_store::block::Block;
use throughline_store::compact::{Choice, merge};
use throughline_store::disk::OsDisk;
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_store::snapshot::{Snapshot, Want};
use throughline_wire::{DecodeContext, DecodeLimits, Decoder, Encoding};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BASE: u64 = 1_795_182_000_000_000_000;
const PARTS: usize = 6;

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let [spans, logs, points] = args.as_slice() else {
        println!("usage: block_speed SPANS LOGS POINTS");
        return;
    };
    let folder = std::env::temp_dir().join(format!("throughline-block-speed-{}", std::process::id()));
    let disk = OsDisk;
    let generator = Generator::new(42, BASE).referring_to(*spans);
    let requests: Vec<_> =
        generator.traces(*spans).chain(generator.logs(*logs)).chain(generator.metrics(*points)).collect();
    let context = DecodeContext { received_at: BASE as i64, limits: DecodeLimits::with_retention(1 << 62) };
    let mut decoder = Decoder::new();
    let clock = started();
    let mut batches = Vec::new();
    for request in &requests {
        let signal = match request.signal {
            Generated::Traces => Signal::Traces,
            Generated::Logs => Signal::Logs,
            Generated::Metrics => Signal::Metrics,
        };
        batches.push(
            decoder.decode(signal, Encoding::Protobuf, &request.body, &context).expect("decodes").batch,
        );
    }
    let items = (spans + logs + points) as f64;
    println!("decode {:.0} ns an item", clock() * 1e9 / items);
    let mut metas = Vec::new();
    let mut next = 1;
    let (mut insert_s, mut flush_s) = (0.0, 0.0);
    // The three signals arrive together.
    let per_part = |signal: Signal| batches.iter().filter(|b| b.signal() == signal).count().div_ceil(PARTS);
    let mut parts: Vec<Vec<_>> = (0..PARTS).map(|_| Vec::new()).collect();
    for signal in Signal::ALL {
        let size = per_part(signal).max(1);
        for (at, batch) in batches.iter().filter(|b| b.signal() == signal).enumerate() {
            parts[at / size].push(batch.clone());
        }
    }
    drop(batches);
    for part in parts {
        let memtable = Arc::new(Memtable::new());
        let clock = started();
        part.into_iter().for_each(|batch| memtable.insert(batch, BASE as i64));
        insert_s += clock();
        let clock = started();
        let options = BlockOptions { partition_ns: 1 << 61 };
        metas.extend(write_blocks(&disk, &folder, &memtable, &mut next, &options).expect("flushes"));
        flush_s += clock();
        println!("memtable {} MB", memtable.bytes() >> 20);
    }
    println!(
        "insert {:.0} ns an item, flush {:.0} ns an item",
        insert_s * 1e9 / items,
        flush_s * 1e9 / items
    );
    report(&folder, &metas);
    let inputs: Vec<Arc<Block>> = metas
        .iter()
        .map(|meta| Arc::new(Block::open(&disk, &folder, meta.clone()).expect("opens")))
        .collect();
    let choice = Choice { inputs: metas.iter().map(|meta| meta.id).collect(), level: 1 };
    let clock = started();
    let merged = merge(&disk, &folder, &inputs, &choice, &mut next).expect("merges");
    println!("merge {:.0} ns an item", clock() * 1e9 / items);
    report(&folder, &merged);
    look_up(&disk, &folder, &merged, &generator, *spans);
    #[expect(clippy::disallowed_methods, reason = "this program made the folder")]
    std::fs::remove_dir_all(&folder).expect("removes");
}

/// How long reading a trace takes.
fn look_up(
    disk: &OsDisk,
    folder: &Path,
    merged: &[throughline_store::block::BlockMeta],
    generator: &Generator,
    spans: u64,
) {
    let blocks =
        merged.iter().map(|m| Arc::new(Block::open(disk, folder, m.clone()).expect("opens"))).collect();
    let snapshot = Snapshot::new(Vec::new(), Arc::new(blocks), Arc::default(), BASE as i64);
    let ids: Vec<TraceId> =
        generator.trace_ids(spans).step_by(97).take(500).map(|truth| TraceId(truth.trace_id)).collect();
    for want in [Want::SPANS, Want::SPANS, Want::ALL] {
        let mut times: Vec<f64> = ids
            .iter()
            .map(|id| {
                let clock = started();
                assert!(!snapshot.trace(*id, want).expect("reads").spans.is_empty());
                clock() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!(
            "{want:?}: p50 {:.2} ms, p99 {:.2} ms",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}

/// The CPU seconds that the process has used since the call, as the operating system accounts them.
fn started() -> impl Fn() -> f64 {
    let from = cpu_seconds();
    move || cpu_seconds() - from
}

fn cpu_seconds() -> f64 {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    clock.tv_sec as f64 + clock.tv_nsec as f64 / 1e9
}

fn report(folder: &Path, metas: &[throughline_store::block::BlockMeta]) {
    let rows = |signal: Signal| metas.iter().map(|meta| meta.rows(signal)).sum::<u64>();
    println!(
        "{} spans, {} records, {} points",
        rows(Signal::Traces),
        rows(Signal::Logs),
        rows(Signal::Metrics)
    );
    let mut by_name = std::collections::BTreeMap::new();
    for meta in metas {
        meta.files.iter().for_each(|file| *by_name.entry(file.name.clone()).or_insert(0) += file.bytes);
    }
    println!("{by_name:?}");
    for meta in metas.iter().take(1).filter(|_| metas.len() == 1) {
        for name in ["spans.parquet", "logs.parquet", "traces.parquet", "samples.parquet", "series.parquet"] {
            columns(&meta.folder(folder).join(name));
        }
    }
}

fn columns(path: &Path) {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::try_from(path).expect("opens");
    let metadata = reader.metadata();
    let rows = metadata.file_metadata().num_rows().max(1) as f64;
    let mut sizes = std::collections::BTreeMap::<String, i64>::new();
    for group in metadata.row_groups() {
        for column in group.columns() {
            *sizes.entry(column.column_path().string()).or_default() += column.compressed_size();
        }
    }
    let mut sizes: Vec<_> = sizes.into_iter().collect();
    sizes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let shown: Vec<String> =
        sizes.iter().take(24).map(|(name, bytes)| format!("{name} {:.2}", *bytes as f64 / rows)).collect();
    println!("{}: {} rows; bytes a row: {}", path.display(), rows, shown.join(", "));
}
