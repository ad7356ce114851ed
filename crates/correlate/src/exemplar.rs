//! Exemplars by question: of the series of an expression those that show a quantile, or the start of a spike.
//!
//! A panel shows a number; whoever looks at it wants one trace that behaves like it. The question is put in the panel's
//! own expression, so that nothing has to be said twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_exec::{Budget, Labels};
use throughline_model::link::LinkState;
use throughline_model::record::Exemplar;
use throughline_promql::Engine;
use throughline_promql::ast::{Expr, VectorSelector};
use throughline_promql::eval::QueryError;
use throughline_promql::value::{QueryValue, RangeSeries, Sample};
use throughline_scan::metrics::{FoundExemplar, MetricSource};
use throughline_store::{Error as StoreError, Snapshot};

/// Steps in which a spike is looked for: the resolution of a panel.
const STEPS: i64 = 120;

/// A step is no shorter than the interval that most senders export at.
const STEP_MS_MIN: i64 = 15_000;

/// Which exemplars are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pick {
    /// All, oldest first.
    All,
    /// Those nearest to a quantile of what the series measured in the window.
    Near(f64),
    /// The first since the expression rose most.
    First,
}

/// A question for exemplars.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The expression's text.
    pub text: &'a str,
    /// The expression.
    pub expr: &'a Expr,
    /// The first millisecond.
    pub start_ms: i64,
    /// The last millisecond.
    pub end_ms: i64,
    /// Which are wanted.
    pub pick: Pick,
    /// Only the best of each series.
    pub per_series: bool,
    /// At most so many.
    pub limit: usize,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExemplarError {
    /// The expression could not be evaluated.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the picked exemplars were measured against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The value that they are near to, or rise above.
    pub value: f64,
    /// Since when, milliseconds since the epoch, where a spike was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// How the value was found.
    pub how: String,
}

/// An exemplar with the Prometheus series that it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Picked {
    /// The labels of the series.
    pub labels: BTreeMap<String, String>,
    /// The exemplar, with the state of its link.
    #[serde(flatten)]
    pub exemplar: Exemplar,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What the exemplars were measured against; nothing where all were wanted or nothing was found to measure by.
    pub target: Option<Target>,
    /// How many exemplars the series have in the window.
    pub considered: usize,
    /// The picked ones, best first.
    pub exemplars: Vec<Picked>,
}

/// Answers a question.
pub fn ask(
    question: &Question<'_>,
    engine: &Engine,
    source: &MetricSource,
    snapshot: &Snapshot,
    budget: &Budget,
) -> Result<Answer, ExemplarError> {
    let selectors = selectors(question.expr);
    let matchers: Vec<_> = selectors.iter().map(|selector| selector.matchers.clone()).collect();
    let series =
        source.exemplars(&matchers, question.start_ms, question.end_ms, budget).map_err(QueryError::from)?;
    let mut found: Vec<(Labels, FoundExemplar)> = series
        .into_iter()
        .flat_map(|series| series.exemplars.into_iter().map(move |e| (series.labels.clone(), e)))
        .collect();
    let considered = found.len();
    let target = match question.pick {
        Pick::All => None,
        Pick::Near(quantile) => {
            Some(quantile_of(question, &selectors, quantile, &found, engine, source, budget)?)
        }
        Pick::First => onset(question, engine, source, budget)?,
    };
    rank(&mut found, question.pick, target.as_ref());
    if question.per_series {
        let mut seen: Vec<Labels> = Vec::new();
        found.retain(|(labels, _)| {
            // A histogram is one series to whoever asks, whichever bucket its exemplars fell into.
            let series = labels.without(&["le"]);
            let is_new = !seen.contains(&series);
            if is_new {
                seen.push(series);
            }
            is_new
        });
    }
    found.truncate(question.limit);
    let mut exemplars = Vec::with_capacity(found.len());
    for (labels, found) in found {
        let mut exemplar = found.record;
        exemplar.link = Some(match (&exemplar.trace_id, &exemplar.trace_id_original) {
            (Some(id), _) => snapshot.link_state(*id)?,
            (None, form) => LinkState::Malformed { form: form.clone().unwrap_or_default() },
        });
        let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        exemplars.push(Picked { labels, exemplar });
    }
    Ok(Answer { target, considered, exemplars })
}

/// The selectors of an expression.
pub fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    match expr {
        Expr::Vector(selector) => vec![selector],
        Expr::Matrix(matrix) => vec![&matrix.selector],
        other => other.children().into_iter().flat_map(selectors).collect(),
    }
}

