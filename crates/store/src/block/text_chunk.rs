//! Column chunks of texts, written from dictionary arrays.
//!
//! The Parquet library hashes the text of every row to find its key. Flush and merge know the key already: here the
//! arrays' keys become the file's, so that a row costs its bits and a text is hashed once in a row group, and only where
//! arrays come together. The result is a chunk as the library would write it: one dictionary page, then data pages.

use std::sync::Arc;

use ahash::AHashMap as HashMap;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, StringArray};
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

use super::hybrid;

/// Dictionaries beyond it are not worth their page: the library chooses another encoding.
const DICTIONARY_BYTES_MAX: usize = 1 << 20;

/// Compressed pages must be at most this share of the plain ones, in percent; else readers are better off without.
const WORTH_PERCENT: usize = 95;

/// A compressor that is set up once for all chunks.
pub(super) struct Codec {
    compression: Compression,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Codec {
    pub(super) fn new(compression: Compression) -> Result<Codec> {
        let zstd = match compression {
            Compression::ZSTD(level) => Some(zstd::bulk::Compressor::new(level.compression_level())?),
            _ => None,
        };
        Ok(Codec { compression, zstd })
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
        match (&mut self.zstd, self.compression) {
            (Some(zstd), _) => Ok(Some(zstd.compress(bytes)?)),
            (None, Compression::LZ4_RAW) => Ok(Some(lz4_flex::block::compress(bytes))),
            _ => Ok(None),
        }
    }
}

/// How a chunk is written.
pub(super) struct ChunkOptions {
    pub(super) descriptor: ColumnDescPtr,
    pub(super) is_compressed: bool,
    pub(super) has_statistics: bool,
    pub(super) has_offset_index: bool,
    /// Rows of a page at most.
    pub(super) page_rows: usize,
}

/// The texts of a chunk and the key of each row that is not null.
struct Texts<'a> {
    values: Vec<&'a str>,
    keys: Vec<u32>,
    /// For each row, 1 if it has a text; empty if all have.
    present: Vec<u32>,
    n_rows: usize,
    bytes: usize,
}

fn typed(array: &dyn Array) -> Option<(&DictionaryArray<Int32Type>, &StringArray)> {
    let dictionary: &DictionaryArray<Int32Type> = array.as_any().downcast_ref()?;
    Some((dictionary, dictionary.values().as_any().downcast_ref()?))
}

