//! Reads rows of one table: by number, or a row group at a time.

use std::ops::Range;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use crate::block::Table;
use crate::block::checksums::{CheckedFile, Window};
use crate::block::tables::columns_error;
use crate::error::Error;

/// A row group is read at once where it is at most so large; beyond, column by column.
const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// An open table.
pub(crate) struct TableReader {
    table: Table,
    file: CheckedFile,
    metadata: ArrowReaderMetadata,
    /// The first row of each row group, and the number of rows at the end.
    first_rows: Vec<u64>,
}

impl TableReader {
    pub(crate) fn open(table: Table, file: CheckedFile) -> Result<TableReader, Error> {
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata =
            ArrowReaderMetadata::load(&file, options).map_err(|error| columns_error(table, "open", error))?;
        let mut first_rows = vec![0];
        for group in metadata.metadata().row_groups() {
            let before = first_rows.last().copied().unwrap_or_default();
            first_rows.push(before + group.num_rows().max(0) as u64);
        }
        Ok(TableReader { table, file, metadata, first_rows })
    }

    /// The bytes that the decoded footer holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.metadata.metadata().memory_size() + self.first_rows.len() * size_of::<u64>()
    }

    /// The number of row groups.
    pub(crate) fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// The metadata of a row group.
    pub(crate) fn group(&self, group: usize) -> &RowGroupMetaData {
        self.metadata.metadata().row_group(group)
    }

    /// The first row of a row group.
    pub(crate) fn first_row(&self, group: usize) -> u64 {
        self.first_rows.get(group).copied().unwrap_or_default()
    }

    /// The number of rows.
    pub(crate) fn num_rows(&self) -> u64 {
        self.first_rows.last().copied().unwrap_or_default()
    }

    /// The row group of a row.
    pub(crate) fn group_of(&self, row: u64) -> usize {
        self.first_rows.partition_point(|first| *first <= row).saturating_sub(1)
    }

    /// The schema, as Arrow has it.
    pub(crate) fn schema(&self) -> &arrow_schema::SchemaRef {
        self.metadata.schema()
    }

    /// Rows by number, ascending, with all columns or those named.
    pub(crate) fn read(&self, rows: &[u32], columns: Option<&[&str]>) -> Result<Vec<RecordBatch>, Error> {
        let mut out = Vec::new();
        for of_group in rows.chunk_by(|a, b| self.group_of(u64::from(*a)) == self.group_of(u64::from(*b))) {
            let Some(first) = of_group.first() else { continue };
            let group = self.group_of(u64::from(*first));
            let from = self.first_row(group);
            let mut ranges: Vec<Range<usize>> = Vec::new();
            for row in of_group {
                let at = (u64::from(*row) - from) as usize;
                match ranges.last_mut() {
                    Some(last) if last.end == at => last.end += 1,
                    Some(last) if last.end > at => {}
                    _ => ranges.push(at..at + 1),
                }
            }
            out.extend(self.read_group(group, Some(ranges), columns)?);
        }
        Ok(out)
    }

    /// A contiguous range of rows.
    pub(crate) fn read_range(
        &self,
        rows: Range<u32>,
        columns: Option<&[&str]>,
    ) -> Result<Vec<RecordBatch>, Error> {
        let mut out = Vec::new();
        let mut at = u64::from(rows.start);
        let end = u64::from(rows.end).min(self.num_rows());
        while at < end {
            let group = self.group_of(at);
            let (from, to) = (self.first_row(group), self.first_row(group + 1).min(end));
            let range = (at - from) as usize..(to - from) as usize;
            out.extend(self.read_group(group, Some(vec![range]), columns)?);
            at = to.max(at + 1);
        }
        Ok(out)
    }

    /// A row group, whole or the given ranges of it, with all columns or those named.
    pub(crate) fn read_group(
        &self,
        group: usize,
        ranges: Option<Vec<Range<usize>>>,
        columns: Option<&[&str]>,
    ) -> Result<Vec<RecordBatch>, Error> {
        match (self.window_of(group, ranges.is_some()), columns) {
            (Some(range), None) => self.decode(Window::new(&self.file, range)?, group, ranges, columns),
            _ => self.decode(self.file.clone(), group, ranges, columns),
        }
    }

    /// The bytes of a row group, where reading them at once is worth it. With an offset index only the pages of the
    /// rows are read, so a selection of rows does without.
    fn window_of(&self, group: usize, is_selection: bool) -> Option<Range<u64>> {
        if is_selection && self.metadata.metadata().page_index().is_some() {
            return None;
        }
        let columns = self.group(group).columns();
        let start = columns.iter().map(|column| column.byte_range().0).min()?;
        let end = columns.iter().map(|column| column.byte_range()).map(|(from, len)| from + len).max()?;
        (end - start <= WINDOW_BYTES_MAX).then_some(start..end)
    }

    fn decode<R: ChunkReader + 'static>(
        &self,
        source: R,
        group: usize,
        ranges: Option<Vec<Range<usize>>>,
        columns: Option<&[&str]>,
    ) -> Result<Vec<RecordBatch>, Error> {
        let n_rows = self.group(group).num_rows().max(0) as usize;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size(n_rows.max(1));
        if let Some(names) = columns {
            let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
            builder = builder.with_projection(mask);
        }
        if let Some(ranges) = ranges {
            builder = builder.with_row_selection(selection(&ranges, n_rows));
        }
        let wrap = |error| columns_error(self.table, "read", error);
        let reader = builder.build().map_err(wrap)?;
        reader
            .map(|rows| {
                rows.map_err(|error| {
                    let detail = error.to_string();
                    Error::Columns { action: format!("read {}", self.table.file_name()), detail }
                })
            })
            .collect()
    }
}

fn selection(ranges: &[Range<usize>], n_rows: usize) -> RowSelection {
    let mut selectors = Vec::with_capacity(2 * ranges.len() + 1);
    let mut at = 0;
    for range in ranges {
        if range.start > at {
            selectors.push(RowSelector::skip(range.start - at));
        }
        selectors.push(RowSelector::select(range.end.min(n_rows).saturating_sub(range.start)));
        at = range.end;
    }
    RowSelection::from(selectors)
}
