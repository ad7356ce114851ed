//! What services have sent, put together from memtables and blocks: counts are added, names and series united.
//!
//! A series is in most parts that there are, and blocks do not change: which series a list of blocks has is found out once and
//! remembered ([`SeriesMemo`]), and extended as blocks come. Series are told apart by the first half of their fingerprints, which
//! is as good as random: of a million series, two count as one with a chance of one in thirty million.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::{AHashMap as HashMap, AHashSet as HashSet};

use super::ServiceSummary;
use crate::block::Block;

/// At most so many operations are listed of one service; the rest is still counted in its spans.
const OPERATIONS_MAX: usize = 1_000;

/// Lists of blocks whose series are remembered: the one that queries see, and the one that they will see next.
const REMEMBERED_MAX: usize = 3;

/// The first half of a series' fingerprint.
pub(crate) fn half(fingerprint: &[u8]) -> u64 {
    fingerprint.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A hash is its own hash.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Halves = std::collections::HashSet<u64, BuildHasherDefault<Plain>>;

/// The series of each service.
#[derive(Clone, Default)]
pub(crate) struct SeriesSets {
    /// Shared by lists of blocks that have the same series of a service.
    of_service: HashMap<String, Arc<Halves>>,
}

impl SeriesSets {
    fn add(&mut self, service: &str, series: &[u64]) {
        if !self.of_service.contains_key(service) {
            self.of_service.insert(service.to_owned(), Arc::default());
        }
        let Some(known) = self.of_service.get_mut(service) else { return };
        let mut new = series.iter().filter(|half| !known.contains(half)).copied().peekable();
        if new.peek().is_some() {
            let new: Vec<u64> = new.collect();
            Arc::make_mut(known).extend(new);
        }
    }
}

/// The series of the lists of blocks that were asked for last.
#[derive(Default)]
pub(crate) struct SeriesMemo {
    /// The ids of the blocks, ascending, and what they have together; the last one asked for is at the end.
    known: Mutex<Vec<(Vec<u64>, Arc<SeriesSets>)>>,
}

impl SeriesMemo {
    /// The series of these blocks. Of a block that cannot be read there are none: who asks it for its spans is told.
    pub(crate) fn of(&self, blocks: &[&Arc<Block>]) -> Arc<SeriesSets> {
        let mut ids: Vec<u64> = blocks.iter().map(|block| block.meta().id).collect();
        ids.sort_unstable();
        let base = {
            let mut known = self.lock();
            if let Some(at) = known.iter().position(|(of, _)| *of == ids) {
                let found = known.remove(at);
                let sets = Arc::clone(&found.1);
                known.push(found);
                return sets;
            }
            let within = |of: &[u64]| of.iter().all(|id| ids.binary_search(id).is_ok());
            known.iter().filter(|(of, _)| within(of)).max_by_key(|(of, _)| of.len()).cloned()
        };
        let (of_base, base) = base.unwrap_or_default();
        let mut sets = SeriesSets::clone(&base);
        for block in blocks.iter().filter(|block| of_base.binary_search(&block.meta().id).is_err()) {
            block.each_series(|service, series| sets.add(service, series));
        }
        let sets = Arc::new(sets);
        let mut known = self.lock();
        known.push((ids, Arc::clone(&sets)));
        if known.len() > REMEMBERED_MAX {
            known.remove(0);
        }
        sets
    }

    /// Finds out what these blocks have, before queries see them; nothing is done as long as nobody has asked at all.
    pub(crate) fn prepare(&self, blocks: &[Arc<Block>]) {
        if !self.lock().is_empty() {
            _ = self.of(&blocks.iter().collect::<Vec<_>>());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Vec<u64>, Arc<SeriesSets>)>> {
        // Every change leaves the list whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Services as they come together from memtables and blocks.
pub(crate) struct Services {
    numbers: HashMap<String, usize>,
    all: Vec<Service>,
    /// The series of all blocks.
    of_blocks: Arc<SeriesSets>,
}

/// What is known of one service.
pub(crate) struct Service {
    summary: ServiceSummary,
    operations: HashSet<String>,
    of_blocks: Option<Arc<Halves>>,
    /// Those that no block has.
    series: Halves,
}

impl Services {
    /// Nothing but the series of blocks.
    pub(crate) fn new(of_blocks: Arc<SeriesSets>) -> Services {
        let mut services = Services { numbers: HashMap::new(), all: Vec::new(), of_blocks };
        let sets = Arc::clone(&services.of_blocks);
        sets.of_service.keys().for_each(|name| _ = services.number(name));
        services
    }

    /// What is known of a service.
    pub(crate) fn of(&mut self, name: &str) -> Option<&mut Service> {
        let number = self.number(name);
        self.all.get_mut(number)
    }

    fn number(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.numbers.insert(name.to_owned(), self.all.len());
        self.all.push(Service {
            summary: ServiceSummary { service: name.to_owned(), ..ServiceSummary::default() },
            operations: HashSet::new(),
            of_blocks: self.of_blocks.of_service.get(name).cloned(),
            series: Halves::default(),
        });
        self.all.len() - 1
    }

    /// The services by name.
    pub(crate) fn finish(self) -> Vec<ServiceSummary> {
        let mut finished: Vec<ServiceSummary> = self.all.into_iter().map(Service::finish).collect();
        finished.sort_unstable_by(|a, b| a.service.cmp(&b.service));
        finished
    }
}

impl Service {
    /// Counts spans of a name, some of them errors.
    pub(crate) fn add_spans(&mut self, name: &str, spans: u64, errors: u64) {
        self.summary.span_count += spans;
        self.summary.error_count += errors;
        if self.operations.len() < OPERATIONS_MAX && !self.operations.contains(name) {
            self.operations.insert(name.to_owned());
        }
    }

    /// Counts log records.
    pub(crate) fn add_logs(&mut self, records: u64) {
        self.summary.log_count += records;
    }

    /// Notes a series.
    #[inline]
    pub(crate) fn add_series(&mut self, half: u64) {
        if !self.of_blocks.as_ref().is_some_and(|known| known.contains(&half)) {
            self.series.insert(half);
        }
    }

    fn finish(self) -> ServiceSummary {
        let of_blocks = self.of_blocks.map_or(0, |known| known.len());
        let mut operations: Vec<String> = self.operations.into_iter().collect();
        operations.sort_unstable();
        let series_count = (of_blocks + self.series.len()) as u64;
        ServiceSummary { series_count, operations, ..self.summary }
    }
}
