//! What query languages read: a snapshot of the store seen as their series.
//!
//! [`metrics`] shows what came over OTLP and remote write as Prometheus series. Translation happens here, on the read
//! side: the store keeps what was sent.

pub mod metrics;
