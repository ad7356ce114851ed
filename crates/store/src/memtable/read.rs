//! Questions to a memtable: look-ups by the sorted fingerprints, everything else by a scan over the columns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow_array::types::{Float64Type, Int64Type, UInt8Type, UInt32Type};
use arrow_array::{Array, RecordBatch, StringArray};
use throughline_model::attribute;
use throughline_model::batch::{
    column_binary, column_dictionary, column_fixed, column_number, column_text, column_time, exemplar, log,
    point, span,
};
use throughline_model::record::{Exemplar, LogRecord, Point};
use throughline_model::{Level, Signal, TraceId};

use super::patterns::pattern_of;
use super::{MiniBatch, SeriesEntry, Shared};
use crate::snapshot::merge::{SeriesList, SeriesPoints, TraceHits};
use crate::snapshot::summary::TraceParts;
use crate::snapshot::{
    LogQuery, SeriesQuery, TraceData, TraceQuery, Want, exemplar_row, log_row, series_record, span_part,
    span_row,
};

/// A memtable as it was when the view was taken.
#[derive(Clone)]
pub struct MemtableView {
    contents: std::sync::Arc<Shared>,
}

/// For each key of a dictionary column, whether its text is the wanted one; all where none is wanted.
pub(super) fn wanted_keys(rows: &RecordBatch, position: usize, wanted: Option<&str>) -> Vec<bool> {
    let column = column_dictionary(rows, position);
    let values: Option<&StringArray> = column.values().as_any().downcast_ref();
    let is_wanted = |value: Option<&str>| wanted.is_none_or(|wanted| value == Some(wanted));
    values.map(|values| values.iter().map(is_wanted).collect()).unwrap_or_default()
}

fn id_is(rows: &RecordBatch, position: usize, row: usize, id: TraceId) -> bool {
    column_fixed(rows, position).value(row) == id.0
}

impl SeriesEntry {
    /// Whether the series is one that the query asks for.
    pub(crate) fn matches(&self, query: &SeriesQuery) -> bool {
        query.metric.as_deref().is_none_or(|metric| metric == &*self.metric)
            && query.service.as_deref().is_none_or(|service| service == &*self.service)
            && (query.attributes.is_empty() || self.has_attributes(&query.attributes))
    }

    fn has_attributes(&self, wanted: &[(String, String)]) -> bool {
        let list = self.attributes.list();
        let has = |(key, wanted): &(String, String)| {
            attribute::get(&list, key).is_some_and(|value| value.to_text() == *wanted)
        };
        wanted.iter().all(has)
    }
}

/// A data point of a metric batch.
pub(crate) fn point_row(rows: &RecordBatch, row: usize) -> Point {
    let payload = column_binary(rows, point::PAYLOAD);
    Point {
        time: column_time(rows, point::TIME).value(row),
        start_time: column_time(rows, point::START_TIME).value(row),
        value: column_number::<Float64Type>(rows, point::VALUE).value(row),
        flags: column_number::<UInt32Type>(rows, point::FLAGS).value(row),
        payload: if payload.is_null(row) { Vec::new() } else { payload.value(row).to_vec() },
    }
}

impl MemtableView {
    pub(super) fn contents(&self) -> &Shared {
        &self.contents
    }

    pub(super) fn new(contents: Shared) -> MemtableView {
        MemtableView { contents: std::sync::Arc::new(contents) }
    }

    pub(crate) fn rows(&self, signal: Signal) -> u64 {
        let count = |rows: &RecordBatch| rows.num_rows() as u64;
        match signal {
            Signal::Traces => self.contents.spans.iter().map(|mini| count(&mini.rows)).sum(),
            Signal::Logs => self.contents.logs.iter().map(|mini| count(&mini.rows)).sum(),
            Signal::Metrics => self.contents.metrics.iter().map(|mini| count(&mini.points.rows)).sum(),
        }
    }

