//! The offline check: whole folders pass, damage is named, and after a repair the store opens.

use std::path::{Path, PathBuf};

use throughline_model::Signal;
use throughline_store::fsck::{self, Report};
use throughline_store::{Disk, SimDisk};

use crate::harness::{DIR, Random, Request, Rig, config};

fn request(n: u64) -> Request {
    Request::new(Signal::ALL[(n % 3) as usize], (n * 10..n * 10 + 10).collect())
}

/// A store with blocks of both kinds and records in the log, as `kill -9` leaves it.
fn filled() -> Rig {
    let mut config = config();
    config.compaction.fan_in = 2;
    let rig = Rig::new(config);
    for n in 0..12 {
        assert!(rig.store(&request(n)).is_ok());
        if n % 3 == 2 {
            rig.flush();
        }
        if n == 5 {
            assert!(rig.engine.compact_once().expect("a merge"));
        }
    }
    for n in 12..15 {
        assert!(rig.store(&request(n)).is_ok());
    }
    rig
}

fn check(disk: &SimDisk, repair: bool) -> Report {
    fsck::check(disk, Path::new(DIR), repair).expect("a check")
}

fn items(rig: &Rig) -> usize {
    let found = rig.stored();
    assert!(found.values().all(|times| *times == 1), "nothing is doubled");
    found.len()
}

#[test]
fn a_whole_folder_is_whole() {
    let rig = filled();
    let disk = rig.disk.copy();
    let report = check(&disk, false);
    assert!(report.is_whole(), "{report:#?}");
    assert_eq!((report.blocks, report.blocks_whole, report.log.records), (3, 3, 3));
    assert_eq!(report.log.items, 30);
    let rig = Rig::open(rig.config.clone(), disk, rig.clock.clone()).expect("opens");
    assert_eq!(items(&rig), 150);
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let rig = filled();
    assert!(fsck::check(&rig.disk, Path::new(DIR), true).is_err());
}

#[test]
fn a_lost_manifest_is_rebuilt() {
    let rig = filled();
    for damage in 0..3 {
        let disk = rig.disk.copy();
        let path = Path::new(DIR).join("manifest");
        match damage {
            0 => disk.remove(&path).expect("a removal"),
            1 => disk.flip_bit(&path, 200, 2).expect("a flip"),
            _ => disk.open(&path).and_then(|file| file.truncate(30)).expect("a cut"),
        }
        let error = Rig::open(rig.config.clone(), disk.clone(), rig.clock.clone()).err().expect("a refusal");
        assert!(error.to_string().contains("fsck --repair"), "{error}");
        disk.crash(1);
        assert_eq!(check(&disk, false).problems.len(), 1);
        assert!(check(&disk, true).problems[0].repaired.is_some());
        assert!(check(&disk, false).is_whole());
        let rig = Rig::open(rig.config.clone(), disk, rig.clock.clone()).expect("opens after the repair");
        assert_eq!(items(&rig), 150, "damage {damage}");
        assert!(rig.engine.ledger().is_balanced());
        assert_eq!(rig.engine.status().lost.records, 0);
    }
}

#[test]
fn a_torn_end_is_cut_and_kept() {
    let rig = filled();
    let disk = rig.disk.copy();
    let dir = Path::new(DIR).join("wal");
    let name = disk.list(&dir).expect("a log").into_iter().rfind(|name| name.ends_with(".wal")).expect("one");
    let bytes = disk.read_all(&dir.join(&name)).expect("a segment");
    let last = (0..bytes.len()).step_by(8).rfind(|at| bytes[*at..].starts_with(b"TLW1")).expect("a record");
    disk.flip_bit(&dir.join(&name), last as u64 + 100, 1).expect("a flip");
    let report = check(&disk, true);
    assert_eq!((report.problems.len(), report.log.records), (1, 2), "{report:#?}");
    assert!(check(&disk, false).is_whole());
    assert!(disk.list(&dir).expect("a log").iter().any(|name| name.ends_with(".broken")));
}

/// Every file of a folder, with the folder's own files last.
fn files(disk: &SimDisk, dir: &Path, found: &mut Vec<PathBuf>) {
    for name in disk.list(dir).unwrap_or_default() {
        let path = dir.join(name);
        match disk.open(&path) {
            Ok(_) => found.push(path),
            Err(_) => files(disk, &path, found),
        }
    }
}

#[test]
fn after_any_damage_and_a_repair_the_store_opens() {
    let rig = filled();
    let mut paths = Vec::new();
    files(&rig.disk, Path::new(DIR), &mut paths);
    let mut random = Random(7);
    for (index, path) in paths.iter().enumerate() {
        for kind in 0..4 {
            let disk = rig.disk.copy();
            let file = disk.open(path).expect("a file");
            let len = file.len().expect("a length");
            match kind {
                0 => disk.remove(path).expect("a removal"),
                1 => file.truncate(len / 2).expect("a cut"),
                2 => file.write_at(0, &vec![0; len as usize]).expect("zeros"),
                _ => disk.flip_bit(path, random.below(len.max(1)), 5).expect("a flip"),
            }
            // It starts, or says what to do; either way the repair makes it start.
            if let Err(error) = Rig::open(rig.config.clone(), disk.clone(), rig.clock.clone()) {
                assert!(error.to_string().contains("fsck --repair"), "file {index} {path:?}: {error}");
            }
            disk.crash(1);
            check(&disk, true);
            let again = Rig::open(rig.config.clone(), disk, rig.clock.clone())
                .unwrap_or_else(|error| panic!("{path:?}, damage {kind}: {error}"));
            let found = again.stored();
            assert!(found.values().all(|times| *times == 1), "{path:?}, damage {kind}");
            assert!(again.engine.ledger().is_balanced());
        }
    }
}
