//! Rules of functions that make series, and of what is made of series.

use super::field::condition;
use super::{Checked, Counts, GROUPS_MAX, invalid, pipeline, supported, unsupported};
use crate::ast::{Grouped, Literal, MetricsExpr, MetricsFunction, SecondStage, SpanFunction, Type};

/// Series that stand alone, or what is made of series.
pub(super) fn expr(counts: &mut Counts, expr: &MetricsExpr) -> Checked<()> {
    match expr {
        MetricsExpr::Constant(_) => Ok(()),
        MetricsExpr::Query(query) => {
            pipeline(counts, &query.source)?;
            function(counts, &query.function)
        }
        MetricsExpr::Math(math) => {
            for side in [&math.left, &math.right] {
                self::expr(counts, side)?;
                not_compare(side, math.op.symbol())?;
            }
            Ok(())
        }
        MetricsExpr::Stage(staged) => {
            let (input, stage) = &**staged;
            self::expr(counts, input)?;
            match stage {
                SecondStage::Rank(ranking, 0) => {
                    invalid(format!("{} takes how many series are kept, which is at least 1", ranking.name()))
                }
                SecondStage::Rank(ranking, _) => not_compare(input, ranking.name()),
                SecondStage::Filter(op, _) => not_compare(input, op.symbol()),
            }
        }
    }
}

/// The series of `compare` say different things, and are for nothing but to be shown.
fn not_compare(input: &MetricsExpr, what: &str) -> Checked<()> {
    match input {
        MetricsExpr::Query(query) if matches!(query.function, MetricsFunction::Compare { .. }) => {
            invalid(format!("`{what}` is not for the series of compare()"))
        }
        _ => Ok(()),
    }
}

fn function(counts: &mut Counts, function: &MetricsFunction) -> Checked<()> {
    match function {
        MetricsFunction::Grouped(grouped) => self::grouped(grouped, function),
        MetricsFunction::Compare { selection, top, window } => {
            condition(counts, selection.as_ref())?;
            if top.is_some_and(|top| top < 1) {
                return invalid(format!("`{function}` shows so many values, which are at least 1"));
            }
            match window {
                Some((0, 0)) | None => Ok(()),
                Some((start, end)) if start < end => Ok(()),
                Some(_) => invalid(format!("`{function}`: its window ends before it starts")),
            }
        }
    }
}

fn grouped(grouped: &Grouped, function: &MetricsFunction) -> Checked<()> {
    if let Some(field) = &grouped.field {
        let field_type = supported(field)?;
        if !field_type.is_number() && field_type != Type::Unknown {
            return invalid(format!("`{function}` is about {}, not about numbers", field_type.describe()));
        }
    }
    for quantile in &grouped.quantiles {
        let fits = match quantile {
            Literal::Int(value) => (0..=1).contains(value),
            Literal::Float(value) => (0.0..=1.0).contains(value),
            _ => false,
        };
        if !fits {
            return invalid(format!("`{function}`: quantiles are from 0 to 1"));
        }
    }
    grouped.by.iter().try_for_each(|field| supported(field).map(|_| ()))?;
    let own = matches!(grouped.function, SpanFunction::QuantileOverTime | SpanFunction::HistogramOverTime);
    let max = GROUPS_MAX - usize::from(own);
    if grouped.by.len() > max {
        return unsupported(format!("{} by more than {max} fields", grouped.function.name()));
    }
    Ok(())
}
