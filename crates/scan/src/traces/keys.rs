//! Which attributes spans have: their keys by scope, for those who build queries.
//!
//! Batches come newest first. It ends when [`STALE_BATCHES`] in a row brought no new key; of events and links only the first
//! [`TEXTS_PER_BATCH`] different lists of a batch are looked at. A key that is rarer than that may be missing.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use throughline_exec::{Budget, ExecError};
use throughline_store::{Error, More, SpanColumn, SpanRows, SpanScan, SpanValues, SpanVisitor, TimeRange};
use throughline_traceql::ast::Scope;

use super::StoredTraces;

/// Half a million spans without a new key.
const STALE_BATCHES: usize = 64;
/// Lists of events, and of links, that are read of one batch.
const TEXTS_PER_BATCH: usize = 256;
/// Keys of one scope.
const KEYS_MAX: usize = 20_000;

/// Keys of attributes, by scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeKeys {
    resource: BTreeSet<String>,
    span: BTreeSet<String>,
    event: BTreeSet<String>,
    link: BTreeSet<String>,
    instrumentation: BTreeSet<String>,
}

impl AttributeKeys {
    /// The keys of a scope; of [`Scope::Any`] those of spans.
    #[must_use]
    pub fn of(&self, scope: Scope) -> &BTreeSet<String> {
        match scope {
            Scope::Resource => &self.resource,
            Scope::Any | Scope::Span => &self.span,
            Scope::Event => &self.event,
            Scope::Link => &self.link,
            Scope::Instrumentation => &self.instrumentation,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.resource, &self.span, &self.event, &self.link, &self.instrumentation]
            .iter()
            .all(|keys| keys.is_empty())
    }

    /// Adds keys of a scope; says whether any of them is new.
    pub fn note<'k>(&mut self, scope: Scope, keys: impl IntoIterator<Item = &'k String>) -> bool {
        let known = match scope {
            Scope::Resource => &mut self.resource,
            Scope::Any | Scope::Span => &mut self.span,
            Scope::Event => &mut self.event,
            Scope::Link => &mut self.link,
            Scope::Instrumentation => &mut self.instrumentation,
        };
        let mut is_new = false;
        for key in keys {
            if known.len() < KEYS_MAX && !known.contains(key) {
                known.insert(key.clone());
                is_new = true;
            }
        }
        is_new
    }
}

impl StoredTraces {
    /// The keys of the attributes of spans that start in a window.
    pub fn attribute_keys(&self, range: TimeRange, budget: &Budget) -> Result<AttributeKeys, ExecError> {
        let scan = SpanScan { range, of_traces: false, bounds: &[], whole: false, newest_first: true };
        let mut reader = KeyReader {
            budget,
            range,
            keys: AttributeKeys::default(),
            stale: 0,
            failed: None,
            damage: Vec::new(),
            is_cut: false,
        };
        let partial = self.snapshot().scan_spans(&scan, &mut reader);
        let KeyReader { keys, failed, damage, is_cut, .. } = reader;
        let cut = is_cut.then(|| {
            format!("names of attributes were looked for until {STALE_BATCHES} batches of spans in a row had no new one")
        });
        self.note(partial.into_iter().chain(damage).chain(cut));
        failed.map_or(Ok(keys), Err)
    }
}

struct KeyReader<'b> {
    budget: &'b Budget,
    range: TimeRange,
    keys: AttributeKeys,
    /// Batches in a row without a new key.
    stale: usize,
    failed: Option<ExecError>,
    /// What could not be read.
    damage: Vec<String>,
    /// Whether it ended early.
    is_cut: bool,
}

impl SpanVisitor for KeyReader<'_> {
    fn rows(&mut self, rows: &SpanRows<'_>) -> More {
        if let Err(error) = self.budget.check() {
            self.failed = Some(error);
            return More::Nothing;
        }
        self.budget.note_rows_read(rows.len() as u64, 0);
        match self.read(rows) {
            Ok(true) => self.stale = 0,
            Ok(false) => self.stale += 1,
            // What cannot be read of a batch costs the batch, and is said.
            Err(error) => self.damage.push(error.to_string()),
        }
        if self.stale < STALE_BATCHES {
            return More::All;
        }
        self.is_cut = true;
        More::Nothing
    }
}

impl KeyReader<'_> {
    /// Notes the keys of a batch; says whether any is new.
    fn read(&mut self, rows: &SpanRows<'_>) -> Result<bool, Error> {
        if !rows.starts_within(self.range) {
            let starts = rows.column(SpanColumn::Start, None)?;
            let any =
                (0..rows.len()).any(|row| starts.int(row).is_some_and(|time| self.range.contains(time)));
            if !any {
                return Ok(false);
            }
        }
        let mut is_new = self.keys.note(Scope::Span, &rows.attribute_keys()?);
        for text in texts(&rows.column(SpanColumn::Resource, None)?).iter() {
            is_new |= self.keys.note(Scope::Resource, &members(Some(text)));
        }
        for text in texts(&rows.column(SpanColumn::Scope, None)?).iter() {
            is_new |= self.keys.note(Scope::Instrumentation, &members(text.get("attributes")));
        }
        for (column, scope) in [(SpanColumn::Events, Scope::Event), (SpanColumn::Links, Scope::Link)] {
            for text in texts(&rows.column(column, None)?).iter() {
                for item in text.as_array().into_iter().flatten() {
                    is_new |= self.keys.note(scope, &members(item.get("attributes")));
                }
            }
        }
        Ok(is_new)
    }
}

/// The different texts of a column as JSON, at most so many as are looked at.
fn texts(values: &SpanValues) -> Vec<Json> {
    let SpanValues::Texts(_, all, ends) = values else { return Vec::new() };
    let mut start = 0;
    let each = ends.iter().take(TEXTS_PER_BATCH).map(|end| {
        let text = all.get(std::mem::replace(&mut start, *end as usize)..*end as usize).unwrap_or_default();
        serde_json::from_str(text).unwrap_or(Json::Null)
    });
    each.collect()
}

fn members(object: Option<&Json>) -> Vec<String> {
    object.and_then(Json::as_object).into_iter().flat_map(|members| members.keys().cloned()).collect()
}
