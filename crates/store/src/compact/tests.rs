//! A merged block answers as its inputs, and decisions are data.

use std::path::Path;

use throughline_model::Signal;

use super::*;
use crate::block::RowCounts;
use crate::disk::SimDisk;
use crate::flush::tests::{
    HOUR_NS, assert_same, ids, memtable, of_blocks, of_memtables, part_of_memtable, points_of,
};
use crate::flush::{BlockOptions, write_blocks};
use crate::memtable::Memtable;
use crate::snapshot::Want;

const DATA: &str = "data";

/// Flushes each memtable into a block of its own and merges them.
fn flush_and_merge(disk: &SimDisk, memtables: &[Arc<Memtable>]) -> (Vec<BlockMeta>, Vec<BlockMeta>) {
    let data = Path::new(DATA);
    let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
    let mut next = 1;
    let mut metas = Vec::new();
    for memtable in memtables {
        metas.extend(write_blocks(disk, data, memtable, &mut next, &options).unwrap());
    }
    let inputs: Vec<Arc<Block>> =
        metas.iter().map(|meta| Arc::new(Block::open(disk, data, meta.clone()).unwrap())).collect();
    let choice = Choice { inputs: metas.iter().map(|meta| meta.id).collect(), level: 1 };
    let merged = merge(disk, data, &inputs, &choice, &mut next).unwrap();
    assert_eq!((merged.len(), merged[0].level), (1, 1));
    assert!(crate::block::verify(disk, data, &merged[0]).is_empty());
    (metas, merged)
}

#[test]
fn a_merged_block_answers_as_its_inputs() {
    // The requests of one run are dealt out, so that spans, logs and exemplars of a trace lie in different inputs.
    let sizes = [4_000, 8_000, 20_000];
    let memtables = [
        part_of_memtable(42, sizes, |number| number % 3 == 0),
        part_of_memtable(42, sizes, |number| number % 3 == 1),
        part_of_memtable(42, sizes, |number| number % 3 == 2),
        memtable(7, 900, 900, 900),
    ];
    let disk = SimDisk::new(1);
    let (metas, merged) = flush_and_merge(&disk, &memtables);
    let spans: u64 = memtables.iter().map(|memtable| memtable.rows(Signal::Traces)).sum();
    assert_eq!(merged[0].rows(Signal::Traces), spans);
    let traces: u64 = metas.iter().map(|meta| meta.rows.traces).sum();
    assert!(merged[0].rows.traces < traces, "no trace lies in two inputs");
    assert_same(&of_memtables(&memtables), &of_blocks(&disk, &merged), &ids(42, 4_000));
    assert_same(&of_blocks(&disk, &metas), &of_blocks(&disk, &merged), &ids(7, 900));
}

/// What was settled among some lines is taken apart where others come.
#[test]
fn a_block_that_was_merged_twice_answers_as_its_inputs() {
    let memtables = [memtable(42, 900, 12_000, 100), memtable(7, 900, 9_000, 100)];
    let (disk, data) = (SimDisk::new(1), Path::new(DATA));
    let (mut metas, once) = flush_and_merge(&disk, &memtables[..1]);
    let slots = |of: &[BlockMeta]| -> Vec<String> {
        let block = Block::open(&disk, data, of[0].clone()).unwrap();
        let table = block.table(crate::block::Table::Logs).unwrap();
        let rows = table.read_group(0, None, Some(&["slots"])).unwrap();
        let texts = |rows: &arrow_array::RecordBatch| -> Vec<String> {
            let column = crate::block::read::Columns::new(rows);
            (0..rows.num_rows()).map(|row| column.owned("slots", row)).collect()
        };
        rows.iter().flat_map(texts).collect()
    };
    let bytes = |slots: Vec<String>| slots.iter().map(String::len).sum::<usize>();
    assert!(bytes(slots(&once)) < bytes(slots(&metas)), "nothing was settled");
    let mut next = 100;
    let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
    metas = write_blocks(&disk, data, &memtables[1], &mut next, &options).unwrap();
    metas.insert(0, once[0].clone());
    let inputs: Vec<Arc<Block>> =
        metas.iter().map(|meta| Arc::new(Block::open(&disk, data, meta.clone()).unwrap())).collect();
    let choice = Choice { inputs: metas.iter().map(|meta| meta.id).collect(), level: 2 };
    let twice = merge(&disk, data, &inputs, &choice, &mut next).unwrap();
    assert_same(&of_memtables(&memtables), &of_blocks(&disk, &twice), &ids(42, 900));
    assert_same(&of_memtables(&memtables), &of_blocks(&disk, &twice), &ids(7, 900));
}

