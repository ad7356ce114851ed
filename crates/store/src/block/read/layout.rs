//! Where the column chunks of a table lie: what a look-up needs of a footer, in a hundredth of its room.
//!
//! A decoded footer of the Parquet library has some 600 bytes for each column of each row group, and is kept only while
//! there is room. A layout has 32, and stays as long as its block is open.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::distinct::DistinctColumn;
use super::picked::{Chunk, Keys, column};
use super::search::numbers;
use super::values::Form;
use super::whole::{Needle, WholeColumn};
use crate::block::checksums::{CheckedFile, Windows};
use crate::error::Error;

/// One column of a table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// As it is handed out: texts spelled out, null where no row has a value.
    pub(super) field: FieldRef,
    pub(super) form: Form,
    pub(super) definition_max: u8,
    pub(super) is_list: bool,
}

/// Whether any of these values of a column, among which are all that a row group has, may be of interest.
pub(super) type MayPass<'m> = &'m mut dyn FnMut(&FieldRef, WholeColumn) -> bool;

/// One column chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    start: u64,
    n_bytes: u32,
    /// All pages decompressed.
    plain_bytes: u32,
    codec: Compression,
    /// No row has a value.
    is_null: bool,
    /// Where the pages are known: the bytes before the first data page, and which of the pages are the chunk's.
    head_bytes: u32,
    first_page: u32,
    n_pages: u32,
}

/// One data page.
#[derive(Clone, Copy, Debug)]
struct PagePlace {
    /// After the start of its chunk.
    offset: u32,
    n_bytes: u32,
    first_row: u32,
}

/// Columns whose least and greatest value in each row group are kept: what searches ask before they read.
const BOUNDED: [&str; 6] = ["start_time", "duration_ns", "status_code", "time", "severity_number", "level"];

/// The least and the greatest value in a row group, or more than that where it is not known.
type Bounds = (i64, i64);

/// Where everything lies in a table.
#[derive(Debug)]
pub(crate) struct Layout {
    columns: Vec<Column>,
    /// Row group after row group, column after column.
    places: Vec<Place>,
    pages: Vec<PagePlace>,
    /// The first row of each row group, and the number of rows at the end.
    first_rows: Vec<u32>,
    /// Columns by number, and their bounds in each row group.
    bounds: Vec<(usize, Vec<Bounds>)>,
}

impl Layout {
    /// The layout of a table with these fields; none where it is of a kind that only the library reads.
    pub(super) fn of(metadata: &ParquetMetaData, schema: &SchemaRef) -> Option<Layout> {
        let leaves = metadata.file_metadata().schema_descr().columns();
        if leaves.len() != schema.fields().len() {
            return None;
        }
        let columns = leaves.iter().zip(schema.fields()).map(|(leaf, field)| {
            let form = match leaf.physical_type() {
                PhysicalType::BOOLEAN => Form::Bool,
                PhysicalType::INT32 => Form::Fixed(4),
                PhysicalType::INT64 | PhysicalType::DOUBLE => Form::Fixed(8),
                PhysicalType::FIXED_LEN_BYTE_ARRAY => Form::Fixed(usize::try_from(leaf.type_length()).ok()?),
                PhysicalType::BYTE_ARRAY => Form::Bytes,
                _ => return None,
            };
            let field = match field.data_type() {
                DataType::Dictionary(_, values) => {
                    Arc::new(field.as_ref().clone().with_data_type(values.as_ref().clone()))
                }
                _ => Arc::clone(field),
            };
            let is_list = leaf.max_rep_level() == 1;
            let is_known = leaf.max_rep_level() <= 1 && (is_list || leaf.max_def_level() <= 1);
            let definition_max = u8::try_from(leaf.max_def_level()).ok()?;
            is_known.then_some(Column { field, form, definition_max, is_list })
        });
        let columns = columns.collect::<Option<Vec<Column>>>()?;
        let n_places = columns.len() * metadata.num_row_groups();
        let is_bounded = |(_, column): &(usize, &Column)| BOUNDED.contains(&column.field.name().as_str());
        let bounded = columns.iter().enumerate().filter(is_bounded);
        let bounds = bounded.map(|(at, _)| (at, Vec::with_capacity(metadata.num_row_groups()))).collect();
        let (places, pages) = (Vec::with_capacity(n_places), Vec::new());
        let mut layout = Layout { columns, places, pages, first_rows: vec![0], bounds };
        for (number, group) in metadata.row_groups().iter().enumerate() {
            layout.add_group(metadata, number, group)?;
        }
        layout.pages.shrink_to_fit();
        layout.first_rows.shrink_to_fit();
        Some(layout)
    }

