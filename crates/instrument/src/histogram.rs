//! Histograms with explicit bounds, cumulative, whose exemplars lead back to the span that recorded the value.
//!
//! Each bucket remembers two values since the last export, each with its span: the latest and the largest. The
//! latest says what the bucket looks like now; the largest is the one that somebody who asks about a spike wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{self as proto, exemplar, metric};
use prost::Message;

use crate::attribute::{key_value, key_values};
use crate::{Attribute, SpanContext, clock};

/// OpenTelemetry's bounds for durations in seconds.
pub const LATENCY_BOUNDS_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Series of one histogram: OpenTelemetry's default limit. What comes after goes to one overflow series.
const SERIES_MAX: usize = 2_000;

/// The attribute that marks the overflow series, as OpenTelemetry names it.
const OVERFLOW: &str = "otel.metric.overflow";

/// OTLP's code of cumulative temporality.
const CUMULATIVE: i32 = proto::AggregationTemporality::Cumulative as i32;

/// A histogram; cheap to clone.
#[derive(Clone)]
pub struct Histogram {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    unit: String,
    bounds: Vec<f64>,
    /// By the encoded attributes, sorted by key: the same set is the same series in whatever order it comes.
    series: Mutex<HashMap<Vec<u8>, Series>>,
}

struct Series {
    attributes: Vec<KeyValue>,
    /// When it began: a receiver counts a new series from here, and not from the start of the process.
    start_unix_ns: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    buckets: Vec<Bucket>,
}

#[derive(Clone, Default)]
struct Bucket {
    count: u64,
    latest: Option<Witness>,
    largest: Option<Witness>,
}

/// A value with the span that recorded it.
#[derive(Clone, Copy, PartialEq)]
struct Witness {
    value: f64,
    time_unix_ns: u64,
    span: SpanContext,
}

impl Histogram {
    pub(crate) fn new(name: &str, unit: &str, bounds: &[f64]) -> Histogram {
        let mut bounds: Vec<f64> = bounds.iter().copied().filter(|bound| bound.is_finite()).collect();
        bounds.sort_unstable_by(f64::total_cmp);
        bounds.dedup();
        let shared =
            Shared { name: name.to_owned(), unit: unit.to_owned(), bounds, series: Mutex::default() };
        Histogram { shared: Arc::new(shared) }
    }

    /// Counts a value in the series of these attributes. With a span that is sampled, the value may become an
    /// exemplar. What is not a number is ignored.
    pub fn record(&self, value: f64, attributes: &[Attribute<'_>], span: Option<&SpanContext>) {
        if !value.is_finite() {
            return;
        }
        let witness = span.filter(|span| span.is_sampled()).map(|span| Witness {
            value,
            time_unix_ns: clock::now_unix_ns(),
            span: *span,
        });
        let mut attributes = key_values(attributes);
        attributes.sort_by(|one, other| one.key.cmp(&other.key));
        let mut all = self.lock();
        let mut key = series_key(&attributes);
        if all.len() >= SERIES_MAX && !all.contains_key(&key) {
            attributes = vec![key_value(OVERFLOW, true.into())];
            key = series_key(&attributes);
        }
        let bucket = self.shared.bounds.partition_point(|bound| *bound < value);
        let bucket_count = self.shared.bounds.len() + 1;
        all.entry(key)
            .or_insert_with(|| Series::new(attributes, bucket_count))
            .record(bucket, value, witness);
    }

    /// The state of all series for one export; `None` while nothing was recorded. Exemplars start anew.
    pub(crate) fn collect(&self, now_unix_ns: u64) -> Option<proto::Metric> {
        let mut all = self.lock();
        if all.is_empty() {
            return None;
        }
        let data_points = all.values_mut().map(|series| series.collect(&self.shared, now_unix_ns)).collect();
        Some(proto::Metric {
            name: self.shared.name.clone(),
            unit: self.shared.unit.clone(),
            data: Some(metric::Data::Histogram(proto::Histogram {
                data_points,
                aggregation_temporality: CUMULATIVE,
            })),
            ..proto::Metric::default()
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Series>> {
        self.shared.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    fn new(attributes: Vec<KeyValue>, bucket_count: usize) -> Series {
        Series {
            attributes,
            start_unix_ns: clock::now_unix_ns(),
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            buckets: vec![Bucket::default(); bucket_count],
        }
    }

    fn record(&mut self, bucket: usize, value: f64, witness: Option<Witness>) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let Some(bucket) = self.buckets.get_mut(bucket) else { return };
        bucket.count += 1;
        let Some(witness) = witness else { return };
        bucket.latest = Some(witness);
        if bucket.largest.is_none_or(|largest| largest.value <= value) {
            bucket.largest = Some(witness);
        }
    }

    fn collect(&mut self, shared: &Shared, now_unix_ns: u64) -> proto::HistogramDataPoint {
        proto::HistogramDataPoint {
            attributes: self.attributes.clone(),
            start_time_unix_nano: self.start_unix_ns,
            time_unix_nano: now_unix_ns,
            count: self.count,
            sum: Some(self.sum),
            bucket_counts: self.buckets.iter().map(|bucket| bucket.count).collect(),
            explicit_bounds: shared.bounds.clone(),
            exemplars: self.buckets.iter_mut().flat_map(Bucket::take_exemplars).collect(),
            min: Some(self.min),
            max: Some(self.max),
            ..proto::HistogramDataPoint::default()
        }
    }
}

impl Bucket {
    fn take_exemplars(&mut self) -> Vec<proto::Exemplar> {
        let (largest, latest) = (self.largest.take(), self.latest.take());
        let latest = latest.filter(|latest| largest.as_ref() != Some(latest));
        largest.into_iter().chain(latest).map(Witness::exemplar).collect()
    }
}

impl Witness {
    fn exemplar(self) -> proto::Exemplar {
        proto::Exemplar {
            time_unix_nano: self.time_unix_ns,
            span_id: self.span.span_id.0.to_vec(),
            trace_id: self.span.trace_id.0.to_vec(),
            value: Some(exemplar::Value::AsDouble(self.value)),
            ..proto::Exemplar::default()
        }
    }
}

fn series_key(sorted_attributes: &[KeyValue]) -> Vec<u8> {
    sorted_attributes.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

#[cfg(test)]
mod tests;
