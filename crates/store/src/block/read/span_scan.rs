//! Spans of a block for scans and for whole traces: rows that follow each other, and their columns when they are asked for.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use arrow_schema::Field;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use serde_json::Value as Json;
use throughline_model::TraceId;

use super::search::{bounds, overlaps_number, overlaps_text};
use super::span_runs::runs_between;
use super::span_values::{has_all, picked, values_of};
use super::trace_columns::TOGETHER_MIN;
use super::whole::{Needle, WholeColumn};
use super::{Block, Columns};
use crate::block::Table;
use crate::block::shred::COLUMN_PREFIX;
use crate::error::Error;
use crate::snapshot::TimeRange;
use crate::snapshot::json_map;
use crate::snapshot::span_scan::{SpanBound, SpanColumn, SpanRun, SpanScan, SpanTrace, StoredColumns};
use crate::snapshot::span_values::SpanValues;

/// Spans of a block, one row after the other.
pub(crate) struct BlockSpans<'a> {
    block: &'a Block,
    rows: Range<u32>,
    /// The row group that they are, if they are one.
    group: Option<usize>,
    /// The trace that they are of, if it is one, by its row.
    trace: Option<u32>,
    /// The least and the greatest start, where they are known.
    starts: Option<(i64, i64)>,
    /// The rows that are read together with these, and after how many of them these come.
    together: Option<(Rc<Together>, usize)>,
}

/// Rows of some traces, of which a column is read when it is first asked for of any.
struct Together {
    rows: Vec<u32>,
    columns: RefCell<HashMap<String, Rc<SpanValues>>>,
    is_prepared: Cell<bool>,
}

/// Rows of traces that are read together, unless one has as many.
const TOGETHER_ROWS_MAX: usize = 4_096;

impl Block {
    /// The row groups of spans that may have what is wanted, and the greatest start of each; those that started last first if that is
    /// wanted.
    pub(crate) fn span_groups(&self, scan: &SpanScan<'_>) -> Result<Vec<(usize, i64)>, Error> {
        let table = self.table(Table::Spans)?;
        let mut groups = Vec::new();
        let counted = counts_tell(scan.bounds).then(|| self.span_pairs(scan.bounds)).flatten();
        for group in 0..table.groups() {
            let meta = table.group(group);
            if meta.num_rows() > 0
                && counted.as_ref().is_none_or(|counted| counted.may_hold(group))
                && in_window(meta, scan)
                && scan.bounds.iter().all(|bound| may_hold(meta, bound))
            {
                groups.push((group, start_bounds(meta).map_or(i64::MAX, |(_, max)| max)));
            }
        }
        if scan.newest_first {
            // Traces lie by start: the last row groups are the newest.
            groups.reverse();
        }
        Ok(groups)
    }

    /// The spans of a row group.
    pub(crate) fn group_spans(&self, group: usize) -> Result<Option<BlockSpans<'_>>, Error> {
        let table = self.table(Table::Spans)?;
        let rows = table.first_row(group)..table.first_row(group + 1);
        let starts = start_bounds(table.group(group));
        let rows = u32::try_from(rows.start).unwrap_or(u32::MAX)..u32::try_from(rows.end).unwrap_or(u32::MAX);
        let spans = BlockSpans { block: self, rows, group: Some(group), trace: None, starts, together: None };
        Ok(Some(spans).filter(|spans| spans.len() > 0))
    }

    /// The spans of those of the traces that have any, each with its place among them.
    pub(crate) fn traces_rows(&self, ids: &[TraceId]) -> Result<Vec<(usize, BlockSpans<'_>)>, Error> {
        let mut wanted = Vec::new();
        let found = self.trace_rows(ids)?;
        let traces: Vec<u32> = found.iter().map(|(_, trace)| *trace).collect();
        for ((at, trace), postings) in found.into_iter().zip(self.index().postings_of(&traces)?) {
            let rows = postings.first_span..postings.first_span.saturating_add(postings.span_count);
            if !rows.is_empty() {
                wanted.push((rows, trace, at));
            }
        }
        wanted.sort_unstable_by_key(|(rows, ..)| rows.start);
        let mut found = Vec::with_capacity(wanted.len());
        let mut left = wanted.as_slice();
        while !left.is_empty() {
            let mut n_rows = 0;
            let fits = |(rows, ..): &&(Range<u32>, u32, usize)| {
                n_rows += rows.len();
                n_rows <= TOGETHER_ROWS_MAX
            };
            let n = left.iter().take_while(fits).count().max(1);
            let (some, rest) = left.split_at_checked(n).unwrap_or((left, &[]));
            left = rest;
            let rows: Vec<u32> = some.iter().flat_map(|(rows, ..)| rows.clone()).collect();
            let together =
                Rc::new(Together { rows, columns: RefCell::default(), is_prepared: Cell::default() });
            let mut before = 0;
            for (rows, trace, at) in some {
                let together = Some((Rc::clone(&together), before));
                before += rows.len();
                let (rows, trace) = (rows.clone(), Some(*trace));
                let spans = BlockSpans { block: self, rows, group: None, trace, starts: None, together };
                found.push((*at, spans));
            }
        }
        Ok(found)
    }

    /// The rows of those of the traces that are in the trace table, each with its place among them.
    pub(super) fn trace_rows(&self, ids: &[TraceId]) -> Result<Vec<(usize, u32)>, Error> {
        let candidates = self.index().candidates_of(ids.iter().map(|id| id.fingerprint()))?;
        let mut rows: Vec<u32> = candidates.iter().map(|(row, _)| *row).collect();
        rows.dedup();
        let known = if rows.is_empty() { Vec::new() } else { self.trace_ids(&rows)? };
        let is_it = |(row, at): &(u32, usize)| {
            let known = rows.binary_search(row).ok().and_then(|at| known.get(at).copied().flatten());
            known.is_some() && known == ids.get(*at).copied()
        };
        Ok(candidates.into_iter().filter(is_it).map(|(row, at)| (at, row)).collect())
    }
}

