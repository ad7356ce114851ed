//! Makes text of a tree, with no more parentheses than it needs to be read as the same tree.

mod field;

use std::fmt::{self, Write as _};

use crate::ast::{
    Aggregate, Expr, Grouped, Hint, MetricsExpr, MetricsFunction, Pipeline, Query, ScalarExpr, ScalarFilter,
    SecondStage, SpansetExpr, Stage,
};
use field::list;

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expr {
            Expr::Spans(pipeline) => pipeline.fmt(f)?,
            Expr::Metrics(metrics) => metrics.fmt(f)?,
        }
        if self.hints.is_empty() {
            return Ok(());
        }
        f.write_str(" with (")?;
        list(f, &self.hints)?;
        f.write_char(')')
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, stage) in self.stages.iter().enumerate() {
            write!(f, "{}{stage}", if at > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Spanset(spanset) => spanset.fmt(f),
            Stage::Filter(filter) => filter.fmt(f),
            Stage::Group(expr) => write!(f, "by({expr})"),
            Stage::Coalesce => f.write_str("coalesce()"),
            Stage::Select(fields) => {
                f.write_str("select(")?;
                list(f, fields)?;
                f.write_char(')')
            }
        }
    }
}

/// The side of an operator, in parentheses if it would be read otherwise without them. `power` is that of the side, or nothing
/// if it has no operator outside of parentheses.
fn side(f: &mut fmt::Formatter<'_>, side: &dyn fmt::Display, power: Option<u8>, least: u8) -> fmt::Result {
    match power {
        Some(power) if power < least => write!(f, "({side})"),
        _ => side.fmt(f),
    }
}

/// The least powers that the sides of an operator have without parentheses.
fn least(power: u8) -> (u8, u8) {
    if power == crate::ast::power::POWER { (power + 1, power) } else { (power, power + 1) }
}

impl fmt::Display for SpansetExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = |spanset: &SpansetExpr| match spanset {
            SpansetExpr::Binary(binary) => Some(binary.op.power()),
            SpansetExpr::Filter(_) | SpansetExpr::Pipeline(_) => None,
        };
        match self {
            SpansetExpr::Filter(None) => f.write_str("{}"),
            SpansetExpr::Filter(Some(condition)) => write!(f, "{{ {condition} }}"),
            SpansetExpr::Pipeline(pipeline) => write!(f, "({pipeline})"),
            SpansetExpr::Binary(binary) => {
                let (left, right) = least(binary.op.power());
                side(f, &binary.left, power(&binary.left), left)?;
                write!(f, " {} ", binary.op.symbol())?;
                side(f, &binary.right, power(&binary.right), right)
            }
        }
    }
}

impl fmt::Display for ScalarFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.op.symbol(), self.right)
    }
}

fn scalar_power(expr: &ScalarExpr) -> Option<u8> {
    match expr {
        ScalarExpr::Binary(binary) => Some(binary.op.power()),
        ScalarExpr::Number(_) | ScalarExpr::Aggregate(_) | ScalarExpr::Pipeline(_) => None,
    }
}

impl fmt::Display for ScalarExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScalarExpr::Number(number) => number.fmt(f),
            ScalarExpr::Aggregate(aggregate) => aggregate.fmt(f),
            ScalarExpr::Pipeline(inner) => write!(f, "({} | {})", inner.0, inner.1),
            ScalarExpr::Binary(binary) => {
                let (left, right) = least(binary.op.power());
                side(f, &binary.left, scalar_power(&binary.left), left)?;
                write!(f, " {} ", binary.op.symbol())?;
                side(f, &binary.right, scalar_power(&binary.right), right)
            }
        }
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aggregate::Count => f.write_str("count()"),
            Aggregate::Fold(fold, expr) => write!(f, "{}({expr})", fold.name()),
        }
    }
}

/// What stands beside an operator of series: series are always in parentheses there.
fn metrics_power(expr: &MetricsExpr) -> Option<u8> {
    match expr {
        MetricsExpr::Query(_) | MetricsExpr::Stage(_) => Some(0),
        MetricsExpr::Math(math) => Some(math.op.power()),
        MetricsExpr::Constant(number) => scalar_power(number),
    }
}

impl fmt::Display for MetricsExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricsExpr::Query(query) => write!(f, "{} | {}", query.source, query.function),
            MetricsExpr::Constant(number) => number.fmt(f),
            MetricsExpr::Math(math) => {
                let (left, right) = least(math.op.power());
                side(f, &math.left, metrics_power(&math.left), left)?;
                write!(f, " {} ", math.op.symbol())?;
                side(f, &math.right, metrics_power(&math.right), right)
            }
            MetricsExpr::Stage(staged) => match &staged.1 {
                SecondStage::Rank(ranking, count) => write!(f, "{} | {}({count})", staged.0, ranking.name()),
                SecondStage::Filter(op, number) => write!(f, "{} {} {number}", staged.0, op.symbol()),
            },
        }
    }
}

impl fmt::Display for MetricsFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricsFunction::Grouped(grouped) => grouped.fmt(f),
            MetricsFunction::Compare { selection, top, window } => {
                write!(f, "compare({}", SpansetExpr::Filter(selection.clone()))?;
                if let Some(top) = top {
                    write!(f, ", {top}")?;
                }
                if let Some((start, end)) = window {
                    write!(f, ", {start}, {end}")?;
                }
                f.write_char(')')
            }
        }
    }
}

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.function.name())?;
        if let Some(field) = &self.field {
            field.fmt(f)?;
        }
        for quantile in &self.quantiles {
            write!(f, ", {quantile}")?;
        }
        f.write_char(')')?;
        if self.by.is_empty() {
            return Ok(());
        }
        f.write_str(" by (")?;
        list(f, &self.by)?;
        f.write_char(')')
    }
}
