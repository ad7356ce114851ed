//! Regular expressions of matchers: RE2's syntax, anchored at both ends.
//!
//! 1. The text is rewritten where the `regex` crate reads it otherwise than RE2 ([`translate`]).
//! 2. It is parsed; what turns out to be a set of texts, a prefix or a suffix is matched without a regex engine.
//! 3. Everything else is compiled within a size limit.
//!
//! [`AnchoredRegex`] is for those who need the groups of a match, [`search_regex`] for those who search.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Dot, Hir, HirKind};

use crate::matcher::MatcherError;

/// The most texts that an expression is expanded into: an index can be asked for so many values.
const LITERALS_MAX: usize = 20_000;

/// The most bytes of the compiled program: an expression of a dashboard needs a few kilobytes.
const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// The deepest nesting of groups.
const DEPTH_MAX: u32 = 200;

/// RE2's limit on counted repetition.
const REPEAT_MAX: u32 = 1000;

/// The longest expression: longer ones cost more to parse than any use of theirs is worth.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// A compiled expression; clones share it.
#[derive(Clone)]
pub(crate) struct Pattern(Arc<Form>);

enum Form {
    /// One of these, sorted.
    Literals(Vec<String>),
    /// Starts with `prefix`, ends with `suffix`, and has at least `middle_min` characters between.
    Affix {
        prefix: String,
        suffix: String,
        middle_min: usize,
    },
    Program(Regex),
}

