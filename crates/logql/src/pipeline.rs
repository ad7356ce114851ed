//! The stages of a query as what takes rows one by one.
//!
//! 1. [`wanted`] finds which labels a query needs of each row, and [`plan`] what of the pipeline the source of the rows can do.
//! 2. [`Pipeline::begin_stream`] names the stream of the rows that follow, [`Pipeline::row`] takes a row: whether it stays.
//! 3. What became of the row is in [`Pipeline::labels`] and [`Pipeline::line`] until the next.
//!
//! Nothing is allocated for a row that a row before did not need as well.

mod extract;
pub(crate) mod filter;
mod format;
mod guard;
pub(crate) mod json;
pub mod json_path;
mod json_walk;
pub(crate) mod labels;
pub(crate) mod logfmt;
pub(crate) mod plan;
pub(crate) mod symbols;
pub mod template;
pub(crate) mod wanted;

use std::sync::Arc;

use regex::Regex;
use throughline_exec::Labels;
use throughline_exec::log::{LineFilter, LinePattern};
use throughline_template::Functions;

use crate::ast::{LogfmtStage, RegexpStage, Stage};
use crate::functions::{self, Surroundings};
pub(crate) use extract::sanitized;
use filter::Condition;
use format::{Choice, Formatter};
use guard::Guard;
use json_path::JsonPath;
use labels::RowLabels;
pub(crate) use symbols::EXTRACTED;
use symbols::{Symbol, Symbols};
use template::Bound;
use wanted::{Wanted, WantedLabels};

/// One stage.
#[derive(Debug)]
enum Op {
    LineFilter(LineFilter),
    Json,
    JsonPaths(Vec<(Symbol, JsonPath)>),
    Logfmt(LogfmtStage),
    LogfmtKeys { stage: LogfmtStage, labels: Vec<Symbol> },
    Regexp { regex: Arc<Regex>, groups: Vec<(usize, Symbol)> },
    Pattern { pattern: LinePattern, names: Vec<Symbol> },
    Unpack,
    Condition(Condition),
    LineFormat(Bound),
    LabelFormat(Vec<Formatter>),
    Decolorize,
    Drop(Vec<Choice>),
    Keep(Vec<Choice>),
}

/// The line of a row: the original, until a stage makes another.
#[derive(Debug, Default)]
struct Line {
    changed: bool,
    text: String,
    spare: String,
}

/// What the stages of one row share.
struct Row<'a> {
    symbols: &'a mut Symbols,
    labels: &'a mut RowLabels,
    wanted: &'a WantedLabels,
    scratch: &'a mut Scratch,
    /// The line so far.
    line: &'a str,
    /// Where a stage puts a new line; it says whether it did.
    new_line: &'a mut String,
    time_ns: i64,
}

/// Memory that parsers use again.
#[derive(Debug, Default)]
struct Scratch {
    name: String,
    value: String,
    pairs: String,
}

/// What a stage says of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    /// It stays, with the line in [`Row::new_line`].
    HasNewLine,
    Goes,
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) symbols: Symbols,
    pub(crate) labels: RowLabels,
    wanted: WantedLabels,
    guards: Vec<Guard>,
    ops: Vec<Op>,
    line: Line,
    scratch: Scratch,
    functions: Functions<'static>,
    surroundings: Arc<Surroundings>,
}

impl Pipeline {
    /// A pipeline of stages; `now_ns` is the time that templates take for now.
    pub(crate) fn new(stages: &[Stage], wanted: &Wanted, now_ns: i64) -> Pipeline {
        let mut symbols = Symbols::default();
        let wanted = WantedLabels::new(wanted, &mut symbols);
        let ops = stages.iter().map(|stage| op(stage, &mut symbols)).collect();
        let guards = guard::guards(stages, &mut symbols);
        let surroundings = Surroundings::at(now_ns);
        Pipeline {
            symbols,
            labels: RowLabels::default(),
            wanted,
            guards,
            ops,
            line: Line::default(),
            scratch: Scratch::default(),
            functions: functions::functions(&surroundings),
            surroundings,
        }
    }

    /// Whether what becomes of a row depends on its labels alone.
    pub(crate) fn needs_no_line(&self) -> bool {
        self.ops.iter().all(|op| match op {
            Op::Condition(_) | Op::Drop(_) | Op::Keep(_) => true,
            Op::LabelFormat(formats) => formats.iter().all(Formatter::is_rename),
            _ => false,
        })
    }

    pub(crate) fn begin_stream(&mut self, stream: &Labels) {
        self.labels.begin_stream(stream, &mut self.symbols);
    }

