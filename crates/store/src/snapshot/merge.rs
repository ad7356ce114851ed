//! Puts the parts of an answer together: one trace, series or page may lie in several memtables and blocks.
//!
//! Items that are equal in what identifies them (reliability promise I1) collapse here, so that a retry that was
//! batched anew is seen once.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use throughline_model::TraceId;
use throughline_model::record::{Exemplar, LogRecord, Point, Series, Span};

use super::{TraceData, series_record};
use crate::memtable::SeriesEntry;
use crate::same_span::{SpanIdentity, keep_once};

/// Sorts the parts of a trace by time and drops duplicates.
pub(crate) fn finish_trace(data: &mut TraceData) {
    keep_once(&mut data.spans, |span| span.start_time, |a, b| identity(a).cmp(&identity(b)));
    sort_logs(&mut data.logs);
    sort_exemplars(&mut data.exemplars);
}

fn identity(span: &Span) -> SpanIdentity<'_> {
    SpanIdentity {
        start: span.start_time,
        span_id: span.span_id,
        kind: span.kind,
        duration: span.duration_ns,
        name: &span.name,
        service: &span.service,
    }
}

fn sort_logs(logs: &mut Vec<LogRecord>) {
    logs.sort_by(|a, b| (a.time, &a.service).cmp(&(b.time, &b.service)));
    drop_equal_neighbours(logs, |log| log.time);
}

/// Keeps the newest records, newest first, without duplicates.
pub(crate) fn keep_newest_logs(logs: &mut Vec<LogRecord>, limit: usize) {
    logs.sort_by(|a, b| (Reverse(a.time), &a.service).cmp(&(Reverse(b.time), &b.service)));
    drop_equal_neighbours(logs, |log| log.time);
    logs.truncate(limit);
}

/// Sorts exemplars by time and drops duplicates.
pub(crate) fn sort_exemplars(exemplars: &mut Vec<Exemplar>) {
    exemplars.sort_by(|a, b| (a.time, &a.series).cmp(&(b.time, &b.series)));
    drop_equal_neighbours(exemplars, |exemplar| exemplar.time);
}

/// Drops items that equal an earlier one of the same time. The items are sorted by time.
fn drop_equal_neighbours<T: PartialEq>(items: &mut Vec<T>, time: impl Fn(&T) -> i64) {
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let twin =
            kept.iter().rev().take_while(|other| time(other) == time(&item)).any(|other| *other == item);
        if !twin {
            kept.push(item);
        }
    }
    *items = kept;
}

/// The newest traces that a search has met so far: those whose newest span that meets the query is newest.
pub(crate) struct TraceHits {
    limit: usize,
    newest: HashMap<TraceId, i64>,
    /// As many traces as are wanted are newer than this, or as new.
    floor: Option<i64>,
    /// Whether traces were added or have become newer since the floor was found.
    is_changed: bool,
}

impl TraceHits {
    pub(crate) fn new(limit: usize) -> TraceHits {
        TraceHits { limit: limit.max(1), newest: HashMap::new(), floor: None, is_changed: false }
    }

    /// How many traces are wanted.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a span that starts then adds nothing.
    #[inline]
    pub(crate) fn is_too_old(&self, start: i64) -> bool {
        self.floor.is_some_and(|floor| start < floor)
    }

    /// Notes that a span of this trace, which starts then, meets the query.
    pub(crate) fn add(&mut self, id: TraceId, start: i64) {
        if self.is_too_old(start) {
            return;
        }
        let known = self.newest.entry(id).or_insert(start);
        *known = (*known).max(start);
        self.is_changed = true;
        if self.newest.len() > self.limit.saturating_mul(4).max(256) {
            self.raise_floor();
        }
    }

    /// Whether nothing that starts at or before this time can still be among the newest.
    pub(crate) fn is_full_before(&mut self, time: i64) -> bool {
        if self.is_changed {
            self.raise_floor();
        }
        self.floor.is_some_and(|floor| floor > time)
    }

    /// Keeps as many traces as are wanted.
    fn raise_floor(&mut self) {
        self.is_changed = false;
        let mut all: Vec<(Reverse<i64>, TraceId)> = self.in_any_order().collect();
        if all.len() < self.limit {
            return;
        }
        let (kept, (Reverse(floor), last), _) = all.select_nth_unstable(self.limit - 1);
        self.floor = Some(*floor);
        self.newest = kept.iter().map(|(Reverse(start), id)| (*id, *start)).collect();
        self.newest.insert(*last, *floor);
    }

    fn in_any_order(&self) -> impl Iterator<Item = (Reverse<i64>, TraceId)> {
        self.newest.iter().map(|(id, start)| (Reverse(*start), *id))
    }

    /// The newest traces, newest first, at most as many as the limit.
    pub(crate) fn newest(&self) -> Vec<TraceId> {
        let mut ids: Vec<(Reverse<i64>, TraceId)> = self.in_any_order().collect();
        ids.sort_unstable();
        ids.into_iter().take(self.limit).map(|(_, id)| id).collect()
    }
}

/// Series and points as they come together from memtables and blocks.
#[derive(Default)]
pub(crate) struct SeriesPoints {
    by_fingerprint: BTreeMap<[u8; 16], (Series, Vec<Point>)>,
}

impl SeriesPoints {
    /// Adds points of a series. Later calls win over earlier ones where times are equal.
    pub(crate) fn add(
        &mut self,
        fingerprint: [u8; 16],
        series: impl FnOnce() -> Series,
        points: impl IntoIterator<Item = Point>,
    ) {
        self.by_fingerprint.entry(fingerprint).or_insert_with(|| (series(), Vec::new())).1.extend(points);
    }

    /// The series by metric, service and fingerprint, and how many are over the limit.
    pub(crate) fn finish(self, limit: usize) -> (Vec<(Series, Vec<Point>)>, usize) {
        let mut items: Vec<(Series, Vec<Point>)> =
            self.by_fingerprint.into_values().filter(|(_, points)| !points.is_empty()).collect();
        items.sort_by(|(a, _), (b, _)| {
            (&a.metric, &a.service, &a.fingerprint).cmp(&(&b.metric, &b.service, &b.fingerprint))
        });
        let cut = items.len().saturating_sub(limit);
        items.truncate(limit);
        for (_, points) in &mut items {
            // A stable sort keeps the order of arrival among equal times; the last of them is the one to keep.
            points.sort_by_key(|point| point.time);
            points.reverse();
            points.dedup_by_key(|point| point.time);
            points.reverse();
        }
        (items, cut)
    }
}

/// Metric, service and fingerprint.
type SeriesOrder = (Arc<str>, Arc<str>, [u8; 16]);

/// Series as they come together from memtables and blocks.
#[derive(Default)]
pub(crate) struct SeriesList {
    by_order: BTreeMap<SeriesOrder, SeriesEntry>,
}

impl Extend<SeriesEntry> for SeriesList {
    fn extend<T: IntoIterator<Item = SeriesEntry>>(&mut self, series: T) {
        for entry in series {
            let key = (entry.metric.clone(), entry.service.clone(), entry.fingerprint);
            self.by_order.entry(key).or_insert(entry);
        }
    }
}

impl SeriesList {
    /// The series by metric, service and fingerprint, and how many are over the limit.
    pub(crate) fn finish(self, limit: usize) -> (Vec<Series>, usize) {
        let cut = self.by_order.len().saturating_sub(limit);
        (self.by_order.values().take(limit).map(series_record).collect(), cut)
    }
}
