//! What an investigation reads of a snapshot: spans of a window as trees, the log lines that were written within them, and
//! the lines of errors that belong to no span. Limits are named here, and what they leave out is said.
//!
//! A window with more spans than are compared is sampled ([`sample`]). Both sides are read at the same time, each with names of its
//! own, and put together one after the other: nothing depends on which of them was faster.

use std::collections::HashMap;

use throughline_model::TraceId;
use throughline_store::{More, Snapshot, SpanColumn, SpanRows, SpanScan, SpanValues, SpanVisitor, TimeRange};

use super::lines::{Example, Lines, Loose};
use super::sample::{self, Sampled};
use super::side::{Row, Side, Weight};
use super::vocabulary::{Interner, Vocabulary};
use crate::units::rfc3339;

/// Spans of one side that are compared. Of more a sample is, so that a long window takes hardly longer than a short one.
pub const SPANS_MAX: u64 = 30_000;
/// Traces that began before the window are told by what they did so long before it.
const LEAD_NS: i64 = 30_000_000_000;
/// Traces that began in the window are followed so long after it.
pub(super) const TAIL_NS: i64 = 60_000_000_000;
/// Which traces are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Through {
    /// Only those with a span of this service.
    pub(super) service: Option<String>,
    /// And with a root of this service and name.
    pub(super) root: Option<(String, String)>,
}

/// A side as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) side: Side,
    /// Of a window that was sampled, the spans that began in it.
    pub(super) spans_there: Option<u64>,
    /// Lines that were looked at: those of the traces that were read, and errors of no trace.
    pub(super) lines: usize,
    /// Lines that were written within one of the spans.
    pub(super) linked: usize,
    /// Whether lines were left out, so that a missing line says nothing.
    pub(super) lines_cut: bool,
    /// The first line of each kind.
    pub(super) examples: HashMap<u32, Example>,
    pub(super) loose: Vec<Loose>,
    /// Into how many pieces the window was cut.
    pub(super) pieces: usize,
    pub(super) partial: Vec<String>,
}

/// Reads both sides of a comparison. While the lines of the earlier side are read, which is the longer one, `beside` is done with
/// the spans of both.
pub(super) fn read<T>(
    snapshot: &Snapshot,
    windows: [TimeRange; 2],
    through: &Through,
    vocabulary: &mut Vocabulary,
    beside: impl FnOnce(&Side, &Side) -> T,
) -> ([Reading; 2], T) {
    let [before, now] = both(windows, |window| gather(snapshot, window, through));
    let [window_before, window_now] = windows;
    let before = before.put_together(through, vocabulary);
    let (now, of_before, of_now, beside) = std::thread::scope(|scope| {
        let of_before = scope.spawn(|| Lines::read(snapshot, window_before, &before.side));
        let now = now.put_together(through, vocabulary);
        let of_now = Lines::read(snapshot, window_now, &now.side);
        let beside = beside(&before.side, &now.side);
        (now, joined(of_before), of_now, beside)
    });
    ([of_before.into_reading(before, vocabulary), of_now.into_reading(now, vocabulary)], beside)
}

/// Does the same for both at the same time.
fn both<T: Send, U: Send>(of: [T; 2], work: impl Fn(T) -> U + Sync) -> [U; 2] {
    let [first, second] = of;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(first));
        let second = work(second);
        [joined(other), second]
    })
}

