//! Series, and what is made of them: arithmetic, comparisons, the largest and the smallest.

use std::cmp::Ordering;

use ahash::AHashMap as HashMap;

use crate::answer::MetricExemplar;
use crate::ast::{ArithmeticOp, CompareOp, Ranking};
use crate::eval::expr::compare;
use crate::value::{Scalar, Value, ValueKey};

/// The label of a series that has no other: the function.
pub(crate) const NAME: &str = "__name__";

/// What tells series apart: their labels but the name.
pub(crate) type Key = Vec<(String, ValueKey)>;

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub labels: Vec<(String, Value)>,
    pub key: Key,
    /// Of each interval, NaN where there is none.
    pub values: Vec<f64>,
    pub exemplars: Vec<MetricExemplar>,
}

/// A side of an operator.
pub(crate) enum Side {
    Series(Vec<Series>),
    Number(f64),
}

impl Series {
    pub fn new(labels: Vec<(String, Value)>, values: Vec<f64>, exemplars: Vec<MetricExemplar>) -> Series {
        let key = labels.iter().filter(|(name, _)| name != NAME);
        let key = key.map(|(name, value)| (name.clone(), ValueKey::of(Some(value)))).collect();
        Series { labels, key, values, exemplars }
    }
}

fn number(op: ArithmeticOp, left: f64, right: f64) -> f64 {
    match op {
        ArithmeticOp::Add => left + right,
        ArithmeticOp::Sub => left - right,
        ArithmeticOp::Mul => left * right,
        ArithmeticOp::Div if right != 0.0 => left / right,
        // The parser lets nothing else through.
        ArithmeticOp::Div | ArithmeticOp::Mod | ArithmeticOp::Pow => f64::NAN,
    }
}

/// Arithmetic on series: those with the same labels meet, and one without labels meets all of the other side.
pub(crate) fn computed(op: ArithmeticOp, left: Side, right: Side) -> Vec<Series> {
    let each = |series: Vec<Series>, compute: &dyn Fn(f64) -> f64| -> Vec<Series> {
        let mapped = series.into_iter().map(|mut series| {
            series.values.iter_mut().for_each(|value| *value = compute(*value));
            series.exemplars.iter_mut().for_each(|exemplar| exemplar.value = compute(exemplar.value));
            series
        });
        mapped.collect()
    };
    let (left, right) = match (left, right) {
        (Side::Series(left), Side::Number(right)) => return each(left, &|value| number(op, value, right)),
        (Side::Number(left), Side::Series(right)) => return each(right, &|value| number(op, left, value)),
        (Side::Number(_), Side::Number(_)) => return Vec::new(),
        (Side::Series(left), Side::Series(right)) => (left, right),
    };
    let by_key = |series: &[Series]| -> HashMap<Key, usize> {
        series.iter().enumerate().map(|(at, series)| (series.key.clone(), at)).collect()
    };
    let (of_left, of_right) = (by_key(&left), by_key(&right));
    let none = Key::new();
    let find = |series: &[Series], by_key: &HashMap<Key, usize>, key: &Key| -> Option<(Series, bool)> {
        let (at, is_fan) = match by_key.get(key) {
            Some(at) => (*at, false),
            None => (*by_key.get(&none)?, true),
        };
        series.get(at).cloned().map(|series| (series, is_fan))
    };
    let target = if of_right.contains_key(&none) { &left } else { &right };
    let mut found = Vec::new();
    for series in target {
        let sides = find(&left, &of_left, &series.key).zip(find(&right, &of_right, &series.key));
        let Some(((left, left_fans), (right, right_fans))) = sides else { continue };
        let values = left.values.iter().zip(&right.values).map(|(a, b)| number(op, *a, *b)).collect();
        let mut exemplars = Vec::new();
        if left_fans == right_fans || right_fans {
            exemplars.extend(left.exemplars.iter().cloned());
        }
        if left_fans == right_fans || left_fans {
            exemplars.extend(right.exemplars.iter().cloned());
        }
        found.push(Series::new(merged(op, &left.labels, &right.labels), values, exemplars));
    }
    found
}

