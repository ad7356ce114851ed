//! Constants as Go writes them: numbers, characters, quoted text.

use crate::ast::Number;

/// A number: decimal, hexadecimal, octal, binary, with underscores, or a float.
pub fn number(text: &str) -> Result<Number, String> {
    let illegal = || format!("bad number syntax: {text:?}");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = based(digits);
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    if let Ok(magnitude) = i128::from_str_radix(&plain, radix)
        && plain.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        let value = if negative { -magnitude } else { magnitude };
        let int = i64::try_from(value).map_err(|_| format!("integer overflow: {text:?}"))?;
        return Ok(Number { int: Some(int), float: int as f64, is_float: false });
    }
    let is_decimal = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if !plain.chars().all(is_decimal) || !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(illegal());
    }
    let magnitude: f64 = plain.parse().map_err(|_| illegal())?;
    if magnitude.is_infinite() {
        return Err(illegal());
    }
    let float = if negative { -magnitude } else { magnitude };
    // 2^63 itself is out of the range of integers.
    let is_whole = float.fract() == 0.0 && float.abs() < 9.2e18;
    Ok(Number { int: is_whole.then_some(float as i64), float, is_float: true })
}

fn based(digits: &str) -> (u32, &str) {
    let lower = digits.get(..2).map(str::to_ascii_lowercase);
    match lower.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) => {
            (8, &digits[1..])
        }
        _ => (10, digits),
    }
}

/// A character in single quotes, as its number.
pub fn character(text: &str) -> Result<Number, String> {
    let unquoted = unquote(text).map_err(|()| format!("malformed character constant: {text}"))?;
    let mut chars = unquoted.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => {
            let int = i64::from(u32::from(c));
            Ok(Number { int: Some(int), float: int as f64, is_float: false })
        }
        _ => Err(format!("malformed character constant: {text}")),
    }
}

/// The text that a quoted one stands for. Bytes that are no UTF-8 become the replacement character.
pub fn unquote(quoted: &str) -> Result<String, ()> {
    let quote = quoted.chars().next().ok_or(())?;
    let inner = quoted.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)).ok_or(())?;
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            escape(&mut chars, quote, &mut out)?;
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn escape(chars: &mut std::str::Chars<'_>, quote: char, out: &mut Vec<u8>) -> Result<(), ()> {
    let c = chars.next().ok_or(())?;
    let byte = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c if c == quote => quote as u8,
        'x' => u8::try_from(digits(chars, 2, 16)?).map_err(|_| ())?,
        '0'..='7' => {
            let first = c.to_digit(8).ok_or(())?;
            u8::try_from(first * 64 + digits(chars, 2, 8)?).map_err(|_| ())?
        }
        'u' | 'U' => {
            let code = digits(chars, if c == 'u' { 4 } else { 8 }, 16)?;
            let c = char::from_u32(code).ok_or(())?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        _ => return Err(()),
    };
    out.push(byte);
    Ok(())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Result<u32, ()> {
    let mut value = 0_u32;
    for _ in 0..count {
        let digit = chars.next().and_then(|c| c.to_digit(radix)).ok_or(())?;
        value = value.checked_mul(radix).and_then(|v| v.checked_add(digit)).ok_or(())?;
    }
    Ok(value)
}
