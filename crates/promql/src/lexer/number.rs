//! Numbers and durations: how they are cut from the text, and what they are worth.

use super::{Kind, Lexed, Lexer, is_alphanumeric};

/// The units of durations from the longest to the shortest, in milliseconds. A duration names each at most once,
/// in this order.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longest duration: what fits into nanoseconds of 64 bits, as in Prometheus (292 years).
const DURATION_MS_MAX: u64 = i64::MAX as u64 / 1_000_000;

impl Lexer<'_> {
    pub(super) fn number_or_duration(&mut self) -> Lexed<Kind> {
        if self.number() && !is_alphanumeric(self.peek(0)) {
            return Ok(Kind::Number);
        }
        if self.rest_of_duration() {
            return Ok(Kind::Duration);
        }
        // The character that does not fit is shown as well.
        let shown = self.query[self.at..].chars().next().map_or(0, char::len_utf8);
        let text = &self.query[self.start..self.at + shown];
        Err(format!("bad number or duration syntax: {}", throughline_exec::quote::quote(text.as_bytes())))
    }

    /// Takes what can be a number; whether it is one.
    fn number(&mut self) -> bool {
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'X') {
            self.at += 2;
            let digits = self.at;
            self.skip_while(|byte| byte.is_ascii_hexdigit() || byte == b'_');
            let text = &self.query[digits..self.at];
            return !text.is_empty() && !text.ends_with('_') && !text.contains("__");
        }
        self.digits() && self.fraction() && self.exponent()
    }

    /// Digits with single underscores between them.
    fn digits(&mut self) -> bool {
        loop {
            self.skip_while(|byte| byte.is_ascii_digit());
            if self.peek(0) != b'_' {
                return true;
            }
            self.at += 1;
            if !self.peek(0).is_ascii_digit() {
                return false;
            }
        }
    }

    fn fraction(&mut self) -> bool {
        !self.take(b'.') || (self.peek(0) != b'_' && self.digits())
    }

    fn exponent(&mut self) -> bool {
        if !matches!(self.peek(0), b'e' | b'E') {
            return true;
        }
        self.at += 1;
        if !self.take(b'+') {
            self.take(b'-');
        }
        self.peek(0).is_ascii_digit() && self.digits()
    }

    /// Takes the units after a first number, and the numbers and units after them.
    fn rest_of_duration(&mut self) -> bool {
        loop {
            if !matches!(self.peek(0), b's' | b'm' | b'h' | b'd' | b'w' | b'y') {
                return false;
            }
            self.at += 1;
            self.take(b's');
            if !self.peek(0).is_ascii_digit() {
                return !is_alphanumeric(self.peek(0));
            }
            self.skip_while(|byte| byte.is_ascii_digit());
        }
    }
}

/// The value of a number as the lexer cut it.
pub fn number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "inf" => return Some(f64::INFINITY),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let digits = lower.replace('_', "");
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|value| value as f64);
    }
    // A leading zero makes it octal where all digits are, as Go's literals do.
    let octal =
        digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal && let Ok(value) = i64::from_str_radix(&digits, 8) {
        return Some(value as f64);
    }
    let value: f64 = digits.parse().ok()?;
    // A literal too large is an error, not infinity.
    value.is_finite().then_some(value)
}

/// The milliseconds of a duration such as `1h30m`.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let invalid =
        || format!("not a valid duration string: {}", throughline_exec::quote::quote(text.as_bytes()));
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let (_, unit_ms) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        if number.is_empty() {
            return Err(invalid());
        }
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_ms));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or("duration out of range")?;
        rest = after;
    }
    if text.is_empty() { Err(invalid()) } else { Ok(total) }
}

/// A duration as it is printed: weeks and years only where they come out even.
#[must_use]
pub fn format_duration_ms(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms;
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        let even_only = matches!(unit, "y" | "w");
        if even_only && !rest.is_multiple_of(unit_ms) {
            continue;
        }
        let count = rest / unit_ms;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest -= count * unit_ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("0x1f", 31.0),
            ("0X_1F", 31.0),
            ("0755", 493.0),
            ("0789", 789.0),
            ("1_000", 1_000.0),
            (".5", 0.5),
            ("1e3", 1_000.0),
            ("1.5E-2", 0.015),
            ("Inf", f64::INFINITY),
        ] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        assert!(number("NaN").is_some_and(f64::is_nan));
        assert_eq!(number("1e400"), None);
    }

    #[test]
    fn durations_round_trip() {
        for text in ["1ms", "5m", "1h30m", "1w", "2y", "8d", "1m30s500ms", "54w"] {
            let ms = duration_ms(text).expect("a duration");
            assert_eq!(duration_ms(&format_duration_ms(ms)), Ok(ms), "{text}");
        }
        assert_eq!(format_duration_ms(90_000), "1m30s");
        assert_eq!(format_duration_ms(8 * 24 * 3_600_000), "8d");
        for text in ["", "5", "1.5h", "5m1h", "1m1m", "1hs"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
        assert_eq!(duration_ms("300y"), Err("duration out of range".to_owned()));
        assert_eq!(duration_ms("99999999999999999999y"), Err("duration out of range".to_owned()));
    }
}
