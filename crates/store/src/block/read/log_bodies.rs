//! Bodies of a block's log records, for scans: put together of those rows alone that are left.
//!
//! A text with a digit lies in slots, or in a pattern whose slots do not vary. So a page of slots that does not have it, as one piece
//! of memory, has no line that has it but those of such patterns: its other rows go before a single body is put together.

use std::borrow::Cow;
use std::ops::Range;

use ahash::AHashMap as HashMap;
use arrow_array::Array as _;
use memchr::memmem::Finder;

use super::log_rows::is_few;
use super::log_scan::{Candidate, Chosen, Keyed, STEP_ROWS};
use super::table::ranges_of;
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::block::bodies::{PLACEHOLDER, assemble, part_in_slots};
use crate::block::settled::mask;
use crate::error::Error;
use crate::snapshot::log_scan::{BodyWant, LogScan, LogVisitor};

/// Texts shorter than this are in every page.
pub(super) const PART_BYTES_MIN: usize = 3;

/// Bodies one after the other.
#[derive(Default)]
pub(super) struct BodyTexts {
    text: String,
    ends: Vec<usize>,
    /// The bytes of each, which are known without the text, too.
    pub(super) bytes: Vec<u32>,
}

impl BodyTexts {
    /// The texts, if they are wanted.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }
}

impl Block {
    /// Puts the bodies of candidates together as far as they are wanted, and drops the candidates whose body is not.
    pub(super) fn read_bodies(
        &self,
        table: &TableReader,
        chosen: &Chosen<'_>,
        part: &mut Vec<Candidate>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
    ) -> Result<BodyTexts, Error> {
        let mut out = BodyTexts::default();
        let Some(patterns) = &chosen.patterns else { return Ok(out) };
        let is_whole = matches!(scan.bodies, BodyWant::Lengths | BodyWant::Text);
        let is_read = |candidate: &Candidate| candidate.is_open || is_whole;
        let rows: Vec<u32> = part.iter().filter(|candidate| is_read(candidate)).map(|c| c.row).collect();
        let batches = match rows.is_empty() {
            true => Vec::new(),
            false if is_few(table, chosen.group, rows.len()) => {
                self.pick_of_group(table, chosen.group, &rows, &["slots"])?
            }
            false => table.read_group(chosen.group, Some(ranges_of(&rows)), Some(&["slots"]))?,
        };
        let mut slots = batches.iter().flat_map(|batch| {
            let texts = Columns::new(batch).texts("slots");
            (0..batch.num_rows())
                .map(move |row| texts.filter(|texts| !texts.is_null(row)).map(|texts| texts.value(row)))
        });
        let parts = parts_in_slots(scan.texts).map(|parts| Parts::new(parts, patterns));
        let mut body = String::new();
        let mut masks: HashMap<u32, Cow<'_, str>> = HashMap::new();
        part.retain(|candidate| {
            let slots = if is_read(candidate) { slots.next().flatten() } else { None };
            let pattern = patterns.text(candidate.at);
            if candidate.is_open
                && let Some(parts) = &parts
                && parts.are_in_slots(patterns, candidate.at)
                && !parts.is_any_in(slots.unwrap_or_default().as_bytes())
            {
                return false;
            }
            if candidate.is_open || scan.bodies == BodyWant::Text {
                body.clear();
                assemble(pattern, slots, &mut body);
            }
            if candidate.is_open && !visitor.body(&body) {
                return false;
            }
            let text = match scan.bodies {
                BodyWant::Text => Some(body.as_str()),
                BodyWant::Judged if candidate.is_open => Some(body.as_str()),
                BodyWant::Mask | BodyWant::Judged => {
                    let of_key = masks.entry(patterns.key(candidate.at as usize));
                    let mask: &str = of_key.or_insert_with(|| mask(pattern));
                    Some(mask)
                }
                BodyWant::None | BodyWant::Lengths => None,
            };
            if let Some(text) = text {
                out.text.push_str(text);
                out.ends.push(out.text.len());
            }
            if is_whole {
                out.bytes.push(u32::try_from(body_bytes(pattern, slots)).unwrap_or(u32::MAX));
            }
            true
        });
        Ok(out)
    }

    /// The candidates without those whose body is not wanted. Bodies are read in the order of the table, so that no page is
    /// read twice; what is left is put in the order of time.
    pub(super) fn decided(
        &self,
        table: &TableReader,
        chosen: &Chosen<'_>,
        candidates: Vec<Candidate>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
    ) -> Result<Vec<Candidate>, Error> {
        if !candidates.iter().any(|candidate| candidate.is_open) {
            return Ok(candidates);
        }
        let without_bodies = LogScan { bodies: BodyWant::None, ..*scan };
        let mut left = Vec::new();
        for part in candidates.chunks(STEP_ROWS) {
            let mut part = part.to_vec();
            self.read_bodies(table, chosen, &mut part, &without_bodies, visitor)?;
            left.extend(part.into_iter().map(|candidate| Candidate { is_open: false, ..candidate }));
        }
        Ok(left)
    }

