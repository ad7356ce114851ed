//! Spikes: where a quantile of a latency histogram rose clearly over its quiet level.
//!
//! 1. Histogram series are grouped by service and metric, their increases summed into steps.
//! 2. Each step has a quantile. The quiet level is the lower quartile of the steps' quantiles: it stays quiet as
//!    long as the spike covers less than three quarters of the range.
//! 3. The spike is the run of steps around the highest one that stay above half of its height over the quiet level,
//!    with at most one step below in between.
//! 4. Before and after are quantiles of the merged distributions, outside and inside the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_model::point::PointKind;
use throughline_model::record::{Point, Series};
use throughline_store::TimeRange;

use crate::distribution::{Distribution, increases};

/// The narrowest step: exporters send every few seconds at most, and fewer values say little about a p99.
pub const STEP_MIN_NS: i64 = 5_000_000_000;
/// The most steps in a range; longer ranges have wider steps.
pub const STEPS_MAX: i64 = 720;
/// A shift below this factor is noise.
pub const FACTOR_MIN: f64 = 1.5;
/// A shift of fewer milliseconds than this is noise.
pub const SHIFT_MS_MIN: f64 = 5.0;
/// A spike of fewer values than this is chance.
pub const VALUES_MIN: u64 = 5;
/// How many steps an answer carries, the newest.
pub const STEPS_SHOWN_MAX: usize = 120;

/// A series and its points, as a snapshot hands them out.
type SeriesPoints = (Series, Vec<Point>);

/// One step of a quantile over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its start, nanoseconds since the epoch.
    pub time: i64,
    /// The quantile, milliseconds.
    pub value_ms: f64,
    /// How many values it holds.
    pub count: u64,
}

/// A quantile of one service's metric over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The service.
    pub service: String,
    /// The metric.
    pub metric: String,
    /// The metric's own unit.
    pub unit: String,
    /// Which quantile, 0 to 1.
    pub quantile: f64,
    /// How wide a step is, nanoseconds.
    pub step_ns: i64,
    /// The steps that hold values, by time.
    pub steps: Vec<Step>,
}

/// A quantile that rose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spike {
    /// The quantile over time, at most [`STEPS_SHOWN_MAX`] steps.
    #[serde(flatten)]
    pub curve: Curve,
    /// Start of the spike, nanoseconds since the epoch.
    pub start: i64,
    /// End of the spike's last step, nanoseconds since the epoch.
    pub end: i64,
    /// Whether the last step that there is still belongs to the spike.
    pub ongoing: bool,
    /// The quantile outside of it, milliseconds.
    pub before_ms: f64,
    /// The quantile within it, milliseconds.
    pub after_ms: f64,
    /// How many times as high.
    pub factor: f64,
    /// Start of the quiet time before it, nanoseconds since the epoch.
    pub quiet_start: i64,
    /// How many values lie within it.
    pub count: u64,
}

impl Spike {
    /// How clear the shift is: milliseconds weighed by the order of magnitude of the factor. A jump from 0.2 to 10 ms
    /// does not hide one from 50 to 600.
    pub fn score(&self) -> f64 {
        (self.after_ms - self.before_ms) * self.factor.max(1.0).ln()
    }
}

/// What is known of one service's metric: its curve, and the spike if it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The whole curve.
    pub curve: Curve,
    /// The spike in it.
    pub spike: Option<Spike>,
}

/// How many milliseconds one unit of a metric is; none where it does not measure time.
pub fn unit_ms(unit: &str, metric: &str) -> Option<f64> {
    match unit {
        "s" | "seconds" | "second" => Some(1e3),
        "ms" | "milliseconds" | "millisecond" => Some(1.0),
        "us" | "µs" | "microseconds" => Some(1e-3),
        "ns" | "nanoseconds" => Some(1e-6),
        "" if metric.ends_with("_seconds") => Some(1e3),
        "" if metric.ends_with("_ms") || metric.ends_with("_milliseconds") => Some(1.0),
        // OpenTelemetry's older HTTP and RPC metrics were in milliseconds, some without saying so.
        "" if metric.ends_with(".duration") || metric.ends_with("latency") => Some(1.0),
        _ => None,
    }
}

/// Whether a series is a histogram of times.
pub fn is_latency(series: &Series) -> bool {
    series.kind == PointKind::Histogram && unit_ms(&series.unit, &series.metric).is_some()
}

/// Looks at every service's latency metrics: the clearest spike first, those without one at the end.
pub fn find(points: &[SeriesPoints], range: TimeRange, quantile: f64) -> Vec<Finding> {
    let mut groups: BTreeMap<(&str, &str), Vec<&SeriesPoints>> = BTreeMap::new();
    for entry in points.iter().filter(|(series, _)| is_latency(series)) {
        groups.entry((&entry.0.service, &entry.0.metric)).or_default().push(entry);
    }
    let mut findings: Vec<Finding> =
        groups.values().filter_map(|group| examine(group, range, quantile)).collect();
    let score = |finding: &Finding| finding.spike.as_ref().map_or(0.0, Spike::score);
    findings.sort_by(|a, b| score(b).total_cmp(&score(a)));
    findings
}

