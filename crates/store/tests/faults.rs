//! Disks that fail: syncs, room, reads, locks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use throughline_model::Signal;
use throughline_store::engine::Engine;
use throughline_store::{Disk, Durability, Error, ManualClock, SimDisk, WriteError, Written};

use crate::harness::{DIR, NOW, Request, Rig, config};

fn request(n: u64) -> Request {
    Request::new(Signal::ALL[(n % 3) as usize], (n * 10..n * 10 + 10).collect())
}

fn acknowledged(rig: &Rig, numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.filter(|n| rig.store(&request(*n)).is_ok()).collect()
}

fn assert_stored(rig: &Rig, acknowledged: &[u64], context: &str) {
    let found = rig.stored();
    for n in acknowledged {
        let request = request(*n);
        for item in &request.items {
            assert_eq!(found.get(&(request.signal, *item)), Some(&1), "{context}: request {n}");
        }
    }
    assert!(rig.engine.ledger().is_balanced(), "{context}");
}

#[test]
fn a_failed_sync_moves_to_a_new_segment_and_loses_nothing() {
    for durability in [Durability::Fsync, Durability::Os] {
        for k in 1..40 {
            let mut config = config();
            config.durability = durability;
            let rig = Rig::new(config);
            let syncs = rig.disk.syncs();
            rig.disk.fail_sync_at(syncs + k..=syncs + k);
            let mut stored = Vec::new();
            for n in 0..20 {
                stored.extend(acknowledged(&rig, n..n + 1));
                if durability == Durability::Os && n % 3 == 0 {
                    _ = rig.engine.sync_once();
                }
            }
            assert!(stored.len() >= 19, "{durability:?}, k {k}: {stored:?}");
            rig.engine.sync_once().expect("a sync");
            for seed in 0..3 {
                let copy = rig.disk.copy();
                let rig = Rig::open(rig.config.clone(), copy, rig.clock.clone()).expect("opens");
                assert_stored(&rig, &stored, &format!("{durability:?}, k {k}, copy {seed}"));
            }
            let rig = rig.crash(k);
            assert_stored(&rig, &stored, &format!("{durability:?}, k {k}"));
            assert_eq!(rig.engine.status().lost.records, 0, "{:?}", rig.engine.status().notices);
        }
    }
}

#[test]
fn after_three_failed_syncs_nothing_is_acknowledged_any_more() {
    let rig = Rig::new(config());
    let stored = acknowledged(&rig, 0..3);
    let syncs = rig.disk.syncs();
    rig.disk.fail_sync_at(syncs + 1..=u64::MAX);
    for n in 3..6 {
        assert!(matches!(rig.store(&request(n)), Err(WriteError::Failed(_))), "request {n}");
    }
    let status = rig.engine.status();
    assert!(!status.write.ready && status.write.reasons.iter().any(|reason| reason.contains("synced")));
    let rig = rig.crash(5);
    assert_stored(&rig, &stored, "after the restart");
    assert_eq!(acknowledged(&rig, 3..6), [3, 4, 5]);
}

#[test]
fn a_full_disk_refuses_and_heals() {
    let rig = Rig::new(config());
    let mut stored = acknowledged(&rig, 0..5);
    assert_eq!(stored.len(), 5);
    rig.disk.set_capacity(rig.disk.used_bytes());
    // The segment has its room already; when it is full there is none for the next one.
    let mut refused = None;
    for n in 5..400 {
        match rig.store(&request(n)) {
            Ok(_) => stored.push(n),
            Err(error) => {
                refused = Some((n, error));
                break;
            }
        }
    }
    let (n, error) = refused.expect("a refusal");
    assert!(matches!(error, WriteError::DiskFull { .. }) && error.is_retryable(), "{error}");
    assert!(rig.engine.flush_once().is_err(), "there is no room for blocks");
    assert_stored(&rig, &stored, "full");
    rig.disk.set_capacity(1 << 30);
    assert_eq!(rig.store(&request(n)), Ok(Written::Stored), "it heals without a restart");
    stored.push(n);
    rig.flush();
    assert_stored(&rig, &stored, "healed");
    let rig = rig.crash(9);
    assert_stored(&rig, &stored, "after a crash");
}

#[test]
fn below_the_reserve_writes_are_refused_at_once() {
    let mut config = config();
    config.reserve_bytes = Some(1 << 20);
    let rig = Rig::new(config);
    assert_eq!(rig.store(&request(0)), Ok(Written::Stored));
    rig.disk.set_capacity(rig.disk.used_bytes() + (1 << 20) - 1);
    rig.engine.check_disk();
    let error = rig.store(&request(1)).expect_err("a refusal");
    assert!(matches!(error, WriteError::DiskFull { reserve_bytes: 1_048_576, .. }), "{error}");
    assert!(!rig.engine.status().write.ready);
    rig.disk.set_capacity(1 << 40);
    rig.engine.check_disk();
    assert_eq!(rig.store(&request(1)), Ok(Written::Stored));
}