fn joined<T>(other: std::thread::ScopedJoinHandle<'_, T>) -> T {
    other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

// === spans ===

/// Spans with names of their own, and which of them stand for how many.
pub(super) struct Gathered {
    window: TimeRange,
    spans_there: u64,
    pub(super) names: Names,
    pub(super) rows: Vec<Row>,
    pub(super) sampled: Option<Sampled>,
    pub(super) partial: Vec<String>,
}

/// Texts of one side by number.
#[derive(Default)]
pub(super) struct Names {
    pub(super) texts: Interner<String>,
    pub(super) resources: Interner<String>,
}

fn gather(snapshot: &Snapshot, window: TimeRange, through: &Through) -> Gathered {
    let spans_there = count_spans(snapshot, window);
    let mut gathered = Gathered {
        window,
        spans_there,
        names: Names::default(),
        rows: Vec::new(),
        sampled: None,
        partial: Vec::new(),
    };
    if spans_there > SPANS_MAX {
        sample::gather(snapshot, window, spans_there, through, &mut gathered);
        return gathered;
    }
    let range =
        TimeRange { start: window.start.saturating_sub(LEAD_NS), end: window.end.saturating_add(TAIL_NS) };
    let mut reader = SpanReader { gathered: &mut gathered, range };
    let partial = snapshot.scan_spans(&span_scan(range), &mut reader);
    gathered.partial.extend(partial);
    gathered
}

impl Gathered {
    /// Trees of the traces that are wanted.
    fn put_together(mut self, through: &Through, vocabulary: &mut Vocabulary) -> Reading {
        let texts: Vec<u32> =
            self.names.texts.items().iter().map(|text| vocabulary.texts.text(text)).collect();
        let resources: Vec<u32> =
            self.names.resources.items().iter().map(|text| vocabulary.resources.text(text)).collect();
        let renamed = |names: &[u32], number: u32| names.get(number as usize).copied().unwrap_or(u32::MAX);
        for row in &mut self.rows {
            row.service = renamed(&texts, row.service);
            row.name = renamed(&texts, row.name);
            row.resource = renamed(&resources, row.resource);
        }
        let service = through.service.as_deref().map(|service| vocabulary.texts.text(service));
        let root = through.root.as_ref();
        let root = root.map(|(service, name)| (vocabulary.texts.text(service), vocabulary.texts.text(name)));
        let weigh = |rows: &[Row]| {
            let first = rows.first()?;
            let is_wanted = self.window.contains(first.start)
                && root.is_none_or(|root| root == (first.service, first.name))
                && service.is_none_or(|service| rows.iter().any(|row| row.service == service));
            let weight =
                self.sampled.as_ref().map_or_else(|| Weight::kept(rows), |sampled| sampled.weight(rows));
            is_wanted.then_some(weight)
        };
        let side = Side::new(std::mem::take(&mut self.rows), weigh, vocabulary);
        let mut partial = self.partial;
        partial.extend(self.sampled.as_ref().map(|sampled| {
            format!(
                "{} spans began from {} to {}, more than the {SPANS_MAX} that are compared: {} traces with {} spans stand for them, {}",
                self.spans_there,
                rfc3339(self.window.start),
                rfc3339(self.window.end),
                side.traces.len(),
                side.spans.len(),
                sampled.sentence()
            )
        }));
        partial.extend(adjusted_sentence(&side, self.window));
        let spans_there = self.sampled.is_some().then_some(self.spans_there);
        Reading { side, spans_there, partial, ..Reading::default() }
    }
}

/// What a sampler has left of a window, in words.
fn adjusted_sentence(side: &Side, window: TimeRange) -> Option<String> {
    if !side.is_adjusted {
        return None;
    }
    let stand_for: f64 = side.traces.iter().map(|trace| trace.weight.adjusted).sum();
    Some(format!(
        "a sampler left {} traces from {} to {}, which stand for {} by their adjusted counts: calls, shares and times are weighed by those, and are as sure as the calls that are here; a trace that was kept by a policy without chance, as a limit of rate, counts as one",
        side.traces.len(),
        rfc3339(window.start),
        rfc3339(window.end),
        stand_for.round()
    ))
}

pub(super) fn span_scan(range: TimeRange) -> SpanScan<'static> {
    SpanScan { range, of_traces: false, bounds: &[], whole: true, newest_first: false }
}

/// Counts spans by their starts alone.
struct SpanCounter {
    range: TimeRange,
    spans: u64,
}

impl SpanVisitor for SpanCounter {
    fn rows(&mut self, rows: &SpanRows<'_>) -> More {
        if rows.starts_within(self.range) {
            self.spans += rows.len() as u64;
        } else if let Ok(SpanValues::Ints(starts, _)) = rows.column(SpanColumn::Start, None) {
            self.spans += starts.iter().filter(|start| self.range.contains(**start)).count() as u64;
        }
        More::All
    }
}

fn count_spans(snapshot: &Snapshot, range: TimeRange) -> u64 {
    let mut counter = SpanCounter { range, spans: 0 };
    // What cannot be counted cannot be read either, and is named there.
    _ = snapshot.scan_spans(&SpanScan { whole: false, ..span_scan(range) }, &mut counter);
    counter.spans
}

