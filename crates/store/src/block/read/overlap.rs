//! What the slots of a body have of a text, where its pattern does not say whether it has the text.
//!
//! A text that spans a slot needs a part of itself in that slot. Patterns leave little choice which part that is, so that a page of
//! slots without any of these parts has no body with the text.

use ahash::AHashMap as HashMap;
use memchr::memmem::Finder;

use super::Block;
use super::log_bodies::{PART_BYTES_MIN, is_within};
use super::log_scan::{Candidate, Chosen};
use crate::block::Table;
use crate::block::bodies::PLACEHOLDER;
use crate::error::Error;
use crate::snapshot::log_scan::LogScan;

/// Fewer rows than these are looked at themselves, rather than all of their pages first.
const ROWS_MIN: usize = 64;

/// At most so many parts are searched for: beyond, one of them is in every page.
const PARTS_MAX: usize = 16;

impl Block {
    /// Drops candidates whose pattern leaves it open whether they have a text, and whose slots lie in a page without any part of
    /// the text that slots of such patterns must have.
    pub(super) fn drop_pages_by_pattern(
        &self,
        chosen: &mut Chosen<'_>,
        scan: &LogScan<'_>,
    ) -> Result<(), Error> {
        let (Some(patterns), Some(layout)) = (&chosen.patterns, self.layout(Table::Logs)) else {
            return Ok(());
        };
        for any in scan.texts.iter().filter(|any| !any.is_empty()) {
            let mut known: HashMap<u32, bool> = HashMap::new();
            let mut parts: Vec<&str> = Vec::new();
            for candidate in chosen.candidates.iter().filter(|candidate| candidate.is_open) {
                known.entry(patterns.key(candidate.at as usize)).or_insert_with(|| {
                    let of_pattern = parts_of_any(patterns.text(candidate.at), any);
                    let is_known = of_pattern.is_some();
                    parts.extend(of_pattern.unwrap_or_default());
                    is_known
                });
            }
            parts.sort_unstable();
            parts.dedup();
            let is_decided = |candidate: &Candidate| {
                candidate.is_open && known.get(&patterns.key(candidate.at as usize)) == Some(&true)
            };
            let decided = chosen.candidates.iter().filter(|candidate| is_decided(candidate));
            let rows: Vec<u32> = decided.map(|candidate| candidate.row).collect();
            if rows.len() < ROWS_MIN || parts.len() > PARTS_MAX {
                continue;
            }
            let finders: Vec<Finder<'_>> = parts.iter().map(Finder::new).collect();
            let holds = |page: &[u8]| finders.iter().any(|finder| finder.find(page).is_some());
            let file = self.file(Table::Logs)?;
            if let Some(pages) = layout.pages_with(file, chosen.group, "slots", &rows, holds)? {
                chosen
                    .candidates
                    .retain(|candidate| !is_decided(candidate) || is_within(&pages, candidate.row));
            }
            break;
        }
        Ok(())
    }
}

/// Parts of which the slots of a body must have one if it has any of these texts; `None` where nothing is known, or parts are so
/// short that every page has them.
fn parts_of_any<'t>(pattern: &str, texts: &[&'t str]) -> Option<Vec<&'t str>> {
    let mut all = Vec::new();
    for text in texts {
        if pattern.split(PLACEHOLDER).any(|constant| constant.contains(text)) {
            return None;
        }
        all.extend(parts_in_slots(pattern, text)?);
    }
    all.iter().all(|part| part.len() >= PART_BYTES_MIN).then_some(all)
}

/// Ways in which a text may lie over a pattern that are followed; with more, nothing is known.
const STEPS_MAX: usize = 4_096;

