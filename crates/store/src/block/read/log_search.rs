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

use super::search::Groups;
use super::{Block, Columns};
use crate::block::Table;
use crate::block::bodies::PLACEHOLDER;
use crate::block::index::tokens::TextTokens;
use crate::block::tables::LOG_PAGE_ROWS;
use crate::error::Error;
use crate::snapshot::log_scan::Verdict;
use crate::snapshot::{LogQuery, Until};

/// The text that is looked for, and what is known of the patterns met so far.
struct Wanted<'a> {
    text: &'a str,
    finder: Finder<'a>,
    patterns: HashMap<String, Verdict>,
}

impl<'a> Wanted<'a> {
    fn new(text: &'a str) -> Wanted<'a> {
        Wanted { text, finder: Finder::new(text), patterns: HashMap::new() }
    }

    fn verdict(&mut self, pattern: &str) -> Verdict {
        if let Some(known) = self.patterns.get(pattern) {
            return *known;
        }
        let verdict = text_in_pattern(pattern, self.text, |part| self.finder.find(part.as_bytes()).is_some());
        // As many as a few row groups have; beyond, lines are as good as free text.
        if self.patterns.len() < PATTERNS_KEPT {
            self.patterns.insert(pattern.to_owned(), verdict);
        }
        verdict
    }
}

/// Whether the bodies of a pattern hold a text; `is_in` says whether a part of the pattern does.
pub fn text_in_pattern(pattern: &str, text: &str, is_in: impl Fn(&str) -> bool) -> Verdict {
    if pattern.split(PLACEHOLDER).any(is_in) {
        Verdict::Always
    } else if may_hold(pattern, text.as_bytes()) {
        Verdict::Open
    } else {
        Verdict::Never
    }
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
struct Searched<'a> {
    query: &'a LogQuery,
    groups: Groups<'a>,
    tokens: TextTokens,
    text: Option<Wanted<'a>>,
    /// Whether a row group may hold what is asked for.
    may_match: HashMap<usize, bool>,
    /// What the patterns of a row group say, by key.
    verdicts: HashMap<usize, Vec<Verdict>>,
}

impl Block {
    /// Adds the newest records that meet the query.
    pub(crate) fn search_logs(
        &self,
        query: &LogQuery,
        found: &mut Vec<LogRecord>,
        until: &Until,
    ) -> Result<(), Error> {
        let text = query.contains.as_deref();
        let mut searched = Searched {
            query,
            groups: self.groups_of(Table::Logs)?,
            tokens: text.map(TextTokens::of).unwrap_or_default(),
            text: text.map(Wanted::new),
            may_match: HashMap::new(),
            verdicts: HashMap::new(),
        };
        let mut newest = Newest { limit: query.limit.max(1), rows: BinaryHeap::new() };
        let mut outcome = Ok(());
        for page in self.pages_to_search(&searched.groups, query) {
            if page.newest.is_some_and(|time| newest.excludes(time)) {
                break;
            }
            if self.may_hold(page.group, &mut searched)? {
                outcome = until.check();
                if outcome.is_err() {
                    break;
                }
                self.search_page(&page, &mut searched, &mut newest)?;
            }
        }
        let mut rows: Vec<u32> = newest.rows.into_iter().map(|Reverse((_, row))| row).collect();
        rows.sort_unstable();
        found.extend(self.logs(&rows)?);
        outcome
    }

    /// The pages with records of the service and of the time, those with the newest records first.
    fn pages_to_search(&self, groups: &Groups<'_>, query: &LogQuery) -> Vec<Page> {
        let page =
            |rows: Range<u32>, newest: Option<i64>| Page { group: groups.of_row(rows.start), rows, newest };
        let Ok(runs) = self.log_runs_of(query.service.as_deref(), query.range) else {
            // Some other table is damaged: nothing is known of these pages.
            let n_rows = groups.num_rows();
            let starts = (0..n_rows).step_by(LOG_PAGE_ROWS);
            return starts.map(|from| page(from..n_rows.min(from + LOG_PAGE_ROWS as u32), None)).collect();
        };
        let mut pages: Vec<Page> = runs.map(|(rows, newest)| page(rows, Some(newest))).collect();
        pages.sort_by_key(|page| Reverse(page.newest));
        pages
    }

