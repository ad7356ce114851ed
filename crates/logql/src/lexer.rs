//! Cuts the text of a query into tokens.
//!
//! Words have no meaning here: whether `bytes` is a function, a conversion or a label is known only to the parser. The text is cut
//! as a whole before it is parsed, so its length and the number of its tokens are checked before anything recurses.

mod unit;

pub use unit::{bytes, duration_ns, number};

use crate::parse::ParseError;
use throughline_exec::quote::{code_point, escape_length, quote_char};

/// Longest query, in bytes: a query written by people is shorter than 2 KiB.
pub const QUERY_BYTES_MAX: usize = 128 << 10;
/// Most tokens of a query: bounds the time that parsing takes.
pub const TOKENS_MAX: usize = 20_000;

/// The kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The end of the query.
    End,
    /// A word.
    Word,
    /// A text in quotes.
    Text,
    /// `1.5`
    Number,
    /// `1h30m`
    Duration,
    /// `20MB`
    Bytes,
    /// A sign, or two that belong together.
    Sign(&'static str),
}

/// A token: its kind and its bytes in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its first byte.
    pub start: usize,
    /// The byte after it.
    pub end: usize,
}

/// The signs; of those that begin alike, the longer first.
const SIGNS: [&str; 29] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "{", "}", "(", ")", "[", "]", ",", "|", "=",
    ">", "<", "+", "-", "*", "/", "%", "^", "@", ".",
];

/// Cuts `query` into tokens; the last is [`Kind::End`].
pub fn tokens(query: &str) -> Result<Vec<Token>, ParseError> {
    if query.len() > QUERY_BYTES_MAX {
        let message = format!("query of {} bytes is longer than {QUERY_BYTES_MAX} bytes", query.len());
        return Err(ParseError::new("", 0, message));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip_space(query, at);
        if tokens.len() >= TOKENS_MAX {
            return Err(ParseError::new(query, at, format!("query has more than {TOKENS_MAX} tokens")));
        }
        let rest = query.get(at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { kind: Kind::End, start: at, end: at });
            return Ok(tokens);
        };
        let (kind, length) = token(rest, first).map_err(|message| ParseError::new(query, at, message))?;
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
}

fn skip_space(query: &str, mut at: usize) -> usize {
    loop {
        let rest = query.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        at += rest.len() - trimmed.len();
        if !trimmed.starts_with('#') {
            return at;
        }
        at += trimmed.find('\n').unwrap_or(trimmed.len());
    }
}

fn token(rest: &str, first: char) -> Result<(Kind, usize), String> {
    let second_is_digit = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    match first {
        '"' | '`' => Ok((Kind::Text, text(rest, first)?)),
        '0'..='9' => Ok(unit::token(rest)),
        '.' if second_is_digit => Ok(unit::token(rest)),
        _ if is_word_start(first) => {
            let length = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
            Ok((Kind::Word, length))
        }
        _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => Ok((Kind::Sign(sign), sign.len())),
            None => Err(format!("syntax error: unexpected character {}", quote_char(first))),
        },
    }
}

/// Whether a word may begin with it.
#[must_use]
pub fn is_word_start(char: char) -> bool {
    char.is_alphabetic() || char == '_'
}

/// Whether it may be in a word.
#[must_use]
pub fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The length of the text in quotes at the start of `rest`.
fn text(rest: &str, quote: char) -> Result<usize, String> {
    let inner = rest.get(1..).unwrap_or_default();
    if quote == '`' {
        return inner.find('`').map(|end| end + 2).ok_or_else(|| "literal not terminated".to_owned());
    }
    let mut at = 0;
    loop {
        let left = inner.get(at..).unwrap_or_default();
        match left.chars().next() {
            None | Some('\n') => return Err("literal not terminated".to_owned()),
            Some('"') => return Ok(at + 2),
            Some('\\') => {
                let escaped = left.get(1..).unwrap_or_default();
                at += 1 + match escaped.chars().next() {
                    Some('"') => 1,
                    Some(other) => escape_length(escaped)
                        .map_err(|reason| format!("invalid char escape {}: {reason}", code_point(other)))?,
                    None => return Err("literal not terminated".to_owned()),
                };
            }
            Some(char) => at += char.len_utf8(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(query: &str) -> Vec<(Kind, &str)> {
        let tokens = tokens(query).expect("tokens");
        tokens.iter().map(|token| (token.kind, &query[token.start..token.end])).collect()
    }

    #[test]
    fn numbers_durations_and_sizes_are_told_apart() {
        let kinds = |query: &str| {
            let kinds: Vec<String> =
                cut(query).iter().map(|(kind, text)| format!("{kind:?}:{text}")).collect();
            kinds.join(" ")
        };
        assert_eq!(kinds("1.5 1e3 2e-3 .5"), "Number:1.5 Number:1e3 Number:2e-3 Number:.5 End:");
        assert_eq!(
            kinds("5m 1h30m 1.5h 2µs 1d"),
            "Duration:5m Duration:1h30m Duration:1.5h Duration:2µs Duration:1d End:"
        );
        assert_eq!(kinds("1MB 1.5KiB 3B"), "Bytes:1MB Bytes:1.5KiB Bytes:3B End:");
        assert_eq!(kinds("1mb"), "Duration:1m Word:b End:");
        assert_eq!(
            kinds("0b1010 0o17 0x1A 0x1p-2"),
            "Number:0b1010 Number:0o17 Number:0x1A Number:0x1p-2 End:"
        );
    }

    #[test]
    fn signs_texts_and_comments() {
        assert_eq!(cut("a|=`b\\`# c\n!~\"d\\\"\"").len(), 6);
        for wrong in ["\"a", "`a", "\"\\q\"", "$", "'a'"] {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
        assert!(tokens(&"a ".repeat(TOKENS_MAX)).is_err());
        assert!(tokens(&"a".repeat(QUERY_BYTES_MAX + 1)).is_err());
    }
}
