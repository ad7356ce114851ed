//! Stages that make lines and labels, or take labels away.

use std::collections::VecDeque;

use throughline_exec::Matcher;
use throughline_template::Functions;

use super::labels::Category;
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
                let Some(category) = row.labels.category(*source) else { continue };
                let value = &mut row.scratch.value;
                value.clear();
                value.push_str(row.labels.text(*source));
                row.labels.set(category, *target, value);
                if target != source {
                    row.labels.remove(*source);
                }
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
                    Ok(()) => row.labels.set(Category::Parsed, *target, value),
                    Err(details) => row.labels.fail(TEMPLATE_ERROR, &details),
                }
            }
            Formatter::Template { target, .. } => match seen.as_mut().and_then(VecDeque::pop_front) {
                Some(Ok(value)) => row.labels.set(Category::Parsed, *target, &value),
                Some(Err(details)) => row.labels.fail(TEMPLATE_ERROR, &details),
                None => {}
            },
        }
    }
}

/// Removes the colours of a terminal: escape sequences that end in a letter.
pub(super) fn decolorize(row: &mut Row<'_>) -> Verdict {
    const ESCAPE: char = '\u{1b}';
    if !row.line.contains(ESCAPE) {
        return Verdict::Stays;
    }
    row.new_line.clear();
    let mut rest = row.line;
    while let Some(at) = rest.find(ESCAPE) {
        row.new_line.push_str(rest.get(..at).unwrap_or_default());
        let sequence = rest.get(at..).unwrap_or_default();
        let length = sequence_length(sequence);
        if length == 0 {
            row.new_line.push(ESCAPE);
        }
        rest = sequence.get(length.max(1)..).unwrap_or_default();
    }
    row.new_line.push_str(rest);
    Verdict::HasNewLine
}

/// The length of `ESC [ 31 m`, or zero.
fn sequence_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    if bytes.get(1) != Some(&b'[') {
        return 0;
    }
    let parameters =
        bytes.iter().skip(2).take_while(|byte| matches!(byte, b'0'..=b'?' | b' '..=b'/')).count();
    match bytes.get(2 + parameters) {
        Some(b'@'..=b'~') => 3 + parameters,
        _ => 0,
    }
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
