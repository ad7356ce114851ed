//! The scrub: every byte of every block is compared with its checksum again and again, so that what goes bad on a disk is
//! known before someone asks for it.
//!
//! What is read next, and when, is decided here as data; [`crate::engine::Engine::scrub_once`] reads it. A block is read
//! in slices; after each the scrub rests for as long as keeps it within its share of time. Blocks that this process found
//! when it started are due at once, in an order that differs from start to start: where processes never live for a whole
//! round, each round still gets to other blocks. Blocks that it wrote itself are due after a while.

use std::collections::HashMap;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::block::BlockMeta;

/// Every block is read again within this time, as long as the disk reads a slice within it for each slice that there is.
pub const ROUND_MAX: Duration = Duration::from_secs(7 * 86_400);

/// A block is due so long after it was last read: the rest of the round is for reading the others.
const DUE_AFTER: Duration = Duration::from_secs(3 * 86_400);

/// At most so many bytes are compared at a time: enough for 9 TB a round at a slice a second.
pub const SLICE_BYTES: u64 = 16 << 20;

/// After a slice the scrub rests for so many times what it took: it takes 5 % of a core at most.
const REST_FACTOR: u32 = 19;

/// A part of a block, counted over all its files in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The id of the block.
    pub block: u64,
    /// Where it starts.
    pub from: u64,
}

/// How far the scrub has come.
#[derive(Debug)]
pub struct Scrub {
    /// The blocks from this id on were written by this process.
    first_own_id: u64,
    seed: u64,
    /// When each block was read to its end, or first seen if this process wrote it.
    read_at: HashMap<u64, Duration>,
    /// Where the next slice starts, if a block is read in part.
    next: Option<Slice>,
    rest_until: Duration,
}

impl Scrub {
    /// The scrub of a process whose blocks have ids from `first_own_id` on. The seed orders what is due at once.
    pub fn new(first_own_id: u64, seed: u64) -> Scrub {
        Scrub { first_own_id, seed, read_at: HashMap::new(), next: None, rest_until: Duration::ZERO }
    }

    /// What to read now, of these blocks; `now` is monotonic. None if nothing is due, or it is time to rest.
    pub fn next<'a>(
        &mut self,
        blocks: impl Iterator<Item = &'a BlockMeta> + Clone,
        now: Duration,
    ) -> Option<Slice> {
        if now < self.rest_until {
            return None;
        }
        let ids = || blocks.clone().map(|meta| meta.id);
        if let Some(slice) = self.next.filter(|slice| ids().any(|id| id == slice.block)) {
            return Some(slice);
        }
        // Blocks that are gone are forgotten.
        let read_at = std::mem::take(&mut self.read_at);
        self.read_at = ids().filter_map(|id| Some((id, *read_at.get(&id)?))).collect();
        for id in ids().filter(|id| *id >= self.first_own_id) {
            self.read_at.entry(id).or_insert(now);
        }
        let due_at = |id: u64| self.read_at.get(&id).map_or(Duration::ZERO, |at| *at + DUE_AFTER);
        let order = |id: &u64| (due_at(*id), xxh3_64_with_seed(&id.to_le_bytes(), self.seed));
        let first = ids().filter(|id| due_at(*id) <= now).min_by_key(order)?;
        Some(Slice { block: first, from: 0 })
    }

    /// Notes that a slice was read: where its block goes on, if it does, and when reading began and ended.
    pub fn done(&mut self, slice: Slice, goes_on_at: Option<u64>, began: Duration, ended: Duration) {
        self.rest_until = ended + ended.saturating_sub(began) * REST_FACTOR;
        self.next = goes_on_at.map(|from| Slice { block: slice.block, from });
        if self.next.is_none() {
            self.read_at.insert(slice.block, ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::RowCounts;

    fn blocks(ids: std::ops::Range<u64>) -> Vec<BlockMeta> {
        let meta = |id| BlockMeta {
            id,
            name: id.to_string(),
            level: 0,
            partition: 0,
            min_time: 0,
            max_time: 0,
            received_at: 0,
            sampled_at: 0,
            rows: RowCounts::default(),
            files: Vec::new(),
            checksums_crc: 0,
        };
        ids.map(meta).collect()
    }

    /// Lives for so long with a look every second, where a slice takes so long and a block has three. Returns when each
    /// block was read to its end, in order, and how long was read in all.
    fn live(
        scrub: &mut Scrub,
        blocks: &[BlockMeta],
        seconds: u64,
        slice_takes: Duration,
    ) -> (Vec<(u64, u64)>, Duration) {
        let (mut read, mut busy) = (Vec::new(), Duration::ZERO);
        for second in 0..seconds {
            let now = Duration::from_secs(second);
            if let Some(slice) = scrub.next(blocks.iter(), now) {
                let goes_on_at = (slice.from < 2 * SLICE_BYTES).then_some(slice.from + SLICE_BYTES);
                read.extend(goes_on_at.is_none().then_some((slice.block, second)));
                busy += slice_takes;
                scrub.done(slice, goes_on_at, now, now + slice_takes);
            }
        }
        (read, busy)
    }

    #[test]
    fn every_block_is_read_within_a_round_and_again_in_the_next() {
        let blocks = blocks(1..41);
        let mut scrub = Scrub::new(31, 7);
        let (read, _) = live(&mut scrub, &blocks, 14 * 86_400, Duration::from_millis(80));
        for id in 1..41 {
            let mut last = 0;
            let times = read.iter().filter(|(of, _)| *of == id).map(|(_, at)| *at).chain([14 * 86_400]);
            for at in times {
                assert!(at - last <= ROUND_MAX.as_secs(), "block {id} was not read from {last} to {at}");
                last = at;
            }
        }
        // What was there at the start comes first, each block once before any comes again.
        let first: std::collections::BTreeSet<u64> = read.iter().take(30).map(|(id, _)| *id).collect();
        assert_eq!(first, (1..31).collect());
    }

    #[test]
    fn reading_takes_a_twentieth_of_the_time_at_most() {
        let blocks = blocks(1..1_000);
        for millis in [5, 200, 5_000] {
            let mut scrub = Scrub::new(1_000, 7);
            let (read, busy) = live(&mut scrub, &blocks, 2_000, Duration::from_millis(millis));
            assert!(!read.is_empty() && busy <= Duration::from_secs(2_000 / 20 + 5), "{millis} ms: {busy:?}");
        }
    }

    #[test]
    fn starts_differ_in_what_they_read_first() {
        let blocks = blocks(1..1_000);
        let firsts =
            (0..20).map(|seed| Scrub::new(1_000, seed).next(blocks.iter(), Duration::ZERO).unwrap().block);
        assert!(firsts.collect::<std::collections::BTreeSet<u64>>().len() > 15);
    }

    #[test]
    fn a_block_that_is_gone_is_left() {
        let blocks = blocks(1..3);
        let mut scrub = Scrub::new(3, 7);
        let slice = scrub.next(blocks.iter(), Duration::ZERO).unwrap();
        scrub.done(slice, Some(SLICE_BYTES), Duration::ZERO, Duration::ZERO);
        let left = blocks.iter().filter(|meta| meta.id != slice.block);
        let next = scrub.next(left, Duration::ZERO).unwrap();
        assert!(next.block != slice.block && next.from == 0);
    }
}
