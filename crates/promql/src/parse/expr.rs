//! Expressions: operators with their binding powers, aggregations, calls, literals.

use super::{Parsed, Parser, Tree};
use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Function, Matching, NumberLiteral,
    Paren, Span, StringLiteral, Unary,
};
use crate::lexer::{Keyword, Kind, is_plain_label, unquote};
use throughline_exec::quote::quote;

/// Binding power of a sign: as that of a product, so that only a power binds more tightly.
const SIGN: u8 = 5;
const POWER: u8 = 6;

impl Parser<'_> {
    /// Operators that bind more tightly than `above`, and their operands.
    pub(super) fn expr(&mut self, above: u8) -> Parsed<Tree> {
        self.descend()?;
        let mut lhs = self.operand()?;
        while let Some((op, power)) = binary_op(self.kind())
            && power > above
        {
            self.advance();
            let (matching, return_bool) = self.binary_modifiers()?;
            // A power binds to the right.
            let rhs = self.expr(if power == POWER { power - 1 } else { power })?;
            let height = lhs.height.max(rhs.height);
            let (left, right) = (Box::new(lhs.expr), Box::new(rhs.expr));
            let binary = Binary { op, lhs: left, rhs: right, matching: Some(matching), return_bool };
            lhs = self.over(height, Expr::Binary(binary))?;
        }
        self.ascend();
        Ok(lhs)
    }

    /// A sign and what it binds, or something without a sign.
    fn operand(&mut self) -> Parsed<Tree> {
        if !matches!(self.kind(), Kind::Add | Kind::Sub) {
            let primary = self.primary()?;
            return self.modifiers(primary);
        }
        let sign = self.advance();
        let negative = sign.kind == Kind::Sub;
        let inner = self.expr(SIGN)?;
        if let Expr::Number(literal) = inner.expr {
            // The sign becomes part of the literal.
            let value = if negative { -literal.value } else { literal.value };
            let span = sign.span.to(literal.span);
            return Ok(Tree { expr: Expr::Number(NumberLiteral { value, span, ..literal }), height: 1 });
        }
        let unary = Unary { negative, expr: Box::new(inner.expr), start: sign.span.start };
        self.over(inner.height, Expr::Unary(unary))
    }

    fn primary(&mut self) -> Parsed<Tree> {
        let token = self.token();
        let next = self.ahead(1).kind;
        let called = next == Kind::LeftParen;
        let expr = match token.kind {
            Kind::Number | Kind::Duration => Expr::Number(self.number_literal()?),
            Kind::Text => {
                self.advance();
                Expr::Text(StringLiteral { value: unquote(self.text(token)), span: token.span })
            }
            Kind::LeftParen => {
                self.advance();
                let inner = self.expr(0)?;
                self.expect(Kind::RightParen, "", "an operator or \")\"")?;
                let span = Span { start: token.span.start, end: self.last_end() };
                return self.over(inner.height, Expr::Paren(Paren { expr: Box::new(inner.expr), span }));
            }
            Kind::Keyword(Keyword::Aggregate(op))
                if called || matches!(next, Kind::Keyword(Keyword::By | Keyword::Without)) =>
            {
                return self.aggregate(op);
            }
            Kind::Identifier
            | Kind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range)
                if called =>
            {
                return self.call();
            }
            _ if self.at_metric_name() || token.kind == Kind::LeftBrace => {
                Expr::Vector(self.vector_selector()?)
            }
            _ => return Err(self.unexpected("", "an expression")),
        };
        Ok(Tree { expr, height: 1 })
    }

    fn call(&mut self) -> Parsed<Tree> {
        let name = self.advance();
        let (args, height) = self.arguments()?;
        let text = self.text(name);
        let Some(function) = Function::named(text) else {
            let message = format!("unknown function with name {}", quote(text.as_bytes()));
            return Err(self.error(name.span, message));
        };
        let span = Span { start: name.span.start, end: self.last_end() };
        self.over(height, Expr::Call(Call { function, args, span }))
    }

    /// `(a, b)`, and the height of the tallest.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, usize)> {
        self.expect(Kind::LeftParen, "", "\"(\"")?;
        let mut arguments = Vec::new();
        let mut height = 0;
        if self.take(Kind::RightParen).is_some() {
            return Ok((arguments, height));
        }
        loop {
            let argument = self.expr(0)?;
            height = height.max(argument.height);
            arguments.push(argument.expr);
            let Some(comma) = self.take(Kind::Comma) else { break };
            if self.kind() == Kind::RightParen {
                return Err(self.error(comma.span, "trailing commas not allowed in function call args"));
            }
        }
        self.expect(Kind::RightParen, "", "an operator, \",\" or \")\"")?;
        Ok((arguments, height))
    }

    fn aggregate(&mut self, op: AggregateOp) -> Parsed<Tree> {
        let name = self.advance();
        let mut modifier = self.aggregate_modifier()?;
        if modifier.is_some() && self.kind() != Kind::LeftParen {
            return Err(self.unexpected("aggregation", "\"(\""));
        }
        let (mut args, height) = self.arguments()?;
        if modifier.is_none() {
            modifier = self.aggregate_modifier()?;
        }
        let span = Span { start: name.span.start, end: self.last_end() };
        let wanted = 1 + usize::from(op.param_type().is_some());
        if args.is_empty() {
            return Err(self.error(span, "no arguments for aggregate expression provided"));
        }
        if args.len() != wanted {
            let given = args.len();
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}"
            );
            return Err(self.error(span, message));
        }
        let param = (wanted == 2).then(|| Box::new(args.remove(0)));
        let expr = Box::new(args.remove(0));
        let (grouping, without) = modifier.unwrap_or_default();
        self.over(height, Expr::Aggregate(Aggregate { op, param, expr, grouping, without, span }))
    }

    /// `by (a, b)` or `without (a, b)`; whether it is the latter.
    fn aggregate_modifier(&mut self) -> Parsed<Option<(Vec<String>, bool)>> {
        if self.take_keyword(Keyword::By) {
            return self.labels().map(|labels| Some((labels, false)));
        }
        if self.take_keyword(Keyword::Without) {
            return self.labels().map(|labels| Some((labels, true)));
        }
        Ok(None)
    }

    /// `(a, "b c")`
    fn labels(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        self.expect(Kind::LeftParen, CONTEXT, "\"(\"")?;
        let mut labels = Vec::new();
        while self.take(Kind::RightParen).is_none() {
            let token = self.token();
            let label = match token.kind {
                Kind::Text => {
                    let label = self.string(token)?;
                    if label.is_empty() {
                        return Err(self.error(token.span, "invalid label name in grouping: \"\""));
                    }
                    label
                }
                Kind::Identifier | Kind::Keyword(_) if is_plain_label(self.text(token)) => {
                    self.text(token).to_owned()
                }
                _ => return Err(self.unexpected(CONTEXT, "label")),
            };
            self.advance();
            labels.push(label);
            if self.take(Kind::Comma).is_none() && self.kind() != Kind::RightParen {
                return Err(self.unexpected(CONTEXT, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }

    /// What stands between a binary operator and its right side, and whether `bool` is among it.
    fn binary_modifiers(&mut self) -> Parsed<(Matching, bool)> {
        let mut matching = Matching {
            card: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let return_bool = self.take_keyword(Keyword::Bool);
        matching.on = self.take_keyword(Keyword::On);
        if matching.on || self.take_keyword(Keyword::Ignoring) {
            matching.labels = self.labels()?;
            let grouped = if self.take_keyword(Keyword::GroupLeft) {
                Some(Cardinality::ManyToOne)
            } else if self.take_keyword(Keyword::GroupRight) {
                Some(Cardinality::OneToMany)
            } else {
                None
            };
            if let Some(card) = grouped {
                matching.card = card;
                if self.kind() == Kind::LeftParen {
                    matching.include = self.labels()?;
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok((matching, return_bool))
    }

    fn fill_modifiers(&mut self, matching: &mut Matching) -> Parsed<()> {
        // The words are names of metrics too: only with a value in parentheses they are modifiers.
        while self.ahead(1).kind == Kind::LeftParen {
            let token = self.token();
            let (left, right) = match token.kind {
                Kind::Keyword(Keyword::Fill) => (true, true),
                Kind::Keyword(Keyword::FillLeft) => (true, false),
                Kind::Keyword(Keyword::FillRight) => (false, true),
                _ => break,
            };
            let twice = (left && matching.fill_left.is_some()) || (right && matching.fill_right.is_some());
            if twice {
                return Err(self.unexpected("", "an expression: the fill value of a side may be set once"));
            }
            self.advance();
            let value = self.fill_value()?;
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        const CONTEXT: &str = "fill value";
        self.expect(Kind::LeftParen, CONTEXT, "\"(\"")?;
        let negative = match self.kind() {
            Kind::Add | Kind::Sub => self.advance().kind == Kind::Sub,
            _ => false,
        };
        if !matches!(self.kind(), Kind::Number | Kind::Duration) {
            return Err(self.unexpected(CONTEXT, "number"));
        }
        let value = self.number_literal()?.value;
        self.expect(Kind::RightParen, CONTEXT, "\")\"")?;
        Ok(if negative { -value } else { value })
    }
}

/// The binary operators and their binding powers.
fn binary_op(kind: Kind) -> Option<(BinaryOp, u8)> {
    Some(match kind {
        Kind::Keyword(Keyword::Or) => (BinaryOp::Or, 1),
        Kind::Keyword(Keyword::And) => (BinaryOp::And, 2),
        Kind::Keyword(Keyword::Unless) => (BinaryOp::Unless, 2),
        Kind::Equal => (BinaryOp::Equal, 3),
        Kind::NotEqual => (BinaryOp::NotEqual, 3),
        Kind::Less => (BinaryOp::Less, 3),
        Kind::LessOrEqual => (BinaryOp::LessOrEqual, 3),
        Kind::Greater => (BinaryOp::Greater, 3),
        Kind::GreaterOrEqual => (BinaryOp::GreaterOrEqual, 3),
        Kind::TrimUpper => (BinaryOp::TrimUpper, 3),
        Kind::TrimLower => (BinaryOp::TrimLower, 3),
        Kind::Add => (BinaryOp::Add, 4),
        Kind::Sub => (BinaryOp::Sub, 4),
        Kind::Mul => (BinaryOp::Mul, SIGN),
        Kind::Div => (BinaryOp::Div, SIGN),
        Kind::Mod => (BinaryOp::Mod, SIGN),
        Kind::Keyword(Keyword::Atan2) => (BinaryOp::Atan2, SIGN),
        Kind::Pow => (BinaryOp::Pow, POWER),
        _ => return None,
    })
}
