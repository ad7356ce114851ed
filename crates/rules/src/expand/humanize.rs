//! Numbers for people.

use throughline_template::{Value, format, time};

const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

/// A value as a float: numbers, text of a number, seconds of a duration.
pub fn to_float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::Text(text) => {
            let plain = text.replace('_', "");
            plain.parse().map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
        }
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// Four digits.
fn short(number: f64) -> String {
    format::float(number, 'g', Some(4))
}

/// With a prefix of the metric system.
pub fn humanize(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return short(number);
    }
    let (scaled, prefix) = if number.abs() >= 1.0 { shrink(number, 1000.0, &LARGE) } else { grow(number) };
    format!("{}{prefix}", short(scaled))
}

/// With a binary prefix.
pub fn humanize1024(number: f64) -> String {
    if number.abs() <= 1.0 || !number.is_finite() {
        return short(number);
    }
    let (scaled, prefix) = shrink(number, 1024.0, &LARGE_BINARY);
    format!("{}{prefix}", short(scaled))
}

fn shrink(mut number: f64, by: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if number.abs() < by {
            break;
        }
        prefix = next;
        number /= by;
    }
    (number, prefix)
}

fn grow(mut number: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in SMALL {
        if number.abs() >= 1.0 {
            break;
        }
        prefix = next;
        number *= 1000.0;
    }
    (number, prefix)
}

/// Seconds.
pub fn duration(number: f64) -> String {
    if !number.is_finite() {
        return short(number);
    }
    if number == 0.0 {
        return format!("{}s", short(number));
    }
    if number.abs() < 1.0 {
        let (scaled, prefix) = grow(number);
        return format!("{}{prefix}s", short(scaled));
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let number = number.abs();
    let whole = number as i64;
    let (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", short(number)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// Seconds since the epoch as a time, to the millisecond.
pub fn to_time(number: f64) -> Result<Value, String> {
    if !number.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let ns = number * 1e9;
    if !(-9.2e18..=9.2e18).contains(&ns) {
        return Err(format!(
            "{number} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok(Value::Time(ns as i64 / 1_000_000 * 1_000_000))
}

/// Seconds since the epoch as the text of a time.
pub fn timestamp(number: f64) -> Result<String, String> {
    if !number.is_finite() {
        return Ok(short(number));
    }
    match to_time(number)? {
        Value::Time(ns) => Ok(time::display(ns)),
        _ => Ok(String::new()),
    }
}
