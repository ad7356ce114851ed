//! Expressions over the fields of a span.

use super::{Parsed, Parser};
use crate::ast::{BinaryField, CompareOp, Field, FieldExpr, FieldOp, Intrinsic, Literal, UnaryOp};
use crate::lexer::{Kind, attribute};

/// What an expression begins with.
const EXPECTED: &str = "an attribute such as `span.name`, an intrinsic, a value, `!`, `-` or `(`";
/// What `nil` is for.
const NIL: &str = "`nil` stands only beside `=` and `!=`";

impl Parser<'_> {
    /// An expression.
    pub(super) fn field_expr(&mut self) -> Parsed<FieldExpr> {
        self.field_chain(0, false)
    }

    /// Operators that bind more tightly than `above`, and their operands; whether it may be nothing but `nil`.
    fn field_chain(&mut self, above: u8, nil: bool) -> Parsed<FieldExpr> {
        self.descend()?;
        let start = self.token();
        let mut left = self.field_operand()?;
        while let Some(op) = self.sign().and_then(FieldOp::from_symbol)
            && op.power() > above
        {
            let equality = matches!(op, FieldOp::Compare(CompareOp::Equal | CompareOp::NotEqual));
            if is_nil(&left) && !equality {
                return Err(self.error(start, NIL));
            }
            self.take_operator()?;
            // A power binds to the right.
            let right_above = op.power() - u8::from(op.power() == crate::ast::power::POWER);
            let right = self.field_chain(right_above, equality)?;
            left = FieldExpr::Binary(Box::new(BinaryField { op, left, right }));
        }
        if is_nil(&left) && !nil {
            return Err(self.error(start, NIL));
        }
        self.ascend();
        Ok(left)
    }

    fn field_operand(&mut self) -> Parsed<FieldExpr> {
        if self.take_sign("(") {
            let inner = self.field_expr()?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        for op in [UnaryOp::Negate, UnaryOp::Not] {
            if self.sign() == Some(op.symbol()) {
                self.take_operator()?;
                let inner = self.field_chain(op.power(), false)?;
                return Ok(FieldExpr::Unary(op, Box::new(inner)));
            }
        }
        if let Some(literal) = self.literal()? {
            return Ok(FieldExpr::Literal(literal));
        }
        match self.field()? {
            Some(field) => Ok(FieldExpr::Field(field)),
            None => Err(self.unexpected(EXPECTED)),
        }
    }

    /// A field of a span, if there is one in hand.
    fn field(&mut self) -> Parsed<Option<Field>> {
        let token = self.token();
        let text = self.text(token);
        let field = match token.kind {
            Kind::Attribute => Some(Field::Attribute(attribute(text))),
            Kind::Scoped => match Intrinsic::from_word(text) {
                Some(field) => Some(field),
                None => return Err(self.error(token, format!("there is no intrinsic `{text}`"))),
            },
            Kind::Word => match Intrinsic::from_word(text) {
                None if Literal::from_word(text).is_none() => {
                    let message = format!(
                        "unknown name `{text}`: attributes are written as `.{text}`, `span.{text}` or `resource.{text}`"
                    );
                    return Err(self.error(token, message));
                }
                field => field,
            },
            _ => None,
        };
        self.at += usize::from(field.is_some());
        Ok(field)
    }

    /// One field.
    pub(super) fn expect_field(&mut self) -> Parsed<Field> {
        match self.field()? {
            Some(field) => Ok(field),
            None => Err(self.unexpected("an attribute such as `span.name` or an intrinsic")),
        }
    }

    /// `(field, …)`
    pub(super) fn field_list(&mut self) -> Parsed<Vec<Field>> {
        self.expect_sign("(")?;
        let mut fields = vec![self.expect_field()?];
        while self.take_sign(",") {
            fields.push(self.expect_field()?);
        }
        self.expect_sign(")")?;
        Ok(fields)
    }

    /// `{ condition }`; nothing if there is no condition.
    pub(super) fn braces(&mut self) -> Parsed<Option<FieldExpr>> {
        self.expect_sign("{")?;
        if self.take_sign("}") {
            return Ok(None);
        }
        let condition = self.field_expr()?;
        if !self.take_sign("}") {
            return Err(self.unexpected("an operator or `}`"));
        }
        Ok(Some(condition))
    }
}

fn is_nil(expr: &FieldExpr) -> bool {
    matches!(expr, FieldExpr::Literal(Literal::Nil))
}
