//! Scans of log records: what is wanted of them, and rows as columns, some at a time.
//!
//! A scan decides from the outside inwards, so that little is read of what is not wanted: blocks by time, row groups by
//! statistics and token filters, rows by time, origin and pattern, and only then are bodies put together and other fields
//! decoded, for the rows that are left. What is asked about origins, patterns and bodies is the asker's: [`LogVisitor`].

use arrow_array::types::{Float64Type, Int64Type, UInt8Type, UInt32Type};
use arrow_array::{Array, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray};
use serde_json::Value as Json;
use throughline_model::attribute::{self, Value};
use throughline_model::batch::{column_binary, column_fixed, column_number, column_text, column_time, log};
use throughline_model::link::UNSAMPLED;
use throughline_model::{Level, SpanId, TraceId};

use super::log_kinds::{Kinds, each_of_object};
use super::{Snapshot, TimeRange};
use crate::block::{Block, COLUMN_PREFIX, Columns};
use crate::memtable::MemtableView;

/// What is wanted of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyWant {
    /// Nothing.
    None,
    /// How many bytes they have.
    Lengths,
    /// The mask: the text with a placeholder for each word that has a digit. It is the same wherever a record lies.
    Mask,
    /// The text where [`LogVisitor::pattern`] says [`Verdict::Open`], else the mask, for which no body is put together. Of what lies in
    /// memory always the text. Asked for with [`LogScan::is_filtered`].
    Judged,
    /// The text.
    Text,
}

/// Whether attributes with a key are meant. Asked on several threads.
pub type KeyTest<'q> = &'q (dyn Fn(&str) -> bool + Sync);

/// The first and the last nanosecond of the piece of time that a time lies in. Asked on several threads.
pub type PieceOf<'q> = dyn Fn(i64) -> (i64, i64) + Sync + 'q;

/// What is wanted beside time, origin and body.
#[derive(Clone, Copy, Default)]
pub struct FieldWant<'q> {
    /// The level.
    pub level: bool,
    /// Severity: number and text.
    pub severity: bool,
    /// Trace and span ids.
    pub context: bool,
    /// Observed time, flags, event name, what was dropped, and whether the trace was sampled.
    pub rest: bool,
    /// The trace id as it was written, where that is not the canonical form.
    pub original: bool,
    /// Attributes with these keys; one that is a structure has its members with it.
    pub attributes: Option<KeyTest<'q>>,
}

impl FieldWant<'_> {
    pub(crate) fn is_none(&self) -> bool {
        !self.level && !self.severity && !self.reads_rows() && self.attributes.is_none()
    }

    /// Whether something is wanted that each row has for itself.
    pub(crate) fn reads_rows(&self) -> bool {
        self.context || self.rest || self.original
    }
}

/// Which log records, and what of them.
#[derive(Clone, Copy)]
pub struct LogScan<'q> {
    /// Their times lie within.
    pub range: TimeRange,
    /// The order in which parts are read where few rows suffice; rows of a part come in any order.
    pub newest_first: bool,
    /// Whether few rows suffice: they are then handed out in the order of time as far as is cheap, some at a time.
    pub few: bool,
    /// Their services are among these.
    pub services: Option<&'q [String]>,
    /// They are of this trace.
    pub trace: Option<TraceId>,
    /// They are of one of these traces, or of none and severe. Others may be handed out, too, if a filter takes them for one of these.
    pub among: Option<&'q Among<'q>>,
    /// Of each list, a body has at least one of the texts.
    pub texts: &'q [Vec<&'q str>],
    /// Whether [`LogVisitor::pattern`] and [`LogVisitor::body`] are to be asked.
    pub is_filtered: bool,
    /// Whether times are wanted.
    pub times: bool,
    /// What of bodies.
    pub bodies: BodyWant,
    /// What else.
    pub fields: FieldWant<'q>,
    /// Conditions of which each speaks of attributes with some keys; [`LogVisitor::attribute`] is asked about values. Rows that
    /// fail may be left out, and need not.
    pub conditions: &'q [KeyTest<'q>],
    /// Where rows are only counted: the pieces of time by which. Rows of one origin and piece that are alike in all that is wanted may
    /// come as one; without bodies.
    pub pieces: Option<&'q PieceOf<'q>>,
}

