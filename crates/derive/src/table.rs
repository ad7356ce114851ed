//! A bounded table of series: from a key, which is the series' labels as bytes, to its values.
//!
//! A key starts with [`CODES`] bytes of codes; then come texts, divided by [`SEPARATOR`]. Beyond the limit new keys
//! share one overflow series, whose key is empty. Series that nothing was counted in for long are forgotten, so that
//! what filled the table does not fill it for ever. All of it depends on the order of calls alone.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

/// Divides the texts of a key: no text in UTF-8 contains it.
pub const SEPARATOR: u8 = 0xff;
/// Stands for a text that is absent, which is not the same as empty.
pub const ABSENT: u8 = 0xfe;
/// How many bytes of codes a key starts with.
pub const CODES: usize = 2;

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<V> {
    /// Its labels; empty for the overflow series.
    pub key: Arc<[u8]>,
    /// When it was made, nanoseconds since the epoch: its counters start there.
    pub born_at: i64,
    /// When something was counted last.
    pub seen_at: i64,
    /// Whether its start was written.
    pub is_written: bool,
    /// Its values.
    pub value: V,
}

/// The place of a series in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    /// That of the overflow series.
    pub const OVERFLOW: Slot = Slot(u32::MAX);
}

/// Series by key.
#[derive(Debug)]
pub struct Table<V> {
    index: AHashMap<Arc<[u8]>, u32>,
    series: Vec<Series<V>>,
    overflow: Option<Series<V>>,
    limit: usize,
    /// How often something was counted in the overflow series, since the start of the process.
    overflowed: u64,
}

impl<V> Table<V> {
    /// An empty table of at most so many series.
    pub fn new(limit: usize) -> Table<V> {
        Table { index: AHashMap::new(), series: Vec::new(), overflow: None, limit, overflowed: 0 }
    }

    /// The values of a key; those of the overflow series where there is no room for it.
    #[inline]
    pub fn entry(&mut self, key: &[u8], now: i64, new: impl Fn() -> V) -> &mut V {
        let slot = self.slot(key, now, &new);
        self.at(slot, now, new)
    }

    /// The place of a key's series, which stays until series are forgotten.
    #[inline]
    pub fn slot(&mut self, key: &[u8], now: i64, new: impl Fn() -> V) -> Slot {
        match self.index.get(key) {
            Some(slot) => Slot(*slot),
            None if self.series.len() < self.limit => self.insert(key, now, new()),
            None => Slot::OVERFLOW,
        }
    }

    /// The values in a place; something is counted there.
    #[inline]
    pub fn at(&mut self, slot: Slot, now: i64, new: impl Fn() -> V) -> &mut V {
        let place = slot.0 as usize;
        if place >= self.series.len() {
            return self.overflow(now, new);
        }
        let series = &mut self.series[place];
        series.seen_at = now;
        &mut series.value
    }

    fn insert(&mut self, key: &[u8], now: i64, value: V) -> Slot {
        let key: Arc<[u8]> = key.into();
        self.add(Series { key, born_at: now, seen_at: now, is_written: false, value });
        Slot(self.series.len() as u32 - 1)
    }

    #[cold]
    fn overflow(&mut self, now: i64, new: impl Fn() -> V) -> &mut V {
        self.overflowed += 1;
        let series = self.overflow.get_or_insert_with(|| {
            let key: Arc<[u8]> = Arc::new([]);
            Series { key, born_at: now, seen_at: now, is_written: false, value: new() }
        });
        series.seen_at = now;
        &mut series.value
    }

    /// Adds a series as it was; one whose key is there already is left out.
    pub fn add(&mut self, series: Series<V>) {
        if series.key.is_empty() {
            self.overflow = Some(series);
        } else if !self.index.contains_key(&series.key) {
            self.index.insert(series.key.clone(), self.series.len() as u32);
            self.series.push(series);
        }
    }

