//! Where a part of a query stands in its text.
//!
//! The tree does not say where its parts were written. A part that is printed has the same tokens in the same order, but for
//! parentheses and for how constants are written.

use throughline_exec::quote::unquote;

use crate::lexer::{Kind, Token, duration_ns, tokens};

/// The byte of a query where a part of it begins; the first if it is not found.
pub(crate) fn part(query: &str, part: &str) -> usize {
    let (Ok(of_query), Ok(of_part)) = (tokens(query), tokens(part)) else { return 0 };
    let of_query: Vec<Token> = of_query.into_iter().filter(|token| counts(*token)).collect();
    let of_part: Vec<Token> = of_part.into_iter().filter(|token| counts(*token)).collect();
    if of_part.is_empty() {
        return 0;
    }
    let same = |at: &[Token]| {
        at.iter()
            .zip(&of_part)
            .all(|(token, other)| is_same(text(query, *token), text(part, *other), *token, *other))
    };
    let found = of_query.windows(of_part.len()).find(|at| same(at));
    found.and_then(<[Token]>::first).map_or(0, |token| token.start)
}

fn counts(token: Token) -> bool {
    !matches!(token.kind, Kind::Sign("(" | ")") | Kind::End)
}

fn text(query: &str, token: Token) -> &str {
    query.get(token.start..token.end).unwrap_or_default()
}

fn is_same(a: &str, b: &str, token: Token, other: Token) -> bool {
    if token.kind != other.kind {
        return false;
    }
    match token.kind {
        Kind::Text => unquote(a) == unquote(b),
        Kind::Duration => duration_ns(a) == duration_ns(b),
        Kind::Float => a.parse::<f64>() == b.parse::<f64>(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn parts_are_found_however_they_are_written() {
        let query = "{ .a = 1 } && { ( name   = `x` || duration > 60m ) }";
        assert_eq!(super::part(query, "name = \"x\" || duration > 1h"), 18);
        assert_eq!(super::part(query, ".b"), 0);
        assert_eq!(super::part(query, ""), 0);
    }
}
