//! Some rows of a column chunk: its pages are walked over, and only what those rows need is decompressed and decoded.
//!
//! The Parquet library decodes a dictionary and every row up to the wanted ones; a look-up wants ten rows of sixty columns.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt32Type};
use arrow_array::{
    Array as _, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray,
    PrimitiveArray, StringArray,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, TimeUnit};
use parquet::basic::{Compression, ZstdLevel};

use super::layout::Column;
use super::page::{Encoding, StoredPage};
use super::values::{Form, Values, Wanted, take_bytes};
use crate::block::hybrid::{Numbers, bit_width};

thread_local! {
    /// Room for a dictionary and a page, decompressed.
    static ROOM: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// A thread keeps at most so much room: that of ordinary pages.
const ROOM_BYTES_MAX: usize = 1 << 20;

/// What was read of a column chunk.
pub(super) struct Chunk<'a> {
    /// Pages that follow each other, and the row of the first of them.
    pub(super) parts: Vec<(u32, &'a [u8])>,
    pub(super) codec: Compression,
    pub(super) plain_bytes: usize,
}

impl Chunk<'_> {
    /// The values of these rows of the row group, by their position; of a list, those of all rows.
    pub(super) fn pick(&self, column: &Column, rows: &[u32]) -> Option<Values> {
        ROOM.with_borrow_mut(|(page, dictionary)| {
            let picked = self.pick_within(column, rows, page, dictionary);
            for room in [page, dictionary] {
                room.clear();
                room.shrink_to(ROOM_BYTES_MAX);
            }
            picked
        })
    }

    fn pick_within(
        &self,
        column: &Column,
        rows: &[u32],
        room: &mut Vec<u8>,
        dictionary_room: &mut Vec<u8>,
    ) -> Option<Values> {
        let slots = if column.is_list { 0 } else { rows.len() };
        let mut values = Values::new(column.form, slots);
        let mut lists = Lists::default();
        let mut dictionary: Option<StoredPage<'_>> = None;
        let mut next = 0;
        for (first_row, part) in &self.parts {
            let (mut first_row, mut rest) = (*first_row as usize, *part);
            while !rest.is_empty() && next < rows.len() {
                let page = StoredPage::take(&mut rest)?;
                if page.is_dictionary() {
                    dictionary = Some(page);
                    continue;
                }
                let end = first_row.checked_add(page.header.n_rows)?;
                let of_page = rows.get(next..)?.partition_point(|row| (*row as usize) < end);
                let picked = Picked { first_slot: next, first_row, rows: rows.get(next..next + of_page)? };
                if of_page > 0 {
                    let wanted = match column.is_list {
                        true => lists.wanted(&page, column, &picked, &mut values)?,
                        false => picked.wanted(&page, column)?,
                    };
                    if !wanted.is_empty() {
                        let bytes = page.values(self.codec, self.plain_bytes, room)?;
                        let n_values = page.header.n_values.checked_sub(page.header.n_nulls)?;
                        values.pick(page.encoding, bytes, n_values, &wanted)?;
                    }
                }
                next += of_page;
                first_row = end;
            }
        }
        if next < rows.len() {
            return None;
        }
        if values.needs_dictionary() {
            values.look_up(dictionary?.values(self.codec, self.plain_bytes, dictionary_room)?)?;
        }
        values.ends = lists.ends;
        Some(values)
    }
}

/// Keys of rows that follow each other, and the dictionary that they point into.
pub(super) struct Keys {
    pub(super) of_row: Vec<u32>,
    dictionary: Vec<u8>,
}

impl Keys {
    /// The dictionary's texts.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        let (mut texts, mut rest) = (Vec::new(), self.dictionary.as_slice());
        while !rest.is_empty() {
            texts.push(std::str::from_utf8(take_bytes(&mut rest)?).ok()?);
        }
        Some(texts)
    }

    /// The dictionary's numbers of 32 bits.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.dictionary.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }
}

impl Chunk<'_> {
    /// The keys of rows of the row group, of which none is null; none where there is no dictionary.
    pub(super) fn keys(&self, rows: Range<u32>) -> Option<Keys> {
        let mut keys = Keys { of_row: Vec::with_capacity(rows.len()), dictionary: Vec::new() };
        let mut room = Vec::new();
        for (first_row, part) in &self.parts {
            let (mut first_row, mut rest) = (*first_row, *part);
            while !rest.is_empty() {
                let page = StoredPage::take(&mut rest)?;
                if page.is_dictionary() {
                    keys.dictionary = page.values(self.codec, self.plain_bytes, &mut room)?.to_vec();
                    continue;
                }
                let end = first_row.checked_add(u32::try_from(page.header.n_rows).ok()?)?;
                let (from, to) = (rows.start.max(first_row), rows.end.min(end));
                if from < to {
                    if page.encoding != Encoding::Dictionary || page.header.n_nulls > 0 {
                        return None;
                    }
                    let bytes = page.values(self.codec, self.plain_bytes, &mut room)?;
                    let (width, bytes) = bytes.split_first()?;
                    let mut numbers = Numbers::new(bytes, *width)?;
                    numbers.skip((from - first_row) as usize)?;
                    numbers.append_to(&mut keys.of_row, (to - from) as usize)?;
                }
                first_row = end;
            }
        }
        (keys.of_row.len() == rows.len()).then_some(keys)
    }
}