struct SpanReader<'g> {
    gathered: &'g mut Gathered,
    range: TimeRange,
}

impl SpanVisitor for SpanReader<'_> {
    fn rows(&mut self, rows: &SpanRows<'_>) -> More {
        if let Err(error) = self.take(rows) {
            self.gathered.partial.push(error.to_string());
        }
        More::All
    }
}

impl SpanReader<'_> {
    fn take(&mut self, rows: &SpanRows<'_>) -> Result<(), throughline_store::Error> {
        let starts = rows.column(SpanColumn::Start, None)?;
        let start_of = |row: u32| starts.int(row as usize).unwrap_or_default();
        let mut runs = rows.runs()?;
        runs.retain(|(first, last, _)| (*first..*last).any(|row| self.range.contains(start_of(row))));
        if runs.is_empty() {
            return Ok(());
        }
        let traces = rows.traces(&runs)?;
        let columns = RowColumns::read(|column| rows.column(column, None), &mut self.gathered.names)?;
        for ((first, last, _), trace) in runs.iter().zip(&traces) {
            let of_trace = (*first as usize..*last as usize).filter_map(|row| columns.row(trace.id, row));
            self.gathered.rows.extend(of_trace.filter(|row| self.range.contains(row.start)));
        }
        Ok(())
    }
}

/// The columns that a row is made of.
pub(super) struct RowColumns {
    ids: SpanValues,
    parents: SpanValues,
    services: Vec<u32>,
    names: Vec<u32>,
    resources: Vec<u32>,
    kinds: SpanValues,
    statuses: SpanValues,
    starts: SpanValues,
    durations: SpanValues,
    adjusted: SpanValues,
}

impl RowColumns {
    pub(super) fn read(
        column: impl Fn(SpanColumn<'static>) -> Result<SpanValues, throughline_store::Error>,
        names: &mut Names,
    ) -> Result<RowColumns, throughline_store::Error> {
        Ok(RowColumns {
            ids: column(SpanColumn::SpanId)?,
            parents: column(SpanColumn::ParentId)?,
            services: numbers_of(&column(SpanColumn::Service)?, &mut names.texts),
            names: numbers_of(&column(SpanColumn::Name)?, &mut names.texts),
            resources: numbers_of(&column(SpanColumn::Resource)?, &mut names.resources),
            kinds: column(SpanColumn::Kind)?,
            statuses: column(SpanColumn::Status)?,
            starts: column(SpanColumn::Start)?,
            durations: column(SpanColumn::Duration)?,
            adjusted: column(SpanColumn::AdjustedCount)?,
        })
    }

    pub(super) fn row(&self, trace: TraceId, row: usize) -> Option<Row> {
        let id_of = |ids: &SpanValues| match ids {
            SpanValues::Ids(ids) => ids.get(row).copied().flatten(),
            _ => None,
        };
        let number = |numbers: &[u32]| numbers.get(row).copied().unwrap_or(u32::MAX);
        let start = self.starts.int(row).unwrap_or_default();
        Some(Row {
            trace,
            span: id_of(&self.ids)?,
            parent: id_of(&self.parents),
            service: number(&self.services),
            name: number(&self.names),
            resource: number(&self.resources),
            kind: self.kinds.int(row).and_then(|kind| u8::try_from(kind).ok()).unwrap_or_default(),
            failed: self.statuses.int(row) == Some(2),
            start,
            end: start.saturating_add(self.durations.int(row).unwrap_or_default().max(0)),
            adjusted: self.adjusted.double(row).filter(|n| n.is_finite() && *n > 1.0).unwrap_or(1.0),
        })
    }
}

/// The texts of a column as numbers: each text is looked up once.
fn numbers_of(values: &SpanValues, texts: &mut Interner<String>) -> Vec<u32> {
    let SpanValues::Texts(keys, all, ends) = values else { return Vec::new() };
    let mut start = 0usize;
    let numbers: Vec<u32> = ends
        .iter()
        .map(|end| {
            let text = all.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            texts.text(text)
        })
        .collect();
    keys.iter().map(|key| numbers.get(*key as usize).copied().unwrap_or(u32::MAX)).collect()
}
