//! Stages that find labels in lines.

use regex::Regex;
use throughline_exec::log::LinePattern;

use super::json::{Flow, NO_ESCAPE, Reader, Value, push_sanitized, spoken, unescape};
use super::json_path::JsonPath;
use super::json_walk;
use super::labels::RowLabels;
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

/// What a key becomes as the name of a label.
pub(crate) fn sanitized(name: &str) -> String {
    let mut label = String::new();
    push_label(&mut label, name);
    label
}

/// Whether the stream or the metadata has a label, so that what is found under its name takes another.
fn is_taken(labels: &RowLabels, name: Symbol) -> bool {
    labels.base_has(name) || labels.metadata_has(name)
}

/// The name under which a value is kept.
fn kept_name(labels: &RowLabels, symbols: &mut Symbols, name: Symbol) -> Symbol {
    if is_taken(labels, name) { symbols.extracted(name) } else { name }
}

/// The name under which a value is kept; nothing if nobody wants it, or a stage was there before.
fn free_name(
    labels: &RowLabels,
    symbols: &mut Symbols,
    wanted: &WantedLabels,
    name: Symbol,
) -> Option<Symbol> {
    let name = kept_name(labels, symbols, name);
    (wanted.has(name) && !labels.is_extracted(name)).then_some(name)
}

/// The symbol of a name that was found in a line, if it can be of use. A key of spaces names nothing.
fn found_name(symbols: &mut Symbols, wanted: &WantedLabels, name: &str) -> Option<Symbol> {
    match wanted.is_all() {
        _ if name.is_empty() => None,
        true => Some(symbols.intern(name)),
        // Most names have a length that no wanted name has.
        false if wanted.has_length(name.len()) => symbols.find(name),
        false => None,
    }
}

fn fail(row: &mut Row<'_>, error: &'static str, details: &str) {
    row.labels.fail(error, details);
    if row.wanted.preserves_errors() {
        row.labels.set(PRESERVE_ERROR, "true");
    }
}

pub(super) fn json(row: &mut Row<'_>) {
    let (labels, symbols, wanted) = (&mut *row.labels, &mut *row.symbols, row.wanted);
    let (name, value_text) = (&mut row.scratch.name, &mut row.scratch.value);
    name.clear();
    let mut missing = wanted.missing(labels);
    if missing == 0 {
        return;
    }
    let enters = |path: &str| wanted.has_below(path);
    let result = Reader::new(row.line).flatten(name, &enters, &mut |key, value| {
        if matches!(value, Value::Null | Value::Array(_)) {
            return Flow::On;
        }
        let Some(found) = found_name(symbols, wanted, key) else { return Flow::On };
        let Some(label) = free_name(labels, symbols, wanted, found) else { return Flow::On };
        labels.set(label, value.text(value_text));
        missing = missing.saturating_sub(1);
        if missing == 0 { Flow::Enough } else { Flow::On }
    });
    if let Err(reason) = result {
        fail(row, JSON_ERROR, reason);
    }
}

pub(super) fn json_paths(row: &mut Row<'_>, paths: &[(Symbol, JsonPath)]) {
    if row.wanted.missing(row.labels) == 0 {
        return;
    }
    match row.line.as_bytes().first() {
        None => return,
        Some(b'{' | b'[' | b'"') => {}
        Some(_) => return fail(row, JSON_ERROR, ""),
    }
    let of: Vec<&JsonPath> = paths.iter().map(|(_, path)| path).collect();
    json_walk::each(&of, row.line, &mut |number, found| {
        let found = match found {
            Ok(found) => found,
            Err(reason) => return fail(row, JSON_ERROR, reason),
        };
        let Some((label, _)) = number.and_then(|number| paths.get(number)) else { return };
        let name = kept_name(row.labels, row.symbols, *label);
        let scratch = &mut row.scratch.value;
        let value = match found {
            // Escapes are replaced in lists, too, though not in objects.
            Value::Array(text) => spoken(text, scratch),
            found => found.text(scratch),
        };
        if row.wanted.has(name) {
            row.labels.set(name, value);
        }
    });
    // What the line does not have is there without a value, so that all rows have the same labels.
    for (label, _) in paths {
        if row.labels.get(*label).is_none() && row.wanted.has(*label) {
            row.labels.set(*label, "");
        }
    }
}

fn fail_logfmt(row: &mut Row<'_>, failure: Failure) {
    let details = format!("logfmt syntax error at pos {} : {}", failure.at, failure.reason);
    fail(row, LOGFMT_ERROR, &details);
}

