//! A snapshot: an immutable view of memtables and blocks, and the questions that it answers.
//!
//! Taking a snapshot copies a few pointers. It never sees later writes and never blocks them. Every answer is
//! [`Found`]: the items and, where something could not be read or a limit was met, the reasons why it is partial.

pub(crate) mod log_kinds;
pub mod log_scan;
pub(crate) mod merge;
pub mod parts;
pub(crate) mod rows;
pub(crate) mod services;
pub mod span_counts;
pub mod span_scan;
mod span_split;
pub mod span_values;
pub(crate) mod summary;
mod torn;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use throughline_model::link::LinkState;
use throughline_model::record::{
    DroppedSpans, Exemplar, LogRecord, Point, Sampling, Series, Span, TraceSummary,
};
use throughline_model::{PatternId, Signal, TraceId};

use crate::block::Block;
use crate::block::bodies::Splitter;
use crate::block::read::Kept;
use crate::clock::Clock;
use crate::error::Error;
use crate::expired::Expired;
use crate::memtable::MemtableView;
use crate::patterns::{Pattern, PatternList, PatternQuery};
use services::{SeriesMemo, Services};
use summary::TraceParts;

pub use rows::spans_of;
pub(crate) use rows::{exemplar_row, json_map, log_row, series_record, span_part, span_row};

/// How long after its last reference a trace may still arrive: the SDKs' batch delay and one retry.
pub(crate) const PENDING_NS: i64 = 30_000_000_000;

/// A span of time, nanoseconds since the epoch: start inclusive, end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// The first nanosecond.
    pub start: i64,
    /// The first nanosecond after it.
    pub end: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { start: i64::MIN, end: i64::MAX };

    /// Whether the moment lies within.
    pub fn contains(&self, time: i64) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether any moment from `min` to `max`, both inclusive, lies within.
    pub fn overlaps(&self, min: i64, max: i64) -> bool {
        self.start <= max && min < self.end
    }
}

/// Which signals of a trace are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "one flag per signal")]
pub struct Want {
    pub spans: bool,
    pub logs: bool,
    pub exemplars: bool,
}

impl Want {
    /// Spans, logs and exemplars.
    pub const ALL: Want = Want { spans: true, logs: true, exemplars: true };
    /// Spans alone.
    pub const SPANS: Want = Want { spans: true, logs: false, exemplars: false };
}

/// Everything stored of one trace.
#[derive(Clone, Debug, Default)]
pub struct TraceData {
    /// Spans by start, without duplicates.
    pub spans: Vec<Span>,
    /// Log records by time.
    pub logs: Vec<LogRecord>,
    /// Exemplars by time.
    pub exemplars: Vec<Exemplar>,
    /// The spans that sampling dropped, where spans were wanted; those that are here came later.
    pub dropped: Option<DroppedSpans>,
    /// Why the answer is incomplete; empty where it is complete.
    pub partial: Vec<String>,
}

/// An answer: items, and why there are not more of them.
#[derive(Clone, Debug)]
pub struct Found<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Why the answer is incomplete; empty where it is complete.
    pub partial: Vec<String>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Found { items: Vec::new(), partial: Vec::new() }
    }
}

/// Which traces to find: those with a span that meets every condition. Results are newest first.
#[derive(Clone, Debug)]
pub struct TraceQuery {
    /// The span starts within.
    pub range: TimeRange,
    /// The span's service.
    pub service: Option<String>,
    /// The span's name.
    pub operation: Option<String>,
    /// The span lasts at least so long.
    pub min_duration_ns: Option<i64>,
    /// The span lasts at most so long.
    pub max_duration_ns: Option<i64>,
    /// The span's status is error, or is not.
    pub error: Option<bool>,
    /// At most so many traces.
    pub limit: usize,
}

/// Which log records to find. Results are newest first.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// The record's time lies within.
    pub range: TimeRange,
    /// The record's service.
    pub service: Option<String>,
    /// At least this severity number; 0 takes all. A record without a number has that of its level.
    pub min_severity: u8,
    /// The record has this pattern.
    pub pattern: Option<PatternId>,
    /// The body contains this text.
    pub contains: Option<String>,
    /// At most so many records.
    pub limit: usize,
}

