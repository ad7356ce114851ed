//! The text of a condition as tokens.

use super::ConditionError;

/// A token and where it begins, in characters from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A name: letters, digits and underscores.
    Word(String),
    Text(String),
    Int(i64),
    Double(f64),
    /// One of `== != <= >= < > ( ) [ ] , . + - * /`.
    Sign(&'static str),
}

/// A longer text is no condition.
const TEXT_MAX: usize = 16 << 10;

const SIGNS: [&str; 16] =
    ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-", "*", "/"];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ConditionError> {
    if text.len() > TEXT_MAX {
        let message = format!("{} bytes are more than a condition's {TEXT_MAX}", text.len());
        return Err(ConditionError { at: 1, message });
    }
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(first) = chars.get(at).copied() {
        let rest = chars.get(at..).unwrap_or_default();
        let (kind, length) = match first {
            _ if first.is_whitespace() => {
                at += 1;
                continue;
            }
            '"' => text_token(rest).map_err(|message| ConditionError { at: at + 1, message })?,
            _ if first.is_ascii_digit() => {
                number(rest).map_err(|message| ConditionError { at: at + 1, message })?
            }
            _ if first.is_ascii_alphabetic() || first == '_' => {
                let word: String =
                    rest.iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
                let length = word.len();
                (TokenKind::Word(word), length)
            }
            _ => {
                let is_next = |sign: &&&str| sign.chars().zip(rest).all(|(a, b)| a == *b);
                let sign = SIGNS.iter().filter(|sign| sign.len() <= rest.len()).find(is_next);
                let unknown = || ConditionError { at: at + 1, message: format!("unexpected {first:?}") };
                let sign = sign.ok_or_else(unknown)?;
                (TokenKind::Sign(sign), sign.len())
            }
        };
        out.push(Token { kind, at: at + 1 });
        at += length;
    }
    Ok(out)
}

fn text_token(chars: &[char]) -> Result<(TokenKind, usize), String> {
    let mut text = String::new();
    let mut at = 1;
    loop {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('"'), _) => return Ok((TokenKind::Text(text), at + 1)),
            (Some('\\'), Some(escaped)) => {
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '"' | '\\' => *escaped,
                    other => return Err(format!("\\{other} is no escape; write \\\\ for a backslash")),
                });
                at += 2;
            }
            (Some(other), _) => {
                text.push(*other);
                at += 1;
            }
            (None, _) => return Err("the text has no end".to_owned()),
        }
    }
}

fn number(chars: &[char]) -> Result<(TokenKind, usize), String> {
    let digits: String = chars.iter().take_while(|c| c.is_ascii_digit() || **c == '.').collect();
    let kind = if digits.contains('.') {
        digits.parse().ok().map(TokenKind::Double)
    } else {
        digits.parse().ok().map(TokenKind::Int)
    };
    Ok((kind.ok_or_else(|| format!("{digits} is no number"))?, digits.len()))
}
