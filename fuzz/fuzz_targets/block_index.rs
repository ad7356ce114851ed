//! The `index` file of a block, with checksums that agree.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    _ = throughline_store::block::probe::index(input);
});
