//! A table of a block, with checksums that agree: the first byte chooses block, table, and whether the rest is the table's
//! bytes or a script of changes to the bytes that were written.
#![no_main]

use std::sync::LazyLock;

use throughline_store::block::Table;
use throughline_store::block::probe::{ProbedBlock, damage};

static BLOCKS: LazyLock<Vec<ProbedBlock>> = LazyLock::new(throughline_fuzz::blocks);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((choice, rest)) = input.split_first() else { return };
    let choice = usize::from(*choice);
    let block = &BLOCKS[choice % BLOCKS.len()];
    let table = Table::ALL[choice / BLOCKS.len() % Table::ALL.len()];
    let bytes = if choice & 0x80 == 0 {
        let mut bytes = block.bytes(table).expect("a table");
        damage(&mut bytes, rest);
        bytes
    } else {
        rest.to_vec()
    };
    _ = block.ask(table, &bytes);
});
