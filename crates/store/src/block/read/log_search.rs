//! Searches for log records: pages are looked at one by one, those with the newest records first, until nothing older can be
//! among the newest any more. Row groups are skipped by their statistics and token filters, rows by their patterns; slots are read
//! of the rows that patterns leave open, and times of those that are left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use ahash::AHashMap as HashMap;
use memchr::memmem::Finder;
use throughline_model::Level;
use throughline_model::record::LogRecord;

use super::search::{has_values, overlaps_number, overlaps_text};
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::block::bodies::PLACEHOLDER;
use crate::block::index::tokens::TextTokens;
use crate::block::tables::LOG_PAGE_ROWS;
use crate::error::Error;
use crate::snapshot::LogQuery;
use crate::snapshot::log_scan::Verdict;

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

/// Rows of the table that are looked at together: of one row group, and a page at most.
struct Page {
    group: usize,
    rows: Range<u32>,
    /// The time of the newest, where it is known; then all are of the service that is asked for.
    newest: Option<i64>,
}

/// What is known of the row groups of one search.
struct Groups<'a> {
    query: &'a LogQuery,
    tokens: TextTokens,
    text: Option<Wanted<'a>>,
    /// Whether a row group may hold what is asked for.
    may_match: HashMap<usize, bool>,
    /// What the patterns of a row group say, by key.
    verdicts: HashMap<usize, Vec<Verdict>>,
}

impl Block {
    /// Adds the newest records that meet the query.
    pub(crate) fn search_logs(&self, query: &LogQuery, found: &mut Vec<LogRecord>) -> Result<(), Error> {
        let table = self.table(Table::Logs)?;
        let text = query.contains.as_deref();
        let mut groups = Groups {
            query,
            tokens: text.map(TextTokens::of).unwrap_or_default(),
            text: text.map(Wanted::new),
            may_match: HashMap::new(),
            verdicts: HashMap::new(),
        };
        let mut newest = Newest { limit: query.limit.max(1), rows: BinaryHeap::new() };
        for page in self.pages_to_search(&table, query) {
            if page.newest.is_some_and(|time| newest.excludes(time)) {
                break;
            }
            if self.may_hold(&table, page.group, &mut groups)? {
                self.search_page(&table, &page, &mut groups, &mut newest)?;
            }
        }
        let mut rows: Vec<u32> = newest.rows.into_iter().map(|Reverse((_, row))| row).collect();
        rows.sort_unstable();
        found.extend(self.logs(&rows)?);
        Ok(())
    }

    /// The pages with records of the service and of the time, those with the newest records first.
    fn pages_to_search(&self, table: &TableReader, query: &LogQuery) -> Vec<Page> {
        let page = |rows: Range<u32>, newest: Option<i64>| {
            let group = table.group_of(u64::from(rows.start));
            Page { group, rows, newest }
        };
        let Ok(runs) = self.log_runs_of(query.service.as_deref(), query.range) else {
            // Some other table is damaged: nothing is known of these pages.
            let n_rows = u32::try_from(table.num_rows()).unwrap_or(u32::MAX);
            let starts = (0..n_rows).step_by(LOG_PAGE_ROWS);
            return starts.map(|from| page(from..n_rows.min(from + LOG_PAGE_ROWS as u32), None)).collect();
        };
        let mut pages: Vec<Page> = runs.map(|(rows, newest)| page(rows, Some(newest))).collect();
        pages.sort_by_key(|page| Reverse(page.newest));
        pages
    }

    fn may_hold(&self, table: &TableReader, group: usize, groups: &mut Groups<'_>) -> Result<bool, Error> {
        if let Some(known) = groups.may_match.get(&group) {
            return Ok(*known);
        }
        let (meta, query) = (table.group(group), groups.query);
        let min_level = Level::from_severity(query.min_severity);
        let may_match = overlaps_text(meta, "service", query.service.as_deref())
            && (overlaps_number(meta, "severity_number", i64::from(query.min_severity), i64::MAX)
                || has_values(meta, "level") && overlaps_number(meta, "level", min_level as i64, i64::MAX))
            && self.index().may_contain_tokens(group, &groups.tokens)?;
        groups.may_match.insert(group, may_match);
        Ok(may_match)
    }

