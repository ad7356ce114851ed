//! Queries for numbers: series over intervals, and what is made of series.
//!
//! Reading order: [`MetricsParams`] (the intervals), [`observe`] (spans of a pipeline, batch by batch), [`group`] (which series a span
//! belongs to), [`fold`] (what becomes of its number), [`compare`], [`exemplars`], [`series`] (arithmetic, comparisons, ranks).

mod compare;
mod exemplars;
mod fold;
mod group;
mod observe;
mod series;

use std::sync::{Mutex, PoisonError};

use throughline_exec::Budget;

use super::{EvalError, invalid};
use crate::answer::{MetricSeries, MetricsAnswer};
use crate::ast::{Hint, Literal, MetricsExpr, MetricsFunction, SecondStage};
use crate::check::{EXEMPLARS, EXTRAPOLATE};
use crate::source::TraceSource;
use series::{Series, Side};

/// When a query for numbers is evaluated, and how much of it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsParams {
    /// The first interval begins here, nanoseconds since the epoch; the moment itself does not belong to it.
    pub start_ns: i64,
    /// The last interval ends here, or later if the steps do not end there; its end belongs to an interval.
    pub end_ns: i64,
    /// The length of an interval in nanoseconds; zero for one interval from start to end.
    pub step_ns: i64,
    /// The most exemplars.
    pub exemplars: usize,
    /// The most series; zero for as many as the budget allows.
    pub series_max: usize,
}

impl MetricsParams {
    /// A window as Tempo widens it for a range of steps: its start goes down to a multiple of the step and one step more, its end up to
    /// a multiple. A step that is not over yet is left out, for its number would still grow; so it is unless it is the only one.
    #[must_use]
    pub fn aligned(self, now_ns: i64) -> MetricsParams {
        let step_ns = self.step_ns;
        if step_ns <= 0 {
            return self;
        }
        let down = |ns: i64| ns.saturating_sub(ns.rem_euclid(step_ns));
        let start_ns = down(self.start_ns).saturating_sub(step_ns);
        let mut end_ns = down(self.end_ns.saturating_add(step_ns - 1));
        if end_ns > now_ns {
            end_ns = end_ns.min(down(now_ns).max(start_ns.saturating_add(step_ns)));
        }
        MetricsParams { start_ns, end_ns, ..self }
    }
}

/// The intervals of a query: each has its end and not its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intervals {
    start_ns: i64,
    end_ns: i64,
    step_ns: i64,
    count: usize,
}

impl Intervals {
    fn new(params: &MetricsParams, budget: &Budget) -> Result<Intervals, EvalError> {
        let length = params.end_ns.checked_sub(params.start_ns).filter(|length| *length > 0);
        let Some(length) = length else {
            return Err(invalid("the end of a metrics query must be after its start"));
        };
        let step_ns = if params.step_ns > 0 { params.step_ns } else { length };
        let count = u64::try_from(length).unwrap_or_default().div_ceil(u64::try_from(step_ns).unwrap_or(1));
        budget.check_steps(count)?;
        let count = usize::try_from(count).map_err(|_| invalid("the query has too many steps"))?;
        Ok(Intervals { start_ns: params.start_ns, end_ns: params.end_ns, step_ns, count })
    }

    /// The interval of a moment.
    fn of(&self, time_ns: i64) -> Option<usize> {
        if time_ns <= self.start_ns || time_ns > self.end_ns {
            return None;
        }
        usize::try_from((time_ns - self.start_ns - 1) / self.step_ns).ok().filter(|at| *at < self.count)
    }

    /// When an interval ends.
    fn end_of(&self, interval: usize) -> i64 {
        let steps = i64::try_from(interval + 1).unwrap_or(i64::MAX);
        self.start_ns.saturating_add(self.step_ns.saturating_mul(steps))
    }

    fn step_seconds(&self) -> f64 {
        self.step_ns as f64 / 1e9
    }
}

/// What the queries of an expression have in common.
#[derive(Clone, Copy)]
struct Context<'q> {
    intervals: Intervals,
    /// The most exemplars of each query.
    exemplars: usize,
    source: &'q dyn TraceSource,
    budget: &'q Budget,
    /// What the series will not tell.
    notes: &'q Mutex<Vec<String>>,
}

