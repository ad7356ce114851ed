//! A column chunk whole, for scans: the distinct texts and the key of each row, or a number for each row.
//!
//! The Parquet library makes a reader for every row group and gives texts row by row; a scan decides about distinct texts, and reads
//! one column at a time.

use super::layout::Column;
use super::page::{Encoding, StoredPage};
use super::picked::Chunk;
use super::values::{Form, append_deltas, append_ends, take_bytes};
use crate::block::hybrid::Numbers;

/// The key of a row without a value.
pub(crate) const NO_VALUE: u32 = u32::MAX;

/// The values of all rows of a column chunk.
#[derive(Debug)]
pub(crate) enum WholeColumn {
    /// The key of each row, and texts one after the other with their ends.
    Texts(Vec<u32>, String, Vec<u32>),
    /// A word for each row, of values of four or eight bytes, and which rows have a value.
    Words(Vec<u64>, Option<Vec<bool>>),
    /// So many bytes for each row, of other values of one size, and which rows have one.
    Fixed(usize, Vec<u8>, Option<Vec<bool>>),
    /// Truth values, and which rows have one.
    Bools(Vec<bool>, Option<Vec<bool>>),
}

impl WholeColumn {
    /// How many rows.
    pub(super) fn len(&self) -> usize {
        match self {
            WholeColumn::Texts(keys, ..) => keys.len(),
            WholeColumn::Words(words, _) => words.len(),
            WholeColumn::Fixed(width, bytes, _) => bytes.len().checked_div(*width).unwrap_or_default(),
            WholeColumn::Bools(values, _) => values.len(),
        }
    }

    /// A column of the same kind without rows.
    pub(super) fn without_rows(&self) -> WholeColumn {
        match self {
            WholeColumn::Texts(..) => WholeColumn::Texts(Vec::new(), String::new(), Vec::new()),
            WholeColumn::Words(..) => WholeColumn::Words(Vec::new(), None),
            WholeColumn::Fixed(width, ..) => WholeColumn::Fixed(*width, Vec::new(), None),
            WholeColumn::Bools(..) => WholeColumn::Bools(Vec::new(), None),
        }
    }

