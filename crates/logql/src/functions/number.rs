//! Functions that compute. Like sprig's they take anything for a number, and what is none for zero.

use throughline_template::{Functions, Kind, Value};

use super::decimal::Decimal;
use super::{int_of, text_of};
use crate::convert;

const ANY: Kind = Kind::Any;

const DIVIDED_BY_ZERO: &str = "runtime error: integer divide by zero";

/// Names of functions over whole numbers, and what they do with one and the next.
type IntFold = (&'static str, fn(i64, i64) -> Result<i64, String>);
/// The same over floats: as written down, and where that takes too many digits.
type FloatFold = (&'static str, fn(Decimal, Decimal) -> Option<Decimal>, fn(f64, f64) -> f64);

/// The same that choose one of two floats.
type Choice = (&'static str, fn(f64, f64) -> f64);

pub(super) fn add(table: &mut Functions<'static>) {
    let folds: [IntFold; 7] = [
        ("add", |a, b| Ok(a.wrapping_add(b))),
        ("sub", |a, b| Ok(a.wrapping_sub(b))),
        ("mul", |a, b| Ok(a.wrapping_mul(b))),
        ("div", |a, b| a.checked_div(b).ok_or_else(|| DIVIDED_BY_ZERO.to_owned())),
        ("mod", |a, b| a.checked_rem(b).ok_or_else(|| DIVIDED_BY_ZERO.to_owned())),
        ("max", |a, b| Ok(a.max(b))),
        ("min", |a, b| Ok(a.min(b))),
    ];
    for (name, fold) in folds {
        table.add_variadic(name, &[ANY], ANY, move |values, _| {
            let mut numbers = values.iter().map(int);
            let first = numbers.next().unwrap_or(0);
            numbers.try_fold(first, fold).map(Value::Int)
        });
    }
    let folds: [FloatFold; 4] = [
        ("addf", Decimal::plus, |a, b| a + b),
        ("subf", Decimal::minus, |a, b| a - b),
        ("mulf", Decimal::times, |a, b| a * b),
        ("divf", Decimal::over, |a, b| a / b),
    ];
    for (name, exact, fold) in folds {
        table.add_variadic(name, &[ANY], ANY, move |values, _| {
            let mut numbers = values.iter().map(float);
            let first = numbers.next().unwrap_or(0.0);
            Decimal::new(first)?;
            let result = numbers.try_fold(first, |a, b| {
                let (left, right) = (Decimal::new(a)?, Decimal::new(b)?);
                if name == "divf" && right.is_zero() {
                    return Err("decimal division by 0".to_owned());
                }
                Ok::<f64, String>(exact(left, right).map_or_else(|| fold(a, b), Decimal::value))
            });
            result.map(Value::Float)
        });
    }
    let choices: [Choice; 2] = [("maxf", f64::max), ("minf", f64::min)];
    for (name, choose) in choices {
        table.add_variadic(name, &[ANY], ANY, move |values, _| {
            let mut numbers = values.iter().map(float);
            let first = numbers.next().unwrap_or(0.0);
            // What is no number makes no number.
            let either = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { choose(a, b) };
            Ok(Value::Float(numbers.fold(first, either)))
        });
    }
    table.add("ceil", &[ANY], |values, _| Ok(Value::Float(first(values).ceil())));
    table.add("floor", &[ANY], |values, _| Ok(Value::Float(first(values).floor())));
    table.add_variadic("round", &[ANY, Kind::Int], Kind::Float, |values, _| {
        let up_from = values.get(2).map_or(0.5, float);
        let scale = 10f64.powi(i32::try_from(int_of(values, 1)).unwrap_or(0).clamp(-300, 300));
        let scaled = first(values) * scale;
        // The part behind the point has the sign of the number: below zero all are rounded down.
        let is_up = scaled.fract() >= up_from;
        Ok(Value::Float(if is_up { scaled.ceil() } else { scaled.floor() } / scale))
    });
    table.add("int", &[ANY], |values, _| Ok(Value::Int(values.first().map_or(0, int))));
    table.add("float64", &[ANY], |values, _| Ok(Value::Float(first(values))));
    table.add("bytes", &[Kind::Text], |values, _| {
        convert::bytes(text_of(values, 0)).map(|bytes| Value::Float(bytes as f64))
    });
    for name in ["duration", "duration_seconds"] {
        table.add(name, &[Kind::Text], |values, _| {
            convert::duration(text_of(values, 0)).map(|ns| Value::Float(ns as f64 / 1e9))
        });
    }
}

fn first(values: &[Value]) -> f64 {
    values.first().map_or(0.0, float)
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Int(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Text(text) => convert::float(text).unwrap_or(0.0),
        Value::Duration(ns) => *ns as f64,
        _ => 0.0,
    }
}

fn int(value: &Value) -> i64 {
    match value {
        Value::Int(value) => *value,
        Value::Text(text) => whole(text).unwrap_or(0),
        other => {
            let value = float(other);
            // As processors convert what fits in no whole number.
            if value >= -(2f64.powi(63)) && value < 2f64.powi(63) { value as i64 } else { i64::MIN }
        }
    }
}

/// A whole number as Go's constants are written, or what stands before the point of a decimal one.
fn whole(text: &str) -> Option<i64> {
    let is_decimal = |text: &str| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let text = match text.split_once('.') {
        Some((whole, fraction))
            if is_decimal(whole) && fraction.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            if matches!(whole, "" | "-" | "+") { "0" } else { whole }
        }
        _ => text,
    };
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    if !digits.as_bytes().first()?.is_ascii_alphanumeric() {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}
