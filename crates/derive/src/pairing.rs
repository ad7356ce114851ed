//! Sides of requests that wait for the other side: bounded, the oldest first.
//!
//! Slots are linked in the order of arrival, so that a side that is found leaves without a search, and the room that is
//! taken is that of the sides that wait.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use ahash::AHashMap;

/// What both sides of a request know: the trace, and the id of the client's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EdgeKey {
    /// The trace.
    pub trace_id: [u64; 2],
    /// The span of the client or producer.
    pub span_id: u64,
}

impl EdgeKey {
    /// From ids as spans carry them.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8]) -> EdgeKey {
        let trace_id = u128::from_be_bytes(trace_id);
        EdgeKey { trace_id: [(trace_id >> 64) as u64, trace_id as u64], span_id: u64::from_be_bytes(span_id) }
    }

    /// The ids as spans carry them.
    pub fn ids(&self) -> ([u8; 16], [u8; 8]) {
        let [high, low] = self.trace_id.map(u128::from);
        ((high << 64 | low).to_be_bytes(), self.span_id.to_be_bytes())
    }
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
    /// Its labels, as a part of the edge's key, where the user wants any.
    pub dimensions: Option<Arc<[u8]>>,
}

/// What there is of the other side.
#[derive(Debug, PartialEq)]
pub enum Other {
    /// It waited; now it does not any more.
    Here(Half),
    /// A side of the same kind waits already.
    Twice,
    /// Nothing.
    Nowhere,
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
    pub fn waiting(&self) -> usize {
        self.index.len()
    }

    /// Takes the other side out.
    pub fn meet(&mut self, key: EdgeKey, is_client: bool) -> Other {
        let Entry::Occupied(entry) = self.index.entry(key) else { return Other::Nowhere };
        let slot = *entry.get();
        let other = self.slots.get(slot as usize).and_then(|slot| slot.half.as_ref());
        if other.is_some_and(|other| other.is_client == is_client) {
            return Other::Twice;
        }
        entry.remove();
        self.unlink(slot).map_or(Other::Nowhere, |(_, half)| Other::Here(half))
    }

    /// Lets a side wait that met nobody; false if there is no room. `arrived_at` never goes back.
    pub fn wait(&mut self, key: EdgeKey, half: Half) -> bool {
        if self.index.len() >= self.limit {
            return false;
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
        true
    }

    /// Takes the oldest out, if it came before this time.
    pub fn expired(&mut self, before: i64) -> Option<(EdgeKey, Half)> {
        let oldest = self.slots.get(self.oldest as usize)?.half.as_ref()?;
        if oldest.arrived_at >= before {
            return None;
        }
        let (key, half) = self.unlink(self.oldest)?;
        self.index.remove(&key);
        Some((key, half))
    }

    fn unlink(&mut self, at: u32) -> Option<(EdgeKey, Half)> {
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
        EdgeKey::new([1; 16], n.to_be_bytes())
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
            dimensions: None,
        }
    }

    #[test]
    fn sides_meet_once_in_either_order() {
        let mut pairing = Pairing::new(2);
        assert_eq!(pairing.meet(key(1), true), Other::Nowhere);
        assert!(pairing.wait(key(1), half(true, 1)));
        assert_eq!(pairing.meet(key(1), true), Other::Twice);
        assert!(pairing.wait(key(2), half(false, 2)));
        assert!(!pairing.wait(key(3), half(false, 3)));
        assert_eq!(pairing.meet(key(1), false), Other::Here(half(true, 1)));
        assert_eq!(pairing.meet(key(2), true), Other::Here(half(false, 2)));
        assert_eq!((pairing.waiting(), pairing.iter().count()), (0, 0));
        assert_eq!(pairing.meet(key(1), false), Other::Nowhere);
        assert_eq!(key(5).ids(), ([1; 16], 5u64.to_be_bytes()));
    }

    #[test]
    fn the_oldest_go_first_whoever_left_before() {
        let mut pairing = Pairing::new(100);
        for n in 0..10 {
            pairing.wait(key(n), half(true, n as i64));
        }
        for n in [0, 4, 9] {
            pairing.meet(key(n), false);
        }
        pairing.wait(key(4), half(true, 11));
        let order: Vec<u64> = pairing.iter().map(|(key, _)| key.span_id).collect();
        assert_eq!(order, [1, 2, 3, 5, 6, 7, 8, 4]);
        let mut expired = Vec::new();
        while let Some((key, _)) = pairing.expired(7) {
            expired.push(key.span_id);
        }
        assert_eq!((expired, pairing.waiting()), (vec![1, 2, 3, 5, 6], 3));
    }
}
