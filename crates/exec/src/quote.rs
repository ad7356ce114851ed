//! Texts in quotes as Go writes them: in queries, in messages, in label sets.

mod unquote;

pub use unquote::{escape_length, unquote};

use std::fmt::Write as _;

/// `text` in double quotes; bytes that are no UTF-8 as `\xff`.
#[must_use]
pub fn quote(text: &[u8]) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            push_escaped(&mut quoted, char, '"');
        }
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

/// One character in single quotes.
#[must_use]
pub fn quote_char(char: char) -> String {
    let mut quoted = String::from("'");
    push_escaped(&mut quoted, char, '\'');
    quoted.push('\'');
    quoted
}

/// `U+0078 'x'`
#[must_use]
pub fn code_point(char: char) -> String {
    format!("U+{:04X} {}", u32::from(char), quote_char(char))
}

fn push_escaped(out: &mut String, char: char, quote: char) {
    match char {
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        '\\' => out.push_str("\\\\"),
        _ if char == quote => {
            out.push('\\');
            out.push(char);
        }
        _ if is_printable(char) => out.push(char),
        _ => {
            let value = u32::from(char);
            let _ = match value {
                0..0x80 => write!(out, "\\x{value:02x}"),
                0x80..0x1_0000 => write!(out, "\\u{value:04x}"),
                _ => write!(out, "\\U{value:08x}"),
            };
        }
    }
}

/// Whether Go would print `char` as it is: a letter, mark, number, sign or the plain space.
fn is_printable(char: char) -> bool {
    let format_character = matches!(u32::from(char),
        0xad | 0x600..=0x605 | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
        | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb | 0xfffe | 0xffff | 0xe_0000..);
    char == ' ' || !(char.is_control() || char.is_whitespace() || format_character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_of_go() {
        assert_eq!(quote("a\"b\\\n\x01é\u{200b}\u{1f600}".as_bytes()), "\"a\\\"b\\\\\\n\\x01é\\u200b😀\"");
        assert_eq!(quote(b"\xff\x00"), "\"\\xff\\x00\"");
        assert_eq!(quote_char('\''), "'\\''");
        assert_eq!(code_point('x'), "U+0078 'x'");
    }
}