impl<'q> LogScan<'q> {
    /// All log records of a range, and nothing of them but their times.
    pub const fn new(range: TimeRange) -> LogScan<'q> {
        LogScan {
            range,
            newest_first: false,
            few: false,
            services: None,
            trace: None,
            among: None,
            texts: &[],
            is_filtered: false,
            times: true,
            bodies: BodyWant::None,
            fields: FieldWant {
                level: false,
                severity: false,
                context: false,
                rest: false,
                original: false,
                attributes: None,
            },
            conditions: &[],
            pieces: None,
        }
    }

    /// Whether rows are counted whatever their bodies are.
    pub(crate) fn counts_all(&self) -> bool {
        let fields = &self.fields;
        let wants_rows = self.bodies != BodyWant::None || fields.reads_rows();
        self.pieces.is_some() && !wants_rows && !self.is_filtered && self.texts.is_empty()
    }

    /// Whether nothing is wanted of rows but counts by origin, level and piece of time, bodies and traces aside.
    pub(crate) fn counts_levels(&self) -> bool {
        let fields = &self.fields;
        self.pieces.is_some()
            && self.bodies == BodyWant::None
            && !(fields.severity || fields.reads_rows() || fields.attributes.is_some())
    }
}

/// Records of many traces, and those that no trace explains.
#[derive(Clone, Copy, Debug)]
pub struct Among<'q> {
    /// The traces, sorted.
    pub traces: &'q [TraceId],
    /// Of the records without a trace those of at least this level.
    pub loose: Level,
}

/// What a pattern says of the bodies that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None is wanted.
    Never,
    /// It takes the body.
    Open,
    /// All are wanted.
    Always,
}

/// What is still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Everything.
    All,
    /// In the order of the scan, nothing at or beyond this time.
    Until(i64),
    /// Nothing.
    Nothing,
}

/// Asks for rows and takes them.
pub trait LogVisitor {
    /// The number under which rows of an origin are handed out; `None` where they are not wanted. `resource` and `scope` are
    /// JSON objects.
    fn origin(&mut self, service: &str, resource: &str, scope: &str) -> Option<u32>;

    /// What a pattern says of its bodies. It may have words with digits, too; where it has no placeholder, it is the body.
    /// Asked of filtered scans alone.
    fn pattern(&mut self, pattern: &str) -> Verdict {
        _ = pattern;
        Verdict::Always
    }

    /// Whether a body is wanted; asked of filtered scans alone.
    fn body(&mut self, body: &str) -> bool {
        _ = body;
        true
    }

    /// Whether rows of an origin may be wanted that have this attribute, as the only one that a condition of the scan speaks of.
    fn attribute(&mut self, condition: usize, origin: u32, key: &str, value: FieldValue<'_>) -> bool {
        _ = (condition, origin, key, value);
        true
    }

    /// So many rows are looked at next; `false` ends the scan.
    fn looks_at(&mut self, rows: usize) -> bool {
        _ = rows;
        true
    }

    /// Takes rows.
    fn rows(&mut self, rows: &ScannedLogs<'_>) -> More;
}

/// Some rows of a scan, at least one.
pub struct ScannedLogs<'a> {
    /// The number of each row's origin.
    pub origins: &'a [u32],
    /// Of each row, if wanted.
    pub times: &'a [i64],
    /// How many rows each stands for; empty where each stands for itself.
    pub counts: &'a [u64],
    /// Of each row, if wanted.
    pub bodies: &'a [&'a str],
    /// The bytes of each row's body, if wanted.
    pub body_bytes: &'a [u32],
    /// As far as wanted.
    pub fields: LogFields<'a>,
}

impl ScannedLogs<'_> {
    /// How many rows a row stands for.
    pub fn count(&self, row: usize) -> u64 {
        if self.counts.is_empty() { 1 } else { self.counts.get(row).copied().unwrap_or_default() }
    }
}

