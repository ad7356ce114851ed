//! What is left after a power cut.

use super::SECTOR_BYTES;
use super::state::{NameChange, Random, State, Write, apply, apply_write};

/// How much of what was not synced survives a crash. Chosen by the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashStyle {
    /// Nothing: the disk had written none of it.
    Nothing,
    /// Everything.
    Everything,
    /// Of each file and folder the first changes, the last of them torn.
    Prefix,
    /// Of each file and folder any changes, each write in any of its sectors.
    Subset,
}

pub(super) fn crash(state: &mut State, seed: u64) -> CrashStyle {
    let mut random = Random(seed);
    let style = match random.below(8) {
        0 => CrashStyle::Nothing,
        1 => CrashStyle::Everything,
        2..5 => CrashStyle::Prefix,
        _ => CrashStyle::Subset,
    };
    crash_names(state, style, &mut random);
    let mut ids: Vec<u64> = state.files.keys().copied().collect();
    ids.sort_unstable();
    for id in ids {
        if let Some(file) = state.files.get_mut(&id) {
            let pending = std::mem::take(&mut file.pending);
            crash_file(&mut file.durable, &pending, style, &mut random);
            file.current = file.durable.clone();
        }
    }
    forget_unreachable(state);
    state.used_bytes = state.files.values().map(|file| file.current.len() as u64).sum();
    end_process(state);
    state.random = random;
    style
}

/// Handles, locks and faults of the process are gone; what is in the caches stays there.
pub(super) fn end_process(state: &mut State) {
    state.epoch += 1;
    state.is_off = false;
    state.cut_at = None;
    state.fail_syncs = None;
    state.fail_name_syncs = None;
    state.fail_writes = None;
    state.locks.clear();
}

fn crash_names(state: &mut State, style: CrashStyle, random: &mut Random) {
    let pending = std::mem::take(&mut state.pending_names);
    let mut dirs: Vec<u64> = state.names.keys().copied().collect();
    dirs.sort_unstable();
    // Of a prefix, the first change that is lost in each folder.
    let cuts: Vec<(u64, usize)> = dirs
        .iter()
        .map(|dir| {
            let count = pending.iter().filter(|change| change.touches(*dir)).count();
            (*dir, random.below(count as u64 + 1) as usize)
        })
        .collect();
    let mut seen: Vec<usize> = vec![0; cuts.len()];
    for change in &pending {
        let mut survives = match style {
            CrashStyle::Nothing => false,
            CrashStyle::Everything | CrashStyle::Prefix => true,
            CrashStyle::Subset => random.chance(2),
        };
        for ((dir, cut), seen) in cuts.iter().zip(&mut seen) {
            if change.touches(*dir) {
                survives &= style != CrashStyle::Prefix || *seen < *cut;
                *seen += 1;
            }
        }
        if survives {
            apply_if_possible(state, change);
        }
    }
    state.names = state.durable_names.clone();
}

fn apply_if_possible(state: &mut State, change: &NameChange) {
    apply(&mut state.durable_names, change);
}

fn crash_file(durable: &mut Vec<u8>, pending: &[Write], style: CrashStyle, random: &mut Random) {
    let kept = match style {
        CrashStyle::Nothing => 0,
        CrashStyle::Everything | CrashStyle::Subset => pending.len(),
        CrashStyle::Prefix => random.below(pending.len() as u64 + 1) as usize,
    };
    for write in pending.iter().take(kept) {
        match style {
            CrashStyle::Subset => tear(durable, write, random),
            _ => apply_write(durable, write),
        }
    }
    if style == CrashStyle::Prefix
        && let Some(write) = pending.get(kept)
    {
        tear(durable, write, random);
    }
}

/// Applies some sectors of a write; of those that are lost, some become zeros or garbage where nothing durable was.
fn tear(durable: &mut Vec<u8>, write: &Write, random: &mut Random) {
    let Write::Bytes { offset, bytes } = write else {
        if random.chance(2) {
            apply_write(durable, write);
        }
        return;
    };
    let mut at = *offset;
    let end = offset + bytes.len();
    while at < end {
        let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        let piece = bytes.get(at - offset..next - offset).unwrap_or_default();
        match random.below(8) {
            0..4 => apply_write(durable, &Write::Bytes { offset: at, bytes: piece.to_vec() }),
            4 => {
                let garbage = piece.iter().map(|_| random.next() as u8).collect();
                apply_write(durable, &Write::Bytes { offset: at, bytes: garbage });
            }
            5 => apply_write(durable, &Write::Bytes { offset: at, bytes: vec![0; piece.len()] }),
            _ => {}
        }
        at = next;
    }
}

fn forget_unreachable(state: &mut State) {
    let mut reachable = std::collections::HashSet::new();
    let mut queue = vec![0u64];
    while let Some(dir) = queue.pop() {
        for node in state.names.get(&dir).into_iter().flat_map(|names| names.values()) {
            match node {
                super::state::Node::File(id) => _ = reachable.insert(*id),
                super::state::Node::Dir(id) => queue.push(*id),
            }
        }
    }
    state.files.retain(|id, _| reachable.contains(id));
}
