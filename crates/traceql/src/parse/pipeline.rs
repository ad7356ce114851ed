//! Queries and what is between bars: sets of spans, numbers of them, series.
//!
//! Parentheses hold any of these, and only what follows them tells which. So operands are read first ([`Operand`]), and each operator
//! says what it joins.

use super::{ParseError, Parsed, Parser};
use crate::ast::{
    Aggregate, ArithmeticOp, CompareOp, Expr, Fold, Literal, MetricsExpr, Pipeline, ScalarBinary, ScalarExpr,
    ScalarFilter, SpansetBinary, SpansetExpr, SpansetOp, Stage, power,
};
use crate::lexer::{Kind, Token};

/// What an operand begins with.
const EXPECTED: &str = "`{`, `(`, an aggregate such as `count()`, or a number";

/// What an operator joins.
pub(super) enum Operand {
    Spanset(SpansetExpr, Wrap),
    Scalar(ScalarExpr),
    Filter(ScalarFilter),
    Metrics(MetricsExpr),
}

/// How a set of spans is written: pipelines in parentheses are joined with nothing else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrap {
    /// `{}`
    Plain,
    /// `({})`, which is a pipeline if need be
    Parens,
    /// `({} | count() > 1)`
    Pipeline,
}

/// What is between parentheses, or the whole of a query.
pub(super) enum Chain {
    /// A single operand.
    Operand(Operand),
    /// Stages.
    Stages(Vec<Stage>),
    /// Stages, and a number of what they give.
    Aggregate(Vec<Stage>, Aggregate),
    /// Series.
    Metrics(MetricsExpr),
}