    /// The fingerprints of the traces with spans here; of some more than once.
    pub(crate) fn span_fingerprints(&self) -> impl Iterator<Item = u64> {
        self.contents.spans.iter().flat_map(|mini| mini.by_trace.fingerprints())
    }

    /// Whether spans of the trace are here.
    pub(crate) fn has_spans(&self, id: TraceId) -> bool {
        let fingerprint = id.fingerprint();
        let spans = &self.contents.spans;
        self.may_know(fingerprint)
            && spans
                .iter()
                .any(|mini| mini.rows_of(fingerprint).any(|row| id_is(&mini.rows, span::TRACE_ID, row, id)))
    }

    /// Adds what is here of traces, each to the parts in its place.
    pub(crate) fn trace_parts(&self, ids: &[TraceId], parts: &mut [TraceParts]) {
        let wanted: Vec<(TraceId, u64, usize)> = ids
            .iter()
            .enumerate()
            .map(|(at, id)| (*id, id.fingerprint(), at))
            .filter(|(_, fingerprint, _)| self.may_know(*fingerprint))
            .collect();
        let mut each = |mini: &MiniBatch, column: usize, add: &mut dyn FnMut(&mut TraceParts, usize)| {
            for (id, fingerprint, at) in &wanted {
                let Some(parts) = parts.get_mut(*at) else { continue };
                let rows = mini.rows_of(*fingerprint).filter(|row| id_is(&mini.rows, column, *row, *id));
                rows.for_each(|row| add(parts, row));
            }
        };
        if wanted.is_empty() {
            return;
        }
        for mini in self.contents.spans.iter() {
            let mut add = |parts: &mut TraceParts, row| {
                span_part(&mini.rows, row).into_iter().for_each(|span| parts.add_span(span));
            };
            each(mini, span::TRACE_ID, &mut add);
        }
        for mini in self.contents.logs.iter() {
            let times = column_time(&mini.rows, log::TIME);
            let severities = column_number::<UInt8Type>(&mini.rows, log::SEVERITY_NUMBER);
            let mut add =
                |parts: &mut TraceParts, row| parts.add_log(times.value(row), severities.value(row));
            each(mini, log::TRACE_ID, &mut add);
        }
        for metrics in self.contents.metrics.iter() {
            let times = column_time(&metrics.exemplars.rows, exemplar::TIME);
            let mut add = |parts: &mut TraceParts, row| parts.add_exemplar(times.value(row));
            each(&metrics.exemplars, exemplar::TRACE_ID, &mut add);
        }
    }

    /// Whether anything of a trace may be here; `false` is certain.
    pub(super) fn may_know(&self, fingerprint: u64) -> bool {
        self.contents.seen.may_contain(fingerprint)
    }

    pub(crate) fn trace(&self, id: TraceId, want: Want, data: &mut TraceData) {
        let fingerprint = id.fingerprint();
        if !self.may_know(fingerprint) {
            return;
        }
        if want.spans {
            for mini in self.contents.spans.iter() {
                let rows =
                    mini.rows_of(fingerprint).filter(|row| id_is(&mini.rows, span::TRACE_ID, *row, id));
                data.spans.extend(rows.filter_map(|row| span_row(&mini.rows, row)));
            }
        }
        if want.logs {
            for mini in self.contents.logs.iter() {
                let rows = mini.rows_of(fingerprint).filter(|row| id_is(&mini.rows, log::TRACE_ID, *row, id));
                data.logs.extend(rows.map(|row| log_row(&mini.rows, row, self.learner())));
            }
        }
        if want.exemplars {
            for metrics in self.contents.metrics.iter() {
                let mini = &metrics.exemplars;
                for row in mini.rows_of(fingerprint).filter(|r| id_is(&mini.rows, exemplar::TRACE_ID, *r, id))
                {
                    let batch_series = column_number::<UInt32Type>(&mini.rows, exemplar::SERIES).value(row);
                    if let Some(series) = self.series(&metrics.series, batch_series) {
                        data.exemplars.push(exemplar_row(&mini.rows, row, series));
                    }
                }
            }
        }
    }