#[test]
fn it_starts_on_a_full_disk() {
    let rig = Rig::new(config());
    let stored = acknowledged(&rig, 0..5);
    rig.disk.crash(1);
    rig.disk.set_capacity(rig.disk.used_bytes());
    let rig = rig.reopen();
    assert_stored(&rig, &stored, "full from the start");
    // The manifest had the ballast's room; now there is none at all.
    rig.disk.set_capacity(rig.disk.used_bytes());
    assert!(rig.store(&request(7)).is_err());
    rig.disk.set_capacity(1 << 30);
    assert_eq!(rig.store(&request(7)), Ok(Written::Stored));
    let rig = rig.crash(2);
    assert_stored(&rig, &[stored, vec![7]].concat(), "after a crash");
    assert_eq!(rig.engine.status().lost.records, 0, "{:?}", rig.engine.status().notices);
}

#[test]
fn a_write_without_room_at_any_moment_loses_nothing() {
    for k in 1..60 {
        let mut config = config();
        config.segment_bytes = 16 << 10;
        config.memtable_bytes = 8 << 10;
        let rig = Rig::new(config);
        let writes = rig.disk.writes();
        rig.disk.fail_write_at(writes + k..=writes + k + k % 3);
        let mut stored = Vec::new();
        for n in 0..12 {
            stored.extend(acknowledged(&rig, n..n + 1));
            if n % 4 == 3 {
                _ = rig.engine.flush_once();
            }
        }
        assert_stored(&rig, &stored, &format!("k {k}"));
        let rig = rig.crash(k);
        assert_stored(&rig, &stored, &format!("k {k}, after a crash"));
        assert_eq!(rig.engine.status().lost.records, 0, "k {k}: {:?}", rig.engine.status().notices);
    }
}

#[test]
fn what_a_failed_write_left_is_never_taken_for_a_record() {
    // A group of which a part reached the disk is refused; a shorter one takes its place, and is damaged later.
    for refused_bytes in [1, 2, 3] {
        let rig = Rig::new(config());
        assert!(rig.store(&request(0)).is_ok());
        let writes = rig.disk.writes();
        rig.disk.fail_write_at(writes + 1..=writes + refused_bytes);
        let refused: Vec<_> = (1..6).map(|n| rig.submit(&request(n))).collect();
        rig.engine.commit_once();
        for answer in refused {
            assert!(matches!(*answer.lock().expect("no panic"), Some(Err(WriteError::DiskFull { .. }))));
        }
        rig.disk.fail_write_at(u64::MAX..=u64::MAX);
        assert!(rig.store(&request(9)).is_ok());
        let copy = rig.disk.copy();
        let rig = Rig::open(rig.config.clone(), copy, rig.clock.clone()).expect("opens");
        let found = rig.stored();
        assert_eq!(found.len(), 20, "{refused_bytes}: only what was acknowledged");
        assert_stored(&rig, &[0, 9], "after the failed write");
    }
}

#[test]
fn a_superseded_attempt_at_a_segment_counts_for_nothing() {
    // The first group of the log finds no room after a part of it was written, and neither do the zeros that should wipe
    // that part: the next group starts the same segment once more.
    for seed in 0..12 {
        let disk = SimDisk::new(seed);
        let rig = Rig::open(config(), disk, Arc::new(ManualClock::at(NOW))).expect("a new store");
        // The segment's first page is written before the group.
        let writes = rig.disk.writes();
        rig.disk.fail_write_at(writes + 2..=writes + 3);
        let refused: Vec<_> = (1..6).map(|n| rig.submit(&request(n))).collect();
        rig.engine.commit_once();
        for answer in refused {
            assert!(matches!(*answer.lock().expect("no panic"), Some(Err(WriteError::DiskFull { .. }))));
        }
        rig.disk.fail_write_at(u64::MAX..=u64::MAX);
        assert!(rig.store(&request(9)).is_ok());
        let mut segments = rig.disk.list(&Path::new(DIR).join("wal")).expect("a log");
        segments.retain(|name| name.ends_with(".wal"));
        assert_eq!(segments.len(), 2, "{segments:?}");
        assert_eq!(segments[0].split_once('-').unwrap().0, segments[1].split_once('-').unwrap().0);
        let copy = rig.disk.copy();
        let rig = Rig::open(rig.config.clone(), copy, rig.clock.clone()).expect("opens");
        assert_eq!(rig.stored().len(), 10, "seed {seed}: only what was acknowledged");
        assert_stored(&rig, &[9], &format!("seed {seed}"));
        assert_eq!(rig.engine.status().lost.records, 0, "seed {seed}");
    }
}

