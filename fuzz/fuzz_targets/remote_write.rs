//! Remote write: the first byte chooses the version.
#![no_main]

use throughline_wire::Encoding;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((version, body)) = input.split_first() else { return };
    let encoding = if version % 2 == 0 { Encoding::RemoteWrite1 } else { Encoding::RemoteWrite2 };
    throughline_fuzz::decode_samples(encoding, body);
});
