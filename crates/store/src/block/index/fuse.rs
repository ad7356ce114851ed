//! Binary fuse filters (Graf and Lemire 2022) as they lie in files: whether a key may be in a set, in nine bits for each key, wrong for one
//! absent key in 256.

use std::ops::Range;

use xorf::{BinaryFuse8, DmaSerializable};

use crate::error::Error;

/// The bytes of the filter of some keys, which differ; none of no keys.
pub(super) fn written(keys: &[u64]) -> Result<Vec<u8>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let filter = BinaryFuse8::try_from(keys).map_err(|detail| Error::Columns {
        action: "build a filter".to_owned(),
        detail: detail.to_owned(),
    })?;
    let mut out = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
    filter.dma_copy_descriptor_to(&mut out);
    out.extend_from_slice(filter.dma_fingerprints());
    Ok(out)
}

/// What stands before the fingerprints of a filter: where in them a key is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description {
    seed: u64,
    segment_len: u32,
    mask: u32,
    count_len: u32,
}

impl Description {
    /// Its bytes.
    pub(super) const LEN: usize = BinaryFuse8::DESCRIPTOR_LEN;

    /// Reads the description of a filter of so many bytes. None where it is none: every place that a look-up can compute must lie
    /// within the filter, in one of three neighbouring segments, of which the first is anywhere in the segment count's length.
    pub(super) fn of(filter: &[u8], n_bytes: usize) -> Option<Description> {
        let word = |at: usize| super::reader::read_u32(filter, at);
        let (segment_len, mask, count_len) = (word(8)?, word(12)?, word(16)?);
        let seed = u64::from(word(0)?) | u64::from(word(4)?) << 32;
        let n_fingerprints = n_bytes.checked_sub(Description::LEN)? as u64;
        let is_sound = segment_len.is_power_of_two()
            && mask == segment_len - 1
            && u64::from(count_len) + 2 * u64::from(segment_len) <= n_fingerprints;
        is_sound.then_some(Description { seed, segment_len, mask, count_len })
    }

    /// The three fingerprints that are looked at for a key, the last of them furthest behind, and what they come to together where
    /// the filter may hold it.
    fn places(&self, key: u64) -> ([usize; 3], u8) {
        let hash = mixed(key.wrapping_add(self.seed));
        let first = ((u128::from(hash) * u128::from(self.count_len)) >> 64) as u32;
        let second = first.wrapping_add(self.segment_len) ^ ((hash >> 18) as u32 & self.mask);
        let third = first.wrapping_add(self.segment_len.wrapping_mul(2)) ^ (hash as u32 & self.mask);
        ([first, second, third].map(|place| place as usize), (hash ^ (hash >> 32)) as u8)
    }

    /// The part of the filter that is looked at for a key.
    pub(super) fn part(&self, key: u64) -> Range<usize> {
        let (places, _) = self.places(key);
        let (first, last) =
            places.iter().fold((usize::MAX, 0), |(min, max), at| (min.min(*at), max.max(*at)));
        Description::LEN + first..Description::LEN + last + 1
    }

    /// Whether the filter may hold a key, by the part that is looked at for it; `false` is certain.
    pub(super) fn may_contain(&self, key: u64, part: &[u8]) -> bool {
        let (places, expected) = self.places(key);
        let first = self.part(key).start - Description::LEN;
        let at = |place: usize| part.get(place - first).copied().unwrap_or_default();
        places.into_iter().fold(0, |all, place| all ^ at(place)) == expected
    }
}

/// The last steps of MurmurHash3.
fn mixed(mut key: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        key = (key ^ (key >> 33)).wrapping_mul(factor);
    }
    key ^ (key >> 33)
}

/// Whether a whole filter that [is sound](is_sound) may hold a key; `false` is certain.
pub(super) fn may_contain(filter: &[u8], key: u64) -> bool {
    Description::of(filter, filter.len())
        .is_some_and(|it| filter.get(it.part(key)).is_some_and(|part| it.may_contain(key, part)))
}

/// Whether a filter can be asked.
pub(super) fn is_sound(filter: &[u8]) -> bool {
    filter.is_empty() || Description::of(filter, filter.len()).is_some()
}

#[cfg(test)]
mod tests {
    use xorf::{BinaryFuse8Ref, Filter as _, FilterRef as _};

    use super::*;

    /// By parts the answer is the same as the library's, of keys that are there and of those that are not.
    #[test]
    fn a_part_of_a_filter_says_what_the_whole_does() {
        for n in (1..20).chain([1_000, 70_000]) {
            let key = |n: u64| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes());
            let filter = written(&(0..n).map(key).collect::<Vec<u64>>()).unwrap();
            let (head, fingerprints) = filter.split_at(Description::LEN);
            let library = BinaryFuse8Ref::from_dma(head, fingerprints);
            let description = Description::of(head, filter.len()).unwrap();
            for key in (0..2 * n + 1_000).map(key) {
                let part = description.part(key);
                let may = description.may_contain(key, &filter[part]);
                assert_eq!((may, may_contain(&filter, key)), (library.contains(&key), may));
            }
        }
    }
}