#[test]
fn blocks_are_kept_while_the_manifest_may_be_the_old_one_or_the_new_one() {
    // A sync of names fails in the middle of a flush or a merge: the manifest that names the new blocks may have reached
    // the disk or not. Whichever a power cut leaves, its blocks are there.
    let mut in_doubt = 0;
    for merges in [false, true] {
        for k in 1..24 {
            for seed in 0..6 {
                let mut config = config();
                config.compaction.fan_in = 2;
                config.compaction.settle_ns = 0;
                let rig = Rig::new(config);
                let mut stored = acknowledged(&rig, 0..3);
                rig.flush();
                stored.extend(acknowledged(&rig, 3..6));
                if merges {
                    rig.flush();
                }
                let name_syncs = rig.disk.name_syncs();
                rig.disk.fail_name_sync_at(name_syncs + k..=name_syncs + k);
                let worked = if merges { rig.engine.compact_once() } else { rig.engine.flush_once() };
                in_doubt += u64::from(worked.is_err());
                let rig = rig.crash(seed * 31 + k);
                let context = format!("merges {merges}, sync {k}, seed {seed}");
                assert_stored(&rig, &stored, &context);
                assert!(rig.engine.status().read.ready, "{context}: {:?}", rig.engine.status().read);
            }
        }
    }
    assert!(in_doubt > 20, "{in_doubt}");
}

#[test]
fn a_store_that_a_killed_process_began_to_make_is_made_again_from_the_root() {
    for operations in 0..40 {
        for seed in 0..3 {
            let (disk, clock) = (SimDisk::new(seed), Arc::new(ManualClock::at(NOW)));
            disk.cut_power_after(operations);
            drop(Rig::open(config(), disk.clone(), clock.clone()));
            disk.end_process();
            let rig = Rig::open(config(), disk, clock).expect("opens");
            let stored = acknowledged(&rig, 0..2);
            assert_eq!(stored.len(), 2);
            let rig = rig.crash(seed);
            assert_stored(&rig, &stored, &format!("{operations} operations, seed {seed}"));
        }
    }
}

#[test]
fn a_start_removes_nothing_that_an_older_manifest_names_before_its_own_is_durable() {
    // A process is killed anywhere in a merge, the next one anywhere in its start, and then the power goes.
    let merge = |rig: &Rig| _ = rig.engine.compact_once();
    let mut config = config();
    config.compaction.fan_in = 2;
    config.compaction.settle_ns = 0;
    let (mut operations, mut ended) = (0, false);
    while !ended {
        for start_operations in (0..20).step_by(3) {
            let rig = Rig::new(config.clone());
            let mut stored = acknowledged(&rig, 0..3);
            rig.flush();
            stored.extend(acknowledged(&rig, 3..6));
            rig.flush();
            rig.disk.cut_power_after(operations);
            merge(&rig);
            ended = !rig.disk.is_off();
            rig.disk.end_process();
            rig.disk.cut_power_after(start_operations);
            let Rig { disk, clock, engine, config, .. } = rig;
            drop(engine);
            drop(Rig::open(config.clone(), disk.clone(), clock.clone()));
            disk.crash(operations * 7 + start_operations);
            let rig = Rig::open(config, disk, clock).expect("opens");
            let context = format!("{operations} operations of the merge, {start_operations} of the start");
            assert!(rig.engine.status().read.ready, "{context}: {:?}", rig.engine.status().read);
            assert_stored(&rig, &stored, &context);
        }
        operations += 1;
    }
    assert!(operations > 20, "{operations}");
}

#[test]
fn a_second_process_is_refused() {
    let rig = Rig::new(config());
    let second = Engine::open(rig.config.clone(), Arc::new(rig.disk.clone()), rig.clock.clone());
    assert!(matches!(second.err(), Some(Error::Locked { .. })));
    rig.engine.close().expect("a close");
    assert!(Engine::open(rig.config.clone(), Arc::new(rig.disk.clone()), rig.clock.clone()).is_ok());
}

#[test]
fn a_newer_manifest_is_refused_by_name() {
    let rig = Rig::new(config());
    rig.engine.close().expect("a close");
    let path = Path::new(DIR).join("manifest");
    let text = String::from_utf8(rig.disk.read_all(&path).expect("a manifest")).expect("text");
    let newer = text.replacen("version=2", "version=3", 1);
    rig.disk.replace(&path, newer.as_bytes()).expect("a write");
    let error = Rig::open(rig.config.clone(), rig.disk.clone(), rig.clock.clone()).err().expect("a refusal");
    assert!(error.to_string().contains("version 3"), "{error}");
}

