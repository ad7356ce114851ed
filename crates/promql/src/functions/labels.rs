//! `label_replace` and `label_join`.

use std::collections::HashMap;

use throughline_exec::{AnchoredRegex, Labels, METRIC_NAME};

use super::argument;
use crate::ast::{Call, Expr};
use crate::eval::{Evaluator, QueryError, merge_equal};
use crate::value::{StepSeries, Steps};

pub(super) fn replace(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let text = |at: usize| evaluator.string(argument(call, at)?);
    let (target, template, source, pattern) = (text(1)?, text(2)?, text(3)?, text(4)?);
    check_label_name(argument(call, 1)?, "destination", "label_replace")?;
    let regex = AnchoredRegex::new(&pattern).map_err(|error| {
        QueryError::invalid(format!("invalid regular expression in label_replace(): {error}"))
    })?;
    relabel(evaluator, call, steps, &target, |labels| regex.expand(labels.get(&source), &template))
}

pub(super) fn join(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
) -> Result<Vec<StepSeries>, QueryError> {
    let target = evaluator.string(argument(call, 1)?)?;
    let separator = evaluator.string(argument(call, 2)?)?;
    check_label_name(argument(call, 1)?, "destination", "label_join")?;
    let mut sources = Vec::new();
    for expr in &call.args[3..] {
        check_label_name(expr, "source", "label_join")?;
        sources.push(evaluator.string(expr)?);
    }
    relabel(evaluator, call, steps, &target, |labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source)).collect();
        Some(values.join(&separator))
    })
}

/// Sets a label of every series for which `value` gives something. Series with equal labels become one.
fn relabel(
    evaluator: &Evaluator<'_>,
    call: &Call,
    steps: Steps,
    target: &str,
    value: impl Fn(&Labels) -> Option<String>,
) -> Result<Vec<StepSeries>, QueryError> {
    let mut series = evaluator.vector(argument(call, 0)?, steps)?;
    // Series come with the same few values again and again.
    let mut known: HashMap<Labels, Labels> = HashMap::new();
    for series in &mut series {
        let Some(value) = value(&series.labels) else { continue };
        let before = series.labels.clone();
        series.labels = known.entry(before).or_insert_with_key(|before| before.with(target, &value)).clone();
        // A name that was set by hand is not one that an operation made meaningless.
        if target == METRIC_NAME {
            series.drop_name = false;
        }
    }
    merge_equal(series)
}

/// Any text that is UTF-8 and not empty is a label name.
fn check_label_name(expr: &Expr, role: &str, function: &str) -> Result<(), QueryError> {
    let valid = match expr.unparenthesized() {
        Expr::Text(text) => !text.value.is_empty() && std::str::from_utf8(&text.value).is_ok(),
        _ => false,
    };
    if valid {
        return Ok(());
    }
    let shown = match expr.unparenthesized() {
        Expr::Text(text) => text.text().into_owned(),
        _ => String::new(),
    };
    Err(QueryError::invalid(format!("invalid {role} label name in {function}(): {shown}")))
}
