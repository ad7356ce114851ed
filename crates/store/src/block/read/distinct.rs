//! Rows of a column chunk as numbers, for scans that count: the distinct values, and the number of each row's value.
//!
//! Dictionaries have numbers already; of other pages equal numbers are found, and texts count as different from each other.

use std::ops::Range;

use ahash::AHashMap as HashMap;
use arrow_schema::DataType;

use super::layout::Column;
use super::page::{Encoding, StoredPage};
use super::picked::Chunk;
use super::values::{Form, append_deltas, append_ends, take_bytes};
use crate::block::hybrid::Numbers;
use crate::snapshot::log_kinds::{Distinct, NO_VALUE};

/// Pages have a few thousand values; nothing is made room for beyond so many.
const PAGE_VALUES_MAX: usize = 1 << 20;

/// A column of some rows that follow each other.
#[derive(Debug)]
pub(super) struct DistinctColumn {
    /// The number of each row's value.
    pub(super) of_row: Vec<u32>,
    pub(super) values: Distinct,
}

impl DistinctColumn {
    /// Of rows without a value.
    pub(super) fn nothing(n_rows: usize) -> DistinctColumn {
        DistinctColumn { of_row: vec![NO_VALUE; n_rows], values: Distinct::Ints(Vec::new()) }
    }

    /// Of how many numbers each row's is one, not counting rows without a value.
    pub(super) fn len(&self) -> usize {
        match &self.values {
            Distinct::Texts(_, ends) => ends.len(),
            Distinct::Ints(numbers) => numbers.len(),
            Distinct::Doubles(numbers) => numbers.len(),
            Distinct::Bools => 2,
        }
    }
}

/// The values of pages so far.
struct Values {
    text: Vec<u8>,
    ends: Vec<u32>,
    /// Numbers as they lie in the file.
    words: Vec<u64>,
    /// The number of each that came without a dictionary.
    known: HashMap<u64, u32>,
    /// How many a dictionary gave; they come first.
    n_dictionary: u32,
}

impl Chunk<'_> {
    /// Rows of the row group; none where something is of a kind that only the library reads.
    pub(super) fn distinct(&self, column: &Column, rows: Range<u32>) -> Option<DistinctColumn> {
        if column.is_list {
            return None;
        }
        let mut values = Values {
            text: Vec::new(),
            ends: Vec::new(),
            words: Vec::new(),
            known: HashMap::new(),
            n_dictionary: 0,
        };
        let mut of_row = Vec::with_capacity(rows.len());
        self.each_page(rows.clone(), |page, wanted, bytes| {
            if page.is_dictionary() {
                return values.take_dictionary(column.form, bytes);
            }
            let n_values = page.header.n_values.checked_sub(page.header.n_nulls)?;
            let numbers = values.numbers(column.form, page.encoding, bytes, n_values)?;
            let is_within = of_row.len() + wanted.len() <= rows.len();
            if page.header.n_nulls == 0 {
                of_row.extend_from_slice(numbers.get(wanted)?);
                return is_within.then_some(());
            }
            let mut levels = Vec::with_capacity(page.header.n_values);
            Numbers::new(page.definition_levels, 1)?.append_to(&mut levels, page.header.n_values)?;
            let skipped = levels.get(..wanted.start)?.iter().filter(|level| **level == 1).count();
            let mut numbers = numbers.get(skipped..)?.iter();
            for level in levels.get(wanted)? {
                of_row.push(if *level == 1 { *numbers.next()? } else { NO_VALUE });
            }
            is_within.then_some(())
        })?;
        let values = values.finish(column)?;
        (of_row.len() == rows.len()).then_some(DistinctColumn { of_row, values })
    }

    /// Rows of a column of integers of 64 bits without nulls.
    pub(super) fn integers(&self, rows: Range<u32>) -> Option<Vec<i64>> {
        let (mut out, mut room) = (Vec::with_capacity(rows.len()), Vec::new());
        self.each_page(rows.clone(), |page, wanted, bytes| {
            if page.is_dictionary() || page.header.n_nulls > 0 || out.len() + wanted.len() > rows.len() {
                return None;
            }
            match page.encoding {
                Encoding::Delta => {
                    room.clear();
                    append_deltas(&mut room, &mut { bytes }, page.header.n_values)?;
                    out.extend(room.get(wanted)?.iter().map(|word| *word as i64));
                    Some(())
                }
                Encoding::Plain => {
                    let words = bytes.as_chunks::<8>().0.get(wanted)?;
                    out.extend(words.iter().map(|word| i64::from_le_bytes(*word)));
                    Some(())
                }
                _ => None,
            }
        })?;
        (out.len() == rows.len()).then_some(out)
    }

    /// Calls `visit` with the dictionary and each page that has any of these rows: which of the page's rows they are, and the
    /// page's values.
    fn each_page(
        &self,
        rows: Range<u32>,
        mut visit: impl FnMut(&StoredPage<'_>, Range<usize>, &[u8]) -> Option<()>,
    ) -> Option<()> {
        let mut room = Vec::new();
        for (first_row, part) in &self.parts {
            let (mut first_row, mut rest) = (*first_row, *part);
            while !rest.is_empty() {
                let page = StoredPage::take(&mut rest)?;
                if page.header.n_values > PAGE_VALUES_MAX {
                    return None;
                }
                if page.is_dictionary() {
                    visit(&page, 0..0, page.values(self.codec, self.plain_bytes, &mut room)?)?;
                    continue;
                }
                let end = first_row.checked_add(u32::try_from(page.header.n_values).ok()?)?;
                let (from, to) = (rows.start.max(first_row), rows.end.min(end));
                if from < to {
                    let wanted = (from - first_row) as usize..(to - first_row) as usize;
                    visit(&page, wanted, page.values(self.codec, self.plain_bytes, &mut room)?)?;
                }
                first_row = end;
            }
        }
        Some(())
    }
}