impl Parser<'_> {
    /// What a query asks for.
    pub(super) fn query(&mut self) -> Parsed<Expr> {
        let start = self.token();
        let stages = match self.chain()? {
            Chain::Metrics(metrics) | Chain::Operand(Operand::Metrics(metrics)) => {
                return Ok(Expr::Metrics(metrics));
            }
            // These two may only be all of a query.
            Chain::Operand(Operand::Spanset(spanset, Wrap::Pipeline)) => vec![Stage::Spanset(spanset)],
            Chain::Operand(Operand::Filter(filter)) => vec![Stage::Filter(filter)],
            other => self.stages(start, other)?,
        };
        Ok(Expr::Spans(Pipeline { stages }))
    }

    fn chain(&mut self) -> Parsed<Chain> {
        let start = self.token();
        let mut chain = match self.stage()? {
            Some(Stage::Coalesce) => {
                return Err(self.error(start, "coalesce() needs spans before it, such as `{} |`"));
            }
            Some(stage) => Chain::Stages(vec![stage]),
            None => Chain::Operand(self.expr(0)?),
        };
        while self.take_sign("|") {
            chain = self.piped(start, chain)?;
        }
        Ok(chain)
    }

    /// The stage that a word in hand begins, if it does.
    fn stage(&mut self) -> Parsed<Option<Stage>> {
        let stage = match self.word() {
            Some("by") => {
                self.at += 1;
                self.expect_sign("(")?;
                let expr = self.field_expr()?;
                self.expect_sign(")")?;
                Stage::Group(expr)
            }
            Some("coalesce") => {
                self.at += 1;
                self.expect_sign("(")?;
                self.expect_sign(")")?;
                Stage::Coalesce
            }
            Some("select") => {
                self.at += 1;
                Stage::Select(self.field_list()?)
            }
            _ => return Ok(None),
        };
        Ok(Some(stage))
    }

    /// A chain with what follows a bar after it.
    fn piped(&mut self, start: Token, chain: Chain) -> Parsed<Chain> {
        let chain = match chain {
            Chain::Metrics(metrics) | Chain::Operand(Operand::Metrics(metrics)) => {
                return Ok(Chain::Metrics(self.ranked(metrics)?));
            }
            other => other,
        };
        let mut stages = self.stages(start, chain)?;
        let at = self.token();
        if let Some(stage) = self.stage()? {
            stages.push(stage);
            return Ok(Chain::Stages(stages));
        }
        if let Some(function) = self.metrics_function()? {
            let metrics = self.metrics_query(Pipeline { stages }, function)?;
            return Ok(Chain::Metrics(metrics));
        }
        match self.expr(0)? {
            Operand::Scalar(ScalarExpr::Aggregate(aggregate)) => {
                return Ok(Chain::Aggregate(stages, aggregate));
            }
            operand => stages.extend(self.stages(at, Chain::Operand(operand))?),
        }
        Ok(Chain::Stages(stages))
    }

    /// The stages that a chain is.
    fn stages(&self, start: Token, chain: Chain) -> Parsed<Vec<Stage>> {
        let refused = |message: &str| Err(self.error(start, message));
        match chain {
            Chain::Stages(stages) => Ok(stages),
            Chain::Operand(Operand::Spanset(spanset, Wrap::Plain | Wrap::Parens)) => {
                Ok(vec![Stage::Spanset(spanset)])
            }
            Chain::Operand(Operand::Filter(filter)) if !filter.left.is_pipelined() => {
                Ok(vec![Stage::Filter(filter)])
            }
            Chain::Operand(Operand::Spanset(..) | Operand::Filter(_)) => {
                refused("pipelines in parentheses are no stage of another pipeline")
            }
            Chain::Aggregate(..) | Chain::Operand(Operand::Scalar(_)) => {
                Err(self.unexpected("a comparison of the number, such as `> 1`"))
            }
            Chain::Metrics(_) | Chain::Operand(Operand::Metrics(_)) => {
                refused("series are no stage of a pipeline")
            }
        }
    }

    /// Operators that bind more tightly than `above`, and their operands.
    pub(super) fn expr(&mut self, above: u8) -> Parsed<Operand> {
        self.descend()?;
        let mut left = self.operand()?;
        while let Some((sign, power)) = self.sign().and_then(|sign| Some((sign, binding_power(sign)?)))
            && power > above
        {
            let token = self.take_operator()?;
            // A power binds to the right.
            let right = self.expr(power - u8::from(power == power::POWER))?;
            left = self.join(token, sign, left, right)?;
        }
        self.ascend();
        Ok(left)
    }

    fn operand(&mut self) -> Parsed<Operand> {
        if self.sign() == Some("{") {
            return Ok(Operand::Spanset(SpansetExpr::Filter(self.braces()?), Wrap::Plain));
        }
        if self.take_sign("(") {
            let start = self.token();
            let chain = self.chain()?;
            self.expect_sign(")")?;
            return self.wrapped(start, chain);
        }
        if let Some(aggregate) = self.aggregate()? {
            return Ok(Operand::Scalar(ScalarExpr::Aggregate(aggregate)));
        }
        let negative = self.take_sign("-");
        let token = self.token();
        if !is_number(self.kind(), self.word()) {
            return Err(self.unexpected(if negative { "a number" } else { EXPECTED }));
        }
        let number = match self.literal()? {
            Some(literal) if negative => negated(&literal),
            literal => literal,
        };
        match number {
            Some(number) => Ok(Operand::Scalar(ScalarExpr::Number(number))),
            None => Err(self.error(token, "number is out of range")),
        }
    }

    /// What a chain in parentheses is.
    fn wrapped(&self, start: Token, chain: Chain) -> Parsed<Operand> {
        Ok(match chain {
            Chain::Operand(Operand::Spanset(spanset, Wrap::Plain)) => Operand::Spanset(spanset, Wrap::Parens),
            Chain::Operand(operand @ (Operand::Spanset(..) | Operand::Scalar(_) | Operand::Metrics(_))) => {
                operand
            }
            Chain::Metrics(metrics) => Operand::Metrics(metrics),
            Chain::Aggregate(stages, aggregate) => {
                Operand::Scalar(ScalarExpr::Pipeline(Box::new((Pipeline { stages }, aggregate))))
            }
            chain @ (Chain::Stages(_) | Chain::Operand(Operand::Filter(_))) => {
                let stages = self.stages(start, chain)?;
                Operand::Spanset(SpansetExpr::Pipeline(Pipeline { stages }), Wrap::Pipeline)
            }
        })
    }

    /// `count()` or `max(field)`, if the word in hand names one.
    fn aggregate(&mut self) -> Parsed<Option<Aggregate>> {
        let Some(word) = self.word() else { return Ok(None) };
        if word == "count" {
            self.at += 1;
            self.expect_sign("(")?;
            self.expect_sign(")")?;
            return Ok(Some(Aggregate::Count));
        }
        let Some(fold) = Fold::ALL.into_iter().find(|fold| fold.name() == word) else { return Ok(None) };
        self.at += 1;
        self.expect_sign("(")?;
        let expr = self.field_expr()?;
        self.expect_sign(")")?;
        Ok(Some(Aggregate::Fold(fold, expr)))
    }

    /// What an operator makes of its sides.
    fn join(&self, token: Token, sign: &'static str, left: Operand, right: Operand) -> Parsed<Operand> {
        match (left, right) {
            (Operand::Spanset(left, left_wrap), Operand::Spanset(right, right_wrap)) => {
                self.join_spansets(token, sign, (left, left_wrap), (right, right_wrap))
            }
            (Operand::Scalar(left), Operand::Scalar(right)) => self.join_scalars(token, sign, left, right),
            (Operand::Metrics(left), Operand::Metrics(right)) => self.join_series(token, sign, left, right),
            (Operand::Metrics(left), Operand::Scalar(right)) => {
                self.join_series_and_number(token, sign, left, right)
            }
            (Operand::Scalar(left), Operand::Metrics(right)) => {
                self.constant(token, &left)?;
                self.join_series(token, sign, MetricsExpr::Constant(left), right)
            }
            (left, right) => {
                let message = format!("`{sign}` cannot join {} and {}", left.describe(), right.describe());
                Err(self.error(token, message))
            }
        }
    }

    fn join_spansets(
        &self,
        token: Token,
        sign: &str,
        (left, left_wrap): (SpansetExpr, Wrap),
        (right, right_wrap): (SpansetExpr, Wrap),
    ) -> Parsed<Operand> {
        let Some(op) = SpansetOp::ALL.into_iter().find(|op| op.symbol() == sign) else {
            return Err(self.error(token, format!("`{sign}` cannot join sets of spans")));
        };
        let wrap = match (left_wrap, right_wrap) {
            (Wrap::Pipeline, Wrap::Plain) | (Wrap::Plain, Wrap::Pipeline) => {
                let message =
                    format!("`{sign}` joins a pipeline only with another in parentheses, such as `({{}})`");
                return Err(self.error(token, message));
            }
            (Wrap::Pipeline, _) | (_, Wrap::Pipeline) => Wrap::Pipeline,
            (Wrap::Plain, _) | (_, Wrap::Plain) => Wrap::Plain,
            (Wrap::Parens, Wrap::Parens) => Wrap::Parens,
        };
        // In parentheses beside a pipeline, a set of spans is one, too.
        let side = |spanset: SpansetExpr, side: Wrap| match (wrap, side) {
            (Wrap::Pipeline, Wrap::Parens) => {
                SpansetExpr::Pipeline(Pipeline { stages: vec![Stage::Spanset(spanset)] })
            }
            _ => spanset,
        };
        let (left, right) = (side(left, left_wrap), side(right, right_wrap));
        Ok(Operand::Spanset(SpansetExpr::Binary(Box::new(SpansetBinary { op, left, right })), wrap))
    }

    fn join_scalars(&self, token: Token, sign: &str, left: ScalarExpr, right: ScalarExpr) -> Parsed<Operand> {
        if let Some(op) = ArithmeticOp::ALL.into_iter().find(|op| op.symbol() == sign) {
            if left.is_pipelined() != right.is_pipelined() {
                return Err(self.mixed(token));
            }
            return Ok(Operand::Scalar(ScalarExpr::Binary(Box::new(ScalarBinary { op, left, right }))));
        }
        let Some(op) = CompareOp::ALL.into_iter().find(|op| op.symbol() == sign) else {
            return Err(self.error(token, format!("`{sign}` cannot join numbers")));
        };
        if left.is_constant() && right.is_constant() {
            return Err(
                self.error(token, "expected an aggregate such as `count()` on a side of the comparison")
            );
        }
        let pipelined = left.is_pipelined() == right.is_pipelined()
            || (left.is_pipelined() && matches!(right, ScalarExpr::Number(_)));
        if !pipelined {
            return Err(self.mixed(token));
        }
        Ok(Operand::Filter(ScalarFilter { op, left, right }))
    }

    fn mixed(&self, token: Token) -> ParseError {
        let message = "a pipeline in parentheses is computed with other pipelines, and compared with them or a number on the right";
        self.error(token, message)
    }
}