/// Best first.
fn rank(found: &mut [(Labels, FoundExemplar)], pick: Pick, target: Option<&Target>) {
    let time = |found: &(Labels, FoundExemplar)| found.1.record.time;
    match (pick, target) {
        (Pick::Near(_), Some(target)) => {
            let distance = |found: &(Labels, FoundExemplar)| (found.1.value - target.value).abs();
            found.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(time(b).cmp(&time(a))));
        }
        (Pick::First, Some(Target { value, since_ms: Some(since), .. })) => {
            // Before the onset, and below what the expression rose above, an exemplar shows something else.
            let is_off = |found: &(Labels, FoundExemplar)| (found.1.time_ms < *since, found.1.value < *value);
            found.sort_by_key(|found| (is_off(found), time(found)));
        }
        _ => found.sort_by_key(time),
    }
}

/// The quantile of what the selected series measured in the window: out of their buckets, or out of the exemplars'
/// own values where there are no buckets.
fn quantile_of(
    question: &Question<'_>,
    selectors: &[&VectorSelector],
    quantile: f64,
    found: &[(Labels, FoundExemplar)],
    engine: &Engine,
    source: &MetricSource,
    budget: &Budget,
) -> Result<Target, ExemplarError> {
    let window_s = ((question.end_ms - question.start_ms) / 1_000).max(1);
    for selector in selectors {
        let plain = VectorSelector {
            offset: throughline_promql::ast::Duration::ZERO,
            at: None,
            ..(*selector).clone()
        };
        let plain = Expr::Vector(plain);
        for (grouping, what) in [("sum by (le)", "buckets"), ("sum", "native histograms")] {
            let text = format!("histogram_quantile({quantile}, {grouping} (increase({plain}[{window_s}s])))");
            let Ok(expr) = throughline_promql::parse(&text) else { continue };
            let result = engine.instant(&text, &expr, question.end_ms, source, budget)?;
            if let QueryValue::Vector(samples) = &result.value
                && let Some(Sample::Float(value)) = samples.first().map(|sample| &sample.sample)
                && value.is_finite()
            {
                let how = format!("quantile {quantile} of the {what} of {plain} in the window");
                return Ok(Target { value: *value, since_ms: None, how });
            }
        }
    }
    let mut values: Vec<f64> = found.iter().map(|(_, exemplar)| exemplar.value).collect();
    values.sort_by(f64::total_cmp);
    let at = (quantile.clamp(0.0, 1.0) * values.len().saturating_sub(1) as f64).round() as usize;
    let how =
        format!("quantile {quantile} of the exemplars' own values: the series have no buckets to tell it");
    Ok(Target { value: values.get(at).copied().unwrap_or_default(), since_ms: None, how })
}

/// Where the expression rose most: the first step above the middle between its median and its maximum.
fn onset(
    question: &Question<'_>,
    engine: &Engine,
    source: &MetricSource,
    budget: &Budget,
) -> Result<Option<Target>, ExemplarError> {
    let step_ms = ((question.end_ms - question.start_ms) / STEPS).max(STEP_MS_MIN);
    let steps = (question.start_ms, question.end_ms, step_ms);
    let result = engine.range(question.text, question.expr, steps, source, budget)?;
    let QueryValue::Matrix(matrix) = &result.value else { return Ok(None) };
    let rises = matrix.iter().filter_map(|series| rise(series).map(|rise| (rise, series)));
    let best = rises.max_by(|a, b| a.0.factor.total_cmp(&b.0.factor));
    Ok(best.map(|(rise, series)| Target {
        value: rise.threshold,
        since_ms: Some(rise.since_ms - step_ms),
        how: format!("{} rose from {} to {} here", series.labels, rise.median, rise.max),
    }))
}

struct Rise {
    factor: f64,
    median: f64,
    max: f64,
    threshold: f64,
    since_ms: i64,
}

fn rise(series: &RangeSeries) -> Option<Rise> {
    let mut values: Vec<f64> =
        series.floats.iter().map(|(_, value)| *value).filter(|v| v.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let (median, max) = (*values.get(values.len() / 2)?, *values.last()?);
    if max <= median {
        return None;
    }
    let threshold = f64::midpoint(median, max);
    let since_ms = series.floats.iter().find(|(_, value)| *value > threshold)?.0;
    Some(Rise {
        factor: (max - median) / median.abs().max(f64::MIN_POSITIVE),
        median,
        max,
        threshold,
        since_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_begins_at_its_first_step_above_the_middle() {
        let floats = vec![(0, 1.0), (15, 1.2), (30, 1.0), (45, 6.0), (60, 9.0), (75, 1.0)];
        let series = RangeSeries { labels: Labels::empty(), floats, histograms: Vec::new() };
        let rise = rise(&series).unwrap();
        assert_eq!((rise.since_ms, rise.max), (45, 9.0));
        let flat = RangeSeries { floats: vec![(0, 1.0), (15, 1.0)], ..RangeSeries::default() };
        assert!(super::rise(&flat).is_none());
    }
}
