//! Scans of a block's log records, one row group at a time: rows are chosen by time, origin and pattern, then bodies and
//! fields are read of the rows that are left.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;

use ahash::AHashMap as HashMap;
use arrow_array::RecordBatch;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::log_among::Wanted;
use super::log_bodies::searches_pages;
use super::log_groups::{TOGETHER, at_once};
use super::log_rows::{Rows, as_range, is_few, is_rare};
use super::picked::Keys;
use super::search::{bounds, overlaps_number, overlaps_text};
use super::services::lies_within;
use super::table::ranges_of;
use super::trace::LogContext;
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::block::index::tokens::TextTokens;
use crate::block::shred::COLUMN_PREFIX;
use crate::error::Error;
use crate::snapshot::log_scan::{
    BodyWant, FieldWant, LogFields, LogScan, LogVisitor, More, Progress, ScannedLogs, Verdict,
};

/// Rows that are put together first where few suffice; each further step takes four times as many, so that reading a page
/// again stays rare.
const FIRST_STEP_ROWS: usize = 256;

/// Rows that are put together at once where all are wanted: their bodies lie in memory together.
pub(super) const STEP_ROWS: usize = 16_384;

/// A row that meets everything that is known without its body.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    /// Among the rows that were read.
    pub(super) at: u32,
    /// Within the row group.
    pub(super) row: u32,
    pub(super) origin: u32,
    pub(super) time: i64,
    /// Whether the body decides.
    pub(super) is_open: bool,
}

/// Texts that repeat: the key of each row, and the text of each key.
#[derive(Default)]
pub(super) struct Keyed<'a> {
    keys: Cow<'a, [u32]>,
    texts: Vec<&'a str>,
}

impl<'a> Keyed<'a> {
    fn of_keys(keys: &'a Keys) -> Option<Keyed<'a>> {
        Some(Keyed { texts: keys.texts()?, keys: Cow::Borrowed(&keys.of_row) })
    }

    fn of_batches(batches: &'a [RecordBatch], column: &str) -> Keyed<'a> {
        let mut keyed = Keyed::default();
        let mut known: HashMap<&str, u32> = HashMap::new();
        for batch in batches {
            let columns = Columns::new(batch);
            for row in 0..batch.num_rows() {
                let text = columns.text(column, row).unwrap_or_default();
                let key = *known.entry(text).or_insert(keyed.texts.len() as u32);
                if key as usize == keyed.texts.len() {
                    keyed.texts.push(text);
                }
                keyed.keys.to_mut().push(key);
            }
        }
        keyed
    }

    /// The key of each row.
    pub(super) fn keys(&self) -> &[u32] {
        &self.keys
    }

    /// How many texts.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The key of a row.
    pub(super) fn key(&self, at: usize) -> u32 {
        self.keys.get(at).copied().unwrap_or(u32::MAX)
    }

    /// The text of a key.
    pub(super) fn text_of(&self, key: u32) -> &'a str {
        self.texts.get(key as usize).copied().unwrap_or_default()
    }

    /// Asks something about every text.
    pub(super) fn each(&self, ask: impl Fn(&str) -> bool) -> Vec<bool> {
        self.texts.iter().map(|text| ask(text)).collect()
    }

    /// What was said about the text of a row.
    pub(super) fn of(&self, at: u32, said: &[bool]) -> bool {
        said.get(self.key(at as usize) as usize).copied().unwrap_or(false)
    }

    /// The text of a row.
    pub(super) fn text(&self, at: u32) -> &'a str {
        self.text_of(self.key(at as usize))
    }
}

/// A row group, as far as rows are chosen by it.
pub(super) struct Chosen<'a> {
    pub(super) group: usize,
    /// Patterns of the rows that were read, if they were.
    pub(super) patterns: Option<Keyed<'a>>,
    pub(super) candidates: Vec<Candidate>,
}

/// The columns by which rows are chosen.
pub(super) struct Choosing<'a> {
    pub(super) services: Keyed<'a>,
    pub(super) resources: Keyed<'a>,
    pub(super) scopes: Keyed<'a>,
    pub(super) patterns: Option<Keyed<'a>>,
}

