//! Stages that find labels in lines.

use regex::Regex;
use throughline_exec::log::LinePattern;

use super::json::{Flow, Reader, Value, push_sanitized};
use super::json_path::JsonPath;
use super::labels::{Category, RowLabels};
use super::logfmt::{Failure, Pairs};
use super::symbols::{PRESERVE_ERROR, Symbol, Symbols};
use super::wanted::WantedLabels;
use super::{Row, Verdict};
use crate::ast::LogfmtStage;

const JSON_ERROR: &str = "JSONParserErr";
const LOGFMT_ERROR: &str = "LogfmtParserErr";

/// The member of a packed line that is the line itself.
const PACKED_LINE: &str = "_entry";

/// What a key becomes as the name of a label, or nothing.
fn push_label(out: &mut String, key: &str) {
    let key = key.trim();
    if key.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        out.push('_');
    }
    push_sanitized(out, key);
}

pub(super) fn sanitized(name: &str) -> String {
    let mut label = String::new();
    push_label(&mut label, name);
    label
}

/// The name under which a value is kept; nothing if nobody wants it, or a parser was there before.
fn free_name(
    labels: &RowLabels,
    symbols: &mut Symbols,
    wanted: &WantedLabels,
    name: Symbol,
) -> Option<Symbol> {
    let taken = labels.base_has(name) || labels.metadata_has(name);
    let name = if taken { symbols.extracted(name) } else { name };
    (wanted.has(name) && !labels.is_extracted(name)).then_some(name)
}

/// The symbol of a name that was found in a line, if it can be of use.
fn found_name(symbols: &mut Symbols, wanted: &WantedLabels, name: &str) -> Option<Symbol> {
    match wanted.is_all() {
        true => Some(symbols.intern(name)),
        // Most names have a length that no wanted name has.
        false if wanted.has_length(name.len()) => symbols.find(name),
        false => None,
    }
}

fn fail(row: &mut Row<'_>, error: &'static str, details: &str) {
    row.labels.fail(error, details);
    if row.wanted.preserves_errors() {
        row.labels.set(Category::Parsed, PRESERVE_ERROR, "true");
    }
}

pub(super) fn json(row: &mut Row<'_>) {
    let (labels, symbols, wanted) = (&mut *row.labels, &mut *row.symbols, row.wanted);
    let (name, value_text) = (&mut row.scratch.name, &mut row.scratch.value);
    name.clear();
    let mut missing = wanted.missing(labels);
    let enters = |path: &str| wanted.has_below(path);
    let result = Reader::new(row.line).flatten(name, 0, &enters, &mut |key, value| {
        if matches!(value, Value::Null | Value::Array(_)) {
            return Flow::On;
        }
        let Some(found) = found_name(symbols, wanted, key) else { return Flow::On };
        let Some(label) = free_name(labels, symbols, wanted, found) else { return Flow::On };
        labels.extract(label, value.text(value_text), true);
        missing = missing.saturating_sub(1);
        if missing == 0 { Flow::Enough } else { Flow::On }
    });
    if let Err(reason) = result {
        fail(row, JSON_ERROR, reason);
    }
}

pub(super) fn json_paths(row: &mut Row<'_>, paths: &[(Symbol, JsonPath)]) {
    match row.line.as_bytes().first() {
        None => return,
        Some(b'{' | b'[' | b'"') => {}
        Some(_) => return fail(row, JSON_ERROR, ""),
    }
    for (label, path) in paths {
        match path.find(row.line) {
            Ok(found) => {
                if let Some(name) = free_name(row.labels, row.symbols, row.wanted, *label) {
                    let value = found.map_or("", |value| value.text(&mut row.scratch.value));
                    row.labels.extract(name, value, true);
                }
            }
            Err(reason) => {
                fail(row, JSON_ERROR, reason);
                return;
            }
        }
    }
}

fn fail_logfmt(row: &mut Row<'_>, failure: Failure) {
    let details = format!("logfmt syntax error at pos {} : {}", failure.at, failure.reason);
    fail(row, LOGFMT_ERROR, &details);
}

