//! One pass over the columns of log records: counts by service, the newest ERROR records, and an even sample of what refers to
//! which trace. Nothing is kept of a record beyond that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use throughline_model::{Level, SpanId, TraceId};
use throughline_store::{LogVisitor, More, ScannedLogs};

use super::EXAMPLES_MAX;
use super::classify::Cause;
use super::evidence::{ErrorLog, Reference};

/// Log records whose columns are read: about two seconds.
pub(super) const LOG_ROWS_MAX: usize = 10_000_000;
/// ERROR records that are told apart, the newest.
const ERROR_LOGS_MAX: usize = 2_000;
/// Traces that log records refer to and whose links are asked.
const REFERENCES_MAX: usize = 2_000;

/// Log records of one service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogCounts {
    pub records: u64,
    pub with_trace: u64,
    /// Those whose trace id cannot be read.
    pub malformed: u64,
    pub without_level: u64,
    pub errors: u64,
}

/// A record whose trace id cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Malformed {
    pub time: i64,
    pub span: Option<SpanId>,
    /// What stands there instead.
    pub form: String,
}

/// Where an ERROR record is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ErrorPlace {
    pub time: i64,
    /// The service, by its number within the pass.
    pub number: u32,
    pub trace: Option<TraceId>,
    pub span: Option<SpanId>,
    pub service: String,
}

impl ErrorPlace {
    pub fn log(self, text: String, cause: Cause) -> ErrorLog {
        ErrorLog {
            service: self.service,
            time: self.time,
            trace_id: self.trace,
            span_id: self.span,
            text,
            cause,
        }
    }
}

/// One pass over log records.
#[derive(Default)]
pub(super) struct LogPass {
    /// Services by number; the first resource and the counts of each.
    pub services: Vec<String>,
    pub resources: Vec<String>,
    pub counts: Vec<LogCounts>,
    /// The service of each origin.
    of_origin: Vec<u32>,
    /// The newest, the oldest of them on top.
    pub errors: BinaryHeap<Reverse<ErrorPlace>>,
    pub references: References,
    /// Of each service, by its number: the newest, the oldest of them on top.
    pub malformed: BTreeMap<u32, BinaryHeap<Reverse<Malformed>>>,
    pub rows: usize,
}

impl LogVisitor for LogPass {
    fn origin(&mut self, service: &str, resource: &str, _scope: &str) -> Option<u32> {
        let known = self.services.iter().position(|known| known == service);
        let number = known.unwrap_or_else(|| {
            self.services.push(service.to_owned());
            self.resources.push(resource.to_owned());
            self.counts.push(LogCounts::default());
            self.services.len() - 1
        });
        self.of_origin.push(number as u32);
        Some(self.of_origin.len() as u32 - 1)
    }

    fn looks_at(&mut self, rows: usize) -> bool {
        let is_within = self.rows < LOG_ROWS_MAX;
        self.rows = self.rows.saturating_add(rows);
        is_within
    }

    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More {
        let levels = rows.fields.levels(rows.origins.len());
        for (row, (origin, level)) in rows.origins.iter().zip(&levels).enumerate() {
            let number = self.of_origin.get(*origin as usize).copied().unwrap_or_default();
            let time = rows.times.get(row).copied().unwrap_or_default();
            let (trace, span) = rows.fields.context(row);
            let is_error = *level >= Level::Error;
            if let Some(counts) = self.counts.get_mut(number as usize) {
                counts.records += 1;
                counts.with_trace += u64::from(trace.is_some());
                counts.without_level += u64::from(*level == Level::Unknown);
                counts.errors += u64::from(is_error);
            }
            let original = rows.fields.original(row);
            if trace.is_none() && !original.is_empty() {
                self.add_malformed(number, time, span, original);
            }
            if let Some(id) = trace {
                let is_unsampled = rows.fields.is_unsampled(row);
                self.references.add(id, Referring { number, span, time, is_error, is_unsampled });
            }
            if is_error {
                let place = ErrorPlace { time, number, trace, span, service: String::new() };
                self.errors.push(Reverse(place));
                if self.errors.len() > ERROR_LOGS_MAX {
                    self.errors.pop();
                }
            }
        }
        More::All
    }
}

impl LogPass {
    fn add_malformed(&mut self, number: u32, time: i64, span: Option<SpanId>, form: &str) {
        if let Some(counts) = self.counts.get_mut(number as usize) {
            counts.malformed += 1;
        }
        let newest = self.malformed.entry(number).or_default();
        let is_full = newest.len() >= EXAMPLES_MAX;
        if is_full && newest.peek().is_some_and(|Reverse(oldest)| oldest.time > time) {
            return;
        }
        newest.push(Reverse(Malformed { time, span, form: form.to_owned() }));
        if is_full {
            newest.pop();
        }
    }
}

/// What refers to a trace.
#[derive(Clone, Copy)]
struct Referring {
    number: u32,
    span: Option<SpanId>,
    time: i64,
    is_error: bool,
    is_unsampled: bool,
}

/// An even sample of references: those to the traces whose ids hash lowest, in whatever order they come.
#[derive(Default)]
pub(super) struct References {
    by_hash: BTreeMap<(u64, u32), (TraceId, Referring)>,
}

impl References {
    fn add(&mut self, id: TraceId, from: Referring) {
        let key = (id.fingerprint(), from.number);
        let is_full = self.by_hash.len() >= REFERENCES_MAX;
        if is_full && self.by_hash.last_key_value().is_some_and(|(last, _)| *last < key) {
            return;
        }
        let (_, known) = self.by_hash.entry(key).or_insert((id, from));
        known.is_error |= from.is_error;
        known.is_unsampled |= from.is_unsampled;
        // The first of a service stands for it, whatever part was read first.
        if (from.time, from.span) < (known.time, known.span) {
            (known.time, known.span) = (from.time, from.span);
        }
        if self.by_hash.len() > REFERENCES_MAX {
            self.by_hash.pop_last();
        }
    }

    /// How many there are: of an even sample the highest hash says how dense they lie.
    pub fn estimate(&self) -> u64 {
        match self.by_hash.last_key_value() {
            Some(((last, _), _)) if self.by_hash.len() >= REFERENCES_MAX => {
                (self.by_hash.len() as f64 / (*last as f64 / u64::MAX as f64)) as u64
            }
            _ => self.by_hash.len() as u64,
        }
    }

    pub fn finish(self, name: impl Fn(u32) -> String) -> Vec<Reference> {
        let mut out: Vec<Reference> = self
            .by_hash
            .into_values()
            .map(|(trace_id, from)| Reference {
                trace_id,
                span_id: from.span,
                service: name(from.number),
                time: from.time,
                is_error: from.is_error,
                is_unsampled: from.is_unsampled,
            })
            .collect();
        out.sort_by(|a, b| (b.time, a.trace_id, &a.service).cmp(&(a.time, b.trace_id, &b.service)));
        out
    }
}
