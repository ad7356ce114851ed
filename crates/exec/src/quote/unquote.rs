//! What a text in quotes says: Go's escapes.

/// What a text with its quotes, as the lexer cut it, says.
#[must_use]
pub fn unquote(token: &str) -> Vec<u8> {
    let quote = token.as_bytes().first().copied().unwrap_or(b'"');
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or("");
    if quote == b'`' {
        return inner.replace('\r', "").into_bytes();
    }
    let mut value = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        value.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if rest.as_bytes().first() == Some(&quote) {
            value.push(quote);
            rest = &rest[1..];
            continue;
        }
        // The lexer has checked all escapes.
        let Ok((escaped, taken)) = escape(rest) else { break };
        match escaped {
            Escaped::Byte(byte) => value.push(byte),
            Escaped::Char(char) => value.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[taken..];
    }
    value.extend_from_slice(rest.as_bytes());
    value
}

/// The bytes of the escape at the start of `rest`, after its backslash; what is wrong with it if it is none.
pub fn escape_length(rest: &str) -> Result<usize, String> {
    escape(rest).map(|(_, length)| length)
}

enum Escaped {
    Byte(u8),
    Char(char),
}

/// Reads the escape at the start of `rest`, after its backslash; with it the bytes it takes.
fn escape(rest: &str) -> Result<(Escaped, usize), String> {
    let first = rest.chars().next().ok_or("escape sequence not terminated")?;
    let simple = match first {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '0'..='7' => return digits(rest, 3, 8).map(|value| (Escaped::Byte(value as u8), 3)),
        'x' => return digits(&rest[1..], 2, 16).map(|value| (Escaped::Byte(value as u8), 3)),
        'u' => return code_point(&rest[1..], 4),
        'U' => return code_point(&rest[1..], 8),
        other => {
            return Err(format!("unknown escape sequence {}", super::code_point(other)));
        }
    };
    Ok((Escaped::Byte(simple), 1))
}

fn code_point(rest: &str, count: usize) -> Result<(Escaped, usize), String> {
    let value = digits(rest, count, 16)?;
    let char = char::from_u32(value).ok_or("escape sequence is an invalid Unicode code point")?;
    Ok((Escaped::Char(char), count + 1))
}

/// Reads exactly `count` digits.
fn digits(rest: &str, count: usize, radix: u32) -> Result<u32, String> {
    let mut value: u64 = 0;
    let mut chars = rest.chars();
    for _ in 0..count {
        let char = chars.next().ok_or("escape sequence not terminated")?;
        let digit = char
            .to_digit(radix)
            .ok_or_else(|| format!("illegal character {} in escape sequence", super::code_point(char)))?;
        value = value * u64::from(radix) + u64::from(digit);
    }
    if radix == 8 && value > 255 {
        return Err("escape sequence is an invalid Unicode code point".to_owned());
    }
    u32::try_from(value).map_err(|_| "escape sequence is an invalid Unicode code point".to_owned())
}

#[cfg(test)]
mod tests {
    use super::unquote;

    #[test]
    fn escapes_are_read() {
        assert_eq!(unquote(r#""a\"b\\c\n\x41\u00e9\101""#), "a\"b\\c\nAéA".as_bytes());
        assert_eq!(unquote(r"'it\'s'"), b"it's");
        assert_eq!(unquote(r"`a\n`"), br"a\n");
        assert_eq!(unquote(r#""\xff""#), [0xff]);
    }
}
