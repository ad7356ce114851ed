//! Arithmetic on durations, between brackets and after `offset`.

use super::{Parsed, Parser};
use crate::ast::{BinaryOp, Duration, DurationExpr, DurationKind, NumberLiteral, Span};
use crate::duration;
use crate::lexer::{Keyword, Kind};

/// What may stand where a duration does.
const EXPECTED: &str = "number, duration, step(), or range()";
/// Where a duration after `offset` stands, in messages.
const OFFSET: &str = "offset";
/// Binding power of a sign: it binds a product's factors, but not a power's base.
const SIGN: u8 = 2;

impl Parser<'_> {
    /// A duration between brackets.
    pub(super) fn positive_duration(&mut self, context: &str, expected: &str) -> Parsed<Duration> {
        if !self.at_duration() {
            return Err(self.unexpected(context, expected));
        }
        let expr = self.duration_expr(0, context)?;
        if let DurationKind::Number(literal) = &expr.kind
            && !duration::in_range(literal.value, false)
        {
            let message = if literal.value <= 0.0 {
                "duration must be greater than 0"
            } else {
                "duration out of range"
            };
            return Err(self.error(expr.span, message));
        }
        Ok(fixed_or_computed(expr))
    }

    /// A duration after `offset`. A literal or a call ends it: `x offset 5m + 1` adds to the values of `x`.
    pub(super) fn offset_duration(&mut self) -> Parsed<Duration> {
        if !self.at_duration() {
            return Err(self.unexpected(OFFSET, EXPECTED));
        }
        // Only after parentheses without a sign the arithmetic goes on.
        let expr = match self.kind() {
            Kind::LeftParen => self.duration_expr(0, OFFSET)?,
            Kind::Add | Kind::Sub => {
                let sign = self.advance();
                let inner = self.duration_operand(OFFSET)?;
                signed(sign.kind == Kind::Sub, sign.span, inner)
            }
            _ => self.duration_operand(OFFSET)?,
        };
        if let DurationKind::Number(literal) = &expr.kind
            && !duration::in_range(literal.value, true)
        {
            return Err(self.error(expr.span, "duration out of range"));
        }
        Ok(fixed_or_computed(expr))
    }

    fn at_duration(&self) -> bool {
        match self.kind() {
            Kind::Number | Kind::Duration | Kind::LeftParen | Kind::Add | Kind::Sub => true,
            Kind::Keyword(Keyword::Step | Keyword::Range) => true,
            Kind::Identifier => self.choice().is_some(),
            _ => false,
        }
    }

    /// Operators that bind more tightly than `above`, and their operands.
    fn duration_expr(&mut self, above: u8, context: &str) -> Parsed<DurationExpr> {
        self.descend()?;
        let mut lhs = self.signed_duration(context)?;
        let mut height = 0;
        while let Some((op, power)) = arithmetic(self.kind())
            && power > above
        {
            self.advance();
            // A power binds to the right.
            let right_above = if op == BinaryOp::Pow { power - 1 } else { power };
            let rhs = self.duration_expr(right_above, context)?;
            height += 1;
            let span = lhs.span.to(rhs.span);
            if height + self.depth > super::DEPTH_MAX {
                return Err(self.too_deep(span));
            }
            let kind = DurationKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) };
            lhs = DurationExpr { kind, span };
        }
        self.ascend();
        Ok(lhs)
    }

    fn signed_duration(&mut self, context: &str) -> Parsed<DurationExpr> {
        if !matches!(self.kind(), Kind::Add | Kind::Sub) {
            return self.duration_operand(context);
        }
        let sign = self.advance();
        let inner = self.duration_expr(SIGN, context)?;
        Ok(signed(sign.kind == Kind::Sub, sign.span, inner))
    }

    fn duration_operand(&mut self, context: &str) -> Parsed<DurationExpr> {
        let start = self.token().span;
        let kind = match self.kind() {
            Kind::Number | Kind::Duration => DurationKind::Number(self.number_literal()?),
            Kind::Keyword(Keyword::Step) => self.duration_call(DurationKind::Step, context)?,
            Kind::Keyword(Keyword::Range) => self.duration_call(DurationKind::Range, context)?,
            Kind::LeftParen => {
                self.advance();
                let inner = self.duration_expr(0, context)?;
                self.expect(Kind::RightParen, context, expected(context))?;
                match inner.kind {
                    // One pair says all that two do.
                    DurationKind::Paren(inner) => DurationKind::Paren(inner),
                    _ => DurationKind::Paren(Box::new(inner)),
                }
            }
            Kind::Identifier => match self.choice() {
                Some(Choice::Min) => {
                    let (a, b) = self.duration_pair(context)?;
                    DurationKind::MinOf(a, b)
                }
                Some(Choice::Max) => {
                    let (a, b) = self.duration_pair(context)?;
                    DurationKind::MaxOf(a, b)
                }
                None => return Err(self.unexpected(context, EXPECTED)),
            },
            _ => return Err(self.unexpected(context, EXPECTED)),
        };
        Ok(DurationExpr { kind, span: Span { start: start.start, end: self.last_end() } })
    }

    fn choice(&self) -> Option<Choice> {
        let text = self.text(self.token());
        if text.eq_ignore_ascii_case("min_of") {
            Some(Choice::Min)
        } else if text.eq_ignore_ascii_case("max_of") {
            Some(Choice::Max)
        } else {
            None
        }
    }

    fn duration_call(&mut self, kind: DurationKind, context: &str) -> Parsed<DurationKind> {
        self.advance();
        self.expect(Kind::LeftParen, context, expected(context))?;
        self.expect(Kind::RightParen, context, expected(context))?;
        Ok(kind)
    }

    fn duration_pair(&mut self, context: &str) -> Parsed<(Box<DurationExpr>, Box<DurationExpr>)> {
        self.advance();
        self.expect(Kind::LeftParen, context, "\"(\"")?;
        let first = self.duration_expr(0, context)?;
        self.expect(Kind::Comma, context, "\",\"")?;
        let second = self.duration_expr(0, context)?;
        self.expect(Kind::RightParen, context, "\")\"")?;
        Ok((Box::new(first), Box::new(second)))
    }
}

