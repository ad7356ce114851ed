//! A column chunk whole, for scans: the distinct texts and the key of each row, or a number for each row.
//!
//! The Parquet library makes a reader for every row group and gives texts row by row; a scan decides about distinct texts, and reads
//! one column at a time.

use super::layout::Column;
use super::page::{Encoding, StoredPage, take_zigzag};
use super::picked::Chunk;
use super::values::{Form, take_bytes, walk_deltas};
use crate::block::hybrid::{Numbers, packed, take_varint};

/// The key of a row without a value.
pub(crate) const NO_VALUE: u32 = u32::MAX;

/// The values of all rows of a column chunk.
#[derive(Debug)]
pub(crate) enum WholeColumn {
    /// The key of each row, and texts one after the other with their ends.
    Texts(Vec<u32>, String, Vec<u32>),
    /// So many bytes for each row, and which rows have a value.
    Fixed(usize, Vec<u8>, Option<Vec<bool>>),
    /// Truth values, and which rows have one.
    Bools(Vec<bool>, Option<Vec<bool>>),
}

impl WholeColumn {
    /// How many rows.
    pub(super) fn len(&self) -> usize {
        match self {
            WholeColumn::Texts(keys, ..) => keys.len(),
            WholeColumn::Fixed(width, bytes, _) => bytes.len().checked_div(*width).unwrap_or_default(),
            WholeColumn::Bools(values, _) => values.len(),
        }
    }
}

/// Rows so far.
struct Rows {
    form: Form,
    n_rows: usize,
    keys: Vec<u32>,
    text: Vec<u8>,
    ends: Vec<u32>,
    bytes: Vec<u8>,
    present: Vec<bool>,
    has_null: bool,
    dictionary: Vec<u8>,
    /// How many texts the dictionary has; they come first.
    n_dictionary: u32,
}

impl Chunk<'_> {
    /// All rows, which are so many at most; none where something is of a kind that only the library reads.
    pub(super) fn whole(&self, column: &Column, rows_max: usize) -> Option<WholeColumn> {
        if column.is_list {
            return None;
        }
        let mut rows = Rows {
            form: column.form,
            n_rows: 0,
            keys: Vec::new(),
            text: Vec::new(),
            ends: Vec::new(),
            bytes: Vec::new(),
            present: Vec::new(),
            has_null: false,
            dictionary: Vec::new(),
            n_dictionary: 0,
        };
        let mut room = Vec::new();
        for (_, part) in &self.parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let page = StoredPage::take(&mut rest)?;
                let bytes = page.values(self.codec, self.plain_bytes, &mut room)?;
                match page.is_dictionary() {
                    true => rows.take_dictionary(bytes)?,
                    false if rows.n_rows.checked_add(page.header.n_values)? <= rows_max => {
                        rows.take_page(&page, bytes)?;
                    }
                    false => return None,
                }
            }
        }
        rows.finish()
    }
}

impl Rows {
    fn take_dictionary(&mut self, bytes: &[u8]) -> Option<()> {
        if self.form != Form::Bytes {
            self.dictionary = bytes.to_vec();
            return Some(());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let text = take_bytes(&mut rest)?;
            self.push_text(text)?;
        }
        self.n_dictionary = self.ends.len() as u32;
        Some(())
    }

    fn push_text(&mut self, text: &[u8]) -> Option<()> {
        self.text.extend_from_slice(text);
        self.ends.push(u32::try_from(self.text.len()).ok()?);
        Some(())
    }

    fn take_page(&mut self, page: &StoredPage<'_>, bytes: &[u8]) -> Option<()> {
        let n_rows = page.header.n_values;
        let n_values = n_rows.checked_sub(page.header.n_nulls)?;
        let from = self.present.len();
        if page.header.n_nulls == 0 {
            self.present.resize(from + n_rows, true);
        } else {
            self.has_null = true;
            let mut levels = Vec::with_capacity(n_rows);
            Numbers::new(page.definition_levels, 1)?.append_to(&mut levels, n_rows)?;
            self.present.extend(levels.iter().map(|level| *level == 1));
        }
        let present = self.present.get(from..)?.to_vec();
        if present.iter().filter(|present| **present).count() != n_values {
            return None;
        }
        self.n_rows += n_rows;
        match self.form {
            Form::Bytes => {
                let keys = self.text_keys(page.encoding, bytes, n_values)?;
                spread(&mut self.keys, &present, keys.into_iter(), NO_VALUE);
            }
            Form::Fixed(width) => {
                let values = self.fixed(page.encoding, bytes, n_values, width)?;
                match page.header.n_nulls {
                    0 => self.bytes.extend_from_slice(&values),
                    _ => {
                        let mut values = values.chunks_exact(width);
                        for present in present {
                            match present {
                                true => self.bytes.extend_from_slice(values.next()?),
                                false => self.bytes.resize(self.bytes.len() + width, 0),
                            }
                        }
                    }
                }
            }
            Form::Bool => {
                let bits = bools(page.encoding, bytes, n_values)?;
                spread(&mut self.bytes, &present, bits.into_iter(), 0);
            }
        }
        Some(())
    }

