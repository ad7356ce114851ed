//! The stages of a pipeline.

use std::sync::Arc;

use throughline_exec::log::{IpMatcher, LineFilter, LinePattern, LineTest};
use throughline_exec::search_regex;

use super::log::Piece;
use super::{CONDITIONS_MAX, Parsed, Parser, regex_message};
use crate::ast::{
    Conversion, JsonExtraction, LabelChoice, LabelFormat, LabelSource, LineFilterStage, LineOp, LineOperand,
    LogfmtExtraction, LogfmtStage, RegexpStage, Stage, Unwrap,
};
use crate::check;
use crate::lexer::{Kind, Token};
use crate::pipeline::json_path::JsonPath;
use crate::pipeline::template::LineTemplate;

/// The key that an expression of logfmt means: a name, or any text in quotes.
fn logfmt_key(text: &str) -> Result<String, String> {
    let text = text.trim_matches([' ', '\t', '\n']);
    if let Some(quoted) = text.strip_prefix('"') {
        return Ok(quoted.strip_suffix('"').unwrap_or(quoted).to_owned());
    }
    let is_start = |char: char| char.is_ascii_alphabetic() || char == '_';
    match text.chars().find(|char| !is_start(*char) && !char.is_ascii_digit()) {
        Some(char) if text.starts_with(is_start) => Err(format!("unexpected char {char}")),
        None if text.starts_with(is_start) => Ok(text.to_owned()),
        _ => Err("syntax error: unexpected $end, expecting STRING or KEY".to_owned()),
    }
}