enum Choice {
    Min,
    Max,
}

/// What is expected wherever something else is wrong in a duration, as Prometheus says it.
fn expected(context: &str) -> &'static str {
    match context {
        "subquery selector" => "number, duration, step(), range(), or \"]\"",
        _ => EXPECTED,
    }
}

/// The operators of durations and their binding powers.
fn arithmetic(kind: Kind) -> Option<(BinaryOp, u8)> {
    Some(match kind {
        Kind::Add => (BinaryOp::Add, 1),
        Kind::Sub => (BinaryOp::Sub, 1),
        Kind::Mul => (BinaryOp::Mul, SIGN),
        Kind::Div => (BinaryOp::Div, SIGN),
        Kind::Mod => (BinaryOp::Mod, SIGN),
        Kind::Pow => (BinaryOp::Pow, 3),
        _ => return None,
    })
}

/// The sign of a literal becomes part of it.
fn signed(negative: bool, sign: Span, inner: DurationExpr) -> DurationExpr {
    let span = sign.to(inner.span);
    let kind = match inner.kind {
        DurationKind::Number(literal) => {
            let value = if negative { -literal.value } else { literal.value };
            DurationKind::Number(NumberLiteral { value, span, ..literal })
        }
        kind => {
            let inner = Box::new(DurationExpr { kind, span: inner.span });
            DurationKind::Unary { negative, inner }
        }
    };
    DurationExpr { kind, span }
}

fn fixed_or_computed(expr: DurationExpr) -> Duration {
    match &expr.kind {
        DurationKind::Number(literal) => Duration::Fixed { ms: duration::to_ms(literal.value) },
        _ => Duration::Computed(expr),
    }
}
