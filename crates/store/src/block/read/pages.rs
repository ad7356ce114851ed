//! The pages of a row group, decompressed by a zstd context that each thread keeps.
//!
//! The Parquet library sets up a compressor and a decompressor for every column chunk that it opens; of a look-up, which
//! reads one row group's 60 columns and a few rows of each, that was a third of the time.
//!
//! Nothing that a page says of itself is believed: room is made for what is stored or comes, and counts are compared with
//! those of the footer, which [`super::plausible`] has looked at.

use std::cell::RefCell;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, SerializedPageReader};

use super::page::{PAGE_BYTES_MAX, decompress_zstd, has_room};

/// The window of a zstd frame, as a power of two: above that of every level that is written with.
const ZSTD_WINDOW_LOG_MAX: u32 = 25;

/// The most that a byte of LZ4 can become.
const LZ4_RATIO_MAX: usize = 255;
/// A buffer of this size is kept for pages of LZ4, which do not say how large they are.
const LZ4_BYTES_KEPT: usize = 4 << 20;

thread_local! {
    static LZ4_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One row group of a table.
pub(super) struct GroupPages<R> {
    pub(super) source: Arc<R>,
    pub(super) metadata: Arc<ParquetMetaData>,
    pub(super) group: usize,
}

impl<R: ChunkReader + 'static> GroupPages<R> {
    fn pages(&self, column: usize) -> Result<Box<dyn PageReader>> {
        let group = self.metadata.row_group(self.group);
        let chunk = group.column(column);
        let index = self.metadata.page_index();
        let locations = index.and_then(|index| index.page_locations(self.group, column)).cloned();
        let n_rows = usize::try_from(group.num_rows())?;
        check_locations(locations.as_deref().unwrap_or_default(), n_rows)?;
        let open = |chunk: &ColumnChunkMetaData| {
            SerializedPageReader::new(Arc::clone(&self.source), chunk, n_rows, locations)
        };
        let codec = match chunk.compression() {
            Compression::UNCOMPRESSED => Codec::None,
            Compression::ZSTD(_) => Codec::Zstd,
            Compression::LZ4_RAW => Codec::Lz4,
            other => return Err(implausible(format!("columns are never compressed with {other}"))),
        };
        let as_stored = match codec {
            Codec::None => chunk.clone(),
            _ => chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?,
        };
        let bytes_max = usize::try_from(chunk.uncompressed_size())?.min(PAGE_BYTES_MAX);
        let values_max = usize::try_from(chunk.num_values())?;
        Ok(Box::new(Pages { inner: open(&as_stored)?, codec, bytes_max, values_max, n_rows }))
    }
}

/// The library subtracts the first rows of neighbouring pages.
fn check_locations(locations: &[PageLocation], n_rows: usize) -> Result<()> {
    let firsts = || locations.iter().map(|location| location.first_row_index);
    let is_ascending = firsts().zip(firsts().skip(1)).all(|(first, next)| first <= next);
    let are_within = firsts().all(|first| usize::try_from(first).is_ok_and(|first| first <= n_rows));
    let are_placed = locations.iter().all(|page| page.offset >= 0 && page.compressed_page_size >= 0);
    if is_ascending && are_within && are_placed {
        return Ok(());
    }
    Err(implausible("its offset index does not describe its pages"))
}

fn implausible(detail: impl Into<String>) -> ParquetError {
    ParquetError::General(detail.into())
}

impl<R: ChunkReader + 'static> RowGroups for GroupPages<R> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.row_group(self.group).num_rows()).unwrap_or_default()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        Ok(Box::new(OneChunk(Some(self.pages(column)?))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

struct OneChunk(Option<Box<dyn PageReader>>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for OneChunk {}

/// How the pages of a column chunk are compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Codec {
    None,
    Zstd,
    Lz4,
}

/// Pages as they are stored, decompressed as they are handed out.
struct Pages<R: ChunkReader> {
    inner: SerializedPageReader<R>,
    codec: Codec,
    /// What the whole column chunk has decompressed, as the footer says; no page has more.
    bytes_max: usize,
    /// The values of the whole column chunk.
    values_max: usize,
    /// The rows of the row group.
    n_rows: usize,
}

