//! Reads rows of one table: by number, or a row group at a time.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{FieldRef, Fields};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection, RowSelector,
};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, RowGroupMetaData};

use super::layout::Layout;
use super::pages::GroupPages;
use super::plausible::{self, guarded};
use crate::block::Table;
use crate::block::checksums::{CheckedFile, Windows};
use crate::block::tables::{columns_error, dictionary_type, with_dictionaries};
use crate::error::Error;

/// A column chunk that is wanted whole is read at once where it is at most so large; beyond, page by page.
const CHUNK_BYTES_MAX: u64 = 4 << 20;

/// A column chunk of which a few rows are wanted is read at once where it is at most so large: as many bytes as
/// the checksums of a dictionary and a page make a reader read anyway.
const SMALL_CHUNK_BYTES: u64 = 64 << 10;

/// An open table.
pub(crate) struct TableReader {
    table: Table,
    file: CheckedFile,
    metadata: ArrowReaderMetadata,
    /// All columns, as they are decoded.
    levels: FieldLevels,
    /// The fields as they are decoded where columns are chosen.
    scan_fields: Fields,
    /// The first row of each row group, and the number of rows at the end.
    first_rows: Vec<u64>,
    /// What all of it takes; adding it up takes a while.
    memory_bytes: usize,
}

impl TableReader {
    pub(crate) fn open(table: Table, file: CheckedFile) -> Result<TableReader, Error> {
        guarded(table, "open", || TableReader::open_any(table, file))
    }

    fn open_any(table: Table, file: CheckedFile) -> Result<TableReader, Error> {
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata =
            ArrowReaderMetadata::load(&file, options).map_err(|error| columns_error(table, "open", error))?;
        plausible::check(metadata.metadata(), file.bytes())
            .map_err(|detail| Error::damaged(file.path(), detail))?;
        let mut first_rows = vec![0];
        for group in metadata.metadata().row_groups() {
            let before = first_rows.last().copied().unwrap_or_default();
            first_rows.push(before + group.num_rows().max(0) as u64);
        }
        let fields = metadata.schema().fields();
        let levels = levels_of(&metadata, ProjectionMask::all(), fields)
            .map_err(|error| columns_error(table, "open", error))?;
        let scan_fields = fields.iter().map(scanned).collect();
        let memory_bytes = metadata.metadata().memory_size() + first_rows.len() * size_of::<u64>();
        Ok(TableReader { table, file, metadata, levels, scan_fields, first_rows, memory_bytes })
    }

    /// The same table with all texts as dictionaries, for those who hand them on rather than read them.
    pub(crate) fn with_dictionaries(&self) -> Result<TableReader, Error> {
        guarded(self.table, "open", || self.decoding_dictionaries())
    }

    fn decoding_dictionaries(&self) -> Result<TableReader, Error> {
        let scan_fields = with_dictionaries(self.schema()).fields().clone();
        let levels = levels_of(&self.metadata, ProjectionMask::all(), &scan_fields)
            .map_err(|error| columns_error(self.table, "open", error))?;
        Ok(TableReader {
            table: self.table,
            file: self.file.clone(),
            metadata: self.metadata.clone(),
            levels,
            scan_fields,
            first_rows: self.first_rows.clone(),
            memory_bytes: self.memory_bytes,
        })
    }

    /// Where its column chunks lie.
    pub(super) fn layout(&self) -> Option<Layout> {
        Layout::of(self.metadata.metadata(), self.schema())
    }

    /// Rows of a group, without the columns that are known to be all null.
    pub(crate) fn read_in_use(
        &self,
        group: usize,
        rows: Option<Range<usize>>,
    ) -> Result<Vec<RecordBatch>, Error> {
        let columns = self.group(group).columns().iter().enumerate();
        let in_use = columns.filter(|(_, column)| !is_null(column)).map(|(at, _)| at);
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        let mask = Some(ProjectionMask::leaves(schema, in_use));
        let windows = self.windows(group, rows.is_some(), mask.as_ref())?;
        self.decode(windows, group, rows.map(|rows| vec![rows]), mask)
    }

    /// Whether it is known that a column of a row group has no value, or that there is no such column.
    pub(crate) fn is_null(&self, group: usize, name: &str) -> bool {
        let column = self.group(group).columns().iter().find(|column| column.column_descr().name() == name);
        column.is_none_or(is_null)
    }

