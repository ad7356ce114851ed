//! From columns to the result that the asker gets.

use throughline_exec::Labels;

use super::{Evaluator, QueryError, merge_equal};
use crate::ast::{Expr, Function, ValueType};
use crate::value::{InstantSample, QueryResult, QueryValue, RangeSeries, Sample, StepSeries, Steps, Value};

/// The labels that describe a metric rather than a series, and go with its name.
const METADATA: [&str; 3] = ["__name__", "__type__", "__unit__"];

impl Evaluator<'_> {
    pub(super) fn instant(self, expr: &Expr) -> Result<QueryResult, QueryError> {
        let steps = Steps::single(self.start_ms);
        if expr.value_type() == ValueType::Matrix {
            let value = self.raw_range(expr, steps)?;
            return Ok(self.result(value));
        }
        let value = match self.eval(expr, steps)? {
            Value::Scalar(values) => QueryValue::Scalar(values[0]),
            Value::Text(text) => QueryValue::Text(text),
            Value::Vector(series) => {
                let series = without_dropped_names(series)?;
                let sample = |series: StepSeries| {
                    let sample = series.column.get(0)?;
                    Some(InstantSample { labels: series.labels, sample })
                };
                QueryValue::Vector(series.into_iter().filter_map(sample).collect())
            }
        };
        Ok(self.result(value))
    }

    pub(super) fn range(self, expr: &Expr) -> Result<QueryResult, QueryError> {
        let count = (self.end_ms.saturating_sub(self.start_ms).max(0) / self.step_ms) as u64 + 1;
        if self.end_ms < self.start_ms {
            return Ok(self.result(QueryValue::Matrix(Vec::new())));
        }
        if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            let kind = expr.value_type().documented_name();
            let reason =
                format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector");
            return Err(QueryError::invalid(reason));
        }
        let steps = Steps { start_ms: self.start_ms, step_ms: self.step_ms, count: count as usize };
        self.note_sorting(expr);
        let value = match self.eval(expr, steps)? {
            Value::Scalar(values) => {
                let floats = steps.times().zip(values).collect();
                let series = RangeSeries { labels: Labels::empty(), floats, histograms: Vec::new() };
                QueryValue::Matrix(vec![series])
            }
            Value::Text(_) => return Err(super::wrong_type(expr, ValueType::Vector)),
            Value::Vector(series) => {
                let mut series = without_dropped_names(series)?;
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
                QueryValue::Matrix(series.iter().map(|series| over_time(series, steps)).collect())
            }
        };
        Ok(self.result(value))
    }

    /// A range selector as the whole query.
    fn raw_range(&self, expr: &Expr, steps: Steps) -> Result<QueryValue, QueryError> {
        let input = self.range_input(expr, steps, "")?;
        self.count_windows(&input, steps, matches!(expr.unparenthesized(), Expr::Subquery(_)));
        let end_ms = input.shift.apply(self.start_ms);
        let start_ms = end_ms.saturating_sub(input.range_ms);
        let inside = |time: i64| time > start_ms && time <= end_ms;
        let mut found = Vec::with_capacity(input.series.len());
        for (samples, drop_name) in input.series.iter().zip(&input.drop_names) {
            let floats = samples.timestamps.iter().copied().zip(samples.values.iter().copied());
            let histograms = samples.histograms.iter().filter(|pair| inside(pair.0));
            let series = RangeSeries {
                labels: if *drop_name { samples.labels.without(&METADATA) } else { samples.labels.clone() },
                floats: floats.filter(|pair| inside(pair.0)).collect(),
                histograms: histograms.cloned().collect(),
            };
            if !series.floats.is_empty() || !series.histograms.is_empty() {
                let count = series.floats.len() + series.histograms.len();
                self.budget.take_samples(count as u64)?;
                found.push(series);
            }
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        if found.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
            return Err(QueryError::DuplicateSeries);
        }
        Ok(QueryValue::Matrix(found))
    }

    fn result(self, value: QueryValue) -> QueryResult {
        let (warnings, infos) = self.notes.texts(self.text);
        QueryResult {
            value,
            warnings,
            infos,
            samples_read: self.budget.samples_read(),
            samples_peak: self.budget.samples_peak(),
            counts: self.counting.map(super::counts::Counting::into_counts),
        }
    }

    /// Results of range queries are sorted by labels: sorting by anything else is lost.
    fn note_sorting(&self, expr: &Expr) {
        if let Expr::Call(call) = expr {
            let sorts = matches!(
                call.function,
                Function::Sort | Function::SortDesc | Function::SortByLabel | Function::SortByLabelDesc
            );
            if sorts && self.end_ms > self.start_ms {
                self.notes.add(crate::annotations::Note::SortOfRange, call.span);
            }
        }
        expr.children().into_iter().for_each(|child| self.note_sorting(child));
    }
}

/// Drops the names that functions and operators have marked, and unites what is then equal.
fn without_dropped_names(mut series: Vec<StepSeries>) -> Result<Vec<StepSeries>, QueryError> {
    for series in &mut series {
        if std::mem::take(&mut series.drop_name) {
            series.labels = series.labels.without(&METADATA);
        }
    }
    merge_equal(series)
}

fn over_time(series: &StepSeries, steps: Steps) -> RangeSeries {
    let mut found = RangeSeries { labels: series.labels.clone(), ..RangeSeries::default() };
    let column = &series.column;
    if column.histograms.is_empty() {
        found.floats.reserve_exact(column.present.len());
        found.floats.extend(column.present.iter().map(|step| (steps.at(step), column.values[step])));
        return found;
    }
    for (step, sample) in series.column.samples() {
        match sample {
            Sample::Float(value) => found.floats.push((steps.at(step), value)),
            Sample::Histogram(histogram) => found.histograms.push((steps.at(step), histogram)),
        }
    }
    found
}
