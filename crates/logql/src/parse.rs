//! Builds the tree: recursive descent, with binding powers for the operators.
//!
//! What recurses is counted on the way down; chains, which make tall trees without recursion, are counted as they grow.

mod label_filter;
mod log;
mod metric;
mod stage;

use throughline_exec::quote::unquote;
use throughline_exec::{MatchOp, Matcher, MatcherError};

use crate::ast::{Expr, LogExpr, RangeOp, VectorOp};
use crate::lexer::{self, Kind, Token};

/// Greatest nesting of parentheses and calls.
pub const DEPTH_MAX: usize = 96;
/// Most operators between expressions: the evaluator recurses over a chain of them.
pub const OPERATORS_MAX: usize = 192;
/// Most stages of all pipelines of a query.
pub const STAGES_MAX: usize = 512;
/// Most conditions of one stage.
pub const CONDITIONS_MAX: usize = 256;
/// Most regular expressions of a query: each may cost a millisecond and a megabyte to compile.
pub const REGEXES_MAX: usize = 256;

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

/// The checked tree of a query.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query)?;
    let expr = parser.expr(0)?;
    parser.expect_end()?;
    Ok(expr)
}

/// The log query that `query` is; a query for numbers is refused.
pub fn parse_log(query: &str) -> Result<LogExpr, ParseError> {
    match parse(query)? {
        Expr::Log(log) => Ok(log),
        Expr::Metric(_) => {
            Err(ParseError::new(query, 0, "only log queries are supported here, and this one is for numbers"))
        }
    }
}

/// The selector that stands alone in `query`, as the API takes it; it may select everything.
pub fn parse_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(query)?;
    let matchers = parser.braces()?;
    parser.expect_end()?;
    Ok(matchers)
}

type Parsed<T> = Result<T, ParseError>;

/// Words that are named in messages as they are written, wherever they stand.
const KEYWORDS: [&str; 28] = [
    "by",
    "without",
    "and",
    "or",
    "unless",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "json",
    "logfmt",
    "regexp",
    "pattern",
    "unpack",
    "unwrap",
    "line_format",
    "label_format",
    "decolorize",
    "drop",
    "keep",
    "of",
    "variants",
    "distinct",
    "ip",
    "vector",
    "label_replace",
];

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    operators: usize,
    stages: usize,
    regexes: usize,
}

impl<'a> Parser<'a> {
    fn new(query: &'a str) -> Parsed<Self> {
        let tokens = lexer::tokens(query)?;
        Ok(Parser { query, tokens, at: 0, depth: 0, operators: 0, stages: 0, regexes: 0 })
    }

    /// The token in hand; at the end of the list, its end.
    fn token(&self) -> Token {
        self.ahead(0)
    }

    fn ahead(&self, count: usize) -> Token {
        let last = Token { kind: Kind::End, start: self.query.len(), end: self.query.len() };
        self.tokens.get(self.at + count).copied().unwrap_or(last)
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

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.kind(), Kind::Sign(other) if other == sign)
    }

    fn advance(&mut self) -> Token {
        let token = self.token();
        self.at += 1;
        token
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let hit = self.is_sign(sign);
        self.at += usize::from(hit);
        hit
    }

    /// Takes a keyword, whatever the case of its letters.
    fn take_word(&mut self, word: &str) -> bool {
        let hit = self.word().is_some_and(|found| found.eq_ignore_ascii_case(word));
        self.at += usize::from(hit);
        hit
    }

    fn expect_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.take_sign(sign) { Ok(()) } else { Err(self.unexpected(sign)) }
    }

    fn expect_word(&mut self, expected: &str) -> Parsed<String> {
        match self.word() {
            Some(word) => {
                self.at += 1;
                Ok(word.to_owned())
            }
            None => Err(self.unexpected(expected)),
        }
    }

    fn expect_text(&mut self) -> Parsed<String> {
        if self.kind() != Kind::Text {
            return Err(self.unexpected("STRING"));
        }
        let token = self.advance();
        Ok(String::from_utf8_lossy(&unquote(self.text(token))).into_owned())
    }

    fn expect_end(&mut self) -> Parsed<()> {
        if self.kind() == Kind::End { Ok(()) } else { Err(self.unexpected("")) }
    }

    /// A number with a sign, if signs are allowed.
    fn expect_number(&mut self, signed: bool) -> Parsed<f64> {
        let negative = signed && self.take_sign("-");
        if signed && !negative {
            self.take_sign("+");
        }
        if self.kind() != Kind::Number {
            return Err(self.unexpected("NUMBER"));
        }
        let token = self.advance();
        let value = lexer::number(self.text(token)).map_err(|message| self.error(token, message))?;
        Ok(if negative { -value } else { value })
    }

    fn error(&self, token: Token, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, token.start, message)
    }

    /// Complains about the token in hand.
    fn unexpected(&self, expected: &str) -> ParseError {
        let token = self.token();
        let mut message = format!("syntax error: unexpected {}", self.describe(token));
        if !expected.is_empty() {
            message.push_str(", expecting ");
            message.push_str(expected);
        }
        self.error(token, message)
    }

    fn describe(&self, token: Token) -> &'a str {
        let text = self.text(token);
        match token.kind {
            Kind::End => "$end",
            Kind::Text => "STRING",
            Kind::Number => "NUMBER",
            Kind::Duration => "DURATION",
            Kind::Bytes => "BYTES",
            Kind::Sign("[") => "RANGE",
            Kind::Sign(_) => text,
            Kind::Word if KEYWORDS.contains(&text) || is_operation(text) => text,
            Kind::Word => "IDENTIFIER",
        }
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

    /// Counts something of which there may be so many.
    fn count(&self, count: usize, max: usize, what: &str) -> Parsed<()> {
        if count > max {
            return Err(self.error(self.token(), format!("query has more than {max} {what}")));
        }
        Ok(())
    }

    fn count_regex(&mut self) -> Parsed<()> {
        self.regexes += 1;
        self.count(self.regexes, REGEXES_MAX, "regular expressions")
    }

    /// `op "value"` after the name of a label.
    fn matcher(&mut self, name: &str) -> Parsed<Matcher> {
        let op = match self.kind() {
            Kind::Sign("=") => MatchOp::Equal,
            Kind::Sign("!=") => MatchOp::NotEqual,
            Kind::Sign("=~") => MatchOp::Regex,
            Kind::Sign("!~") => MatchOp::NotRegex,
            _ => return Err(self.unexpected("= or =~ or !~ or !=")),
        };
        self.advance();
        let token = self.token();
        let value = self.expect_text()?;
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.count_regex()?;
        }
        Matcher::new(name, op, value).map_err(|error| self.error(token, regex_message(&error)))
    }
}

/// Whether a word names an aggregation.
fn is_operation(word: &str) -> bool {
    RangeOp::ALL.iter().any(|op| op.name() == word) || VectorOp::ALL.iter().any(|op| op.name() == word)
}

/// What is wrong with an expression, as Go says it.
pub(crate) fn regex_message(error: &MatcherError) -> String {
    let MatcherError::Regex { pattern, reason } = error;
    let reason = if reason == "unclosed group" { "missing closing )" } else { reason };
    format!("error parsing regexp: {reason}: `{pattern}`")
}

#[cfg(test)]
mod tests;
