//! Takes checked series, samples, histograms and exemplars into a batch.

use std::collections::HashMap;

use throughline_model::batch::{
    ExemplarRow, MetricBatchBuilder, PointRow, ResourceIndex, ScopeIndex, SeriesRow,
};
use throughline_model::point::{MetricType, PointKind};
use throughline_model::{Batch, MetricBatch};

use super::labels::Labels;
use super::refusal::{NS_PER_MS, Refusal};
use crate::{DecodeContext, trace_context};

/// What a sender says of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata<'a> {
    pub metric_type: MetricType,
    pub help: &'a str,
    pub unit: &'a str,
}

/// A series of the batch.
#[derive(Clone, Copy)]
struct Known {
    row: u32,
    /// The latest time that it has here; what comes before it may be there twice.
    latest_ms: i64,
}

/// The batch that a request becomes.
pub(crate) struct Sink<'a> {
    builder: MetricBatchBuilder,
    context: &'a DecodeContext,
    series: HashMap<u128, Known>,
    services: HashMap<&'a str, ResourceIndex>,
    scope: ScopeIndex,
    /// Times and values so far, from the first sample on that is not later than the one before.
    times: Option<HashMap<(u32, i64), u64>>,
    points: Vec<(u32, i64, u64)>,
    attributes: Vec<u8>,
}

impl<'a> Sink<'a> {
    pub fn new(context: &'a DecodeContext, body_bytes: usize) -> Sink<'a> {
        let mut builder = MetricBatchBuilder::new();
        let scope = builder.add_scope("");
        Sink {
            builder,
            context,
            // A series takes a hundred bytes or more; the estimate is bounded by bytes that are here.
            series: HashMap::with_capacity((body_bytes / 128).min(4_096)),
            services: HashMap::new(),
            scope,
            times: None,
            points: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// The fingerprint of the series of this kind, which is registered with its first sample.
    pub fn series(&mut self, labels: &mut Labels<'a>, kind: PointKind, metadata: &Metadata<'_>) -> u128 {
        let fingerprint = labels.fingerprint(kind);
        if self.series.contains_key(&fingerprint) {
            return fingerprint;
        }
        let service = labels.service();
        let builder = &mut self.builder;
        let resource = *self.services.entry(service).or_insert_with(|| builder.add_resource(service, ""));
        labels.write_attributes(&mut self.attributes);
        let row = builder.push_series(&SeriesRow {
            resource,
            scope: self.scope,
            fingerprint: fingerprint.to_be_bytes(),
            metric: labels.metric(),
            kind,
            unit: metadata.unit,
            description: metadata.help,
            temporality: 0,
            monotonic: false,
            attributes: &self.attributes,
            metric_type: metadata.metric_type,
        });
        self.series.insert(fingerprint, Known { row, latest_ms: i64::MIN });
        fingerprint
    }

    /// Adds a sample, or a histogram with its payload.
    pub fn point(
        &mut self,
        series: u128,
        time_ms: i64,
        start_ms: i64,
        value: f64,
        payload: Option<&[u8]>,
    ) -> Result<(), Refusal> {
        let time = self.check_time(time_ms)?;
        let Some(known) = self.series.get_mut(&series) else { return Err(Refusal::NoSample) };
        let row = known.row;
        if time_ms > known.latest_ms {
            known.latest_ms = time_ms;
            if let Some(times) = &mut self.times {
                times.insert((row, time_ms), value.to_bits());
            }
        } else {
            let points = &self.points;
            let times = self.times.get_or_insert_with(|| {
                points.iter().map(|(row, time_ms, bits)| ((*row, *time_ms), *bits)).collect()
            });
            let bits = *times.entry((row, time_ms)).or_insert(value.to_bits());
            // An equal one is the same sample: it is written twice, and read once.
            if bits != value.to_bits() {
                return Err(Refusal::DuplicateTime { time_ms });
            }
        }
        if self.times.is_none() {
            self.points.push((row, time_ms, value.to_bits()));
        }
        let start_time = start_ms.saturating_mul(NS_PER_MS).max(0);
        self.builder.push_point(&PointRow { series: row, time, start_time, value, flags: 0, payload });
        Ok(())
    }

    /// Adds an exemplar, whose labels are checked.
    pub fn exemplar(
        &mut self,
        series: u128,
        labels: &Labels<'_>,
        time_ms: i64,
        value: f64,
    ) -> Result<(), Refusal> {
        let time = self.check_time(time_ms)?;
        let Some(known) = self.series.get(&series) else { return Err(Refusal::NoSample) };
        labels.write_attributes(&mut self.attributes);
        let found = trace_context::from_attributes(&self.attributes).unwrap_or_default();
        self.builder.push_exemplar(&ExemplarRow {
            series: known.row,
            time,
            value,
            trace_id: found.trace_id,
            span_id: found.span_id,
            trace_id_original: &found.original,
            attributes: &self.attributes,
        });
        Ok(())
    }

    /// Checks a time against the limits and converts it to nanoseconds.
    #[inline]
    fn check_time(&self, time_ms: i64) -> Result<i64, Refusal> {
        let (received_at, limits) = (self.context.received_at, &self.context.limits);
        let time = time_ms.saturating_mul(NS_PER_MS);
        if time > received_at.saturating_add(limits.future_ns) {
            return Err(Refusal::TooNew { time_ms, received_at, limit_ns: limits.future_ns });
        }
        if time < received_at.saturating_sub(limits.past_ns) {
            return Err(Refusal::TooOld { time_ms, received_at, limit_ns: limits.past_ns });
        }
        Ok(time)
    }

    pub fn finish(self) -> Batch {
        let batch: MetricBatch = self.builder.finish();
        Batch::Metrics(batch)
    }
}
