//! Functions that compute. Like sprig's they take anything for a number, and what is none for zero.

use throughline_template::{Functions, Kind, Value};

use super::{int_of, text_of};
use crate::convert;

const ANY: Kind = Kind::Any;

/// Names of functions over whole numbers, and what they do with one and the next.
type IntFold = (&'static str, fn(i64, i64) -> Result<i64, String>);
/// The same over floats.
type FloatFold = (&'static str, fn(f64, f64) -> f64);

pub(super) fn add(table: &mut Functions<'static>) {
    let folds: [IntFold; 7] = [
        ("add", |a, b| Ok(a.wrapping_add(b))),
        ("sub", |a, b| Ok(a.wrapping_sub(b))),
        ("mul", |a, b| Ok(a.wrapping_mul(b))),
        ("div", |a, b| a.checked_div(b).ok_or_else(|| "integer divide by zero".to_owned())),
        ("mod", |a, b| a.checked_rem(b).ok_or_else(|| "integer divide by zero".to_owned())),
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
    let folds: [FloatFold; 6] = [
        ("addf", |a, b| a + b),
        ("subf", |a, b| a - b),
        ("mulf", |a, b| a * b),
        ("divf", |a, b| a / b),
        ("maxf", f64::max),
        ("minf", f64::min),
    ];
    for (name, fold) in folds {
        table.add_variadic(name, &[ANY], ANY, move |values, _| {
            let mut numbers = values.iter().map(float);
            let first = numbers.next().unwrap_or(0.0);
            Ok(Value::Float(numbers.fold(first, fold)))
        });
    }
    table.add("ceil", &[ANY], |values, _| Ok(Value::Float(first(values).ceil())));
    table.add("floor", &[ANY], |values, _| Ok(Value::Float(first(values).floor())));
    table.add_variadic("round", &[ANY, Kind::Int], Kind::Float, |values, _| {
        let up_from = values.get(2).map_or(0.5, float);
        let scale = 10f64.powi(i32::try_from(int_of(values, 1)).unwrap_or(0).clamp(-300, 300));
        let scaled = first(values) * scale;
        let (whole, fraction) = (scaled.floor(), scaled - scaled.floor());
        Ok(Value::Float(if fraction >= up_from { whole + 1.0 } else { whole } / scale))
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
        Value::Text(text) => {
            // `12.0` is a whole number, `12.5` is none.
            let digits = text.split_once('.').filter(|(_, zeros)| zeros.bytes().all(|byte| byte == b'0'));
            digits.map_or(text.as_ref(), |(digits, _)| digits).parse().unwrap_or(0)
        }
        other => float(other) as i64,
    }
}
