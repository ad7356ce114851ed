//! Values of a column chunk, picked by their number: those that nobody asked for are stepped over.

use super::page::{Encoding, take_zigzag};
use crate::block::hybrid::{Numbers, packed, take_varint};

/// How a value lies in a plain page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// So many bytes.
    Fixed(usize),
    /// Bytes after their length.
    Bytes,
    /// One bit.
    Bool,
}

/// A value that is wanted: where it goes, and which of its page's values it is. Both ascend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) slot: usize,
    pub(super) index: usize,
}

/// Picked values by slot.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) form: Form,
    /// Whether the slot has a value.
    pub(super) present: Vec<bool>,
    /// Values of fixed size, slot after slot; of others as they were picked.
    pub(super) bytes: Vec<u8>,
    /// Where the slot's value lies, for values without fixed size.
    pub(super) places: Vec<(u32, u32)>,
    /// Of lists: after which slot each of them ends.
    pub(super) ends: Vec<usize>,
    /// Slots whose value is one of the dictionary.
    keys: Vec<(u32, usize)>,
}

impl Values {
    /// As many slots, all of them without a value.
    pub(super) fn new(form: Form, slots: usize) -> Values {
        let (width, n_places) = match form {
            Form::Fixed(width) => (width, 0),
            Form::Bool => (1, 0),
            Form::Bytes => (0, slots),
        };
        Values {
            form,
            present: vec![false; slots],
            bytes: vec![0; width * slots],
            places: vec![(0, 0); n_places],
            ends: Vec::new(),
            keys: Vec::new(),
        }
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> usize {
        self.present.len()
    }

    /// Adds a slot without a value.
    pub(super) fn add_slot(&mut self) {
        self.present.push(false);
        match self.form {
            Form::Fixed(width) => self.bytes.resize(self.bytes.len() + width, 0),
            Form::Bool => self.bytes.push(0),
            Form::Bytes => self.places.push((0, 0)),
        }
    }

    /// Whether values of a dictionary are to be filled in.
    pub(super) fn needs_dictionary(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Picks values from a page of so many.
    pub(super) fn pick(
        &mut self,
        encoding: Encoding,
        page: &[u8],
        n_values: usize,
        wanted: &[Wanted],
    ) -> Option<()> {
        match (encoding, self.form) {
            (Encoding::Dictionary, _) => self.pick_keys(page, wanted),
            (Encoding::Plain, Form::Fixed(width)) => wanted.iter().try_for_each(|wanted| {
                let from = wanted.index.checked_mul(width)?;
                self.put_fixed(wanted.slot, page.get(from..from + width)?)
            }),
            (Encoding::Plain, Form::Bytes) => self.pick_plain_bytes(page, wanted),
            (Encoding::Plain, Form::Bool) => wanted.iter().try_for_each(|wanted| {
                let bit = page.get(wanted.index / 8)? >> (wanted.index % 8) & 1;
                self.put_fixed(wanted.slot, &[bit])
            }),
            (Encoding::Rle, Form::Bool) => {
                // Their length stands before the numbers.
                let mut bits = Numbers::new(page.get(4..)?, 1)?;
                let mut at = 0;
                wanted.iter().try_for_each(|wanted| {
                    bits.skip(wanted.index - at)?;
                    at = wanted.index + 1;
                    self.put_fixed(wanted.slot, &[bits.take()? as u8])
                })
            }
            (Encoding::Delta, Form::Fixed(_)) => self.pick_deltas(page, n_values, wanted),
            (Encoding::Lengths, Form::Bytes) => self.pick_lengths(page, n_values, wanted),
            (Encoding::ByteStreamSplit, Form::Fixed(8)) if wanted.len() == n_values => {
                self.pick_all_split(page, wanted.first().map_or(0, |wanted| wanted.slot), n_values)
            }
            (Encoding::ByteStreamSplit, Form::Fixed(width)) => wanted.iter().try_for_each(|wanted| {
                self.mark(wanted.slot)?;
                let slot = self.bytes.get_mut(wanted.slot * width..(wanted.slot + 1) * width)?;
                slot.iter_mut().enumerate().try_for_each(|(n, byte)| {
                    *byte = *page.get(n * n_values + wanted.index)?;
                    Some(())
                })
            }),
            _ => None,
        }
    }

    /// All values of a page of words whose bytes of equal weight lie side by side, into slots that follow each other.
    fn pick_all_split(&mut self, page: &[u8], first_slot: usize, n_values: usize) -> Option<()> {
        let slots = first_slot..first_slot.checked_add(n_values)?;
        self.present.get_mut(slots.clone())?.fill(true);
        let (words, _) = self.bytes.as_chunks_mut::<8>();
        let words = words.get_mut(slots)?;
        for weight in 0..8 {
            let bytes = page.get(weight * n_values..(weight + 1) * n_values)?;
            for (word, byte) in words.iter_mut().zip(bytes) {
                *word.get_mut(weight)? = *byte;
            }
        }
        Some(())
    }

    /// Fills in the values of the dictionary, a plain page.
    pub(super) fn look_up(&mut self, dictionary: &[u8]) -> Option<()> {
        let mut keys = std::mem::take(&mut self.keys);
        let Form::Fixed(width) = self.form else {
            keys.sort_unstable();
            let (mut at, mut rest) = (0, dictionary);
            let mut last: Option<(u32, (u32, u32))> = None;
            for (key, slot) in keys {
                let place = match last {
                    Some((before, place)) if before == key => place,
                    _ => {
                        skip_bytes(&mut rest, key.checked_sub(at)? as usize)?;
                        at = key.checked_add(1)?;
                        self.keep(take_bytes(&mut rest)?)?
                    }
                };
                last = Some((key, place));
                self.mark(slot)?;
                *self.places.get_mut(slot)? = place;
            }
            return Some(());
        };
        keys.into_iter().try_for_each(|(key, slot)| {
            let from = (key as usize).checked_mul(width)?;
            self.put_fixed(slot, dictionary.get(from..from + width)?)
        })
    }

    fn pick_keys(&mut self, page: &[u8], wanted: &[Wanted]) -> Option<()> {
        let (width, keys) = page.split_first()?;
        let mut keys = Numbers::new(keys, *width)?;
        let mut at = 0;
        for wanted in wanted {
            keys.skip(wanted.index - at)?;
            at = wanted.index + 1;
            self.keys.push((keys.take()?, wanted.slot));
        }
        Some(())
    }

    fn pick_plain_bytes(&mut self, page: &[u8], wanted: &[Wanted]) -> Option<()> {
        let (mut at, mut rest) = (0, page);
        for wanted in wanted {
            skip_bytes(&mut rest, wanted.index - at)?;
            at = wanted.index + 1;
            let place = self.keep(take_bytes(&mut rest)?)?;
            self.mark(wanted.slot)?;
            *self.places.get_mut(wanted.slot)? = place;
        }
        Some(())
    }

    /// Texts one after the other, after the lengths of all of them as packed differences.
    fn pick_lengths(&mut self, page: &[u8], n_values: usize, wanted: &[Wanted]) -> Option<()> {
        let mut ends = Vec::new();
        let texts = append_ends(&mut ends, page, n_values)?;
        for Wanted { slot, index } in wanted {
            let from = index.checked_sub(1).map_or(Some(0), |before| ends.get(before).copied())? as usize;
            let place = self.keep(texts.get(from..*ends.get(*index)? as usize)?)?;
            self.mark(*slot)?;
            *self.places.get_mut(*slot)? = place;
        }
        Some(())
    }

    /// Integers as packed differences to their neighbour: those before the wanted ones are added up.
    fn pick_deltas(&mut self, mut page: &[u8], n_values: usize, wanted: &[Wanted]) -> Option<()> {
        let page = &mut page;
        let block_values = usize::try_from(take_varint(page)?).ok()?;
        let n_minis = usize::try_from(take_varint(page)?).ok()?;
        let mini_values = block_values.checked_div(n_minis)?;
        if take_varint(page)? != n_values as u64 {
            return None;
        }
        let (mut value, mut at) = (take_zigzag(page)?, 0);
        let mut wanted = wanted.iter().peekable();
        loop {
            if let Some(first) = wanted.next_if(|wanted| wanted.index == at) {
                self.put_integer(first.slot, value)?;
            }
            if wanted.peek().is_none() {
                return Some(());
            }
            let least = take_zigzag(page)?;
            let (widths, rest) = page.split_at_checked(n_minis)?;
            *page = rest;
            for width in widths.iter().map(|width| usize::from(*width)) {
                if at + 1 >= n_values {
                    break;
                }
                let n_bytes = mini_values.checked_mul(width)? / 8;
                // With what follows them, so that the last of a few are taken from a word as well.
                let mini = *page;
                *page = page.get(n_bytes.min(page.len())..)?;
                let n = mini_values.min(n_values - at - 1);
                for number in 0..n {
                    let delta = packed(mini, number * width, width) as i64;
                    value = value.wrapping_add(least).wrapping_add(delta);
                    at += 1;
                    if let Some(next) = wanted.next_if(|wanted| wanted.index == at) {
                        self.put_integer(next.slot, value)?;
                    }
                }
                if wanted.peek().is_none() {
                    return Some(());
                }
            }
            if at + 1 >= n_values {
                // A value is wanted that is not there.
                return None;
            }
        }
    }

    fn put_integer(&mut self, slot: usize, value: i64) -> Option<()> {
        let Form::Fixed(width) = self.form else { return None };
        self.put_fixed(slot, value.to_le_bytes().get(..width)?)
    }

    fn put_fixed(&mut self, slot: usize, value: &[u8]) -> Option<()> {
        self.mark(slot)?;
        self.bytes.get_mut(slot * value.len()..(slot + 1) * value.len())?.copy_from_slice(value);
        Some(())
    }

    fn keep(&mut self, value: &[u8]) -> Option<(u32, u32)> {
        let place = (u32::try_from(self.bytes.len()).ok()?, u32::try_from(value.len()).ok()?);
        self.bytes.extend_from_slice(value);
        Some(place)
    }

    fn mark(&mut self, slot: usize) -> Option<()> {
        *self.present.get_mut(slot)? = true;
        Some(())
    }
}

/// Packed differences of a page; the store's own writers make pages of fewer.
const VALUES_MAX: usize = 1 << 20;

/// Appends so many integers of 64 bits, which are packed differences to their neighbour. The last of them may be packed in fewer bytes
/// than they would fill. What follows them is left.
pub(super) fn append_deltas(out: &mut Vec<u64>, page: &mut &[u8], n_values: usize) -> Option<()> {
    let block_values = usize::try_from(take_varint(page)?).ok()?;
    let n_minis = usize::try_from(take_varint(page)?).ok()?;
    let mini_values = block_values.checked_div(n_minis).filter(|n| *n > 0)?;
    if take_varint(page)? != n_values as u64 || n_values > VALUES_MAX {
        return None;
    }
    let mut value = take_zigzag(page)? as u64;
    if n_values == 0 {
        return Some(());
    }
    out.push(value);
    let mut left = n_values - 1;
    while left > 0 {
        let least = take_zigzag(page)? as u64;
        let (widths, rest) = page.split_at_checked(n_minis)?;
        *page = rest;
        for width in widths.iter().map(|width| usize::from(*width)) {
            if left == 0 {
                break;
            }
            let n_bytes = mini_values.checked_mul(width)? / 8;
            // With what follows them, so that the last of a few are taken from a word as well.
            let mini = *page;
            *page = page.get(n_bytes.min(page.len())..)?;
            let n = mini_values.min(left);
            out.extend((0..n).map(|number| {
                let delta = if width == 0 { 0 } else { packed(mini, number * width, width) };
                value = value.wrapping_add(least).wrapping_add(delta);
                value
            }));
            left -= n;
        }
    }
    Some(())
}

/// Appends where each of so many texts ends, which lie one after the other behind their lengths as packed differences. Returns them.
pub(super) fn append_ends<'p>(ends: &mut Vec<u64>, mut page: &'p [u8], n_values: usize) -> Option<&'p [u8]> {
    let from = ends.len();
    append_deltas(ends, &mut page, n_values)?;
    let mut end = 0u64;
    for place in ends.get_mut(from..)? {
        end = end.checked_add(*place)?;
        *place = end;
    }
    page.get(..usize::try_from(end).ok()?)
}

/// Takes bytes after their length from the front.
pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(value)
}

fn skip_bytes(bytes: &mut &[u8], n: usize) -> Option<()> {
    (0..n).try_for_each(|_| take_bytes(bytes).map(|_| ()))
}