pub(super) fn logfmt(row: &mut Row<'_>, stage: &LogfmtStage) {
    let mut missing = row.wanted.missing(row.labels);
    for pair in Pairs::new(row.line) {
        let pair = match pair {
            Ok(pair) => pair,
            Err(failure) if stage.strict => return fail_logfmt(row, failure),
            Err(_) => continue,
        };
        if pair.value.is_empty() && !stage.keep_empty {
            continue;
        }
        let name = &mut row.scratch.name;
        name.clear();
        push_label(name, pair.key);
        let Some(found) = found_name(row.symbols, row.wanted, name) else { continue };
        let Some(label) = free_name(row.labels, row.symbols, row.wanted, found) else { continue };
        row.labels.extract(label, pair.text(&mut row.scratch.value), true);
        missing = missing.saturating_sub(1);
        if missing == 0 {
            return;
        }
    }
}

pub(super) fn logfmt_keys(row: &mut Row<'_>, stage: &LogfmtStage, labels: &[Symbol]) {
    for pair in Pairs::new(row.line) {
        let pair = match pair {
            Ok(pair) => pair,
            Err(failure) if stage.strict => return fail_logfmt(row, failure),
            Err(_) => continue,
        };
        for (label, _) in labels.iter().zip(&stage.extractions).filter(|(_, (_, key))| key == pair.key) {
            if let Some(name) = free_name(row.labels, row.symbols, row.wanted, *label) {
                row.labels.extract(name, pair.text(&mut row.scratch.value), true);
            }
        }
    }
    // What the line does not have is there without a value, so that all rows have the same labels.
    for label in labels {
        if row.labels.get(*label).is_none()
            && let Some(name) = free_name(row.labels, row.symbols, row.wanted, *label)
        {
            row.labels.extract(name, "", true);
        }
    }
}

pub(super) fn regexp(row: &mut Row<'_>, regex: &Regex, groups: &[(usize, Symbol)]) {
    let Some(found) = regex.captures(row.line) else { return };
    for (group, label) in groups {
        if let Some(name) = free_name(row.labels, row.symbols, row.wanted, *label) {
            let value = found.get(*group).map_or("", |part| part.as_str());
            row.labels.extract(name, value, false);
        }
    }
}

pub(super) fn pattern(row: &mut Row<'_>, pattern: &LinePattern, names: &[Symbol]) {
    let (labels, symbols, wanted) = (&mut *row.labels, &mut *row.symbols, row.wanted);
    pattern.captures(row.line, |at, value| {
        if let Some(label) = names.get(at)
            && let Some(name) = free_name(labels, symbols, wanted, *label)
        {
            labels.extract(name, value, false);
        }
    });
}

/// A line that an agent packed with labels: its members that are texts are the labels, one of them the line.
pub(super) fn unpack(row: &mut Row<'_>) -> Verdict {
    match row.line.as_bytes().first() {
        None => return Verdict::Stays,
        Some(b'{') => {}
        Some(_) => {
            fail(row, JSON_ERROR, "expecting json object(6), but it is not");
            return Verdict::Stays;
        }
    }
    let mut is_packed = false;
    let (new_line, pairs) = (&mut *row.new_line, &mut row.scratch.pairs);
    pairs.clear();
    let mut ends = Vec::new();
    let value_text = &mut row.scratch.value;
    let result = Reader::new(row.line).top(|key, value| {
        let Value::Text(_) = value else { return };
        let text = value.text(value_text);
        if key == PACKED_LINE {
            new_line.clear();
            new_line.push_str(text);
            is_packed = true;
            return;
        }
        push_label(pairs, key);
        let middle = pairs.len();
        pairs.push_str(text);
        ends.push((middle, pairs.len()));
    });
    if let Err(reason) = result {
        fail(row, JSON_ERROR, reason);
        return Verdict::Stays;
    }
    if !is_packed {
        return Verdict::Stays;
    }
    let mut start = 0;
    for (middle, end) in ends {
        let key = row.scratch.pairs.get(start..middle).unwrap_or_default();
        if let Some(found) = found_name(row.symbols, row.wanted, key)
            && let Some(name) = free_name(row.labels, row.symbols, row.wanted, found)
        {
            let value = row.scratch.pairs.get(middle..end).unwrap_or_default();
            row.labels.extract(name, value, true);
        }
        start = end;
    }
    Verdict::HasNewLine
}