impl Values {
    fn take_dictionary(&mut self, form: Form, bytes: &[u8]) -> Option<()> {
        match form {
            Form::Bytes => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    self.push_text(take_bytes(&mut rest)?)?;
                }
                self.n_dictionary = self.ends.len() as u32;
            }
            Form::Fixed(width) => {
                self.words.extend(words(bytes, width)?);
                self.n_dictionary = u32::try_from(self.words.len()).ok()?;
            }
            Form::Bool => return None,
        }
        Some(())
    }

    fn push_text(&mut self, text: &[u8]) -> Option<()> {
        self.text.extend_from_slice(text);
        self.ends.push(u32::try_from(self.text.len()).ok()?);
        Some(())
    }

    /// The numbers of a page's values.
    fn numbers(&mut self, form: Form, encoding: Encoding, bytes: &[u8], n_values: usize) -> Option<Vec<u32>> {
        let mut numbers = Vec::with_capacity(n_values);
        match (encoding, form) {
            (Encoding::Dictionary, _) => {
                let (width, packed) = bytes.split_first()?;
                Numbers::new(packed, *width)?.append_to(&mut numbers, n_values)?;
                if numbers.iter().any(|number| *number >= self.n_dictionary) {
                    return None;
                }
            }
            (Encoding::Plain, Form::Bytes) => {
                let mut rest = bytes;
                for _ in 0..n_values {
                    numbers.push(self.ends.len() as u32);
                    self.push_text(take_bytes(&mut rest)?)?;
                }
            }
            (Encoding::Lengths, Form::Bytes) => {
                let (mut ends, mut from) = (Vec::with_capacity(n_values), 0);
                let texts = append_ends(&mut ends, bytes, n_values)?;
                for end in ends {
                    numbers.push(self.ends.len() as u32);
                    self.push_text(texts.get(from..end as usize)?)?;
                    from = end as usize;
                }
            }
            (Encoding::Plain, Form::Fixed(width)) => {
                let words = words(bytes.get(..n_values.checked_mul(width)?)?, width)?;
                numbers.extend(words.map(|word| self.number(word)));
            }
            (Encoding::Delta, Form::Fixed(8)) => {
                let mut words = Vec::new();
                append_deltas(&mut words, &mut { bytes }, n_values)?;
                numbers.extend(words.into_iter().map(|word| self.number(word)));
            }
            (Encoding::Plain, Form::Bool) => {
                let bit = |at: usize| Some(u32::from(bytes.get(at / 8)? >> (at % 8) & 1));
                return (0..n_values).map(bit).collect();
            }
            // Their length stands before the numbers.
            (Encoding::Rle, Form::Bool) => {
                Numbers::new(bytes.get(4..)?, 1)?.append_to(&mut numbers, n_values)?;
            }
            _ => return None,
        }
        Some(numbers)
    }

    fn number(&mut self, word: u64) -> u32 {
        let next = self.words.len() as u32;
        let number = *self.known.entry(word).or_insert(next);
        if number == next {
            self.words.push(word);
        }
        number
    }

    fn finish(self, column: &Column) -> Option<Distinct> {
        Some(match (column.form, column.field.data_type()) {
            (Form::Bytes, DataType::Utf8) => Distinct::Texts(String::from_utf8(self.text).ok()?, self.ends),
            (Form::Bool, _) => Distinct::Bools,
            (Form::Fixed(8), DataType::Float64) => {
                Distinct::Doubles(self.words.into_iter().map(f64::from_bits).collect())
            }
            (Form::Fixed(8), DataType::Int64) | (Form::Fixed(4), DataType::UInt8 | DataType::UInt32) => {
                Distinct::Ints(self.words.into_iter().map(|word| word as i64).collect())
            }
            _ => return None,
        })
    }
}

/// Numbers of so many bytes each.
fn words(bytes: &[u8], width: usize) -> Option<impl Iterator<Item = u64>> {
    let is_known = matches!(width, 4 | 8) && bytes.len().is_multiple_of(width);
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    is_known.then(|| bytes.chunks_exact(width).map(word))
}
