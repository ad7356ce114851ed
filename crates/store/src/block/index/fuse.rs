//! Binary fuse filters (Graf and Lemire 2022) as they lie in files: whether a key may be in a set, in nine bits for each key, wrong for one
//! absent key in 256.

use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter, FilterRef};

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

/// Whether a filter that [is sound](is_sound) may hold a key; `false` is certain.
pub(super) fn may_contain(filter: &[u8], key: u64) -> bool {
    match filter.split_at_checked(BinaryFuse8::DESCRIPTOR_LEN) {
        Some((descriptor, fingerprints)) if !fingerprints.is_empty() => {
            BinaryFuse8Ref::from_dma(descriptor, fingerprints).contains(&key)
        }
        _ => false,
    }
}

/// Whether every place that a look-up can compute lies within the filter: three neighbouring segments, of which the
/// first is anywhere in the segment count's length.
pub(super) fn is_sound(filter: &[u8]) -> bool {
    if filter.is_empty() {
        return true;
    }
    let word = |at: usize| u64::from(super::reader::read_u32(filter, at).unwrap_or_default());
    let (segment, mask, count_length) = (word(8), word(12), word(16));
    let n_fingerprints = filter.len().saturating_sub(BinaryFuse8::DESCRIPTOR_LEN) as u64;
    segment.is_power_of_two() && mask == segment - 1 && count_length + 2 * segment <= n_fingerprints
}
