//! What the fuzz targets share: one fixed context, and a decoder that lives as long as the process, so that what it
//! remembers from one input is fuzzed, too.

use std::cell::RefCell;

use throughline_model::batch::{column_binary, log, point, series, span};
use throughline_model::native_histogram::NativeHistogram;
use throughline_model::{Batch, Signal, attribute, label};
use throughline_wire::{DecodeContext, DecodeLimits, Decoder, Encoding};

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new());
}

fn context() -> DecodeContext {
    let limits = DecodeLimits::with_retention(i64::MAX);
    DecodeContext { received_at: 1_750_000_000_000_000_000, limits }
}

/// Decodes one input of remote write; what is accepted must be readable again.
pub fn decode_samples(encoding: Encoding, input: &[u8]) {
    let context = context();
    let decoded =
        DECODER.with_borrow_mut(|decoder| decoder.decode(Signal::Metrics, encoding, input, &context));
    let Ok(Batch::Metrics(batch)) = decoded.map(|decoded| decoded.batch) else { return };
    for list in column_binary(&batch.series, series::ATTRIBUTES).iter().flatten() {
        assert!(label::iter(list).any(|(name, _)| name == label::METRIC_NAME));
    }
    for payload in column_binary(&batch.points, point::PAYLOAD).iter().flatten() {
        assert!(NativeHistogram::decode(payload).is_ok());
    }
}

/// Decodes one input; what is accepted must be readable again.
pub fn decode(signal: Signal, encoding: Encoding, input: &[u8]) {
    let context = context();
    let decoded = DECODER.with_borrow_mut(|decoder| decoder.decode(signal, encoding, input, &context));
    let Ok(decoded) = decoded else { return };
    let lists = match &decoded.batch {
        Batch::Spans(batch) => column_binary(&batch.rows, span::ATTRIBUTES),
        Batch::Logs(batch) => column_binary(&batch.rows, log::ATTRIBUTES),
        Batch::Metrics(batch) => column_binary(&batch.series, series::ATTRIBUTES),
    };
    for list in lists.iter().flatten() {
        let mut json = String::new();
        attribute::write_json_object(list, &mut json);
    }
}
