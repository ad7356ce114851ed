//! Tables of blocks that hold other bytes than were written, under checksums that agree: every question about the block has
//! an answer or an error, and none takes memory that the bytes do not account for.
//!
//! `THROUGHLINE_MUTATIONS` says how many changed tables to read, `THROUGHLINE_SEED` the first seed; a failure names its
//! seed. The fuzz target `block_table` reads the same way.

use std::path::Path;
use std::sync::Arc;

use throughline_generate::Generator;
use throughline_model::Signal;
use throughline_store::SimDisk;
use throughline_store::block::probe::{CHANGE_BYTES, ProbedBlock, damage};
use throughline_store::block::{Block, BlockMeta, Table};
use throughline_store::compact::{Choice, merge};
use throughline_store::flush::{BlockOptions, write_blocks};
use throughline_store::memtable::Memtable;
use throughline_wire::{DecodeContext, DecodeLimits, Encoding};

use crate::harness::{DIR, Random};

const BASE: u64 = 1_795_182_000_000_000_000;

/// More than all tests of this process take together.
const MEMORY_BYTES_MAX: u64 = 4 << 30;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A flushed block and a merged one: their tables are compressed differently.
fn blocks() -> Vec<ProbedBlock> {
    let (disk, dir) = (SimDisk::new(0), Path::new(DIR));
    let limits = DecodeLimits::with_retention(1 << 62);
    let context = DecodeContext { received_at: BASE as i64, limits };
    let mut metas: Vec<BlockMeta> = Vec::new();
    let mut next_id = 1;
    for seed in 0..2 {
        let generator = Generator::new(seed, BASE).referring_to(120);
        let memtable = Memtable::new();
        for request in generator.traces(120).chain(generator.logs(150)).chain(generator.metrics(200)) {
            let signal = match request.signal {
                throughline_generate::Signal::Traces => Signal::Traces,
                throughline_generate::Signal::Logs => Signal::Logs,
                throughline_generate::Signal::Metrics => Signal::Metrics,
            };
            let decoded = throughline_wire::decode(signal, Encoding::Protobuf, &request.body, &context);
            memtable.insert(decoded.expect("a good request").batch, BASE as i64);
        }
        let options = BlockOptions { partition_ns: 1 << 61 };
        metas.extend(write_blocks(&disk, dir, &memtable, &mut next_id, &options).expect("a flush"));
    }
    let open = |meta: &BlockMeta| Arc::new(Block::open(&disk, dir, meta.clone()).expect("opens"));
    let inputs: Vec<Arc<Block>> = metas.iter().map(open).collect();
    let choice = Choice { inputs: metas.iter().map(|meta| meta.id).collect(), level: 1 };
    metas.truncate(1);
    metas.extend(merge(&disk, dir, &inputs, &choice, &mut next_id).expect("a merge"));
    assert_eq!(metas.len(), 2);
    metas.iter().map(|meta| ProbedBlock::copy(&disk, dir, meta).expect("a copy")).collect()
}

/// The most address space that the process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kib| kib << 10)
}

/// Reads one table with some changes, and the rest of the block as it is.
fn run(blocks: &[ProbedBlock], seed: u64) {
    let mut random = Random(seed);
    let block = &blocks[random.below(blocks.len() as u64) as usize];
    let table = Table::ALL[random.below(Table::ALL.len() as u64) as usize];
    let changes = 1 + random.below(3) as usize;
    let script: Vec<u8> = (0..changes * CHANGE_BYTES).map(|_| random.next() as u8).collect();
    let mut bytes = block.bytes(table).expect("a table");
    damage(&mut bytes, &script);
    // Whether it has answers does not matter, only that it ends.
    _ = block.ask(table, &bytes);
    let peak = peak_bytes();
    assert!(peak < MEMORY_BYTES_MAX, "seed {seed}: {table:?} took {peak} bytes");
}

#[test]
fn changed_tables_never_panic() {
    let blocks = blocks();
    for block in &blocks {
        for table in Table::ALL {
            let found = block.ask(table, &block.bytes(table).expect("a table")).expect("a whole block");
            assert!(found > 1_000, "{table:?}: {found} answers");
        }
    }
    let first = setting("THROUGHLINE_SEED", 1).wrapping_mul(0x9e37_79b9);
    let mut failed = Vec::new();
    for seed in (0..setting("THROUGHLINE_MUTATIONS", 300)).map(|n| first.wrapping_add(n)) {
        if std::panic::catch_unwind(|| run(&blocks, seed)).is_err() {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "{} seeds: {:?}", failed.len(), &failed[..failed.len().min(20)]);
}
