//! Column chunks, written from arrays.
//!
//! The Parquet library hashes the text of every row to find its key. Flush and merge know the key already: here the
//! arrays' keys become the file's, so that a row costs its bits and a text is hashed once in a row group, and only where
//! arrays come together. Of other columns the library makes the same chunks, but it sets up a writer, buffers and a
//! compressor for each of them, sixty times a row group. The result is a chunk as the library would write it: a dictionary
//! page where values repeat, then data pages.

use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap as HashMap;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt32Type,
};
use arrow_array::{Array, ArrayRef, DictionaryArray, StringArray};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::codec::Codec;
use super::delta::{self, Width};
use super::hybrid;

/// Texts of a chunk, and dictionaries, beyond this are left to the library, which makes pages of bounded size.
const TEXT_BYTES_MAX: usize = 8 << 20;

/// Compressed pages must be at most this share of the plain ones, in percent; else readers are better off without.
const WORTH_PERCENT: usize = 95;

/// Dictionaries of fewer values are always worth their page.
const SMALL_DICTIONARY: usize = 64;

/// Beyond, a dictionary is worth its page while at most so many of a hundred values are new.
const NEW_PERCENT_MAX: usize = 60;

/// Parts of a page of fewer bytes are compressed together with what follows: a code of their own would cost more.
const PART_BYTES_MIN: usize = 512;

/// How the values of a column lie in its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By their place in a dictionary; where most are new, as packed deltas or after their lengths.
    Dictionary,
    /// Numbers as packed deltas.
    Packed,
    /// Numbers with their bytes of equal weight side by side.
    Split,
    /// Texts one after the other, after their lengths.
    Lengths,
    /// Bytes of fixed width as they are.
    Plain,
}

/// How a chunk is written.
pub(super) struct ChunkOptions {
    pub(super) descriptor: ColumnDescPtr,
    pub(super) form: Form,
    pub(super) is_compressed: bool,
    pub(super) has_statistics: bool,
    pub(super) has_offset_index: bool,
    /// Rows of a page at most.
    pub(super) page_rows: usize,
}

/// Which rows of a chunk have a value.
struct Rows {
    n_rows: usize,
    n_present: usize,
    /// For each row, 1 if it has a value; empty if all have.
    present: Vec<u32>,
}

impl Rows {
    fn of(pieces: &[ArrayRef]) -> Rows {
        let n_rows = pieces.iter().map(|piece| piece.len()).sum();
        let n_nulls: usize = pieces.iter().map(|piece| piece.null_count()).sum();
        let mut present = Vec::with_capacity(if n_nulls > 0 { n_rows } else { 0 });
        for piece in pieces.iter().filter(|_| n_nulls > 0) {
            match piece.nulls() {
                Some(nulls) => present.extend(nulls.iter().map(u32::from)),
                None => present.resize(present.len() + piece.len(), 1),
            }
        }
        Rows { n_rows, n_present: n_rows - n_nulls, present }
    }
}

/// The values of a chunk, without nulls, in the order of its rows.
enum Content<'a> {
    Keyed { values: Values<'a>, keys: Vec<u32> },
    Packed(Vec<i64>, Width),
    Split(Vec<i64>),
    Texts(Vec<&'a str>),
    Plain { bytes: Vec<u8>, width: usize },
}

/// The distinct values of a chunk.
enum Values<'a> {
    Texts(Vec<&'a str>),
    Numbers(Vec<i64>, Width),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Values::Texts(texts) => texts.len(),
            Values::Numbers(numbers, _) => numbers.len(),
        }
    }
}

fn typed(array: &dyn Array) -> Option<(&DictionaryArray<Int32Type>, &StringArray)> {
    let dictionary: &DictionaryArray<Int32Type> = array.as_any().downcast_ref()?;
    Some((dictionary, dictionary.values().as_any().downcast_ref()?))
}