    /// Appends some rows of another one; none where they are not of one kind, or some have no value that is no text.
    pub(super) fn append(&mut self, other: &WholeColumn, rows: impl Iterator<Item = u32>) -> Option<()> {
        match (self, other) {
            (WholeColumn::Texts(keys, text, ends), WholeColumn::Texts(of_other, texts, their_ends)) => {
                let (before, bytes) = (u32::try_from(ends.len()).ok()?, u32::try_from(text.len()).ok()?);
                text.push_str(texts);
                for end in their_ends {
                    ends.push(bytes.checked_add(*end)?);
                }
                for row in rows {
                    let key = *of_other.get(row as usize)?;
                    keys.push(if key == NO_VALUE { key } else { before.checked_add(key)? });
                }
            }
            (WholeColumn::Words(words, None), WholeColumn::Words(others, None)) => {
                for row in rows {
                    words.push(*others.get(row as usize)?);
                }
            }
            (WholeColumn::Fixed(width, bytes, None), WholeColumn::Fixed(of_other, others, None))
                if width == of_other =>
            {
                for row in rows {
                    let from = row as usize * *width;
                    bytes.extend_from_slice(others.get(from..from + *width)?);
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// What is looked for in the pages of a column of texts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Needle<'n> {
    /// A whole text.
    Text(&'n str),
    /// A part of one.
    Bytes(&'n str),
}

/// Rows so far.
struct Rows {
    form: Form,
    n_rows: usize,
    keys: Vec<u32>,
    text: Vec<u8>,
    ends: Vec<u32>,
    words: Vec<u64>,
    bytes: Vec<u8>,
    /// Which rows have a value; nothing as long as all have.
    present: Vec<bool>,
    has_null: bool,
    dictionary: Vec<u8>,
    dictionary_words: Vec<u64>,
    /// How many texts the dictionary has; they come first.
    n_dictionary: u32,
    /// Room for keys.
    room: Vec<u32>,
}

impl Chunk<'_> {
    /// All rows, which are so many at most; none where something is of a kind that only the library reads.
    pub(super) fn whole(&self, column: &Column, rows_max: usize) -> Option<WholeColumn> {
        if column.is_list {
            return None;
        }
        let mut rows = Rows::new(column.form);
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

    /// Whether the bytes of its pages have what is looked for, or may have: those of the dictionary, and those of pages that do not only
    /// point into it. None where it is not a column of texts, or of a kind that only the library reads.
    pub(super) fn has(&self, column: &Column, needle: Needle<'_>) -> Option<bool> {
        if column.is_list || column.form != Form::Bytes {
            return None;
        }
        let mut room = Vec::new();
        let with_length = match needle {
            Needle::Text(text) => {
                let length = u32::try_from(text.len()).ok()?.to_le_bytes();
                [&length, text.as_bytes()].concat()
            }
            Needle::Bytes(_) => Vec::new(),
        };
        for (_, part) in &self.parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let page = StoredPage::take(&mut rest)?;
                let wanted = match (needle, page.encoding) {
                    (_, Encoding::Dictionary) if !page.is_dictionary() => continue,
                    (Needle::Bytes(bytes), _) => bytes.as_bytes(),
                    // The length of a text stands before it, or before all of them.
                    (Needle::Text(_), Encoding::Plain) => &with_length,
                    (Needle::Text(_), _) if page.is_dictionary() => &with_length,
                    (Needle::Text(text), Encoding::Lengths) => text.as_bytes(),
                    _ => return None,
                };
                let bytes = page.values(self.codec, self.plain_bytes, &mut room)?;
                if memchr::memmem::find(bytes, wanted).is_some() {
                    return Some(true);
                }
            }
        }
        Some(false)
    }

    /// The values of its dictionary, a row for each; none where some rows have a value that is not of it, or cannot have one.
    pub(super) fn dictionary(&self, column: &Column) -> Option<WholeColumn> {
        if column.is_list || column.form == Form::Bool {
            return None;
        }
        let mut dictionary = None;
        for (_, part) in &self.parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let page = StoredPage::take(&mut rest)?;
                match page.is_dictionary() {
                    true => dictionary = Some(page),
                    false if page.encoding != Encoding::Dictionary => return None,
                    false => {}
                }
            }
        }
        let (mut rows, mut room) = (Rows::new(column.form), Vec::new());
        rows.take_dictionary(dictionary?.values(self.codec, self.plain_bytes, &mut room)?)?;
        rows.keys = (0..rows.n_dictionary).collect();
        rows.words = std::mem::take(&mut rows.dictionary_words);
        rows.bytes = std::mem::take(&mut rows.dictionary);
        rows.finish()
    }
}

impl Rows {
    fn new(form: Form) -> Rows {
        Rows {
            form,
            n_rows: 0,
            keys: Vec::new(),
            text: Vec::new(),
            ends: Vec::new(),
            words: Vec::new(),
            bytes: Vec::new(),
            present: Vec::new(),
            has_null: false,
            dictionary: Vec::new(),
            dictionary_words: Vec::new(),
            n_dictionary: 0,
            room: Vec::new(),
        }
    }

    fn take_dictionary(&mut self, bytes: &[u8]) -> Option<()> {
        match self.form {
            Form::Bytes => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    self.push_text(take_bytes(&mut rest)?)?;
                }
                self.n_dictionary = self.ends.len() as u32;
            }
            Form::Fixed(width @ (4 | 8)) => append_words(&mut self.dictionary_words, bytes, width),
            Form::Fixed(_) | Form::Bool => self.dictionary = bytes.to_vec(),
        }
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
        let from = self.n_rows;
        self.n_rows = from.checked_add(n_rows)?;
        if page.header.n_nulls == 0 {
            if self.has_null {
                self.present.resize(self.n_rows, true);
            }
            return self.append(page.encoding, bytes, n_values);
        }
        if !self.has_null {
            self.has_null = true;
            self.present.resize(from, true);
        }
        let mut present = std::mem::take(&mut self.present);
        Numbers::new(page.definition_levels, 1)?.append_flags(&mut present, n_rows)?;
        let of_page = present.get(from..)?;
        if of_page.iter().filter(|present| **present).count() != n_values {
            return None;
        }
        self.append_some(page.encoding, bytes, n_values, of_page)?;
        self.present = present;
        Some(())
    }

    /// Takes the values of a page all of whose rows have one.
    fn append(&mut self, encoding: Encoding, bytes: &[u8], n_values: usize) -> Option<()> {
        match self.form {
            Form::Bytes => {
                let mut keys = std::mem::take(&mut self.keys);
                self.append_keys(encoding, bytes, n_values, &mut keys)?;
                self.keys = keys;
            }
            Form::Fixed(width @ (4 | 8)) => {
                let mut words = std::mem::take(&mut self.words);
                self.append_words(encoding, bytes, n_values, width, &mut words)?;
                self.words = words;
            }
            Form::Fixed(width) => {
                let values = self.fixed(encoding, bytes, n_values, width)?;
                self.bytes.extend_from_slice(&values);
            }
            Form::Bool => self.bytes.extend(bools(encoding, bytes, n_values)?),
        }
        Some(())
    }