/// The other fields of rows.
#[derive(Clone, Copy)]
pub enum LogFields<'a> {
    /// None are wanted.
    None,
    /// Of a block: the rows, one after the other.
    Block(&'a RecordBatch, &'a [(Option<TraceId>, Option<SpanId>)]),
    /// Of a memtable: rows of a batch, by position.
    Memtable(&'a RecordBatch, &'a [usize]),
    /// Of a block: the kind of each row.
    Kinds(&'a Kinds, &'a [u32]),
}

/// A value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// A text.
    Text(&'a str),
    /// An integer.
    Int(i64),
    /// A number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// A structure, or nothing.
    Json(&'a Json),
}

impl<'a> LogFields<'a> {
    /// The kind of a row, if rows have kinds: rows of one kind have the same fields.
    pub fn kind(&self, row: usize) -> Option<u32> {
        match self {
            LogFields::Kinds(_, of_row) => of_row.get(row).copied(),
            _ => None,
        }
    }

    /// OTLP's severity number; 0 where there is none.
    pub fn severity_number(&self, row: usize) -> u8 {
        match self {
            LogFields::None => 0,
            LogFields::Block(rows, _) => Columns::new(rows).u8("severity_number", row),
            LogFields::Memtable(rows, at) => at
                .get(row)
                .map_or(0, |row| column_number::<UInt8Type>(rows, log::SEVERITY_NUMBER).value(*row)),
            LogFields::Kinds(kinds, of_row) => of_row.get(row).map_or(0, |kind| kinds.severity_number(*kind)),
        }
    }

    /// The levels of so many rows: asked for once for all, because columns are found by their names.
    pub fn levels(&self, n_rows: usize) -> Vec<Level> {
        match *self {
            LogFields::None => vec![Level::Unknown; n_rows],
            LogFields::Block(rows, _) => {
                let columns = Columns::new(rows);
                let codes = columns.numbers::<UInt8Type>("level");
                let numbers = columns.numbers::<UInt8Type>("severity_number");
                let level = |row: usize| match codes.filter(|codes| !codes.is_null(row)) {
                    Some(codes) => Level::from_code(codes.value(row)),
                    None => Level::from_severity(numbers.map_or(0, |numbers| numbers.value(row))),
                };
                (0..n_rows.min(rows.num_rows())).map(level).collect()
            }
            LogFields::Memtable(rows, at) => {
                let levels = column_number::<UInt8Type>(rows, log::LEVEL);
                at.iter().take(n_rows).map(|row| Level::from_code(levels.value(*row))).collect()
            }
            LogFields::Kinds(kinds, of_row) => {
                of_row.iter().take(n_rows).map(|kind| kinds.level(*kind)).collect()
            }
        }
    }

    /// The severity's text; empty where there is none.
    pub fn severity_text(&self, row: usize) -> &'a str {
        if let LogFields::Kinds(kinds, of_row) = *self {
            return of_row.get(row).map_or("", |kind| kinds.severity_text(*kind));
        }
        self.text("severity_text", log::SEVERITY_TEXT, row)
    }

    /// The event's name; empty where there is none.
    pub fn event_name(&self, row: usize) -> &'a str {
        self.text("event_name", log::EVENT_NAME, row)
    }

    /// What the sender's limits dropped, as JSON; empty where nothing.
    pub fn dropped(&self, row: usize) -> &'a str {
        self.text("dropped", log::DROPPED, row)
    }

    /// The trace id as it was written; empty where that is the canonical form.
    pub fn original(&self, row: usize) -> &'a str {
        self.text("trace_id_original", log::TRACE_ID_ORIGINAL, row)
    }

    fn text(&self, name: &str, position: usize, row: usize) -> &'a str {
        match *self {
            LogFields::None | LogFields::Kinds(..) => "",
            LogFields::Block(rows, _) => Columns::new(rows).text(name, row).unwrap_or_default(),
            LogFields::Memtable(rows, at) => {
                let texts = column_text(rows, position);
                at.get(row).filter(|row| !texts.is_null(**row)).map_or("", |row| texts.value(*row))
            }
        }
    }

    /// W3C trace flags and others.
    pub fn flags(&self, row: usize) -> u32 {
        match self {
            LogFields::None | LogFields::Kinds(..) => 0,
            LogFields::Block(rows, _) => Columns::new(rows).u32("flags", row).unwrap_or_default(),
            LogFields::Memtable(rows, at) => {
                at.get(row).map_or(0, |row| column_number::<UInt32Type>(rows, log::FLAGS).value(*row))
            }
        }
    }

    /// Whether the record says that its trace was not sampled.
    pub fn is_unsampled(&self, row: usize) -> bool {
        let source = match self {
            LogFields::None | LogFields::Kinds(..) => 0,
            LogFields::Block(rows, _) => Columns::new(rows).u8("trace_source", row),
            LogFields::Memtable(rows, at) => {
                at.get(row).map_or(0, |row| column_number::<UInt8Type>(rows, log::TRACE_SOURCE).value(*row))
            }
        };
        source & UNSAMPLED != 0
    }

    /// From the record's time to when it was observed, nanoseconds.
    pub fn observed_delay_ns(&self, row: usize) -> i64 {
        match self {
            LogFields::None | LogFields::Kinds(..) => 0,
            LogFields::Block(rows, _) => Columns::new(rows).i64("observed_delay_ns", row),
            LogFields::Memtable(rows, at) => at.get(row).map_or(0, |row| {
                let observed = column_time(rows, log::OBSERVED_TIME).value(*row);
                observed.wrapping_sub(column_time(rows, log::TIME).value(*row))
            }),
        }
    }

    /// The trace and the span.
    pub fn context(&self, row: usize) -> (Option<TraceId>, Option<SpanId>) {
        match self {
            LogFields::None | LogFields::Kinds(..) => (None, None),
            LogFields::Block(_, contexts) => contexts.get(row).copied().unwrap_or_default(),
            LogFields::Memtable(rows, at) => {
                let Some(row) = at.get(row).copied() else { return (None, None) };
                let (traces, spans) = (column_fixed(rows, log::TRACE_ID), column_fixed(rows, log::SPAN_ID));
                let trace = (!traces.is_null(row)).then(|| TraceId::from_slice(traces.value(row)));
                let span = (!spans.is_null(row)).then(|| SpanId::from_slice(spans.value(row)));
                (trace.flatten(), span.flatten())
            }
        }
    }

    /// Whether a row has attributes among those that were read.
    pub fn has_attributes(&self, row: usize) -> bool {
        match self {
            LogFields::None => false,
            LogFields::Block(rows, _) => attribute_columns(rows).any(|column| !column.is_null(row)),
            LogFields::Memtable(rows, at) => {
                let lists = column_binary(rows, log::ATTRIBUTES);
                at.get(row).is_some_and(|row| lists.value_length(*row) > 0)
            }
            LogFields::Kinds(kinds, of_row) => {
                of_row.get(row).is_some_and(|kind| kinds.has_attributes(*kind))
            }
        }
    }

    /// Whether any row may have attributes.
    pub fn may_have_attributes(&self) -> bool {
        match self {
            LogFields::None => false,
            LogFields::Block(rows, _) => {
                attribute_columns(rows).any(|column| column.null_count() < rows.num_rows())
            }
            LogFields::Memtable(..) | LogFields::Kinds(..) => true,
        }
    }

    /// Calls `visit` with each attribute that was read.
    pub fn each_attribute(&self, row: usize, visit: &mut dyn FnMut(&str, FieldValue<'_>)) {
        match self {
            LogFields::None => {}
            LogFields::Block(rows, _) => each_of_block(rows, row, visit),
            LogFields::Memtable(rows, at) => {
                let Some(row) = at.get(row) else { return };
                for (key, value) in attribute::iter(column_binary(rows, log::ATTRIBUTES).value(*row)) {
                    match value {
                        Value::Str(text) => visit(key, FieldValue::Text(text)),
                        Value::Int(number) => visit(key, FieldValue::Int(number)),
                        Value::Double(number) => visit(key, FieldValue::Double(number)),
                        Value::Bool(is) => visit(key, FieldValue::Bool(is)),
                        other => visit(key, FieldValue::Json(&other.to_json())),
                    }
                }
            }
            LogFields::Kinds(kinds, of_row) => {
                of_row.get(row).into_iter().for_each(|kind| kinds.each_attribute(*kind, visit));
            }
        }
    }
}