/// Parts of a text of which the slots of every body of the pattern have one, if the body has slots and the text, and the text does
/// not lie between slots; each is the longest that its slot has. `None` where nothing is known.
pub(super) fn parts_in_slots<'t>(pattern: &str, text: &'t str) -> Option<Vec<&'t str>> {
    if text.contains(['{', '}']) {
        // A body without slots may have it.
        return None;
    }
    let constants: Vec<&str> = pattern.split(PLACEHOLDER).collect();
    let mut ways = Ways { constants: &constants, text, parts: Vec::new(), steps: 0 };
    for slot in 0..constants.len().saturating_sub(1) {
        ways.enter(slot, 0, true, "")?;
        let before = constants.get(slot).copied().unwrap_or_default();
        for from in (0..before.len()).filter(|from| before.is_char_boundary(*from)) {
            let tail = before.get(from..).unwrap_or_default();
            if tail.len() < text.len() && text.starts_with(tail) {
                ways.enter(slot, tail.len(), false, "")?;
            }
        }
    }
    ways.parts.sort_unstable();
    ways.parts.dedup();
    Some(ways.parts)
}

struct Ways<'p, 't> {
    constants: &'p [&'p str],
    text: &'t str,
    parts: Vec<&'t str>,
    steps: usize,
}

impl<'t> Ways<'_, 't> {
    /// The text goes on in a slot, of which the beginning may lie before the text; `longest` is the longest part so far.
    /// Each step takes a byte of the text at least, which bounds the recursion by its letters and [`STEPS_MAX`].
    fn enter(&mut self, slot: usize, at: usize, begins_before: bool, longest: &'t str) -> Option<()> {
        let rest = self.text.get(at..)?;
        let run = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        for len in 1..=run {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return None;
            }
            let (part, after) = rest.split_at_checked(len)?;
            let longest = if part.len() > longest.len() { part } else { longest };
            if after.is_empty() {
                self.parts.push(longest);
                continue;
            }
            // A whole slot has a digit.
            if !begins_before && !part.bytes().any(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let next = self.constants.get(slot + 1).copied().unwrap_or_default();
            if next.starts_with(after) {
                self.parts.push(longest);
            } else if slot + 2 < self.constants.len() && after.starts_with(next) {
                self.enter(slot + 1, at + len + next.len(), false, longest)?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::bodies::Splitter;
    use crate::block::read::text_in_pattern;
    use crate::snapshot::log_scan::Verdict;

    #[test]
    fn texts_over_slots_leave_parts_in_them() {
        let parts = parts_in_slots;
        assert_eq!(parts("took {}ms", "took 12"), Some(vec!["12"]));
        assert_eq!(parts("{} bytes of {} kept", "attempt bytes"), Some(vec!["attempt"]));
        assert_eq!(parts("{} bytes of {} kept", "attempt "), Some(vec!["attempt"]));
        assert_eq!(parts("a {} b {} c", "x1 b 27 c"), Some(vec!["x1"]));
        assert_eq!(parts("a {} b {} c", "no way"), Some(Vec::new()));
        assert_eq!(parts("a {} b", "{"), None);
    }

    #[test]
    fn bodies_with_a_text_have_a_part_of_it_in_their_slots() {
        let alphabet: Vec<char> = "a17gZ _.".chars().collect();
        let mut state = 11u64;
        let mut splitter = Splitter::default();
        let mut n_open = 0;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (mut bits, mut body) = (state >> 8, String::new());
            for _ in 0..(state >> 4) % 14 {
                body.push(alphabet[(bits % alphabet.len() as u64) as usize]);
                bits /= alphabet.len() as u64;
            }
            let (pattern, Some(slots)) = splitter.split(&body) else { continue };
            for from in 0..body.len() {
                for to in from + 1..=body.len() {
                    let text = &body[from..to];
                    if text_in_pattern(pattern, text, |part| part.contains(text)) == Verdict::Open {
                        let parts = parts_in_slots(pattern, text).expect("few ways");
                        let is_in = parts.iter().any(|part| slots.contains(part));
                        assert!(is_in, "{text:?} of {body:?} with {slots:?}: {parts:?}");
                        n_open += 1;
                    }
                }
            }
        }
        assert!(n_open > 10_000);
    }
}
