//! `stats` of an answer: how many samples a query looked at, and how long its parts took.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use throughline_promql::QueryResult;
use throughline_store::Clock;

use super::Prometheus;
use super::params::Params;

/// Which statistics are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stats {
    /// None.
    None,
    /// Totals.
    Totals,
    /// Totals, and samples step by step.
    All,
}

impl Stats {
    pub(super) fn of(params: &Params) -> Stats {
        match params.text("stats").unwrap_or_default() {
            "" => Stats::None,
            "all" => Stats::All,
            _ => Stats::Totals,
        }
    }
}

/// What Prometheus says of values of `stats` that are none.
pub(super) fn deprecated_stats(params: &Params) -> Option<String> {
    let text = params.text("stats").filter(|text| !matches!(*text, "" | "true" | "all"))?;
    Some(format!(
        "value {text:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""
    ))
}

/// Samples; `grid` is the first step and the distance of steps, milliseconds.
pub(super) fn samples(result: &QueryResult, stats: Stats, (start_ms, step_ms): (i64, i64)) -> Json {
    let counts = result.counts.clone().unwrap_or_default();
    let mut out = json!({
        "totalQueryableSamples": counts.queryable_total(),
        "samplesRead": counts.read_total(),
        "peakSamples": result.samples_peak,
    });
    if let (Stats::All, Json::Object(map)) = (stats, &mut out) {
        let by_step = |counts: &[u64]| -> Json {
            let at = |step: usize| start_ms.saturating_add(step_ms.saturating_mul(step as i64)) as f64 / 1e3;
            counts.iter().enumerate().map(|(step, count)| json!([at(step), count])).collect()
        };
        map.insert("totalQueryableSamplesPerStep".to_owned(), by_step(&counts.queryable));
        map.insert("samplesReadPerStep".to_owned(), by_step(&counts.read));
    }
    out
}

/// When a query came, by the clock.
pub(super) struct Started {
    clock: Arc<dyn Clock>,
    at: i64,
}

/// When a query's turn came.
pub(super) struct Evaluating {
    clock: Arc<dyn Clock>,
    queued_s: f64,
    at: i64,
}

impl Started {
    pub(super) fn now(prometheus: &Prometheus) -> Started {
        Started { clock: Arc::clone(&prometheus.clock), at: prometheus.clock.now() }
    }

    /// The query's turn has come.
    pub(super) fn evaluating(self) -> Evaluating {
        let at = self.clock.now();
        Evaluating { clock: self.clock, queued_s: seconds(at - self.at), at }
    }
}

impl Evaluating {
    /// The query has its value. Preparation and sorting are part of the evaluation here.
    pub(super) fn evaluated(self) -> Json {
        let evaluated_s = seconds(self.clock.now() - self.at);
        json!({
            "evalTotalTime": evaluated_s,
            "resultSortTime": 0,
            "queryPreparationTime": 0,
            "innerEvalTime": evaluated_s,
            "execQueueTime": self.queued_s,
            "execTotalTime": self.queued_s + evaluated_s,
        })
    }
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}