impl Parser<'_> {
    /// A stage with the sign before it.
    pub(super) fn stage(&mut self) -> Parsed<Piece> {
        let op = match self.kind() {
            Kind::Sign("|=") => LineOp::Contains,
            Kind::Sign("!=") => LineOp::NotContains,
            Kind::Sign("|~") => LineOp::Regex,
            Kind::Sign("!~") => LineOp::NotRegex,
            Kind::Sign("|>") => LineOp::Pattern,
            Kind::Sign("!>") => LineOp::NotPattern,
            _ => {
                self.expect_sign("|")?;
                return self.piped();
            }
        };
        self.advance();
        self.line_filter(op).map(Piece::Stage)
    }

    fn piped(&mut self) -> Parsed<Piece> {
        // The name of a stage is no label, not even before a sign that compares: `| json != "x"` filters lines.
        let stage = match self.word() {
            Some("json") => {
                self.advance();
                self.json()?
            }
            Some("logfmt") => {
                self.advance();
                self.logfmt()?
            }
            Some("regexp") => {
                self.advance();
                self.regexp()?
            }
            Some("pattern") => {
                self.advance();
                let token = self.token();
                let text = self.expect_text()?;
                Stage::Pattern(
                    LinePattern::parser(&text).map_err(|error| self.error(token, error.to_string()))?,
                )
            }
            Some("unpack") => {
                self.advance();
                Stage::Unpack
            }
            Some("decolorize") => {
                self.advance();
                Stage::Decolorize
            }
            Some("line_format") => {
                self.advance();
                let token = self.token();
                let text = self.expect_text()?;
                let template = LineTemplate::new(&text)
                    .map_err(|error| self.error(token, format!("invalid line template: {error}")))?;
                Stage::LineFormat(Arc::new(template))
            }
            Some("label_format") => {
                self.advance();
                self.label_format()?
            }
            Some(word @ ("drop" | "keep")) => {
                self.advance();
                let choices = self.choices()?;
                if word == "drop" { Stage::Drop(choices) } else { Stage::Keep(choices) }
            }
            Some("unwrap") => {
                self.advance();
                return self.unwrap().map(Piece::Unwrap);
            }
            _ => Stage::LabelFilter(self.label_filter()?),
        };
        Ok(Piece::Stage(stage))
    }

    fn line_filter(&mut self, op: LineOp) -> Parsed<Stage> {
        let mut operands = Vec::new();
        let mut tests = Vec::new();
        loop {
            let token = self.token();
            self.count(operands.len() + 1, CONDITIONS_MAX, "texts in one line filter")?;
            let operand = self.line_operand()?;
            self.line_tests(op, &operand, token, &mut tests)?;
            operands.push(operand);
            if !self.take_word("or") {
                break;
            }
        }
        let filter = LineFilter::new(op.is_negated(), tests);
        Ok(Stage::LineFilter(LineFilterStage { op, operands, filter }))
    }

    fn line_operand(&mut self) -> Parsed<LineOperand> {
        if self.take_word("ip") {
            self.expect_sign("(")?;
            let text = self.expect_text()?;
            self.expect_sign(")")?;
            return Ok(LineOperand::Ip(text));
        }
        if self.kind() != Kind::Text {
            return Err(self.unexpected("STRING or ip"));
        }
        self.expect_text().map(LineOperand::Text)
    }

    fn line_tests(
        &mut self,
        op: LineOp,
        operand: &LineOperand,
        token: Token,
        tests: &mut Vec<LineTest>,
    ) -> Parsed<()> {
        match (op, operand) {
            (LineOp::Contains | LineOp::NotContains, LineOperand::Text(text)) => {
                tests.push(LineTest::contains(text))
            }
            (LineOp::Contains | LineOp::NotContains, LineOperand::Ip(text)) => {
                let addresses = IpMatcher::new(text).map_err(|error| self.error(token, error.to_string()))?;
                tests.push(LineTest::Ip(addresses));
            }
            (_, LineOperand::Ip(_)) => {
                let message = "ip: invalid operation: only |= and != compare with addresses";
                return Err(self.error(token, message));
            }
            (LineOp::Regex | LineOp::NotRegex, LineOperand::Text(text)) => {
                self.count_regex()?;
                tests
                    .extend(LineTest::regex(text).map_err(|error| self.error(token, regex_message(&error)))?);
            }
            (LineOp::Pattern | LineOp::NotPattern, LineOperand::Text(text)) => {
                let pattern =
                    LinePattern::filter(text).map_err(|error| self.error(token, error.to_string()))?;
                tests.push(LineTest::Pattern(pattern));
            }
        }
        Ok(())
    }

    fn json(&mut self) -> Parsed<Stage> {
        let mut extractions = Vec::new();
        for (label, text, token) in self.extractions()? {
            let path = JsonPath::new(&text)
                .map_err(|reason| self.error(token, format!("cannot parse expression [{text}]: {reason}")))?;
            extractions.push(JsonExtraction { label, text, path });
        }
        Ok(Stage::Json(extractions))
    }

    fn logfmt(&mut self) -> Parsed<Stage> {
        let mut stage = LogfmtStage::default();
        while let Some(tokens) = self.flag("strict").or_else(|| self.flag("keep")) {
            if tokens == 3 {
                stage.strict = true;
            } else {
                stage.keep_empty = true;
            }
        }
        for (label, text, token) in self.extractions()? {
            let key = logfmt_key(&text)
                .map_err(|reason| self.error(token, format!("cannot parse expression [{text}]: {reason}")))?;
            // Of two expressions for one label the later counts.
            stage.extractions.retain(|extraction| extraction.label != label);
            stage.extractions.push(LogfmtExtraction { label, text, key });
        }
        Ok(Stage::Logfmt(stage))
    }

    /// Takes `--strict` or `--keep-empty`; how many tokens it was.
    fn flag(&mut self, first: &str) -> Option<usize> {
        let (dashes, word) = ((self.ahead(0), self.ahead(1)), self.ahead(2));
        let joined = dashes.0.end == dashes.1.start && dashes.1.end == word.start;
        let is_dash = |token: Token| token.kind == Kind::Sign("-");
        if !joined || !is_dash(dashes.0) || !is_dash(dashes.1) || self.text(word) != first {
            return None;
        }
        let more = self.query.get(word.end..).unwrap_or_default();
        let tokens = match first {
            "keep" if more.starts_with("-empty") && self.text(self.ahead(4)) == "empty" => 5,
            "keep" => return None,
            _ => 3,
        };
        self.at += tokens;
        Some(tokens)
    }

    /// `name="text", name`: none, or several.
    fn extractions(&mut self) -> Parsed<Vec<(String, String, Token)>> {
        let mut extractions = Vec::new();
        if self.kind() != Kind::Word || self.at_range_modifier() {
            return Ok(extractions);
        }
        loop {
            let token = self.token();
            let label = self.expect_word("IDENTIFIER")?;
            let text = if self.take_sign("=") { self.expect_text()? } else { label.clone() };
            extractions.push((label, text, token));
            self.count(extractions.len(), CONDITIONS_MAX, "expressions in one parser")?;
            if !self.take_sign(",") {
                return Ok(extractions);
            }
        }
    }

    /// Whether `offset 1m` stands here, which is no label.
    fn at_range_modifier(&self) -> bool {
        self.word() == Some("offset") && matches!(self.ahead(1).kind, Kind::Duration | Kind::Sign("-"))
    }

    fn regexp(&mut self) -> Parsed<Stage> {
        let token = self.token();
        let text = self.expect_text()?;
        self.count_regex()?;
        check::capture_names(&text).map_err(|message| self.error(token, message))?;
        let regex = search_regex(&text).map_err(|error| self.error(token, regex_message(&error)))?;
        check::captures(&regex).map_err(|message| self.error(token, message))?;
        Ok(Stage::Regexp(RegexpStage { text, regex: Arc::new(regex) }))
    }

    fn label_format(&mut self) -> Parsed<Stage> {
        let mut formats: Vec<LabelFormat> = Vec::new();
        loop {
            let token = self.token();
            let label = self.expect_word("IDENTIFIER")?;
            if formats.iter().any(|format| format.label == label) {
                let message =
                    format!("multiple label name '{label}' not allowed in a single format operation");
                return Err(self.error(token, message));
            }
            if label.starts_with("__error") {
                return Err(self.error(token, format!("{label} cannot be formatted")));
            }
            self.expect_sign("=")?;
            let token = self.token();
            let source = match self.word() {
                Some(word) => {
                    self.advance();
                    LabelSource::Rename(word.to_owned())
                }
                None if self.kind() == Kind::Text => {
                    let text = self.expect_text()?;
                    let template = LineTemplate::of_label(&text).map_err(|error| {
                        self.error(token, format!("invalid template for label '{label}': {error}"))
                    })?;
                    LabelSource::Template(Arc::new(template))
                }
                None => return Err(self.unexpected("IDENTIFIER or STRING")),
            };
            formats.push(LabelFormat { label, source });
            self.count(formats.len(), CONDITIONS_MAX, "labels in one stage")?;
            if !self.take_sign(",") {
                return Ok(Stage::LabelFormat(formats));
            }
        }
    }

    /// The labels of `drop` and `keep`.
    fn choices(&mut self) -> Parsed<Vec<LabelChoice>> {
        let mut choices = Vec::new();
        loop {
            let name = self.expect_word("IDENTIFIER")?;
            let matching = matches!(self.kind(), Kind::Sign("=" | "!=" | "=~" | "!~"));
            // `drop a != "text"` compares, `drop a |= "text"` is followed by a filter.
            choices.push(match matching {
                true => LabelChoice::Matching(self.matcher(&name)?),
                false => LabelChoice::Name(name),
            });
            self.count(choices.len(), CONDITIONS_MAX, "labels in one stage")?;
            if !self.take_sign(",") {
                return Ok(choices);
            }
        }
    }

    fn unwrap(&mut self) -> Parsed<Unwrap> {
        let word = self.expect_word("IDENTIFIER")?;
        let conversion = match word.as_str() {
            "duration" => Some(Conversion::Duration),
            "duration_seconds" => Some(Conversion::DurationSeconds),
            "bytes" => Some(Conversion::Bytes),
            _ => None,
        };
        if !self.is_sign("(") {
            return Ok(Unwrap { label: word, conversion: None, filters: Vec::new() });
        }
        if conversion.is_none() {
            return Err(
                self.unexpected("a range, or one of the conversions duration, duration_seconds and bytes")
            );
        }
        self.advance();
        let label = self.expect_word("IDENTIFIER")?;
        self.expect_sign(")")?;
        Ok(Unwrap { label, conversion, filters: Vec::new() })
    }
}