    fn text_keys(&mut self, encoding: Encoding, bytes: &[u8], n_values: usize) -> Option<Vec<u32>> {
        let mut keys = Vec::with_capacity(n_values);
        match encoding {
            Encoding::Dictionary => {
                let (width, packed) = bytes.split_first()?;
                Numbers::new(packed, *width)?.append_to(&mut keys, n_values)?;
                if keys.iter().any(|key| *key >= self.n_dictionary) {
                    return None;
                }
            }
            Encoding::Plain => {
                let mut rest = bytes;
                for _ in 0..n_values {
                    keys.push(self.ends.len() as u32);
                    self.push_text(take_bytes(&mut rest)?)?;
                }
            }
            Encoding::Lengths => {
                let (mut lengths, mut rest) = (Vec::with_capacity(n_values), bytes);
                walk_deltas(&mut rest, n_values, |_, len| {
                    lengths.push(usize::try_from(len).ok()?);
                    Some(())
                })?;
                for len in lengths {
                    let (text, after) = rest.split_at_checked(len)?;
                    rest = after;
                    keys.push(self.ends.len() as u32);
                    self.push_text(text)?;
                }
            }
            _ => return None,
        }
        Some(keys)
    }

    fn fixed(&self, encoding: Encoding, bytes: &[u8], n_values: usize, width: usize) -> Option<Vec<u8>> {
        let n_bytes = n_values.checked_mul(width)?;
        match encoding {
            Encoding::Plain => bytes.get(..n_bytes).map(<[u8]>::to_vec),
            Encoding::Dictionary => {
                let (bits, packed) = bytes.split_first()?;
                let mut keys = Vec::with_capacity(n_values);
                Numbers::new(packed, *bits)?.append_to(&mut keys, n_values)?;
                let mut out = Vec::with_capacity(n_bytes);
                for key in keys {
                    let from = (key as usize).checked_mul(width)?;
                    out.extend_from_slice(self.dictionary.get(from..from.checked_add(width)?)?);
                }
                Some(out)
            }
            Encoding::Delta => {
                let mut out = Vec::with_capacity(n_bytes);
                each_delta(bytes, n_values, |value| {
                    out.extend_from_slice(value.to_le_bytes().get(..width)?);
                    Some(())
                })?;
                Some(out)
            }
            Encoding::ByteStreamSplit => {
                let mut out = vec![0; n_bytes];
                for (at, stream) in bytes.get(..n_bytes)?.chunks_exact(n_values.max(1)).enumerate() {
                    for (row, byte) in stream.iter().enumerate() {
                        *out.get_mut(row * width + at)? = *byte;
                    }
                }
                Some(out)
            }
            _ => None,
        }
    }

    fn finish(self) -> Option<WholeColumn> {
        let present = self.has_null.then_some(self.present);
        Some(match self.form {
            Form::Bytes => WholeColumn::Texts(self.keys, String::from_utf8(self.text).ok()?, self.ends),
            Form::Fixed(width) => WholeColumn::Fixed(width, self.bytes, present),
            Form::Bool => WholeColumn::Bools(self.bytes.into_iter().map(|bit| bit != 0).collect(), present),
        })
    }
}

/// Calls `visit` with each of so many integers, which are packed differences to their neighbour. The last of them may be packed
/// in fewer bytes than they would fill.
pub(super) fn each_delta(
    mut page: &[u8],
    n_values: usize,
    mut visit: impl FnMut(i64) -> Option<()>,
) -> Option<()> {
    let page = &mut page;
    let block_values = usize::try_from(take_varint(page)?).ok()?;
    let n_minis = usize::try_from(take_varint(page)?).ok()?;
    let mini_values = block_values.checked_div(n_minis).filter(|n| *n > 0)?;
    if take_varint(page)? != n_values as u64 {
        return None;
    }
    let mut value = take_zigzag(page)?;
    if n_values == 0 {
        return Some(());
    }
    visit(value)?;
    let mut left = n_values - 1;
    while left > 0 {
        let least = take_zigzag(page)?;
        let (widths, rest) = page.split_at_checked(n_minis)?;
        *page = rest;
        for width in widths.iter().map(|width| usize::from(*width)) {
            if left == 0 {
                break;
            }
            let n_bytes = mini_values.checked_mul(width)? / 8;
            let (mini, rest) = page.split_at_checked(n_bytes.min(page.len()))?;
            *page = rest;
            let n = mini_values.min(left);
            for number in 0..n {
                let delta = if width == 0 { 0 } else { packed(mini, number * width, width) as i64 };
                value = value.wrapping_add(least).wrapping_add(delta);
                visit(value)?;
            }
            left -= n;
        }
    }
    Some(())
}

/// Appends values where there are some, and a filling elsewhere.
fn spread<T: Copy>(out: &mut Vec<T>, present: &[bool], mut values: impl Iterator<Item = T>, filling: T) {
    out.extend(
        present.iter().map(|present| if *present { values.next().unwrap_or(filling) } else { filling }),
    );
}

fn bools(encoding: Encoding, bytes: &[u8], n_values: usize) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Plain => {
            let bit = |at: usize| Some(bytes.get(at / 8)? >> (at % 8) & 1);
            (0..n_values).map(bit).collect()
        }
        Encoding::Rle => {
            let mut bits = Vec::with_capacity(n_values);
            // Their length stands before the numbers.
            Numbers::new(bytes.get(4..)?, 1)?.append_to(&mut bits, n_values)?;
            Some(bits.into_iter().map(|bit| bit as u8).collect())
        }
        _ => None,
    }
}
