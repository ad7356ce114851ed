//! From a tree and a source of series to a value.
//!
//! Evaluation goes series by series, not step by step: a selector reads its series once for the whole range of the
//! query, and every operator maps columns (the samples of one series at all steps) to columns. What does not depend
//! on the step, because `@` fixes its time, is evaluated at one step and repeated.

mod counts;
mod extension;
mod finish;
mod hints;
mod invariant;
mod parallel;
mod select;

use std::collections::HashSet;

use throughline_exec::{Budget, ExecError, LabelsMap, MatcherError, SeriesSource};

use crate::annotations::Annotations;
use crate::ast::{Expr, Span, ValueType};
use crate::duration::{DurationError, Surroundings};
use crate::value::{Column, QueryResult, StepSeries, StepSet, Steps, Value};
use crate::{aggregate, binary, functions};

pub use counts::SampleCounts;
pub(crate) use extension::interpolated;
pub(crate) use parallel::{map_parallel, map_parallel_with};
pub(crate) use select::{RangeInput, SelectorOutput, TimeShift};

/// How far back a selector looks for a sample, unless told otherwise: Prometheus's default.
const LOOKBACK_MS: i64 = 300_000;

/// The step of subqueries without one, unless told otherwise: Prometheus's default evaluation interval.
const SUBQUERY_STEP_MS: i64 = 60_000;

/// What is set for all queries.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How far back a selector looks for a sample, in milliseconds.
    pub lookback_ms: i64,
    /// The step of subqueries without one, in milliseconds.
    pub subquery_step_ms: i64,
    /// On how many threads one query may be evaluated.
    pub threads: usize,
    /// Whether samples are counted as Prometheus counts them, which takes a look at each of them.
    pub count_samples: bool,
}

impl Default for Options {
    fn default() -> Options {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            lookback_ms: LOOKBACK_MS,
            subquery_step_ms: SUBQUERY_STEP_MS,
            threads,
            count_samples: false,
        }
    }
}

/// Why a query has no value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueryError {
    /// A limit, a cancellation, or the source.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A duration that is computed comes to nothing usable.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// A regular expression.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// Two series of a result are told apart by nothing.
    #[error("vector cannot contain metrics with the same labelset")]
    DuplicateSeries,
    /// Both sides of an operator have several series for one match group.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
         [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    ManyToMany {
        /// The labels that are compared.
        group: String,
        /// `left` or `right`.
        side: &'static str,
        /// One series.
        first: String,
        /// Another.
        second: String,
    },
    /// Several series meet one.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ManyToOne,
    /// Several series would become one.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupNotUnique,
    /// A value that a function or an aggregation cannot work with.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
}

impl QueryError {
    pub(crate) fn invalid(message: impl Into<String>) -> QueryError {
        QueryError::Invalid { message: message.into() }
    }
}

/// Evaluates queries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Engine {
    /// What is set for all queries.
    pub options: Options,
}

impl Engine {
    /// Evaluates `expr`, which was parsed from `text`, at one time.
    pub fn instant(
        &self,
        text: &str,
        expr: &Expr,
        time_ms: i64,
        source: &dyn SeriesSource,
        budget: &Budget,
    ) -> Result<QueryResult, QueryError> {
        let evaluator = Evaluator {
            text,
            source,
            budget,
            options: self.options,
            notes: Annotations::default(),
            counted: hints::counted_selectors(expr),
            counting: self.options.count_samples.then(|| counts::Counting::new(1)),
            start_ms: time_ms,
            end_ms: time_ms,
            step_ms: 0,
        };
        evaluator.instant(expr)
    }

    /// Evaluates `expr`, which was parsed from `text`, from `start_ms` to `end_ms` every `step_ms`.
    pub fn range(
        &self,
        text: &str,
        expr: &Expr,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        source: &dyn SeriesSource,
        budget: &Budget,
    ) -> Result<QueryResult, QueryError> {
        let step_ms = step_ms.max(1);
        let steps = u64::try_from(end_ms.saturating_sub(start_ms) / step_ms).map_or(0, |last| last + 1);
        budget.check_steps(steps)?;
        let evaluator = Evaluator {
            text,
            source,
            budget,
            options: self.options,
            notes: Annotations::default(),
            counted: hints::counted_selectors(expr),
            counting: self.options.count_samples.then(|| counts::Counting::new(steps as usize)),
            start_ms,
            end_ms,
            step_ms,
        };
        evaluator.range(expr)
    }
}

