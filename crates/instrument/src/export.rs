//! The export thread: every interval it encodes what has gathered and posts it.

mod client;
mod encode;
mod retry;
mod wake;

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::clock;
use crate::telemetry::{Core, SignalStats, Stats};
use client::Client;

pub(crate) use wake::Wake;

/// Items in one request: some 500 KiB of spans, far below what receivers take.
const REQUEST_ITEMS_MAX: usize = 1_024;

/// What became of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The receiver took it, but for some items.
    Taken {
        /// How many it rejected.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// It was given up, and why.
    Failed(String),
}

/// What runs on the export thread.
pub(crate) struct Exporter {
    core: Arc<Core>,
    client: Client,
    resource: Resource,
    interval: Duration,
}

impl Exporter {
    pub(crate) fn new(
        core: Arc<Core>,
        endpoint: &str,
        resource: Vec<KeyValue>,
        interval: Duration,
    ) -> Exporter {
        let resource = Resource { attributes: resource, ..Resource::default() };
        Exporter { core, client: Client::new(endpoint), resource, interval }
    }

    /// Exports until the shutdown, and once more after it.
    pub(crate) fn run(self) {
        loop {
            let turn = self.core.wake.wait(self.interval);
            self.export_spans();
            self.export_logs();
            self.export_points();
            self.core.wake.done(turn);
            if turn.last {
                return;
            }
        }
    }

    fn export_spans(&self) {
        loop {
            let spans = self.core.spans.take(REQUEST_ITEMS_MAX);
            let count = spans.len();
            if count == 0 {
                return;
            }
            let body = encode::traces(&self.resource, spans);
            self.post("/v1/traces", body, count, |stats| &mut stats.spans);
        }
    }

    fn export_logs(&self) {
        loop {
            let records = self.core.logs.take(REQUEST_ITEMS_MAX);
            let count = records.len();
            if count == 0 {
                return;
            }
            let body = encode::logs(&self.resource, records);
            self.post("/v1/logs", body, count, |stats| &mut stats.logs);
        }
    }

    fn export_points(&self) {
        let histograms = self.core.histograms.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now_unix_ns = clock::now_unix_ns();
        let metrics: Vec<_> =
            histograms.iter().filter_map(|histogram| histogram.collect(now_unix_ns)).collect();
        let count = encode::count_points(&metrics);
        if count > 0 {
            let body = encode::metrics(&self.resource, metrics);
            self.post("/v1/metrics", body, count, |stats| &mut stats.points);
        }
    }

    fn post(&self, path: &str, body: Vec<u8>, count: usize, of: fn(&mut Stats) -> &mut SignalStats) {
        let outcome = retry::post(&self.core, &self.client, path, &body);
        self.core.book(of, count as u64, outcome);
    }
}

#[cfg(test)]
mod tests;
