//! `info`: adds the labels of info metrics (`target_info`) to series of the same instance.
//!
//! Base and info series belong together if their `job` and `instance` are equal. What info series there are is
//! asked for as of the time at which the base series are read, `offset` and `@` included.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use throughline_exec::{Labels, METRIC_NAME, MatchOp, Matcher, SelectHints, SeriesSamples, is_stale};

use super::argument;
use crate::ast::{Call, Expr};
use crate::eval::{Evaluator, QueryError, merge_equal};
use crate::value::{Column, Sample, StepSeries, Steps};

/// The labels by which base and info series belong together.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// The info metric, unless another is asked for.
const INFO_METRIC: &str = "target_info";

/// What an info metric is called, if the query says only what it is not called.
const INFO_PATTERN: &str = ".+_info";

/// The most identifying values that a source is asked for: with more, filtering here is cheaper.
const VALUES_MAX: usize = 500;

/// The second argument of a call.
struct Selection {
    /// On the name of info metrics.
    names: Vec<Matcher>,
    /// On other labels; only these labels are added, if there are any.
    data: Vec<Matcher>,
}

impl Selection {
    fn of(call: &Call) -> Result<Selection, QueryError> {
        let given = match call.args.get(1).map(Expr::unparenthesized) {
            Some(Expr::Vector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, data): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|matcher| matcher.name() == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, INFO_METRIC));
        } else if !names.iter().any(|name| matches!(name.op(), MatchOp::Equal | MatchOp::Regex)) {
            names.push(Matcher::new(METRIC_NAME, MatchOp::Regex, INFO_PATTERN)?);
        }
        Ok(Selection { names, data })
    }

    /// Whether a base series is itself an info series of this query.
    fn names(&self, labels: &Labels) -> bool {
        self.names.iter().all(|matcher| matcher.matches(labels.metric_name()))
    }

    fn takes(&self, label: &str) -> bool {
        self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == label)
    }

    /// Whether a base series without info series is left out.
    fn requires_info(&self) -> bool {
        self.data.iter().any(|matcher| !matcher.matches(""))
    }
}

pub(super) fn info(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let base_expr = argument(call, 0)?;
    let base = evaluator.vector(base_expr, steps)?;
    let selection = Selection::of(call)?;
    let times = reference_times(evaluator, base_expr, steps)?;
    let infos = info_series(evaluator, &selection, &base, &times)?;
    evaluator.release(&base);
    let mut found = Vec::with_capacity(base.len());
    for series in base {
        evaluator.budget.check()?;
        if selection.names(&series.labels) {
            found.push(series);
        } else {
            enrich(&selection, series, &infos, &mut found)?;
        }
    }
    evaluator.hold(&found)?;
    merge_equal(found)
}

/// At each step the time at which the first selector of the expression reads.
fn reference_times(evaluator: &Evaluator<'_>, expr: &Expr, steps: Steps) -> Result<Vec<i64>, QueryError> {
    let mut times: Vec<i64> = steps.times().collect();
    let mut next = Some(expr);
    while let Some(expr) = next {
        let shift = match expr {
            Expr::Vector(selector) => Some((&selector.offset, selector.at)),
            Expr::Matrix(matrix) => Some((&matrix.selector.offset, matrix.selector.at)),
            Expr::Subquery(subquery) => Some((&subquery.offset, subquery.at)),
            _ => None,
        };
        if let Some((offset, at)) = shift {
            let shift = evaluator.time_shift(offset, at)?;
            times.iter_mut().for_each(|time| *time = shift.apply(*time));
        }
        next = expr.children().into_iter().find(|child| has_selector(child));
    }
    Ok(times)
}

fn has_selector(expr: &Expr) -> bool {
    matches!(expr, Expr::Vector(_) | Expr::Matrix(_)) || expr.children().into_iter().any(has_selector)
}

/// One info series: which of its samples counts at each step, if any.
struct InfoSeries {
    labels: Labels,
    /// The time of the sample.
    sample_ms: Vec<Option<i64>>,
}

/// Info series by the values of the identifying labels.
type InfoSeriesByInstance = HashMap<[String; 2], Vec<InfoSeries>>;

fn instance_of(labels: &Labels) -> [String; 2] {
    IDENTIFYING.map(|name| labels.get(name).to_owned())
}

