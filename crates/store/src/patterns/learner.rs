//! Which lines belong together: a streaming Drain over the shapes of lines, a tree for each service, within fixed bounds.
//!
//! 1. A line that is known has its pattern; nearly all are, and cost one look-up.
//! 2. A new shape is compared with the patterns of its service that have as many words; the one most like it takes it in if
//!    it is like enough ([`likeness`]), and its text gets holes where the two differ. Otherwise the shape is a new pattern.
//! 3. Where several patterns are somewhat like a shape, lines vary in a word: then somewhat is enough ([`VARIANTS`]).
//!
//! A pattern's id is the hash of its service and of the shape that it began with, and never changes, however general its
//! text becomes. Shapes that went into another's pattern are *aliases*; blocks write them down, and the learner of the next
//! start reads them from there ([`Learner::restore`]), so that the same line has the same id again.
//!
//! What was not seen for longest is forgotten where there is too much. A shape that comes back after that is looked up
//! anew, and a pattern that began with it has its old id.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::AHashMap as HashMap;
use throughline_model::PatternId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::shape::{self, HOLE};

/// Patterns of one service: beyond, the quarter that was seen least recently goes.
pub(crate) const SERVICE_PATTERNS_MAX: usize = 2_000;

/// Patterns of all services: about 10 MB.
const PATTERNS_MAX: usize = 16_384;

/// Lines and aliases that are remembered at least; twice as many at most, of 16 bytes each.
const REMEMBERED_MAX: usize = 65_536;

/// Patterns of as many words that a shape is compared with, those met last.
const COMPARED_MAX: usize = 128;

/// After so many new patterns of a service in a row nothing is like anything, and fewer are compared.
const FLOOD: usize = 1_000;

/// How many are compared in a flood.
const COMPARED_IN_FLOOD: usize = 8;

/// How many words of ten must be the same.
const SAME_TENTHS: usize = 7;

/// How many words of ten must be the same where lines vary.
const VARIANT_TENTHS: usize = 4;

/// So many patterns that have [`VARIANT_TENTHS`] of a shape's words show that lines vary.
const VARIANTS: usize = 8;

/// The id of the line's own shape, as [`own_id`] has it, and of the pattern that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) own: PatternId,
    pub(crate) id: PatternId,
}

/// The id of a pattern that begins with this shape.
pub(crate) fn own_id(service: &str, shape: &str) -> PatternId {
    PatternId(hash(service, shape))
}

fn hash(service: &str, text: &str) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), xxh3_64(service.as_bytes()))
}

/// What every part of the store knows of patterns.
#[derive(Default)]
pub struct Learner {
    learned: Mutex<Patterns>,
}