impl Chunk<'_> {
    /// The rows of the pages of whose values, lengths among them, `holds` is true.
    pub(super) fn pages_with(&self, holds: impl Fn(&[u8]) -> bool) -> Option<Vec<Range<u32>>> {
        let (mut found, mut room) = (Vec::new(), Vec::new());
        for (first_row, part) in &self.parts {
            let (mut first_row, mut rest) = (*first_row, *part);
            while !rest.is_empty() {
                let page = StoredPage::take(&mut rest)?;
                if page.is_dictionary() {
                    return None;
                }
                let end = first_row.checked_add(u32::try_from(page.header.n_rows).ok()?)?;
                if holds(page.values(self.codec, self.plain_bytes, &mut room)?) {
                    found.push(first_row..end);
                }
                first_row = end;
            }
        }
        Some(found)
    }
}

/// The rows that are wanted of one page.
struct Picked<'a> {
    first_slot: usize,
    first_row: usize,
    rows: &'a [u32],
}

impl Picked<'_> {
    /// Which of the page's values they are; rows without a value have none.
    fn wanted(&self, page: &StoredPage<'_>, column: &Column) -> Option<Vec<Wanted>> {
        let mut wanted = Vec::with_capacity(self.rows.len());
        if self.rows.first().is_some_and(|row| (*row as usize) < self.first_row) {
            return None;
        }
        let rows = self.rows.iter().map(|row| *row as usize - self.first_row).enumerate();
        if column.definition_max == 0 || page.header.n_nulls == 0 {
            wanted.extend(rows.map(|(slot, index)| Wanted { slot: self.first_slot + slot, index }));
            return Some(wanted);
        }
        if page.header.n_nulls >= page.header.n_values {
            return Some(wanted);
        }
        let mut levels = Numbers::new(page.definition_levels, 1)?;
        let (mut at, mut index) = (0, 0);
        for (slot, row) in rows {
            index += levels.skip_counting(row - at)?;
            at = row + 1;
            if levels.take()? == 1 {
                wanted.push(Wanted { slot: self.first_slot + slot, index });
                index += 1;
            }
        }
        Some(wanted)
    }
}

/// Lists of the wanted rows: where each of them ends among the values.
#[derive(Default)]
struct Lists {
    ends: Vec<usize>,
}

impl Lists {
    fn wanted(
        &mut self,
        page: &StoredPage<'_>,
        column: &Column,
        picked: &Picked<'_>,
        values: &mut Values,
    ) -> Option<Vec<Wanted>> {
        let mut repetitions = Numbers::new(page.repetition_levels, 1)?;
        let mut definitions =
            Numbers::new(page.definition_levels, bit_width(u32::from(column.definition_max)))?;
        let mut rows = picked.rows.iter().map(|row| *row as usize).peekable();
        let (mut wanted, mut next_row, mut index) = (Vec::new(), picked.first_row, 0);
        let mut is_wanted = false;
        for _ in 0..page.header.n_values {
            if repetitions.take()? == 0 {
                if is_wanted {
                    self.ends.push(values.slots());
                }
                is_wanted = rows.next_if_eq(&next_row).is_some();
                if !is_wanted && rows.peek().is_none() {
                    return Some(wanted);
                }
                next_row += 1;
            }
            let level = definitions.take()?;
            let is_value = level == u32::from(column.definition_max);
            // One level below a value is an item that is null; below that, there is no item.
            if is_wanted && level + 1 >= u32::from(column.definition_max) {
                if is_value {
                    wanted.push(Wanted { slot: values.slots(), index });
                }
                values.add_slot();
            }
            index += usize::from(is_value);
        }
        if is_wanted {
            self.ends.push(values.slots());
        }
        Some(wanted)
    }
}