/// Which series to find, and which of their points or exemplars.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// Points and exemplars lie within; a series has any point within.
    pub range: TimeRange,
    /// The instrument's name.
    pub metric: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// Attributes of the points that must have these values, written as text.
    pub attributes: Vec<(String, String)>,
    /// At most so many series (or exemplars).
    pub limit: usize,
}

/// What one service has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSummary {
    /// Its name.
    pub service: String,
    /// How many spans.
    pub span_count: u64,
    /// How many of them with status error.
    pub error_count: u64,
    /// How many log records.
    pub log_count: u64,
    /// How many series.
    pub series_count: u64,
    /// The names of its spans, sorted.
    pub operations: Vec<String>,
}

/// An immutable view of the store.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) memtables: Vec<MemtableView>,
    pub(crate) blocks: Arc<Vec<Arc<Block>>>,
    /// Parts that could not be opened: every answer may lack something of them.
    pub(crate) missing: Arc<Vec<String>>,
    /// What retention removed.
    pub(crate) expired: Arc<Expired>,
    taken_at: i64,
    series: Arc<SeriesMemo>,
    until: Until,
    /// Which traces lie in several places.
    torn: Arc<torn::TornTraces>,
}

/// When searches have to end; never, if nothing was said.
#[derive(Clone, Default)]
pub(crate) struct Until(Option<(Arc<dyn Clock>, Duration, Duration)>);

impl Until {
    /// An error when the time is over.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.0 {
            Some((clock, end, limit)) if clock.monotonic() > *end => {
                Err(Error::TooLong { seconds: limit.as_secs() })
            }
            _ => Ok(()),
        }
    }
}

impl Snapshot {
    /// A view of these memtables (oldest first) and blocks, taken at a time in nanoseconds since the epoch.
    /// `missing` names what could not be opened.
    pub fn new(
        memtables: Vec<MemtableView>,
        blocks: Arc<Vec<Arc<Block>>>,
        missing: Arc<Vec<String>>,
        taken_at: i64,
    ) -> Snapshot {
        let (series, until) = (Arc::default(), Until::default());
        let (expired, torn) = (Arc::default(), Arc::default());
        Snapshot { memtables, blocks, missing, expired, taken_at, series, until, torn }
    }

    /// The snapshot, whose searches for traces and log records end when so much time is over, with what they found until then and
    /// a reason why it is not all.
    pub fn ending_after(mut self, limit: Duration, clock: Arc<dyn Clock>) -> Snapshot {
        let end = clock.monotonic().saturating_add(limit);
        self.until = Until(Some((clock, end, limit)));
        self
    }

    /// The snapshot, with what is remembered of the series of lists of blocks shared with other snapshots.
    pub(crate) fn sharing(mut self, series: Arc<SeriesMemo>) -> Snapshot {
        self.series = series;
        self
    }

    /// The same with what is known of traces that retention removed.
    pub(crate) fn knowing(self, expired: Arc<Expired>) -> Snapshot {
        Snapshot { expired, ..self }
    }

    /// Up to when the ids of traces that retention removed are forgotten, nanoseconds since the epoch; none where none are.
    /// Before it a trace that nothing refers to counts as never received.
    pub fn forgotten_before(&self) -> Option<i64> {
        self.expired.forgotten_before()
    }

    /// When the snapshot was taken, nanoseconds since the epoch.
    pub fn taken_at(&self) -> i64 {
        self.taken_at
    }

    /// Everything of one trace. An unknown trace is an empty answer.
    pub fn trace(&self, id: TraceId, want: Want) -> Result<TraceData, Error> {
        let mut data = TraceData { partial: self.missing.to_vec(), ..TraceData::default() };
        for memtable in &self.memtables {
            memtable.trace(id, want, &mut data);
        }
        for block in self.blocks.iter() {
            block.trace(id, want, &mut data);
        }
        merge::finish_trace(&mut data);
        let last = data.spans.last().map(|span| span.start_time);
        if last.is_some() && self.expired.removed_at(id, last).is_some() {
            data.partial.push(format!("a part of trace {id} has passed its retention"));
        }
        Ok(data)
    }

