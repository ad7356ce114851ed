//! A column chunk of a block's table.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    _ = throughline_store::block::probe::chunk(input);
});
