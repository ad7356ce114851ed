//! What questions learnt of column chunks of attributes, so that the next one need not read them: which texts may be in one, and
//! whether a key may be among the attributes without columns.
//!
//! A search for a text that few spans have would otherwise read every dictionary for it. The filter of a chunk is made when the chunk is
//! first asked for a text, from all of its texts; it is not in the file, for nobody asks of most columns, and the filters of those that
//! have a text for every span would be a byte or two a span.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ahash::AHashMap as HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::whole::WholeColumn;

/// What the filters of a block take at most; chunks that have none by then are read.
const FILTER_BYTES_MAX: usize = 4 << 20;
/// Bits for each text: with [`HASHES`] of them set, two or three in a hundred texts that are not there are looked for.
const BITS: usize = 10;
const HASHES: u64 = 4;
/// Keys of which it is remembered where they may be.
const KEYS_MAX: usize = 256;

/// The filters of a column: one for each row group.
type ColumnFilters = Arc<[OnceLock<Box<[u8]>>]>;

/// For each row group what is known of a key.
pub(super) type KeyPlaces = Arc<[AtomicU8]>;

const YES: u8 = 1;
const NO: u8 = 2;

#[derive(Default)]
pub(super) struct TextFilters {
    columns: Mutex<HashMap<String, ColumnFilters>>,
    keys: Mutex<HashMap<String, KeyPlaces>>,
    bytes: AtomicUsize,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries are whole when they are put in.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The places of a text in a Bloom filter (Bloom 1970) of so many bytes, a power of two: bytes, and bits in them.
fn places(text: &str, n_bytes: usize) -> impl Iterator<Item = (usize, u8)> + use<> {
    let last = (n_bytes as u64 * 8).wrapping_sub(1);
    let hash = xxh3_64(text.as_bytes());
    // Double hashing (Kirsch and Mitzenmacher 2006): one 64-bit hash stands for all.
    let step = hash.rotate_left(32) | 1;
    (0..HASHES)
        .map(move |at| hash.wrapping_add(step.wrapping_mul(at)) & last)
        .map(|bit| ((bit / 8) as usize, 1 << (bit % 8)))
}

/// Whether a filter may have a text.
fn holds(filter: &[u8], text: &str) -> bool {
    places(text, filter.len()).all(|(byte, bit)| filter.get(byte).is_some_and(|byte| byte & bit != 0))
}

/// The filter of the texts of a column; none of a column of something else.
fn filter_of(whole: &WholeColumn) -> Option<Box<[u8]>> {
    let WholeColumn::Texts(_, texts, ends) = whole else { return None };
    let mut filter: Box<[u8]> = vec![0; (ends.len() * BITS / 8).next_power_of_two().max(8)].into();
    let mut start = 0;
    for end in ends {
        let text = texts.get(std::mem::replace(&mut start, *end as usize)..*end as usize)?;
        for (byte, bit) in places(text, filter.len()) {
            filter.get_mut(byte).into_iter().for_each(|byte| *byte |= bit);
        }
    }
    Some(filter)
}

impl TextFilters {
    /// Whether a row group of a column may have a text, if that is known or `read` says it, which reads the column whole.
    pub(super) fn may_have<E>(
        &self,
        column: &str,
        (group, groups): (usize, usize),
        text: &str,
        read: impl FnOnce() -> Result<Option<WholeColumn>, E>,
    ) -> Result<Option<bool>, E> {
        let filters = self.of_column(column, groups);
        let Some(place) = filters.get(group) else { return Ok(None) };
        if let Some(filter) = place.get() {
            return Ok(Some(holds(filter, text)));
        }
        if self.bytes.load(Ordering::Relaxed) > FILTER_BYTES_MAX {
            return Ok(None);
        }
        let Some(filter) = read()?.as_ref().and_then(filter_of) else { return Ok(None) };
        let n_bytes = filter.len();
        let verdict = holds(&filter, text);
        if place.set(filter).is_ok() {
            self.bytes.fetch_add(n_bytes, Ordering::Relaxed);
        }
        Ok(Some(verdict))
    }

