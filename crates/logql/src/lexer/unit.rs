//! Numbers with and without a unit: how they are cut from the text, and what they are worth.

use super::{Kind, is_word};
use crate::convert;

/// The units of durations, in nanoseconds.
const UNITS: [(&str, f64); 10] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
    ("d", 86_400e9),
    ("w", 604_800e9),
];

/// A year of 365 days, which only a query may name.
const YEAR_NS: f64 = 365.0 * 86_400e9;

/// The units of sizes that a query may name; in values their case does not count.
const SIZES: [&str; 12] = ["B", "KB", "KiB", "MB", "MiB", "GB", "GiB", "TB", "TiB", "PB", "PiB", "EB"];

/// The kind and length of the token at the start of `rest`, which begins with a digit or a point before one.
pub(super) fn token(rest: &str) -> (Kind, usize) {
    let run = run_length(rest);
    let text = rest.get(..run).unwrap_or_default();
    let prefixed =
        text.len() > 1 && text.starts_with('0') && text[1..].starts_with(['b', 'B', 'o', 'O', 'x', 'X']);
    // `0b` is a number of binary digits, and no size.
    if prefixed || is_decimal(text) {
        return (Kind::Number, run);
    }
    let duration = duration_length(text);
    let number = number_length(text);
    match text.get(number..) {
        _ if duration == run => (Kind::Duration, run),
        Some(unit) if SIZES.contains(&unit) => (Kind::Bytes, run),
        _ if duration > 0 => (Kind::Duration, duration),
        _ => (Kind::Number, number.max(1)),
    }
}

/// Digits, letters and points in a row, and the sign of an exponent.
fn run_length(rest: &str) -> usize {
    let mut end = 0;
    let mut before = '\0';
    let hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
    for (at, char) in rest.char_indices() {
        let exponent = if hexadecimal { matches!(before, 'p' | 'P') } else { matches!(before, 'e' | 'E') };
        let digit_follows = rest.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
        let sign = matches!(char, '+' | '-') && exponent && digit_follows;
        if !(is_word(char) || char == '.' || char == 'µ' || char == 'μ' || sign) {
            break;
        }
        end = at + char.len_utf8();
        before = char;
    }
    end
}

fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-' | b'_'))
        && text.replace('_', "").parse::<f64>().is_ok()
}

/// Digits with at most one point.
fn number_length(text: &str) -> usize {
    let whole = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.as_bytes().get(whole) {
        Some(b'.') => whole + 1 + text.bytes().skip(whole + 1).take_while(u8::is_ascii_digit).count(),
        _ => whole,
    }
}

fn unit_at(text: &str) -> Option<(&'static str, f64)> {
    // `ms` is longer than `m`.
    let units = UNITS.iter().copied().chain([("y", YEAR_NS)]);
    units.filter(|(unit, _)| text.starts_with(unit)).max_by_key(|(unit, _)| unit.len())
}

/// The length of the longest duration at the start.
fn duration_length(text: &str) -> usize {
    let mut end = 0;
    loop {
        let rest = text.get(end..).unwrap_or_default();
        let number = number_length(rest);
        let unit = rest.get(number..).and_then(unit_at);
        match (number, unit) {
            (1.., Some((unit, _))) => end += number + unit.len(),
            _ => return end,
        }
    }
}

/// The nanoseconds of a duration as the lexer cut it; nothing beyond 292 years.
#[must_use]
pub fn duration_ns(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at_checked(number_length(rest))?;
        let (unit, unit_ns) = unit_at(after)?;
        total += number.parse::<f64>().ok()? * unit_ns;
        rest = after.get(unit.len()..)?;
    }
    (total < i64::MAX as f64).then_some(total.round() as i64)
}

/// The value of a number as the lexer cut it.
pub fn number(text: &str) -> Result<f64, String> {
    convert::float(text).map_err(|reason| format!("unable to parse literal as a float: {reason}"))
}

/// The bytes of a size as the lexer cut it.
pub fn bytes(text: &str) -> Result<u64, String> {
    convert::bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(duration_ns("1h30m"), Some(5_400_000_000_000));
        assert_eq!(duration_ns("1.5s"), Some(1_500_000_000));
        assert_eq!(duration_ns("1y"), Some(365 * 86_400_000_000_000));
        assert_eq!(duration_ns("300y"), None);
        assert_eq!(bytes("1.5KiB"), Ok(1536));
        assert_eq!(number("0x1p-2"), Ok(0.25));
        assert!(number("0x1A").unwrap_err().starts_with("unable to parse literal as a float"));
    }
}