fn info_series(
    evaluator: &Evaluator<'_>,
    selection: &Selection,
    base: &[StepSeries],
    times: &[i64],
) -> Result<InfoSeriesByInstance, QueryError> {
    let enriched = base.iter().filter(|series| !selection.names(&series.labels));
    let instances: BTreeSet<[String; 2]> = enriched
        .map(|series| instance_of(&series.labels))
        .filter(|instance| instance.iter().any(|value| !value.is_empty()))
        .collect();
    let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
        return Ok(HashMap::new());
    };
    if instances.is_empty() {
        return Ok(HashMap::new());
    }
    let mut matchers: Vec<Matcher> = selection.names.iter().chain(&selection.data).cloned().collect();
    for (at, name) in IDENTIFYING.iter().enumerate() {
        let values: BTreeSet<&str> = instances.iter().map(|instance| instance[at].as_str()).collect();
        if values.len() <= VALUES_MAX {
            let escaped: Vec<String> = values.into_iter().map(escape).collect();
            matchers.push(Matcher::new(*name, MatchOp::Regex, escaped.join("|"))?);
        }
    }
    let lookback = evaluator.options.lookback_ms;
    let window = (first.saturating_sub(lookback).saturating_add(1), *last);
    let mut found: InfoSeriesByInstance = HashMap::new();
    for samples in evaluator.fetch(&matchers, window, SelectHints::default())? {
        let instance = instance_of(&samples.labels);
        let sample_ms = sample_times(&samples, times, lookback)?;
        if instances.contains(&instance) {
            found.entry(instance).or_default().push(InfoSeries { labels: samples.labels, sample_ms });
        }
    }
    Ok(found)
}

/// A text as an expression that matches just it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if r"\.+*?()|[]{}^$#&-~".contains(char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

fn sample_times(
    samples: &SeriesSamples,
    times: &[i64],
    lookback_ms: i64,
) -> Result<Vec<Option<i64>>, QueryError> {
    let sample_ms = |time: &i64| {
        let oldest = time.saturating_sub(lookback_ms);
        let histogram_at = samples.histograms.partition_point(|pair| pair.0 <= *time);
        let histogram = histogram_at.checked_sub(1).map(|at| &samples.histograms[at]);
        let float_at = samples.timestamps.partition_point(|at| at <= time).checked_sub(1);
        let float_ms = float_at.map(|at| samples.timestamps[at]).filter(|at| *at > oldest);
        let histogram = histogram.filter(|pair| pair.0 > oldest && Some(pair.0) > float_ms);
        if histogram.is_some_and(|pair| !pair.1.is_stale()) {
            let labels = &samples.labels;
            let reason = format!("this should be an info metric, with float samples: {labels}");
            return Err(QueryError::invalid(reason));
        }
        let fresh = float_at.is_some_and(|at| !is_stale(samples.values[at]));
        Ok(float_ms.filter(|_| fresh && histogram.is_none()))
    };
    times.iter().map(sample_ms).collect()
}

/// Adds the labels of info series; where these change from step to step, the result is several series.
fn enrich(
    selection: &Selection,
    series: StepSeries,
    infos: &InfoSeriesByInstance,
    found: &mut Vec<StepSeries>,
) -> Result<(), QueryError> {
    let Some(candidates) = infos.get(&instance_of(&series.labels)) else {
        if !selection.requires_info() {
            found.push(series);
        }
        return Ok(());
    };
    let steps = series.column.values.len();
    let mut columns: Vec<(Vec<usize>, Column)> = Vec::new();
    let samples: Vec<(usize, Sample)> = series.column.samples().collect();
    for (step, sample) in samples {
        let chosen = choose(candidates, step)?;
        if chosen.is_empty() && selection.requires_info() {
            continue;
        }
        let at = columns.iter().position(|column| column.0 == chosen).unwrap_or_else(|| {
            columns.push((chosen, Column::empty(steps)));
            columns.len() - 1
        });
        columns[at].1.set(step, sample);
    }
    for (chosen, column) in columns {
        let labels = with_info(selection, &series.labels, chosen.iter().map(|at| &candidates[*at]))?;
        found.push(StepSeries { labels, drop_name: series.drop_name, column });
    }
    Ok(())
}

/// Of each info metric the series with the youngest sample.
fn choose(candidates: &[InfoSeries], step: usize) -> Result<Vec<usize>, QueryError> {
    let mut youngest: BTreeMap<&str, (i64, usize)> = BTreeMap::new();
    for (at, info) in candidates.iter().enumerate() {
        let Some(sample_ms) = info.sample_ms[step] else { continue };
        let best = youngest.entry(info.labels.metric_name()).or_insert((sample_ms, at));
        if best.1 != at && best.0 == sample_ms {
            let existing = &candidates[best.1].labels;
            return Err(QueryError::invalid(format!(
                "found duplicate series for info metric: existing {existing} @ {sample_ms}, new {} @ {sample_ms}",
                info.labels
            )));
        }
        if sample_ms > best.0 {
            *best = (sample_ms, at);
        }
    }
    let mut chosen: Vec<usize> = youngest.into_values().map(|(_, at)| at).collect();
    chosen.sort_unstable();
    Ok(chosen)
}

fn with_info<'a>(
    selection: &Selection,
    base: &Labels,
    infos: impl Iterator<Item = &'a InfoSeries>,
) -> Result<Labels, QueryError> {
    let mut builder = base.to_builder();
    for info in infos {
        for (name, value) in info.labels.iter() {
            let identifies = name == METRIC_NAME || IDENTIFYING.contains(&name);
            if identifies || base.has(name) || !selection.takes(name) {
                continue;
            }
            let before = builder.get(name);
            if !before.is_empty() && before != value {
                return Err(QueryError::invalid(format!("conflicting label: {name}")));
            }
            builder.set(name, value);
        }
    }
    Ok(builder.build())
}
