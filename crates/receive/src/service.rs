//! What both protocols share: the way of one request from its bytes to what the sender is told.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{AsHeaderName, CONTENT_TYPE};
use throughline_model::Signal;
use throughline_store::{Clock, Store};
use throughline_wire::{Compression, Encoding};
use tokio::sync::oneshot;

use crate::admission::{InFlight, Reservation};
use crate::connections::Connections;
use crate::decode::{Job, Pool};
use crate::refusal::{Cause, Refusal};
use crate::stats::{Counters, RequestScope};
use crate::{Error, ReceiveConfig};

/// The receiver's inside, shared by all connections.
pub(crate) struct Service {
    pub(crate) config: ReceiveConfig,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) pool: Pool,
    pub(crate) store: Store,
    clock: Arc<dyn Clock>,
}

/// A request as it came, with what its headers say of it.
pub(crate) struct ExportRequest {
    pub(crate) signal: Signal,
    pub(crate) encoding: Encoding,
    pub(crate) compression: Compression,
    pub(crate) body: Bytes,
    pub(crate) reservation: Reservation,
    /// The most that the body may be once it is decompressed.
    pub(crate) bytes_max: usize,
}

/// A request whose accepted items are durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) items: u64,
    /// How many of the items are native histograms that came by remote write.
    pub(crate) histograms: u64,
    /// Exemplars of metrics, which are no items.
    pub(crate) exemplars: u64,
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

impl Service {
    pub(crate) fn new(config: ReceiveConfig, store: Store, clock: Arc<dyn Clock>) -> Result<Service, Error> {
        let in_flight = InFlight::new(config.in_flight_bytes_max);
        let pool = Pool::start(&config, &store, &in_flight)?;
        let (counters, connections) = (Arc::default(), Connections::new(config.connections_max));
        Ok(Service { config, in_flight, counters, connections, pool, store, clock })
    }

    /// Takes a request to the store and counts the outcome.
    pub(crate) async fn export(
        &self,
        scope: &mut RequestScope,
        request: ExportRequest,
    ) -> Result<Accepted, Refusal> {
        let (reply, outcome) = oneshot::channel();
        scope.count_bytes(request.body.len());
        let job = Job { request, received_at: self.clock.now(), reply };
        if !self.pool.push(job) {
            return Err(closing());
        }
        match outcome.await {
            Ok(outcome) => outcome,
            // The thread that had the job is gone, or the store dropped the call: neither should happen.
            Err(_) => Err(Refusal::new(Cause::Internal, "the request was lost inside the receiver")),
        }
    }

    /// The refusal of a request for which there is no room.
    pub(crate) fn busy(&self) -> Refusal {
        busy(&self.in_flight)
    }
}

/// The refusal of a request for which there is no room.
pub(crate) fn busy(in_flight: &InFlight) -> Refusal {
    let message = format!(
        "{} bytes of requests are in flight and {} are the limit; send again later or raise \
         throughline.limits.in_flight_bytes",
        in_flight.bytes(),
        in_flight.bytes_max()
    );
    Refusal::retry(Cause::Busy, message, in_flight.retry_hint())
}

/// The refusal of a request that comes while the process stops.
pub(crate) fn closing() -> Refusal {
    // A second is what a restart takes where there is nothing to replay.
    Refusal::retry(Cause::Closing, "the receiver is shutting down", std::time::Duration::from_secs(1))
}

/// The compression that a header names; identity where there is none. Several codings on top of each other are
/// refused: no sender of telemetry uses them, and each would multiply what a small body can grow to.
pub(crate) fn compression(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Compression, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(Compression::Identity) };
    let text = String::from_utf8_lossy(value.as_bytes());
    if values.next().is_some() {
        return Err(Refusal::unknown_compression(&format!("{text}, …")));
    }
    match text.trim() {
        "" => Ok(Compression::Identity),
        text => Compression::from_name(text).ok_or_else(|| Refusal::unknown_compression(text)),
    }
}

/// The content type without its parameters, in lower case; empty where there is none.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
