//! `recombine`: one entry of several that belong together, such as the lines of a stack trace.
//!
//! Lines of one source wait until a line says that the entry is whole, or until there are too many of them or they wait too
//! long. What waits is not stored yet: [`Recombiner::earliest`] says from where a file has to be read again after a crash.

use std::collections::BTreeMap;
use std::time::Duration;

use super::text_of;
use crate::entry::{Entry, Origin};
use crate::expr::Expression;
use crate::field::Field;
use crate::value::Value;

/// The most bytes that wait in one operator, whatever its own limits.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// How entries are put together.
#[derive(Clone, Debug)]
pub struct Recombine {
    /// What tells where an entry begins or ends.
    pub edge: Edge,
    /// The field that is put together.
    pub field: Field,
    /// What stands between the parts.
    pub with: String,
    /// Whether the other fields are those of the newest part, not of the oldest.
    pub keep_newest: bool,
    /// Parts of different values of these do not belong together.
    pub sources: Vec<Field>,
    /// What may wait.
    pub limits: RecombineLimits,
}

/// What tells where an entry begins or ends.
#[derive(Clone, Debug)]
pub enum Edge {
    /// The first part meets this.
    First(Expression),
    /// The last part meets this.
    Last(Expression),
}

/// What may wait. Zero is no limit of its own.
#[derive(Clone, Debug)]
pub struct RecombineLimits {
    /// Parts of one entry.
    pub parts: usize,
    /// The same before one was an edge.
    pub unmatched_parts: usize,
    /// Bytes of one entry.
    pub bytes: usize,
    /// Sources.
    pub sources: usize,
    /// How long.
    pub wait: Duration,
}

/// Entries that wait.
#[derive(Debug, Default)]
pub struct Recombiner {
    waiting: BTreeMap<String, Batch>,
    bytes: usize,
}

#[derive(Debug)]
struct Batch {
    entry: Entry,
    text: String,
    parts: usize,
    since: Duration,
    is_matched: bool,
    /// Where each file has to be read from for this again.
    starts: BTreeMap<u64, Origin>,
}

impl Recombiner {
    /// Takes an entry; whole ones go to `out`. An entry that cannot be put together comes back with the reason.
    #[expect(clippy::result_large_err, reason = "the entry goes on as it came")]
    pub fn push(
        &mut self,
        rule: &Recombine,
        entry: Entry,
        now: Duration,
        out: &mut Vec<Entry>,
    ) -> Result<(), (Entry, String)> {
        let condition = match &rule.edge {
            Edge::First(condition) | Edge::Last(condition) => condition,
        };
        let is_edge = match condition.is_met(&entry) {
            Ok(is_edge) => is_edge,
            Err(reason) => return Err((entry, reason)),
        };
        if let Err(reason) = text_of(&rule.field, &entry) {
            return Err((entry, reason));
        }
        let source = source(rule, &entry);
        let is_first = matches!(rule.edge, Edge::First(_));
        if is_edge && is_first {
            self.release(rule, &source, out);
        }
        if !self.waiting.contains_key(&source)
            && rule.limits.sources > 0
            && self.waiting.len() >= rule.limits.sources
        {
            self.release_all(rule, out);
        }
        let is_full = self.add(rule, &source, entry, is_edge, now);
        if is_full || (is_edge && !is_first) {
            self.release(rule, &source, out);
        }
        if self.bytes > WAITING_BYTES_MAX {
            self.release_all(rule, out);
        }
        Ok(())
    }

    /// Releases what has waited long enough; true if anything has.
    pub fn release_due(&mut self, rule: &Recombine, now: Duration, out: &mut Vec<Entry>) -> bool {
        let is_due = |batch: &Batch| now.saturating_sub(batch.since) >= rule.limits.wait;
        let due: Vec<String> = self
            .waiting
            .iter()
            .filter(|(_, batch)| is_due(batch))
            .map(|(source, _)| source.clone())
            .collect();
        due.iter().for_each(|source| self.release(rule, source, out));
        !due.is_empty()
    }

    /// Whether something has waited long enough.
    #[must_use]
    pub fn is_due(&self, rule: &Recombine, now: Duration) -> bool {
        self.waiting.values().any(|batch| now.saturating_sub(batch.since) >= rule.limits.wait)
    }

    /// Releases everything.
    pub fn release_all(&mut self, rule: &Recombine, out: &mut Vec<Entry>) {
        let sources: Vec<String> = self.waiting.keys().cloned().collect();
        sources.iter().for_each(|source| self.release(rule, source, out));
    }

    /// The first part of a file that waits.
    #[must_use]
    pub fn earliest(&self, file: u64) -> Option<Origin> {
        let starts = self.waiting.values().filter_map(|batch| batch.starts.get(&file));
        starts.min_by_key(|origin| origin.start).copied()
    }

    /// Adds a part; true if no more may wait with it.
    fn add(&mut self, rule: &Recombine, source: &str, entry: Entry, is_edge: bool, now: Duration) -> bool {
        let part = rule.field.find(&entry).and_then(Value::text).unwrap_or_default().to_owned();
        self.bytes += part.len();
        let origin = entry.origin;
        let batch = match self.waiting.get_mut(source) {
            Some(batch) => {
                if !batch.text.is_empty() {
                    batch.text.push_str(&rule.with);
                }
                batch.parts += 1;
                if rule.keep_newest {
                    batch.entry = entry;
                }
                batch
            }
            None => {
                self.bytes += entry.memory_bytes();
                let (text, starts) = (String::new(), BTreeMap::new());
                let batch = Batch { entry, text, parts: 1, since: now, is_matched: false, starts };
                self.waiting.entry(source.to_owned()).or_insert(batch)
            }
        };
        batch.text.push_str(&part);
        batch.is_matched |= is_edge;
        batch.starts.entry(origin.file).or_insert(origin);
        let RecombineLimits { parts, unmatched_parts, bytes, .. } = rule.limits;
        (parts > 0 && batch.parts >= parts)
            || (unmatched_parts > 0 && !batch.is_matched && batch.parts >= unmatched_parts)
            || (bytes > 0 && batch.text.len() > bytes)
    }

    fn release(&mut self, rule: &Recombine, source: &str, out: &mut Vec<Entry>) {
        let Some(mut batch) = self.waiting.remove(source) else { return };
        if self.waiting.is_empty() {
            self.bytes = 0;
        } else {
            self.bytes = self.bytes.saturating_sub(batch.text.len() + batch.entry.memory_bytes());
        }
        // The field was text in every part, so that it can be set.
        _ = rule.field.set(&mut batch.entry, Value::Str(batch.text));
        out.push(batch.entry);
    }
}

/// What tells sources apart: the fields, or the file where an entry has none of them.
fn source(rule: &Recombine, entry: &Entry) -> String {
    let mut source = String::new();
    for field in &rule.sources {
        if let Some(text) = field.find(entry).and_then(Value::text).filter(|text| !text.is_empty()) {
            source.push_str(text);
            source.push('\0');
        }
    }
    if source.is_empty() { format!("\0{}", entry.origin.file) } else { source }
}
