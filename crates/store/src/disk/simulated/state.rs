//! The simulated disk's files and folders: what programs see, what is durable, and what lies between.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use super::Reads;

/// The id of the root folder.
const ROOT: u64 = 0;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Dir(u64),
}

/// A change to a file since its last sync.
#[derive(Clone)]
pub(super) enum Write {
    Bytes { offset: usize, bytes: Vec<u8> },
    Len(usize),
}

#[derive(Clone, Default)]
pub(super) struct FileState {
    pub(super) durable: Vec<u8>,
    pub(super) current: Vec<u8>,
    pub(super) pending: Vec<Write>,
}

/// A change to names since the last sync of the folder.
#[derive(Clone)]
pub(super) enum NameChange {
    Link { dir: u64, name: String, node: Node },
    Unlink { dir: u64, name: String },
    Move { from: (u64, String), to: (u64, String), node: Node },
}

impl NameChange {
    pub(super) fn touches(&self, dir: u64) -> bool {
        match self {
            NameChange::Link { dir: at, .. } | NameChange::Unlink { dir: at, .. } => *at == dir,
            NameChange::Move { from, to, .. } => from.0 == dir || to.0 == dir,
        }
    }
}

pub(super) type Names = HashMap<u64, BTreeMap<String, Node>>;

pub(super) struct State {
    pub(super) random: Random,
    /// Counts crashes.
    pub(super) epoch: u64,
    pub(super) is_off: bool,
    pub(super) files: HashMap<u64, FileState>,
    pub(super) names: Names,
    pub(super) durable_names: Names,
    pub(super) pending_names: Vec<NameChange>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) operations: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) syncs: u64,
    pub(super) fail_syncs: Option<RangeInclusive<u64>>,
    pub(super) name_syncs: u64,
    pub(super) fail_name_syncs: Option<RangeInclusive<u64>>,
    pub(super) writes: u64,
    pub(super) reads: Reads,
    pub(super) fail_writes: Option<RangeInclusive<u64>>,
    pub(super) fail_reads_of: Option<String>,
    pub(super) ignores_file_syncs: bool,
    pub(super) ignores_name_syncs: bool,
    pub(super) capacity_bytes: u64,
    pub(super) used_bytes: u64,
    next_id: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        let root = Names::from([(ROOT, BTreeMap::new())]);
        State {
            random: Random(seed),
            epoch: 0,
            is_off: false,
            files: HashMap::new(),
            names: root.clone(),
            durable_names: root,
            pending_names: Vec::new(),
            locks: BTreeSet::new(),
            operations: 0,
            cut_at: None,
            syncs: 0,
            fail_syncs: None,
            name_syncs: 0,
            fail_name_syncs: None,
            writes: 0,
            reads: Reads::default(),
            fail_writes: None,
            fail_reads_of: None,
            ignores_file_syncs: false,
            ignores_name_syncs: false,
            capacity_bytes: 1 << 40,
            used_bytes: 0,
            next_id: ROOT + 1,
        }
    }

    pub(super) fn settled_copy(&self) -> State {
        let mut copy = State::new(self.random.0);
        copy.names.clone_from(&self.names);
        copy.durable_names.clone_from(&self.names);
        copy.next_id = self.next_id;
        copy.capacity_bytes = self.capacity_bytes;
        copy.used_bytes = self.used_bytes;
        for (id, file) in &self.files {
            let image = file.current.clone();
            copy.files.insert(*id, FileState { durable: image.clone(), current: image, pending: Vec::new() });
        }
        copy
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("simulated power cut")) } else { Ok(()) }
    }

    /// Before a change.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.check_power()?;
        self.operations += 1;
        Ok(())
    }

    /// After a change that is not durable yet: the moment at which power may go.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.cut_at.is_some_and(|at| self.operations > at) {
            self.is_off = true;
        }
        self.check_power()
    }

    // === Names ===

    pub(super) fn resolve(&self, path: &Path) -> Option<Node> {
        let mut at = Node::Dir(ROOT);
        for name in components(path) {
            let Node::Dir(dir) = at else { return None };
            at = self.child(dir, &name)?;
        }
        Some(at)
    }

    pub(super) fn child(&self, dir: u64, name: &str) -> Option<Node> {
        self.names.get(&dir)?.get(name).copied()
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.resolve(path) {
            Some(Node::File(id)) => Ok(id),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir(&self, path: &Path) -> io::Result<u64> {
        match self.resolve(path) {
            Some(Node::Dir(id)) => Ok(id),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let dir = self.dir(path)?;
        Ok(self.names.get(&dir).map(|names| names.keys().cloned().collect()).unwrap_or_default())
    }

    /// The folder of a path and the name in it.
    pub(super) fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut names = components(path);
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir(&names.iter().collect::<PathBuf>())?, name))
    }

    pub(super) fn new_file(&mut self) -> u64 {
        self.next_id += 1;
        self.files.insert(self.next_id, FileState::default());
        self.next_id
    }

    pub(super) fn new_dir(&mut self) -> u64 {
        self.next_id += 1;
        self.names.insert(self.next_id, BTreeMap::new());
        self.durable_names.insert(self.next_id, BTreeMap::new());
        self.next_id
    }

    pub(super) fn link(&mut self, dir: u64, name: &str, node: Node) {
        self.change(NameChange::Link { dir, name: name.to_owned(), node });
    }

    pub(super) fn unlink(&mut self, dir: u64, name: &str) {
        self.forget_size(dir, name);
        self.change(NameChange::Unlink { dir, name: name.to_owned() });
    }

    pub(super) fn unlink_tree(&mut self, dir: u64, name: &str) -> io::Result<()> {
        match self.child(dir, name).ok_or(io::ErrorKind::NotFound)? {
            Node::File(_) => {}
            Node::Dir(inner) => {
                let names: Vec<String> =
                    self.names.get(&inner).map(|names| names.keys().cloned().collect()).unwrap_or_default();
                for name in names {
                    self.unlink_tree(inner, &name)?;
                }
            }
        }
        self.unlink(dir, name);
        Ok(())
    }

    pub(super) fn move_name(&mut self, from: (u64, &str), to: (u64, &str), node: Node) {
        self.forget_size(to.0, to.1);
        let (from, to) = ((from.0, from.1.to_owned()), (to.0, to.1.to_owned()));
        self.change(NameChange::Move { from, to, node });
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending_names.push(change);
    }

    fn forget_size(&mut self, dir: u64, name: &str) {
        if let Some(Node::File(id)) = self.child(dir, name) {
            let bytes = self.files.get(&id).map_or(0, |file| file.current.len() as u64);
            self.used_bytes = self.used_bytes.saturating_sub(bytes);
        }
    }

    pub(super) fn sync_names(&mut self, dir: u64) -> io::Result<()> {
        self.name_syncs += 1;
        if self.fail_name_syncs.as_ref().is_some_and(|numbers| numbers.contains(&self.name_syncs)) {
            return Err(io_error("simulated EIO on the sync of a folder"));
        }
        let pending = std::mem::take(&mut self.pending_names);
        for change in pending {
            if change.touches(dir) {
                apply(&mut self.durable_names, &change);
            } else {
                self.pending_names.push(change);
            }
        }
        Ok(())
    }

    // === Bytes ===

    pub(super) fn write(&mut self, id: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writes += 1;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let end = offset.saturating_add(bytes.len());
        let grows = end.saturating_sub(self.files.get(&id).map_or(0, |file| file.current.len()));
        let room = usize::try_from(self.capacity_bytes.saturating_sub(self.used_bytes)).unwrap_or(usize::MAX);
        let is_refused = self.fail_writes.as_ref().is_some_and(|numbers| numbers.contains(&self.writes));
        let kept = match (is_refused, grows > room) {
            (true, _) => self.random.below(bytes.len() as u64 + 1) as usize,
            (false, true) => bytes.len() - (grows - room),
            (false, false) => bytes.len(),
        };
        let kept_bytes = bytes.get(..kept).unwrap_or(bytes);
        self.push(id, Write::Bytes { offset, bytes: kept_bytes.to_vec() });
        if kept < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn set_len(&mut self, id: u64, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let grows = len.saturating_sub(self.files.get(&id).map_or(0, |file| file.current.len()));
        if grows as u64 > self.capacity_bytes.saturating_sub(self.used_bytes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.push(id, Write::Len(len));
        Ok(())
    }

    fn push(&mut self, id: u64, write: Write) {
        let Some(file) = self.files.get_mut(&id) else { return };
        let before = file.current.len() as u64;
        apply_write(&mut file.current, &write);
        self.used_bytes = (self.used_bytes + file.current.len() as u64).saturating_sub(before);
        file.pending.push(write);
    }

    pub(super) fn sync_file(&mut self, id: u64) -> io::Result<()> {
        self.syncs += 1;
        if self.ignores_file_syncs {
            return Ok(());
        }
        let is_refused = self.fail_syncs.as_ref().is_some_and(|numbers| numbers.contains(&self.syncs));
        let Some(file) = self.files.get_mut(&id) else { return Err(io::ErrorKind::NotFound.into()) };
        for write in std::mem::take(&mut file.pending) {
            // A failed sync has written some pages and forgotten the others.
            if !is_refused || self.random.chance(2) {
                apply_write(&mut file.durable, &write);
            }
        }
        if is_refused { Err(io_error("simulated EIO on sync")) } else { Ok(()) }
    }
}

/// EIO as the operating system reports it.
pub(super) fn io_error(text: &'static str) -> io::Error {
    io::Error::other(text)
}

pub(super) fn apply(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Link { dir, name, node } => {
            names.entry(*dir).or_default().insert(name.clone(), *node);
        }
        NameChange::Unlink { dir, name } => {
            names.entry(*dir).or_default().remove(name);
        }
        NameChange::Move { from, to, node } => {
            let old = names.entry(from.0).or_default();
            if old.get(&from.1) == Some(node) {
                old.remove(&from.1);
            }
            names.entry(to.0).or_default().insert(to.1.clone(), *node);
        }
    }
}

pub(super) fn apply_write(image: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Len(len) => image.resize(*len, 0),
        Write::Bytes { offset, bytes } => {
            let end = offset + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            if let Some(into) = image.get_mut(*offset..end) {
                into.copy_from_slice(bytes);
            }
        }
    }
}

fn components(path: &Path) -> Vec<String> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str().map(str::to_owned),
            _ => None,
        })
        .collect()
}

/// A small seeded generator (SplitMix64): simulations must give the same run for the same seed everywhere.
#[derive(Clone, Copy)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// True once in `of`.
    pub(super) fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}
