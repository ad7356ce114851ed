//! Which files there are, and which of them are those that were there before.
//!
//! A search finds paths. For each:
//!
//! 1. It leads to an inode that is known, and the first bytes are those that were there: it is that file, renamed or not.
//! 2. The inode is known and the bytes are others: it was truncated or replaced. What was known of it is kept for a copy of it.
//! 3. The inode is new, and the bytes, first and last, are those of a file whose own bytes are gone: a copy that goes on from
//!    there, as rotation by copying and truncating leaves behind.
//! 4. The inode is new and the bytes are the first ones of a file that is there: a copy whose original is not truncated yet. It
//!    is left alone for now.
//! 5. Everything else is a new file.
//!
//! A file that no path leads to any more is read to its end while it is open.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checkpoint::SavedFile;
use crate::identity::{Position, Print};
use crate::settings::{FindConfig, OnTruncate};
use crate::source::{self, Source, Stat};
use crate::tracked::Tracked;

/// The most files of one receiver.
const FILES_MAX: usize = 100_000;
/// Two changes of a file this close together may have one stamp: file systems keep time in steps of up to two seconds.
const STAMP_GRAIN: Duration = Duration::from_secs(2);
/// How long a file is read on that no path leads to: its writer may go on until it opens the new one.
const UNLISTED_WAIT: Duration = Duration::from_secs(10);
/// How long such a file is known after that: a copy of it may still come.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// The files of one receiver.
#[derive(Debug)]
pub struct Tracker {
    /// The files that are known, by number.
    pub files: BTreeMap<u64, Tracked>,
    /// The number of the next one.
    pub next_number: u64,
    find: FindConfig,
    unit_bytes: u64,
    /// Whether files that are found now are read from their beginning.
    from_beginning: bool,
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Files that were not known.
    pub new: u64,
    /// Files whose bytes were others than before.
    pub truncated: u64,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

impl Tracker {
    /// A tracker that knows files from before, where there was a before.
    #[must_use]
    pub fn new(find: FindConfig, unit_bytes: usize, known: Option<(Vec<SavedFile>, u64)>) -> Tracker {
        // Files that came while nobody looked are new: nothing of them was ever stored.
        let from_beginning = find.from_beginning || known.is_some();
        let (saved, next_number) = known.unwrap_or((Vec::new(), 1));
        let files = saved.into_iter().map(|file| (file.number, tracked(file))).collect();
        Tracker { files, next_number, find, unit_bytes: unit_bytes as u64, from_beginning }
    }

    /// Looks which files there are.
    pub fn scan(&mut self, now: Duration, wall: i64) -> Found {
        let mut found = Found::default();
        let paths = self.search(&mut found);
        self.files.values_mut().for_each(|file| file.is_listed = false);
        let inodes: HashMap<(u64, u64), u64> =
            self.files.values().map(|file| ((file.stat.device, file.stat.inode), file.number)).collect();
        let mut unknown: Vec<(PathBuf, Stat)> = Vec::new();
        for path in paths {
            let Some(stat) = source::stat(&path) else { continue };
            let known = inodes.get(&(stat.device, stat.inode)).copied();
            match known.filter(|number| self.files.get(number).is_some_and(|file| file.is_inode(&stat))) {
                Some(number) if self.look_again(number, &path, stat, (now, wall), &mut found) => {}
                Some(_) => unknown.push((path, stat)),
                None if stat.size > 0 && !self.is_too_old(&stat, wall) => unknown.push((path, stat)),
                None => {}
            }
        }
        for (path, stat) in unknown {
            if stat.size > 0 && !self.files.values().any(|file| file.is_listed && file.is_inode(&stat)) {
                self.meet(path, (now, wall), &mut found);
            }
        }
        self.from_beginning = true;
        self.look_after_unlisted(now);
        found
    }

    /// Makes sure that a file is open, with room for it.
    pub fn open(&mut self, number: u64) -> io::Result<()> {
        let Some(file) = self.files.get(&number) else { return Ok(()) };
        if file.source.is_some() {
            return Ok(());
        }
        let (path, known) = (file.path.clone(), file.stat);
        self.make_room();
        let source = Source::open(&path, self.find.compression)?;
        let stat = source.stat()?;
        if (stat.device, stat.inode) != (known.device, known.inode) {
            return Err(io::Error::other("another file has its name by now"));
        }
        if let Some(file) = self.files.get_mut(&number) {
            file.source = Some(source);
        }
        Ok(())
    }

    /// How many files are open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.files.values().filter(|file| file.source.is_some()).count()
    }

    /// Files that may have bytes to read, or a last record that has waited for so long.
    #[must_use]
    pub fn readable(&self, now: Duration, flush_after: Option<Duration>) -> Vec<u64> {
        let is_readable =
            |file: &&Tracked| file.is_dirty || (file.is_partial && is_due(file, now, flush_after));
        self.files.values().filter(is_readable).map(|file| file.number).collect()
    }