/// The numbers of a column that are not null. Those of four bytes are sign-extended, as Parquet has them.
fn numbers(pieces: &[ArrayRef]) -> Option<(Vec<i64>, Width)> {
    fn collect<T: ArrowPrimitiveType>(
        pieces: &[ArrayRef],
        number: impl Fn(T::Native) -> i64,
    ) -> Option<Vec<i64>> {
        let mut out = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            let array = piece.as_primitive_opt::<T>()?;
            match array.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => out.extend(array.values().iter().map(|value| number(*value))),
                Some(nulls) => out.extend(nulls.valid_indices().map(|row| number(array.value(row)))),
            }
        }
        Some(out)
    }
    let words = Width::Word;
    match pieces.first()?.data_type() {
        DataType::UInt8 => Some((collect::<UInt8Type>(pieces, i64::from)?, words)),
        DataType::UInt32 => Some((collect::<UInt32Type>(pieces, |word| i64::from(word as i32))?, words)),
        DataType::Int64 => Some((collect::<Int64Type>(pieces, |long| long)?, Width::Long)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Some((collect::<TimestampNanosecondType>(pieces, |long| long)?, Width::Long))
        }
        _ => None,
    }
}

/// Numbers by their place among the distinct ones; `None` where most of them are new.
fn keyed_numbers(numbers: &[i64]) -> Option<(Vec<i64>, Vec<u32>)> {
    let mut known: HashMap<i64, u32> = HashMap::new();
    let (mut values, mut keys) = (Vec::new(), Vec::with_capacity(numbers.len()));
    let mut last: Option<(i64, u32)> = None;
    for number in numbers {
        let key = match last {
            Some((before, key)) if before == *number => key,
            _ => {
                let next = values.len() as u32;
                let key = *known.entry(*number).or_insert(next);
                if key == next {
                    values.push(*number);
                }
                if !is_worth_it(values.len(), numbers.len()) {
                    return None;
                }
                key
            }
        };
        last = Some((*number, key));
        keys.push(key);
    }
    Some((values, keys))
}

fn is_worth_it(n_distinct: usize, n_values: usize) -> bool {
    n_distinct <= SMALL_DICTIONARY || n_distinct * 100 <= n_values * NEW_PERCENT_MAX
}

/// Puts the dictionaries of texts together.
fn keyed_texts(pieces: &[ArrayRef]) -> Option<(Vec<&str>, Vec<u32>)> {
    let mut texts: Vec<&str> = Vec::new();
    let mut keys = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
    let mut known: HashMap<&str, u32> = HashMap::new();
    for piece in pieces {
        let (dictionary, values) = typed(piece.as_ref())?;
        let mut new_keys: Vec<u32> = Vec::with_capacity(values.len());
        for value in values.iter() {
            let value = value?;
            let next = texts.len() as u32;
            let key = if pieces.len() == 1 { next } else { *known.entry(value).or_insert(next) };
            if key == next {
                texts.push(value);
            }
            new_keys.push(key);
        }
        if texts.iter().map(|text| text.len()).sum::<usize>() > TEXT_BYTES_MAX {
            return None;
        }
        let of = |key: i32| new_keys.get(usize::try_from(key).ok()?).copied();
        let rows = dictionary.keys();
        match rows.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                for key in rows.values() {
                    keys.push(of(*key)?);
                }
            }
            Some(nulls) => {
                for row in nulls.valid_indices() {
                    keys.push(of(*rows.values().get(row)?)?);
                }
            }
        }
    }
    Some((texts, keys))
}

