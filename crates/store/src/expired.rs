//! Which traces retention removed, so that what still refers to one is answered `expired` and not `never_received`.
//!
//! Before a block goes, a file in the folder `expired` gets its window, when that was, and the ids of the traces of which it had
//! spans or a tombstone: 3.25 bytes each, of which one in a million other ids is taken for one. All files stay in memory.
//! Beyond [`BYTES_MAX`] the oldest window is forgotten; of that only the time remains, so that references from before it are
//! still answered by their own time, while an id alone is not known any more. `docs/format/expired.md` draws the bytes.

use std::path::Path;
use std::sync::Arc;

use throughline_model::TraceId;

use crate::block::Block;
use crate::disk::{Disk, TEMPORARY};
use crate::error::Error;

/// The folder within the data folder.
pub const FOLDER: &str = "expired";

/// All files together: ten million traces.
pub const BYTES_MAX: usize = 32 << 20;

/// The file that says which windows are forgotten.
const FORGOTTEN: &str = "forgotten";

/// What refers to a trace is at most so much younger than the trace: a batch job of a day.
const REACH_NS: i64 = 86_400_000_000_000;

const MAGIC: [u8; 4] = *b"TLEX";
const VERSION: u32 = 1;
/// Magic, version and checksum; then the window, when it was removed, and the number of buckets.
const HEAD_BYTES: usize = 12 + 3 * 8 + 4;
/// An id is one of the buckets and 24 bits within it.
const ENTRY_BYTES: usize = 3;
/// Entries of a bucket on average.
const BUCKET_ENTRIES: usize = 16;

/// The traces of one block that retention removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The file's name: the block's.
    name: String,
    min_time: i64,
    max_time: i64,
    /// When, nanoseconds since the epoch.
    at: i64,
    /// Where each bucket ends, in entries: u32 each; then the entries, sorted.
    directory: Vec<u32>,
    entries: Vec<u8>,
}

impl Removed {
    /// The traces of a block that has gone at this time, without those that `is_kept` elsewhere.
    pub(crate) fn of(block: &Block, at: i64, is_kept: impl Fn(TraceId) -> bool) -> Result<Removed, Error> {
        let mut fingerprints = Vec::new();
        block.each_stored_trace(|id| {
            if !is_kept(id) {
                fingerprints.push(id.fingerprint());
            }
        })?;
        let (name, window) = (block.meta().name.clone(), (block.min_time(), block.max_time()));
        Ok(Removed::new(name, window, at, fingerprints))
    }

    fn new(name: String, (min_time, max_time): (i64, i64), at: i64, mut fingerprints: Vec<u64>) -> Removed {
        fingerprints.sort_unstable();
        fingerprints.dedup();
        let n_buckets = fingerprints.len().div_ceil(BUCKET_ENTRIES);
        let mut directory = vec![0u32; n_buckets];
        let mut entries = Vec::with_capacity(fingerprints.len() * ENTRY_BYTES);
        for (at, fingerprint) in fingerprints.iter().enumerate() {
            if let Some(end) = directory.get_mut(bucket_of(*fingerprint, n_buckets)) {
                *end = at as u32 + 1;
            }
            entries.extend(fingerprint.to_le_bytes().into_iter().take(ENTRY_BYTES));
        }
        let mut last = 0;
        for end in &mut directory {
            last = last.max(*end);
            *end = last;
        }
        Removed { name, min_time, max_time, at, directory, entries }
    }

    fn bytes(&self) -> usize {
        HEAD_BYTES + 4 * self.directory.len() + self.entries.len()
    }

    fn has(&self, fingerprint: u64) -> bool {
        let bucket = bucket_of(fingerprint, self.directory.len());
        let Some(to) = self.directory.get(bucket) else { return false };
        let from = bucket.checked_sub(1).and_then(|before| self.directory.get(before)).copied().unwrap_or(0);
        let part = self.entries.get(from as usize * ENTRY_BYTES..*to as usize * ENTRY_BYTES);
        let wanted = fingerprint.to_le_bytes();
        let mut entries = part.unwrap_or_default().chunks_exact(ENTRY_BYTES);
        entries.any(|entry| wanted.starts_with(entry))
    }