    /// The summary of one trace over everything that is stored of it.
    pub fn trace_summary(&self, id: TraceId) -> Result<Option<TraceSummary>, Error> {
        Ok(self.summaries(&[id], Err)?.pop())
    }

    /// The summaries of traces, in their order; unknown ones are left out. `on_damage` is told of a block that cannot be read,
    /// and decides whether the others are enough.
    pub(crate) fn summaries(
        &self,
        ids: &[TraceId],
        mut on_damage: impl FnMut(Error) -> Result<(), Error>,
    ) -> Result<Vec<TraceSummary>, Error> {
        let mut parts: Vec<TraceParts> = ids.iter().map(|_| TraceParts::default()).collect();
        let mut with_spans: Vec<Vec<&Arc<Block>>> = ids.iter().map(|_| Vec::new()).collect();
        for memtable in &self.memtables {
            memtable.trace_parts(ids, &mut parts);
        }
        for block in self.blocks.iter() {
            let of_block = match block.summaries(ids) {
                Ok(of_block) => of_block,
                Err(error) => {
                    on_damage(error)?;
                    continue;
                }
            };
            for (at, summary) in of_block {
                if let (Some(parts), Some(with_spans)) = (parts.get_mut(at), with_spans.get_mut(at)) {
                    with_spans.extend((summary.span_count > 0).then_some(block));
                    parts.add_summary(summary);
                }
            }
        }
        let mut out = Vec::with_capacity(ids.len());
        for ((id, mut parts), with_spans) in ids.iter().zip(parts).zip(with_spans) {
            if parts.is_scattered() {
                with_spans
                    .iter()
                    .try_for_each(|block| block.span_parts(*id, &mut parts).or_else(&mut on_damage))?;
            }
            out.extend(parts.summarise(*id));
        }
        Ok(out)
    }

    /// Traces with a span that meets the query, newest first.
    pub fn search_traces(&self, query: &TraceQuery) -> Result<Found<TraceSummary>, Error> {
        let mut hits = merge::TraceHits::new(query.limit);
        let mut found = Found { items: Vec::new(), partial: self.missing.to_vec() };
        for memtable in &self.memtables {
            memtable.search_traces(query, &mut hits);
        }
        for block in self.newest_first(&query.range) {
            if hits.is_full_before(block.max_time()) {
                break;
            }
            if let Err(error) = block.search_traces(query, &mut hits, &self.until) {
                found.partial.push(error.to_string());
            }
            if self.until.check().is_err() {
                break;
            }
        }
        let partial = &mut found.partial;
        found.items = self.summaries(&hits.newest(), |error| {
            let text = error.to_string();
            if !partial.contains(&text) {
                partial.push(text);
            }
            Ok(())
        })?;
        found.items.sort_by_key(|summary| (std::cmp::Reverse(summary.start_time), summary.trace_id));
        Ok(found)
    }

    /// Log records, newest first.
    pub fn search_logs(&self, query: &LogQuery) -> Result<Found<LogRecord>, Error> {
        let mut found = Found { items: Vec::new(), partial: self.missing.to_vec() };
        let mut query = query.clone();
        // What is older than the oldest of a full page need not be looked at any more.
        let keep = |items: &mut Vec<LogRecord>, query: &mut LogQuery| {
            merge::keep_newest_logs(items, query.limit);
            if let Some(oldest) = items.last().filter(|_| items.len() >= query.limit) {
                query.range.start = query.range.start.max(oldest.time);
            }
        };
        for memtable in self.memtables.iter().rev() {
            memtable.search_logs(&query, &mut found.items);
            keep(&mut found.items, &mut query);
        }
        for block in self.newest_first(&query.range) {
            if !query.range.overlaps(block.min_time(), block.max_time()) {
                continue;
            }
            match block.search_logs(&query, &mut found.items, &self.until) {
                Ok(()) => found.partial.extend(block.pattern_damage()),
                Err(error) => found.partial.push(error.to_string()),
            }
            if self.until.check().is_err() {
                break;
            }
            keep(&mut found.items, &mut query);
        }
        Ok(found)
    }

