//! Which expressions have the same value at every step.

use crate::ast::{Expr, Function};

/// Whether evaluating once and repeating the value gives the same and saves work.
pub(super) fn is_worth_once(expr: &Expr) -> bool {
    !matches!(expr, Expr::Number(_) | Expr::Text(_)) && is_invariant(expr)
}

/// Whether the value is the same at every step. Trees are shallow, as the parser has seen to.
pub(crate) fn is_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::Text(_) => true,
        Expr::Vector(selector) => selector.at.is_some(),
        Expr::Matrix(matrix) => matrix.selector.at.is_some(),
        Expr::Subquery(subquery) => subquery.at.is_some(),
        Expr::Call(call) => !needs_time(call.function) && call.args.iter().all(is_invariant),
        Expr::Aggregate(aggregate) => {
            is_invariant(&aggregate.expr) && aggregate.param.as_deref().is_none_or(is_invariant)
        }
        Expr::Binary(binary) => is_invariant(&binary.lhs) && is_invariant(&binary.rhs),
        Expr::Unary(unary) => is_invariant(&unary.expr),
        Expr::Paren(paren) => is_invariant(&paren.expr),
    }
}

/// Functions whose value depends on the time of evaluation besides their arguments.
fn needs_time(function: Function) -> bool {
    matches!(
        function,
        Function::DayOfMonth
            | Function::DayOfWeek
            | Function::DayOfYear
            | Function::DaysInMonth
            | Function::Hour
            | Function::Minute
            | Function::Month
            | Function::PredictLinear
            | Function::Time
            | Function::Timestamp
            | Function::Year
    )
}