impl<R: ChunkReader> Pages<R> {
    fn open(&self, page: Page) -> Result<Page> {
        let page = if self.codec == Codec::None { page } else { self.decompressed(page)? };
        let is_plausible = match &page {
            // No value of a dictionary takes less than a byte.
            Page::DictionaryPage { buf, num_values, .. } => *num_values as usize <= buf.len(),
            Page::DataPage { num_values, .. } => *num_values as usize <= self.values_max,
            Page::DataPageV2 { num_values, num_nulls, num_rows, .. } => {
                *num_values as usize <= self.values_max
                    && *num_rows as usize <= self.n_rows
                    && num_nulls <= num_values
            }
        };
        if is_plausible { Ok(page) } else { Err(implausible("a page has more values than its column chunk")) }
    }

    fn decompressed(&self, page: Page) -> Result<Page> {
        Ok(match page {
            Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
                Page::DictionaryPage { buf: self.decompress(&buf, 0)?, num_values, encoding, is_sorted }
            }
            Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            } => Page::DataPage {
                buf: self.decompress(&buf, 0)?,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            },
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                statistics,
            } => {
                let levels = def_levels_byte_len as usize + rep_levels_byte_len as usize;
                let buf = if is_compressed { self.decompress(&buf, levels)? } else { buf };
                Page::DataPageV2 {
                    buf,
                    num_values,
                    encoding,
                    num_nulls,
                    num_rows,
                    def_levels_byte_len,
                    rep_levels_byte_len,
                    is_compressed: false,
                    statistics,
                }
            }
        })
    }

    /// The bytes of a page; the first `n_plain` are not compressed.
    fn decompress(&self, stored: &Bytes, n_plain: usize) -> Result<Bytes> {
        let Some((plain, frame)) = stored.split_at_checked(n_plain) else {
            return Err(implausible("the levels of a page are longer than the page"));
        };
        match self.codec {
            _ if frame.is_empty() => Ok(stored.clone()),
            Codec::None => Ok(stored.clone()),
            Codec::Zstd => unzstd(plain, frame, self.bytes_max),
            Codec::Lz4 => unlz4(plain, frame, self.bytes_max),
        }
    }
}

/// Frames of the store's own writer say their size, which is believed up to what the footer says and what such a frame
/// may well become.
fn unzstd(plain: &[u8], frame: &[u8], bytes_max: usize) -> Result<Bytes> {
    let declared = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
    let n_bytes = declared.and_then(|n| usize::try_from(n).ok()).unwrap_or(bytes_max).min(bytes_max);
    if !has_room(frame.len(), n_bytes) {
        return unzstd_by_and_by(plain, frame, bytes_max);
    }
    let mut out = Vec::with_capacity(plain.len() + n_bytes);
    out.extend_from_slice(plain);
    decompress_zstd(frame, n_bytes, &mut out)?;
    Ok(Bytes::from(out))
}

/// Makes room as bytes come.
fn unzstd_by_and_by(plain: &[u8], frame: &[u8], bytes_max: usize) -> Result<Bytes> {
    let mut out = plain.to_vec();
    let mut decoder = zstd::stream::read::Decoder::with_buffer(frame)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut out)?;
    if out.len() - plain.len() > bytes_max {
        return Err(implausible("a page is larger than its column chunk"));
    }
    Ok(Bytes::from(out))
}

/// LZ4 blocks do not say how large they are: they are decompressed into a buffer that grows until it is enough.
fn unlz4(plain: &[u8], frame: &[u8], bytes_max: usize) -> Result<Bytes> {
    let most = bytes_max.min(frame.len().saturating_mul(LZ4_RATIO_MAX));
    LZ4_BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < frame.len().saturating_mul(4).min(most) {
            buffer.resize(frame.len().saturating_mul(4).min(most), 0);
        }
        let n_bytes = loop {
            match lz4_flex::block::decompress_into(frame, buffer) {
                Ok(n_bytes) => break n_bytes,
                Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) if buffer.len() < most => {
                    buffer.resize(buffer.len().saturating_mul(2).min(most), 0);
                }
                Err(error) => return Err(ParquetError::External(Box::new(error))),
            }
        };
        let mut out = Vec::with_capacity(plain.len() + n_bytes);
        out.extend_from_slice(plain);
        out.extend_from_slice(buffer.get(..n_bytes).unwrap_or_default());
        if buffer.len() > LZ4_BYTES_KEPT {
            *buffer = Vec::new();
        }
        if n_bytes > bytes_max {
            return Err(implausible("a page is larger than its column chunk"));
        }
        Ok(Bytes::from(out))
    })
}

impl<R: ChunkReader> Iterator for Pages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: ChunkReader> PageReader for Pages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.inner.get_next_page()?.map(|page| self.open(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.inner.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        self.inner.take_deferred_dictionary()?.map(|page| self.open(page)).transpose()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}