    fn add_group(
        &mut self,
        metadata: &ParquetMetaData,
        number: usize,
        group: &RowGroupMetaData,
    ) -> Option<()> {
        let before = self.first_rows.last().copied().unwrap_or_default();
        self.first_rows.push(before.checked_add(u32::try_from(group.num_rows()).ok()?)?);
        for (at, bounds) in &mut self.bounds {
            let statistics = group.columns().get(*at).and_then(ColumnChunkMetaData::statistics);
            bounds.push(statistics.map_or((i64::MIN, i64::MAX), numbers));
        }
        let index = metadata.page_index();
        for (at, chunk) in group.columns().iter().enumerate() {
            let (start, n_bytes) = chunk.byte_range();
            let first_page = u32::try_from(self.pages.len()).ok()?;
            let locations = index.and_then(|index| index.page_locations(number, at));
            for location in locations.into_iter().flatten() {
                self.pages.push(PagePlace {
                    offset: u32::try_from(u64::try_from(location.offset).ok()?.checked_sub(start)?).ok()?,
                    n_bytes: u32::try_from(location.compressed_page_size).ok()?,
                    first_row: u32::try_from(location.first_row_index).ok()?,
                });
            }
            let first = self.pages.get(first_page as usize);
            self.places.push(Place {
                start,
                n_bytes: u32::try_from(n_bytes).ok()?,
                plain_bytes: u32::try_from(chunk.uncompressed_size()).ok()?,
                codec: chunk.compression(),
                is_null: is_null(chunk),
                head_bytes: first.map_or(0, |page| page.offset),
                first_page,
                n_pages: self.pages.len() as u32 - first_page,
            });
        }
        Some(())
    }

