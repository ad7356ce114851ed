//! Patterns: what kinds of lines a service writes, known without reading lines.
//!
//! A line's *shape* is its text with holes for values ([`shape`]), a pure function of the line. Shapes that differ in a word
//! or two belong to one *pattern*; a [`Learner`] decides which, as lines are flushed or asked for ([`learner`]). A pattern's id
//! never changes; its text gets holes as more shapes join.
//!
//! No id is stored with a record. Blocks store the masked text of a line already, each once; from it and the line's service
//! follows the id of its shape, and what joined another pattern stands in the block's file `patterns` ([`table`]), with the
//! counts of every pattern over time ([`counts`]). So the ids cost no byte a record, and the counts are there when somebody
//! asks.

pub(crate) mod counts;
pub(crate) mod learner;
pub(crate) mod shape;
pub(crate) mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_model::{Level, PatternId};

use crate::snapshot::TimeRange;

pub use learner::Learner;

/// The width of the buckets in which records are counted, nanoseconds.
pub const BUCKET_NS: i64 = 10_000_000_000;

/// Which patterns to find. The most frequent come first.
#[derive(Clone, Debug)]
pub struct PatternQuery {
    /// Records of this window are counted, to [`BUCKET_NS`].
    pub range: TimeRange,
    /// The service.
    pub service: Option<String>,
    /// Only patterns of which nothing was seen before this time, nanoseconds since the epoch.
    pub new_since: Option<i64>,
    /// The width of the buckets of the answer, nanoseconds; taken up to a multiple of [`BUCKET_NS`].
    pub step_ns: i64,
    /// At most so many patterns.
    pub limit: usize,
}

impl PatternQuery {
    /// The width of the buckets as the answer has them, nanoseconds.
    pub fn step_ns(&self) -> i64 {
        let buckets =
            self.step_ns.max(1).div_euclid(BUCKET_NS) + i64::from(self.step_ns.rem_euclid(BUCKET_NS) > 0);
        buckets.max(1).saturating_mul(BUCKET_NS)
    }
}

/// A pattern and its records in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// Its id: the same for the same lines at any time.
    pub id: PatternId,
    /// Its service.
    pub service: String,
    /// Its text, with `<_>` for what varies.
    pub pattern: String,
    /// How many records.
    pub count: u64,
    /// When it was seen first, over everything that was ever stored and is still known; nanoseconds since the epoch.
    pub first_seen: i64,
    /// The last of its records in the parts of the store that the window touches.
    pub last_seen: i64,
    /// The start of one of its lines.
    pub example: String,
    /// Its records by level, the most frequent first.
    pub levels: Vec<PatternLevel>,
}

/// The records of a pattern that have one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatternLevel {
    /// The level.
    pub level: Level,
    /// How many.
    pub count: u64,
    /// The start of each bucket that has any, nanoseconds since the epoch, and how many.
    pub samples: Vec<(i64, u64)>,
}

/// Patterns as they come together from memtables and blocks.
pub(crate) struct PatternList<'a> {
    query: &'a PatternQuery,
    by_id: BTreeMap<PatternId, Gathered>,
    left_out: u64,
}

struct Gathered {
    pattern: Pattern,
    levels: BTreeMap<Level, BTreeMap<i64, u64>>,
}

impl<'a> PatternList<'a> {
    pub(crate) fn new(query: &'a PatternQuery) -> PatternList<'a> {
        PatternList { query, by_id: BTreeMap::new(), left_out: 0 }
    }

    /// Adds what a part of the store has; parts come from the oldest to the newest, so that the newest text stays.
    pub(crate) fn add(&mut self, table: &table::PatternTable) {
        let query = self.query;
        let step = query.step_ns();
        let is_wanted = |service: &str| query.service.as_deref().is_none_or(|wanted| wanted == service);
        for stored in table.patterns.iter().filter(|stored| is_wanted(&stored.service)) {
            let gathered = self.by_id.entry(stored.id).or_insert_with(|| Gathered {
                pattern: Pattern {
                    id: stored.id,
                    service: stored.service.to_string(),
                    pattern: String::new(),
                    count: 0,
                    first_seen: i64::MAX,
                    last_seen: i64::MIN,
                    example: String::new(),
                    levels: Vec::new(),
                },
                levels: BTreeMap::new(),
            });
            let pattern = &mut gathered.pattern;
            pattern.first_seen = pattern.first_seen.min(stored.first_seen);
            pattern.pattern.clone_from(&stored.text);
            if pattern.example.is_empty() {
                pattern.example.clone_from(&stored.example);
            }
            for counts in &stored.levels {
                pattern.last_seen = pattern.last_seen.max(counts.last_seen);
                for (bucket, count) in &counts.buckets {
                    let start = bucket.saturating_mul(BUCKET_NS);
                    if query.range.overlaps(start, start.saturating_add(BUCKET_NS - 1)) {
                        let of_step = start.div_euclid(step) * step;
                        let samples = gathered.levels.entry(counts.level).or_default();
                        *samples.entry(of_step).or_default() += u64::from(*count);
                        pattern.count += u64::from(*count);
                    }
                }
            }
        }
        let left_out = table.left_out.iter().filter(|(service, _)| is_wanted(service));
        self.left_out += left_out.map(|(_, rows)| rows).sum::<u64>();
    }

    /// The patterns, the most frequent first, and why there are not more of them. `text` knows the latest text of a
    /// pattern.
    pub(crate) fn finish(self, text: impl Fn(PatternId) -> Option<String>) -> (Vec<Pattern>, Option<String>) {
        let limit = self.query.limit;
        let new_since = self.query.new_since.unwrap_or(i64::MIN);
        let mut found: Vec<Gathered> = self
            .by_id
            .into_values()
            .filter(|found| found.pattern.count > 0 && found.pattern.first_seen >= new_since)
            .collect();
        found.sort_by(|a, b| {
            (b.pattern.count, &a.pattern.service, a.pattern.id).cmp(&(
                a.pattern.count,
                &b.pattern.service,
                b.pattern.id,
            ))
        });
        let over = found.len().saturating_sub(limit);
        found.truncate(limit);
        let mut reasons = Vec::new();
        if over > 0 {
            reasons.push(format!("{over} patterns over the limit of {limit} are left out; ask for more"));
        }
        if self.left_out > 0 {
            reasons.push(format!(
                "{} records are in no count: a block counts at most {} patterns of a service",
                self.left_out,
                counts::SERVICE_PATTERNS_MAX
            ));
        }
        let patterns = found.into_iter().map(|found| found.finish(&text)).collect();
        (patterns, (!reasons.is_empty()).then(|| reasons.join("; ")))
    }
}

impl Gathered {
    fn finish(self, text: impl Fn(PatternId) -> Option<String>) -> Pattern {
        let mut pattern = self.pattern;
        if let Some(text) = text(pattern.id) {
            pattern.pattern = text;
        }
        let levels = self.levels.into_iter().map(|(level, samples)| PatternLevel {
            level,
            count: samples.values().sum(),
            samples: samples.into_iter().collect(),
        });
        pattern.levels = levels.collect();
        pattern.levels.sort_by_key(|of| (std::cmp::Reverse(of.count), of.level));
        pattern
    }
}
