//! Searches for log records: row groups are skipped by their statistics and token filters, rows by their patterns; then
//! slots are read page by page, the newest pages first, until nothing older can be among the newest any more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use ahash::AHashMap as HashMap;
use arrow_array::types::UInt8Type;
use memchr::memmem::Finder;
use throughline_model::record::LogRecord;

use super::search::{and, overlaps_number, overlaps_text, text_is};
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::block::bodies::PLACEHOLDER;
use crate::block::index::tokens;
use crate::block::tables::LOG_PAGE_ROWS;
use crate::error::Error;
use crate::snapshot::LogQuery;
use crate::snapshot::log_scan::Verdict;

/// Rows of one page that meet everything, as far as is known without their slots.
struct Candidates {
    group: usize,
    /// The time of the newest.
    newest: i64,
    /// In the order of the table.
    rows: Vec<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    time: i64,
    /// Within the row group.
    row: usize,
    /// Whether the text may be there and may be not: the slots decide.
    is_open: bool,
}

/// The text that is looked for, and what is known of the patterns met so far.
struct Wanted<'a> {
    text: &'a [u8],
    finder: Finder<'a>,
    patterns: HashMap<String, Verdict>,
}

impl<'a> Wanted<'a> {
    fn new(text: &'a str) -> Wanted<'a> {
        Wanted { text: text.as_bytes(), finder: Finder::new(text), patterns: HashMap::new() }
    }

    fn verdict(&mut self, pattern: &str) -> Verdict {
        if let Some(known) = self.patterns.get(pattern) {
            return *known;
        }
        let mut parts = pattern.split(PLACEHOLDER);
        let verdict = if parts.any(|constant| self.finder.find(constant.as_bytes()).is_some()) {
            Verdict::Always
        } else if may_hold(pattern, self.text) {
            Verdict::Open
        } else {
            Verdict::Never
        };
        // As many as a few row groups have; beyond, lines are as good as free text.
        if self.patterns.len() < PATTERNS_KEPT {
            self.patterns.insert(pattern.to_owned(), verdict);
        }
        verdict
    }
}

/// Whether the bodies of a pattern hold a text.
pub fn text_in_pattern(pattern: &str, text: &str) -> Verdict {
    Wanted::new(text).verdict(pattern)
}

/// Patterns whose verdict is remembered during one search.
const PATTERNS_KEPT: usize = 1 << 14;

/// Whether some body of a pattern may hold a text: a placeholder may stand for any letters and digits, or for itself, in
/// a body without slots.
fn may_hold(pattern: &str, text: &[u8]) -> bool {
    // For each length of a beginning of the text, whether the pattern as far as it was read may end with it.
    let mut ends = vec![false; text.len() + 1];
    let read_all = |ends: &mut Vec<bool>, constant: &str| {
        constant.bytes().any(|byte| {
            read_byte(ends, text, byte);
            ends.last() == Some(&true)
        })
    };
    let mut constants = pattern.split(PLACEHOLDER);
    if read_all(&mut ends, constants.next().unwrap_or_default()) {
        return true;
    }
    for constant in constants {
        let mut as_itself = ends.clone();
        read_slot(&mut ends, text);
        if ends.last() == Some(&true) || read_all(&mut as_itself, PLACEHOLDER) {
            return true;
        }
        ends.iter_mut().zip(as_itself).for_each(|(end, other)| *end |= other);
        if read_all(&mut ends, constant) {
            return true;
        }
    }
    false
}

fn read_byte(ends: &mut [bool], text: &[u8], byte: u8) {
    let mut before = true;
    for (end, wanted) in ends.iter_mut().skip(1).zip(text) {
        before = std::mem::replace(end, before && *wanted == byte);
    }
}

fn read_slot(ends: &mut [bool], text: &[u8]) {
    let (mut before, mut in_slot) = (true, false);
    for (end, wanted) in ends.iter_mut().skip(1).zip(text) {
        in_slot = (in_slot || before) && wanted.is_ascii_alphanumeric();
        before = std::mem::replace(end, in_slot);
    }
}

/// The newest records so far, within a limit: a heap whose top is the oldest of them.
struct Newest {
    limit: usize,
    rows: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Newest {
    fn add(&mut self, time: i64, row: u32) {
        self.rows.push(Reverse((time, row)));
        if self.rows.len() > self.limit {
            self.rows.pop();
        }
    }

    /// Whether a record of this time would be too old.
    fn excludes(&self, time: i64) -> bool {
        self.rows.len() >= self.limit && self.rows.peek().is_some_and(|Reverse((oldest, _))| time < *oldest)
    }
}

impl Block {
    /// Adds the newest records that meet the query.
    pub(crate) fn search_logs(&self, query: &LogQuery, found: &mut Vec<LogRecord>) -> Result<(), Error> {
        let table = self.table(Table::Logs)?;
        let mut newest = Newest { limit: query.limit.max(1), rows: BinaryHeap::new() };
        let mut pages = Vec::new();
        let mut wanted = query.contains.as_deref().map(Wanted::new);
        for group in self.groups_to_search(&table, query)? {
            pages.extend(candidates(&table, group, query, wanted.as_mut())?);
        }
        pages.sort_unstable_by_key(|page| Reverse(page.newest));
        for page in pages {
            if newest.excludes(page.newest) {
                break;
            }
            let first = table.first_row(page.group) as u32;
            let hits = match &wanted {
                Some(wanted) => with_text(&table, page, &wanted.finder)?,
                None => page.rows,
            };
            hits.into_iter().for_each(|hit| newest.add(hit.time, first + hit.row as u32));
        }
        let mut rows: Vec<u32> = newest.rows.into_iter().map(|Reverse((_, row))| row).collect();
        rows.sort_unstable();
        found.extend(self.logs(&rows)?);
        Ok(())
    }

