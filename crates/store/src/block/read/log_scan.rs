//! Scans of a block's log records, one row group at a time: rows are chosen by time, origin and pattern, then bodies and
//! fields are read of the rows that are left.

use std::cmp::Reverse;
use std::ops::Range;

use ahash::AHashMap as HashMap;
use arrow_array::types::Int32Type;
use arrow_array::{Array as _, DictionaryArray, RecordBatch, StringArray};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::log_search::whole_tokens;
use super::search::{bounds, overlaps_number, overlaps_text};
use super::services::lies_within;
use super::trace::LogContext;
use super::{Block, Columns, TableReader};
use crate::block::Table;
use crate::block::bodies::{PLACEHOLDER, assemble};
use crate::block::shred::COLUMN_PREFIX;
use crate::error::Error;
use crate::snapshot::log_scan::{
    BodyWant, FieldWant, LogFields, LogScan, LogVisitor, More, Progress, ScannedLogs, Verdict,
};

/// Rows that are put together first where few suffice; each further step takes four times as many, so that reading a page
/// again stays rare.
const FIRST_STEP_ROWS: usize = 256;

/// Rows that are put together at once where all are wanted: their bodies lie in memory together.
const STEP_ROWS: usize = 16_384;

/// A row that meets everything that is known without its body.
#[derive(Clone, Copy)]
struct Candidate {
    /// Within the batch that was read.
    at: u32,
    /// Within the row group.
    row: u32,
    origin: u32,
    time: i64,
    /// Whether the body decides.
    is_open: bool,
}

/// A row group, as far as rows are chosen by it.
struct Chosen<'a> {
    group: usize,
    /// Patterns of the rows that were read.
    patterns: Option<(&'a DictionaryArray<Int32Type>, &'a StringArray)>,
    candidates: Vec<Candidate>,
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
                self.scan_group(&table, group, Some(rows), scan, visitor, progress)?;
            }
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
        for ((min, max), group) in groups {
            if progress.is_over() {
                break;
            }
            if progress.wants_within(min, max) {
                self.scan_group(&table, group, None, scan, visitor, progress)?;
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
                may = may || self.index().may_contain_tokens(group, &whole_tokens(text))?;
            }
            if !may {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn scan_group(
        &self,
        table: &TableReader,
        group: usize,
        rows: Option<Vec<u32>>,
        scan: &LogScan<'_>,
        visitor: &mut dyn LogVisitor,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let n_rows = table.group(group).num_rows().max(0) as usize;
        if !visitor.looks_at(rows.as_ref().map_or(n_rows, Vec::len)) {
            progress.note(More::Nothing);
            return Ok(());
        }
        let needs_times = scan.times || scan.few || !lies_within(table, group, "time", scan.range);
        let mut wanted = vec!["service", "resource", "scope"];
        wanted.extend(needs_times.then_some("time"));
        wanted.extend((scan.is_filtered || scan.bodies != BodyWant::None).then_some("pattern"));
        let ranges = rows.as_deref().map(ranges_of);
        let mut first = 0;
        for batch in table.read_group(group, ranges, Some(&wanted))? {
            let row_of = |at: usize| match &rows {
                Some(rows) => rows.get(first + at).copied().unwrap_or_default(),
                None => (first + at) as u32,
            };
            let mut chosen = choose(&batch, scan, visitor, progress, row_of);
            chosen.group = group;
            first += batch.num_rows();
            if !chosen.candidates.is_empty() {
                self.hand_out(table, chosen, scan, visitor, progress)?;
            }
            if progress.is_over() {
                break;
            }
        }
        Ok(())
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
            candidates = decided(table, &chosen, candidates, scan, visitor)?;
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
            let bodies = read_bodies(table, &chosen, &mut part, scan, visitor)?;
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
            "observed_delay_ns" | "flags" | "event_name" | "dropped" => wanted.rest,
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
        let batches = table.read_group(group, Some(ranges_of(&rows)), Some(&names))?;
        let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok(None) };
        let batch = arrow_select::concat::concat_batches(&schema, &batches).map_err(|error| {
            Error::Columns { action: "join rows of logs".to_owned(), detail: error.to_string() }
        })?;
        let contexts = if wanted.context { self.log_contexts(&batch)? } else { Vec::new() };
        Ok(Some((batch, contexts)))
    }
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
        bodies: &[],
        body_bytes: &[],
        fields: LogFields::None,
    };
    progress.note(visitor.rows(&rows));
}

/// The least and the greatest time of a row group.
fn time_bounds(group: &RowGroupMetaData) -> (i64, i64) {
    match bounds(group, "time") {
        Some(Statistics::Int64(stats)) => {
            (stats.min_opt().copied().unwrap_or(i64::MIN), stats.max_opt().copied().unwrap_or(i64::MAX))
        }
        _ => (i64::MIN, i64::MAX),
    }
}

/// Ascending rows as ranges.
fn ranges_of(rows: &[u32]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        let row = *row as usize;
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}

/// The origins and patterns of a batch that were asked about, by their keys.
struct Asked {
    origins: HashMap<(usize, usize, usize), Option<u32>>,
    last: Option<((usize, usize, usize), Option<u32>)>,
    verdicts: Vec<Option<Verdict>>,
}