fn start_bounds(meta: &RowGroupMetaData) -> Option<(i64, i64)> {
    match bounds(meta, "start_time") {
        Some(Statistics::Int64(stats)) => Some((*stats.min_opt()?, *stats.max_opt()?)),
        _ => None,
    }
}

/// Whether spans may start within the window, or their traces reach into it.
fn in_window(meta: &RowGroupMetaData, scan: &SpanScan<'_>) -> bool {
    let last = scan.range.end.saturating_sub(1);
    if !scan.of_traces {
        return overlaps_number(meta, "start_time", scan.range.start, last);
    }
    let Some((min, max)) = start_bounds(meta) else { return true };
    let longest = match bounds(meta, "duration_ns") {
        Some(Statistics::Int64(stats)) => stats.max_opt().copied().unwrap_or(i64::MAX),
        _ => i64::MAX,
    };
    // A trace whose later spans are in the next group may reach further than any span of this one: those are looked at there.
    min <= last && max.saturating_add(longest.max(0)) >= scan.range.start
}

/// Whether counts by service, name and status say anything of these conditions.
fn counts_tell(bounds: &[SpanBound<'_>]) -> bool {
    bounds.iter().any(|bound| {
        matches!(
            bound,
            SpanBound::Text(SpanColumn::Service | SpanColumn::Name, _)
                | SpanBound::Number(SpanColumn::Status, ..)
        )
    })
}

fn may_hold(meta: &RowGroupMetaData, bound: &SpanBound<'_>) -> bool {
    match bound {
        SpanBound::Number(column, least, greatest) => {
            column.stored_name().is_none_or(|name| overlaps_number(meta, name, *least, *greatest))
        }
        SpanBound::Text(column, text) => {
            column.stored_name().is_none_or(|name| overlaps_text(meta, name, Some(text)))
        }
    }
}

impl<'a> BlockSpans<'a> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn block(&self) -> &'a Block {
        self.block
    }

    pub(crate) fn starts_within(&self, range: TimeRange) -> bool {
        self.starts.is_some_and(|(min, max)| range.contains(min) && range.contains(max))
    }

    /// The traces of the rows.
    pub(crate) fn runs(&self) -> Result<Vec<SpanRun>, Error> {
        if let Some(trace) = self.trace {
            return Ok(vec![(0, self.rows.len() as u32, trace)]);
        }
        if let Some(starts) = self.block.span_starts() {
            return Ok(runs_between(starts, &self.rows));
        }
        let SpanValues::Ints(traces, _) = self.stored("trace_row", None)? else { return Ok(Vec::new()) };
        let mut runs = Vec::new();
        let mut start = 0;
        for of_trace in traces.chunk_by(|a, b| a == b) {
            let end = start + of_trace.len() as u32;
            let trace = of_trace.first().and_then(|trace| u32::try_from(*trace).ok());
            runs.push((start, end, trace.unwrap_or(u32::MAX)));
            start = end;
        }
        Ok(runs)
    }

    /// Whether all spans that the block has of the trace are in the run.
    pub(crate) fn holds(&self, (start, end, trace): SpanRun) -> Result<bool, Error> {
        if start > 0 && (end as usize) < self.len() {
            return Ok(true);
        }
        let rows = self.block.span_rows(trace)?;
        Ok(rows == (self.rows.start + start..self.rows.start + end))
    }

    pub(crate) fn traces(&self, runs: &[SpanRun]) -> Result<Vec<SpanTrace>, Error> {
        let rows: Vec<u32> = runs.iter().map(|(.., trace)| *trace).collect();
        if rows.len() >= TOGETHER_MIN
            && let Some(bounds) = self.block.trace_bounds(&rows)?
        {
            return Ok(bounds);
        }
        let wanted = ["trace_id", "start_time", "duration_ns"];
        let mut found = Vec::with_capacity(rows.len());
        for batch in self.block.pick(Table::Traces, &rows, Some(&wanted))? {
            let columns = Columns::new(&batch);
            for row in 0..batch.num_rows() {
                let id = columns.trace_id("trace_id", row);
                let start = columns.time("start_time", row);
                let end = start.saturating_add(columns.i64("duration_ns", row));
                found.push(SpanTrace { id: id.unwrap_or(TraceId([0; 16])), start, end });
            }
        }
        Ok(found)
    }

    /// A column, of all rows or of those named.
    pub(crate) fn column(&self, column: SpanColumn<'_>, rows: Option<&[u32]>) -> Result<SpanValues, Error> {
        if let Some(name) = column.stored_name() {
            return self.stored(name, rows);
        }
        match column {
            SpanColumn::ParentId => self.parent_ids(rows),
            SpanColumn::HasParent => {
                let n_rows = rows.map_or(self.len(), <[u32]>::len);
                let mut has = match self.stored("parent_row", rows)? {
                    SpanValues::Ints(_, Some(present)) => present,
                    SpanValues::Ints(_, None) => vec![true; n_rows],
                    _ => vec![false; n_rows],
                };
                if let SpanValues::Ids(ids) = self.stored("parent_span_id", rows)? {
                    has.iter_mut().zip(ids).for_each(|(has, id)| *has |= id.is_some());
                }
                Ok(SpanValues::Bools(has, None))
            }
            SpanColumn::Attribute(key) => self.attribute(key, rows),
            SpanColumn::TraceStart => self.of_trace("start_time", rows),
            SpanColumn::TraceDuration => self.of_trace("duration_ns", rows),
            SpanColumn::RootService => self.of_trace("root_service", rows),
            SpanColumn::RootName => self.of_trace("root_name", rows),
            _ => Ok(SpanValues::None),
        }
    }

    /// Reads columns at once that will be asked for, for all traces that are read together; what cannot be read so is when it is asked
    /// for.
    pub(crate) fn prepare(&self, columns: &StoredColumns) {
        if let Some((together, _)) = &self.together {
            together.prepare(self.block, columns);
        }
    }

    /// A column of all rows; nothing if `may` says no of some values among which are all that rows have.
    pub(crate) fn column_if(
        &self,
        column: SpanColumn<'_>,
        may: &mut dyn FnMut(SpanValues) -> bool,
    ) -> Result<Option<SpanValues>, Error> {
        let key = match column {
            SpanColumn::Name => return self.stored_if("name", may),
            SpanColumn::Kind => return self.stored_if("kind", may),
            SpanColumn::Status => return self.stored_if("status_code", may),
            SpanColumn::StatusMessage => return self.stored_if("status_message", may),
            SpanColumn::Service => return self.stored_if("service", may),
            SpanColumn::Resource => return self.stored_if("resource", may),
            SpanColumn::Scope => return self.stored_if("scope", may),
            SpanColumn::TraceStart => return self.of_trace_if("start_time", may),
            SpanColumn::TraceDuration => return self.of_trace_if("duration_ns", may),
            SpanColumn::RootService => return self.of_trace_if("root_service", may),
            SpanColumn::RootName => return self.of_trace_if("root_name", may),
            SpanColumn::Attribute(key) => key,
            column => return self.column(column, None).map(Some),
        };
        let name = format!("{COLUMN_PREFIX}{key}");
        if !self.has_column(&name)? {
            return self.attribute(key, None).map(Some);
        }
        match self.stored_if(&name, may)? {
            Some(own) => self.with_rest(own, key, None).map(Some),
            None if !self.may_have_rest(key)? => Ok(None),
            None => self.attribute(key, None).map(Some),
        }
    }

    /// Whether any row may have this text as an attribute, by the bytes of pages; no is certain.
    pub(crate) fn attribute_may_be(&self, key: &str, text: &str) -> Result<bool, Error> {
        Ok(self.may_have_text(&format!("{COLUMN_PREFIX}{key}"), text)? || self.may_have_rest(key)?)
    }

    /// Whether any row may have this text in a column; no is certain.
    fn may_have_text(&self, name: &str, text: &str) -> Result<bool, Error> {
        if let (Some(group), Some(layout)) = (self.group, self.block.layout(Table::Spans)) {
            if !layout.has_values(group, name) {
                return Ok(false);
            }
            let whole = || {
                let file = self.block.file(Table::Spans)?;
                Ok::<_, Error>(layout.whole(file, group, name)?.and_then(|(_, whole)| whole))
            };
            let place = (group, layout.groups());
            if let Some(may_have) = self.block.text_filters.may_have(name, place, text, whole)? {
                return Ok(may_have);
            }
        }
        self.may_have(name, Needle::Text(text))
    }

    /// Whether any row may have an attribute among those without columns; no is certain.
    fn may_have_rest(&self, key: &str) -> Result<bool, Error> {
        let look = || self.may_have("attributes", Needle::Bytes(&json_key(key)));
        match (self.group, self.block.layout(Table::Spans)) {
            (Some(group), Some(layout)) => {
                self.block.text_filters.may_have_key(key, (group, layout.groups()), look)
            }
            _ => look(),
        }
    }

    fn may_have(&self, name: &str, needle: Needle<'_>) -> Result<bool, Error> {
        match (self.group, self.block.layout(Table::Spans)) {
            (Some(group), Some(layout)) => {
                layout.may_have(self.block.file(Table::Spans)?, group, name, needle)
            }
            _ => Ok(true),
        }
    }

    fn stored_if(
        &self,
        name: &str,
        may: &mut dyn FnMut(SpanValues) -> bool,
    ) -> Result<Option<SpanValues>, Error> {
        let (Some(group), Some(layout)) = (self.group, self.block.layout(Table::Spans)) else {
            return self.stored(name, None).map(Some);
        };
        let mut is_asked = None;
        let mut ask = |field: &Arc<Field>, whole: WholeColumn| {
            let verdict = may(values_of(field, whole));
            is_asked = Some(verdict);
            verdict
        };
        let found = layout.whole_if(self.block.file(Table::Spans)?, group, name, Some(&mut ask))?;
        match (found, is_asked) {
            (_, Some(false)) => Ok(None),
            (Some((field, whole)), _) => {
                Ok(Some(whole.map_or(SpanValues::None, |whole| values_of(&field, whole))))
            }
            (None, _) => self.stored(name, None).map(Some),
        }
    }

    fn has_column(&self, name: &str) -> Result<bool, Error> {
        Ok(match self.block.layout(Table::Spans) {
            Some(layout) => layout.has_column(name),
            None => self.block.table(Table::Spans)?.schema().column_with_name(name).is_some(),
        })
    }

    /// A column of the table by its name.
    fn stored(&self, name: &str, rows: Option<&[u32]>) -> Result<SpanValues, Error> {
        if let (Some(group), None, Some(layout)) = (self.group, rows, self.block.layout(Table::Spans))
            && let Some((field, whole)) = layout.whole(self.block.file(Table::Spans)?, group, name)?
        {
            return Ok(whole.map_or(SpanValues::None, |whole| values_of(&field, whole)));
        }
        // What is damaged of the others does no harm to these.
        if let Some((together, before)) = &self.together
            && let Ok(values) = together.column(self.block, name)
        {
            return Ok(match rows {
                Some(rows) => values.some(rows.iter().map(|row| before + *row as usize)),
                None => values.some(*before..before + self.len()),
            });
        }
        let chosen: Vec<u32> = match rows {
            Some(rows) => rows.iter().map(|row| self.rows.start.saturating_add(*row)).collect(),
            None => self.rows.clone().collect(),
        };
        picked(&self.block.pick(Table::Spans, &chosen, Some(&[name]))?, name)
    }

    /// An attribute: a column of its own where it has one, else and besides in the column of the rest.
    fn attribute(&self, key: &str, rows: Option<&[u32]>) -> Result<SpanValues, Error> {
        let name = format!("{COLUMN_PREFIX}{key}");
        let own = if self.has_column(&name)? { self.stored(&name, rows)? } else { SpanValues::None };
        self.with_rest(own, key, rows)
    }

    /// An attribute of which this is what lies in a column of its own.
    fn with_rest(&self, own: SpanValues, key: &str, rows: Option<&[u32]>) -> Result<SpanValues, Error> {
        let n_rows = rows.map_or(self.len(), <[u32]>::len);
        if has_all(&own) {
            return Ok(own);
        }
        let Some((rest, needle)) = self.rest_with(key, rows)? else { return Ok(own) };
        let SpanValues::Texts(keys, texts, ends) = &rest else { return Ok(own) };
        let finder = memchr::memmem::Finder::new(needle.as_bytes());
        let mut start = 0;
        let of_text = ends.iter().map(|end| {
            let text =
                texts.get(std::mem::replace(&mut start, *end as usize)..*end as usize).unwrap_or_default();
            finder.find(text.as_bytes())?;
            json_map(text).remove(key)
        });
        let of_text: Vec<Option<Json>> = of_text.collect();
        if of_text.iter().all(Option::is_none) {
            return Ok(own);
        }
        let value =
            |row: usize| own.json(row).or_else(|| of_text.get(*keys.get(row)? as usize).cloned().flatten());
        Ok(SpanValues::Mixed((0..n_rows).map(value).collect()))
    }

    /// The attributes without columns, if any span may have the one with this key among them, and what its key looks like there.
    fn rest_with(&self, key: &str, rows: Option<&[u32]>) -> Result<Option<(SpanValues, String)>, Error> {
        let needle = json_key(key);
        if rows.is_none() && !self.may_have_rest(key)? {
            return Ok(None);
        }
        let rest = self.stored("attributes", rows)?;
        let SpanValues::Texts(_, texts, _) = &rest else { return Ok(None) };
        let found = memchr::memmem::find(texts.as_bytes(), needle.as_bytes());
        Ok(found.map(|_| (rest, needle)))
    }

    /// The keys of attributes: those with columns, and those of the rest.
    pub(crate) fn attribute_keys(&self) -> Result<Vec<String>, Error> {
        let table = self.block.table(Table::Spans)?;
        let named =
            table.schema().fields().iter().filter_map(|field| field.name().strip_prefix(COLUMN_PREFIX));
        let mut keys: Vec<String> = named.map(str::to_owned).collect();
        if let SpanValues::Texts(_, texts, ends) = self.stored("attributes", None)? {
            let mut start = 0;
            for end in ends {
                let text =
                    texts.get(std::mem::replace(&mut start, end as usize)..end as usize).unwrap_or_default();
                keys.extend(json_map(text).into_iter().map(|(key, _)| key));
            }
        }
        Ok(keys)
    }

    /// A column of the trace table, for each span that of its trace.
    fn of_trace(&self, name: &str, rows: Option<&[u32]>) -> Result<SpanValues, Error> {
        let runs = self.runs()?;
        let traces: Vec<u32> = runs.iter().map(|(.., trace)| *trace).collect();
        let together =
            if traces.len() >= TOGETHER_MIN { self.block.trace_column(name, &traces)? } else { None };
        let of_run = match together {
            Some((field, whole)) => values_of(&field, whole),
            None => picked(&self.block.pick(Table::Traces, &traces, Some(&[name]))?, name)?,
        };
        let n_rows = self.len() as u32;
        let mut run_of: Vec<u32> = Vec::with_capacity(n_rows as usize);
        for (number, (start, end, _)) in (0..).zip(&runs) {
            run_of.extend((*start..*end).map(|_| number));
        }
        if let Some(rows) = rows {
            run_of = rows.iter().filter_map(|row| run_of.get(*row as usize).copied()).collect();
        }
        Ok(match of_run {
            SpanValues::Ints(values, _) => {
                let value = |run: &u32| values.get(*run as usize).copied().unwrap_or_default();
                SpanValues::Ints(run_of.iter().map(value).collect(), None)
            }
            SpanValues::Texts(keys, texts, ends) => {
                let key = |run: &u32| keys.get(*run as usize).copied().unwrap_or(SpanValues::NO_VALUE);
                SpanValues::Texts(run_of.iter().map(key).collect(), texts, ends)
            }
            _ => SpanValues::None,
        })
    }

    /// As [`BlockSpans::of_trace`], of all rows; nothing if `may` says no of what the row groups of the trace table have in which the
    /// traces lie.
    fn of_trace_if(
        &self,
        name: &str,
        may: &mut dyn FnMut(SpanValues) -> bool,
    ) -> Result<Option<SpanValues>, Error> {
        let may_pass = self.group.is_none() || self.block.traces_may_have(name, &self.rows, may)?;
        if may_pass { self.of_trace(name, None).map(Some) } else { Ok(None) }
    }

    /// The parents' ids: those that are in the trace are named by their rows.
    fn parent_ids(&self, rows: Option<&[u32]>) -> Result<SpanValues, Error> {
        let parents = self.stored("parent_row", rows)?;
        let mut ids = match self.stored("parent_span_id", rows)? {
            SpanValues::Ids(ids) => ids,
            _ => vec![None; rows.map_or(self.len(), <[u32]>::len)],
        };
        if let (Some(_), None) = (self.trace, rows) {
            // All spans of the trace that the block has: the parents are among them.
            let SpanValues::Ids(own) = self.stored("span_id", None)? else { return Ok(SpanValues::Ids(ids)) };
            for (at, id) in ids.iter_mut().enumerate() {
                let parent = parents.int(at).and_then(|row| usize::try_from(row).ok());
                *id = parent.and_then(|row| own.get(row).copied().flatten()).or(*id);
            }
            return Ok(SpanValues::Ids(ids));
        }
        // The first row of the trace of each span, within the table.
        let mut first_of: Vec<u32> = Vec::with_capacity(self.len());
        for (start, end, trace) in self.runs()? {
            let first = match self.holds((start, end, trace))? {
                true => self.rows.start.saturating_add(start),
                false => self.block.span_rows(trace)?.start,
            };
            first_of.extend((start..end).map(|_| first));
        }
        let first = |at: usize| match rows {
            Some(rows) => rows.get(at).and_then(|row| first_of.get(*row as usize)),
            None => first_of.get(at),
        };
        let row_of = |at: usize| {
            let in_trace = u32::try_from(parents.int(at)?).ok()?;
            first(at)?.checked_add(in_trace)
        };
        let mut wanted: Vec<u32> = (0..ids.len()).filter_map(row_of).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = picked(&self.block.pick(Table::Spans, &wanted, Some(&["span_id"]))?, "span_id")?;
        let SpanValues::Ids(found) = found else { return Ok(SpanValues::Ids(ids)) };
        for (at, id) in ids.iter_mut().enumerate() {
            let of_row = row_of(at).and_then(|row| wanted.binary_search(&row).ok());
            if let Some(parent) = of_row.and_then(|at| found.get(at).copied().flatten()) {
                *id = Some(parent);
            }
        }
        Ok(SpanValues::Ids(ids))
    }
}