pub(super) fn logfmt(row: &mut Row<'_>, stage: &LogfmtStage) {
    let mut missing = row.wanted.missing(row.labels);
    if missing == 0 {
        return;
    }
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
        row.labels.set(label, pair.text(&mut row.scratch.value));
        missing = missing.saturating_sub(1);
        if missing == 0 {
            return;
        }
    }
}

/// The keys that expressions name. Of a key that comes again the last value counts; but what is found under another name since
/// the stream has its own is found once, and ends the search when it comes again.
pub(super) fn logfmt_keys(row: &mut Row<'_>, stage: &LogfmtStage, labels: &[Symbol]) {
    if row.wanted.missing(row.labels) == 0 {
        return;
    }
    // What the line does not have is there without a value, so that all rows have the same labels.
    for label in labels {
        if !is_taken(row.labels, *label) && row.wanted.has(*label) {
            row.labels.set(*label, "");
        }
    }
    for pair in Pairs::new(row.line) {
        let pair = match pair {
            Ok(pair) => pair,
            Err(failure) if stage.strict => return fail_logfmt(row, failure),
            Err(_) => continue,
        };
        let name = &mut row.scratch.name;
        name.clear();
        push_label(name, pair.key);
        let key = row.symbols.find(name);
        // A key that was found before is looked at again only if it has the name of a label itself.
        let names_label = key.is_some_and(|key| labels.contains(&key));
        if !names_label && key.is_some_and(|key| row.labels.is_extracted(key)) {
            continue;
        }
        let is_named = stage.extractions.iter().any(|extraction| extraction.key == *name);
        for (label, extraction) in labels.iter().zip(&stage.extractions) {
            let meant = if is_named { extraction.key == *name } else { Some(*label) == key };
            if !meant {
                continue;
            }
            let kept = kept_name(row.labels, row.symbols, *label);
            if kept != *label && row.labels.is_extracted(kept) {
                return;
            }
            if row.wanted.has(kept) {
                let text = if pair.is_broken() { "" } else { pair.text(&mut row.scratch.value) };
                row.labels.set(kept, text);
            }
        }
    }
}

pub(super) fn regexp(row: &mut Row<'_>, regex: &Regex, groups: &[(usize, Symbol)]) {
    let Some(found) = regex.captures(row.line) else { return };
    for (group, label) in groups {
        if let Some(name) = free_name(row.labels, row.symbols, row.wanted, *label) {
            let value = found.get(*group).map_or("", |part| part.as_str());
            row.labels.set_whole(name, value);
        }
    }
}

pub(super) fn pattern(row: &mut Row<'_>, pattern: &LinePattern, names: &[Symbol]) {
    let (labels, symbols, wanted) = (&mut *row.labels, &mut *row.symbols, row.wanted);
    if wanted.missing(labels) == 0 {
        return;
    }
    pattern.captures(row.line, |at, value| {
        if let Some(label) = names.get(at)
            && let Some(name) = free_name(labels, symbols, wanted, *label)
        {
            labels.set_whole(name, value);
        }
    });
}

/// A line that an agent packed with labels: its members that are texts are the labels, one of them the line.
/// As in Loki, where nobody wants a label the line stays packed.
pub(super) fn unpack(row: &mut Row<'_>) -> Verdict {
    if row.wanted.missing(row.labels) == 0 {
        return Verdict::Stays;
    }
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
    let mut is_escape_wrong = false;
    let result = Reader::new(row.line).top(|key, value| {
        let Value::Text(raw) = value else { return };
        if key == PACKED_LINE {
            new_line.clear();
            is_escape_wrong |= !unescape(raw, new_line);
            is_packed = true;
            return;
        }
        push_label(pairs, key);
        let middle = pairs.len();
        pairs.push_str(value.text(value_text));
        ends.push((middle, pairs.len()));
    });
    if let Err(reason) = result {
        fail(row, JSON_ERROR, reason);
        return Verdict::Stays;
    }
    if is_escape_wrong {
        fail(row, JSON_ERROR, NO_ESCAPE);
        return Verdict::Stays;
    }
    if !is_packed {
        return Verdict::Stays;
    }
    let mut start = 0;
    let mut found = Vec::with_capacity(ends.len());
    for (middle, end) in ends {
        let key = row.scratch.pairs.get(start..middle).unwrap_or_default();
        if let Some(name) = found_name(row.symbols, row.wanted, key)
            && let Some(name) = free_name(row.labels, row.symbols, row.wanted, name)
        {
            found.push((name, middle, end));
        }
        start = end;
    }
    for (name, middle, end) in found {
        row.labels.set(name, row.scratch.pairs.get(middle..end).unwrap_or_default());
    }
    Verdict::HasNewLine
}