    /// What is to be kept of the files.
    #[must_use]
    pub fn saved(&self) -> Vec<SavedFile> {
        let saved = self.files.values().map(|file| SavedFile {
            number: file.number,
            path: file.path.clone(),
            device: file.stat.device,
            inode: file.stat.inode,
            head: file.head,
            stored: file.stored,
        });
        saved.collect()
    }

    fn search(&self, found: &mut Found) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for pattern in &self.find.include {
            if !pattern.find(&source::list, &mut paths) {
                found
                    .warnings
                    .push(format!("{}: too many names to look at; the rest is left out", pattern.text()));
            }
        }
        paths.retain(|path| !self.find.exclude.iter().any(|pattern| pattern.matches(path)));
        paths.sort_unstable();
        paths.dedup();
        if paths.len() > FILES_MAX {
            found
                .warnings
                .push(format!("{} files are more than {FILES_MAX}; the rest is left out", paths.len()));
            paths.truncate(FILES_MAX);
        }
        paths
    }

    fn is_too_old(&self, stat: &Stat, wall: i64) -> bool {
        let age = u64::try_from(wall.saturating_sub(stat.modified_at)).unwrap_or(0);
        self.find.exclude_older_than.is_some_and(|oldest| Duration::from_nanos(age) > oldest)
    }

    /// Looks at a file whose inode is known; false if its bytes are others than before.
    fn look_again(
        &mut self,
        number: u64,
        path: &Path,
        stat: Stat,
        (now, wall): (Duration, i64),
        found: &mut Found,
    ) -> bool {
        let (compression, most) = (self.find.compression, self.find.fingerprint_bytes);
        let on_truncate = self.find.on_truncate;
        if self.files.get(&number).is_some_and(|file| file.source.is_none()) {
            self.make_room();
        }
        let Some(file) = self.files.get_mut(&number) else { return false };
        if file.is_listed {
            // Two paths lead to it.
            return true;
        }
        let is_same = (file.stat.size, file.stat.modified_at) == (stat.size, stat.modified_at);
        if is_same && file.is_settled && file.head.bytes > 0 {
            (file.is_listed, file.seen_at) = (true, now);
            path.clone_into(&mut file.path);
            return true;
        }
        if file.source.is_none() {
            file.source = Source::open(path, compression).ok();
        }
        let head = file.source.as_mut().and_then(|source| source.head(most).ok());
        let Some(head) = head else {
            // It cannot be read now; it is what it was until it can.
            (file.is_listed, file.seen_at) = (true, now);
            return true;
        };
        if !file.head.begins(&head) {
            found.truncated += 1;
            file.detach();
            return false;
        }
        let is_compressed = file.source.as_ref().is_some_and(Source::is_compressed);
        let is_shorter = stat.size < file.read.offset && !is_compressed;
        if is_shorter {
            found.truncated += 1;
            match on_truncate {
                OnTruncate::Ignore => {}
                OnTruncate::ReadWholeFile => file.read = Position::default(),
                OnTruncate::ReadNew => file.read = Position { offset: stat.size, ..Position::default() },
            }
            if on_truncate != OnTruncate::Ignore {
                file.stored = file.read;
            }
        }
        file.head = Print::of(&head);
        path.clone_into(&mut file.path);
        (file.is_listed, file.seen_at, file.is_settled) = (true, now, is_settled(&stat, wall));
        if !is_same || is_shorter {
            file.grown_at = now;
            file.is_dirty = stat.size >= file.read.offset || is_compressed;
            file.stat = stat;
        }
        true
    }

    /// A path leads to an inode that is not known.
    fn meet(&mut self, path: PathBuf, (now, wall): (Duration, i64), found: &mut Found) {
        self.make_room();
        let opened = Source::open(&path, self.find.compression).and_then(|mut source| {
            // In this order, so that what changes in between is seen to have changed.
            let stat = source.stat()?;
            let head = source.head(self.find.fingerprint_bytes)?;
            Ok((source, head, stat))
        });
        let (mut source, head, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => return found.warnings.push(format!("read {}: {error}", path.display())),
        };
        // The name may lead to another file by now; the next search finds out.
        if head.is_empty() || self.files.values().any(|file| file.is_inode(&stat)) {
            return;
        }
        let print = Print::of(&head);
        if let Some(number) = self.original(&mut source, &head) {
            let Some(file) = self.files.get_mut(&number) else { return };
            file.path = path;
            (file.stat, file.head, file.source) = (stat, print, Some(source));
            file.is_settled = is_settled(&stat, wall);
            (file.is_listed, file.seen_at, file.grown_at, file.is_dirty) = (true, now, now, true);
            return;
        }
        if self.is_copy(&head, print) {
            return;
        }
        let mut read = Position::default();
        if !self.from_beginning {
            let end = source.len().unwrap_or(stat.size);
            read.offset = end - end % self.unit_bytes;
        }
        let number = self.next_number;
        self.next_number += 1;
        found.new += 1;
        let file = Tracked {
            number,
            path,
            stat,
            is_settled: is_settled(&stat, wall),
            head: print,
            read,
            stored: read,
            source: Some(source),
            is_dirty: true,
            is_partial: false,
            seen_at: now,
            grown_at: now,
            is_listed: true,
        };
        self.files.insert(number, file);
    }

    /// Whether a file that is there begins with these bytes: they are a copy of it, perhaps an unfinished one. A file that grew
    /// since it was looked at is looked at again; one that was truncated since then may be the original of what was met, which
    /// the next search finds out.
    fn is_copy(&mut self, head: &[u8], print: Print) -> bool {
        let (compression, most) = (self.find.compression, self.find.fingerprint_bytes);
        self.files.values_mut().filter(|file| file.is_listed).any(|file| {
            if file.head == print {
                return true;
            }
            if file.head.bytes <= head.len() && !file.head.begins(head) {
                return false;
            }
            let mut opened;
            let source = match &mut file.source {
                Some(source) => Some(source),
                None => {
                    opened = Source::open(&file.path, compression).ok();
                    opened.as_mut()
                }
            };
            let now = source.and_then(|source| source.head(most).ok()).unwrap_or_default();
            now.starts_with(head) || !file.head.begins(&now)
        })
    }

    /// The file whose bytes are gone from where they were and are these: the one that most is known of.
    fn original(&mut self, source: &mut Source, head: &[u8]) -> Option<u64> {
        let mut best: Option<(usize, u64)> = None;
        for file in self.files.values_mut().filter(|file| !file.is_listed) {
            let is_better = best.is_none_or(|(bytes, _)| file.head.bytes > bytes);
            if is_better && file.is_continued_by(source, head).unwrap_or(false) && !file.lives_elsewhere() {
                best = Some((file.head.bytes, file.number));
            }
        }
        best.map(|(_, number)| number)
    }

    /// Files that no path leads to: they are read on for a while, and known for longer.
    fn look_after_unlisted(&mut self, now: Duration) {
        let is_forgotten = |file: &Tracked| {
            !file.is_listed && file.source.is_none() && now.saturating_sub(file.seen_at) > KNOWN_FOR
        };
        self.files.retain(|_, file| !is_forgotten(file));
        for file in self.files.values_mut().filter(|file| !file.is_listed) {
            let Some(source) = &file.source else { continue };
            let size = source.stat().map_or(file.stat.size, |stat| stat.size);
            if size > file.stat.size {
                file.stat.size = size;
                file.grown_at = now;
                file.is_dirty = true;
            } else if !file.is_dirty && !file.is_partial && now.saturating_sub(file.grown_at) > UNLISTED_WAIT
            {
                file.source = None;
            }
        }
        while self.files.len() > 2 * FILES_MAX {
            let oldest = self.files.values().filter(|file| !file.is_listed).min_by_key(|file| file.seen_at);
            let Some(number) = oldest.map(|file| file.number) else { return };
            self.files.remove(&number);
        }
    }

    /// Closes the file that has been still for longest if as many are open as may be.
    fn make_room(&mut self) {
        while self.open_files() >= self.find.open_max.max(1) {
            let open = self.files.values_mut().filter(|file| file.source.is_some());
            // Files that no path leads to can never be opened again.
            let Some(file) = open.min_by_key(|file| (!file.is_listed, file.is_dirty, file.grown_at)) else {
                return;
            };
            file.source = None;
        }
    }
}

/// Whether what is there at a file's end is a record by now: nothing came for long enough, or nothing can come.
#[must_use]
pub fn is_due(file: &Tracked, now: Duration, flush_after: Option<Duration>) -> bool {
    let still = now.saturating_sub(file.grown_at);
    let is_closing = !file.is_listed && still > UNLISTED_WAIT;
    is_closing || flush_after.is_some_and(|after| still >= after)
}

/// Whether a file whose first bytes are looked at now will have another stamp after any change to it.
fn is_settled(stat: &Stat, wall: i64) -> bool {
    let grain = i64::try_from(STAMP_GRAIN.as_nanos()).unwrap_or(i64::MAX);
    stat.modified_at.saturating_add(grain) < wall
}

fn tracked(saved: SavedFile) -> Tracked {
    let stat = Stat { device: saved.device, inode: saved.inode, ..Stat::default() };
    Tracked {
        number: saved.number,
        path: saved.path,
        stat,
        is_settled: false,
        head: saved.head,
        read: saved.stored,
        stored: saved.stored,
        source: None,
        is_dirty: false,
        is_partial: false,
        seen_at: Duration::ZERO,
        grown_at: Duration::ZERO,
        is_listed: false,
    }
}
