//! What query languages read: a snapshot of the store seen as their series.
//!
//! [`metrics`] shows what came over OTLP and remote write as Prometheus series, [`logs`] what came over OTLP and Loki's push as
//! streams, [`traces`] spans as columns of TraceQL's fields. Translation happens here, on the read
//! side: the store keeps what was sent.

pub mod logs;
pub mod metrics;
pub mod traces;
