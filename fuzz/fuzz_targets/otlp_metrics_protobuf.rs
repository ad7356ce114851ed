//! OTLP/protobuf requests of metrics.
#![no_main]

use throughline_model::Signal;
use throughline_wire::Encoding;

libfuzzer_sys::fuzz_target!(|input: &[u8]| throughline_fuzz::decode(
    Signal::Metrics,
    Encoding::Protobuf,
    input
));
