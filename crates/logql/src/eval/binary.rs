//! Operators between numbers and series, at every step.

use std::collections::HashMap;

use throughline_exec::Labels;

use super::QueryError;
use crate::ast::{Binary, BinaryOp, Cardinality, Matching};
use crate::value::{Series, Value};

pub(super) fn eval(binary: &Binary, left: Value, right: Value) -> Result<Value, QueryError> {
    Ok(match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let values = left.iter().zip(&right).map(|(left, right)| binary.op.number(*left, *right));
            Value::Scalar(values.collect())
        }
        (Value::Vector(series), Value::Scalar(values)) => {
            Value::Vector(with_numbers(binary, series, &values, |point, value| (point, value)))
        }
        (Value::Scalar(values), Value::Vector(series)) => {
            Value::Vector(with_numbers(binary, series, &values, |point, value| (value, point)))
        }
        (Value::Vector(left), Value::Vector(right)) => Value::Vector(match binary.op {
            BinaryOp::And => having(binary, left, &right, true),
            BinaryOp::Unless => having(binary, left, &right, false),
            BinaryOp::Or => united(binary, left, right),
            _ => matched(binary, left, right)?,
        }),
    })
}

/// What a step answers: nothing where a comparison that filters does not hold, else `kept` if it does.
fn point(binary: &Binary, left: f64, right: f64, kept: f64) -> Option<f64> {
    match binary.op {
        BinaryOp::Compare(op) if !binary.return_bool => op.holds(left, right).then_some(kept),
        op => Some(op.number(left, right)),
    }
}

/// Series with numbers on the side that `sides` says.
fn with_numbers(
    binary: &Binary,
    series: Vec<Series>,
    values: &[f64],
    sides: impl Fn(f64, f64) -> (f64, f64),
) -> Vec<Series> {
    let mapped = series.into_iter().map(|mut series| {
        for (slot, value) in series.points.iter_mut().zip(values) {
            if let Some(own) = *slot {
                let (left, right) = sides(own, *value);
                *slot = point(binary, left, right, own);
            }
        }
        series
    });
    mapped.collect()
}

/// The labels by which series of both sides belong together.
fn signature(matching: Option<&Matching>, labels: &Labels) -> Labels {
    match matching {
        None => labels.clone(),
        Some(matching) if matching.on => labels.only(&matching.labels),
        Some(matching) => labels.without(&matching.labels),
    }
}

/// At which steps any series of each signature has a point.
fn presence(binary: &Binary, series: &[Series]) -> HashMap<Labels, Vec<bool>> {
    let mut all: HashMap<Labels, Vec<bool>> = HashMap::new();
    for one in series {
        let flags = all
            .entry(signature(binary.matching.as_ref(), &one.labels))
            .or_insert_with(|| vec![false; one.points.len()]);
        for (flag, point) in flags.iter_mut().zip(&one.points) {
            *flag |= point.is_some();
        }
    }
    all
}

/// The points of the left side where the right has (`wanted`) or has not a point.
fn having(binary: &Binary, left: Vec<Series>, right: &[Series], wanted: bool) -> Vec<Series> {
    let present = presence(binary, right);
    let mut kept = left;
    for one in &mut kept {
        let flags = present.get(&signature(binary.matching.as_ref(), &one.labels));
        for (step, point) in one.points.iter_mut().enumerate() {
            let there = flags.and_then(|flags| flags.get(step)).copied().unwrap_or(false);
            if there != wanted {
                *point = None;
            }
        }
    }
    kept.retain(|series| series.points.iter().any(Option::is_some));
    kept
}

/// The left side, and the points of the right that it does not have.
fn united(binary: &Binary, left: Vec<Series>, right: Vec<Series>) -> Vec<Series> {
    let rest = having(binary, right, &left, false);
    let mut places: HashMap<Labels, usize> =
        left.iter().enumerate().map(|(at, series)| (series.labels.clone(), at)).collect();
    let mut all = left;
    for one in rest {
        // A series may come from the left at some steps and from the right at others.
        let at = *places.entry(one.labels.clone()).or_insert(all.len());
        match all.get_mut(at) {
            Some(before) => {
                for (point, other) in before.points.iter_mut().zip(one.points) {
                    *point = point.or(other);
                }
            }
            None => all.push(one),
        }
    }
    all
}

