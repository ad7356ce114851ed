//! Patterns of lines: literals with `<name>` or `<_>` between them, for line filters and for a parser.

use memchr::memmem::Finder;

/// Why a text is no pattern of lines.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LinePatternError {
    /// Nothing is between two captures, so that nobody can say where the first ends.
    #[error("found consecutive capture '<{first}><{second}>': invalid expression")]
    Consecutive {
        /// The name of the first.
        first: String,
        /// The name of the second.
        second: String,
    },
    /// Two captures have one name.
    #[error("duplicate capture name ({name}): invalid expression")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A parser has nothing to extract.
    #[error("at least one capture is required: invalid expression")]
    NoCapture,
    /// A filter extracts nothing.
    #[error("named captures are not allowed: invalid expression (<{name}> in a filter is written <_>)")]
    NamedCapture {
        /// The name.
        name: String,
    },
    /// The pattern has nothing in it.
    #[error("empty pattern: invalid expression")]
    Empty,
    /// Too many parts.
    #[error("pattern has more than {max} parts")]
    TooLong {
        /// The most that there may be.
        max: usize,
    },
}

/// The most literals and captures of a pattern: no line is made of more.
const PARTS_MAX: usize = 1000;

/// A part of a pattern.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a query has few of them, and a box would be one more step for each line"
)]
pub enum PatternPart {
    /// This text.
    Literal(Finder<'static>),
    /// Any text; nothing instead of a name for `<_>`.
    Capture(Option<String>),
}

/// A pattern of lines.
#[derive(Clone, Debug)]
pub struct LinePattern {
    text: String,
    parts: Vec<PatternPart>,
}

impl LinePattern {
    /// A pattern for a filter, in which captures have no names.
    pub fn filter(text: &str) -> Result<LinePattern, LinePatternError> {
        let pattern = LinePattern { text: text.to_owned(), parts: parse(text)? };
        if let Some(name) = pattern.names().next() {
            return Err(LinePatternError::NamedCapture { name: name.to_owned() });
        }
        Ok(pattern)
    }

    /// A pattern for a parser, which has at least one name.
    pub fn parser(text: &str) -> Result<LinePattern, LinePatternError> {
        let pattern = LinePattern { text: text.to_owned(), parts: parse(text)? };
        if pattern.parts.is_empty() {
            return Err(LinePatternError::Empty);
        }
        if pattern.names().next().is_none() {
            return Err(LinePatternError::NoCapture);
        }
        for (at, name) in pattern.names().enumerate() {
            if pattern.names().take(at).any(|earlier| earlier == name) {
                return Err(LinePatternError::Duplicate { name: name.to_owned() });
            }
        }
        Ok(pattern)
    }

    /// The pattern as given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Literals and captures in turns.
    #[must_use]
    pub fn parts(&self) -> &[PatternPart] {
        &self.parts
    }

    /// The names of captures, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            PatternPart::Capture(name) => name.as_deref(),
            PatternPart::Literal(_) => None,
        })
    }

    /// The literals, each of which is in every line that matches.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            PatternPart::Literal(finder) => std::str::from_utf8(finder.needle()).ok(),
            PatternPart::Capture(_) => None,
        })
    }

    /// Whether the line is of the pattern to its end; a capture stands for at least one byte. As in Loki, what stands before the first
    /// literal does not matter where no capture does.
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        let mut rest = line.as_bytes();
        let mut after_capture = false;
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                PatternPart::Capture(_) => after_capture = true,
                PatternPart::Literal(finder) => {
                    let Some(found) = finder.find(rest) else { return false };
                    if at > 0 && found == 0 {
                        return false;
                    }
                    rest = rest.get(found + finder.needle().len()..).unwrap_or_default();
                    after_capture = false;
                }
            }
        }
        rest.is_empty() != after_capture
    }

    /// Calls `found` with the position among [`LinePattern::names`] and the text of each named capture. A line that lacks a
    /// later literal gives all of its rest to the capture before it; one that does not begin with a leading literal, nothing.
    pub fn captures<'l>(&self, line: &'l str, mut found: impl FnMut(usize, &'l str)) {
        let mut rest = line;
        let mut open: Option<Option<usize>> = None;
        let mut names = 0;
        for part in &self.parts {
            match part {
                PatternPart::Capture(name) => {
                    open = Some(name.as_ref().map(|_| names));
                    names += usize::from(name.is_some());
                }
                PatternPart::Literal(finder) => {
                    let at = finder.find(rest.as_bytes());
                    let Some(capture) = open.take() else {
                        match rest.as_bytes().strip_prefix(finder.needle()) {
                            Some(_) => rest = rest.get(finder.needle().len()..).unwrap_or_default(),
                            None => return,
                        }
                        continue;
                    };
                    let Some(at) = at else {
                        open = Some(capture);
                        break;
                    };
                    if let Some(name) = capture {
                        found(name, rest.get(..at).unwrap_or_default());
                    }
                    rest = rest.get(at + finder.needle().len()..).unwrap_or_default();
                }
            }
        }
        if let Some(Some(name)) = open
            && !line.is_empty()
        {
            found(name, rest);
        }
    }
}

