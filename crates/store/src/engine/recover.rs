//! The way back: from what a data folder holds to a running engine.
//!
//! 1. Lock the folder; read the manifest and make sure that it stays, or write the first one.
//! 2. Remove what no manifest names: temporary files, folders of unfinished blocks.
//! 3. Open the blocks. One that cannot be opened stays in the manifest; every answer says that it is missing.
//! 4. Replay the log above the floor ([`replay`]), flushing on the way, so that memory stays bounded.
//! 5. Flush what was replayed: from here on it does not depend on segments that a crash may have left half written, or in
//!    the caches of the system alone. Where that fails, nothing is acknowledged until it has succeeded.

mod replay;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use super::observe::{Observer, Parts, Unobserved};
use super::queue::Queue;
use super::state::{Applied, Visible};
use super::status::Counters;
use super::{Engine, HASHES_FOLDER, LOG_FOLDER, Log, ManifestState, StoreConfig, lock};
use crate::block::{BLOCKS_FOLDER, Block, Footers};
use crate::clock::Clock;
use crate::dedup;
use crate::disk::{Disk, TEMPORARY};
use crate::error::Error;
use crate::expired::Expired;
use crate::fsck::QUARANTINE_FOLDER;
use crate::manifest::Manifest;
use crate::memtable::Memtable;
use crate::patterns::Learner;
use crate::scrub::Scrub;
use crate::set_aside;
use crate::wal;
use crate::wal::segment::SegmentName;