/// One query being evaluated.
pub(crate) struct Evaluator<'a> {
    pub text: &'a str,
    pub source: &'a dyn SeriesSource,
    pub budget: &'a Budget,
    pub options: Options,
    pub notes: Annotations,
    /// Selectors of which only counts and sums of histograms are asked for.
    pub counted: HashSet<Span>,
    counting: Option<counts::Counting>,
    pub start_ms: i64,
    pub end_ms: i64,
    /// Zero in an instant query.
    pub step_ms: i64,
}

impl Evaluator<'_> {
    pub(crate) fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            query: self.text,
            step_ms: self.step_ms,
            range_ms: self.end_ms.saturating_sub(self.start_ms),
        }
    }

    /// Evaluates anything but a range vector.
    pub(crate) fn eval(&self, expr: &Expr, steps: Steps) -> Result<Value, QueryError> {
        self.budget.check()?;
        self.check_room(1, steps)?;
        if steps.count > 1 && invariant::is_worth_once(expr) {
            let once = self.counted_for_all(|| self.eval_at(expr, Steps::single(steps.start_ms)))?;
            return Ok(repeat(once, steps.count));
        }
        self.eval_at(expr, steps)
    }

    fn eval_at(&self, expr: &Expr, steps: Steps) -> Result<Value, QueryError> {
        match expr {
            Expr::Number(number) => Ok(Value::Scalar(vec![number.value; steps.count])),
            Expr::Text(text) => Ok(Value::Text(text.text().into_owned())),
            Expr::Paren(paren) => self.eval(&paren.expr, steps),
            Expr::Vector(selector) => self.select(selector, steps, SelectorOutput::Value).map(Value::Vector),
            Expr::Call(call) => functions::call(self, call, steps),
            Expr::Aggregate(aggregate) => aggregate::aggregate(self, aggregate, steps).map(Value::Vector),
            Expr::Binary(binary) => binary::binary(self, binary, steps),
            Expr::Unary(unary) => binary::unary(self, unary, steps),
            Expr::Matrix(_) | Expr::Subquery(_) => {
                Err(QueryError::invalid("a range vector cannot be evaluated at single steps"))
            }
        }
    }

    pub(crate) fn vector(&self, expr: &Expr, steps: Steps) -> Result<Vec<StepSeries>, QueryError> {
        match self.eval(expr, steps)? {
            Value::Vector(series) => Ok(series),
            _ => Err(wrong_type(expr, ValueType::Vector)),
        }
    }

    pub(crate) fn scalar(&self, expr: &Expr, steps: Steps) -> Result<Vec<f64>, QueryError> {
        match self.eval(expr, steps)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(wrong_type(expr, ValueType::Scalar)),
        }
    }

    pub(crate) fn string(&self, expr: &Expr) -> Result<String, QueryError> {
        match self.eval(expr, Steps::single(self.start_ms))? {
            Value::Text(text) => Ok(text),
            _ => Err(wrong_type(expr, ValueType::Text)),
        }
    }

    /// An argument that names a label: any text that is UTF-8 and not empty.
    pub(crate) fn label_name(&self, expr: &Expr) -> Result<String, QueryError> {
        let value = match expr.unparenthesized() {
            Expr::Text(text) => text.value.clone(),
            other => return Err(wrong_type(other, ValueType::Text)),
        };
        match String::from_utf8(value) {
            Ok(name) if !name.is_empty() => Ok(name),
            _ => Err(QueryError::invalid(format!("invalid label name {}", expr.unparenthesized()))),
        }
    }

    /// Counts a result as held.
    pub(crate) fn hold(&self, series: &[StepSeries]) -> Result<u64, QueryError> {
        let weight = series.iter().map(|series| series.column.weight()).sum();
        self.budget.take_samples(weight)?;
        self.budget.take_bytes(bytes(series))?;
        Ok(weight)
    }

    /// Fails if there is no memory for so many more columns, before any of them is made.
    pub(crate) fn check_room(&self, series: usize, steps: Steps) -> Result<(), QueryError> {
        let column_bytes = (steps.count as u64).saturating_mul(size_of::<f64>() as u64);
        let bytes = column_bytes.saturating_mul(series as u64);
        let taken = self.budget.take_bytes(bytes);
        self.budget.release_bytes(bytes);
        Ok(taken?)
    }

    pub(crate) fn release(&self, series: &[StepSeries]) {
        self.budget.release_samples(series.iter().map(|series| series.column.weight()).sum());
        self.budget.release_bytes(bytes(series));
    }

    /// Maps every series of a vector, several at once if there are many. Empty columns are left out.
    pub(crate) fn map_vector(
        &self,
        series: Vec<StepSeries>,
        map: impl Fn(StepSeries) -> Option<StepSeries> + Sync,
    ) -> Result<Vec<StepSeries>, QueryError> {
        self.release(&series);
        let steps = series.first().map_or(1, |series| series.column.values.len());
        let mapped = map_parallel(series, self.options.threads, steps, map);
        let kept: Vec<StepSeries> =
            mapped.into_iter().flatten().filter(|series| !series.column.is_empty()).collect();
        self.hold(&kept)?;
        Ok(kept)
    }
}

