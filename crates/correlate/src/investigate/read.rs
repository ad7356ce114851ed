//! What an investigation reads of a snapshot: spans of a window in columns, the log lines that were written within them, and
//! the lines of errors that belong to no span. Limits are named here, and what they leave out is said.

use std::collections::{BTreeMap, HashMap};

use throughline_model::{Level, SpanId, TraceId};
use throughline_store::{
    BodyWant, FieldWant, LogScan, LogVisitor, More, ScannedLogs, Snapshot, SpanColumn, SpanRows, SpanScan,
    SpanValues, SpanVisitor, TimeRange, Verdict,
};

use super::side::{Row, Side};
use super::signature::{self, LineKind};
use super::vocabulary::{Feature, Interner, Vocabulary};
use crate::units::rfc3339;

/// Spans of one side: more are left out by looking at a part of the window. 120,000 are about 30 MB, and their comparison
/// takes less than a second.
pub const SPANS_MAX: u64 = 120_000;
/// Log lines of one side that are put together.
pub const LINES_MAX: usize = 200_000;
/// Traces that began before the window are told by what they did so long before it.
const LEAD_NS: i64 = 30_000_000_000;
/// Traces that began in the window are followed so long after it.
const TAIL_NS: i64 = 60_000_000_000;
/// How much of a line an example has.
const EXAMPLE_BYTES: usize = 400;
/// Lines outside of spans are counted in pieces of the window.
const PIECES: i64 = 30;
/// Kinds of lines outside of spans that are counted.
const LOOSE_KINDS_MAX: usize = 20_000;

/// Which traces are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Through {
    /// Only those with a span of this service.
    pub(super) service: Option<String>,
    /// And with a root of this service and name.
    pub(super) root: Option<(String, String)>,
}

/// One line of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Example {
    pub(super) time: i64,
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<SpanId>,
    pub(super) text: String,
}

/// A kind of error line outside of spans.
#[derive(Clone, Debug)]
pub(super) struct Loose {
    pub(super) service: u32,
    pub(super) feature: u32,
    /// In which pieces of the window.
    pub(super) pieces: Vec<i64>,
    pub(super) lines: usize,
    pub(super) example: Example,
}

/// A side as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) side: Side,
    /// The part of the window that was read.
    pub(super) read: Option<TimeRange>,
    /// Spans that began in the window, whether they were read or not.
    pub(super) spans_there: u64,
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

/// Reads a side.
pub(super) fn read(
    snapshot: &Snapshot,
    window: TimeRange,
    through: &Through,
    vocabulary: &mut Vocabulary,
) -> Reading {
    let mut reading = Reading { spans_there: count_spans(snapshot, window), ..Reading::default() };
    let part = part_of(window, reading.spans_there);
    reading.read = Some(part);
    if part != window {
        reading.partial.push(format!(
            "{} spans began from {} to {}, more than the {SPANS_MAX} that are compared: traces that began from {} to {} stand for them",
            reading.spans_there,
            rfc3339(window.start),
            rfc3339(window.end),
            rfc3339(part.start),
            rfc3339(part.end)
        ));
    }
    let range =
        TimeRange { start: part.start.saturating_sub(LEAD_NS), end: part.end.saturating_add(TAIL_NS) };
    let mut reader = SpanReader { vocabulary, range, rows: Vec::new(), partial: Vec::new() };
    reading.partial.extend(snapshot.scan_spans(&span_scan(range), &mut reader));
    reading.partial.append(&mut reader.partial);
    let rows = reader.rows;
    let service = through.service.as_deref().map(|service| vocabulary.texts.text(service));
    let root = through.root.as_ref();
    let root = root.map(|(service, name)| (vocabulary.texts.text(service), vocabulary.texts.text(name)));
    let is_wanted = |rows: &[Row]| {
        rows.first().is_some_and(|first| {
            part.contains(first.start) && root.is_none_or(|root| root == (first.service, first.name))
        }) && service.is_none_or(|service| rows.iter().any(|row| row.service == service))
    };
    reading.side = Side::new(rows, is_wanted, vocabulary);
    read_lines(snapshot, TimeRange { start: part.start, end: range.end }, part, &mut reading, vocabulary);
    reading.partial.sort_unstable();
    reading.partial.dedup();
    reading
}

fn span_scan(range: TimeRange) -> SpanScan<'static> {
    SpanScan { range, of_traces: false, bounds: &[], whole: true, newest_first: false }
}

