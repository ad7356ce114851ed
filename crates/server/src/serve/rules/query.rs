//! The queries of rules, over the store.

use std::sync::Arc;

use throughline_api::PrometheusContext;
use throughline_correlate::exemplar;
use throughline_exec::{Budget, Cancellation, Matcher, SelectRequest, SeriesSource as _};
use throughline_promql::QueryValue;
use throughline_promql::value::Sample as QuerySample;
use throughline_rules::sample::LastSample;
use throughline_rules::{Cited, FoundExemplar, Number, Querier, Sample};
use throughline_scan::metrics::MetricSource;
use throughline_store::{Clock, Store};

/// Asks a store.
pub struct StoreQuerier<'a> {
    store: &'a Store,
    prometheus: &'a PrometheusContext,
    clock: &'a Arc<dyn Clock>,
}

impl<'a> StoreQuerier<'a> {
    pub fn new(
        store: &'a Store,
        prometheus: &'a PrometheusContext,
        clock: &'a Arc<dyn Clock>,
    ) -> StoreQuerier<'a> {
        StoreQuerier { store, prometheus, clock }
    }

    fn source(&self) -> MetricSource {
        MetricSource::new(self.store.snapshot(), Arc::clone(&self.prometheus.index))
    }

    fn budget(&self) -> Budget {
        let clock = Arc::clone(self.clock);
        let deadline = clock.monotonic() + self.prometheus.timeout;
        Budget::new(self.prometheus.limits, Cancellation::new())
            .with_deadline(move || clock.monotonic() > deadline)
    }
}

impl Querier for StoreQuerier<'_> {
    fn instant(&self, expr: &str, time_ms: i64) -> Result<Vec<Sample>, String> {
        let parsed = throughline_promql::parse(expr).map_err(|error| error.to_string())?;
        let found = self
            .prometheus
            .engine
            .instant(expr, &parsed, time_ms, &self.source(), &self.budget())
            .map_err(|error| error.to_string())?;
        match found.value {
            QueryValue::Vector(samples) => Ok(samples
                .into_iter()
                .map(|found| {
                    let value = match found.sample {
                        QuerySample::Float(value) => Number::Float(value),
                        QuerySample::Histogram(value) => Number::Histogram(value),
                    };
                    Sample { labels: found.labels, time_ms, value, cites: Vec::new() }
                })
                .collect()),
            QueryValue::Scalar(value) => Ok(vec![Sample::float(Default::default(), time_ms, value)]),
            QueryValue::Text(_) | QueryValue::Matrix(_) => {
                Err("rule result is not a vector or scalar".to_owned())
            }
        }
    }

    fn exemplars(&self, expr: &str, start_ms: i64, end_ms: i64) -> Result<Vec<FoundExemplar>, String> {
        let parsed = throughline_promql::parse(expr).map_err(|error| error.to_string())?;
        let matchers: Vec<_> =
            exemplar::selectors(&parsed).into_iter().map(|selector| selector.matchers.clone()).collect();
        let found = self.source().exemplars(&matchers, start_ms, end_ms, &self.budget());
        let mut out = Vec::new();
        for series in found.map_err(|error| error.to_string())? {
            for found in series.exemplars {
                let Some(id) = found.record.trace_id else { continue };
                let span = found.record.span_id.map(|id| ("span_id".to_owned(), id.to_string()));
                let labels = [("trace_id".to_owned(), id.to_string())].into_iter().chain(span).collect();
                let cited = Cited { labels, time_ms: found.time_ms, value: found.value };
                out.push(FoundExemplar { series: series.labels.clone(), cited });
            }
        }
        Ok(out)
    }

    fn last_samples(
        &self,
        labels: &[(String, String)],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<LastSample>, String> {
        let matchers = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        let request = SelectRequest { matchers, start_ms, end_ms, ..SelectRequest::default() };
        let found = self.source().select(&request, &self.budget()).map_err(|error| error.to_string())?;
        let last = found.into_iter().filter_map(|series| {
            let (time_ms, value) = (*series.timestamps.last()?, *series.values.last()?);
            Some(LastSample { labels: series.labels, time_ms, value })
        });
        Ok(last.collect())
    }
}
