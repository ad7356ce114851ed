//! The trace table: one row per trace of the block, in the order in which its spans lie.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray, UInt32Array};
use throughline_model::TraceId;
use throughline_model::trace::{Analyser, Analysis, SpanTiming};

use super::build::BlockBuilder;
use super::index::{IndexWriter, TracePostings};
use super::tables::{TRACE_GROUP_ROWS, Table, TableWriter, traces_schema};
use super::texts::{NO_TEXT, TextId, Texts};
use crate::error::Error;
use crate::same_span::SpanIdentity;

/// What sampling decided about a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fate {
    /// Nothing so far.
    #[default]
    Undecided,
    /// It stays, at a time, and stands for so many.
    Kept { policy: TextId, at: i64, adjusted: Option<f64> },
    /// So many spans of it were dropped at a time.
    Dropped { policy: TextId, at: i64, spans: u32 },
}

impl Fate {
    fn policy(&self) -> Option<TextId> {
        match self {
            Fate::Undecided => None,
            Fate::Kept { policy, .. } | Fate::Dropped { policy, .. } => Some(*policy),
        }
    }

    fn at(&self) -> Option<i64> {
        match self {
            Fate::Undecided => None,
            Fate::Kept { at, .. } | Fate::Dropped { at, .. } => Some(*at),
        }
    }

    pub(crate) fn is_dropped(&self) -> bool {
        matches!(self, Fate::Dropped { .. })
    }

    fn state(&self) -> &'static str {
        if self.is_dropped() { "dropped" } else { "kept" }
    }
}

/// Spans of a trace that were dropped, by the first policy that did, and since when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DroppedPart {
    pub(crate) policy: TextId,
    pub(crate) at: i64,
    pub(crate) spans: u32,
}

impl DroppedPart {
    pub(crate) fn joined(a: Option<DroppedPart>, b: Option<DroppedPart>) -> Option<DroppedPart> {
        let (Some(one), Some(other)) = (a, b) else { return a.or(b) };
        let first = if other.at < one.at { other } else { one };
        Some(DroppedPart { spans: one.spans.saturating_add(other.spans), ..first })
    }
}

/// What is known of one trace while its block is written.
#[derive(Clone, Debug)]
pub(crate) struct TraceEntry {
    pub(crate) id: TraceId,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) root_service: TextId,
    pub(crate) root_name: TextId,
    /// Sorted by number, without duplicates.
    pub(crate) services: Vec<TextId>,
    pub(crate) error_count: u32,
    pub(crate) error_log_count: u32,
    pub(crate) orphan_count: u32,
    pub(crate) culprit_service: TextId,
    pub(crate) culprit_name: TextId,
    pub(crate) culprit_self_ns: i64,
    /// Service and name of the deepest span in error.
    pub(crate) error_culprit: Option<(TextId, TextId)>,
    /// How far clocks of services are apart at least, where they are.
    pub(crate) clock_skew_ns: i64,
    pub(crate) fate: Fate,
    /// What was dropped before the spans that are here came; of a tombstone its fate says that.
    pub(crate) dropped_before: Option<DroppedPart>,
    pub(crate) postings: TracePostings,
}

impl TraceEntry {
    /// What was dropped of it, whether or not spans of it are here.
    pub(crate) fn dropped(&self) -> Option<DroppedPart> {
        match self.fate {
            Fate::Dropped { policy, at, spans } => Some(DroppedPart { policy, at, spans }),
            Fate::Undecided | Fate::Kept { .. } => self.dropped_before,
        }
    }

    /// Makes one tombstone of this one, which has just become one, and of what was dropped before. It tells of the larger part of
    /// the trace; `before` is the largest tombstone of the others, where there is one.
    pub(crate) fn unite(&mut self, before: Option<Box<TraceEntry>>) {
        let own = self.dropped();
        let all = DroppedPart::joined(self.dropped_before.take(), own);
        if let Some(before) = before {
            let spans = |part: Option<DroppedPart>| part.map_or(0, |part| part.spans);
            let error_count = self.error_count + before.error_count;
            if spans(before.dropped()) >= spans(own) {
                let counts = (self.error_log_count, std::mem::take(&mut self.postings));
                *self = *before;
                (self.error_log_count, self.postings) = counts;
            }
            self.error_count = error_count;
        }
        self.bury(all);
    }