/// The middle of the window, as much of it as may be read.
fn part_of(window: TimeRange, spans: u64) -> TimeRange {
    if spans <= SPANS_MAX {
        return window;
    }
    let length = window.end.saturating_sub(window.start);
    let part = (i128::from(length) * i128::from(SPANS_MAX) / i128::from(spans)) as i64;
    let start = window.start.saturating_add((length - part) / 2);
    TimeRange { start, end: start.saturating_add(part.max(1)) }
}

// === spans ===

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

struct SpanReader<'v> {
    vocabulary: &'v mut Vocabulary,
    range: TimeRange,
    rows: Vec<Row>,
    partial: Vec<String>,
}

impl SpanVisitor for SpanReader<'_> {
    fn rows(&mut self, rows: &SpanRows<'_>) -> More {
        if let Err(error) = self.take(rows) {
            self.partial.push(error.to_string());
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
        let column = |column| rows.column(column, None);
        let (ids, parents) = (column(SpanColumn::SpanId)?, column(SpanColumn::ParentId)?);
        let (services, names, resources) =
            (column(SpanColumn::Service)?, column(SpanColumn::Name)?, column(SpanColumn::Resource)?);
        let (kinds, statuses, durations) =
            (column(SpanColumn::Kind)?, column(SpanColumn::Status)?, column(SpanColumn::Duration)?);
        let (services, names) = (
            numbers_of(&services, &mut self.vocabulary.texts),
            numbers_of(&names, &mut self.vocabulary.texts),
        );
        let resources = numbers_of(&resources, &mut self.vocabulary.resources);
        let id_of = |ids: &SpanValues, row: usize| match ids {
            SpanValues::Ids(ids) => ids.get(row).copied().flatten(),
            _ => None,
        };
        let number = |numbers: &[u32], row: usize| numbers.get(row).copied().unwrap_or(u32::MAX);
        for ((first, last, _), trace) in runs.iter().zip(&traces) {
            for row in *first as usize..*last as usize {
                let (start, Some(span)) = (start_of(row as u32), id_of(&ids, row)) else { continue };
                if !self.range.contains(start) {
                    continue;
                }
                self.rows.push(Row {
                    trace: trace.id,
                    span,
                    parent: id_of(&parents, row),
                    service: number(&services, row),
                    name: number(&names, row),
                    resource: number(&resources, row),
                    kind: kinds.int(row).and_then(|kind| u8::try_from(kind).ok()).unwrap_or_default(),
                    failed: statuses.int(row) == Some(2),
                    start,
                    end: start.saturating_add(durations.int(row).unwrap_or_default().max(0)),
                });
            }
        }
        Ok(())
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

// === lines ===

struct LineReader<'a> {
    snapshot: &'a Snapshot,
    vocabulary: &'a mut Vocabulary,
    spans: HashMap<(TraceId, SpanId), u32>,
    part: TimeRange,
    /// Services by the number that the scan has for an origin.
    origins: Vec<u32>,
    /// Features by the numbers that they have while lines are read.
    features: Interner<Feature>,
    read: usize,
    cut: bool,
    /// Span and feature.
    found: Vec<(u32, u32)>,
    examples: HashMap<u32, Example>,
    loose: BTreeMap<(u32, u32), Loose>,
}

fn read_lines(
    snapshot: &Snapshot,
    range: TimeRange,
    part: TimeRange,
    reading: &mut Reading,
    vocabulary: &mut Vocabulary,
) {
    let spans = reading.side.places();
    let mut reader = LineReader {
        snapshot,
        vocabulary,
        spans,
        part,
        origins: Vec::new(),
        features: Interner::default(),
        read: 0,
        cut: false,
        found: Vec::new(),
        examples: HashMap::new(),
        loose: BTreeMap::new(),
    };
    let scan = LogScan {
        range,
        newest_first: false,
        few: false,
        services: None,
        trace: None,
        texts: &[],
        is_filtered: false,
        times: true,
        bodies: BodyWant::Text,
        fields: FieldWant { level: true, context: true, ..FieldWant::default() },
        conditions: &[],
        pieces: None,
    };
    let partial = snapshot.scan_logs(&scan, &mut reader);
    let LineReader { mut found, examples, loose, features, read, cut, .. } = reader;
    // Numbers follow the features' own order, not that in which lines are stored: nothing may depend on the latter.
    let mut order: Vec<(&Feature, u32)> = features.items().iter().zip(0..).collect();
    order.sort_unstable();
    let mut numbers = vec![0; order.len()];
    for (feature, local) in order {
        if let Some(number) = numbers.get_mut(local as usize) {
            *number = vocabulary.features.number(feature.clone());
        }
    }
    let number = |local: u32| numbers.get(local as usize).copied().unwrap_or(u32::MAX);
    found.iter_mut().for_each(|(_, feature)| *feature = number(*feature));
    reading.partial.extend(partial);
    if cut {
        reading.partial.push(format!(
            "more than {LINES_MAX} log lines lie from {} to {}: the others were not read, and lines that are missing were not looked for",
            rfc3339(range.start),
            rfc3339(range.end)
        ));
    }
    (reading.lines, reading.linked, reading.lines_cut) = (read, found.len(), cut);
    reading.examples = examples.into_iter().map(|(local, example)| (number(local), example)).collect();
    reading.loose =
        loose.into_values().map(|loose| Loose { feature: number(loose.feature), ..loose }).collect();
    reading.loose.sort_unstable_by_key(|loose| (loose.feature, loose.service));
    reading.pieces = PIECES as usize;
    reading.side.set_features(&found, vocabulary);
}

impl LogVisitor for LineReader<'_> {
    fn origin(&mut self, service: &str, _resource: &str, _scope: &str) -> Option<u32> {
        self.origins.push(self.vocabulary.texts.text(service));
        Some(self.origins.len() as u32 - 1)
    }

    fn pattern(&mut self, _pattern: &str) -> Verdict {
        Verdict::Always
    }

    fn body(&mut self, _body: &str) -> bool {
        true
    }

    fn looks_at(&mut self, _rows: usize) -> bool {
        true
    }

    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
        let levels = rows.fields.levels(rows.bodies.len());
        for (at, body) in rows.bodies.iter().enumerate() {
            if self.read >= LINES_MAX {
                self.cut = true;
                return More::Nothing;
            }
            self.read += 1;
            let level = levels.get(at).copied().unwrap_or_default();
            let time = rows.times.get(at).copied().unwrap_or_default();
            let service = rows.origins.get(at).and_then(|origin| self.origins.get(*origin as usize)).copied();
            self.line(service.unwrap_or(u32::MAX), level, time, body, rows.fields.context(at));
        }
        More::All
    }
}