    /// The bytes that the layout holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
            + self.pages.capacity() * size_of::<PagePlace>()
            + self.first_rows.capacity() * size_of::<u32>()
            + self.bounds.iter().map(|(_, bounds)| bounds.capacity() * size_of::<Bounds>()).sum::<usize>()
    }

    /// The number of rows.
    pub(super) fn num_rows(&self) -> u32 {
        self.first_rows.last().copied().unwrap_or_default()
    }

    /// Rows by number, ascending, with all columns or those named; columns without a value in these rows are left out.
    /// None where something is of a kind that only the library reads, or is damaged.
    pub(super) fn pick(
        &self,
        file: &CheckedFile,
        rows: &[u32],
        columns: Option<&[&str]>,
    ) -> Result<Option<Vec<RecordBatch>>, Error> {
        let chosen: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| columns.is_none_or(|names| names.contains(&column.field.name().as_str())))
            .map(|(at, _)| at)
            .collect();
        let (mut out, mut left) = (Vec::new(), rows);
        while let Some(group) = left.first().map(|row| self.group_of(*row)) {
            let Some(of_group) = self.group_rows(group) else { return Ok(None) };
            let n = left.partition_point(|row| *row < of_group.end);
            let Some((rows, rest)) = left.split_at_checked(n.max(1)) else { return Ok(None) };
            left = rest;
            let mut rows: Vec<u32> = rows.iter().map(|row| row - of_group.start).collect();
            rows.dedup();
            match self.pick_of_group(file, group, &rows, &chosen)? {
                Some(batch) => out.push(batch),
                None => return Ok(None),
            }
        }
        Ok(Some(out))
    }

    /// The keys of all rows of a row group in a column without nulls. None where the column has no dictionary, is not
    /// there, or is of a kind that only the library reads.
    pub(super) fn keys(&self, file: &CheckedFile, group: usize, name: &str) -> Result<Option<Keys>, Error> {
        let n_rows = self.group_rows(group).map_or(0, |rows| rows.end - rows.start);
        self.keys_of(file, group, name, 0..n_rows)
    }

    /// As [`Layout::keys`], of rows that follow each other, by their number within the row group.
    pub(super) fn keys_of(
        &self,
        file: &CheckedFile,
        group: usize,
        name: &str,
        rows: Range<u32>,
    ) -> Result<Option<Keys>, Error> {
        let Some(place) = self.place(group, name) else { return Ok(None) };
        let wanted = self.pages_between(place, &rows);
        self.with_chunk(file, place, wanted, |chunk| chunk.keys(rows))
    }

    /// The rows of those pages of a column of texts that hold any of these rows of the row group and of whose bytes `holds` is
    /// true. `None` where pages are not known.
    pub(super) fn pages_with(
        &self,
        file: &CheckedFile,
        group: usize,
        name: &str,
        rows: &[u32],
        holds: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<Range<u32>>>, Error> {
        let Some(place) = self.place(group, name) else { return Ok(None) };
        let pages: Vec<PagePlace> = wanted_pages(self.pages_of(place), rows).copied().collect();
        if pages.is_empty() {
            return Ok(None);
        }
        self.with_chunk(file, place, &pages, |chunk| chunk.pages_with(holds))
    }

    /// Rows that follow each other of a column, as numbers of distinct values; without values where no row of the row group has
    /// any, or there is no such column. `None` where the column is of a kind that only the library reads.
    pub(super) fn distinct(
        &self,
        file: &CheckedFile,
        group: usize,
        name: &str,
        rows: Range<u32>,
    ) -> Result<Option<DistinctColumn>, Error> {
        let column = self.columns.iter().find(|column| column.field.name() == name);
        let (Some(column), Some(place)) = (column, self.place(group, name).filter(|place| !place.is_null))
        else {
            return Ok(Some(DistinctColumn::nothing(rows.len())));
        };
        let wanted = self.pages_between(place, &rows);
        self.with_chunk(file, place, wanted, |chunk| chunk.distinct(column, rows))
    }

    /// Rows that follow each other of a column of integers of 64 bits without nulls; `None` where it is of another kind.
    pub(super) fn integers(
        &self,
        file: &CheckedFile,
        group: usize,
        name: &str,
        rows: Range<u32>,
    ) -> Result<Option<Vec<i64>>, Error> {
        let is_known = |column: &&Column| {
            column.field.name() == name && column.form == Form::Fixed(8) && !column.is_list
        };
        if !self.columns.iter().any(|column| is_known(&column)) {
            return Ok(None);
        }
        let Some(place) = self.place(group, name) else { return Ok(None) };
        let wanted = self.pages_between(place, &rows);
        self.with_chunk(file, place, wanted, |chunk| chunk.integers(rows))
    }

    /// The names of the columns that have values in a row group.
    pub(super) fn columns_in_use(&self, group: usize) -> impl Iterator<Item = &str> {
        let from = group * self.columns.len();
        let places = self.places.get(from..from + self.columns.len()).unwrap_or_default();
        let in_use = self.columns.iter().zip(places).filter(|(_, place)| !place.is_null);
        in_use.map(|(column, _)| column.field.name().as_str())
    }

    /// The pages that hold any of these rows.
    fn pages_between(&self, place: &Place, rows: &Range<u32>) -> &[PagePlace] {
        let pages = self.pages_of(place);
        let from = pages.partition_point(|page| page.first_row <= rows.start).saturating_sub(1);
        let to = pages.partition_point(|page| page.first_row < rows.end);
        pages.get(from..to).unwrap_or_default()
    }

    fn place(&self, group: usize, name: &str) -> Option<&Place> {
        let column = self.columns.iter().position(|column| column.field.name() == name)?;
        self.places.get(group * self.columns.len() + column)
    }

    /// Reads the head and some pages of a chunk; where pages are not known, all of it.
    fn with_chunk<T>(
        &self,
        file: &CheckedFile,
        place: &Place,
        pages: &[PagePlace],
        read: impl FnOnce(Chunk<'_>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let head_bytes = if place.n_pages == 0 { place.n_bytes } else { place.head_bytes };
        let head = (head_bytes > 0).then_some((0, 0, head_bytes));
        let parts =
            head.into_iter().chain(pages.iter().map(|page| (page.first_row, page.offset, page.n_bytes)));
        let start_of = |offset: u32| place.start + u64::from(offset);
        let ranges = parts.clone().map(|(_, offset, n)| start_of(offset)..start_of(offset) + u64::from(n));
        let windows = Windows::new(file, ranges)?;
        let bytes = |offset: u32, n: u32| windows.part(start_of(offset), n as usize).unwrap_or_default();
        let parts = parts.map(|(first_row, offset, n)| (first_row, bytes(offset, n))).collect();
        Ok(read(Chunk { parts, codec: place.codec, plain_bytes: place.plain_bytes as usize }))
    }

    /// A column of a row group whole: the field and its values, which are none where no row has any. None where there is no
    /// such column, or it is of a kind that only the library reads.
    pub(super) fn whole(
        &self,
        file: &CheckedFile,
        group: usize,
        name: &str,
    ) -> Result<Option<(FieldRef, Option<WholeColumn>)>, Error> {
        self.whole_if(file, group, name, None)
    }

    /// As [`Layout::whole`], but not read, as if no row had a value, if `may` says no of a dictionary that has the values of all rows.
    pub(super) fn whole_if(
        &self,
        file: &CheckedFile,
        group: usize,
        name: &str,
        may: Option<MayPass<'_>>,
    ) -> Result<Option<(FieldRef, Option<WholeColumn>)>, Error> {
        let Some(at) = self.columns.iter().position(|column| column.field.name() == name) else {
            return Ok(None);
        };
        let (Some(column), Some(place), Some(n_rows)) =
            (self.columns.get(at), self.places.get(group * self.columns.len() + at), self.group_rows(group))
        else {
            return Ok(None);
        };
        if place.is_null {
            return Ok(Some((Arc::clone(&column.field), None)));
        }
        let bytes = file.read(place.start, place.n_bytes as usize)?;
        let chunk =
            Chunk { parts: vec![(0, &*bytes)], codec: place.codec, plain_bytes: place.plain_bytes as usize };
        if let Some(may) = may
            && let Some(values) = chunk.dictionary(column)
            && !may(&column.field, values)
        {
            return Ok(Some((Arc::clone(&column.field), None)));
        }
        let whole = chunk.whole(column, n_rows.len()).filter(|whole| whole.len() == n_rows.len());
        Ok(whole.map(|whole| (Arc::clone(&column.field), Some(whole))))
    }

    /// Whether any row of a row group may have what is looked for in a column of texts; no is certain.
    pub(super) fn may_have(
        &self,
        file: &CheckedFile,
        group: usize,
        name: &str,
        needle: Needle<'_>,
    ) -> Result<bool, Error> {
        let column = self.columns.iter().position(|column| column.field.name() == name);
        let Some(column) = column.and_then(|at| self.columns.get(at)) else { return Ok(false) };
        let Some(place) = self.place(group, name) else { return Ok(true) };
        if place.is_null {
            return Ok(false);
        }
        let bytes = file.read(place.start, place.n_bytes as usize)?;
        let chunk =
            Chunk { parts: vec![(0, &*bytes)], codec: place.codec, plain_bytes: place.plain_bytes as usize };
        Ok(chunk.has(column, needle).unwrap_or(true))
    }

    /// The least and the greatest value of a column in a row group; all there is where they are not kept.
    pub(super) fn bounds(&self, group: usize, name: &str) -> (i64, i64) {
        let of = self.columns.iter().position(|column| column.field.name() == name);
        let bounds = self.bounds.iter().find(|(at, _)| Some(*at) == of);
        bounds.and_then(|(_, bounds)| bounds.get(group)).copied().unwrap_or((i64::MIN, i64::MAX))
    }

    /// Whether a column may have a value in a row group.
    pub(super) fn has_values(&self, group: usize, name: &str) -> bool {
        self.place(group, name).is_some_and(|place| !place.is_null)
    }

    /// The row group of a row of the table.
    pub(super) fn group_of(&self, row: u32) -> usize {
        self.first_rows.partition_point(|first| *first <= row).saturating_sub(1)
    }

    /// Whether there is a column of this name.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.field.name() == name)
    }

    /// The rows of a row group.
    pub(super) fn group_rows(&self, group: usize) -> Option<Range<u32>> {
        Some(*self.first_rows.get(group)?..*self.first_rows.get(group + 1)?)
    }

    /// The number of row groups.
    pub(super) fn groups(&self) -> usize {
        self.first_rows.len().saturating_sub(1)
    }

    fn pick_of_group(
        &self,
        file: &CheckedFile,
        group: usize,
        rows: &[u32],
        chosen: &[usize],
    ) -> Result<Option<RecordBatch>, Error> {
        let from = group * self.columns.len();
        let Some(places) = self.places.get(from..from + self.columns.len()) else { return Ok(None) };
        let wanted: Vec<(&Column, &Place)> = chosen
            .iter()
            .filter_map(|at| Some((self.columns.get(*at)?, places.get(*at)?)))
            .filter(|(_, place)| !place.is_null)
            .collect();
        let mut ranges = Vec::with_capacity(wanted.len());
        wanted.iter().for_each(|(_, place)| self.add_ranges(place, rows, &mut ranges));
        ranges.sort_unstable_by_key(|range: &Range<u64>| range.start);
        let windows = Windows::new(file, ranges)?;
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        for (of, place) in wanted {
            let Some(picked) = self.chunk(&windows, place, rows).pick(of, rows) else { return Ok(None) };
            if picked.present.contains(&true) || (of.is_list && picked.slots() > 0) {
                let Some(array) = column(of, picked) else { return Ok(None) };
                fields.push(Arc::clone(&of.field));
                arrays.push(array);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).ok())
    }

    fn chunk<'a>(&self, windows: &'a Windows, place: &Place, rows: &[u32]) -> Chunk<'a> {
        let bytes = |offset: u32, n_bytes: u32| {
            windows.part(place.start + u64::from(offset), n_bytes as usize).unwrap_or_default()
        };
        let pages = self.pages_of(place);
        let parts = match pages.is_empty() {
            true => vec![(0, bytes(0, place.n_bytes))],
            false => {
                let mut parts = vec![(0, bytes(0, place.head_bytes))];
                let with_rows = wanted_pages(pages, rows);
                parts.extend(with_rows.map(|page| (page.first_row, bytes(page.offset, page.n_bytes))));
                parts
            }
        };
        Chunk { parts, codec: place.codec, plain_bytes: place.plain_bytes as usize }
    }

    fn pages_of(&self, place: &Place) -> &[PagePlace] {
        let first = place.first_page as usize;
        self.pages.get(first..first + place.n_pages as usize).unwrap_or_default()
    }

    /// The bytes of a chunk that are read for these rows.
    fn add_ranges(&self, place: &Place, rows: &[u32], ranges: &mut Vec<Range<u64>>) {
        let range = |offset: u32, n_bytes: u32| {
            let from = place.start + u64::from(offset);
            from..from + u64::from(n_bytes)
        };
        let pages = self.pages_of(place);
        if pages.is_empty() {
            ranges.push(range(0, place.n_bytes));
            return;
        }
        if place.head_bytes > 0 {
            ranges.push(range(0, place.head_bytes));
        }
        ranges.extend(wanted_pages(pages, rows).map(|page| range(page.offset, page.n_bytes)));
    }
}

/// The pages that hold any of these rows.
fn wanted_pages<'a>(pages: &'a [PagePlace], rows: &'a [u32]) -> impl Iterator<Item = &'a PagePlace> {
    pages.iter().enumerate().filter_map(move |(at, page)| {
        let end = pages.get(at + 1).map_or(u32::MAX, |next| next.first_row);
        let first = rows.partition_point(|row| *row < page.first_row);
        rows.get(first).is_some_and(|row| *row < end).then_some(page)
    })
}

fn is_null(chunk: &ColumnChunkMetaData) -> bool {
    let n_nulls = chunk.statistics().and_then(|statistics| statistics.null_count_opt());
    n_nulls.is_some_and(|n_nulls| i64::try_from(n_nulls) == Ok(chunk.num_values()))
}
