//! The lines of the traces of one side, and error lines of no trace: each as its kind, and one example of every kind.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use ahash::AHashMap;
use throughline_model::{Level, SpanId, TraceId};
use throughline_store::block::PLACEHOLDER;
use throughline_store::{
    Among, BodyWant, FieldWant, LogScan, LogVisitor, More, ScannedLogs, Snapshot, TimeRange, Verdict,
};

use super::read::{Reading, TAIL_NS};
use super::side::Side;
use super::signature::{self, LineKind};
use super::vocabulary::{Feature, Interner, Vocabulary};
use crate::units::rfc3339;

/// Log lines of one side that are put together.
pub const LINES_MAX: usize = 200_000;
/// How much of a line an example has.
const EXAMPLE_BYTES: usize = 400;
/// Lines outside of spans are counted in pieces of the window.
const PIECES: i64 = 30;
/// Masks of one service whose kinds are kept.
const KINDS_MAX: usize = 4_096;
/// Kinds of lines outside of spans that are counted.
const LOOSE_KINDS_MAX: usize = 20_000;

/// One line of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Example {
    pub(super) time: i64,
    pub(super) trace: Option<TraceId>,
    pub(super) span: Option<SpanId>,
    pub(super) service: String,
    /// Its start. Nothing where the line was told by its mask alone: [`text_of`] reads it.
    pub(super) text: Option<String>,
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

/// The lines of one side, with features by numbers of their own.
pub(super) struct Lines {
    features: Interner<Feature>,
    services: Interner<String>,
    read: usize,
    cut: bool,
    /// Span and feature.
    found: Vec<(u32, u32)>,
    examples: HashMap<u32, Example>,
    loose: BTreeMap<(u32, u32), Loose>,
    partial: Vec<String>,
}

impl Lines {
    pub(super) fn read(snapshot: &Snapshot, window: TimeRange, side: &Side) -> Lines {
        let mut traces: Vec<TraceId> = side.traces.iter().map(|trace| trace.id).collect();
        traces.sort_unstable();
        let range = TimeRange { start: window.start, end: window.end.saturating_add(TAIL_NS) };
        let mut reader = LineReader {
            snapshot,
            spans: side.places(),
            window,
            origins: Vec::new(),
            kinds: Vec::new(),
            lines: Lines {
                features: Interner::default(),
                services: Interner::default(),
                read: 0,
                cut: false,
                found: Vec::new(),
                examples: HashMap::new(),
                loose: BTreeMap::new(),
                partial: Vec::new(),
            },
        };
        let scan = LogScan {
            among: Some(&Among { traces: &traces, loose: Level::Error }),
            is_filtered: true,
            bodies: BodyWant::Judged,
            fields: FieldWant { level: true, context: true, ..FieldWant::default() },
            ..LogScan::new(range)
        };
        let partial = snapshot.scan_logs(&scan, &mut reader);
        let mut lines = reader.lines;
        lines.partial = partial;
        if lines.cut {
            lines.partial.push(format!(
                "the traces that were read have more than {LINES_MAX} log lines from {} to {}: the others were not read, and lines that are missing were not looked for",
                rfc3339(range.start),
                rfc3339(range.end)
            ));
        }
        lines
    }

    /// Numbers follow the features' own order, not that in which lines are stored: nothing may depend on the latter.
    pub(super) fn into_reading(mut self, mut reading: Reading, vocabulary: &mut Vocabulary) -> Reading {
        let mut order: Vec<(&Feature, u32)> = self.features.items().iter().zip(0..).collect();
        order.sort_unstable();
        let mut numbers = vec![0; order.len()];
        for (feature, local) in order {
            if let Some(number) = numbers.get_mut(local as usize) {
                *number = vocabulary.features.number(feature.clone());
            }
        }
        let number = |local: u32| numbers.get(local as usize).copied().unwrap_or(u32::MAX);
        let services: Vec<u32> =
            self.services.items().iter().map(|service| vocabulary.texts.text(service)).collect();
        let service = |local: u32| services.get(local as usize).copied().unwrap_or(u32::MAX);
        self.found.iter_mut().for_each(|(_, feature)| *feature = number(*feature));
        reading.partial.append(&mut self.partial);
        (reading.lines, reading.linked, reading.lines_cut) = (self.read, self.found.len(), self.cut);
        reading.examples =
            self.examples.into_iter().map(|(local, example)| (number(local), example)).collect();
        let renamed =
            |loose: Loose| Loose { feature: number(loose.feature), service: service(loose.service), ..loose };
        reading.loose = self.loose.into_values().map(renamed).collect();
        reading.loose.sort_unstable_by_key(|loose| (loose.feature, loose.service));
        reading.pieces = PIECES as usize;
        reading.side.set_features(&self.found, vocabulary);
        reading.partial.sort_unstable();
        reading.partial.dedup();
        reading
    }
}