    /// Makes it the tombstone of these spans.
    pub(crate) fn bury(&mut self, dropped: Option<DroppedPart>) {
        if let Some(DroppedPart { policy, at, spans }) = dropped {
            self.fate = Fate::Dropped { policy, at, spans };
            self.dropped_before = None;
        }
    }

    /// A trace of which only references are known so far, the first of them at this time.
    pub(crate) fn referred(id: TraceId, time: i64) -> TraceEntry {
        TraceEntry {
            id,
            start: time,
            end: time,
            root_service: NO_TEXT,
            root_name: NO_TEXT,
            services: Vec::new(),
            error_count: 0,
            error_log_count: 0,
            orphan_count: 0,
            culprit_service: NO_TEXT,
            culprit_name: NO_TEXT,
            culprit_self_ns: 0,
            error_culprit: None,
            clock_skew_ns: 0,
            fate: Fate::Undecided,
            dropped_before: None,
            postings: TracePostings::default(),
        }
    }
}

/// One span as the summary needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanFacts {
    pub(crate) timing: SpanTiming,
    pub(crate) kind: u8,
    pub(crate) service: TextId,
    pub(crate) name: TextId,
}

impl SpanFacts {
    /// Compares what tells spans from each other: equal ones are one.
    pub(crate) fn compare(&self, other: &SpanFacts, texts: &Texts) -> Ordering {
        self.identity(texts).cmp(&other.identity(texts))
    }

    fn identity<'t>(&self, texts: &'t Texts) -> SpanIdentity<'t> {
        let SpanTiming { span_id, start, duration, .. } = self.timing;
        let (name, service) = (texts.get(self.name), texts.get(self.service));
        SpanIdentity { start, span_id, kind: self.kind, duration, name, service }
    }
}

/// Computes trace summaries, keeping its working memory.
#[derive(Default)]
pub(crate) struct Summariser {
    analyser: Analyser,
    analysis: Analysis,
    timings: Vec<SpanTiming>,
}

impl Summariser {
    /// The entry of a trace with these spans, which are at least one. Afterwards [`Summariser::parents`] holds their
    /// parents.
    pub(crate) fn summarise(&mut self, id: TraceId, spans: &[SpanFacts]) -> TraceEntry {
        self.timings.clear();
        self.timings.extend(spans.iter().map(|span| span.timing));
        self.analyser.analyse(&self.timings, &mut self.analysis);
        let analysis = &self.analysis;
        let start = spans.iter().map(|span| span.timing.start).min().unwrap_or_default();
        let mut entry = TraceEntry::referred(id, start);
        entry.end = self.timings.iter().map(SpanTiming::end).max().unwrap_or(start);
        entry.services = spans.iter().map(|span| span.service).collect();
        entry.services.sort_unstable();
        entry.services.dedup();
        entry.error_count = spans.iter().filter(|span| span.timing.error).count() as u32;
        entry.orphan_count = analysis.orphans;
        entry.postings.span_count = spans.len() as u32;
        let at = |index: Option<u32>| index.and_then(|index| spans.get(index as usize));
        if let Some(root) = at(analysis.root).filter(|span| span.timing.parent_span_id.is_none()) {
            (entry.root_service, entry.root_name) = (root.service, root.name);
        }
        if let Some(culprit) = at(analysis.latency_culprit) {
            (entry.culprit_service, entry.culprit_name) = (culprit.service, culprit.name);
            let self_time = analysis.latency_culprit.and_then(|at| analysis.self_time.get(at as usize));
            entry.culprit_self_ns = self_time.copied().unwrap_or_default();
        }
        entry.error_culprit = at(analysis.error_culprit).map(|span| (span.service, span.name));
        entry.clock_skew_ns = analysis.clock_skew_ns(&self.timings, |a, b| {
            let service = |span: usize| spans.get(span).map(|span| span.service);
            service(a) == service(b)
        });
        entry
    }

    /// The parent of each span that was given last.
    pub(crate) fn parents(&self) -> &[Option<u32>] {
        &self.analysis.parent
    }
}

/// Writes `traces.parquet` and the traces' part of the index. Entries are in the order of their rows, and
/// `first_span` is set.
pub(crate) fn write(
    mut table: TableWriter,
    entries: &[TraceEntry],
    texts: &Texts,
    index: &mut IndexWriter,
) -> Result<super::checksums::FileSums, Error> {
    for (chunk, part) in entries.chunks(TRACE_GROUP_ROWS).enumerate() {
        table.write(&rows(part, chunk * TRACE_GROUP_ROWS, texts)?)?;
    }
    entries.iter().for_each(|entry| index.add_trace(entry.id.fingerprint(), &entry.postings));
    table.finish()
}

