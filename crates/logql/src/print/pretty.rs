//! A query in lines: what is longer than a line is broken at its stages, operators and parentheses, two spaces a level.

use std::fmt;

use super::{Operator, RangeHead, Selector, VectorHead, range_suffix};
use crate::ast::{Expr, LogExpr, LogRange, MetricExpr};

/// Longest line that stays whole, in characters.
const LINE_CHARS_MAX: usize = 100;
const INDENT: &str = "  ";

/// The query in lines.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => log_at(log, 0, ""),
        Expr::Metric(metric) => metric_at(metric, 0),
    }
}

/// Lines with what follows the last of them.
fn log_at(log: &LogExpr, level: usize, suffix: &str) -> String {
    let indent = INDENT.repeat(level);
    let whole = format!("{log}{suffix}");
    if whole.chars().count() <= LINE_CHARS_MAX {
        return format!("{indent}{whole}");
    }
    let mut text = format!("{indent}{}", Selector(&log.matchers));
    for stage in &log.stages {
        text.push_str(&format!("\n{indent}{INDENT}{stage}"));
    }
    text + suffix
}

fn range_at(range: &LogRange, level: usize) -> String {
    let unwrap = range.unwrap.as_ref().map_or_else(String::new, |unwrap| format!(" {unwrap}"));
    let suffix = format!("{unwrap}{}", Suffix(range));
    log_at(&range.log, level, &suffix)
}

struct Suffix<'a>(&'a LogRange);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        range_suffix(f, self.0)
    }
}

fn metric_at(expr: &MetricExpr, level: usize) -> String {
    let indent = INDENT.repeat(level);
    let whole = expr.to_string();
    if whole.chars().count() <= LINE_CHARS_MAX {
        return format!("{indent}{whole}");
    }
    match expr {
        MetricExpr::Number(_) | MetricExpr::Vector(_) => format!("{indent}{whole}"),
        MetricExpr::Range(aggregation) => {
            let inner = range_at(&aggregation.range, level + 1);
            let group = aggregation.grouping.as_ref().map_or_else(String::new, |group| format!(" {group}"));
            format!("{indent}{}\n{inner}\n{indent}){group}", RangeHead(aggregation).to_string().trim_end())
        }
        MetricExpr::Aggregate(aggregation) => {
            let inner = metric_at(&aggregation.expr, level + 1);
            format!("{indent}{}\n{inner}\n{indent})", VectorHead(aggregation).to_string().trim_end())
        }
        MetricExpr::Binary(binary) => {
            let (left, right) = (metric_at(&binary.left, level + 1), metric_at(&binary.right, level + 1));
            format!("{left}\n{indent}{}\n{right}", Operator(binary))
        }
        MetricExpr::LabelReplace(replace) => {
            let inner = metric_at(&replace.expr, level + 1);
            let texts = [&replace.target, &replace.replacement, &replace.source, &replace.pattern];
            let texts = texts.map(|text| throughline_exec::quote::quote(text.as_bytes())).join(", ");
            format!("{indent}label_replace(\n{inner},\n{indent}{INDENT}{texts}\n{indent})")
        }
        MetricExpr::Variants(variants) => {
            let inner: Vec<String> =
                variants.variants.iter().map(|variant| metric_at(variant, level + 1)).collect();
            let of = range_at(&variants.of, level + 1);
            format!("{indent}variants(\n{}\n{indent}) of (\n{of}\n{indent})", inner.join(",\n"))
        }
        MetricExpr::Paren(inner) => format!("{indent}(\n{}\n{indent})", metric_at(inner, level + 1)),
    }
}