/// The labels of both sides; if both have a name, the new name says what was computed.
fn merged(op: ArithmeticOp, left: &[(String, Value)], right: &[(String, Value)]) -> Vec<(String, Value)> {
    let name_of = |labels: &[(String, Value)]| {
        labels.iter().find_map(|(name, value)| match value {
            Value::Text(text) if name == NAME => Some(text.clone()),
            _ => None,
        })
    };
    let mut labels: Vec<(String, Value)> = left.iter().filter(|(name, _)| name != NAME).cloned().collect();
    for (name, value) in right {
        if name != NAME && !labels.iter().any(|(other, _)| other == name) {
            labels.push((name.clone(), value.clone()));
        }
    }
    if let (Some(left), Some(right)) = (name_of(left), name_of(right)) {
        let name = format!("({left} {} {right})", op.symbol());
        labels.insert(0, (NAME.to_owned(), Value::Text(name)));
    }
    labels
}

/// Values that fulfil a comparison; series without any are dropped.
pub(crate) fn filtered(op: CompareOp, right: f64, mut series: Vec<Series>) -> Vec<Series> {
    let keeps = |value: f64| !value.is_nan() && compare(op, Scalar::Float(value), Scalar::Float(right));
    for series in &mut series {
        series.values.iter_mut().filter(|value| !keeps(**value)).for_each(|value| *value = f64::NAN);
        // What only counts takes the value of its series later.
        series.exemplars.retain(|exemplar| exemplar.value.is_nan() || keeps(exemplar.value));
    }
    series.retain(|series| series.values.iter().any(|value| !value.is_nan()));
    series
}

/// Which of two series comes first among the largest where their values are equal, and last among the smallest, as in Tempo: label by
/// label the text that comes first, or the number that is larger.
fn by_labels(a: &[(String, Value)], b: &[(String, Value)]) -> Ordering {
    let text = |label: Option<&(String, Value)>| match label.map(|(_, value)| value) {
        None | Some(Value::Int(_) | Value::Float(_) | Value::Bool(_)) => String::new(),
        Some(Value::Text(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let number = |label: Option<&(String, Value)>| match label.map(|(_, value)| value) {
        Some(value @ (Value::Int(_) | Value::Float(_) | Value::Bool(_))) => ValueKey::of(Some(value)),
        _ => ValueKey::Nil,
    };
    let named = |labels: &[(String, Value)]| -> Vec<(String, Value)> {
        labels.iter().filter(|(name, _)| name != NAME).cloned().collect()
    };
    let (a, b) = (named(a), named(b));
    (0..a.len().max(b.len()))
        .map(|at| {
            let (a, b) = (a.get(at), b.get(at));
            let name =
                |label: Option<&(String, Value)>| label.map_or("", |(name, _)| name.as_str()).to_owned();
            text(a).cmp(&text(b)).then(name(a).cmp(&name(b))).then(number(b).cmp(&number(a)))
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Of each interval the largest or smallest values; of equal ones as [`by_labels`] says.
pub(crate) fn ranked(ranking: Ranking, count: usize, mut series: Vec<Series>) -> Vec<Series> {
    if series.len() <= count {
        return series;
    }
    series.sort_by(|a, b| by_labels(&a.labels, &b.labels));
    let n_intervals = series.iter().map(|series| series.values.len()).max().unwrap_or_default();
    for interval in 0..n_intervals {
        let value = |series: &Series| series.values.get(interval).copied().unwrap_or(f64::NAN);
        let mut order: Vec<(usize, f64)> =
            series.iter().map(value).enumerate().filter(|(_, value)| !value.is_nan()).collect();
        order.sort_by(|(a_at, a), (b_at, b)| match ranking {
            Ranking::Top => b.total_cmp(a).then(a_at.cmp(b_at)),
            Ranking::Bottom => a.total_cmp(b).then(b_at.cmp(a_at)),
        });
        for (at, _) in order.into_iter().skip(count) {
            if let Some(value) = series.get_mut(at).and_then(|series| series.values.get_mut(interval)) {
                *value = f64::NAN;
            }
        }
    }
    series.retain(|series| series.values.iter().any(|value| !value.is_nan()));
    series
}
