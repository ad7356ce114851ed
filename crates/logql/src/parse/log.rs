//! Log queries: the selector, the stages, and the range that an aggregation takes of them.

use throughline_exec::Matcher;

use super::{Parsed, Parser, STAGES_MAX};
use crate::ast::{At, LogExpr, LogRange, Stage, Unwrap};
use crate::check;
use crate::lexer::{Kind, duration_ns};

/// A range while it is being read.
struct Partial {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    range_ns: Option<i64>,
    offset_ns: i64,
    at: Option<At>,
}

/// A stage, or what stands in the place of one.
pub(super) enum Piece {
    Stage(Stage),
    Unwrap(Unwrap),
}

impl Parser<'_> {
    /// `{…}` and its stages.
    pub(super) fn log(&mut self) -> Parsed<LogExpr> {
        let matchers = self.selector()?;
        let mut log = LogExpr { matchers, stages: Vec::new() };
        while self.at_stage() {
            let token = self.token();
            match self.piece()? {
                Piece::Stage(stage) => log.stages.push(stage),
                Piece::Unwrap(_) => {
                    return Err(
                        self.error(token, "syntax error: unexpected unwrap outside of an aggregation")
                    );
                }
            }
        }
        Ok(log)
    }

    /// `{…}` that selects something.
    fn selector(&mut self) -> Parsed<Vec<Matcher>> {
        let token = self.token();
        let matchers = self.braces()?;
        check::selector(&matchers).map_err(|message| self.error(token, message))?;
        Ok(matchers)
    }

    pub(super) fn braces(&mut self) -> Parsed<Vec<Matcher>> {
        self.expect_sign("{")?;
        let mut matchers = Vec::new();
        if self.take_sign("}") {
            return Ok(matchers);
        }
        loop {
            let name = self.expect_word("IDENTIFIER or }")?;
            matchers.push(self.matcher(&name)?);
            if self.take_sign("}") {
                return Ok(matchers);
            }
            if !self.take_sign(",") {
                return Err(self.unexpected("} or ,"));
            }
        }
    }

    /// Whether a stage begins here.
    pub(super) fn at_stage(&self) -> bool {
        matches!(self.kind(), Kind::Sign("|" | "|=" | "|~" | "|>" | "!=" | "!~" | "!>"))
    }

    fn piece(&mut self) -> Parsed<Piece> {
        self.stages += 1;
        self.count(self.stages, STAGES_MAX, "stages")?;
        self.stage()
    }

    /// What stands between the parentheses of an aggregation.
    pub(super) fn log_range(&mut self) -> Parsed<LogRange> {
        let partial = self.partial()?;
        let Some(range_ns) = partial.range_ns else { return Err(self.unexpected("RANGE")) };
        Ok(LogRange {
            log: partial.log,
            unwrap: partial.unwrap,
            range_ns,
            offset_ns: partial.offset_ns,
            at: partial.at,
        })
    }

    /// The range may stand behind the selector or behind the stages, and parentheses around any part of it.
    fn partial(&mut self) -> Parsed<Partial> {
        let mut partial = if self.is_sign("(") {
            self.descend()?;
            self.advance();
            let inner = self.partial()?;
            self.expect_sign(")")?;
            self.ascend();
            inner
        } else if self.is_sign("{") {
            let log = LogExpr { matchers: self.selector()?, stages: Vec::new() };
            Partial { log, unwrap: None, range_ns: None, offset_ns: 0, at: None }
        } else {
            return Err(self.unexpected("{ or ("));
        };
        loop {
            let token = self.token();
            if self.is_sign("[") && partial.range_ns.is_none() {
                partial.range_ns = Some(self.brackets()?);
            } else if self.word() == Some("offset") && partial.range_ns.is_some() && partial.offset_ns == 0 {
                self.advance();
                partial.offset_ns = self.offset()?;
            } else if self.is_sign("@") && partial.range_ns.is_some() && partial.at.is_none() {
                self.advance();
                partial.at = Some(self.fixed_time()?);
            } else if self.at_stage() {
                match self.piece()? {
                    Piece::Stage(stage) if partial.unwrap.is_none() => partial.log.stages.push(stage),
                    Piece::Unwrap(unwrap) if partial.unwrap.is_none() => partial.unwrap = Some(unwrap),
                    Piece::Stage(Stage::LabelFilter(filter)) => {
                        partial.unwrap.iter_mut().for_each(|unwrap| unwrap.filters.push(filter.clone()));
                    }
                    _ => {
                        return Err(self.error(token, "syntax error: only label filters may follow unwrap"));
                    }
                }
            } else {
                return Ok(partial);
            }
        }
    }

    /// `[1m]`
    fn brackets(&mut self) -> Parsed<i64> {
        self.expect_sign("[")?;
        let token = self.token();
        let text = self.text(token);
        let range_ns = match token.kind {
            Kind::Duration => duration_ns(text),
            Kind::Number if text == "0" => Some(0),
            Kind::Number if self.ahead(1).kind == Kind::Word => {
                let unit = self.text(self.ahead(1));
                let message = format!("unknown unit \"{unit}\" in duration \"{text}{unit}\"");
                return Err(self.error(token, message));
            }
            Kind::Number => {
                return Err(self.error(token, format!("missing unit in duration \"{text}\"")));
            }
            _ => return Err(self.unexpected("DURATION")),
        };
        self.advance();
        self.expect_sign("]")?;
        match range_ns {
            Some(range_ns) => Ok(range_ns),
            None => Err(self.error(token, format!("duration {text} is out of range"))),
        }
    }

    fn offset(&mut self) -> Parsed<i64> {
        let negative = self.take_sign("-");
        let token = self.token();
        if token.kind != Kind::Duration {
            return Err(self.unexpected("DURATION"));
        }
        self.advance();
        let text = self.text(token);
        let offset_ns =
            duration_ns(text).ok_or_else(|| self.error(token, format!("duration {text} is out of range")))?;
        Ok(if negative { -offset_ns } else { offset_ns })
    }

    /// A time in seconds, `start()` or `end()`.
    fn fixed_time(&mut self) -> Parsed<At> {
        let token = self.token();
        if let Some(word @ ("start" | "end")) = self.word() {
            self.advance();
            self.expect_sign("(")?;
            self.expect_sign(")")?;
            return Ok(if word == "start" { At::Start } else { At::End });
        }
        let seconds = self.expect_number(true)?;
        let ns = seconds * 1e9;
        if ns.is_nan() || ns.abs() >= i64::MAX as f64 {
            return Err(self.error(token, "timestamp out of bounds for @ modifier"));
        }
        Ok(At::Time(ns.round() as i64))
    }
}
