//! Exact retries: the content hashes of the last 15 minutes.
//!
//! A sender that got no answer sends the same bytes again, also after we crashed between sync and answer. The hashes
//! are part of the log, so a replay knows them; those below the manifest's floor are in *hash files*, one per flush,
//! each with the hashes of the frames of that flush. Time here is monotonic; wall time only says how old a hash file is
//! when the store opens it.
//!
//! Hashes are kept in generations of a minute, each a set: a generation is dropped as a whole when its youngest hash
//! is out of the window.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::error::Error;

/// How long an exact retry is recognised: exporters give up within five minutes by default, operators who restart one
/// with a persistent queue within a quarter of an hour.
pub const WINDOW: Duration = Duration::from_secs(15 * 60);

/// At most so many hashes are remembered (about 25 MB): 1,100 requests a second for the whole window. Beyond it the
/// oldest generation goes first.
pub const HASHES_MAX: usize = 1_000_000;

const GENERATION: Duration = Duration::from_secs(60);

struct Generation {
    /// When its youngest hash was added.
    closed_at: Duration,
    opened_at: Duration,
    hashes: HashSet<u128>,
}

/// The hashes of recent requests.
#[derive(Default)]
pub struct Window {
    generations: VecDeque<Generation>,
    count: usize,
}

impl Window {
    /// Whether a request with this hash was stored within the window.
    pub fn contains(&self, hash: u128) -> bool {
        // Retries follow soon: the youngest generation first.
        self.generations.iter().rev().any(|generation| generation.hashes.contains(&hash))
    }

    /// Adds the hash of a stored request.
    pub fn add(&mut self, hash: u128, now: Duration) {
        self.expire(now);
        let is_open =
            self.generations.back().is_some_and(|last| now.saturating_sub(last.opened_at) < GENERATION);
        if !is_open {
            self.generations.push_back(Generation { closed_at: now, opened_at: now, hashes: HashSet::new() });
        }
        if let Some(last) = self.generations.back_mut() {
            last.closed_at = now;
            self.count += usize::from(last.hashes.insert(hash));
        }
    }

    /// Forgets what is out of the window or over the limit.
    pub fn expire(&mut self, now: Duration) {
        while let Some(first) = self.generations.front()
            && (self.count > HASHES_MAX || now.saturating_sub(first.closed_at) > WINDOW)
        {
            self.count -= first.hashes.len();
            self.generations.pop_front();
        }
    }

    /// Adds hashes that were stored before this process started, `age` ago. Older ones are given first.
    pub fn restore(&mut self, hashes: impl IntoIterator<Item = u128>, now: Duration, age: Duration) {
        // Monotonic time starts at zero with the process: what is older than that is as old as can be said, and stays
        // for at most the window from now on.
        let closed_at = now.saturating_sub(age);
        let hashes: HashSet<u128> = hashes.into_iter().collect();
        self.count += hashes.len();
        self.generations.push_back(Generation { closed_at, opened_at: closed_at, hashes });
        self.expire(now);
    }

    /// How many hashes are remembered.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// A hash file, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashFile {
    /// Its name in the folder `hashes`.
    pub name: String,
    /// The checksum of its bytes.
    pub crc: u32,
    /// When it was written, nanoseconds since the epoch.
    pub written_at: i64,
}

impl HashFile {
    /// Whether its hashes are still in the window.
    pub fn is_current(&self, now: i64) -> bool {
        // A clock that was set back makes files look younger, never older: nothing is forgotten too early.
        now.saturating_sub(self.written_at) <= WINDOW.as_nanos() as i64
    }
}

/// Writes hashes to a file and syncs it. The name is durable after a sync of the folder.
pub fn write(
    disk: &dyn Disk,
    dir: &Path,
    name: String,
    hashes: &[u128],
    now: i64,
) -> Result<HashFile, Error> {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    let path = dir.join(&name);
    if disk.exists(&path).map_err(Error::io("find", &path))? {
        // Left over from an attempt that did not come as far as the manifest.
        disk.remove(&path).map_err(Error::io("remove", &path))?;
    }
    disk.write_new(&path, &bytes).map_err(Error::io("write", &path))?;
    Ok(HashFile { name, crc: crc32c::crc32c(&bytes), written_at: now })
}

/// Reads a hash file.
pub fn read(disk: &dyn Disk, dir: &Path, file: &HashFile) -> Result<Vec<u128>, Error> {
    let path = dir.join(&file.name);
    let bytes = disk.read_all(&path).map_err(Error::io("read", &path))?;
    if crc32c::crc32c(&bytes) != file.crc {
        return Err(Error::damaged(&path, "the checksum in the manifest does not match"));
    }
    let (chunks, _) = bytes.as_chunks::<16>();
    Ok(chunks.iter().map(|chunk| u128::from_le_bytes(*chunk)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_known_for_the_window_and_not_much_longer() {
        let mut window = Window::default();
        window.add(1, Duration::ZERO);
        window.add(2, Duration::from_secs(59));
        window.add(3, Duration::from_secs(500));
        window.expire(WINDOW + Duration::from_secs(59));
        assert!(window.contains(1) && window.contains(2) && window.contains(3));
        window.expire(WINDOW + Duration::from_secs(60));
        assert!(!window.contains(1) && !window.contains(2) && window.contains(3));
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn the_oldest_go_first_over_the_limit() {
        let mut window = Window::default();
        for hash in 0..HASHES_MAX as u128 + 10 {
            window.add(hash, Duration::from_secs((hash / 100_000) as u64 * 60));
        }
        assert!(window.len() <= HASHES_MAX + 1 && !window.contains(0) && window.contains(HASHES_MAX as u128));
    }
}
