//! Bodies of log records as patterns and slots: the text that repeats, and the words of it that do not.
//!
//! A *slot* is a run of ASCII letters and digits that has a digit; where it is digits and then a unit (letters of which the
//! first is no hexadecimal digit: `26ms`), the digits alone. The *pattern* is the body with [`PLACEHOLDER`] in place of each slot.
//! Splitting looks at nothing but the body, so the same line has the same pattern in every block, and putting both together
//! again is a matter of walking over two texts. Patterns are few, and a dictionary stores each once; of a line
//! remains what is new in it.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::StringBuilder;

use super::texts::TextColumn;

/// What stands in a pattern for a slot. A body that has it is its own pattern and has no slots.
pub const PLACEHOLDER: &str = "{}";

/// What stands between slots, which have letters and digits alone.
pub(crate) const SEPARATOR: char = ' ';

/// Splits bodies; keeps its working memory.
#[derive(Default)]
pub(crate) struct Splitter {
    pattern: String,
    slots: String,
}

/// What a byte is within a run of letters and digits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Digit,
    /// A letter that a hexadecimal number may have.
    Hexadecimal,
    Letter,
}

/// The class of every byte: one look instead of several comparisons for each byte of every line.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        let of = byte as u8;
        classes[byte] = match of {
            b'0'..=b'9' => Class::Digit,
            b'a'..=b'f' | b'A'..=b'F' => Class::Hexadecimal,
            b'g'..=b'z' | b'G'..=b'Z' => Class::Letter,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
}

/// A run of letters and digits: its length, and that of the slot that it begins with, if it does.
struct Run {
    len: usize,
    slot: Option<usize>,
}

fn run_at(bytes: &[u8]) -> Run {
    let (mut len, mut has_digit) = (0, false);
    // The digits before the first letter, that letter's class, and whether a digit follows it.
    let (mut digits, mut first, mut digit_follows) = (0, Class::Other, false);
    for byte in bytes {
        match class(*byte) {
            Class::Other => break,
            Class::Digit if first == Class::Other => (digits, has_digit) = (digits + 1, true),
            Class::Digit => (digit_follows, has_digit) = (true, true),
            letter if first == Class::Other => first = letter,
            Class::Hexadecimal | Class::Letter => {}
        }
        len += 1;
    }
    let has_unit = digits > 0 && first == Class::Letter && !digit_follows;
    let slot = has_digit.then_some(if has_unit { digits } else { len });
    Run { len, slot }
}

/// The bytes of a text up to where a slot may begin next, and those of the slot that it begins with, if it does. The text is not
/// empty and does not begin within a run of letters and digits.
pub(super) fn slot_at(bytes: &[u8]) -> (usize, Option<usize>) {
    let run = run_at(bytes);
    (run.len.max(1), run.slot)
}

impl Splitter {
    /// The pattern of a body and its slots; no slots where the body is its own pattern.
    pub(crate) fn split<'a>(&'a mut self, body: &'a str) -> (&'a str, Option<&'a str>) {
        if body.contains(PLACEHOLDER) {
            return (body, None);
        }
        self.pattern.clear();
        self.slots.clear();
        let bytes = body.as_bytes();
        // Slots begin and end at ASCII, so every cut is at the bound of a character.
        let part = |from: usize, to: usize| body.get(from..to).unwrap_or_default();
        let (mut at, mut copied) = (0, 0);
        while let Some(byte) = bytes.get(at) {
            if class(*byte) == Class::Other {
                at += 1;
                continue;
            }
            let run = run_at(bytes.get(at..).unwrap_or_default());
            if let Some(len) = run.slot {
                self.pattern.push_str(part(copied, at));
                self.pattern.push_str(PLACEHOLDER);
                if !self.slots.is_empty() {
                    self.slots.push(SEPARATOR);
                }
                self.slots.push_str(part(at, at + len));
                copied = at + len;
            }
            // A unit belongs to the pattern, whatever it looks like by itself.
            at += run.len;
        }
        if copied == 0 {
            return (body, None);
        }
        self.pattern.push_str(part(copied, bytes.len()));
        (&self.pattern, Some(&self.slots))
    }
}

/// Columns of patterns and slots, from bodies.
#[derive(Default)]
pub(crate) struct BodyColumns {
    splitter: Splitter,
    patterns: TextColumn,
    slots: StringBuilder,
}

impl BodyColumns {
    /// Adds the body of the next row.
    pub(crate) fn push(&mut self, body: &str) {
        let (pattern, slots) = self.splitter.split(body);
        self.patterns.push(pattern.as_bytes());
        self.slots.append_option(slots);
    }

