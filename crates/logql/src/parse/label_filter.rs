//! Conditions on labels: `and` joins more closely than `or`. A comma, or nothing at all, joins what is before it alone with all that
//! follows: `a, b or c` is `a and (b or c)`, and `a or b, c` is `a or (b and c)`. So does Loki's grammar.

use throughline_exec::log::IpMatcher;

use super::{CONDITIONS_MAX, Parsed, Parser};
use crate::ast::{CompareOp, LabelFilter, Quantity};
use crate::lexer::{self, Kind};

/// How closely conditions are joined, the loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Joint {
    Any,
    Or,
    And,
}

impl Parser<'_> {
    pub(super) fn label_filter(&mut self) -> Parsed<LabelFilter> {
        let mut conditions = 0;
        self.joined(&mut conditions, Joint::Any)
    }

    /// Conditions joined more closely than `least`. Recursion is bounded by their number.
    fn joined(&mut self, conditions: &mut usize, least: Joint) -> Parsed<LabelFilter> {
        let mut filter = self.condition(conditions)?;
        loop {
            if self.take_sign(",") || self.at_condition() {
                let rest = self.joined(conditions, Joint::Any)?;
                filter = LabelFilter::And(Box::new(filter), Box::new(rest));
            } else if least < Joint::And && self.take_word("and") {
                let right = self.joined(conditions, Joint::And)?;
                filter = LabelFilter::And(Box::new(filter), Box::new(right));
            } else if least < Joint::Or && self.take_word("or") {
                let right = self.joined(conditions, Joint::Or)?;
                filter = LabelFilter::Or(Box::new(filter), Box::new(right));
            } else {
                return Ok(filter);
            }
        }
    }

    /// Whether another condition follows without a word between.
    fn at_condition(&self) -> bool {
        let compared = matches!(
            self.ahead(1).kind,
            Kind::Sign("=" | "==" | "!=" | "=~" | "!~" | ">" | ">=" | "<" | "<=")
        );
        self.is_sign("(") || (self.kind() == Kind::Word && compared)
    }

    fn condition(&mut self, conditions: &mut usize) -> Parsed<LabelFilter> {
        *conditions += 1;
        self.count(*conditions, CONDITIONS_MAX, "conditions in one label filter")?;
        if self.is_sign("(") {
            self.descend()?;
            self.advance();
            let inner = self.joined(conditions, Joint::Any)?;
            self.expect_sign(")")?;
            self.ascend();
            return Ok(inner);
        }
        let label = self.expect_word("IDENTIFIER")?;
        let op = self.token();
        let value = self.ahead(1).kind;
        let is_match = matches!(op.kind, Kind::Sign("=" | "!=" | "=~" | "!~"));
        if is_match && value == Kind::Text {
            return Ok(LabelFilter::Match(self.matcher(&label)?));
        }
        if matches!(op.kind, Kind::Sign("=" | "!=")) && self.text(self.ahead(1)) == "ip" {
            return self.ip(label, op.kind == Kind::Sign("!="));
        }
        let op = match op.kind {
            Kind::Sign("=" | "==") => CompareOp::Equal,
            Kind::Sign("!=") => CompareOp::NotEqual,
            Kind::Sign(">") => CompareOp::Greater,
            Kind::Sign(">=") => CompareOp::GreaterOrEqual,
            Kind::Sign("<") => CompareOp::Less,
            Kind::Sign("<=") => CompareOp::LessOrEqual,
            Kind::Sign("=~" | "!~") => {
                self.advance();
                return Err(self.unexpected("STRING"));
            }
            _ => return Err(self.unexpected("a comparison")),
        };
        self.advance();
        let quantity = self.quantity()?;
        Ok(LabelFilter::Compare { label, op, quantity })
    }

    fn ip(&mut self, label: String, negated: bool) -> Parsed<LabelFilter> {
        self.advance();
        self.advance();
        self.expect_sign("(")?;
        let token = self.token();
        let text = self.expect_text()?;
        self.expect_sign(")")?;
        let addresses = IpMatcher::new(&text).map_err(|error| self.error(token, error.to_string()))?;
        Ok(LabelFilter::Ip { label, negated, addresses })
    }

    fn quantity(&mut self) -> Parsed<Quantity> {
        let negative = self.take_sign("-");
        if !negative {
            self.take_sign("+");
        }
        let token = self.token();
        let text = self.text(token);
        let quantity = match token.kind {
            Kind::Number => {
                let value = lexer::number(text).map_err(|message| self.error(token, message))?;
                Quantity::Number(if negative { -value } else { value })
            }
            Kind::Duration => {
                let out_of_range = || self.error(token, format!("duration {text} is out of range"));
                let ns = lexer::duration_ns(text).ok_or_else(out_of_range)?;
                Quantity::Duration(if negative { -ns } else { ns })
            }
            Kind::Bytes if !negative => {
                Quantity::Bytes(lexer::bytes(text).map_err(|message| self.error(token, message))?)
            }
            _ => return Err(self.unexpected("NUMBER or DURATION or BYTES")),
        };
        self.advance();
        Ok(quantity)
    }
}
