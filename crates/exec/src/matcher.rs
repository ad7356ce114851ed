//! One condition on one label.

use std::fmt;

use crate::labels::Labels;
use crate::pattern::Pattern;
use crate::quote::quote;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// Why a matcher cannot be made.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum MatcherError {
    /// The expression is none, or is too large.
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Regex {
        /// The expression.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
}

/// A condition on one label. Regular expressions are those of RE2 and match the whole value.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
}

impl Matcher {
    /// Compiles the condition.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Matcher, MatcherError> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(&value)?),
        };
        Ok(Matcher { name, op, value, pattern })
    }

    /// `name="value"`, which cannot fail.
    #[must_use]
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Matcher {
        Matcher { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// The label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or the expression, as given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether the value of the label (empty if the label is not there) fulfils the condition.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let pattern = |value: &str| self.pattern.as_ref().is_some_and(|p| p.matches(value));
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex => pattern(value),
            MatchOp::NotRegex => !pattern(value),
        }
    }

    /// Whether a set of labels fulfils the condition.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name))
    }

    /// The values that a positive condition accepts, sorted, if they are few and known: an index is asked for these.
    #[must_use]
    pub fn accepted_values(&self) -> Option<Vec<&str>> {
        match self.op {
            MatchOp::Equal => Some(vec![&self.value]),
            MatchOp::Regex => self.pattern.as_ref()?.literals(),
            MatchOp::NotEqual | MatchOp::NotRegex => None,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.op == other.op && self.value == other.value
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{}", self.name, quote(self.value.as_bytes()))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(pattern: &str) -> Matcher {
        Matcher::new("a", MatchOp::Regex, pattern).unwrap()
    }

    #[test]
    fn expressions_match_whole_values_as_re2_does() {
        let cases = [
            ("", "", true),
            ("", "x", false),
            (".*", "", true),
            (".+", "", false),
            (".*", "a\nb", true),
            ("a|b", "b", true),
            ("a|b", "ab", false),
            ("api-.*", "api-1", true),
            ("api-.+", "api-", false),
            (".*-canary", "x-canary", true),
            ("(?i)GET", "get", true),
            (r"\d+", "12", true),
            (r"\d+", "٣", false),
            (r"[\w.]+", "a.b", true),
            (r"\Qa.b\E", "a.b", true),
            (r"\Qa.b\E", "axb", false),
            ("a{", "a{", true),
            ("[[]", "[", true),
            ("[a&&b]", "&", true),
            ("[[:alpha:]]+", "abc", true),
            ("x(a|bc)y", "xbcy", true),
            ("5..", "500", true),
            ("5..", "5000", false),
        ];
        for (pattern, value, expected) in cases {
            assert_eq!(regex(pattern).matches(value), expected, "{pattern:?} {value:?}");
        }
    }

    #[test]
    fn accepted_values_are_known_for_alternations() {
        assert_eq!(regex("x(a|b)|c").accepted_values(), Some(vec!["c", "xa", "xb"]));
        assert_eq!(regex("a.*").accepted_values(), None);
    }

    #[test]
    fn bombs_are_refused() {
        let bombs = ["(((a{1000}){1000}){1000})", "a{1001}", "(", "[", r"\8", "(?=a)", "a**"];
        for pattern in bombs {
            assert!(Matcher::new("a", MatchOp::Regex, pattern).is_err(), "{pattern}");
        }
        let deep = "(".repeat(10_000) + &")".repeat(10_000);
        assert!(Matcher::new("a", MatchOp::Regex, deep).is_err());
    }

    #[test]
    fn many_alternatives_are_a_search_not_a_program() {
        let pattern = (0..10_000).map(|i| format!("value-{i}")).collect::<Vec<_>>().join("|");
        let matcher = regex(&pattern);
        assert!(matcher.matches("value-9999"));
        assert!(!matcher.matches("value-10000"));
    }
}