    /// Adds the rows of a page that meet everything: what costs least to ask is asked first.
    fn search_page(
        &self,
        table: &TableReader,
        page: &Page,
        groups: &mut Groups<'_>,
        newest: &mut Newest,
    ) -> Result<(), Error> {
        let query = groups.query;
        let mut rows: Vec<u32> = page.rows.clone().collect();
        if query.min_severity > 0 {
            self.keep(&mut rows, &["severity_number", "level"], |columns, row| {
                columns.level(row).severity(columns.u8("severity_number", row)) >= query.min_severity
            })?;
        }
        if let Some(pattern) = query.pattern {
            self.keep(&mut rows, &["service", "pattern"], |columns, row| {
                self.pattern_id(columns, row) == Some(pattern)
            })?;
        }
        if groups.text.is_some() {
            self.keep_with_text(table, page, &mut rows, groups)?;
        }
        if let Some(service) = query.service.as_deref().filter(|_| page.newest.is_none()) {
            self.keep(&mut rows, &["service"], |columns, row| columns.text("service", row) == Some(service))?;
        }
        let mut rows = rows.iter();
        for batch in self.pick(Table::Logs, rows.as_slice(), Some(&["time"]))? {
            let columns = Columns::new(&batch);
            for (at, row) in (0..batch.num_rows()).zip(rows.by_ref()) {
                let time = columns.time("time", at);
                if query.range.contains(time) {
                    newest.add(time, *row);
                }
            }
        }
        Ok(())
    }

    /// Keeps the rows of which columns have wanted values.
    fn keep(
        &self,
        rows: &mut Vec<u32>,
        columns: &[&str],
        is_wanted: impl Fn(&Columns<'_>, usize) -> bool,
    ) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut mask = Vec::with_capacity(rows.len());
        for batch in self.pick(Table::Logs, rows, Some(columns))? {
            let columns = Columns::new(&batch);
            mask.extend((0..batch.num_rows()).map(|row| is_wanted(&columns, row)));
        }
        let mut mask = mask.into_iter();
        rows.retain(|_| mask.next().unwrap_or(false));
        Ok(())
    }

    /// Keeps the rows whose body has the text: patterns decide, and slots where patterns cannot.
    fn keep_with_text(
        &self,
        table: &TableReader,
        page: &Page,
        rows: &mut Vec<u32>,
        groups: &mut Groups<'_>,
    ) -> Result<(), Error> {
        let Some(text) = &mut groups.text else { return Ok(()) };
        let first = table.first_row(page.group) as u32;
        let keys = match self.layout(Table::Logs) {
            Some(layout) => {
                let of_page = page.rows.start - first..page.rows.end - first;
                layout.keys_of(self.file(Table::Logs)?, page.group, "pattern", of_page)?
            }
            None => None,
        };
        let Some(keys) = keys else {
            return self.keep_bodies(rows, |body| text.finder.find(body.as_bytes()).is_some());
        };
        let verdicts = match groups.verdicts.entry(page.group) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let texts = keys.texts().unwrap_or_default();
                place.insert(texts.into_iter().map(|pattern| text.verdict(pattern)).collect())
            }
        };
        let verdict = |row: u32| {
            let key = keys.of_row.get((row - page.rows.start) as usize)?;
            verdicts.get(*key as usize).copied()
        };
        let mut open: Vec<u32> =
            rows.iter().copied().filter(|row| verdict(*row) == Some(Verdict::Open)).collect();
        self.keep_bodies(&mut open, |body| text.finder.find(body.as_bytes()).is_some())?;
        rows.retain(|row| verdict(*row) == Some(Verdict::Always) || open.binary_search(row).is_ok());
        Ok(())
    }

    fn keep_bodies(&self, rows: &mut Vec<u32>, is_wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let (mut mask, mut body) = (Vec::with_capacity(rows.len()), String::new());
        for batch in self.pick(Table::Logs, rows, Some(&["pattern", "slots"]))? {
            let columns = Columns::new(&batch);
            for row in 0..batch.num_rows() {
                body.clear();
                columns.body(row, &mut body);
                mask.push(is_wanted(&body));
            }
        }
        let mut mask = mask.into_iter();
        rows.retain(|_| mask.next().unwrap_or(false));
        Ok(())
    }
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
