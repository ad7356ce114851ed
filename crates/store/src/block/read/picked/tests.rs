//! Picked rows are those that the Parquet library reads, of every table and at every level.

use std::path::Path;

use arrow_array::{Array, RecordBatch};

use super::*;
use crate::block::read::{Block, Columns};
use crate::block::{BlockMeta, Table};
use crate::compact::{Choice, merge};
use crate::disk::{Disk as _, SimDisk};
use crate::flush::tests::{HOUR_NS, memtable};
use crate::flush::{BlockOptions, write_blocks};

fn blocks(disk: &SimDisk) -> Vec<BlockMeta> {
    let data = Path::new("data");
    let options = BlockOptions { partition_ns: 1_000 * HOUR_NS };
    let mut next = 1;
    let mut metas = Vec::new();
    for seed in [42, 7] {
        let memtable = memtable(seed, 9_000, 40_000, 20_000);
        metas.extend(write_blocks(disk, data, &memtable, &mut next, &options).unwrap());
    }
    let inputs: Vec<Arc<Block>> =
        metas.iter().map(|meta| Arc::new(Block::open(disk, data, meta.clone()).unwrap())).collect();
    let choice = Choice { inputs: metas.iter().map(|meta| meta.id).collect(), level: 1 };
    metas.extend(merge(disk, data, &inputs, &choice, &mut next).unwrap());
    metas
}

/// One row as text, so that dictionaries and spelled out texts, nulls and missing columns compare as readers see them.
fn row_text(batch: &RecordBatch, names: &[String], row: usize) -> Vec<String> {
    let columns = Columns::new(batch);
    let value = |name: &String| {
        let Some(column) = batch.column_by_name(name).filter(|column| !column.is_null(row)) else {
            return String::new();
        };
        match columns.text(name, row) {
            Some(text) => format!("text {text}"),
            None => format!("{:?}", column.slice(row, 1)).replace("\n", " "),
        }
    };
    names.iter().map(value).collect()
}

fn rows_text(batches: &[RecordBatch], names: &[String]) -> Vec<Vec<String>> {
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| row_text(batch, names, row))).collect()
}

#[test]
fn rows_are_those_of_the_library() {
    let disk = SimDisk::new(1);
    let metas = blocks(&disk);
    assert_eq!(metas.iter().map(|meta| meta.level).collect::<Vec<_>>(), [0, 0, 1]);
    for meta in metas {
        let block = Block::open(&disk, Path::new("data"), meta.clone()).unwrap();
        for table in Table::ALL {
            let by_library = block.table(table).unwrap();
            let names: Vec<String> =
                by_library.schema().fields().iter().map(|field| field.name().clone()).collect();
            let n_rows = by_library.num_rows() as u32;
            assert!(n_rows > 0, "{table:?}");
            let every = |step: u32| (step / 2..n_rows).step_by(step as usize).collect::<Vec<u32>>();
            let near_the_end = (n_rows.saturating_sub(9)..n_rows).collect();
            for rows in
                [vec![0], near_the_end, every(97), every(1_999), every(3).into_iter().take(200).collect()]
            {
                let layout = block.layout(table).unwrap();
                let picked = layout.pick(block.file(table).unwrap(), &rows, None).unwrap();
                let picked =
                    picked.unwrap_or_else(|| panic!("{table:?} of level {} is not understood", meta.level));
                let expected = by_library.read(&rows, None).unwrap();
                assert_eq!(rows_text(&picked, &names), rows_text(&expected, &names), "{table:?} {rows:?}");
            }
        }
    }
}

#[test]
fn chosen_columns_alone_are_picked() {
    let disk = SimDisk::new(1);
    let metas = blocks(&disk);
    let block = Block::open(&disk, Path::new("data"), metas[2].clone()).unwrap();
    let rows = [3, 4, 8_191, 8_192];
    let picked = block.pick(Table::Spans, &rows, Some(&["service", "span_id", "no such column"])).unwrap();
    assert_eq!(picked.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 1]);
    let names: Vec<String> = picked[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["span_id", "service"]);
}

#[test]
fn damaged_chunks_have_some_outcome() {
    let disk = SimDisk::new(1);
    let metas = blocks(&disk);
    let mut state = 7u64;
    let mut found = 0;
    for meta in metas {
        let block = Block::open(&disk, Path::new("data"), meta.clone()).unwrap();
        for table in Table::ALL {
            let file = disk.read_all(&meta.folder(Path::new("data")).join(table.file_name())).unwrap();
            for column in block.table(table).unwrap().group(0).columns() {
                let (from, len) = column.byte_range();
                let mut bytes = file[from as usize..(from + len.min(20_000)) as usize].to_vec();
                for _ in 0..20 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Most of what matters is at the front.
                    let within = if state & 1 == 0 { bytes.len() } else { bytes.len().min(60) };
                    let at = (state >> 33) as usize % within;
                    let bit = 1 << ((state >> 8) % 8);
                    bytes[at] ^= bit;
                    found += crate::block::probe::chunk(&bytes);
                    bytes[at] ^= bit;
                }
            }
        }
    }
    assert!(found > 0);
}