    /// Series with a point in the range.
    pub fn series(&self, query: &SeriesQuery) -> Result<Found<Series>, Error> {
        let mut list = merge::SeriesList::default();
        let mut partial = self.missing.to_vec();
        for block in self.blocks.iter().filter(|b| query.range.overlaps(b.min_time(), b.max_time())) {
            if let Err(error) = block.series_with_points(query, &mut list) {
                partial.push(error.to_string());
            }
        }
        for memtable in &self.memtables {
            memtable.series_with_points(query, &mut list);
        }
        let (items, cut) = list.finish(query.limit);
        partial.extend(series_left_out(cut, query.limit));
        Ok(Found { items, partial })
    }

    /// Series and their points in the range, in time order; where two points of a series have the same time, the
    /// one that was received last counts.
    pub fn points(&self, query: &SeriesQuery) -> Result<Found<(Series, Vec<Point>)>, Error> {
        let mut merged = merge::SeriesPoints::default();
        let mut partial = self.missing.to_vec();
        for block in self.blocks.iter().filter(|b| query.range.overlaps(b.min_time(), b.max_time())) {
            if let Err(error) = block.points(query, &mut merged) {
                partial.push(error.to_string());
            }
        }
        for memtable in &self.memtables {
            memtable.points(query, &mut merged);
        }
        let (items, cut) = merged.finish(query.limit);
        partial.extend(series_left_out(cut, query.limit));
        Ok(Found { items, partial })
    }

    /// Exemplars of the series, oldest first, with the state of their links.
    pub fn exemplars(&self, query: &SeriesQuery) -> Result<Found<Exemplar>, Error> {
        let mut found = self.unlinked_exemplars(query);
        let mut unknown = BTreeSet::new();
        for exemplar in &mut found.items {
            exemplar.link = match (&exemplar.trace_id, &exemplar.trace_id_original) {
                // Where the trace may be cannot be read, nothing is known of it, and that is said.
                (Some(id), _) => self.link_state(*id).map_err(|error| unknown.insert(error.to_string())).ok(),
                (None, Some(form)) => Some(LinkState::Malformed { form: form.clone() }),
                (None, None) => Some(LinkState::Malformed { form: String::new() }),
            };
        }
        unknown.retain(|error| !found.partial.contains(error));
        found.partial.extend(unknown);
        Ok(found)
    }

    /// Exemplars of the series, oldest first. The states of their links are not asked.
    pub(crate) fn unlinked_exemplars(&self, query: &SeriesQuery) -> Found<Exemplar> {
        let mut found = Found { items: Vec::new(), partial: self.missing.to_vec() };
        for memtable in &self.memtables {
            memtable.exemplars(query, &mut found.items);
        }
        let mut left_out = 0;
        for block in self.blocks.iter().filter(|b| query.range.overlaps(b.min_time(), b.max_time())) {
            match block.exemplars(query, &mut found.items) {
                Ok(of_block) => left_out += of_block,
                Err(error) => found.partial.push(error.to_string()),
            }
        }
        merge::sort_exemplars(&mut found.items);
        let over = left_out + found.items.len().saturating_sub(query.limit);
        if over > 0 {
            found.items.truncate(query.limit);
            found.partial.push(format!("{over} exemplars over the limit of {} are left out", query.limit));
        }
        found
    }

    /// The services that sent anything, sorted by name.
    pub fn services(&self, range: TimeRange) -> Result<Found<ServiceSummary>, Error> {
        let blocks: Vec<&Arc<Block>> =
            self.blocks.iter().filter(|b| range.overlaps(b.min_time(), b.max_time())).collect();
        let mut services = Services::new(self.series.of(&blocks));
        let mut partial = self.missing.to_vec();
        for memtable in &self.memtables {
            memtable.services(range, &mut services);
        }
        for block in blocks {
            if let Err(error) = block.services(range, &mut services) {
                partial.push(error.to_string());
            }
        }
        Ok(Found { items: services.finish(), partial })
    }

