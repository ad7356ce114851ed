//! From the configuration to what store and receiver are told.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use throughline_api::states::NoStates;
use throughline_api::{LokiContext, PrometheusContext, TracesContext};
use throughline_exec::Limits;
use throughline_promql::Engine;
use throughline_receive::{Listen, ReceiveConfig};
use throughline_scan::metrics::MetricIndex;
use throughline_scrape::ScrapeConfig;
use throughline_store::{Budgets, Clock, StoreConfig};
use throughline_wire::DecodeLimits;

use crate::config::{Config, Durability};

/// The store's settings.
pub fn store(config: &Config) -> StoreConfig {
    let durability = match config.durability {
        Durability::Fsync => throughline_store::Durability::Fsync,
        Durability::Os => throughline_store::Durability::Os,
    };
    StoreConfig {
        durability,
        memtable_bytes: whole(config.memtable.bytes),
        flush_after: config.memtable.age,
        budgets: Budgets {
            disk_bytes: config.retention.disk_budget_bytes,
            held_bytes: config.retention.held_budget_bytes,
        },
        reserve_bytes: config.retention.disk_reserve_bytes,
        limits: decode_limits(config),
        ..StoreConfig::new(config.data_dir.clone(), config.retention.age)
    }
}

/// The receiver's settings.
pub fn receive(config: &Config) -> ReceiveConfig {
    ReceiveConfig {
        listen: Listen {
            grpc: config.otlp.grpc,
            http: config.otlp.http,
            jaeger_grpc: config.otlp.spans.jaeger_grpc,
            jaeger_http: config.otlp.spans.jaeger_http,
            zipkin: config.otlp.spans.zipkin,
        },
        request_bytes_max: whole(config.otlp.request_bytes_max),
        in_flight_bytes_max: whole(config.limits.in_flight_bytes),
        connections_max: whole(config.limits.connections),
        streams_per_connection_max: config.otlp.streams_max,
        decode_limits: decode_limits(config),
        ..ReceiveConfig::loopback(nanoseconds(config.retention.age))
    }
}

/// The Prometheus API's settings.
pub fn prometheus(config: &Config, clock: &Arc<dyn Clock>) -> PrometheusContext {
    let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let mut engine = Engine::default();
    engine.options.lookback_ms = milliseconds(config.query.lookback);
    PrometheusContext {
        index: Arc::new(MetricIndex::new(config.prometheus.translation.clone())),
        engine,
        limits: Limits {
            samples: config.query.samples_max,
            series: config.query.series_max,
            bytes: config.query.memory_bytes_max,
            ..Limits::NONE
        },
        timeout: config.query.timeout,
        states: Arc::new(NoStates),
        external_labels: config.prometheus.external_labels.clone(),
        started_at_ms: clock.now().div_euclid(1_000_000),
    }
}

/// The settings of Loki's API.
pub fn loki(config: &Config) -> LokiContext {
    LokiContext {
        labels: Arc::new(config.query.log_labels.clone()),
        engine: throughline_logql::Engine,
        limits: Limits {
            samples: config.query.samples_max,
            series: config.query.series_max,
            bytes: config.query.memory_bytes_max,
            ..Limits::NONE
        },
        timeout: config.query.timeout,
    }
}

/// The settings of Tempo's and Jaeger's APIs.
pub fn traces(config: &Config) -> TracesContext {
    TracesContext {
        limits: Limits {
            samples: config.query.samples_max,
            series: config.query.series_max,
            bytes: config.query.memory_bytes_max,
            ..Limits::NONE
        },
        timeout: config.query.timeout,
    }
}

/// The scraper's settings.
pub fn scrape(config: &Config) -> ScrapeConfig {
    let mut seed = DefaultHasher::new();
    config.data_dir.hash(&mut seed);
    ScrapeConfig {
        jobs: config.pulled.scraping.jobs.clone(),
        external_labels: config.pulled.scraping.external_labels.clone(),
        decode_limits: decode_limits(config),
        seed: seed.finish(),
        warn: Box::new(|text| super::log("warning", text)),
    }
}

/// Both decode with the same limits, so that a replay comes to the same result.
pub fn decode_limits(config: &Config) -> DecodeLimits {
    DecodeLimits {
        future_ns: nanoseconds(config.limits.future),
        past_ns: nanoseconds(config.retention.age),
        attribute_bytes: whole(config.limits.attribute_bytes),
        attributes_per_item: whole(config.limits.attributes_per_item),
        items_per_request: whole(config.limits.items_per_request),
    }
}

fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
