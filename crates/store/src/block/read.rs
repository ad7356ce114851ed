//! Reads a block: look-ups through the index, scans through the columns, every byte through its checksum.

mod columns;
mod distinct;
mod footers;
mod layout;
mod links;
mod log_alike;
mod log_among;
mod log_bodies;
mod log_groups;
mod log_rows;
mod log_scan;
mod log_search;
mod log_tallies;
mod metrics;
mod overlap;
mod page;
mod pages;
mod patterns;
mod picked;
mod plausible;
mod routes;
mod search;
mod services;
mod shared;
mod span_counts;
mod span_runs;
mod span_scan;
mod span_values;
mod table;
mod text_filters;
mod trace;
mod trace_columns;
mod values;
mod whole;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use throughline_model::{Signal, TraceId};
use throughline_sampling::Routes;

use super::checksums::{self, CheckedFile, FileSums};
use super::index::IndexReader;
use super::{BlockMeta, Table};
use crate::disk::Disk;
use crate::error::Error;
use crate::links::referrers::{FILE_NAME as REFERRERS_FILE, Referrers};
use crate::links::table::FILE_NAME as LINKS_FILE;
use crate::patterns::table::FILE_NAME as PATTERNS_FILE;
use patterns::Aliases;

pub(crate) use columns::Columns;
pub use footers::Footers;
use layout::Layout;
pub(crate) use links::Kept;
pub use log_search::text_in_pattern;
pub(crate) use metrics::series_of_group;
pub(crate) use picked::picked_of;
pub(crate) use span_scan::BlockSpans;
pub(crate) use table::TableReader;
pub(crate) use trace::span_of;

/// An open block.
pub struct Block {
    meta: BlockMeta,
    index: IndexReader,
    files: Vec<(Table, CheckedFile)>,
    /// None in a block from before there were patterns, or without log records.
    patterns: Option<CheckedFile>,
    /// None in a block from before references were counted, or without anything that refers.
    links: Option<CheckedFile>,
    /// None in a block from before links of spans were listed, or without spans.
    referrers: Option<Referrers>,
    /// The pattern of each shape that joined one.
    aliases: OnceLock<Aliases>,
    /// Where the decoded footers of the tables are kept.
    footers: Arc<Footers>,
    /// Where the column chunks of each table lie; nothing where only the library can read the table.
    layouts: [OnceLock<Option<Layout>>; Table::ALL.len()],
    listing: OnceLock<services::Listing>,
    /// The first span of each row group of the trace table, once a search has asked.
    first_spans: OnceLock<Option<Vec<u32>>>,
    /// The first span of each trace and the number of spans, once a search has asked; nothing where the index cannot be read.
    span_starts: OnceLock<Option<Box<[u32]>>>,
    /// Traces of which other blocks have spans too.
    shared: shared::SharedTraces,
    /// What questions learnt of attributes of spans.
    text_filters: text_filters::TextFilters,
    /// How many log records each page has of each origin and level, once somebody has asked.
    tallies: OnceLock<log_tallies::Tallies>,
    /// How long the traces of each route last, once sampling has asked.
    routes: OnceLock<Arc<Routes>>,
}

impl Block {
    /// Opens a block's files and pins its index. Fails where the `checksums` file or the index is damaged; damage
    /// elsewhere costs the rows that it lies in.
    pub fn open(disk: &dyn Disk, data_dir: &Path, meta: BlockMeta) -> Result<Block, Error> {
        let folder = meta.folder(data_dir);
        let path = folder.join(checksums::FILE_NAME);
        let bytes = disk.read_all(&path).map_err(Error::io("read", &path))?;
        let sums = checksums::decode(&path, &bytes, meta.checksums_crc)?;
        let open = |name: &str| -> Result<CheckedFile, Error> {
            let sums: Option<&FileSums> = sums.iter().find(|sums| sums.name == name);
            let sums =
                sums.ok_or_else(|| Error::damaged(&path, format!("it does not name the file {name}")))?;
            CheckedFile::open(disk, &folder, sums.clone())
        };
        let index = IndexReader::open(open("index")?)?;
        let files = Table::ALL.iter().map(|table| Ok((*table, open(table.file_name())?)));
        let files = files.collect::<Result<Vec<_>, Error>>()?;
        let has_patterns = sums.iter().any(|sums| sums.name == PATTERNS_FILE);
        let patterns = if has_patterns { Some(open(PATTERNS_FILE)?) } else { None };
        let has_links = sums.iter().any(|sums| sums.name == LINKS_FILE);
        let links = if has_links { Some(open(LINKS_FILE)?) } else { None };
        let has_referrers = sums.iter().any(|sums| sums.name == REFERRERS_FILE);
        let referrers = if has_referrers { Some(Referrers::open(open(REFERRERS_FILE)?)?) } else { None };
        let layouts = std::array::from_fn(|_| OnceLock::new());
        let footers = Footers::new(Footers::BYTES_MAX);
        let aliases = OnceLock::new();
        let (listing, tallies, routes) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let first_spans = OnceLock::new();
        let block = Block {
            meta,
            index,
            files,
            patterns,
            links,
            referrers,
            aliases,
            footers,
            layouts,
            listing,
            first_spans,
            span_starts: OnceLock::new(),
            shared: shared::SharedTraces::default(),
            text_filters: text_filters::TextFilters::default(),
            tallies,
            routes,
        };
        // Now, so that no look-up waits for it.
        Table::ALL.iter().for_each(|table| _ = block.layout(*table));
        _ = block.aliases();
        Ok(block)
    }