/// Picked values as an array.
pub(super) fn column(column: &Column, values: Values) -> Option<ArrayRef> {
    let nulls = values.present.contains(&false).then(|| NullBuffer::from(values.present.as_slice()));
    match (column.field.data_type(), column.form) {
        (DataType::UInt8, Form::Fixed(4)) => {
            numbers::<UInt8Type, 4>(column, &values, nulls, |word| u32::from_le_bytes(word) as u8)
        }
        (DataType::UInt32, Form::Fixed(4)) => {
            numbers::<UInt32Type, 4>(column, &values, nulls, u32::from_le_bytes)
        }
        (DataType::Int64, Form::Fixed(8)) => {
            numbers::<Int64Type, 8>(column, &values, nulls, i64::from_le_bytes)
        }
        (DataType::Timestamp(TimeUnit::Nanosecond, _), Form::Fixed(8)) => {
            numbers::<TimestampNanosecondType, 8>(column, &values, nulls, i64::from_le_bytes)
        }
        (DataType::Float64, Form::Fixed(8)) => {
            numbers::<Float64Type, 8>(column, &values, nulls, f64::from_le_bytes)
        }
        (DataType::Boolean, Form::Bool) => {
            let bits = values.bytes.iter().map(|bit| *bit != 0).collect();
            Some(Arc::new(BooleanArray::new(bits, nulls)))
        }
        (DataType::FixedSizeBinary(width), Form::Fixed(_)) => {
            let array = FixedSizeBinaryArray::try_new(*width, Buffer::from_vec(values.bytes), nulls);
            Some(Arc::new(array.ok()?))
        }
        (DataType::Utf8, Form::Bytes) => texts(&values, nulls),
        (DataType::Binary, Form::Bytes) => {
            let (offsets, bytes) = in_order(&values)?;
            Some(Arc::new(BinaryArray::try_new(offsets, bytes, nulls).ok()?))
        }
        (DataType::List(item), Form::Bytes) => lists(item, &values, nulls),
        _ => None,
    }
}

fn numbers<T: ArrowPrimitiveType, const N: usize>(
    column: &Column,
    values: &Values,
    nulls: Option<NullBuffer>,
    read: impl Fn([u8; N]) -> T::Native,
) -> Option<ArrayRef> {
    let (words, _) = values.bytes.as_chunks::<N>();
    let numbers: Vec<T::Native> = words.iter().map(|word| read(*word)).collect();
    let array = PrimitiveArray::<T>::try_new(numbers.into(), nulls).ok()?;
    // The same numbers, of times with their zone.
    Some(Arc::new(array.with_data_type(column.field.data_type().clone())))
}

/// The values one after the other, slot by slot.
fn in_order(values: &Values) -> Option<(OffsetBuffer<i32>, Buffer)> {
    let mut bytes = Vec::with_capacity(values.places.iter().map(|(_, len)| *len as usize).sum());
    let mut ends = Vec::with_capacity(values.places.len() + 1);
    ends.push(0);
    for (from, len) in &values.places {
        bytes.extend_from_slice(values.bytes.get(*from as usize..)?.get(..*len as usize)?);
        ends.push(i32::try_from(bytes.len()).ok()?);
    }
    Some((OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes)))
}

fn texts(values: &Values, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
    let (offsets, bytes) = in_order(values)?;
    Some(Arc::new(StringArray::try_new(offsets, bytes, nulls).ok()?))
}

fn lists(item: &Arc<Field>, values: &Values, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
    let mut ends = Vec::with_capacity(values.ends.len() + 1);
    ends.push(0);
    for end in &values.ends {
        ends.push(i32::try_from(*end).ok()?);
    }
    let items = texts(values, nulls)?;
    let array = ListArray::try_new(Arc::clone(item), OffsetBuffer::new(ends.into()), items, None);
    Some(Arc::new(array.ok()?))
}

/// Reads bytes as a column chunk of every form and says how many values were found. For the fuzz targets.
pub(crate) fn picked_of(bytes: &[u8]) -> usize {
    let forms = [
        (DataType::UInt32, Form::Fixed(4)),
        (DataType::Int64, Form::Fixed(8)),
        (DataType::FixedSizeBinary(16), Form::Fixed(16)),
        (DataType::Boolean, Form::Bool),
        (DataType::Utf8, Form::Bytes),
        (DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), Form::Bytes),
    ];
    let codecs = [Compression::UNCOMPRESSED, Compression::LZ4_RAW, Compression::ZSTD(ZstdLevel::default())];
    let mut found = 0;
    for (kind, form) in forms {
        let is_list = matches!(kind, DataType::List(_));
        let field = Arc::new(Field::new("column", kind, true));
        let of = Column { field, form, definition_max: if is_list { 2 } else { 1 }, is_list };
        for codec in codecs {
            let chunk = Chunk { parts: vec![(0, bytes)], codec, plain_bytes: 1 << 16 };
            let picked = chunk.pick(&of, &[0, 1, 7, 300]).and_then(|values| column(&of, values));
            found += picked.map_or(0, |array| array.len());
        }
    }
    found
}

#[cfg(test)]
mod tests;