    fn series(&self, of_batch: &[u32], row: u32) -> Option<&SeriesEntry> {
        let index = of_batch.get(row as usize)?;
        self.contents.series.get(*index as usize).map(|series| &**series)
    }

    pub(crate) fn search_traces(&self, query: &TraceQuery, hits: &mut TraceHits) {
        let durations = query.min_duration_ns.unwrap_or(i64::MIN)..=query.max_duration_ns.unwrap_or(i64::MAX);
        // What came last is mostly newest.
        for mini in self.contents.spans.iter().rev() {
            let extremes = &mini.extremes;
            if !query.range.overlaps(mini.min_time, mini.max_time)
                || query.error == Some(true) && !extremes.has_error
                || extremes.longest_ns < *durations.start()
                || hits.is_full_before(mini.max_time)
            {
                continue;
            }
            let rows = &mini.rows;
            let services = wanted_keys(rows, span::SERVICE, query.service.as_deref());
            if !services.contains(&true) {
                continue;
            }
            let starts = column_time(rows, span::START_TIME).values();
            let spans = column_number::<Int64Type>(rows, span::DURATION).values();
            let status = column_number::<UInt8Type>(rows, span::STATUS_CODE).values();
            let of_service = column_dictionary(rows, span::SERVICE);
            let (names, ids) = (column_text(rows, span::NAME), column_fixed(rows, span::TRACE_ID));
            for (row, ((start, duration), status)) in starts.iter().zip(spans).zip(status).enumerate() {
                let hit = query.error.is_none_or(|error| (*status == 2) == error)
                    && durations.contains(duration)
                    && query.range.contains(*start)
                    && !hits.is_too_old(*start)
                    && of_service.key(row).is_some_and(|key| services.get(key) == Some(&true))
                    && query.operation.as_deref().is_none_or(|operation| names.value(row) == operation);
                if hit && let Some(id) = TraceId::from_slice(ids.value(row)) {
                    hits.add(id, *start);
                }
            }
        }
    }

    pub(crate) fn search_logs(&self, query: &LogQuery, found: &mut Vec<LogRecord>) {
        // The newest so far: a heap whose top is the oldest of them. Records are made of what remains at the end.
        let mut newest: BinaryHeap<Reverse<(i64, usize, usize)>> = BinaryHeap::new();
        let minis: Vec<&MiniBatch> = self.contents.logs.iter().map(|mini| &**mini).collect();
        // What came last is mostly newest.
        for (number, mini) in minis.iter().enumerate().rev() {
            let is_old = newest.len() >= query.limit
                && newest.peek().is_some_and(|Reverse((oldest, ..))| mini.max_time < *oldest);
            let is_mild = mini.extremes.severest < query.min_severity;
            if is_old || is_mild || !query.range.overlaps(mini.min_time, mini.max_time) {
                continue;
            }
            let rows = &mini.rows;
            let services = wanted_keys(rows, log::SERVICE, query.service.as_deref());
            if !services.contains(&true) || !holds(rows, query.contains.as_deref()) {
                continue;
            }
            let times = column_time(rows, log::TIME).values();
            let severities = column_number::<UInt8Type>(rows, log::SEVERITY_NUMBER).values();
            let levels = column_number::<UInt8Type>(rows, log::LEVEL).values();
            let of_service = column_dictionary(rows, log::SERVICE);
            let bodies = column_text(rows, log::BODY);
            let finder = query.contains.as_deref().map(memchr::memmem::Finder::new);
            for (row, ((time, severity), level)) in times.iter().zip(severities).zip(levels).enumerate() {
                let hit = Level::from_code(*level).severity(*severity) >= query.min_severity
                    && query.range.contains(*time)
                    && of_service.key(row).is_some_and(|key| services.get(key) == Some(&true))
                    && finder.as_ref().is_none_or(|text| text.find(bodies.value(row).as_bytes()).is_some())
                    && query.pattern.is_none_or(|id| pattern_of(rows, row, self.learner()) == Some(id));
                if hit {
                    newest.push(Reverse((*time, number, row)));
                    if newest.len() > query.limit {
                        newest.pop();
                    }
                }
            }
        }
        let hits = newest.into_iter();
        // In the order of the log, so that whoever reads first learns the same patterns.
        let mut hits: Vec<(usize, usize)> = hits.map(|Reverse((_, number, row))| (number, row)).collect();
        hits.sort_unstable();
        let record =
            |(number, row): (usize, usize)| Some(log_row(&minis.get(number)?.rows, row, self.learner()));
        found.extend(hits.into_iter().filter_map(record));
    }

