//! OTLP/protobuf requests of traces.
#![no_main]

use throughline_model::Signal;
use throughline_wire::Encoding;

libfuzzer_sys::fuzz_target!(|input: &[u8]| throughline_fuzz::decode(
    Signal::Traces,
    Encoding::Protobuf,
    input
));
