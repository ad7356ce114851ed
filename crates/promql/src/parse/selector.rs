//! Selectors of series, and the modifiers after them: ranges, offsets, `@`, the extended modes.

use throughline_exec::{METRIC_NAME, MatchOp};

use super::{Parsed, Parser, REGEXES_MAX, Tree};
use crate::ast::{At, Duration, Expr, Extension, Matcher, MatrixSelector, Span, Subquery, VectorSelector};
use crate::lexer::{Keyword, Kind, Token};
use crate::lexer::{number, unquote};

impl Parser<'_> {
    /// Whether the token in hand can name a metric.
    pub(super) fn at_metric_name(&self) -> bool {
        match self.kind() {
            Kind::Identifier | Kind::MetricIdentifier => true,
            Kind::Keyword(keyword) => !matches!(
                keyword,
                Keyword::Bool
                    | Keyword::On
                    | Keyword::Ignoring
                    | Keyword::GroupLeft
                    | Keyword::GroupRight
                    | Keyword::Atan2
            ),
            _ => false,
        }
    }

    /// `name{…}`, without modifiers.
    pub(super) fn vector_selector(&mut self) -> Parsed<VectorSelector> {
        let start = self.token().span.start;
        let name = if self.at_metric_name() {
            let token = self.advance();
            Some(self.text(token).to_owned())
        } else {
            None
        };
        let mut matchers = Vec::new();
        if self.take(Kind::LeftBrace).is_some() {
            self.matchers(&mut matchers)?;
        } else if name.is_none() {
            return Err(self.unexpected("", "a metric name or \"{\""));
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        let span = Span { start, end: self.last_end() };
        let (offset, extension) = (Duration::ZERO, Extension::None);
        Ok(VectorSelector { name, matchers, offset, at: None, extension, span })
    }

    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parsed<()> {
        const CONTEXT: &str = "label matching";
        loop {
            match self.kind() {
                Kind::RightBrace => break,
                Kind::Identifier | Kind::Text => matchers.push(self.matcher(CONTEXT)?),
                _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
            }
            if self.take(Kind::Comma).is_none() {
                break;
            }
        }
        self.expect(Kind::RightBrace, CONTEXT, "\",\" or \"}\"").map(drop)
    }

    fn matcher(&mut self, context: &str) -> Parsed<Matcher> {
        let label = self.advance();
        let quoted = label.kind == Kind::Text;
        let name = if quoted { self.string(label)? } else { self.text(label).to_owned() };
        let op = match self.kind() {
            Kind::Assign => MatchOp::Equal,
            Kind::NotEqual => MatchOp::NotEqual,
            Kind::EqualRegex => MatchOp::Regex,
            Kind::NotRegex => MatchOp::NotRegex,
            // A text alone is a metric name of any characters.
            _ if quoted => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected(context, "label matching operator")),
        };
        self.advance();
        let value = self.expect(Kind::Text, context, "string")?;
        let text = self.string(value)?;
        let span = label.span.to(value.span);
        if matches!(op, MatchOp::Equal | MatchOp::NotEqual) {
            return Matcher::new(name, op, text).map_err(|error| self.error(span, error.to_string()));
        }
        self.regex(name, op, text, span)
    }

    fn regex(&mut self, name: String, op: MatchOp, text: String, span: Span) -> Parsed<Matcher> {
        let same = |known: &&Matcher| known.op() == op && known.value() == text && known.name() == name;
        if let Some(known) = self.regexes.iter().find(same) {
            return Ok(known.clone());
        }
        if self.regexes.len() == REGEXES_MAX {
            let message = format!("query has more than {REGEXES_MAX} different regular expressions");
            return Err(self.error(span, message));
        }
        let matcher = Matcher::new(name, op, text).map_err(|error| self.error(span, error.to_string()))?;
        self.regexes.push(matcher.clone());
        Ok(matcher)
    }

    /// What a token in quotes says.
    pub(super) fn string(&self, token: Token) -> Parsed<String> {
        String::from_utf8(unquote(self.text(token)))
            .map_err(|_| self.error(token.span, "names and values of labels must be UTF-8"))
    }

    /// Takes the modifiers after `tree`.
    pub(super) fn modifiers(&mut self, mut tree: Tree) -> Parsed<Tree> {
        loop {
            tree = match self.kind() {
                Kind::LeftBracket => self.range(tree)?,
                Kind::Keyword(Keyword::Offset) => self.offset(tree)?,
                Kind::At => self.at_time(tree)?,
                Kind::Keyword(Keyword::Anchored) => self.extension(tree, Extension::Anchored)?,
                Kind::Keyword(Keyword::Smoothed) => self.extension(tree, Extension::Smoothed)?,
                _ => return Ok(tree),
            };
        }
    }

    /// `[5m]` or `[1h:5m]`
    fn range(&mut self, tree: Tree) -> Parsed<Tree> {
        const EXPECTED: &str = "number, duration, step(), or range()";
        let bracket = self.advance();
        let range = self.positive_duration("subquery or range selector", EXPECTED)?;
        if let Some(close) = self.take(Kind::RightBracket) {
            return self.matrix(tree, range, bracket.span.to(close.span));
        }
        if self.take(Kind::Colon).is_none() {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        }
        let step = if self.kind() == Kind::RightBracket {
            None
        } else {
            let expected = "number, duration, step(), range(), or \"]\"";
            Some(self.positive_duration("subquery selector", expected)?)
        };
        self.expect(Kind::RightBracket, "subquery selector", "\"]\"")?;
        let span = Span { start: tree.expr.span().start, end: self.last_end() };
        let (height, expr) = (tree.height, Box::new(tree.expr));
        let subquery = Subquery { expr, range, step, offset: Duration::ZERO, at: None, span };
        self.over(height, Expr::Subquery(subquery))
    }

    fn matrix(&mut self, tree: Tree, range: Duration, brackets: Span) -> Parsed<Tree> {
        let Expr::Vector(selector) = tree.expr else {
            return Err(self.error(brackets, "ranges only allowed for vector selectors"));
        };
        if selector.offset != Duration::ZERO {
            return Err(self.error(brackets, "no offset modifiers allowed before range"));
        }
        if selector.at.is_some() {
            return Err(self.error(brackets, "no @ modifiers allowed before range"));
        }
        let span = selector.span.to(brackets);
        self.over(tree.height, Expr::Matrix(MatrixSelector { selector, range, span }))
    }

    fn offset(&mut self, mut tree: Tree) -> Parsed<Tree> {
        self.advance();
        let written = self.offset_duration()?;
        let span = tree.expr.span();
        let end = self.last_end();
        let Some((offset, _, whole)) = time_of(&mut tree.expr) else {
            let message = "offset modifier must be preceded by an instant vector selector or range vector \
                           selector or a subquery";
            return Err(self.error(span, message));
        };
        if *offset != Duration::ZERO {
            return Err(self.error(span, "offset may not be set multiple times"));
        }
        *offset = written;
        whole.end = end;
        Ok(tree)
    }

    fn at_time(&mut self, mut tree: Tree) -> Parsed<Tree> {
        self.advance();
        let written = self.time()?;
        let span = tree.expr.span();
        let at = match written {
            Written::Keyword(at) => at,
            Written::Seconds(seconds) => {
                let limit = i64::MAX as f64;
                if !seconds.is_finite() || seconds.abs() >= limit {
                    let message = format!("timestamp out of bounds for @ modifier: {seconds:.6}");
                    return Err(self.error(span, message));
                }
                At::Timestamp { ms: (seconds * 1_000.0).round() as i64 }
            }
        };
        let end = self.last_end();
        let Some((_, slot, whole)) = time_of(&mut tree.expr) else {
            let message = "@ modifier must be preceded by an instant vector selector or range vector \
                           selector or a subquery";
            return Err(self.error(span, message));
        };
        if slot.is_some() {
            return Err(self.error(span, "@ <timestamp> may not be set multiple times"));
        }
        *slot = Some(at);
        whole.end = end;
        Ok(tree)
    }

    /// What stands after `@`.
    fn time(&mut self) -> Parsed<Written> {
        let at = match self.kind() {
            Kind::Keyword(Keyword::Start) => Some(At::Start),
            Kind::Keyword(Keyword::End) => Some(At::End),
            _ => None,
        };
        if let Some(at) = at {
            self.advance();
            self.expect(Kind::LeftParen, "@", "\"(\"")?;
            self.expect(Kind::RightParen, "@", "\")\"")?;
            return Ok(Written::Keyword(at));
        }
        let negative = match self.kind() {
            Kind::Add | Kind::Sub => self.advance().kind == Kind::Sub,
            _ => false,
        };
        if !matches!(self.kind(), Kind::Number | Kind::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let seconds = self.number_literal()?.value;
        Ok(Written::Seconds(if negative { -seconds } else { seconds }))
    }

    fn extension(&mut self, mut tree: Tree, extension: Extension) -> Parsed<Tree> {
        let word = self.advance();
        let name = self.text(word).to_ascii_lowercase();
        let span = tree.expr.span();
        let (selector, whole) = match &mut tree.expr {
            Expr::Vector(selector) => (selector, None),
            Expr::Matrix(matrix) => (&mut matrix.selector, Some(&mut matrix.span)),
            Expr::Subquery(_) => {
                return Err(self.error(span, format!("{name} modifier is not supported for subqueries")));
            }
            _ => return Err(self.error(span, format!("{name} modifier not implemented"))),
        };
        if selector.extension != Extension::None && selector.extension != extension {
            return Err(self.error(span, "anchored and smoothed modifiers cannot be used together"));
        }
        selector.extension = extension;
        match whole {
            Some(whole) => whole.end = word.span.end,
            None => selector.span.end = word.span.end,
        }
        Ok(tree)
    }

    /// Reads a number or duration as a number.
    pub(super) fn number_literal(&mut self) -> Parsed<crate::ast::NumberLiteral> {
        let token = self.advance();
        let text = self.text(token);
        let duration = token.kind == Kind::Duration;
        let value = if duration {
            let ms = number::duration_ms(text).map_err(|message| self.error(token.span, message))?;
            ms as f64 / 1_000.0
        } else {
            let message =
                || format!("error parsing number: {}", throughline_exec::quote::quote(text.as_bytes()));
            number::number(text).ok_or_else(|| self.error(token.span, message()))?
        };
        Ok(crate::ast::NumberLiteral { value, duration, span: token.span })
    }
}

/// A time as written after `@`.
enum Written {
    Keyword(At),
    Seconds(f64),
}

/// The offset, the fixed time and the span of an expression that can have them.
fn time_of(expr: &mut Expr) -> Option<(&mut Duration, &mut Option<At>, &mut Span)> {
    match expr {
        Expr::Vector(s) => Some((&mut s.offset, &mut s.at, &mut s.span)),
        Expr::Matrix(m) => Some((&mut m.selector.offset, &mut m.selector.at, &mut m.span)),
        Expr::Subquery(s) => Some((&mut s.offset, &mut s.at, &mut s.span)),
        _ => None,
    }
}
