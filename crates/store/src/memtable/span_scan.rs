//! Spans of memtables for scans and for whole traces: rows of mini-batches, and their columns when they are asked for.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, UInt8Type};
use arrow_array::{Array, BinaryArray, Float64Array};
use throughline_model::attribute::{self, Value};
use throughline_model::batch::{column_binary, column_fixed, column_number, column_text, column_time, span};
use throughline_model::{SpanId, TraceId};

use super::{MemtableView, MiniBatch};
use crate::snapshot::TimeRange;
use crate::snapshot::rows::{dictionary, events_json, links_json};
use crate::snapshot::span_scan::{SpanColumn, SpanRun, SpanScan, SpanTrace};
use crate::snapshot::span_values::SpanValues;

/// Spans of a batch in which traces are whole, at least: as many as a row group of a block has.
const BATCH_SPANS: usize = 8_192;

/// Spans of memtables, in any order.
pub(crate) struct MemtableSpans {
    minis: Vec<Arc<MiniBatch>>,
    /// The mini-batch and the row of each.
    at: Vec<(u32, u32)>,
    runs: Vec<SpanRun>,
    /// Whether other spans of the same traces may be elsewhere in memory.
    pub(crate) is_torn: bool,
}

impl MemtableSpans {
    /// The spans of memtables in batches: of one mini-batch each or, where traces are wanted whole, of some traces each.
    pub(crate) fn of(memtables: &[&MemtableView], scan: &SpanScan<'_>) -> Vec<MemtableSpans> {
        // A trace may reach into the window from before it: what is in memory is not old.
        let is_wanted = |mini: &&Arc<MiniBatch>| match scan.of_traces {
            true => mini.min_time < scan.range.end,
            false => scan.range.overlaps(mini.min_time, mini.max_time),
        };
        let minis = memtables.iter().flat_map(|memtable| memtable.contents().spans.iter());
        let mut minis: Vec<Arc<MiniBatch>> = minis.filter(is_wanted).cloned().collect();
        if scan.whole {
            return whole_traces(&minis);
        }
        if scan.newest_first {
            minis.sort_by_key(|mini| std::cmp::Reverse(mini.max_time));
        }
        minis.into_iter().map(MemtableSpans::of_mini).filter(|spans| spans.len() > 0).collect()
    }

    fn of_mini(mini: Arc<MiniBatch>) -> MemtableSpans {
        let n_rows = mini.rows.num_rows() as u32;
        let at: Vec<(u32, u32)> = (0..n_rows).map(|row| (0, row)).collect();
        MemtableSpans { is_torn: true, ..MemtableSpans::new(vec![mini], at) }
    }

    /// All spans of a trace, if there are any.
    pub(crate) fn of_trace(memtables: &[&MemtableView], id: TraceId) -> Option<MemtableSpans> {
        let fingerprint = id.fingerprint();
        let (mut minis, mut at): (Vec<Arc<MiniBatch>>, Vec<(u32, u32)>) = (Vec::new(), Vec::new());
        for memtable in memtables.iter().filter(|memtable| memtable.may_know(fingerprint)) {
            for mini in memtable.contents().spans.iter() {
                let number = minis.len() as u32;
                let ids = column_fixed(&mini.rows, span::TRACE_ID);
                let rows = mini.rows_of(fingerprint).filter(|row| ids.value(*row) == id.0);
                let before = at.len();
                at.extend(rows.map(|row| (number, row as u32)));
                if at.len() > before {
                    minis.push(mini.clone());
                }
            }
        }
        (!at.is_empty()).then(|| MemtableSpans::new(minis, at))
    }

    fn new(minis: Vec<Arc<MiniBatch>>, at: Vec<(u32, u32)>) -> MemtableSpans {
        let mut spans = MemtableSpans { minis, at, runs: Vec::new(), is_torn: false };
        let mut runs: Vec<SpanRun> = Vec::new();
        let mut last: Option<&[u8]> = None;
        for (row, (mini, of_mini)) in (0u32..).zip(&spans.at) {
            let id = spans
                .minis
                .get(*mini as usize)
                .map(|mini| column_fixed(&mini.rows, span::TRACE_ID).value(*of_mini as usize));
            match runs.last_mut() {
                Some(run) if last == id => run.1 = row + 1,
                _ => runs.push((row, row + 1, runs.len() as u32)),
            }
            last = id;
        }
        spans.runs = runs;
        spans
    }

    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    pub(crate) fn runs(&self) -> &[SpanRun] {
        &self.runs
    }

    pub(crate) fn starts_within(&self, range: TimeRange) -> bool {
        self.minis.iter().all(|mini| range.contains(mini.min_time) && range.contains(mini.max_time))
    }

