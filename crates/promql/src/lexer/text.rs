//! Texts in quotes: how they are cut from the query, and what they say.

use super::{Kind, Lexed, Lexer};

impl Lexer<'_> {
    pub(super) fn text(&mut self) -> Lexed<Kind> {
        let quote = self.peek(0);
        let raw = quote == b'`';
        self.at += 1;
        loop {
            self.skip_while(|byte| byte != quote && byte != b'\\' && (raw || byte != b'\n'));
            if self.take(quote) {
                return Ok(Kind::Text);
            }
            if raw && self.take(b'\\') {
                continue;
            }
            if !self.take(b'\\') {
                let kind = if raw { "raw" } else { "quoted" };
                return Err(format!("unterminated {kind} string"));
            }
            if self.take(quote) {
                continue;
            }
            let (_, taken) = escape(&self.query[self.at..])?;
            self.at += taken;
        }
    }
}

/// What a text with its quotes, as the lexer cut it, says.
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

enum Escaped {
    Byte(u8),
    Char(char),
}

/// Reads the escape at the start of `rest`, after its backslash; with it the bytes it takes.
fn escape(rest: &str) -> Lexed<(Escaped, usize)> {
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
            return Err(format!("unknown escape sequence {}", throughline_exec::quote::code_point(other)));
        }
    };
    Ok((Escaped::Byte(simple), 1))
}

fn code_point(rest: &str, count: usize) -> Lexed<(Escaped, usize)> {
    let value = digits(rest, count, 16)?;
    let char = char::from_u32(value).ok_or("escape sequence is an invalid Unicode code point")?;
    Ok((Escaped::Char(char), count + 1))
}

/// Reads exactly `count` digits.
fn digits(rest: &str, count: usize, radix: u32) -> Lexed<u32> {
    let mut value: u64 = 0;
    let mut chars = rest.chars();
    for _ in 0..count {
        let char = chars.next().ok_or("escape sequence not terminated")?;
        let digit = char.to_digit(radix).ok_or_else(|| {
            format!("illegal character {} in escape sequence", throughline_exec::quote::code_point(char))
        })?;
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
