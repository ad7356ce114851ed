//! Numbers and durations: how they are cut from the text, and what they are worth.

use super::{Kind, Lexed, Lexer, is_alphanumeric};

pub use throughline_exec::duration::{duration_ms, format_duration_ms};

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
}