/// The columns of attributes, the one for the rest among them.
fn attribute_columns(rows: &RecordBatch) -> impl Iterator<Item = &dyn Array> {
    let columns = rows.schema_ref().fields().iter().zip(rows.columns());
    let of_attributes =
        columns.filter(|(field, _)| field.name() == "attributes" || field.name().starts_with(COLUMN_PREFIX));
    of_attributes.map(|(_, column)| column.as_ref())
}

fn each_of_block(rows: &RecordBatch, row: usize, visit: &mut dyn FnMut(&str, FieldValue<'_>)) {
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let Some(key) = field.name().strip_prefix(COLUMN_PREFIX) else { continue };
        if column.is_null(row) {
            continue;
        }
        let any = column.as_any();
        if let Some(texts) = any.downcast_ref::<StringArray>() {
            visit(key, FieldValue::Text(texts.value(row)));
        } else if let Some(numbers) = any.downcast_ref::<PrimitiveArray<Int64Type>>() {
            visit(key, FieldValue::Int(numbers.value(row)));
        } else if let Some(numbers) = any.downcast_ref::<PrimitiveArray<Float64Type>>() {
            visit(key, FieldValue::Double(numbers.value(row)));
        } else if let Some(flags) = any.downcast_ref::<BooleanArray>() {
            visit(key, FieldValue::Bool(flags.value(row)));
        } else if let Some(texts) = any.downcast_ref::<DictionaryArray<arrow_array::types::Int32Type>>()
            && let Some(values) = texts.values().as_any().downcast_ref::<StringArray>()
            && let Some(value) = texts.key(row).filter(|key| *key < values.len())
        {
            visit(key, FieldValue::Text(values.value(value)));
        }
    }
    if let Some(object) = Columns::new(rows).text("attributes", row) {
        each_of_object(object, visit);
    }
}