    /// The columns.
    pub(crate) fn finish(mut self) -> [ArrayRef; 2] {
        [self.patterns.finish(None), Arc::new(self.slots.finish())]
    }
}

/// Writes the body of a pattern and its slots after what `into` has.
pub(crate) fn assemble(pattern: &str, slots: Option<&str>, into: &mut String) {
    let Some(slots) = slots else { return into.push_str(pattern) };
    let mut slots = slots.split(SEPARATOR);
    let (mut rest, mut searched) = (pattern, 0);
    // A search for one byte; the library's for a text sets up tables first, which costs more than all of this.
    while let Some(found) = rest.as_bytes().get(searched..).and_then(|bytes| memchr::memchr(b'{', bytes)) {
        let at = searched + found;
        match rest.split_at_checked(at) {
            Some((before, after)) if after.starts_with(PLACEHOLDER) => {
                into.push_str(before);
                into.push_str(slots.next().unwrap_or_default());
                rest = after.get(PLACEHOLDER.len()..).unwrap_or_default();
                searched = 0;
            }
            _ => searched = at + 1,
        }
    }
    into.push_str(rest);
}

/// What slots have of a text, in every body with slots that holds the text: its longest run of letters and digits with a digit.
/// `None` where it has no digits.
pub(crate) fn part_in_slots(text: &str) -> Option<&str> {
    let mut longest: Option<&str> = None;
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let run = run_at(rest);
        // In the body, too, a unit begins with the first letter after the digits.
        if let Some(part) = run.slot.and_then(|len| text.get(at..at + len))
            && longest.is_none_or(|longest| part.len() > longest.len())
        {
            longest = Some(part);
        }
        at += run.len.max(1);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str) -> (String, Option<String>) {
        let mut splitter = Splitter::default();
        let (pattern, slots) = splitter.split(body);
        let mut again = String::new();
        assemble(pattern, slots, &mut again);
        assert_eq!(again, body);
        (pattern.to_owned(), slots.map(str::to_owned))
    }

    fn pair(pattern: &str, slots: &str) -> (String, Option<String>) {
        (pattern.to_owned(), Some(slots.to_owned()))
    }

    #[test]
    fn words_with_digits_are_slots() {
        assert_eq!(
            split("GET /orders/4711 for u-000042 took 8.26ms, id 2f91282ec0c1"),
            pair("GET /orders/{} for u-{} took {}.{}ms, id {}", "4711 000042 8 26 2f91282ec0c1")
        );
        assert_eq!(split("10.4.1.125:8080"), pair("{}.{}.{}.{}:{}", "10 4 1 125 8080"));
        assert_eq!(split("5s 5GiB 12ab x1y2z3"), pair("{}s {}GiB {} {}", "5 5 12ab x1y2z3"));
        assert_eq!(split("Grüße an 3 Größen"), pair("Grüße an {} Größen", "3"));
        assert_eq!(split("nothing to see"), ("nothing to see".to_owned(), None));
        assert_eq!(split("a {} of 3"), ("a {} of 3".to_owned(), None));
        assert_eq!(split(""), (String::new(), None));
        assert_eq!(split("a{7}b"), pair("a{{}}b", "7"));
    }

    #[test]
    fn parts_of_texts_lie_in_slots() {
        assert_eq!(part_in_slots("took 26ms"), Some("26"));
        assert_eq!(part_in_slots("id 2f91282ec0c1, 12"), Some("2f91282ec0c1"));
        assert_eq!(part_in_slots("deadlock detected"), None);
        let alphabet: Vec<char> = "a17gZ _".chars().collect();
        let mut state = 5u64;
        let mut splitter = Splitter::default();
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (mut bits, mut body) = (state >> 8, String::new());
            for _ in 0..(state >> 4) % 14 {
                body.push(alphabet[(bits % alphabet.len() as u64) as usize]);
                bits /= alphabet.len() as u64;
            }
            let (_, slots) = splitter.split(&body);
            for from in 0..body.len() {
                for to in from..=body.len() {
                    let part = part_in_slots(&body[from..to]);
                    let holds = |part: &str| slots.is_some_and(|slots| slots.contains(part));
                    assert!(part.is_none_or(holds), "{:?} of {body:?} with {slots:?}", &body[from..to]);
                }
            }
        }
    }

    #[test]
    fn every_text_comes_back() {
        let alphabet: Vec<char> = "a1{} gZ_ü\u{0}".chars().collect();
        let mut state = 1u64;
        for _ in 0..50_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bits = state >> 8;
            let mut body = String::new();
            for _ in 0..(state >> 4) % 12 {
                body.push(alphabet[(bits % alphabet.len() as u64) as usize]);
                bits /= alphabet.len() as u64;
            }
            split(&body);
        }
    }
}
