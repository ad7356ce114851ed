//! Sides of requests that wait for the other side: bounded, the oldest first.
//!
//! Slots are linked in the order of arrival, so that a side that is found leaves without a search, and the room that is
//! taken is that of the sides that wait.

use std::sync::Arc;

use ahash::AHashMap;

/// What both sides of a request know: the trace, and the id of the client's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EdgeKey {
    /// The trace.
    pub trace_id: u128,
    /// The span of the client or producer.
    pub span_id: u64,
}

/// One side of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Half {
    /// Whether it is the client or producer.
    pub is_client: bool,
    /// Whether it is a producer or consumer.
    pub is_messaging: bool,
    /// Whether its span ended in an error.
    pub failed: bool,
    /// When it came, in the time of the log.
    pub arrived_at: i64,
    /// How long it took.
    pub duration_ns: u64,
    /// How many requests it stands for.
    pub weight: f64,
    /// Whose side it is.
    pub service: Arc<str>,
    /// What its span says of the other side.
    pub peer: Option<Arc<str>>,
    /// Its labels, as a part of the edge's key.
    pub dimensions: Arc<[u8]>,
}

/// What became of a side.
#[derive(Debug, PartialEq)]
pub enum Met {
    /// This side, and the other one, which was there.
    Pair(Half, Half),
    /// It waits.
    Waits,
    /// A side of the same kind as this one waits already.
    Twice(Half),
    /// There is no room.
    Full,
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot {
    key: EdgeKey,
    half: Option<Half>,
    older: u32,
    younger: u32,
}

/// The sides that wait.
#[derive(Debug)]
pub struct Pairing {
    index: AHashMap<EdgeKey, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    oldest: u32,
    youngest: u32,
    limit: usize,
}

impl Pairing {
    /// Room for so many.
    pub fn new(limit: usize) -> Pairing {
        let limit = limit.min(NONE as usize - 1);
        let (index, slots, free) = (AHashMap::new(), Vec::new(), Vec::new());
        Pairing { index, slots, free, oldest: NONE, youngest: NONE, limit }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Takes the other side out, or lets this one wait. `arrived_at` never goes back.
    pub fn meet(&mut self, key: EdgeKey, half: Half) -> Met {
        if let Some(slot) = self.index.get(&key).copied() {
            let is_other = self.slots.get(slot as usize).and_then(|slot| slot.half.as_ref());
            if is_other.is_some_and(|other| other.is_client == half.is_client) {
                return Met::Twice(half);
            }
            return match self.take(slot) {
                Some((_, other)) => Met::Pair(half, other),
                None => Met::Full,
            };
        }
        if self.index.len() >= self.limit {
            return Met::Full;
        }
        let new = Slot { key, half: Some(half), older: self.youngest, younger: NONE };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = new;
                slot
            }
            None => {
                self.slots.push(new);
                self.slots.len() as u32 - 1
            }
        };
        match self.slots.get_mut(self.youngest as usize) {
            Some(youngest) => youngest.younger = slot,
            None => self.oldest = slot,
        }
        self.youngest = slot;
        self.index.insert(key, slot);
        Met::Waits
    }

    /// Takes the oldest out, if it came before this time.
    pub fn expired(&mut self, before: i64) -> Option<(EdgeKey, Half)> {
        let oldest = self.slots.get(self.oldest as usize)?.half.as_ref()?;
        if oldest.arrived_at >= before {
            return None;
        }
        self.take(self.oldest)
    }

    fn take(&mut self, at: u32) -> Option<(EdgeKey, Half)> {
        let slot = self.slots.get_mut(at as usize)?;
        let (key, half, older, younger) = (slot.key, slot.half.take()?, slot.older, slot.younger);
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.younger = younger,
            None => self.oldest = younger,
        }
        match self.slots.get_mut(younger as usize) {
            Some(slot) => slot.older = older,
            None => self.youngest = older,
        }
        self.index.remove(&key);
        self.free.push(at);
        Some((key, half))
    }

    /// Those that wait, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&EdgeKey, &Half)> {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?;
            at = slot.younger;
            Some((&slot.key, slot.half.as_ref()?))
        })
    }

    /// The clock was set back: none arrived later than now.
    pub fn set_back(&mut self, now: i64) {
        let waiting = self.slots.iter_mut().filter_map(|slot| slot.half.as_mut());
        waiting.for_each(|half| half.arrived_at = half.arrived_at.min(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> EdgeKey {
        EdgeKey { trace_id: 1, span_id: n }
    }

    fn half(is_client: bool, arrived_at: i64) -> Half {
        Half {
            is_client,
            is_messaging: false,
            failed: false,
            arrived_at,
            duration_ns: 1,
            weight: 1.0,
            service: "shop".into(),
            peer: None,
            dimensions: Arc::new([]),
        }
    }

    #[test]
    fn sides_meet_once_in_either_order() {
        let mut pairing = Pairing::new(2);
        assert_eq!(pairing.meet(key(1), half(true, 1)), Met::Waits);
        assert_eq!(pairing.meet(key(1), half(true, 2)), Met::Twice(half(true, 2)));
        assert_eq!(pairing.meet(key(2), half(false, 2)), Met::Waits);
        assert_eq!(pairing.meet(key(3), half(false, 3)), Met::Full);
        assert_eq!(pairing.meet(key(1), half(false, 3)), Met::Pair(half(false, 3), half(true, 1)));
        assert_eq!(pairing.meet(key(2), half(true, 3)), Met::Pair(half(true, 3), half(false, 2)));
        assert_eq!((pairing.len(), pairing.iter().count()), (0, 0));
        assert_eq!(pairing.meet(key(1), half(false, 4)), Met::Waits);
    }

    #[test]
    fn the_oldest_go_first_whoever_left_before() {
        let mut pairing = Pairing::new(100);
        for n in 0..10 {
            pairing.meet(key(n), half(true, n as i64));
        }
        for n in [0, 4, 9] {
            pairing.meet(key(n), half(false, 10));
        }
        pairing.meet(key(4), half(true, 11));
        let order: Vec<u64> = pairing.iter().map(|(key, _)| key.span_id).collect();
        assert_eq!(order, [1, 2, 3, 5, 6, 7, 8, 4]);
        let mut expired = Vec::new();
        while let Some((key, _)) = pairing.expired(7) {
            expired.push(key.span_id);
        }
        assert_eq!((expired, pairing.len()), (vec![1, 2, 3, 5, 6], 3));
    }
}