/// Arithmetic and comparisons: each series of the many side with the one of the other that has its signature.
fn matched(binary: &Binary, left: Vec<Series>, right: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let cardinality = binary.matching.as_ref().map_or(Cardinality::OneToOne, |matching| matching.cardinality);
    let swapped = cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let sole = sole(binary, &one, if swapped { "left" } else { "right" })?;
    let mut joined = Joined { cardinality, ..Joined::default() };
    for series in &many {
        let group = signature(binary.matching.as_ref(), &series.labels);
        for other in sole.get(&group).into_iter().flatten() {
            let labels = result_labels(binary.matching.as_ref(), &series.labels, &other.labels);
            let pairs = series.points.iter().zip(&other.points).enumerate();
            for (step, pair) in pairs {
                let (Some(own), Some(value)) = pair else { continue };
                let (left, right) = if swapped { (*value, *own) } else { (*own, *value) };
                // What a comparison filters away still has to be unique.
                joined.put(&group, &labels, series.points.len(), step, point(binary, left, right, left))?;
            }
        }
    }
    joined.series.retain(|series| series.points.iter().any(Option::is_some));
    Ok(joined.series)
}

/// The series of a result while it grows.
#[derive(Default)]
struct Joined {
    cardinality: Cardinality,
    series: Vec<Series>,
    places: HashMap<Labels, usize>,
    /// The steps at which a group, or in a group a series of the result, has met another.
    taken: HashMap<(Labels, Option<Labels>), Vec<bool>>,
}

impl Joined {
    fn put(
        &mut self,
        group: &Labels,
        labels: &Labels,
        steps: usize,
        step: usize,
        value: Option<f64>,
    ) -> Result<(), QueryError> {
        let one_to_one = self.cardinality == Cardinality::OneToOne;
        let key = (group.clone(), (!one_to_one).then(|| labels.clone()));
        let taken = self.taken.entry(key).or_insert_with(|| vec![false; steps]);
        if taken.get_mut(step).is_some_and(|flag| std::mem::replace(flag, true)) {
            return Err(if one_to_one { QueryError::ManyToOne } else { QueryError::GroupNotUnique });
        }
        let at = *self.places.entry(labels.clone()).or_insert(self.series.len());
        if self.series.len() == at {
            self.series.push(Series { labels: labels.clone(), points: vec![None; steps] });
        }
        let slot = self.series.get_mut(at).and_then(|series| series.points.get_mut(step));
        if let (Some(slot), Some(value)) = (slot, value) {
            *slot = Some(value);
        }
        Ok(())
    }
}

/// The series of the side of which there must be one at each step, by signature.
fn sole<'a>(
    binary: &Binary,
    series: &'a [Series],
    side: &'static str,
) -> Result<HashMap<Labels, Vec<&'a Series>>, QueryError> {
    let mut all: HashMap<Labels, Vec<&Series>> = HashMap::new();
    for one in series {
        let group = signature(binary.matching.as_ref(), &one.labels);
        let others = all.entry(group.clone()).or_default();
        for other in others.iter() {
            let both = one.points.iter().zip(&other.points).any(|(a, b)| a.is_some() && b.is_some());
            if both {
                return Err(QueryError::DuplicateSeries {
                    side,
                    group: group.to_string(),
                    first: other.labels.to_string(),
                    second: one.labels.to_string(),
                });
            }
        }
        others.push(one);
    }
    Ok(all)
}

fn result_labels(matching: Option<&Matching>, many: &Labels, one: &Labels) -> Labels {
    let Some(matching) = matching else { return many.clone() };
    if matching.cardinality == Cardinality::OneToOne {
        return signature(Some(matching), many);
    }
    matching.include.iter().fold(many.clone(), |labels, name| labels.with(name, one.get(name)))
}
