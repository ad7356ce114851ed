//! Expressions over the fields of a span: what they are for one span.
//!
//! Types are those of values, not of the query: what an operator is not for, and a comparison of values that never match, is
//! false, or nothing where a value is asked for. An attribute that a span does not have is nothing, and compares as false.

use throughline_exec::{ExecError, MatchOp, Matcher};

use super::fields::{FieldRef, Fields, Rows};
use crate::ast::{ArithmeticOp, CompareOp, FieldExpr, FieldOp, Literal, UnaryOp};
use crate::value::{Scalar, Value, ValueRef};

/// An expression whose fields are found by number.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Constant(Option<Value>),
    Field(FieldRef),
    Unary(UnaryOp, Box<Expr>),
    Binary(FieldOp, Box<(Expr, Expr)>),
    /// Against an expression that is known when the query is read; whether it must not match.
    Regex(Box<Expr>, Matcher, bool),
}

impl Expr {
    /// Compiles an expression that was checked.
    pub fn new(expr: &FieldExpr, fields: &mut Fields) -> Expr {
        match expr {
            FieldExpr::Literal(literal) => Expr::Constant(literal_value(literal)),
            FieldExpr::Field(field) => Expr::Field(fields.reference(field)),
            FieldExpr::Unary(op, inner) => {
                let inner = Expr::new(inner, fields);
                let known = match (op, &inner) {
                    (UnaryOp::Negate, Expr::Constant(Some(value))) => negated(value.borrow()),
                    _ => None,
                };
                known.map_or_else(|| Expr::Unary(*op, Box::new(inner)), |value| Expr::Constant(Some(value)))
            }
            FieldExpr::Binary(binary) => {
                if let (FieldOp::Regex | FieldOp::NotRegex, FieldExpr::Literal(Literal::Text(pattern))) =
                    (binary.op, &binary.right)
                    && let Ok(matcher) = Matcher::new("", MatchOp::Regex, pattern.clone())
                {
                    let negated = binary.op == FieldOp::NotRegex;
                    return Expr::Regex(Box::new(Expr::new(&binary.left, fields)), matcher, negated);
                }
                let sides = (Expr::new(&binary.left, fields), Expr::new(&binary.right, fields));
                // What comes to nothing is no nil as one writes it: it equals nothing, what is missing neither.
                let known = match (&sides, binary.op) {
                    ((Expr::Constant(Some(left)), Expr::Constant(Some(right))), FieldOp::Arithmetic(op)) => {
                        let scalars = left.scalar().zip(right.scalar());
                        scalars.and_then(|(left, right)| arithmetic(op, left, right))
                    }
                    _ => None,
                };
                known.map_or_else(
                    || Expr::Binary(binary.op, Box::new(sides)),
                    |value| Expr::Constant(Some(value)),
                )
            }
        }
    }

    /// Calls `visit` with the number of each field in it. Recursion is bounded by the parser.
    pub fn each_field(&self, visit: &mut dyn FnMut(usize)) {
        match self {
            Expr::Constant(_) => {}
            Expr::Field(field) => field.numbers().for_each(visit),
            Expr::Unary(_, inner) | Expr::Regex(inner, ..) => inner.each_field(visit),
            Expr::Binary(_, sides) => {
                sides.0.each_field(visit);
                sides.1.each_field(visit);
            }
        }
    }

