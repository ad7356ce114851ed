//! Sides of requests that wait for the other side: bounded, the oldest first.
//!
//! Slots lie in the order of arrival: a side that comes is written behind the last one, one that is found leaves an empty place,
//! and where half of the places are empty the others move together. Beside them is a table of four bytes for each, so that
//! looking for a side that is not there, as for every second one, touches little memory.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

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
pub enum Other<'a> {
    /// It waited; now it does not any more.
    Here(&'a Half),
    /// A side of the same kind waits already.
    Twice,
    /// Nothing.
    Nowhere,
}

/// Places that stay empty behind the oldest side, at least: fewer are not worth moving the others for.
const EMPTY_MIN: usize = 4_096;

#[derive(Debug)]
struct Slot {
    key: EdgeKey,
    /// What is left of one that does not wait is of no meaning.
    half: Half,
    is_waiting: bool,
}

/// Where a side waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// The sides that wait.
#[derive(Debug)]
pub struct Pairing {
    /// Where each lies, by the hash of its key: the number of its slot, which counts on and on.
    index: HashTable<u32>,
    hashes: RandomState,
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u32,
    limit: usize,
}

impl Pairing {
    /// Room for so many.
    pub fn new(limit: usize) -> Pairing {
        let limit = limit.min(u32::MAX as usize / 4);
        let (index, slots) = (HashTable::new(), VecDeque::new());
        Pairing { index, hashes: RandomState::new(), slots, first: 0, limit }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.index.len()
    }

    /// Takes the other side out.
    #[inline]
    pub fn meet(&mut self, key: EdgeKey, is_client: bool) -> Other<'_> {
        let (slots, first) = (&mut self.slots, self.first);
        let slot_of = |number: u32| number.wrapping_sub(first) as usize;
        let is_same = |number: &u32| slots.get(slot_of(*number)).is_some_and(|slot| slot.key == key);
        let Ok(entry) = self.index.find_entry(self.hashes.hash_one(key), is_same) else {
            return Other::Nowhere;
        };
        let Some(slot) = slots.get_mut(slot_of(*entry.get())) else { return Other::Nowhere };
        if slot.half.is_client == is_client {
            return Other::Twice;
        }
        entry.remove();
        slot.is_waiting = false;
        Other::Here(&slot.half)
    }

    /// Lets a side wait that met nobody, and says where; `None` if there is no room. `arrived_at` never goes back.
    #[inline]
    pub fn wait(&mut self, key: EdgeKey, half: Half) -> Option<Place> {
        if self.index.len() >= self.limit {
            return None;
        }
        let number = self.first.wrapping_add(self.slots.len() as u32);
        self.slots.push_back(Slot { key, half, is_waiting: true });
        let (slots, first, hashes) = (&self.slots, self.first, &self.hashes);
        let hash_of = |number: &u32| {
            let slot = slots.get(number.wrapping_sub(first) as usize);
            hashes.hash_one(slot.map_or(key, |slot| slot.key))
        };
        self.index.insert_unique(hashes.hash_one(key), number, hash_of);
        Some(Place(number))
    }

    /// The side that was put there, if it still waits. A place is good until gaps are closed or sides expire.
    pub fn at(&mut self, place: Place) -> Option<&mut Half> {
        let slot = self.slots.get_mut(place.0.wrapping_sub(self.first) as usize)?;
        slot.is_waiting.then_some(&mut slot.half)
    }

    /// Moves those that wait together where half of the places are empty: as many arrived since it was done last as are moved.
    pub fn close_gaps(&mut self) {
        if self.slots.len() < 2 * self.index.len() + EMPTY_MIN {
            return;
        }
        self.slots.retain(|slot| slot.is_waiting);
        self.index.clear();
        let (hashes, first) = (&self.hashes, self.first);
        for (slot, number) in self.slots.iter().zip(0u32..) {
            let hash_of = |number: &u32| {
                let of = self.slots.get(number.wrapping_sub(first) as usize).unwrap_or(slot);
                hashes.hash_one(of.key)
            };
            self.index.insert_unique(hashes.hash_one(slot.key), first.wrapping_add(number), hash_of);
        }
    }

    /// Takes the oldest out, if it came before this time.
    pub fn expired(&mut self, before: i64) -> Option<(EdgeKey, Half)> {
        while self.slots.front().is_some_and(|slot| !slot.is_waiting) {
            self.pop();
        }
        if self.slots.front()?.half.arrived_at >= before {
            return None;
        }
        let first = self.first;
        let slot = self.pop()?;
        if let Ok(entry) = self.index.find_entry(self.hashes.hash_one(slot.key), |number| *number == first) {
            entry.remove();
        }
        Some((slot.key, slot.half))
    }

    /// The first slot goes, whatever it holds.
    fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.first = self.first.wrapping_add(1);
        Some(slot)
    }

    /// Those that wait, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&EdgeKey, &Half)> {
        self.slots.iter().filter(|slot| slot.is_waiting).map(|slot| (&slot.key, &slot.half))
    }

    /// The clock was set back: none arrived later than now.
    pub fn set_back(&mut self, now: i64) {
        let halves = self.slots.iter_mut().map(|slot| &mut slot.half);
        halves.for_each(|half| half.arrived_at = half.arrived_at.min(now));
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
        assert!(pairing.wait(key(1), half(true, 1)).is_some());
        assert_eq!(pairing.meet(key(1), true), Other::Twice);
        assert!(pairing.wait(key(2), half(false, 2)).is_some());
        assert!(pairing.wait(key(3), half(false, 3)).is_none());
        assert_eq!(pairing.meet(key(1), false), Other::Here(&half(true, 1)));
        assert_eq!(pairing.meet(key(2), true), Other::Here(&half(false, 2)));
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
        let place = pairing.wait(key(77), half(true, 12)).expect("room");
        assert_eq!(pairing.at(place).map(|half| half.arrived_at), Some(12));
        assert_eq!(pairing.meet(key(77), false), Other::Here(&half(true, 12)));
        assert_eq!(pairing.at(place), None);
        let mut expired = Vec::new();
        while let Some((key, _)) = pairing.expired(7) {
            expired.push(key.span_id);
        }
        assert_eq!((expired, pairing.waiting()), (vec![1, 2, 3, 5, 6], 3));
    }

    #[test]
    fn places_are_bounded_by_those_that_wait() {
        let mut pairing = Pairing::new(100_000);
        pairing.wait(key(0), half(true, 0));
        for n in 1..200_000 {
            pairing.close_gaps();
            assert!(pairing.wait(key(n), half(true, n as i64)).is_some());
            if n > 100 {
                let other = half(true, n as i64 - 100);
                assert_eq!(pairing.meet(key(n - 100), false), Other::Here(&other));
            }
        }
        assert_eq!(pairing.waiting(), 101);
        assert!(pairing.slots.len() <= 2 * 101 + EMPTY_MIN, "{}", pairing.slots.len());
        assert_eq!(pairing.expired(1), Some((key(0), half(true, 0))));
        assert_eq!(pairing.iter().next().map(|(key, _)| key.span_id), Some(199_900));
    }
}
