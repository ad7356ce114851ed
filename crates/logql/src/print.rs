//! Makes text of a tree: on one line, or broken into lines for people.

mod pretty;

pub use pretty::pretty;

use std::fmt::{self, Write as _};

use throughline_exec::Matcher;
use throughline_exec::quote::quote;

use crate::ast::{
    At, Binary, Cardinality, Expr, Grouping, LabelChoice, LabelFilter, LabelSource, LineOperand, LogExpr,
    LogRange, MetricExpr, Quantity, RangeAggregation, Stage, Unwrap, VectorAggregation, match_symbol,
};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Log(log) => log.fmt(f),
            Expr::Metric(metric) => metric.fmt(f),
        }
    }
}

impl fmt::Display for LogExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Selector(&self.matchers).fmt(f)?;
        self.stages.iter().try_for_each(|stage| write!(f, " {stage}"))
    }
}

impl fmt::Display for MetricExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetricExpr::Number(value) => f.write_str(&number(*value)),
            MetricExpr::Vector(value) => write!(f, "vector({})", number(*value)),
            MetricExpr::Range(aggregation) => {
                write!(f, "{}{})", RangeHead(aggregation), aggregation.range)?;
                group_suffix(f, aggregation.grouping.as_ref())
            }
            MetricExpr::Aggregate(aggregation) => {
                write!(f, "{}{})", VectorHead(aggregation), aggregation.expr)
            }
            MetricExpr::Binary(binary) => write!(f, "{} {} {}", binary.left, Operator(binary), binary.right),
            MetricExpr::LabelReplace(replace) => {
                write!(f, "label_replace({}", replace.expr)?;
                for text in [&replace.target, &replace.replacement, &replace.source, &replace.pattern] {
                    write!(f, ", {}", quote(text.as_bytes()))?;
                }
                f.write_char(')')
            }
            MetricExpr::Variants(variants) => {
                f.write_str("variants(")?;
                for (at, variant) in variants.variants.iter().enumerate() {
                    write!(f, "{}{variant}", if at > 0 { ", " } else { "" })?;
                }
                write!(f, ") of ({})", variants.of)
            }
            MetricExpr::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// `{a="b"}`
struct Selector<'a>(&'a [Matcher]);

impl fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (at, matcher) in self.0.iter().enumerate() {
            write!(f, "{}{matcher}", if at > 0 { ", " } else { "" })?;
        }
        f.write_char('}')
    }
}

/// `rate(`, with a number before the rows.
struct RangeHead<'a>(&'a RangeAggregation);

impl fmt::Display for RangeHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.0.op.name())?;
        match self.0.parameter {
            Some(value) => write!(f, "{}, ", number(value)),
            None => Ok(()),
        }
    }
}

fn group_suffix(f: &mut fmt::Formatter<'_>, grouping: Option<&Grouping>) -> fmt::Result {
    match grouping {
        Some(grouping) => write!(f, " {grouping}"),
        None => Ok(()),
    }
}

/// `topk by (a) (5, `
struct VectorHead<'a>(&'a VectorAggregation);

impl fmt::Display for VectorHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.name())?;
        if let Some(grouping) = &self.0.grouping {
            write!(f, " {grouping} ")?;
        }
        f.write_char('(')?;
        match self.0.count {
            Some(count) => write!(f, "{count}, "),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.without { "without" } else { "by" }, self.labels.join(", "))
    }
}

/// An operator with what is said about matching.
struct Operator<'a>(&'a Binary);

impl fmt::Display for Operator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.op.symbol())?;
        if self.0.return_bool {
            f.write_str(" bool")?;
        }
        let Some(matching) = &self.0.matching else { return Ok(()) };
        let word = if matching.on { "on" } else { "ignoring" };
        write!(f, " {word} ({})", matching.labels.join(", "))?;
        let side = match matching.cardinality {
            Cardinality::OneToOne => return Ok(()),
            Cardinality::ManyToOne => "group_left",
            Cardinality::OneToMany => "group_right",
        };
        write!(f, " {side} ({})", matching.include.join(", "))
    }
}

impl fmt::Display for LogRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " {unwrap}")?;
        }
        range_suffix(f, self)
    }
}

/// ` [1m] offset 5m`
fn range_suffix(f: &mut fmt::Formatter<'_>, range: &LogRange) -> fmt::Result {
    write!(f, " [{}]", duration(range.range_ns))?;
    match range.at {
        None => {}
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Time(ns)) => write!(f, " @ {}", ns as f64 / 1e9)?,
    }
    match range.offset_ns {
        0 => Ok(()),
        ns if ns < 0 => write!(f, " offset -{}", duration(-ns)),
        ns => write!(f, " offset {}", duration(ns)),
    }
}