impl Pattern {
    pub(crate) fn new(pattern: &str) -> Result<Pattern, MatcherError> {
        let failed = |reason: String| MatcherError::Regex { pattern: shorten(pattern), reason };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(failed(format!("longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let translated = translate(pattern).map_err(failed)?;
        let hir = regex_syntax::ParserBuilder::new()
            .dot_matches_new_line(true)
            .nest_limit(DEPTH_MAX)
            .build()
            .parse(&translated)
            .map_err(|error| failed(syntax_reason(&error)))?;
        if let Some(form) = simple_form(&hir) {
            return Ok(Pattern(Arc::new(form)));
        }
        let program = compile(&translated).map_err(failed)?;
        Ok(Pattern(Arc::new(Form::Program(program))))
    }

    pub(crate) fn matches(&self, value: &str) -> bool {
        match &*self.0 {
            Form::Literals(texts) => texts.binary_search_by(|text| text.as_str().cmp(value)).is_ok(),
            Form::Affix { prefix, suffix, middle_min } => value
                .strip_prefix(prefix.as_str())
                .and_then(|rest| rest.strip_suffix(suffix.as_str()))
                .is_some_and(|middle| *middle_min == 0 || !middle.is_empty()),
            Form::Program(program) => program.is_match(value),
        }
    }

    pub(crate) fn literals(&self) -> Option<Vec<&str>> {
        match &*self.0 {
            Form::Literals(texts) => Some(texts.iter().map(String::as_str).collect()),
            _ => None,
        }
    }
}

/// A compiled expression of RE2's syntax that matches whole texts, with its groups.
#[derive(Clone, Debug)]
pub struct AnchoredRegex(Regex);

impl AnchoredRegex {
    /// Compiles the expression.
    pub fn new(pattern: &str) -> Result<AnchoredRegex, MatcherError> {
        let failed = |reason: String| MatcherError::Regex { pattern: shorten(pattern), reason };
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(failed(format!("longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let program = translate(pattern).and_then(|translated| compile(&translated));
        Ok(AnchoredRegex(program.map_err(failed)?))
    }

    /// Whether the whole text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// If the whole text matches, the template with `$1`, `${1}` and `$name` replaced by the groups.
    #[must_use]
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let groups = self.0.captures(text)?;
        let mut expanded = String::new();
        groups.expand(template, &mut expanded);
        Some(expanded)
    }
}

/// Compiles an expression of RE2's syntax that may match anywhere in a text; `.` is any character but a line's end.
pub fn search_regex(pattern: &str) -> Result<Regex, MatcherError> {
    compile_search(pattern).map(|(regex, _)| regex)
}

/// Like [`search_regex`], with the parsed expression.
pub(crate) fn compile_search(pattern: &str) -> Result<(Regex, Hir), MatcherError> {
    let failed = |reason: String| MatcherError::Regex { pattern: shorten(pattern), reason };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(failed(format!("longer than {PATTERN_BYTES_MAX} bytes")));
    }
    let translated = translate(pattern).map_err(failed)?;
    let hir = regex_syntax::ParserBuilder::new()
        .nest_limit(DEPTH_MAX)
        .build()
        .parse(&translated)
        .map_err(|error| failed(syntax_reason(&error)))?;
    let regex = build(&translated).map_err(failed)?;
    Ok((regex, hir))
}

fn compile(translated: &str) -> Result<Regex, String> {
    build(&format!("^(?s:{translated})$"))
}

fn build(translated: &str) -> Result<Regex, String> {
    RegexBuilder::new(translated)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .nest_limit(DEPTH_MAX + 2)
        .build()
        .map_err(|error| compile_reason(&error))
}

/// Compiles an expression of RE2's syntax that may match anywhere in bytes, with these flags (`m`, `s`, `i` or none). Text that
/// is not UTF-8 matches only where the expression does not look.
pub fn search_bytes_regex(pattern: &str, flags: &str) -> Result<regex::bytes::Regex, MatcherError> {
    let failed = |reason: String| MatcherError::Regex { pattern: shorten(pattern), reason };
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(failed(format!("longer than {PATTERN_BYTES_MAX} bytes")));
    }
    let translated = translate(pattern).map_err(failed)?;
    regex::bytes::RegexBuilder::new(&format!("(?{flags}:{translated})"))
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
        .nest_limit(DEPTH_MAX + 2)
        .build()
        .map_err(|error| failed(compile_reason(&error)))
}

/// For messages: nobody reads a kilobyte of expression in an error.
fn shorten(pattern: &str) -> String {
    let short: String = pattern.chars().take(200).collect();
    if short.len() < pattern.len() { short + "…" } else { short }
}

fn syntax_reason(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    }
}

fn compile_reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(bytes) => format!("compiled it is larger than {bytes} bytes"),
        // The lines before draw the expression, as it was translated.
        regex::Error::Syntax(text) => {
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
        other => other.to_string(),
    }
}

// === What needs no regex engine ===

fn simple_form(hir: &Hir) -> Option<Form> {
    if let Some(mut texts) = expand(hir) {
        texts.sort_unstable();
        texts.dedup();
        return Some(Form::Literals(texts));
    }
    let HirKind::Concat(parts) = hir.kind() else { return affix(&[], hir, &[]) };
    let middle = parts.iter().position(|part| any_text(part).is_some())?;
    affix(&parts[..middle], &parts[middle], &parts[middle + 1..])
}

fn affix(before: &[Hir], middle: &Hir, after: &[Hir]) -> Option<Form> {
    let text = |parts: &[Hir]| -> Option<String> {
        let texts = parts.iter().map(|part| match part.kind() {
            HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
            _ => None,
        });
        texts.collect()
    };
    Some(Form::Affix { prefix: text(before)?, suffix: text(after)?, middle_min: any_text(middle)? })
}

/// `.*` or `.+`: the least number of characters.
fn any_text(hir: &Hir) -> Option<usize> {
    let HirKind::Repetition(repetition) = hir.kind() else { return None };
    let any = *repetition.sub == Hir::dot(Dot::AnyChar);
    match (any, repetition.min, repetition.max) {
        (true, least @ (0 | 1), None) => Some(least as usize),
        _ => None,
    }
}

/// All texts that the expression matches, if they are few. Recursion is bounded by the parser's nesting limit.
pub(crate) fn expand(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize =
                class.iter().map(|range| range.end() as usize - range.start() as usize + 1).sum();
            if count > 16 {
                return None;
            }
            let chars = class.iter().flat_map(|range| range.start()..=range.end());
            Some(chars.map(String::from).collect())
        }
        HirKind::Capture(capture) => expand(&capture.sub),
        HirKind::Alternation(parts) => {
            let mut texts = Vec::new();
            for part in parts {
                texts.extend(expand(part)?);
                if texts.len() > LITERALS_MAX {
                    return None;
                }
            }
            Some(texts)
        }
        HirKind::Concat(parts) => {
            let mut texts = vec![String::new()];
            for part in parts {
                let tails = expand(part)?;
                if texts.len().saturating_mul(tails.len()) > LITERALS_MAX {
                    return None;
                }
                texts = texts
                    .iter()
                    .flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}")))
                    .collect();
            }
            Some(texts)
        }
        HirKind::Repetition(repetition) if (repetition.min, repetition.max) == (0, Some(1)) => {
            let mut texts = expand(&repetition.sub)?;
            texts.push(String::new());
            Some(texts)
        }
        _ => None,
    }
}

// === From RE2's syntax ===

