//! OTLP (opentelemetry-proto 1.x): the walk that its three signals share.

pub mod json;

use throughline_model::batch::{LogBatchBuilder, MetricBatchBuilder, SpanBatchBuilder};
use throughline_model::{Batch, Signal};

use crate::{DecodeContext, DecodeError, Decoded};

/// What a decoder keeps from one request to the next.
#[derive(Default)]
pub(crate) struct Memory;

pub(crate) fn decode(
    signal: Signal,
    _body: &[u8],
    _context: &DecodeContext,
    _memory: &mut Memory,
) -> Result<Decoded, DecodeError> {
    let batch = match signal {
        Signal::Traces => Batch::Spans(SpanBatchBuilder::new().finish()),
        Signal::Logs => Batch::Logs(LogBatchBuilder::new().finish()),
        Signal::Metrics => Batch::Metrics(MetricBatchBuilder::new().finish()),
    };
    Ok(Decoded { batch, rejected: Vec::new() })
}
