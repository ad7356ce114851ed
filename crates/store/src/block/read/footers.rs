//! Decoded footers of tables, kept while there is room: a footer of a large table is some megabytes in memory, and
//! decoding it costs more than most look-ups.

use std::sync::{Arc, Mutex, PoisonError};

use super::TableReader;
use crate::block::Table;
use crate::error::Error;

/// Which block, which table.
type Key = (u64, Table);

/// The footers that were used last, within a limit of bytes.
pub struct Footers {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The one used last is at the end. A few hundred entries at most, so a list is enough.
    readers: Vec<(Key, Arc<TableReader>)>,
    bytes: usize,
}

impl Footers {
    /// 96 MiB: the footers of some 20 million spans with their logs, a sixth of the memory target.
    pub const BYTES_MAX: usize = 96 << 20;

    /// Keeps at most about so many bytes; the reader that was asked for last is kept in any case.
    pub fn new(bytes_max: usize) -> Arc<Footers> {
        Arc::new(Footers { bytes_max, kept: Mutex::default() })
    }

    /// The reader of a table, opened if it is not kept.
    pub(super) fn get(
        &self,
        key: Key,
        open: impl FnOnce() -> Result<TableReader, Error>,
    ) -> Result<Arc<TableReader>, Error> {
        if let Some(reader) = self.lock().take(key) {
            return Ok(reader);
        }
        // Opened outside the lock: two threads may open the same one, and the later one stays.
        let reader = Arc::new(open()?);
        self.lock().insert(key, reader.clone(), self.bytes_max);
        Ok(reader)
    }

    /// Forgets the tables of a block.
    pub(super) fn forget(&self, block: u64) {
        let mut kept = self.lock();
        kept.readers.retain(|((of, _), _)| *of != block);
        kept.add_up();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Every change leaves the list whole, so a panic elsewhere is no reason to stop.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add_up(&mut self) {
        self.bytes = self.readers.iter().map(|(_, reader)| reader.memory_bytes()).sum();
    }

    fn take(&mut self, key: Key) -> Option<Arc<TableReader>> {
        let at = self.readers.iter().rposition(|(other, _)| *other == key)?;
        let found = self.readers.remove(at);
        let reader = found.1.clone();
        self.readers.push(found);
        Some(reader)
    }

    fn insert(&mut self, key: Key, reader: Arc<TableReader>, bytes_max: usize) {
        self.readers.retain(|(other, _)| *other != key);
        self.readers.push((key, reader));
        self.add_up();
        while self.bytes > bytes_max && self.readers.len() > 1 {
            let (_, oldest) = self.readers.remove(0);
            self.bytes -= oldest.memory_bytes();
        }
    }
}