impl Block {
    /// Hands out log records.
    pub(crate) fn scan_logs(
        &self,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let table = self.table(Table::Logs)?;
        if let Some(id) = scan.trace {
            let Some(trace) = self.trace_row(id)? else { return Ok(()) };
            let rows = self.index().postings(trace)?.logs;
            for of_group in
                rows.chunk_by(|a, b| table.group_of(u64::from(*a)) == table.group_of(u64::from(*b)))
            {
                let Some(first) = of_group.first() else { continue };
                let group = table.group_of(u64::from(*first));
                let from = table.first_row(group);
                let rows = of_group.iter().map(|row| (u64::from(*row) - from) as u32).collect();
                self.scan_group(&table, group, rows, scan, visitor, progress)?;
            }
            return Ok(());
        }
        if scan.among.is_none() && self.count_by_tallies(&table, scan, visitor, progress)? {
            return Ok(());
        }
        let mut groups = Vec::new();
        for group in 0..table.groups() {
            if self.may_match(&table, group, scan)? {
                groups.push((time_bounds(table.group(group)), group));
            }
        }
        match scan.newest_first {
            true => groups.sort_by_key(|((_, max), _)| Reverse(*max)),
            false => groups.sort_by_key(|((min, _), _)| *min),
        }
        if scan.among.is_none() && scan.counts_all() {
            groups.retain(|((min, max), _)| progress.wants_within(*min, *max));
            let groups: Vec<usize> = groups.into_iter().map(|(_, group)| group).collect();
            return self.count_groups(&table, &groups, scan, visitor, progress);
        }
        let wanted = scan.among.map(|among| Wanted::new(self, among)).transpose()?;
        let together = if wanted.is_none() && searches_pages(scan) { *TOGETHER } else { 1 };
        for some in groups.chunks(together) {
            let pages_of = |((min, max), group): &((i64, i64), usize)| match progress.wants_within(*min, *max)
            {
                true if wanted.is_none() => self.pages_to_look_at(*group, scan),
                _ => Ok(None),
            };
            for (((min, max), group), pages) in some.iter().zip(at_once(some, pages_of)) {
                if !progress.wants_within(*min, *max) {
                    continue;
                }
                match &wanted {
                    Some(wanted) => {
                        let rows = wanted.rows(&table, *group)?;
                        if !rows.is_empty() {
                            self.scan_group(&table, *group, rows, scan, visitor, progress)?;
                        }
                    }
                    None => self.scan_pages(&table, *group, pages?, scan, visitor, progress)?,
                }
            }
        }
        Ok(())
    }

