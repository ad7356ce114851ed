//! The last steps of writing a block, the same for a flush and a merge: trace table, index, checksums, meta.

use ahash::AHashMap as HashMap;
use std::path::{Path, PathBuf};

use throughline_model::{SpanId, TraceId};

use super::checksums::{self, FileSums, FileWriter};
use super::index::IndexWriter;
use super::texts::Texts;
use super::traces::{self, TraceEntry};
use super::{BLOCKS_FOLDER, BlockMeta, FileMeta, RowCounts};
use crate::disk::Disk;
use crate::error::Error;
use crate::links::count::LinkCounter;
use crate::links::referrers::{self, FILE_NAME as REFERRERS_FILE};
use crate::links::table::FILE_NAME as LINKS_FILE;
use crate::patterns::table::{FILE_NAME as PATTERNS_FILE, PatternTable};

/// A trace with more spans gets a table of its span ids; in a smaller one they are compared one by one.
const LINEAR_SPANS_MAX: u32 = 32;

/// A block under construction.
pub(crate) struct BlockBuilder<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) folder: PathBuf,
    pub(crate) traces: Vec<TraceEntry>,
    pub(crate) index: IndexWriter,
    pub(crate) links: LinkCounter,
    pub(crate) sums: Vec<FileSums>,
    pub(crate) meta: BlockMeta,
}

/// The name of a block's folder: the window's start to the second, the level and the id.
fn folder_name(min_time: i64, level: u32, id: u64) -> String {
    let seconds = min_time.div_euclid(1_000_000_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-L{level}-{id:08}")
}

/// The date of a day since the epoch (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

impl<'a> BlockBuilder<'a> {
    /// Creates the block's folder.
    pub(crate) fn create(
        disk: &'a dyn Disk,
        data_dir: &Path,
        id: u64,
        level: u32,
        partition: i64,
        min_time: i64,
    ) -> Result<BlockBuilder<'a>, Error> {
        let name = folder_name(min_time, level, id);
        let folder = data_dir.join(BLOCKS_FOLDER).join(&name);
        disk.create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let meta = BlockMeta {
            id,
            name,
            level,
            partition,
            min_time: i64::MAX,
            max_time: i64::MIN,
            received_at: 0,
            sampled_at: 0,
            rows: RowCounts::default(),
            files: Vec::new(),
            checksums_crc: 0,
        };
        Ok(BlockBuilder {
            disk,
            folder,
            traces: Vec::new(),
            index: IndexWriter::default(),
            links: LinkCounter::default(),
            sums: Vec::new(),
            meta,
        })
    }

    /// Widens the block's window.
    pub(crate) fn cover(&mut self, min_time: i64, max_time: i64) {
        self.meta.min_time = self.meta.min_time.min(min_time);
        self.meta.max_time = self.meta.max_time.max(max_time);
    }

    /// Writes the table of the patterns of its log records, if there are any.
    pub(crate) fn write_patterns(&mut self, table: &PatternTable) -> Result<(), Error> {
        if self.meta.rows.logs == 0 {
            return Ok(());
        }
        self.write_file(PATTERNS_FILE, &table.encode()?)
    }

    /// Writes what its references are, if there is anything that refers.
    fn write_links(&mut self, texts: &Texts) -> Result<(), Error> {
        let rows = &self.meta.rows;
        if rows.spans + rows.logs + rows.exemplars == 0 {
            return Ok(());
        }
        if self.meta.rows.spans > 0 {
            let referrers = self.links.take_referrers();
            self.write_file(REFERRERS_FILE, &referrers::encode(referrers))?;
        }
        let table = std::mem::take(&mut self.links).finish(&self.traces, texts);
        self.write_file(LINKS_FILE, &table.encode()?)
    }

    fn write_file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut file = FileWriter::create(self.disk, &self.folder, name)?;
        let path = self.folder.join(name);
        std::io::Write::write_all(&mut file, bytes).map_err(Error::io("write", &path))?;
        self.sums.push(file.finish()?);
        Ok(())
    }

    /// Writes what remains and makes the folder durable. The block is complete, but nobody knows of it yet.
    pub(crate) fn finish(mut self, texts: &Texts) -> Result<BlockMeta, Error> {
        self.meta.rows.traces = self.traces.len() as u64;
        let table = traces::table(&self)?;
        self.sums.push(traces::write(table, &self.traces, texts, &mut self.index)?);
        self.write_links(texts)?;
        let index = std::mem::take(&mut self.index).finish()?;
        self.write_file("index", &index)?;
        let (bytes, crc) = checksums::encode(&self.sums);
        let path = self.folder.join(checksums::FILE_NAME);
        self.disk.write_new(&path, &bytes).map_err(Error::io("write", &path))?;
        self.disk.sync_dir(&self.folder).map_err(Error::io("sync", &self.folder))?;
        let blocks = self.folder.parent().unwrap_or(&self.folder).to_path_buf();
        self.disk.sync_dir(&blocks).map_err(Error::io("sync", &blocks))?;
        self.meta.checksums_crc = crc;
        self.meta.files =
            self.sums.iter().map(|sums| FileMeta { name: sums.name.clone(), bytes: sums.len }).collect();
        self.meta.files.push(FileMeta { name: checksums::FILE_NAME.to_owned(), bytes: bytes.len() as u64 });
        Ok(self.meta)
    }
}

