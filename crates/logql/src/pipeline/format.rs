//! Stages that make lines and labels, or take labels away.

use std::collections::VecDeque;
use std::sync::LazyLock;

use regex::Regex;
use throughline_exec::Matcher;
use throughline_template::Functions;

use super::symbols::{ERROR, ERROR_DETAILS, Symbol, Symbols};
use super::template::{Bound, RowText};
use super::{Row, Verdict};
use crate::ast::{LabelChoice, LabelFormat, LabelSource};
use crate::functions::Surroundings;

const TEMPLATE_ERROR: &str = "TemplateFormatErr";

/// A label to set.
#[derive(Debug)]
pub(super) enum Formatter {
    Rename { target: Symbol, source: Symbol },
    Template { target: Symbol, template: Bound },
}

impl Formatter {
    pub(super) fn new(format: &LabelFormat, symbols: &mut Symbols) -> Formatter {
        let target = symbols.intern(&format.label);
        match &format.source {
            LabelSource::Rename(source) => Formatter::Rename { target, source: symbols.intern(source) },
            LabelSource::Template(template) => {
                Formatter::Template { target, template: Bound::new(template, symbols) }
            }
        }
    }

    pub(super) fn is_rename(&self) -> bool {
        matches!(self, Formatter::Rename { .. })
    }
}

/// A label to drop or to keep.
#[derive(Debug)]
pub(super) struct Choice {
    name: Symbol,
    matcher: Option<Matcher>,
}

impl Choice {
    pub(super) fn new(choice: &LabelChoice, symbols: &mut Symbols) -> Choice {
        match choice {
            LabelChoice::Name(name) => Choice { name: symbols.intern(name), matcher: None },
            LabelChoice::Matching(matcher) => {
                Choice { name: symbols.intern(matcher.name()), matcher: Some(matcher.clone()) }
            }
        }
    }

    fn takes(&self, value: &str) -> bool {
        self.matcher.as_ref().is_none_or(|matcher| matcher.matches(value))
    }
}

pub(super) fn line(
    row: &mut Row<'_>,
    template: &Bound,
    functions: &Functions<'_>,
    surroundings: &Surroundings,
) -> Verdict {
    let text = RowText { surroundings, time_ns: row.time_ns, line: row.line };
    row.new_line.clear();
    match template.execute(row.labels, row.symbols, functions, text, row.new_line) {
        Ok(()) => Verdict::HasNewLine,
        Err(details) => {
            row.labels.fail(TEMPLATE_ERROR, &details);
            Verdict::Stays
        }
    }
}

/// Sets labels. The first template and those behind it see the labels as they are before the first sets one.
pub(super) fn labels(
    row: &mut Row<'_>,
    formats: &[Formatter],
    functions: &Functions<'_>,
    surroundings: &Surroundings,
) {
    let text = RowText { surroundings, time_ns: row.time_ns, line: row.line };
    let mut seen: Option<VecDeque<Result<String, String>>> = None;
    for (at, format) in formats.iter().enumerate() {
        match format {
            Formatter::Rename { target, source } => {
                let value = &mut row.scratch.value;
                value.clear();
                match row.labels.get(*source) {
                    Some(text) => value.push_str(text),
                    None => continue,
                }
                row.labels.set(*target, value);
                // A label that is renamed to itself is gone.
                row.labels.remove(*source);
            }
            Formatter::Template { target, template } if seen.is_none() => {
                let rest = formats.get(at + 1..).unwrap_or_default();
                let later = rest.iter().filter_map(|format| match format {
                    Formatter::Template { template, .. } => Some(template),
                    Formatter::Rename { .. } => None,
                });
                let outputs = later.map(|template| {
                    let mut value = String::new();
                    template.execute(row.labels, row.symbols, functions, text, &mut value).map(|()| value)
                });
                seen = Some(outputs.collect());
                let value = &mut row.scratch.value;
                value.clear();
                match template.execute(row.labels, row.symbols, functions, text, value) {
                    Ok(()) => row.labels.set_whole(*target, value),
                    Err(details) => row.labels.fail(TEMPLATE_ERROR, &details),
                }
            }
            Formatter::Template { target, .. } => match seen.as_mut().and_then(VecDeque::pop_front) {
                Some(Ok(value)) => row.labels.set_whole(*target, &value),
                Some(Err(details)) => row.labels.fail(TEMPLATE_ERROR, &details),
                None => {}
            },
        }
    }
}

/// What terminals take for commands: colours, the cursor, titles. As widely used to strip them; not every end of a command is known.
static SEQUENCES: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"[\x{1B}\x{9B}][\[\]()#;?]*",
        r"(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\x07",
        r"|(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~])"
    ))
    .ok()
});

/// Removes the commands to a terminal.
pub(super) fn decolorize(row: &mut Row<'_>) -> Verdict {
    let Some(sequences) = &*SEQUENCES else { return Verdict::Stays };
    if !row.line.contains(['\u{1b}', '\u{9b}']) {
        return Verdict::Stays;
    }
    row.new_line.clear();
    let mut copied = 0;
    for sequence in sequences.find_iter(row.line) {
        row.new_line.push_str(row.line.get(copied..sequence.start()).unwrap_or_default());
        copied = sequence.end();
    }
    row.new_line.push_str(row.line.get(copied..).unwrap_or_default());
    Verdict::HasNewLine
}

pub(super) fn drop(row: &mut Row<'_>, choices: &[Choice]) {
    for choice in choices {
        if !choice.takes(row.labels.text(choice.name)) {
            continue;
        }
        match choice.name {
            ERROR => row.labels.clear_error(),
            ERROR_DETAILS => row.labels.clear_error_details(),
            name => row.labels.remove(name),
        }
    }
}

pub(super) fn keep(row: &mut Row<'_>, choices: &[Choice]) {
    row.labels.retain(|name, value| choices.iter().any(|choice| choice.name == name && choice.takes(value)));
}