    /// Whether a row group may have what is wanted.
    fn may_match(&self, table: &TableReader, group: usize, scan: &LogScan<'_>) -> Result<bool, Error> {
        let meta = table.group(group);
        let services = scan.services.is_none_or(|services| {
            services.iter().any(|service| overlaps_text(meta, "service", Some(service)))
        });
        if !services || !overlaps_number(meta, "time", scan.range.start, scan.range.end.saturating_sub(1)) {
            return Ok(false);
        }
        for any in scan.texts {
            let mut may = false;
            for text in any {
                may = may || self.index().may_contain_tokens(group, &TextTokens::of(text))?;
            }
            if !may {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn scan_group(
        &self,
        table: &TableReader,
        group: usize,
        rows: Vec<u32>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        if !visitor.looks_at(rows.len()) {
            progress.note(More::Nothing);
            return Ok(());
        }
        self.scan_rows(table, group, Rows::These(rows), scan, visitor, progress)
    }

    /// Scans these pages of a row group, or all of it.
    pub(super) fn scan_pages(
        &self,
        table: &TableReader,
        group: usize,
        pages: Option<Vec<Range<u32>>>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let n_rows = table.group(group).num_rows().max(0) as usize;
        if !visitor.looks_at(n_rows) {
            progress.note(More::Nothing);
            return Ok(());
        }
        let all = || std::iter::once(0..n_rows as u32).collect();
        for rows in pages.unwrap_or_else(all) {
            if !progress.is_over()
                && !self.count_rows(table, (group, rows.clone()), scan, visitor, progress)?
            {
                self.scan_rows(table, group, Rows::Between(rows), scan, visitor, progress)?;
            }
        }
        Ok(())
    }

    pub(super) fn scan_rows(
        &self,
        table: &TableReader,
        group: usize,
        rows: Rows,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let names = ["service", "resource", "scope", "pattern"];
        let needs_patterns = scan.is_filtered || scan.bodies != BodyWant::None;
        let names = if needs_patterns { &names[..] } else { &names[..3] };
        let keys = self.keys_of_rows(group, names, &rows)?;
        let by_keys = keys.as_deref().and_then(Choosing::of_keys);
        let batches = match (&by_keys, &rows) {
            (Some(_), _) => Vec::new(),
            (None, Rows::These(rows)) => self.pick_of_group(table, group, rows, names)?,
            (None, Rows::Between(rows)) => {
                table.read_group(group, Some(vec![as_range(rows)]), Some(names))?
            }
        };
        let choosing = by_keys.unwrap_or_else(|| Choosing::of_batches(&batches, needs_patterns));
        // Of rows out of the range, nothing else is asked.
        let times = match (lies_within(table, group, "time", scan.range), &rows) {
            (true, _) => None,
            (false, Rows::These(rows)) => Some(self.times(table, group, rows)?),
            (false, Rows::Between(rows)) => Some(self.times_between(table, group, rows)?),
        };
        let mut candidates = choose(&choosing, times.as_deref(), scan, visitor);
        candidates.iter_mut().for_each(|candidate| candidate.row = rows.row(candidate.at));
        if matches!(rows, Rows::Between(_)) && !scan.conditions.is_empty() {
            self.drop_by_attributes(group, &mut candidates, scan, visitor)?;
        }
        let mut chosen = Chosen { group, patterns: choosing.patterns, candidates };
        self.drop_pages(&mut chosen, scan)?;
        if scan.times || scan.few {
            let rows: Vec<u32> = chosen.candidates.iter().map(|candidate| candidate.row).collect();
            let times = self.times(table, group, &rows)?;
            chosen.candidates.iter_mut().zip(times).for_each(|(candidate, time)| candidate.time = time);
            chosen.candidates.retain(|candidate| progress.wants(candidate.time));
        }
        if !chosen.candidates.is_empty() {
            self.hand_out(table, chosen, scan, visitor, progress)?;
        }
        Ok(())
    }

    /// The keys of rows of a row group in these columns; `None` where one of them has no dictionary, and where rows are so rare that
    /// they are better picked.
    fn keys_of_rows(&self, group: usize, columns: &[&str], rows: &Rows) -> Result<Option<Vec<Keys>>, Error> {
        let (Some(layout), Some(range)) = (self.layout(Table::Logs), rows.range()) else { return Ok(None) };
        let file = self.file(Table::Logs)?;
        let keys_of = |column: &&str| {
            let keys = layout.keys_of(file, group, column, range.clone())?;
            Ok(keys.map(|mut keys| {
                if let Rows::These(rows) = rows {
                    let of_row = |row: &u32| keys.of_row.get((row - range.start) as usize).copied();
                    keys.of_row = rows.iter().filter_map(of_row).collect();
                }
                keys
            }))
        };
        columns.iter().map(keys_of).collect()
    }

    /// Rows of a row group by their number within it.
    pub(super) fn pick_of_group(
        &self,
        table: &TableReader,
        group: usize,
        rows: &[u32],
        columns: &[&str],
    ) -> Result<Vec<RecordBatch>, Error> {
        let first = table.first_row(group) as u32;
        let rows: Vec<u32> = rows.iter().map(|row| first + row).collect();
        self.pick(Table::Logs, &rows, Some(columns))
    }

    /// The times of rows of a row group, which ascend.
    fn times(&self, table: &TableReader, group: usize, rows: &[u32]) -> Result<Vec<i64>, Error> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
        let range = *first..last + 1;
        if is_rare(rows.len(), &range) {
            return Ok(times_of(&self.pick_of_group(table, group, rows, &["time"])?));
        }
        let times = self.times_between(table, group, &range)?;
        Ok(rows.iter().filter_map(|row| times.get((row - first) as usize).copied()).collect())
    }

    /// The times of rows of a row group that follow each other.
    fn times_between(&self, table: &TableReader, group: usize, rows: &Range<u32>) -> Result<Vec<i64>, Error> {
        if let Some(layout) = self.layout(Table::Logs)
            && let Some(times) = layout.integers(self.file(Table::Logs)?, group, "time", rows.clone())?
        {
            return Ok(times);
        }
        Ok(times_of(&table.read_group(group, Some(vec![as_range(rows)]), Some(&["time"]))?))
    }

    /// Reads what is wanted of candidates and hands them out, in steps.
    fn hand_out(
        &self,
        table: &TableReader,
        mut chosen: Chosen<'_>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let mut candidates = std::mem::take(&mut chosen.candidates);
        let mut step = STEP_ROWS;
        if scan.few {
            candidates = self.decided(table, &chosen, candidates, scan, visitor)?;
            step = FIRST_STEP_ROWS;
            match scan.newest_first {
                true => candidates.sort_by_key(|candidate| Reverse(candidate.time)),
                false => candidates.sort_by_key(|candidate| candidate.time),
            }
        } else if scan.newest_first {
            candidates.reverse();
        }
        if reads_nothing(&candidates, scan) {
            hand_out_bare(&candidates, visitor, progress);
            return Ok(());
        }
        let mut rest = candidates.as_slice();
        while !rest.is_empty() && !progress.is_over() {
            let (part, after) = rest.split_at(step.min(rest.len()));
            rest = after;
            step = if scan.few { (step * 4).min(STEP_ROWS) } else { step };
            let mut part: Vec<Candidate> =
                part.iter().filter(|candidate| progress.wants(candidate.time)).copied().collect();
            part.sort_unstable_by_key(|candidate| candidate.row);
            let bodies = self.read_bodies(table, &chosen, &mut part, scan, visitor)?;
            if part.is_empty() {
                continue;
            }
            let fields = self.read_fields(table, chosen.group, &part, &scan.fields)?;
            let origins: Vec<u32> = part.iter().map(|candidate| candidate.origin).collect();
            let times: Vec<i64> = part.iter().map(|candidate| candidate.time).collect();
            let texts: Vec<&str> = bodies.texts().collect();
            let rows = ScannedLogs {
                origins: &origins,
                times: &times,
                counts: &[],
                bodies: &texts,
                body_bytes: &bodies.bytes,
                fields: fields
                    .as_ref()
                    .map_or(LogFields::None, |(rows, contexts)| LogFields::Block(rows, contexts)),
            };
            progress.note(visitor.rows(&rows));
        }
        Ok(())
    }

    /// The wanted fields of candidates, in their order, and their contexts.
    fn read_fields(
        &self,
        table: &TableReader,
        group: usize,
        part: &[Candidate],
        wanted: &FieldWant<'_>,
    ) -> Result<Option<(RecordBatch, Vec<LogContext>)>, Error> {
        if wanted.is_none() {
            return Ok(None);
        }
        let is_wanted = |name: &&str| match *name {
            "severity_number" => wanted.level || wanted.severity,
            "level" => wanted.level,
            "severity_text" => wanted.severity,
            "trace_row" | "span_row" | "span_id" => wanted.context,
            "observed_delay_ns" | "flags" | "event_name" | "dropped" | "trace_source" => wanted.rest,
            "trace_id_original" => wanted.original,
            "attributes" => wanted.attributes.is_some(),
            name => match (name.strip_prefix(COLUMN_PREFIX), wanted.attributes) {
                (Some(key), Some(is_wanted)) => is_wanted(key),
                _ => false,
            },
        };
        let schema = table.schema();
        let names: Vec<&str> =
            schema.fields().iter().map(|field| field.name().as_str()).filter(is_wanted).collect();
        let rows: Vec<u32> = part.iter().map(|candidate| candidate.row).collect();
        let batches = match is_few(table, group, rows.len()) {
            true => self.pick_of_group(table, group, &rows, &names)?,
            false => table.read_group(group, Some(ranges_of(&rows)), Some(&names))?,
        };
        let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok(None) };
        let batch = arrow_select::concat::concat_batches(&schema, &batches).map_err(|error| {
            Error::Columns { action: "join rows of logs".to_owned(), detail: error.to_string() }
        })?;
        let contexts = if wanted.context { self.log_contexts(&batch)? } else { Vec::new() };
        Ok(Some((batch, contexts)))
    }
}

fn times_of(batches: &[RecordBatch]) -> Vec<i64> {
    let of = |batch| Columns::new(batch).times("time").map_or(&[][..], |times| times.values());
    batches.iter().flat_map(of).copied().collect()
}

/// Whether candidates are handed out as they are: nothing is wanted that lies in other columns.
fn reads_nothing(candidates: &[Candidate], scan: &LogScan<'_>) -> bool {
    scan.bodies == BodyWant::None
        && scan.fields.is_none()
        && !candidates.iter().any(|candidate| candidate.is_open)
}

/// Hands candidates out with their times and origins.
fn hand_out_bare(candidates: &[Candidate], visitor: &mut dyn LogVisitor, progress: &mut Progress) {
    let origins: Vec<u32> = candidates.iter().map(|candidate| candidate.origin).collect();
    let times: Vec<i64> = candidates.iter().map(|candidate| candidate.time).collect();
    let rows = ScannedLogs {
        origins: &origins,
        times: &times,
        counts: &[],
        bodies: &[],
        body_bytes: &[],
        fields: LogFields::None,
    };
    progress.note(visitor.rows(&rows));
}

/// The least and the greatest time of a row group.
pub(super) fn time_bounds(group: &RowGroupMetaData) -> (i64, i64) {
    match bounds(group, "time") {
        Some(Statistics::Int64(stats)) => {
            (stats.min_opt().copied().unwrap_or(i64::MIN), stats.max_opt().copied().unwrap_or(i64::MAX))
        }
        _ => (i64::MIN, i64::MAX),
    }
}

impl<'a> Choosing<'a> {
    pub(super) fn of_keys(keys: &'a [Keys]) -> Option<Choosing<'a>> {
        let [services, resources, scopes, patterns @ ..] = keys else { return None };
        let patterns = match patterns.first() {
            Some(keys) => Some(Keyed::of_keys(keys)?),
            None => None,
        };
        Some(Choosing {
            services: Keyed::of_keys(services)?,
            resources: Keyed::of_keys(resources)?,
            scopes: Keyed::of_keys(scopes)?,
            patterns,
        })
    }

    fn of_batches(batches: &'a [RecordBatch], has_patterns: bool) -> Choosing<'a> {
        Choosing {
            services: Keyed::of_batches(batches, "service"),
            resources: Keyed::of_batches(batches, "resource"),
            scopes: Keyed::of_batches(batches, "scope"),
            patterns: has_patterns.then(|| Keyed::of_batches(batches, "pattern")),
        }
    }

    /// Service, resource and scope of keys.
    pub(super) fn texts(&self, keys: OriginKeys) -> [&'a str; 3] {
        [self.services.text_of(keys.0), self.resources.text_of(keys.1), self.scopes.text_of(keys.2)]
    }

    /// The number of an origin; `None` where it is not wanted.
    pub(super) fn origin(
        &self,
        keys: OriginKeys,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
    ) -> Option<u32> {
        let [service, resource, scope] = self.texts(keys);
        let is_wanted = scan.services.is_none_or(|wanted| wanted.iter().any(|name| name == service));
        is_wanted.then(|| visitor.origin(service, resource, scope)).flatten()
    }
}

/// The keys of service, resource and scope.
pub(super) type OriginKeys = (u32, u32, u32);

/// The rows that are wanted as far as origin and pattern say, and times if they are given.
fn choose(
    choosing: &Choosing<'_>,
    times: Option<&[i64]>,
    scan: &LogScan<'_>,
    visitor: &mut dyn LogVisitor,
) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let patterns = choosing.patterns.as_ref().filter(|_| scan.is_filtered);
    let mut verdicts: Vec<Option<Verdict>> = vec![None; patterns.map_or(0, |patterns| patterns.texts.len())];
    // Of rows with one service and scope, which mostly follow each other: what is known of each resource.
    let mut origins: Vec<Option<Option<u32>>> = vec![None; choosing.resources.texts.len()];
    let mut last: Option<(u32, u32)> = None;
    for at in 0..choosing.services.keys.len() {
        if times.and_then(|times| times.get(at)).is_some_and(|time| !scan.range.contains(*time)) {
            continue;
        }
        let (service, resource, scope) =
            (choosing.services.key(at), choosing.resources.key(at), choosing.scopes.key(at));
        if last.replace((service, scope)) != Some((service, scope)) {
            origins.fill(None);
        }
        let Some(known) = origins.get_mut(resource as usize) else { continue };
        let origin = *known.get_or_insert_with(|| choosing.origin((service, resource, scope), scan, visitor));
        let Some(origin) = origin else { continue };
        let verdict = patterns.map_or(Verdict::Always, |patterns| {
            let key = patterns.key(at);
            let known = verdicts.get_mut(key as usize);
            known.map_or(Verdict::Open, |known| {
                *known.get_or_insert_with(|| visitor.pattern(patterns.text_of(key)))
            })
        });
        if verdict != Verdict::Never {
            let (at, is_open) = (at as u32, verdict == Verdict::Open);
            candidates.push(Candidate { at, row: at, origin, time: 0, is_open });
        }
    }
    candidates
}
