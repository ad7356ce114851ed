//! Rows that a condition behind a parser will refuse, known without parsing them.
//!
//! What a parser finds is a part of the line, but for escapes. So where a label must have a certain value, neither the stream nor the
//! metadata has it, and the line has no escapes and not the value, the row goes whatever the parser makes of it.

use memchr::memmem::Finder;
use throughline_exec::MatchOp;

use super::labels::RowLabels;
use super::symbols::{SPECIAL, Symbol, Symbols};
use crate::ast::{LabelFilter, Stage};

/// What replaces broken characters.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// A label that must have a value.
#[derive(Debug)]
pub(super) struct Guard {
    label: Symbol,
    value: Finder<'static>,
    /// Whether it may have a space that is none in the line: what replaces broken characters becomes one.
    has_space: bool,
}

impl Guard {
    /// Whether the row goes, by its labels before the stages and its line.
    pub(super) fn refuses(&self, labels: &RowLabels, line: &str) -> bool {
        let line = line.as_bytes();
        labels.get(self.label).is_none()
            && self.value.find(line).is_none()
            && memchr::memchr(b'\\', line).is_none()
            && !(self.has_space && memchr::memmem::find(line, REPLACEMENT).is_some())
    }
}

/// The values that labels must have which parsers find, as long as no stage makes labels or lines in another way.
pub(super) fn guards(stages: &[Stage], symbols: &mut Symbols) -> Vec<Guard> {
    let mut guards = Vec::new();
    let mut is_parsed = false;
    for stage in stages {
        match stage {
            Stage::Json(_) | Stage::Logfmt(_) | Stage::Regexp(_) | Stage::Pattern(_) => is_parsed = true,
            Stage::LabelFilter(filter) if is_parsed => conjuncts(filter, symbols, &mut guards),
            Stage::LabelFilter(_) | Stage::LineFilter(_) | Stage::Drop(_) | Stage::Keep(_) => {}
            Stage::LabelFormat(_) | Stage::LineFormat(_) | Stage::Unpack | Stage::Decolorize => break,
        }
    }
    guards
}

fn conjuncts(filter: &LabelFilter, symbols: &mut Symbols, guards: &mut Vec<Guard>) {
    match filter {
        LabelFilter::Match(matcher)
            if matcher.op() == MatchOp::Equal
                && !matcher.value().is_empty()
                && !SPECIAL.contains(&matcher.name()) =>
        {
            let value = Finder::new(matcher.value()).into_owned();
            let has_space = matcher.value().contains(' ');
            guards.push(Guard { label: symbols.intern(matcher.name()), value, has_space });
        }
        LabelFilter::And(left, right) => {
            conjuncts(left, symbols, guards);
            conjuncts(right, symbols, guards);
        }
        _ => {}
    }
}