    /// Takes a row of the stream; whether it stays.
    pub(crate) fn row(&mut self, time_ns: i64, line: &str, metadata: &[(&str, &str)]) -> bool {
        self.labels.begin_row();
        self.line.changed = false;
        for (name, value) in metadata {
            let name = self.symbols.intern(name);
            self.labels.add_metadata(name, value, &mut self.symbols);
        }
        if self.guards.iter().any(|guard| guard.refuses(&self.labels, line)) {
            return false;
        }
        for op in &self.ops {
            let mut row = Row {
                symbols: &mut self.symbols,
                labels: &mut self.labels,
                wanted: &self.wanted,
                scratch: &mut self.scratch,
                line: if self.line.changed { &self.line.text } else { line },
                new_line: &mut self.line.spare,
                time_ns,
            };
            match op.run(&mut row, &self.functions, &self.surroundings) {
                Verdict::Stays => {}
                Verdict::Goes => return false,
                Verdict::HasNewLine => {
                    std::mem::swap(&mut self.line.text, &mut self.line.spare);
                    self.line.changed = true;
                }
            }
        }
        true
    }

    /// The line of the row, which was read as `original`.
    pub(crate) fn line<'a>(&'a self, original: &'a str) -> &'a str {
        if self.line.changed { &self.line.text } else { original }
    }

    /// A condition that is applied to rows besides the stages.
    pub(crate) fn condition(&mut self, filter: &crate::ast::LabelFilter) -> Condition {
        Condition::new(filter, &mut self.symbols)
    }
}

fn op(stage: &Stage, symbols: &mut Symbols) -> Op {
    match stage {
        Stage::LineFilter(filter) => Op::LineFilter(filter.filter.clone()),
        Stage::Unpack => Op::Unpack,
        Stage::Json(extractions) if extractions.is_empty() => Op::Json,
        Stage::Json(extractions) => {
            let bind = |extraction: &crate::ast::JsonExtraction| {
                (symbols.intern(&extraction.label), extraction.path.clone())
            };
            Op::JsonPaths(extractions.iter().map(bind).collect())
        }
        Stage::Logfmt(stage) if stage.extractions.is_empty() => Op::Logfmt(stage.clone()),
        Stage::Logfmt(stage) => {
            let labels =
                stage.extractions.iter().map(|extraction| symbols.intern(&extraction.label)).collect();
            Op::LogfmtKeys { stage: stage.clone(), labels }
        }
        Stage::Regexp(RegexpStage { regex, .. }) => {
            let named = regex.capture_names().enumerate().filter_map(|(at, name)| Some((at, name?)));
            let groups = named.map(|(at, name)| (at, symbols.intern(&sanitized(name)))).collect();
            Op::Regexp { regex: regex.clone(), groups }
        }
        Stage::Pattern(pattern) => {
            let names = pattern.names().map(|name| symbols.intern(name)).collect();
            Op::Pattern { pattern: pattern.clone(), names }
        }
        Stage::LabelFilter(filter) => Op::Condition(Condition::new(filter, symbols)),
        Stage::LineFormat(template) => Op::LineFormat(Bound::new(template, symbols)),
        Stage::LabelFormat(formats) => {
            Op::LabelFormat(formats.iter().map(|format| Formatter::new(format, symbols)).collect())
        }
        Stage::Decolorize => Op::Decolorize,
        Stage::Drop(choices) => Op::Drop(choices.iter().map(|choice| Choice::new(choice, symbols)).collect()),
        Stage::Keep(choices) => Op::Keep(choices.iter().map(|choice| Choice::new(choice, symbols)).collect()),
    }
}

impl Op {
    fn run(&self, row: &mut Row<'_>, functions: &Functions<'_>, surroundings: &Surroundings) -> Verdict {
        match self {
            Op::LineFilter(filter) if filter.matches(row.line) => {}
            Op::LineFilter(_) => return Verdict::Goes,
            Op::Condition(condition) if condition.holds(row.labels) => {}
            Op::Condition(_) => return Verdict::Goes,
            Op::Json => extract::json(row),
            Op::JsonPaths(paths) => extract::json_paths(row, paths),
            Op::Logfmt(stage) => extract::logfmt(row, stage),
            Op::LogfmtKeys { stage, labels } => extract::logfmt_keys(row, stage, labels),
            Op::Regexp { regex, groups } => extract::regexp(row, regex, groups),
            Op::Pattern { pattern, names } => extract::pattern(row, pattern, names),
            Op::Unpack => return extract::unpack(row),
            Op::LineFormat(template) => return format::line(row, template, functions, surroundings),
            Op::LabelFormat(formats) => format::labels(row, formats, functions, surroundings),
            Op::Decolorize => return format::decolorize(row),
            Op::Drop(choices) => format::drop(row, choices),
            Op::Keep(choices) => format::keep(row, choices),
        }
        Verdict::Stays
    }
}

#[cfg(test)]
mod tests;