struct LineReader<'a> {
    snapshot: &'a Snapshot,
    spans: AHashMap<(TraceId, SpanId), u32>,
    window: TimeRange,
    /// Services by the number that the scan has for an origin.
    origins: Vec<u32>,
    /// The kinds of lines that name no place in the code, by service and by mask or text.
    kinds: Vec<AHashMap<Box<str>, LineKind>>,
    lines: Lines,
}

impl LogVisitor for LineReader<'_> {
    fn origin(&mut self, service: &str, _resource: &str, _scope: &str) -> Option<u32> {
        self.origins.push(self.lines.services.text(service));
        Some(self.origins.len() as u32 - 1)
    }

    /// A line is told by its mask, unless it may name a place in the code, which is in the text.
    fn pattern(&mut self, pattern: &str) -> Verdict {
        if signature::may_name_place(pattern) { Verdict::Open } else { Verdict::Always }
    }

    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
        let levels = rows.fields.levels(rows.bodies.len());
        for (at, body) in rows.bodies.iter().enumerate() {
            if self.lines.read >= LINES_MAX {
                self.lines.cut = true;
                return More::Nothing;
            }
            self.lines.read += 1;
            let level = levels.get(at).copied().unwrap_or_default();
            let time = rows.times.get(at).copied().unwrap_or_default();
            let service = rows.origins.get(at).and_then(|origin| self.origins.get(*origin as usize)).copied();
            self.line(service.unwrap_or(u32::MAX), level, time, body, rows.fields.context(at));
        }
        More::All
    }
}

/// The kind of a line that names no place, by its text or its mask, which is the same.
fn kind_by_pattern(snapshot: &Snapshot, service: &str, body: &str) -> LineKind {
    snapshot.line_pattern(service, body).map_or(LineKind::Empty, LineKind::Pattern)
}

type Context = (Option<TraceId>, Option<SpanId>);

fn example_of(time: i64, (trace, span): Context, service: &str, body: &str) -> Example {
    let is_whole = !body.contains(PLACEHOLDER);
    Example { time, trace, span, service: service.to_owned(), text: is_whole.then(|| start_of(body)) }
}

fn start_of(body: &str) -> String {
    let mut text = body.get(..body.floor_char_boundary(EXAMPLE_BYTES)).unwrap_or_default().to_owned();
    if text.len() < body.len() {
        text.push('…');
    }
    text
}

/// The start of the line that an example is of: of those that are alike in all else the first by text.
pub(super) fn text_of(snapshot: &Snapshot, example: &Example, level: Level, kind: &LineKind) -> String {
    if let Some(text) = &example.text {
        return text.clone();
    }
    let services = [example.service.clone()];
    let at = TimeRange { start: example.time, end: example.time.saturating_add(1) };
    let scan = LogScan {
        services: Some(&services),
        trace: example.trace,
        bodies: BodyWant::Text,
        fields: FieldWant { level: true, context: true, ..FieldWant::default() },
        ..LogScan::new(at)
    };
    let mut reader = TextReader { snapshot, example, level, kind, found: None };
    // What cannot be read was read a moment ago, and is named there if it is damaged.
    _ = snapshot.scan_logs(&scan, &mut reader);
    reader.found.unwrap_or_else(|| "(the line cannot be read)".to_owned())
}

