//! What the fuzz targets share: one fixed context, and a decoder that lives as long as the process, so that what it
//! remembers from one input is fuzzed, too.

use std::cell::RefCell;

use throughline_model::batch::{column_binary, log, series, span};
use throughline_model::{Batch, Signal, attribute};
use throughline_wire::{DecodeContext, DecodeLimits, Decoder, Encoding};

/// Decodes one input; what is accepted must be readable again.
pub fn decode(signal: Signal, encoding: Encoding, input: &[u8]) {
    thread_local! {
        static DECODER: RefCell<Decoder> = RefCell::new(Decoder::new());
    }
    let limits = DecodeLimits::with_retention(i64::MAX);
    let context = DecodeContext { received_at: 1_750_000_000_000_000_000, limits };
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
