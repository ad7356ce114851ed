//! Conditions on a line, in the form that is cheapest to decide.
//!
//! Many expressions of queries are texts in disguise (`.*timeout.*`, `error|warn`, `(?i)error`): they become searches for texts,
//! which a source can also put to its filters over words.

use std::fmt;

use memchr::memmem::Finder;
use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::ip::IpMatcher;
use super::line_pattern::LinePattern;
use crate::matcher::MatcherError;
use crate::pattern;

/// The most texts that stand for an expression: beyond that one pass of the expression is cheaper.
const TEXTS_MAX: usize = 8;

/// A text to search for.
#[derive(Clone, Debug)]
pub struct Needle {
    text: String,
    finder: Finder<'static>,
}

impl Needle {
    /// Prepares the search.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Needle {
        let text = text.into();
        Needle { finder: Finder::new(&text).into_owned(), text }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a line has the text.
    #[must_use]
    pub fn is_in(&self, line: &str) -> bool {
        self.finder.find(line.as_bytes()).is_some()
    }
}

/// An expression that matches somewhere in a line.
#[derive(Clone, Debug)]
pub struct LineRegex {
    regex: Regex,
    required: Vec<String>,
}

impl LineRegex {
    /// Whether it matches somewhere.
    #[must_use]
    pub fn is_in(&self, line: &str) -> bool {
        self.regex.is_match(line)
    }

    /// The compiled expression.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// Texts of which every line that matches has at least one; empty if there are no such texts.
    #[must_use]
    pub fn required(&self) -> &[String] {
        &self.required
    }
}

/// One condition on a line.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a query has few of them, and a box would be one more step for each line"
)]
pub enum LineTest {
    /// The line has the text.
    Contains(Needle),
    /// The line has the text in any mixture of small and capital letters; the text is ASCII and small.
    ContainsIgnoringCase {
        /// The text in small letters.
        text: String,
        /// What searches for it.
        regex: Regex,
    },
    /// The expression matches somewhere in the line.
    Regex(LineRegex),
    /// The whole line is of the pattern.
    Pattern(LinePattern),
    /// The line has an address of the set.
    Ip(IpMatcher),
}

impl LineTest {
    /// The line has the text.
    #[must_use]
    pub fn contains(text: &str) -> LineTest {
        LineTest::Contains(Needle::new(text))
    }

    /// Tests of which one holds for every line in which an expression of RE2's syntax matches.
    pub fn regex(text: &str) -> Result<Vec<LineTest>, MatcherError> {
        let (regex, hir) = pattern::compile_search(text)?;
        let hir = without_any_ends(&hir);
        if let Some(text) = any_case_text(&hir) {
            return Ok(vec![LineTest::ContainsIgnoringCase { text, regex }]);
        }
        match pattern::expand(&hir) {
            Some(texts) if texts.len() <= TEXTS_MAX => {
                Ok(texts.into_iter().map(|text| LineTest::Contains(Needle::new(text))).collect())
            }
            _ => {
                let required = required(&hir).unwrap_or_default();
                Ok(vec![LineTest::Regex(LineRegex { regex, required })])
            }
        }
    }

    /// Whether it holds.
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        match self {
            LineTest::Contains(needle) => needle.is_in(line),
            LineTest::ContainsIgnoringCase { regex, .. } => regex.is_match(line),
            LineTest::Regex(regex) => regex.is_in(line),
            LineTest::Pattern(pattern) => pattern.matches(line),
            LineTest::Ip(addresses) => addresses.is_in(line),
        }
    }
}

/// A condition of a query: one of several tests holds, or none of them does.
#[derive(Clone)]
pub struct LineFilter {
    negated: bool,
    any: Vec<LineTest>,
}

impl LineFilter {
    /// One of the tests holds; `negated`: none does.
    #[must_use]
    pub fn new(negated: bool, any: Vec<LineTest>) -> LineFilter {
        LineFilter { negated, any }
    }

    /// Whether no test may hold.
    #[must_use]
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// The tests.
    #[must_use]
    pub fn any(&self) -> &[LineTest] {
        &self.any
    }

    /// Whether the line fulfils the condition.
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        self.any.iter().any(|test| test.matches(line)) != self.negated
    }

    /// Whether every line fulfils it.
    #[must_use]
    pub fn is_always_true(&self) -> bool {
        let empty = |test: &LineTest| matches!(test, LineTest::Contains(needle) if needle.text().is_empty());
        if self.negated { self.any.is_empty() } else { self.any.iter().any(empty) }
    }

    /// Texts of which every line that fulfils the condition has at least one (or, of a pattern with several literals, the
    /// longest), if there are such texts.
    #[must_use]
    pub fn required(&self) -> Option<Vec<&str>> {
        if self.negated {
            return None;
        }
        let mut texts = Vec::new();
        for test in &self.any {
            match test {
                LineTest::Contains(needle) => texts.push(needle.text()),
                LineTest::Pattern(pattern) => texts.push(pattern.literals().max_by_key(|text| text.len())?),
                LineTest::Regex(regex) if !regex.required.is_empty() => {
                    texts.extend(regex.required.iter().map(String::as_str));
                }
                LineTest::Regex(_) | LineTest::ContainsIgnoringCase { .. } | LineTest::Ip(_) => return None,
            }
        }
        texts.iter().all(|text| !text.is_empty()).then_some(texts)
    }
}

impl fmt::Debug for LineFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.negated { "none of " } else { "one of " })?;
        f.debug_list().entries(&self.any).finish()
    }
}

