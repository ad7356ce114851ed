//! Loki's push: the first byte chooses between protobuf and JSON.
#![no_main]

use throughline_model::Signal;
use throughline_wire::Encoding;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((form, body)) = input.split_first() else { return };
    let encoding = if form % 2 == 0 { Encoding::LokiProtobuf } else { Encoding::LokiJson };
    throughline_fuzz::decode(Signal::Logs, encoding, body);
});