impl<'a> Texts<'a> {
    /// Puts the dictionaries of the pieces together; `None` where that is not worth it.
    fn collect(pieces: &'a [ArrayRef]) -> Option<Texts<'a>> {
        let n_rows = pieces.iter().map(|piece| piece.len()).sum();
        let n_nulls: usize = pieces.iter().map(|piece| piece.null_count()).sum();
        let mut texts = Texts {
            values: Vec::new(),
            keys: Vec::with_capacity(n_rows),
            present: Vec::new(),
            n_rows,
            bytes: 0,
        };
        if n_nulls > 0 {
            texts.present.reserve(n_rows);
        }
        let mut known: HashMap<&str, u32> = HashMap::new();
        for piece in pieces {
            let (dictionary, values) = typed(piece.as_ref())?;
            let mut keys: Vec<u32> = Vec::with_capacity(values.len());
            for value in values.iter() {
                let value = value?;
                let next = texts.values.len() as u32;
                let key = if pieces.len() == 1 { next } else { *known.entry(value).or_insert(next) };
                if key == next {
                    texts.values.push(value);
                    texts.bytes += value.len() + size_of::<u32>();
                }
                keys.push(key);
            }
            if texts.bytes > DICTIONARY_BYTES_MAX {
                return None;
            }
            texts.add_keys(dictionary, &keys)?;
        }
        Some(texts)
    }

    fn add_keys(&mut self, dictionary: &DictionaryArray<Int32Type>, keys: &[u32]) -> Option<()> {
        let of = |key: i32| keys.get(usize::try_from(key).ok()?).copied();
        let rows = dictionary.keys();
        let Some(nulls) = rows.nulls().filter(|nulls| nulls.null_count() > 0) else {
            for key in rows.values() {
                self.keys.push(of(*key)?);
            }
            if self.present.capacity() > 0 {
                self.present.resize(self.present.len() + rows.len(), 1);
            }
            return Some(());
        };
        for row in nulls.valid_indices() {
            self.keys.push(of(*rows.values().get(row)?)?);
        }
        self.present.extend(nulls.iter().map(u32::from));
        Some(())
    }

    fn statistics(&self) -> Statistics {
        let min = self.values.iter().min().map(|text| ByteArray::from(*text));
        let max = self.values.iter().max().map(|text| ByteArray::from(*text));
        let n_nulls = (self.n_rows - self.keys.len()) as u64;
        Statistics::ByteArray(ValueStatistics::new(min, max, None, Some(n_nulls), false))
    }

    fn dictionary_page(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes);
        for value in &self.values {
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        out
    }
}

/// A data page before compression: levels and keys.
struct DataPage {
    n_rows: usize,
    n_nulls: usize,
    levels: Vec<u8>,
    keys: Vec<u8>,
}

/// Encodes a chunk of these arrays; `None` where they are no texts, or the library's encodings suit them better.
pub(super) fn encode(
    pieces: &[ArrayRef],
    options: &ChunkOptions,
    codec: &mut Codec,
) -> Result<Option<(Bytes, ColumnCloseResult)>> {
    let Some(texts) = Texts::collect(pieces) else { return Ok(None) };
    let pages = data_pages(&texts, options);
    let dictionary = texts.dictionary_page();
    let plain_bytes: usize = dictionary.len() + pages.iter().map(|page| page.keys.len()).sum::<usize>();
    let mut packed = Vec::with_capacity(pages.len() + 1);
    if options.is_compressed {
        for page in std::iter::once(&dictionary).chain(pages.iter().map(|page| &page.keys)) {
            packed.extend(codec.compress(page)?);
        }
    }
    let packed_bytes: usize = packed.iter().map(Vec::len).sum();
    let is_packed = !packed.is_empty() && packed_bytes * 100 <= plain_bytes * WORTH_PERCENT;
    let mut packed = packed.into_iter();
    let mut next = |plain: Vec<u8>| if is_packed { packed.next().unwrap_or_default() } else { plain };
    let mut writer = ChunkWriter::default();
    let mut sink = TrackedWrite::new(Vec::with_capacity(plain_bytes.min(packed_bytes.max(64)) + 256));
    let mut to = SerializedPageWriter::new(&mut sink);
    if !texts.values.is_empty() {
        let size = dictionary.len();
        let page = Page::DictionaryPage {
            buf: Bytes::from(next(dictionary)),
            num_values: texts.values.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        writer.write(&mut to, page, size, None)?;
    }
    // A chunk without texts has no dictionary that its pages could point into.
    let encoding = if texts.values.is_empty() { Encoding::PLAIN } else { Encoding::RLE_DICTIONARY };
    for page in pages {
        let size = page.levels.len() + page.keys.len();
        let levels = page.levels.len();
        let mut bytes = page.levels;
        bytes.extend_from_slice(&next(page.keys));
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
    let compression = if is_packed { codec.compression } else { Compression::UNCOMPRESSED };
    let close = writer.close(&texts, options, compression, encoding)?;
    Ok(Some((Bytes::from(sink.into_inner()?), close)))
}

fn data_pages(texts: &Texts<'_>, options: &ChunkOptions) -> Vec<DataPage> {
    let width = hybrid::bit_width((texts.values.len() as u32).saturating_sub(1));
    let is_nullable = options.descriptor.max_def_level() > 0;
    let mut keys = texts.keys.as_slice();
    let mut pages = Vec::with_capacity(texts.n_rows.div_ceil(options.page_rows.max(1)));
    for from in (0..texts.n_rows).step_by(options.page_rows.max(1)) {
        let n_rows = options.page_rows.min(texts.n_rows - from);
        let present = texts.present.get(from..from + n_rows).unwrap_or_default();
        let n_present = if texts.present.is_empty() { n_rows } else { present.iter().sum::<u32>() as usize };
        let (of_page, rest) = keys.split_at(n_present.min(keys.len()));
        keys = rest;
        let mut page = DataPage { n_rows, n_nulls: n_rows - n_present, levels: Vec::new(), keys: Vec::new() };
        match (is_nullable, n_present) {
            (true, 0) => hybrid::encode_run(&mut page.levels, 0, n_rows, 1),
            (true, n) if n == n_rows => hybrid::encode_run(&mut page.levels, 1, n_rows, 1),
            (true, _) => hybrid::encode(&mut page.levels, present, 1),
            (false, _) => {}
        }
        if !texts.values.is_empty() {
            page.keys.push(width);
            hybrid::encode(&mut page.keys, of_page, width);
        }
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
        texts: &Texts<'_>,
        options: &ChunkOptions,
        compression: Compression,
        encoding: Encoding,
    ) -> Result<ColumnCloseResult> {
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
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
            .set_num_values(texts.n_rows as i64)
            .set_data_page_offset(self.first_page_at.unwrap_or_default())
            .set_dictionary_page_offset(self.dictionary_at);
        // Of a chunk of nulls every reader should know, so that nobody decodes it.
        if options.has_statistics || texts.values.is_empty() {
            metadata = metadata.set_statistics(texts.statistics());
        }
        Ok(ColumnCloseResult {
            bytes_written: self.bytes as u64,
            rows_written: texts.n_rows as u64,
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
