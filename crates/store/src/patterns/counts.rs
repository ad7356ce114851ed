//! Counts the records of each pattern as rows are written, or in memory.
//!
//! A row costs a look at the keys of its service and its masked text, which are numbers by then; only the first row of each
//! pair in a piece of rows costs a look at the texts.

use std::sync::Arc;

use ahash::AHashMap as HashMap;
use arrow_array::types::UInt8Type;
use arrow_array::{Array, RecordBatch};
use throughline_model::{Level, PatternId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::BUCKET_NS;
use super::learner::Learned;
use super::shape;
use super::table::{LevelCounts, PatternTable, StoredPattern};
use crate::block::read::Columns;

/// Patterns of one service that a block counts.
pub(crate) const SERVICE_PATTERNS_MAX: usize = 2_000;

/// Patterns that a block counts.
const PATTERNS_MAX: usize = 20_000;

/// Aliases that a block writes down.
const ALIASES_MAX: usize = 65_536;

/// Masked texts that are remembered with their patterns while a block is written.
const LINES_MAX: usize = 65_536;

/// How much of a line an example has.
const EXAMPLE_BYTES: usize = 256;

/// What a row counts for that no pattern counts.
const LEFT_OUT: u32 = u32::MAX;

/// Counts patterns.
#[derive(Default)]
pub(crate) struct Counts {
    table: PatternTable,
    services: Vec<Service>,
    service_numbers: HashMap<Arc<str>, u32>,
    by_id: HashMap<PatternId, u32>,
    /// The place of each masked text, by a hash of it and its service.
    lines: HashMap<u64, u32>,
    /// For each key of the current piece's masked texts: the run of rows of one service in which it was looked up, and its
    /// place.
    of_key: Vec<(u32, u32)>,
}

struct Service {
    name: Arc<str>,
    n_patterns: usize,
    left_out: u64,
}

impl Counts {
    /// Counts rows of `logs.parquet`, in the order of the file. `pattern_of` knows the pattern of a service's masked line.
    pub(crate) fn add(&mut self, rows: &RecordBatch, mut pattern_of: impl FnMut(&str, &str) -> Learned) {
        let columns = Columns::new(rows);
        let (Some((services, service_texts)), Some((keys, texts)), Some(times), Some(severities)) = (
            columns.dictionary("service"),
            columns.dictionary("pattern"),
            columns.times("time"),
            columns.numbers::<UInt8Type>("severity_number"),
        ) else {
            return;
        };
        let levels =
            columns.numbers::<UInt8Type>("level").filter(|levels| levels.null_count() < levels.len());
        self.of_key.clear();
        self.of_key.resize(texts.len(), (0, LEFT_OUT));
        let (mut run, mut service_key, mut service) = (0, None, 0);
        for (row, (time, severity)) in times.values().iter().zip(severities.values()).enumerate() {
            let (Some(of_service), Some(key)) = (services.key(row), keys.key(row)) else { continue };
            if service_key != Some(of_service) {
                (run, service_key) = (run + 1, Some(of_service));
                service = self.service(service_texts.value(of_service));
            }
            let place = match self.of_key.get(key) {
                Some((of_run, place)) if *of_run == run => *place,
                _ => {
                    let place = self.place(service, texts.value(key), &mut pattern_of);
                    if let Some(slot) = self.of_key.get_mut(key) {
                        *slot = (run, place);
                    }
                    place
                }
            };
            let level = match levels {
                Some(levels) if !levels.is_null(row) => Level::from_code(levels.value(row)),
                _ => Level::from_severity(*severity),
            };
            self.count(place, service, level, *time, |body| columns.body(row, body));
        }
    }

    /// Counts one record that lies in memory; `body` is its text, `masked` the text without its values.
    pub(crate) fn add_line(
        &mut self,
        service: &str,
        masked: &str,
        (level, time, body): (Level, i64, &str),
        pattern_of: impl FnMut(&str, &str) -> Learned,
    ) {
        let service = self.service(service);
        let place = self.place(service, masked, pattern_of);
        self.count(place, service, level, time, |into| into.push_str(body));
    }

    fn service(&mut self, name: &str) -> u32 {
        if let Some(number) = self.service_numbers.get(name) {
            return *number;
        }
        let (name, number): (Arc<str>, u32) = (name.into(), self.services.len() as u32);
        self.service_numbers.insert(name.clone(), number);
        self.services.push(Service { name, n_patterns: 0, left_out: 0 });
        number
    }

    /// The place of a masked line's pattern.
    fn place(
        &mut self,
        service: u32,
        masked: &str,
        mut pattern_of: impl FnMut(&str, &str) -> Learned,
    ) -> u32 {
        let line = xxh3_64_with_seed(masked.as_bytes(), u64::from(service));
        if let Some(place) = self.lines.get(&line) {
            return *place;
        }
        let Some(of) = self.services.get_mut(service as usize) else { return LEFT_OUT };
        let Learned { own, id } = pattern_of(&of.name, masked);
        if own != id && self.table.aliases.len() < ALIASES_MAX {
            self.table.aliases.insert(own, id);
        }
        let n_patterns = self.table.patterns.len();
        let place = match self.by_id.get(&id) {
            Some(place) => *place,
            None if of.n_patterns >= SERVICE_PATTERNS_MAX || n_patterns >= PATTERNS_MAX => LEFT_OUT,
            None => {
                of.n_patterns += 1;
                self.by_id.insert(id, n_patterns as u32);
                let (service, levels) = (of.name.clone(), Vec::new());
                let (mut text, example) = (String::new(), String::new());
                shape::write(masked, &mut text);
                let first_seen = i64::MAX;
                self.table.patterns.push(StoredPattern { service, id, text, example, first_seen, levels });
                n_patterns as u32
            }
        };
        if self.lines.len() >= LINES_MAX {
            self.lines.clear();
        }
        self.lines.insert(line, place);
        place
    }

    #[inline]
    fn count(&mut self, place: u32, service: u32, level: Level, time: i64, body: impl FnOnce(&mut String)) {
        let Some(pattern) = self.table.patterns.get_mut(place as usize) else {
            if let Some(service) = self.services.get_mut(service as usize) {
                service.left_out += 1;
            }
            return;
        };
        pattern.first_seen = pattern.first_seen.min(time);
        let bucket = time.div_euclid(BUCKET_NS);
        let counts = match pattern.levels.iter().position(|counts| counts.level == level) {
            Some(at) => pattern.levels.get_mut(at),
            None => {
                if pattern.levels.is_empty() {
                    body(&mut pattern.example);
                    pattern.example.truncate(pattern.example.floor_char_boundary(EXAMPLE_BYTES));
                    pattern.example.shrink_to_fit();
                }
                pattern.levels.push(LevelCounts { level, last_seen: i64::MIN, buckets: Vec::new() });
                pattern.levels.last_mut()
            }
        };
        let Some(counts) = counts else { return };
        counts.last_seen = counts.last_seen.max(time);
        match counts.buckets.last_mut() {
            Some((last, count)) if *last == bucket => *count += 1,
            Some((last, _)) if *last > bucket => {
                match counts.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
                    Ok(at) => counts.buckets.get_mut(at).into_iter().for_each(|(_, count)| *count += 1),
                    Err(at) => counts.buckets.insert(at, (bucket, 1)),
                }
            }
            _ => counts.buckets.push((bucket, 1)),
        }
    }

    /// The table. `seen` is told when each pattern was seen first here, and knows when it was seen first at all, and its text.
    pub(crate) fn finish(self, seen: impl Fn(PatternId, i64) -> Option<(i64, String)>) -> PatternTable {
        let mut table = self.table;
        for pattern in &mut table.patterns {
            if let Some((first_seen, text)) = seen(pattern.id, pattern.first_seen) {
                (pattern.first_seen, pattern.text) = (first_seen, text);
            }
        }
        let left_out = self.services.into_iter().filter(|service| service.left_out > 0);
        table.left_out = left_out.map(|service| (service.name, service.left_out)).collect();
        table
    }
}