    /// Adds the series that have a point in the range.
    pub(crate) fn series_with_points(&self, query: &SeriesQuery, list: &mut SeriesList) {
        let mut wanted: Vec<bool> = self.contents.series.iter().map(|series| series.matches(query)).collect();
        for metrics in self.contents.metrics.iter() {
            let mini = &metrics.points;
            if !query.range.overlaps(mini.min_time, mini.max_time) {
                continue;
            }
            let of_row = column_number::<UInt32Type>(&mini.rows, point::SERIES).values();
            let times = column_time(&mini.rows, point::TIME).values();
            for (batch_series, _) in of_row.iter().zip(times).filter(|(_, time)| query.range.contains(**time))
            {
                let Some(index) = metrics.series.get(*batch_series as usize) else { continue };
                if let Some(is_wanted) = wanted.get_mut(*index as usize).filter(|is_wanted| **is_wanted) {
                    *is_wanted = false;
                    list.extend(self.contents.series.get(*index as usize).map(|series| (**series).clone()));
                }
            }
        }
    }

    pub(crate) fn points(&self, query: &SeriesQuery, merged: &mut SeriesPoints) {
        let wanted: Vec<bool> = self.contents.series.iter().map(|series| series.matches(query)).collect();
        for metrics in self.contents.metrics.iter() {
            let mini = &metrics.points;
            if !query.range.overlaps(mini.min_time, mini.max_time) {
                continue;
            }
            let of_row = column_number::<UInt32Type>(&mini.rows, point::SERIES).values();
            let times = column_time(&mini.rows, point::TIME).values();
            for (row, (batch_series, time)) in of_row.iter().zip(times).enumerate() {
                let Some(index) = metrics.series.get(*batch_series as usize) else { continue };
                let is_wanted = wanted.get(*index as usize).copied().unwrap_or(false);
                if is_wanted && query.range.contains(*time) {
                    let Some(series) = self.contents.series.get(*index as usize) else { continue };
                    let record = || series_record(series);
                    merged.add(series.fingerprint, record, [point_row(&mini.rows, row)]);
                }
            }
        }
    }

    pub(crate) fn exemplars(&self, query: &SeriesQuery, found: &mut Vec<Exemplar>) {
        for metrics in self.contents.metrics.iter() {
            let mini = &metrics.exemplars;
            if !query.range.overlaps(mini.min_time, mini.max_time) {
                continue;
            }
            let of_row = column_number::<UInt32Type>(&mini.rows, exemplar::SERIES).values();
            let times = column_time(&mini.rows, exemplar::TIME).values();
            for (row, (batch_series, time)) in of_row.iter().zip(times).enumerate() {
                if let Some(series) = self.series(&metrics.series, *batch_series)
                    && query.range.contains(*time)
                    && series.matches(query)
                {
                    found.push(exemplar_row(&mini.rows, row, series));
                }
            }
        }
    }
}

/// Whether the bodies of log records, one after the other, hold a text; where they do not, no body does.
fn holds(rows: &RecordBatch, text: Option<&str>) -> bool {
    let bodies = column_text(rows, log::BODY);
    let offsets = bodies.value_offsets();
    let (Some(text), Some(from), Some(to)) = (text, offsets.first(), offsets.last()) else { return true };
    let bytes = bodies.value_data().get(*from as usize..*to as usize).unwrap_or_default();
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}