fn rows(entries: &[TraceEntry], first_row: usize, texts: &Texts) -> Result<RecordBatch, Error> {
    let number = |pick: fn(&TraceEntry) -> u32| -> ArrayRef {
        Arc::new(entries.iter().map(pick).collect::<UInt32Array>())
    };
    let text = |pick: fn(&TraceEntry) -> TextId| -> ArrayRef {
        let mut builder = StringBuilder::new();
        entries.iter().for_each(|entry| builder.append_value(texts.get(pick(entry))));
        Arc::new(builder.finish())
    };
    let mut ids = FixedSizeBinaryBuilder::with_capacity(entries.len(), 16);
    let mut services = ListBuilder::new(StringBuilder::new());
    for entry in entries {
        ids.append_value(entry.id.0).map_err(arrow_error)?;
        entry.services.iter().for_each(|service| services.values().append_value(texts.get(*service)));
        services.append(true);
    }
    let starts: Vec<i64> = entries.iter().map(|entry| entry.start).collect();
    let (mut states, mut policies) = (StringBuilder::new(), StringBuilder::new());
    for entry in entries {
        states.append_value(entry.fate.state());
        policies.append_option(entry.fate.policy().map(|policy| texts.get(policy)));
    }
    let decided: TimestampNanosecondArray = entries.iter().map(|entry| entry.fate.at()).collect();
    let adjusted = |entry: &TraceEntry| match entry.fate {
        Fate::Kept { adjusted, .. } => adjusted,
        Fate::Undecided | Fate::Dropped { .. } => None,
    };
    let dropped = |entry: &TraceEntry| entry.dropped().map(|part| part.spans);
    let dropped_at: TimestampNanosecondArray =
        entries.iter().map(|entry| entry.dropped_before.map(|part| part.at)).collect();
    let text_of = |pick: fn(&TraceEntry) -> Option<TextId>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        entries.iter().for_each(|entry| builder.append_option(pick(entry).map(|text| texts.get(text))));
        Arc::new(builder.finish())
    };
    let skews = entries.iter().map(|entry| Some(entry.clock_skew_ns).filter(|skew| *skew > 0));
    let columns: Vec<ArrayRef> = vec![
        Arc::new((first_row as u32..(first_row + entries.len()) as u32).collect::<UInt32Array>()),
        Arc::new(ids.finish()),
        Arc::new(TimestampNanosecondArray::from(starts).with_timezone("UTC")),
        Arc::new(entries.iter().map(|entry| entry.end.saturating_sub(entry.start)).collect::<Int64Array>()),
        text(|entry| entry.root_service),
        text(|entry| entry.root_name),
        Arc::new(services.finish()),
        number(|entry| entry.postings.first_span),
        number(|entry| entry.postings.span_count),
        number(|entry| entry.error_count),
        number(|entry| entry.postings.logs.len() as u32),
        number(|entry| entry.error_log_count),
        number(|entry| entry.postings.exemplars.len() as u32),
        number(|entry| entry.orphan_count),
        text(|entry| entry.culprit_service),
        text(|entry| entry.culprit_name),
        Arc::new(entries.iter().map(|entry| entry.culprit_self_ns).collect::<Int64Array>()),
        Arc::new(states.finish()),
        Arc::new(policies.finish()),
        Arc::new(decided.with_timezone("UTC")),
        Arc::new(entries.iter().map(adjusted).collect::<Float64Array>()),
        Arc::new(entries.iter().map(dropped).collect::<UInt32Array>()),
        text_of(|entry| entry.dropped_before.map(|part| part.policy)),
        Arc::new(dropped_at.with_timezone("UTC")),
        text_of(|entry| entry.error_culprit.map(|(service, _)| service)),
        text_of(|entry| entry.error_culprit.map(|(_, name)| name)),
        Arc::new(skews.collect::<Int64Array>()),
    ];
    RecordBatch::try_new(traces_schema(), columns).map_err(arrow_error)
}

/// An error of the Arrow library as ours.
pub(crate) fn arrow_error(error: arrow_schema::ArrowError) -> Error {
    Error::Columns { action: "assemble columns".to_owned(), detail: error.to_string() }
}

/// The writer of the table.
pub(crate) fn table(builder: &BlockBuilder<'_>) -> Result<TableWriter, Error> {
    TableWriter::create(builder.disk, &builder.folder, Table::Traces, builder.meta.level, traces_schema())
}