    fn may_hold(&self, group: usize, searched: &mut Searched<'_>) -> Result<bool, Error> {
        if let Some(known) = searched.may_match.get(&group) {
            return Ok(*known);
        }
        let (groups, query) = (&searched.groups, searched.query);
        let min_level = Level::from_severity(query.min_severity);
        let may_match = (groups.overlaps(group, "severity_number", i64::from(query.min_severity), i64::MAX)
            || groups.has_values(group, "level")
                && groups.overlaps(group, "level", min_level as i64, i64::MAX))
            && self.index().may_contain_tokens(group, &searched.tokens)?;
        searched.may_match.insert(group, may_match);
        Ok(may_match)
    }

    /// Adds the rows of a page that meet everything: what costs least to ask is asked first.
    fn search_page(
        &self,
        page: &Page,
        searched: &mut Searched<'_>,
        newest: &mut Newest,
    ) -> Result<(), Error> {
        let query = searched.query;
        let mut rows: Vec<u32> = page.rows.clone().collect();
        if query.min_severity > 0 {
            self.keep_severe(page, &mut rows, searched)?;
        }
        if let Some(pattern) = query.pattern {
            self.keep(&mut rows, &["service", "pattern"], |columns, row| {
                self.pattern_id(columns, row) == Some(pattern)
            })?;
        }
        if searched.text.is_some() {
            self.keep_with_text(page, &mut rows, searched)?;
        }
        if let Some(service) = query.service.as_deref().filter(|_| page.newest.is_none()) {
            self.keep(&mut rows, &["service"], |columns, row| columns.text("service", row) == Some(service))?;
        }
        let mut rows = rows.iter();
        for batch in self.pick(Table::Logs, rows.as_slice(), Some(&["time"]))? {
            let columns = Columns::new(&batch);
            let times = columns.times("time").map(|times| times.values().as_ref()).unwrap_or_default();
            for (time, row) in times.iter().zip(rows.by_ref()) {
                if query.range.contains(*time) {
                    newest.add(*time, *row);
                }
            }
        }
        Ok(())
    }

    /// Keeps the rows that are severe enough: by the keys of their severity numbers, where levels have no column of their own.
    fn keep_severe(&self, page: &Page, rows: &mut Vec<u32>, searched: &Searched<'_>) -> Result<(), Error> {
        let min_severity = searched.query.min_severity;
        let first = searched.groups.first_row(page.group);
        let keys = match self.layout(Table::Logs) {
            Some(layout) if !layout.has_values(page.group, "level") => {
                let of_page = page.rows.start - first..page.rows.end - first;
                layout.keys_of(self.file(Table::Logs)?, page.group, "severity_number", of_page)?
            }
            _ => None,
        };
        let Some(keys) = keys else {
            return self.keep(rows, &["severity_number", "level"], |columns, row| {
                columns.level(row).severity(columns.u8("severity_number", row)) >= min_severity
            });
        };
        let is_severe = |number: &u32| {
            let number = u8::try_from(*number).unwrap_or_default();
            Level::from_severity(number).severity(number) >= min_severity
        };
        let severe: Vec<bool> = keys.numbers().iter().map(is_severe).collect();
        if !severe.contains(&true) {
            rows.clear();
        }
        rows.retain(|row| {
            let key = keys.of_row.get((row - page.rows.start) as usize);
            key.and_then(|key| severe.get(*key as usize)) == Some(&true)
        });
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
        page: &Page,
        rows: &mut Vec<u32>,
        searched: &mut Searched<'_>,
    ) -> Result<(), Error> {
        let Some(text) = &mut searched.text else { return Ok(()) };
        let first = searched.groups.first_row(page.group);
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
        let verdicts = match searched.verdicts.entry(page.group) {
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
