//! Results of rules into the store: a remote write request of our own, durable before the next rule is evaluated.

use std::sync::mpsc;

use throughline_model::Signal;
use throughline_model::point::MetricType;
use throughline_scan::metrics::to_prometheus;
use throughline_store::{Clock, Store, Write};
use throughline_wire::prometheus::write::{self as remote_write, RequestBuilder, Series};
use throughline_wire::{Compression, DecodeContext, DecodeLimits, Decoder, Encoding};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::sample::{Cited, Number, Sample, Sink};

/// Writes into a store.
pub struct StoreSink<'a> {
    store: &'a Store,
    clock: &'a dyn Clock,
    limits: DecodeLimits,
}

impl<'a> StoreSink<'a> {
    /// With the limits of the receivers, under which a restart reads the log again.
    #[must_use]
    pub fn new(store: &'a Store, clock: &'a dyn Clock, limits: DecodeLimits) -> StoreSink<'a> {
        StoreSink { store, clock, limits }
    }
}

impl Sink for StoreSink<'_> {
    fn write(&self, samples: &[Sample]) -> Result<(), String> {
        let body = request(samples);
        let received_at = self.clock.now();
        let context = DecodeContext { received_at, limits: self.limits };
        let decoded = Decoder::new()
            .decode(Signal::Metrics, Encoding::RemoteWrite2, &body, &context)
            .map_err(|error| error.to_string())?;
        let refused = decoded.rejected.first().map(|rejection| format!("{rejection:?}"));
        let write = Write {
            signal: Signal::Metrics,
            encoding: Encoding::RemoteWrite2,
            compression: Compression::Identity,
            received_at,
            content_hash: xxh3_128_with_seed(&body, Signal::Metrics as u64),
            body: body.into(),
            batch: decoded.batch,
            rejected: decoded.rejected,
        };
        let (done, outcome) = mpsc::sync_channel(1);
        self.store.submit(write, Box::new(move |result| _ = done.send(result)));
        match outcome.recv() {
            Ok(Ok(_)) => refused.map_or(Ok(()), Err),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the store is closed".to_owned()),
        }
    }
}

fn request(samples: &[Sample]) -> Vec<u8> {
    let mut builder = RequestBuilder::new();
    for sample in samples {
        let labels: Vec<(&str, &str)> = sample.labels.iter().collect();
        let series = Series { labels: &labels, metric_type: MetricType::default(), help: "", unit: "" };
        let time_ms = sample.time_ms;
        let cited: Vec<Vec<(&str, &str)>> = sample.cites.iter().map(label_pairs).collect();
        let exemplar = |(cited, labels): (&Cited, _)| remote_write::Exemplar {
            labels,
            time_ms: cited.time_ms,
            value: cited.value,
        };
        let exemplars: Vec<remote_write::Exemplar<'_>> =
            sample.cites.iter().zip(cited.iter().map(Vec::as_slice)).map(exemplar).collect();
        match &sample.value {
            Number::Float(value) => {
                let sample = remote_write::Sample { time_ms, start_ms: 0, value: *value };
                builder.add(&series, &[sample], &[], &exemplars);
            }
            Number::Histogram(value) => {
                let sample = remote_write::Sample { time_ms, start_ms: 0, value: to_prometheus(value) };
                builder.add(&series, &[], &[sample], &exemplars);
            }
        }
    }
    builder.finish()
}

fn label_pairs(cited: &Cited) -> Vec<(&str, &str)> {
    cited.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