impl<'a> Content<'a> {
    /// `None` where the library is left to encode the arrays.
    fn of(pieces: &'a [ArrayRef], form: Form) -> Option<Content<'a>> {
        match form {
            Form::Packed => numbers(pieces).map(|(numbers, width)| Content::Packed(numbers, width)),
            Form::Split => match numbers(pieces)? {
                (numbers, Width::Long) => Some(Content::Split(numbers)),
                (_, Width::Word) => None,
            },
            Form::Lengths => {
                let mut texts = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
                for piece in pieces {
                    texts.extend(piece.as_string_opt::<i32>()?.iter().flatten());
                }
                Content::texts(texts)
            }
            Form::Plain => Content::plain(pieces),
            Form::Dictionary => match numbers(pieces) {
                Some((numbers, width)) => Some(match keyed_numbers(&numbers) {
                    Some((values, keys)) => Content::Keyed { values: Values::Numbers(values, width), keys },
                    None => Content::Packed(numbers, width),
                }),
                None => {
                    let (texts, keys) = keyed_texts(pieces)?;
                    if is_worth_it(texts.len(), keys.len()) {
                        return Some(Content::Keyed { values: Values::Texts(texts), keys });
                    }
                    let text = |key: &u32| texts.get(*key as usize).copied().unwrap_or_default();
                    Content::texts(keys.iter().map(text).collect())
                }
            },
        }
    }

    fn texts(texts: Vec<&'a str>) -> Option<Content<'a>> {
        let n_bytes: usize = texts.iter().map(|text| text.len()).sum();
        (n_bytes <= TEXT_BYTES_MAX).then_some(Content::Texts(texts))
    }

    fn plain(pieces: &[ArrayRef]) -> Option<Content<'a>> {
        let DataType::FixedSizeBinary(width) = pieces.first()?.data_type() else { return None };
        let width = usize::try_from(*width).ok().filter(|width| *width > 0)?;
        let mut bytes = Vec::with_capacity(width * pieces.iter().map(|piece| piece.len()).sum::<usize>());
        for piece in pieces {
            let array = piece.as_fixed_size_binary_opt()?;
            array.iter().flatten().for_each(|value| bytes.extend_from_slice(value));
        }
        Some(Content::Plain { bytes, width })
    }

    fn encoding(&self) -> Encoding {
        match self {
            Content::Keyed { .. } => Encoding::RLE_DICTIONARY,
            Content::Packed(..) => Encoding::DELTA_BINARY_PACKED,
            Content::Split(_) => Encoding::BYTE_STREAM_SPLIT,
            Content::Texts(_) => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Content::Plain { .. } => Encoding::PLAIN,
        }
    }

    /// The dictionary's page and its number of values, where there is one.
    fn dictionary(&self) -> Option<(Vec<u8>, usize)> {
        let Content::Keyed { values, .. } = self else { return None };
        let mut out = Vec::new();
        match values {
            Values::Texts(texts) => {
                out.reserve(texts.iter().map(|text| text.len() + size_of::<u32>()).sum());
                for text in texts {
                    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            }
            Values::Numbers(numbers, Width::Word) => {
                numbers.iter().for_each(|number| out.extend_from_slice(&(*number as i32).to_le_bytes()));
            }
            Values::Numbers(numbers, Width::Long) => {
                numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
            }
        }
        Some((out, values.len()))
    }

    /// Appends the values at these places, and says how many bytes the parts have that are unlike what follows them.
    fn encode(&self, range: Range<usize>, out: &mut Vec<u8>) -> Vec<usize> {
        let mut parts = Vec::new();
        match self {
            Content::Keyed { values, keys } => {
                let width = hybrid::bit_width((values.len() as u32).saturating_sub(1));
                out.push(width);
                hybrid::encode(out, keys.get(range).unwrap_or_default(), width);
            }
            Content::Packed(numbers, width) => {
                delta::encode(out, numbers.get(range).unwrap_or_default().iter().copied(), *width);
            }
            Content::Split(numbers) => {
                let numbers = numbers.get(range).unwrap_or_default();
                for byte in 0..size_of::<i64>() {
                    out.extend(numbers.iter().map(|number| (number >> (8 * byte)) as u8));
                }
                parts = vec![numbers.len(); size_of::<i64>() - 1];
            }
            Content::Texts(texts) => {
                let texts = texts.get(range).unwrap_or_default();
                let start = out.len();
                delta::encode(out, texts.iter().map(|text| text.len() as i64), Width::Word);
                parts.push(out.len() - start);
                texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
            }
            Content::Plain { bytes, width } => {
                out.extend_from_slice(bytes.get(range.start * width..range.end * width).unwrap_or_default());
            }
        }
        parts.retain(|n_bytes| *n_bytes >= PART_BYTES_MIN);
        parts
    }

    fn statistics(&self, n_nulls: u64) -> Statistics {
        let (nulls, none) = (Some(n_nulls), None);
        let of_numbers = |numbers: &[i64], width: Width| {
            let (min, max) = (numbers.iter().min().copied(), numbers.iter().max().copied());
            match width {
                // The columns of words that have statistics are of small numbers without a sign.
                Width::Word => {
                    let (min, max) = (min.map(|min| min as i32), max.map(|max| max as i32));
                    Statistics::Int32(ValueStatistics::new(min, max, none, nulls, false))
                }
                Width::Long => Statistics::Int64(ValueStatistics::new(min, max, none, nulls, false)),
            }
        };
        match self {
            Content::Keyed { values: Values::Numbers(numbers, width), .. }
            | Content::Packed(numbers, width) => of_numbers(numbers, *width),
            Content::Split(numbers) => of_numbers(numbers, Width::Long),
            Content::Keyed { values: Values::Texts(texts), .. } | Content::Texts(texts) => {
                let min = texts.iter().min().map(|text| ByteArray::from(*text));
                let max = texts.iter().max().map(|text| ByteArray::from(*text));
                Statistics::ByteArray(ValueStatistics::new(min, max, none, nulls, false))
            }
            Content::Plain { .. } => {
                Statistics::FixedLenByteArray(ValueStatistics::new(None, None, none, nulls, false))
            }
        }
    }
}

/// A data page before compression: levels and values.
struct DataPage {
    n_rows: usize,
    n_nulls: usize,
    levels: Vec<u8>,
    values: Vec<u8>,
    /// The bytes of each part of the values that is unlike what follows it.
    parts: Vec<usize>,
}

/// Encodes a chunk of these arrays; `None` where the library is left to do it.
pub(super) fn encode(
    pieces: &[ArrayRef],
    options: &ChunkOptions,
    codec: &mut Codec,
) -> Result<Option<(Bytes, ColumnCloseResult)>> {
    let rows = Rows::of(pieces);
    let Some(content) = Content::of(pieces, options.form) else { return Ok(None) };
    let pages = data_pages(&rows, &content, options);
    // A chunk without values has no dictionary that its pages could point into.
    let dictionary = content.dictionary().filter(|_| rows.n_present > 0);
    let encoding = if rows.n_present == 0 { Encoding::PLAIN } else { content.encoding() };
    let plain_pages = || {
        let dictionary = dictionary.iter().map(|(page, _)| (page, &[][..]));
        dictionary.chain(pages.iter().map(|page| (&page.values, page.parts.as_slice())))
    };
    let plain_bytes: usize = plain_pages().map(|(page, _)| page.len()).sum();
    let mut packed = Vec::with_capacity(pages.len() + 1);
    if options.is_compressed {
        for (page, parts) in plain_pages() {
            packed.extend(codec.compress(page, parts)?);
        }
    }
    let packed_bytes: usize = packed.iter().map(Vec::len).sum();
    let is_packed = !packed.is_empty() && packed_bytes * 100 <= plain_bytes * WORTH_PERCENT;
    let mut packed = packed.into_iter();
    let mut next = |plain: Vec<u8>| if is_packed { packed.next().unwrap_or_default() } else { plain };
    let mut writer = ChunkWriter::default();
    let stored_bytes = if is_packed { packed_bytes } else { plain_bytes };
    let mut sink = TrackedWrite::new(Vec::with_capacity(stored_bytes + rows.n_rows / 8 + 256));
    let mut to = SerializedPageWriter::new(&mut sink);
    if let Some((page, n_values)) = dictionary {
        let size = page.len();
        let page = Page::DictionaryPage {
            buf: Bytes::from(next(page)),
            num_values: n_values as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        writer.write(&mut to, page, size, None)?;
    }
    for page in pages {
        let size = page.levels.len() + page.values.len();
        let levels = page.levels.len();
        let mut bytes = page.levels;
        bytes.extend_from_slice(&next(page.values));
        let data = Page::DataPageV2 {
            buf: Bytes::from(bytes),
            num_values: page.n_rows as u32,
            encoding,
            num_nulls: page.n_nulls as u32,
            num_rows: page.n_rows as u32,
            def_levels_byte_len: levels as u32,
            rep_levels_byte_len: 0,
            is_compressed: is_packed,
            statistics: None,
        };
        writer.write(&mut to, data, size, Some(page.n_rows))?;
    }
    let compression = if is_packed { codec.compression() } else { Compression::UNCOMPRESSED };
    // Of a chunk of nulls every reader should know, so that nobody decodes it.
    let statistics = (options.has_statistics || rows.n_present == 0)
        .then(|| content.statistics((rows.n_rows - rows.n_present) as u64));
    let close = writer.close(rows.n_rows, statistics, options, compression, encoding)?;
    Ok(Some((Bytes::from(sink.into_inner()?), close)))
}

fn data_pages(rows: &Rows, content: &Content<'_>, options: &ChunkOptions) -> Vec<DataPage> {
    let is_nullable = options.descriptor.max_def_level() > 0;
    let page_rows = options.page_rows.max(1);
    let mut pages = Vec::with_capacity(rows.n_rows.div_ceil(page_rows));
    let mut value = 0;
    for from in (0..rows.n_rows).step_by(page_rows) {
        let n_rows = page_rows.min(rows.n_rows - from);
        let present = rows.present.get(from..from + n_rows).unwrap_or_default();
        let n_present = if rows.present.is_empty() { n_rows } else { present.iter().sum::<u32>() as usize };
        let mut page = DataPage {
            n_rows,
            n_nulls: n_rows - n_present,
            levels: Vec::new(),
            values: Vec::new(),
            parts: Vec::new(),
        };
        match (is_nullable, n_present) {
            (true, 0) => hybrid::encode_run(&mut page.levels, 0, n_rows, 1),
            (true, n) if n == n_rows => hybrid::encode_run(&mut page.levels, 1, n_rows, 1),
            (true, _) => hybrid::encode(&mut page.levels, present, 1),
            (false, _) => {}
        }
        if rows.n_present > 0 {
            page.parts = content.encode(value..value + n_present, &mut page.values);
        }
        value += n_present;
        pages.push(page);
    }
    pages
}

/// Counts what is written of a chunk.
#[derive(Default)]
struct ChunkWriter {
    plain_bytes: usize,
    bytes: usize,
    n_data_pages: i32,
    dictionary_at: Option<i64>,
    first_page_at: Option<i64>,
    offsets: Option<OffsetIndexBuilder>,
}

impl ChunkWriter {
    /// Writes a page of so many bytes before compression; a data page has rows.
    fn write(
        &mut self,
        to: &mut SerializedPageWriter<'_, Vec<u8>>,
        page: Page,
        plain_bytes: usize,
        n_rows: Option<usize>,
    ) -> Result<()> {
        let spec = to.write_page(CompressedPage::new(page, plain_bytes))?;
        self.plain_bytes += spec.uncompressed_size;
        self.bytes += spec.compressed_size;
        let at = i64::try_from(spec.offset).map_err(|error| ParquetError::External(Box::new(error)))?;
        match n_rows {
            None => self.dictionary_at = Some(at),
            Some(n_rows) => {
                self.n_data_pages += 1;
                self.first_page_at.get_or_insert(at);
                let offsets = self.offsets.get_or_insert_with(OffsetIndexBuilder::new);
                offsets.append_row_count(n_rows as i64);
                offsets.append_offset_and_size(at, spec.compressed_size as i32);
            }
        }
        Ok(())
    }

    fn close(
        self,
        n_rows: usize,
        statistics: Option<Statistics>,
        options: &ChunkOptions,
        compression: Compression,
        encoding: Encoding,
    ) -> Result<ColumnCloseResult> {
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
        if !matches!(encoding, Encoding::PLAIN | Encoding::RLE_DICTIONARY) {
            encodings.push(encoding);
        }
        let mut page_stats = vec![stats(PageType::DATA_PAGE_V2, encoding, self.n_data_pages)];
        if self.dictionary_at.is_some() {
            encodings.push(Encoding::RLE_DICTIONARY);
            page_stats.insert(0, stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        let mut metadata = ColumnChunkMetaData::builder(options.descriptor.clone())
            .set_compression(compression)
            .set_encodings(encodings)
            .set_page_encoding_stats(page_stats)
            .set_total_compressed_size(self.bytes as i64)
            .set_total_uncompressed_size(self.plain_bytes as i64)
            .set_num_values(n_rows as i64)
            .set_data_page_offset(self.first_page_at.unwrap_or_default())
            .set_dictionary_page_offset(self.dictionary_at);
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        Ok(ColumnCloseResult {
            bytes_written: self.bytes as u64,
            rows_written: n_rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: self.offsets.filter(|_| options.has_offset_index).map(OffsetIndexBuilder::build),
        })
    }
}

/// The texts as an array of their own, for the library's encodings.
pub(super) fn spell_out(array: &ArrayRef) -> Result<ArrayRef> {
    match typed(array.as_ref()) {
        Some((dictionary, values)) => Ok(arrow_select::take::take(values, dictionary.keys(), None)?),
        None => Ok(Arc::clone(array)),
    }
}