    /// Takes the values of a page some of whose rows have one.
    fn append_some(
        &mut self,
        encoding: Encoding,
        bytes: &[u8],
        n_values: usize,
        present: &[bool],
    ) -> Option<()> {
        match self.form {
            Form::Bytes => {
                let mut keys = Vec::with_capacity(n_values);
                self.append_keys(encoding, bytes, n_values, &mut keys)?;
                spread(&mut self.keys, present, keys.into_iter(), NO_VALUE);
            }
            Form::Fixed(width @ (4 | 8)) => {
                let mut words = Vec::with_capacity(n_values);
                self.append_words(encoding, bytes, n_values, width, &mut words)?;
                spread(&mut self.words, present, words.into_iter(), 0);
            }
            Form::Fixed(width) => {
                let values = self.fixed(encoding, bytes, n_values, width)?;
                let mut values = values.chunks_exact(width);
                for present in present {
                    match present {
                        true => self.bytes.extend_from_slice(values.next()?),
                        false => self.bytes.resize(self.bytes.len() + width, 0),
                    }
                }
            }
            Form::Bool => {
                spread(&mut self.bytes, present, bools(encoding, bytes, n_values)?.into_iter(), 0);
            }
        }
        Some(())
    }

    fn append_keys(
        &mut self,
        encoding: Encoding,
        bytes: &[u8],
        n_values: usize,
        keys: &mut Vec<u32>,
    ) -> Option<()> {
        match encoding {
            Encoding::Dictionary => {
                let (width, packed) = bytes.split_first()?;
                let from = keys.len();
                Numbers::new(packed, *width)?.append_to(keys, n_values)?;
                if keys.get(from..)?.iter().any(|key| *key >= self.n_dictionary) {
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
                let first = self.ends.len() as u32;
                let from = u64::try_from(self.text.len()).ok()?;
                let mut ends = Vec::with_capacity(n_values);
                self.text.extend_from_slice(append_ends(&mut ends, bytes, n_values)?);
                for end in ends {
                    self.ends.push(u32::try_from(from.checked_add(end)?).ok()?);
                }
                keys.extend(first..self.ends.len() as u32);
            }
            _ => return None,
        }
        Some(())
    }

    /// Appends values of four or eight bytes.
    fn append_words(
        &mut self,
        encoding: Encoding,
        bytes: &[u8],
        n_values: usize,
        width: usize,
        words: &mut Vec<u64>,
    ) -> Option<()> {
        let n_bytes = n_values.checked_mul(width)?;
        match encoding {
            Encoding::Plain => append_words(words, bytes.get(..n_bytes)?, width),
            Encoding::Dictionary => {
                let (bits, packed) = bytes.split_first()?;
                self.room.clear();
                Numbers::new(packed, *bits)?.append_to(&mut self.room, n_values)?;
                for key in &self.room {
                    words.push(*self.dictionary_words.get(*key as usize)?);
                }
            }
            Encoding::Delta => {
                let from = words.len();
                words.reserve(n_values);
                append_deltas(words, &mut { bytes }, n_values)?;
                if width == 4 {
                    words.get_mut(from..)?.iter_mut().for_each(|word| *word &= u64::from(u32::MAX));
                }
            }
            Encoding::ByteStreamSplit => {
                let from = words.len();
                let streams = bytes.get(..n_bytes)?;
                words.resize(from + n_values, 0);
                for (at, stream) in streams.chunks_exact(n_values.max(1)).enumerate() {
                    for (word, byte) in words.get_mut(from..)?.iter_mut().zip(stream) {
                        *word |= u64::from(*byte) << (8 * at);
                    }
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// Values of another size.
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
            Form::Fixed(4 | 8) => WholeColumn::Words(self.words, present),
            Form::Fixed(width) => WholeColumn::Fixed(width, self.bytes, present),
            Form::Bool => WholeColumn::Bools(self.bytes.into_iter().map(|bit| bit != 0).collect(), present),
        })
    }
}

/// Appends values of four or eight bytes that lie one after the other.
fn append_words(words: &mut Vec<u64>, bytes: &[u8], width: usize) {
    match width {
        4 => words.extend(bytes.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_le_bytes(*word)))),
        _ => words.extend(bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))),
    }
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