/// The rows of a batch that are wanted as far as time, origin and pattern say.
fn choose<'a>(
    batch: &'a RecordBatch,
    scan: &LogScan<'_>,
    visitor: &mut dyn LogVisitor,
    progress: &Progress,
    row_of: impl Fn(usize) -> u32,
) -> Chosen<'a> {
    let columns = Columns::new(batch);
    let patterns = columns.dictionary("pattern");
    let mut chosen = Chosen { group: 0, patterns, candidates: Vec::new() };
    let dictionaries =
        (columns.dictionary("service"), columns.dictionary("resource"), columns.dictionary("scope"));
    let (Some(services), Some(resources), Some(scopes)) = dictionaries else { return chosen };
    let times = columns.times("time").map(|times| times.values());
    let n_patterns = patterns.map_or(0, |(_, texts)| texts.len());
    let mut asked = Asked { origins: HashMap::new(), last: None, verdicts: vec![None; n_patterns] };
    let text = |(_, texts): (&DictionaryArray<Int32Type>, &'a StringArray), key: usize| -> &'a str {
        if key < texts.len() { texts.value(key) } else { "" }
    };
    for at in 0..batch.num_rows() {
        let time = times.and_then(|times| times.get(at)).copied();
        if time.is_some_and(|time| !scan.range.contains(time) || !progress.wants(time)) {
            continue;
        }
        let (Some(service), Some(resource), Some(scope)) =
            (services.0.key(at), resources.0.key(at), scopes.0.key(at))
        else {
            continue;
        };
        let keys = (service, resource, scope);
        let origin = match asked.last {
            Some((last, origin)) if last == keys => origin,
            _ => *asked.origins.entry(keys).or_insert_with(|| {
                let service = text(services, service);
                let is_wanted = scan.services.is_none_or(|wanted| wanted.iter().any(|name| name == service));
                if is_wanted {
                    visitor.origin(service, text(resources, resource), text(scopes, scope))
                } else {
                    None
                }
            }),
        };
        asked.last = Some((keys, origin));
        let Some(origin) = origin else { continue };
        let verdict = match patterns.filter(|_| scan.is_filtered) {
            None => Verdict::Always,
            Some(patterns) => {
                let key = patterns.0.key(at).unwrap_or(usize::MAX);
                let known = asked.verdicts.get_mut(key);
                let ask = || visitor.pattern(text(patterns, key));
                known.map_or(Verdict::Open, |known| *known.get_or_insert_with(ask))
            }
        };
        if verdict != Verdict::Never {
            let (at, row, is_open) = (at as u32, row_of(at), verdict == Verdict::Open);
            chosen.candidates.push(Candidate { at, row, origin, time: time.unwrap_or_default(), is_open });
        }
    }
    chosen
}

/// Bodies one after the other.
#[derive(Default)]
struct BodyTexts {
    text: String,
    ends: Vec<usize>,
    /// The bytes of each, which are known without the text, too.
    bytes: Vec<u32>,
}

impl BodyTexts {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }
}

/// Puts the bodies of candidates together as far as they are wanted, and drops the candidates whose body is not.
fn read_bodies(
    table: &TableReader,
    chosen: &Chosen<'_>,
    part: &mut Vec<Candidate>,
    scan: &LogScan<'_>,
    visitor: &mut dyn LogVisitor,
) -> Result<BodyTexts, Error> {
    let mut out = BodyTexts::default();
    let Some((keys, texts)) = chosen.patterns else { return Ok(out) };
    let is_whole = matches!(scan.bodies, BodyWant::Lengths | BodyWant::Text);
    let is_read = |candidate: &Candidate| candidate.is_open || is_whole;
    let rows: Vec<u32> = part.iter().filter(|candidate| is_read(candidate)).map(|c| c.row).collect();
    let batches = match rows.is_empty() {
        true => Vec::new(),
        false => table.read_group(chosen.group, Some(ranges_of(&rows)), Some(&["slots"]))?,
    };
    let mut slots = batches.iter().flat_map(|batch| {
        let columns = Columns::new(batch);
        (0..batch.num_rows()).map(move |row| columns.text("slots", row))
    });
    let mut body = String::new();
    part.retain(|candidate| {
        let slots = if is_read(candidate) { slots.next().flatten() } else { None };
        let key = keys.key(candidate.at as usize).filter(|key| *key < texts.len());
        let pattern = key.map_or("", |key| texts.value(key));
        if candidate.is_open || scan.bodies == BodyWant::Text {
            body.clear();
            assemble(pattern, slots, &mut body);
        }
        if candidate.is_open && !visitor.body(&body) {
            return false;
        }
        if matches!(scan.bodies, BodyWant::Text | BodyWant::Pattern) {
            out.text.push_str(if scan.bodies == BodyWant::Text { &body } else { pattern });
            out.ends.push(out.text.len());
        }
        if is_whole {
            out.bytes.push(u32::try_from(body_bytes(pattern, slots)).unwrap_or(u32::MAX));
        }
        true
    });
    Ok(out)
}

/// The candidates without those whose body is not wanted. Bodies are read in the order of the table, so that no page is read
/// twice; what is left is put in the order of time.
fn decided(
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
        read_bodies(table, chosen, &mut part, &without_bodies, visitor)?;
        left.extend(part.into_iter().map(|candidate| Candidate { is_open: false, ..candidate }));
    }
    Ok(left)
}

/// The bytes of a body, without putting it together.
fn body_bytes(pattern: &str, slots: Option<&str>) -> usize {
    let Some(slots) = slots else { return pattern.len() };
    // Each slot stands for a placeholder, and between slots there is one byte.
    let n_slots = slots.bytes().filter(|byte| *byte == b' ').count() + 1;
    (pattern.len() + slots.len()).saturating_sub(n_slots * PLACEHOLDER.len() + n_slots - 1)
}
