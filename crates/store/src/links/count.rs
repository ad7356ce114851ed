//! Counts references as a block's rows are written: the same for a flush and a merge, which both know by then which traces
//! the block has spans of.
//!
//! Log records come by service and time, so that references that hold cost a comparison with the minute at hand; only
//! those that do not hold are kept one by one, until the end puts them together by trace.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use arrow_array::types::{UInt8Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use serde::Deserialize;
use throughline_model::TraceId;
use throughline_model::link::{LinkKind, UNSAMPLED};

use super::MINUTE_NS;
use super::table::{Cell, Class, LinkTable, Malformed, Open, OpenSpanLink};
use crate::block::metrics::ExemplarEntry;
use crate::block::read::Columns;
use crate::block::texts::{TextId, Texts};
use crate::block::traces::{Fate, TraceEntry};

/// Examples of references that cannot be read, of each service and kind.
const MALFORMED_MAX: usize = 5;

/// How much of a text that is no id is kept.
const FORM_BYTES: usize = 128;

/// What the block has of a trace that something refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Spans,
    /// A tombstone, with the policy's text.
    Dropped(TextId),
    Nothing,
}

impl Within {
    fn of(entry: &TraceEntry) -> Within {
        match entry.fate {
            _ if entry.postings.span_count > 0 => Within::Spans,
            Fate::Dropped { policy, .. } => Within::Dropped(policy),
            Fate::Undecided | Fate::Kept { .. } => Within::Nothing,
        }
    }

    fn class(self) -> Option<Class> {
        match self {
            Within::Spans => Some(Class::Resolved),
            Within::Dropped(policy) => Some(Class::Dropped(policy)),
            Within::Nothing => None,
        }
    }
}

/// The place of a count.
type Place = (u32, LinkKind, Class, i64);

/// Counts the references of one block.
#[derive(Default)]
pub(crate) struct LinkCounter {
    numbers: HashMap<Arc<str>, u32>,
    services: Vec<Arc<str>>,
    /// Counts, and the row of one of the traces.
    cells: HashMap<Place, (u64, Option<u32>)>,
    open: Vec<Open>,
    span_links: HashMap<(u32, i64, TraceId), u32>,
    malformed: Vec<Malformed>,
    /// Spans so far.
    n_spans: u32,
    /// The fingerprint of each trace that a span links to, and the span's row.
    referrers: Vec<(u64, u32)>,
}

/// References of one service and minute that hold.
struct Run {
    service: u32,
    minute: i64,
    logs: u64,
    spans: u64,
    example: Option<u32>,
}

/// A span link as `spans.parquet` has it.
#[derive(Deserialize)]
struct SpanLink {
    #[serde(default)]
    trace_id: String,
}

impl LinkCounter {
    fn service(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let (name, number): (Arc<str>, u32) = (name.into(), self.services.len() as u32);
        self.numbers.insert(name.clone(), number);
        self.services.push(name);
        number
    }

    fn add(&mut self, (service, kind, class, minute): Place, count: u64, example: Option<u32>) {
        if count > 0 {
            let cell = self.cells.entry((service, kind, class, minute)).or_insert((0, example));
            cell.0 += count;
        }
    }

    fn add_run(&mut self, run: &Run) {
        let place = |kind| (run.service, kind, Class::Resolved, run.minute);
        self.add(place(LinkKind::LogTrace), run.logs, run.example);
        self.add(place(LinkKind::LogSpan), run.spans, run.example);
    }

    fn add_malformed(&mut self, service: u32, kind: LinkKind, time: i64, form: &str) {
        self.add((service, kind, Class::Malformed, time.div_euclid(MINUTE_NS)), 1, None);
        let known = self.malformed.iter().filter(|other| (other.service, other.kind) == (service, kind));
        if known.count() < MALFORMED_MAX {
            let cut = form.floor_char_boundary(FORM_BYTES);
            let form = form.get(..cut).unwrap_or_default().to_owned();
            self.malformed.push(Malformed { service, kind, time, form });
        }
    }

