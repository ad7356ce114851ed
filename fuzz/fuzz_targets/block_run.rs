//! The streams of a run of samples, with checksums that agree.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    _ = throughline_store::block::probe::run(input);
});