    /// Forgets series in which nothing was counted since.
    pub fn forget(&mut self, unseen_since: i64) {
        let mut slot = 0;
        while let Some(series) = self.series.get(slot) {
            if series.seen_at >= unseen_since {
                slot += 1;
                continue;
            }
            self.index.remove(&series.key);
            self.series.swap_remove(slot);
            if let Some(moved) = self.series.get(slot) {
                self.index.insert(moved.key.clone(), slot as u32);
            }
        }
        self.overflow.take_if(|series| series.seen_at < unseen_since);
    }

    /// The clock was set back: nothing was made or seen later than now.
    pub fn set_back(&mut self, now: i64) {
        for series in self.iter_mut() {
            series.born_at = series.born_at.min(now);
            series.seen_at = series.seen_at.min(now);
        }
    }

    /// All series, the overflow series last.
    pub fn iter(&self) -> impl Iterator<Item = &Series<V>> {
        self.series.iter().chain(&self.overflow)
    }

    /// All series, the overflow series last.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Series<V>> {
        self.series.iter_mut().chain(&mut self.overflow)
    }

    /// How many series there are, without the overflow series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty() && self.overflow.is_none()
    }

    /// How often something was counted in the overflow series, since the start of the process.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// The text of the keys that has most distinct values: its place, their number, and one of them.
    pub fn widest(&self) -> Option<(usize, usize, String)> {
        let mut distinct: Vec<AHashSet<&[u8]>> = Vec::new();
        for series in &self.series {
            for (place, text) in texts(&series.key).enumerate() {
                if distinct.len() <= place {
                    distinct.push(AHashSet::new());
                }
                distinct[place].insert(text);
            }
        }
        let widest = |(place, values): &(usize, AHashSet<&[u8]>)| (values.len(), usize::MAX - place);
        let (place, values) = distinct.into_iter().enumerate().max_by_key(widest)?;
        let example = values.iter().max().copied().unwrap_or_default();
        Some((place, values.len(), String::from_utf8_lossy(example).into_owned()))
    }
}

/// The texts of a key.
pub fn texts(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.get(CODES..).into_iter().flat_map(|rest| rest.split(|byte| *byte == SEPARATOR))
}

/// The texts of a key as they become labels: `None` where absent.
pub fn label_texts(key: &[u8]) -> impl Iterator<Item = Option<&str>> {
    texts(key).map(|text| std::str::from_utf8(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Vec<u8> {
        [&[0; CODES], text.as_bytes()].concat()
    }

    #[test]
    fn keys_beyond_the_limit_share_one_series_and_the_widest_text_is_named() {
        let mut table: Table<u64> = Table::new(3);
        for n in 0..5 {
            let mut key = key("shop");
            key.push(SEPARATOR);
            key.extend(format!("GET /user/{n}").bytes());
            *table.entry(&key, n, || 0) += 1;
        }
        assert_eq!((table.len(), table.overflowed(), table.iter().count()), (3, 2, 4));
        assert_eq!(table.iter().last().map(|series| (series.key.len(), series.value)), Some((0, 2)));
        assert_eq!(table.widest(), Some((1, 3, "GET /user/2".to_owned())));
    }

    #[test]
    fn forgetting_keeps_the_others_reachable() {
        let mut table: Table<u64> = Table::new(10);
        for n in 0..6 {
            *table.entry(&key(&n.to_string()), n, || 0) += 1;
        }
        *table.entry(&key("1"), 9, || 0) += 1;
        table.forget(4);
        let mut left: Vec<(String, u64)> = table
            .iter()
            .map(|series| (label_texts(&series.key).flatten().collect::<String>(), series.value))
            .collect();
        left.sort_unstable();
        assert_eq!(left, [("1".to_owned(), 2), ("4".to_owned(), 1), ("5".to_owned(), 1)]);
        for text in ["1", "4", "5"] {
            assert_eq!(*table.entry(&key(text), 10, || 0), if text == "1" { 2 } else { 1 });
        }
        assert_eq!(table.len(), 3);
    }
}