    /// Counts rows of `logs.parquet`, in the order of the file; `traces` are the block's.
    pub(crate) fn add_logs(&mut self, rows: &RecordBatch, traces: &[TraceEntry]) {
        let columns = Columns::new(rows);
        let (Some((services, names)), Some(times), Some(sources)) = (
            columns.dictionary("service"),
            columns.times("time"),
            columns.numbers::<UInt8Type>("trace_source"),
        ) else {
            return;
        };
        let numbers: Vec<u32> = names.iter().map(|name| self.service(name.unwrap_or_default())).collect();
        let row_of = |name: &str| columns.numbers::<UInt32Type>(name);
        let (trace_rows, span_rows) = (row_of("trace_row"), row_of("span_row"));
        let is_set = |name: &str| rows.column_by_name(name).filter(|of| of.null_count() < of.len());
        let (span_ids, originals) = (is_set("span_id"), is_set("trace_id_original"));
        let mut run = Run { service: 0, minute: i64::MIN, logs: 0, spans: 0, example: None };
        for (row, (time, source)) in times.values().iter().zip(sources.values()).enumerate() {
            let service = services.key(row).and_then(|key| numbers.get(key)).copied().unwrap_or_default();
            let number = |column: Option<&arrow_array::UInt32Array>| {
                column.filter(|column| !column.is_null(row)).map(|column| column.value(row))
            };
            let Some(trace_row) = number(trace_rows) else {
                if originals.is_some_and(|originals| !originals.is_null(row)) {
                    let form = columns.text("trace_id_original", row).unwrap_or_default();
                    self.add_malformed(service, LinkKind::LogTrace, *time, form);
                }
                continue;
            };
            let minute = time.div_euclid(MINUTE_NS);
            let names_span = span_ids.is_some_and(|ids| !ids.is_null(row));
            let has_span = number(span_rows).is_some();
            let within = traces.get(trace_row as usize).map_or(Within::Nothing, Within::of);
            if within == Within::Spans && !names_span {
                if (run.service, run.minute) != (service, minute) {
                    self.add_run(&run);
                    run = Run { service, minute, logs: 0, spans: 0, example: Some(trace_row) };
                }
                run.logs += 1;
                run.spans += u64::from(has_span);
                continue;
            }
            let unsampled = source & UNSAMPLED != 0;
            let reference = LogReference { trace_row, service, minute, names_span, has_span, unsampled };
            self.add_log(&reference, within);
        }
        self.add_run(&run);
    }

    /// A log record whose trace is not here, or whose span is not.
    fn add_log(&mut self, reference: &LogReference, within: Within) {
        let LogReference { trace_row, service, minute, names_span, has_span, unsampled } = *reference;
        let example = Some(trace_row);
        match within.class() {
            Some(Class::Resolved) => {
                self.add((service, LinkKind::LogTrace, Class::Resolved, minute), 1, example);
                let (spans, unsampled) = (u32::from(names_span), u32::from(unsampled));
                self.open.push(Open { trace_row, service, minute, spans, unsampled, ..Open::default() });
            }
            Some(class) => {
                self.add((service, LinkKind::LogTrace, class, minute), 1, example);
                let spans = u64::from(names_span || has_span);
                self.add((service, LinkKind::LogSpan, class, minute), spans, example);
            }
            None => self.open.push(Open {
                trace_row,
                service,
                minute,
                logs: 1,
                spans: u32::from(names_span || has_span),
                exemplars: 0,
                unsampled: u32::from(unsampled),
            }),
        }
    }

    /// Counts rows of `spans.parquet`, in the order of the file; whether the traces of their links are here is looked up at the end.
    pub(crate) fn add_spans(&mut self, rows: &RecordBatch) {
        let first_row = self.n_spans;
        self.n_spans = first_row.saturating_add(rows.num_rows() as u32);
        let Some(links) = rows.column_by_name("links").filter(|links| links.null_count() < links.len())
        else {
            return;
        };
        let columns = Columns::new(rows);
        for row in (0..rows.num_rows()).filter(|row| !links.is_null(*row)) {
            let text = columns.text("links", row).unwrap_or_default();
            let list: Vec<SpanLink> = serde_json::from_str(text).unwrap_or_default();
            if list.is_empty() {
                continue;
            }
            let service = self.service(columns.text("service", row).unwrap_or_default());
            let time = columns.time("start_time", row);
            for link in list {
                match TraceId::parse(&link.trace_id) {
                    Some((id, _)) => {
                        let place = (service, time.div_euclid(MINUTE_NS), id);
                        *self.span_links.entry(place).or_default() += 1;
                        self.referrers.push((id.fingerprint(), first_row.saturating_add(row as u32)));
                    }
                    None => self.add_malformed(service, LinkKind::SpanLinkTrace, time, &link.trace_id),
                }
            }
        }
    }

