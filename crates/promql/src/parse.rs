//! Builds the syntax tree: recursive descent, with binding powers for the operators.
//!
//! Depth is bounded twice: what recurses here is counted on the way down, and the height of each tree is counted
//! on the way up, because a chain of operators makes a tall tree without recursion.

mod duration;
mod expr;
mod selector;

use crate::ast::{Expr, Matcher, Position, Span, VectorSelector};
use crate::check;
use crate::lexer::{self, Keyword, Kind, Token};
use throughline_exec::quote::quote;

/// Greatest nesting of a query, operator chains included. The evaluator recurses this deep on a small stack.
pub const DEPTH_MAX: usize = 128;

/// Most different regular expressions of a query: each may cost a millisecond and a megabyte to compile.
pub const REGEXES_MAX: usize = 256;

/// A query that is none: where it stops making sense, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// The text in question.
    pub span: Span,
    /// Its start, for people.
    pub position: Position,
    /// What is wrong with it.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(query: &str, span: Span, message: impl Into<String>) -> Self {
        ParseError { span, position: span.position(query), message: message.into() }
    }
}

/// The checked tree of a query.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut expr = unchecked(query)?;
    check::check(query, &mut expr)?;
    Ok(expr)
}

/// The selector that stands alone in `query`, without modifiers, as in the parameter `match[]` of the API.
///
/// Unlike in a query it may select everything: whether that is allowed is up to the caller.
pub fn parse_selector(query: &str) -> Result<VectorSelector, ParseError> {
    let mut parser = Parser::new(query)?;
    let selector = parser.vector_selector()?;
    parser.expect_end()?;
    check::check_names(query, &selector)?;
    Ok(selector)
}

/// The tree of a query as it was written, before any check of types.
fn unchecked(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query)?;
    if parser.kind() == Kind::End && parser.lexical.is_none() {
        return Err(ParseError::new(query, Span::default(), "no expression found in input"));
    }
    let tree = parser.expr(0)?;
    parser.expect_end()?;
    Ok(tree.expr)
}

type Parsed<T> = Result<T, ParseError>;

/// An expression and the height of its tree.
struct Tree {
    expr: Expr,
    height: usize,
}

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Token>,
    /// Why the tokens end before the query does.
    lexical: Option<ParseError>,
    at: usize,
    depth: usize,
    /// The regular expressions so far: generated queries repeat theirs.
    regexes: Vec<Matcher>,
}

impl<'a> Parser<'a> {
    fn new(query: &'a str) -> Parsed<Self> {
        let (tokens, lexical) = lexer::tokens(query)?;
        Ok(Parser { query, tokens, lexical, at: 0, depth: 0, regexes: Vec::new() })
    }

    /// The token in hand; at the end of the list, its end.
    fn token(&self) -> Token {
        self.ahead(0)
    }

    fn ahead(&self, count: usize) -> Token {
        let at = (self.at + count).min(self.tokens.len() - 1);
        self.tokens[at]
    }

    fn kind(&self) -> Kind {
        self.token().kind
    }

    fn text(&self, token: Token) -> &'a str {
        self.query.get(token.span.start as usize..token.span.end as usize).unwrap_or("")
    }

    /// Takes the token in hand.
    fn advance(&mut self) -> Token {
        let token = self.token();
        self.at += 1;
        token
    }

    /// Takes the token in hand if it is of `kind`.
    fn take(&mut self, kind: Kind) -> Option<Token> {
        (self.kind() == kind).then(|| self.advance())
    }

    fn take_keyword(&mut self, keyword: Keyword) -> bool {
        self.take(Kind::Keyword(keyword)).is_some()
    }

    /// Takes a token of `kind` or fails.
    fn expect(&mut self, kind: Kind, context: &str, expected: &str) -> Parsed<Token> {
        self.take(kind).ok_or_else(|| self.unexpected(context, expected))
    }

    fn expect_end(&mut self) -> Parsed<()> {
        match self.kind() {
            Kind::End if self.lexical.is_none() => Ok(()),
            _ => Err(self.unexpected("", "an operator or the end of the query")),
        }
    }

    /// The byte after the last token that was taken.
    fn last_end(&self) -> u32 {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |token| token.span.end)
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, span, message)
    }

    /// Complains about the token in hand.
    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.token();
        if token.kind == Kind::End
            && let Some(lexical) = &self.lexical
        {
            return lexical.clone();
        }
        let mut message = format!("unexpected {}", self.describe(token));
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.error(token.span, message)
    }

    fn describe(&self, token: Token) -> String {
        let text = self.text(token);
        let quoted = || quote(text.as_bytes());
        match token.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Identifier => format!("identifier {}", quoted()),
            Kind::MetricIdentifier => format!("metric identifier {}", quoted()),
            Kind::Text => format!("string {}", abridged(text)),
            Kind::Number => format!("number {}", abridged(text)),
            Kind::Duration => format!("duration {}", abridged(text)),
            Kind::Keyword(Keyword::Aggregate(_)) => format!("<aggr:{text}>"),
            Kind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range) => quoted(),
            Kind::Keyword(Keyword::And | Keyword::Or | Keyword::Unless | Keyword::Atan2) => {
                format!("<op:{text}>")
            }
            Kind::Keyword(_) => format!("<{text}>"),
            Kind::LeftParen
            | Kind::RightParen
            | Kind::LeftBrace
            | Kind::RightBrace
            | Kind::LeftBracket
            | Kind::RightBracket
            | Kind::Comma
            | Kind::Colon
            | Kind::Assign => quoted(),
            _ => format!("<op:{text}>"),
        }
    }

    /// Counts one level of recursion; [`Parser::ascend`] ends it.
    fn descend(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.too_deep(self.token().span)) } else { Ok(()) }
    }

    fn ascend(&mut self) {
        self.depth -= 1;
    }

    /// A tree over others, of which the tallest has `height`.
    fn over(&self, height: usize, expr: Expr) -> Parsed<Tree> {
        if height >= DEPTH_MAX {
            return Err(self.too_deep(expr.span()));
        }
        Ok(Tree { expr, height: height + 1 })
    }

    fn too_deep(&self, span: Span) -> ParseError {
        self.error(span, format!("query is nested deeper than {DEPTH_MAX} levels"))
    }
}

/// A long token is shown by its start.
fn abridged(text: &str) -> String {
    match text.char_indices().nth(10) {
        Some((end, _)) => format!("{}...", quote(&text.as_bytes()[..end])),
        None => quote(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests;