    /// The value for a span. Recursion is bounded by the parser.
    pub fn value(&self, rows: &Rows<'_>, row: usize) -> Result<Option<Value>, ExecError> {
        match self {
            Expr::Constant(value) => Ok(value.clone()),
            Expr::Field(field) => Ok(rows.get(*field, row)?.owned()),
            Expr::Unary(UnaryOp::Negate, inner) => {
                let value = inner.value(rows, row)?;
                Ok(value.and_then(|value| negated(value.borrow())))
            }
            Expr::Unary(UnaryOp::Not, inner) => Ok(match inner.value(rows, row)? {
                Some(Value::Bool(is)) => Some(Value::Bool(!is)),
                _ => None,
            }),
            Expr::Regex(inner, matcher, negated) => {
                let test = |scalar: Scalar<'_>| match scalar {
                    Scalar::Text(text) => matcher.matches(text) != *negated,
                    _ => false,
                };
                let is = |value: ValueRef<'_>| holds(value, *negated, test);
                let is = match &**inner {
                    Expr::Field(field) => is(rows.get(*field, row)?),
                    inner => inner.value(rows, row)?.is_some_and(|value| is(value.borrow())),
                };
                Ok(Some(Value::Bool(is)))
            }
            Expr::Binary(op, sides) => self.binary(*op, &sides.0, &sides.1, rows, row),
        }
    }

    fn binary(
        &self,
        op: FieldOp,
        left: &Expr,
        right: &Expr,
        rows: &Rows<'_>,
        row: usize,
    ) -> Result<Option<Value>, ExecError> {
        let is_true = |value: Option<Value>| matches!(value, Some(Value::Bool(true)));
        match op {
            FieldOp::And => {
                let both = is_true(left.value(rows, row)?) && is_true(right.value(rows, row)?);
                Ok(Some(Value::Bool(both)))
            }
            FieldOp::Or => {
                let either = is_true(left.value(rows, row)?) || is_true(right.value(rows, row)?);
                Ok(Some(Value::Bool(either)))
            }
            FieldOp::Arithmetic(op) => {
                let (left, right) = (left.value(rows, row)?, right.value(rows, row)?);
                let scalars =
                    left.as_ref().and_then(Value::scalar).zip(right.as_ref().and_then(Value::scalar));
                Ok(scalars.and_then(|(left, right)| arithmetic(op, left, right)))
            }
            FieldOp::Compare(op) => {
                let is_nil = |expr: &Expr| matches!(expr, Expr::Constant(None));
                // Several events are compared each, so that they are not made one value before.
                let (left_value, right_value);
                let left_ref = match left {
                    Expr::Field(field) => rows.get(*field, row)?,
                    left => {
                        left_value = left.value(rows, row)?;
                        left_value.as_ref().map_or(ValueRef::Nil, Value::borrow)
                    }
                };
                let right_ref = match right {
                    Expr::Field(field) => rows.get(*field, row)?,
                    right => {
                        right_value = right.value(rows, row)?;
                        right_value.as_ref().map_or(ValueRef::Nil, Value::borrow)
                    }
                };
                if is_nil(left) && is_nil(right) {
                    return Ok(Some(Value::Bool(false)));
                }
                if is_nil(left) || is_nil(right) {
                    let nil = left_ref.is_nil() && right_ref.is_nil();
                    return Ok(Some(Value::Bool(nil == (op == CompareOp::Equal))));
                }
                Ok(Some(Value::Bool(compared(op, left_ref, right_ref))))
            }
            FieldOp::Regex | FieldOp::NotRegex => {
                // The expression itself is a value of the span.
                let (text, pattern) = (left.value(rows, row)?, right.value(rows, row)?);
                let Some(Value::Text(pattern)) = pattern else { return Ok(Some(Value::Bool(false))) };
                let Ok(matcher) = Matcher::new("", MatchOp::Regex, pattern) else {
                    return Ok(Some(Value::Bool(false)));
                };
                let negated = op == FieldOp::NotRegex;
                let test = |scalar: Scalar<'_>| match scalar {
                    Scalar::Text(text) => matcher.matches(text) != negated,
                    _ => false,
                };
                Ok(Some(Value::Bool(text.is_some_and(|text| holds(text.borrow(), negated, test)))))
            }
        }
    }
}

/// The value of a constant; nil has none.
pub(crate) fn literal_value(literal: &Literal) -> Option<Value> {
    Some(match literal {
        Literal::Nil => return None,
        Literal::Text(text) => Value::Text(text.clone()),
        Literal::Int(value) => Value::Int(*value),
        Literal::Float(value) => Value::Float(*value),
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Duration(ns) => Value::Duration(*ns),
        Literal::Status(status) => Value::Status(*status),
        Literal::Kind(kind) => Value::Kind(*kind),
    })
}

/// Whether a condition holds: for one value of a list, for all of them if it is a negative one; for that of any event or link.
pub(crate) fn holds(value: ValueRef<'_>, negative: bool, test: impl Fn(Scalar<'_>) -> bool) -> bool {
    let in_list = |values: &[Value]| {
        let one = |value: &Value| value.scalar().is_some_and(&test);
        if negative { values.iter().all(one) } else { values.iter().any(one) }
    };
    match value {
        ValueRef::Nil => false,
        ValueRef::One(scalar) => test(scalar),
        ValueRef::List(values) => in_list(values),
        ValueRef::Each(values) => values.iter().any(|value| match value {
            Value::List(values) => in_list(values),
            other => other.scalar().is_some_and(&test),
        }),
    }
}

