//! Functions that make series, and what is made of series.

use super::pipeline::Operand;
use super::{Parsed, Parser};
use crate::ast::{
    ArithmeticOp, CompareOp, Grouped, Literal, MetricsExpr, MetricsFunction, MetricsMath, MetricsQuery,
    Pipeline, Ranking, ScalarExpr, SecondStage, SpanFunction, power,
};
use crate::lexer::{Kind, Token};

impl Parser<'_> {
    /// The function that the word in hand begins, if it does.
    pub(super) fn metrics_function(&mut self) -> Parsed<Option<MetricsFunction>> {
        let Some(word) = self.word() else { return Ok(None) };
        if word == "compare" {
            self.at += 1;
            return self.compare().map(Some);
        }
        if let Some(ranking) = ranking(word) {
            let message = format!("{} needs series before it, such as `{{}} | rate() |`", ranking.name());
            return Err(self.error(self.token(), message));
        }
        match SpanFunction::ALL.into_iter().find(|function| function.name() == word) {
            Some(function) => {
                self.at += 1;
                self.grouped(function).map(|grouped| Some(MetricsFunction::Grouped(grouped)))
            }
            None => Ok(None),
        }
    }

    /// `(field, 0.9) by (field)`
    fn grouped(&mut self, function: SpanFunction) -> Parsed<Grouped> {
        self.expect_sign("(")?;
        let field = if function.takes_field() { Some(self.expect_field()?) } else { None };
        let mut quantiles = Vec::new();
        if function == SpanFunction::QuantileOverTime {
            self.expect_sign(",")?;
            loop {
                let number = matches!(self.kind(), Kind::Int | Kind::Float);
                match self.literal()? {
                    Some(quantile) if number => quantiles.push(quantile),
                    _ => return Err(self.unexpected("a quantile from 0 to 1")),
                }
                if !self.take_sign(",") {
                    break;
                }
            }
        }
        self.expect_sign(")")?;
        let by = if self.take_word("by") { self.field_list()? } else { Vec::new() };
        Ok(Grouped { function, field, quantiles, by })
    }

    /// `({…}, top, start, end)`
    fn compare(&mut self) -> Parsed<MetricsFunction> {
        self.expect_sign("(")?;
        let selection = self.braces()?;
        let top = if self.take_sign(",") { Some(self.whole_number()?) } else { None };
        let mut window = None;
        if top.is_some() && self.take_sign(",") {
            let start = self.whole_number()?;
            self.expect_sign(",")?;
            window = Some((start, self.whole_number()?));
        }
        self.expect_sign(")")?;
        Ok(MetricsFunction::Compare { selection, top, window })
    }

    /// Series of spans, and comparisons that follow without a bar.
    pub(super) fn metrics_query(
        &mut self,
        source: Pipeline,
        function: MetricsFunction,
    ) -> Parsed<MetricsExpr> {
        let query = MetricsExpr::Query(Box::new(MetricsQuery { source, function }));
        self.compared(query)
    }

    /// Series that are the largest or smallest, after the bar.
    pub(super) fn ranked(&mut self, metrics: MetricsExpr) -> Parsed<MetricsExpr> {
        let Some(ranking) = self.word().and_then(ranking) else {
            return Err(self.unexpected("`topk(…)` or `bottomk(…)`"));
        };
        self.take_operator()?;
        self.expect_sign("(")?;
        let count = self.whole_number()?;
        self.expect_sign(")")?;
        self.compared(staged(metrics, SecondStage::Rank(ranking, count)))
    }

    /// Comparisons that follow.
    fn compared(&mut self, mut metrics: MetricsExpr) -> Parsed<MetricsExpr> {
        while let Some(op) = self.sign().and_then(compare_op) {
            let token = self.take_operator()?;
            let Operand::Scalar(right) = self.expr(power::COMPARE)? else {
                return Err(self.error(token, "series are compared with a constant on the right"));
            };
            metrics = self.filtered(token, op, metrics, right)?;
        }
        Ok(metrics)
    }

    fn filtered(
        &self,
        token: Token,
        op: CompareOp,
        metrics: MetricsExpr,
        right: ScalarExpr,
    ) -> Parsed<MetricsExpr> {
        // A duration is a number of seconds, but nothing is computed with one.
        if !matches!(right, ScalarExpr::Number(Literal::Duration(_))) {
            self.constant(token, &right)?;
        }
        Ok(staged(metrics, SecondStage::Filter(op, right)))
    }

    /// What an operator makes of series with a number on the right.
    pub(super) fn join_series_and_number(
        &self,
        token: Token,
        sign: &'static str,
        left: MetricsExpr,
        right: ScalarExpr,
    ) -> Parsed<Operand> {
        if let Some(op) = compare_op(sign) {
            return self.filtered(token, op, left, right).map(Operand::Metrics);
        }
        self.constant(token, &right)?;
        self.join_series(token, sign, left, MetricsExpr::Constant(right))
    }

    /// What an operator makes of series.
    pub(super) fn join_series(
        &self,
        token: Token,
        sign: &'static str,
        left: MetricsExpr,
        right: MetricsExpr,
    ) -> Parsed<Operand> {
        use ArithmeticOp::{Add, Div, Mul, Sub};
        let Some(op) = [Add, Sub, Mul, Div].into_iter().find(|op| op.symbol() == sign) else {
            let message = format!("`{sign}` cannot join series, expected one of `+`, `-`, `*` and `/`");
            return Err(self.error(token, message));
        };
        Ok(Operand::Metrics(MetricsExpr::Math(Box::new(MetricsMath { op, left, right }))))
    }

    /// Whether a number can stand beside series: a constant of numbers without a unit.
    pub(super) fn constant(&self, token: Token, number: &ScalarExpr) -> Parsed<()> {
        match number {
            ScalarExpr::Number(Literal::Duration(_)) => {
                Err(self.error(token, "series are not computed with durations, expected a number"))
            }
            ScalarExpr::Number(_) => Ok(()),
            ScalarExpr::Binary(binary) if matches!(binary.op, ArithmeticOp::Mod | ArithmeticOp::Pow) => {
                let message = format!("`{}` is not for numbers beside series", binary.op.symbol());
                Err(self.error(token, message))
            }
            ScalarExpr::Binary(binary) => {
                self.constant(token, &binary.left)?;
                self.constant(token, &binary.right)
            }
            ScalarExpr::Aggregate(_) | ScalarExpr::Pipeline(_) => {
                Err(self.error(token, "series are joined with series and constants, not with aggregates"))
            }
        }
    }
}

fn staged(metrics: MetricsExpr, stage: SecondStage) -> MetricsExpr {
    MetricsExpr::Stage(Box::new((metrics, stage)))
}

fn ranking(word: &str) -> Option<Ranking> {
    [Ranking::Top, Ranking::Bottom].into_iter().find(|ranking| ranking.name() == word)
}

fn compare_op(sign: &str) -> Option<CompareOp> {
    CompareOp::ALL.into_iter().find(|op| op.symbol() == sign)
}