impl Together {
    /// Reads those of the columns that are not there yet, once.
    fn prepare(&self, block: &Block, columns: &StoredColumns) {
        let is_new = |name: &&str| !self.columns.borrow().contains_key(*name);
        let names: Vec<&str> = columns.names().filter(is_new).collect();
        if names.is_empty() || self.is_prepared.replace(true) {
            return;
        }
        let Ok(batches) = block.pick(Table::Spans, &self.rows, Some(&names)) else { return };
        let mut columns = self.columns.borrow_mut();
        for name in names {
            if let Ok(values) = picked(&batches, name) {
                columns.insert(name.to_owned(), Rc::new(values));
            }
        }
    }

    /// A column of all rows by its name.
    fn column(&self, block: &Block, name: &str) -> Result<Rc<SpanValues>, Error> {
        if let Some(known) = self.columns.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let read = Rc::new(picked(&block.pick(Table::Spans, &self.rows, Some(&[name]))?, name)?);
        self.columns.borrow_mut().insert(name.to_owned(), Rc::clone(&read));
        Ok(read)
    }
}

/// What the key of an attribute looks like in JSON: it is written in one way, so that a text without it has no such attribute.
fn json_key(key: &str) -> String {
    let mut needle = String::new();
    throughline_model::attribute::write_json_text(&mut needle, key);
    needle.push(':');
    needle
}