// === Texts in disguise ===

/// Without `.*` at either end, which changes nothing about whether an expression matches somewhere.
fn without_any_ends(hir: &Hir) -> Hir {
    let any = |part: &Hir| match part.kind() {
        HirKind::Repetition(repetition) => {
            let dot = Hir::dot(regex_syntax::hir::Dot::AnyCharExceptLF);
            repetition.min == 0
                && repetition.max.is_none()
                && (*repetition.sub == dot || *repetition.sub == Hir::dot(regex_syntax::hir::Dot::AnyChar))
        }
        _ => false,
    };
    match hir.kind() {
        HirKind::Concat(parts) => {
            let mut parts = parts.as_slice();
            while let [first, rest @ ..] = parts
                && any(first)
            {
                parts = rest;
            }
            while let [rest @ .., last] = parts
                && any(last)
            {
                parts = rest;
            }
            Hir::concat(parts.to_vec())
        }
        _ if any(hir) => Hir::empty(),
        _ => hir.clone(),
    }
}

/// The text in small letters, if the expression is a text whose letters may be small or capital.
fn any_case_text(hir: &Hir) -> Option<String> {
    let mut text = String::new();
    let mut letters = 0;
    let single = [hir.clone()];
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => &single,
    };
    for part in parts {
        match part.kind() {
            HirKind::Literal(literal) => {
                let literal = std::str::from_utf8(&literal.0).ok()?;
                if !literal.is_ascii() || literal.bytes().any(|byte| byte.is_ascii_alphabetic()) {
                    return None;
                }
                text.push_str(literal);
            }
            HirKind::Class(Class::Unicode(class)) => {
                let chars: Vec<char> =
                    class.iter().take(4).flat_map(|range| (range.start()..=range.end()).take(4)).collect();
                let small = chars.iter().copied().find(char::is_ascii_lowercase)?;
                // Beside K and S, Unicode has a third character that is the same letter.
                let same = |char: &char| matches!((small, char), ('k', '\u{212a}') | ('s', '\u{17f}'));
                let both = chars.contains(&small.to_ascii_uppercase());
                if !both || chars.iter().any(|char| char.to_ascii_lowercase() != small && !same(char)) {
                    return None;
                }
                text.push(small);
                letters += 1;
            }
            _ => return None,
        }
    }
    (letters > 0).then_some(text)
}

/// Texts of which every match has at least one. Recursion is bounded by the parser's nesting limit.
fn required(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let text = String::from_utf8(literal.0.to_vec()).ok()?;
            (!text.is_empty()).then(|| vec![text])
        }
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        // The best part is the one whose shortest text is longest.
        HirKind::Concat(parts) => parts
            .iter()
            .filter_map(required)
            .max_by_key(|texts| texts.iter().map(String::len).min().unwrap_or(0)),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(required(part)?);
                if all.len() > TEXTS_MAX {
                    return None;
                }
            }
            Some(all)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pattern: &str) -> String {
        let form = |test: &LineTest| match test {
            LineTest::Contains(needle) => format!("has {:?}", needle.text()),
            LineTest::ContainsIgnoringCase { text, .. } => format!("any case {text:?}"),
            LineTest::Regex(regex) => format!("regex needs {:?}", regex.required()),
            other => format!("{other:?}"),
        };
        LineTest::regex(pattern).unwrap().iter().map(form).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn texts_in_disguise_become_texts() {
        assert_eq!(form(".*timeout.*"), r#"has "timeout""#);
        assert_eq!(form("error|warn"), r#"has "error", has "warn""#);
        assert_eq!(form("(?i)task 5 failed"), r#"any case "task 5 failed""#);
        assert_eq!(form("code=5.."), r#"regex needs ["code=5"]"#);
        assert_eq!(form(".+bar"), r#"regex needs ["bar"]"#);
        assert_eq!(form("^a"), r#"regex needs ["a"]"#);
        assert_eq!(
            form("(?:get|put) /api/[0-9]+ (failed|timed out)x*"),
            r#"regex needs ["failed", "timed out"]"#
        );
        assert_eq!(form("[a-z]+"), "regex needs []");
        assert_eq!(form(".*"), r#"has """#);
    }

    #[test]
    fn filters_hold_for_one_or_for_none() {
        let tests = || vec![LineTest::contains("error"), LineTest::contains("warn")];
        let (one, none) = (LineFilter::new(false, tests()), LineFilter::new(true, tests()));
        for (line, expected) in [("an error", true), ("warned", true), ("info", false)] {
            assert_eq!(one.matches(line), expected);
            assert_eq!(none.matches(line), !expected);
        }
        assert_eq!(one.required(), Some(vec!["error", "warn"]));
        assert_eq!(none.required(), None);
        assert!(LineFilter::new(false, vec![LineTest::contains("")]).is_always_true());
    }

    #[test]
    fn expressions_match_somewhere_and_dots_stop_at_line_ends() {
        let filter = |pattern: &str| LineFilter::new(false, LineTest::regex(pattern).unwrap());
        assert!(filter("(?i)ERR.r").matches("an error"));
        assert!(filter("(?i)kelvin").matches("5 \u{212a}ELVIN"));
        assert!(!filter("a.b").matches("a\nb"));
        assert!(filter("(?s)a.b").matches("a\nb"));
        assert!(filter("b$").matches("ab"));
        assert!(!filter("^b").matches("ab"));
        assert!(LineTest::regex("(a{1000}){1000}").is_err());
    }
}
