//! Puts the parts of an answer together: one trace, series or page may lie in several memtables and blocks.
//!
//! Items that are equal in what identifies them (reliability promise I1) collapse here, so that a retry that was
//! batched anew is seen once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::{AHashMap as HashMap, AHashSet as HashSet};
use throughline_model::TraceId;
use throughline_model::record::{Exemplar, LogRecord, Point, Series, TraceSummary};
use throughline_model::trace::{Analyser, Analysis, SpanTiming};

use super::{ServiceSummary, TraceData, series_record};
use crate::memtable::SeriesEntry;

/// At most so many operations are listed of one service; the rest is still counted in its spans.
const OPERATIONS_MAX: usize = 1_000;

/// Sorts the parts of a trace by time and drops duplicates.
pub(crate) fn finish_trace(data: &mut TraceData) {
    data.spans.sort_by_key(|span| (span.start_time, span.span_id));
    let mut seen = HashSet::with_capacity(data.spans.len());
    data.spans.retain(|span| seen.insert((span.span_id, span.kind)));
    sort_logs(&mut data.logs);
    sort_exemplars(&mut data.exemplars);
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

/// The summary of a trace from its rows; `None` where nothing is known of it.
pub(crate) fn summarise(id: TraceId, data: &TraceData) -> Option<TraceSummary> {
    let times = || data.logs.iter().map(|log| log.time).chain(data.exemplars.iter().map(|e| e.time));
    let start_time = data.spans.iter().map(|span| span.start_time).min().or_else(|| times().min())?;
    let end_time = data.spans.iter().map(|span| span.end_time()).max().or_else(|| times().max())?;
    let timings: Vec<SpanTiming> = data
        .spans
        .iter()
        .map(|span| SpanTiming {
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            start: span.start_time,
            duration: span.duration_ns,
            error: span.is_error(),
        })
        .collect();
    let mut analysis = Analysis::default();
    Analyser::default().analyse(&timings, &mut analysis);
    let at = |index: Option<u32>| index.and_then(|index| data.spans.get(index as usize));
    let root = at(analysis.root).filter(|span| span.parent_span_id.is_none());
    let culprit = at(analysis.latency_culprit);
    let mut services: Vec<String> = data.spans.iter().map(|span| span.service.clone()).collect();
    services.sort_unstable();
    services.dedup();
    let culprit_self_ns =
        analysis.latency_culprit.and_then(|index| analysis.self_time.get(index as usize).copied());
    Some(TraceSummary {
        trace_id: id,
        start_time,
        duration_ns: end_time.saturating_sub(start_time),
        root_service: root.map(|span| span.service.clone()).unwrap_or_default(),
        root_name: root.map(|span| span.name.clone()).unwrap_or_default(),
        services,
        span_count: data.spans.len() as u32,
        error_count: data.spans.iter().filter(|span| span.is_error()).count() as u32,
        log_count: data.logs.len() as u32,
        error_log_count: data.logs.iter().filter(|log| log.severity_number >= 17).count() as u32,
        exemplar_count: data.exemplars.len() as u32,
        orphan_count: analysis.orphans,
        culprit_service: culprit.map(|span| span.service.clone()).unwrap_or_default(),
        culprit_name: culprit.map(|span| span.name.clone()).unwrap_or_default(),
        culprit_self_ns: culprit_self_ns.unwrap_or_default(),
    })
}

/// One summary of several, of which at most one has spans; the others count what refers to it.
pub(crate) fn sum_of(parts: Vec<TraceSummary>) -> Option<TraceSummary> {
    let has_spans = parts.iter().any(|part| part.span_count > 0);
    parts.into_iter().reduce(|a, b| {
        let (mut sum, other) = if b.span_count > 0 { (b, a) } else { (a, b) };
        if !has_spans {
            let end = |part: &TraceSummary| part.start_time.saturating_add(part.duration_ns);
            let last = end(&sum).max(end(&other));
            sum.start_time = sum.start_time.min(other.start_time);
            sum.duration_ns = last.saturating_sub(sum.start_time);
        }
        sum.log_count += other.log_count;
        sum.error_log_count += other.error_log_count;
        sum.exemplar_count += other.exemplar_count;
        sum
    })
}

/// The newest traces that a search has met so far.
pub(crate) struct TraceHits {
    limit: usize,
    starts: HashMap<TraceId, i64>,
}

impl TraceHits {
    pub(crate) fn new(limit: usize) -> TraceHits {
        TraceHits { limit: limit.max(1), starts: HashMap::new() }
    }

    /// How many traces are wanted.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Notes that a span of this trace meets the query.
    pub(crate) fn add(&mut self, id: TraceId, start: i64) {
        let known = self.starts.entry(id).or_insert(start);
        *known = (*known).min(start);
        if self.starts.len() > self.limit.saturating_mul(8).max(1_024) {
            let keep: HashSet<TraceId> = self.newest().into_iter().collect();
            self.starts.retain(|id, _| keep.contains(id));
        }
    }

    /// Whether nothing that starts at or before this time can still be among the newest.
    pub(crate) fn is_full_before(&self, time: i64) -> bool {
        self.starts.values().filter(|start| **start > time).count() >= self.limit
    }

    /// The newest traces, newest first, at most as many as the limit.
    pub(crate) fn newest(&self) -> Vec<TraceId> {
        let mut ids: Vec<(Reverse<i64>, TraceId)> =
            self.starts.iter().map(|(id, start)| (Reverse(*start), *id)).collect();
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

/// Services as they come together from memtables and blocks.
#[derive(Default)]
pub(crate) struct Services {
    by_name: BTreeMap<String, Service>,
}

#[derive(Default)]
struct Service {
    summary: ServiceSummary,
    operations: BTreeSet<String>,
    series: HashSet<[u8; 16]>,
}

impl Services {
    /// Changes what is known of a service.
    pub(crate) fn with(&mut self, service: &str, change: impl FnOnce(&mut ServiceSummary)) {
        change(&mut self.entry(service).summary);
    }

    /// Notes an operation of a service.
    pub(crate) fn operation(&mut self, service: &str, name: &str) {
        let operations = &mut self.entry(service).operations;
        if operations.len() < OPERATIONS_MAX && !operations.contains(name) {
            operations.insert(name.to_owned());
        }
    }

    /// Notes series of a service.
    pub(crate) fn series(&mut self, service: &str, fingerprints: &[[u8; 16]]) {
        self.entry(service).series.extend(fingerprints);
    }

    fn entry(&mut self, service: &str) -> &mut Service {
        if !self.by_name.contains_key(service) {
            self.by_name.insert(service.to_owned(), Service::default());
        }
        self.by_name.get_mut(service).expect("inserted above")
    }

    pub(crate) fn finish(self) -> Vec<ServiceSummary> {
        self.by_name
            .into_iter()
            .map(|(name, service)| ServiceSummary {
                service: name,
                series_count: service.series.len() as u64,
                operations: service.operations.into_iter().collect(),
                ..service.summary
            })
            .collect()
    }
}