fn parse(text: &str) -> Result<Vec<PatternPart>, LinePatternError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        let (before, from) = rest.split_at(open);
        literal.push_str(before);
        let Some(name) = capture_name(from) else {
            literal.push('<');
            rest = from.get(1..).unwrap_or_default();
            continue;
        };
        rest = from.get(name.len() + 2..).unwrap_or_default();
        if !literal.is_empty() {
            parts.push(PatternPart::Literal(Finder::new(&literal).into_owned()));
            literal.clear();
        } else if let Some(PatternPart::Capture(first)) = parts.last() {
            let first = first.clone().unwrap_or_else(|| "_".to_owned());
            return Err(LinePatternError::Consecutive { first, second: name.to_owned() });
        }
        parts.push(PatternPart::Capture((name != "_").then(|| name.to_owned())));
        if parts.len() > PARTS_MAX {
            return Err(LinePatternError::TooLong { max: PARTS_MAX });
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(PatternPart::Literal(Finder::new(&literal).into_owned()));
    }
    Ok(parts)
}

/// The name between `<` and `>` at the start of a text.
fn capture_name(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('<')?;
    let name = inner.get(..inner.find('>')?)?;
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    (first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_the_line_to_its_end() {
        let cases = [
            ("GET <_> 200", "GET /api 200", true),
            ("GET <_> 200", "GET  200", false),
            ("GET /api", "GET /api 200", false),
            ("<_>/api<_>", "GET /api 200", true),
            ("<_>/api<_>", "/api 200", false),
            ("<_>", "x", true),
            ("<_>", "", false),
            ("", "", true),
            ("", "x", false),
            ("a < b <_>", "a < b c", true),
            ("GET <_>", "xGET a", true),
            ("GET <_>", "xGET ", false),
            ("GET", "xGET", true),
            ("GET", "GETGET", false),
        ];
        for (pattern, line, expected) in cases {
            assert_eq!(LinePattern::filter(pattern).unwrap().matches(line), expected, "{pattern} {line}");
        }
    }

    #[test]
    fn a_parser_takes_what_it_finds() {
        let captures = |pattern: &str, line: &str| {
            let mut all = Vec::new();
            let pattern = LinePattern::parser(pattern).unwrap();
            pattern.captures(line, |at, text| all.push(format!("{at}={text}")));
            all.join(" ")
        };
        assert_eq!(captures("<ip> - <_> <user>", "1.2.3.4 - x bob"), "0=1.2.3.4 1=bob");
        assert_eq!(captures("<ip> - <user>", "1.2.3.4"), "0=1.2.3.4");
        assert_eq!(captures("[<level>] <msg>", "level] x"), "");
        assert_eq!(captures("[<level>] ", "[info] rest"), "0=info");
        assert_eq!(captures("<a>", ""), "");
    }

    #[test]
    fn wrong_patterns_say_why() {
        let error = |pattern: &str| LinePattern::parser(pattern).unwrap_err().to_string();
        assert!(error("<a><b>").starts_with("found consecutive capture '<a><b>'"));
        assert!(error("<a> <a>").starts_with("duplicate capture name (a)"));
        assert!(error("<_> x").starts_with("at least one capture"));
        assert!(error("").starts_with("empty pattern"));
        assert!(
            LinePattern::filter("<a> x")
                .unwrap_err()
                .to_string()
                .starts_with("named captures are not allowed")
        );
        assert!(LinePattern::parser(&"<_> ".repeat(10_000)).is_err());
    }
}
