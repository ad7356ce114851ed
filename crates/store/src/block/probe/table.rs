//! A block of which one table holds other bytes than were written, under checksums that agree: then nothing stands between
//! the bytes and the readers of tables. Everything that snapshots, metric queries and merges ask is asked.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::checksums::{self, FileSums, FileWriter};
use crate::block::read::TableReader;
use crate::block::{Block, BlockMeta, Table};
use crate::compact::{self, Choice};
use crate::disk::{Disk, SimDisk};
use crate::error::Error;
use crate::snapshot::parts::{MetricPart, PointWant};
use crate::snapshot::{LogQuery, SeriesQuery, Snapshot, TimeRange, TraceQuery, Want};

/// Answers of a question are counted up to here.
const LIMIT: usize = 1_000;

/// A whole block on a disk of its own, of which tables can be replaced.
pub struct ProbedBlock {
    disk: SimDisk,
    dir: PathBuf,
    meta: BlockMeta,
    sums: Vec<FileSums>,
}

impl ProbedBlock {
    /// Copies a block of a data folder.
    pub fn copy(disk: &dyn Disk, dir: &Path, meta: &BlockMeta) -> Result<ProbedBlock, Error> {
        let folder = meta.folder(dir);
        let path = folder.join(checksums::FILE_NAME);
        let bytes = disk.read_all(&path).map_err(Error::io("read", &path))?;
        let sums = checksums::decode(&path, &bytes, meta.checksums_crc)?;
        let own = SimDisk::new(0);
        own.create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        for name in sums.iter().map(|sums| sums.name.as_str()).chain([checksums::FILE_NAME]) {
            let path = folder.join(name);
            let bytes = disk.read_all(&path).map_err(Error::io("read", &path))?;
            own.write_new(&path, &bytes).map_err(Error::io("write", &path))?;
        }
        Ok(ProbedBlock { disk: own, dir: dir.to_path_buf(), meta: meta.clone(), sums })
    }

    /// The bytes of a table as they were written.
    pub fn bytes(&self, table: Table) -> Result<Vec<u8>, Error> {
        let path = self.meta.folder(&self.dir).join(table.file_name());
        self.disk.read_all(&path).map_err(Error::io("read", &path))
    }

    /// Puts bytes in place of a table and asks everything. Returns how many answers there were; questions that fail
    /// have none. An error says that the block does not even open.
    pub fn ask(&self, table: Table, bytes: &[u8]) -> Result<usize, Error> {
        let (disk, meta) = self.with(table, bytes)?;
        let block = Arc::new(Block::open(&disk, &self.dir, meta)?);
        let mut found = 0;
        for table in Table::ALL {
            found += block.table(table).and_then(|reader| read_all(&reader)).unwrap_or_default();
        }
        let snapshot = Snapshot::new(Vec::new(), Arc::new(vec![block.clone()]), Arc::default(), 0);
        found += ask_snapshot(&snapshot, &block);
        found += snapshot.metric_parts(TimeRange::ALL).iter().map(ask_metrics).sum::<usize>();
        let choice = Choice { inputs: vec![block.meta().id], level: 1 };
        let mut next_id = block.meta().id + 1;
        let merged = compact::merge(&disk, &self.dir, &[block], &choice, &mut next_id);
        Ok(found + merged.map_or(0, |metas| metas.len()))
    }

    fn with(&self, table: Table, bytes: &[u8]) -> Result<(SimDisk, BlockMeta), Error> {
        let disk = self.disk.copy();
        let mut meta = self.meta.clone();
        let folder = meta.folder(&self.dir);
        let replaced = folder.join(table.file_name());
        disk.remove(&replaced).map_err(Error::io("remove", &replaced))?;
        let mut file = FileWriter::create(&disk, &folder, table.file_name())?;
        file.write_all(bytes).map_err(Error::io("write", &replaced))?;
        let of_table = file.finish()?;
        let mut sums = self.sums.clone();
        for file in sums.iter_mut().filter(|file| file.name == of_table.name) {
            *file = of_table.clone();
        }
        let path = folder.join(checksums::FILE_NAME);
        let (bytes, crc) = checksums::encode(&sums);
        meta.checksums_crc = crc;
        disk.replace(&path, &bytes).map_err(Error::io("write", &path))?;
        Ok((disk, meta))
    }
}

/// Every row of a table, in every way in which rows are read.
fn read_all(reader: &TableReader) -> Result<usize, Error> {
    let mut found = 0;
    let with_dictionaries = reader.with_dictionaries();
    for group in 0..reader.groups() {
        let mut count = |batches: Result<Vec<arrow_array::RecordBatch>, Error>| {
            found += batches.map_or(0, |batches| batches.iter().map(|batch| batch.num_rows()).sum());
        };
        count(reader.read_group(group, None, None));
        count(reader.read_in_use(group, None));
        count(reader.read_in_use(group, Some(0..1)));
        if let Ok(reader) = &with_dictionaries {
            count(reader.read_group(group, None, None));
        }
    }
    let last = reader.num_rows().saturating_sub(1) as u32;
    let mut rows = vec![0, last / 3, last / 3 + 1, last];
    rows.dedup();
    found += reader.read(&rows, None).map_or(0, |batches| batches.len());
    found += reader.read_range(last / 2..u32::MAX, None).map_or(0, |batches| batches.len());
    Ok(found)
}