impl Context<'_> {
    fn note(&self, note: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

/// The series of a query.
pub(super) fn metrics(
    expr: &MetricsExpr,
    hints: &[Hint],
    params: &MetricsParams,
    source: &dyn TraceSource,
    budget: &Budget,
) -> Result<MetricsAnswer, EvalError> {
    let intervals = Intervals::new(params, budget)?;
    let exemplars = exemplars_wanted(hints, params.exemplars);
    let queries = count_queries(expr).max(1);
    let exemplars = if exemplars == 0 { 0 } else { (exemplars / queries).max(1) };
    let notes = Mutex::default();
    let context = Context { intervals, exemplars, source, budget, notes: &notes };
    let Side::Series(mut found) = eval(expr, &context)? else {
        return Err(invalid(format!("`{expr}` is a number, not a query")));
    };
    found.retain(|series| series.values.iter().any(|value| !value.is_nan()));
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let is_cut = params.series_max > 0 && found.len() > params.series_max;
    if is_cut {
        found.truncate(params.series_max);
    }
    let mut notes: Vec<String> = notes.into_inner().unwrap_or_else(PoisonError::into_inner);
    if hinted(hints, EXTRAPOLATE) == Some(&Literal::Bool(true)) {
        notes.push(format!("{EXTRAPOLATE}=true is not applied: the numbers are those of stored spans alone"));
    }
    notes.sort_unstable();
    notes.dedup();
    let series = found.into_iter().map(|series| shown(series, &intervals)).collect();
    Ok(MetricsAnswer { series, is_cut, notes })
}

/// What a hint says.
fn hinted<'q>(hints: &'q [Hint], name: &str) -> Option<&'q Literal> {
    hints.iter().find(|hint| hint.name == name).map(|hint| &hint.value)
}

/// `with (exemplars=…)` goes before what was asked for, which stays the most.
fn exemplars_wanted(hints: &[Hint], most: usize) -> usize {
    match hinted(hints, EXEMPLARS) {
        Some(Literal::Bool(false)) => 0,
        Some(Literal::Int(count)) => usize::try_from(*count).unwrap_or_default().min(most),
        _ => most,
    }
}

fn count_queries(expr: &MetricsExpr) -> usize {
    match expr {
        MetricsExpr::Query(_) => 1,
        MetricsExpr::Constant(_) => 0,
        MetricsExpr::Stage(staged) => count_queries(&staged.0),
        MetricsExpr::Math(math) => count_queries(&math.left) + count_queries(&math.right),
    }
}

fn shown(series: Series, intervals: &Intervals) -> MetricSeries {
    let samples = series.values.iter().enumerate().filter(|(_, value)| !value.is_nan());
    let samples: Vec<(i64, f64)> = samples.map(|(at, value)| (intervals.end_of(at), *value)).collect();
    let value_at = |time_ns: i64| intervals.of(time_ns).and_then(|at| series.values.get(at)).copied();
    let mut exemplars = series.exemplars;
    exemplars.retain_mut(|exemplar| match value_at(exemplar.time_ns) {
        Some(value) if !value.is_nan() => {
            // What only counts has no number of its own.
            exemplar.value = if exemplar.value.is_nan() { value } else { exemplar.value };
            true
        }
        _ => false,
    });
    MetricSeries { labels: series.labels, samples, exemplars }
}

/// Recursion is bounded by the parser.
fn eval(expr: &MetricsExpr, context: &Context<'_>) -> Result<Side, EvalError> {
    Ok(match expr {
        MetricsExpr::Constant(constant) => {
            let value = super::plan::constant(constant);
            let number = value.as_ref().and_then(|value| value.scalar()?.number());
            Side::Number(number.ok_or_else(|| invalid(format!("`{constant}` is no number")))?)
        }
        MetricsExpr::Query(query) => Side::Series(match &query.function {
            MetricsFunction::Grouped(grouped) => observe::grouped(&query.source, grouped, context)?,
            MetricsFunction::Compare { selection, top, window } => {
                compare::compare(&query.source, selection.as_ref(), *top, *window, context)?
            }
        }),
        MetricsExpr::Math(math) => {
            let (left, right) = (eval(&math.left, context)?, eval(&math.right, context)?);
            Side::Series(series::computed(math.op, left, right))
        }
        MetricsExpr::Stage(staged) => {
            let (input, stage) = &**staged;
            let Side::Series(found) = eval(input, context)? else {
                return Err(invalid(format!("`{input}` is a number, not a query")));
            };
            Side::Series(match stage {
                SecondStage::Rank(ranking, count) => {
                    series::ranked(*ranking, usize::try_from(*count).unwrap_or(usize::MAX), found)
                }
                SecondStage::Filter(op, right) => {
                    let value = super::plan::constant(right);
                    let number = value.as_ref().and_then(|value| fold::seconds(value.scalar()?));
                    let number = number.ok_or_else(|| invalid(format!("`{right}` is no number")))?;
                    series::filtered(*op, number, found)
                }
            })
        }
    })
}
