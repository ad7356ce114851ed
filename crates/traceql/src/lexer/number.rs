//! Numbers with and without a unit.

use super::{Kind, is_word};

/// The units of durations, from the longest, in nanoseconds, and whether a fraction of one may be written.
const UNITS: [(&str, i64, bool); 11] = [
    ("y", 365 * 86_400_000_000_000, false),
    ("w", 7 * 86_400_000_000_000, false),
    ("d", 86_400_000_000_000, false),
    ("h", 3_600_000_000_000, true),
    ("ms", 1_000_000, true),
    ("m", 60_000_000_000, true),
    ("s", 1_000_000_000, true),
    ("us", 1_000, true),
    ("µs", 1_000, true),
    ("μs", 1_000, true),
    ("ns", 1, true),
];

/// The kind and length of the token at the start of `rest`, which begins with a digit or a point before one.
pub(super) fn token(rest: &str) -> Result<(Kind, usize), String> {
    let (digits, fraction) = number_length(rest);
    let exponent = exponent_length(rest.get(digits..).unwrap_or_default());
    let number = digits + exponent;
    let after = rest.get(number..).unwrap_or_default();
    if !after.starts_with(|char| is_word(char) || char == '.') {
        let kind = if fraction || exponent > 0 { Kind::Float } else { Kind::Int };
        return Ok((kind, number));
    }
    let run = rest.find(|char| !is_word(char) && char != '.').unwrap_or(rest.len());
    let text = rest.get(..run).unwrap_or_default();
    match duration_ns(text) {
        Some(_) => Ok((Kind::Duration, run)),
        None => {
            Err(format!("`{}` is neither a number nor a duration", text.chars().take(40).collect::<String>()))
        }
    }
}

/// The length of digits with at most one point, and whether there is one.
fn number_length(text: &str) -> (usize, bool) {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    match text.as_bytes().get(whole) {
        Some(b'.') => (whole + 1 + digits(text.get(whole + 1..).unwrap_or_default()), true),
        _ => (whole, false),
    }
}

/// The length of `e-3`, or nothing.
fn exponent_length(text: &str) -> usize {
    let Some(after) = text.strip_prefix(['e', 'E']) else { return 0 };
    let digits = after.strip_prefix(['+', '-']).unwrap_or(after);
    match digits.bytes().take_while(u8::is_ascii_digit).count() {
        0 => 0,
        count => text.len() - digits.len() + count,
    }
}

/// The nanoseconds of a duration such as `1h30m` or `1.5s`; nothing beyond 292 years.
#[must_use]
pub fn duration_ns(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let (length, fraction) = number_length(rest);
        let (number, after) = rest.split_at_checked(length)?;
        let (unit, unit_ns, divisible) = UNITS.iter().find(|(unit, ..)| after.starts_with(unit))?;
        let ns = if fraction {
            let ns = number.parse::<f64>().ok().filter(|_| *divisible)? * *unit_ns as f64;
            // Larger ones are beyond what 64 bits hold.
            if ns >= 9.2e18 {
                return None;
            }
            ns.round() as i64
        } else {
            number.parse::<i64>().ok()?.checked_mul(*unit_ns)?
        };
        total = total.checked_add(ns)?;
        rest = after.get(unit.len()..)?;
    }
    (!text.is_empty()).then_some(total)
}