    /// The block, with its footers kept together with those of other blocks, under one limit.
    pub fn sharing(mut self, footers: Arc<Footers>) -> Block {
        self.footers = footers;
        self
    }

    /// What the manifest says of the block.
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// The earliest time of any row.
    pub fn min_time(&self) -> i64 {
        self.meta.min_time
    }

    /// The latest time of any row.
    pub fn max_time(&self) -> i64 {
        self.meta.max_time
    }

    /// The items of a signal.
    pub fn rows(&self, signal: Signal) -> u64 {
        self.meta.rows(signal)
    }

    /// Bytes that the block keeps in memory: filters, directories and layouts.
    pub fn pinned_bytes(&self) -> usize {
        let layouts = self.layouts.iter().filter_map(|layout| layout.get()?.as_ref());
        let tallies = self.tallies.get().map_or(0, log_tallies::Tallies::memory_bytes);
        let firsts = self.first_spans.get().and_then(Option::as_ref).map_or(0, Vec::capacity);
        let firsts = firsts * size_of::<u32>();
        let starts =
            self.span_starts.get().and_then(Option::as_ref).map_or(0, |starts| size_of_val(&**starts));
        self.index.pinned_bytes()
            + layouts.map(Layout::memory_bytes).sum::<usize>()
            + tallies
            + firsts
            + starts
            + self.shared.memory_bytes()
            + self.text_filters.memory_bytes()
    }

    pub(crate) fn index(&self) -> &IndexReader {
        &self.index
    }

    fn file(&self, table: Table) -> Result<&CheckedFile, Error> {
        let file = self.files.iter().find(|(of, _)| *of == table);
        let missing = || Error::damaged(Path::new(&self.meta.name), format!("no file of {table:?}"));
        file.map(|(_, file)| file).ok_or_else(missing)
    }

    pub(crate) fn table(&self, table: Table) -> Result<Arc<TableReader>, Error> {
        let file = self.file(table)?;
        self.footers.get((self.meta.id, table), || TableReader::open(table, file.clone()))
    }

    fn layout(&self, table: Table) -> Option<&Layout> {
        let open = || TableReader::open(table, self.file(table).ok()?.clone()).ok()?.layout();
        self.layouts.get(table as usize)?.get_or_init(open).as_ref()
    }

    /// A few rows of a table by number, ascending, with all columns or those named; columns without a value in these rows
    /// may be left out.
    pub(crate) fn pick(
        &self,
        table: Table,
        rows: &[u32],
        columns: Option<&[&str]>,
    ) -> Result<Vec<RecordBatch>, Error> {
        if let Some(layout) = self.layout(table)
            && let Some(found) = layout.pick(self.file(table)?, rows, columns)?
        {
            return Ok(found);
        }
        self.table(table)?.read(rows, columns)
    }

    /// Rows that follow each other, otherwise as [`Block::pick`].
    pub(crate) fn pick_range(
        &self,
        table: Table,
        rows: Range<u32>,
        columns: Option<&[&str]>,
    ) -> Result<Vec<RecordBatch>, Error> {
        match self.layout(table) {
            Some(layout) => {
                let rows: Vec<u32> = (rows.start..rows.end.min(layout.num_rows())).collect();
                self.pick(table, &rows, columns)
            }
            None => self.table(table)?.read_range(rows, columns),
        }
    }

    /// The row of a trace in the trace table.
    pub(crate) fn trace_row(&self, id: TraceId) -> Result<Option<u32>, Error> {
        for row in self.index.candidates(id.fingerprint())? {
            if self.trace_ids(&[row])?.first() == Some(&Some(id)) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The ids of traces by row; the rows ascend.
    pub(crate) fn trace_ids(&self, rows: &[u32]) -> Result<Vec<Option<TraceId>>, Error> {
        let mut ids = Vec::with_capacity(rows.len());
        for batch in self.pick(Table::Traces, rows, Some(&["trace_id"]))? {
            let columns = Columns::new(&batch);
            ids.extend((0..batch.num_rows()).map(|row| columns.trace_id("trace_id", row)));
        }
        Ok(ids)
    }

    /// Whether anything of the trace may be in the block; `false` is certain, and costs no read.
    pub(crate) fn may_have(&self, id: TraceId) -> bool {
        self.index.may_contain(id.fingerprint())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.footers.forget(self.meta.id);
    }
}