/// Finds the text of a line whose mask is known.
struct TextReader<'a> {
    snapshot: &'a Snapshot,
    example: &'a Example,
    level: Level,
    kind: &'a LineKind,
    found: Option<String>,
}

impl LogVisitor for TextReader<'_> {
    fn origin(&mut self, _service: &str, _resource: &str, _scope: &str) -> Option<u32> {
        Some(0)
    }

    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
        let levels = rows.fields.levels(rows.bodies.len());
        for (at, body) in rows.bodies.iter().enumerate() {
            let is_it = levels.get(at) == Some(&self.level)
                && rows.fields.context(at) == (self.example.trace, self.example.span)
                && signature::place(body).is_none()
                && kind_by_pattern(self.snapshot, &self.example.service, body) == *self.kind;
            if is_it {
                let text = start_of(body);
                if self.found.as_ref().is_none_or(|found| *found > text) {
                    self.found = Some(text);
                }
            }
        }
        More::All
    }
}

impl LineReader<'_> {
    fn line(&mut self, service: u32, level: Level, time: i64, body: &str, context: Context) {
        let place = match context {
            (Some(trace), Some(span)) => self.spans.get(&(trace, span)).copied(),
            _ => None,
        };
        let is_loose = context.0.is_none() && level >= Level::Error && self.window.contains(time);
        if place.is_none() && !is_loose {
            return;
        }
        let kind = self.kind_of(service, body);
        let feature = self.lines.features.number(Feature::Line(level, kind));
        let example = || example_of(time, context, self.lines.services.name(service), body);
        match place {
            Some(place) => {
                // The first line by time stands for its kind, in whatever order lines are read.
                let known = self.lines.examples.get(&feature);
                if known.is_none_or(|known| known.time >= time) {
                    let example = example();
                    if known.is_none_or(|known| *known > example) {
                        self.lines.examples.insert(feature, example);
                    }
                }
                self.lines.found.push((place, feature));
            }
            None => {
                let known = self.lines.loose.get(&(service, feature)).map(|loose| &loose.example);
                let example = known.is_none_or(|known| known.time >= time).then(example);
                self.loose_line(service, feature, time, example);
            }
        }
    }

    fn kind_of(&mut self, service: u32, body: &str) -> LineKind {
        let kinds = self.kinds.get(service as usize);
        if let Some(kind) = kinds.and_then(|kinds| kinds.get(body)) {
            return kind.clone();
        }
        if let Some(place) = signature::place(body) {
            return LineKind::Place(place.to_owned());
        }
        let kind = kind_by_pattern(self.snapshot, self.lines.services.name(service), body);
        if self.kinds.len() <= service as usize && (service as usize) < KINDS_MAX {
            self.kinds.resize_with(service as usize + 1, AHashMap::new);
        }
        if let Some(kinds) = self.kinds.get_mut(service as usize).filter(|kinds| kinds.len() < KINDS_MAX) {
            kinds.insert(body.into(), kind.clone());
        }
        kind
    }

    /// Counts a line; with an example if it may stand for its kind.
    fn loose_line(&mut self, service: u32, feature: u32, time: i64, example: Option<Example>) {
        let length = self.window.end.saturating_sub(self.window.start).max(1);
        let piece = (i128::from(time - self.window.start) * i128::from(PIECES) / i128::from(length)) as i64;
        let known = &mut self.lines.loose;
        if known.len() >= LOOSE_KINDS_MAX && !known.contains_key(&(service, feature)) {
            return;
        }
        let loose = match (known.entry((service, feature)), example) {
            (Entry::Vacant(entry), Some(example)) => {
                entry.insert(Loose { service, feature, pieces: Vec::new(), lines: 0, example })
            }
            (Entry::Vacant(_), None) => return,
            (Entry::Occupied(entry), example) => {
                let loose = entry.into_mut();
                if let Some(example) = example.filter(|example| *example < loose.example) {
                    loose.example = example;
                }
                loose
            }
        };
        loose.lines += 1;
        if !loose.pieces.contains(&piece) {
            loose.pieces.push(piece);
        }
    }
}
