//! Names of attributes: where they end, and what they say.

use crate::ast::{Attribute, Scope};

/// Whether it may be in the name of an attribute without quotes.
#[must_use]
pub fn is_name_char(char: char) -> bool {
    !char.is_whitespace() && !"{}()=~!<>&|^,".contains(char)
}

/// Whether an attribute may begin with this word and a point.
pub(super) fn is_scope(word: &str) -> bool {
    word == "parent" || Scope::ALL.iter().any(|scope| !scope.name().is_empty() && scope.name() == word)
}

/// The length of the attribute at the start of `rest`, whose name begins at `at`.
pub(super) fn length(rest: &str, mut at: usize) -> Result<usize, String> {
    let start = at + scope_after_parent(rest, at).map_or(0, |scope| scope.name().len() + 1);
    loop {
        let left = rest.get(at..).unwrap_or_default();
        match left.chars().next() {
            Some('"') => at += quoted(left)?.1,
            Some(char) if is_name_char(char) => at += char.len_utf8(),
            _ if at <= start => return Err("expected the name of an attribute after the point".to_owned()),
            _ => return Ok(at),
        }
    }
}

/// The scope of the parent's attribute that begins at `at`.
fn scope_after_parent(rest: &str, at: usize) -> Option<Scope> {
    if rest.get(..at)? != "parent." {
        return None;
    }
    let name = rest.get(at..)?;
    let starts = |scope: &Scope| name.strip_prefix(scope.name()).is_some_and(|after| after.starts_with('.'));
    [Scope::Span, Scope::Resource].into_iter().find(starts)
}

/// The part in quotes at the start of `rest`: what it says, and its length.
fn quoted(rest: &str) -> Result<(String, usize), String> {
    let mut name = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((name, at + 1)),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\'))) => name.push(escaped),
                _ => return Err("names of attributes escape nothing but quotes and backslashes".to_owned()),
            },
            _ => name.push(char),
        }
    }
    Err("name in quotes not terminated".to_owned())
}

/// The attribute that a token, as the lexer cut it, names.
#[must_use]
pub fn attribute(token: &str) -> Attribute {
    let (word, mut rest) = token.split_once('.').unwrap_or_default();
    let parent = word == "parent";
    let mut scope = Scope::ALL.into_iter().find(|scope| scope.name() == word).unwrap_or(Scope::Any);
    if parent && let Some(inner) = scope_after_parent(token, word.len() + 1) {
        scope = inner;
        rest = rest.get(inner.name().len() + 1..).unwrap_or_default();
    }
    let mut name = String::new();
    while let Some(char) = rest.chars().next() {
        let taken = match quoted(rest) {
            Ok((part, length)) if char == '"' => {
                name.push_str(&part);
                length
            }
            _ => {
                name.push(char);
                char.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    Attribute { parent, scope, name }
}
