//! A query in lines: what is longer than a line is broken at its operators and parentheses, two spaces a level.

use super::{Head, Operator, Suffix};
use crate::ast::Expr;

/// Longest line that stays whole, in characters.
const LINE_CHARS_MAX: usize = 100;
const INDENT: &str = "  ";

/// The query in lines.
#[must_use]
pub fn pretty(expr: &Expr) -> String {
    at_level(expr, 0)
}

fn at_level(expr: &Expr, level: usize) -> String {
    let indent = INDENT.repeat(level);
    let whole = expr.to_string();
    if whole.chars().count() <= LINE_CHARS_MAX {
        return format!("{indent}{whole}");
    }
    match expr {
        Expr::Number(_) | Expr::Text(_) | Expr::Vector(_) | Expr::Matrix(_) => format!("{indent}{whole}"),
        Expr::Subquery(subquery) => format!("{}{}", at_level(&subquery.expr, level), Suffix(subquery)),
        Expr::Call(call) => {
            let arguments = call.args.iter().map(|argument| at_level(argument, level + 1));
            let arguments = arguments.collect::<Vec<_>>().join(",\n");
            format!("{indent}{}(\n{arguments}\n{indent})", call.function.name())
        }
        Expr::Aggregate(aggregate) => {
            let param = aggregate.param.as_ref();
            let param = param.map_or_else(String::new, |param| format!("{},\n", at_level(param, level + 1)));
            let inner = at_level(&aggregate.expr, level + 1);
            format!("{indent}{}(\n{param}{inner}\n{indent})", Head(aggregate))
        }
        Expr::Binary(binary) => {
            let (lhs, rhs) = (at_level(&binary.lhs, level + 1), at_level(&binary.rhs, level + 1));
            format!("{lhs}\n{indent}{}\n{rhs}", Operator(binary))
        }
        Expr::Unary(unary) => {
            let inner = at_level(&unary.expr, level);
            format!("{indent}{}{}", if unary.negative { '-' } else { '+' }, inner.trim_start())
        }
        Expr::Paren(paren) => format!("{indent}(\n{}\n{indent})", at_level(&paren.expr, level + 1)),
    }
}