    /// The bytes that the decoded footer holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
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
        if group >= self.groups() {
            // Rows are named in other tables and in the index.
            let detail = format!("a row beyond its {} is asked for", self.num_rows());
            return Err(Error::damaged(self.file.path(), detail));
        }
        let schema = self.metadata.metadata().file_metadata().schema_descr();
        // By the whole name: those of attributes have dots, which the library takes for levels of nesting.
        let is_named = |names: &[&str], leaf: usize| {
            schema.column(leaf).path().parts().first().is_some_and(|name| names.contains(&name.as_str()))
        };
        let leaves = 0..schema.num_columns();
        let mask =
            columns.map(|names| ProjectionMask::leaves(schema, leaves.filter(|leaf| is_named(names, *leaf))));
        let windows = self.windows(group, ranges.is_some(), mask.as_ref())?;
        self.decode(windows, group, ranges, mask)
    }

    /// The bytes of a row group.
    pub(crate) fn group_bytes(&self, group: usize) -> Result<Windows, Error> {
        let chunks = self.group(group).columns().iter().map(|chunk| chunk.byte_range());
        let mut ranges: Vec<Range<u64>> =
            chunks.map(|(start, len)| start..start.saturating_add(len)).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        Windows::new(&self.file, ranges)
    }

    /// The column chunks that are read at once. With an offset index the pages of the wanted rows can be read alone.
    fn windows(
        &self,
        group: usize,
        is_selection: bool,
        mask: Option<&ProjectionMask>,
    ) -> Result<Windows, Error> {
        let has_index = self.metadata.metadata().page_index().is_some();
        let bytes_max = if is_selection && has_index { SMALL_CHUNK_BYTES } else { CHUNK_BYTES_MAX };
        let chunks = self.group(group).columns().iter().enumerate();
        let mut ranges: Vec<Range<u64>> = chunks
            .filter(|(leaf, _)| mask.is_none_or(|mask| mask.leaf_included(*leaf)))
            .map(|(_, chunk)| chunk.byte_range())
            .filter(|(_, len)| *len <= bytes_max)
            .map(|(start, len)| start..start.saturating_add(len))
            .collect();
        ranges.sort_unstable_by_key(|range| range.start);
        Windows::new(&self.file, ranges)
    }

    fn decode(
        &self,
        source: Windows,
        group: usize,
        ranges: Option<Vec<Range<usize>>>,
        mask: Option<ProjectionMask>,
    ) -> Result<Vec<RecordBatch>, Error> {
        guarded(self.table, "read", || self.decode_any(source, group, ranges, mask))
    }

    fn decode_any(
        &self,
        source: Windows,
        group: usize,
        ranges: Option<Vec<Range<usize>>>,
        mask: Option<ProjectionMask>,
    ) -> Result<Vec<RecordBatch>, Error> {
        let n_rows = self.group(group).num_rows().max(0) as usize;
        let wrap = |error| columns_error(self.table, "read", error);
        let chosen;
        let levels = match mask {
            None => &self.levels,
            Some(mask) => {
                chosen = levels_of(&self.metadata, mask, &self.scan_fields).map_err(wrap)?;
                &chosen
            }
        };
        // Room is made in every column for as many rows as are asked for, so that should not be all of them.
        let n_wanted = ranges.as_ref().map_or(n_rows, |ranges| ranges.iter().map(Range::len).sum());
        let pages =
            GroupPages { source: Arc::new(source), metadata: Arc::clone(self.metadata.metadata()), group };
        let selection = ranges.map(|ranges| selection(&ranges, n_rows));
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(
            levels,
            &pages,
            n_wanted.clamp(1, n_rows.max(1)),
            selection,
        )
        .map_err(wrap)?;
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

fn is_null(column: &ColumnChunkMetaData) -> bool {
    let n_nulls = column.statistics().and_then(|statistics| statistics.null_count_opt());
    n_nulls.is_some_and(|n_nulls| i64::try_from(n_nulls) == Ok(column.num_values()))
}

fn levels_of(
    metadata: &ArrowReaderMetadata,
    mask: ProjectionMask,
    fields: &Fields,
) -> parquet::errors::Result<FieldLevels> {
    let schema = metadata.metadata().file_metadata().schema_descr();
    parquet_to_arrow_field_levels(schema, mask, Some(fields))
}

/// Names of spans and patterns of log bodies repeat: a scan looks at the few that there are.
fn scanned(field: &FieldRef) -> FieldRef {
    match field.name().as_str() {
        "name" | "pattern" => Arc::new(field.as_ref().clone().with_data_type(dictionary_type())),
        _ => Arc::clone(field),
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

/// Ascending rows as ranges.
pub(super) fn ranges_of(rows: &[u32]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        let row = *row as usize;
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}