#[test]
fn too_many_waiting_bytes_are_refused() {
    let mut config = config();
    config.queue_bytes = 4_000;
    let rig = Rig::new(config);
    let answers: Vec<_> = (0..10).map(|n| rig.submit(&request(n))).collect();
    let refused = answers.iter().filter(|answer| {
        matches!(&*answer.lock().expect("no panic"), Some(Err(error @ WriteError::Overloaded { .. })) if error.is_retryable())
    });
    assert!(refused.count() > 0);
    while rig.engine.commit_once() > 0 {}
    assert_eq!(rig.store(&request(20)), Ok(Written::Stored));
}

#[test]
fn old_blocks_go_and_snapshots_keep_what_they_hold() {
    let mut config = config();
    config.retention = Duration::from_secs(3600);
    let rig = Rig::new(config);
    let stored = acknowledged(&rig, 0..6);
    rig.flush();
    let before = rig.engine.snapshot();
    assert_eq!(rig.engine.retain_once().expect("retention"), 0);
    rig.clock.advance(Duration::from_secs(3700));
    assert!(rig.engine.retain_once().expect("retention") > 0);
    assert!(rig.stored().is_empty());
    assert_eq!(crate::harness::stored(&before).len(), stored.len() * 10);
    assert!(rig.engine.reap() > 0, "a snapshot still reads them");
    drop(before);
    assert_eq!(rig.engine.reap(), 0);
    let blocks = rig.disk.list(&Path::new(DIR).join("blocks")).expect("a folder");
    assert!(blocks.is_empty(), "{blocks:?}");
}

#[test]
fn over_the_disk_budget_the_oldest_go_first() {
    let mut config = config();
    config.budgets.disk_bytes = Some(200 << 10);
    let rig = Rig::new(config);
    for n in 0..40 {
        assert!(rig.store(&request(n)).is_ok());
        rig.flush();
        rig.engine.retain_once().expect("retention");
    }
    let status = rig.engine.status();
    assert!(status.block_bytes <= 200 << 10, "{}", status.block_bytes);
    let found = rig.stored();
    let last = request(39);
    assert!(last.items.iter().all(|n| found.contains_key(&(last.signal, *n))));
}

#[test]
fn retention_makes_room_on_a_disk_without_any() {
    let mut config = config();
    config.retention = Duration::from_secs(3600);
    let rig = Rig::new(config);
    assert_eq!(acknowledged(&rig, 0..6).len(), 6);
    rig.flush();
    rig.clock.advance(Duration::from_secs(3700));
    rig.disk.set_capacity(rig.disk.used_bytes());
    assert!(rig.engine.retain_once().expect("retention") > 0);
    rig.engine.check_disk();
    assert!(rig.stored().is_empty());
    assert!(rig.disk.space(Path::new(DIR)).expect("room").free_bytes > 0);
}

#[test]
fn a_segment_that_cannot_be_read_is_counted_and_kept() {
    let mut config = config();
    config.segment_bytes = 16 << 10;
    let rig = Rig::new(config);
    assert_eq!(acknowledged(&rig, 0..9).len(), 9);
    let dir = Path::new(DIR).join("wal");
    let name = rig.disk.list(&dir).expect("a log").swap_remove(1);
    rig.disk.crash(1);
    rig.disk.fail_reads_of(Some(&name));
    let rig = rig.reopen();
    let status = rig.engine.status();
    assert!(status.lost.records > 0 && status.lost.items == status.lost.records * 10, "{:?}", status.notices);
    assert!(!status.read.ready);
    assert!(rig.engine.ledger().is_balanced());
    let kept = rig.disk.list(&Path::new(DIR).join("quarantine")).expect("a folder");
    assert!(kept.iter().any(|kept| kept.starts_with(&name)), "{kept:?}");
    rig.disk.fail_reads_of(None);
    assert_eq!(rig.store(&request(20)), Ok(Written::Stored));
}

#[test]
fn closing_twice_touches_nothing() {
    let rig = Rig::new(config());
    assert_eq!(acknowledged(&rig, 0..3).len(), 3);
    rig.engine.close().expect("a close");
    let operations = rig.disk.operations();
    rig.engine.close().expect("a close");
    assert_eq!(rig.disk.operations(), operations);
    assert_eq!(rig.store(&request(3)), Err(WriteError::Closed));
}
