//! Types of expressions over the fields of a span.

use throughline_exec::{MatchOp, Matcher, MatcherError};

use super::{Checked, Counts, REGEXES_MAX, invalid, supported};
use crate::ast::{
    BinaryField, CompareOp, Field, FieldExpr, FieldOp, Literal, Scope, SpansetExpr, Type, UnaryOp,
};

/// A condition between braces is true or false.
pub(super) fn condition(counts: &mut Counts, expr: Option<&FieldExpr>) -> Checked<()> {
    let Some(expr) = expr else { return Ok(()) };
    match field_type(counts, expr)? {
        Type::Bool | Type::Unknown => Ok(()),
        other => {
            let braces = SpansetExpr::Filter(Some(expr.clone()));
            invalid(format!("`{braces}` is {}, expected true or false", other.describe()))
        }
    }
}

/// Whether an expression is about the span.
pub(super) fn references_span(expr: &FieldExpr) -> bool {
    match expr {
        FieldExpr::Literal(_) => false,
        FieldExpr::Field(_) => true,
        FieldExpr::Unary(_, inner) => references_span(inner),
        FieldExpr::Binary(binary) => references_span(&binary.left) || references_span(&binary.right),
    }
}

/// The type of an expression, if there is one.
pub(super) fn field_type(counts: &mut Counts, expr: &FieldExpr) -> Checked<Type> {
    match expr {
        FieldExpr::Literal(literal) => Ok(literal.field_type()),
        FieldExpr::Field(field) => supported(field),
        FieldExpr::Unary(op, inner) => {
            let inner_type = field_type(counts, inner)?;
            let fits = match op {
                UnaryOp::Negate => inner_type.is_number(),
                UnaryOp::Not => inner_type == Type::Bool,
            };
            if !fits && inner_type != Type::Unknown {
                return invalid(format!("`{expr}`: `{}` is not for {}", op.symbol(), inner_type.describe()));
            }
            Ok(inner_type)
        }
        FieldExpr::Binary(binary) => binary_type(counts, binary, expr),
    }
}

fn binary_type(counts: &mut Counts, binary: &BinaryField, expr: &FieldExpr) -> Checked<Type> {
    let left = field_type(counts, &binary.left)?;
    let right = field_type(counts, &binary.right)?;
    if left == Type::Nil || right == Type::Nil {
        nil(binary, expr)?;
        return Ok(Type::Bool);
    }
    let unknown = left == Type::Unknown || right == Type::Unknown;
    if !unknown && left != right && !(left.is_number() && right.is_number()) {
        let message =
            format!("`{expr}` is about {} and {}, which never match", left.describe(), right.describe());
        return invalid(message);
    }
    for side in [left, right] {
        if !takes(binary.op, side) {
            return invalid(format!("`{expr}`: `{}` is not for {}", binary.op.symbol(), side.describe()));
        }
    }
    if matches!(binary.op, FieldOp::Regex | FieldOp::NotRegex)
        && let FieldExpr::Literal(Literal::Text(pattern)) = &binary.right
    {
        regex(counts, pattern)?;
    }
    Ok(match binary.op {
        FieldOp::Arithmetic(_) if left != Type::Unknown => left,
        FieldOp::Arithmetic(_) => right,
        _ => Type::Bool,
    })
}

/// Whether an operator is for values of a type.
fn takes(op: FieldOp, side: Type) -> bool {
    let equality = matches!(op, FieldOp::Compare(CompareOp::Equal | CompareOp::NotEqual));
    match side {
        Type::Unknown => true,
        Type::Nil | Type::Status | Type::Kind => equality,
        Type::Bool => equality || matches!(op, FieldOp::And | FieldOp::Or),
        Type::Text => matches!(op, FieldOp::Compare(_) | FieldOp::Regex | FieldOp::NotRegex),
        Type::Int | Type::Float | Type::Duration => {
            matches!(op, FieldOp::Compare(_) | FieldOp::Arithmetic(_))
        }
    }
}

/// Comparisons with nothing ask whether a span has a field, which it may do without.
fn nil(binary: &BinaryField, expr: &FieldExpr) -> Checked<()> {
    let other = match (&binary.left, &binary.right) {
        (FieldExpr::Literal(Literal::Nil), FieldExpr::Literal(Literal::Nil)) => return Ok(()),
        (FieldExpr::Literal(Literal::Nil), other) | (other, _) => other,
    };
    if !references_span(other) {
        return invalid(format!("`{expr}` compares nil with a constant"));
    }
    let FieldExpr::Field(field) = other else { return Ok(()) };
    if binary.op == FieldOp::Compare(CompareOp::Equal) && is_always_there(field) {
        return invalid(format!("`{expr}`: `{field}` is never nil"));
    }
    Ok(())
}

fn is_always_there(field: &Field) -> bool {
    match field {
        Field::Intrinsic { .. } => true,
        Field::Attribute(attribute) => attribute.scope == Scope::Resource && attribute.name == "service.name",
    }
}

fn regex(counts: &mut Counts, pattern: &str) -> Checked<()> {
    counts.regexes += 1;
    if counts.regexes > REGEXES_MAX {
        return invalid(format!("query has more than {REGEXES_MAX} regular expressions"));
    }
    match Matcher::new("", MatchOp::Regex, pattern) {
        Ok(_) => Ok(()),
        Err(MatcherError::Regex { pattern, reason }) => {
            invalid(format!("regular expression `{pattern}`: {reason}"))
        }
    }
}