    /// The row groups that may hold what is asked for.
    fn groups_to_search(&self, table: &TableReader, query: &LogQuery) -> Result<Vec<usize>, Error> {
        let needles = query.contains.as_deref().map(whole_tokens).unwrap_or_default();
        let mut groups = Vec::new();
        for group in 0..table.groups() {
            let meta = table.group(group);
            let may_match = overlaps_text(meta, "service", query.service.as_deref())
                && overlaps_number(meta, "time", query.range.start, query.range.end.saturating_sub(1))
                && overlaps_number(meta, "severity_number", i64::from(query.min_severity), i64::MAX)
                && self.index().may_contain_tokens(group, &needles)?;
            if may_match {
                groups.push(group);
            }
        }
        Ok(groups)
    }
}

/// The rows of a row group that meet everything, as far as is known without their slots, page by page.
fn candidates(
    table: &TableReader,
    group: usize,
    query: &LogQuery,
    mut text: Option<&mut Wanted<'_>>,
) -> Result<Vec<Candidates>, Error> {
    let mut wanted = vec!["time"];
    wanted.extend(query.service.as_ref().map(|_| "service"));
    wanted.extend((query.min_severity > 0).then_some("severity_number"));
    wanted.extend(query.contains.as_ref().map(|_| "pattern"));
    let mut pages = Vec::new();
    let mut first = 0;
    for rows in table.read_group(group, None, Some(&wanted))? {
        let columns = Columns::new(&rows);
        let Some(times) = columns.times("time") else { continue };
        let mut mask: Vec<bool> = times.values().iter().map(|time| query.range.contains(*time)).collect();
        if let Some(service) = &query.service {
            and(&mut mask, text_is(&columns, "service", service));
        }
        if let Some(severities) = columns.numbers::<UInt8Type>("severity_number") {
            and(&mut mask, severities.values().iter().map(|severity| *severity >= query.min_severity));
        }
        let mut open = Vec::new();
        if let (Some(text), Some((keys, patterns))) = (text.as_deref_mut(), columns.dictionary("pattern")) {
            let verdicts: Vec<Verdict> =
                patterns.iter().map(|pattern| text.verdict(pattern.unwrap_or_default())).collect();
            let of_row = |row| keys.key(row).and_then(|key| verdicts.get(key).copied());
            and(&mut mask, (0..keys.len()).map(|row| of_row(row) != Some(Verdict::Never)));
            open.extend((0..keys.len()).map(|row| of_row(row) != Some(Verdict::Always)));
        }
        let hits = times.values().iter().zip(&mask).enumerate().filter(|(_, (_, keep))| **keep);
        let hits: Vec<Candidate> = hits
            .map(|(at, (time, _))| Candidate {
                time: *time,
                row: first + at,
                is_open: open.get(at).copied().unwrap_or(false),
            })
            .collect();
        for rows in hits.chunk_by(|a, b| a.row / LOG_PAGE_ROWS == b.row / LOG_PAGE_ROWS) {
            let newest = rows.iter().map(|hit| hit.time).max().unwrap_or(i64::MIN);
            pages.push(Candidates { group, newest, rows: rows.to_vec() });
        }
        first += rows.num_rows();
    }
    Ok(pages)
}

/// Those of the candidates whose body holds the text; slots are read of those alone of which they decide.
fn with_text(table: &TableReader, page: Candidates, finder: &Finder<'_>) -> Result<Vec<Candidate>, Error> {
    let (open, mut hits): (Vec<Candidate>, Vec<Candidate>) =
        page.rows.into_iter().partition(|hit| hit.is_open);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for hit in &open {
        match ranges.last_mut() {
            Some(last) if last.end == hit.row => last.end += 1,
            _ => ranges.push(hit.row..hit.row + 1),
        }
    }
    if ranges.is_empty() {
        return Ok(hits);
    }
    let mut open = open.into_iter();
    let mut body = String::new();
    for batch in table.read_group(page.group, Some(ranges), Some(&["pattern", "slots"]))? {
        let columns = Columns::new(&batch);
        for (row, hit) in (0..batch.num_rows()).zip(open.by_ref()) {
            body.clear();
            columns.body(row, &mut body);
            hits.extend(finder.find(body.as_bytes()).is_some().then_some(hit));
        }
    }
    Ok(hits)
}

/// The hashes of the tokens that a body must hold if it holds the text: those that the text does not cut off.
pub(super) fn whole_tokens(text: &str) -> Vec<u64> {
    let is_token = |byte: &u8| !byte.is_ascii() || byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = text.as_bytes();
    let from = bytes.iter().position(|byte| !is_token(byte)).unwrap_or(bytes.len());
    let to = bytes.iter().rposition(|byte| !is_token(byte)).unwrap_or(0);
    let mut hashes = Vec::new();
    if let Some(inner) = text.get(from..to.max(from)) {
        tokens::each_token(inner, |hash| hashes.push(hash));
    }
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_say_which_bodies_may_hold_a_text() {
        let pattern = "GET /orders/{} took {}ms: deadlock detected";
        let verdict = |text: &str| Wanted::new(text).verdict(pattern);
        assert!(verdict("deadlock detected") == Verdict::Always);
        assert!(verdict("orders/") == Verdict::Always);
        for open in ["orders/47", "4711", "ab", "7 took 8ms", "x", "took {}ms", "took {", "8ms: dead"] {
            assert!(verdict(open) == Verdict::Open, "{open}");
        }
        for never in ["deadlock  detected", "took ms:", "/orders/ took", "orders/4-7", "ü"] {
            assert!(verdict(never) == Verdict::Never, "{never}");
        }
        assert!(Wanted::new("").verdict("") == Verdict::Always);
    }
}