impl fmt::Display for Unwrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.conversion {
            Some(conversion) => write!(f, "| unwrap {}({})", conversion.name(), self.label)?,
            None => write!(f, "| unwrap {}", self.label)?,
        }
        self.filters.iter().try_for_each(|filter| write!(f, " | {filter}"))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::LineFilter(filter) => {
                write!(f, "{} ", filter.op.symbol())?;
                for (at, operand) in filter.operands.iter().enumerate() {
                    f.write_str(if at > 0 { " or " } else { "" })?;
                    match operand {
                        LineOperand::Text(text) => f.write_str(&quote(text.as_bytes()))?,
                        LineOperand::Ip(text) => write!(f, "ip({})", quote(text.as_bytes()))?,
                    }
                }
                Ok(())
            }
            Stage::Json(extractions) => {
                f.write_str("| json")?;
                let pairs = extractions.iter().map(|extraction| (&extraction.label, &extraction.text));
                list(f, pairs, |f, (label, text)| write!(f, "{label}={}", quote(text.as_bytes())))
            }
            Stage::Logfmt(stage) => {
                let flags = [(stage.strict, " --strict"), (stage.keep_empty, " --keep-empty")];
                f.write_str("| logfmt")?;
                flags.iter().filter(|flag| flag.0).try_for_each(|flag| f.write_str(flag.1))?;
                list(f, &stage.extractions, |f, extraction| {
                    write!(f, "{}={}", extraction.label, quote(extraction.text.as_bytes()))
                })
            }
            Stage::Regexp(stage) => write!(f, "| regexp {}", quote(stage.text.as_bytes())),
            Stage::Pattern(pattern) => write!(f, "| pattern {}", quote(pattern.text().as_bytes())),
            Stage::Unpack => f.write_str("| unpack"),
            Stage::Decolorize => f.write_str("| decolorize"),
            Stage::LabelFilter(filter) => write!(f, "| {filter}"),
            Stage::LineFormat(template) => write!(f, "| line_format {}", quote(template.text().as_bytes())),
            Stage::LabelFormat(formats) => {
                f.write_str("| label_format")?;
                list(f, formats, |f, format| match &format.source {
                    LabelSource::Rename(source) => write!(f, "{}={source}", format.label),
                    LabelSource::Template(template) => {
                        write!(f, "{}={}", format.label, quote(template.text().as_bytes()))
                    }
                })
            }
            Stage::Drop(choices) => choice_list(f, "drop", choices),
            Stage::Keep(choices) => choice_list(f, "keep", choices),
        }
    }
}

fn choice_list(f: &mut fmt::Formatter<'_>, word: &str, choices: &[LabelChoice]) -> fmt::Result {
    write!(f, "| {word}")?;
    list(f, choices, |f, choice| match choice {
        LabelChoice::Name(name) => f.write_str(name),
        LabelChoice::Matching(matcher) => write!(f, "{matcher}"),
    })
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    mut print: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.into_iter().enumerate() {
        f.write_str(if at > 0 { ", " } else { " " })?;
        print(f, item)?;
    }
    Ok(())
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabelFilter::Match(matcher) => {
                write!(
                    f,
                    "{}{}{}",
                    matcher.name(),
                    match_symbol(matcher.op()),
                    quote(matcher.value().as_bytes())
                )
            }
            LabelFilter::Compare { label, op, quantity } => {
                let quantity = match quantity {
                    Quantity::Number(value) => number(*value),
                    Quantity::Duration(ns) if *ns < 0 => format!("-{}", duration(-ns)),
                    Quantity::Duration(ns) => duration(*ns),
                    Quantity::Bytes(bytes) => format!("{bytes}B"),
                };
                write!(f, "{label} {} {quantity}", op.symbol())
            }
            LabelFilter::Ip { label, negated, addresses } => {
                let op = if *negated { "!=" } else { "=" };
                write!(f, "{label}{op}ip({})", quote(addresses.text().as_bytes()))
            }
            LabelFilter::And(left, right) => write!(f, "{} and {}", Inner(left), Inner(right)),
            LabelFilter::Or(left, right) => write!(f, "{left} or {right}"),
        }
    }
}

/// A side of `and`, which needs parentheses if it is an `or`.
struct Inner<'a>(&'a LabelFilter);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            LabelFilter::Or(..) => write!(f, "({})", self.0),
            other => other.fmt(f),
        }
    }
}

/// A number that is read as the same.
fn number(value: f64) -> String {
    // Numbers of a query are finite: there is no other way to write one.
    if value.abs() >= 1e15 || (value != 0.0 && value.abs() < 1e-6) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// A duration that is read as the same: weeks and years only where they come out even.
fn duration(ns: i64) -> String {
    const UNITS: [(&str, i64, bool); 9] = [
        ("y", 365 * 86_400_000_000_000, true),
        ("w", 7 * 86_400_000_000_000, true),
        ("d", 86_400_000_000_000, false),
        ("h", 3_600_000_000_000, false),
        ("m", 60_000_000_000, false),
        ("s", 1_000_000_000, false),
        ("ms", 1_000_000, false),
        ("us", 1_000, false),
        ("ns", 1, false),
    ];
    let mut text = String::new();
    let mut rest = ns;
    for (unit, unit_ns, even_only) in &UNITS {
        if *even_only && rest % unit_ns != 0 {
            continue;
        }
        if rest >= *unit_ns {
            let _ = write!(text, "{}{unit}", rest / unit_ns);
            rest %= unit_ns;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
