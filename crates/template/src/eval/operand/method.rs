//! The methods of times and durations.

use crate::time::{self, civil};
use crate::value::Value;

const NS_PER_MS: i64 = 1_000_000;
const NS_PER_SECOND: i64 = 1_000_000_000;

/// Calls a method; none if there is none of this name.
pub fn call(receiver: &Value, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
    match (receiver, arguments) {
        (Value::Time(ns), []) => of_time(*ns, name).map(Ok),
        (Value::Time(ns), [argument]) => of_time_with(*ns, name, argument),
        (Value::Duration(ns), []) => of_duration(*ns, name).map(Ok),
        (Value::Duration(ns), [Value::Duration(unit)]) => match name {
            "Truncate" => Some(Ok(Value::Duration(if *unit > 0 { ns - ns % unit } else { *ns }))),
            _ => None,
        },
        _ => Some(Err(format!("wrong number of args for {name}: got {}", arguments.len()))),
    }
}

fn of_time(ns: i64, name: &str) -> Option<Value> {
    let parts = civil(ns);
    Some(match name {
        "Unix" => Value::Int(ns.div_euclid(NS_PER_SECOND)),
        "UnixMilli" => Value::Int(ns.div_euclid(NS_PER_MS)),
        "UnixMicro" => Value::Int(ns.div_euclid(1000)),
        "UnixNano" => Value::Int(ns),
        "UTC" | "Local" => Value::Time(ns),
        "String" => Value::text(time::display(ns)),
        "Year" => Value::Int(parts.year),
        "Month" => Value::text(time::format_layout(ns, "January")),
        "Weekday" => Value::text(time::format_layout(ns, "Monday")),
        "Day" => Value::Int(parts.day.into()),
        "YearDay" => Value::Int(parts.year_day.into()),
        "Hour" => Value::Int(parts.hour.into()),
        "Minute" => Value::Int(parts.minute.into()),
        "Second" => Value::Int(parts.second.into()),
        "Nanosecond" => Value::Int(parts.nanosecond.into()),
        "IsZero" => Value::Bool(false),
        _ => return None,
    })
}

fn of_time_with(ns: i64, name: &str, argument: &Value) -> Option<Result<Value, String>> {
    let value = match (name, argument) {
        ("Format", Value::Text(layout)) => Value::text(time::format_layout(ns, layout)),
        ("Add", Value::Duration(by)) => Value::Time(ns.saturating_add(*by)),
        ("Truncate", Value::Duration(unit)) => {
            Value::Time(if *unit > 0 { ns - ns.rem_euclid(*unit) } else { ns })
        }
        ("Sub", Value::Time(other)) => Value::Duration(ns.saturating_sub(*other)),
        ("Before", Value::Time(other)) => Value::Bool(ns < *other),
        ("After", Value::Time(other)) => Value::Bool(ns > *other),
        ("Equal", Value::Time(other)) => Value::Bool(ns == *other),
        ("Format" | "Add" | "Truncate" | "Sub" | "Before" | "After" | "Equal", other) => {
            return Some(Err(format!("wrong type for value; got {}", other.type_name())));
        }
        _ => return None,
    };
    Some(Ok(value))
}

fn of_duration(ns: i64, name: &str) -> Option<Value> {
    Some(match name {
        "Seconds" => Value::Float(ns as f64 / 1e9),
        "Minutes" => Value::Float(ns as f64 / 60e9),
        "Hours" => Value::Float(ns as f64 / 3600e9),
        "Milliseconds" => Value::Int(ns / NS_PER_MS),
        "Microseconds" => Value::Int(ns / 1000),
        "Nanoseconds" => Value::Int(ns),
        "Abs" => Value::Duration(ns.saturating_abs()),
        "String" => Value::text(time::duration(ns)),
        _ => return None,
    })
}
