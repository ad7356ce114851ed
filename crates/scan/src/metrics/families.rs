//! Sets of families by number, and the order of families by their labels.

use super::index::FamilyEntry;

/// A set of families.
#[derive(Clone, Debug, Default)]
pub(super) struct FamilySet {
    words: Vec<u64>,
}

impl FamilySet {
    /// A set with room for so many families.
    pub(super) fn with_room(families: usize) -> FamilySet {
        FamilySet { words: vec![0; families.div_ceil(64)] }
    }

    pub(super) fn insert(&mut self, family: u32) {
        let word = family as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (family % 64);
        }
    }

    pub(super) fn has(&self, family: u32) -> bool {
        self.words.get(family as usize / 64).is_some_and(|word| word >> (family % 64) & 1 == 1)
    }

    /// Whether any of these is in the set.
    pub(super) fn has_any(&self, families: &[u32]) -> bool {
        families.iter().any(|family| self.has(*family))
    }

    pub(super) fn union(&mut self, other: &FamilySet) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// Keeps what the other set has, too.
    pub(super) fn intersect(&mut self, other: &FamilySet) {
        self.words.truncate(other.words.len());
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine &= theirs);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

impl Extend<u32> for FamilySet {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, families: I) {
        families.into_iter().for_each(|family| self.insert(family));
    }
}

/// The place of every family in the order of labels, kept as families are added: answers are sorted by labels, and
/// numbers are sorted many times faster than labels.
#[derive(Debug, Default)]
pub(super) struct LabelOrder {
    /// Families in the order of their labels.
    sorted: Vec<u32>,
    /// Of each family its place in `sorted`.
    places: Vec<u32>,
}

impl LabelOrder {
    /// Takes in the families that were added since.
    pub(super) fn extend(&mut self, families: &[FamilyEntry]) {
        let known = self.sorted.len();
        if known == families.len() {
            return;
        }
        let labels = |family: u32| families.get(family as usize).map(|entry| &entry.family.labels);
        let mut new: Vec<u32> = (known as u32..families.len() as u32).collect();
        new.sort_by(|a, b| labels(*a).cmp(&labels(*b)));
        let old = std::mem::take(&mut self.sorted);
        let mut rest = old.as_slice();
        self.sorted.reserve_exact(families.len());
        for family in new {
            let (before, after) = rest.split_at(rest.partition_point(|old| labels(*old) <= labels(family)));
            self.sorted.extend_from_slice(before);
            self.sorted.push(family);
            rest = after;
        }
        self.sorted.extend_from_slice(rest);
        self.places.resize(self.sorted.len(), 0);
        for (place, family) in self.sorted.iter().enumerate() {
            if let Some(slot) = self.places.get_mut(*family as usize) {
                *slot = place as u32;
            }
        }
    }

    /// The place of a family.
    pub(super) fn place(&self, family: u32) -> u32 {
        self.places.get(family as usize).copied().unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use throughline_exec::Labels;

    use super::super::translate::{Family, Form};
    use super::*;

    #[test]
    fn order_is_kept_as_families_are_added() {
        let entry = |n: u64| {
            let labels = Labels::from_pairs([("a", format!("{}", n.wrapping_mul(0x9e37_79b9) % 97))]);
            FamilyEntry::new(Family { labels, form: Form::Value }, false)
        };
        let families: Vec<FamilyEntry> = (0..60).map(entry).collect();
        let mut order = LabelOrder::default();
        for known in [0, 1, 7, 20, 60] {
            order.extend(families.get(..known).unwrap());
        }
        let by_place = |at: usize| families.iter().zip(0..).find(|(_, n)| order.place(*n) as usize == at);
        let sorted: Vec<&Labels> = (0..60).map(|at| &by_place(at).unwrap().0.family.labels).collect();
        assert!(sorted.is_sorted());
    }

    #[test]
    fn sets_grow() {
        let mut set = FamilySet::with_room(3);
        set.extend([1, 200]);
        let mut other = FamilySet::default();
        other.insert(2);
        other.union(&set);
        assert_eq!((set.has(1), set.has(2), set.has(200), other.len()), (true, false, true, 3));
        assert!(other.has_any(&[7, 2]) && !other.has_any(&[7]));
        set.insert(900);
        set.intersect(&other);
        assert_eq!((set.has(1), set.has(2), set.has(200), set.len()), (true, false, true, 2));
    }
}
