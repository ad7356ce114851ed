//! Fields, constants and expressions over them.

use std::fmt::{self, Write as _};

use throughline_exec::quote::quote;

use super::least;
use crate::ast::{Attribute, Field, FieldExpr, Literal};
use crate::lexer::is_name_char;

/// The units that durations are printed in; the longest that divides one is taken.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// With commas between.
pub(super) fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
    }
    Ok(())
}

impl fmt::Display for FieldExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldExpr::Literal(literal) => literal.fmt(f),
            FieldExpr::Field(field) => field.fmt(f),
            FieldExpr::Unary(op, inner) => {
                f.write_str(op.symbol())?;
                // What a sign stands before binds more tightly than the sign, or is another sign.
                match &**inner {
                    FieldExpr::Binary(binary) if binary.op.power() <= op.power() => write!(f, "({inner})"),
                    _ => inner.fmt(f),
                }
            }
            FieldExpr::Binary(binary) => {
                let (left, right) = least(binary.op.power());
                operand(f, &binary.left, left, binary.op.power())?;
                write!(f, " {} ", binary.op.symbol())?;
                operand(f, &binary.right, right, binary.op.power())
            }
        }
    }
}

/// A side of an operator, in parentheses if it would be read otherwise without them.
fn operand(f: &mut fmt::Formatter<'_>, expr: &FieldExpr, least: u8, power: u8) -> fmt::Result {
    let wrapped = match expr {
        FieldExpr::Binary(binary) => binary.op.power() < least,
        // A sign takes all that binds more tightly, and would take the operator.
        FieldExpr::Unary(op, _) => op.power() < power,
        FieldExpr::Literal(_) | FieldExpr::Field(_) => false,
    };
    if wrapped { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Attribute(attribute) => attribute.fmt(f),
            Field::Intrinsic { intrinsic, scoped } => {
                let name = if *scoped { intrinsic.scoped_name() } else { intrinsic.name() };
                f.write_str(name.or(intrinsic.name()).or(intrinsic.scoped_name()).unwrap_or_default())
            }
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parent {
            f.write_str("parent.")?;
        }
        let scope = self.scope.name();
        // The point of an attribute without a scope is that of the parent, if there is one.
        if !scope.is_empty() || !self.parent {
            write!(f, "{scope}.")?;
        }
        let plain = self.name.chars().all(|char| is_name_char(char) && !matches!(char, '"' | '\\'));
        let number = self.name.starts_with(|char: char| char.is_ascii_digit());
        let scoped = self.parent && ["span.", "resource."].iter().any(|scope| self.name.starts_with(scope));
        if plain && !number && !scoped && !self.name.is_empty() {
            return f.write_str(&self.name);
        }
        f.write_char('"')?;
        for char in self.name.chars() {
            if matches!(char, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(char)?;
        }
        f.write_char('"')
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Nil => f.write_str("nil"),
            Literal::Text(text) => f.write_str(&quote(text.as_bytes())),
            // Its digits alone would be too large a number.
            Literal::Int(i64::MIN) => f.write_str("minInt"),
            Literal::Int(value) => value.fmt(f),
            // With a point or an exponent, which tells it from a whole number.
            Literal::Float(value) => write!(f, "{value:?}"),
            Literal::Bool(value) => value.fmt(f),
            Literal::Duration(ns) => {
                let length = ns.unsigned_abs();
                let (unit, unit_ns) =
                    UNITS.iter().find(|(_, unit_ns)| length.is_multiple_of(*unit_ns)).unwrap_or(&("ns", 1));
                let (unit, unit_ns) = if length == 0 { (&"s", &1) } else { (unit, unit_ns) };
                write!(f, "{}{}{unit}", if *ns < 0 { "-" } else { "" }, length / unit_ns)
            }
            Literal::Status(status) => f.write_str(status.name()),
            Literal::Kind(kind) => f.write_str(kind.name()),
        }
    }
}