    pub(crate) fn traces(&self, runs: &[SpanRun]) -> Vec<SpanTrace> {
        let one = |(start, end, _): &SpanRun| {
            let rows = self.at.get(*start as usize..*end as usize).unwrap_or_default();
            let mut trace = SpanTrace { id: TraceId([0; 16]), start: i64::MAX, end: i64::MIN };
            for (mini, row) in self.places(rows) {
                let id = column_fixed(&mini.rows, span::TRACE_ID).value(row);
                trace.id = TraceId::from_slice(id).unwrap_or(trace.id);
                let start = column_time(&mini.rows, span::START_TIME).value(row);
                let duration = column_number::<Int64Type>(&mini.rows, span::DURATION).value(row);
                trace.start = trace.start.min(start);
                trace.end = trace.end.max(start.saturating_add(duration.max(0)));
            }
            trace
        };
        runs.iter().map(one).collect()
    }

    fn places<'s>(&'s self, at: &'s [(u32, u32)]) -> impl Iterator<Item = (&'s MiniBatch, usize)> {
        at.iter().filter_map(|(mini, row)| Some((&**self.minis.get(*mini as usize)?, *row as usize)))
    }

    /// A column, of all rows or of those named.
    pub(crate) fn column(&self, column: SpanColumn<'_>, rows: Option<&[u32]>) -> SpanValues {
        let chosen: Vec<(u32, u32)>;
        let at = match rows {
            Some(rows) => {
                chosen = rows.iter().filter_map(|row| self.at.get(*row as usize).copied()).collect();
                chosen.as_slice()
            }
            None => self.at.as_slice(),
        };
        let places = || self.places(at);
        match column {
            SpanColumn::Name => self.text(at, span::NAME),
            SpanColumn::StatusMessage => self.text(at, span::STATUS_MESSAGE),
            SpanColumn::Kind => self.codes(at, span::KIND),
            SpanColumn::Status => self.codes(at, span::STATUS_CODE),
            SpanColumn::Start => {
                let times = places().map(|(mini, row)| column_time(&mini.rows, span::START_TIME).value(row));
                SpanValues::Ints(times.collect(), None)
            }
            SpanColumn::Duration => {
                let duration = |(mini, row): (&MiniBatch, usize)| {
                    column_number::<Int64Type>(&mini.rows, span::DURATION).value(row)
                };
                SpanValues::Ints(places().map(duration).collect(), None)
            }
            SpanColumn::Service => self.key_text(at, span::SERVICE),
            SpanColumn::Resource => self.key_text(at, span::RESOURCE),
            SpanColumn::Scope => self.key_text(at, span::SCOPE),
            SpanColumn::Events => self.json(at, span::EVENTS, events_json),
            SpanColumn::Links => self.json(at, span::LINKS, links_json),
            SpanColumn::SpanId => self.ids(at, span::SPAN_ID),
            SpanColumn::ParentId => self.ids(at, span::PARENT_SPAN_ID),
            SpanColumn::ParentRow => SpanValues::None,
            SpanColumn::HasParent => {
                let has =
                    places().map(|(mini, row)| !column_fixed(&mini.rows, span::PARENT_SPAN_ID).is_null(row));
                SpanValues::Bools(has.collect(), None)
            }
            SpanColumn::AdjustedCount => self.adjusted_counts(at),
            SpanColumn::Attribute(key) => self.attribute(at, key),
            SpanColumn::TraceStart | SpanColumn::TraceDuration => {
                let traces = self.traces(&self.runs);
                let value = |run: usize| {
                    traces.get(run).map_or(0, |trace| match column {
                        SpanColumn::TraceStart => trace.start,
                        _ => trace.end.saturating_sub(trace.start),
                    })
                };
                SpanValues::Ints(self.run_numbers(rows).map(value).collect(), None)
            }
            SpanColumn::RootService | SpanColumn::RootName => {
                let position = if column == SpanColumn::RootService { span::SERVICE } else { span::NAME };
                let of_run: Vec<&str> = self.runs.iter().map(|run| self.root(run, position)).collect();
                SpanValues::texts(self.run_numbers(rows).map(|run| of_run.get(run).copied()))
            }
        }
    }

    fn adjusted_counts(&self, at: &[(u32, u32)]) -> SpanValues {
        let counts = |mini: &MiniBatch| {
            let counts = column_number::<Float64Type>(&mini.rows, span::ADJUSTED_COUNT);
            (counts.null_count() < counts.len()).then(|| counts.clone())
        };
        let of_minis: Vec<Option<Float64Array>> = self.minis.iter().map(|mini| counts(mini)).collect();
        if of_minis.iter().all(Option::is_none) {
            return SpanValues::None;
        }
        let count = |(mini, row): &(u32, u32)| {
            let counts = of_minis.get(*mini as usize)?.as_ref()?;
            let row = *row as usize;
            (row < counts.len() && !counts.is_null(row)).then(|| counts.value(row))
        };
        let (values, present): (Vec<f64>, Vec<bool>) =
            at.iter().map(|place| count(place).map_or((0.0, false), |count| (count, true))).unzip();
        match present.contains(&true) {
            true => SpanValues::Doubles(values, present.contains(&false).then_some(present)),
            false => SpanValues::None,
        }
    }

    fn codes(&self, at: &[(u32, u32)], position: usize) -> SpanValues {
        let code = |(mini, row): (&MiniBatch, usize)| {
            i64::from(column_number::<UInt8Type>(&mini.rows, position).value(row))
        };
        SpanValues::Ints(self.places(at).map(code).collect(), None)
    }

    /// A column whose texts have keys.
    fn key_text(&self, at: &[(u32, u32)], position: usize) -> SpanValues {
        SpanValues::texts(self.places(at).map(|(mini, row)| Some(dictionary(&mini.rows, position, row))))
    }

    fn text(&self, at: &[(u32, u32)], position: usize) -> SpanValues {
        SpanValues::texts(self.places(at).map(|(mini, row)| {
            let texts = column_text(&mini.rows, position);
            (!texts.is_null(row)).then(|| texts.value(row))
        }))
    }

    fn ids(&self, at: &[(u32, u32)], position: usize) -> SpanValues {
        let id = |(mini, row): (&MiniBatch, usize)| {
            let ids = column_fixed(&mini.rows, position);
            if ids.is_null(row) { None } else { SpanId::from_slice(ids.value(row)) }
        };
        SpanValues::Ids(self.places(at).map(id).collect())
    }

    /// The run of each row.
    fn run_numbers<'s>(&'s self, rows: Option<&'s [u32]>) -> Box<dyn Iterator<Item = usize> + 's> {
        let run_of = |row: u32| self.runs.partition_point(|(_, end, _)| *end <= row);
        match rows {
            Some(rows) => Box::new(rows.iter().map(move |row| run_of(*row))),
            None => Box::new((0..self.at.len() as u32).map(run_of)),
        }
    }

    /// A text of the root span of a run: the first without a parent.
    fn root(&self, (start, end, _): &SpanRun, position: usize) -> &str {
        let rows = self.at.get(*start as usize..*end as usize).unwrap_or_default();
        let roots = self
            .places(rows)
            .filter(|(mini, row)| column_fixed(&mini.rows, span::PARENT_SPAN_ID).is_null(*row));
        let first = roots.min_by_key(|(mini, row)| column_time(&mini.rows, span::START_TIME).value(*row));
        first.map_or("", |(mini, row)| match position {
            span::NAME => column_text(&mini.rows, span::NAME).value(row),
            position => dictionary(&mini.rows, position, row),
        })
    }

    fn attribute(&self, at: &[(u32, u32)], key: &str) -> SpanValues {
        let value = |(mini, row): &(u32, u32)| -> Option<Value<'_>> {
            let mini = self.minis.get(*mini as usize)?;
            attribute::get(column_binary(&mini.rows, span::ATTRIBUTES).value(*row as usize), key)
        };
        let values: Vec<Option<Value<'_>>> = at.iter().map(value).collect();
        SpanValues::attributes(&values)
    }

    /// The keys of attributes.
    pub(crate) fn attribute_keys(&self) -> Vec<String> {
        let mut keys: ahash::AHashSet<&str> = ahash::AHashSet::new();
        for (mini, row) in self.places(&self.at) {
            let list = column_binary(&mini.rows, span::ATTRIBUTES).value(row);
            keys.extend(attribute::iter(list).map(|(key, _)| key));
        }
        keys.into_iter().map(str::to_owned).collect()
    }

    fn json(
        &self,
        at: &[(u32, u32)],
        position: usize,
        convert: fn(&[u8]) -> serde_json::Value,
    ) -> SpanValues {
        let text = |(mini, row): (&MiniBatch, usize)| {
            let lists: &BinaryArray = column_binary(&mini.rows, position);
            (!lists.is_null(row)).then(|| convert(lists.value(row)).to_string())
        };
        let texts: Vec<Option<String>> = self.places(at).map(text).collect();
        SpanValues::texts(texts.iter().map(Option::as_deref))
    }
}

/// The spans of mini-batches in batches of whole traces.
fn whole_traces(minis: &[Arc<MiniBatch>]) -> Vec<MemtableSpans> {
    let mut all = Vec::new();
    for (number, mini) in (0u32..).zip(minis) {
        let ids = column_fixed(&mini.rows, span::TRACE_ID);
        let starts = column_time(&mini.rows, span::START_TIME).values();
        all.extend((0u32..).zip(starts).map(|(row, start)| (ids.value(row as usize), *start, number, row)));
    }
    all.sort_unstable();
    let mut batches = Vec::new();
    let mut at: Vec<(u32, u32)> = Vec::new();
    for of_trace in all.chunk_by(|a, b| a.0 == b.0) {
        at.extend(of_trace.iter().map(|(.., mini, row)| (*mini, *row)));
        if at.len() >= BATCH_SPANS {
            batches.push(MemtableSpans::new(minis.to_vec(), std::mem::take(&mut at)));
        }
    }
    if !at.is_empty() {
        batches.push(MemtableSpans::new(minis.to_vec(), at));
    }
    batches
}
