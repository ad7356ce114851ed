//! Compressed bodies: the first byte chooses the compression. The output never passes the limit.
#![no_main]

use throughline_wire::{Compression, decompress};

const LIMIT_BYTES: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((code, body)) = input.split_first() else { return };
    let compression = Compression::from_code(code % 4).expect("a code below four");
    if let Ok(out) = decompress(body, compression, LIMIT_BYTES) {
        assert!(out.len() <= LIMIT_BYTES);
    }
});