fn ask_snapshot(snapshot: &Snapshot, block: &Block) -> usize {
    let mut found = 0;
    let rows = block.meta().rows.traces.min(LIMIT as u64) as u32;
    let ids = block.trace_ids(&(0..rows).collect::<Vec<u32>>()).unwrap_or_default();
    for id in ids.into_iter().flatten() {
        found += snapshot.trace(id, Want::ALL).map_or(0, |data| data.spans.len() + data.logs.len());
        found += usize::from(snapshot.trace_summary(id).is_ok());
        found += usize::from(snapshot.link_state(id).is_ok());
    }
    let range = TimeRange::ALL;
    for (service, contains) in [(None, None), (Some("gateway"), Some("e")), (None, Some("retry 3 of"))] {
        let query = LogQuery {
            range,
            service: service.map(str::to_owned),
            min_severity: u8::from(service.is_some()),
            pattern: service.map(|_| throughline_model::PatternId(1)),
            contains: contains.map(str::to_owned),
            limit: LIMIT,
        };
        found += snapshot.search_logs(&query).map_or(0, |found| found.items.len());
    }
    for error in [None, Some(true)] {
        let query = TraceQuery {
            range,
            service: None,
            operation: None,
            min_duration_ns: error.map(|_| 0),
            max_duration_ns: None,
            error,
            limit: LIMIT,
        };
        found += snapshot.search_traces(&query).map_or(0, |found| found.items.len());
    }
    let query = SeriesQuery { range, metric: None, service: None, attributes: Vec::new(), limit: LIMIT };
    found += snapshot.series(&query).map_or(0, |found| found.items.len());
    found += snapshot.points(&query).map_or(0, |found| found.items.len());
    found += snapshot.exemplars(&query).map_or(0, |found| found.items.len());
    found + snapshot.services(range).map_or(0, |found| found.items.len())
}

fn ask_metrics(part: &MetricPart) -> usize {
    let mut found = part.series_from(0).map_or(0, |series| series.len());
    let want = PointWant { start_times: true, payloads: true };
    for run in part.runs().unwrap_or_default() {
        let wanted: Vec<u32> = run.series.clone().take(LIMIT).collect();
        found += part.read_run(&run, &wanted, TimeRange::ALL, want).map_or(0, |points| points.times.len());
        found += usize::from(part.shared_bounds(&run).is_ok());
        found += part.exemplars(&wanted, TimeRange::ALL).map_or(0, |exemplars| exemplars.len());
    }
    found
}

/// Bytes of a change in a script.
pub const CHANGE_BYTES: usize = 6;

/// Changes a Parquet file as a script says, [`CHANGE_BYTES`] for each change. The length of the footer, which stands behind
/// it, follows what is inserted into it or taken out, so that the readers come as far as its contents.
pub fn damage(bytes: &mut Vec<u8>, script: &[u8]) {
    for change in script.as_chunks::<CHANGE_BYTES>().0 {
        let [what, a, b, c, value, n] = *change;
        let footer = footer_of(bytes);
        // Half of the changes go to the footer, where most of what is believed stands.
        let area = if what & 0x80 == 0 { 0..bytes.len() } else { footer.clone() };
        if area.is_empty() {
            return;
        }
        let at = area.start + u32::from_be_bytes([0, a, b, c]) as usize % area.len();
        let n = 1 + usize::from(n % 32);
        let part = at..(at + n).min(area.end);
        let before = bytes.len();
        match what % 8 {
            0 => set(bytes, at..at + 1, |byte, _| byte ^ (1 << (value % 8))),
            1 => set(bytes, at..at + 1, |_, _| value),
            2 => set(bytes, part, |_, _| value),
            3 => {
                let number =
                    [i32::MAX as u32, u32::MAX, 0x8000_0000].get(n % 4).copied().unwrap_or(u32::from(value));
                set(bytes, at..at + 4, |_, place| number.to_le_bytes().get(place % 4).copied().unwrap_or(0));
            }
            4 => drop(bytes.splice(at..at, std::iter::repeat_n(value, n))),
            5 => drop(bytes.drain(part)),
            6 => {
                // A number of variable length becomes a large one.
                let number = std::iter::repeat_n(0xff, n.min(9)).chain([value & 0x7f]);
                drop(bytes.splice(at..at, number));
            }
            _ => {
                let copied = bytes.get(part).unwrap_or_default().to_vec();
                let to = area.start + usize::from(value) * 251 % area.len();
                drop(bytes.splice(to..to, copied));
            }
        }
        if what & 0x80 != 0 {
            let length = (footer.len() + bytes.len()).saturating_sub(before) as u32;
            let from = bytes.len().saturating_sub(8);
            set(bytes, from..from + 4, |_, place| length.to_le_bytes().get(place).copied().unwrap_or(0));
        }
    }
}

fn set(bytes: &mut [u8], places: Range<usize>, to: impl Fn(u8, usize) -> u8) {
    let from = places.start;
    for (at, byte) in bytes.iter_mut().enumerate().take(places.end).skip(from) {
        *byte = to(*byte, at - from);
    }
}

/// Where the footer lies: before its length and the four letters at the end.
fn footer_of(bytes: &[u8]) -> Range<usize> {
    let end = bytes.len().saturating_sub(8);
    let length = bytes.get(end..).and_then(|tail| tail.first_chunk::<4>());
    let length = length.map_or(0, |length| u32::from_le_bytes(*length) as usize);
    end.saturating_sub(length)..end
}