    /// The rows of those pages of a row group that may have a body with what is looked for, where that is a text that lies in
    /// slots whatever the pattern; `None` where it is not, and all rows are looked at.
    pub(super) fn pages_to_look_at(
        &self,
        group: usize,
        scan: &LogScan<'_>,
    ) -> Result<Option<Vec<Range<u32>>>, Error> {
        let (Some(parts), Some(layout)) = (parts_in_slots(scan.texts), self.layout(Table::Logs)) else {
            return Ok(None);
        };
        let file = self.file(Table::Logs)?;
        let Some(patterns) = layout.keys(file, group, "pattern")? else { return Ok(None) };
        let has_part = |pattern: &&str| parts.iter().any(|part| pattern.contains(part));
        if patterns.texts().is_none_or(|patterns| patterns.iter().any(has_part)) {
            return Ok(None);
        }
        let finders: Vec<Finder<'_>> = parts.iter().map(Finder::new).collect();
        let holds = |page: &[u8]| finders.iter().any(|finder| finder.find(page).is_some());
        let rows: Vec<u32> = (0..layout.group_rows(group).map_or(0, |rows| rows.len() as u32)).collect();
        layout.pages_with(file, group, "slots", &rows, holds)
    }

    /// Drops candidates whose slots lie in a page that has nothing of what is looked for.
    pub(super) fn drop_pages(&self, chosen: &mut Chosen<'_>, scan: &LogScan<'_>) -> Result<(), Error> {
        let (Some(patterns), Some(layout)) = (&chosen.patterns, self.layout(Table::Logs)) else {
            return Ok(());
        };
        let Some(parts) = parts_in_slots(scan.texts) else {
            return self.drop_pages_by_pattern(chosen, scan);
        };
        let parts = Parts::new(parts, patterns);
        let is_open = |row: &Candidate| row.is_open && parts.are_in_slots(patterns, row.at);
        let open: Vec<u32> = chosen.candidates.iter().filter(|row| is_open(row)).map(|row| row.row).collect();
        if open.is_empty() {
            return Ok(());
        }
        let holds = |page: &[u8]| parts.is_any_in(page);
        let file = self.file(Table::Logs)?;
        let Some(pages) = layout.pages_with(file, chosen.group, "slots", &open, holds)? else {
            return Ok(());
        };
        chosen.candidates.retain(|candidate| !is_open(candidate) || is_within(&pages, candidate.row));
        Ok(())
    }
}

/// Texts of which the slots of a line have one, or its pattern.
struct Parts<'t> {
    finders: Vec<Finder<'t>>,
    /// Of each pattern, whether it has one: then bodies that look like it and have no slots have it, too.
    of_patterns: Vec<bool>,
}

impl<'t> Parts<'t> {
    fn new(parts: Vec<&'t str>, patterns: &Keyed<'_>) -> Parts<'t> {
        let of_patterns = patterns.each(|pattern| parts.iter().any(|part| pattern.contains(part)));
        Parts { finders: parts.into_iter().map(Finder::new).collect(), of_patterns }
    }

    /// Whether a row has none but those in its slots.
    fn are_in_slots(&self, patterns: &Keyed<'_>, at: u32) -> bool {
        !patterns.of(at, &self.of_patterns)
    }

    fn is_any_in(&self, slots: &[u8]) -> bool {
        self.finders.iter().any(|finder| finder.find(slots).is_some())
    }
}

/// Whether a row lies in one of these pages, which ascend.
pub(super) fn is_within(pages: &[Range<u32>], row: u32) -> bool {
    let after = pages.partition_point(|page| page.start <= row);
    after.checked_sub(1).and_then(|at| pages.get(at)).is_some_and(|page| row < page.end)
}

/// Whether pages are searched for what is looked for before rows are looked at.
pub(super) fn searches_pages(scan: &LogScan<'_>) -> bool {
    parts_in_slots(scan.texts).is_some()
}

/// Texts of which the slots of a line must have one, if the line is wanted.
fn parts_in_slots<'t>(texts: &[Vec<&'t str>]) -> Option<Vec<&'t str>> {
    let parts_of = |any: &Vec<&'t str>| -> Option<Vec<&'t str>> {
        let parts = any.iter().map(|text| part_in_slots(text).filter(|part| part.len() >= PART_BYTES_MIN));
        parts.collect()
    };
    texts.iter().filter(|any| !any.is_empty()).find_map(parts_of)
}

/// The bytes of a body, without putting it together.
fn body_bytes(pattern: &str, slots: Option<&str>) -> usize {
    let Some(slots) = slots else { return pattern.len() };
    // Each slot stands for a placeholder, and between slots there is one byte.
    let n_slots = slots.bytes().filter(|byte| *byte == b' ').count() + 1;
    (pattern.len() + slots.len()).saturating_sub(n_slots * PLACEHOLDER.len() + n_slots - 1)
}