    /// The patterns of log records in a window, the most frequent first, from what memtables and blocks have counted.
    pub fn patterns(&self, query: &PatternQuery) -> Result<Found<Pattern>, Error> {
        let mut list = PatternList::new(query);
        let mut partial = self.missing.to_vec();
        let mut blocks: Vec<&Arc<Block>> =
            self.blocks.iter().filter(|b| query.range.overlaps(b.min_time(), b.max_time())).collect();
        blocks.sort_by_key(|block| block.meta().id);
        for block in blocks {
            match block.pattern_table() {
                Ok(Some(table)) => list.add(&table),
                Ok(None) if block.lacks_patterns() => partial.push(format!(
                    "the records of block {} are in no count: it was written before there were patterns",
                    block.meta().name
                )),
                Ok(None) => {}
                Err(error) => partial.push(error.to_string()),
            }
        }
        for memtable in &self.memtables {
            memtable.patterns(query.range, &mut list);
        }
        let learner = self.memtables.last().map(MemtableView::learner);
        let (items, reason) = list.finish(|id| learner?.text(id));
        partial.extend(reason);
        Ok(Found { items, partial })
    }

    /// The pattern of a service's line of text, as its records are counted by; `None` where there is nothing that knows patterns, or
    /// no text.
    pub fn line_pattern(&self, service: &str, body: &str) -> Option<PatternId> {
        let learner = self.memtables.last()?.learner();
        (!body.is_empty()).then(|| learner.learn(service, Splitter::default().split(body).0).id)
    }

    /// Whether the trace that something refers to is here and, if not, why.
    pub fn link_state(&self, id: TraceId) -> Result<LinkState, Error> {
        self.link_state_since(id, None)
    }

    /// The same for a reference that neither a log record nor an exemplar makes, such as a span link, with its time: what it names may
    /// still be on its way.
    pub fn link_state_since(&self, id: TraceId, referred_at: Option<i64>) -> Result<LinkState, Error> {
        if self.memtables.iter().any(|memtable| memtable.has_spans(id)) {
            return Ok(LinkState::Resolved);
        }
        let mut dropped = None;
        for block in self.blocks.iter() {
            match block.kept(id)? {
                Kept::Spans => return Ok(LinkState::Resolved),
                Kept::Tombstone(Sampling::Dropped { policy, at, .. }) => {
                    dropped = Some(LinkState::Dropped { policy, at });
                }
                Kept::Tombstone(_) | Kept::References => {}
            }
        }
        if let Some(dropped) = dropped {
            return Ok(dropped);
        }
        let data = self.trace(id, Want { spans: false, logs: true, exemplars: true })?;
        let times = data.logs.iter().map(|log| log.time).chain(data.exemplars.iter().map(|e| e.time));
        let last = times.chain(referred_at).max();
        if let Some(at) = self.expired.at(id, last) {
            return Ok(LinkState::Expired { at });
        }
        Ok(match last {
            _ if data.logs.iter().any(|log| log.unsampled) => LinkState::Unsampled,
            Some(time) if time >= self.taken_at - PENDING_NS => LinkState::Pending,
            _ => LinkState::NeverReceived,
        })
    }

    /// Rows stored in blocks and memtables, duplicates included: spans, log records or data points.
    pub fn stored_rows(&self, signal: Signal) -> u64 {
        let memtables: u64 = self.memtables.iter().map(|memtable| memtable.rows(signal)).sum();
        memtables + self.blocks.iter().map(|block| block.rows(signal)).sum::<u64>()
    }

    fn newest_first(&self, range: &TimeRange) -> Vec<&Arc<Block>> {
        let mut blocks: Vec<&Arc<Block>> =
            self.blocks.iter().filter(|block| range.overlaps(block.min_time(), block.max_time())).collect();
        blocks.sort_by_key(|block| std::cmp::Reverse(block.max_time()));
        blocks
    }
}

fn series_left_out(cut: usize, limit: usize) -> Option<String> {
    (cut > 0).then(|| format!("{cut} series over the limit of {limit} are left out; ask for more"))
}
