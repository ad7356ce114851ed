//! Searches for log records: row groups are skipped by their statistics and token filters, then bodies are read page by
//! page, the newest pages first, until nothing older can be among the newest any more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

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

/// Rows of one page that meet everything but the text.
struct Candidates {
    group: usize,
    /// The time of the newest.
    newest: i64,
    /// Time and row within the row group, ascending.
    rows: Vec<(i64, usize)>,
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
        for group in self.groups_to_search(&table, query)? {
            pages.extend(candidates(&table, group, query)?);
        }
        pages.sort_unstable_by_key(|page| Reverse(page.newest));
        let finder = query.contains.as_deref().map(Finder::new);
        for page in pages {
            if newest.excludes(page.newest) {
                break;
            }
            let first = table.first_row(page.group) as u32;
            let hits = match &finder {
                Some(finder) => with_text(&table, &page, finder)?,
                None => page.rows,
            };
            hits.into_iter().for_each(|(time, row)| newest.add(time, first + row as u32));
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

/// The rows of a row group that meet everything but the text, page by page.
fn candidates(table: &TableReader, group: usize, query: &LogQuery) -> Result<Vec<Candidates>, Error> {
    let mut wanted = vec!["time"];
    wanted.extend(query.service.as_ref().map(|_| "service"));
    wanted.extend((query.min_severity > 0).then_some("severity_number"));
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
        let all = times.values().chunks(LOG_PAGE_ROWS).zip(mask.chunks(LOG_PAGE_ROWS));
        for (page, (times, mask)) in all.enumerate() {
            let from = first + page * LOG_PAGE_ROWS;
            let kept = times.iter().zip(mask).enumerate().filter(|(_, (_, keep))| **keep);
            let rows: Vec<(i64, usize)> = kept.map(|(row, (time, _))| (*time, from + row)).collect();
            if let Some(newest) = rows.iter().map(|(time, _)| *time).max() {
                pages.push(Candidates { group, newest, rows });
            }
        }
        first += rows.num_rows();
    }
    Ok(pages)
}

/// Those of the candidates whose body holds the text.
fn with_text(
    table: &TableReader,
    page: &Candidates,
    finder: &Finder<'_>,
) -> Result<Vec<(i64, usize)>, Error> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (_, row) in &page.rows {
        match ranges.last_mut() {
            Some(last) if last.end == *row => last.end += 1,
            _ => ranges.push(*row..*row + 1),
        }
    }
    let mut hits = Vec::new();
    let mut rows = page.rows.iter();
    let mut body = String::new();
    for batch in table.read_group(page.group, Some(ranges), Some(&["pattern", "slots"]))? {
        let columns = Columns::new(&batch);
        let in_pattern = patterns_with(&columns, finder);
        let patterns = columns.dictionary("pattern").map(|(keys, _)| keys);
        for (row, candidate) in (0..batch.num_rows()).zip(rows.by_ref()) {
            let key = patterns.and_then(|keys| keys.key(row));
            let mut is_hit = key.and_then(|key| in_pattern.get(key).copied()).unwrap_or(false);
            if !is_hit {
                body.clear();
                columns.body(row, &mut body);
                is_hit = finder.find(body.as_bytes()).is_some();
            }
            hits.extend(is_hit.then_some(*candidate));
        }
    }
    Ok(hits)
}

/// For each pattern of a batch, whether the text lies in what is the same in all of its bodies.
fn patterns_with(columns: &Columns<'_>, finder: &Finder<'_>) -> Vec<bool> {
    let Some((_, patterns)) = columns.dictionary("pattern") else { return Vec::new() };
    let has =
        |pattern: &str| pattern.split(PLACEHOLDER).any(|constant| finder.find(constant.as_bytes()).is_some());
    patterns.iter().map(|pattern| pattern.is_some_and(has)).collect()
}

/// The hashes of the tokens that a body must hold if it holds the text: those that the text does not cut off.
fn whole_tokens(text: &str) -> Vec<u64> {
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
