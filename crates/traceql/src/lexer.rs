//! Cuts the text of a query into tokens.
//!
//! Words have no meaning here. Names of attributes are cut whole, since nearly every character may be part of them. The text is
//! cut as a whole before it is parsed, so its length and the number of its tokens are checked before anything recurses.

mod name;
mod number;

pub use name::{attribute, is_name_char};
pub use number::duration_ns;

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
    /// `span:name`
    Scoped,
    /// `.name`, `span.name`, `span."a name"`
    Attribute,
    /// A text in quotes.
    Text,
    /// `5`
    Int,
    /// `1.5`
    Float,
    /// `1h30m`
    Duration,
    /// A sign, or several that belong together.
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
const SIGNS: [&str; 36] = [
    "!>>", "!<<", "&>>", "&<<", "!>", "!<", "!~", "!=", "&>", "&<", "&~", "&&", "||", ">>", "<<", ">=", "<=",
    "=~", "{", "}", "(", ")", "=", ">", "<", "+", "-", "/", "%", "*", "^", "!", "|", "~", ",", ":",
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
        at = skip_space(query, at)?;
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

/// Spaces and comments, which are Go's.
fn skip_space(query: &str, mut at: usize) -> Result<usize, ParseError> {
    loop {
        let rest = query.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        at += rest.len() - trimmed.len();
        if trimmed.starts_with("//") {
            at += trimmed.find('\n').unwrap_or(trimmed.len());
        } else if trimmed.starts_with("/*") {
            let end =
                trimmed.find("*/").ok_or_else(|| ParseError::new(query, at, "comment not terminated"))?;
            at += end + 2;
        } else {
            return Ok(at);
        }
    }
}

fn token(rest: &str, first: char) -> Result<(Kind, usize), String> {
    let second_is_digit = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    match first {
        '"' | '`' => Ok((Kind::Text, text(rest, first)?)),
        '0'..='9' => number::token(rest),
        '.' if second_is_digit => number::token(rest),
        '.' => Ok((Kind::Attribute, name::length(rest, 1)?)),
        _ if is_word_start(first) => word(rest),
        _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => Ok((Kind::Sign(sign), sign.len())),
            None => Err(format!("unexpected character {}", quote_char(first))),
        },
    }
}

/// A word, or with what follows it an attribute or an intrinsic.
fn word(rest: &str) -> Result<(Kind, usize), String> {
    let length = word_length(rest);
    let after = rest.get(length..).unwrap_or_default();
    if after.starts_with('.') && name::is_scope(&rest[..length]) {
        return Ok((Kind::Attribute, name::length(rest, length + 1)?));
    }
    match after.strip_prefix(':').map(word_length) {
        Some(second) if second > 0 => Ok((Kind::Scoped, length + 1 + second)),
        _ => Ok((Kind::Word, length)),
    }
}

fn word_length(rest: &str) -> usize {
    if !rest.starts_with(is_word_start) {
        return 0;
    }
    rest.find(|char| !is_word(char)).unwrap_or(rest.len())
}

fn is_word_start(char: char) -> bool {
    char.is_alphabetic() || char == '_'
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The length of the text in quotes at the start of `rest`.
fn text(rest: &str, quote: char) -> Result<usize, String> {
    let unterminated = || "text in quotes not terminated".to_owned();
    let inner = rest.get(1..).unwrap_or_default();
    if quote == '`' {
        return inner.find('`').map(|end| end + 2).ok_or_else(unterminated);
    }
    let mut at = 0;
    loop {
        let left = inner.get(at..).unwrap_or_default();
        let stop = left.find(['"', '\\', '\n']).ok_or_else(unterminated)?;
        at += stop + 1;
        match left.as_bytes().get(stop) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => {
                let escaped = inner.get(at..).unwrap_or_default();
                at += match escaped.chars().next() {
                    Some('"') => 1,
                    Some(other) => escape_length(escaped)
                        .map_err(|reason| format!("invalid escape {}: {reason}", code_point(other)))?,
                    None => return Err(unterminated()),
                };
            }
            _ => return Err(unterminated()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(query: &str) -> String {
        let tokens = tokens(query).expect("tokens");
        let text = |token: &Token| match token.kind {
            Kind::Sign(sign) => sign.to_owned(),
            kind => format!("{kind:?}:{}", &query[token.start..token.end]),
        };
        tokens.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_numbers_and_signs_are_told_apart() {
        assert_eq!(cut(".a span.b+1 name"), "Attribute:.a Attribute:span.b+1 Word:name End:");
        assert_eq!(cut("{.a=1}"), "{ Attribute:.a = Int:1 } End:");
        assert_eq!(cut(".a!~parent.span.b"), "Attribute:.a !~ Attribute:parent.span.b End:");
        assert_eq!(cut("span:name trace:id"), "Scoped:span:name Scoped:trace:id End:");
        assert_eq!(cut(".\"a b\"c \"d\\\"\" `e\\`"), "Attribute:.\"a b\"c Text:\"d\\\"\" Text:`e\\` End:");
        assert_eq!(cut("1 .5 1e3 1.5h 1d12h"), "Int:1 Float:.5 Float:1e3 Duration:1.5h Duration:1d12h End:");
        assert_eq!(cut("a&>>b !<< c // d\n/* e */~"), "Word:a &>> Word:b !<< Word:c ~ End:");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for wrong in [
            ".", "span.", "\"a", "`a", "\"\\q\"", "$", "'a'", ".\"a", ".\"\\n\"", "0x1", "1.5d", "/* a",
            "1h2",
        ] {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
        assert!(tokens(&"a ".repeat(TOKENS_MAX)).is_err());
        assert!(tokens(&"a".repeat(QUERY_BYTES_MAX + 1)).is_err());
    }
}