impl Learner {
    /// Nothing learned yet.
    pub fn new() -> Arc<Learner> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Patterns> {
        // Every change is a whole one or costs a pattern its place in the tree.
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pattern of a masked line; a new one where it is like none that is known.
    pub(crate) fn learn(&self, service: &str, masked: &str) -> Learned {
        self.lock().learn(service, masked)
    }

    /// Notes when a pattern was seen first, and returns the earliest such time and the pattern's text as it is by now.
    pub(crate) fn seen(&self, id: PatternId, first_seen: i64) -> Option<(i64, String)> {
        let mut patterns = self.lock();
        let pattern = patterns.by_id.get_mut(&id)?;
        pattern.first_seen = pattern.first_seen.min(first_seen);
        Some((pattern.first_seen, pattern.text.clone()))
    }

    /// The text of a pattern as it is by now.
    pub(crate) fn text(&self, id: PatternId) -> Option<String> {
        Some(self.lock().by_id.get(&id)?.text.clone())
    }

    /// Takes in what a block knows. Blocks come in the order in which they were written.
    pub(crate) fn restore<'a>(
        &self,
        known: impl Iterator<Item = (PatternId, &'a str, &'a str, i64)>,
        aliases: impl Iterator<Item = (PatternId, PatternId)>,
    ) {
        let mut patterns = self.lock();
        for (id, service, text, first_seen) in known {
            patterns.tick += 1;
            let tick = patterns.tick;
            match patterns.by_id.get_mut(&id) {
                Some(pattern) => {
                    (pattern.text, pattern.used) = (text.to_owned(), tick);
                    pattern.first_seen = pattern.first_seen.min(first_seen);
                }
                None => patterns.insert(id, service, text, first_seen),
            }
        }
        for (own, id) in aliases {
            patterns.aliases.insert(own.0, id);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().by_id.len()
    }
}

struct Pattern {
    service: Arc<str>,
    text: String,
    used: u64,
    /// Nanoseconds since the epoch; the largest number where it was not noted yet.
    first_seen: i64,
}

/// The patterns of a service.
#[derive(Default)]
struct Tree {
    n_patterns: usize,
    /// By the number of their words; those met last are at the end.
    leaves: HashMap<usize, Vec<PatternId>>,
    /// How many patterns were new since a shape was last like one.
    new_in_a_row: usize,
}

impl Tree {
    fn add(&mut self, id: PatternId, text: &str) {
        self.n_patterns += 1;
        self.leaves.entry(count_words(text)).or_default().push(id);
    }
}

#[derive(Default)]
struct Patterns {
    by_id: HashMap<PatternId, Pattern>,
    services: HashMap<Arc<str>, Tree>,
    /// The pattern of each masked line.
    lines: Remembered<Learned>,
    /// The pattern of each shape that is not the first of one.
    aliases: Remembered<PatternId>,
    /// Counts uses, as a clock for what was used last.
    tick: u64,
    shape: String,
}

impl Patterns {
    fn learn(&mut self, service: &str, masked: &str) -> Learned {
        self.tick += 1;
        let line = hash(service, masked);
        if let Some(known) = self.lines.get(line)
            && let Some(pattern) = self.by_id.get_mut(&known.id)
        {
            pattern.used = self.tick;
            return known;
        }
        let mut shape = std::mem::take(&mut self.shape);
        shape::write(masked, &mut shape);
        let own = own_id(service, &shape);
        let id = match self.aliases.get(own.0) {
            Some(id) => id,
            None if self.by_id.contains_key(&own) => own,
            None => self.place(service, &shape).unwrap_or(own),
        };
        match self.by_id.get_mut(&id) {
            Some(pattern) => pattern.used = self.tick,
            // A new one, or one that was forgotten and whose name is still known.
            None => self.insert(id, service, &shape, i64::MAX),
        }
        if id != own {
            self.aliases.insert(own.0, id);
        }
        self.shape = shape;
        let learned = Learned { own, id };
        self.lines.insert(line, learned);
        learned
    }

    /// The pattern that takes a shape in, and has holes where they differ from now on.
    fn place(&mut self, service: &str, shape: &str) -> Option<PatternId> {
        let tree = self.services.get_mut(service)?;
        let leaf = tree.leaves.get_mut(&count_words(shape))?;
        tree.new_in_a_row += 1;
        let most = if tree.new_in_a_row > FLOOD { COMPARED_IN_FLOOD } else { COMPARED_MAX };
        let mut best: Option<(Likeness, usize)> = None;
        let mut variants = 0;
        for (at, id) in leaf.iter().enumerate().rev().take(most) {
            let Some(pattern) = self.by_id.get(id) else { continue };
            let Some(like) = likeness(&pattern.text, shape) else { continue };
            variants += usize::from(like.is_enough(VARIANT_TENTHS));
            if best.is_none_or(|(before, _)| like.same > before.same) {
                best = Some((like, at));
            }
        }
        let tenths = if variants >= VARIANTS { VARIANT_TENTHS } else { SAME_TENTHS };
        let (_, at) = best.filter(|(like, _)| like.is_enough(tenths))?;
        tree.new_in_a_row = 0;
        let id = leaf.remove(at);
        leaf.push(id);
        let pattern = self.by_id.get_mut(&id)?;
        pattern.text = generalised(&pattern.text, shape);
        Some(id)
    }

    /// Adds a pattern.
    fn insert(&mut self, id: PatternId, service: &str, text: &str, first_seen: i64) {
        if self.by_id.len() >= PATTERNS_MAX {
            self.forget(None);
        } else if self.services.get(service).is_some_and(|tree| tree.n_patterns >= SERVICE_PATTERNS_MAX) {
            self.forget(Some(service));
        }
        let service: Arc<str> = match self.services.get_key_value(service) {
            Some((known, _)) => known.clone(),
            None => service.into(),
        };
        self.services.entry(service.clone()).or_default().add(id, text);
        let (text, used) = (text.to_owned(), self.tick);
        self.by_id.insert(id, Pattern { service, text, used, first_seen });
    }