impl Operand {
    fn describe(&self) -> &'static str {
        match self {
            Operand::Spanset(..) => "spans",
            Operand::Scalar(_) => "a number",
            Operand::Filter(_) => "a comparison outside of parentheses",
            Operand::Metrics(_) => "series",
        }
    }
}

/// How tightly a sign binds, if it is an operator here.
fn binding_power(sign: &str) -> Option<u8> {
    let spanset = SpansetOp::ALL.into_iter().find(|op| op.symbol() == sign).map(SpansetOp::power);
    let arithmetic = || ArithmeticOp::ALL.into_iter().find(|op| op.symbol() == sign).map(ArithmeticOp::power);
    let compare = || CompareOp::ALL.into_iter().any(|op| op.symbol() == sign).then_some(power::COMPARE);
    spanset.or_else(arithmetic).or_else(compare)
}

fn is_number(kind: Kind, word: Option<&str>) -> bool {
    matches!(kind, Kind::Int | Kind::Float | Kind::Duration) || matches!(word, Some("minInt" | "maxInt"))
}

/// A number with another sign, if there is one.
fn negated(literal: &Literal) -> Option<Literal> {
    match literal {
        Literal::Int(value) => value.checked_neg().map(Literal::Int),
        Literal::Float(value) => Some(Literal::Float(-value)),
        Literal::Duration(ns) => ns.checked_neg().map(Literal::Duration),
        _ => None,
    }
}