    /// Counts exemplars; `services` has the first series of each run of series of one service. Those of `alerts` are left to who
    /// counts what alerts cite, as their labels are.
    pub(crate) fn add_exemplars(
        &mut self,
        exemplars: &[ExemplarEntry],
        (services, alerts): (&[(u32, Arc<str>)], &Range<u32>),
        traces: &[TraceEntry],
    ) {
        for exemplar in exemplars.iter().filter(|exemplar| !alerts.contains(&exemplar.series_row)) {
            let at = services.partition_point(|(first, _)| *first <= exemplar.series_row);
            let name = at.checked_sub(1).and_then(|at| services.get(at)).map_or("", |(_, name)| name);
            let service = self.service(name);
            let Some(trace_row) = exemplar.trace_row else {
                let form = exemplar.trace_id_original.as_deref().unwrap_or_default();
                self.add_malformed(service, LinkKind::ExemplarTrace, exemplar.time, form);
                continue;
            };
            let minute = exemplar.time.div_euclid(MINUTE_NS);
            let within = traces.get(trace_row as usize).map_or(Within::Nothing, Within::of);
            match within.class() {
                Some(class) => {
                    self.add((service, LinkKind::ExemplarTrace, class, minute), 1, Some(trace_row));
                }
                None => {
                    self.open.push(Open { trace_row, service, minute, exemplars: 1, ..Open::default() });
                }
            }
        }
    }

    /// The links of spans so far: the fingerprints of their traces, and the rows of the spans.
    pub(crate) fn take_referrers(&mut self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.referrers)
    }

    /// The table of everything counted; `traces` are all of the block.
    pub(crate) fn finish(mut self, traces: &[TraceEntry], texts: &Texts) -> LinkTable {
        let span_links = self.open_span_links(traces);
        let mut table = LinkTable { span_links, malformed: self.malformed, ..LinkTable::default() };
        let mut policies: Vec<TextId> = Vec::new();
        for ((service, kind, class, minute), (count, example)) in self.cells {
            let class = match class {
                Class::Dropped(policy) => {
                    let known = policies.iter().position(|other| *other == policy);
                    Class::Dropped(known.unwrap_or_else(|| {
                        policies.push(policy);
                        policies.len() - 1
                    }) as u32)
                }
                class => class,
            };
            table.cells.push(Cell { service, kind, class, minute, count, example });
        }
        table.cells.sort_unstable_by_key(|cell| (cell.service, cell.kind, cell.class, cell.minute));
        table.policies = policies.into_iter().map(|policy| texts.get(policy).into()).collect();
        table.open = together(self.open);
        table.services = self.services;
        table
    }

    /// Those span links whose trace is not here; the others are counted.
    fn open_span_links(&mut self, traces: &[TraceEntry]) -> Vec<OpenSpanLink> {
        let links = std::mem::take(&mut self.span_links);
        if links.is_empty() {
            return Vec::new();
        }
        let mut within: HashMap<TraceId, Option<(u32, Class)>> =
            links.keys().map(|(.., id)| (*id, None)).collect();
        for (row, entry) in traces.iter().enumerate() {
            if let Some(slot) = within.get_mut(&entry.id) {
                *slot = Within::of(entry).class().map(|class| (row as u32, class));
            }
        }
        let mut open = Vec::new();
        for ((service, minute, trace_id), count) in links {
            match within.get(&trace_id).copied().flatten() {
                Some((row, class)) => {
                    let place = (service, LinkKind::SpanLinkTrace, class, minute);
                    self.add(place, u64::from(count), Some(row));
                }
                None => open.push(OpenSpanLink { service, minute, trace_id, count }),
            }
        }
        open.sort_unstable();
        open
    }
}

/// What a log record refers to.
#[derive(Clone, Copy)]
struct LogReference {
    trace_row: u32,
    service: u32,
    minute: i64,
    /// It names a span that is not here.
    names_span: bool,
    /// The span that it names is here.
    has_span: bool,
    unsampled: bool,
}

/// Open references by trace, those of one service and minute to one trace as one.
fn together(mut open: Vec<Open>) -> Vec<Open> {
    open.sort_unstable();
    open.dedup_by(|other, first| {
        let place = |open: &Open| (open.trace_row, open.service, open.minute);
        let is_same = place(other) == place(first);
        if is_same {
            first.logs = first.logs.saturating_add(other.logs);
            first.spans = first.spans.saturating_add(other.spans);
            first.exemplars = first.exemplars.saturating_add(other.exemplars);
            first.unsampled = first.unsampled.saturating_add(other.unsampled);
        }
        is_same
    });
    open
}
