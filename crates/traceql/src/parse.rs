//! Builds the tree: recursive descent, with binding powers for the operators.
//!
//! What recurses is counted on the way down; chains of operators, which make tall trees without recursion, are counted as they grow.

mod field;
mod metrics;
mod pipeline;

use throughline_exec::quote::unquote;

use crate::ast::{Expr, Hint, Literal, Query};
use crate::lexer::{self, Kind, Token};

/// Greatest nesting of parentheses, signs and right sides.
pub const DEPTH_MAX: usize = 96;
/// Most operators of a query: the passes over the tree recurse over a chain of them.
pub const OPERATORS_MAX: usize = 512;

/// A query that is none: where it stops making sense, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parse error at line {line}, col {column}: {message}")]
pub struct ParseError {
    /// From one.
    pub line: usize,
    /// Of the line, in characters from one.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl ParseError {
    /// At a byte of the query.
    pub(crate) fn new(query: &str, at: usize, message: impl Into<String>) -> Self {
        let before = query.get(..at).unwrap_or(query);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        ParseError { line, column, message: message.into() }
    }
}

/// The tree of a query; [`crate::check()`] says whether it makes sense.
pub fn parse(query: &str) -> Result<Query, ParseError> {
    let mut parser = Parser::new(query)?;
    let expr = parser.query()?;
    let mut hints = Vec::new();
    while parser.take_word("with") {
        parser.hints(&mut hints)?;
    }
    if parser.kind() != Kind::End {
        return Err(parser.unexpected(match expr {
            Expr::Spans(_) => "`|`, an operator or the end of the query",
            Expr::Metrics(_) => "`| topk(…)`, `| bottomk(…)`, a comparison or the end of the query",
        }));
    }
    Ok(Query { expr, hints })
}

type Parsed<T> = Result<T, ParseError>;

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    operators: usize,
}

impl<'a> Parser<'a> {
    fn new(query: &'a str) -> Parsed<Self> {
        let tokens = lexer::tokens(query)?;
        Ok(Parser { query, tokens, at: 0, depth: 0, operators: 0 })
    }

    /// The token in hand; at the end of the list, its end.
    fn token(&self) -> Token {
        let last = Token { kind: Kind::End, start: self.query.len(), end: self.query.len() };
        self.tokens.get(self.at).copied().unwrap_or(last)
    }

    fn kind(&self) -> Kind {
        self.token().kind
    }

    fn text(&self, token: Token) -> &'a str {
        self.query.get(token.start..token.end).unwrap_or_default()
    }

    /// The word in hand, or nothing.
    fn word(&self) -> Option<&'a str> {
        (self.kind() == Kind::Word).then(|| self.text(self.token()))
    }

    /// The sign in hand, or nothing.
    fn sign(&self) -> Option<&'static str> {
        match self.kind() {
            Kind::Sign(sign) => Some(sign),
            _ => None,
        }
    }

    fn advance(&mut self) -> Token {
        let token = self.token();
        self.at += 1;
        token
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let hit = self.sign() == Some(sign);
        self.at += usize::from(hit);
        hit
    }

    fn take_word(&mut self, word: &str) -> bool {
        let hit = self.word() == Some(word);
        self.at += usize::from(hit);
        hit
    }

    fn expect_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn error(&self, token: Token, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, token.start, message)
    }

    /// Complains about the token in hand.
    fn unexpected(&self, expected: &str) -> ParseError {
        let token = self.token();
        let found = match token.kind {
            Kind::End => "the end of the query".to_owned(),
            // Texts may be long.
            _ => format!("`{}`", self.text(token).chars().take(40).collect::<String>()),
        };
        self.error(token, format!("unexpected {found}, expected {expected}"))
    }

    /// Counts one level of recursion; [`Parser::ascend`] ends it.
    fn descend(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("query is nested deeper than {DEPTH_MAX} levels");
            return Err(self.error(self.token(), message));
        }
        Ok(())
    }

    fn ascend(&mut self) {
        self.depth -= 1;
    }

    /// Takes an operator, of which there may be so many.
    fn take_operator(&mut self) -> Parsed<Token> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            let message = format!("query has more than {OPERATORS_MAX} operators");
            return Err(self.error(self.token(), message));
        }
        Ok(self.advance())
    }

    /// A constant, if there is one in hand; it has no sign.
    fn literal(&mut self) -> Parsed<Option<Literal>> {
        let token = self.token();
        let text = self.text(token);
        let literal = match token.kind {
            Kind::Text => Literal::Text(String::from_utf8_lossy(&unquote(text)).into_owned()),
            Kind::Int => match text.parse() {
                Ok(value) => Literal::Int(value),
                Err(_) => return Err(self.error(token, format!("whole number is greater than {}", i64::MAX))),
            },
            Kind::Float => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Literal::Float(value),
                _ => return Err(self.error(token, "number is out of range")),
            },
            Kind::Duration => Literal::Duration(lexer::duration_ns(text).unwrap_or_default()),
            Kind::Word => match Literal::from_word(text) {
                Some(literal) => literal,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(literal))
    }

    /// A whole number without a sign.
    fn whole_number(&mut self) -> Parsed<i64> {
        if self.kind() == Kind::Int
            && let Some(Literal::Int(value)) = self.literal()?
        {
            return Ok(value);
        }
        Err(self.unexpected("a whole number"))
    }

    /// `(name=value, …)`
    fn hints(&mut self, hints: &mut Vec<Hint>) -> Parsed<()> {
        self.expect_sign("(")?;
        loop {
            let Some(name) = self.word() else { return Err(self.unexpected("the name of a hint")) };
            self.at += 1;
            self.expect_sign("=")?;
            match self.literal()? {
                Some(Literal::Nil) | None => return Err(self.unexpected("the value of the hint")),
                Some(value) => hints.push(Hint { name: name.to_owned(), value }),
            }
            if !self.take_sign(",") {
                return self.expect_sign(")");
            }
        }
    }
}

#[cfg(test)]
mod tests;