fn examine(group: &[&SeriesPoints], range: TimeRange, quantile: f64) -> Option<Finding> {
    let (series, _) = group.first()?;
    let scale = unit_ms(&series.unit, &series.metric)?;
    let added: Vec<(i64, Distribution)> =
        group.iter().flat_map(|(series, points)| increases(series, points, range.start)).collect();
    let step_ns = step_width(group, &added);
    let mut steps: BTreeMap<i64, Distribution> = BTreeMap::new();
    for (time, distribution) in &added {
        // A point holds what came before its time, so a point on the border belongs to the step that ends there.
        steps.entry((time - 1).div_euclid(step_ns)).or_default().merge(distribution);
    }
    let shown: Vec<Step> = steps
        .iter()
        .filter_map(|(index, distribution)| {
            let value_ms = distribution.quantile(quantile)? * scale;
            Some(Step { time: index * step_ns, value_ms, count: distribution.count() })
        })
        .collect();
    let curve = Curve {
        service: series.service.clone(),
        metric: series.metric.clone(),
        unit: series.unit.clone(),
        quantile,
        step_ns,
        steps: shown,
    };
    let distributions: Vec<&Distribution> = steps.values().filter(|d| d.count() > 0).collect();
    let spike = spike_of(&curve, &distributions, scale);
    (!curve.steps.is_empty()).then_some(Finding { curve, spike })
}

/// The widest of: the minimum, the usual distance between two points of a series, and what keeps the steps few.
fn step_width(group: &[&SeriesPoints], added: &[(i64, Distribution)]) -> i64 {
    let mut distances: Vec<i64> = group
        .iter()
        .flat_map(|(_, points)| points.windows(2).map(|pair| pair[1].time - pair[0].time))
        .filter(|distance| *distance > 0)
        .collect();
    distances.sort_unstable();
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(0);
    let first = added.iter().map(|(time, _)| *time).min().unwrap_or(0);
    let last = added.iter().map(|(time, _)| *time).max().unwrap_or(0);
    let seconds = |ns: i64| ns.div_euclid(1_000_000_000) * 1_000_000_000;
    STEP_MIN_NS.max(seconds(usual)).max(seconds((last - first) / STEPS_MAX))
}

fn spike_of(curve: &Curve, distributions: &[&Distribution], scale: f64) -> Option<Spike> {
    let steps = &curve.steps;
    let mut sorted: Vec<f64> = steps.iter().map(|step| step.value_ms).collect();
    sorted.sort_by(f64::total_cmp);
    let quiet = *sorted.get(sorted.len() / 4)?;
    let (peak, highest) = steps.iter().enumerate().max_by(|a, b| a.1.value_ms.total_cmp(&b.1.value_ms))?;
    let middle = quiet + (highest.value_ms - quiet) / 2.0;
    if highest.value_ms < quiet * FACTOR_MIN || steps.len() < 2 {
        return None;
    }
    let above = |index: usize| steps.get(index).is_some_and(|step| step.value_ms >= middle);
    let mut first = peak;
    while first > 0 && (above(first - 1) || (first > 1 && above(first - 2))) {
        first -= 1;
    }
    let mut last = peak;
    while last + 1 < steps.len() && (above(last + 1) || above(last + 2)) {
        last += 1;
    }
    let (mut outside, mut inside) = (Distribution::default(), Distribution::default());
    for (index, distribution) in distributions.iter().enumerate() {
        let side = if (first..=last).contains(&index) { &mut inside } else { &mut outside };
        if side.count() == 0 || (first..=last).contains(&index) || !above(index) {
            side.merge(distribution);
        }
    }
    let before_ms = outside.quantile(curve.quantile)? * scale;
    let after_ms = inside.quantile(curve.quantile)? * scale;
    let factor = after_ms / before_ms.max(f64::MIN_POSITIVE);
    if factor < FACTOR_MIN || after_ms - before_ms < SHIFT_MS_MIN || inside.count() < VALUES_MIN {
        return None;
    }
    let shown = steps.len().saturating_sub(STEPS_SHOWN_MAX);
    Some(Spike {
        start: steps.get(first)?.time,
        end: steps.get(last)?.time + curve.step_ns,
        ongoing: last + 1 == steps.len(),
        before_ms,
        after_ms,
        factor,
        quiet_start: steps.first()?.time,
        count: inside.count(),
        curve: Curve { steps: steps.get(shown..).unwrap_or_default().to_vec(), ..curve.clone() },
    })
}

#[cfg(test)]
mod tests;
