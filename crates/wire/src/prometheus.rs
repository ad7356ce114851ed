//! Prometheus' formats: the only place that knows them.

pub mod exposition;