/// What columns take in memory; histograms are counted as samples.
fn bytes(series: &[StepSeries]) -> u64 {
    let floats: usize = series.iter().map(|series| series.column.values.len()).sum();
    (floats * size_of::<f64>()) as u64
}

fn wrong_type(expr: &Expr, expected: ValueType) -> QueryError {
    QueryError::invalid(format!(
        "expected {}, got {}",
        expected.documented_name(),
        expr.value_type().documented_name()
    ))
}

/// The value of one step at every step.
fn repeat(value: Value, steps: usize) -> Value {
    match value {
        Value::Scalar(values) => Value::Scalar(vec![values[0]; steps]),
        Value::Text(text) => Value::Text(text),
        Value::Vector(series) => {
            Value::Vector(series.into_iter().map(|series| repeat_series(series, steps)).collect())
        }
    }
}

fn repeat_series(series: StepSeries, steps: usize) -> StepSeries {
    let column = &series.column;
    let mut repeated = match column.float(0) {
        Some(value) => Column::full(vec![value; steps]),
        None => Column::empty(steps),
    };
    if let Some(histogram) = column.histogram(0) {
        repeated.histograms = (0..steps as u32).map(|step| (step, histogram.clone())).collect();
    }
    StepSeries { column: repeated, ..series }
}

/// Makes one series of those with equal labels, which must not have samples at the same steps.
///
/// Of a merged series the name is dropped if it is dropped of any part.
pub(crate) fn merge_equal(series: Vec<StepSeries>) -> Result<Vec<StepSeries>, QueryError> {
    let mut by_labels = LabelsMap::with_capacity_and_hasher(series.len(), Default::default());
    let mut merged: Vec<StepSeries> = Vec::with_capacity(series.len());
    for next in series {
        let at = *by_labels.entry(next.labels.clone()).or_insert(merged.len());
        let Some(before) = merged.get_mut(at) else {
            merged.push(next);
            continue;
        };
        merge_into(before, next)?;
    }
    Ok(merged)
}

fn merge_into(before: &mut StepSeries, next: StepSeries) -> Result<(), QueryError> {
    let mut common = before.column.occupied();
    let theirs = next.column.occupied();
    common.intersect(&theirs);
    if !common.is_empty() {
        return Err(QueryError::DuplicateSeries);
    }
    before.drop_name |= next.drop_name;
    next.column.present.iter().for_each(|step| {
        before.column.set_float(step, next.column.values[step]);
    });
    if !next.column.histograms.is_empty() {
        before.column.histograms.extend(next.column.histograms);
        before.column.histograms.sort_by_key(|pair| pair.0);
    }
    Ok(())
}

/// Which steps of some series have samples.
pub(crate) fn occupied_steps(series: &[StepSeries], steps: usize) -> StepSet {
    let mut set = StepSet::none(steps);
    series.iter().for_each(|series| set.union(&series.column.occupied()));
    set
}

/// The place of an argument.
pub(crate) fn span_of(expr: Option<&Expr>) -> Span {
    expr.map(Expr::span).unwrap_or_default()
}
