//! Expressions whose value is numbers, and the operators between them.

use throughline_exec::AnchoredRegex;

use super::{OPERATORS_MAX, Parsed, Parser, regex_message};
use crate::ast::{
    BinaryOp, Cardinality, CompareOp, Expr, Grouping, LabelReplace, Matching, MetricExpr, RangeAggregation,
    RangeOp, Variants, VectorAggregation, VectorOp,
};
use crate::check;
use crate::lexer::{Kind, Token};

/// The operator, whatever the case of its letters, how closely it binds, and whether it binds to the right.
fn operator(text: &str) -> Option<(BinaryOp, u8, bool)> {
    let compare = |op| Some((BinaryOp::Compare(op), 3, false));
    match text.to_ascii_lowercase().as_str() {
        "or" => Some((BinaryOp::Or, 1, false)),
        "and" => Some((BinaryOp::And, 2, false)),
        "unless" => Some((BinaryOp::Unless, 2, false)),
        "==" => compare(CompareOp::Equal),
        "!=" => compare(CompareOp::NotEqual),
        ">" => compare(CompareOp::Greater),
        ">=" => compare(CompareOp::GreaterOrEqual),
        "<" => compare(CompareOp::Less),
        "<=" => compare(CompareOp::LessOrEqual),
        "+" => Some((BinaryOp::Add, 4, false)),
        "-" => Some((BinaryOp::Sub, 4, false)),
        "*" => Some((BinaryOp::Mul, 5, false)),
        "/" => Some((BinaryOp::Div, 5, false)),
        "%" => Some((BinaryOp::Mod, 5, false)),
        "^" => Some((BinaryOp::Pow, 6, true)),
        _ => None,
    }
}