/// How far a scan is.
pub(crate) struct Progress {
    newest_first: bool,
    more: More,
}

impl Progress {
    /// Whether rows of this time are still wanted.
    pub(crate) fn wants(&self, time: i64) -> bool {
        self.wants_within(time, time)
    }

    /// Whether any row between two times, both inclusive, is still wanted.
    pub(crate) fn wants_within(&self, min: i64, max: i64) -> bool {
        match (self.more, self.newest_first) {
            (More::All, _) => true,
            (More::Nothing, _) => false,
            (More::Until(bound), true) => max > bound,
            (More::Until(bound), false) => min < bound,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.more == More::Nothing
    }

    pub(crate) fn note(&mut self, more: More) {
        self.more = more;
    }
}

/// A part of a snapshot.
enum Part<'a> {
    Memtable(&'a MemtableView),
    Block(&'a Block),
}

impl Snapshot {
    /// Hands out log records. What could not be read is named in the answer.
    pub fn scan_logs(&self, scan: &LogScan<'_>, visitor: &mut dyn LogVisitor) -> Vec<String> {
        let mut parts: Vec<(i64, i64, Part<'_>)> = Vec::new();
        for memtable in &self.memtables {
            if let Some((min, max)) = memtable.log_bounds() {
                parts.push((min, max, Part::Memtable(memtable)));
            }
        }
        let blocks = self.blocks.iter();
        parts.extend(blocks.map(|block| (block.min_time(), block.max_time(), Part::Block(block))));
        parts.retain(|(min, max, _)| scan.range.overlaps(*min, *max));
        match scan.newest_first {
            true => parts.sort_by_key(|(_, max, _)| std::cmp::Reverse(*max)),
            false => parts.sort_by_key(|(min, ..)| *min),
        }
        let mut partial = self.missing.to_vec();
        let mut progress = Progress { newest_first: scan.newest_first, more: More::All };
        for (min, max, part) in parts {
            if progress.is_over() {
                break;
            }
            if !progress.wants_within(min, max) {
                continue;
            }
            match part {
                Part::Memtable(memtable) => memtable.scan_logs(scan, visitor, &mut progress),
                Part::Block(block) => {
                    if let Err(error) = block.scan_logs(scan, visitor, &mut progress) {
                        partial.push(error.to_string());
                    }
                }
            }
        }
        partial
    }
}