#[test]
fn what_was_received_twice_is_merged_into_one() {
    let memtables = [memtable(42, 1_000, 1_000, 9_000), memtable(42, 1_000, 1_000, 9_000)];
    let disk = SimDisk::new(1);
    let (_, merged) = flush_and_merge(&disk, &memtables);
    assert_eq!(merged[0].rows(Signal::Traces), memtables[0].rows(Signal::Traces));
    assert_eq!(merged[0].rows(Signal::Metrics), memtables[0].rows(Signal::Metrics));
    let (once, twice) = (of_memtables(&memtables[..1]), of_blocks(&disk, &merged));
    for id in ids(42, 1_000) {
        let (a, b) = (once.trace(id, Want::ALL).unwrap(), twice.trace(id, Want::ALL).unwrap());
        assert_eq!((a.spans, a.logs, a.exemplars), (b.spans, b.logs, b.exemplars));
    }
}

#[test]
fn series_of_many_row_groups_are_merged() {
    let memtables = [0..40_000, 20_000..55_000].map(|series: std::ops::Range<u32>| {
        let memtable = Memtable::new();
        memtable.insert(points_of(series.clone(), i64::from(series.start) + 1), 0);
        Arc::new(memtable)
    });
    let disk = SimDisk::new(1);
    let (metas, merged) = flush_and_merge(&disk, &memtables);
    assert_eq!(metas.iter().map(|meta| meta.rows.series).collect::<Vec<_>>(), [40_000, 35_000]);
    assert_eq!((merged[0].rows.series, merged[0].rows.points), (55_000, 75_000));
    let parts = of_blocks(&disk, &merged).metric_parts(crate::snapshot::TimeRange::ALL);
    let series = parts[0].series_from(0).unwrap();
    let numbers = series.iter().map(|entry| u128::from_be_bytes(entry.fingerprint));
    assert!(numbers.eq(0..55_000));
}

fn meta(id: u64, level: u32, partition: i64, megabytes: u64, received_at: i64) -> BlockMeta {
    BlockMeta {
        id,
        name: format!("b{id}"),
        level,
        partition,
        min_time: 0,
        max_time: 0,
        received_at,
        sampled_at: 0,
        rows: RowCounts::default(),
        files: vec![crate::block::FileMeta { name: "spans.parquet".into(), bytes: megabytes << 20 }],
        checksums_crc: 0,
    }
}

fn check(blocks: &[BlockMeta], expected: Option<(&[u64], u32)>) {
    let policy =
        CompactPolicy { fan_in: 3, block_bytes_max: 100 << 20, settle_ns: 1_000, sample_after_ns: None };
    let found = choose(blocks, 10_000, &policy);
    assert_eq!(found, expected.map(|(inputs, level)| Choice { inputs: inputs.to_vec(), level }));
}

#[test]
fn levels_merge_when_they_are_full() {
    check(&[meta(1, 0, 0, 1, 9_999), meta(2, 0, 0, 1, 9_999)], None);
    let three = [meta(1, 0, 0, 1, 9_999), meta(2, 0, 0, 1, 9_999), meta(3, 0, 0, 1, 9_999)];
    check(&three, Some((&[1, 2, 3], 1)));
    let other_partition = [meta(1, 0, 0, 1, 9_999), meta(2, 0, 0, 1, 9_999), meta(3, 0, 1, 1, 9_999)];
    check(&other_partition, None);
}