impl Parser<'_> {
    /// An expression whose operators bind at least as closely as `power`.
    pub(super) fn expr(&mut self, power: u8) -> Parsed<Expr> {
        self.descend()?;
        let mut left = self.primary()?;
        loop {
            let token = self.token();
            let known = if matches!(token.kind, Kind::Word | Kind::Sign(_)) {
                operator(self.text(token))
            } else {
                None
            };
            let Some((op, binds, to_the_right)) = known.filter(|(_, binds, _)| *binds >= power) else {
                break;
            };
            self.operators += 1;
            self.count(self.operators, OPERATORS_MAX, "operators")?;
            self.advance();
            // Behind an operator that compares nothing, the word says nothing.
            let return_bool = self.take_word("bool") && matches!(op, BinaryOp::Compare(_));
            let matching = self.matching()?;
            let right = self.expr(if to_the_right { binds } else { binds + 1 })?;
            let binary = check::binary(op, return_bool, matching, left, right);
            left = Expr::Metric(binary.map_err(|message| self.error(token, message))?);
        }
        self.ascend();
        Ok(left)
    }

    fn metric(&mut self) -> Parsed<MetricExpr> {
        let token = self.token();
        match self.expr(0)? {
            Expr::Metric(metric) => Ok(metric),
            Expr::Log(_) => {
                Err(self.error(token, "syntax error: expected an aggregation of log lines, got log lines"))
            }
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        match self.kind() {
            Kind::Sign("{") => self.log().map(Expr::Log),
            Kind::Sign("(") => {
                self.advance();
                let inner = self.expr(0)?;
                self.expect_sign(")")?;
                Ok(match inner {
                    Expr::Metric(metric) => Expr::Metric(MetricExpr::Paren(Box::new(metric))),
                    log @ Expr::Log(_) => log,
                })
            }
            Kind::Number | Kind::Sign("+" | "-") => {
                Ok(Expr::Metric(MetricExpr::Number(self.expect_number(true)?)))
            }
            Kind::Word => self.call().map(Expr::Metric),
            _ => Err(self.unexpected("")),
        }
    }

    fn call(&mut self) -> Parsed<MetricExpr> {
        let token = self.token();
        let word = self.text(token);
        let opens = self.ahead(1).kind == Kind::Sign("(");
        if let Some(op) = RangeOp::ALL.into_iter().find(|op| op.name() == word && opens) {
            self.advance();
            return self.range_aggregation(op, token);
        }
        let grouped = matches!(self.text(self.ahead(1)), "by" | "without");
        if let Some(op) = VectorOp::ALL.into_iter().find(|op| op.name() == word && (opens || grouped)) {
            self.advance();
            return self.vector_aggregation(op, token);
        }
        match word {
            "vector" if opens => {
                self.at += 2;
                let value = self.expect_number(false)?;
                self.expect_sign(")")?;
                Ok(MetricExpr::Vector(value))
            }
            "label_replace" if opens => {
                self.at += 2;
                self.label_replace()
            }
            "variants" if opens => {
                self.at += 2;
                self.variants()
            }
            _ => Err(self.unexpected("")),
        }
    }

    fn range_aggregation(&mut self, op: RangeOp, token: Token) -> Parsed<MetricExpr> {
        self.expect_sign("(")?;
        let parameter = match self.kind() {
            Kind::Number => {
                let value = self.expect_number(false)?;
                self.expect_sign(",")?;
                Some(value)
            }
            _ => None,
        };
        let range = self.log_range()?;
        self.expect_sign(")")?;
        let grouping = self.grouping()?;
        let aggregation = RangeAggregation { op, parameter, range, grouping };
        check::range_aggregation(&aggregation).map_err(|message| self.error(token, message))?;
        Ok(MetricExpr::Range(Box::new(aggregation)))
    }

    fn vector_aggregation(&mut self, op: VectorOp, token: Token) -> Parsed<MetricExpr> {
        let before = self.grouping()?;
        self.expect_sign("(")?;
        let with_count = self.kind() == Kind::Number && self.ahead(1).kind == Kind::Sign(",");
        let count = if with_count {
            let token = self.advance();
            let text = self.text(token);
            self.advance();
            Some(check::count(op, text).map_err(|message| self.error(token, message))?)
        } else {
            None
        };
        let expr = self.metric()?;
        self.expect_sign(")")?;
        let after = if before.is_none() { self.grouping()? } else { None };
        let aggregation = VectorAggregation { op, count, grouping: before.or(after), expr };
        check::vector_aggregation(&aggregation).map_err(|message| self.error(token, message))?;
        Ok(MetricExpr::Aggregate(Box::new(aggregation)))
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = match self.word() {
            Some("by") => false,
            Some("without") => true,
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(Grouping { labels: self.labels()?, without }))
    }

    /// `(a, b)`
    fn labels(&mut self) -> Parsed<Vec<String>> {
        self.expect_sign("(")?;
        let mut labels = Vec::new();
        if self.take_sign(")") {
            return Ok(labels);
        }
        loop {
            labels.push(self.expect_word("IDENTIFIER or )")?);
            if self.take_sign(")") {
                return Ok(labels);
            }
            if !self.take_sign(",") {
                return Err(self.unexpected(") or ,"));
            }
        }
    }

    fn matching(&mut self) -> Parsed<Option<Matching>> {
        let on = match self.word() {
            Some("on") => true,
            Some("ignoring") => false,
            _ => return Ok(None),
        };
        self.advance();
        let mut matching = Matching { on, labels: self.labels()?, ..Matching::default() };
        matching.cardinality = match self.word() {
            Some("group_left") => Cardinality::ManyToOne,
            Some("group_right") => Cardinality::OneToMany,
            _ => return Ok(Some(matching)),
        };
        self.advance();
        // Parentheses here may be the labels, or the right side.
        let named = self.is_sign("(") && matches!(self.ahead(1).kind, Kind::Word | Kind::Sign(")"));
        let called = matches!(self.ahead(2).kind, Kind::Sign("("))
            || matches!(self.text(self.ahead(2)), "by" | "without");
        if named && (self.ahead(1).kind == Kind::Sign(")") || !called) {
            matching.include = self.labels()?;
        }
        Ok(Some(matching))
    }

    fn label_replace(&mut self) -> Parsed<MetricExpr> {
        let expr = self.metric()?;
        self.expect_sign(",")?;
        let target = self.expect_text()?;
        self.expect_sign(",")?;
        let replacement = self.expect_text()?;
        self.expect_sign(",")?;
        let source = self.expect_text()?;
        self.expect_sign(",")?;
        let token = self.token();
        let pattern = self.expect_text()?;
        self.expect_sign(")")?;
        self.count_regex()?;
        let regex = AnchoredRegex::new(&pattern).map_err(|error| {
            self.error(token, format!("invalid regex in label_replace: {}", regex_message(&error)))
        })?;
        Ok(MetricExpr::LabelReplace(Box::new(LabelReplace {
            expr,
            target,
            replacement,
            source,
            pattern,
            regex,
        })))
    }

    fn variants(&mut self) -> Parsed<MetricExpr> {
        let mut variants = Vec::new();
        loop {
            variants.push(self.metric()?);
            if self.take_sign(")") {
                break;
            }
            self.expect_sign(",")?;
        }
        if !self.take_word("of") {
            return Err(self.unexpected("of"));
        }
        self.expect_sign("(")?;
        let of = self.log_range()?;
        self.expect_sign(")")?;
        Ok(MetricExpr::Variants(Box::new(Variants { variants, of })))
    }
}
