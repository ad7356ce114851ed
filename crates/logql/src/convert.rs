//! Texts that are numbers: as labels and lines hold them, read and refused as Go does.

use std::borrow::Cow;

use throughline_exec::quote::quote;

/// A float of 64 bits: decimal, hexadecimal with an exponent, infinite, or no number.
pub(crate) fn float(text: &str) -> Result<f64, String> {
    let failed = || format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text.as_bytes()));
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = &*without_underscores(digits).ok_or_else(failed)?;
    let value = match digits.as_bytes().first() {
        Some(b'0'..=b'9' | b'.') if digits.starts_with("0x") || digits.starts_with("0X") => {
            hexadecimal(&digits[2..]).ok_or_else(failed)?
        }
        Some(b'0'..=b'9' | b'.') => digits.parse::<f64>().map_err(|_| failed())?,
        Some(_) if digits.eq_ignore_ascii_case("inf") || digits.eq_ignore_ascii_case("infinity") => {
            f64::INFINITY
        }
        Some(_) if text.eq_ignore_ascii_case("nan") => f64::NAN,
        _ => return Err(failed()),
    };
    if value.is_infinite() && digits.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        return Err(format!("strconv.ParseFloat: parsing {}: value out of range", quote(text.as_bytes())));
    }
    Ok(if negative { -value } else { value })
}

/// A number without the underscores that stand between its digits; nothing if one stands elsewhere.
fn without_underscores(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('_') {
        return Some(Cow::Borrowed(text));
    }
    let is_hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    // What says that digits are hexadecimal is as good as one.
    let start = if is_hexadecimal { 2 } else { 0 };
    let is_digit = |byte: &u8| byte.is_ascii_digit() || is_hexadecimal && byte.is_ascii_hexdigit();
    let bytes = text.as_bytes();
    let is_between = |at: usize| {
        let after_digit = at == start && is_hexadecimal
            || at.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(is_digit);
        after_digit && bytes.get(at + 1).is_some_and(is_digit)
    };
    text.match_indices('_').all(|(at, _)| is_between(at)).then(|| Cow::Owned(text.replace('_', "")))
}

/// `1.8p-2`, of which the exponent cannot be left out.
fn hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().ok()?;
    if (whole.is_empty() && fraction.is_empty()) || whole.len() + fraction.len() > 256 {
        return None;
    }
    let mut value = 0.0;
    for char in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(char.to_digit(16)?);
    }
    let fraction_bits = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    Some(value * 2f64.powi(exponent.checked_sub(fraction_bits)?))
}

/// The units of sizes in small letters, and what they are worth.
const SIZES: [(&str, u64); 26] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("kb", 1_000),
    ("mib", 1 << 20),
    ("mb", 1_000_000),
    ("gib", 1 << 30),
    ("gb", 1_000_000_000),
    ("tib", 1 << 40),
    ("tb", 1_000_000_000_000),
    ("pib", 1 << 50),
    ("pb", 1_000_000_000_000_000),
    ("eib", 1 << 60),
    ("eb", 1_000_000_000_000_000_000),
    ("ki", 1 << 10),
    ("k", 1_000),
    ("mi", 1 << 20),
    ("m", 1_000_000),
    ("gi", 1 << 30),
    ("g", 1_000_000_000),
    ("ti", 1 << 40),
    ("t", 1_000_000_000_000),
    ("pi", 1 << 50),
    ("p", 1_000_000_000_000_000),
    ("ei", 1 << 60),
    ("e", 1_000_000_000_000_000_000),
];

/// A size such as `1.5 KiB` or `2,048`: whole bytes. The case of the unit does not count.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b',')).count();
    let (digits, unit) = text.split_at(end);
    let value = float(&digits.replace(',', ""))?;
    let unit = unit.trim().to_lowercase();
    match SIZES.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => {
            let bytes = value * *factor as f64;
            if bytes >= u64::MAX as f64 { Err(format!("too large: {text}")) } else { Ok(bytes as u64) }
        }
        None => Err(format!("unhandled size name: {unit}")),
    }
}

/// The units of durations in values, in nanoseconds.
const DURATIONS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration such as `-1h30.5m`, in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, after) = rest.split_at(whole);
        let fraction = after.strip_prefix('.').map(|after| {
            let length = after.bytes().take_while(u8::is_ascii_digit).count();
            after.split_at(length)
        });
        let (fraction, after) = fraction.unwrap_or(("", after));
        if digits.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_length =
            after.find(|char: char| char == '.' || char.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quoted(text)));
        }
        let known = DURATIONS.iter().find(|(name, _)| *name == unit);
        let Some((_, unit_ns)) = known else {
            let (unit, text) = (quoted(unit), quoted(text));
            return Err(format!("time: unknown unit {unit} in duration {text}"));
        };
        let whole: u64 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| invalid())? };
        let part = format!("0.{fraction}").parse::<f64>().unwrap_or(0.0) * *unit_ns as f64;
        let sum = whole.checked_mul(*unit_ns).and_then(|ns| ns.checked_add(part as u64));
        total = sum
            .and_then(|ns| total.checked_add(ns))
            .filter(|ns| *ns <= i64::MAX as u64)
            .ok_or_else(invalid)?;
        rest = after;
    }
    let ns = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -ns } else { ns })
}

/// A text in quotes as Go's errors of durations have it: the bytes of what is not ASCII are hexadecimal numbers.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=0x7f => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_go_reads_them() {
        for (text, value) in [
            ("1.5", 1.5),
            ("-5", -5.0),
            ("+Inf", f64::INFINITY),
            ("infinity", f64::INFINITY),
            ("0x1.8p1", 3.0),
            ("1e3", 1e3),
            ("1_23.5_0e1_2", 1.235e14),
            ("0x_1_0p1", 32.0),
        ] {
            assert_eq!(float(text), Ok(value), "{text}");
        }
        assert!(float("NaN").is_ok_and(f64::is_nan));
        for text in ["", "x", "0x1A", "0b1", "1__0", "_1", "1_", "1_.5", "--1", " 1", "-nan"] {
            assert!(float(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_durations() {
        assert_eq!(bytes("2,048"), Ok(2048));
        assert_eq!(bytes("1.5B"), Ok(1));
        assert_eq!(bytes("2Kb"), Ok(2000));
        assert_eq!(bytes("oops").unwrap_err(), "strconv.ParseFloat: parsing \"\": invalid syntax");
        assert_eq!(bytes("1XB").unwrap_err(), "unhandled size name: xb");
        assert_eq!(duration("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(duration("-1.5s"), Ok(-1_500_000_000));
        assert_eq!(duration("90").unwrap_err(), "time: missing unit in duration \"90\"");
        assert_eq!(duration("1d").unwrap_err(), "time: unknown unit \"d\" in duration \"1d\"");
        assert_eq!(
            duration("1µx\"").unwrap_err(),
            r#"time: unknown unit "\xc2\xb5x\"" in duration "1\xc2\xb5x\"""#
        );
        assert_eq!(duration("oops").unwrap_err(), "time: invalid duration \"oops\"");
        assert!(duration("99999999h").is_err() && duration("").is_err());
    }
}
