//! Reads a block: look-ups through the index, scans through the columns, every byte through its checksum.

mod columns;
mod footers;
mod log_search;
mod metrics;
mod pages;
mod search;
mod services;
mod table;
mod trace;

use std::path::Path;
use std::sync::Arc;

use throughline_model::{Signal, TraceId};

use super::checksums::{self, CheckedFile, FileSums};
use super::index::IndexReader;
use super::{BlockMeta, Table};
use crate::disk::Disk;
use crate::error::Error;

pub(crate) use columns::Columns;
pub use footers::Footers;
pub(crate) use table::TableReader;

/// An open block.
pub struct Block {
    meta: BlockMeta,
    index: IndexReader,
    files: Vec<(Table, CheckedFile)>,
    /// Where the decoded footers of the tables are kept.
    footers: Arc<Footers>,
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
        Ok(Block { meta, index, files, footers: Footers::new(Footers::BYTES_MAX) })
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

    /// Bytes that the block keeps in memory: filters and directories.
    pub fn pinned_bytes(&self) -> usize {
        self.index.pinned_bytes()
    }

    pub(crate) fn index(&self) -> &IndexReader {
        &self.index
    }

    pub(crate) fn table(&self, table: Table) -> Result<Arc<TableReader>, Error> {
        let file = self.files.iter().find(|(of, _)| *of == table);
        let Some((_, file)) = file else {
            return Err(Error::damaged(Path::new(&self.meta.name), format!("no file of {table:?}")));
        };
        self.footers.get((self.meta.id, table), || TableReader::open(table, file.clone()))
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
        for batch in self.table(Table::Traces)?.read(rows, Some(&["trace_id"]))? {
            let columns = Columns::new(&batch);
            ids.extend((0..batch.num_rows()).map(|row| columns.trace_id("trace_id", row)));
        }
        Ok(ids)
    }

    /// Whether spans of the trace are in the block.
    pub(crate) fn has_spans(&self, id: TraceId) -> Result<bool, Error> {
        match self.trace_row(id)? {
            Some(row) => Ok(self.index.postings(row)?.span_count > 0),
            None => Ok(false),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.footers.forget(self.meta.id);
    }
}
