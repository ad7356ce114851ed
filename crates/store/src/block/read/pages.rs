//! The pages of a row group, decompressed by a zstd context that each thread keeps.
//!
//! The Parquet library sets up a compressor and a decompressor for every column chunk that it opens; of a look-up, which
//! reads one row group's 60 columns and a few rows of each, that was a third of the time.

use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, SerializedPageReader};

use super::page::decompress_zstd;

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
        let open = |chunk: &ColumnChunkMetaData| {
            SerializedPageReader::new(Arc::clone(&self.source), chunk, n_rows, locations)
        };
        if !matches!(chunk.compression(), Compression::ZSTD(_)) {
            return Ok(Box::new(open(chunk)?));
        }
        let as_stored = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let bytes_max = usize::try_from(chunk.uncompressed_size())?;
        Ok(Box::new(ZstdPages { inner: open(&as_stored)?, bytes_max }))
    }
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

/// Pages as they are stored, decompressed as they are handed out.
struct ZstdPages<R: ChunkReader> {
    inner: SerializedPageReader<R>,
    /// What the whole column chunk has decompressed, as the footer says; no page has more.
    bytes_max: usize,
}

impl<R: ChunkReader> ZstdPages<R> {
    fn open(&self, page: Page) -> Result<Page> {
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
            return Err(ParquetError::General("the levels of a page are longer than the page".to_owned()));
        };
        if frame.is_empty() {
            return Ok(stored.clone());
        }
        // Frames of the store's own writer say their size, which is believed up to what the footer says.
        let declared = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
        let n_bytes =
            declared.and_then(|n| usize::try_from(n).ok()).unwrap_or(self.bytes_max).min(self.bytes_max);
        let mut out = Vec::with_capacity(n_plain + n_bytes);
        out.extend_from_slice(plain);
        decompress_zstd(frame, n_bytes, &mut out)?;
        Ok(Bytes::from(out))
    }
}

impl<R: ChunkReader> Iterator for ZstdPages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: ChunkReader> PageReader for ZstdPages<R> {
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