    fn of_column(&self, column: &str, groups: usize) -> ColumnFilters {
        let mut columns = lock(&self.columns);
        if let Some(known) = columns.get(column) {
            return Arc::clone(known);
        }
        let new: ColumnFilters = (0..groups).map(|_| OnceLock::new()).collect();
        columns.insert(column.to_owned(), Arc::clone(&new));
        new
    }

    /// Whether a key may be among the attributes without columns of a row group: what is remembered, or what `read` says.
    pub(super) fn may_have_key<E>(
        &self,
        key: &str,
        (group, groups): (usize, usize),
        read: impl FnOnce() -> Result<bool, E>,
    ) -> Result<bool, E> {
        let places = self.of_key(key, groups);
        let place = places.as_ref().and_then(|places| places.get(group));
        match place.map(|place| place.load(Ordering::Relaxed)) {
            Some(YES) => Ok(true),
            Some(NO) => Ok(false),
            _ => {
                let may_have = read()?;
                let known = if may_have { YES } else { NO };
                place.into_iter().for_each(|place| place.store(known, Ordering::Relaxed));
                Ok(may_have)
            }
        }
    }

    fn of_key(&self, key: &str, groups: usize) -> Option<KeyPlaces> {
        let mut keys = lock(&self.keys);
        if let Some(known) = keys.get(key) {
            return Some(Arc::clone(known));
        }
        if keys.len() >= KEYS_MAX {
            return None;
        }
        let new: KeyPlaces = (0..groups).map(|_| AtomicU8::new(0)).collect();
        keys.insert(key.to_owned(), Arc::clone(&new));
        Some(new)
    }

    /// The bytes of filters and of what is known of keys.
    pub(super) fn memory_bytes(&self) -> usize {
        let of_keys: usize = lock(&self.keys).values().map(|places| places.len()).sum();
        self.bytes.load(Ordering::Relaxed) + of_keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> WholeColumn {
        let mut ends = Vec::new();
        let mut text = String::new();
        for one in all {
            text.push_str(one);
            ends.push(text.len() as u32);
        }
        WholeColumn::Texts((0..all.len() as u32).collect(), text, ends)
    }

    #[test]
    fn a_column_is_read_once_and_no_text_is_missed() {
        let filters = TextFilters::default();
        let names: Vec<String> = (0..2_000).map(|n| format!("user-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let first = filters.may_have::<()>("user", (1, 3), "user-7", || Ok(Some(texts(&names))));
        assert_eq!(first, Ok(Some(true)));
        let ask = |text: &str| filters.may_have("user", (1, 3), text, || Err("read again"));
        assert!(names.iter().all(|name| ask(name) == Ok(Some(true))));
        let wrong = (0..10_000).filter(|n| ask(&format!("nobody-{n}")) != Ok(Some(false))).count();
        assert!(wrong < 600, "{wrong} of 10,000");
        // Of other row groups, and of what is no text, nothing is known.
        assert_eq!(filters.may_have("user", (2, 3), "user-7", || Err("read")), Err("read"));
        let numbers = || Ok::<_, ()>(Some(WholeColumn::Words(vec![1], None)));
        assert_eq!(filters.may_have("count", (0, 3), "1", numbers), Ok(None));
    }

    #[test]
    fn what_was_said_of_a_key_is_remembered() {
        let filters = TextFilters::default();
        assert_eq!(filters.may_have_key::<()>("a", (0, 2), || Ok(false)), Ok(false));
        assert_eq!(filters.may_have_key::<()>("a", (1, 2), || Ok(true)), Ok(true));
        let ask = |key: &str, group| filters.may_have_key(key, (group, 2), || Err(()));
        assert_eq!((ask("a", 0), ask("a", 1), ask("b", 0)), (Ok(false), Ok(true), Err(())));
    }
}