/// The rows of traces by id, and of spans by id within a trace.
pub(crate) struct TraceRows {
    by_id: HashMap<TraceId, u32>,
    /// The first span and the number of spans of each trace.
    spans: Vec<(u32, u32)>,
    /// The ids of all spans, in the order of the file.
    span_ids: Vec<[u8; 8]>,
    /// The spans of traces that have many.
    large: HashMap<(u32, [u8; 8]), u32>,
}

impl TraceRows {
    pub(crate) fn new(traces: &[TraceEntry], span_ids: Vec<[u8; 8]>) -> TraceRows {
        let by_id = traces.iter().enumerate().map(|(row, entry)| (entry.id, row as u32)).collect();
        let spans: Vec<(u32, u32)> =
            traces.iter().map(|entry| (entry.postings.first_span, entry.postings.span_count)).collect();
        let mut large = HashMap::new();
        for (trace, (first, count)) in spans.iter().enumerate().filter(|(_, (_, n))| *n > LINEAR_SPANS_MAX) {
            let ids = span_ids.get(*first as usize..(*first + *count) as usize).unwrap_or_default();
            large.extend(ids.iter().enumerate().map(|(row, id)| ((trace as u32, *id), row as u32)));
        }
        TraceRows { by_id, spans, span_ids, large }
    }

    /// The row of a trace.
    pub(crate) fn trace(&self, id: TraceId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The row of a span within its trace.
    pub(crate) fn span(&self, trace_row: u32, id: SpanId) -> Option<u32> {
        let (first, count) = *self.spans.get(trace_row as usize)?;
        if count > LINEAR_SPANS_MAX {
            return self.large.get(&(trace_row, id.0)).copied();
        }
        let ids = self.span_ids.get(first as usize..(first + count) as usize)?;
        ids.iter().position(|other| *other == id.0).map(|row| row as u32)
    }
}

/// Puts traces in the order of their rows and numbers their spans.
pub(crate) fn order_traces(traces: &mut [TraceEntry]) {
    traces.sort_by_key(|entry| (entry.start, entry.id));
    let mut next_span = 0;
    for entry in traces {
        entry.postings.first_span = next_span;
        next_span += entry.postings.span_count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_say_the_window() {
        assert_eq!(folder_name(1_795_182_305_000_000_000, 2, 7), "20261120T134505Z-L2-00000007".to_owned());
        assert_eq!(folder_name(-1, 0, 1), "19691231T235959Z-L0-00000001");
    }
}