/// Rewrites what means something else to the `regex` crate than to RE2, or nothing.
///
/// `\d \w \s \b` are ASCII in RE2; `\Q…\E` quotes; `{` that starts no repetition, `[` and doubled operators in a
/// class are plain characters; repetition of a repetition and counts above 1000 are errors.
fn translate(pattern: &str) -> Result<String, String> {
    let mut scanner = Scanner { rest: pattern, out: String::with_capacity(pattern.len() + 8) };
    let mut repeated = false;
    while let Some(next) = scanner.rest.chars().next() {
        let was_repeated = std::mem::replace(&mut repeated, false);
        match next {
            '\\' => scanner.escape(false)?,
            '[' => scanner.class()?,
            '{' => match repetition(scanner.rest)? {
                Some(length) => {
                    scanner.copy(length);
                    refuse_repeated(was_repeated)?;
                    repeated = true;
                    scanner.lazy_mark();
                }
                None => scanner.replace(1, r"\{"),
            },
            '}' => scanner.replace(1, r"\}"),
            '*' | '+' | '?' => {
                refuse_repeated(was_repeated)?;
                scanner.copy(1);
                repeated = true;
                scanner.lazy_mark();
            }
            '(' if scanner.rest.starts_with("(?") => {
                let flags = scanner.rest[2..].split([':', ')', '<']).next().unwrap_or("");
                if flags.contains(['x', 'u', 'R']) {
                    return Err(format!("unknown flags (?{flags}"));
                }
                scanner.copy(2);
            }
            other => scanner.copy(other.len_utf8()),
        }
    }
    Ok(scanner.out)
}

fn refuse_repeated(repeated: bool) -> Result<(), String> {
    if repeated { Err("invalid nested repetition operator".to_owned()) } else { Ok(()) }
}

/// The length of `{2}`, `{2,}` or `{2,5}` at the start of `rest`.
fn repetition(rest: &str) -> Result<Option<usize>, String> {
    let Some(close) = rest.find('}') else { return Ok(None) };
    let inner = &rest[1..close];
    let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(low) || !(high.is_empty() || digits(high)) {
        return Ok(None);
    }
    let count = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
    if count(low) > REPEAT_MAX || (!high.is_empty() && count(high) > REPEAT_MAX) {
        return Err(format!("repetition {{{inner}}} is above {REPEAT_MAX}"));
    }
    Ok(Some(close + 1))
}

struct Scanner<'a> {
    rest: &'a str,
    out: String,
}

impl Scanner<'_> {
    fn copy(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        self.out.push_str(taken);
        self.rest = rest;
    }

    fn replace(&mut self, bytes: usize, with: &str) {
        self.rest = &self.rest[bytes..];
        self.out.push_str(with);
    }

    fn lazy_mark(&mut self) {
        if self.rest.starts_with('?') {
            self.copy(1);
        }
    }

    /// An escape, inside or outside of a class.
    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let Some(escaped) = self.rest[1..].chars().next() else {
            return Err("trailing backslash".to_owned());
        };
        let ascii = |positive: &str| {
            if in_class { positive.to_owned() } else { format!("[{positive}]") }
        };
        match escaped {
            'd' => self.replace(2, &ascii("0-9")),
            'w' => self.replace(2, &ascii("0-9A-Za-z_")),
            's' => self.replace(2, &ascii(r"\t\n\f\r ")),
            'D' => self.replace(2, "[^0-9]"),
            'W' => self.replace(2, "[^0-9A-Za-z_]"),
            'S' => self.replace(2, r"[^\t\n\f\r ]"),
            'b' if !in_class => self.replace(2, r"(?-u:\b)"),
            'Q' => {
                let quoted = &self.rest[2..];
                let end = quoted.find(r"\E");
                let text = regex_syntax::escape(&quoted[..end.unwrap_or(quoted.len())]);
                self.replace(2 + end.map_or(quoted.len(), |end| end + 2), &text);
            }
            'E' => self.replace(2, ""),
            other => self.copy(1 + other.len_utf8()),
        }
        Ok(())
    }

    /// `[…]`, in which `[`, `&&`, `--` and `~~` are plain characters.
    fn class(&mut self) -> Result<(), String> {
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        if self.rest.starts_with(']') {
            self.replace(1, r"\]");
        }
        loop {
            let Some(next) = self.rest.chars().next() else {
                return Err("missing closing ]".to_owned());
            };
            match next {
                ']' => {
                    self.copy(1);
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' => match self.rest.find(":]") {
                    Some(end) if self.rest.starts_with("[:") => self.copy(end + 2),
                    _ => self.replace(1, r"\["),
                },
                '&' => self.replace(1, r"\&"),
                '~' => self.replace(1, r"\~"),
                '-' if self.rest.starts_with("--") => self.replace(1, r"\-"),
                other => self.copy(other.len_utf8()),
            }
        }
    }
}