    /// Whether a trace that something refers to at this time may have lain in the window.
    fn is_in_reach(&self, referred_at: Option<i64>) -> bool {
        referred_at.is_none_or(|time| {
            self.min_time <= time.saturating_add(REACH_NS) && time <= self.max_time.saturating_add(REACH_NS)
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.bytes());
        for time in [self.min_time, self.max_time, self.at] {
            body.extend_from_slice(&time.to_le_bytes());
        }
        body.extend_from_slice(&(self.directory.len() as u32).to_le_bytes());
        self.directory.iter().for_each(|end| body.extend_from_slice(&end.to_le_bytes()));
        body.extend_from_slice(&self.entries);
        let mut out = Vec::with_capacity(self.bytes());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Removed, Error> {
        let damaged = |detail: &str| Error::damaged(path, detail);
        let word = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let (head, body) = bytes.split_at_checked(12).ok_or_else(|| damaged("it ends early"))?;
        if !head.starts_with(&MAGIC) {
            return Err(damaged("it does not start as a list of expired traces does"));
        }
        let version = head.get(4..8).and_then(word).unwrap_or_default();
        if version != VERSION {
            return Err(Error::Version { path: path.to_path_buf(), found: version, supported: VERSION });
        }
        if head.get(8..12).and_then(word) != Some(crc32c::crc32c(body)) {
            return Err(damaged("its checksum does not match"));
        }
        let time = |at: usize| {
            let bytes: Option<[u8; 8]> = body.get(8 * at..8 * at + 8)?.try_into().ok();
            bytes.map(i64::from_le_bytes)
        };
        let read = || {
            let (min_time, max_time, at) = (time(0)?, time(1)?, time(2)?);
            let n_buckets = word(body.get(24..28)?)? as usize;
            let (directory, entries) = body.get(28..)?.split_at_checked(n_buckets.checked_mul(4)?)?;
            let directory: Vec<u32> = directory.chunks_exact(4).filter_map(word).collect();
            let n_entries = directory.last().copied().unwrap_or_default() as usize;
            let is_whole = directory.is_sorted() && entries.len() == n_entries * ENTRY_BYTES;
            let name = path.file_name()?.to_string_lossy().into_owned();
            let entries = entries.to_vec();
            is_whole.then_some(Removed { name, min_time, max_time, at, directory, entries })
        };
        read().ok_or_else(|| damaged("its content is not what a list of expired traces holds"))
    }
}

/// The bucket of a fingerprint: its high bits, scaled.
fn bucket_of(fingerprint: u64, n_buckets: usize) -> usize {
    ((u128::from(fingerprint) * n_buckets as u128) >> 64) as usize
}

/// What is known of traces that retention removed. A value; a change makes another.
#[derive(Clone, Debug, Default)]
pub struct Expired {
    /// By their end.
    windows: Vec<Arc<Removed>>,
    /// The window up to whose end ids are forgotten, which has none.
    forgotten: Option<Arc<Removed>>,
}

impl Expired {
    /// When retention removed a trace, nanoseconds since the epoch. `referred_at` is when something referred to it last, where
    /// something did; it decides alone about what is forgotten.
    pub(crate) fn at(&self, id: TraceId, referred_at: Option<i64>) -> Option<i64> {
        self.removed_at(id, referred_at).or_else(|| {
            let forgotten = self.forgotten.as_ref()?;
            referred_at.filter(|time| *time <= forgotten.max_time).map(|_| forgotten.at)
        })
    }

    /// As [`Expired::at`], by its id alone.
    pub(crate) fn removed_at(&self, id: TraceId, referred_at: Option<i64>) -> Option<i64> {
        if self.windows.is_empty() {
            return None;
        }
        let fingerprint = id.fingerprint();
        let mut near = self.windows.iter().filter(|window| window.is_in_reach(referred_at));
        near.find(|window| window.has(fingerprint)).map(|window| window.at)
    }

    /// Up to when the ids of removed traces are forgotten, nanoseconds since the epoch; none where none are.
    pub fn forgotten_before(&self) -> Option<i64> {
        self.forgotten.as_ref().map(|forgotten| forgotten.max_time)
    }

    /// How many windows, and the bytes of their ids.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.windows.len(), self.windows.iter().map(|window| window.bytes()).sum())
    }

    /// With the traces of more blocks. Files of what is new are written, and what is beyond the limit is forgotten.
    pub(crate) fn with(
        &self,
        removed: Vec<Removed>,
        disk: &dyn Disk,
        data_dir: &Path,
    ) -> Result<Expired, Error> {
        let folder = data_dir.join(FOLDER);
        disk.create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        for window in &removed {
            let path = folder.join(&window.name);
            disk.replace(&path, &window.encode()).map_err(Error::io("write", &path))?;
        }
        let mut next = self.clone();
        next.windows.retain(|known| removed.iter().all(|window| window.name != known.name));
        next.windows.extend(removed.into_iter().map(Arc::new));
        next.windows.sort_by_key(|window| (window.max_time, window.at));
        let gone = next.forget(BYTES_MAX);
        if let Some(forgotten) = next.forgotten.as_ref().filter(|_| !gone.is_empty()) {
            let path = folder.join(FORGOTTEN);
            disk.replace(&path, &forgotten.encode()).map_err(Error::io("write", &path))?;
        }
        for name in gone {
            // One that stays is forgotten again after the next start.
            _ = disk.remove(&folder.join(name));
        }
        Ok(next)
    }

    /// Forgets the oldest windows beyond a limit, and names them.
    fn forget(&mut self, bytes_max: usize) -> Vec<String> {
        let (_, mut bytes) = self.size();
        let mut gone = Vec::new();
        while bytes > bytes_max && !self.windows.is_empty() {
            let window = self.windows.remove(0);
            bytes -= window.bytes();
            let known =
                self.forgotten.as_ref().map_or((i64::MIN, i64::MIN), |known| (known.max_time, known.at));
            let span = (i64::MIN, window.max_time.max(known.0));
            let at = window.at.max(known.1);
            self.forgotten = Some(Arc::new(Removed::new(FORGOTTEN.to_owned(), span, at, Vec::new())));
            gone.push(window.name.clone());
        }
        gone
    }

    /// Reads the files of a data folder. Those of blocks that are still there (`is_block`) were written before a removal that did
    /// not happen, and go. `on_damage` is told of those that cannot be read, which are left out.
    pub(crate) fn load(
        disk: &dyn Disk,
        data_dir: &Path,
        is_block: impl Fn(&str) -> bool,
        mut on_damage: impl FnMut(Error),
    ) -> Expired {
        let folder = data_dir.join(FOLDER);
        let mut expired = Expired::default();
        // Without a folder nothing has expired.
        for name in disk.list(&folder).unwrap_or_default() {
            let path = folder.join(&name);
            if name.ends_with(TEMPORARY) || is_block(&name) {
                _ = disk.remove(&path);
                continue;
            }
            let read = disk.read_all(&path).map_err(Error::io("read", &path));
            match read.and_then(|bytes| Removed::decode(&path, &bytes)) {
                Ok(window) if name == FORGOTTEN => expired.forgotten = Some(Arc::new(window)),
                Ok(window) => expired.windows.push(Arc::new(window)),
                Err(error) => on_damage(error),
            }
        }
        expired.windows.sort_by_key(|window| (window.max_time, window.at));
        _ = expired.forget(BYTES_MAX);
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    const HOUR: i64 = 3_600_000_000_000;

    fn id(n: u64) -> TraceId {
        TraceId::from_low(n + 1).expect("not zero")
    }

    fn window(name: &str, start: i64, ids: std::ops::Range<u64>) -> Removed {
        let fingerprints = ids.map(|n| id(n).fingerprint()).collect();
        Removed::new(name.to_owned(), (start, start + HOUR), start + 10 * HOUR, fingerprints)
    }

    #[test]
    fn ids_are_found_and_nearly_nothing_else_is() {
        for n in [0, 1, 2, 15, 16, 17, 5_000] {
            let window = window("a", 0, 0..n);
            assert!((0..n).all(|n| window.has(id(n).fingerprint())), "{n}");
            let wrong = (n..n + 100_000).filter(|n| window.has(id(*n).fingerprint())).count();
            assert!(wrong <= 3, "{wrong} of 100,000 with {n}");
        }
        assert!(window("a", 0, 0..100_000).bytes() < 326_000);
    }

    #[test]
    fn files_come_back_and_damage_is_an_error() {
        let path = Path::new("expired/a");
        let window = window("a", -5, 0..100);
        let bytes = window.encode();
        assert_eq!(bytes.len(), window.bytes());
        assert_eq!(Removed::decode(path, &bytes).expect("decoded"), window);
        for at in 0..bytes.len() {
            assert!(Removed::decode(path, &bytes[..at]).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(Removed::decode(path, &changed).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn what_is_near_in_time_counts_and_what_is_forgotten_is_known_by_time() {
        let (disk, dir) = (SimDisk::new(1), Path::new("data"));
        let first = Expired::default().with(vec![window("a", 0, 0..50)], &disk, dir).expect("written");
        let both = first.with(vec![window("b", 100 * HOUR, 50..90)], &disk, dir).expect("written");
        let check = |expired: &Expired| {
            assert_eq!(expired.at(id(7), None), Some(10 * HOUR));
            assert_eq!(expired.at(id(7), Some(3 * HOUR)), Some(10 * HOUR));
            assert_eq!(expired.at(id(7), Some(100 * HOUR)), None, "nothing refers across days");
            assert_eq!(expired.at(id(60), None), Some(110 * HOUR));
            assert_eq!(expired.at(id(99), None), None);
        };
        check(&both);
        check(&Expired::load(&disk, dir, |_| false, |error| panic!("{error}")));
        let loaded = Expired::load(&disk, dir, |name| name == "a", |error| panic!("{error}"));
        assert_eq!(loaded.at(id(7), None), None, "the block is there");
        let mut small = both.clone();
        assert_eq!(small.forget(200), ["a"]);
        assert_eq!(small.forgotten_before(), Some(HOUR));
        assert_eq!((small.at(id(7), None), small.at(id(7), Some(HOUR / 2))), (None, Some(10 * HOUR)));
        assert_eq!(small.at(id(60), None), Some(110 * HOUR));
    }
}
