//! What a query must keep to beyond its grammar. The messages name what they are about as the query does.

use regex::Regex;
use throughline_exec::Matcher;

use crate::ast::{
    Binary, BinaryOp, Expr, Matching, MetricExpr, RangeAggregation, RangeOp, VectorAggregation, VectorOp,
};

type Checked = Result<(), String>;

/// A selector has a condition that an empty value does not fulfil: nobody means to read everything.
pub fn selector(matchers: &[Matcher]) -> Checked {
    if matchers.iter().any(|matcher| !matcher.matches("")) {
        return Ok(());
    }
    Err("queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, \
         app=~\".*\" does not meet this requirement, but app=~\".+\" will"
        .to_owned())
}

/// An expression that extracts labels has named groups.
pub fn captures(regex: &Regex) -> Checked {
    match regex.capture_names().flatten().next() {
        Some(_) => Ok(()),
        None => Err("at least one named capture must be supplied".to_owned()),
    }
}

/// No two groups of an expression have one name; asked before it is compiled, to say it in the words of labels.
pub fn capture_names(pattern: &str) -> Checked {
    let mut names: Vec<&str> = pattern
        .split("(?")
        .skip(1)
        .filter_map(|group| group.strip_prefix("P<").or_else(|| group.strip_prefix('<')))
        .filter_map(|group| group.split_once('>').map(|(name, _)| name))
        .filter(|name| name.chars().all(|char| char.is_alphanumeric() || char == '_'))
        .collect();
    names.sort_unstable();
    match names.iter().zip(names.iter().skip(1)).find(|(name, next)| name == next) {
        Some((name, _)) => Err(format!("duplicate extracted label name '{name}'")),
        None => Ok(()),
    }
}

/// Which aggregations over time take numbers, and which group.
pub fn range_aggregation(aggregation: &RangeAggregation) -> Checked {
    let op = aggregation.op;
    let name = op.name();
    match (op, aggregation.parameter) {
        (RangeOp::QuantileOverTime, None) => {
            // What is wrong without a number is wrong with one, too.
            unwrapped(aggregation)?;
            return Err(format!("parameter required for operation {name}"));
        }
        (RangeOp::QuantileOverTime, Some(_)) | (_, None) => {}
        (_, Some(value)) => return Err(format!("parameter {value} not supported for operation {name}")),
    }
    let groups = matches!(
        op,
        RangeOp::AvgOverTime
            | RangeOp::MinOverTime
            | RangeOp::MaxOverTime
            | RangeOp::FirstOverTime
            | RangeOp::LastOverTime
            | RangeOp::StddevOverTime
            | RangeOp::StdvarOverTime
            | RangeOp::QuantileOverTime
    );
    if aggregation.grouping.is_some() && !groups {
        return Err(format!("grouping not allowed for {name} aggregation"));
    }
    unwrapped(aggregation)
}

fn unwrapped(aggregation: &RangeAggregation) -> Checked {
    let name = aggregation.op.name();
    let (with, without) = match aggregation.op {
        RangeOp::Rate | RangeOp::AbsentOverTime => (true, true),
        RangeOp::CountOverTime | RangeOp::BytesRate | RangeOp::BytesOverTime => (false, true),
        _ => (true, false),
    };
    match aggregation.range.unwrap {
        Some(_) if !with => Err(format!("invalid aggregation {name} with unwrap")),
        None if !without => Err(format!("invalid aggregation {name} without unwrap")),
        _ => Ok(()),
    }
}

/// How many series an aggregation chooses.
pub fn count(op: VectorOp, text: &str) -> Result<u32, String> {
    let name = op.name();
    if !op.takes_count() {
        return Err(format!("unsupported parameter for operation {name}({text},"));
    }
    let count: u64 =
        text.parse().map_err(|_| format!("invalid parameter {name}({text},: expected a whole number"))?;
    if count == 0 {
        return Err(format!("invalid parameter (must be greater than 0) {name}({text}"));
    }
    u32::try_from(count)
        .map_err(|_| format!("invalid parameter {name}({text},: must be at most {}", u32::MAX))
}

/// Which aggregations over series take a count, and which group.
pub fn vector_aggregation(aggregation: &VectorAggregation) -> Checked {
    let name = aggregation.op.name();
    if aggregation.op.takes_count() && aggregation.count.is_none() {
        return Err(format!("parameter required for operation {name}"));
    }
    match aggregation.op {
        VectorOp::ApproxTopk if aggregation.grouping.is_some() => {
            Err(format!("grouping not allowed for {name} aggregation"))
        }
        VectorOp::Sort | VectorOp::SortDesc if aggregation.grouping.is_some() => {
            Err("sort and sort_desc doesn't allow grouping by".to_owned())
        }
        _ => Ok(()),
    }
}

/// An operator with its sides, if they are sides for it.
pub fn binary(
    op: BinaryOp,
    return_bool: bool,
    matching: Option<Matching>,
    left: Expr,
    right: Expr,
) -> Result<MetricExpr, String> {
    let name = op.symbol();
    let side = |expr: Expr, side: &str| match expr {
        Expr::Metric(metric) => Ok(metric),
        Expr::Log(_) => {
            Err(format!("unexpected type for {side} leg of binary operation ({name}): log lines"))
        }
    };
    let (left, right) = (side(left, "left")?, side(right, "right")?);
    if op.is_set() {
        for (expr, side) in [(&left, "left"), (&right, "right")] {
            if let Some(value) = expr.constant() {
                return Err(format!(
                    "unexpected literal for {side} leg of logical/set binary operation ({name}): {value:.6}"
                ));
            }
        }
    }
    Ok(MetricExpr::Binary(Box::new(Binary { op, return_bool, matching, left, right })))
}