#[test]
fn larger_blocks_wait_until_they_fill_an_output() {
    let of = |n: u64, megabytes: u64| -> Vec<BlockMeta> {
        (1..=n).map(|id| meta(id, 0, 0, megabytes, 9_999)).collect()
    };
    check(&of(5, 20), None);
    check(&of(6, 20), Some((&[1, 2, 3, 4, 5], 1)));
    check(&of(8, 3), None);
    check(&of(9, 3), Some((&[1, 2, 3, 4, 5, 6, 7, 8, 9], 1)));
}

#[test]
fn a_settled_partition_merges_what_is_worth_it() {
    check(&[meta(1, 1, 0, 5, 100), meta(2, 0, 0, 1, 100)], Some((&[1, 2], 1)));
    check(&[meta(1, 1, 0, 80, 100), meta(2, 0, 0, 1, 100)], None);
    check(&[meta(1, 1, 0, 30, 100), meta(2, 0, 0, 10, 100)], None);
    check(&[meta(1, 1, 0, 30, 100), meta(2, 0, 0, 10, 100), meta(3, 0, 0, 8, 100)], Some((&[1, 2, 3], 1)));
    // The last flush of a load is small, and does not keep those before it apart.
    check(&[meta(1, 0, 0, 24, 100), meta(2, 0, 0, 25, 100), meta(3, 0, 0, 7, 100)], Some((&[1, 2, 3], 1)));
    check(&[meta(1, 1, 0, 70, 100), meta(2, 0, 0, 24, 100), meta(3, 0, 0, 2, 100)], Some((&[2, 3], 1)));
}

#[test]
fn what_trickles_in_does_not_keep_a_partition_from_being_merged() {
    let large = [meta(1, 0, 0, 16, 100), meta(2, 0, 0, 16, 100)];
    let with = |new: BlockMeta| [large[0].clone(), large[1].clone(), new];
    check(&with(meta(3, 0, 0, 2, 9_999)), Some((&[1, 2], 1)));
    check(&with(meta(3, 0, 0, 3, 9_999)), None);
    // What was merged does not make more of what trickles in.
    check(&[meta(1, 1, 0, 90, 100), meta(2, 0, 0, 1, 100), meta(3, 0, 0, 1, 9_999)], None);
}

#[test]
fn blocks_do_not_outgrow_their_limit() {
    let three = [meta(1, 0, 0, 40, 9_999), meta(2, 0, 0, 30, 9_999), meta(3, 0, 0, 45, 9_999)];
    check(&three, Some((&[1, 2], 1)));
    check(&[meta(1, 0, 0, 40, 100), meta(2, 0, 0, 50, 100), meta(3, 0, 0, 60, 100)], Some((&[1, 2], 1)));
}

#[test]
fn a_flushed_block_with_logs_does_not_stay_alone() {
    let policy = CompactPolicy::default();
    let with_logs =
        |level| BlockMeta { rows: RowCounts { logs: 7, ..RowCounts::default() }, ..meta(3, level, 0, 1, 0) };
    let large = meta(4, 1, 0, 64, 0);
    let later = policy.settle_ns;
    let expected = Some(Choice { inputs: vec![3], level: 1 });
    assert_eq!(choose(&[with_logs(0), large.clone()], later, &policy), expected);
    assert_eq!(choose(&[with_logs(0), large.clone()], later - 1, &policy), None);
    // Written again once, and never where there is nothing to gain.
    assert_eq!(choose(&[with_logs(1), large.clone()], later, &policy), None);
    assert_eq!(choose(&[meta(3, 0, 0, 1, 0), large], later, &policy), None);
}