impl LineReader<'_> {
    fn line(
        &mut self,
        service: u32,
        level: Level,
        time: i64,
        body: &str,
        context: (Option<TraceId>, Option<SpanId>),
    ) {
        let place = match context {
            (Some(trace), Some(span)) => self.spans.get(&(trace, span)).copied(),
            _ => None,
        };
        let is_loose = context.0.is_none() && level >= Level::Error && self.part.contains(time);
        if place.is_none() && !is_loose {
            return;
        }
        let kind = match signature::place(body) {
            Some(place) => LineKind::Place(place.to_owned()),
            None => self
                .snapshot
                .line_pattern(self.vocabulary.texts.name(service), body)
                .map_or(LineKind::Empty, LineKind::Pattern),
        };
        let feature = self.features.number(Feature::Line(level, kind));
        let mut text = body.get(..body.floor_char_boundary(EXAMPLE_BYTES)).unwrap_or_default().to_owned();
        if text.len() < body.len() {
            text.push('…');
        }
        let example = Example { time, trace: context.0, span: context.1, text };
        match place {
            Some(place) => {
                self.found.push((place, feature));
                // The first line by time stands for its kind, in whatever order lines are read.
                match self.examples.get_mut(&feature) {
                    Some(known) if *known <= example => {}
                    Some(known) => *known = example,
                    None => _ = self.examples.insert(feature, example),
                }
            }
            None => self.loose_line(service, feature, example),
        }
    }

    fn loose_line(&mut self, service: u32, feature: u32, example: Example) {
        let length = self.part.end.saturating_sub(self.part.start).max(1);
        let piece =
            (i128::from(example.time - self.part.start) * i128::from(PIECES) / i128::from(length)) as i64;
        if self.loose.len() >= LOOSE_KINDS_MAX && !self.loose.contains_key(&(service, feature)) {
            return;
        }
        let loose = self.loose.entry((service, feature)).or_insert_with(|| Loose {
            service,
            feature,
            pieces: Vec::new(),
            lines: 0,
            example: example.clone(),
        });
        loose.lines += 1;
        if example < loose.example {
            loose.example = example;
        }
        if !loose.pieces.contains(&piece) {
            loose.pieces.push(piece);
        }
    }
}
