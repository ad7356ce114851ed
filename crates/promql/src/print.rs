//! Makes text of a tree: on one line as error messages and rules show it, or broken into lines for people.

mod pretty;

pub use pretty::pretty;

use std::fmt::{self, Write};

use throughline_exec::{METRIC_NAME, MatchOp};

use crate::ast::{
    Aggregate, At, Binary, Cardinality, Duration, DurationExpr, DurationKind, Expr, Extension, Matcher,
    Matching, NumberLiteral, Subquery, VectorSelector,
};
use crate::lexer::is_plain_label;
use crate::lexer::number::format_duration_ms;
use throughline_exec::quote::quote;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Number(literal) => literal.fmt(f),
            Expr::Text(text) => f.write_str(&quote(&text.value)),
            Expr::Vector(selector) => {
                series(f, selector)?;
                at(f, selector.at)?;
                extension(f, selector.extension)?;
                offset(f, &selector.offset)
            }
            Expr::Matrix(matrix) => {
                series(f, &matrix.selector)?;
                write!(f, "[{}]", matrix.range)?;
                extension(f, matrix.selector.extension)?;
                at(f, matrix.selector.at)?;
                offset(f, &matrix.selector.offset)
            }
            Expr::Subquery(subquery) => write!(f, "{}{}", subquery.expr, Suffix(subquery)),
            Expr::Call(call) => {
                write!(f, "{}(", call.function.name())?;
                for (at, argument) in call.args.iter().enumerate() {
                    f.write_str(if at > 0 { ", " } else { "" })?;
                    argument.fmt(f)?;
                }
                f.write_char(')')
            }
            Expr::Aggregate(aggregate) => {
                write!(f, "{}(", Head(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Expr::Binary(binary) => write!(f, "{} {} {}", binary.lhs, Operator(binary), binary.rhs),
            Expr::Unary(unary) => write!(f, "{}{}", if unary.negative { '-' } else { '+' }, unary.expr),
            Expr::Paren(paren) => write!(f, "({})", paren.expr),
        }
    }
}

impl fmt::Display for NumberLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.duration {
            let sign = if self.value < 0.0 { "-" } else { "" };
            let ms = (self.value.abs() * 1_000.0).round() as u64;
            return write!(f, "{sign}{}", format_duration_ms(ms));
        }
        f.write_str(&number(self.value))
    }
}

/// A number without an exponent, as printed queries have it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Duration::Fixed { ms } => {
                let sign = if *ms < 0 { "-" } else { "" };
                write!(f, "{sign}{}", format_duration_ms(ms.unsigned_abs()))
            }
            Duration::Computed(expr) => expr.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Number(literal) => literal.fmt(f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Unary { negative: true, inner } => write!(f, "-{inner}"),
            DurationKind::Unary { negative: false, inner } => write!(f, "+{inner}"),
            DurationKind::Binary { op, lhs, rhs } => write!(f, "{lhs} {} {rhs}", op.symbol()),
            DurationKind::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            DurationKind::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// The name and the braces of a selector.
fn series(f: &mut fmt::Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref();
    f.write_str(name.unwrap_or(""))?;
    let mut shown: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| {
            let names = matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
            !(names && Some(matcher.value()) == name)
        })
        .map(matcher)
        .collect();
    if shown.is_empty() && name.is_some() {
        return Ok(());
    }
    shown.sort_unstable();
    write!(f, "{{{}}}", shown.join(","))
}

fn matcher(matcher: &Matcher) -> String {
    let op = match matcher.op() {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    format!("{}{op}{}", label(matcher.name()), quote(matcher.value().as_bytes()))
}

fn label(name: &str) -> String {
    if is_plain_label(name) { name.to_owned() } else { quote(name.as_bytes()) }
}

fn labels(names: &[String]) -> String {
    names.iter().map(|name| label(name)).collect::<Vec<_>>().join(", ")
}

fn at(f: &mut fmt::Formatter<'_>, at: Option<At>) -> fmt::Result {
    match at {
        None => Ok(()),
        Some(At::Timestamp { ms }) => write!(f, " @ {:.3}", ms as f64 / 1_000.0),
        Some(At::Start) => f.write_str(" @ start()"),
        Some(At::End) => f.write_str(" @ end()"),
    }
}

fn extension(f: &mut fmt::Formatter<'_>, extension: Extension) -> fmt::Result {
    f.write_str(match extension {
        Extension::None => "",
        Extension::Anchored => " anchored",
        Extension::Smoothed => " smoothed",
    })
}

fn offset(f: &mut fmt::Formatter<'_>, offset: &Duration) -> fmt::Result {
    if *offset == Duration::ZERO { Ok(()) } else { write!(f, " offset {offset}") }
}

/// What follows the expression of a subquery.
struct Suffix<'a>(&'a Subquery);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Suffix(subquery) = self;
        write!(f, "[{}:", subquery.range)?;
        if let Some(step) = &subquery.step {
            step.fmt(f)?;
        }
        f.write_char(']')?;
        at(f, subquery.at)?;
        offset(f, &subquery.offset)
    }
}

/// The operator and the grouping of an aggregation.
struct Head<'a>(&'a Aggregate);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head(aggregate) = self;
        f.write_str(aggregate.op.name())?;
        let grouping = labels(&aggregate.grouping);
        if aggregate.without {
            write!(f, " without ({grouping}) ")
        } else if aggregate.grouping.is_empty() {
            Ok(())
        } else {
            write!(f, " by ({grouping}) ")
        }
    }
}

/// A binary operator with its modifiers.
struct Operator<'a>(&'a Binary);

impl fmt::Display for Operator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operator(binary) = self;
        f.write_str(binary.op.symbol())?;
        if binary.return_bool {
            f.write_str(" bool")?;
        }
        binary.matching.as_ref().map_or(Ok(()), |matching| write_matching(f, matching))
    }
}

fn write_matching(f: &mut fmt::Formatter<'_>, matching: &Matching) -> fmt::Result {
    let grouped = match matching.card {
        Cardinality::ManyToOne => Some("left"),
        Cardinality::OneToMany => Some("right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if !matching.labels.is_empty() || matching.on || grouped.is_some() {
        let word = if matching.on { "on" } else { "ignoring" };
        write!(f, " {word} ({})", labels(&matching.labels))?;
    }
    if let Some(side) = grouped {
        write!(f, " group_{side} ({})", labels(&matching.include))?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            write!(f, " fill ({})", number(left))
        }
        (left, right) => {
            if let Some(left) = left {
                write!(f, " fill_left ({})", number(left))?;
            }
            if let Some(right) = right {
                write!(f, " fill_right ({})", number(right))?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