/// Compares what spans have. Two lists do not compare.
fn compared(op: CompareOp, left: ValueRef<'_>, right: ValueRef<'_>) -> bool {
    let negative = op == CompareOp::NotEqual;
    match (left, right) {
        (left, ValueRef::One(right)) => holds(left, negative, |left| compare(op, left, right)),
        (ValueRef::One(left), right) => holds(right, negative, |right| compare(op, left, right)),
        (left, right @ ValueRef::Each(_)) => {
            left.scalar().is_some_and(|left| holds(right, negative, |right| compare(op, left, right)))
        }
        _ => false,
    }
}

/// Compares two values. Numbers of all types compare with each other, durations as nanoseconds; of other types like with like.
pub(crate) fn compare(op: CompareOp, left: Scalar<'_>, right: Scalar<'_>) -> bool {
    use std::cmp::Ordering;
    let ordered = |ordering: Option<Ordering>| match (op, ordering) {
        (CompareOp::NotEqual, ordering) => ordering != Some(Ordering::Equal),
        (_, None) => false,
        (CompareOp::Equal, Some(ordering)) => ordering == Ordering::Equal,
        (CompareOp::Greater, Some(ordering)) => ordering == Ordering::Greater,
        (CompareOp::GreaterOrEqual, Some(ordering)) => ordering != Ordering::Less,
        (CompareOp::Less, Some(ordering)) => ordering == Ordering::Less,
        (CompareOp::LessOrEqual, Some(ordering)) => ordering != Ordering::Greater,
    };
    let equality = |equal: bool| match op {
        CompareOp::Equal => equal,
        CompareOp::NotEqual => !equal,
        _ => false,
    };
    match (left, right) {
        (Scalar::Text(left), Scalar::Text(right)) => ordered(Some(left.cmp(right))),
        (Scalar::Int(left) | Scalar::Duration(left), Scalar::Int(right) | Scalar::Duration(right)) => {
            ordered(Some(left.cmp(&right)))
        }
        (Scalar::Bool(left), Scalar::Bool(right)) => equality(left == right),
        (Scalar::Status(left), Scalar::Status(right)) => equality(left == right),
        (Scalar::Kind(left), Scalar::Kind(right)) => equality(left == right),
        (left, right) => match (left.number(), right.number()) {
            (Some(left), Some(right)) => ordered(left.partial_cmp(&right)),
            _ => false,
        },
    }
}

/// Computes with two numbers. Whole numbers stay whole; what is divided by zero is nothing, as is what does not fit.
pub(crate) fn arithmetic(op: ArithmeticOp, left: Scalar<'_>, right: Scalar<'_>) -> Option<Value> {
    if let (Scalar::Int(left), Scalar::Int(right)) = (left, right) {
        return match op {
            ArithmeticOp::Add => left.checked_add(right),
            ArithmeticOp::Sub => left.checked_sub(right),
            ArithmeticOp::Mul => left.checked_mul(right),
            ArithmeticOp::Div => left.checked_div(right),
            ArithmeticOp::Mod => left.checked_rem(right),
            ArithmeticOp::Pow => power(left, right),
        }
        .map(Value::Int);
    }
    let (left, right) = (left.number()?, right.number()?);
    Some(Value::Float(match op {
        ArithmeticOp::Add => left + right,
        ArithmeticOp::Sub => left - right,
        ArithmeticOp::Mul => left * right,
        ArithmeticOp::Div => left / right,
        ArithmeticOp::Mod => left % right,
        ArithmeticOp::Pow => left.powf(right),
    }))
}

/// A power of whole numbers, without the digits behind its point.
fn power(base: i64, exponent: i64) -> Option<i64> {
    match (u32::try_from(exponent), base) {
        (Ok(exponent), _) => base.checked_pow(exponent),
        (Err(_), 0) if exponent < 0 => None,
        (Err(_), 0 | 1) => Some(base),
        (Err(_), -1) => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        (Err(_), _) => (exponent < 0).then_some(0),
    }
}

fn negated(value: ValueRef<'_>) -> Option<Value> {
    match value.scalar()? {
        Scalar::Int(number) => number.checked_neg().map(Value::Int),
        Scalar::Float(number) => Some(Value::Float(-number)),
        Scalar::Duration(ns) => ns.checked_neg().map(Value::Duration),
        _ => None,
    }
}