impl Engine {
    /// Opens a data folder, or makes one.
    pub fn open(config: StoreConfig, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Engine, Error> {
        Engine::open_observed(config, disk, clock, Arc::new(Unobserved))
    }

    /// As [`Engine::open`], watched from the first frame of the replay on.
    pub fn open_observed(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        observer: Arc<dyn Observer>,
    ) -> Result<Engine, Error> {
        Engine::open_with(config, disk, clock, Parts { observer, sampling: None })
    }

    /// As [`Engine::open`], with what watches it and what decides which traces stay.
    pub fn open_with(
        config: StoreConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        parts: Parts,
    ) -> Result<Engine, Error> {
        let Parts { observer, sampling } = parts;
        let dir = config.dir.clone();
        disk.create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let lock = take_lock(disk.as_ref(), &config)?;
        let manifest = load_or_create(disk.as_ref(), clock.as_ref(), &config)?;
        for folder in [LOG_FOLDER, BLOCKS_FOLDER, HASHES_FOLDER] {
            let path = dir.join(folder);
            disk.create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        let counters = Counters::default();
        counters.started_unclean.store(!manifest.is_clean, Ordering::Relaxed);
        remove_orphans(disk.as_ref(), &config, &manifest);
        let footers = Footers::new(Footers::BYTES_MAX);
        let (blocks, missing) = open_blocks(disk.as_ref(), &config, &manifest, &footers);
        missing.iter().for_each(|text| counters.note(clock.now(), text.clone()));
        let is_block = |name: &str| manifest.blocks.iter().any(|block| block.name == name);
        let expired = Expired::load(disk.as_ref(), &dir, is_block, |error| {
            let text = format!("traces that retention removed may count as never received: {error}");
            counters.note(clock.now(), text);
        });
        let memtable = Arc::new(Memtable::with_learner(learned(&blocks)));
        let visible = Visible {
            memtables: vec![memtable.clone()],
            blocks: Arc::new(blocks),
            missing: Arc::new(missing),
            expired: Arc::new(expired),
        };
        let start = log_start(&config, &manifest);
        let log = Log { writer: wal::Writer::new(disk.clone(), start), dedup: dedup::Window::default() };
        let scrub = Mutex::new(Scrub::new(manifest.next_block_id, clock.now() as u64));
        let engine = Engine {
            queue: Queue::new(config.queue_bytes),
            config,
            disk,
            clock,
            lock: Mutex::new(Some(lock)),
            flushing: Mutex::new(()),
            compacting: Mutex::new(()),
            next_block_id: AtomicU64::new(manifest.next_block_id),
            is_replay_unsettled: AtomicBool::new(false),
            applied: Mutex::new(Applied::new(memtable, manifest.floor.clone())),
            manifest: Mutex::new(ManifestState { manifest, doubtful: Vec::new() }),
            log: Mutex::new(log),
            showing: Mutex::new(()),
            visible: RwLock::new(Arc::new(visible)),
            footers,
            series: Arc::default(),
            observer,
            retired: Mutex::new(VecDeque::new()),
            damaged: Mutex::new(HashSet::new()),
            scrub,
            sampling: sampling.map(Mutex::new),
            decided: Mutex::new(HashMap::new()),
            counters,
        };
        engine.restore_hashes();
        engine.recover_log()?;
        engine.tell_recovered();
        engine.prune_set_aside();
        engine.check_disk();
        Ok(engine)
    }

    fn tell_recovered(&self) {
        let next_lsn = lock(&self.log).writer.next_lsn();
        self.observer.recovered(next_lsn);
    }

    /// Replays the log and makes it ready for writing.
    fn recover_log(&self) -> Result<(), Error> {
        let dir = self.folder(LOG_FOLDER);
        let names = segments(self.disk.as_ref(), &dir)?;
        let replayed = self.replay(&names)?;
        let start = wal::Start {
            salt: lock(&self.manifest).manifest.store_id,
            segment_bytes: self.config.segment_bytes,
            limits: self.config.limits,
            torn: replayed.torn,
            // What is kept is not the writer's to delete.
            sealed: names.into_iter().filter(|name| !replayed.suspects.contains(&name.path(&dir))).collect(),
            dir,
            cursor: replayed.cursor,
        };
        lock(&self.log).writer = wal::Writer::new(self.disk.clone(), start);
        // A full disk must not keep the store from starting: then the log stays as it is until there is room.
        let flushed = self.flush_all().and_then(|()| {
            self.set_segments_aside(&replayed.suspects);
            let mut log = lock(&self.log);
            let floor_lsn = log.writer.next_lsn();
            log.writer.release(floor_lsn).map(|_| ())
        });
        if let Err(error) = flushed {
            self.counters.note(self.clock.now(), error.to_string());
            self.is_replay_unsettled.store(true, Ordering::Relaxed);
        }
        if let Err(error) = self.edit_manifest(|_| {}, Vec::new(), |_| {}) {
            self.counters.note(self.clock.now(), error.to_string());
        }
        Ok(())
    }

    /// Keeps segments that hold something that could not be replayed, out of the way of the log.
    fn set_segments_aside(&self, paths: &[PathBuf]) {
        if paths.is_empty() {
            return;
        }
        let to = self.folder(QUARANTINE_FOLDER);
        if self.disk.create_dir_all(&to).is_ok() {
            for path in paths {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                // A segment that cannot be moved is deleted with the others; its loss has been counted.
                _ = self.disk.rename(path, &to.join(set_aside::stamped(&name, "", self.clock.now())));
            }
            _ = self.disk.sync_dir(&to);
        }
    }

    fn restore_hashes(&self) {
        let files = lock(&self.manifest).manifest.hash_files.clone();
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let dir = self.folder(HASHES_FOLDER);
        for file in files.iter().filter(|file| file.is_current(now)) {
            match dedup::read(self.disk.as_ref(), &dir, file) {
                Ok(hashes) => {
                    let age_ns = u64::try_from(now.saturating_sub(file.written_at)).unwrap_or(0);
                    let age = std::time::Duration::from_nanos(age_ns);
                    lock(&self.log).dedup.restore(hashes, monotonic, age);
                }
                Err(error) => {
                    self.counters.note(now, format!("retries of some requests are not recognised: {error}"));
                }
            }
        }
    }
}

/// The writing end of the log before the replay has found where it ends.
fn log_start(config: &StoreConfig, manifest: &Manifest) -> wal::Start {
    wal::Start {
        dir: config.dir.join(LOG_FOLDER),
        salt: manifest.store_id,
        segment_bytes: config.segment_bytes,
        limits: config.limits,
        torn: Vec::new(),
        sealed: Vec::new(),
        cursor: wal::Cursor {
            next_lsn: manifest.floor.lsn,
            previous_crc: 0,
            total_items: manifest.floor.total_items,
        },
    }
}

fn take_lock(disk: &dyn Disk, config: &StoreConfig) -> Result<Box<dyn Send + Sync>, Error> {
    disk.lock(&config.dir).map_err(|source| {
        if source.kind() == std::io::ErrorKind::WouldBlock {
            Error::Locked { path: config.dir.clone() }
        } else {
            Error::Io { action: "lock", path: config.dir.clone(), source }
        }
    })
}

fn load_or_create(disk: &dyn Disk, clock: &dyn Clock, config: &StoreConfig) -> Result<Manifest, Error> {
    let dir = &config.dir;
    if let Some(manifest) = Manifest::load(disk, dir)? {
        // A process that was killed between renaming the manifest and syncing its name leaves one that a power cut may
        // still take back: nothing that only the one before it names may go before this one is durable.
        disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
        return Ok(manifest);
    }
    // The manifest is the first file of a store: without it, anything else that lies here is not to be written over.
    for folder in [LOG_FOLDER, BLOCKS_FOLDER] {
        if !disk.list(&dir.join(folder)).unwrap_or_default().is_empty() {
            return Err(Error::damaged(&Manifest::path(dir), "it is missing, and there is data beside it"));
        }
    }
    sync_ancestors(disk, dir)?;
    // Unique enough to tell stores apart, and unknown to senders, who might send what looks like frames.
    let seed = [clock.now().to_le_bytes(), (clock.monotonic().as_nanos() as u64).to_le_bytes()].concat();
    let manifest = Manifest::new(xxhash_rust::xxh3::xxh3_64(&seed));
    manifest.save(disk, dir)?;
    Ok(manifest)
}

/// Makes the names of a folder and of those that it lies in durable: they may be there since a process that was killed when
/// it had made them, before it had synced them.
fn sync_ancestors(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    for folder in dir.ancestors().skip(1) {
        use std::io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
        match disk.sync_dir(folder) {
            // What may not be read or written here was not made here.
            Err(error)
                if matches!(
                    error.kind(),
                    PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported
                ) =>
            {
                break;
            }
            other => other.map_err(Error::io("sync", folder))?,
        }
    }
    Ok(())
}

/// Removes what an interrupted edit left. What cannot be removed does no harm.
fn remove_orphans(disk: &dyn Disk, config: &StoreConfig, manifest: &Manifest) {
    let dir = &config.dir;
    for name in disk.list(dir).unwrap_or_default() {
        if name.ends_with(TEMPORARY) {
            _ = disk.remove(&dir.join(name));
        }
    }
    let blocks = dir.join(BLOCKS_FOLDER);
    let known: HashSet<&str> = manifest.blocks.iter().map(|block| block.name.as_str()).collect();
    let mut removed = false;
    for name in disk.list(&blocks).unwrap_or_default() {
        if !known.contains(name.as_str()) {
            removed |= disk.remove_dir(&blocks.join(&name)).is_ok();
        }
    }
    if removed {
        _ = disk.sync_dir(&blocks);
    }
    let hashes = dir.join(HASHES_FOLDER);
    let known: HashSet<&str> = manifest.hash_files.iter().map(|file| file.name.as_str()).collect();
    for name in disk.list(&hashes).unwrap_or_default() {
        if !known.contains(name.as_str()) {
            _ = disk.remove(&hashes.join(&name));
        }
    }
}

fn open_blocks(
    disk: &dyn Disk,
    config: &StoreConfig,
    manifest: &Manifest,
    footers: &Arc<Footers>,
) -> (Vec<Arc<Block>>, Vec<String>) {
    let (mut blocks, mut missing) = (Vec::new(), Vec::new());
    for meta in &manifest.blocks {
        match Block::open(disk, &config.dir, meta.clone()) {
            Ok(block) => blocks.push(Arc::new(block.sharing(footers.clone()))),
            Err(error) => missing.push(format!("block {} is missing: {error}", meta.name)),
        }
    }
    (blocks, missing)
}

/// What the blocks know of patterns. A block whose table cannot be read has nothing to say: the ids of its own lines are as
/// they were, those of new lines may differ.
fn learned(blocks: &[Arc<Block>]) -> Arc<Learner> {
    let learner = Learner::new();
    let mut order: Vec<&Arc<Block>> = blocks.iter().collect();
    order.sort_by_key(|block| block.meta().id);
    for block in order {
        if let Ok(Some(table)) = block.pattern_table() {
            let known = table
                .patterns
                .iter()
                .map(|pattern| (pattern.id, &*pattern.service, &*pattern.text, pattern.first_seen));
            learner.restore(known, table.aliases.iter().map(|(own, id)| (*own, *id)));
        }
    }
    learner
}

/// The segments of a log, in order.
pub(crate) fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentName>, Error> {
    let names = disk.list(dir).map_err(Error::io("list", dir))?;
    let mut segments: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}
