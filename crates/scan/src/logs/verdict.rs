//! What conditions on lines say of a pattern: most lines are decided by it, once for all lines that have it.

use ahash::AHashMap as HashMap;
use throughline_exec::log::{LineFilter, LineTest};
use throughline_store::Verdict;
use throughline_store::block::{PLACEHOLDER, text_in_pattern};

/// Patterns whose verdict is remembered during one query: as many as a few row groups have.
const PATTERNS_KEPT: usize = 1 << 14;

/// The conditions of a query, and what is known of patterns so far.
pub(super) struct Conditions<'q> {
    filters: Vec<&'q LineFilter>,
    verdicts: HashMap<String, Verdict>,
}

impl<'q> Conditions<'q> {
    /// Of these, those that are not fulfilled by every line.
    pub fn new(filters: &'q [LineFilter]) -> Conditions<'q> {
        let filters = filters.iter().filter(|filter| !filter.is_always_true()).collect();
        Conditions { filters, verdicts: HashMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Of each list, a line that fulfils everything has at least one of the texts.
    pub fn required(&self) -> Vec<Vec<&'q str>> {
        self.filters.iter().filter_map(|filter| filter.required()).collect()
    }

    /// Whether a line fulfils everything.
    pub fn matches(&self, line: &str) -> bool {
        self.filters.iter().all(|filter| filter.matches(line))
    }

    /// What a pattern says of its lines.
    pub fn verdict(&mut self, pattern: &str) -> Verdict {
        if let Some(known) = self.verdicts.get(pattern) {
            return *known;
        }
        let verdict = all(self.filters.iter().map(|filter| of_filter(filter, pattern)));
        if self.verdicts.len() < PATTERNS_KEPT {
            self.verdicts.insert(pattern.to_owned(), verdict);
        }
        verdict
    }
}

/// The verdict of conditions that must all be fulfilled.
fn all(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    let mut together = Verdict::Always;
    for verdict in verdicts {
        match verdict {
            Verdict::Never => return Verdict::Never,
            Verdict::Open => together = Verdict::Open,
            Verdict::Always => {}
        }
    }
    together
}

fn not(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Never => Verdict::Always,
        Verdict::Open => Verdict::Open,
        Verdict::Always => Verdict::Never,
    }
}

fn of_filter(filter: &LineFilter, pattern: &str) -> Verdict {
    // One of several holds unless all of them do not.
    let none = all(filter.any().iter().map(|test| not(of_test(test, pattern))));
    if filter.is_negated() { none } else { not(none) }
}

fn of_test(test: &LineTest, pattern: &str) -> Verdict {
    if !pattern.contains(PLACEHOLDER) {
        return if test.matches(pattern) { Verdict::Always } else { Verdict::Never };
    }
    // A text that a line must have and cannot have.
    let lacks = |text: &str| text_in_pattern(pattern, text, |part| part.contains(text)) == Verdict::Never;
    let never_if = |never: bool| if never { Verdict::Never } else { Verdict::Open };
    match test {
        LineTest::Contains(needle) => text_in_pattern(pattern, needle.text(), |part| needle.is_in(part)),
        // Outside ASCII there are letters whose small form is in it.
        LineTest::ContainsIgnoringCase { text, .. } if pattern.is_ascii() => {
            text_in_pattern(&pattern.to_ascii_lowercase(), text, |part| part.contains(text))
        }
        LineTest::Regex(regex) => {
            let required = regex.required();
            never_if(!required.is_empty() && required.iter().all(|text| lacks(text)))
        }
        LineTest::Pattern(of_line) => never_if(of_line.literals().any(lacks)),
        LineTest::ContainsIgnoringCase { .. } | LineTest::Ip(_) => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(negated: bool, any: Vec<LineTest>) -> Vec<LineFilter> {
        vec![LineFilter::new(negated, any)]
    }

    #[test]
    fn patterns_decide_about_their_lines() {
        let has = LineTest::contains;
        let regex = |text: &str| LineTest::regex(text).expect("an expression");
        let pattern = "GET /orders/{} took {}ms: Deadlock detected";
        let cases = [
            (filter(false, vec![has("Deadlock")]), Verdict::Always),
            (filter(true, vec![has("Deadlock")]), Verdict::Never),
            (filter(false, vec![has("timed out")]), Verdict::Never),
            (filter(true, vec![has("timed out")]), Verdict::Always),
            (filter(false, vec![has("timed out"), has("orders/4")]), Verdict::Open),
            (filter(true, vec![has("timed out"), has("orders/4")]), Verdict::Open),
            (filter(false, vec![has("timed out"), has("GET")]), Verdict::Always),
            (filter(false, regex("(?i)deadlock")), Verdict::Always),
            (filter(false, regex("(?i)timed out")), Verdict::Never),
            (filter(false, regex("took [0-9]{4,}ms")), Verdict::Open),
            (filter(false, regex("waited for [0-9]{4,}ms")), Verdict::Never),
            (filter(true, regex("waited for [0-9]{4,}ms")), Verdict::Always),
        ];
        for (filters, expected) in &cases {
            assert_eq!(Conditions::new(filters).verdict(pattern), *expected, "{filters:?}");
        }
        let exact = filter(false, regex("^no [a-z]+$"));
        assert_eq!(Conditions::new(&exact).verdict("no slots"), Verdict::Always);
        assert_eq!(Conditions::new(&exact).verdict("no slots here"), Verdict::Never);
        assert!(Conditions::new(&filter(false, vec![has("")])).is_empty());
    }
}