    /// Forgets the quarter that was not used for longest: of a service, or of all.
    fn forget(&mut self, service: Option<&str>) {
        let mut used: Vec<(u64, PatternId)> = match service {
            Some(service) => {
                let leaves = self.services.get(service).into_iter().flat_map(|tree| tree.leaves.values());
                leaves.flatten().filter_map(|id| Some((self.by_id.get(id)?.used, *id))).collect()
            }
            None => self.by_id.iter().map(|(id, pattern)| (pattern.used, *id)).collect(),
        };
        used.sort_unstable();
        let (gone, kept) = used.split_at(used.len() / 4);
        gone.iter().for_each(|(_, id)| drop(self.by_id.remove(id)));
        let flood = service.and_then(|service| self.services.remove(service)).map(|tree| tree.new_in_a_row);
        if service.is_none() {
            self.services.clear();
        }
        for (_, id) in kept {
            if let Some(pattern) = self.by_id.get(id) {
                self.services.entry(pattern.service.clone()).or_default().add(*id, &pattern.text);
            }
        }
        if let Some(tree) = service.and_then(|service| self.services.get_mut(service)) {
            tree.new_in_a_row = flood.unwrap_or_default();
        }
    }
}

fn count_words(text: &str) -> usize {
    memchr::memchr_iter(b' ', text.as_bytes()).count()
}

/// How many words of two texts say the same, of how many that say something: what is a hole in both, or between two spaces,
/// says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Likeness {
    same: usize,
    of: usize,
}

impl Likeness {
    fn is_enough(self, tenths: usize) -> bool {
        self.same * 10 >= self.of * tenths
    }
}

/// How alike a pattern's text and a shape of as many words are; `None` where it is less than [`VARIANT_TENTHS`].
fn likeness(text: &str, shape: &str) -> Option<Likeness> {
    let mut like = Likeness { same: 0, of: 0 };
    for (word, other) in text.split(' ').zip(shape.split(' ')) {
        if word == other && (word == HOLE || word.is_empty()) {
            continue;
        }
        like.of += 1;
        like.same += usize::from(word == other);
    }
    like.is_enough(VARIANT_TENTHS).then_some(like)
}

/// A pattern's text with holes where a shape differs from it.
fn generalised(text: &str, shape: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, (word, other)) in text.split(' ').zip(shape.split(' ')).enumerate() {
        if at > 0 {
            out.push(' ');
        }
        if word == other {
            out.push_str(word);
            continue;
        }
        let (head, tail) = common_ends(word, other);
        out.push_str(word.get(..head).unwrap_or_default());
        out.push_str(HOLE);
        out.push_str(word.get(word.len() - tail..).unwrap_or_default());
    }
    out
}

/// How many bytes two words have in common at the start and at the end, up to signs that divide names from values, so that
/// of `user=bob` and `user=al` the key remains.
fn common_ends(a: &str, b: &str) -> (usize, usize) {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let is_opening =
        |byte: &u8| matches!(byte, b'=' | b':' | b'/' | b'(' | b'[' | b'{' | b'"' | b'\'' | b',');
    let is_closing =
        |byte: &u8| matches!(byte, b')' | b']' | b'}' | b'"' | b'\'' | b',' | b':' | b';' | b'/');
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let head = a.get(..same).unwrap_or_default().iter().rposition(is_opening).map_or(0, |at| at + 1);
    let left = a.len().min(b.len()) - head;
    let same = a.iter().rev().zip(b.iter().rev()).take(left).take_while(|(a, b)| a == b).count();
    let end = a.get(a.len() - same..).unwrap_or_default();
    (head, end.iter().position(is_closing).map_or(0, |at| end.len() - at))
}

/// A map that forgets what was not asked for longest, in two halves: what is asked for moves into the young one, and where
/// that is full the old one goes.
struct Remembered<T> {
    young: HashMap<u64, T>,
    old: HashMap<u64, T>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Remembered { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<T: Copy> Remembered<T> {
    fn get(&mut self, key: u64) -> Option<T> {
        if let Some(value) = self.young.get(&key) {
            return Some(*value);
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value);
        Some(value)
    }

    fn insert(&mut self, key: u64, value: T) {
        if self.young.len() >= REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests;
